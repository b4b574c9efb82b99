"""One contract for every solver, on each kind of boundary that it serves.

States, reactions and responses are those of NumPy's solution of the whole bordered system, for one network
under `jit` and for ensembles under `vmap`, on one graph and on a graph each; derivatives are those of finite
differences; what cannot be solved is marked and touches nobody else; a plan for something else is marked or
refused. A new solver joins by a line in `SOLVED`.
"""

import dataclasses
from functools import lru_cache
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_identical, assert_refused, central_differences, is_double, ulps
from oracles import explicit_hessian, solve_bordered

import jaxphys as jp

MEMBERS = 3


def flow(seed):
    """Sixteen nodes, of which a task needs four."""
    k = np.random.default_rng(seed).uniform(0.5, 2.0, 26)
    return jp.FlowNetwork(jp.erdos_renyi(16, 26, jax.random.key(seed)), k=k)


def springs(seed):
    k = np.random.default_rng(seed).uniform(0.5, 2.0, 21)
    return jp.SpringNetwork(jp.erdos_renyi(10, 21, jax.random.key(seed), dimension=2, rigid=True), k=k)


def node(seed):
    w = np.random.default_rng(seed).normal(size=(9, 9))
    return jp.NodeNetwork.from_matrix(w + w.T + 12 * np.eye(9))


FLOATING = {"free_modes": "project"}
HELD = {"held_nodes": [0, 3], "ground": [5]}
DROP = {"held_drops": [(0, 3)], "ground": [5]}
SOLVED = {
    "Dense, rows pinned": (jp.Dense, flow, DROP),
    "Dense, by a basis": (jp.Dense, springs, FLOATING),
    "Dense, nothing held": (jp.Dense, node, {}),
    "BorderedLU": (jp.BorderedLU, springs, {"held_drops": [(0, 3)]} | FLOATING),
    "StarMesh, held": (jp.StarMesh, flow, HELD),
    "StarMesh, floating": (jp.StarMesh, flow, FLOATING),
    "SparseCholesky, held, a turn projected": (jp.SparseCholesky, springs, {"held_nodes": [5]} | FLOATING),
    "SparseCholesky, floating": (jp.SparseCholesky, springs, FLOATING),
    "SparseCholesky of flow": (jp.SparseCholesky, flow, HELD),
    "TrackedInverse": (jp.TrackedInverse, node, HELD),
    "SparseLU of flow": (jp.SparseLU, flow, DROP),
    "SparseLU of springs": (jp.SparseLU, springs, HELD),
}
PLANNED = [name for name, (solver, _, _) in SOLVED.items() if solver.is_planned]
ON_HOST = [name for name, (solver, _, _) in SOLVED.items() if solver.on_host]
# Every solver has graphs of their own; to those without a plan graphs are numbers like others.
ON_ONE_GRAPH = ("StarMesh, held", "SparseCholesky, floating")
CASES = [
    *((name, "own graphs") for name in SOLVED if name != "SparseCholesky, floating"),
    *((name, "one graph") for name in ON_ONE_GRAPH),
]
RULE = jp.EquilibriumPropagation(0.1)


class Member(NamedTuple):
    """A network, its task, and two columns of arbitrary forces and held values."""

    network: jp.AbstractNetwork
    task: jp.Task
    force: jax.Array
    values: jax.Array


def member(network, held, seed=0, *, sources=(7, 6)):
    """Inputs are held values and a force on each of two nodes; two nodes are read."""
    boundary, draw = jp.Boundary(network, **held), np.random.default_rng(100 + seed)
    n, d, h = network.num_coordinates, network.dimension, boundary.num_held
    unit = np.eye(n)[d - 1 :: d]
    task = jp.Task(
        boundary,
        force=np.concatenate([np.zeros((h, n)), draw.normal(size=(2, 1)) * unit[list(sources)]]),
        values=np.eye(h + 2, h),
        inputs=draw.normal(size=(4, h + 2)),
        readout=unit[[1, 4]],
        targets=draw.normal(size=(4, 2)),
    )
    columns = draw.normal(size=(2, n)), draw.normal(size=(2, h))
    return Member(network, task, *(jnp.asarray(each, network.k.dtype) for each in columns))


