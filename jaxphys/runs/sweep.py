"""A sweep as a folder: points of like shapes are trained as one batch, and all end in one dataset."""

import dataclasses
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from jaxphys._checks import InputError
from jaxphys.config import Batch, RunConfig, Sweep, dump_config, likeness, load_config
from jaxphys.config.sweep import listed, load_sweep
from jaxphys.equilibrium import Status
from jaxphys.io import provenance, save_run, write_atomically
from jaxphys.io.files import write_together
from jaxphys.io.runs import write_netcdf
from jaxphys.reports.page import as_uri, png, render
from jaxphys.reports.pictures import mean_and_deviation, quantiles
from jaxphys.reports.run_plots import swept
from jaxphys.reports.style import number_text
from jaxphys.runs.batch import (
    Announced,
    RunOptions,
    join_blocks,
    raise_on_all_processes,
    remove_blocks,
    train_batch,
)
from jaxphys.runs.run import (
    Summary,
    check_folder,
    failures,
    follow_events,
    median_range,
    refuse_other,
    run_facts,
    start_folder,
    write_typical,
)
from jaxphys.training.devices import global_max, shut_down
from jaxphys.training.events import Finished

_DEFAULTS = RunOptions()

# What belongs to a point's own networks; it stays in the run.nc of that point.
_OF_POINTS = ("edges", "positions", "box")
# Bytes of the dataset of all points; a larger one holds only what has no further axis.
_LARGEST = 2 * 2**30
# Points that are listed one by one at the end.
_LISTED = 20
_MEASURES = ("test_accuracy", "train_accuracy", "test_cost", "train_cost")


def sweep_into(folder: Path, sweep: Sweep, options: RunOptions = _DEFAULTS) -> Summary:
    """Train all points of a sweep; write `points/`, `sweep.nc`, `figures/` and `report.html` into `folder`.

    `points/000/` and so on hold the `config.toml`, `run.nc` and `network.json` of each point, as if it had
    been trained alone. `sweep.nc` holds costs, records, learned `k` and measures of all of them along the
    axis `point`, whose coordinates are the swept keys; where points differ in size, what is missing is NaN
    (or -1 where numbers are whole).

    Arguments are those of `train_into`. Every point is checked before the first one is trained.
    """
    begin = time.perf_counter()
    is_first = jax.process_index() == 0
    if raise_on_all_processes(lambda: _is_finished(folder, sweep, options)):
        return _summary(folder, sweep) if is_first else Summary([], True)
    groups = raise_on_all_processes(lambda: _groups(sweep, options.source))
    if is_first:
        batches = f"{len(groups)} batch{'es' if len(groups) > 1 else ''}"
        options.report(Announced(f"{len(sweep.points)} points in {batches}"))
    times = np.zeros(2)
    for number, members in enumerate(groups):
        # One process looks; what another finds while files come and go might differ.
        is_done = is_first and options.resume and all(_is_whole(_point(folder, each)) for each in members)
        group = folder / "groups" / f"{number:03d}"
        if not global_max([is_done])[0]:
            configs = [sweep.points[point].config for point in members]
            outcome = _train_group(folder, group, configs, sweep, options)
            times += outcome.seconds
            if is_first:
                _split(folder, group, members, sweep, outcome.blocks)
            # The folder is begun: what follows goes on with it.
            options = dataclasses.replace(options, resume=True)
        if is_first:
            _remove_group(group)  # Of a group that was done, too: a process may have died over this.
    global_max([0])
    shut_down()
    if not is_first:
        return Summary([], True)
    trained = time.perf_counter() - begin
    _finish(folder, sweep)
    seconds = {"compile": float(times[0]), "training": float(times[1]), "in_all": trained}
    return _summary(folder, sweep, seconds)


def _is_finished(folder: Path, sweep: Sweep, options: RunOptions) -> bool:
    if not check_folder(folder, options):
        return False
    before = load_sweep(folder / "config.toml")
    if before is None or before.text() != sweep.text():
        raise refuse_other(folder)
    return (folder / "report.html").exists() and not (folder / "groups").exists()


