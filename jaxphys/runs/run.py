"""A run as a folder: a batch is trained, and becomes a dataset, a typical network, figures and a report.

In a program of many processes every one trains, and the first one does all else.
"""

import contextlib
import dataclasses
import os
import time
import tomllib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from jaxphys._checks import InputError
from jaxphys.config import Batch, RunConfig, draw, dump_config, load_config
from jaxphys.equilibrium import Status
from jaxphys.io import provenance, sampled_run, save_network, typical_realization, write_atomically
from jaxphys.io.files import check_own_folder
from jaxphys.io.runs import last_step
from jaxphys.reports.pictures import mean_and_deviation, quantiles
from jaxphys.reports.run_page import REPORT_FILES, write_report
from jaxphys.runs import batch as block_folder
from jaxphys.runs.batch import (
    RunEvent,
    RunOptions,
    join_blocks,
    raise_on_all_processes,
    remove_blocks,
    train_batch,
)
from jaxphys.training._train import default_spacing
from jaxphys.training.devices import shut_down
from jaxphys.training.events import Finished, Interrupted, Started
from jaxphys.training.host_loop import Stopped

_DEFAULTS = RunOptions()

# What runs and sweeps write besides their reports, and folders that they fill; `--force` removes all of it,
# and no more.
_OUTPUTS = ("config.toml", "run.nc", "network.json", "sweep.nc")
_OF_POINTS = ("config.toml", "run.nc", "network.json")
_OF_GROUPS = ("config.toml", "run.nc", *(f"{name}/{each}" for name, each in block_folder.FILES.items()))
_FOLDERS: dict[str, tuple[str, ...]] = {
    "figures": ("*.png", "*.svg"),
    **{name: (each,) for name, each in block_folder.FILES.items()},
    "points": tuple(f"[0-9]*/{name}" for name in _OF_POINTS),
    "groups": tuple(f"[0-9]*/{name}" for name in _OF_GROUPS),
}
# A report of more networks than this shows some of them, evenly chosen.
_SHOWN = 1000


class Summary(NamedTuple):
    """What a run says of itself at its end: `lines` for a reader, `facts` for a program (as JSON), and
    whether any realization did not fail.
    """

    lines: list[str]
    succeeded: bool
    facts: dict[str, Any] | None = None


def train_into(folder: Path, config: RunConfig, options: RunOptions = _DEFAULTS) -> Summary:
    """Train what `config` says; write `run.nc`, `network.json`, `figures/` and `report.html` into `folder`.

    In a program of many processes each calls it with the same arguments and a folder that all can see. Raises
    `InputError` before anything is written if the config or the folder cannot be used, and `Stopped` when all
    is saved after `options.stop` was set.
    """
    begin = time.perf_counter()
    is_first = jax.process_index() == 0
    config, is_finished = raise_on_all_processes(lambda: _settled(folder, config, options))
    if is_finished:
        return _summary(folder) if is_first else Summary([], True)

    def start(size: int) -> None:
        text = _text(dataclasses.replace(config, block=size), **provenance())
        start_folder(folder, text, keep=options.resume)

    events = train_batch(
        folder, Batch([config]), block=config.block, options=options, joined=folder / "run.nc"
    )
    outcome = follow_events(events, options, start)
    shut_down()
    if not is_first:
        return Summary([], True)
    setup = time.perf_counter() - begin - sum(outcome.seconds)
    begin = time.perf_counter()
    _finish(folder, outcome.blocks)
    report = time.perf_counter() - begin
    compiling, training = outcome.seconds
    seconds = {"set_up": setup, "compile": compiling, "training": training, "report": report}
    return _summary(folder, seconds, outcome.solver)


def follow_events(
    events: Generator[RunEvent, None, None], options: RunOptions, start: Callable[[int], None]
) -> Finished:
    """The last of a batch's events, which the first process reports; it also starts the folder.

    `start` is handed the size of blocks. Raises `Stopped` where training was asked to stop.
    """
    is_first = jax.process_index() == 0
    with closing(events):
        for event in events:
            if is_first:
                options.report(event)
            match event:
                case Started(plan):
                    # No process writes before the folder is there.
                    raise_on_all_processes(partial(start, plan.size) if is_first else _nothing)
                case Interrupted():
                    raise Stopped
                case Finished():
                    return event
    raise AssertionError("events of a batch end in one of these")


def _nothing() -> None:
    """What other processes do while the first one makes a folder."""


