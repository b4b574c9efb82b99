"""Figures 2 to 4: fifty networks of each kind, each learning one task."""

import operator
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Key
from matplotlib.figure import Figure

from jaxphys.diagnostics import (
    effective_conductance_monte_carlo,
    effective_dimension_monte_carlo,
    free_subspace,
    mode_change,
    participation_ratio,
    spectrum,
)
from jaxphys.learning import Task
from jaxphys.networks.generators import host_generator
from jaxphys.networks.physics import AbstractNetwork
from jaxphys.networks.topology import component_labels, floppy_modes
from jaxphys.papers.claims import Claim, geometric_mean, measured
from jaxphys.papers.drawing import ACCENTS, KINDS, panels
from jaxphys.papers.frame import Result, Settings, Variables, ensemble_dataset, merged, part, ratio
from jaxphys.papers.physical_effects.systems import (
    RECORDS,
    Kind,
    Trained,
    ensemble,
    flow_pair,
    single_task,
    small_steps,
    spring_pair,
    train_adaptively,
    trajectory,
)
from jaxphys.reports.pictures import draw_band, quantiles
from jaxphys.reports.style import GREY, INK, legend_above, styled

_KINDS: tuple[Kind, ...] = ("node", "flow", "spring")


def errors(settings: Settings) -> Result:
    """Fig. 2: error against step for three kinds of network, and springs as printed."""
    runs: dict[str, Trained] = {kind: single_task(kind, settings) for kind in _KINDS}
    count = settings.realizations(50)
    variants = {
        "spring4": partial(spring_pair, degree=4.0),
        "literal": partial(spring_pair, degree=4.0, law="vector"),
    }
    for name, pair in variants.items():
        keys = jax.random.split(settings.key(f"fig2 {name}"), count)
        run = train_adaptively(*ensemble(pair, keys), settings.steps(1500), RECORDS)
        runs[name] = Trained(run, trajectory(run))
    floppy, excited = _floppiness(settings, 20 * count)
    claims = _error_claims(runs, floppy, excited)
    parts = [ensemble_dataset(name, one.run, **one.trajectory.variables()) for name, one in runs.items()]
    drawn = xr.Dataset({"drawn_floppy_modes": ("draw", floppy), "drawn_force_unbalanced": ("draw", excited)})
    return Result(merged(*parts, drawn), claims)


def _error_claims(runs: dict[str, Trained], floppy: np.ndarray, excited: np.ndarray) -> list[Claim]:
    name, source = "physical-effects.fig2", "Stern et al. (2023), fig. 2b"
    claims = []
    for kind, most in (("node", 1e-12), ("flow", 1e-10), ("spring", 1e-10)):
        condition = f"k, where the paper is silent, starts at 10; {_CHOICES[kind]}." if kind != "node" else ""
        claims.append(
            measured(
                f"{name}.{kind}-error",
                source,
                f"Local rules reduce the error of one task by many orders of magnitude: {KINDS[kind][0]} "
                f"[geometric mean of final over initial error at most {most:.0e}]",
                ratio(runs[kind].run.cost),
                partial(operator.ge, most),
                paper="many orders of magnitude",
                statistic=geometric_mean,
                condition=condition,
                conditional=kind == "spring",
            )
        )
    rigid = float(np.mean(floppy == 0))
    claims.append(
        measured(
            f"{name}.springs-printed",
            "Stern et al. (2023), section II B",
            "Springs in 2-D on random graphs of mean degree 4 respond and can be trained [floppy modes "
            "beside the rigid motions; connected graphs]",
            floppy,
            "does not hold",
            paper="Z = 4",
            statistic=np.mean,
            condition=f"Only {100 * rigid:.1f} % of connected graphs are rigid. On the others a force moves "
            f"floppy modes (in {100 * np.mean(excited):.0f} % of the draws a random unit force does), "
            "which nothing resists: the response H⁻¹F does not exist. With Z = 6 and rigid by rejection "
            "it does.",
        )
    )
    for variant, label in (
        ("spring4", "Z = 4, drawn until rigid"),
        ("literal", "Z = 4, eq. 14 read literally"),
    ):
        one = runs[variant]
        claims.append(
            measured(
                f"{name}.{variant}-error",
                source,
                f"Springs, {label}: the error falls [geometric mean at most 1e-10]",
                ratio(one.run.cost),
                lambda value: value <= 1e-10,
                statistic=geometric_mean,
                condition=_LITERAL if variant == "literal" else "",
            )
        )
        softened = ratio(one.trajectory.eigenvalues[..., 0])
        conductance = np.median(ratio(one.trajectory.effective_conductance))
        claims.append(
            measured(
                f"{name}.{variant}-softening",
                "Stern et al. (2023), figs 3e and 4",
                f"Springs, {label}: the lowest eigenvalue falls clearly [median of final over initial ≤ "
                "0.75]",
                softened,
                lambda value: value <= 0.75,
                condition=f"Median ratio of the effective conductance {conductance:.2f}."
                + (" Barely rigid networks are soft before they learn." if variant == "spring4" else ""),
            )
        )
    return claims