def with_k(each, k):
    return each._replace(network=each.network.with_k(k))


def answered(found, solver):
    """What a solver answers for a member: a state at rest and, unless it works on the host, a response."""
    network, task, force, values = found
    state = jp.equilibrate(network, task.boundary, force, values, solver=solver)
    return state, None if solver.on_host else jp.respond(network, task, solver=solver)


def measured(found, solver):
    """Answers; estimates of a rule, from the strains that a solver hands on and without; derivatives by k."""
    network, task, *_ = found
    state, response = answered(found, solver)
    general = dataclasses.replace(response, strains=None)
    estimates = [RULE.estimate(network, task, each).gradient for each in (response, general)]

    def read(k):
        response = jp.respond(network.with_k(k), task, solver=solver)
        return jnp.concatenate([response.coupling.ravel(), response.outputs.ravel()])

    _, push = jax.linearize(read, network.k)
    forward = push(jnp.cos(jnp.arange(network.num_edges, dtype=network.k.dtype)))
    weights = jnp.cos(jnp.arange(forward.size, dtype=network.k.dtype))
    return (state, response), estimates, (forward, jax.linear_transpose(push, network.k)(weights)[0])


@eqx.filter_jit
def together(ensemble, solver):
    return jax.vmap(lambda found: measured(found, solver))(ensemble)


@eqx.filter_jit
def alone(found, solver):
    return answered(found, solver)


def stacked(members):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)


def unstacked(tree):
    tree = jax.tree.map(np.asarray, tree)
    return [jax.tree.map(lambda leaf, at=i: leaf[at], tree) for i in range(MEMBERS)]


class Answers(NamedTuple):
    """An ensemble, its solver, and what that answers; `alone` the first member, by a plan for it only."""

    members: list
    solver: jp.solvers.AbstractSolver
    alone: tuple
    found: list
    estimates: list
    slopes: list


@lru_cache
def ensemble(name, graphs):
    _, make, held = SOLVED[name]
    if graphs == "own graphs":
        return [member(make(seed), held, seed) for seed in range(MEMBERS)]
    network = make(0)
    return [member(network.with_k(network.k * size), held, i) for i, size in enumerate((1.0, 2.0, 0.3))]


@lru_cache
def answers(name, graphs):
    kind, members = SOLVED[name][0], ensemble(name, graphs)
    if kind.on_host:
        found = [answered(each, kind()) for each in members]
        return Answers(members, kind(), found[0], found, [], [])
    everyone = stacked(members)
    solver = kind.for_task(everyone.network, everyone.task)
    first = alone(members[0], kind.for_task(*members[0][:2]))
    return Answers(members, solver, first, *map(unstacked, together(everyone, solver)))


@pytest.fixture(params=CASES, ids=" | ".join)
def solved(request):
    return answers(*request.param)


@pytest.fixture(params=[case for case in CASES if case[0] not in ON_HOST], ids=" | ".join)
def compiled(request):
    return answers(*request.param)


def stiffness(network):
    """`∂H/∂kᵢ` of every edge, in NumPy."""
    if isinstance(network, jp.NodeNetwork):
        n = network.num_nodes
        found = np.zeros((network.num_edges, n, n))
        for i, (a, b) in enumerate(np.transpose(np.triu_indices(n))):
            found[i, a, b] = found[i, b, a] = 1
        return found
    # The network that each edge would be by itself.
    edges, k = np.asarray(network.topology.edges), np.ones(1)
    parts = []
    for edge in edges:
        topology = eqx.tree_at(lambda topology: topology.edges, network.topology, edge[None])
        parts.append(explicit_hessian(Alone(topology, k, network.num_coordinates, network.dimension)))
    return np.array(parts)


