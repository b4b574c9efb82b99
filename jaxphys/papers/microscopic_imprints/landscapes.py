"""Figures 1, 4 and 5: learned conductances, stiff modes of the cost, susceptibility."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxphys.diagnostics import cost_hessian, susceptibility_cost_hessian
from jaxphys.learning import accuracy
from jaxphys.networks.generators import host_generator
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
from jaxphys.papers.microscopic_imprints.maps import draw_field, draw_terminals, draw_voltages
from jaxphys.papers.microscopic_imprints.measures import (
    area_under_curve,
    chance,
    each,
    only,
    stiffest,
)
from jaxphys.papers.microscopic_imprints.systems import (
    FIVE_TARGETS,
    LEARNED,
    STIFF,
    TITLES,
    TWO_TARGETS,
    Imprint,
    Learned,
    class_samples,
    imprinted,
    imprints,
    learned,
    selected,
    states,
    trained_pair,
)
from jaxphys.reports.style import GREY, legend_above, styled
from jaxphys.training._train import Run, stack


def imprint_variables(found: Learned, after: Imprint, before: Imprint) -> Variables:
    """What pictures and claims need of an ensemble, for `ensemble_dataset`.

    Stiff modes `(mode, edge)` and voltages `(terminal, node)` are those of the first network; of all networks
    there are the fields of `Imprint`, with `_untrained` behind the names of those before learning.
    """
    variables: Variables = {
        "stiff_modes": (("mode", "edge"), np.asarray(after.stiff_modes)[0]),
        "voltages": (("terminal", "node"), np.asarray(states(found.run))),
        "inputs_nodes": (("input",), np.array(found.placement.inputs)),
        "grounds_nodes": (("ground",), np.array(found.placement.grounds)),
        "targets_nodes": (("target", "end"), np.array(found.placement.targets)),
        "tried_costs": (("trial",), found.tried),
    }
    for suffix, one in (("", after), ("_untrained", before)):
        fields = {
            "cost_eigenvalues": (one.cost_eigenvalues, ("eigenvalue",)),
            "stiffness": (one.stiffness, ("edge",)),
            "susceptibility": (one.susceptibility, ("edge",)),
            "driven_susceptibility": (one.driven_susceptibility, ("edge",)),
            "relative_conductance": (one.relative_conductance, ("edge",)),
        }
        for key, (values, axes) in fields.items():
            variables[key + suffix] = (("realization", *axes), np.asarray(values))
    return variables


def dataset_of(name: str, settings: Settings) -> xr.Dataset:
    """The ensemble of one of the tasks in `RECIPES` with its imprints, as a part `name` of a dataset.

    Learned anew only where no other figure of these `settings` did so before.
    """
    found = learned(name, settings)
    return ensemble_dataset(name, found.run, **imprint_variables(found, *imprinted(name, settings)))


def controls_text(after: Imprint, before: Imprint) -> str:
    """What the `agreement` is in untrained networks and by chance, for the condition of a claim.

    `after`, `before`: the imprints of the same networks after learning and before.
    """
    areas, size = agreement(before), after.stiffness.shape[1]
    exceed = 100 * np.mean(agreement(after) > areas)
    return (
        f"Untrained: {np.median(areas):.2f}; {exceed:.0f} % of networks exceed their untrained self. One "
        f"of 1000 permutations reaches {chance(round(0.05 * size), size):.2f}."
    )


# Costs at which a network counts as trained; classes are separated long before their cost is zero.
_DONE = {"five": LEARNED, "classification": 0.2}


def agreement(one: Imprint) -> np.ndarray:
    """Area under the curve of susceptibility as a score for the stiffest 5 % of edges, `(R,)`."""
    return each(area_under_curve, np.asarray(one.susceptibility), stiffest(one.stiffness))


def linear_regression(settings: Settings) -> Result:
    """Fig. 1: two voltages in, two voltages out."""
    found = learned("regression", settings)
    cost = found.run.cost
    claims = [
        measured(
            "microscopic-imprints.fig1.learned",
            "Guzman et al. (2024), fig. 1",
            "A planar network of 300 nodes learns eq. 1 [fraction of 50 initial conditions whose cost "
            f"falls to {LEARNED:.0e} at least 0.9]",
            cost[:, -1] <= LEARNED,
            lambda value: value >= 0.9,
            paper="C ~ 1e-5 after 1e5 minibatches",
            statistic=np.mean,
        )
    ]
    return Result(dataset_of("regression", settings), claims)


def stiff_and_susceptible(settings: Settings) -> Result:
    """Fig. 4: the spectrum of the cost Hessian, its four stiff modes, and the susceptibility."""
    after, before = imprinted("regression", settings)
    costs, gaps = gaps_along(settings)
    claims = [
        *_spectrum_claims(after, before),
        *_susceptible_claims(after, before),
        _decomposition(learned("regression", settings).run),
        _early_gap_claim(gaps),
    ]
    axes = ("regression_watched", "regression_decade")
    along = {"regression_cost_along": (axes, costs), "regression_gap_along": (axes, gaps)}
    return Result(dataset_of("regression", settings).assign(along), claims)


def _spectrum_claims(after: Imprint, before: Imprint) -> list[Claim]:
    """The gap behind the stiff modes, and how many they are."""
    largest = np.asarray(after.cost_eigenvalues)
    return [
        measured(
            "microscopic-imprints.fig4.gap",
            "Guzman et al. (2024), fig. 4a",
            "Four stiff modes are separated from all others by a gap [median decades after the fourth, "
            "at a cost of 1e-10, at least 2]",
            after.gap,
            lambda value: value >= 2,
            paper=2.0,
        ),
        measured(
            "microscopic-imprints.fig4.no-gap-before",
            "Guzman et al. (2024), fig. 4a",
            "Before training there is no such gap [median decades below 0.4]",
            before.gap,
            lambda value: value < 0.4,
            paper="wide distribution",
        ),
        measured(
            "microscopic-imprints.fig4.rank",
            "Guzman et al. (2024), fig. 4a",
            "Their number is that of the coefficients learned [rank of the Gauss-Newton matrix, 4]",
            after.curvature_rank,
            lambda value: value == 4,
            paper=4.0,
        ),
        measured(
            "microscopic-imprints.fig4.degenerate",
            "Guzman et al. (2024), fig. 4a",
            "Most eigenvalues are close to zero [mean fraction below 1e-3 of the largest, at least 0.9]",
            np.mean(np.abs(largest) < 1e-3 * largest[:, :1], axis=1),
            lambda value: value >= 0.9,
            paper="most",
            statistic=np.mean,
        ),
    ]


def _susceptible_claims(after: Imprint, before: Imprint) -> list[Claim]:
    """Whether susceptible edges are those of the stiff modes, and whether training makes them so."""
    pairs = agreement(after) - agreement(before)
    return [
        measured(
            "microscopic-imprints.fig4.susceptible",
            "Guzman et al. (2024), fig. 4c-d",
            "Susceptible edges are those of the stiff modes [area under the curve by which "
            "susceptibility tells the stiffest 5 % of edges, median at least 0.85]",
            agreement(after),
            lambda value: value >= 0.85,
            paper="correlate strongly",
            condition=controls_text(after, before),
        ),
        measured(
            "microscopic-imprints.fig4.susceptible-trained",
            "Guzman et al. (2024), fig. 4c-d",
            "Training makes them so [fraction of networks whose area exceeds that of their untrained "
            "self, at least 0.9]",
            pairs > 0,
            lambda value: value >= 0.9,
            paper="not controlled",
            statistic=np.mean,
            condition=f"Median difference {np.median(pairs):.2f}.",
        ),
    ]


def _early_gap_claim(gaps: np.ndarray) -> Claim:
    """`gaps`: of `gaps_along`."""
    return measured(
        "microscopic-imprints.fig4.gap-at-1e-5",
        "Guzman et al. (2024), fig. 4a and appendix D",
        "The gap is there as soon as the cost is 1e-5 [median decades at the first record at or below "
        "it, at least 2]",
        gaps[:, 3],
        lambda value: value >= 2,
        paper="C ~ 1e-5 in appendix D",
        condition="Medians at 1e-4, 1e-6, 1e-8, 1e-10: "
        + ", ".join(_median_text(gaps[:, number]) for number in (2, 4, 6, 8))
        + ".",
    )


def _median_text(values: np.ndarray) -> str:
    known = values[np.isfinite(values)]
    return f"{np.median(known):.1f}" if known.size else "none"


@computed_once(maxsize=2)
def gaps_along(settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Costs, and gaps behind the fourth eigenvalue, when ten networks first reach a decade: both `(R, 9)`."""
    found = learned("regression", settings)
    run = found.run
    reached = [[np.argmax(cost <= limit) for limit in 10.0 ** -np.arange(2, 11)] for cost in run.cost[:10]]
    costs = np.array([cost[at] for cost, at in zip(run.cost, reached, strict=False)])
    k = np.stack([history[at] for history, at in zip(run.records["k"], reached, strict=False)])
    networks, tasks = selected((run.network, run.task), np.repeat(np.arange(len(k)), k.shape[1]))
    networks = networks.with_k(jnp.asarray(k.reshape(-1, k.shape[-1])))
    grounds = stack([found.placement.ground(trained_pair(run, 0)[0])] * len(networks.k))
    gaps = imprints(networks, tasks, grounds, STIFF["regression"]).gap.reshape(costs.shape)
    # Networks that never came so far stand at their start.
    return costs, np.where(costs <= 10.0 ** -np.arange(2, 11), gaps, np.nan)