_CHOICES = {
    "flow": "G(N, M) graphs, N = 40, M = 60; pseudo-inverse",
    "spring": "mean degree 6 and drawn until rigid, not the printed 4; rigid motions projected out",
}
_CONDITIONS = {
    "node": "",
    "flow": "Conductances start at 10, which the paper does not give; at 1 the effects are weaker.",
    "spring": "Mean degree 6 (not the printed 4), drawn until rigid; spring constants start at 10.",
}
_LITERAL = (
    "The product of two vectors in eq. 14 makes H the graph Laplacian times the identity: no central force."
)


def _floppiness(settings: Settings, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """For connected random graphs of degree 4 in the plane: floppy modes, and whether a force moves them."""
    generator = host_generator(settings.key("fig2 floppy"))
    nodes, edges = 40, 80
    first, second = np.triu_indices(nodes, k=1)
    floppy: list[int] = []
    excited: list[bool] = []
    while len(floppy) < draws:
        chosen = generator.choice(len(first), edges, replace=False)
        pairs = np.stack([first[chosen], second[chosen]], axis=1)
        if component_labels(pairs, nodes).max() > 0:
            continue
        positions = generator.random((nodes, 2))
        bonds = positions[pairs[:, 0]] - positions[pairs[:, 1]]
        directions = bonds / np.linalg.norm(bonds, axis=1, keepdims=True)
        floppy.append(floppy_modes(pairs, directions, positions, False))
        rows = np.zeros((edges, nodes, 2))
        rows[np.arange(edges), pairs[:, 0]] = directions
        rows[np.arange(edges), pairs[:, 1]] = -directions
        compatibility = rows.reshape(edges, 2 * nodes)
        # A unit force on one node, balanced over the rigid motions: is it a combination of bond tensions?
        force = np.zeros((nodes, 2))
        angle = generator.uniform(0, 2 * np.pi)
        force[generator.integers(nodes)] = np.cos(angle), np.sin(angle)
        rigid = _rigid_basis(positions)
        balanced = force.ravel() - rigid.T @ (rigid @ force.ravel())
        tensions = np.linalg.lstsq(compatibility.T, balanced, rcond=1e-10)[0]
        excited.append(bool(np.linalg.norm(compatibility.T @ tensions - balanced) > 1e-8))
    return np.array(floppy), np.array(excited)


def _rigid_basis(positions: np.ndarray) -> np.ndarray:
    centred = positions - positions.mean(axis=0)
    turned = np.stack([-centred[:, 1], centred[:, 0]], axis=1)
    motions = [np.tile(axis, (len(positions), 1)) for axis in np.eye(2)] + [turned]
    return np.array([(motion / np.linalg.norm(motion)).ravel() for motion in motions])


@styled
def draw_errors(dataset: xr.Dataset) -> Figure:
    """Fig. 2 from its dataset."""
    figure, ((left, right),) = panels(1, 2, width=4.6, height=3.6)
    springs = {
        "spring": ("Z = 6, rigid", *KINDS["spring"][1:]),
        "spring4": ("Z = 4, drawn until rigid", ACCENTS[3], "-."),
        "literal": ("Z = 4, eq. 14 literally", ACCENTS[4], "--"),
    }
    for axes, kinds in ((left, KINDS), (right, springs)):
        last = 0.0
        for name, (label, color, style) in kinds.items():
            one = part(dataset, name)
            relative = one["cost"].values / one["cost"].values[:, :1]
            mean = np.exp(np.log(np.maximum(relative, 1e-300)).mean(axis=0))
            low, _, high = quantiles(relative)
            step = one["step"].values
            axes.fill_between(step, np.maximum(low, 1e-30), high, color=color, alpha=0.15, linewidth=0)
            axes.plot(step, mean, color=color, linestyle=style, linewidth=1.8, label=label)
            # Nothing moves once the slowest one has come to rest.
            moving = np.flatnonzero(np.diff(mean) < 0)
            last = max(last, float(step[min(moving[-1] + 2, len(step) - 1)]) if moving.size else 0.0)
        axes.set_yscale("log")
        axes.set_ylim(1e-25, 10)
        axes.set_xlim(0, last)
        axes.set(xlabel="adaptive learning step", ylabel="error C / C(0), geometric mean")
        legend_above(axes, ncols=1)
    return figure


def hessians(settings: Settings) -> Result:
    """Fig. 3: eigenvalues and alignments along the run, measured and to first order."""
    runs = {kind: single_task(kind, settings) for kind in _KINDS}
    parts, claims = [], []
    for kind, one in runs.items():
        slow = small_steps(kind, settings)
        predicted = _predict(slow)
        claims += _hessian_claims(kind, one) + _first_order_claims(kind, slow, predicted)
        parts.append(ensemble_dataset(kind, one.run, **one.trajectory.variables()))
        parts.append(ensemble_dataset(f"slow_{kind}", slow.run, **slow.trajectory.variables(), **predicted))
    keys = jax.random.split(settings.key("fig3 soft start"), settings.realizations(50))
    run = train_adaptively(*ensemble(flow_pair, keys, start=1.0), settings.steps(3000), RECORDS)
    weak = Trained(run, trajectory(run))
    parts.append(ensemble_dataset("flow1", run, **weak.trajectory.variables()))
    claims.append(
        measured(
            "physical-effects.fig3.flow-start-1",
            "Stern et al. (2023), fig. 3c",
            "The lowest eigenvalue of flow networks falls strongly: conductances that start at 1 "
            "[median ratio at most 0.35]",
            ratio(weak.trajectory.eigenvalues[..., 0]),
            lambda value: value <= 0.35,
            condition="The effect grows with the initial conductance, which the paper does not give: "
            "the stiffer the start, the further a network must soften to answer with 0.3.",
        )
    )
    return Result(merged(*parts), claims)


def _predict(one: Trained) -> Variables:
    """First-order changes of the run's own steps (eqs 21, 22, 24, 25), added up; variables of a dataset."""
    history = np.asarray(one.run.records["k"])
    network, task = one.run.network, one.run.task
    lam, force = (np.asarray(array) for array in _first_order(network, task, jnp.asarray(history)))
    start = np.asarray(one.trajectory.eigenvalues)[:, :1]
    aligned = np.asarray(one.trajectory.force_alignment)[:, :1, 0, 0]
    return {
        "predicted_eigenvalues": (
            ("realization", "record", "mode"),
            np.concatenate([start, start + np.cumsum(lam, axis=1)], axis=1),
        ),
        "predicted_lowest_alignment": (
            ("realization", "record"),
            np.abs(np.concatenate([aligned, aligned + np.cumsum(force, axis=1)], axis=1)),
        ),
    }


@eqx.filter_jit
def _first_order(
    network: AbstractNetwork, task: Task, history: Float[Array, "R T M"]
) -> tuple[Float[Array, "R t m"], Float[Array, "R t"]]:
    """Change of every eigenvalue, and of the lowest mode's alignment with the force, from record to record.

    The mean of the first-order changes at both ends of a step (the trapezoidal rule); an adaptive step is
    the rule's update times its rate.
    """

    def one(network: AbstractNetwork, task: Task, k: Array, steps: Array) -> tuple[Array, Array]:
        """First-order changes by two steps: the one that led here and the one that leads on."""
        network = network.with_k(k)
        basis = free_subspace(task.boundary)
        force = basis @ (basis.T @ (task.inputs[0] @ task.force))
        sign = jnp.sign(spectrum(network, task.boundary).modes[0] @ force) / jnp.linalg.norm(force)
        changes = [mode_change(network, task.boundary, step) for step in steps]
        values = jnp.stack([change.eigenvalues for change in changes])
        return values, jnp.stack([sign * (change.modes[0] @ force) for change in changes])

    def realization(network: AbstractNetwork, task: Task, k: Array) -> tuple[Array, Array]:
        step = k[1:] - k[:-1]
        nothing = jnp.zeros_like(k[:1])
        steps = jnp.stack([jnp.concatenate([nothing, step]), jnp.concatenate([step, nothing])], axis=1)
        values, turned = jax.vmap(one, in_axes=(None, None, 0, 0))(network, task, k, steps)
        values, turned = (0.5 * (change[:-1, 1] + change[1:, 0]) for change in (values, turned))
        return values, turned

    return jax.vmap(realization)(network, task, history)


def _hessian_claims(kind: Kind, one: Trained) -> list[Claim]:
    return [*_lowest_mode_claims(kind, one), *_upper_mode_claims(kind, one)]


def _lowest_mode_claims(kind: Kind, one: Trained) -> list[Claim]:
    """How the lowest mode softens, and what it aligns with."""
    name, label = f"physical-effects.fig3.{kind}", KINDS[kind][0]
    panel = {"node": "ab", "flow": "cd", "spring": "ef"}[kind]
    alignment = np.asarray(one.trajectory.force_alignment)[..., 0]
    response = np.asarray(one.trajectory.response_alignment)[..., 0]
    softened, most = ratio(one.trajectory.eigenvalues[..., 0]), 0.35 if kind == "flow" else 0.75
    return [
        measured(
            f"{name}-lowest-eigenvalue",
            f"Stern et al. (2023), fig. 3{panel[0]}",
            f"Learning lowers the lowest eigenvalue: {label} [median ratio at most {most}]",
            softened,
            lambda value: value <= most,
            paper="significantly reduced",
            condition=_CONDITIONS[kind],
            conditional=kind == "spring",
        ),
        measured(
            f"{name}-lowest-mode",
            f"Stern et al. (2023), fig. 3{panel[1]}",
            f"The lowest mode aligns with the input force: {label} "
            + (
                "[mean |v₁·F|/|F| at least 0.45"
                if kind == "node"
                else "[mean |v₁·F|/|F| above that at the start"
            )
            + f"; {alignment[:, 0, 0].mean():.2f} at the start]",
            alignment[:, -1, 0],
            lambda value: value >= 0.45 if kind == "node" else value > alignment[:, 0, 0].mean(),
            paper="significantly",
            statistic=np.mean,
        ),
        measured(
            f"{name}-lowest-mode-response",
            "Stern et al. (2023), section III D",
            f"The lowest mode overlaps with the response: {label} [mean |v₁·x|/|x| above that at the "
            f"start, {response[:, 0, 0].mean():.2f}]",
            response[:, -1, 0],
            lambda value: value > response[:, 0, 0].mean(),
            paper="large overlap",
            statistic=np.mean,
        ),
    ]


def _upper_mode_claims(kind: Kind, one: Trained) -> list[Claim]:
    """What becomes of the highest mode, which only node networks raise and align."""
    name, label = f"physical-effects.fig3.{kind}", KINDS[kind][0]
    values = np.asarray(one.trajectory.eigenvalues)
    alignment = np.asarray(one.trajectory.force_alignment)[..., 0]
    top, top_before = alignment[:, -1, -1], alignment[:, 0, -1].mean()
    if kind == "node":
        return [
            measured(
                f"{name}-highest-eigenvalue",
                "Stern et al. (2023), fig. 3a",
                "The highest eigenvalue of node networks rises [median ratio above 1]",
                ratio(values[..., -1]),
                lambda value: value > 1,
                paper="increases",
            ),
            measured(
                f"{name}-highest-mode",
                "Stern et al. (2023), fig. 3b",
                "The highest mode aligns with the input force too [mean above that at the start, "
                f"{top_before:.2f}]",
                top,
                lambda value: value > top_before,
                paper="significantly",
                statistic=np.mean,
            ),
        ]
    return [
        measured(
            f"{name}-all-fall",
            "Stern et al. (2023), section III A",
            f"All eigenvalues of difference networks tend to decrease: {label} [mean fraction of "
            "eigenvalues that fell above 0.5]",
            np.mean(values[:, -1] < values[:, 0], axis=1),
            lambda value: value > 0.5,
            paper="all",
            statistic=np.mean,
        ),
        measured(
            f"{name}-highest-mode",
            "Stern et al. (2023), fig. 3d, f",
            f"Higher modes do not align with the task: {label} [the highest mode's mean alignment "
            f"stays within 0.05 of its start, {top_before:.2f}]",
            top,
            lambda value: value < top_before + 0.05,
            paper="do not align",
            statistic=np.mean,
        ),
    ]


def _first_order_claims(kind: Kind, slow: Trained, predicted: Variables) -> list[Claim]:
    name, label = f"physical-effects.fig3.{kind}", KINDS[kind][0]
    values = np.asarray(slow.trajectory.eigenvalues)
    alignment = np.asarray(slow.trajectory.force_alignment)[..., 0]
    claims = []
    foretold = np.asarray(predicted["predicted_eigenvalues"][1])
    error = np.abs(foretold[:, -1, 0] - values[:, -1, 0]) / np.abs(values[:, -1, 0] - values[:, 0, 0])
    equation = "21" if kind == "node" else "24"
    claims.append(
        measured(
            f"{name}-eigenvalues-first-order",
            f"Stern et al. (2023), eq. {equation}",
            "First-order changes, added up along the run, give the flow of the lowest eigenvalue: "
            f"{label} [median error at most 5 % of its change]",
            error,
            lambda value: value <= 0.05,
        )
    )
    foretold = np.asarray(predicted["predicted_lowest_alignment"][1])
    error = np.abs(foretold[:, -1] - alignment[:, -1, 0])
    equation = "22" if kind == "node" else "25"
    claims.append(
        measured(
            f"{name}-modes-first-order",
            f"Stern et al. (2023), eq. {equation}",
            f"First-order turns of the lowest mode, added up, give its alignment: {label} [median error "
            "at most 0.05]",
            error,
            lambda value: value <= 0.05,
            condition="It misses where two eigenvalues nearly cross between records, as the paper says of "
            "them.",
        )
    )
    return claims


@styled
def draw_hessians(dataset: xr.Dataset) -> Figure:
    """Fig. 3 from its dataset."""
    figure, (upper, lower) = panels(2, 3, width=3.9, height=3.3)
    for kind, above, below in zip(_KINDS, upper, lower, strict=True):
        one = part(dataset, f"slow_{kind}")
        label, color, _ = KINDS[kind]
        step, values = one["step"].values, one["eigenvalues"].values
        last = _last_moving_step(one)
        relative = values / values[:, :1]
        middle = np.median(relative, axis=0)
        for mode in range(1, middle.shape[1] - 1):
            above.plot(step, middle[:, mode], color=GREY, linewidth=0.5, alpha=0.6)
        above.plot([], [], color=GREY, linewidth=0.8, label="others")
        draw_band(above, step, relative[..., 0], color, "lowest λ")
        draw_band(above, step, relative[..., -1], ACCENTS[3], "highest λ")
        foretold = one["predicted_eigenvalues"].values / values[:, :1]
        for mode, text in ((0, "first order"), (-1, None)):
            above.plot(
                step, np.median(foretold[..., mode], axis=0), ":", color=INK, linewidth=1.4, label=text
            )
        above.set(ylabel="λ / λ(0), median", xlabel="adaptive learning step", xlim=(0, last))
        above.set_title(label, pad=32)
        legend_above(above, ncols=4, handlelength=1.2, columnspacing=0.8, fontsize=7.5)
        alignment = one["force_alignment"].values[..., 0]
        mean = alignment.mean(axis=0)
        for mode in range(1, mean.shape[1] - 1):
            below.plot(step, mean[:, mode], color=GREY, linewidth=0.4, alpha=0.5)
        below.plot(step, mean[:, 0], color=color, linewidth=1.8, label="lowest mode")
        below.plot(step, mean[:, -1], color=ACCENTS[3], linewidth=1.8, label="highest mode")
        foretold = one["predicted_lowest_alignment"].values
        below.plot(
            step, np.clip(foretold, 0, 1).mean(axis=0), ":", color=INK, linewidth=1.4, label="first order"
        )
        response = one["response_alignment"].values[..., 0]
        below.plot(
            step, response[..., 0].mean(axis=0), "-.", color=color, linewidth=1.2, label="with response"
        )
        below.set(ylabel="|v·F| / |F|, mean", xlabel="adaptive learning step", xlim=(0, last), ylim=(0, 1))
        legend_above(below, ncols=2, fontsize=7.5)
    return figure


def _last_moving_step(one: xr.Dataset) -> float:
    """Where the slowest tenth is still to come to rest: pictures end here."""
    cost, step = one["cost"].values, one["step"].values
    resting = cost <= 1e-20 * cost[:, :1]
    enough = np.flatnonzero(resting.mean(axis=0) >= 0.9)
    return float(step[enough[0]]) if enough.size else float(step[-1])


def conductances(settings: Settings) -> Result:
    """Fig. 4: effective conductance and dimension, from the spectrum and by random forces."""
    parts, claims = [], []
    for kind in _KINDS:
        one = single_task(kind, settings)
        # A tenth of the records is enough for a check by random forces.
        length = len(one.run.steps)
        chosen = np.unique(np.r_[np.arange(0, length, 6), length - 1])
        history = jnp.asarray(one.run.records["k"][:, chosen])
        sampled = _sampled(one.run.network, one.run.task, history, settings.key(f"fig4 {kind}"))
        names = ("sampled_conductance", "sampled_dimension", "sampled_participation")
        variables: Variables = {
            name: (("realization", "sampled_record"), np.asarray(values))
            for name, values in zip(names, sampled, strict=True)
        }
        variables["sampled_step"] = ("sampled_record", one.run.steps[chosen])
        claims += _conductance_claims(kind, one, variables, chosen)
        keep = {k: v for k, v in one.trajectory.variables().items() if k.startswith("effective")}
        parts.append(ensemble_dataset(kind, one.run, **keep, **variables))
    return Result(merged(*parts), claims)


@eqx.filter_jit
def _sampled(
    network: AbstractNetwork, task: Task, history: Float[Array, "R T M"], key: Key[Array, ""]
) -> tuple[Float[Array, "R T"], ...]:
    """Eqs 26, 30 and 29 by 500 random forces, the same ones at every record."""

    def one(network: AbstractNetwork, task: Task, k: Array, key: Array) -> tuple[Array, ...]:
        network = network.with_k(k)
        return (
            effective_conductance_monte_carlo(network, task.boundary, key),
            effective_dimension_monte_carlo(network, task.boundary, key),
            participation_ratio(network, task.boundary, key),
        )

    along = jax.vmap(one, in_axes=(None, None, 0, None))
    return jax.vmap(along)(network, task, history, jax.random.split(key, history.shape[0]))


def _conductance_claims(kind: Kind, one: Trained, sampled: Variables, chosen: np.ndarray) -> list[Claim]:
    name, label = f"physical-effects.fig4.{kind}", KINDS[kind][0]
    conductance = np.asarray(one.trajectory.effective_conductance)
    dimension = np.asarray(one.trajectory.effective_dimension)
    # Flow networks are held to more: their effect is the clearest.
    least, most = (2.0, 0.6) if kind == "flow" else (1.0, 1.0)
    condition, conditional = _CONDITIONS[kind], kind == "spring"
    by_force = sampled["sampled_conductance"][1] / conductance[:, chosen]
    by_draw = sampled["sampled_dimension"][1] / dimension[:, chosen]
    return [
        measured(
            f"{name}-conductance",
            "Stern et al. (2023), fig. 4a",
            f"Learning raises the effective conductance: {label} [median ratio "
            + ("at least 2]" if kind == "flow" else "above 1]"),
            ratio(conductance),
            lambda value: value >= least and value > 1,
            paper="increased",
            condition=condition,
            conditional=conditional,
        ),
        measured(
            f"{name}-dimension",
            "Stern et al. (2023), fig. 4b",
            f"Learning lowers the effective dimension: {label} [median ratio "
            + ("at most 0.6]" if kind == "flow" else "below 1]"),
            ratio(dimension),
            lambda value: value <= most and value < 1,
            paper="decreased",
            condition=condition,
            conditional=conditional,
        ),
        measured(
            f"{name}-participation",
            "Stern et al. (2023), section III C",
            f"The participation ratio (eq. 29, averaged over forces) falls too: {label} [median ratio "
            "below 1]",
            ratio(sampled["sampled_participation"][1]),
            lambda value: value < 1,
            paper="reduced",
            condition=condition,
            conditional=conditional,
        ),
        measured(
            f"{name}-conductance-sampled",
            "Stern et al. (2023), eqs 26, 28",
            f"Eq. 28's spectral form is the mean of eq. 26: {label} [ratio of the mean over 500 forces "
            "to the root mean square within 1 % of 1]",
            by_force.mean(axis=1),
            lambda value: abs(value - 1) <= 0.01,
            paper=1.0,
            statistic=np.mean,
            condition="The spectral form (with 1/N, which the print lacks) is the root mean square; "
            "a mean of norms is lower where few modes dominate.",
        ),
        measured(
            f"{name}-dimension-sampled",
            "Stern et al. (2023), eqs 30, 31",
            f"Eq. 31 is what random Gaussian forces give: {label} [mean ratio within 5 % of 1]",
            by_draw.mean(axis=1),
            lambda value: abs(value - 1) <= 0.05,
            paper=1.0,
            statistic=np.mean,
        ),
    ]


@styled
def draw_conductances(dataset: xr.Dataset) -> Figure:
    """Fig. 4 from its dataset."""
    figure, ((left, right),) = panels(1, 2, width=4.6, height=3.7)
    for axes, whole, drawn in (
        (left, "effective_conductance", "sampled_conductance"),
        (right, "effective_dimension", "sampled_dimension"),
    ):
        last = 0.0
        for kind, (label, color, style) in KINDS.items():
            one = part(dataset, kind)
            step, values = one["step"].values, one[whole].values
            draw_band(axes, step, values / values[:, :1], color, label, linestyle=style)
            sampled = one[drawn].values
            places, middle = one["sampled_step"].values, np.median(sampled / sampled[:, :1], axis=0)
            axes.plot(places, middle, "o", color=color, markersize=4, fillstyle="none")
            last = max(last, _last_moving_step(one))
        axes.plot([], [], "o", color=GREY, markersize=4, fillstyle="none", label="500 random forces")
        axes.axhline(1, color=GREY, linewidth=0.8)
        axes.set_yscale("log")
        axes.set(xlabel="adaptive learning step", xlim=(0, last))
        legend_above(axes, ncols=2)
    left.set_ylabel("effective conductance / start")
    right.set_ylabel("effective dimension / start")
    right.set_yticks([0.1, 0.2, 0.5, 1], ["0.1", "0.2", "0.5", "1"])
    right.minorticks_off()
    return figure
