"""Appendix B: the cost Hessian of trained networks, its rank, and the soft mode behind its stiff one."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from jaxphys.diagnostics import cost_hessian, spectrum
from jaxphys.learning import Task
from jaxphys.networks.physics import AbstractNetwork
from jaxphys.papers.claims import Claim, measured
from jaxphys.papers.drawing import ACCENTS, KINDS, panels
from jaxphys.papers.frame import Result, Settings, Variables, ensemble_dataset, merged, part
from jaxphys.papers.physical_effects.systems import (
    RECORDS,
    ensemble,
    node_pair,
    single_task,
    train_adaptively,
)
from jaxphys.reports.pictures import draw_band
from jaxphys.reports.style import GREY, INK, legend_above, styled
from jaxphys.training._train import Run

# Ratios of two eigenvalues below this are zero but for rounding in double precision.
_ROUNDING = 1e-16


class Curvature(eqx.Module):
    """Of every network: eigenvalues of the exact cost Hessian and of eq. B7; and the stiffest mode.

    `overlap`: |cos| of the stiffest mode with the pattern `v₁ᵀ Qᵢ v₁`, what the softest physical mode makes
    of every learning degree of freedom (for node networks `v₁v₁ᵀ`).
    """

    exact: Float[Array, "*R M"]
    trained: Float[Array, "*R M"]
    overlap: Float[Array, "*R"]
    softest: Float[Array, "*R"]


@eqx.filter_jit
def _curvature(network: AbstractNetwork, task: Task, k: Float[Array, "R M"]) -> Curvature:
    def one(network: AbstractNetwork, task: Task, k: Array) -> Curvature:
        network = network.with_k(k)
        exact = cost_hessian(network, task)
        values, vectors = jnp.linalg.eigh(exact)
        trained = jnp.linalg.eigvalsh(cost_hessian(network, task, kind="gauss_newton"))
        modes = spectrum(network, task.boundary)
        pattern = network.edge_form(modes.modes[0], modes.modes[0])
        overlap = jnp.abs(vectors[:, -1] @ pattern) / jnp.linalg.norm(pattern)
        return Curvature(jnp.abs(values)[::-1], jnp.abs(trained)[::-1], overlap, modes.eigenvalues[0])

    return jax.vmap(one)(network, task, k)


def cost_hessians(settings: Settings) -> Result:
    """One task on three kinds of network, and one to five tasks on node networks."""
    runs: dict[str, Run] = {kind: single_task(kind, settings).run for kind in ("node", "flow", "spring")}
    for number in (3, 5):
        keys = jax.random.split(settings.key(f"cost Hessian {number}"), settings.realizations(50))
        network, task = ensemble(node_pair, keys, num_tasks=number)
        runs[f"node{number}"] = train_adaptively(network, task, settings.steps(3000), RECORDS)
    parts, found = [], {}
    for name, run in runs.items():
        before = _curvature(run.network, run.task, run.initial_k)
        after = _curvature(run.network, run.task, run.network.k)
        found[name] = (before, after)
        # All others are zero but for rounding once a few tasks are learned.
        variables: Variables = {
            f"{key}_{stage}": (("realization", "stiff_mode"), -np.sort(-np.asarray(array), axis=1)[:, :20])
            for stage, one in (("initial", before), ("final", after))
            for key, array in (("cost_hessian", one.exact), ("gauss_newton", one.trained))
        }
        for stage, one in (("initial", before), ("final", after)):
            variables[f"softest_{stage}"] = ("realization", np.asarray(one.softest))
            variables[f"overlap_{stage}"] = ("realization", np.asarray(one.overlap))
        parts.append(ensemble_dataset(name, run, **variables))
    return Result(merged(*parts), _curvature_claims(runs, found))


def _gap(one: Curvature, number: int) -> np.ndarray:
    """λ_{n+1} / λ_n of the exact cost Hessian, by size."""
    values = -np.sort(-np.asarray(one.exact), axis=1)
    return np.maximum(values[:, number] / values[:, number - 1], _ROUNDING)


def _curvature_claims(runs: dict[str, Run], found: dict[str, tuple[Curvature, Curvature]]) -> list[Claim]:
    name = "physical-effects.cost-hessian"
    claims = []
    for key, run in runs.items():
        number = run.task.targets.shape[1]
        kind = key.rstrip("35")
        label = f"{KINDS[kind][0]}, {number} task{'s' if number > 1 else ''}"
        # What has not converged has no reason to be of low rank.
        learned = run.cost[:, -1] <= 1e-20
        claims.append(
            measured(
                f"{name}.{key}-rank",
                "Stern et al. (2023), appendix B",
                f"The cost Hessian of trained networks has n_T eigenvalues that do not vanish: {label} "
                "[median of λ_(n+1)/λ_n at most 1e-8]",
                _gap(found[key][1], number)[learned],
                lambda value: value <= 1e-8,
                paper=0.0,
                condition=f"Of the {learned.sum()} of {learned.size} networks whose cost is below 1e-20. "
                f"Before learning the median is {np.median(_gap(found[key][0], number)):.2g}.",
            )
        )
    after = found["node"][1]
    claims.append(
        measured(
            f"{name}.trained-form",
            "Stern et al. (2023), eq. B7",
            "At convergence the cost Hessian is eq. B7's, without the second term of B6 [median "
            "relative difference of their largest eigenvalues at most 1e-8]",
            np.abs(np.asarray(after.exact)[:, 0] / np.asarray(after.trained)[:, 0] - 1),
            lambda value: value <= 1e-8,
        )
    )
    for key in ("node", "flow", "spring"):
        claims.append(
            measured(
                f"{name}.{key}-stiff-soft",
                "Stern et al. (2023), eq. B9",
                f"The softest physical mode dominates the stiffest cost mode: one task, {KINDS[key][0]} "
                "[median |cos| of that mode with the pattern v₁v₁ᵀ at least 0.9]",
                np.asarray(found[key][1].overlap),
                lambda value: value >= 0.9,
                paper="dominate",
                condition=f"{np.median(np.asarray(found[key][0].overlap)):.2f} before learning.",
            )
        )
    logs = np.log(np.asarray(after.softest)), np.log(np.asarray(after.exact)[:, 0])
    slopes = _slopes(*logs)
    claims.append(
        measured(
            f"{name}.slope",
            "Stern et al. (2023), eq. B9",
            "The stiffest eigenvalue of the cost Hessian goes as λ₁⁻⁴ over trained networks [slope of "
            "log against log within 0.5 of -4]",
            slopes,
            lambda value: abs(value + 4) <= 0.5,
            paper=-4.0,
            condition="f = 0 ties A·v₁ and v₁·F to λ₁, so the law at fixed task does not carry over "
            "(spread: bootstrap over networks).",
        )
    )
    return claims


def _slopes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Slopes of straight lines through two hundred bootstrap samples."""
    generator = np.random.default_rng(0)
    found = []
    for _ in range(200):
        chosen = generator.integers(0, len(x), len(x))
        if np.ptp(x[chosen]) > 0:
            found.append(np.polyfit(x[chosen], y[chosen], 1)[0])
    return np.array(found)