def _decomposition(run: Run) -> Claim:
    """Eq. 12 with the full border, on the first networks of a trained ensemble."""
    errors = []
    for i in range(min(5, len(run.cost))):
        network, task = trained_pair(run, i)
        exact = np.asarray(cost_hessian(network, task))
        found = np.asarray(susceptibility_cost_hessian(network, task))
        errors.append(np.linalg.norm(found - exact) / np.linalg.norm(exact))
    return measured(
        "microscopic-imprints.fig4.contraction",
        "Guzman et al. (2024), eqs 12 and 16",
        "The cost Hessian of a trained network is the contraction of task and susceptibility [median "
        "relative error against the exact one, at the cost reached, below 0.01]",
        errors,
        lambda value: value < 0.01,
        paper="equal at C = 0",
        condition="With a border row for each held node. At zero cost, and with the ground alone: see "
        "microscopic-imprints.formulas.",
    )


def more_tasks(settings: Settings) -> Result:
    """Fig. 5: five targets, and three classes."""
    name = "microscopic-imprints.fig5"
    five, classes = learned("five", settings), learned("classification", settings)
    parts, claims = [], []
    for task in ("five", "classification"):
        after, before = imprinted(task, settings)
        parts.append(dataset_of(task, settings))
        claims += [
            measured(
                f"{name}.{task}-susceptible",
                "Guzman et al. (2024), fig. 5d and h",
                f"Susceptible edges are those of the stiff modes, {TITLES[task]} [area under the curve "
                "for the stiffest 5 %, median at least 0.85]",
                only(agreement(after), learned(task, settings).run.cost[:, -1] <= _DONE[task]),
                lambda value: value >= 0.85,
                paper="positively correlate",
                condition=controls_text(after, before),
            ),
        ]
    claims += [
        measured(
            f"{name}.classification-cost",
            "Guzman et al. (2024), appendix D",
            "The cosine cost falls to 0.05 [median at most 0.1]",
            classes.run.cost[:, -1],
            lambda value: value <= 0.1,
            paper=0.05,
            condition="Far from zero, for a linear network cannot answer one-hot: the paper's condition I is "
            "not met, and its six stiff modes are those of the Gauss-Newton matrix.",
        ),
        measured(
            f"{name}.five-rank",
            "Guzman et al. (2024), fig. 5d",
            "Five targets have ten stiff modes [rank of the Gauss-Newton matrix, 10]",
            imprinted("five", settings)[0].curvature_rank,
            lambda value: value == 10,
            paper=10.0,
        ),
        measured(
            f"{name}.five-learned",
            "Guzman et al. (2024), appendix D",
            "Five targets are learned to a cost of 1e-8 [fraction of 50 initial conditions at a "
            "placement that one network has learned, at least 0.5]",
            five.run.cost[:, -1] <= LEARNED,
            lambda value: value >= 0.5,
            paper="C ~ 1e-8",
            statistic=np.mean,
            condition=f"Of {five.tried.size} placements {np.sum(five.tried <= 1e-5)} reach 1e-5 in 10 000 "
            f"steps; the median of the 50 reaches {np.median(five.run.cost[:, -1]):.1g}.",
        ),
    ]
    points, labels = class_samples(host_generator(settings.key("test classes")), 10)
    scores: dict[str, list[float]] = {"train": [], "test": []}
    for i in range(len(classes.run.cost)):
        network, its_task = trained_pair(classes.run, i)
        samples = np.column_stack([points, np.ones(len(points))])
        unseen = its_task.with_samples(jnp.asarray(samples), jnp.eye(3)[labels])
        scores["train"].append(float(accuracy(network, its_task)))
        scores["test"].append(float(accuracy(network, unseen)))
    for split, paper, least in (("train", 0.99, 0.95), ("test", 1.0, 0.9)):
        claims.append(
            measured(
                f"{name}.{split}-accuracy",
                "Guzman et al. (2024), appendix D",
                f"Three classes are told apart [mean {split} accuracy at least {least}]",
                scores[split],
                _at_least(least),
                paper=paper,
                statistic=np.mean,
            )
        )
    dataset = merged(*parts).assign(
        {
            f"classification_{split}_accuracy": ("classification_realization", scores[split])
            for split in scores
        }
    )
    return Result(dataset, claims)


