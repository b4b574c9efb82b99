"""Pictures of an inspection, drawn from its findings, and the words that explain them."""

import math
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from jaxphys.inspection import Findings, Statistic
from jaxphys.inspection.findings import edge_ends
from jaxphys.reports import pictures
from jaxphys.reports.pictures import (
    Drawing,
    Scale,
    draw_edges,
    draw_matrix,
    draw_node_values,
    draw_nodes,
    draw_plain_edges,
    map_axes,
    map_figure,
    mark_nodes,
    symmetric,
)
from jaxphys.reports.style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    PALE,
    color_bar,
    legend_below,
    number_text,
    plain_axes,
    styled,
)

PICTURES = ("suspects", "statistics", "spectrum", "response", "susceptibility", "conductances")
"""Names of all pictures there can be."""
# The two suspected nodes in every picture.
_MARKS = (("A", "#f5c000"), ("B", "#ff8f73"))
_NULLS: dict[str, tuple[str, str, str, str]] = {
    "shuffled": ("same values in random places", "o", BLUE, "The same values of k on the same graph."),
    "redrawn": (
        "new values, alike distributed",
        "s",
        ORANGE,
        "Values drawn anew from a smooth estimate of the distribution of k, on the same graph.",
    ),
    "smooth": (
        "random places, neighbours as alike",
        "D",
        "#5b8c3e",
        "The same values in an order that keeps how alike edges are that meet.",
    ),
    "rotated": (
        "same spectrum, modes in random directions",
        "P",
        "#1f9aa8",
        "The eigenvalues that were measured, with modes in random directions.",
    ),
    "rewired": (
        "other graph, as many edges at every node",
        "^",
        "#8a4f9e",
        "The same values on other graphs; tells whether the graph is special, and has no part in the "
        "verdict.",
    ),
}
# Name in words, and what it is in a sentence.
_STATISTICS: dict[str, tuple[str, str]] = {
    "imprint": (
        "imprint of a response",
        "How far k is placed as learning would place it for a response between two nodes, for the best pair.",
    ),
    "imprint_of_ranks": (
        "imprint in the order of k",
        "The same, of which k are larger and which smaller; single extreme values count less.",
    ),
    "conduit": (
        "imprint of transport",
        "How far k is high wherever the response to one node flows, as in veins or supply networks.",
    ),
    "softness": (
        "softness of the softest mode",
        "The lowest eigenvalue over the mean one, with a minus sign; larger is softer.",
    ),
    "contrast": (
        "gap above the softest mode",
        "How far the second lowest eigenvalue lies above the lowest, over the mean one.",
    ),
    "effective_conductance": (
        "effective conductance (log10)",
        "How strongly the network answers a random force.",
    ),
    "effective_dimension": (
        "effective dimension",
        "How many modes share the answer to a random force; few in trained networks.",
    ),
    "mean_response": (
        "mean response (log10)",
        "The mean of 1/λ over modes; low where k is placed to conduct well, or to be stiff, everywhere.",
    ),
    "peak_response": (
        "strongest single response",
        "The largest response between two different places, over the typical one.",
    ),
    "localisation": (
        "localisation of the softest mode",
        "1 if the softest mode moves one node only, small if it moves all.",
    ),
    "likeness": (
        "likeness of edges that meet",
        "Whether edges that share a node have alike k (Moran's I of log k); 0 if they do not.",
    ),
    "susceptible_share": (
        "share of the most susceptible edges",
        "How much of all susceptibility the most susceptible twentieth of the edges has.",
    ),
}


class Picture(NamedTuple):
    """A picture of a report with what is written about it; `broad` ones take the width of the page."""

    name: str
    figure: Figure
    heading: str
    caption: str
    alt: str
    broad: bool = False


def suspects(findings: Findings) -> list[tuple[tuple[str, str], int]]:
    """The two suspected nodes, each with its letter and colour; none where no pair stands out."""
    first, second = findings.terminals
    return [] if first == second else list(zip(_MARKS, (first, second), strict=True))


def ordered(table: dict[str, Statistic]) -> list[str]:
    """What speaks for training first, as `_STATISTICS` has it."""
    places = {name: place for place, name in enumerate(_STATISTICS)}
    return sorted(table, key=lambda name: places.get(name, len(places)))


def finite_text(value: float, form: str = "") -> str:
    """A number for readers as `number_text` or in a `form` such as `"{:.1f}"`; a dash if it is not finite.

    A minus is a minus sign in either case.

    >>> finite_text(-1.25, "{:.1f}"), finite_text(float("nan"))
    ('−1.2', '–')
    """
    if not math.isfinite(value):
        return "–"
    return form.format(value).replace("-", "−") if form else number_text(value)


