"""What pictures are made of: networks in the plane, values on edges and nodes, matrices, bands."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import networkx as nx
import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from jaxphys.reports.style import INK, SIGNED, STRENGTH, plain_axes

Line: TypeAlias = str | tuple[int, tuple[int, ...]]
"""A line style of matplotlib: a word, or an offset and the lengths of dashes and gaps."""
QUANTILES = (0.1, 0.5, 0.9)
# Width of one panel of a map in points, about which line widths are chosen.
_PANEL = 270.0
# How much of the size of a network what is behind shows beside what is before it.
_OBLIQUE = np.array([0.35, 0.25])


# Values as colour and width


class Scale:
    """How values turn into colour and strength; one scale may serve several panels.

    Colours are linear from 0, or from minus the largest where values have both signs. They are logarithmic
    where the largest value is more than 5 times the median: then `decades` of them have colours of their own,
    and what is weaker shares the lowest one.

    - `norm`, `colors`: for matplotlib. `is_signed`, `is_logarithmic`: which of these it is.
    - `extend`: which end of a colour bar takes values that lie beyond it, as `Figure.colorbar` has it.

    **Arguments**

    - `values`: all values that the scale is for; those that are not finite take no part.
    - `judged`: those whose median decides whether the scale is logarithmic; `values` if left out.
    - `signed`: both signs whatever the values are. `logarithmic`: whether to be, in place of the rule above.
    - `largest`: where the scale ends, in place of the largest value.
    """

    def __init__(
        self,
        values: Float[np.ndarray, "..."],
        *,
        judged: Float[np.ndarray, "..."] | None = None,
        signed: bool = False,
        logarithmic: bool | None = None,
        decades: int = 4,
        largest: float | None = None,
    ):
        known = values[np.isfinite(values)]
        judged = values if judged is None else judged
        top = largest or float(np.abs(known).max(initial=0.0)) or 1.0
        self.is_signed = signed or bool((known < 0).any())
        self.colors: Colormap = SIGNED if self.is_signed else STRENGTH
        beyond = bool((known > top).any()), self.is_signed and bool((known < -top).any())
        self.extend = {(True, True): "both", (True, False): "max", (False, True): "min"}.get(
            beyond, "neither"
        )
        self.is_logarithmic = False
        self.norm = Normalize(-top if self.is_signed else 0, top)
        positive = judged[np.isfinite(judged) & (judged > 0)]
        if self.is_signed or not positive.size:
            return
        # What is 0 but for rounding says nothing about the range.
        lowest = max(float(known[known > 1e-9 * top].min(initial=top)), top * 10.0**-decades)
        if logarithmic is None:
            logarithmic = top > 5 * float(np.median(positive))
        if logarithmic and lowest < top:
            self.is_logarithmic = True
            self.extend = "min" if known.min() < lowest else "neither"
            self.norm = LogNorm(lowest, top, clip=True)

    def shown(self, values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """What the scale has a colour for: 0 has no logarithm and takes the weakest; NaN has none."""
        if self.is_signed:
            return values
        return np.where(np.isfinite(values), np.maximum(values, float(self.norm.vmin or 0.0)), np.nan)

    def strength(self, values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Between 0 and 1, by absolute value; 0 where there is no number."""
        place = np.clip(np.asarray(self.norm(np.nan_to_num(self.shown(values), nan=0.0)), dtype=float), 0, 1)
        return np.where(np.isfinite(values), np.abs(2 * place - 1) if self.is_signed else place, 0.0)


# Networks in the plane


class Drawing(NamedTuple):
    """Where a network lies in the plane.

    - `places`: `(N, 2)` of the nodes. `ends`: `(M, 2)` the nodes that each edge joins.
    - `pieces`: `(S, 2, 2)` lines, two for a bond through the sides of a box; `owners`: `(S,)` their edges.
    - `projection`: `(d, 2)` takes vectors to the plane.
    - `remark`: a sentence on places that are not those of the network; may be empty.
    """

    places: Float[np.ndarray, "N 2"]
    ends: Int[np.ndarray, "M 2"]
    pieces: Float[np.ndarray, "S 2 2"]
    owners: Int[np.ndarray, " S"]
    projection: Float[np.ndarray, "d 2"]
    remark: str


