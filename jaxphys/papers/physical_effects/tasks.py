"""Figure 7: other tasks for node networks, that is allostery, regression and classification."""

import operator
from collections.abc import Callable, Sequence
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jaxtyping import Array, Float, Key
from matplotlib.figure import Figure

from jaxphys.data import iris
from jaxphys.equilibrium import Boundary
from jaxphys.learning import AbstractCost, CrossEntropy, Task, accuracy, classification, regression, respond
from jaxphys.learning.transforms import precondition
from jaxphys.networks.generators import host_generator
from jaxphys.networks.physics import AbstractNetwork, NodeNetwork
from jaxphys.papers.claims import Claim, geometric_mean, measured
from jaxphys.papers.drawing import ACCENTS, panels
from jaxphys.papers.frame import Result, Settings, ensemble_dataset, merged, part, ratio
from jaxphys.papers.physical_effects.systems import (
    RECORDS,
    REST,
    Optimizer,
    Pair,
    Trained,
    ensemble,
    lowest_share,
    node_allostery_pair,
    node_network,
    train_adaptively,
    trajectory,
)
from jaxphys.reports.pictures import draw_band
from jaxphys.reports.style import GREY, legend_above, step_axis, styled
from jaxphys.training._train import Run

# Eq. A2.
_MATRIX = ((0.5, 0.2), (-0.1, 0.7))
_FIXED = optax.chain(precondition(NodeNetwork(jnp.zeros(210)).frobenius_metric), optax.sgd(0.3))
_LATE = (*RECORDS, *range(3000, 30000, 3000))


class WrongOnly(AbstractCost):
    """Cross-entropy of samples that are classified wrong, nothing for the others: the rule as printed."""

    inverse_temperature: float = eqx.field(static=True, default=100.0)

    def __call__(
        self, outputs: Float[Array, " o"], targets: Float[Array, " o"], weights: Float[Array, " o"]
    ) -> Float[Array, ""]:
        right = jnp.argmax(outputs) == jnp.argmax(targets)
        return jnp.where(right, 0.0, CrossEntropy(self.inverse_temperature)(outputs, targets, weights))


def regression_pair(key: Key[Array, ""]) -> tuple[AbstractNetwork, Task]:
    """Two linear equations of two unknowns (eq. A2) on 50 Gaussian samples."""
    network = node_network(key)
    generator = host_generator(jax.random.fold_in(key, 1))
    nodes = generator.permutation(20)[:4].tolist()
    inputs = generator.standard_normal((50, 2))
    boundary = Boundary(network)
    return network, regression(network, boundary, nodes[:2], nodes[2:], matrix=_MATRIX, inputs=inputs)


def iris_pair(key: Key[Array, ""], cost: AbstractCost | None = None) -> tuple[AbstractNetwork, Task]:
    """Iris: 10 flowers of each species, raw features as forces on 4 nodes, 3 output nodes.

    The boundary holds nothing. `cost`: cross-entropy if left out.
    """
    network = node_network(key)
    generator = host_generator(jax.random.fold_in(key, 1))
    nodes = generator.permutation(20)[:7].tolist()
    features, labels, _ = iris()
    chosen = _training_flowers(key, labels)
    return network, classification(
        network,
        Boundary(network),
        nodes[:4],
        nodes[4:],
        features=features[chosen],
        labels=labels[chosen],
        cost=cost,
    )


def _training_flowers(key: Key[Array, ""], labels: np.ndarray) -> np.ndarray:
    generator = host_generator(jax.random.fold_in(key, 2))
    return np.concatenate(
        [generator.choice(np.flatnonzero(labels == label), 10, replace=False) for label in range(3)]
    )


