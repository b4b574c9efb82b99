"""Pictures of a run that a reader can turn over: plotly figures as plain data, drawn by `report.js`.

They go by the names of `run_plots.py` and show the same, with numbers under the pointer; a slider moves all
of them through the learning steps.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.colors import Colormap, to_hex

from jaxphys.io import typical_realization
from jaxphys.reports.pictures import Scale, line_widths, quantiles
from jaxphys.reports.replay import Replay, replay
from jaxphys.reports.run_data import (
    drawing_of,
    is_soon_over,
    kind_of,
    node_roles,
    of_realization,
    strength_label,
    succeeded,
    successful,
)
from jaxphys.reports.style import SIGNED, STRENGTH

Data: TypeAlias = dict[str, Any]
"""What is written as JSON: names, numbers, texts, and lists and dictionaries of these."""
# Seen on white and on black: three times as bright or dark as either.
_BLUE, _ORANGE, _GREY = "#3b82c4", "#c96a16", "#808080"
_LEVELS = 16
# Colours from weak to strong, on paper and on a dark screen.
_PALETTES: dict[str, tuple[Colormap, Colormap]] = {
    "strength": (STRENGTH, colormaps["YlGnBu_r"]),
    "signed": (SIGNED, colormaps["berlin"]),
}
# More than these make a page slow.
MOST_EDGES, _MOST_CURVES, _MOST_MODES = 3000, 50, 60


def page_data(dataset: xr.Dataset) -> Data:
    """All that `report.js` draws of a dataset of which some realization did not fail.

    `steps`: of the slider; `figures`: by name, `data` and `layout` as plotly takes them; `map`: the typical
    network at those steps, where it is not too large; `spectrum`: median eigenvalues at those steps.
    """
    shown = replay(dataset, typical_realization(dataset))
    makers: dict[str, tuple[str, Callable[[xr.Dataset], Data]]] = {
        "learning_curves": ("cost", learning_curves),
        "spectrum_change": ("eigenvalues", spectrum_change),
        "eigenvalue_flow": ("eigenvalues", eigenvalue_flow),
    }
    figures = {name: make(dataset) for name, (needs, make) in makers.items() if needs in dataset}
    if {"effective_conductance", "effective_dimension"} & set(dataset.variables):
        figures["conductance_and_dimension"] = conductance_and_dimension(dataset)
    records = shown.records if "k_history" in dataset else np.arange(dataset.sizes["record"])
    if len(records) > 101:
        records = records[np.linspace(0, len(records) - 1, 101).round().astype(int)]
    data: Data = {
        "steps": dataset["step"].values[records].tolist(),
        "figures": figures,
        "palettes": {name: [_colors(each) for each in both] for name, both in _PALETTES.items()},
    }
    if "eigenvalues" in dataset:
        data["spectrum"] = _numbers(quantiles(successful(dataset, "eigenvalues")[:, records])[1])
    if len(shown.edges) <= MOST_EDGES:
        data["map"] = network_map(dataset, shown)
        # Without its history there is the network before learning and the one after it.
        data["map"]["frame"] = [
            int(np.searchsorted(shown.records, record, side="right") - 1) for record in records
        ]
    return data


def learning_curves(dataset: xr.Dataset) -> Data:
    """Learning cost against step: median, band, and single realizations that the legend switches on."""
    cost, step = successful(dataset, "cost"), dataset["step"].values
    floor = np.finfo(cost.dtype).eps ** 2 * max(np.nanmax(cost), 0.0)
    # What reached 0 but for rounding stays at the bottom.
    cost = np.maximum(cost, floor)
    kept = np.flatnonzero(succeeded(dataset))
    chosen = np.unique(np.linspace(0, len(cost) - 1, min(_MOST_CURVES, len(cost))).astype(int))
    data = _band(step, cost, _BLUE, "median")
    if len(cost) > 1:
        curves = [
            {
                "x": step.tolist(),
                "y": _numbers(cost[number]),
                "mode": "lines",
                "line": {"color": _GREY, "width": 1},
                "name": "single realizations",
                "legendgroup": "single",
                "showlegend": position == 0,
                "visible": "legendonly",
                "hovertemplate": f"realization {kept[number]}, step %{{x}}: %{{y:.3g}}<extra></extra>",
            }
            for position, number in enumerate(chosen.tolist())
        ]
        data = [*data, *curves]
    return {"data": data, "layout": _against_step(dataset, "learning cost C", log=_if_positive(cost))}


def spectrum_change(dataset: xr.Dataset) -> Data:
    """Eigenvalues of the physical Hessian before and after learning, and at the step of the slider."""
    eigenvalues = successful(dataset, "eigenvalues")
    mode = np.arange(1, eigenvalues.shape[-1] + 1)
    data = _band(mode, eigenvalues[:, 0], _GREY, "before learning", "mode")
    data += _band(mode, eigenvalues[:, -1], _BLUE, "after learning", "mode")
    now = {
        "x": mode.tolist(),
        "y": _numbers(quantiles(eigenvalues[:, 0])[1]),
        "mode": "markers",
        "marker": {"color": _ORANGE, "size": 5},
        "name": "at the step of the slider",
        "hovertemplate": "mode %{x}: %{y:.3g}<extra></extra>",
        "meta": "now",
    }
    layout = {
        "xaxis": {"title": {"text": "mode index, softest first"}},
        "yaxis": _axis("Hessian eigenvalue λ (units of k)", _if_positive(eigenvalues)),
    }
    return {"data": [*data, now], "layout": layout}


def eigenvalue_flow(dataset: xr.Dataset) -> Data:
    """Median of every eigenvalue, by rank, against step; the softest with its band."""
    eigenvalues, step = successful(dataset, "eigenvalues"), dataset["step"].values
    median = quantiles(eigenvalues)[1]
    modes = median.shape[1]
    chosen = np.unique(np.linspace(0, modes - 1, min(_MOST_MODES, modes)).round().astype(int))
    shades = colormaps["viridis"](0.1 + 0.75 * chosen / max(modes - 1, 1))
    data = [
        {
            "x": step.tolist(),
            "y": _numbers(median[:, mode]),
            "mode": "lines",
            "line": {"color": to_hex(shade), "width": 1.2},
            "name": "every mode",
            "legendgroup": "every",
            "showlegend": position == 1,
            "hovertemplate": f"mode {mode + 1}, step %{{x}}: %{{y:.3g}}<extra></extra>",
        }
        for position, (mode, shade) in enumerate(zip(chosen.tolist(), shades, strict=True))
    ]
    data += _band(step, eigenvalues[:, :, 0], _ORANGE, "softest mode")
    layout = _against_step(dataset, "Hessian eigenvalue λ (units of k)", log=_if_positive(median))
    return {"data": data, "layout": layout}


def conductance_and_dimension(dataset: xr.Dataset) -> Data:
    """Effective conductance and dimension against step, each realization over its own start."""
    data, everything = [], []
    for name, color in (("effective_conductance", _BLUE), ("effective_dimension", _ORANGE)):
        if name in dataset:
            values = successful(dataset, name)
            start = values[:, :1]
            ratio = np.divide(values, start, out=np.full_like(values, np.nan), where=start != 0)
            data += _band(dataset["step"].values, ratio, color, name.replace("_", " "))
            everything.append(ratio[np.isfinite(ratio)])
    found = np.concatenate(everything)
    log = found if found.size and 0 < found.min() < found.max() / 5 else None
    return {"data": data, "layout": _against_step(dataset, "value / value at step 0", log=log)}


def network_map(dataset: xr.Dataset, shown: Replay) -> Data:
    """The typical network: where nodes and edges lie, and what each of them has and feels at every frame.

    `fields` colour the edges: the learning degree of freedom, current or tension, and susceptibility, each
    `(frame, edge)` with its scale; `x` are the nodes' states, `(frame, N, d)`.
    """
    realization = typical_realization(dataset)
    ends = of_realization(dataset, "edges", realization, rank=2)[shown.edges]
    apart = ends[:, 0] != ends[:, 1]
    drawing = drawing_of(dataset, realization, ends[apart])
    places = drawing.places
    kind = kind_of(dataset)
    k = shown.k[:, apart]
    is_signed = not kind.positive_k
    fields = [_field(strength_label(dataset), k, is_signed)]
    if shown.strain is not None and kind.edge_force is not None:
        fields.append(_field(kind.edge_force, (shown.k * shown.strain)[:, apart], False))
    if shown.susceptibility is not None:
        fields.append(_field("susceptibility |∂G/∂k|", shown.susceptibility[:, apart], False))
    strength = Scale(k[[0, -1]], judged=k[-1], signed=is_signed).strength(k[-1])
    roles = {
        role: np.flatnonzero(nodes).tolist()
        for role, nodes in node_roles(dataset, realization, len(places)).items()
    }
    return {
        "realization": realization,
        "places": _numbers(places),
        "pieces": _numbers(drawing.pieces.reshape(-1, 4)),
        "owners": drawing.owners.tolist(),
        "ends": ends[apart].tolist(),
        "names": dataset["node_name"].values.tolist() if "node_name" in dataset else None,
        "numbers": shown.edges[apart].tolist(),
        "roles": roles,
        "fields": fields,
        "widest": round(1.4 * line_widths(drawing, strength)[1], 2),
        "state": kind.coordinate,
        "x": None if shown.x is None else _numbers(shown.x.reshape(*shown.x.shape[:1], len(places), -1)),
    }


def _field(label: str, values: np.ndarray, signed: bool) -> Data:
    """Numbers on edges, `(frame, edge)`, with the scale that turns them into colour and width."""
    size = values if signed else np.abs(values)
    finite = np.where(np.isfinite(size), size, 0.0)
    scale = Scale(finite[[0, -1]], judged=finite[-1], signed=signed)
    low, high = float(scale.norm.vmin or 0.0), float(scale.norm.vmax or 1.0)
    return {
        "label": label,
        "values": _numbers(values),
        "low": low,
        "high": high,
        "log": scale.is_logarithmic,
        "palette": "signed" if scale.is_signed else "strength",
    }


def _band(x: np.ndarray, values: np.ndarray, color: str, name: str, along: str = "step") -> list[Data]:
    """Median over realizations and, if there are several, the band between the 10 % and 90 % quantiles."""
    low, median, high = quantiles(values)
    known = np.isfinite(median)
    edge: Data = {"x": x[known].tolist(), "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    edge |= {"legendgroup": name, "showlegend": False}
    shade = "rgba({},{},{},0.25)".format(*(int(color[i : i + 2], 16) for i in (1, 3, 5)))
    line = {
        "x": x[known].tolist(),
        "y": _numbers(median[known]),
        "mode": "lines",
        "line": {"color": color, "width": 2.2},
        "name": name,
        "legendgroup": name,
        "hovertemplate": f"{name}, {along} %{{x}}: %{{y:.3g}}",
    }
    if len(values) == 1:
        return [line | {"hovertemplate": line["hovertemplate"] + "<extra></extra>"}]
    line["customdata"] = _numbers(np.column_stack([low, high])[known])
    line["hovertemplate"] += "<br>10–90 %: %{customdata[0]:.3g} to %{customdata[1]:.3g}<extra></extra>"
    lower, upper = edge | {"y": _numbers(low[known])}, edge | {"y": _numbers(high[known])}
    return [lower, upper | {"fill": "tonexty", "fillcolor": shade}, line]


def _against_step(dataset: xr.Dataset, label: str, *, log: np.ndarray | None) -> Data:
    """A layout whose x axis is the learning step, on which the slider marks a place."""
    soon = is_soon_over(dataset)
    title = "learning step (logarithmic)" if soon else "learning step"
    return {
        "xaxis": _axis(title, dataset["step"].values.astype(float) if soon else None),
        "yaxis": _axis(label, log),
        "meta": "steps",
    }


def _axis(title: str, log: np.ndarray | None) -> Data:
    """An axis, logarithmic where it is given values that are all to be shown on it."""
    axis: Data = {"title": {"text": title}}
    if log is None:
        return axis
    known = log[np.isfinite(log) & (log > 0)]
    decades = float(np.log10(known.max() / known.min())) if known.size else 0.0
    # Left alone, plotly writes numbers between powers of ten only on an axis shorter than a decade or so.
    ticks: Data = {}
    if decades > 2.5:
        ticks = {"dtick": int(np.ceil(decades / 6))}
    elif decades > 1:
        # 1, 2 and 5 of every decade.
        ticks = {"dtick": "D2"}
    return axis | {"type": "log", "exponentformat": "power", **ticks}


def _if_positive(values: np.ndarray) -> np.ndarray | None:
    known = values[np.isfinite(values)]
    return known if known.size and known.min() > 0 else None


def _colors(colors: Colormap) -> list[str]:
    return [to_hex(color) for color in colors(np.linspace(0.0, 1.0, _LEVELS))]


def _numbers(values: np.ndarray) -> list:
    """Nested lists of four digits, null where there is no number."""
    values = np.asarray(values, dtype=float)
    if values.ndim > 1:
        return [_numbers(row) for row in values]
    return [float(f"{value:.4g}") if np.isfinite(value) else None for value in values.tolist()]