def check_folder(folder: Path, options: RunOptions) -> bool:
    """Whether an output folder holds a run or sweep to go on with; refuses one that cannot be used."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder}: must be a folder, but it is a file")
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(nearest, os.W_OK):
        raise InputError(f"--out {folder}: {nearest} must be writable, but it is not")
    found = _earlier_run(folder)
    if not found or options.force:
        return False
    if not options.resume:
        raise InputError(
            f"--out {folder}: already holds a run ({found[0].name}); give --resume, --force or another folder"
        )
    return True


def refuse_other(folder: Path, differ: Iterable[str] = ()) -> InputError:
    """What is said of a folder whose run has another config, and in which keys if they are known."""
    names = sorted(differ)
    where = f" ({', '.join(f'`{name}`' for name in names[:5])} differ{'' if len(names) > 1 else 's'})"
    return InputError(
        f"--out {folder}: holds a run of another config{where if names else ''}; resume it with "
        f"{folder / 'config.toml'}"
    )


def start_folder(folder: Path, text: str, *, keep: bool) -> None:
    """Make the output folder with `config.toml` in it, emptied of an earlier run unless that goes on."""
    folder.mkdir(parents=True, exist_ok=True)
    if not keep:
        found = _earlier_run(folder)
        for path in found:
            path.unlink()  # of a link the link alone
        emptied = {parent for path in found for parent in _between(folder, path)}
        # They are removed only where nothing else lies in them.
        for path in sorted({*emptied, *(folder / name for name in _FOLDERS)}, reverse=True):
            with contextlib.suppress(OSError):
                path.rmdir()
    write_atomically(folder / "config.toml", lambda to: to.write_text(text, encoding="utf-8"))


def write_typical(folder: Path, config: RunConfig) -> None:
    """The network of a folder's `run.nc` whose final cost is typical, as `network.json`."""
    with xr.open_dataset(folder / "run.nc", engine="h5netcdf") as run:
        typical = typical_realization(run)
        k = run["k"][typical].values
    network = jax.tree.map(lambda leaf: leaf[0], draw(config, typical, typical + 1)[0])
    facts: dict[str, Any] = {"realization": typical, "seed": config.seed, "versions": provenance()}
    save_network(network.with_k(jnp.asarray(k)), folder / "network.json", **facts)


def run_facts(config: RunConfig) -> dict[str, Any]:
    """Attributes of `run.nc` that tell where it comes from."""
    return {"seed": config.seed, "config": _text(config)}


def _settled(folder: Path, config: RunConfig, options: RunOptions) -> tuple[RunConfig, bool]:
    """The config that runs, and whether the folder holds all of it."""
    if not check_folder(folder, options):
        return config, False
    if any((folder / name).exists() for name in ("points", "groups", "sweep.nc")):
        raise refuse_other(folder)
    before = load_config(folder / "config.toml")
    config = _continued(config, before)
    differ = differing(before, config)
    if config.steps < before.steps and differ <= {"steps", "record_every"}:
        raise InputError(
            f"--out {folder}: holds a run of {before.steps} steps, which cannot be cut to {config.steps}"
        )
    if differ and not (config.steps > before.steps and differ <= {"steps", "record_every"}):
        raise refuse_other(folder, differ)
    is_shown = (folder / "report.html").exists() and not any((folder / "blocks").glob("*.nc"))
    return config, is_shown and last_step(folder / "run.nc") == config.steps


def _continued(config: RunConfig, before: RunConfig) -> RunConfig:
    """A run goes on with the blocks that it began with, and at the records that it began with."""
    if config.block is None:
        config = dataclasses.replace(config, block=before.block)
    if config.record_every is None and before.record_every is not None:
        config = dataclasses.replace(config, record_every=before.record_every)
    if config.record_every is None and config.steps > before.steps:
        config = dataclasses.replace(config, record_every=default_spacing(before.steps))
    return config


