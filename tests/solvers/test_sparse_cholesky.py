"""Sparse Cholesky factorisation by blocks: against the reference LU, by hand, under vmap, jit and grad."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_refused, is_double, ulps

import jaxphys as jp

BOUNDARIES = {
    "floating": {"free_modes": "project"},
    "held": {"held_nodes": [0], "ground": [3, 5]},
}

RULES = (
    jp.ExactGradient(),
    jp.EquilibriumPropagation(0.1),
    jp.EquilibriumPropagation(0.1, mode="energy"),
    jp.CoupledLearning(0.1),
)

respond = eqx.filter_jit(jp.respond)
equilibrate = eqx.filter_jit(jp.equilibrate)


def springs(seed, *, nodes=24, edges=52, dimension=2, law="central", dtype=float):
    topology = jp.erdos_renyi(nodes, edges, jax.random.key(seed), dimension=dimension, rigid=True)
    k = np.random.default_rng(seed).uniform(0.5, 2.0, edges)
    return jp.SpringNetwork(topology, jnp.asarray(k, dtype), law=law)


def task_on(network, held, seed=0):
    """Two inputs and two outputs; samples share no structure."""
    boundary = jp.Boundary(network, **BOUNDARIES[held])
    draw = np.random.default_rng(seed)
    n = network.num_coordinates
    inputs = boundary.num_held or 2
    return jp.Task(
        boundary,
        force=draw.normal(size=(inputs, n)),
        values=np.eye(inputs)[:, : boundary.num_held],
        inputs=draw.normal(size=(9, inputs)),
        readout=draw.normal(size=(2, n)),
        targets=draw.normal(size=(9, 2)),
        reduction="mean",
    )


def ensemble(held, *, shared, **options):
    """Three realizations on one graph, or on a graph each."""
    if shared:
        one = springs(0, **options)
        networks = [one.with_k(one.k * factor) for factor in (1.0, 2.0, 0.3)]
        return jp.stack(networks), jp.stack([task_on(one, held)] * 3)
    several = [springs(seed, **options) for seed in range(3)]
    return jp.stack(several), jp.stack([task_on(each, held, seed) for seed, each in enumerate(several)])


@eqx.filter_jit
def measured(network, task, solver):
    """States at rest under arbitrary forces and values, responses, every rule, and a gradient."""

    def one(network, task):
        force = jnp.sin(jnp.arange(3.0 * network.num_coordinates, dtype=network.k.dtype)).reshape(3, -1)
        values = jnp.cos(jnp.arange(task.boundary.num_held, dtype=network.k.dtype))
        state = jp.equilibrate(network, task.boundary, force, values, solver=solver)
        response = jp.respond(network, task, solver=solver)
        estimates = [rule.estimate(network, task, response) for rule in RULES]
        cost = jax.grad(lambda k: jp.task_cost(network.with_k(k), task, solver=solver))(network.k)
        numbers = (state.x, state.reaction, response.drive, response.adjoint, response.coupling)
        gradients = [estimate.gradient for estimate in estimates]
        statuses = [state.status, response.status, *(estimate.status for estimate in estimates)]
        return (*numbers, response.outputs, *gradients, cost), statuses, response.residual

    return jax.vmap(one)(network, task)


def tolerance():
    """1e-10 in double precision; systems here have condition numbers of thousands."""
    return 1e-10 if is_double() else ulps(20_000)


@pytest.mark.float64
def test_vector_springs_in_space():
    """Three dimensions, and three strains of each edge; motions projected out are the three translations."""
    network, task = ensemble("floating", shared=True, dimension=3, nodes=16, edges=70, law="vector")
    assert task.boundary.rows.shape[1] == 3
    found, statuses, residual = measured(network, task, jp.SparseCholesky.for_task(network, task))
    wanted, *_ = measured(network, task, jp.BorderedLU())
    for each, expected in zip(found, wanted, strict=True):
        if expected.size:
            assert_close(each, expected, relative=10 * tolerance())
    assert all((np.asarray(status) == 0).all() for status in statuses)
    assert float(residual.max()) < ulps(100)


def test_one_spring():
    """Pulled at one end, and pulled apart where it floats: F/k, and half of that at either end."""
    bond = jp.from_edges([(0, 1)], positions=[[0.0, 0.0], [2.0, 0.0]])
    spring = jp.SpringNetwork(bond, k=4.0)
    pull = jnp.array([-1.0, 0.0, 1.0, 0.0])
    floating = jp.Boundary(spring, free_modes="project")
    solver = jp.SparseCholesky(bond.edges, floating.rows, spring.strain_directions())
    state = equilibrate(spring, floating, pull, solver=solver)
    assert_close(state.x, [-0.125, 0.0, 0.125, 0.0], relative=ulps(20))
    assert int(state.status) == jp.Status.OK


def test_a_triangle():
    """A right angle grounded at its foot: the upright spring alone carries an upright force."""
    corners = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    edges = jp.from_edges([(0, 1), (1, 2), (0, 2)], positions=corners)
    network = jp.SpringNetwork(edges, k=jnp.array([3.0, 5.0, 2.0]))
    boundary = jp.Boundary(network, ground=[0, 1])
    solver = jp.SparseCholesky(edges.edges, boundary.rows, network.strain_directions())
    state = equilibrate(network, boundary, jnp.array([0.0, 0, 0, 0, 0, 1.0]), solver=solver)
    # The inclined spring must not stretch, so the tip moves sideways as far as up.
    assert_close(state.x, [0.0, 0, 0, 0, 0.5, 0.5], relative=ulps(20))


def test_parallel_edges_and_padding():
    """Springs side by side add up; an edge from a node to itself carries nothing."""
    network = springs(1)
    edges, positions = np.asarray(network.topology.edges), np.asarray(network.topology.positions)
    topology = jp.from_edges(np.concatenate([edges, edges[:1, ::-1]]), positions=positions).padded(55)
    doubled = jp.SpringNetwork(topology, jnp.concatenate([network.k, network.k[:3]]))
    task = task_on(doubled, "floating")
    found = respond(doubled, task, solver=jp.SparseCholesky.for_task(doubled, task))
    wanted = respond(network.with_k(network.k.at[0].mul(2)), task, solver=jp.BorderedLU())
    assert_close(found.drive, wanted.drive, relative=tolerance())


@pytest.mark.float64
def test_more_realizations_than_a_chunk():
    """Seventy on one graph are chunks, filled up; each comes out as it does alone."""
    network = springs(2)
    task = task_on(network, "floating")
    solver = jp.SparseCholesky.for_task(network, task)
    assert solver.chunk <= 64
    k = network.k * jnp.linspace(0.5, 1.5, 70, dtype=network.k.dtype)[:, None]
    gradient = eqx.filter_jit(lambda k, s: jp.ExactGradient()(network.with_k(k), task, solver=s).gradient)
    together = jax.vmap(lambda k: gradient(k, solver))(k)
    for i in (0, 63, 64, 69):
        assert_close(together[i], gradient(k[i], jp.BorderedLU()), relative=tolerance())


@pytest.mark.float64
def test_second_derivatives():
    network = springs(3, nodes=6, edges=12)
    task = task_on(network, "floating")

    def hessian(solver):
        return jax.jit(jax.hessian(lambda k: jp.task_cost(network.with_k(k), task, solver=solver)))(network.k)

    assert_close(
        hessian(jp.SparseCholesky.for_task(network, task)),
        hessian(jp.BorderedLU()),
        relative=10 * tolerance(),
    )


def test_an_ill_conditioned_network_is_told():
    """A node between two others, as good as in line with them: what holds it sideways cancels."""
    along, across = np.array([np.cos(0.5), np.sin(0.5)]), np.array([-np.sin(0.5), np.cos(0.5)])
    for offset, expected in ((0.5, jp.Status.OK), (1e-6 if is_double() else 2e-3, jp.Status.INACCURATE)):
        bonds = jp.from_edges([(0, 2), (1, 2)], positions=[-along, along, offset * across])
        network = jp.SpringNetwork(bonds, jnp.array([1.0, 3.0]))
        boundary = jp.Boundary(network, ground=[0, 1])
        task = jp.Task(boundary, force=np.eye(6)[4:], readout=np.eye(6)[4:5], targets=np.zeros((2, 1)))
        assert (
            int(respond(network, task, solver=jp.SparseCholesky.for_task(network, task)).status) == expected
        )


@pytest.mark.float64
def test_what_cannot_be_planned():
    network = springs(0)
    drops = jp.Boundary(network, held_drops=[(0, 1)], free_modes="project")
    assert_refused(
        "rows",
        jp.SparseCholesky,
        network.topology.edges,
        drops.rows,
        network.strain_directions(),
        saying="use `Dense`",
    )


@pytest.mark.float64
def test_which_solver_is_chosen():
    """By the work that there is, how sparse a graph is, and what a boundary holds."""
    network, task = springs(0), task_on(springs(0), "floating")
    assert isinstance(jp.choose_solver(network, task), jp.Dense)
    large = springs(1, nodes=40, edges=120)
    many, tasks = jp.stack([large] * 20), jp.stack([task_on(large, "floating")] * 20)
    assert isinstance(jp.choose_solver(many, tasks), jp.SparseCholesky)
    drop = jp.Boundary(large, held_drops=[(0, 1)], free_modes="project")
    pulled = jp.allostery(large, drop, [], [(5, 6)], response=0.1)
    assert isinstance(jp.choose_solver(many, jp.stack([pulled] * 20)), jp.Dense)
    complete = np.stack(np.triu_indices(40, k=1), axis=1)
    crowd = jp.SpringNetwork(jp.from_edges(complete, positions=np.random.default_rng(0).random((40, 2))))
    crowded = jp.stack([crowd] * 20), jp.stack([task_on(crowd, "floating")] * 20)
    assert isinstance(jp.choose_solver(*crowded), jp.Dense)


@pytest.mark.float64
def test_training_and_one_compilation():
    """The same course as with the reference; other numbers on the same graph compile nothing anew."""
    network, task = ensemble("floating", shared=True)
    solver = jp.SparseCholesky.for_task(network, task)
    runs = [
        jp.train(network, task, steps=20, optimizer=jp.Descent(adaptive=jp.AdaptiveStep(0.1)), solver=each)
        for each in (solver, jp.BorderedLU())
    ]
    assert_close(runs[0].network.k, runs[1].network.k, relative=10 * tolerance())
    traces = []

    @eqx.filter_jit
    def counted(network, task, solver):
        traces.append(1)
        return jax.vmap(lambda network, task: jp.respond(network, task, solver=solver).outputs)(network, task)

    counted(network, task, solver)
    counted(network.with_k(2 * network.k), task, jp.SparseCholesky.for_task(network, task))
    assert len(traces) == 1
