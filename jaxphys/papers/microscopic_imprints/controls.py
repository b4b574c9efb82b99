"""What the paper does not control for: other graphs, untrained networks, chance, and the learning rate."""

import dataclasses

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

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
from jaxphys.papers.microscopic_imprints.conductances import low_share
from jaxphys.papers.microscopic_imprints.landscapes import agreement
from jaxphys.papers.microscopic_imprints.measures import (
    area_under_curve,
    only,
    permutation_null,
    rank_correlation,
    stiffest,
)
from jaxphys.papers.microscopic_imprints.systems import (
    LEARNED,
    RECIPES,
    TWO_TARGETS,
    Imprint,
    before_and_after,
    imprints,
    learn,
    learned,
    packings,
    real_edges,
    regression_task,
    selected,
)
from jaxphys.reports.style import GREY, styled
from jaxphys.training._train import Run, member, stack

_PACKINGS = 20
_RATES = (3.0, 30.0, 300.0, 3000.0)
_EACH = 10


@dataclasses.dataclass(frozen=True)
class Seeds:
    """Networks on graphs of their own, trained; imprints after and before; `real`: edges, not padding."""

    run: Run
    after: Imprint
    before: Imprint
    real: np.ndarray


def _range(values: np.ndarray) -> str:
    known = values[np.isfinite(values)]
    return f"{known.min():.0f} to {known.max():.0f}" if known.size else "no number of"


@computed_once(maxsize=2)
def seeds(settings: Settings) -> Seeds:
    """Twenty packings, each with its own terminals and initial conductances, learn eq. 1."""
    found = packings(settings, settings.realizations(_PACKINGS))
    edges = max(packing.topology.num_edges for packing in found)
    networks, tasks, grounds = [], [], []
    for number, packing in enumerate(found):
        generator = host_generator(settings.key(f"seed {number}"))
        plain = FlowNetwork(packing.topology, generator.uniform(1.0, 1.1, packing.topology.num_edges))
        task, placement = regression_task(plain, TWO_TARGETS, generator)
        k = np.append(np.asarray(plain.k), np.ones(edges - len(plain.k)))
        networks.append(FlowNetwork(packing.topology.padded(edges), k))
        tasks.append(task)
        grounds.append(placement.ground(plain))
    network, task, ground = stack(networks), stack(tasks), stack(grounds)
    run = learn(network, task, RECIPES["regression"], settings)
    after = imprints(run.network, task, ground, 4)
    return Seeds(run, after, imprints(network, task, ground, 4), real_edges(network))


def null_models(settings: Settings) -> Result:
    """Correlations of the paper on twenty graphs, beside untrained networks and chance."""
    found = seeds(settings)
    rows = _agreements(found)
    size = int(found.real[0].sum())
    null = permutation_null(round(0.05 * size), size, 10_000, host_generator(settings.key("permutations")))
    p_values = np.array([(1 + np.sum(null >= area)) / (1 + null.size) for area in rows["area_trained"]])
    claims = [*_learned_claims(found), *_area_claims(rows, p_values), *_edge_claims(found, rows)]
    variables = {
        **{key: (("realization",), values) for key, values in rows.items()},
        "p_value": (("realization",), p_values),
        "gap": (("realization",), found.after.gap),
        "gap_untrained": (("realization",), found.before.gap),
        "susceptibility": (("realization", "edge"), np.asarray(found.after.susceptibility)),
        "stiffness": (("realization", "edge"), found.after.stiffness),
        "chance": (("draw",), null[:1000]),
    }
    return Result(ensemble_dataset("seeds", found.run, **variables), claims)


def _agreements(found: Seeds) -> dict[str, np.ndarray]:
    """How well susceptibility predicts stiff edges: areas and rank correlations, before and after, `(R,)`."""
    rows: dict[str, np.ndarray] = {}
    for label, one in (("trained", found.after), ("untrained", found.before)):
        values, shares = np.asarray(one.susceptibility), one.stiffness
        fields = [(values[i][real], shares[i][real]) for i, real in enumerate(found.real)]
        rows[f"area_{label}"] = np.array(
            [area_under_curve(values, stiffest(share[None])[0]) for values, share in fields]
        )
        rows[f"spearman_{label}"] = np.array([rank_correlation(values, share) for values, share in fields])
    return rows