def _at_least(least: float) -> Callable[[float], bool]:
    return lambda value: value >= least


# Voltages at which pictures show the response, one for each terminal of the task.
SHOWN = {"regression": (1.0, 2.0), "five": (1.0, 2.0), "classification": (0.0, 1.0, 1.0), "allostery": (1.0,)}


def draw_response(axes: Axes, one: xr.Dataset, matrix: np.ndarray) -> None:
    """Voltages of the targets against the second input, the first being one: circles on the lines wanted.

    `matrix`: `(targets, 2)`, as in `regression_task`.
    """
    ratio = np.linspace(-1, 3, 9)
    found = one["voltages"].values[:, one["targets_nodes"].values[:, 0]]
    for number, (row, color) in enumerate(zip(matrix, ACCENTS, strict=False)):
        axes.plot(ratio, row[0] + row[1] * ratio, color=color, linewidth=1.4)
        axes.plot(
            ratio,
            found[0, number] + found[1, number] * ratio,
            "o",
            color=color,
            markersize=4,
            label=f"target {number + 1}",
        )
    axes.set(xlabel="V(input 2) / V(input 1)", ylabel="V(target) / V(input 1)")
    legend_above(axes, ncols=3)


def draw_scatter(axes: Axes, one: xr.Dataset) -> None:
    """Entries of every stiff mode against the susceptibility, edge by edge.

    `one`: an ensemble with `stiff_modes`, `(s, M)` of its first realization, and `susceptibility`, `(R, M)`.
    Both axes are logarithmic; values below 1e-6 are not shown.
    """
    modes, values = one["stiff_modes"].values, one["susceptibility"].values[0]
    for number, mode in enumerate(modes):
        axes.plot(
            values, np.abs(mode), "o", color=ACCENTS[number % len(ACCENTS)], markersize=2.2, alpha=0.5, mew=0
        )
    axes.set(xscale="log", yscale="log", xlabel="susceptibility", ylabel="|Ψ| in a stiff mode")
    axes.set_ylim(1e-6, 1.5)


