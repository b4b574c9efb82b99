"""The formulas of Guzman et al. (2024) one by one, and how far they reach: other networks, other costs."""

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import ArrayLike
from matplotlib.figure import Figure

from jaxphys.diagnostics import (
    cost_hessian,
    partial_susceptibility,
    spectrum,
    susceptibility,
    susceptibility_cost_hessian,
    susceptibility_vectors,
)
from jaxphys.equilibrium import Boundary, equilibrate
from jaxphys.learning import Task, respond
from jaxphys.networks.physics import AbstractNetwork, FlowNetwork
from jaxphys.papers.claims import Claim, measured
from jaxphys.papers.drawing import ACCENTS, panels
from jaxphys.papers.frame import Result, Settings
from jaxphys.papers.microscopic_imprints.measures import (
    area_under_curve,
    stiffest,
)
from jaxphys.papers.microscopic_imprints.systems import learned, trained_pair
from jaxphys.papers.physical_effects.systems import PAIRS, ensemble, train_adaptively
from jaxphys.reports.style import GREY, styled
from jaxphys.training._train import member

# Flow networks on which formulas are checked, and networks of the other kinds that learn.
_CHECKED, _EACH = 4, 10


def _error(found: ArrayLike, truth: ArrayLike) -> float:
    found, truth = np.asarray(found), np.asarray(truth)
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))


def as_currents(network: FlowNetwork, task: Task, grounds: tuple[int, ...]) -> Task:
    """The same states driven by the currents that the inputs take, with the `grounds` alone held.

    The currents are those of the present k and do not follow it, unlike those of held voltages.
    """
    held = task.boundary.num_held
    values = task.inputs @ task.values
    currents = -np.asarray(equilibrate(network, task.boundary, values=values).reaction)[:, :held]
    return Task(
        Boundary(network, ground=grounds),
        force=task.boundary.rows[:held],
        inputs=currents,
        readout=task.readout,
        targets=task.targets,
        reduction=task.reduction,
    )


def formulas(settings: Settings) -> Result:
    """Every equation on trained networks, printed and corrected, and on other kinds of network."""
    found = learned("regression", settings)
    count = min(_CHECKED, len(found.run.cost))
    errors: dict[str, list[float]] = {}

    def note(key: str, value: float) -> None:
        errors.setdefault(key, []).append(value)

    for i in range(count):
        network, task = trained_pair(found.run, i)
        # At zero cost, as the paper derives its equations: what the network answers is what is wanted.
        task = task.with_samples(task.inputs, respond(network, task).outputs, task.weights)
        driven = as_currents(network, task, found.placement.grounds)
        exact, by_current = cost_hessian(network, task), cost_hessian(network, driven)
        note("contraction, full border", _error(susceptibility_cost_hessian(network, task), exact))
        frozen = susceptibility_cost_hessian(network, driven)
        note("contraction, currents", _error(frozen, by_current))
        note("contraction, ground alone", _error(frozen, exact))
        double = network.with_k(2 * network.k)
        note("H⁻⁴, currents", abs(_size(double, driven) / _size(network, driven) / 2.0**-4 - 1))
        note("H⁻⁴, voltages", abs(_size(double, task) / _size(network, task) / 2.0**-4 - 1))
        note("H⁻², voltages", abs(_size(double, task) / _size(network, task) / 2.0**-2 - 1))
        ground = found.placement.ground(network)
        note("spectral norm", _error(_spectral(network, ground), susceptibility(network, ground)))
        size = network.num_coordinates + ground.rows.shape[0]
        whole = partial_susceptibility(network, ground, [size])[0]
        note("all modes", _error(whole, susceptibility(network, ground)))
        note("unit current", _unit_current(network, ground))
        note("c' of ones", _error(_with_ones(network, task), exact))
    claims = [_formula(errors, *row) for row in _ROWS]
    others, areas = _other_networks(settings)
    claims += others
    variables = {"error": (("formula", "network"), np.array(list(errors.values())))}
    dataset = xr.Dataset(variables, coords={"formula": list(errors)})
    for kind, both in areas.items():
        dataset[f"{kind}_area"] = ((f"{kind}_realization", "stage"), both)
    return Result(dataset, claims)


# Name of the error, source, statement, what the paper says, and when it holds.
_ROWS = (
    (
        "contraction, full border",
        "eqs 12 and 16",
        "𝓗 = L : S at zero cost, voltage inputs, a border row for each held node",
        "equal",
        "",
    ),
    (
        "contraction, currents",
        "eqs 12 and 16",
        "𝓗 = L : S at zero cost, current inputs, the ground alone held",
        "equal",
        "",
    ),
    (
        "contraction, ground alone",
        "eqs 2, 12",
        "𝓗 = L : S for voltage inputs with the border of eq. 2, the ground alone",
        "equal",
        "It takes the input currents for given, but they depend on k; each held node needs its own "
        "border row.",
    ),
    ("H⁻⁴, currents", "after eq. 16", "The cost Hessian scales as H⁻⁴, current inputs", "H⁻⁴", ""),
    (
        "H⁻⁴, voltages",
        "after eq. 16",
        "The cost Hessian scales as H⁻⁴, voltage inputs",
        "H⁻⁴",
        "As H⁻² there: drops do not depend on the scale of k.",
    ),
    ("H⁻², voltages", "ours", "The cost Hessian scales as H⁻², voltage inputs", None, ""),
    ("spectral norm", "eqs 19 and 20", "The susceptibility is a sum over modes, (Δ·w)²/ν²", "equal", ""),
    ("all modes", "eq. 24", "All modes of the bordered Hessian make the whole susceptibility", "equal", ""),
    ("unit current", "eq. 17", "An entry of s is the drop per unit current at a node", "equal", ""),
    (
        "c' of ones",
        "eqs A3 and A6",
        "For the squared error c' is a vector of ones",
        "equal",
        "c' is the identity: the constraint of an output depends on that output alone.",
    ),
)


