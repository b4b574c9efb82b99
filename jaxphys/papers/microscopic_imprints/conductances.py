"""Figures 8, 9 and 10: what conductances susceptible edges have, and what they do to the current."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jaxphys.learning import Task, respond
from jaxphys.networks.generators import host_generator
from jaxphys.networks.physics import FlowNetwork
from jaxphys.papers.claims import Claim, measured
from jaxphys.papers.drawing import ACCENTS, panels
from jaxphys.papers.frame import (
    Result,
    Settings,
    computed_once,
    ensemble_dataset,
    merged,
    part,
)
from jaxphys.papers.microscopic_imprints.landscapes import (
    SHOWN,
    dataset_of,
    imprint_variables,
)
from jaxphys.papers.microscopic_imprints.maps import (
    draw_field,
    draw_terminals,
    draw_voltages,
    draw_walls,
    drawing_of_ensemble,
)
from jaxphys.papers.microscopic_imprints.measures import each, largest, rank_correlation
from jaxphys.papers.microscopic_imprints.systems import (
    RECIPES,
    TITLES,
    Imprint,
    Learned,
    before_and_after,
    imprinted,
    learn,
    learned,
)
from jaxphys.reports.pictures import draw_plain_edges
from jaxphys.reports.style import GREY, styled
from jaxphys.training._train import member, stack

# Initial conductances of fig. 8: uniform over two decades, and sharply peaked.
STARTS = {
    "wide": (1e-2, 1.0),
    "at 1e-6": (1e-6, 1.1e-6),
    "at 1e-3": (1e-3, 1.1e-3),
    "at 1e-1": (1e-1, 1.1e-1),
}
_KEYS = {"wide": "wide", "at 1e-6": "micro", "at 1e-3": "milli", "at 1e-1": "tenth"}
_EACH = 10
# Edges that count as walls: so many of the most susceptible ones.
WALLS = 0.05


def low_share(one: Imprint, fraction: float = 0.01) -> np.ndarray:
    """Share with a relative conductance below 1 among the most susceptible `fraction` of edges, `(R,)`.

    `one`: the imprints of R realizations. Below 1 an edge conducts less than the
    mean of its neighbours (Guzman et al. (2024), fig. 8).
    """

    def share(values: np.ndarray, relative: np.ndarray) -> float:
        return float(np.mean(relative[largest(values, fraction)] < 1))

    return each(share, np.asarray(one.susceptibility), np.asarray(one.relative_conductance))


@computed_once(maxsize=2)
def from_four_starts(settings: Settings) -> dict[str, tuple[Learned, Imprint, Imprint]]:
    """One regression from four distributions of initial conductances, each at the same ρ."""
    base = learned("regression", settings)
    network = base.run.network
    found = {}
    for name, (low, high) in STARTS.items():
        count = settings.realizations(_EACH)
        generator = host_generator(settings.key(f"fig8 {name}"))
        k = jnp.asarray(generator.uniform(low, high, (count, network.k.shape[1])))
        members = stack([member(network, 0).with_k(one) for one in k])
        run = learn(members, stack([base.task] * count), RECIPES["regression"], settings)
        one = dataclasses.replace(base, run=run)
        found[name] = (one, *before_and_after(run, base.placement, 4))
    return found


def initial_conditions(settings: Settings) -> Result:
    """Fig. 8: four initial distributions, one task."""
    name = "microscopic-imprints.fig8"
    parts, claims = [], []
    ensembles = from_four_starts(settings)
    for start, (found, after, before) in ensembles.items():
        parts.append(ensemble_dataset(_KEYS[start], found.run, **imprint_variables(found, after, before)))
        claims += _conductance_claims(
            f"{name}.{_KEYS[start]}", "Guzman et al. (2024), fig. 8", f"k {start}", found, after, before
        )
    within, between = _distances([np.asarray(found.run.network.k) for found, *_ in ensembles.values()])
    claims.append(
        measured(
            f"{name}.many-solutions",
            "Guzman et al. (2024), section VII",
            "Different initial distributions lead to qualitatively different conductances for the same "
            "task [distance of log k between two distributions over that between two networks of one, "
            "median of the six pairs at least 1.2]",
            between / np.median(within),
            lambda value: value >= 1.2,
            paper="qualitatively different",
            condition="The rate and the range of k are scaled with k(0) here. Then the three peaked starts "
            "are the same experiment, for voltage-driven learning knows ratios of k alone; only the wide one "
            "is another.",
        )
    )
    return Result(merged(*parts), claims)


def _distances(finals: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Median distances of log k, up to a factor, within each ensemble and between any two."""
    logs = [np.log(k) - np.mean(np.log(k), axis=1, keepdims=True) for k in finals]

    def median(one: np.ndarray, other: np.ndarray, own: bool) -> float:
        lengths = np.linalg.norm(one[:, None] - other[None], axis=-1)
        return float(np.median(lengths[np.triu_indices(len(one), 1)] if own else lengths))

    within = [median(one, one, True) for one in logs]
    between = [median(one, other, False) for i, one in enumerate(logs) for other in logs[:i]]
    return np.array(within), np.array(between)