def statistic_words(name: str) -> tuple[str, str]:
    """A statistic's name in words, and what it is."""
    return _STATISTICS.get(name, (name.replace("_", " "), ""))


def null_words(null: str) -> tuple[str, str, str, str]:
    """A null model's name in words, its marker and colour, and what it is."""
    return _NULLS.get(null, (null.replace("_", " "), "v", INK, ""))


def draw_findings(findings: Findings) -> list[Picture]:
    """All pictures that the findings allow, in the order of a report."""
    fields = findings.fields
    drawing = None if findings.network.kind.is_matrix else _drawing(findings)
    found = []
    if suspects(findings):
        found += [_suspects(findings, drawing), _statistics(findings)]
    if {"eigenvalues", "null_eigenvalues"} <= set(fields):
        found.append(_spectrum(findings))
    if "response" in fields and suspects(findings):
        found.append(_response(findings, drawing))
    if "susceptibility" in fields:
        found.append(_susceptibility(findings, drawing))
    if drawing is not None:
        found.append(_conductances(findings, drawing))
    return found


def _drawing(findings: Findings) -> Drawing:
    fields = findings.fields
    positions, box = (
        np.asarray(fields[name].values, dtype=float) if name in fields else None
        for name in ("positions", "box")
    )
    ends = edge_ends(findings.network)
    return pictures.drawing(ends, findings.network.num_nodes, positions=positions, box=box)


def _mark(axes: Axes, drawing: Drawing, findings: Findings) -> None:
    """The two suspected nodes as letters in discs, so that no label need be fit for a picture."""
    for (letter, color), node in suspects(findings):
        mark_nodes(axes, drawing.places[[node]], color=color, letter=letter)


def _where(drawing: Drawing | None) -> str:
    """A sentence with a blank before it; nothing where places are those of the network."""
    return f" {drawing.remark}" if drawing is not None and drawing.remark else ""


def _pair(findings: Findings) -> str:
    """A sentence with a blank before it; nothing where no pair stands out."""
    return "".join(
        f"{link}{mark} is {_short(findings.labels[node])}{end}"
        for ((mark, _), node), link, end in zip(suspects(findings), (" ", ", "), ("", "."), strict=False)
    )


def _short(label: str) -> str:
    return label if len(label) <= 40 else label[:37] + "…"


@styled
def _draw_suspects(findings: Findings, drawing: Drawing) -> Figure:
    scores = np.maximum(findings.edge_scores, 0)
    figure = map_figure(drawing, 1)
    axes = figure.subplots()
    lines = draw_edges(axes, drawing, scores, Scale(scores, logarithmic=False))
    low, high = findings.node_scores.min(), findings.node_scores.max()
    shares = (findings.node_scores - low) / (high - low) if high > low else np.zeros(len(drawing.places))
    draw_nodes(axes, drawing, 0.5 + 3 * shares**2)
    _mark(axes, drawing, findings)
    color_bar(figure, lines, axes, "edge score (share of the evidence)")
    return figure


@styled
def _draw_couplings(findings: Findings) -> Figure:
    """The couplings of a node network, with rows and columns of the suspected nodes marked."""
    matrix = _matrix(findings, np.asarray(findings.network.k))
    between = np.abs(matrix[~np.eye(len(matrix), dtype=bool)])
    scale = Scale(matrix, signed=True, largest=float(between.max(initial=0)))
    figure = Figure(figsize=(6.2, 5.2), layout="constrained")
    axes = figure.subplots()
    image = draw_matrix(axes, matrix, scale)
    _mark_rows(axes, findings)
    color_bar(figure, image, axes, "coupling W (simulation units)", extend=scale.extend)
    return figure


def _matrix(findings: Findings, values: np.ndarray) -> np.ndarray:
    return symmetric(edge_ends(findings.network), values, findings.network.num_nodes)


def _mark_rows(axes: Axes, findings: Findings) -> None:
    """The letters of the suspected nodes beside their row and column of a matrix."""
    for (letter, color), node in suspects(findings):
        axes.text(node, -0.5, letter, ha="center", va="bottom", **_disc(color))
        axes.text(findings.network.num_nodes - 0.5, node, letter, ha="left", va="center", **_disc(color))


def _disc(color: str) -> dict[str, Any]:  # Keywords of matplotlib, each of a type of its own.
    """Options of `Axes.text` for a letter in a disc."""
    face = {"boxstyle": "circle,pad=0.15", "facecolor": color, "edgecolor": INK}
    return {"fontsize": 8, "weight": "bold", "bbox": face, "clip_on": False}