def _learned_claims(found: Seeds) -> list[Claim]:
    """That the networks learned, and the gap that learning left."""
    step = np.array(
        [
            found.run.steps[np.argmax(cost <= LEARNED)] if (cost <= LEARNED).any() else np.nan
            for cost in found.run.cost
        ]
    )
    return [
        measured(
            "microscopic-imprints.nulls.learned",
            "ours",
            f"Coupled learning reaches a cost of {LEARNED:.0e} within 10 000 steps at ρ = 30 [fraction "
            "of 20 packings at least 0.9]",
            np.isfinite(step),
            lambda value: value >= 0.9,
            paper="C ~ 1e-5",
            statistic=np.mean,
            condition=f"After {_range(step)} steps, with terminals three diameters inside the rim: a planar "
            "network cannot lead currents across each other at its outer face.",
        ),
        measured(
            "microscopic-imprints.nulls.gap",
            "Guzman et al. (2024), fig. 4a",
            "The gap behind the fourth stiff mode, on twenty graphs [median decades at a cost of 1e-10 "
            "at least 2]",
            found.after.gap,
            lambda value: value >= 2,
            paper=2.0,
        ),
        measured(
            "microscopic-imprints.nulls.gap-untrained",
            "ours",
            "Untrained networks have none [median decades below 0.4]",
            found.before.gap,
            lambda value: value < 0.4,
        ),
    ]


def _area_claims(rows: dict[str, np.ndarray], p_values: np.ndarray) -> list[Claim]:
    """Susceptibility against the stiffest edges, beside chance and the untrained networks."""
    pairs = rows["area_trained"] - rows["area_untrained"]
    return [
        measured(
            "microscopic-imprints.nulls.area",
            "Guzman et al. (2024), fig. 4d",
            "Susceptibility tells the stiffest 5 % of edges [median area under the curve at least 0.85]",
            rows["area_trained"],
            lambda value: value >= 0.85,
            paper="correlate strongly",
        ),
        measured(
            "microscopic-imprints.nulls.permutation",
            "ours",
            "More than by chance [largest p-value of 10 000 permutations over networks below 0.001]",
            p_values,
            lambda value: value < 0.001,
            statistic=np.max,
        ),
        measured(
            "microscopic-imprints.nulls.area-untrained",
            "ours",
            "Untrained networks show nothing of it [median area at most 0.6]",
            rows["area_untrained"],
            lambda value: value <= 0.6,
            condition="What they have comes of the graph and of where the terminals are.",
        ),
        measured(
            "microscopic-imprints.nulls.paired",
            "ours",
            "Training adds to it [fraction of networks whose area exceeds that of their untrained self "
            "at least 0.9]",
            pairs > 0,
            lambda value: value >= 0.9,
            statistic=np.mean,
            condition=f"Median difference {np.median(pairs):.2f}.",
        ),
    ]


def _edge_claims(found: Seeds, rows: dict[str, np.ndarray]) -> list[Claim]:
    """Susceptibility over all edges, and the conductances of those of most."""
    return [
        measured(
            "microscopic-imprints.nulls.spearman",
            "Guzman et al. (2024), fig. 4d",
            "The rank correlation over all edges comes from training [median Spearman's ρ, trained "
            "minus untrained, above 0.1]",
            rows["spearman_trained"] - rows["spearman_untrained"],
            lambda value: value > 0.1,
            paper="correlate strongly",
            condition=f"{np.median(rows['spearman_trained']):.2f} trained, "
            f"{np.median(rows['spearman_untrained']):.2f} untrained.",
        ),
        measured(
            "microscopic-imprints.nulls.relative",
            "Guzman et al. (2024), fig. 8",
            "Highly susceptible edges have low relative conductances [mean fraction below 1 among the "
            "top 1 % at least 0.85]",
            low_share(found.after),
            lambda value: value >= 0.85,
            paper="all",
            statistic=np.mean,
        ),
    ]