@styled
def draw_linear_regression(dataset: xr.Dataset) -> Figure:
    """Fig. 1 from its dataset."""
    one = part(dataset, "regression")
    figure, grid = panels(1, 3, width=4.4, height=4.0)
    conductance, response, voltage = grid[0]
    draw_field(conductance, one, one["k"].values[0], "conductance", log=True)
    draw_terminals(conductance, one)
    draw_response(response, one, TWO_TARGETS)
    draw_voltages(voltage, one, np.array(SHOWN["regression"]) @ one["voltages"].values)
    draw_terminals(voltage, one)
    conductance.set_title("inputs red, targets blue, ground white", fontsize=8)
    voltage.set_title("voltages at inputs of 1 and 2", fontsize=8)
    return figure


@styled
def draw_stiff_modes(dataset: xr.Dataset) -> Figure:
    """Fig. 4 from its dataset."""
    one = part(dataset, "regression")
    figure, grid = panels(2, 5, width=3.5, height=3.5)
    modes = np.abs(one["stiff_modes"].values)
    for number, axes in enumerate(grid[0, :4]):
        draw_field(axes, one, modes[number], "|Ψ|", top=float(np.quantile(modes, 0.998)))
        draw_terminals(axes, one, size=18)
        axes.set_title(f"stiff mode {number + 1}", fontsize=9)
    along = grid[0, 4]
    costs, gaps = one["cost_along"].values, one["gap_along"].values
    along.plot(costs.ravel(), gaps.ravel(), "o", color=ACCENTS[0], markersize=3.5, alpha=0.6, mew=0)
    along.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
    along.set(xscale="log", xlabel="cost on the way", ylabel="decades behind the 4th eigenvalue")
    along.invert_xaxis()
    spectrum, distribution, field, scatter, control = grid[1]
    draw_spectra(spectrum, one, STIFF["regression"])
    distribution.hist(one["susceptibility"].values.ravel(), _bins(one), color=ACCENTS[0], label="after")
    distribution.hist(
        one["susceptibility_untrained"].values.ravel(), _bins(one), color=GREY, alpha=0.6, label="before"
    )
    distribution.set(xscale="log", yscale="log", xlabel="susceptibility", ylabel="edges of all networks")
    legend_above(distribution)
    draw_field(field, one, one["susceptibility"].values[0], "susceptibility", log=True)
    draw_terminals(field, one, size=18)
    field.set_title("susceptibility", fontsize=9)
    draw_scatter(scatter, one)
    draw_controls(control, one)
    return figure