@styled
def draw_cost_hessians(dataset: xr.Dataset) -> Figure:
    """Spectra of the cost Hessian, overlap of stiff and soft, and the slope."""
    figure, (row,) = panels(1, 3, width=4.0, height=3.6)
    spectra, overlaps, slope = row
    for (name, number), color in zip((("node", 1), ("node3", 3), ("node5", 5)), ACCENTS, strict=False):
        one = part(dataset, name)
        values = one["cost_hessian_final"].values[:, :12]
        modes = np.arange(1, values.shape[1] + 1)
        label = f"{number} task{'s' if number > 1 else ''}"
        draw_band(spectra, modes, np.maximum(values / values[:, :1], 1e-18), color, label, marker="o")
    spectra.set_yscale("log")
    spectra.set(xlabel="eigenvalue of the cost Hessian, by size", ylabel="over the largest", ylim=(1e-18, 3))
    spectra.set_title("nodes, after learning", pad=18)
    for place, (kind, (_, color, _)) in enumerate(KINDS.items()):
        one = part(dataset, kind)
        for shift, stage, face in ((-0.17, "initial", "none"), (0.17, "final", color)):
            values = np.sort(one[f"overlap_{stage}"].values)
            spread = place + shift + 0.1 * np.linspace(-1, 1, len(values))
            overlaps.scatter(spread, values, s=12, facecolors=face, edgecolors=color, linewidths=0.7)
    overlaps.scatter([], [], s=12, facecolors="none", edgecolors=INK, label="before")
    overlaps.scatter([], [], s=12, facecolors=INK, edgecolors=INK, label="after")
    overlaps.set_xticks(
        range(3), [label.split()[0] if kind != "node" else "nodes" for kind, (label, *_) in KINDS.items()]
    )
    overlaps.set(ylabel="stiffest cost mode · v₁v₁ᵀ, |cos|", ylim=(0, 1.03))
    one = part(dataset, "node")
    x, y = one["softest_final"].values, one["cost_hessian_final"].values.max(axis=1)
    slope.loglog(x, y, "o", color=KINDS["node"][1], markersize=4, label="trained node networks")
    line = np.polyfit(np.log(x), np.log(y), 1)
    ends = np.array([x.min(), x.max()])
    slope.loglog(ends, np.exp(np.polyval(line, np.log(ends))), "-", color=INK, label=f"slope {line[0]:.1f}")
    centre = np.exp(np.log(x).mean()), np.exp(np.log(y).mean())
    slope.loglog(ends, centre[1] * (ends / centre[0]) ** -4, ":", color=GREY, label="slope -4 (B9)")
    slope.set(xlabel="softest physical eigenvalue λ₁", ylabel="stiffest cost eigenvalue")
    slope.set_xticks([2, 5, 10], ["2", "5", "10"])
    slope.minorticks_off()
    for axes in row:
        legend_above(axes, ncols=3 if axes is spectra else 2, fontsize=7.5)
    return figure
