"""The report of a run: pictures as files, and one HTML page that holds all of them and needs nothing else."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from markupsafe import Markup
from matplotlib.figure import Figure

from jaxphys._checks import InputError
from jaxphys.equilibrium import Status
from jaxphys.io import typical_realization
from jaxphys.io.files import check_own_folder, write_together
from jaxphys.reports import interactive, run_plots
from jaxphys.reports.page import as_json, as_uri, png, render, svg
from jaxphys.reports.pictures import quantiles
from jaxphys.reports.run_data import kind_of, succeeded, successful
from jaxphys.reports.style import number_text

_NEEDED = ("cost", "step", "k", "k_initial", "edges", "status")


class _Picture(NamedTuple):
    """A picture of the report; it is drawn if the dataset holds any of the variables `needs`."""

    draw: Callable[[xr.Dataset], Figure]
    needs: tuple[str, ...]
    heading: str
    caption: str


_PICTURES = (
    _Picture(
        run_plots.learning_curves,
        ("cost",),
        "Learning curves",
        "The learning cost against the learning step. The band holds the middle 80 % of the realizations; "
        "curves that leave the panel at the bottom reached 0 but for rounding.",
    ),
    _Picture(
        run_plots.accuracy_distribution,
        ("train_accuracy", "test_accuracy"),
        "Accuracy",
        "Each dot is one realization; the upright lines are the means.",
    ),
    _Picture(
        run_plots.network_map,
        ("k",),
        "A network before and after learning",
        "The realization whose final cost is the median. Width and colour of an edge tell its learning "
        "degree of freedom, on one scale for all steps; node networks are drawn without self-couplings. "
        "Where nodes have no positions, their places mean nothing.",
    ),
    _Picture(
        run_plots.spectrum_change,
        ("eigenvalues",),
        "Spectrum before and after",
        "Eigenvalues of the physical Hessian in ascending order: how stiff the network is along each of its "
        "modes.",
    ),
    _Picture(
        run_plots.eigenvalue_flow,
        ("eigenvalues",),
        "Spectrum during learning",
        "Each line is the median of one eigenvalue, counted by rank; the softest has its band.",
    ),
    _Picture(
        run_plots.conductance_and_dimension,
        ("effective_conductance", "effective_dimension"),
        "Effective conductance and dimension",
        "Effective conductance: how strongly the network answers a random force. Effective dimension: how "
        "many modes share the answer. Both are divided by their value at step 0 in the same realization.",
    ),
)
REPORT_FILES = (
    *(f"figures/{picture.draw.__name__}.{form}" for picture in _PICTURES for form in ("png", "svg")),
    "report.html",
)
"""All that `write_report` may write into a folder."""


def write_report(
    dataset: xr.Dataset, folder: Path | str, *, config: str = "", title: str = "A network that learned"
) -> list[Path]:
    """Write `figures/*.png`, the same as `.svg`, and a self-contained `report.html` into `folder`.

    The folder is made if it is missing. The page shows a summary in words, the pictures of `run_plots`
    for which `dataset` (from `jaxphys.io.run_dataset`) holds the variables, a table of numbers, `config` as
    it stands, and the attributes of the dataset. A browser that runs scripts makes the pictures interactive:
    numbers under the pointer, and a slider through the steps that also moves the network if the dataset holds
    `k_history`. Nothing in the page is loaded from elsewhere, and titles, configs and attributes are shown as
    text, whatever they hold. Realizations that failed are counted by status and left out; if all did, there
    are no pictures.

    Needs `cost`, `step`, `k`, `k_initial`, `edges` and `status`; raises `InputError` if one is missing, or if
    `figures` is a link to another place, before anything is written. Returns the paths of the files, the
    report last.
    """
    missing = [name for name in _NEEDED if name not in dataset]
    if missing:
        raise InputError(f"Dataset must hold `{missing[0]}` for a report, but it does not.")
    folder = Path(folder)
    check_own_folder(folder / "figures")
    figures, pictures = {}, {}
    if succeeded(dataset).any():
        wanted = [picture for picture in _PICTURES if any(name in dataset for name in picture.needs)]
        figures = {picture: picture.draw(dataset) for picture in wanted}
        pictures = {picture: png(figure) for picture, figure in figures.items()}
    page = _page(dataset, pictures, config, title)

    names = {picture: picture.draw.__name__ for picture in pictures}
    contents = {f"figures/{names[picture]}.png": content for picture, content in pictures.items()}
    contents |= {f"figures/{names[picture]}.svg": svg(figure) for picture, figure in figures.items()}
    contents["report.html"] = page.encode()
    return write_together(folder, contents)


def _page(dataset: xr.Dataset, pictures: dict[_Picture, bytes], config: str, title: str) -> str:
    return render(
        "run",
        interactive=bool(pictures),
        data=Markup(as_json(interactive.page_data(dataset))) if pictures else "",
        title=title,
        trained=_what_was_trained(dataset),
        results=_results(dataset),
        pictures=[
            {
                "name": picture.draw.__name__,
                "heading": picture.heading,
                "caption": picture.caption,
                "alt": _alt_text(dataset, picture),
                "uri": as_uri(png),
            }
            for picture, png in pictures.items()
        ],
        rows=_table(dataset),
        config=config,
        provenance=[(name, str(value)) for name, value in dataset.attrs.items()],
    )


def _what_was_trained(dataset: xr.Dataset) -> str:
    """Which networks, how many, on what, for how long."""
    facts, realizations = dataset.attrs, dataset.sizes["realization"]
    kind = kind_of(dataset)
    networks = _counted(realizations, kind.name)
    if kind.is_pairwise and int(facts.get("dimension", 1)) > 1:
        networks += f" in {facts['dimension']} dimensions"
    if "realizations" in facts:
        noun = networks.split(" ", 1)[1]
        networks = f"{int(facts['realizations'])} {noun}, {realizations} of which are shown here"
    each = ", each" if realizations > 1 else ""
    nodes = f"{_counted(int(facts['num_nodes']), 'node')} and " if "num_nodes" in facts else ""
    freedom = f"{_counted(int(_real_edges(dataset).sum(axis=1).max()), 'learning degree')} of freedom"
    steps = _counted(int(dataset["step"].values[-1]), "learning step")
    return f"{networks}{each} with {nodes}{freedom}. {_task(dataset)} Trained for {steps}."


def _task(dataset: xr.Dataset) -> str:
    """What was asked of the networks, as far as the shapes of the task show it."""
    if not {"task_inputs", "task_targets"} <= set(dataset.variables):
        return "Task: unknown."
    samples, terminals = dataset["task_inputs"].shape[-2:]
    targets = np.asarray(dataset["task_targets"].values)
    inputs, outputs = _counted(terminals, "input"), _counted(targets.shape[-1], "output")
    one_hot = targets.shape[-1] > 1 and np.isin(targets, (0, 1)).all() and (targets.sum(axis=-1) == 1).all()
    if "task_weights" in dataset:
        task = f"{_counted(samples, 'task')} at once, each one output wanted in answer to one input"
    elif "train_accuracy" in dataset or "test_accuracy" in dataset or (one_hot and samples > 1):
        task = f"classification of {_counted(samples, 'sample')}, {inputs}, {targets.shape[-1]} classes"
    elif samples == 1:
        task = f"a wanted response of {outputs} to {inputs}"
    else:
        task = f"regression on {_counted(samples, 'sample')}, {inputs}, {outputs}"
    return f"Task: {task}."


def _results(dataset: xr.Dataset) -> list[str]:
    """What came out, one sentence each; only the failures if every realization failed."""
    if not succeeded(dataset).any():
        return [_failures(dataset)]
    sentences = [f"The learning cost {_change(successful(dataset, 'cost'))}"]
    accuracies = [
        f"{_mean(successful(dataset, name))} of the {samples} samples"
        for name, samples in (("train_accuracy", "training"), ("test_accuracy", "test"))
        if name in dataset
    ]
    if accuracies:
        sentences.append(f"Classified right: {' and '.join(accuracies)}.")
    if "eigenvalues" in dataset:
        softest = successful(dataset, "eigenvalues")[:, :, 0]
        sentences.append(f"The lowest eigenvalue of the physical Hessian {_change(softest)}")
    return [*sentences, _failures(dataset)]


def _change(values: np.ndarray) -> str:
    """How the median over realizations moved from the first to the last record, with quantiles at both."""
    (low, start, high), (low_end, end, high_end) = (quantiles(values[:, at]) for at in (0, -1))
    verb = "stayed near" if np.isclose(start, end, rtol=0.01, atol=0) else "fell" if end < start else "rose"
    moved = f"{verb} {number_text(end)}" if verb == "stayed near" else ""
    moved = moved or f"{verb} from {number_text(start)} to {number_text(end)}"
    if len(values) == 1:
        return f"{moved}."
    return (
        f"{moved} in the median (10 % and 90 % quantiles: {number_text(low)} and {number_text(high)} before "
        f"learning, {number_text(low_end)} and {number_text(high_end)} after it)."
    )


def _mean(accuracy: np.ndarray) -> str:
    percent = 100 * accuracy[np.isfinite(accuracy)]
    if percent.size < 2:
        return f"{percent.mean():.1f} %" if percent.size else "an unknown part"
    return f"{percent.mean():.1f} ± {percent.std():.1f} % (mean ± standard deviation)"


def _failures(dataset: xr.Dataset) -> str:
    """How many realizations failed, by the name of their status."""
    status = dataset["status"].values[~succeeded(dataset)].tolist()
    if not status:
        return "No realization failed."
    known = {code.value: code.name for code in Status}
    names = Counter(known.get(code, f"unknown status {code}") for code in status)
    listed = ", ".join(f"{count} {name}" for name, count in sorted(names.items()))
    left_out = (
        "there is nothing to show" if succeeded(dataset).sum() == 0 else "numbers and pictures leave them out"
    )
    return f"{len(status)} of {dataset.sizes['realization']} realizations failed ({listed}); {left_out}."


def _table(dataset: xr.Dataset) -> list[dict[str, str]]:
    """Quantity, and its median and band at the first and the last record, as text."""
    if not succeeded(dataset).any():
        return []
    real = _real_edges(dataset)[succeeded(dataset)]
    first_k, last_k = (np.where(real, successful(dataset, name), np.nan) for name in ("k_initial", "k"))
    stages: dict[str, tuple[np.ndarray | None, np.ndarray]] = {
        "learning cost C": _first_and_last(dataset, "cost")
    }
    stages |= {
        f"{name} k of a network": (reduce(first_k, axis=1), reduce(last_k, axis=1))
        for name, reduce in (("smallest", np.nanmin), ("median", np.nanmedian), ("largest", np.nanmax))
    }
    if "eigenvalues" in dataset:
        first, last = _first_and_last(dataset, "eigenvalues")
        stages["lowest Hessian eigenvalue λ"] = (first[:, 0], last[:, 0])
        stages["highest Hessian eigenvalue λ"] = (first[:, -1], last[:, -1])
    for name in ("effective_conductance", "effective_dimension"):
        if name in dataset:
            stages[name.replace("_", " ")] = _first_and_last(dataset, name)
    for name, label in (("train_accuracy", "training accuracy"), ("test_accuracy", "test accuracy")):
        if name in dataset:
            stages[label] = (None, successful(dataset, name))
    return [{"quantity": quantity, **_cells(*values)} for quantity, values in stages.items()]


def _first_and_last(dataset: xr.Dataset, name: str) -> tuple[np.ndarray, np.ndarray]:
    values = successful(dataset, name)
    return values[:, 0], values[:, -1]


def _cells(first: np.ndarray | None, last: np.ndarray) -> dict[str, str]:
    cells = {}
    for stage, values in (("first", first), ("last", last)):
        low, median, high = (np.nan,) * 3 if values is None else quantiles(values)
        cells[f"{stage}_median"] = "–" if np.isnan(median) else number_text(median)
        spread = "–" if np.isnan(median) or len(last) == 1 else f"{number_text(low)} to {number_text(high)}"
        cells[f"{stage}_band"] = spread
    return cells


def _real_edges(dataset: xr.Dataset) -> np.ndarray:
    """`(realization, edge)`: False for padding, whose two ends are equal (in node networks all are real)."""
    ends = dataset["edges"].values
    real = np.ones(ends.shape[:-1], bool)
    if not kind_of(dataset).is_matrix:
        real = ends[..., 0] != ends[..., 1]
    return np.broadcast_to(real, dataset["k"].shape)


def _alt_text(dataset: xr.Dataset, picture: _Picture) -> str:
    """What a picture shows, for those who cannot see it: its kind, and the numbers that matter."""
    name = picture.draw.__name__
    if name == "learning_curves":
        change = _change(successful(dataset, "cost"))
        return f"Line plot of the learning cost against the learning step. It {change}"
    if name == "accuracy_distribution":
        return "Dot plot of the accuracy of every realization. " + " ".join(
            f"{label}: {_mean(successful(dataset, key))}."
            for key, label in (("train_accuracy", "Training"), ("test_accuracy", "Test"))
            if key in dataset
        )
    if name == "network_map":
        edges = int(_real_edges(dataset).sum(axis=1).max())
        return (
            f"Two drawings of realization {typical_realization(dataset)}, before learning on the left "
            f"and after it on the right; {edges} learning degrees of freedom told by width and colour."
        )
    if name in ("spectrum_change", "eigenvalue_flow"):
        against = "mode index, before and after learning" if name == "spectrum_change" else "learning step"
        softest = successful(dataset, "eigenvalues")[:, :, 0]
        return f"Line plot of Hessian eigenvalues against {against}. The lowest one {_change(softest)}"
    parts = [
        f"The {key.replace('_', ' ')} {_change(successful(dataset, key))}"
        for key in picture.needs
        if key in dataset
    ]
    return "Line plot against the learning step, relative to the start. " + " ".join(parts)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