def drawing(
    ends: Int[np.ndarray, "M 2"],
    num_nodes: int,
    *,
    positions: Float[np.ndarray, "N d"] | None = None,
    box: Float[np.ndarray, " d"] | None = None,
    layout: Literal["forces", "circle"] = "forces",
) -> Drawing:
    """Where to draw a network that joins the nodes `ends` of each edge.

    Nodes lie at `positions`, with bonds through the sides of a periodic `box` drawn as two halves; without
    positions where a `layout` puts them. Lines lie at height 0. Solids are seen along the direction in which
    they are thinnest, or, if there is none, along the third axis, a little from the side.
    """
    if positions is None:
        places = _circle(num_nodes) if layout == "circle" else _laid_out(ends, num_nodes)
        box, remark = None, "Places of nodes mean nothing; they were chosen for a clear picture."
    else:
        places, remark = np.asarray(positions, dtype=float), ""
    projection = np.eye(places.shape[1], 2)
    if places.shape[1] == 3:
        projection, remark = _view(places)
    pieces, owners = _line_pieces(ends, places, box)
    return Drawing(places @ projection, ends, pieces @ projection, owners, projection, remark)


def _view(places: Float[np.ndarray, "N 3"]) -> tuple[Float[np.ndarray, "3 2"], str]:
    """From where to look at a solid."""
    _, extents, axes = np.linalg.svd(places - places.mean(axis=0), full_matrices=False)
    if len(extents) == 3 and extents[2] < 0.8 * extents[1]:
        # The decomposition leaves signs open.
        axes = axes * np.sign(axes[np.arange(3), np.abs(axes).argmax(axis=1)])[:, None]
        return axes[:2].T, "Seen along the direction in which the network is thinnest."
    return np.vstack([np.eye(2), _OBLIQUE]), "Seen along the third axis, a little from the side."


def _circle(num_nodes: int) -> Float[np.ndarray, "N 2"]:
    """Node 0 at the top, the others clockwise."""
    angle = np.pi / 2 - 2 * np.pi * np.arange(num_nodes) / num_nodes
    return np.column_stack([np.cos(angle), np.sin(angle)])


def _laid_out(ends: Int[np.ndarray, "M 2"], num_nodes: int) -> Float[np.ndarray, "N 2"]:
    """Places that edges as springs would give a graph."""
    graph = nx.Graph(ends.tolist())
    graph.add_nodes_from(range(num_nodes))
    # Kamada-Kawai is the clearer layout, but it needs one component and takes N³ operations.
    if num_nodes <= 200 and nx.is_connected(graph):
        found = nx.kamada_kawai_layout(graph, pos=nx.spring_layout(graph, seed=0))
    else:
        found = nx.spring_layout(graph, seed=0)
    return np.array([found[node] for node in range(num_nodes)])


def _line_pieces(
    ends: Int[np.ndarray, "M 2"], places: Float[np.ndarray, "N d"], box: Float[np.ndarray, " d"] | None
) -> tuple[Float[np.ndarray, "S 2 d"], Int[np.ndarray, " S"]]:
    """Line pieces and the edge that each belongs to; two halves for bonds through the box."""
    start, stop = places[ends[:, 0]], places[ends[:, 1]]
    shift = np.zeros_like(start) if box is None else box * np.round((start - stop) / box)
    through = shift.any(axis=1)
    first = np.where(through[:, None], (start + stop + shift) / 2, stop)
    pieces = np.stack([start, first], axis=1)
    others = np.stack([stop, (start + stop - shift) / 2], axis=1)[through]
    return np.concatenate([pieces, others]), np.concatenate([np.arange(len(ends)), np.flatnonzero(through)])


def map_figure(drawing: Drawing, panels: int) -> Figure:
    """A figure for `panels` maps side by side, as high as the shape of the network asks for.

    `drawing`: where the nodes lie. Empty; its layout leaves room for a colour bar and legends.
    """
    width, height = np.ptp(drawing.places, axis=0)
    shape = float(np.clip(height / width if width > 0 else 1.0, 0.35, 1.2))
    size = (6.2, 1.0 + 4.6 * shape) if panels == 1 else (9.4, 1.2 + 3.9 * shape)
    return Figure(figsize=size, layout="constrained")


