"""How cases must end: in the right answer, in one clear sentence, or in a status that tells of the failure.

`ended(case)` makes what a case of `strategies.py` describes, asks the library, and compares with plain NumPy
and mpmath. It returns "right", "refused" or "marked"; a silently wrong answer is an `AssertionError`, and
everything else that is raised is a traceback that a user would have seen.
"""

import re
import tempfile
import warnings
from functools import singledispatch
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from oracles import cost_by_hand, solve_bordered, solve_exactly
from strategies import ROOM, Equilibrium, File, Learning, Table

import jaxphys as jp
from jaxphys.config import build, load_config, parse_config
from jaxphys.io import load_run, read_measured, read_network, read_responses

# What `Status.OK` promises of x and of the residual in float64, see `docs/reliability.md`.
BOUND = 2 * np.finfo(float).eps ** 0.4
RESIDUAL = 1e4 * np.finfo(float).eps
# Below this condition number there is no excuse for a status that is not OK.
WELL_CONDITIONED = 1e7


@singledispatch
def ended(case: Any) -> str:
    """How a case ends: "right", "refused" or "marked"."""
    raise TypeError(f"no case: {case!r}")


def one_sentence(error: jp.InputError) -> bool:
    """Whether a refusal is one line that names an argument."""
    message = str(error)
    assert re.fullmatch(r"Arguments? `\w+`.* must .+, but .+\.", message), message
    assert message.isprintable()
    assert len(message) < 400
    return True


@ended.register
def _(case: Equilibrium) -> str:
    flaw = flaw_of(case)
    try:
        network, boundary = made(case)
        solver = planned(case.solver, network, boundary)
    except jp.InputError as error:
        assert one_sentence(error)
        assert flaw is not None, f"refused, though nothing is wrong: {error}"
        return "refused"
    assert flaw is None, f"not refused: {flaw}"
    force, values = driven(case, network, boundary)
    state = jax.device_get(at_rest(network, boundary, force, values, solver))
    if state.status == jp.Status.OK:
        assert np.isfinite(state.x).all()
        assert state.residual <= RESIDUAL, state.residual
        exact = exact_states(network, boundary, force, values)
        assert exact is not None, "solved, though the system is singular"
        assert_within_bound(network, state.x, exact[0], force)
        return "right"
    assert has_excuse(case, network, boundary), f"{jp.Status(int(state.status)).name} without a cause"
    return "marked"


@ended.register
def _(case: Learning) -> str:
    flaw = flaw_of(case.rest) or flaw_of_task(case)
    try:
        network, boundary = made(case.rest)
        task = asked(case, network, boundary)
        solver = planned(case.rest.solver, network, boundary)
    except jp.InputError as error:
        assert one_sentence(error)
        assert flaw is not None, f"refused, though nothing is wrong: {error}"
        return "refused"
    assert flaw is None, f"not refused: {flaw}"
    response, estimate = jax.device_get(measured_response(network, task, solver))
    if estimate.status != jp.Status.OK:
        by_angle = (
            case.cost == "cosine"
            and not (np.any(response.outputs, axis=1) & np.any(task.targets, axis=1)).all()
        )
        # Products of states, outputs and inputs that no float64 holds.
        parts = (response.drive, response.adjoint, response.outputs, task.inputs, task.inputs)
        beyond = sum(np.log10(np.abs(part).max() + 1) for part in parts) > 300
        excused = by_angle or beyond or has_excuse(case.rest, network, boundary)
        assert excused, jp.Status(int(estimate.status)).name
        return "marked"
    assert estimate.residual <= RESIDUAL, estimate.residual
    assert_right(network, task, response, estimate)
    return "right"


