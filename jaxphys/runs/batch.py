"""Where a batch of realizations is trained to: a folder that holds them block by block.

While training lasts, `blocks/` holds a dataset for every block that is done and `checkpoints/` the state of
those that are not, so that memory holds one wave at a time and an interruption loses seconds. Every process
writes its own blocks into the same folder. Of blocks that are done `checkpoints/` holds what it takes to go
on with more steps; their records are in their datasets, or in the run that these were joined into.
"""

import contextlib
import json
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx
import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int

from jaxphys._checks import InputError
from jaxphys.config import Batch
from jaxphys.io import join_runs, provenance, run_dataset, save_run
from jaxphys.io.runs import last_step, recorded_of
from jaxphys.learning import Task, accuracy, task_cost
from jaxphys.networks.physics import AbstractNetwork
from jaxphys.training._train import as_run, make_plan
from jaxphys.training.checkpoints import Checkpoints
from jaxphys.training.devices import CommonFailure, LocalFailure, default_block, global_max, own_places
from jaxphys.training.events import BlocksDone, Event, Finished, Planned, Started
from jaxphys.training.host_loop import ChooseSolver, Saving, train_blocks
from jaxphys.training.rounds import BlockResult, HostRecords, TrainingPlan
from jaxphys.training.steps import Realizations

_Result = TypeVar("_Result")
# What a folder of blocks may hold, by folders within it.
FILES = {"blocks": "[0-9]*.nc", "checkpoints": "block-*.ckpt"}


@dataclass(frozen=True)
class Announced:
    """What is going to be trained, in a line."""

    line: str


RunEvent = Announced | Event


def ignore(event: RunEvent) -> None:
    """Take no note of an event."""


@dataclass(frozen=True)
class RunOptions:
    """How a run or sweep is trained into a folder.

    **Attributes**

    - `resume`: go on with what the folder holds, also to more steps than it began with; `force`: replace it.
    - `source`: what refusals call the config.
    - `stop`: looked at about once a second; `host_loop.Stopped` is raised when all is saved.
    - `report`: is handed every event of the first process, to be shown.
    """

    resume: bool = False
    force: bool = False
    source: str = "config"
    stop: threading.Event | None = None
    report: Callable[[RunEvent], None] = ignore


def train_batch(
    folder: Path,
    batch: Batch,
    *,
    block: int | None,
    options: RunOptions,
    joined: Path | None = None,
) -> Generator[RunEvent, None, None]:
    """Train a batch until `folder` holds all its blocks; every process of a program calls it alike.

    Nothing is written before `Started`: the caller makes the folder then. Checkpoints belong to blocks
    of the size of its plan, which must be passed as `block` to resume. Blocks are on disk when
    `BlocksDone` comes, all of them when `Finished` does.

    **Arguments**: `block`: how many realizations make one; None for as many as are best and fit. `joined`:
    where the blocks were joined before, if the folder has been trained with fewer steps.
    """
    is_resumed = options.resume
    checkpoints = Checkpoints(folder / "checkpoints")
    after = checkpoints.record_steps() if is_resumed else None
    edges, choose, plan = raise_on_all_processes(lambda: _prepared(batch, block, options.source, after))
    # What is drawn is kept until its block is done.
    drawn: dict[int, tuple[Realizations, Task | None]] = {}

    def draw(first: int, last: int) -> Realizations:
        with _about(options.source):
            drawn[first] = batch.draw(first, last)
        return drawn[first][0]

    def recorded(number: int, size: int) -> tuple[Int[np.ndarray, " T"], HostRecords]:
        own = _block_file(folder, number)
        if own.exists():
            return recorded_of(own, 0, size)
        assert joined is not None
        return recorded_of(joined, number * size, size)

    events = train_blocks(
        plan,
        batch.realizations,
        draw,
        choose,
        saving=Saving(checkpoints, batch.configs[0].checkpoint_seconds, is_resumed, recorded),
        skip=_blocks_done(folder, plan, batch.realizations) if is_resumed else (),
        stop=options.stop,
        adjust=block is None,
    )
    with _alone_or_together(), closing(events):
        for event in events:
            match event:
                case Planned():
                    drawn.clear()
                    yield Announced(_announcement(batch, event, edges))
                case BlocksDone():
                    for number, result in _own_results(event):
                        own = drawn.pop(number * event.plan.size)
                        run = _run_dataset(batch, *own, result, event.plan.record_steps)
                        save_run(run, _block_file(folder, number))
                case Finished():
                    global_max([0])  # All blocks are on disk.
            yield event
            if isinstance(event, Started):
                (folder / "blocks").mkdir(exist_ok=True)


def _own_results(event: BlocksDone) -> Iterator[tuple[int, BlockResult]]:
    """Numbers and results of this process's blocks, but of what stands in for others."""
    for place, result in zip(own_places(event.plan.mesh), event.results, strict=True):
        if place < len(event.blocks):
            yield event.blocks[place], result


