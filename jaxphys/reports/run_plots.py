"""Pictures of a run, one function each, drawn from a dataset of `jaxphys.io.run_dataset`.

Every function returns a `matplotlib.figure.Figure` that pyplot knows nothing of, so pictures need
no display and no closing; `figure.savefig(path)` writes one. Realizations that failed are left
out and counted in the title; lines are medians over the others, bands their 10-90 % quantiles.
"""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from jaxphys._checks import InputError, require
from jaxphys.io import typical_realization
from jaxphys.reports.pictures import (
    Drawing,
    Scale,
    draw_band,
    draw_edges,
    draw_nodes,
    line_widths,
    map_figure,
    mark_nodes,
    node_size,
    quantiles,
)
from jaxphys.reports.run_data import (
    drawing_of,
    is_soon_over,
    kind_of,
    node_roles,
    of_realization,
    strength_label,
    succeeded,
    successful,
    variable,
)
from jaxphys.reports.style import (
    BLUE,
    GREY,
    INK,
    MODES,
    ORANGE,
    color_bar,
    legend_below,
    number_text,
    plain_axes,
    step_axis,
    styled,
)

# Lines of one panel that have names.
_MOST_LINES = 8
# What a node does: marker, colour, area relative to a plain node. Big ones are drawn first.
_ROLES: dict[str, tuple[str, str, float]] = {
    "grounded": ("v", "#1a1a1a", 4.0),
    "driven": ("^", "#f5c000", 4.0),
    "read out": ("s", "#ff6b4a", 2.0),
}


@styled
def learning_curves(dataset: xr.Dataset, *, examples: int = 8) -> Figure:
    """Learning cost against step: median and band, and up to `examples` single realizations.

    Needs `cost`, `step` and `status`. The axis is logarithmic and as deep as rounding (machine
    epsilon squared times the largest cost); curves that reach 0 leave it at the bottom.

    Raises `InputError` if a variable is missing or every realization failed.
    """
    cost, step = successful(dataset, "cost"), variable(dataset, "step")
    figure, axes = _panel(dataset)
    draw_band(axes, step, cost, BLUE, "median")
    # Spread over the ensemble, so that the choice depends on nothing but its size.
    shown = np.unique(np.linspace(0, len(cost) - 1, min(examples, len(cost))).astype(int))
    for number, curve in enumerate(cost[shown] if len(cost) > 1 else ()):
        label = "single realizations" if number == 0 else None
        axes.plot(step, curve, color="#666666", linewidth=0.5, label=label, zorder=1.5)
    positive = cost[cost > 0]
    if positive.size:
        floor = np.finfo(cost.dtype).eps ** 2 * positive.max()
        axes.set_yscale("log")
        axes.set_ylim(max(positive.min() / 2, floor), 2 * positive.max())
    axes.set_ylabel("learning cost C")
    _step_axis(axes, dataset)
    legend_below(figure)
    return figure