def map_axes(axes: Axes) -> None:
    """Nothing but the network, in its proportions."""
    axes.autoscale_view()
    axes.margins(0.06)
    axes.set_aspect("equal")
    axes.set_axis_off()


def line_widths(
    drawing: Drawing, strength: Float[np.ndarray, " M"], *, panel: float = _PANEL
) -> tuple[float, float]:
    """Line widths in points of the weakest edge, and how much wider the strongest one is.

    With widths of `least + most * strength` edges cover no more than about a third of a panel, which is
    `panel` points wide, and stay longer than wide.
    """
    side = max(float(np.ptp(drawing.places, axis=0).max()), 1e-12)
    lengths = panel * np.linalg.norm(drawing.pieces[:, 1] - drawing.pieces[:, 0], axis=1) / side
    covered = max(float(lengths @ strength[drawing.owners]), 1e-12)
    least = float(np.clip(0.1 * panel**2 / max(lengths.sum(), 1e-12), 0.15, 0.9))
    widest = min(5.0, 0.25 * float(np.median(lengths))) if len(lengths) else 5.0
    return least, float(np.clip(0.2 * panel**2 / covered, 0.3, max(widest, 0.3)))


def draw_edges(
    axes: Axes,
    drawing: Drawing,
    values: Float[np.ndarray, " M"],
    scale: Scale,
    widths: tuple[float, float] | None = None,
) -> LineCollection:
    """All edges, coloured and as wide as their values `(M,)` are strong, strong ones on top.

    `widths`: of `line_widths`, where several panels share them. What is returned goes to `color_bar`.
    """
    strength = scale.strength(values)
    if widths is None:
        # As wide as the panel is before labels and bars take their share.
        widths = line_widths(drawing, strength, panel=axes.bbox.width * 72 / axes.figure.dpi)
    least, most = widths
    order = np.argsort(strength[drawing.owners], kind="stable")
    owners = drawing.owners[order]
    lines = LineCollection(
        list(drawing.pieces[order]),
        cmap=scale.colors,
        norm=scale.norm,
        linewidths=least + most * strength[owners],
        capstyle="round",
    )
    lines.set_array(np.ma.masked_invalid(scale.shown(values)[owners]))
    axes.add_collection(lines)
    map_axes(axes)
    return lines


def draw_plain_edges(
    axes: Axes,
    drawing: Drawing,
    chosen: Bool[np.ndarray, " M"] | None = None,
    *,
    color: str | Sequence[str] | Float[np.ndarray, "M 4"] = "#d5d9dd",
    width: float | Float[np.ndarray, " M"] = 0.6,
    order: float = 1,
) -> None:
    """Edges in plain colours: all of them or those chosen, behind what has a higher `order`.

    `color` and `width` are the same for all or one for each edge of the network.
    """
    pieces = np.arange(len(drawing.owners)) if chosen is None else np.flatnonzero(chosen[drawing.owners])
    owners = drawing.owners[pieces]
    lines = LineCollection(
        list(drawing.pieces[pieces]),
        colors=color if isinstance(color, str) else [color[owner] for owner in owners],
        linewidths=np.broadcast_to(width, (len(drawing.ends),))[owners],
        capstyle="round",
        zorder=order,
    )
    axes.add_collection(lines)
    map_axes(axes)


def draw_nodes(
    axes: Axes, drawing: Drawing, relative_size: float | Float[np.ndarray, " N"] = 1.0, *, label: str = ""
) -> None:
    """All nodes as grey dots, smaller the more of them there are.

    `relative_size`: area over that of `node_size`, one for all nodes or one for each.
    """
    x, y = drawing.places.T
    size = node_size(drawing) * relative_size
    axes.scatter(x, y, s=size, color="#707070", linewidths=0, zorder=3, clip_on=False, label=label or None)


def node_size(drawing: Drawing) -> float:
    """Area of a plain node in square points."""
    return float(np.clip(1200 / len(drawing.places), 3, 25))


def draw_node_values(
    axes: Axes, drawing: Drawing, values: Float[np.ndarray, " N"], scale: Scale
) -> PathCollection:
    """Nodes as dots in the colours of their values, `(N,)`. What is returned goes to `color_bar`.

    `drawing`: where the nodes lie. `scale`: from values to colours. Dots are the smaller the more there are.
    """
    x, y = drawing.places.T
    size = float(np.clip(5000 / len(values), 6, 70))
    dots = axes.scatter(x, y, c=scale.shown(values), s=size, cmap=scale.colors, norm=scale.norm, zorder=3)
    dots.set(edgecolor="#808080", linewidth=0.4, clip_on=False)
    map_axes(axes)
    return dots


