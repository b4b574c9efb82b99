"""Pictures of a run, one function each, drawn from a dataset of `jaxphys.io.run_dataset`.

Every function returns a `matplotlib.figure.Figure` that pyplot knows nothing of, so pictures need
no display and no closing; `figure.savefig(path)` writes one. Realizations that failed are left
out and counted in the title; lines are medians over the others, bands their 10-90 % quantiles.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import matplotlib
import networkx as nx
import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from jaxphys._checks import InputError, require
from jaxphys.io import typical_realization

INK = "#262626"
_STYLE: Any = {
    # DejaVu ships with matplotlib and holds every glyph used here.
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "text.usetex": False,
    "text.color": INK,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.facecolor": "white",
    "axes.edgecolor": "#808080",
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 9,
}
BLUE, ORANGE, GREY = "#034984", "#b75a26", "#8c8c8c"
# Light enough to recede and dark enough to be seen on white.
STRENGTH = ListedColormap(colormaps["YlGnBu"](np.linspace(0.2, 1.0, 256)), name="strength")
SIGNED = colormaps["RdBu_r"]
_MODES = ListedColormap(colormaps["viridis"](np.linspace(0.0, 0.9, 256)), name="modes")
_BAND = (0.1, 0.5, 0.9)
# Lines of one panel that have names.
_MOST_LINES = 8
# Decades of k that one colour bar resolves; weaker edges share its lowest colour.
_DECADES = 4
# What a node does: marker, colour, area relative to a plain node. Big ones are drawn first.
_ROLES: dict[str, tuple[str, str, float]] = {
    "grounded": ("v", "#1a1a1a", 4.0),
    "driven": ("^", "#f5c000", 4.0),
    "read out": ("s", "#ff6b4a", 2.0),
}

P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in the house style and leave the caller's matplotlib settings as they were."""

    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return styled


