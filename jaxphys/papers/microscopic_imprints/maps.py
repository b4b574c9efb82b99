"""Pictures on the network: fields on edges, voltages on nodes, terminals."""

from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patheffects import withStroke
from matplotlib.tri import Triangulation

from jaxphys.reports.pictures import (
    Drawing,
    Scale,
    draw_edges,
    draw_plain_edges,
    drawing,
    map_axes,
    mark_nodes,
)
from jaxphys.reports.style import INK, SIGNED, color_bar


class _Look(NamedTuple):
    marker: str
    color: str
    edge: str


# As the paper has them: inputs red, targets blue, grounds white squares.
_ROLES = {
    "inputs": _Look("o", "#d7301f", "white"),
    "targets": _Look("o", "#0570b0", "white"),
    "grounds": _Look("s", "white", INK),
}
# Blended with white, so that terminals and bars stand out.
_PALE = LinearSegmentedColormap.from_list("pale", 0.3 + 0.7 * SIGNED(np.linspace(0, 1, 64)))
# A bar beside a map that is one of several.
_SMALL_BAR = {"fraction": 0.04, "pad": 0.01, "shrink": 0.75}


def drawing_of_ensemble(one: xr.Dataset) -> Drawing:
    """Where the network of an ensemble lies, whose realizations share one graph."""
    places = one["positions"].values
    return drawing(one["edges"].values, len(places), positions=places)


def draw_field(
    axes: Axes,
    one: xr.Dataset,
    values: Float[np.ndarray, " M"],
    label: str,
    *,
    log: bool = False,
    top: float | None = None,
) -> None:
    """A field on edges, darker and wider the larger, with its colour bar.

    `log`: on a scale over six decades, else from 0 to `top`, beyond which a few outliers may lie if it is
    left out. Edges without a number are left grey.
    """
    place = drawing_of_ensemble(one)
    if not log and top is None:
        # A few outliers shall not hide all others.
        top = float(np.nanquantile(values, 0.995)) or None
    scale = Scale(values, logarithmic=log, decades=6, largest=None if log else top)
    draw_plain_edges(axes, place, color="#d9d9d9", width=0.5)
    lines = draw_edges(axes, place, values, scale)
    figure = axes.get_figure(root=True)
    assert figure is not None
    color_bar(figure, lines, axes, label, size=7, extend=scale.extend, **_SMALL_BAR)


def draw_voltages(axes: Axes, one: xr.Dataset, voltages: Float[np.ndarray, " N"]) -> None:
    """Voltages of nodes as colours between them, with a colour bar; no colour where no bond spans the gap.

    `one`: an ensemble with `positions`, `(N, 2)`. `voltages`: `(N,)`, in the units of the task.
    """
    x, y = one["positions"].values.T
    mesh = Triangulation(x, y)
    # No colour across gaps that no bond spans.
    corners = np.stack([x, y], axis=1)[mesh.triangles]
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2)
    mesh.set_mask(sides.max(axis=1) > 4)
    drawn = axes.tripcolor(mesh, voltages, cmap=_PALE, shading="gouraud", rasterized=True)
    figure = axes.get_figure(root=True)
    assert figure is not None
    color_bar(figure, drawn, axes, "voltage", size=7, **_SMALL_BAR)
    map_axes(axes)


def draw_sectors(axes: Axes, one: xr.Dataset, labels: Int[np.ndarray, " N"]) -> None:
    """Nodes coloured by sector, and the edges within sectors.

    `one`: an ensemble on one graph. `labels`: `(N,)`, the number of each node's sector, from 0.
    """
    place = drawing_of_ensemble(one)
    first, second = labels[place.ends].T
    # The largest sectors take the colours that differ most.
    ranks = np.argsort(np.argsort(-np.bincount(labels), kind="stable"), kind="stable")
    # By golden ratios along the map, neighbours in rank lie far apart.
    colors = colormaps["viridis"](ranks[labels] * 0.618034 % 1)
    of_edges = colors[place.ends[:, 0]] * (1, 1, 1, 0.6)
    draw_plain_edges(axes, place, first == second, color=of_edges, width=1.2)
    x, y = place.places.T
    axes.scatter(x, y, c=colors, s=9, linewidths=0, zorder=2)
    map_axes(axes)


def draw_walls(
    axes: Axes, one: xr.Dataset, chosen: Bool[np.ndarray, " M"], color: str = INK, width: float = 2.0
) -> None:
    """A short bar across each chosen bond, `width` points wide: what holds the current back there.

    `one`: an ensemble on one graph. `chosen`: `(M,)` booleans, by edge. `color`: that of all bars.
    """
    place = drawing_of_ensemble(one)
    ends = place.places[place.ends[chosen]]
    middle, along = ends.mean(axis=1), ends[:, 1] - ends[:, 0]
    across = 0.5 * np.stack([-along[:, 1], along[:, 0]], axis=1)
    bars = np.stack([middle - across, middle + across], axis=1)
    axes.add_collection(LineCollection(list(bars), colors=color, linewidths=width, zorder=3))


def draw_terminals(axes: Axes, one: xr.Dataset, size: int = 34) -> None:
    """Inputs red, targets blue (both ends of a target edge), grounds white squares; numbered from 1.

    `size`: area of a marker in square points.
    """
    places = one["positions"].values
    for role, look in _ROLES.items():
        terminals = one[f"{role}_nodes"].values.reshape(one.sizes[role[:-1]], -1)
        for number, ends in enumerate(terminals if role != "grounds" and len(terminals) > 1 else ()):
            axes.annotate(
                str(number + 1),
                places[ends].mean(axis=0),
                xytext=(4, 4),
                textcoords="offset points",
                fontsize=7,
                color=look.color,
                weight="bold",
                zorder=6,
                path_effects=[withStroke(linewidth=1.8, foreground="white")],
            )
        mark_nodes(axes, places[np.unique(terminals)], size=size, **look._asdict())