def other_tasks(settings: Settings) -> Result:
    """Fig. 7: training and test errors, eigenvalues and alignments for three kinds of task."""
    allosteric = _trained(settings, "allostery", node_allostery_pair, 100, 3000, RECORDS)
    linear = _trained(settings, "regression", regression_pair, 10, 30000, _LATE)
    flowers = _trained(settings, "iris", iris_pair, 10, 3000, RECORDS)
    # A cost that jumps as flowers change sides is nothing for adaptive steps: a fixed rate.
    misses = partial(iris_pair, cost=WrongOnly())
    printed = _trained(settings, "iris", misses, 10, 6000, RECORDS, optimizer=_FIXED, stop_cost=None)
    tests = {
        "regression": _regression_test(linear.run, settings),
        "iris": _iris_test(flowers.run, settings),
        "printed": _iris_test(printed.run, settings),
    }
    parts, measurements = [], {}
    for name, one in (
        ("allostery", allosteric),
        ("regression", linear),
        ("iris", flowers),
        ("printed", printed),
    ):
        variables = {k: v for k, v in one.trajectory.variables().items() if "alignment" not in k}
        variables["lowest_response_share"] = (
            ("realization", "record"),
            lowest_share(one.trajectory.response_alignment, 1 if name == "allostery" else 2),
        )
        if name in tests:
            costs, right = _along(one.run, tests[name])
            variables["test_cost"] = (("realization", "record"), np.asarray(costs))
            measurements[name] = {"test_cost": np.asarray(costs)}
            for label, array in (("inputs", tests[name].inputs), ("targets", tests[name].targets)):
                axes = ("realization", "test_sample", "terminal" if label == "inputs" else "output")
                variables[f"test_{label}"] = (axes, np.asarray(array))
            if name != "regression":
                train_right = np.asarray(jax.vmap(accuracy)(one.run.network, one.run.task))
                measurements[name] |= {"test": np.asarray(right)[:, -1], "train": train_right}
                variables["train_accuracy"] = ("realization", train_right)
                variables["test_accuracy"] = ("realization", np.asarray(right)[:, -1])
        parts.append(ensemble_dataset(name, one.run, **variables))
    runs = {"allostery": allosteric, "regression": linear, "iris": flowers, "printed": printed}
    return Result(merged(*parts), _task_claims(runs, measurements))


def _trained(
    settings: Settings,
    name: str,
    pair: Callable[..., Pair],
    count: int,
    steps: int,
    records: Sequence[int],
    optimizer: Optimizer | None = None,
    stop_cost: float | None = REST,
) -> Trained:
    keys = jax.random.split(settings.key(f"fig7 {name}"), settings.realizations(count))
    network, task = ensemble(pair, keys)
    run = train_adaptively(
        network, task, settings.steps(steps), records, optimizer=optimizer, stop_cost=stop_cost
    )
    return Trained(run, trajectory(run))


def _regression_test(run: Run, settings: Settings) -> Task:
    """A hundred unseen samples for every network."""
    count = run.network.k.shape[0]
    inputs = host_generator(settings.key("fig7 test")).standard_normal((count, 100, 2))
    return run.task.with_samples(jnp.asarray(inputs), jnp.asarray(inputs @ np.array(_MATRIX).T))


def _iris_test(run: Run, settings: Settings) -> Task:
    """The 120 other flowers; their cost is the cross-entropy whatever the network learned by."""
    features, labels, _ = iris()
    keys = jax.random.split(settings.key("fig7 iris"), run.network.k.shape[0])
    unseen = [np.setdiff1d(np.arange(len(labels)), _training_flowers(key, labels)) for key in keys]
    inputs = jnp.asarray(np.stack([features[chosen] for chosen in unseen]))
    targets = jnp.asarray(np.stack([np.eye(3)[labels[chosen]] for chosen in unseen]))
    task = run.task.with_samples(inputs, targets)
    return eqx.tree_at(lambda one: one.cost, task, CrossEntropy())


@eqx.filter_jit
def _measured_along(
    network: AbstractNetwork, task: Task, history: Float[Array, "R T M"]
) -> tuple[Float[Array, "R T"], Float[Array, "R T"]]:
    def one(network: AbstractNetwork, task: Task, k: Array) -> tuple[Array, Array]:
        outputs = respond(network.with_k(k), task).outputs
        right = jnp.argmax(outputs, axis=-1) == jnp.argmax(task.targets, axis=-1)
        cost = task.sample_weight * jnp.sum(task.sample_costs(outputs))
        return cost, jnp.mean(right.astype(outputs.dtype))

    return jax.vmap(jax.vmap(one, in_axes=(None, None, 0)))(network, task, history)