def _bins(one: xr.Dataset) -> np.ndarray:
    values = np.concatenate([one[f"susceptibility{key}"].values.ravel() for key in ("", "_untrained")])
    return np.geomspace(values.min(), values.max(), 50)


def draw_spectra(axes: Axes, one: xr.Dataset, stiff: int) -> None:
    """Sizes of the eigenvalues of the cost Hessian, before and after, with a line behind the `stiff` ones.

    `one`: an ensemble with `cost_eigenvalues` and `cost_eigenvalues_untrained`, `(R, M)`; their medians over
    realizations are shown by rank.
    """
    for key, color, label in (("_untrained", GREY, "before"), ("", ACCENTS[0], "after")):
        values = np.abs(one[f"cost_eigenvalues{key}"].values)
        values = np.median(-np.sort(-values, axis=1), axis=0)
        axes.plot(np.arange(1, len(values) + 1), values, ".", color=color, markersize=4, label=label)
    axes.axvline(stiff + 0.5, color=GREY, linewidth=0.8, linestyle=":")
    axes.set(xscale="log", yscale="log", xlabel="eigenvalue, largest first", ylabel="|eigenvalue|, median")
    axes.set_ylim(1e-14 * axes.get_ylim()[1], None)
    legend_above(axes)


def draw_controls(axes: Axes, one: xr.Dataset) -> None:
    """`agreement` of trained networks beside that of the same networks before training.

    `one`: an ensemble with `stiffness` and `susceptibility`, `(R, M)`, and the same `_untrained`. A line
    joins the two values of each network; boxes show their quartiles.
    """
    areas = []
    for key in ("_untrained", ""):
        positive = stiffest(one[f"stiffness{key}"].values)
        areas.append(each(area_under_curve, one[f"susceptibility{key}"].values, positive))
    axes.plot([0, 1], np.array(areas), color=GREY, linewidth=0.5, alpha=0.5)
    axes.boxplot(areas, positions=[0, 1], widths=0.3, showfliers=False)
    axes.axhline(0.5, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_xticks([0, 1], ["untrained", "trained"])
    axes.set(ylabel="area under the curve, stiffest 5 %", ylim=(0.3, 1.02), xlim=(-0.5, 1.5))


@styled
def draw_more_tasks(dataset: xr.Dataset) -> Figure:
    """Fig. 5 from its dataset."""
    figure, grid = panels(2, 5, width=3.5, height=3.5)
    for row, name in zip(grid, ("five", "classification"), strict=True):
        one = part(dataset, name)
        draw_field(row[0], one, one["k"].values[0], "conductance", log=True)
        draw_terminals(row[0], one, size=22)
        row[0].set_title(TITLES[name], fontsize=9)
        if name == "five":
            draw_response(row[1], one, FIVE_TARGETS)
        else:
            _draw_classes(row[1], one)
        draw_field(row[2], one, one["susceptibility"].values[0], "susceptibility", log=True)
        row[2].set_title("susceptibility", fontsize=9)
        draw_terminals(row[2], one, size=18)
        draw_scatter(row[3], one)
        draw_controls(row[4], one)
    return figure


def _draw_classes(axes: Axes, one: xr.Dataset) -> None:
    """Samples by class over the regions where each output is the largest."""
    samples, labels = one["task_inputs"].values[0], one["task_targets"].values[0].argmax(axis=1)
    low, high = samples[:, :2].min(axis=0) - 0.3, samples[:, :2].max(axis=0) + 0.3
    x, y = np.meshgrid(*(np.linspace(a, b, 120) for a, b in zip(low, high, strict=True)))
    points = np.stack([x, y, np.ones_like(x)], axis=-1)
    winner = (points @ one["voltages"].values[:, one["targets_nodes"].values[:, 0]]).argmax(axis=-1)
    axes.contourf(x, y, winner, levels=[-0.5, 0.5, 1.5, 2.5], colors=ACCENTS[:3], alpha=0.18)
    for number in range(3):
        axes.plot(
            *samples[labels == number, :2].T,
            "o",
            color=ACCENTS[number],
            markersize=3,
            label=f"class {number}",
        )
    axes.set(xlabel="feature 1", ylabel="feature 2", xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    legend_above(axes, ncols=3)