@styled
def learning_curves(dataset: xr.Dataset, *, examples: int = 8) -> Figure:
    """Learning cost against step: median and band, and up to `examples` single realizations.

    Needs `cost`, `step` and `status`. The axis is logarithmic and as deep as rounding (machine
    epsilon squared times the largest cost); curves that reach 0 leave it at the bottom.

    Raises `InputError` if a variable is missing or every realization failed.
    """
    cost, step = successful(dataset, "cost"), _variable(dataset, "step")
    figure, axes = _panel(dataset)
    _draw_band(axes, step, cost, BLUE, "median")
    # Spread over the ensemble, so that the choice depends on nothing but its size.
    shown = np.unique(np.linspace(0, len(cost) - 1, min(examples, len(cost))).astype(int))
    for number, curve in enumerate(cost[shown] if len(cost) > 1 else ()):
        label = "single realizations" if number == 0 else None
        axes.plot(step, curve, color="#666666", linewidth=0.5, label=label)
    positive = cost[cost > 0]
    if positive.size:
        floor = np.finfo(cost.dtype).eps ** 2 * positive.max()
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(max(positive.min() / 2, floor), 2 * positive.max())
    axes.set_ylabel("learning cost C")
    _step_axis(axes, dataset)
    _legend_below(figure)
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
    _draw_band(axes, mode, eigenvalues[:, 0], GREY, "before learning", marker)
    _draw_band(axes, mode, eigenvalues[:, -1], BLUE, "after learning", marker)
    _log_if_positive(axes, eigenvalues[:, [0, -1]])
    axes.set(xlabel="mode index, softest first", ylabel="Hessian eigenvalue λ (units of k)")
    axes.set_xlim(0.5, len(mode) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend_below(figure)
    return figure


@styled
def eigenvalue_flow(dataset: xr.Dataset) -> Figure:
    """Eigenvalues of the physical Hessian against step: each mode's median, the softest with its band.

    Needs `eigenvalues`, `step` and `status`. Modes are numbered by rank at every step, so curves
    do not cross. The axis is logarithmic where all are positive.

    Raises `InputError` if a variable is missing or every realization failed.
    """
    eigenvalues, step = successful(dataset, "eigenvalues"), _variable(dataset, "step")
    figure, axes = _panel(dataset)
    median = quantiles(eigenvalues)[1]
    curves = [np.column_stack([step, mode]) for mode in median.T]
    lines = LineCollection(curves, cmap=_MODES, linewidths=0.9, label="every mode")
    lines.set_array(np.arange(1, len(curves) + 1))
    lines.set_clim(1, max(2, len(curves)))
    axes.add_collection(lines)
    _draw_band(axes, step, eigenvalues[:, :, 0], ORANGE, "softest mode")
    _log_if_positive(axes, np.concatenate([median.ravel(), eigenvalues[:, :, 0].ravel()]))
    axes.autoscale_view()
    axes.set_ylabel("Hessian eigenvalue λ (units of k)")
    _step_axis(axes, dataset)
    bar = color_bar(figure, lines, axes, "mode index, softest first")
    bar.set_ticks([tick for tick in MaxNLocator(5, integer=True).tick_values(1, len(curves)) if tick >= 1])
    bar.ax.set_ylim(1, max(2, len(curves)))
    _legend_below(figure)
    return figure


@styled
def conductance_and_dimension(dataset: xr.Dataset) -> Figure:
    """Effective conductance and effective dimension against step, each realization over its own start.

    Needs `step`, `status`, and `effective_conductance` or `effective_dimension` or both; draws what there is.
    The axis is logarithmic where values change by more than a factor of 5.

    Raises `InputError` if a variable is missing or every realization failed.
    """
    step = _variable(dataset, "step")
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
        _draw_band(axes, step, ratio, color, label)
        drawn.append(ratio[np.isfinite(ratio)])
    everything = np.concatenate(drawn)
    if everything.size and 0 < everything.min() < everything.max() / 5:
        axes.set_yscale("log")
    axes.set_ylabel("value / value at step 0")
    _step_axis(axes, dataset)
    _legend_below(figure)
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
    _legend_below(figure, reverse=True)
    return figure


@styled
def network_map(dataset: xr.Dataset, realization: int | None = None) -> Figure:
    """One network before and after learning: width and colour of an edge tell its `k`.

    Needs `k`, `k_initial` and `edges`; `task_force`, `task_values`, `task_boundary` and
    `task_readout` mark the nodes that are driven, grounded (held at zero) and read out.
    `realization` is the successful one of (lower) median final cost if left out, which needs `cost`
    and `status`.

    Nodes sit at `positions` (bonds through the sides of a periodic `box` are drawn as two
    halves; three dimensions in oblique projection), else where a force-directed layout puts
    them; those of node networks on a circle, without their self-couplings. Both panels share one
    scale: linear from 0 (both ways where `k` has both signs), but logarithmic where the largest
    `k` is more than 5 times the median after learning.

    Raises `InputError` if a variable is missing, the realization does not exist, or all failed.
    """
    chosen = typical_realization(dataset) if realization is None else realization
    count = len(_variable(dataset, "k"))
    require(0 <= chosen < count, "realization", f"lie between 0 and {count - 1}", f"it is {chosen}")
    ends = of_realization(dataset, "edges", chosen, rank=2)
    real = np.flatnonzero(ends[:, 0] != ends[:, 1])
    before, after = (_variable(dataset, name)[chosen][real] for name in ("k_initial", "k"))
    places = node_places(dataset, chosen, ends[real])
    box = of_realization(dataset, "box", chosen, rank=1) if "box" in dataset else None
    segments, owners = line_pieces(ends[real], places, box)
    segments, places = in_plane(segments), in_plane(places)
    scale = Scale(before, after, signed=dataset.attrs.get("network") == "NodeNetwork")
    widest = widest_line(segments, scale.strength(np.maximum(np.abs(before), np.abs(after)))[owners])
    roles = node_roles(dataset, chosen, len(places))

    figure = _map_figure(places)
    panels = figure.subplots(1, 2)
    for axes, k, title in zip(panels, (before, after), _stage_titles(dataset, chosen), strict=True):
        lines = _draw_edges(axes, segments, k[owners], scale, widest)
        _draw_nodes(axes, places, roles)
        axes.set_title(title, loc="center")
    figure.suptitle(f"realization {chosen}", fontsize=10)
    color_bar(figure, lines, panels, strength_label(dataset), extend=scale.extend)
    if handles := _role_handles(roles):
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


@styled
def swept(dataset: xr.Dataset, name: str, label: str) -> Figure:
    """A measure `(point, realization)` of a sweep against the key that takes most values, with bands.

    Needs `status` and the coordinates of `point`, which are the swept keys; there is a line for each
    combination of the other ones (eight at most, evenly chosen). Realizations that failed are left out.

    Raises `InputError` if a variable is missing.
    """
    status, values = _variable(dataset, "status"), _variable(dataset, name)
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
    for color, line in zip(_MODES(np.linspace(0.0, 1.0, len(shown))), [lines[n] for n in shown], strict=True):
        of_line = np.all([columns[key] == value for key, value in zip(others, line, strict=True)], axis=0)
        points = np.flatnonzero(np.broadcast_to(of_line, places.shape))
        points = points[np.argsort(places[points], kind="stable")]
        _draw_band(
            axes,
            places[points],
            values[points].T,
            color,
            ", ".join(map(str, line)) or "median",
            "o",
            1 / len(shown),
        )
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
    axes.tick_params(which="both", color=GREY, labelcolor=INK, labelsize=9)
    axes.grid(color="#e6e6e6", linewidth=0.7)
    if others:
        figure.legend(loc="outside lower center", ncols=4, title=", ".join(others), title_fontsize=9)
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


def succeeded(dataset: xr.Dataset) -> np.ndarray:
    """Which realizations ended well, `(realization,)` booleans. Raises `InputError` without `status`."""
    return _variable(dataset, "status") == 0


def successful(dataset: xr.Dataset, name: str) -> np.ndarray:
    """Values of a variable in the realizations that ended well, `(realization, …)`, NaN where not finite.

    Raises `InputError` if the variable or `status` is missing or every realization failed.
    """
    values, kept = _variable(dataset, name), succeeded(dataset)
    if not kept.any():
        raise InputError("Dataset must hold a realization that ended well, but every one failed.")
    return np.where(np.isfinite(values[kept]), values[kept], np.nan)


def quantiles(values: np.ndarray) -> np.ndarray:
    """10 %, 50 % and 90 % quantiles over the first axis, `(3, …)`; NaN where no realization has a number.

    What is infinite was never measured.
    """
    result = np.full((len(_BAND), *values.shape[1:]), np.nan)
    values = np.where(np.isfinite(values), values, np.nan)
    known = ~np.isnan(values).all(axis=0)
    result[:, known] = np.nanquantile(values[:, known], _BAND, axis=0)
    return result


def mean_and_deviation(values: np.ndarray) -> tuple[float, float]:
    """Of the values that are finite; NaN where there are none."""
    known = values[np.isfinite(values)]
    return (float(known.mean()), float(known.std())) if known.size else (np.nan, np.nan)


def number_text(value: float | np.floating[Any]) -> str:
    """A number for readers: three digits, powers of ten as superscripts.

    >>> number_text(0.0123), number_text(4.56e-07)
    ('0.0123', '4.56×10⁻⁷')
    """
    digits, _, power = f"{value:.3g}".replace("-", "−").partition("e")
    if not power:
        return digits
    raised = power.lstrip("+").replace("−0", "−").lstrip("0")
    return f"{digits}×10{raised.translate(str.maketrans('−0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def _variable(dataset: xr.Dataset, name: str) -> np.ndarray:
    if name not in dataset:
        raise InputError(f"Dataset must hold `{name}` for this, but it does not.")
    return np.asarray(dataset[name].values)


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
    # Given here and not in _STYLE: ticks may be made when the figure is drawn, outside our context.
    axes.tick_params(which="both", color=GREY, labelcolor=INK, labelsize=9)
    axes.grid(color="#e6e6e6", linewidth=0.7)
    return figure, axes


def _draw_band(
    axes: Axes,
    x: np.ndarray,
    values: np.ndarray,
    color: Any,
    label: str,
    marker: str | None = None,
    weight: float = 1.0,
) -> None:
    """Median over realizations, and the band between the 10 % and 90 % quantiles."""
    low, median, high = quantiles(values)
    if len(values) > 1:
        axes.fill_between(x, low, high, color=color, alpha=0.25 * weight, linewidth=0)
    axes.plot(x, median, color=color, linewidth=1.8, marker=marker, markersize=3, label=label, zorder=3)


def _legend_below(figure: Figure, **options: Any) -> None:
    """Below the panel, where it covers no data."""
    figure.legend(loc="outside lower center", ncols=2, **options)


def color_bar(figure: Figure, drawn: Any, axes: Any, label: str, **options: Any) -> Any:
    """The colour bar of something drawn, beside the axes that it belongs to, in the house style."""
    bar = figure.colorbar(drawn, ax=axes, label=label, pad=0.02, **options)
    bar.outline.set_visible(False)
    bar.ax.tick_params(which="both", color=GREY, labelcolor=INK, labelsize=9)
    return bar


def _log_if_positive(axes: Axes, values: np.ndarray) -> None:
    known = values[~np.isnan(values)]
    if known.size and known.min() > 0:
        axes.set_yscale("log")


def _step_axis(axes: Axes, dataset: xr.Dataset) -> None:
    """Steps along x: logarithmic from the second record on where a tenth of them tells the whole story."""
    step = _variable(dataset, "step")
    axes.set_xlabel("learning step")
    axes.set_xlim(step[0], max(step[-1], step[0] + 1))
    if is_soon_over(dataset):
        axes.set_xscale("symlog", linthresh=step[1], linscale=0.3)
        decades = 10.0 ** np.arange(np.ceil(np.log10(step[1])), np.log10(step[-1]) + 1e-9)
        axes.set_xticks([0, *decades], ["0", *(f"{decade:.0f}" for decade in decades)])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("learning step (logarithmic)")


def is_soon_over(dataset: xr.Dataset) -> bool:
    """Whether a tenth of the steps tells the whole story, so that they belong on a logarithmic axis."""
    step = _variable(dataset, "step")
    early = step <= step[-1] / 10
    if len(step) < 3 or early.sum() < 2:
        return False
    soon_over = False
    if "cost" in dataset:
        median = quantiles(successful(dataset, "cost"))[1]
        soon_over = bool(median[early][-1] <= max(10 * median[-1], 1e-12 * median[0]) < median[0])
    return soon_over or bool(early.mean() > 0.5)


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


def of_realization(dataset: xr.Dataset, name: str, realization: int, *, rank: int) -> np.ndarray:
    """A variable of one realization, whether or not all of them share it; `rank` axes without realization."""
    values = _variable(dataset, name)
    return values[realization] if values.ndim > rank else values


def node_places(dataset: xr.Dataset, realization: int, ends: np.ndarray) -> np.ndarray:
    """Where to draw the nodes, `(N, d)`."""
    nodes = int(dataset.attrs.get("num_nodes", ends.max(initial=0) + 1))
    if "positions" in dataset:
        return of_realization(dataset, "positions", realization, rank=2)
    if dataset.attrs.get("network") == "NodeNetwork":
        angle = np.pi / 2 - 2 * np.pi * np.arange(nodes) / nodes
        return np.column_stack([np.cos(angle), np.sin(angle)])
    return layout(ends, nodes)


def layout(ends: np.ndarray, nodes: int) -> np.ndarray:
    """`(N, 2)`: where to draw the nodes of a graph that has no positions."""
    graph = nx.Graph(ends.tolist())
    graph.add_nodes_from(range(nodes))
    # Kamada-Kawai is the clearer layout, but it needs one component and takes N³ operations.
    if nodes <= 200 and nx.is_connected(graph):
        found = nx.kamada_kawai_layout(graph, pos=nx.spring_layout(graph, seed=0))
    else:
        found = nx.spring_layout(graph, seed=0)
    return np.array([found[node] for node in range(nodes)])


def line_pieces(
    ends: np.ndarray, places: np.ndarray, box: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Line pieces `(S, 2, d)` and the edge that each belongs to; two halves for bonds through the box."""
    start, stop = places[ends[:, 0]], places[ends[:, 1]]
    shift = np.zeros_like(start) if box is None else box * np.round((start - stop) / box)
    through = shift.any(axis=1)
    first = np.where(through[:, None], (start + stop + shift) / 2, stop)
    pieces = np.stack([start, first], axis=1)
    others = np.stack([stop, (start + stop - shift) / 2], axis=1)[through]
    return np.concatenate([pieces, others]), np.concatenate([np.arange(len(ends)), np.flatnonzero(through)])


def in_plane(points: np.ndarray) -> np.ndarray:
    """Points of any dimension in the plane: lines at height 0, space in oblique projection."""
    if points.shape[-1] == 1:
        return np.concatenate([points, np.zeros_like(points)], axis=-1)
    if points.shape[-1] == 3:
        return points[..., :2] + points[..., 2:] * np.array([0.35, 0.25])
    return points


class Scale:
    """How `k` turns into colour and width: one scale for a network before and after learning."""

    def __init__(self, before: np.ndarray, after: np.ndarray, *, signed: bool):
        k = np.concatenate([before, after])
        largest = float(np.abs(k).max(initial=0.0)) or 1.0
        self.signed = signed or bool((k < 0).any())
        self.colors: Colormap = SIGNED if self.signed else STRENGTH
        self.extend = "neither"
        self.norm = Normalize(-largest if self.signed else 0, largest)
        positive = after[after > 0]
        if self.signed or not positive.size:
            return
        if largest > 5 * np.median(positive):
            lowest = max(float(k[k > 0].min()), largest * 10.0**-_DECADES)
            self.extend = "min" if k.min() < lowest else "neither"
            self.norm = LogNorm(lowest, largest, clip=True)

    def shown(self, k: np.ndarray) -> np.ndarray:
        """What the colour bar has a colour for: 0 has no logarithm and takes the weakest."""
        return np.maximum(k, float(self.norm.vmin or 0.0)) if not self.signed else k

    def strength(self, k: np.ndarray) -> np.ndarray:
        """Between 0 and 1, by absolute value."""
        place = np.asarray(self.norm(self.shown(k)))
        return np.abs(2 * place - 1) if self.signed else place


def _map_figure(places: np.ndarray) -> Figure:
    """As high as the network needs when it fills half of the width."""
    width, height = np.ptp(places, axis=0)
    shape = np.clip(height / width if width > 0 else 1.0, 0.5, 1.2)
    return Figure(figsize=(9, 1.2 + 3.9 * shape), layout="constrained")


def widest_line(segments: np.ndarray, strength: np.ndarray) -> float:
    """Line width in points with which the edges cover no more than about a fifth of a panel."""
    side = max(float(np.ptp(segments.reshape(-1, 2), axis=0).max()), 1e-12)
    lengths = np.linalg.norm(segments[:, 1] - segments[:, 0], axis=1) / side
    panel = 270.0
    return float(np.clip(0.2 * panel / max(float(lengths @ strength), 1e-12), 1.2, 4.5))


def _draw_edges(
    axes: Axes, segments: np.ndarray, k: np.ndarray, scale: Scale, widest: float
) -> LineCollection:
    """All edges as one collection, strong ones on top."""
    order = np.argsort(np.abs(k), kind="stable")
    k = k[order]
    # The weakest edges stay visible, but couplings of a full matrix may fade to nothing.
    widths = (0.1 if scale.signed else 0.5) + widest * scale.strength(k)
    lines = LineCollection(list(segments[order]), cmap=scale.colors, norm=scale.norm, linewidths=widths)
    lines.set_array(scale.shown(k))
    lines.set_capstyle("round")
    axes.add_collection(lines)
    axes.autoscale_view()
    axes.margins(0.05)
    axes.set_aspect("equal")
    axes.set_axis_off()
    return lines


def _draw_nodes(axes: Axes, places: np.ndarray, roles: dict[str, np.ndarray]) -> None:
    """Plain nodes as grey dots; a role that some but not all nodes have gets its marker."""
    size = float(np.clip(1200 / len(places), 4, 25))
    plain: dict[str, Any] = {"color": "#707070", "zorder": 3, "linewidths": 0, "label": "node"}
    axes.scatter(places[:, 0], places[:, 1], s=size, clip_on=False, **plain)
    for role, nodes in roles.items():
        if nodes.any() and not nodes.all():
            marker, color, relative = _ROLES[role]
            x, y, area = places[nodes, 0], places[nodes, 1], relative * max(size, 22)
            look: dict[str, Any] = {"marker": marker, "color": color, "edgecolors": INK, "linewidths": 1}
            axes.scatter(x, y, s=area, zorder=4, clip_on=False, label=role, **look)


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
    cost = _variable(dataset, "cost")[realization, [0, -1]]
    return [f"{title}, cost {number_text(value)}" for title, value in zip(titles, cost, strict=True)]


def strength_label(dataset: xr.Dataset) -> str:
    """What `k` is called in this kind of network, with its unit."""
    names = {"SpringNetwork": "spring constant k", "NodeNetwork": "coupling W"}
    return names.get(dataset.attrs.get("network", ""), "conductance k") + " (simulation units)"


def node_roles(dataset: xr.Dataset, realization: int, nodes: int) -> dict[str, np.ndarray]:
    """Role → which nodes have it, `(N,)` booleans; none where the dataset says nothing."""

    def touched(name: str) -> np.ndarray:
        """`(rows, N)`: nodes that each row of the variable acts on, rounding errors aside."""
        if name not in dataset:
            return np.zeros((0, nodes), bool)
        rows = np.abs(_variable(dataset, name)[realization])
        rows = rows.reshape(len(rows), nodes, rows.shape[1] // nodes).max(axis=2, initial=0.0)
        return rows > 1e-9 * rows.max(axis=1, keepdims=True, initial=0.0)

    held = touched("task_boundary")
    driven = np.zeros(len(held), bool)
    if "task_values" in dataset:
        values = _variable(dataset, "task_values")[realization]
        driven[: values.shape[1]] = values.any(axis=0)
    # Rows that project out free motions reach over many nodes; a ground is one node.
    grounds = held[~driven & (held.sum(axis=1) == 1)]
    return {
        "grounded": grounds.any(axis=0),
        "driven": touched("task_force").any(axis=0) | held[driven].any(axis=0),
        "read out": touched("task_readout").any(axis=0),
    }