def _blocks_done(folder: Path, plan: TrainingPlan, realizations: int) -> list[int]:
    """Numbers of blocks that a folder holds with all their steps."""
    files = {number: _block_file(folder, number) for number in range(plan.blocks(realizations))}
    return [number for number, path in files.items() if path.exists() and last_step(path) == plan.steps]


@contextlib.contextmanager
def _alone_or_together() -> Iterator[None]:
    """Let a refusal that other processes do not know of say so."""
    try:
        yield
    except InputError as error:
        if jax.process_count() == 1 or isinstance(error, CommonFailure):
            raise
        raise LocalFailure(str(error)) from None


def join_blocks(folder: Path, blocks: int, path: Path, attributes: Mapping[str, Any] | None = None) -> None:
    """One dataset of all blocks of a folder, with some attributes of its own."""
    join_runs([_block_file(folder, number) for number in range(blocks)], path, attributes)


def remove_blocks(folder: Path, *, keep_checkpoints: bool = False) -> None:
    """Remove blocks and checkpoints, with what was half-written when a process was killed."""
    for name, pattern in FILES.items():
        is_kept = keep_checkpoints and name == "checkpoints"
        for path in (*(() if is_kept else (folder / name).glob(pattern)), *(folder / name).glob(".*.part")):
            path.unlink()
        with contextlib.suppress(OSError):
            (folder / name).rmdir()


def raise_on_all_processes(work: Callable[[], _Result]) -> _Result:
    """What `work` returns; if it refuses on any process, or the disk does, it is refused on all."""
    refusal, results = "", []
    try:
        results.append(work())
    except (InputError, OSError) as error:
        refusal = str(error) or type(error).__name__
    if global_max([bool(refusal)])[0]:
        raise CommonFailure(refusal or "Another process was refused; see what it says.") from None
    return results[0]


def _prepared(
    batch: Batch, block: int | None, source: str, after: Int[np.ndarray, " T"] | None
) -> tuple[int, ChooseSolver, TrainingPlan]:
    """The number of edges, what chooses solvers, and the plan, as one realization tells them."""
    with _about(source):
        drawn, _ = batch.draw(0, 1)
        arguments, choose = batch.arguments(drawn)
        plan = make_plan(
            drawn.network,
            drawn.task,
            steps=arguments.steps,
            size=min(block or default_block(batch.realizations), batch.realizations),
            rule=arguments.rule,
            integrator=arguments.optimizer,
            record=arguments.record,
            batch_size=arguments.sampling.batch_size,
            stop_cost=arguments.stop_cost,
            after=after,
        )
    return drawn.network.k.shape[1], choose, plan


@contextlib.contextmanager
def _about(source: str) -> Iterator[None]:
    """Let every refusal begin with the config that it is about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{source}: {error}") from None


def _announcement(batch: Batch, planned: Planned, edges: int) -> str:
    config, plan = batch.configs[0], planned.plan
    blocks, devices = plan.blocks(batch.realizations), plan.mesh.devices.size
    text = (
        f"{batch.realizations} networks with {edges} learning degrees of freedom, "
        f"{config.steps} steps of {config.rule.kind} on {config.task.kind}"
    )
    if blocks > 1 or devices > 1:
        left = f"; {len(planned.blocks)} blocks of {plan.size} to train on {devices} device"
        text += f"{left}{'s' if devices > 1 else ''}"
    if blocks < devices:
        text += f" (`block` of at most {-(-batch.realizations // devices)} would give each of them work)"
    return text


def _block_file(folder: Path, number: int) -> Path:
    return folder / "blocks" / f"{number:06d}.nc"


def _run_dataset(
    batch: Batch,
    drawn: Realizations,
    test: Task | None,
    trained: BlockResult,
    record_steps: Int[np.ndarray, " T"],
) -> xr.Dataset:
    """The dataset of a block, which may have been filled up."""
    count = drawn.network.k.shape[0]
    trained = jax.tree.map(lambda leaf: leaf[:count], trained)
    run = as_run(drawn.network, drawn.task, trained, record_steps, (0.0, 0.0))
    is_classification = batch.configs[0].task.kind == "classification"
    measure, name = (accuracy, "accuracy") if is_classification else (task_cost, "cost")
    measured: dict[str, Array] = {}
    if test is not None:
        measured[f"train_{name}"] = _measured(measure, run.network, drawn.task)
        measured[f"test_{name}"] = _measured(measure, run.network, test)
    return run_dataset(run, attributes={"versions": json.dumps(provenance())}, **measured)


@eqx.filter_jit
def _measured(
    measure: Callable[[AbstractNetwork, Task], Array], networks: AbstractNetwork, tasks: Task
) -> Float[Array, " R"]:
    return jax.vmap(measure)(networks, tasks)
