"""Figure 6: more and more tasks for networks of ten nodes, by the plain rule and by Gauss-Newton steps."""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Key
from matplotlib.figure import Figure

from jaxphys.learning import Task, random_linear
from jaxphys.networks.physics import AbstractNetwork, NodeNetwork
from jaxphys.papers.claims import Claim, measured
from jaxphys.papers.drawing import ACCENTS, panels
from jaxphys.papers.frame import (
    Result,
    Settings,
    computed_once,
    ensemble_dataset,
    merged,
    part,
    ratio,
)
from jaxphys.papers.physical_effects.systems import (
    REST,
    Trained,
    ensemble,
    node_network,
    train_adaptively,
    trajectory,
)
from jaxphys.reports.pictures import draw_band
from jaxphys.reports.style import GREY, legend_above, styled
from jaxphys.solvers import Dense
from jaxphys.training._train import Run, train
from jaxphys.training.arguments import Record
from jaxphys.training.levenberg_marquardt import LevenbergMarquardt

COUNTS = (1, 4, 7, 10, 13, 16, 19, 22, 25, 28, 31, 34, 36)
_NODES = 10
# A network has learned its tasks once their summed cost has fallen by this factor.
LEARNED = 1e-6
METHODS = {"plain": "plain rule, 1000 steps", "newton": "Gauss-Newton (LM), 200 steps"}


def padded_pair(key: Key[Array, ""], number: int) -> tuple[AbstractNetwork, Task]:
    """A network of ten nodes and `number` random linear tasks, filled up to 36 with tasks without weight.

    All numbers of tasks then have arrays of one shape, and train side by side in one program.
    """
    network = node_network(key, _NODES)
    task = random_linear(network, max(COUNTS), jax.random.fold_in(key, 1))
    weights = np.diag((np.arange(max(COUNTS)) < number).astype(float))
    return network, task.with_samples(task.inputs, task.targets, jnp.asarray(weights))