def differing(one: RunConfig, other: RunConfig) -> set[str]:
    """The dotted keys in which two configs differ."""

    def flat(table: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
        for name, value in table.items():
            if isinstance(value, dict):
                yield from flat(value, f"{prefix}{name}.")
            else:
                yield prefix + name, value

    first, second = (dict(flat(tomllib.loads(_text(each)))) for each in (one, other))
    return {name for name in {**first, **second} if first.get(name) != second.get(name)}


def _earlier_run(folder: Path) -> list[Path]:
    """What a run before wrote into a folder; refuses what is not ours and stands in the way of a run."""
    for name in _FOLDERS:
        check_own_folder(folder / name)
    found = [folder / name for name in (*_OUTPUTS, *REPORT_FILES) if os.path.lexists(folder / name)]
    for name in ("blocks", "checkpoints", "points", "groups"):
        for pattern in _FOLDERS[name]:
            inside = sorted((folder / name).glob(pattern))
            # Of what links lead to, nothing is ours.
            found += [
                path for path in inside if not any(each.is_symlink() for each in _between(folder, path))
            ]
    for path in found:
        if path.is_dir() and not path.is_symlink():
            raise InputError(f"{path}: must be a file, but it is a folder; remove it or give another folder")
    return found


def _between(folder: Path, path: Path) -> list[Path]:
    """The folders that a file lies in, within another folder."""
    return [parent for parent in path.parents if folder in parent.parents]


def _text(config: RunConfig, **versions: str) -> str:
    return dump_config(dataclasses.replace(config, versions=versions))


def _finish(folder: Path, blocks: int) -> None:
    """One dataset of all blocks, a typical network, figures and report; the blocks are no longer needed."""
    config = load_config(folder / "config.toml")
    join_blocks(folder, blocks, folder / "run.nc", run_facts(config))
    write_typical(folder, config)
    write_report(sampled_run(folder / "run.nc", _SHOWN), folder, config=dump_config(config))
    remove_blocks(folder, keep_checkpoints=True)


def failures(status: np.ndarray) -> dict[str, int]:
    """How many realizations failed, by the name of their status."""
    counts = {code.name.lower(): int((status == code).sum()) for code in Status if code != Status.OK}
    return {name: count for name, count in counts.items() if count}


def median_range(values: np.ndarray) -> dict[str, float]:
    """The median over realizations, and the 10 % and 90 % quantiles."""
    low, median, high = quantiles(np.asarray(values, dtype=float))
    return {"median": float(median), "low": float(low), "high": float(high)}


def _summary(folder: Path, seconds: dict[str, float] | None = None, solver: str = "") -> Summary:
    """What came of a run, from its dataset."""
    facts: dict[str, Any] = {}
    with xr.open_dataset(folder / "run.nc", engine="h5netcdf") as run:
        status = run["status"].values
        facts |= {"realizations": len(status), "failed": failures(status)}
        stages = {"before": 0, "after": -1}
        facts["cost"] = {stage: median_range(run["cost"][:, at].values) for stage, at in stages.items()}
        for name in ("train_accuracy", "test_accuracy", "train_cost", "test_cost"):
            if name in run:
                mean, deviation = mean_and_deviation(run[name].values)
                facts[name] = {"mean": mean, "standard_deviation": deviation}
        if "eigenvalues" in run:
            lowest = run["eigenvalues"][:, :, 0].values
            facts["lowest_eigenvalue"] = {stage: median_range(lowest[:, at]) for stage, at in stages.items()}
    facts |= {"seconds": seconds, "solver": solver or None, "folder": str(folder)}
    facts["succeeded"] = bool((status == Status.OK).any())
    return Summary(_lines(facts, folder), facts["succeeded"], facts)


def _lines(facts: dict[str, Any], folder: Path) -> list[str]:
    """A summary in words."""
    words = {"cost": "median cost", "lowest_eigenvalue": "lowest Hessian eigenvalue, median"}
    lines = []
    for name, fact in facts.items():
        if name in words:
            before, after = (fact[stage]["median"] for stage in ("before", "after"))
            lines.append(f"{words[name]} {before:.3g} -> {after:.3g}")
        elif name.endswith(("_accuracy", "_cost")):
            mean, deviation = fact["mean"], fact["standard_deviation"]
            lines.append(f"{name.replace('_', ' ')} {mean:.3g} ± {deviation:.2g} over networks")
    if facts["failed"]:
        counts = ", ".join(f"{count} {name}" for name, count in facts["failed"].items())
        lines.append(f"failed realizations, kept at their last good state: {counts}")
    if facts["seconds"]:
        names = {"set_up": "set-up", "compile": "compile and first call"}
        times = ", ".join(f"{each:.1f} s {names.get(name, name)}" for name, each in facts["seconds"].items())
        lines.append(times + (f" (solver: {facts['solver']})" if facts["solver"] else ""))
    return [*lines, f"open {folder / 'report.html'}"]
