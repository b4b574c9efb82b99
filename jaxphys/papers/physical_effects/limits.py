"""Appendix D and beyond: how many random tasks can be learned at all, and where training stops short."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Key
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from jaxphys.diagnostics import Decision, capacity_curve, free_dimension, task_learnability
from jaxphys.learning import Task, random_linear
from jaxphys.networks.generators import erdos_renyi
from jaxphys.networks.physics import AbstractNetwork, FlowNetwork, SpringNetwork
from jaxphys.papers.claims import Claim, measured
from jaxphys.papers.drawing import ACCENTS, KINDS, panels
from jaxphys.papers.frame import Result, Settings, ensemble_dataset, merged, part, prefixed, ratio
from jaxphys.papers.physical_effects.overload import (
    COUNTS,
    LEARNED,
    half_point,
    numbers_of_tasks,
    overloaded,
    train_by_newton,
)
from jaxphys.papers.physical_effects.systems import FLOOR, ensemble
from jaxphys.reports.style import GREY, legend_above, styled

_Kind = Literal["flow", "spring"]

_NODE_SIZES = (4, 6, 8, 10, 12)
# Mean degree 3 for flow networks and 6 for springs, as in the other figures.
_SIZES: dict[_Kind, tuple[int, ...]] = {"flow": (6, 10, 14), "spring": (6, 8, 10)}
_DEGREE: dict[_Kind, float] = {"flow": 3.0, "spring": 6.0}


def capacity(settings: Settings) -> Result:
    """Semidefinite feasibility for the networks of fig. 6, and capacity against size for three kinds."""
    trained = overloaded(settings)["newton"].run
    number = numbers_of_tasks(settings)
    decision = np.asarray(task_learnability(trained.task).decision)
    decided = ensemble_dataset(
        "node",
        trained,
        num_tasks=("realization", number),
        decision=("realization", decision),
        learned=("realization", ratio(trained.cost) <= LEARNED),
    )
    exact = _exact_capacities(settings)
    parts = [decided, exact]
    reached: dict[_Kind, dict[int, tuple[float, int]]] = {}
    relaxed: dict[_Kind, float] = {}
    for kind, sizes in _SIZES.items():
        reached[kind] = {}
        for size in sizes:
            dataset = _trained_difference(kind, size, settings)
            parts.append(dataset)
            one = part(dataset, f"{kind}{size}")
            learned = one["learned"].values
            reached[kind][size] = half_point(one["num_tasks"].values, learned), one.sizes["edge"]
            if "decision" in one:
                relaxed[kind] = float(np.mean(one["decision"].values == Decision.LEARNABLE))
    claims = [
        *_exact_claims(exact),
        *_decision_claims(number, decision, ratio(trained.cost) <= LEARNED),
        *(_difference_claim(kind, found, relaxed[kind]) for kind, found in reached.items()),
    ]
    return Result(merged(*parts), claims)


def _exact_capacities(settings: Settings) -> xr.Dataset:
    """Node networks: the largest learnable number of tasks in every realization, and the half-way point."""
    count = settings.realizations(100)
    curves = {
        size: capacity_curve("node", size, settings.key(f"capacity {size}"), realizations=count)
        for size in _NODE_SIZES
    }
    return prefixed(
        xr.Dataset(
            {
                "num_nodes": ("size", list(curves)),
                "num_weights": ("size", [size * (size + 1) // 2 for size in curves]),
                "half": ("size", [curve.half for curve in curves.values()]),
                "undecided": ("size", [curve.undecided for curve in curves.values()]),
                "capacities": (("size", "draw"), np.stack([curve.capacities for curve in curves.values()])),
            }
        ),
        "exact",
    )


def _pair(
    key: Key[Array, ""], number: int, most: int, kind: _Kind, size: int
) -> tuple[AbstractNetwork, Task]:
    """A flow or spring network and `number` random linear tasks, filled up to `most` without weight."""
    edges = min(round(_DEGREE[kind] * size / 2), size * (size - 1) // 2)
    network: AbstractNetwork
    if kind == "flow":
        network = FlowNetwork(erdos_renyi(size, edges, key))
    else:
        network = SpringNetwork(erdos_renyi(size, edges, key, dimension=2, rigid=True))
    task = random_linear(network, most, jax.random.fold_in(key, 1))
    weights = np.diag((np.arange(most) < number).astype(float))
    return network, task.with_samples(task.inputs, task.targets, jnp.asarray(weights))


def _trained_difference(kind: _Kind, size: int, settings: Settings) -> xr.Dataset:
    """What Gauss-Newton steps with k ≥ 0.01 learn; for the largest size, what the relaxation says of it."""
    edges = min(round(_DEGREE[kind] * size / 2), size * (size - 1) // 2)
    counts = np.unique(np.linspace(1, edges, 7).astype(int))
    each = settings.realizations(40)
    pairs = [
        ensemble(
            _pair,
            jax.random.split(settings.key(f"capacity {kind} {size} {n}"), each),
            number=int(n),
            most=edges,
            kind=kind,
            size=size,
        )
        for n in counts
    ]
    network, task = (
        jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *trees) for trees in zip(*pairs, strict=True)
    )
    run = train_by_newton(network, task, settings.steps(300), lower=FLOOR)
    variables = {
        "num_tasks": ("realization", np.repeat(counts, each)),
        "learned": ("realization", ratio(run.cost) <= LEARNED),
    }
    if size == max(_SIZES[kind]):
        variables["decision"] = ("realization", np.asarray(task_learnability(run.task).decision))
    return ensemble_dataset(f"{kind}{size}", run, **variables)


def _exact_claims(exact: xr.Dataset) -> list[Claim]:
    """How many random tasks node networks can learn, by semidefinite programs."""
    sizes, halves = exact["exact_num_nodes"].values, exact["exact_half"].values
    weights = exact["exact_num_weights"].values
    ten = int(np.flatnonzero(sizes == 10)[0])
    share = exact["exact_capacities"].values / weights[:, None]
    exponent = np.polyfit(np.log(weights), np.log(halves), 1)[0]
    return [
        measured(
            "physical-effects.capacity.node-10",
            "Stern et al. (2023), fig. 6a, appendix D",
            "Node networks of 10 nodes have a capacity of about 13 random tasks [mean of the largest "
            "number whose semidefinite program is feasible, within 10 to 16]",
            exact["exact_capacities"].values[ten],
            lambda value: 10 <= value <= 16,
            paper=13.0,
            statistic=np.mean,
            condition=f"Decided with a certificate either way: half of the sets of {halves[ten]:.1f} tasks "
            f"are learnable, of {weights[ten]} weights. {int(exact['exact_undecided'].sum())} decisions "
            "stayed open.",
        ),
        measured(
            "physical-effects.capacity.proportional",
            "Stern et al. (2023), appendix D",
            "Capacity is proportional to the number of learning degrees of freedom [exponent of the "
            f"half-way point against N_w = N(N+1)/2 for N = {sizes[0]} to {sizes[-1]}, within 0.1 of 1]",
            [exponent],
            lambda value: abs(value - 1) <= 0.1,
            paper=1.0,
        ),
        measured(
            "physical-effects.capacity.coefficient",
            "Stern et al. (2023), appendix D",
            "Its coefficient is typically less than 1 [mean capacity over N_w below 1, all sizes]",
            share,
            lambda value: value < 1,
            paper="less than 1",
            statistic=np.mean,
        ),
    ]


def _decision_claims(number: np.ndarray, decision: np.ndarray, learned: np.ndarray) -> list[Claim]:
    """What is learned of what is learnable; all `(R,)`, `number`: how many tasks each network has."""
    possible = decision == Decision.LEARNABLE
    gap = {n: possible[number == n].mean() - learned[number == n].mean() for n in COUNTS}
    return [
        measured(
            "physical-effects.capacity.training-short",
            "Stern et al. (2023), fig. 6a",
            "Where training fails the capacity is exceeded [fraction of learnable sets that "
            "Gauss-Newton steps do not learn, all numbers of tasks, at most 0.05]",
            ~learned[possible],
            lambda value: value <= 0.05,
            statistic=np.mean,
            condition="Learnable minus learned, by number of tasks: "
            + ", ".join(f"{n}: {value:.2f}" for n, value in gap.items() if n >= 19)
            + ".",
        ),
        measured(
            "physical-effects.capacity.certificates",
            "ours",
            "No network learns a set of tasks that is certified not to be learnable [number that did, 0]",
            [float(np.sum(learned & (decision == Decision.NOT_LEARNABLE)))],
            lambda value: value == 0,
        ),
    ]


def _difference_claim(kind: _Kind, found: dict[int, tuple[float, int]], relaxed: float) -> Claim:
    """Capacity of flow or spring networks by training.

    `found`: half-way point and number of edges by size. `relaxed`: share of sets that are learnable by the
    relaxation at the largest size.
    """
    points = np.array([half for half, _ in found.values()])
    edges = np.array([number for _, number in found.values()])
    known = np.isfinite(points)
    reached = ", ".join(f"N = {size}: {half:.1f} of {m}" for size, (half, m) in found.items())
    bounds = ", ".join(
        f"N = {size}: {m * (m + 1) // 2}"
        for size, m in ((size, free_dimension(kind, size)) for size in found)
    )
    return measured(
        f"physical-effects.capacity.{kind}",
        "Stern et al. (2023), appendix D",
        f"Where the number of edges is linear in N, so is the capacity: {KINDS[kind][0]}, k ≥ "
        "0.01, Gauss-Newton steps [half-way point over number of edges varies by less than a "
        "factor of 2 over the sizes]",
        points[known] / edges[known],
        "conditional" if known.all() and np.ptp(np.log(points / edges)) < np.log(2) else "does not hold",
        paper="linear in N",
        statistic=np.mean,
        condition=f"Half-way points by training, which are lower bounds: {reached} edges. The "
        "semidefinite relaxation knows neither the graph nor k ≥ 0: its 'not learnable' is "
        f"proof, its 'learnable' is not; it has {bounds} unknowns, more than there are edges, "
        "which bound the capacity first. Of the sets of up to as many tasks as edges it calls "
        f"{100 * relaxed:.0f} % learnable at the largest N.",
    )


@styled
def draw_capacity(dataset: xr.Dataset) -> Figure:
    """What is learnable and what is learned, and how both grow."""
    figure, (row,) = panels(1, 2, width=4.8, height=3.8)
    fractions, growth = row
    one = part(dataset, "node")
    number, decision = one["num_tasks"].values, one["decision"].values
    counts = np.unique(number)

    def share(values: np.ndarray) -> list[float]:
        return [values[number == n].mean() for n in counts]

    fractions.plot(
        counts, share(decision == Decision.LEARNABLE), "-o", color=ACCENTS[0], ms=4, label="learnable"
    )
    fractions.plot(counts, share(one["learned"].values), "--s", color=ACCENTS[1], ms=4, label="learned (LM)")
    forbidden = share(decision == Decision.NOT_LEARNABLE)
    fractions.plot(counts, forbidden, ":^", color=ACCENTS[3], ms=4, label="certified impossible")
    fractions.axvline(13, color=GREY, linewidth=0.8, linestyle=":", label="paper")
    fractions.set(xlabel="number of tasks", ylabel="fraction of networks of 10 nodes", ylim=(-0.02, 1.02))
    weights, halves = dataset["exact_num_weights"].values, dataset["exact_half"].values
    growth.loglog(weights, halves, "-o", color=KINDS["node"][1], ms=4, label="nodes, exact")
    for kind, sizes in _SIZES.items():
        points = []
        for size in sizes:
            here = part(dataset, f"{kind}{size}")
            points.append((here.sizes["edge"], half_point(here["num_tasks"].values, here["learned"].values)))
        x, y = np.array(points).T
        label = f"{KINDS[kind][0].split()[0]}, learned (LM)"
        growth.loglog(x, y, marker="s", ls=KINDS[kind][2], color=KINDS[kind][1], ms=4, label=label)
    ends = np.array([weights.min(), weights.max()])
    growth.loglog(ends, ends, ":", color=GREY, label="as many as N_w")
    for axis in (growth.xaxis, growth.yaxis):
        axis.set_major_locator(FixedLocator([5, 10, 20, 40, 80]))
        axis.set_major_formatter(ScalarFormatter())
        axis.set_minor_locator(NullLocator())
    growth.set(xlabel="learning degrees of freedom N_w", ylabel="tasks that half of the sets reach")
    for axes in row:
        legend_above(axes)
    return figure
