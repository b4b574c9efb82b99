"""A run as a folder: what is trained goes to disk block by block, and becomes a dataset and a report.

While a run lasts, `blocks/` holds a dataset for every block that is done and `checkpoints/` the state of
those that are not, so that memory holds one wave at a time and an interruption loses seconds. Every process
writes its own blocks into the same folder; the first one does all else.
"""

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from jaxphys._checks import InputError
from jaxphys.checkpoints import Checkpoints
from jaxphys.config import RunConfig, draw, dump_config, load_config, training_arguments
from jaxphys.equilibrium import Status
from jaxphys.io import (
    join_runs,
    provenance,
    run_dataset,
    sampled_run,
    save_network,
    save_run,
    typical_realization,
    write_atomically,
)
from jaxphys.io.files import check_own_folder
from jaxphys.parallel import RefusedAlone, default_block, largest, leave_processes, own_places
from jaxphys.planning import BlockSolvers
from jaxphys.report import FILES, write_report
from jaxphys.tasks import accuracy, task_cost
from jaxphys.train import as_run, make_course
from jaxphys.waves import Course, TooLarge, Trained, fitting, train_blocks

# What a run writes besides its report, blocks and checkpoints; `--force` removes all of it, and no more.
_OUTPUTS = ("config.toml", "run.nc", "network.json")
_FOLDERS = {"figures": "*.png", "blocks": "[0-9]*.nc", "checkpoints": "block-*.ckpt"}
# A report of more networks than this shows some of them, evenly chosen.
_SHOWN = 1000


class Summary(NamedTuple):
    """What a run says of itself at its end: lines for a reader, and whether any realization did not fail."""

    lines: list[str]
    succeeded: bool


def train_into(
    folder: Path,
    config: RunConfig,
    *,
    resume: bool = False,
    force: bool = False,
    progress: bool = False,
    stop: Callable[[], bool] = lambda: False,
    tell: Callable[[str], None] = lambda line: None,
    source: str = "config",
) -> Summary:
    """Train what `config` says; write `run.nc`, `network.json`, `figures/` and `report.html` into `folder`.

    **Arguments**

    - `resume`: go on with the run that the folder holds; `force`: replace it.
    - `progress`: show a bar. `stop`: asked about once a second; `waves.Stopped` is raised once all is saved.
    - `tell`: is told in a line what is going to be trained. `source`: what refusals call the config.

    In a program of many processes each calls it with the same arguments and a folder that all can see. Raises
    `InputError` before anything is written if the config or the folder cannot be used.
    """
    begin = time.perf_counter()
    is_first = jax.process_index() == 0
    config, finished = _together(lambda: _settled(folder, config, resume=resume, force=force))
    if finished:
        return _summary(folder, []) if is_first else Summary([], True)
    edges, choose, course = _together(lambda: _prepared(config, source))

    # What is drawn is kept until its block is done.
    drawn: dict[int, tuple[Any, Any, Any]] = {}

    def drawn_from(first: int, last: int) -> tuple[Any, Any]:
        with _about(source):
            drawn[first] = draw(config, first, last)
        return drawn[first][:2]

    def begun(course: Course) -> None:
        if is_first:
            # Checkpoints belong to blocks of one size, which must not change when the run goes on.
            _start(folder, dataclasses.replace(config, block=course.size), keep=resume)
        largest([0])  # Nobody writes before the folder is there.
        (folder / "blocks").mkdir(exist_ok=True)

    def finish(course: Course, wave: list[int], trained: list[Trained]) -> None:
        for place, each in zip(own_places(course.mesh), trained, strict=True):
            if place < len(wave):
                number = wave[place]
                run = _run_dataset(config, drawn[number * course.size], each, course.schedule)
                save_run(run, _block_file(folder, number))
                checkpoints.remove(number)
        drawn.clear()

    checkpoints = Checkpoints(folder / "checkpoints")

    def run(course: Course) -> tuple[str, tuple[float, float]]:
        count = course.blocks(config.realizations)
        solvers = BlockSolvers(choose, alone=count == 1)
        left = [number for number in range(count) if not (resume and _block_file(folder, number).exists())]
        if is_first:
            tell(_announcement(config, course, edges, len(left)))
        seconds = train_blocks(
            course,
            left,
            drawn_from,
            solvers,
            partial(finish, course),
            checkpoints=checkpoints,
            checkpoint_seconds=config.checkpoint_seconds,
            resume=resume,
            progress=progress and is_first,
            stop=stop,
            begun=partial(begun, course),
        )
        return solvers.kind, seconds

    try:
        course, (solver, (first, rest)) = fitting(course, run, adjust=config.block is None)
    except InputError as error:
        if jax.process_count() == 1 or isinstance(error, TooLarge):  # All processes agree on the latter.
            raise
        raise RefusedAlone(str(error)) from None
    largest([0])  # All blocks are on disk.
    leave_processes()
    if not is_first:
        return Summary([], True)
    setup = time.perf_counter() - begin - first - rest
    begin = time.perf_counter()
    _finish(folder, course.blocks(config.realizations))
    report = time.perf_counter() - begin
    times = f"{setup:.1f} s set-up, {first:.1f} s compile and first call, {rest:.1f} s training, "
    times += f"{report:.1f} s report"
    times += f" (solver: {solver})" if solver else ""
    return _summary(folder, [times])