def learning_rates(settings: Settings) -> Result:
    """The same task and start at rates from ρ = 3 to 3000: the same cost, with and without imprint."""
    name = "microscopic-imprints.rates"
    base = learned("regression", settings)
    count = settings.realizations(_EACH)
    network, task = selected((base.run.network, base.run.task), slice(count))
    network = network.with_k(base.run.initial_k[:count])
    parts, claims, areas, costs = [], [], {}, {}
    for rate in _RATES:
        recipe = dataclasses.replace(RECIPES["regression"], rho=rate, rest=LEARNED)
        run = learn(network, task, recipe, settings)
        after, _ = before_and_after(run, base.placement, 4)
        areas[rate], costs[rate] = agreement(after), run.cost[:, -1]
        variables = {
            "area": (("realization",), areas[rate]),
            "gap": (("realization",), after.gap),
            "low_share": (("realization",), low_share(after)),
            "susceptibility": (("realization", "edge"), np.asarray(after.susceptibility)),
            "stiffness": (("realization", "edge"), after.stiffness),
        }
        parts.append(ensemble_dataset(f"rho{rate:.0f}", run, **variables))
    start = imprints(network, task, stack([base.placement.ground(member(network, 0))] * count), 4)
    untrained = float(np.median(agreement(start)))
    text = "; ".join(
        f"ρ = {rate:.0f}: area {np.median(areas[rate]):.2f}, cost {np.median(costs[rate]):.0e}"
        for rate in _RATES
    )
    claims = [
        measured(
            f"{name}.slow",
            "ours",
            "Slow learning (ρ = 30) leaves an imprint [median area above that of untrained networks by "
            "at least 0.1]",
            only(areas[30.0], costs[30.0] <= LEARNED) - untrained,
            lambda value: value >= 0.1,
            condition=text,
        ),
        measured(
            f"{name}.fast",
            "ours",
            "Fast learning (ρ = 3000) leaves as much of one [median area no less than 0.05 below that "
            "at ρ = 30]",
            only(areas[3000.0], costs[3000.0] <= LEARNED) - np.median(areas[30.0]),
            lambda value: value >= -0.05,
            condition=text,
        ),
    ]
    return Result(merged(*parts).assign_attrs(untrained_area=untrained), claims)


@styled
def draw_null_models(dataset: xr.Dataset) -> Figure:
    """The controls on twenty graphs, from their dataset."""
    one = part(dataset, "seeds")
    figure, grid = panels(1, 4, width=3.7, height=3.4)
    cost, area, spearman, gap = grid[0]
    cost.plot(one["step"].values, np.maximum(one["cost"].values, 1e-12).T, color=GREY, linewidth=0.8)
    cost.plot(one["step"].values, np.median(one["cost"].values, axis=0), color=ACCENTS[0], linewidth=1.8)
    cost.set(
        xlabel="learning step", ylabel="cost", yscale="log", xscale="log", xlim=one["step"].values[[1, -1]]
    )
    chance = np.quantile(one["chance"].values, (0.025, 0.975))
    area.axhspan(*chance, color=GREY, alpha=0.3, linewidth=0)
    area.text(1.45, 0.5, "chance", ha="right", va="center", fontsize=8)
    for axes, key, label in (
        (area, "area", "area under the curve, stiffest 5 %"),
        (spearman, "spearman", "Spearman's ρ, all edges"),
    ):
        both = np.stack([one[f"{key}_untrained"].values, one[f"{key}_trained"].values])
        axes.plot([0, 1], both, color=GREY, linewidth=0.7)
        axes.plot([0, 1], both, "o", color=ACCENTS[0], markersize=4, alpha=0.7)
        axes.set(ylabel=label, xlim=(-0.5, 1.5))
        axes.set_xticks([0, 1], ["untrained", "trained"])
    both = np.stack([one["gap_untrained"].values, one["gap"].values])
    gap.plot([0, 1], both, color=GREY, linewidth=0.7)
    gap.plot([0, 1], both, "o", color=ACCENTS[0], markersize=4, alpha=0.7)
    gap.set(ylabel="decades behind the 4th mode", xlim=(-0.5, 1.5))
    gap.set_xticks([0, 1], ["untrained", "trained"])
    return figure


@styled
def draw_learning_rates(dataset: xr.Dataset) -> Figure:
    """Cost, imprint and gap against the learning rate, from their dataset."""
    figure, grid = panels(1, 3, width=4.0, height=3.4)
    for axes, key, label in zip(
        grid[0],
        ("cost", "area", "low_share"),
        ("cost reached", "area under the curve, stiffest 5 %", "top 1 %: relative conductance < 1"),
        strict=True,
    ):
        for rate in _RATES:
            one = part(dataset, f"rho{rate:.0f}")
            values = one["cost"].values[:, -1] if key == "cost" else one[key].values
            axes.plot(np.full(len(values), rate), values, "o", color=ACCENTS[0], markersize=4, alpha=0.5)
            axes.plot(rate, np.median(values), "_", color=ACCENTS[1], markersize=22, mew=2)
        axes.set(xscale="log", xlabel="learning rate, ρ = α⟨u²⟩/k(0)", ylabel=label)
    grid[0, 0].set_yscale("log")
    untrained = dataset.attrs["untrained_area"]
    grid[0, 1].axhline(untrained, color=GREY, linestyle="--", linewidth=1)
    grid[0, 1].text(_RATES[0], untrained, "untrained", va="bottom", fontsize=8)
    return figure
