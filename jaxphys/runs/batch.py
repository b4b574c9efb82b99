"""Where a batch of realizations is trained to: a folder that holds them block by block.

While training lasts, `blocks/` holds a dataset for every block that is done and `checkpoints/` the state of
those that are not, so that memory holds one wave at a time and an interruption loses seconds. Every process
writes its own blocks into the same folder. Of blocks that are done `checkpoints/` holds what it takes to go
on with more steps; their records are in their datasets, or in the run that these were joined into.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
import xarray as xr

from jaxphys._checks import InputError
from jaxphys.config import Batch
from jaxphys.io import join_runs, provenance, run_dataset, save_run
from jaxphys.io.runs import last_step, recorded_of
from jaxphys.learning import accuracy, task_cost
from jaxphys.training._train import as_run, make_plan
from jaxphys.training.checkpoints import Checkpoints
from jaxphys.training.devices import CommonFailure, LocalFailure, default_block, global_max, own_places
from jaxphys.training.host_loop import BlockResult, TrainingPlan, fitting, train_blocks
from jaxphys.training.solver_choice import BlockSolvers
from jaxphys.training.steps import Realizations

# What a folder of blocks may hold, by folders within it.
FILES = {"blocks": "[0-9]*.nc", "checkpoints": "block-*.ckpt"}


class Outcome(NamedTuple):
    """What is to be said of a batch: its number of blocks, the solver (or "" if there was nothing to solve),
    seconds until the first call ended and after it.
    """

    blocks: int
    solver: str
    first: float
    rest: float


def train_batch(
    folder: Path,
    batch: Batch,
    *,
    block: int | None,
    begin: Callable[[int], None],
    resume: bool = False,
    progress: bool = False,
    stop: Callable[[], bool] = lambda: False,
    tell: Callable[[str], None] = lambda line: None,
    source: str = "config",
    joined: Path | None = None,
) -> Outcome:
    """Train a batch until `folder` holds all its blocks; every process of a program calls it alike.

    **Arguments**

    - `block`: how many realizations make one; None for as many as are best and fit.
    - `begin`: called by the first process with the size of blocks that it is to be, once it is known that
      there is memory enough and before anything is written; it makes the folder. Checkpoints belong to blocks
      of one size, which whoever resumes must hand in as `block`.
    - `resume`: go on from what the folder holds. `joined`: where its blocks were joined before, if it has
      been trained with fewer steps. All others as for `train_into`.
    """
    is_first = jax.process_index() == 0
    checkpoints = Checkpoints(folder / "checkpoints")
    after = checkpoints.record_steps() if resume else None
    edges, choose, plan = raise_on_all_processes(lambda: _prepared(batch, block, source, after))
    # What is drawn is kept until its block is done.
    drawn: dict[int, tuple[Realizations, Any]] = {}

    def draw(first: int, last: int) -> Realizations:
        with _about(source):
            drawn[first] = batch.draw(first, last)
        return drawn[first][0]

    def started(plan: TrainingPlan) -> None:
        # Nobody writes before the folder is there.
        raise_on_all_processes(lambda: begin(plan.size) if is_first else None)
        (folder / "blocks").mkdir(exist_ok=True)

    def finish(plan: TrainingPlan, wave: list[int], trained: list[BlockResult]) -> None:
        for place, each in zip(own_places(plan.mesh), trained, strict=True):
            if place < len(wave):
                number = wave[place]
                run = _run_dataset(batch, *drawn.pop(number * plan.size), each, plan.record_steps)
                save_run(run, _block_file(folder, number))

    def recorded(number: int, size: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        own = _block_file(folder, number)
        if own.exists():
            return recorded_of(own, 0, size)
        assert joined is not None
        return recorded_of(joined, number * size, size)

    def is_done(plan: TrainingPlan, number: int) -> bool:
        path = _block_file(folder, number)
        return resume and path.exists() and last_step(path) == int(plan.record_steps[-1])

    def run(plan: TrainingPlan) -> Outcome:
        count = plan.blocks(batch.realizations)
        solvers = BlockSolvers(choose, alone=count == 1)
        left = [number for number in range(count) if not is_done(plan, number)]
        if is_first:
            tell(_announcement(batch, plan, edges, len(left)))
        seconds = train_blocks(
            plan,
            left,
            draw,
            solvers,
            partial(finish, plan),
            checkpoints=checkpoints,
            checkpoint_seconds=batch.configs[0].checkpoint_seconds,
            resume=resume,
            progress=progress and is_first,
            stop=stop,
            started=partial(started, plan),
            recorded=recorded,
        )
        return Outcome(count, solvers.kind, *seconds)

    try:
        _, outcome = fitting(plan, run, adjust=block is None)
    except InputError as error:
        if jax.process_count() == 1 or isinstance(error, CommonFailure):
            raise
        raise LocalFailure(str(error)) from None
    global_max([0])  # All blocks are on disk.
    return outcome


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


def raise_on_all_processes(work: Callable[[], Any]) -> Any:
    """What `work` returns; if it refuses on any process, or the disk does, it is refused on all."""
    refusal, result = "", None
    try:
        result = work()
    except (InputError, OSError) as error:
        refusal = str(error) or type(error).__name__
    if global_max([bool(refusal)])[0]:
        raise CommonFailure(refusal or "Another process was refused; see what it says.") from None
    return result


def _prepared(
    batch: Batch, block: int | None, source: str, after: np.ndarray | None
) -> tuple[int, Any, TrainingPlan]:
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


def _announcement(batch: Batch, plan: TrainingPlan, edges: int, left: int) -> str:
    config = batch.configs[0]
    blocks, devices = plan.blocks(batch.realizations), plan.mesh.devices.size
    text = (
        f"{batch.realizations} networks with {edges} learning degrees of freedom, "
        f"{config.steps} steps of {config.rule.kind} on {config.task.kind}"
    )
    if blocks > 1 or devices > 1:
        text += f"; {left} blocks of {plan.size} to train on {devices} device{'s' if devices > 1 else ''}"
    if blocks < devices:
        text += f" (`block` of at most {-(-batch.realizations // devices)} would give each of them work)"
    return text


def _block_file(folder: Path, number: int) -> Path:
    return folder / "blocks" / f"{number:06d}.nc"


def _run_dataset(
    batch: Batch, drawn: Realizations, test: Any, trained: BlockResult, schedule: Any
) -> xr.Dataset:
    """The dataset of a block, which may have been filled up."""
    count = drawn.network.k.shape[0]
    trained = jax.tree.map(lambda leaf: leaf[:count], trained)
    run = as_run(drawn.network, drawn.task, trained, schedule, (0.0, 0.0))
    is_classification = batch.configs[0].task.kind == "classification"
    measure, name = (accuracy, "accuracy") if is_classification else (task_cost, "cost")
    measured: dict[str, Any] = {}
    if test is not None:
        measured[f"train_{name}"] = _measured(measure, run.network, drawn.task)
        measured[f"test_{name}"] = _measured(measure, run.network, test)
    return run_dataset(run, attributes={"versions": json.dumps(provenance())}, **measured)


@eqx.filter_jit
def _measured(measure: Callable[..., Any], networks: Any, tasks: Any) -> Any:
    return jax.vmap(measure)(networks, tasks)
