"""Figure 8: intrinsic dimension of 500 responses by four estimators."""

from typing import get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Key
from matplotlib.figure import Figure

from jaxphys.diagnostics.dimension import ESTIMATORS, Estimator, intrinsic_dimension
from jaxphys.equilibrium import greens_function
from jaxphys.learning import Task
from jaxphys.networks.physics import AbstractNetwork
from jaxphys.papers.claims import Claim, measured
from jaxphys.papers.drawing import ACCENTS, panels
from jaxphys.papers.frame import Result, Settings, Variables, ensemble_dataset, merged, part
from jaxphys.papers.physical_effects.systems import (
    RECORDS,
    Trained,
    ensemble,
    node_pair,
    single_task,
    train_adaptively,
    trajectory,
)
from jaxphys.reports.style import GREY, legend_above, styled

_NAMES = {
    "manifold_adaptive": "manifold-adaptive",
    "correlation": "correlation",
    "maximum_likelihood": "maximum likelihood",
    "two_nn": "TwoNN",
}
_TITLES = {"node": "nodes, one task", "node5": "nodes, five tasks", "flow": "flow network, one task"}
_STAGES = ("before", "half-way", "after")


def intrinsic_dimensions(settings: Settings) -> Result:
    """Fig. 8: before, half-way through and after learning."""
    count = settings.realizations(20)
    keys = jax.random.split(settings.key("fig8 five"), count)
    five = train_adaptively(*ensemble(node_pair, keys, num_tasks=5), settings.steps(1500), RECORDS)
    runs = {
        "node": single_task("node", settings),
        "node5": Trained(five, trajectory(five)),
        "flow": single_task("flow", settings),
    }
    parts, claims = [], []
    for name, one in runs.items():
        rows = np.arange(count)
        network, task = jax.tree.map(lambda leaf: leaf[:count], (one.run.network, one.run.task))
        # Half-way: the first record at which half of the cost is gone.
        half = np.argmax(one.run.cost[:count] <= 0.5 * one.run.cost[:count, :1], axis=1)
        history = one.run.records["k"][:count]
        stages = np.stack([history[:, 0], history[rows, half], history[:, -1]], axis=1)
        clouds = np.asarray(_clouds(network, task, jnp.asarray(stages), settings.key(f"fig8 {name}")))
        variables: Variables = {
            f"dimension_{estimator}": (("realization", "stage"), intrinsic_dimension(clouds, estimator))
            for estimator in get_args(Estimator)
        }
        claims += [_dimension_claim(name, key, variables[f"dimension_{key}"][1]) for key in ESTIMATORS]
        effective = np.asarray(one.trajectory.effective_dimension)[:count]
        variables["stage_effective_dimension"] = (
            ("realization", "stage"),
            np.stack([effective[:, 0], effective[rows, half], effective[:, -1]], axis=1),
        )
        variables["stage_k"] = (("realization", "stage", "edge"), stages)
        whole = ensemble_dataset(name, one.run)
        parts.append(whole.isel({f"{name}_realization": slice(0, count)}).assign(_named(name, variables)))
    return Result(merged(*parts), claims)


def _named(name: str, variables: Variables) -> Variables:
    return {
        f"{name}_{key}": (tuple(f"{name}_{axis}" for axis in axes), values)
        for key, (axes, values) in variables.items()
    }


@eqx.filter_jit
def _clouds(
    network: AbstractNetwork, task: Task, stages: Float[Array, "R s M"], key: Key[Array, ""]
) -> Float[Array, "R s f n"]:
    """Responses to 500 random forces of unit norm, the same ones at every stage."""

    def one(network: AbstractNetwork, task: Task, k: Array, key: Array) -> Array:
        green = greens_function(network.with_k(k), task.boundary)
        forces = jax.random.normal(key, (500, green.shape[0]), green.dtype)
        return (forces / jnp.linalg.norm(forces, axis=1, keepdims=True)) @ green

    along = jax.vmap(one, in_axes=(None, None, 0, None))
    return jax.vmap(along)(network, task, stages, jax.random.split(key, stages.shape[0]))


def _dimension_claim(name: str, estimator: str, found: np.ndarray) -> Claim:
    relative = found[:, -1] / found[:, 0]
    before, after = np.median(found[:, 0]), np.median(found[:, -1])
    weak = " The effect of one task on a node network is weak." if name == "node" else ""
    return measured(
        f"physical-effects.fig8.{name}-{estimator.replace('_', '-')}",
        "Stern et al. (2023), fig. 8" + ("b" if name == "flow" else "a"),
        f"Learning lowers the intrinsic dimension of the responses: {_TITLES[name]}, {_NAMES[estimator]} "
        "[median ratio at most 0.95]",
        relative,
        lambda value: value <= 0.95,
        paper="decreased",
        condition=f"Median {before:.1f} before, {after:.1f} after; 500 forces of unit norm.{weak}",
    )


@styled
def draw_intrinsic_dimensions(dataset: xr.Dataset) -> Figure:
    """Fig. 8 from its dataset."""
    figure, (row,) = panels(1, 3, width=3.7, height=3.6)
    places = np.arange(len(_STAGES))
    for axes, (name, title) in zip(row, _TITLES.items(), strict=True):
        one = part(dataset, name)
        looks = zip(_NAMES.items(), ACCENTS, "os^D", strict=False)
        for shift, ((estimator, label), color, marker) in enumerate(looks):
            low, middle, high = np.quantile(one[f"dimension_{estimator}"].values, (0.1, 0.5, 0.9), axis=0)
            at = places + 0.06 * (shift - 1.5)
            axes.errorbar(
                at, middle, (middle - low, high - middle), color=color, marker=marker, ms=4, label=label
            )
        effective = np.median(one["stage_effective_dimension"].values, axis=0)
        axes.plot(places, effective, "--", color=GREY, label="effective (eq. 31)")
        axes.set_xticks(places, _STAGES)
        axes.set(ylabel="dimension of 500 responses", ylim=(0, None), xlim=(-0.3, 2.3))
        axes.set_title(title, pad=42)
        legend_above(axes, fontsize=7.5)
    return figure