def _suspects(findings: Findings, drawing: Drawing | None) -> Picture:
    ends, best = edge_ends(findings.network), int(np.argmax(findings.edge_scores))
    edge = " and ".join(_short(findings.labels[node]) for node in ends[best])
    if drawing is None:
        return Picture(
            "suspects",
            _draw_couplings(findings),
            "Couplings and the suspected nodes",
            f"The matrix of couplings; nodes are numbered from 0.{_pair(findings)} The colours are made "
            "for the couplings between nodes; self-couplings on the diagonal may lie beyond them.",
            f"Matrix of the couplings between {findings.network.num_nodes} nodes.{_pair(findings)} The "
            f"coupling with the highest score joins {edge}.",
        )
    return Picture(
        "suspects",
        _draw_suspects(findings, drawing),
        "Where the trace is",
        "Wide and dark edges speak most for training: their k is high or low where learning a response "
        f"between A and B would make it so. Larger dots are nodes that speak more.{_pair(findings)}"
        + _where(drawing),
        f"Drawing of the network.{_pair(findings)} The edge with the highest score joins {edge}.",
    )


@styled
def _draw_statistics(findings: Findings) -> Figure:
    names = ordered(findings.statistics)
    figure = Figure(figsize=(8.4, 1.5 + 0.42 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(-2, 2, color="#e9ecef", linewidth=0)
    axes.axvline(0, color=GREY, linewidth=0.8)
    handles = []
    count = len(findings.null_models)
    for i, (null, table) in enumerate(findings.null_models.items()):
        words, marker, color, _ = null_words(null)
        offset = (i - (count - 1) / 2) * min(0.17, 0.7 / count)
        rows = [(row + offset, table[name].z) for row, name in enumerate(names) if name in table]
        heights, z = np.array(rows).T
        dots = axes.scatter(z, heights, s=42, marker=marker, color=color, zorder=3, clip_on=False)
        dots.set(edgecolor="white", linewidth=0.6)
        handles.append(Line2D([], [], linestyle="", marker=marker, color=color, markersize=6, label=words))
    reach = max(3.0, *(abs(t.z) for table in findings.null_models.values() for t in table.values()))
    axes.set_xlim(-1.08 * reach, 1.08 * reach)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), [statistic_words(name)[0] for name in names])
    for row, one in enumerate(findings.statistics[name] for name in names):
        axes.text(
            1.02,
            row,
            f"p = {finite_text(one.p)}",
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=9,
        )
        if row:
            axes.axhline(row - 0.5, color=PALE, linewidth=0.7, zorder=0)
    axes.set_xlabel("z: standard deviations above (+) or below (−) the untrained networks")
    axes.spines["left"].set_visible(False)
    plain_axes(axes, grid=None)
    axes.tick_params(axis="y", length=0)
    legend_below(figure, handles=handles)
    return figure


def _statistics(findings: Findings) -> Picture:
    far = sorted(findings.statistics.items(), key=lambda item: -abs(item[1].z))[:3]
    listed = ", ".join(
        f"{_STATISTICS.get(name, (name.replace('_', ' '),))[0]} {finite_text(one.z, '{:+.1f}')}"
        for name, one in far
    )
    first = null_words(next(iter(findings.null_models)))[0]
    return Picture(
        "statistics",
        _draw_statistics(findings),
        "Numbers of this network beside untrained ones",
        "Each symbol is this network, seen from one kind of untrained networks. Within the grey band, ±2 "
        "standard deviations, lies what chance does nineteen times in twenty. The p-values belong to "
        f"“{first}”, each to its number alone; the table corrects them for so many looks.",
        f"Dot plot of z-scores of {len(findings.statistics)} statistics. The farthest from 0 against "
        f"“{first}”: {listed}.",
        broad=True,
    )