def _conductance_claims(
    id: str, source: str, label: str, found: Learned, after: Imprint, before: Imprint
) -> list[Claim]:
    k = np.asarray(found.run.network.k)
    # The paper names the wide start as the exception.
    exception = id.endswith(".wide")
    said = "correlated" if exception else "not correlated"
    signed = each(rank_correlation, k, np.asarray(after.susceptibility))
    start = np.abs(each(rank_correlation, np.asarray(found.run.initial_k), np.asarray(before.susceptibility)))
    return [
        measured(
            f"{id}-relative",
            source,
            f"Highly susceptible edges have low relative conductances, {label} [mean fraction below 1 "
            "among the top 1 % at least 0.85]",
            low_share(after),
            lambda value: value >= 0.85,
            paper="all",
            statistic=np.mean,
            condition=f"Untrained: {np.mean(low_share(before)):.2f}.",
        ),
        measured(
            f"{id}-uncorrelated",
            source,
            f"Conductance itself is {said} with the susceptibility, {label} [median |Spearman's ρ| "
            f"{'at least' if exception else 'below'} 0.3]",
            np.abs(signed),
            lambda value: value >= 0.3 if exception else value < 0.3,
            paper=said,
            condition=f"Negative in {100 * np.mean(signed < 0):.0f} % of networks. Untrained: "
            f"{np.median(start):.2f}; one of 1000 permutations reaches "
            f"{3.3 / np.sqrt(k.shape[1] - 1):.2f}.",
        ),
    ]


def remaining_tasks(settings: Settings) -> Result:
    """Fig. 10: conductances and susceptibilities of the three other tasks."""
    parts, claims = [], []
    for task in ("five", "classification", "allostery"):
        parts.append(dataset_of(task, settings))
        claims += _conductance_claims(
            f"microscopic-imprints.fig10.{task}",
            "Guzman et al. (2024), fig. 10",
            TITLES[task],
            learned(task, settings),
            *imprinted(task, settings),
        )
    return Result(merged(*parts), claims)


def blockers(settings: Settings) -> Result:
    """Fig. 9: voltages and currents, walls and corridors."""
    name = "microscopic-imprints.fig9"
    parts, claims = [], []
    for task in RECIPES:
        found = learned(task, settings)
        after, before = imprinted(task, settings)
        ratios = {}
        for label, one, k in (
            ("trained", after, np.asarray(found.run.network.k)),
            ("untrained", before, np.asarray(found.run.initial_k)),
        ):
            currents = _currents(found, k)
            walls = np.stack([largest(row, WALLS) for row in np.asarray(one.susceptibility)])
            ratios[label] = np.array(
                [np.median(c[w]) / np.median(c) for c, w in zip(currents, walls, strict=True)]
            )
        parts.append(dataset_of(task, settings))
        claims.append(
            measured(
                f"{name}.{task}",
                "Guzman et al. (2024), fig. 9",
                f"Susceptible edges block current, {TITLES[task]} [median current of the most "
                "susceptible 5 % over that of all edges below 1]",
                ratios["trained"],
                lambda value: value < 1,
                paper="blockers",
                condition=f"Untrained: {np.median(ratios['untrained']):.2f}.",
            )
        )
    return Result(merged(*parts), claims)


def _currents(found: Learned, k: np.ndarray) -> np.ndarray:
    """Root mean square of every edge's current over the samples of the task, `(R, M)`."""
    network = member(found.run.network, 0)
    return np.asarray(_root_mean_square_currents(network, found.task, jnp.asarray(k)))


@eqx.filter_jit
def _root_mean_square_currents(
    network: FlowNetwork, task: Task, k: Float[Array, "R M"]
) -> Float[Array, "R M"]:
    def one(k: Float[Array, " M"]) -> Float[Array, " M"]:
        drops = network.strains(task.inputs @ respond(network.with_k(k), task).drive)[..., 0]
        return jnp.sqrt(jnp.mean((k * drops) ** 2, axis=0))

    return jax.lax.map(one, k)