@contextlib.contextmanager
def _about(source: str) -> Iterator[None]:
    """Let every refusal begin with the config that it is about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{source}: {error}") from None


def _together(work: Callable[[], Any]) -> Any:
    """What `work` returns; if it refuses on any process, it is refused on all."""
    refusal, result = None, None
    try:
        result = work()
    except InputError as error:
        refusal = error
    if largest([refusal is not None])[0] and refusal is None:
        raise InputError("Another process was refused; see what it says.")
    if refusal is not None:
        raise refusal
    return result


def _settled(folder: Path, config: RunConfig, *, resume: bool, force: bool) -> tuple[RunConfig, bool]:
    """The config that runs, and whether the folder holds all of it; refuses a folder with another run."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder}: must be a folder, but it is a file")
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(nearest, os.W_OK):
        raise InputError(f"--out {folder}: {nearest} must be writable, but it is not")
    found = _earlier_run(folder)
    if not found or force:
        return config, False
    if not resume:
        raise InputError(
            f"--out {folder}: already holds a run ({found[0].name}); give --resume, --force or another folder"
        )
    before = load_config(folder / "config.toml")
    if config.block is None:
        # A run goes on with the blocks that it began with.
        config = dataclasses.replace(config, block=before.block)
    if _text(before) != _text(config):
        raise InputError(
            f"--out {folder}: holds a run of another config; resume it with {folder / 'config.toml'}"
        )
    is_done = (folder / "report.html").exists() and not any((folder / "blocks").glob(_FOLDERS["blocks"]))
    return config, is_done


def _earlier_run(folder: Path) -> list[Path]:
    """What a run before wrote into a folder; refuses what is not ours and stands in the way of a run."""
    for name in _FOLDERS:
        check_own_folder(folder / name)
    found = [folder / name for name in (*_OUTPUTS, *FILES) if os.path.lexists(folder / name)]
    for name in ("blocks", "checkpoints"):
        found += sorted((folder / name).glob(_FOLDERS[name]))
    for path in found:
        if path.is_dir() and not path.is_symlink():
            raise InputError(f"{path}: must be a file, but it is a folder; remove it or give another folder")
    return found


def _prepared(config: RunConfig, source: str) -> tuple[int, Any, Course]:
    """The number of edges, what chooses solvers, and the course, as one realization tells them."""
    with _about(source):
        network, task, _ = draw(config, 0, 1)
        arguments = training_arguments(config, network, task)
        choose = arguments.pop("solver")
        size = min(config.block or default_block(config.realizations), config.realizations)
        return network.k.shape[1], choose, make_course(network, task, size=size, **arguments)


def _text(config: RunConfig, **versions: str) -> str:
    return dump_config(dataclasses.replace(config, versions=versions))


def _start(folder: Path, config: RunConfig, *, keep: bool) -> None:
    """Make the output folder with `config.toml` in it, emptied of an earlier run unless that goes on."""
    folder.mkdir(parents=True, exist_ok=True)
    if not keep:
        for path in _earlier_run(folder):
            path.unlink()  # of a link the link alone
        # They go only if nobody else keeps anything in them.
        for name in _FOLDERS:
            with contextlib.suppress(OSError):
                (folder / name).rmdir()
    text = _text(config, **provenance())
    write_atomically(folder / "config.toml", lambda to: to.write_text(text, encoding="utf-8"))