@computed_once(maxsize=2)
def overloaded(settings: Settings) -> dict[str, Trained]:
    """The same networks and tasks trained by the plain rule and by Gauss-Newton steps."""
    each = settings.realizations(100)
    keys = [jax.random.split(settings.key(f"fig6 {n}"), each) for n in COUNTS]
    pairs = [ensemble(padded_pair, key, number=n) for n, key in zip(COUNTS, keys, strict=True)]
    network, task = (
        jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *trees) for trees in zip(*pairs, strict=True)
    )
    steps = settings.steps(1000)
    plain = train_adaptively(network, task, steps, (0, steps // 4))
    metric = NodeNetwork(jnp.zeros(network.k.shape[-1])).frobenius_metric
    newton = train_by_newton(network, task, settings.steps(200), metric=metric)
    return {"plain": Trained(plain, trajectory(plain)), "newton": Trained(newton, trajectory(newton))}


def train_by_newton(
    network: AbstractNetwork,
    task: Task,
    steps: int,
    *,
    metric: np.ndarray | None = None,
    lower: float | None = None,
) -> Run:
    """Levenberg-Marquardt steps until the cost is down to `REST`, recording k before and after.

    `network` and `task` are an ensemble; `metric`: of `LevenbergMarquardt`; no k may fall below `lower`.
    """
    return train(
        network,
        task,
        steps=steps,
        optimizer=LevenbergMarquardt(metric=metric),
        bounds=(lower, None),
        solver=Dense(),
        stop_cost=REST,
        record=Record(steps=(0,), functionals={"k": lambda network, task: network.k}),
    )


def numbers_of_tasks(settings: Settings) -> np.ndarray:
    """How many tasks each of the `overloaded` networks has."""
    return np.repeat(COUNTS, settings.realizations(100))


def overload(settings: Settings) -> Result:
    """Fig. 6: error, eigenvalues, alignment, conductance and dimension against the number of tasks."""
    runs, number = overloaded(settings), numbers_of_tasks(settings)
    parts = []
    for name, one in runs.items():
        variables = {k: v for k, v in one.trajectory.variables().items() if not k.endswith("_alignment")}
        variables["num_tasks"] = ("realization", number)
        variables["mean_alignment"] = (("realization", "record", "mode"), _mean_alignment(one, number))
        parts.append(ensemble_dataset(name, one.run, **variables))
    return Result(merged(*parts), _overload_claims(runs, number))


def _mean_alignment(one: Trained, number: np.ndarray) -> np.ndarray:
    """`|v·F|/|F|`, mean over those tasks that count."""
    alignment = np.asarray(one.trajectory.force_alignment)
    counts = np.arange(alignment.shape[-1]) < number[:, None]
    return np.einsum("rtms,rs->rtm", alignment, counts / number[:, None])


def half_point(number: np.ndarray, learned: np.ndarray) -> float:
    """Number of tasks that half of the networks have learned, interpolated between the numbers tried.

    `number`: how many tasks each network has, `(R,)`; `learned`: whether it learned them, `(R,)` booleans.
    NaN where every share lies above a half, or already the first one below.
    """
    counts = np.unique(number)
    fraction = np.array([learned[number == n].mean() for n in counts])
    below = np.flatnonzero(fraction < 0.5)
    if not below.size or below[0] == 0:
        return float("nan")
    i = below[0]
    return float(np.interp(0.5, [fraction[i], fraction[i - 1]], [counts[i], counts[i - 1]]))


def _overload_claims(runs: dict[str, Trained], number: np.ndarray) -> list[Claim]:
    """All claims of fig. 6; `number`, `(R,)`, says how many tasks each network has."""
    learned = {key: ratio(one.run.cost) <= LEARNED for key, one in runs.items()}
    half = {key: half_point(number, values) for key, values in learned.items()}
    return [
        *_capacity_claims(learned, half, number, steps=int(runs["plain"].run.steps[-1])),
        *_eigenvalue_claims(runs["newton"], number),
        *_alignment_claims(runs["newton"], number),
        *_response_claims(runs, half, number),
    ]


def _capacity_claims(
    learned: dict[str, np.ndarray], half: dict[str, float], number: np.ndarray, *, steps: int
) -> list[Claim]:
    """How many tasks are learned, by either method; `steps` of the plain rule."""
    early = {key: np.mean(values[number == 10]) for key, values in learned.items()}
    return [
        measured(
            "physical-effects.fig6.capacity",
            "Stern et al. (2023), fig. 6a",
            "Networks of 10 nodes learn up to about 13 random tasks, and fail beyond [number of tasks "
            "at which half of the networks have learned them, by Gauss-Newton steps, within 10 to 16]",
            _half_points(number, learned["newton"]),
            lambda value: 10 <= value <= 16,
            paper=13.0,
            condition="The 13 is how far patience goes, not what the network can do: half-way point "
            f"{_text(half['plain'])} for the plain rule with {steps} adaptive steps, "
            f"{_text(half['newton'])} for Gauss-Newton steps (spread: bootstrap). At 10 tasks "
            f"{100 * early['plain']:.0f} % and {100 * early['newton']:.0f} % learn. What is possible at "
            "all is decided in physical-effects.capacity.",
        ),
        measured(
            "physical-effects.fig6.finite",
            "Stern et al. (2023), section IV",
            "The capacity is finite [fraction of networks that learn 36 tasks at most 0.2]",
            learned["newton"][number == 36],
            lambda value: value <= 0.2,
            paper="finite",
            statistic=np.mean,
        ),
    ]


def _eigenvalue_claims(newton: Trained, number: np.ndarray) -> list[Claim]:
    """What Gauss-Newton steps do to the eigenvalues, below capacity and beyond."""
    values = np.asarray(newton.trajectory.eigenvalues)
    change = values[:, -1] / values[:, 0]
    return [
        measured(
            "physical-effects.fig6.lowest-falls-below",
            "Stern et al. (2023), fig. 6b",
            "Below capacity the lowest eigenvalue falls [10 tasks, median ratio at most 0.75]",
            change[number == 10, 0],
            lambda value: value <= 0.75,
            paper="decreased",
        ),
        measured(
            "physical-effects.fig6.all-rise-past",
            "Stern et al. (2023), fig. 6b",
            "Approaching capacity and beyond, all eigenvalues shift up [16 tasks, mean fraction of "
            "eigenvalues above their start at least 0.9]",
            np.mean(change[number == 16] > 1, axis=1),
            lambda value: value >= 0.9,
            paper="all",
            statistic=np.mean,
            condition=f"The fraction is {np.mean(change[number == 36] > 1):.2f} at 36 tasks. Eq. 36's mean "
            "over infinitely many tasks is far off at any number that a network of ten nodes meets here.",
        ),
        measured(
            "physical-effects.fig6.rise-with-tasks",
            "Stern et al. (2023), section IV, eq. 36",
            "Eigenvalues lie higher the further a network is overloaded [median over networks of the "
            "mean log ratio at 36 tasks above that at 10 tasks; the difference is given]",
            np.log(np.maximum(change[number == 36], 1e-12)).mean(axis=1)
            - np.median(np.log(np.maximum(change[number == 10], 1e-12)).mean(axis=1)),
            lambda value: value > 0,
            paper="shift up",
        ),
    ]


def _alignment_claims(newton: Trained, number: np.ndarray) -> list[Claim]:
    """Which modes line up with the forces far beyond capacity."""
    alignment = _mean_alignment(newton, number)[number == 31]
    return [
        measured(
            "physical-effects.fig6.bottom-alignment",
            "Stern et al. (2023), fig. 6c",
            "Beyond capacity (31 tasks) the bottom modes no longer align with the forces [mean "
            "alignment of the three lowest at most that at the start]",
            (alignment[:, -1, :3] - alignment[:, 0, :3]).mean(axis=1),
            lambda value: value <= 0,
            paper="do not align",
            statistic=np.mean,
        ),
        measured(
            "physical-effects.fig6.top-alignment",
            "Stern et al. (2023), fig. 6c",
            "Beyond capacity the top modes weakly align [mean alignment of the three highest above that "
            "at the start]",
            (alignment[:, -1, -3:] - alignment[:, 0, -3:]).mean(axis=1),
            lambda value: value > 0,
            paper="weakly align",
            statistic=np.mean,
        ),
    ]


def _response_claims(runs: dict[str, Trained], half: dict[str, float], number: np.ndarray) -> list[Claim]:
    """Effective conductance and dimension against the number of tasks."""
    conductance = {key: ratio(one.trajectory.effective_conductance) for key, one in runs.items()}
    dimension = np.asarray(runs["newton"].trajectory.effective_dimension)
    most_conductive = _peak(conductance["newton"], number)
    lowest_dimension = _peak(-dimension[:, -1], number)
    beyond = dimension[number == 31]
    return [
        measured(
            "physical-effects.fig6.conductance-peak",
            "Stern et al. (2023), fig. 6d",
            "The effective conductance is largest at capacity [Gauss-Newton steps: number of tasks with "
            "the largest median within 20 % of the half-way point]",
            [most_conductive],
            lambda value: abs(value / half["newton"] - 1) <= 0.2,
            paper=13.0,
            condition=f"At the capacity that the method reaches, {_text(half['newton'])} not at 13. By the "
            f"plain rule the maximum is broad, at {_peak(conductance['plain'], number)} tasks.",
            conditional=True,
        ),
        measured(
            "physical-effects.fig6.conductance-declines",
            "Stern et al. (2023), fig. 6d",
            "Far beyond it the conductance declines [median at 36 tasks over that at its peak below 0.75]",
            conductance["newton"][number == 36] / np.median(conductance["newton"][number == most_conductive]),
            lambda value: value < 0.75,
            paper="declines",
        ),
        measured(
            "physical-effects.fig6.dimension-minimal",
            "Stern et al. (2023), fig. 6e",
            "The effective dimension is smallest at capacity, 13 tasks [number of tasks with the "
            "smallest median, within 10 to 16]",
            [lowest_dimension],
            lambda value: 10 <= value <= 16,
            paper=13.0,
        ),
        measured(
            "physical-effects.fig6.dimension-low",
            "Stern et al. (2023), fig. 6e",
            "Beyond capacity the dimension remains low [31 tasks, median ratio to the start at most 0.75]",
            beyond[:, -1] / beyond[:, 0],
            lambda value: value <= 0.75,
            paper="remains low",
        ),
    ]


def _text(value: float) -> str:
    return f"{value:.1f}" if np.isfinite(value) else "below 4 or above 36"


def _peak(values: np.ndarray, number: np.ndarray) -> int:
    """The number of tasks with the largest median."""
    return max(COUNTS, key=lambda n: np.median(values[number == n]))


def _half_points(number: np.ndarray, learned: np.ndarray) -> np.ndarray:
    """Half-way points of a hundred bootstrap samples."""
    generator = np.random.default_rng(0)
    points = []
    for _ in range(100):
        chosen = np.concatenate(
            [generator.choice(np.flatnonzero(number == n), (number == n).sum()) for n in np.unique(number)]
        )
        points.append(half_point(number[chosen], learned[chosen]))
    return np.array(points)


@styled
def draw_overload(dataset: xr.Dataset) -> Figure:
    """Fig. 6 from its dataset."""
    figure, grid = panels(2, 3, width=3.9, height=3.3)
    fraction, spectrum, alignment, conductance, dimension, error = grid.ravel()
    for (name, label), color, style in zip(METHODS.items(), ACCENTS, ("-", "--"), strict=False):
        one = part(dataset, name)
        number = one["num_tasks"].values
        counts = np.unique(number)

        def grouped(
            values: np.ndarray, number: np.ndarray = number, counts: np.ndarray = counts
        ) -> np.ndarray:
            return np.stack([values[number == n] for n in counts], axis=1)

        relative = one["cost"].values[:, -1] / one["cost"].values[:, 0]
        draw_band(error, counts, np.maximum(grouped(relative), 1e-28), color, label, linestyle=style)
        fraction.plot(
            counts, grouped(relative <= LEARNED).mean(axis=0), "o", ls=style, color=color, label=label, ms=3
        )
        for key, axes in (("effective_conductance", conductance), ("effective_dimension", dimension)):
            values = one[key].values
            draw_band(axes, counts, grouped(values[:, -1] / values[:, 0]), color, label, linestyle=style)
    values = grouped(one["eigenvalues"].values[:, -1] / one["eigenvalues"].values[:, 0])
    for mode in range(values.shape[-1]):
        shade = ACCENTS[0] if mode == 0 else ACCENTS[1] if mode == values.shape[-1] - 1 else GREY
        text = {0: "lowest λ", values.shape[-1] - 1: "highest λ", 1: "others"}.get(mode)
        spectrum.plot(
            counts,
            np.median(values[..., mode], axis=0),
            color=shade,
            lw=1.8 if mode in (0, 9) else 0.6,
            label=text,
        )
    aligned = grouped(one["mean_alignment"].values)
    modes = np.arange(1, aligned.shape[-1] + 1)
    for n, marker, shade in ((4, "o", ACCENTS[2]), (31, "s", ACCENTS[3])):
        at = int(np.flatnonzero(counts == n)[0])
        alignment.plot(
            modes, aligned[:, at, -1].mean(axis=0), marker, color=shade, ms=4, label=f"{n} tasks, after"
        )
        alignment.plot(modes, aligned[:, at, 0].mean(axis=0), ":", color=shade, label=f"{n} tasks, before")
    alignment.set(xlabel="mode, lowest first", ylabel="|v·F|/|F|, mean")
    error.set(ylabel="C / C(0)", yscale="log")
    fraction.set(ylabel="fraction that learned", ylim=(-0.02, 1.02))
    spectrum.set(ylabel="λ / λ(0), median (LM)")
    conductance.set(ylabel="effective conductance / start", yscale="log")
    dimension.set(ylabel="effective dimension / start", ylim=(0, None))
    for axes in (fraction, spectrum, conductance, dimension, error):
        axes.set_xlabel("number of tasks")
        axes.axvline(13, color=GREY, linewidth=0.8, linestyle=":")
    for axes in grid.ravel():
        legend_above(axes, ncols=1 if axes in (fraction, conductance, dimension, error) else 2)
    return figure