def _along(run: Run, test: Task) -> tuple[Array, Array]:
    """Test cost and accuracy at every record."""
    return _measured_along(run.network, test, jnp.asarray(run.records["k"]))


def _task_claims(runs: dict[str, Trained], measurements: dict[str, dict[str, np.ndarray]]) -> list[Claim]:
    return [
        *_allostery_claims(runs["allostery"]),
        *_regression_claims(runs["regression"], measurements["regression"]["test_cost"][:, -1]),
        *_iris_claims(runs["iris"], measurements["iris"]),
        *_printed_rule_claims(runs["printed"], measurements["printed"]["test"]),
    ]


def _allostery_claims(one: Trained) -> list[Claim]:
    return [
        measured(
            "physical-effects.fig7.allostery-error",
            "Stern et al. (2023), fig. 7a",
            "Node networks learn allostery by orders of magnitude [geometric mean error ratio at most 1e-10]",
            ratio(one.run.cost),
            lambda value: value <= 1e-10,
            paper="orders of magnitude",
            statistic=geometric_mean,
        ),
        measured(
            "physical-effects.fig7.allostery-eigenvalue",
            "Stern et al. (2023), fig. 7a",
            "The lowest eigenvalue falls as it does for random tasks [median ratio at most 0.75]",
            ratio(one.trajectory.eigenvalues[..., 0]),
            lambda value: value <= 0.75,
            paper="similar to fig. 3a",
        ),
    ]


def _regression_claims(one: Trained, test_error: np.ndarray) -> list[Claim]:
    """Two linear equations; `test_error`, `(R,)`, of unseen forces after learning."""
    two_lowest = ratio(one.trajectory.eigenvalues)[:, :2].max(axis=1)
    share = lowest_share(one.trajectory.response_alignment, 2)
    return [
        measured(
            "physical-effects.fig7.regression-train",
            "Stern et al. (2023), fig. 7b",
            "Regression: the training error falls by many orders of magnitude [geometric mean of the "
            "mean squared error at most 1e-10]",
            one.run.cost[:, -1],
            lambda value: value <= 1e-10,
            paper="many orders of magnitude",
            statistic=geometric_mean,
            condition=f"Up to {int(one.run.evaluations.max())} adaptive steps."
            if one.run.evaluations is not None
            else "",
        ),
        measured(
            "physical-effects.fig7.regression-test",
            "Stern et al. (2023), fig. 7b",
            "Regression: so does the error on 100 unseen forces [geometric mean at most 1e-10]",
            test_error,
            lambda value: value <= 1e-10,
            paper="many orders of magnitude",
            statistic=geometric_mean,
        ),
        measured(
            "physical-effects.fig7.regression-two-soft",
            "Stern et al. (2023), fig. 7b",
            "Two eigenvalues are strongly reduced [median over networks of the larger of the two lowest "
            "ratios at most 0.5]",
            two_lowest,
            lambda value: value <= 0.5,
            paper="strongly reduced",
        ),
        measured(
            "physical-effects.fig7.regression-alignment",
            "Stern et al. (2023), fig. 7b",
            "The bottom two modes align with the training responses [mean norm of the responses' part "
            f"in their span at least 0.9; {share[:, 0].mean():.2f} at the start]",
            share[:, -1],
            lambda value: value >= 0.9,
            paper="strongly align",
            statistic=np.mean,
        ),
    ]