def _announcement(config: RunConfig, course: Course, edges: int, left: int) -> str:
    blocks, devices = course.blocks(config.realizations), course.mesh.devices.size
    text = (
        f"{config.realizations} networks with {edges} learning degrees of freedom, "
        f"{config.steps} steps of {config.rule.kind} on {config.task.kind}"
    )
    if blocks > 1 or devices > 1:
        text += f"; {left} blocks of {course.size} to train on {devices} device{'s' if devices > 1 else ''}"
    if blocks < devices:
        text += f" (`block` of at most {-(-config.realizations // devices)} would give each of them work)"
    return text


def _block_file(folder: Path, number: int) -> Path:
    return folder / "blocks" / f"{number:06d}.nc"


def _run_dataset(
    config: RunConfig, drawn: tuple[Any, Any, Any], trained: Trained, schedule: np.ndarray
) -> xr.Dataset:
    """The dataset of a block, which may have been filled up."""
    network, task, test = drawn
    count = network.k.shape[0]
    trained = jax.tree.map(lambda leaf: leaf[:count], trained)
    run = as_run(network, task, trained, schedule, (0.0, 0.0))
    measure, name = (accuracy, "accuracy") if config.task.kind == "classification" else (task_cost, "cost")
    measured: dict[str, Any] = {}
    if test is not None:
        measured[f"train_{name}"] = _measured(measure, run.network, task)
        measured[f"test_{name}"] = _measured(measure, run.network, test)
    versions = json.dumps(provenance())
    return run_dataset(
        run, attributes={"seed": config.seed, "config": _text(config), "versions": versions}, **measured
    )


@eqx.filter_jit
def _measured(measure: Callable[..., Any], networks: Any, tasks: Any) -> Any:
    return jax.vmap(measure)(networks, tasks)


def _finish(folder: Path, blocks: int) -> None:
    """One dataset of all blocks, a typical network, figures and report; the blocks are no longer needed."""
    join_runs([_block_file(folder, number) for number in range(blocks)], folder / "run.nc")
    config = load_config(folder / "config.toml")
    with xr.open_dataset(folder / "run.nc", engine="h5netcdf") as run:
        typical = typical_realization(run)
        k = run["k"][typical].values
    network = jax.tree.map(lambda leaf: leaf[0], draw(config, typical, typical + 1)[0])
    facts = {"realization": typical, "seed": config.seed, "versions": provenance()}
    save_network(network.with_k(jnp.asarray(k)), folder / "network.json", **facts)
    write_report(sampled_run(folder / "run.nc", _SHOWN), folder, config=dump_config(config))
    for name in ("blocks", "checkpoints"):
        # With what was half-written when a process was killed.
        for path in (*(folder / name).glob(_FOLDERS[name]), *(folder / name).glob(".*.part")):
            path.unlink()
        with contextlib.suppress(OSError):
            (folder / name).rmdir()


def _summary(folder: Path, times: list[str]) -> Summary:
    """What came of a run, from its dataset."""
    lines = []
    with xr.open_dataset(folder / "run.nc", engine="h5netcdf") as run:
        cost, status = run["cost"][:, [0, -1]].values, run["status"].values
        first, last = np.median(cost, axis=0)
        lines.append(f"median cost {first:.3g} -> {last:.3g}")
        for name in ("train_accuracy", "test_accuracy", "train_cost", "test_cost"):
            if name in run:
                values = run[name].values
                lines.append(
                    f"{name.replace('_', ' ')} {values.mean():.3g} ± {values.std():.2g} over networks"
                )
        if "eigenvalues" in run:
            before, after = np.median(run["eigenvalues"][:, [0, -1], 0].values, axis=0)
            lines.append(f"lowest Hessian eigenvalue, median {before:.3g} -> {after:.3g}")
    codes, counts = np.unique(status[status != Status.OK], return_counts=True)
    if len(codes):
        listed = ", ".join(
            f"{count} {Status(code).name.lower()}" for code, count in zip(codes, counts, strict=True)
        )
        lines.append(f"failed realizations, kept at their last good state: {listed}")
    return Summary([*lines, *times, f"open {folder / 'report.html'}"], bool((status == Status.OK).any()))