@styled
def spectrum_change(dataset: xr.Dataset) -> Figure:
    """Eigenvalues of the physical Hessian before and after learning, softest mode first, with bands.

    Needs `status` and the first and last record of `eigenvalues`. The axis is logarithmic where all
    are positive.

    Raises `InputError` if a variable is missing or every realization failed.
    """
    eigenvalues = successful(dataset, "eigenvalues")
    figure, axes = _panel(dataset)
    mode = np.arange(1, eigenvalues.shape[-1] + 1)
    marker = "o" if len(mode) <= 60 else None
    draw_band(axes, mode, eigenvalues[:, 0], GREY, "before learning", marker=marker)
    draw_band(axes, mode, eigenvalues[:, -1], BLUE, "after learning", marker=marker)
    _log_if_positive(axes, eigenvalues[:, [0, -1]])
    axes.set(xlabel="mode index, softest first", ylabel="Hessian eigenvalue λ (units of k)")
    axes.set_xlim(0.5, len(mode) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(figure)
    return figure


@styled
def eigenvalue_flow(dataset: xr.Dataset) -> Figure:
    """Eigenvalues of the physical Hessian against step: each mode's median, the softest with its band.

    Needs `eigenvalues`, `step` and `status`. Modes are numbered by rank at every step, so curves
    do not cross. The axis is logarithmic where all are positive.

    Raises `InputError` if a variable is missing or every realization failed.
    """
    eigenvalues, step = successful(dataset, "eigenvalues"), variable(dataset, "step")
    figure, axes = _panel(dataset)
    median = quantiles(eigenvalues)[1]
    curves = [np.column_stack([step, mode]) for mode in median.T]
    lines = LineCollection(curves, cmap=MODES, linewidths=0.9, label="every mode")
    lines.set_array(np.arange(1, len(curves) + 1))
    lines.set_clim(1, max(2, len(curves)))
    axes.add_collection(lines)
    draw_band(axes, step, eigenvalues[:, :, 0], ORANGE, "softest mode")
    axes.autoscale_view()
    _log_if_positive(axes, np.concatenate([median.ravel(), eigenvalues[:, :, 0].ravel()]))
    axes.set_ylabel("Hessian eigenvalue λ (units of k)")
    _step_axis(axes, dataset)
    bar = color_bar(figure, lines, axes, "mode index, softest first")
    bar.set_ticks([tick for tick in MaxNLocator(5, integer=True).tick_values(1, len(curves)) if tick >= 1])
    bar.ax.set_ylim(1, max(2, len(curves)))
    legend_below(figure)
    return figure


@styled
def conductance_and_dimension(dataset: xr.Dataset) -> Figure:
    """Effective conductance and effective dimension against step, each realization over its own start.

    Needs `step`, `status`, and `effective_conductance` or `effective_dimension` or both; draws what there is.
    The axis is logarithmic where values change by more than a factor of 5.

    Raises `InputError` if a variable is missing or every realization failed.
    """
    step = variable(dataset, "step")
    curves = {
        "effective_conductance": ("effective conductance", BLUE),
        "effective_dimension": ("effective dimension", ORANGE),
    }
    present = _present(dataset, list(curves))
    figure, axes = _panel(dataset)
    axes.axhline(1, color=GREY, linewidth=0.8)
    drawn = []
    for name in present:
        label, color = curves[name]
        values = successful(dataset, name)
        ratio = np.divide(values, values[:, :1], out=np.full_like(values, np.nan), where=values[:, :1] != 0)
        draw_band(axes, step, ratio, color, label)
        drawn.append(ratio[np.isfinite(ratio)])
    everything = np.concatenate(drawn)
    if everything.size and 0 < everything.min() < everything.max() / 5:
        axes.set_yscale("log")
    axes.set_ylabel("value / value at step 0")
    _step_axis(axes, dataset)
    legend_below(figure)
    return figure


@styled
def accuracy_distribution(dataset: xr.Dataset) -> Figure:
    """Accuracy of every realization as a dot, its mean and standard deviation: training and test samples.

    Needs `status`, and `train_accuracy` or `test_accuracy` or both; draws what there is. Dots of
    (nearly) equal accuracy are stacked.

    Raises `InputError` if a variable is missing or every realization failed.
    """
    rows = {"train_accuracy": ("training", BLUE), "test_accuracy": ("test", ORANGE)}
    present = _present(dataset, list(rows))[::-1]
    figure, axes = _panel(dataset, height=1.6 + 0.8 * len(present), band=False)
    for height, name in enumerate(present):
        label, color = rows[name]
        values = successful(dataset, name)
        values = values[np.isfinite(values)]
        axes.scatter(values, height + _stacked(values), s=16, color=color, alpha=0.6, linewidths=0)
        if values.size:
            mean, deviation = values.mean(), values.std()
            text = f"{label}: {mean:.3f} ± {deviation:.3f} (mean ± s.d.)"
            axes.plot([mean, mean], [height - 0.4, height + 0.4], color=color, linewidth=2, label=text)
    axes.set_yticks(range(len(present)), [rows[name][0] for name in present])
    axes.set(xlabel="accuracy (fraction of samples classified right)", ylim=(-0.5, len(present) - 0.5))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    legend_below(figure, reverse=True)
    return figure


@styled
def network_map(dataset: xr.Dataset, realization: int | None = None) -> Figure:
    """One network before and after learning: width and colour of an edge show its `k`.

    Needs `k`, `k_initial` and `edges`; `task_force`, `task_values`, `task_boundary` and
    `task_readout` mark the nodes that are driven, grounded (held at zero) and read out.
    `realization` is the successful one of (lower) median final cost if left out, which needs `cost`
    and `status`.

    Nodes lie as `run_data.drawing_of` has it; node networks are drawn without their self-couplings.
    Both panels share one `Scale`, judged by the `k` after learning.

    Raises `InputError` if a variable is missing, the realization does not exist, or all failed.
    """
    chosen = typical_realization(dataset) if realization is None else realization
    count = len(variable(dataset, "k"))
    require(0 <= chosen < count, "realization", f"lie between 0 and {count - 1}", f"it is {chosen}")
    ends = of_realization(dataset, "edges", chosen, rank=2)
    real = np.flatnonzero(ends[:, 0] != ends[:, 1])
    before, after = (variable(dataset, name)[chosen][real] for name in ("k_initial", "k"))
    drawing = drawing_of(dataset, chosen, ends[real])
    signed = not kind_of(dataset).positive_k
    scale = Scale(np.concatenate([before, after]), judged=after, signed=signed)
    widths = line_widths(drawing, scale.strength(np.maximum(np.abs(before), np.abs(after))))
    roles = node_roles(dataset, chosen, len(drawing.places))

    figure = map_figure(drawing, 2)
    panels = figure.subplots(1, 2)
    for axes, k, title in zip(panels, (before, after), _stage_titles(dataset, chosen), strict=True):
        lines = draw_edges(axes, drawing, k, scale, widths)
        _draw_roles(axes, drawing, roles)
        axes.set_title(title, loc="center")
    figure.suptitle(f"realization {chosen}", fontsize=10)
    color_bar(figure, lines, panels, strength_label(dataset), extend=scale.extend)
    if handles := _role_handles(roles):
        legend_below(figure, handles=handles, ncols=len(handles))
    return figure


@styled
def swept(dataset: xr.Dataset, name: str, label: str) -> Figure:
    """A measure `(point, realization)` of a sweep against the key that takes most values, with bands.

    Needs `status` and the coordinates of `point`, which are the swept keys; there is a line for each
    combination of the other ones (eight at most, evenly chosen). Realizations that failed are left out.

    Raises `InputError` if a variable is missing.
    """
    status, values = variable(dataset, "status"), variable(dataset, name)
    values = np.where((status == 0) & np.isfinite(values), values, np.nan)
    columns = {
        str(key): np.asarray(dataset[key].values) for key in dataset.coords if dataset[key].dims == ("point",)
    }
    along = max(columns, key=lambda key: len(np.unique(columns[key])))
    places, ticks = _places_along(columns[along])
    # What follows the key along the axis, as in a list, needs no line of its own.
    others = [
        key
        for key in columns
        if len(np.unique(columns[key])) > 1 and not _follows(columns[key], columns[along])
    ]
    lines = list(dict.fromkeys(zip(*(columns[key].tolist() for key in others), strict=True))) or [()]
    shown = np.unique(np.linspace(0, len(lines) - 1, min(_MOST_LINES, len(lines))).astype(int))
    figure = Figure(figsize=(6, 3.6 + 0.1 * len(shown)), layout="constrained")
    axes = figure.subplots()
    for color, line in zip(MODES(np.linspace(0.0, 1.0, len(shown))), [lines[n] for n in shown], strict=True):
        of_line = np.all([columns[key] == value for key, value in zip(others, line, strict=True)], axis=0)
        points = np.flatnonzero(np.broadcast_to(of_line, places.shape))
        points = points[np.argsort(places[points], kind="stable")]
        label_of_line = ", ".join(map(str, line)) or "median"
        across, opacity = values[points].T, 0.25 / len(shown)
        draw_band(axes, places[points], across, color, label_of_line, marker="o", opacity=opacity)
    known = values[np.isfinite(values)]
    _log_if_positive(axes, known if known.size and known.max() > 20 * known.min() else np.zeros(1))
    if ticks is not None:
        axes.set_xticks(np.arange(len(ticks)), ticks)
    elif places.min() > 0 and places.max() > 20 * places.min():
        axes.set_xscale("log")
    axes.set(xlabel=along, ylabel=label)
    failed = int(np.sum(status > 0))
    axes.set_title(
        "median and 10–90 % band over realizations" + (f" ({failed} failed, left out)" if failed else "")
    )
    plain_axes(axes)
    if others:
        legend_below(figure, ncols=4, title=", ".join(others), title_fontsize=9)
    return figure


def _follows(values: np.ndarray, leading: np.ndarray) -> bool:
    """Whether equal entries of `leading` always come with equal ones of `values`."""
    pairs = set(zip(values.tolist(), leading.tolist(), strict=True))
    return len(pairs) == len(np.unique(leading))


def _places_along(values: np.ndarray) -> tuple[np.ndarray, list[str] | None]:
    """Where values stand along an axis: numbers where they are, words side by side with their names."""
    if values.dtype.kind in "iuf":
        return values.astype(float), None
    names = list(dict.fromkeys(map(str, values)))
    return np.array([names.index(str(value)) for value in values], dtype=float), names


def _present(dataset: xr.Dataset, names: list[str]) -> list[str]:
    found = [name for name in names if name in dataset]
    if not found:
        listed = " or ".join(f"`{name}`" for name in names)
        raise InputError(f"Dataset must hold {listed} for this picture, but it holds neither.")
    return found


def _panel(dataset: xr.Dataset, *, height: float = 3.6, band: bool = True) -> tuple[Figure, Axes]:
    """A figure with one panel, titled by how many realizations it shows and how many failed."""
    kept = succeeded(dataset)
    figure = Figure(figsize=(6, height), layout="constrained")
    axes = figure.subplots()
    title = f"{kept.sum()} realizations" if kept.sum() != 1 else "1 realization"
    if band and kept.sum() > 1:
        title += ": median and 10–90 % band"
    if not kept.all():
        title += f" ({np.sum(~kept)} failed, left out)"
    axes.set_title(title)
    plain_axes(axes)
    return figure, axes


def _log_if_positive(axes: Axes, values: np.ndarray) -> None:
    known = values[~np.isnan(values)]
    if known.size and known.min() > 0:
        axes.set_yscale("log")


def _step_axis(axes: Axes, dataset: xr.Dataset) -> None:
    """Steps along x, logarithmic where learning is soon over."""
    step_axis(axes, variable(dataset, "step"), logarithmic=is_soon_over(dataset))


def _stacked(values: np.ndarray) -> np.ndarray:
    """Offsets within ±0.35 that set dots of (nearly) equal value apart."""
    span = np.ptp(values) if values.size else 0.0
    bins = (
        np.round((values - values.min()) / span * 60).astype(int) if span > 0 else np.zeros(len(values), int)
    )
    most = np.bincount(bins).max(initial=1)
    offsets = np.zeros(len(values))
    for number in np.unique(bins):
        inside = np.flatnonzero(bins == number)
        offsets[inside] = (np.arange(len(inside)) - (len(inside) - 1) / 2) * min(0.08, 0.7 / most)
    return offsets


def _draw_roles(axes: Axes, drawing: Drawing, roles: dict[str, np.ndarray]) -> None:
    """Plain nodes as grey dots; a role that some but not all nodes have gets its marker."""
    draw_nodes(axes, drawing, label="node")
    for role, nodes in roles.items():
        if nodes.any() and not nodes.all():
            marker, color, relative = _ROLES[role]
            area = relative * max(node_size(drawing), 22)
            mark_nodes(axes, drawing.places[nodes], color=color, marker=marker, size=area, label=role)


def _role_handles(roles: dict[str, np.ndarray]) -> list[Line2D]:
    """Legend entries; a role that all nodes have is named but not marked."""
    handles = []
    for role, nodes in roles.items():
        if nodes.any():
            marker, color, _ = _ROLES[role]
            label, marker = (f"{role}: all nodes", "") if nodes.all() else (role, marker)
            line = Line2D([], [], linestyle="", marker=marker, color=color, markersize=9, label=label)
            line.set_markeredgecolor(INK)
            handles.append(line)
    return handles


def _stage_titles(dataset: xr.Dataset, realization: int) -> list[str]:
    titles = ["before learning", "after learning"]
    if "cost" not in dataset:
        return titles
    cost = variable(dataset, "cost")[realization, [0, -1]]
    return [f"{title}, cost {number_text(value)}" for title, value in zip(titles, cost, strict=True)]