def assert_right(network: Any, task: jp.Task, response: Any, estimate: Any) -> None:
    """States, outputs, cost and gradient, each within the bound on the scale of what it is made of."""
    force = np.concatenate([task.force, task.readout])
    values = np.zeros((len(force), task.boundary.num_held))
    values[: len(task.values)] = task.values
    exact = exact_states(network, task.boundary, force, values)
    assert exact is not None, "solved, though the system is singular"
    found = np.concatenate([response.drive, response.adjoint])
    assert_within_bound(network, found, exact[0], force)
    drive, adjoint = np.split(exact[0], [len(task.force)])
    readout, inputs = np.asarray(task.readout), np.asarray(task.inputs)
    outputs = inputs @ drive @ readout.T
    largest = np.abs(exact[0]).max(axis=1) + np.abs(force).max(axis=1) / np.abs(network.hessian()).max()
    size = np.abs(inputs) @ largest[: len(drive), None] * np.abs(readout).sum(axis=1)
    assert (np.abs(response.outputs - outputs) <= 2 * BOUND * size).all(), "outputs"
    weights = np.ones_like(task.targets) if task.weights is None else np.asarray(task.weights)
    pulls, total = np.zeros_like(outputs), 0.0
    for row in range(len(outputs)):
        one = np.asarray(response.outputs)[row], np.asarray(task.targets)[row], weights[row]
        cost, pulls[row] = cost_by_hand(task.cost, *one)
        total += cost
    # A difference of logits and a cosine are rounded on the scale of what they are made of.
    rounding = 1.0 if isinstance(task.cost, jp.CosineDistance) else 0.0
    if isinstance(task.cost, jp.CrossEntropy):
        rounding = task.cost.inverse_temperature * np.abs(response.outputs).sum()
    slack = 1e-9 * np.abs(total) + 1e-12 * rounding
    assert np.abs(estimate.cost - task.sample_weight * total) <= task.sample_weight * slack, "cost"
    moment = -task.sample_weight * inputs.T @ pulls
    gradient = np.asarray(
        sum(
            moment[a, b] * network.edge_form(jnp.asarray(drive[a]), jnp.asarray(adjoint[b]))
            for a, b in np.ndindex(moment.shape)
        )
    )
    # Pulls cancel where outputs are right.
    lengths = np.linalg.norm(response.outputs, axis=1, keepdims=True)
    apart = np.abs(response.outputs) + np.abs(task.targets)
    if not isinstance(task.cost, jp.SquaredError):
        apart = 1 / lengths if isinstance(task.cost, jp.CosineDistance) else task.cost.inverse_temperature
    pulls = np.abs(pulls) + 1e-9 * apart
    size = 4 * largest[: len(drive)] @ (task.sample_weight * np.abs(inputs).T @ pulls) @ largest[len(drive) :]
    assert (np.abs(estimate.gradient - gradient) <= 4 * BOUND * size).all(), "gradient"


def flaw_of_task(case: Learning) -> str | None:
    """What is wrong with a task on a network that is not, told in plain NumPy; None if nothing is."""
    rest, pairs = case.rest, [*case.sources, *case.targets]
    if rest.kind == "spring" and not all(isinstance(terminal, tuple) for terminal in pairs):
        return "a node of springs has no direction"
    if any(node < 0 or node >= rest.num_nodes for terminal in pairs for node in np.atleast_1d(terminal)):
        return "terminals that are not there"
    if any(len(set(np.atleast_1d(terminal))) < np.size(terminal) for terminal in pairs):
        return "a pair of one node"
    held = len(rest.held_nodes) * (2 if rest.kind == "spring" else 1) + len(rest.held_drops)
    number = held or len(case.sources)
    if not case.targets or not number or (held and case.sources):
        return "inputs and outputs"
    if case.builder == "allostery" and number not in (1, len(case.targets)):
        return "sources and targets do not pair"
    if case.builder == "classification" and len(case.targets) < 2:
        return "a single class"
    if not np.isfinite(case.numbers).all():
        return "numbers"
    cools = case.builder == "classification" and case.cost == "cross_entropy"
    if cools and not 0 < case.inverse_temperature < np.inf:
        return "inverse temperature"
    fixed = {*rest.held_nodes, *rest.ground}
    loose = [terminal for terminal in case.targets if not set(np.atleast_1d(terminal)) <= fixed]
    if len(loose) < len(case.targets) or any(
        set(np.atleast_1d(t)) == set(d) for t in loose for d in rest.held_drops
    ):
        return "an output is held"
    if rest.held_drops and any(
        len(fixed & set(d)) and set(np.atleast_1d(t)) <= fixed | set(d)
        for t in loose
        for d in rest.held_drops
    ):
        return "an output follows from what is held"
    return None