def _groups(sweep: Sweep, source: str) -> list[list[int]]:
    """Points that one program can train, by their numbers; each point is checked on the way."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for number, point in enumerate(sweep.points):
        try:
            groups.setdefault(likeness(point.config), []).append(number)
        except InputError as error:
            raise InputError(f"{source} at {listed(point.values)}: {error}") from None
    return list(groups.values())


def _train_group(
    folder: Path, group: Path, configs: Sequence[RunConfig], sweep: Sweep, options: RunOptions
) -> Finished:
    """Train a group of points into a folder of its own."""
    noted = group / "config.toml"
    # One process looks, as the file may come and go.
    is_noted = options.resume and jax.process_index() == 0 and noted.exists()
    before = load_config(noted).block if is_noted else None
    block = int(global_max([before or configs[0].block or 0])[0]) or None

    def start(size: int) -> None:
        start_folder(folder, sweep.text(**provenance()), keep=options.resume)
        group.mkdir(parents=True, exist_ok=True)
        text = dump_config(dataclasses.replace(configs[0], block=size))
        write_atomically(noted, lambda to: to.write_text(text, encoding="utf-8"))

    return follow_events(train_batch(group, Batch(configs), block=block, options=options), options, start)


def _point(folder: Path, number: int) -> Path:
    return folder / "points" / f"{number:03d}"


def _is_whole(folder: Path) -> bool:
    """Whether a point's folder holds all that belongs there; this file is written last."""
    return (folder / "network.json").exists()


def _split(folder: Path, group: Path, members: Sequence[int], sweep: Sweep, blocks: int) -> None:
    """Give each point of a group the run that is its own."""
    batch = Batch([sweep.points[point].config for point in members])
    join_blocks(group, blocks, group / "run.nc")
    for member, first, last in zip(members, batch.begins[:-1], batch.begins[1:], strict=True):
        config, own = sweep.points[member].config, _point(folder, member)
        own.mkdir(parents=True, exist_ok=True)
        text = dump_config(dataclasses.replace(config, versions=provenance()))
        write_atomically(own / "config.toml", partial(Path.write_text, data=text, encoding="utf-8"))
        with xr.open_dataset(group / "run.nc", engine="h5netcdf") as run:
            save_run(
                run.isel(realization=slice(first, last)).load().assign_attrs(run_facts(config)),
                own / "run.nc",
            )
        write_typical(own, config)


def _remove_group(group: Path) -> None:
    """Remove what a group was trained with, or what is left of it."""
    remove_blocks(group)
    for name in ("run.nc", "config.toml"):
        (group / name).unlink(missing_ok=True)
    if group.exists():
        group.rmdir()


def _finish(folder: Path, sweep: Sweep) -> None:
    """The dataset of all points, pictures and report."""
    dataset = _joined(folder, sweep)
    write_netcdf(dataset, folder / "sweep.nc")
    pictures = {"final_cost": (png(swept(dataset, "final_cost", "final learning cost C")), "Final cost")}
    measure = next((name for name in _MEASURES if name in dataset), None)
    if measure is not None:
        words = measure.replace("_", " ")
        pictures[measure] = png(swept(dataset, measure, words)), words.capitalize()
    page = render(
        "sweep",
        keys=sweep.keys,
        pictures=[
            {"uri": as_uri(content), "heading": heading, "alt": f"{heading} against {', '.join(sweep.keys)}"}
            for content, heading in pictures.values()
        ],
        measures=[name for name in _MEASURES if name in dataset],
        rows=[_row(dataset, number, sweep) for number in range(len(sweep.points))],
        config=sweep.text(),
        provenance=provenance().items(),
    )
    contents = {f"figures/{name}.png": content for name, (content, _) in pictures.items()}
    write_together(folder, contents | {"report.html": page.encode()})
    if (folder / "groups").exists():
        (folder / "groups").rmdir()