@styled
def _draw_spectrum(findings: Findings) -> Figure:
    own, (low, high) = (
        np.asarray(findings.fields[name].values) for name in ("eigenvalues", "null_eigenvalues")
    )
    mode = np.arange(1, len(own) + 1)
    figure = Figure(figsize=(6, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(mode, low, high, color=GREY, alpha=0.35, linewidth=0, label="untrained, middle 95 %")
    few = len(mode) <= 60
    marker = "o" if few else None
    axes.plot(mode, own, color=BLUE, linewidth=1.5, marker=marker, markersize=3.5, label="this network")
    plain_axes(axes)
    if min(own.min(), low.min()) > 0:
        axes.set_yscale("log")
    if few:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlim(0.5, len(mode) + 0.5)
    else:
        axes.set_xscale("log")
    axes.set(xlabel="mode index, softest first", ylabel="Hessian eigenvalue λ (units of k)")
    legend_below(figure)
    return figure


def _spectrum(findings: Findings) -> Picture:
    own, (low, high) = (
        np.asarray(findings.fields[name].values) for name in ("eigenvalues", "null_eigenvalues")
    )
    outside = int(np.sum((own < low) | (own > high)))
    return Picture(
        "spectrum",
        _draw_spectrum(findings),
        "Stiff and soft modes",
        "How stiff the network is along each of its modes, from the softest on, and how stiff its untrained "
        "likes are. Learning tends to soften the first modes.",
        f"Line plot of {len(own)} eigenvalues, of which {outside} lie outside the middle 95 % of untrained "
        f"networks. The softest is {number_text(own[0])}, theirs lie between {number_text(low[0])} and "
        f"{number_text(high[0])}.",
    )


@styled
def _draw_walls(findings: Findings, drawing: Drawing, values: np.ndarray) -> Figure:
    """Values of nodes as colours, and edges between two sectors as walls."""
    fields = findings.fields
    figure = map_figure(drawing, 1)
    axes = figure.subplots()
    wall = (
        np.asarray(fields["wall"].values, dtype=bool)
        if "wall" in fields
        else np.zeros(len(drawing.ends), dtype=bool)
    )
    draw_plain_edges(axes, drawing, ~wall, color="#c4c9ce", width=0.7)
    draw_plain_edges(axes, drawing, wall, color=INK, width=2.2)
    dots = draw_node_values(axes, drawing, values, Scale(values, signed=True))
    _mark(axes, drawing, findings)
    color_bar(figure, dots, axes, "response to a unit current at A (units of 1/k)")
    if wall.any():
        handles = [Line2D([], [], color=INK, linewidth=2.2, label="edge between two sectors (wall)")]
        legend_below(figure, handles=handles)
    return figure


@styled
def _draw_arrows(findings: Findings, drawing: Drawing, displacements: np.ndarray) -> Figure:
    """Displacements of a spring network, the longest a sixth of its size, coloured by their whole length."""
    figure = map_figure(drawing, 1)
    axes = figure.subplots()
    draw_plain_edges(axes, drawing)
    lengths = np.linalg.norm(displacements, axis=1)
    arrows = displacements @ drawing.projection
    reach = float(np.ptp(drawing.places, axis=0).max()) / 6
    longest = float(np.linalg.norm(arrows, axis=1).max()) or 1.0
    arrows = arrows / longest * reach
    scale = Scale(lengths)
    drawn = axes.quiver(
        *drawing.places.T,
        *arrows.T,
        scale.shown(lengths),
        angles="xy",
        scale_units="xy",
        scale=1,
        cmap=scale.colors,
        norm=scale.norm,
        width=0.005,
        minlength=0,
        zorder=3,
    )
    axes.update_datalim(drawing.places + arrows)
    map_axes(axes)
    _mark(axes, drawing, findings)
    color_bar(figure, drawn, axes, "displacement under a unit force at A (units of 1/k)", extend=scale.extend)
    return figure


@styled
def _draw_bars(findings: Findings, values: np.ndarray) -> Figure:
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    nodes = np.arange(len(values))
    axes.bar(nodes, values, color=BLUE, width=0.8 if len(nodes) <= 200 else 1.0)
    axes.axhline(0, color=GREY, linewidth=0.8)
    for (letter, color), node in suspects(findings):
        offset, side = (7, "bottom") if values[node] >= 0 else (-7, "top")
        axes.annotate(
            letter,
            (node, values[node]),
            xytext=(0, offset),
            textcoords="offset points",
            ha="center",
            va=side,
            **_disc(color),
        )
    axes.margins(y=0.18)
    axes.set(
        xlabel="node", ylabel=f"response to a unit force at A\n(units of 1/{findings.network.kind.symbol})"
    )
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    plain_axes(axes, grid="y")
    return figure


def _response(findings: Findings, drawing: Drawing | None) -> Picture:
    values, node_b = np.asarray(findings.fields["response"].values), findings.terminals[1]
    kind, dimension = findings.network.kind, len(values) // findings.network.num_nodes
    if drawing is None or dimension not in (1, len(drawing.projection)):
        sizes = values if dimension == 1 else np.linalg.norm(values.reshape(-1, dimension), axis=1)
        figure, how = _draw_bars(findings, sizes), f"The {kind.coordinate} of every node"
    elif dimension == 1:
        figure = _draw_walls(findings, drawing, values)
        how = f"The {kind.coordinate} of every node, measured from the mean of all,"
    else:
        figure = _draw_arrows(findings, drawing, values.reshape(-1, dimension))
        how = (
            "How every node moves (colour and, drawn to size with the longest a sixth of the picture, length)"
        )
    walls = ""
    if "sector" in findings.fields:
        sectors = len(np.unique(findings.fields["sector"].values))
        walls = (
            f" Dark edges are walls: they separate {sectors} sectors, regions within which it varies little."
            if sectors > 1
            else " It falls off evenly: there are no walls between regions."
        )
    answer = float(np.linalg.norm(values.reshape(-1, dimension)[node_b]))
    return Picture(
        "response",
        figure,
        "What a push at A does",
        f"{how} under a unit {kind.force} at A.{_pair(findings)}" + walls + _where(drawing),
        f"Response of all nodes to a unit {kind.force} at A.{_pair(findings)} At B its size is "
        f"{number_text(answer)}, the largest is "
        f"{number_text(float(np.linalg.norm(values.reshape(-1, dimension), axis=1).max()))}." + walls,
    )


def _panels(
    findings: Findings,
    drawing: Drawing | None,
    values: list[np.ndarray],
    titles: list[str],
    labels: list[str],
) -> Figure:
    """Maps (or matrices) side by side; one colour bar if they share a label."""
    count = len(values)
    size = (1.4 + 4.1 * count, 4.6)
    figure = Figure(figsize=size, layout="constrained") if drawing is None else map_figure(drawing, count)
    panels = figure.subplots(1, count, squeeze=False)[0]
    shared = Scale(np.concatenate(values)) if len(set(labels)) == 1 else None
    for axes, each, title, label in zip(panels, values, titles, labels, strict=True):
        scale = shared or Scale(each)
        drawn: ScalarMappable
        if drawing is None:
            drawn = draw_matrix(axes, _matrix(findings, each), scale)
            _mark_rows(axes, findings)
        else:
            drawn = draw_edges(axes, drawing, each, scale)
            draw_nodes(axes, drawing)
            _mark(axes, drawing, findings)
        axes.set_title(title, loc="center", pad=18 if drawing is None else 6)
        if not shared:
            color_bar(figure, drawn, axes, label, extend=scale.extend)
    if shared:
        color_bar(figure, drawn, panels, labels[0], extend=shared.extend)
    return figure


def _susceptibility(findings: Findings, drawing: Drawing | None) -> Picture:
    free = np.asarray(findings.fields["susceptibility"].values, dtype=float)
    values, titles = [free], ["nothing held"]
    caption = "How much all responses of the network change when one edge changes"
    alt = "Map of the susceptibility of edges"
    if "susceptibility_held" in findings.fields and suspects(findings):
        held = np.asarray(findings.fields["susceptibility_held"].values, dtype=float)
        values, titles = [free, held], [*titles, "A and B held"]
        caption += (
            ": on the left as it is, on the right with A and B held still. Edges that fade from left to "
            "right matter for A and B"
        )
        share = float(held.sum() / free.sum()) if free.sum() > 0 else 0.0
        alt += f" as the network is, and with A and B held, which leaves {number_text(100 * share)} % of it"
    return Picture(
        "susceptibility",
        styled(_panels)(findings, drawing, values, titles, ["susceptibility |∂G/∂k|"] * len(values)),
        "Where a change would matter",
        f"{caption}.{_pair(findings)}{_where(drawing)}",
        f"{alt}.{_pair(findings)}",
        broad=len(values) > 1,
    )


def _conductances(findings: Findings, drawing: Drawing) -> Picture:
    k, kind = np.asarray(findings.network.k, dtype=float), findings.network.kind
    values, titles, labels = [k], ["k"], ["k (as given)"]
    caption = f"The {kind.strengths} k as they are"
    alt = f"Map of the {kind.strengths}, from {number_text(k.min())} to {number_text(k.max())}"
    if "relative_conductance" in findings.fields:
        values.append(np.asarray(findings.fields["relative_conductance"].values, dtype=float))
        titles.append("k over its neighbours'")
        labels.append("k / ⟨k⟩ of neighbours")
        caption += (
            ", and over the mean of the edges that meet them, which shows walls and corridors that a map of "
            "k hides"
        )
        alt += ", beside a map of k over the mean of the edges that meet"
    return Picture(
        "conductances",
        styled(_panels)(findings, drawing, values, titles, labels),
        "Strong and weak edges",
        f"{caption}.{_pair(findings)}{_where(drawing)}",
        f"{alt}.",
        broad=len(values) > 1,
    )