def _iris_claims(one: Trained, measurements: dict[str, np.ndarray]) -> list[Claim]:
    """Three species, by cross-entropy; `measurements`: accuracies `(R,)`, and the test cost `(R, T)`."""
    accuracies = [
        measured(
            f"physical-effects.fig7.iris-{key}",
            "Stern et al. (2023), appendix A",
            f"Iris: {label} accuracy [mean over networks at least {least}]",
            measurements[key],
            partial(operator.le, least),
            paper=1.0 if key == "train" else 0.95,
            statistic=np.mean,
            condition="Raw features, cross-entropy with inverse temperature 100, 3000 adaptive steps.",
        )
        for key, least, label in (("train", 0.97, "training"), ("test", 0.91, "test"))
    ]
    return [
        *accuracies,
        measured(
            "physical-effects.fig7.iris-cross-entropy",
            "Stern et al. (2023), fig. 7c",
            "Iris: cross-entropy falls for training and test flowers [the larger of both mean ratios at "
            "most 0.5]",
            np.maximum(ratio(one.run.cost), ratio(measurements["test_cost"])),
            lambda value: value <= 0.5,
            paper="significantly reduced",
        ),
        measured(
            "physical-effects.fig7.iris-softening",
            "Stern et al. (2023), fig. 7c",
            "Iris: the lowest eigenvalue falls significantly [median ratio at most 0.75]",
            ratio(one.trajectory.eigenvalues[..., 0]),
            lambda value: value <= 0.75,
            paper="significantly lowered",
        ),
    ]


def _printed_rule_claims(one: Trained, test_accuracy: np.ndarray) -> list[Claim]:
    """The rule as printed, which learns from what is classified wrong alone."""
    return [
        measured(
            "physical-effects.fig7.iris-printed-test",
            "Stern et al. (2023), appendix A",
            "Iris by the printed rule (no output force where the class is right): test accuracy [mean "
            "at least 0.95]",
            test_accuracy,
            lambda value: value >= 0.95,
            paper=0.95,
            statistic=np.mean,
        ),
        measured(
            "physical-effects.fig7.iris-printed-softening",
            "Stern et al. (2023), fig. 7c",
            "Iris by the printed rule: the lowest eigenvalue falls significantly [median ratio at most 0.75]",
            ratio(one.trajectory.eigenvalues[..., 0]),
            lambda value: value <= 0.75,
            paper="significantly lowered",
            condition="Learning stops as soon as a training flower is right, long before anything softens.",
        ),
    ]


@styled
def draw_other_tasks(dataset: xr.Dataset) -> Figure:
    """Fig. 7 from its dataset."""
    figure, (upper, lower) = panels(2, 3, width=3.9, height=3.3)
    titles = {"allostery": "allostery", "regression": "regression (A2)", "iris": "Iris"}
    for (name, title), above, below in zip(titles.items(), upper, lower, strict=True):
        one = part(dataset, name)
        step, values = one["step"].values, one["eigenvalues"].values
        for label, key, color, style in (
            ("training", "cost", ACCENTS[0], "-"),
            ("test", "test_cost", ACCENTS[1], "--"),
        ):
            if key in one:
                mean = np.exp(np.log(np.maximum(one[key].values, 1e-300)).mean(axis=0))
                above.plot(step, mean, style, color=color, linewidth=1.8, label=label)
        above.set_yscale("log")
        cross = name == "iris"
        above.set_ylabel("cross-entropy" if cross else "error C, geometric mean")
        middle = np.median(values / values[:, :1], axis=0)
        for mode in range(2, middle.shape[1]):
            below.plot(step, middle[:, mode], color=GREY, linewidth=0.5, alpha=0.7)
        below.plot([], [], color=GREY, linewidth=0.8, label="others")
        for mode, color, label in ((0, ACCENTS[0], "lowest λ"), (1, ACCENTS[1], "second")):
            draw_band(below, step, values[..., mode] / values[:, :1, mode], color, label)
        below.set(ylabel="λ / λ(0)", ylim=(0, None))
        for axes in (above, below):
            step_axis(axes, step, logarithmic=bool(len(step) > 2 and step[-1] > 20 * step[1]))
        above.set_title(title, pad=18)
        legend_above(above)
        legend_above(below, ncols=3)
    return figure