def _formula(
    errors: dict[str, list[float]], key: str, source: str, text: str, paper: str | None, condition: str
) -> Claim:
    name = "".join(
        c if c.isascii() and c.isalnum() else "-" for c in key.replace("⁻⁴", "-4").replace("⁻²", "-2")
    )
    return measured(
        f"microscopic-imprints.formulas.{'-'.join(filter(None, name.split('-')))}",
        source if source == "ours" else f"Guzman et al. (2024), {source}",
        f"{text} [median relative error below 1e-6]",
        errors[key],
        lambda value: value < 1e-6,
        paper=paper,
        condition=condition,
    )


def _size(network: AbstractNetwork, task: Task) -> float:
    """Norm of the cost Hessian at zero cost: of a rescaled network the targets move along."""
    settled = task.with_samples(task.inputs, respond(network, task).outputs, task.weights)
    return float(np.linalg.norm(cost_hessian(network, settled)))


def _spectral(network: FlowNetwork, ground: Boundary) -> np.ndarray:
    values, modes = spectrum(network, ground)
    drops = np.asarray(network.strains(modes))[..., 0]
    return np.sum((drops / np.asarray(values)[:, None]) ** 2, axis=0)


def _unit_current(network: FlowNetwork, ground: Boundary) -> float:
    """Currents at three nodes, one by one, against entries of s."""
    vectors = np.asarray(susceptibility_vectors(network, ground))
    nodes = [1, network.num_nodes // 2, network.num_nodes - 1]
    force = jnp.eye(network.num_nodes)[jnp.array(nodes)]
    drops = np.asarray(network.strains(equilibrate(network, ground, force=force).x))[..., 0]
    return _error(vectors[:, nodes].T, drops)


def _with_ones(network: FlowNetwork, task: Task) -> np.ndarray:
    """Eq. A6 with a row of ones for c'."""
    response = respond(network, task)
    changes = np.asarray(network.edge_form((task.inputs @ response.drive)[:, None], response.adjoint[None]))
    summed = changes.sum(axis=1)
    return task.sample_weight * summed.T @ summed


def _other_networks(settings: Settings) -> tuple[list[Claim], dict[str, np.ndarray]]:
    """The same on trained node networks and springs."""
    claims, areas = [], {}
    for kind, label in (("node", "node networks"), ("spring", "springs")):
        keys = jax.random.split(settings.key(f"imprints {kind}"), settings.realizations(_EACH))
        network, task = ensemble(PAIRS[kind], keys)
        run = train_adaptively(network, task, settings.steps(2000), (0,))
        gaps, both = [], []
        for i in range(len(run.cost)):
            after, one = member((run.network, run.task), i)
            exact = cost_hessian(after, one)
            gaps.append(_error(susceptibility_cost_hessian(after, one), exact))
            both.append([_area(net, one) for net in (after.with_k(run.initial_k[i]), after)])
        areas[kind] = np.array(both)
        claims += [
            measured(
                f"microscopic-imprints.formulas.{kind}-contraction",
                "Guzman et al. (2024), section IV",
                f"The results hold for {label}: 𝓗 = L : S after training [largest relative error below 1e-6]",
                gaps,
                lambda value: value < 1e-6,
                paper="naturally extend",
                statistic=np.max,
            ),
            measured(
                f"microscopic-imprints.formulas.{kind}-susceptible",
                "Guzman et al. (2024), section VIII",
                f"Susceptible edges are the stiff ones in {label} as well [area under the curve for the "
                "stiffest 5 %, trained minus untrained, median above 0]",
                areas[kind][:, 1] - areas[kind][:, 0],
                lambda value: value > 0,
                paper="naturally extend",
                condition=f"{np.median(areas[kind][:, 1]):.2f} trained, "
                f"{np.median(areas[kind][:, 0]):.2f} untrained.",
            ),
        ]
    return claims, areas


def _area(network: AbstractNetwork, task: Task) -> float:
    stiff = np.linalg.eigh(np.asarray(cost_hessian(network, task, kind="gauss_newton")))[1][:, -1]
    scores = np.asarray(susceptibility(network, task.boundary))
    return area_under_curve(scores, stiffest(np.abs(stiff)[None])[0])


@styled
def draw_formulas(dataset: xr.Dataset) -> Figure:
    """Errors of all formulas, and the imprint in other kinds of network."""
    figure, grid = panels(1, 2, width=5.0, height=4.0)
    errors, others = grid[0]
    names = dataset["formula"].values.tolist()
    for row, values in enumerate(dataset["error"].values):
        errors.plot(
            np.maximum(values, 1e-17), np.full(len(values), row), "o", color=ACCENTS[0], ms=4, alpha=0.5
        )
    errors.axvline(1e-6, color=GREY, linestyle=":", linewidth=1)
    errors.set_yticks(range(len(names)), names)
    errors.invert_yaxis()
    errors.set(xscale="log", xlabel="relative error", xlim=(1e-17, 1e3))
    for number, kind in enumerate(("node", "spring")):
        both = dataset[f"{kind}_area"].values.T
        others.plot([3 * number, 3 * number + 1], both, color=GREY, linewidth=0.7)
        others.plot([3 * number, 3 * number + 1], both, "o", color=ACCENTS[number], ms=4, alpha=0.7)
    others.set_xticks(
        [0, 1, 3, 4], ["nodes,\nuntrained", "nodes,\ntrained", "springs,\nuntrained", "springs,\ntrained"]
    )
    others.set(ylabel="area under the curve, stiffest 5 %", xlim=(-0.5, 4.5))
    return figure