def asked(case: Learning, network: Any, boundary: jp.Boundary) -> jp.Task:
    """The task that a case describes."""
    number, outputs = boundary.num_held or len(case.sources), len(case.targets)
    terminals = network, boundary, list(case.sources), list(case.targets)
    table = np.resize(case.numbers, (3, number))
    match case.builder:
        case "allostery":
            return jp.allostery(*terminals, response=case.numbers[0], amplitude=case.numbers[1])
        case "regression":
            matrix = np.resize(case.numbers[::-1], (outputs, number))
            return jp.regression(*terminals, matrix=matrix, inputs=table)
    costs = {
        "squared_error": jp.SquaredError,
        "cross_entropy": lambda: jp.CrossEntropy(case.inverse_temperature),
        "cosine": jp.CosineDistance,
    }
    labels = np.arange(3) % max(outputs, 1)
    return jp.classification(*terminals, features=table, labels=labels, cost=costs[case.cost]())


@eqx.filter_jit
def measured_response(network: Any, task: jp.Task, solver: Any) -> Any:
    response = jp.respond(network, task, solver=solver)
    return response, jp.ExactGradient().estimate(network, task, response)


@ended.register
def _(case: Table) -> str:
    try:
        ensemble = build(parse_config(case.table))
    except jp.InputError as error:
        message = str(error)
        assert message.isprintable(), message
        assert len(message) < 600, message
        assert re.search(r"`[\w.]+`|^File |unknown name|^config: ", message), message
        return "refused"
    arguments = {**ensemble.arguments, "steps": 2, "record": jp.Record(every=1)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = jp.train(ensemble.network, ensemble.task, **arguments)
    for number, status in enumerate(run.status.tolist()):
        network, task = jax.tree.map(lambda leaf, at=number: leaf[at], (run.network, run.task))
        assert np.isfinite(network.k).all(), "k"
        if status == jp.Status.OK and arguments["sampling"].batch_size is None:
            assert np.isfinite(run.cost[number]).all(), "cost"
            assert_cost(network, task, run.cost[number, -1])
    return "marked" if run.failures else "right"


@ended.register
def _(case: File) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / case.name
        path.write_bytes(case.content)
        try:
            with warnings.catch_warnings():
                # What a file does not say of its edges is said aloud.
                warnings.filterwarnings("ignore", "File .*", UserWarning)
                read = READERS[case.name.split(".")[0]](path)
        except jp.InputError as error:
            assert str(error).isprintable(), str(error)
            assert len(str(error)) < 800, str(error)
            assert case.name in str(error), str(error)
            return "refused"
    numbers = jax.tree.leaves(eqx.filter(read, eqx.is_array))
    assert all(np.isfinite(array).all() for array in numbers if np.issubdtype(array.dtype, np.inexact))
    return "right"


# What reads a file, by the first part of its name.
READERS = {
    "network": read_network,
    "run": lambda path: (read_network(path), load_run(path))[0],
    "measured": read_measured,
    "responses": read_responses,
    "protein": jp.read_structure,
    "config": load_config,
}


def assert_cost(network: Any, task: jp.Task, found: float) -> None:
    """The cost of the exact outputs, as far as errors within the bound let it be off."""
    values = np.zeros((len(task.force), task.boundary.num_held))
    values[:] = task.values
    exact = exact_states(network, task.boundary, np.asarray(task.force), values)
    assert exact is not None, "solved, though the system is singular"
    outputs = np.asarray(task.inputs) @ exact[0] @ np.asarray(task.readout).T
    size = (
        np.abs(task.inputs) @ np.abs(exact[0]).max(axis=1, keepdims=True) * np.abs(task.readout).sum(axis=1)
    )
    weights = np.ones_like(task.targets) if task.weights is None else np.asarray(task.weights)
    total, slack = 0.0, 0.0
    for row in range(len(outputs)):
        cost, pull = cost_by_hand(task.cost, outputs[row], np.asarray(task.targets)[row], weights[row])
        total += task.sample_weight * cost
        slack += task.sample_weight * np.abs(pull) @ size[row]
    assert np.abs(found - total) <= 4 * BOUND * slack + 1e-9 * np.abs(total) + 1e-12, (found, total)


def has_excuse(case: Equilibrium, network: Any, boundary: jp.Boundary) -> bool:
    """Whether a status that is not OK tells of something: lost digits, or numbers at the ends of float64."""
    extreme = any(not 1e-140 < abs(k) < 1e140 for k in case.k if k)
    by_digits = case.solver != "star_mesh" and conditioning(network, boundary) > WELL_CONDITIONED
    return by_digits or extreme


def flaw_of(case: Equilibrium) -> str | None:
    """What is wrong with a network and its boundary, told in plain NumPy; None if nothing is."""
    n, k = case.num_nodes, np.array(case.k)
    edges = np.array(case.edges, dtype=int).reshape(-1, 2)
    if case.kind == "node":
        if not np.isfinite(k).all():
            return "k is not finite"
        edges, directions = np.zeros((0, 2), int), np.ones((0, 1))
    else:
        if not len(edges) or edges.min() < 0 or edges.max() >= n or (edges[:, 0] == edges[:, 1]).any():
            return "edges"
        if not (np.isfinite(k) & (k > 0)).all():
            return "k is not positive"
        directions = np.ones((len(edges), 1))
        if case.positions is not None:
            places = np.array(case.positions)
            bonds = places[edges[:, 0]] - places[edges[:, 1]]
            lengths = np.linalg.norm(bonds, axis=1, keepdims=True)
            if not (np.isfinite(places).all() and (lengths > 0).all()):
                return "positions"
            directions = bonds / lengths
    named = np.array([*case.held_nodes, *case.ground], dtype=float)
    if ((named < 0) | (named >= n) | (named % 1 != 0)).any():
        return "nodes that are not there"
    if any(a == b for a, b in case.held_drops):
        return "a drop from a node to itself"
    d = directions.shape[1]
    rows = np.eye(n * d).reshape(n, d, -1)[named.astype(int)].reshape(-1, n * d)
    drops = np.zeros((len(case.held_drops), n, d))
    for drop, (a, b) in zip(drops, case.held_drops, strict=True):
        along = np.ones(1) if d == 1 else np.subtract(case.positions[a], case.positions[b])
        drop[a], drop[b] = along / np.linalg.norm(along), -along / np.linalg.norm(along)
    rows = np.concatenate([rows, drops.reshape(-1, n * d)])
    if _rank(rows) < len(rows):
        return "a coordinate is held twice"
    if case.solver in ("star_mesh", "sparse_cholesky") and case.held_drops:
        return "the solver takes no drops"
    if case.kind == "node":
        return None
    ends = np.zeros((len(edges), n))
    np.put_along_axis(ends, edges[:, :1], 1, axis=1)
    np.put_along_axis(ends, edges[:, 1:], -1, axis=1)
    strains = (ends[:, :, None] * directions[:, None]).reshape(len(edges), -1)
    free = n * d - _rank(np.concatenate([strains, rows]))
    if not free:
        return None
    if case.free_modes == "forbid" or _rank(ends) < n - 1:
        return "something floats"
    motions = np.tile(np.eye(d), n)
    if d == 2:
        turn = np.array([[-y, x] for x, y in case.positions])
        motions = np.concatenate([motions, turn.reshape(1, -1)])
    rigid = _rank(motions) - _rank(motions @ rows.T, 1e-9)
    return None if free == rigid else "the body is floppy"


def _rank(rows: np.ndarray, tolerance: float | None = None) -> int:
    return int(np.linalg.matrix_rank(rows, tolerance)) if rows.size else 0


def made(case: Equilibrium) -> tuple[jp.networks.AbstractNetwork, jp.Boundary]:
    """The network and boundary that a case describes; graphs are padded."""
    k = np.array(case.k)
    if case.kind == "node":
        network = jp.NodeNetwork(k)
    else:
        edges = np.array(case.edges, dtype=int).reshape(-1, 2)
        topology = jp.from_edges(edges, num_nodes=case.num_nodes, positions=case.positions).padded(ROOM)
        k = np.concatenate([k, np.full(ROOM - len(k), case.padding)])
        network = (jp.FlowNetwork if case.kind == "flow" else jp.SpringNetwork)(topology, k)
    held = {
        "held_nodes": _whole(case.held_nodes),
        "held_drops": case.held_drops,
        "ground": _whole(case.ground),
    }
    return network, jp.Boundary(network, free_modes=case.free_modes, **held)


def _whole(nodes: tuple[float, ...]) -> np.ndarray:
    numbers = np.array(nodes)
    return numbers.astype(int) if (numbers % 1 == 0).all() else numbers


def planned(name: str, network: Any, boundary: jp.Boundary) -> Any:
    """The solver of that name for a network and what holds it."""
    match name:
        case "star_mesh":
            return jp.StarMesh(network.topology.edges, boundary.rows)
        case "sparse_cholesky":
            return jp.SparseCholesky(network.topology.edges, boundary.rows, network.strain_directions())
        case "tracked_inverse":
            return jp.TrackedInverse()
    return {"dense": jp.Dense(), "bordered_lu": jp.BorderedLU()}[name]


def driven(case: Equilibrium, network: Any, boundary: jp.Boundary) -> tuple[np.ndarray, np.ndarray]:
    """Two columns: forces of one size; held values, or where there are none more forces, of another."""
    generator = np.random.default_rng(case.seed)
    force = generator.standard_normal((2, network.num_coordinates))
    values = case.sizes[1] * generator.standard_normal((2, boundary.num_held))
    values[0] = 0
    return force * np.array([[case.sizes[0]], [0.0 if boundary.num_held else case.sizes[1]]]), values


@eqx.filter_jit
def at_rest(network: Any, boundary: Any, force: Any, values: Any, solver: Any) -> jp.State:
    return jp.equilibrate(network, boundary, force, values, solver=solver)


def conditioning(network: Any, boundary: jp.Boundary) -> float:
    """Condition number of H where it is left free; infinite where it is not positive definite."""
    rows = np.asarray(boundary.rows)
    hessian = np.asarray(network.hessian(), dtype=float)
    free = scipy.linalg.null_space(rows) if len(rows) else np.eye(len(hessian))
    if not free.shape[1]:
        return 1.0
    scale = np.abs(hessian).max() or 1.0
    values = np.linalg.eigvalsh(free.T @ (hessian / scale) @ free)
    return float(1.0 / values[0]) if values[0] > 1e-15 else np.inf


def exact_states(
    network: Any, boundary: jp.Boundary, force: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """States and reactions: by bordered LU in float64 where that is sure, else in mpmath."""
    scale = np.abs(np.asarray(network.hessian())).max()
    if scale > 1e-290 and conditioning(network, boundary) < 1e4:
        states, reactions = solve_bordered(
            np.asarray(network.hessian()) / scale, boundary.rows, force / scale, values
        )
        return states, scale * reactions
    return solve_exactly(network, boundary.rows, force, values)


def assert_within_bound(network: Any, found: np.ndarray, exact: np.ndarray, force: np.ndarray) -> None:
    """Every column by itself: the largest error over the largest entry and what its forces would do alone."""
    alone = np.abs(force).max(axis=1) / np.abs(network.hessian()).max() if np.any(force) else 0.0
    size = np.abs(exact).max(axis=1) + alone
    error = np.abs(found - exact).max(axis=1)
    assert (error <= BOUND * size).all(), f"errors {error} of {size}"
