"""Figures 6, 11 and 12: voltage drops at a distance, sectors of the response, weak training."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxphys.diagnostics import sectors
from jaxphys.learning import Task, respond
from jaxphys.networks.generators import host_generator
from jaxphys.networks.physics import FlowNetwork
from jaxphys.papers.claims import Claim, measured
from jaxphys.papers.drawing import ACCENTS, panels
from jaxphys.papers.frame import (
    Result,
    Settings,
    Variables,
    computed_once,
    ensemble_dataset,
    merged,
    part,
)
from jaxphys.papers.microscopic_imprints.landscapes import (
    agreement,
    controls_text,
    dataset_of,
    draw_scatter,
    imprint_variables,
)
from jaxphys.papers.microscopic_imprints.maps import (
    draw_field,
    draw_sectors,
    draw_terminals,
    draw_voltages,
    draw_walls,
)
from jaxphys.papers.microscopic_imprints.measures import (
    area_under_curve,
    each,
    only,
    precision,
)
from jaxphys.papers.microscopic_imprints.systems import (
    LEARNED,
    RECIPES,
    Imprint,
    Learned,
    Placement,
    Recipe,
    allostery_task,
    before_and_after,
    imprinted,
    learn,
    learned,
    packings,
    starts,
)
from jaxphys.reports.style import GREY, legend_above, styled
from jaxphys.training._train import Run, member, stack

# Persistence of a sector, as a share of the input's drop.
PERSISTENCE = 0.05
DROPS = (0.5, 0.3, 0.1)
WEAK_DROPS = (0.001, 0.01, 0.5, 1.0)
_WEAK = 20


@dataclasses.dataclass(frozen=True)
class Meetings:
    """Where the sectors of every network of an ensemble meet, and how well susceptibility predicts it.

    - `labels`: `(R, N)` sectors. `edges`: `(R, M)` true between two of them.
    - `area`: `(R,)` area under the curve of susceptibility as a score for them. `precision`: fraction
      of them among as many of the most susceptible ones. `tree_area`: for the death edges alone.
    - `diagram`: `(2, P)` births and deaths in the first network.
    """

    labels: np.ndarray
    edges: np.ndarray
    area: np.ndarray
    precision: np.ndarray
    tree_area: np.ndarray
    diagram: np.ndarray

    def variables(self) -> Variables:
        """For `ensemble_dataset`."""
        return {
            "sector": (("realization", "node"), self.labels),
            "sector_boundary": (("realization", "edge"), self.edges.astype(np.int8)),
            "boundary_area": (("realization",), self.area),
            "boundary_precision": (("realization",), self.precision),
            "diagram": (("birth_death", "component"), self.diagram),
        }


def meetings(network: FlowNetwork, task: Task, found: Imprint) -> Meetings:
    """Sectors of the response to the task's input in every network of an ensemble.

    `found`: imprints in these networks, whose susceptibility is held against the edges between sectors.
    """
    results = []
    for i in range(len(network.k)):
        one, its_task = member((network, task), i)
        results.append(sectors(one.topology, np.asarray(respond(one, its_task).drive)[0], PERSISTENCE))
    scores = np.asarray(found.susceptibility)
    edges = np.stack([result.boundary for result in results])
    return Meetings(
        np.stack([result.labels for result in results]),
        edges,
        each(area_under_curve, scores, edges),
        each(precision, scores, edges),
        each(area_under_curve, scores, np.stack([result.walls for result in results])),
        np.stack([results[0].births, results[0].deaths]),
    )


def topological_sectors(settings: Settings) -> Result:
    """Fig. 6: three target edges, and the sectors of the response."""
    name = "microscopic-imprints.fig6"
    found = learned("allostery", settings)
    after, before = imprinted("allostery", settings)
    run = found.run
    trained = meetings(run.network, run.task, after)
    untrained = meetings(run.network.with_k(run.initial_k), run.task, before)
    done = run.cost[:, -1] <= LEARNED
    claims = [
        measured(
            f"{name}.learned",
            "Guzman et al. (2024), appendix D",
            "A drop of 0.5 is learned at three edges [fraction of networks whose cost falls to "
            f"{LEARNED:.0e} at least 0.8]",
            done,
            lambda value: value >= 0.8,
            paper="C ~ 1e-5",
            statistic=np.mean,
            condition=f"At a placement that one network learned; {np.sum(found.tried <= LEARNED)} of "
            f"{found.tried.size} placements were. All else here is about the networks that learned.",
        ),
        measured(
            f"{name}.boundaries",
            "Guzman et al. (2024), fig. 6b",
            "The boundaries of topological sectors are the susceptible edges [area under the curve by "
            f"which susceptibility tells edges between sectors of persistence {PERSISTENCE}, median at "
            "least 0.93]",
            only(trained.area, done),
            lambda value: value >= 0.93,
            paper="precisely",
            condition=_boundary_text(trained, untrained),
        ),
        measured(
            f"{name}.death-edges",
            "Guzman et al. (2024), fig. 6b",
            "So are the edges alone by which sectors die, one for each [median area at least 0.93]",
            only(trained.tree_area, done),
            lambda value: value >= 0.93,
            paper="precisely",
        ),
        measured(
            f"{name}.precision",
            "Guzman et al. (2024), fig. 6b",
            "As many of the most susceptible edges as lie between sectors are these very edges [median "
            "fraction at least 0.5]",
            only(trained.precision, done),
            lambda value: value >= 0.5,
            paper="precisely",
        ),
        measured(
            f"{name}.rank",
            "Guzman et al. (2024), fig. 6c",
            "Three target edges make three stiff modes [rank of the Gauss-Newton matrix, 3]",
            only(after.curvature_rank, done),
            lambda value: value == 3,
            paper=3.0,
        ),
        measured(
            f"{name}.susceptible",
            "Guzman et al. (2024), fig. 6c",
            "Large susceptibilities correlate with the stiff modes [area under the curve for the "
            "stiffest 5 %, median at least 0.85]",
            only(agreement(after), done),
            lambda value: value >= 0.85,
            paper="positively correlates",
            condition=controls_text(after, before),
        ),
    ]
    dataset = dataset_of("allostery", settings).assign(
        {
            f"allostery_{key}": (tuple(f"allostery_{axis}" for axis in axes), values)
            for key, (axes, values) in trained.variables().items()
        }
    )
    return Result(dataset, claims)


def _boundary_text(trained: Meetings, untrained: Meetings) -> str:
    number = untrained.edges.sum(axis=1)
    rest = (
        f"untrained networks have {np.median(number):.0f}, with an area of "
        f"{np.nanmedian(untrained.area):.2f} and a precision of {np.nanmedian(untrained.precision):.2f}"
        if number.any()
        else "untrained networks have no sectors at all"
    )
    return f"Median number of edges between sectors {np.median(trained.edges.sum(axis=1)):.0f}; {rest}."


@dataclasses.dataclass(frozen=True)
class Weak:
    """A task at one wanted drop: the trained ensemble, its imprints, and those before."""

    found: Learned
    after: Imprint
    before: Imprint


@computed_once(maxsize=2)
def weaker(settings: Settings) -> dict[float, Weak]:
    """The networks of fig. 6 trained for smaller drops at the same edges."""
    base = learned("allostery", settings)
    found = {DROPS[0]: Weak(base, *imprinted("allostery", settings))}
    for drop in DROPS[1:]:
        task = _with_drop(base.task, drop)
        networks = base.run.network.with_k(base.run.initial_k)
        recipe = RECIPES["allostery"]
        found[drop] = _trained_for(base.placement, task, networks, recipe, settings, 3, base.tried)
    return found


@computed_once(maxsize=2)
def weakest(settings: Settings) -> dict[float, Weak]:
    """Networks trained for a drop at one edge, from a thousandth of the input to all of it."""
    network = FlowNetwork(packings(settings, 1)[0].topology)
    generator = host_generator(settings.key("fig12"))
    task, placement = allostery_task(network, 1.0, 1, generator)
    networks = starts(network, settings.realizations(_WEAK), generator)
    # A drop of a thousandth is not learned at the cost where others rest.
    recipe = dataclasses.replace(RECIPES["allostery"], rest=1e-14)
    return {
        drop: _trained_for(placement, _with_drop(task, drop), networks, recipe, settings, 1)
        for drop in WEAK_DROPS
    }


def _with_drop(task: Task, drop: float) -> Task:
    return task.with_samples(task.inputs, jnp.full_like(task.targets, drop), task.weights)


def _trained_for(
    placement: Placement,
    task: Task,
    networks: FlowNetwork,
    recipe: Recipe,
    settings: Settings,
    stiff: int,
    tried: np.ndarray | None = None,
) -> Weak:
    run: Run = learn(networks, stack([task] * len(networks.k)), recipe, settings)
    found = Learned(run, placement, task, np.zeros(0) if tried is None else tried)
    return Weak(found, *before_and_after(run, placement, stiff))


def weak_sectors(settings: Settings) -> Result:
    """Fig. 11: the same three edges, trained for smaller and smaller drops."""
    name = "microscopic-imprints.fig11"
    parts, claims, shares = [], [], {}
    for drop, one in weaker(settings).items():
        run = one.found.run
        found = meetings(run.network, run.task, one.after)
        shares[drop] = found.precision
        variables = imprint_variables(one.found, one.after, one.before) | found.variables()
        parts.append(ensemble_dataset(_key(drop), run, **variables))
        claims.append(_stiffness_claim(name, "fig. 11c", drop, one))
    # The weakest training that leaves sectors in half of the networks.
    weakest = [drop for drop in DROPS if np.mean(np.isfinite(shares[drop])) >= 0.5]
    last = weakest[-1] if weakest else DROPS[0]
    claims.append(
        measured(
            f"{name}.overlap",
            "Guzman et al. (2024), fig. 11b",
            "The weaker the training, the less do susceptible edges overlap with the boundaries of "
            "sectors [precision at 0.5 minus that at the weakest drop with sectors, network by network, "
            "median above 0]",
            shares[DROPS[0]] - shares[last],
            lambda value: value > 0,
            paper="smaller overlap",
            condition=f"Compared at {last}. "
            + "; ".join(
                f"{drop}: {np.sum(np.isfinite(values))} of {len(values)} networks have sectors"
                for drop, values in shares.items()
            )
            + ".",
        )
    )
    return Result(merged(*parts), claims)


def weak_signals(settings: Settings) -> Result:
    """Fig. 12: one edge, trained for drops from 0.001 to 1."""
    name = "microscopic-imprints.fig12"
    parts, claims = [], []
    for drop, one in weakest(settings).items():
        variables = imprint_variables(one.found, one.after, one.before)
        parts.append(ensemble_dataset(_key(drop), one.found.run, **variables))
        claims.append(_stiffness_claim(name, "fig. 12", drop, one))
    ends = weakest(settings)[WEAK_DROPS[-1]].found.run.cost[:, -1]
    claims.append(
        measured(
            f"{name}.whole-drop",
            "Guzman et al. (2024), appendix E",
            "A drop of 1, all of the input, is learned [median cost at most 1e-6]",
            ends,
            lambda value: value <= 1e-6,
            paper="trained",
            condition="No positive conductances reach it: the largest drop is that of the input. How near it "
            "comes is set by the range of k, 1e±3 of its mean here.",
        )
    )
    return Result(merged(*parts), claims)


def _stiffness_claim(name: str, panel: str, drop: float, one: Weak) -> Claim:
    return measured(
        f"{name}.susceptible-{drop}",
        f"Guzman et al. (2024), {panel}",
        f"At a drop of {drop} susceptibility captures the edges of the stiff modes [area under the curve "
        "for the stiffest 5 %, median at least 0.85]",
        agreement(one.after),
        lambda value: value >= 0.85,
        paper="capture",
        condition=f"Median cost {np.median(one.found.run.cost[:, -1]):.1g}. "
        + controls_text(one.after, one.before),
    )


def _key(drop: float) -> str:
    return f"drop{drop}".replace(".", "")


@styled
def draw_topological_sectors(dataset: xr.Dataset) -> Figure:
    """Fig. 6 from its dataset."""
    one = part(dataset, "allostery")
    figure, grid = panels(1, 5, width=3.7, height=3.8)
    _draw_row(grid[0, :4], one)
    _draw_diagram(grid[0, 4], one["diagram"].values)
    return figure


def _draw_diagram(axes: Axes, diagram: np.ndarray) -> None:
    """Components of small drops: where they are born, and where they die."""
    births, deaths = diagram
    lasting = deaths - births >= PERSISTENCE
    for chosen, color, label in ((~lasting, GREY, "others"), (lasting, ACCENTS[0], "sectors")):
        axes.plot(
            births[chosen], deaths[chosen], "o", color=color, markersize=4, alpha=0.7, mew=0, label=label
        )
    ends = np.array([0.0, max(deaths.max(initial=0.0), 0.1)])
    axes.plot(ends, ends, color=GREY, linewidth=0.8)
    axes.plot(ends, ends + PERSISTENCE, color=GREY, linewidth=0.8, linestyle=":")
    axes.set(xlabel="drop at birth", ylabel="drop at death")
    legend_above(axes)


def _draw_row(row: np.ndarray, one: xr.Dataset, title: str = "") -> None:
    voltage, sector, field, scatter = row
    draw_voltages(voltage, one, one["voltages"].values[0])
    draw_terminals(voltage, one, size=22)
    draw_sectors(sector, one, one["sector"].values[0])
    draw_walls(sector, one, one["sector_boundary"].values[0].astype(bool))
    draw_terminals(sector, one, size=22)
    draw_field(field, one, one["susceptibility"].values[0], "susceptibility", log=True)
    draw_terminals(field, one, size=18)
    draw_scatter(scatter, one)
    voltage.set_title(f"{title}voltages", fontsize=9)
    field.set_title("susceptibility", fontsize=9)
    sector.set_title("sectors, and edges between them", fontsize=9)


@styled
def draw_weak_sectors(dataset: xr.Dataset) -> Figure:
    """Fig. 11 from its dataset."""
    figure, grid = panels(len(DROPS), 4, width=3.7, height=3.6)
    for drop, row in zip(DROPS, grid, strict=True):
        _draw_row(row, part(dataset, _key(drop)), f"trained for {drop}: ")
    return figure


@styled
def draw_weak_signals(dataset: xr.Dataset) -> Figure:
    """Fig. 12 from its dataset."""
    figure, grid = panels(3, len(WEAK_DROPS), width=3.5, height=3.3)
    for drop, (field, mode, scatter) in zip(WEAK_DROPS, grid.T, strict=True):
        one = part(dataset, _key(drop))
        draw_field(field, one, one["susceptibility"].values[0], "susceptibility", log=True)
        draw_field(mode, one, np.abs(one["stiff_modes"].values[0]), "|Ψ| in the stiff mode")
        for axes in (field, mode):
            draw_terminals(axes, one, size=20)
        field.set_title(f"trained for a drop of {drop}", fontsize=9)
        for key, color, label in (("_untrained", GREY, "untrained"), ("", ACCENTS[0], "trained")):
            scatter.plot(
                one[f"susceptibility{key}"].values[0],
                one[f"stiffness{key}"].values[0],
                "o",
                color=color,
                markersize=2.4,
                alpha=0.5,
                mew=0,
                label=label,
            )
        scatter.set(xscale="log", yscale="log", xlabel="susceptibility", ylabel="|Ψ|", ylim=(1e-7, 1.5))
        legend_above(scatter)
    return figure