class Alone(NamedTuple):
    """What `explicit_hessian` reads of a network."""

    topology: jp.Topology
    k: np.ndarray
    num_coordinates: int
    dimension: int


class Expected(NamedTuple):
    x: np.ndarray
    reaction: np.ndarray
    drive: np.ndarray
    adjoint: np.ndarray
    coupling: np.ndarray
    outputs: np.ndarray


def bordered(found):
    """A function of k that solves the whole bordered system for a member, in NumPy."""
    network, task, force, values = found
    each = stiffness(network)
    rows, readout = (np.asarray(part, float) for part in (task.boundary.rows, task.readout))
    columns = np.concatenate([force, task.force, readout]).astype(float)
    held = np.concatenate([values, task.values, np.zeros((len(readout), values.shape[1]))]).astype(float)
    inputs = np.asarray(task.inputs, float)
    cuts = [len(force), len(force) + len(task.force)]

    def solve(k):
        x, reaction = solve_bordered(np.tensordot(k, each, 1), rows, columns, held)
        x, drive, adjoint = np.split(x, cuts)
        outputs = inputs @ drive @ readout.T
        return Expected(x, reaction[: len(force)], drive, adjoint, adjoint @ readout.T, outputs)

    return solve


def exact(found):
    return bordered(found)(np.asarray(found.network.k, float))


# Condition numbers here are some hundreds.
CLOSE, SLOPES = (1e-11, 1e-8) if is_double() else (1e-3, 5e-3)


def test_values(solved):
    answers = [(solved.members[0], solved.alone), *zip(solved.members, solved.found, strict=True)]
    for each, (state, response) in answers:
        for name, wanted in exact(each)._asdict().items():
            told = state if name in ("x", "reaction") else response
            if told is not None and wanted.size:
                assert_close(getattr(told, name), wanted, relative=CLOSE)


def test_accuracy_is_told(solved):
    """The residual is that of rounding, the status OK, and reactions are within their bound."""
    for each, (state, response) in zip(solved.members, solved.found, strict=True):
        for told in (state, *([response] if response is not None else ())):
            assert told.status == jp.Status.OK
            assert told.status.dtype == np.int32
            assert told.residual.dtype == each.network.k.dtype
            assert 0 <= float(told.residual) < ulps(100)
        off = np.abs(np.asarray(state.reaction, float) - exact(each).reaction).max(axis=1, initial=0.0)
        assert (off <= np.asarray(state.reaction_error)).all()


def test_strains_at_hand_are_those_of_the_states(compiled):
    for by_strains, general in compiled.estimates:
        assert_close(by_strains, general, relative=CLOSE)


def test_derivatives_are_finite_differences(compiled):
    """Forward along a direction in k, and backward by weights of all answers."""
    for each, (forward, backward) in zip(compiled.members, compiled.slopes, strict=True):
        k, solve = np.asarray(each.network.k, float), bordered(each)
        direction, weights = np.cos(np.arange(len(k))), np.cos(np.arange(forward.size))

        def along(at, k=k, solve=solve, direction=direction):
            found = solve(k + at * direction)
            return np.concatenate([found.coupling.ravel(), found.outputs.ravel()])

        slope = central_differences(along, np.zeros(1), 1e-3)[:, 0]
        assert_close(forward, slope, relative=SLOPES)
        scale = np.abs(weights) @ np.abs(slope)
        assert_close(np.asarray(backward, float) @ direction, weights @ slope, relative=SLOPES, scale=scale)


def unjoined(network):
    """Nobody is joined to node 4."""
    return jnp.where(np.any(np.asarray(network.topology.edges) == 4, axis=1), 0, network.k)


# How to spoil a member, and what its status then says; None where any but OK will do.
SPOILED = {
    "NaN in k": (lambda each: with_k(each, each.network.k.at[0].set(jnp.nan)), "NOT_POSITIVE_DEFINITE"),
    "NaN in a force": (lambda each: each._replace(force=each.force.at[1, 0].set(jnp.nan)), "NOT_FINITE"),
    "not positive definite": (lambda each: with_k(each, -each.network.k), "NOT_POSITIVE_DEFINITE"),
    "singular": (lambda each: with_k(each, unjoined(each.network)), None),
}


