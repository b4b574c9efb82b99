"""Pictures on the network: fields on edges, voltages on nodes, terminals."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.patheffects import withStroke
from matplotlib.tri import Triangulation

from jaxphys.reports.run_plots import INK, SIGNED, STRENGTH

# As the paper has them: inputs red, targets blue, grounds white squares.
_ROLES: dict[str, dict[str, Any]] = {
    "inputs": {"marker": "o", "facecolor": "#d7301f", "edgecolor": "white"},
    "targets": {"marker": "o", "facecolor": "#0570b0", "edgecolor": "white"},
    "grounds": {"marker": "s", "facecolor": "white", "edgecolor": INK},
}

# Blended with white, so that terminals and bars stand out.
_PALE = LinearSegmentedColormap.from_list("pale", 0.3 + 0.7 * SIGNED(np.linspace(0, 1, 64)))


def bare(axes: Axes, positions: np.ndarray) -> None:
    """Nothing but the network, in its proportions."""
    axes.set_aspect("equal")
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    low, high = positions.min(axis=0) - 0.7, positions.max(axis=0) + 0.7
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))


def segments(one: xr.Dataset) -> np.ndarray:
    """`(M, 2, 2)` ends of all bonds."""
    return one["positions"].values[one["edges"].values]


def draw_field(axes: Axes, one: xr.Dataset, values: np.ndarray, label: str = "", **options: Any) -> None:
    """A field on edges, darker and wider the larger, on a scale from 0 or (`log=True`) over decades."""
    log, top = options.pop("log", False), options.pop("top", None)
    finite = np.where(np.isfinite(values), values, 0)
    if log:
        top = float(np.max(finite)) or 1.0
        low = max(float(np.min(finite[finite > 0], initial=top)), top * 1e-6)
        norm: Normalize = LogNorm(low, top)
        share = np.log(np.maximum(finite, low) / low) / max(np.log(top / low), 1e-9)
    else:
        # A few outliers shall not hide all others.
        top = top or float(np.quantile(finite, 0.995)) or float(np.max(finite)) or 1.0
        norm = Normalize(0, top)
        share = np.minimum(finite / top, 1)
    order = np.argsort(share)
    axes.add_collection(LineCollection(list(segments(one)), colors="#d9d9d9", linewidths=0.5))
    lines = LineCollection(
        list(segments(one)[order]),
        array=np.maximum(finite, norm.vmin or 0)[order],
        cmap=options.pop("cmap", STRENGTH),
        norm=norm,
        linewidths=0.4 + 2.6 * share[order],
        capstyle="round",
        **options,
    )
    axes.add_collection(lines)
    bare(axes, one["positions"].values)
    if label:
        bar = axes.figure.colorbar(
            lines, ax=axes, fraction=0.04, pad=0.01, shrink=0.75, extend="max" if not log else "neither"
        )
        bar.set_label(label, fontsize=8)
        bar.ax.tick_params(labelsize=7)
        bar.outline.set_visible(False)


def draw_voltages(axes: Axes, one: xr.Dataset, voltages: np.ndarray, label: str = "voltage") -> None:
    """Voltages as a background between nodes."""
    x, y = one["positions"].values.T
    mesh = Triangulation(x, y)
    # No colour across gaps that no bond spans.
    corners = np.stack([x, y], axis=1)[mesh.triangles]
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2)
    mesh.set_mask(sides.max(axis=1) > 4)
    drawn = axes.tripcolor(mesh, voltages, cmap=_PALE, shading="gouraud", rasterized=True)
    bar = axes.figure.colorbar(drawn, ax=axes, fraction=0.04, pad=0.01, shrink=0.75)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
    bare(axes, one["positions"].values)


def draw_sectors(axes: Axes, one: xr.Dataset, labels: np.ndarray) -> None:
    """Nodes coloured by sector, and the edges within sectors."""
    edges = one["edges"].values
    within = labels[edges[:, 0]] == labels[edges[:, 1]]
    # The largest sectors take the colours that differ most.
    ranks = np.argsort(np.argsort(-np.bincount(labels), kind="stable"), kind="stable")
    # By golden ratios along the map, neighbours in rank lie far apart.
    colors = colormaps["viridis"](ranks[labels] * 0.618034 % 1)
    axes.add_collection(
        LineCollection(
            list(segments(one)[within]), colors=colors[edges[within, 0]], linewidths=1.2, alpha=0.6
        )
    )
    x, y = one["positions"].values.T
    axes.scatter(x, y, c=colors, s=9, linewidths=0, zorder=2)
    bare(axes, one["positions"].values)


def draw_walls(axes: Axes, one: xr.Dataset, chosen: np.ndarray, color: str = INK, width: float = 2.0) -> None:
    """A short bar across each chosen bond: what holds the current back there."""
    ends = segments(one)[chosen]
    middle, along = ends.mean(axis=1), ends[:, 1] - ends[:, 0]
    across = 0.5 * np.stack([-along[:, 1], along[:, 0]], axis=1)
    bars = np.stack([middle - across, middle + across], axis=1)
    axes.add_collection(LineCollection(list(bars), colors=color, linewidths=width, zorder=3))


def draw_terminals(axes: Axes, one: xr.Dataset, size: int = 34) -> None:
    """Inputs red, targets blue (both ends of a target edge), grounds white squares; numbered from 1."""
    places = one["positions"].values
    for role, style in _ROLES.items():
        terminals = one[f"{role}_nodes"].values.reshape(one.sizes[role[:-1]], -1)
        for number, ends in enumerate(terminals if role != "grounds" and len(terminals) > 1 else ()):
            axes.annotate(
                str(number + 1),
                places[ends].mean(axis=0),
                xytext=(4, 4),
                textcoords="offset points",
                fontsize=7,
                color=style["facecolor"],
                weight="bold",
                zorder=6,
                path_effects=[withStroke(linewidth=1.8, foreground="white")],
            )
        nodes = np.unique(terminals)
        x, y = places[nodes].T
        axes.scatter(x, y, s=size, linewidths=0.9, zorder=5, **style)