def mark_nodes(
    axes: Axes,
    places: Float[np.ndarray, "n 2"],
    *,
    color: str,
    marker: str = "o",
    edge: str = INK,
    size: float | int = 150,
    label: str = "",
    letter: str = "",
) -> None:
    """Nodes at `places`, `(n, 2)`, in front of all others, each with a `letter` in it if there is one.

    `size`: area of a marker in square points. `edge`: colour of its rim. `label`: for a legend.
    """
    x, y = places.T
    axes.scatter(
        x,
        y,
        s=size,
        marker=marker,
        color=color,
        edgecolors=edge,
        linewidths=1,
        zorder=5,
        clip_on=False,
        label=label or None,
    )
    for across, up in places if letter else ():
        axes.text(across, up, letter, ha="center", va="center_baseline", fontsize=9, weight="bold", zorder=6)


# Matrices


def draw_matrix(axes: Axes, matrix: Float[np.ndarray, "N N"], scale: Scale) -> AxesImage:
    """A matrix between nodes, numbered from 0, in the colours of a scale; returns what `color_bar` takes.

    `matrix`: `(N, N)`, the first row on top. `scale`: from values to colours.
    """
    image = axes.imshow(scale.shown(matrix), cmap=scale.colors, norm=scale.norm, interpolation="nearest")
    axes.set(xlabel="node", ylabel="node")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6, integer=True))
    plain_axes(axes, grid=None)
    return image


def symmetric(
    ends: Int[np.ndarray, "M 2"], values: Float[np.ndarray, " M"], num_nodes: int
) -> Float[np.ndarray, "N N"]:
    """Values of edges, which join the nodes `ends`, as a symmetric matrix `(N, N)`; 0 where no edge is.

    **Arguments**: `ends`: `(M, 2)` nodes, from 0. `values`: `(M,)`; of edges side by side the last one
    counts. `num_nodes`: N. An edge from a node to itself stands on the diagonal.

    >>> symmetric(np.array([[0, 1], [1, 1]]), np.array([2.0, 5.0]), 2).tolist()
    [[0.0, 2.0], [2.0, 5.0]]
    """
    matrix = np.zeros((num_nodes, num_nodes))
    rows, columns = ends.T
    matrix[rows, columns] = matrix[columns, rows] = values
    return matrix


# Ensembles


def quantiles(values: Float[np.ndarray, "R ..."]) -> Float[np.ndarray, "3 ..."]:
    """10 %, 50 % and 90 % quantiles over realizations, the first axis; NaN where none has a number.

    What is infinite was never measured.
    """
    result = np.full((len(QUANTILES), *values.shape[1:]), np.nan)
    values = np.where(np.isfinite(values), values, np.nan)
    known = ~np.isnan(values).all(axis=0)
    result[:, known] = np.nanquantile(values[:, known], QUANTILES, axis=0)
    return result


def mean_and_deviation(values: Float[np.ndarray, "..."]) -> tuple[float, float]:
    """Mean and standard deviation of the values that are finite; NaN where there are none."""
    known = values[np.isfinite(values)]
    return (float(known.mean()), float(known.std())) if known.size else (np.nan, np.nan)


def draw_band(
    axes: Axes,
    x: np.ndarray,
    values: Float[np.ndarray, "R T"],
    color: str | Float[np.ndarray, "4"],
    label: str | None = None,
    *,
    marker: str | None = None,
    linestyle: Line = "-",
    opacity: float = 0.22,
) -> None:
    """Median over realizations against x, `(T,)`, and if there are several the band from 10 % to 90 %.

    `values`: `(R, T)`; what is not finite is left out. `opacity`: of the band.
    """
    low, median, high = quantiles(np.asarray(values, dtype=float))
    if len(values) > 1:
        axes.fill_between(x, low, high, color=color, alpha=opacity, linewidth=0)
    axes.plot(
        x,
        median,
        color=color,
        linewidth=1.8,
        linestyle=linestyle,
        marker=marker,
        markersize=3,
        label=label,
    )