def draw_conductance_row(row: np.ndarray, one: xr.Dataset, title: str) -> None:
    """Four panels: a map of conductances, their distribution, and k and relative k against susceptibility.

    `row`: four axes. `one`: an ensemble of which the first network is drawn.
    """
    field, histogram, scatter, relative = row
    k, start = one["k"].values[0], one["k_initial"].values[0]
    draw_field(field, one, k, "conductance", log=True)
    draw_terminals(field, one, size=20)
    field.set_title(title, fontsize=9)
    decades = np.log10(np.concatenate([k, start]))
    bins = 10 ** np.linspace(decades.min() - 0.1, decades.max() + 0.1, 40)
    histogram.hist(start, bins, color=GREY, alpha=0.45, label="before")
    histogram.hist(k, bins, histtype="step", color=ACCENTS[0], linewidth=1.3, label="after")
    histogram.set(xscale="log", yscale="log", xlabel="conductance", ylabel="edges", ylim=(0.7, None))
    values = one["susceptibility"].values[0]
    for axes, y, label in (
        (scatter, k, "conductance"),
        (relative, one["relative_conductance"].values[0], "relative conductance"),
    ):
        axes.plot(values, y, "o", color=ACCENTS[0], markersize=2.4, alpha=0.5, mew=0)
        axes.set(xscale="log", yscale="log", xlabel="susceptibility", ylabel=label)
    for bound in (1e-3, 1e3):
        if start.mean() * bound > 0.5 * k.min() and start.mean() * bound < 2 * k.max():
            histogram.axvline(
                start.mean() * bound, color=ACCENTS[1], linestyle=":", linewidth=1, label="bound"
            )
            scatter.axhline(start.mean() * bound, color=ACCENTS[1], linestyle=":", linewidth=1)
    histogram.legend(fontsize=8, frameon=False)
    relative.axhline(1, color=ACCENTS[1], linestyle="--", linewidth=1)


@styled
def draw_initial_conditions(dataset: xr.Dataset) -> Figure:
    """Fig. 8 from its dataset."""
    figure, grid = panels(len(STARTS), 4, width=3.5, height=3.1)
    for row, start in zip(grid, STARTS, strict=True):
        low, high = STARTS[start]
        draw_conductance_row(row, part(dataset, _KEYS[start]), f"k(0) in [{low:g}, {high:g}]")
    return figure


@styled
def draw_remaining_tasks(dataset: xr.Dataset) -> Figure:
    """Fig. 10 from its dataset."""
    names = ("five", "classification", "allostery")
    figure, grid = panels(len(names), 4, width=3.5, height=3.1)
    for row, name in zip(grid, names, strict=True):
        draw_conductance_row(row, part(dataset, name), TITLES[name])
    return figure


@styled
def draw_blockers(dataset: xr.Dataset) -> Figure:
    """Fig. 9 from its dataset."""
    figure, grid = panels(2, len(RECIPES), width=3.9, height=3.9)
    for name, (upper, lower) in zip(RECIPES, grid.T, strict=True):
        one = part(dataset, name)
        voltages = np.array(SHOWN[name]) @ one["voltages"].values
        walls = largest(one["susceptibility"].values[0], WALLS)
        draw_voltages(upper, one, voltages)
        draw_walls(upper, one, walls, ACCENTS[2])
        draw_terminals(upper, one, size=24)
        upper.set_title(TITLES[name], fontsize=9)
        _draw_currents(lower, one, voltages, walls)
        draw_terminals(lower, one, size=24)
        lower.set_title("currents", fontsize=9)
    handles = [
        Line2D([], [], color=GREY, linewidth=2, label="current, width by size"),
        Line2D([], [], color=ACCENTS[2], linewidth=3, label="walls: the most susceptible 5 % of edges"),
        Line2D([], [], color=ACCENTS[3], linewidth=3, label="corridors: strong currents beside walls"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def corridors(one: xr.Dataset, currents: np.ndarray, walls: np.ndarray) -> np.ndarray:
    """Edges beside walls, but no walls, that are among the 15 % of most current; all arguments by edge.

    **Arguments**: `one`: the ensemble as a dataset, for its `edges`. `currents`: `(M,)` absolute values.
    `walls`: `(M,)`, true where an edge belongs to a wall. **Returns** `(M,)` booleans.
    """
    edges = one["edges"].values
    beside = np.isin(edges, np.unique(edges[walls])).any(axis=1)
    return largest(currents, 0.15) & beside & ~walls


def _draw_currents(axes: Axes, one: xr.Dataset, voltages: np.ndarray, walls: np.ndarray) -> None:
    edges = one["edges"].values
    currents = np.abs(one["k"].values[0] * (voltages[edges[:, 0]] - voltages[edges[:, 1]]))
    share = np.minimum(currents / np.quantile(currents, 0.99), 1)
    place = drawing_of_ensemble(one)
    for chosen, color in ((~walls, GREY), (corridors(one, currents, walls), ACCENTS[3])):
        draw_plain_edges(axes, place, chosen, color=color, width=0.2 + 3.2 * share)
    draw_walls(axes, one, walls, ACCENTS[2])
