"""Section III D: reading the task off measured responses of a network whose k are unknown."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Key
from matplotlib.figure import Figure

from jaxphys.diagnostics import discover, measure_responses
from jaxphys.learning import Task
from jaxphys.networks.physics import AbstractNetwork
from jaxphys.papers.claims import Claim, measured
from jaxphys.papers.drawing import ACCENTS, KINDS, panels
from jaxphys.papers.frame import Result, Settings, Variables, ensemble_dataset, merged, part
from jaxphys.papers.physical_effects.systems import (
    START,
    ensemble,
    flow_pair,
    node_allostery_pair,
    train_adaptively,
)
from jaxphys.reports.style import GREY, INK, legend_above, styled

NOISES = (0.0, 0.01, 0.05, 0.2)
_SIGNIFICANCE = 0.01
# Untrained networks to compare a flow network with: its own graph, conductances within a factor of two.
_CONTROLS = 199


def discovery(settings: Settings) -> Result:
    """Trained networks and the same ones before training, measured with errors of 0, 1, 5 and 20 %."""
    parts, claims = [], []
    for kind, pair, full in (("node", node_allostery_pair, 100), ("flow", flow_pair, 20)):
        keys = jax.random.split(settings.key(f"discovery {kind}"), settings.realizations(full))
        network, task = ensemble(pair, keys)
        run = train_adaptively(network, task, settings.steps(3000), (0,))
        truth = np.sort(_nodes_of(run.task), axis=1)
        controls = None
        if kind == "flow":
            shape = (len(keys), _CONTROLS, network.k.shape[1])
            draws = jax.random.uniform(settings.key("discovery controls"), shape, minval=-1.0, maxval=1.0)
            controls = START * 2.0**draws
        variables: Variables = {"true_nodes": (("realization", "end_of_pair"), truth)}
        for stage, k in (("trained", run.network.k), ("untrained", run.initial_k)):
            found = _discovered(network, task, k, controls, settings.key(f"discovery {kind} {stage}"))
            for name, values in found.items():
                axes = ("realization", "noise", *(("end_of_pair",) if name == "nodes" else ()))
                variables[f"{stage}_{name}"] = (axes, np.asarray(values))
        variables["noise_level"] = ("noise", np.array(NOISES))
        claims += _discovery_claims(kind, variables)
        parts.append(ensemble_dataset(kind, run, **variables))
    return Result(merged(*parts), claims)


def _nodes_of(task: Task) -> np.ndarray:
    """Source and target of every realization, `(R, 2)`."""
    return np.stack(
        [np.argmax(np.abs(np.asarray(rows)[:, 0]), axis=-1) for rows in (task.force, task.readout)], axis=1
    )


def _discovered(
    network: AbstractNetwork,
    task: Task,
    k: Float[Array, "R M"],
    controls: Float[Array, "R c M"] | None,
    key: Key[Array, ""],
) -> dict[str, np.ndarray]:
    """p-value, verdict, the two nodes and the response between them, `(R, noise, …)`."""
    null_key = jax.random.fold_in(key, 1)
    levels = [
        _measured_and_read(
            network,
            task,
            k,
            controls,
            jnp.asarray(noise),
            jax.random.split(jax.random.fold_in(key, 2 + i), len(k)),
            null_key,
        )
        for i, noise in enumerate(NOISES)
    ]
    return {name: np.stack([np.asarray(level[name]) for level in levels], axis=1) for name in levels[0]}


@eqx.filter_jit
def _measured_and_read(
    network: AbstractNetwork,
    task: Task,
    k: Float[Array, "R M"],
    controls: Float[Array, "R c M"] | None,
    noise: Float[Array, ""],
    keys: Key[Array, " R"],
    null_key: Key[Array, ""],
) -> dict[str, Array]:
    def readings_of(network: AbstractNetwork, task: Task, key: Array) -> Array:
        # Errors are proportional to the noise, so that one compiled program serves all levels.
        exact, wrong = (measure_responses(network, task.boundary, key, noise=level) for level in (0.0, 1.0))
        return exact + noise * (wrong - exact)

    def one(
        network: AbstractNetwork, task: Task, k: Array, key: Array, others: Array | None
    ) -> dict[str, Array]:
        readings = readings_of(network.with_k(k), task, key)
        null = None
        if others is not None:
            null_keys = jax.random.split(jax.random.fold_in(key, 3), len(others))
            null = jax.vmap(lambda other, key: readings_of(network.with_k(other), task, key))(
                others, null_keys
            )
        found = discover(readings, null_key, controls=null, significance=_SIGNIFICANCE)
        return {
            "p_value": found.p_value,
            "called": found.trained,
            "nodes": found.nodes,
            "concentration": found.concentration,
            "output": found.output,
        }

    return jax.vmap(one, in_axes=(0, 0, 0, 0, None if controls is None else 0))(
        network, task, k, keys, controls
    )


def _discovery_claims(kind: str, variables: Variables) -> list[Claim]:
    name, label = f"physical-effects.discovery.{kind}", KINDS[kind][0]
    truth = variables["true_nodes"][1]
    values = {key: value[1] for key, value in variables.items()}
    hit = {
        stage: np.all(np.sort(values[f"{stage}_nodes"], axis=-1) == truth[:, None], axis=-1)
        for stage in ("trained", "untrained")
    }
    five = NOISES.index(0.05)
    levels = ", ".join(
        f"{100 * noise:g} %: {100 * hit['trained'][:, i].mean():.0f} %" for i, noise in enumerate(NOISES)
    )
    wanted = 0.3
    errors = np.abs(values["trained_output"][:, five] - wanted) / wanted
    right = np.where(hit["trained"][:, five], errors, np.nan)
    null = (
        "its spectrum with modes in random directions"
        if kind == "node"
        else f"{_CONTROLS} untrained networks on the same graph"
    )
    return [
        measured(
            f"{name}-nodes",
            "Stern et al. (2023), section III D",
            f"The lowest mode tells source and target: {label}, one allosteric task, readings with "
            "errors of 5 % "
            "[{source, target} are its two largest entries in at least 95 %]",
            hit["trained"][:, five],
            lambda value: value >= 0.95,
            paper="large components",
            statistic=np.mean,
            condition=f"By noise: {levels}. H is symmetric: which of the two is the source cannot be told.",
        ),
        measured(
            f"{name}-nodes-control",
            "Stern et al. (2023), section III D",
            f"The lowest mode of untrained networks does not: {label} [at most 4 %]",
            hit["untrained"][:, five],
            lambda value: value <= 0.04,
            statistic=np.mean,
        ),
        measured(
            f"{name}-trained",
            "Stern et al. (2023), section III D",
            f"Measured responses tell that a network was trained: {label}, errors of 5 % [called trained "
            f"at significance {_SIGNIFICANCE} in at least 95 %]",
            values["trained_called"][:, five],
            lambda value: value >= 0.95,
            paper="we can tell",
            statistic=np.mean,
            condition=f"Null: {null}.",
        ),
        measured(
            f"{name}-trained-control",
            "Stern et al. (2023), section III D",
            f"Untrained networks are not called trained: {label}, errors of 5 % [at most 4 %]",
            values["untrained_called"][:, five],
            lambda value: value <= 0.04,
            statistic=np.mean,
            condition="" if kind == "node" else "All conductances 10, where the null varies them.",
        ),
        measured(
            f"{name}-response",
            "Stern et al. (2023), section III D",
            f"The response that was wanted can be read off: {label}, errors of 5 % [median relative "
            "error of the response between the two nodes at most 0.05, where they are right]",
            right,
            lambda value: value <= 0.05,
            paper="revealed",
        ),
    ]


@styled
def draw_discovery(dataset: xr.Dataset) -> Figure:
    """Fractions against noise, and p-values."""
    figure, (row,) = panels(1, 2, width=4.8, height=3.7)
    places = np.arange(len(NOISES))
    fractions, p_values = row
    for kind, (label, color, style) in KINDS.items():
        if kind == "spring":
            continue
        one = part(dataset, kind)
        truth = one["true_nodes"].values
        for stage, face in (("trained", color), ("untrained", "white")):
            hit = np.all(np.sort(one[f"{stage}_nodes"].values, axis=-1) == truth[:, None], axis=-1).mean(
                axis=0
            )
            fractions.plot(
                places,
                hit,
                "o",
                linestyle=style,
                color=color,
                markerfacecolor=face,
                label=f"{label}, {stage}",
            )
            spread = np.linspace(-0.08, 0.08, len(truth)) + (-0.15 if kind == "node" else 0.15)
            for place in places:
                p = np.sort(one[f"{stage}_p_value"].values[:, place])
                p_values.scatter(place + spread, p, s=9, facecolors=face, edgecolors=color, linewidths=0.6)
    fractions.set(ylabel="source and target found", ylim=(-0.03, 1.03))
    p_values.axhline(_SIGNIFICANCE, color=GREY, linewidth=0.8)
    p_values.scatter([], [], s=9, color=INK, label="trained")
    p_values.scatter([], [], s=9, facecolors="white", edgecolors=INK, label="untrained")
    p_values.plot([], [], color=ACCENTS[0], label="nodes")
    p_values.plot([], [], color=ACCENTS[1], label="flow")
    p_values.set(ylabel="p-value of being untrained", yscale="log")
    for axes in row:
        axes.set_xticks(places, [f"{100 * noise:g} %" for noise in NOISES])
        axes.set_xlabel("relative error of a reading")
        legend_above(axes)
    return figure