def _joined(folder: Path, sweep: Sweep) -> xr.Dataset:
    """Everything that has realizations, of all points, along a new first axis."""
    parts = []
    for number in range(len(sweep.points)):
        with xr.open_dataset(_point(folder, number) / "run.nc", engine="h5netcdf") as run:
            names = [n for n in run.variables if not str(n).startswith("task_") and n not in _OF_POINTS]
            part = run[names]
            if part.nbytes * len(sweep.points) > _LARGEST:
                part = part[[n for n in names if set(part[n].dims) <= {"realization", "record"}]]
            part = part.load().drop_encoding()
        part["final_cost"] = part["cost"][:, -1]
        # With numbers along their axes, points of different sizes find one another.
        parts.append(part.assign_coords({dim: np.arange(size) for dim, size in part.sizes.items()}))
    whole = {name for part in parts for name in part.data_vars if part[name].dtype.kind in "iu"}
    fill = {name: -1 if name in whole else np.nan for part in parts for name in part.data_vars}
    joined = xr.concat(
        parts, "point", data_vars="all", join="outer", fill_value=fill, combine_attrs="drop_conflicts"
    )
    columns = {key: _coordinate([point.values[key] for point in sweep.points]) for key in sweep.keys}
    return joined.assign_coords({key: ("point", values) for key, values in columns.items()}).assign_attrs(
        config=sweep.text()
    )


def _coordinate(values: list[Any]) -> np.ndarray:
    """Numbers as numbers, all else as text."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return np.array(values)
    return np.array([str(value) for value in values], dtype=object)


def _own(dataset: xr.Dataset, name: str, number: int) -> np.ndarray:
    """What became of the realizations of a point that did not fail."""
    status = dataset["status"].values[number]
    return np.asarray(dataset[name].values[number][status == Status.OK], dtype=float)


def _row(dataset: xr.Dataset, number: int, sweep: Sweep) -> dict[str, Any]:
    status = dataset["status"].values[number]
    cost = _own(dataset, "final_cost", number)
    low, median, high = (number_text(each) for each in quantiles(cost)) if len(cost) else ("–", "–", "–")
    measured = [_own(dataset, name, number) for name in _MEASURES if name in dataset]
    return {
        "number": f"{number:03d}",
        "values": [str(sweep.points[number].values[key]) for key in sweep.keys],
        "realizations": int((status >= 0).sum()),
        "failed": ", ".join(f"{count} {name}" for name, count in failures(status).items()) or "none",
        "cost": median,
        "band": f"{low} to {high}",
        "measured": [
            f"{number_text(mean)} ± {number_text(deviation)}" if np.isfinite(mean) else "–"
            for mean, deviation in map(mean_and_deviation, measured)
        ],
    }


def _summary(folder: Path, sweep: Sweep, seconds: dict[str, float] | None = None) -> Summary:
    points: list[dict[str, Any]] = []
    with xr.open_dataset(folder / "sweep.nc", engine="h5netcdf") as dataset:
        for number, (values, _) in enumerate(sweep.points):
            status = dataset["status"].values[number]
            cost = _own(dataset, "final_cost", number)
            own = {"realizations": int((status >= 0).sum()), "failed": failures(status)}
            own |= {name: median_range(_own(dataset, name, number)) for name in _MEASURES if name in dataset}
            points.append({"values": values, "final_cost": median_range(cost), **own})
    lines = []
    for point in points[:_LISTED]:
        low, median, high = (number_text(point["final_cost"][name]) for name in ("low", "median", "high"))
        failed = ", ".join(f"{count} {name}" for name, count in point["failed"].items()) or "none"
        lines.append(
            f"{listed(point['values'])}: median final cost {median} ({low} to {high}), failed: {failed}"
        )
    if len(points) > _LISTED:
        lines.append(f"and {len(points) - _LISTED} more points")
    if seconds:
        lines.append(
            f"{seconds['compile']:.1f} s compile and first calls, {seconds['training']:.1f} s training, "
            f"{seconds['in_all']:.1f} s in all"
        )
    lines.append(f"open {folder / 'report.html'}")
    succeeded = any(point["realizations"] > sum(point["failed"].values()) for point in points)
    facts = {"points": points, "seconds": seconds, "folder": str(folder), "succeeded": succeeded}
    return Summary(lines, succeeded, facts)
