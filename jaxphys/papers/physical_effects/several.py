"""Figures 5 and 9: five tasks at once, without and with noise."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxphys.learning.transforms import bounds, participation, precondition, update_noise
from jaxphys.networks.physics import NodeNetwork
from jaxphys.papers.claims import Claim, geometric_mean, measured
from jaxphys.papers.drawing import ACCENTS, KINDS, panels
from jaxphys.papers.frame import Result, Settings, ensemble_dataset, merged, part, ratio
from jaxphys.papers.physical_effects.systems import (
    FLOOR,
    PAIRS,
    Trained,
    ensemble,
    lowest_share,
    solver_of,
    train_adaptively,
    trajectory,
)
from jaxphys.reports.pictures import draw_band
from jaxphys.reports.style import GREY, legend_above, styled
from jaxphys.training._train import train
from jaxphys.training.arguments import Record, Sampling

_TASKS = 5
_RECORDS = (*range(0, 60, 10), *range(60, 200, 20), *range(200, 500, 50), 500, 700, 1000)
# A network has learned a set of tasks once its summed cost has fallen by this factor.
_LEARNED = 1e-6


def several_tasks(settings: Settings) -> Result:
    """Fig. 5: three hundred networks of nodes and flow networks learn five tasks each."""
    runs, parts = {}, []
    for kind in ("node", "flow"):
        keys = jax.random.split(settings.key(f"fig5 {kind}"), settings.realizations(300))
        network, task = ensemble(PAIRS[kind], keys, num_tasks=_TASKS)
        run = train_adaptively(network, task, settings.steps(1500), _RECORDS)
        runs[kind] = Trained(run, trajectory(run))
        parts.append(ensemble_dataset(kind, run, **runs[kind].trajectory.variables()))
    return Result(merged(*parts), _several_claims(runs))


def _several_claims(runs: dict[str, Trained]) -> list[Claim]:
    return [
        *(_learned_claim(kind, one) for kind, one in runs.items()),
        *_node_claims(runs["node"]),
        *_flow_claims(runs["flow"]),
    ]


def _learned_claim(kind: str, one: Trained) -> Claim:
    error = ratio(one.run.cost)
    return measured(
        f"physical-effects.fig5.{kind}-learned",
        "Stern et al. (2023), section IV",
        f"Five tasks are learned well in all cases: {KINDS[kind][0]} [fraction of networks whose "
        f"error fell by {1 / _LEARNED:.0e} at least 0.95]",
        error <= _LEARNED,
        lambda value: value >= 0.95,
        paper="all",
        statistic=np.mean,
        condition=""
        if kind == "node"
        else f"Among {error.size} networks the geometric mean error falls to "
        f"{geometric_mean(error):.1g} of its start; five allosteric tasks compete "
        "for the same 60 edges.",
    )


def _node_claims(node: Trained) -> list[Claim]:
    """Figs 5a and 5b: a few eigenvalues at either end move, and their modes align."""
    values = np.asarray(node.trajectory.eigenvalues)
    change = values[:, -1] / values[:, 0]
    overlap = np.asarray(node.trajectory.span_alignment)
    chance = overlap[:, 0].mean()
    return [
        measured(
            "physical-effects.fig5.node-lowered",
            "Stern et al. (2023), fig. 5a",
            "Several of the lowest eigenvalues of node networks fall [mean number of the ten lowest "
            "that lie more than 5 % below their start, at least 2]",
            np.sum(change[:, :10] < 0.95, axis=1),
            lambda value: value >= 2,
            paper=3.0,
            statistic=np.mean,
        ),
        measured(
            "physical-effects.fig5.node-raised",
            "Stern et al. (2023), fig. 5a",
            "Several of the highest eigenvalues rise [mean number of the ten highest that lie more than "
            "5 % above their start, at least 1]",
            np.sum(change[:, 10:] > 1.05, axis=1),
            lambda value: value >= 1,
            paper=2.0,
            statistic=np.mean,
        ),
        measured(
            "physical-effects.fig5.node-bottom-alignment",
            "Stern et al. (2023), fig. 5b",
            "The bottom three modes align with the five forces [mean overlap with their span above that "
            f"at the start, {chance:.2f}]",
            overlap[:, -1, :3].mean(axis=1),
            lambda value: value > 1.1 * chance,
            paper="align",
            statistic=np.mean,
        ),
        measured(
            "physical-effects.fig5.node-top-alignment",
            "Stern et al. (2023), fig. 5b",
            "The top two modes align with the five forces [mean overlap above that at the start, "
            f"{chance:.2f}]",
            overlap[:, -1, -2:].mean(axis=1),
            lambda value: value > 1.1 * chance,
            paper="align",
            statistic=np.mean,
        ),
    ]


def _flow_claims(flow: Trained) -> list[Claim]:
    """Figs 5c and 5d: all eigenvalues fall, and the lowest modes align."""
    values = np.asarray(flow.trajectory.eigenvalues)
    change = values[:, -1] / values[:, 0]
    middle = np.median(change, axis=0)
    force = lowest_share(flow.trajectory.force_alignment, _TASKS)
    response = lowest_share(flow.trajectory.response_alignment, _TASKS)
    return [
        measured(
            "physical-effects.fig5.flow-all-fall",
            "Stern et al. (2023), fig. 5c",
            "All eigenvalues of flow networks fall [mean fraction that fell at least 0.9]",
            np.mean(change < 1, axis=1),
            lambda value: value >= 0.9,
            paper="all",
            statistic=np.mean,
            condition=f"By rank, {np.sum(middle < 1)} of {middle.size} fall in the median.",
        ),
        measured(
            "physical-effects.fig5.flow-bottom-most",
            "Stern et al. (2023), fig. 5c",
            "The effect is larger at the bottom of the spectrum [median ratio of the five lowest below "
            "that of the five highest, difference below 0]",
            np.median(change[:, :5], axis=1) - np.median(change[:, -5:], axis=1),
            lambda value: value < 0,
            paper="larger",
        ),
        measured(
            "physical-effects.fig5.flow-force-alignment",
            "Stern et al. (2023), fig. 5d",
            "The bottom modes of flow networks align with the input forces [the forces' part within the "
            "span of the five lowest grows: mean final minus initial norm above 0]",
            force[:, -1] - force[:, 0],
            lambda value: value > 0,
            paper="align",
            statistic=np.mean,
        ),
        measured(
            "physical-effects.fig5.flow-response-alignment",
            "Stern et al. (2023), section III D",
            "The bottom modes of flow networks align with the responses [likewise: mean final minus "
            "initial norm above 0]",
            response[:, -1] - response[:, 0],
            lambda value: value > 0,
            paper="align",
            statistic=np.mean,
        ),
    ]


@styled
def draw_several_tasks(dataset: xr.Dataset) -> Figure:
    """Fig. 5 from its dataset."""
    figure, (upper, lower) = panels(2, 2, width=4.6, height=3.4)
    for kind, row in (("node", upper), ("flow", lower)):
        one = part(dataset, kind)
        label, color, _ = KINDS[kind]
        values = one["eigenvalues"].values
        modes = np.arange(1, values.shape[-1] + 1)
        draw_band(row[0], modes, values[:, -1] / values[:, 0], color, "after learning", marker="o")
        row[0].axhline(1, color=GREY, linewidth=0.8, label="before")
        row[0].set(xlabel="mode, lowest first", ylabel="λ / λ(0)")
        if kind == "flow":
            row[0].set_yscale("log")
        force = one["force_alignment"].values.mean(axis=(0, 3))
        response = one["response_alignment"].values.mean(axis=(0, 3))
        row[1].plot(modes, force[0], "o", color=GREY, fillstyle="none", markersize=4, label="forces, before")
        row[1].plot(modes, force[-1], "o", color=color, markersize=4, label="forces, after")
        row[1].plot(modes, response[0], ":", color=GREY, label="responses, before")
        row[1].plot(modes, response[-1], "-", color=ACCENTS[3], label="responses, after")
        row[1].set(xlabel="mode, lowest first", ylabel="|v·F|/|F|, |v·x|/|x|, mean", ylim=(0, None))
        for axes in row:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        row[0].set_title(f"{label}, five tasks", pad=28)
        legend_above(row[0])
        legend_above(row[1])
    return figure


# Rate and number of steps of fig. 9, and spring constants to start from: fixed rates, since noise is
# measured in them. At the stiff start of the other figures rates would have to be so large that noise of
# 5e-3 α is all there is.
_NOISE = 5e-3
_RATE = {"node": 1.0, "spring": 0.3}
_STEPS = {"node": 3000, "spring": 1000}
_SOFT_START = 1.0
PROTOCOLS = {
    "clean": "no noise",
    "noisy": "noise 5·10⁻³ α",
    "partial": "one task, 10 % of edges a step",
}


def noise(settings: Settings) -> Result:
    """Fig. 9: five tasks with a noisy rule, and with one task and a tenth of the edges at a time."""
    parts, claims = [], []
    for kind in ("node", "spring"):
        keys = jax.random.split(settings.key(f"fig9 {kind}"), settings.realizations(100))
        network, task = ensemble(PAIRS[kind], keys, num_tasks=_TASKS)
        if kind == "spring":
            network = network.with_k(jnp.full_like(network.k, _SOFT_START))
        runs = {}
        for protocol in PROTOCOLS:
            run = train(
                network,
                task,
                steps=settings.steps(_STEPS[kind]),
                optimizer=_noisy_descent(kind, protocol),
                sampling=Sampling(
                    1 if protocol == "partial" else None, settings.key(f"fig9 {kind} {protocol}")
                ),
                record=Record(
                    every=settings.steps(_STEPS[kind]) // 20 or 1,
                    functionals={"k": lambda network, task: network.k},
                ),
                solver=solver_of(network),
            )
            runs[protocol] = Trained(run, trajectory(run))
            parts.append(ensemble_dataset(f"{kind}_{protocol}", run, **runs[protocol].trajectory.variables()))
        claims += _noise_claims(kind, runs)
    return Result(merged(*parts), claims)


def _noisy_descent(kind: str, protocol: str) -> optax.GradientTransformation:
    # One task of five and a tenth of the edges: a fiftieth of the drift. A larger rate makes up for some.
    rate = _RATE[kind] * (10 if protocol == "partial" else 1)
    chain: list[optax.GradientTransformation] = [optax.sgd(rate)]
    if kind == "node":
        chain = [precondition(NodeNetwork(jnp.zeros(210)).frobenius_metric), *chain]
    if protocol == "noisy":
        chain.append(update_noise(_NOISE * rate))
    if protocol == "partial":
        chain.append(participation(0.1))
    if kind != "node":
        chain.append(bounds(FLOOR))
    return optax.chain(*chain)


def _noise_claims(kind: str, runs: dict[str, Trained]) -> list[Claim]:
    clean, noisy, partial = (runs[protocol] for protocol in PROTOCOLS)
    lowest = {key: ratio(one.trajectory.eigenvalues[..., 0]) for key, one in runs.items()}
    dimension = {key: ratio(one.trajectory.effective_dimension) for key, one in runs.items()}
    steps = clean.run.steps[-1]
    wandered = _NOISE * _RATE[kind] * np.sqrt(steps)
    protocol = f"α = {_RATE[kind]:g}, {steps} steps; noise moves an edge by {wandered:.2g} in all"
    if kind == "spring":
        protocol += f", where it starts at {_SOFT_START:g}"
    return [
        *_noisy_error_claims(kind, clean, noisy, protocol),
        *_noisy_mode_claims(kind, clean, noisy, protocol, lowest),
        *_dimension_claims(kind, clean, partial, protocol, lowest, dimension),
    ]


def _noisy_error_claims(kind: str, clean: Trained, noisy: Trained, protocol: str) -> list[Claim]:
    """Figs 9a and 9b: how far the error falls."""
    name, label = f"physical-effects.fig9.{kind}", KINDS[kind][0]
    panel = "Stern et al. (2023), fig. 9" + ("a" if kind == "node" else "b")
    errors = {key: geometric_mean(ratio(one.run.cost)) for key, one in (("clean", clean), ("noisy", noisy))}
    return [
        measured(
            f"{name}-learns",
            panel,
            f"With a noisy rule learning still succeeds: {label} [geometric mean error ratio at most 1e-2]",
            ratio(noisy.run.cost),
            lambda value: value <= 1e-2,
            paper="successful",
            statistic=geometric_mean,
            condition=f"{protocol}.",
        ),
        measured(
            f"{name}-floor",
            panel,
            f"Noise sets a floor to the error: {label} [geometric mean of noisy over clean final error "
            "at least 10]",
            noisy.run.cost[:, -1] / np.maximum(clean.run.cost[:, -1], 1e-300),
            lambda value: value >= 10,
            paper="error floor",
            statistic=geometric_mean,
            condition=f"Clean {errors['clean']:.1e}, noisy {errors['noisy']:.1e} of the start; {protocol}.",
        ),
    ]


def _noisy_mode_claims(
    kind: str, clean: Trained, noisy: Trained, protocol: str, lowest: dict[str, np.ndarray]
) -> list[Claim]:
    """Figs 9c and 9d: eigenvalues with noise over those without; `lowest`: over its start, by protocol."""
    name, label = f"physical-effects.fig9.{kind}", KINDS[kind][0]
    over_clean = (
        np.asarray(noisy.trajectory.eigenvalues)[:, -1] / np.asarray(clean.trajectory.eigenvalues)[:, -1]
    )
    return [
        measured(
            f"{name}-eigenvalues",
            "Stern et al. (2023), fig. 9" + ("c" if kind == "node" else "d"),
            f"Noise hardly changes how the lowest eigenvalue falls: {label} [median noisy over clean λ₁ "
            "within 20 % of 1, both below their start]",
            over_clean[:, 0],
            lambda value: abs(value - 1) <= 0.2 and max(map(np.nanmedian, lowest.values())) < 1,
            paper="weakly affected",
            condition=f"It holds while 5·10⁻³ α √steps is small against k ({protocol}). "
            f"λ₁ over its start: clean {np.median(lowest['clean']):.2f}, noisy "
            f"{np.median(lowest['noisy']):.2f}.",
            conditional=True,
        ),
        measured(
            f"{name}-upper",
            "Stern et al. (2023), appendix E",
            f"Noise tends to raise the upper eigenvalues: {label} [median ratio of the highest, noisy "
            "over clean, above 1]",
            over_clean[:, -1],
            lambda value: value > 1,
            paper="raised",
        ),
    ]


def _dimension_claims(
    kind: str,
    clean: Trained,
    partial: Trained,
    protocol: str,
    lowest: dict[str, np.ndarray],
    dimension: dict[str, np.ndarray],
) -> list[Claim]:
    """Figs 9e and 9f and appendix E: the effective dimension, and learning one part at a time."""
    name, label = f"physical-effects.fig9.{kind}", KINDS[kind][0]
    dimension_clean = float(np.nanmedian(dimension["clean"]))
    return [
        measured(
            f"{name}-dimension",
            "Stern et al. (2023), fig. 9" + ("e" if kind == "node" else "f"),
            f"Training with noise sharply lowers the effective dimension: {label} [median ratio at most "
            "0.75]",
            dimension["noisy"],
            lambda value: value <= 0.75,
            paper="sharply decreases",
            condition=f"Without noise: {dimension_clean:.2f}; {protocol}.",
        ),
        measured(
            f"{name}-partial-slower",
            "Stern et al. (2023), appendix E",
            f"One task and 10 % of the edges a step slow learning down: {label} [geometric mean of its "
            "final error over the clean one above 1, at ten times the rate]",
            partial.run.cost[:, -1] / np.maximum(clean.run.cost[:, -1], 1e-300),
            lambda value: value > 1,
            paper="slows learning",
            statistic=geometric_mean,
        ),
        measured(
            f"{name}-partial-same",
            "Stern et al. (2023), appendix E",
            f"It leaves the same physics: {label} [the effective dimension over the clean one, median, "
            "within 25 % of 1, and λ₁ falls]",
            dimension["partial"] / dimension["clean"],
            lambda value: abs(value - 1) <= 0.25 and np.nanmedian(lowest["partial"]) < 1,
            paper="no qualitative difference",
            condition=f"Dimension without noise: {dimension_clean:.2f}; λ₁ over its start: clean "
            f"{np.median(lowest['clean']):.2f}, partial {np.median(lowest['partial']):.2f}.",
        ),
    ]


@styled
def draw_noise(dataset: xr.Dataset) -> Figure:
    """Fig. 9 from its dataset."""
    figure, grid = panels(3, 2, width=4.6, height=3.1)
    looks = dict(zip(PROTOCOLS, ((ACCENTS[0], "-"), (ACCENTS[1], "--"), (ACCENTS[2], ":")), strict=True))
    for column, kind in enumerate(("node", "spring")):
        error, spectrum, dimension = grid[:, column]
        for protocol, text in PROTOCOLS.items():
            one = part(dataset, f"{kind}_{protocol}")
            color, style = looks[protocol]
            step, values = one["step"].values, one["eigenvalues"].values
            relative = one["cost"].values / one["cost"].values[:, :1]
            mean = np.exp(np.log(np.maximum(relative, 1e-300)).mean(axis=0))
            error.plot(step, mean, color=color, linestyle=style, linewidth=1.8, label=text)
            draw_band(spectrum, step, values[..., 0] / values[:, :1, 0], color, text, linestyle=style)
            spectrum.plot(
                step,
                np.median(values[..., -1] / values[:, :1, -1], axis=0),
                color=color,
                linestyle=style,
                lw=1,
            )
            share = one["effective_dimension"].values
            draw_band(dimension, step, share / share[:, :1], color, text, linestyle=style)
        error.set_yscale("log")
        error.set_ylabel("C / C(0), geometric mean")
        spectrum.set_ylabel("lowest (band) and highest λ / start")
        dimension.set_ylabel("effective dimension / start")
        for axes in (spectrum, dimension):
            axes.axhline(1, color=GREY, linewidth=0.8)
        for axes in grid[:, column]:
            axes.set(xlabel="learning step", xlim=(0, step[-1]))
        error.set_title(f"{KINDS[kind][0]}, five tasks", pad=30)
        legend_above(error)
    return figure