@pytest.mark.parametrize("how", SPOILED)
def test_what_cannot_be_solved_is_marked_and_touches_nobody_else(solved, how):
    spoil, status = SPOILED[how]
    members = [spoil(each) if i == 1 else each for i, each in enumerate(solved.members)]
    if solved.solver.on_host:
        found = [answered(each, solved.solver) for each in members]
    else:
        found = unstacked(together(stacked(members), solved.solver)[0])
    for i in (0, 2):
        assert_identical(found[i], solved.found[i])
    state, response = found[1]
    # Forces at rest are not those of the task.
    for told in [state] if response is None or how == "NaN in a force" else [state, response]:
        assert told.status == jp.Status[status] if status else told.status != jp.Status.OK


def statuses(found, plan):
    """What a call by a plan ends with; nothing where it is refused."""
    try:
        return [int(told.status) for told in alone(found, plan)]
    except jp.InputError:
        return []


@pytest.mark.parametrize("name", PLANNED)
def test_a_plan_for_something_else_is_marked_or_refused(name):
    solver, make, held = SOLVED[name]
    here, another_graph = ensemble(name, "own graphs")[:2]
    plan = solver.for_task(*here[:2])
    assert statuses(here, plan) == [jp.Status.OK] * 2
    elsewhere = {"held_nodes": [6, 7][: len(held.get("held_nodes", ()))], "ground": [2]}
    held_elsewhere = member(make(0), held | {name: elsewhere[name] for name in held if name in elsewhere})
    if held == FLOATING:
        held_elsewhere = member(make(0), {"ground": [2]} | FLOATING)
    for wrong in (another_graph, held_elsewhere):
        assert jp.Status.OK not in statuses(wrong, plan)
    if solver is jp.StarMesh:
        # Its plan also knows where forces act in `respond`.
        driven_elsewhere = member(make(0), held, sources=(2, 6))
        assert statuses(driven_elsewhere, plan) == [jp.Status.OK, jp.Status.INACCURATE]


@pytest.mark.parametrize("name", [name for name in PLANNED if (name, "own graphs") in CASES])
def test_a_plan_for_an_ensemble_serves_all_of_it(name):
    members, plan, *_ = answers(name, "own graphs")
    on_one_graph = stacked(ensemble(name, "one graph"))
    assert not plan.is_shared
    assert type(plan).for_task(*on_one_graph[:2]).is_shared
    assert_refused("solver", jp.respond, *members[0][:2], solver=plan, saying="under one `vmap`")
    assert_refused("solver", together, stacked(members[:2]), plan, saying="it sees 2 of 3")


SOLVERS = {solver: make for solver, make, _ in SOLVED.values()}


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: solver.__name__)
def test_a_solver_is_planned_for_what_it_serves_alone(solver):
    for make in (flow, springs, node):
        network, task, *_ = member(make(0), HELD)
        if solver.structures is None or network.kind.structure in solver.structures:
            assert isinstance(solver.for_task(network, task), solver)
        else:
            with pytest.raises(jp.InputError, match=f"must .*, but it is a {type(network).__name__}"):
                solver.for_task(network, task)
    if solver.is_planned or solver.is_tracked:
        with pytest.raises(jp.InputError, match="drops"):
            solver.for_task(*member(SOLVERS[solver](0), DROP | FLOATING)[:2])


@pytest.mark.parametrize("name", ON_HOST)
def test_a_solver_on_the_host_refuses_to_be_compiled(name):
    (each, *_), solver, *_ = answers(name, "own graphs")
    assert_refused("solver", alone, each, solver, saying="works on the host")
    assert_refused("solver", jp.respond, *each[:2], solver=solver, saying="works on the host")
