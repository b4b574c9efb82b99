"""Solving for equilibrium: transformations, implicit derivatives, and what the status says.

The fixture `case` is a network and all that is asked of it, from one compiled program; the tests
compare that with NumPy's solution of the whole bordered system.
"""

import re
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_identical, central_differences, ulps
from oracles import solve_bordered

import jaxphys as jp

equilibrate = eqx.filter_jit(jp.equilibrate)


def flow(seed=0):
    """A flow network with a ground, a held node and a held drop."""
    k = np.random.default_rng(seed).uniform(0.5, 2.0, 12)
    network = jp.FlowNetwork(jp.erdos_renyi(8, 12, jax.random.key(seed)), k=k)
    return network, jp.Boundary(network, held_nodes=[4], held_drops=[(2, 5)], ground=[0])


def springs(seed=0):
    """A spring network with projected rigid motions and no held rows."""
    k = np.random.default_rng(seed).uniform(0.5, 2.0, 6)
    topology = jp.erdos_renyi(4, 6, jax.random.key(seed), dimension=2, rigid=True)
    network = jp.SpringNetwork(topology, k=k)
    return network, jp.Boundary(network, free_modes="project")


def node(seed=0):
    """A positive definite node network with three held nodes."""
    w = np.random.default_rng(seed).normal(size=(8, 8))
    network = jp.NodeNetwork.from_matrix(w + w.T + 11 * np.eye(8))
    return network, jp.Boundary(network, held_nodes=[1, 4, 6])


def indefinite_node():
    """Eigenvalues 3, 1 and -1: LU does not mind, Cholesky must."""
    network = jp.NodeNetwork.from_matrix(np.array([[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    return network, jp.Boundary(network)


def drive(network, boundary, *batch):
    """Random forces and held values."""
    random = np.random.default_rng(11)
    force = random.normal(size=(*batch, network.num_coordinates))
    return jnp.asarray(force), jnp.asarray(random.normal(size=(*batch, boundary.num_held)))


def solution(network, boundary, solver):
    """State and reactions side by side, as a function of k, force and values."""

    def solve(k, force, values):
        state = jp.equilibrate(network.with_k(k), boundary, force, values, solver=solver)
        return jnp.concatenate([state.x, state.reaction])

    return solve


def scalar(solution, n, numpy=jnp):
    """Something with derivatives of every order."""
    return numpy.sum(numpy.sin(solution[:n])) + 0.1 * numpy.sum(solution[n:] ** 2)


@eqx.filter_jit
def measure(solver, network, boundary, force, values):
    """Batches, broadcasts, maps and derivatives; `force` and `values` have a leading axis of three."""

    def solve(*arguments):
        return jp.equilibrate(*arguments, solver=solver)

    point, of_point = (network.k, force[0], values[0]), solution(network, boundary, solver)
    n = network.num_coordinates
    return {
        "batch": solve(network, boundary, force, values),
        "broadcast": solve(network, boundary, force[:, None], values[None, :]),
        "mapped": jax.vmap(lambda f, v: solve(network, boundary, f, v))(force, values),
        "force alone": solve(network, boundary, force[0]),
        "values alone": solve(network, boundary, None, values[0]),
        "nothing": solve(network, boundary),
        "green": jp.greens_function(network, boundary, solver=solver),
        "stiffnesses": jax.vmap(lambda k: network.with_k(k).hessian())(jnp.eye(network.num_edges)),
        "jacobians": jax.jacrev(of_point, argnums=(0, 1, 2))(*point),
        "tangent": jax.jvp(of_point, point, point)[1],
        "second": jax.hessian(lambda k: scalar(of_point(k, *point[1:]), n))(network.k),
    }


class Case(NamedTuple):
    """A network and everything that `measure` finds, in NumPy."""

    network: jp.AbstractNetwork
    boundary: jp.Boundary
    force: np.ndarray
    values: np.ndarray
    found: dict[str, Any]

    @property
    def rows(self):
        return np.asarray(self.boundary.rows)

    def reference(self, k, force, values):
        """State and reactions by NumPy; the Hessian is linear in k."""
        hessian = np.tensordot(k, self.found["stiffnesses"], 1)
        return np.concatenate(solve_bordered(hessian, self.rows, force, values), axis=-1)

    @property
    def point(self):
        return np.asarray(self.network.k), self.force[0], self.values[0]


@pytest.fixture(scope="module", params=[flow, springs, node], ids=lambda build: build.__name__)
def both_solvers(request):
    """The same case by both solvers."""
    network, boundary = request.param()
    force, values = drive(network, boundary, 3)
    cases = {}
    for name, solver in {"dense": jp.Dense(), "bordered_lu": jp.BorderedLU()}.items():
        found = measure(solver, network, boundary, force, values)
        found = jax.tree.map(np.asarray, found)
        cases[name] = Case(network, boundary, np.asarray(force), np.asarray(values), found)
    return cases


@pytest.fixture(params=["dense", "bordered_lu"])
def case(both_solvers, request):
    return both_solvers[request.param]


def assert_state(state, expected):
    """A healthy state with these coordinates and reactions side by side."""
    assert_close(np.concatenate([state.x, state.reaction], axis=-1), expected, relative=ulps(500))
    assert state.residual.max() < ulps(50)
    assert not state.status.any()


def test_a_batch_is_its_right_hand_sides(case):
    """One factorisation, three columns; `vmap` over forces and values is the same."""
    expected = case.reference(case.point[0], case.force, case.values)
    for name in ("batch", "mapped"):
        assert_state(case.found[name], expected)
    assert case.found["batch"].status.shape == case.found["batch"].residual.shape == ()
    assert case.found["mapped"].status.shape == case.found["mapped"].residual.shape == (3,)


def test_leading_axes_broadcast(case):
    expected = [[case.reference(case.point[0], f, v) for v in case.values] for f in case.force]
    assert_state(case.found["broadcast"], np.array(expected))
    assert case.found["broadcast"].status.shape == ()


def test_what_is_left_out_is_zero(case):
    k, force, values = case.point
    assert_state(case.found["force alone"], case.reference(k, force, 0 * values))
    assert not case.found["nothing"].x.any()
    assert not case.found["nothing"].status.any()
    if values.size:
        assert_state(case.found["values alone"], case.reference(k, 0 * force, values))


def test_jit_agrees_with_a_plain_call(solver):
    network, boundary = flow()
    force, values = drive(network, boundary, 3)
    plain = jp.equilibrate(network, boundary, force, values, solver=solver)
    jitted = equilibrate(network, boundary, force, values, solver=solver)
    assert_close(jitted.x, plain.x, relative=ulps(200))
    assert_close(jitted.reaction, plain.reaction, relative=ulps(200))
    assert_identical(jitted.status, plain.status)


def test_the_default_solver_is_dense():
    network, boundary = flow()
    force, values = drive(network, boundary, 3)
    default = equilibrate(network, boundary, force, values)
    assert_identical(default, equilibrate(network, boundary, force, values, solver=jp.Dense()))
    assert not np.array_equal(
        default.x, equilibrate(network, boundary, force, values, solver=jp.BorderedLU()).x
    )


def test_the_state_minimises_the_energy(case, random):
    """Any other state with the same held values has more energy `E - F·x`, by half its stiffness."""
    hessian = np.tensordot(case.point[0], case.found["stiffnesses"], 1)
    x, force = case.found["batch"].x[0], case.force[0]
    _, singular, right = np.linalg.svd(case.rows)
    moves = random.normal(size=(20, len(x) - len(singular))) @ right[len(singular) :]

    def energies(states):
        return 0.5 * np.einsum("ra,ab,rb->r", states, hessian, states) - states @ force

    excess = energies(x + moves) - energies(x[None])
    assert_close(excess, 0.5 * np.einsum("ra,ab,rb->r", moves, hessian, moves), relative=ulps(1e3))
    assert excess.min() > 0


def test_greens_function(case):
    """Symmetric, obeys the held rows, and each column is the response to a unit force."""
    green = case.found["green"]
    n = len(green)
    expected = case.reference(case.point[0], np.eye(n), np.zeros((n, case.values.shape[1])))[:, :n].T
    assert_close(green, expected, relative=ulps(500))
    assert_close(green, green.T, relative=ulps(200))
    nothing = np.zeros((len(case.rows), n))
    assert_close(case.rows @ green, nothing, relative=ulps(200), scale=np.abs(green).max())


@pytest.mark.float64
def test_first_derivatives_are_finite_differences(case):
    """By k, force and values, in reverse and forward mode."""
    point, forward = case.point, 0
    for number, jacobian in enumerate(case.found["jacobians"]):
        if point[number].size:

            def shifted(value, number=number):
                return case.reference(*point[:number], value, *point[number + 1 :])

            assert_close(jacobian, central_differences(shifted, point[number], 1e-3), relative=1e-9)
            forward = forward + jacobian @ point[number]
    assert_close(case.found["tangent"], forward, relative=1e-12)


@pytest.mark.float64
def test_second_derivatives_are_finite_differences(case):
    """Curvature of a scalar of the state along random directions in k."""
    k, *others = case.point
    step = 3e-3
    directions = np.random.default_rng(5).normal(size=(4, len(k)))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    curvatures = []
    for direction in directions:
        line = k + step * np.arange(-2, 3)[:, None] * direction
        along = [scalar(case.reference(each, *others), len(others[0]), np) for each in line]
        curvatures.append(np.dot([-1, 16, -30, 16, -1], along) / (12 * step**2))
    expected = np.einsum("di,ij,dj->d", directions, case.found["second"], directions)
    assert_close(curvatures, expected, relative=1e-6)


def test_second_derivatives_of_the_two_solvers_agree(both_solvers):
    dense, plain = (both_solvers[name].found["second"] for name in ("dense", "bordered_lu"))
    assert_close(dense, plain, relative=ulps(5e3))
    assert_close(dense, dense.T, relative=ulps(5e3))


def test_the_backward_pass_reuses_the_factors(solver):
    """A gradient, even a second one, factors as often as the solution itself."""
    network, boundary = flow()
    solve, other = solution(network, boundary, solver), drive(network, boundary)

    def value(k):
        return scalar(solve(k, *other), network.num_coordinates)

    def factorisations(function):
        return re.findall(r"= (cholesky|lu)\b", str(jax.make_jaxpr(function)(network.k)))

    # The reference LU has a Cholesky factorisation beside it to tell whether the system is definite.
    expected = ["cholesky"] if isinstance(solver, jp.Dense) else ["lu", "cholesky"]
    assert factorisations(value) == expected
    assert factorisations(jax.grad(value)) == expected
    assert factorisations(jax.hessian(value)) == expected


def test_an_indefinite_hessian_is_marked(random):
    network, boundary = indefinite_node()
    force = jnp.asarray(random.normal(size=3))
    state = equilibrate(network, boundary, force, solver=jp.Dense())
    assert int(state.status) == jp.Status.NOT_POSITIVE_DEFINITE
    assert np.isnan(state.x).all()
    # The reference solver finds the saddle point, and says that it is one.
    saddle = equilibrate(network, boundary, force, solver=jp.BorderedLU())
    assert int(saddle.status) == jp.Status.NOT_POSITIVE_DEFINITE
    assert_close(saddle.x, np.linalg.solve(np.asarray(network.hessian()), force), relative=ulps(50))


def test_a_hessian_need_only_be_definite_where_it_is_free(solver):
    """Holding the unstable direction makes the indefinite network stable."""
    network, _ = indefinite_node()
    boundary = jp.Boundary(network, held_nodes=[0])
    state = equilibrate(network, boundary, jnp.array([0.0, 3.0, 1.0]), jnp.ones(1), solver=solver)
    assert int(state.status) == jp.Status.OK
    # x₀ = 1, so 2 x₀ + x₁ = 3 and x₂ = 1; the held node feels x₀ + 2 x₁.
    assert_close(state.x, [1.0, 1.0, 1.0], relative=ulps(50))
    assert_close(state.reaction, [-3.0], relative=ulps(50))


def test_nan_in_a_held_value_is_marked(solver):
    network, boundary = flow()
    force, values = drive(network, boundary)
    state = equilibrate(network, boundary, force, values.at[1].set(jnp.nan), solver=solver)
    assert int(state.status) == jp.Status.NOT_FINITE
    assert not np.isfinite(state.x).all()


def test_an_inaccurate_solution_is_marked():
    """Digits are lost where a solver cannot hold them: a wrong factor shows in the residual."""

    class Sloppy(jp.solvers.AbstractSolver):
        is_relative = False

        def factor(self, hessian, constraints):
            return jp.Dense().factor(1.001 * hessian, constraints)

        def solve(self, factors, *system):
            return jp.Dense().solve(factors, *system)

        def is_definite(self, factors):
            return jp.Dense().is_definite(factors)

    network, boundary = springs()
    force, _ = drive(network, boundary)
    state = equilibrate(network, boundary, force, solver=Sloppy())
    assert float(state.residual) > 1e-5
    assert int(state.status) == (jp.Status.INACCURATE if force.dtype == np.float64 else jp.Status.OK)


@pytest.mark.parametrize("case", [springs, flow], ids=lambda case: case.__name__)
def test_residual_is_a_backward_error(case, solver):
    """Independent of the units of forces and of stiffnesses, and at rounding level."""
    network, boundary = case()
    force, values = drive(network, boundary)
    for size in (1e-9, 1.0, 1e9):
        softer = network.with_k(network.k * size)
        state = equilibrate(softer, boundary, 1e-6 * size * force, 1e-6 * values, solver=solver)
        assert 0 <= float(state.residual) < ulps(50)
        assert int(state.status) == jp.Status.OK


def test_a_force_along_a_projected_motion_moves_nothing(solver):
    """Balanced evenly, a uniform force leaves the zero state, and that is no failure."""
    network, boundary = springs()
    uniform = jnp.tile(jnp.array([0.6, 0.8]), 4)
    state = equilibrate(network, boundary, uniform, solver=solver)
    assert_close(state.x, np.zeros(8), relative=ulps(100), scale=1.0)
    assert_close(np.linalg.norm(state.reaction), 2.0, relative=ulps(100))
    assert int(state.status) == jp.Status.OK


def test_boundary_rows_come_in_order():
    """Held nodes, held drops, grounds, free motions; only the first two take values."""
    network, _ = flow()
    boundary = jp.Boundary(network, held_nodes=[4, 1], held_drops=[(2, 5)], ground=[0])
    expected = np.zeros((4, 8))
    expected[0, 4] = expected[1, 1] = expected[2, 2] = expected[3, 0] = 1
    expected[2, 5] = -1
    assert_identical(boundary.rows, jnp.asarray(expected))
    assert boundary.num_held == 3
    floating = jp.Boundary(network, held_drops=[(2, 5)], free_modes="project")
    assert floating.num_held == 1
    assert_close(floating.rows[1], np.full(8, 8**-0.5), relative=ulps(4))


def test_projection_is_only_of_what_nothing_holds():
    """`free_modes="project"` adds nothing where the ground holds already, and what it adds no row sees."""
    network, _ = flow()
    held = jp.Boundary(network, ground=[0], free_modes="project")
    assert_identical(held, jp.Boundary(network, ground=[0]))
    network, _ = springs()
    rows = np.asarray(jp.Boundary(network, ground=[0], free_modes="project").rows)
    assert rows.shape == (3, 8)
    # Two translations are held by node 0; what is left turns about it.
    assert_close(rows[2, :2], np.zeros(2), relative=ulps(20), scale=1.0)
    positions = np.asarray(network.topology.positions)
    turn = np.stack([-(positions - positions[0])[:, 1], (positions - positions[0])[:, 0]], axis=1).ravel()
    assert_close(abs(rows[2] @ turn), np.linalg.norm(turn), relative=ulps(50))


@pytest.mark.float64
def test_a_large_column_hides_no_doubt_about_a_small_one(solver, monkeypatch):
    """A wire sixteen decades better than those at its ends is beyond all digits; a soft leaf is not.

    What the factorisation lost is left out here: it would mark both.
    """
    monkeypatch.setattr(jp.solvers.dense, "pivot_error_bound", lambda lower, terms: jnp.zeros(()))
    network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2), (2, 3), (3, 4)]), k=[1.3, 1e16, 1.2, 1e-10])
    boundary = jp.Boundary(network, held_nodes=[0], ground=[3])
    force, values = jnp.zeros((2, 5)).at[0, 4].set(1.0), jnp.array([[0.0], [1.0]])
    leaf = jp.equilibrate(network, boundary, force[:1], values[:1], solver=solver)
    assert_close(leaf.x[0, 4:], np.array([1e10]), relative=ulps(10))
    assert jp.Status(int(leaf.status)) is jp.Status.OK
    both = jp.equilibrate(network, boundary, force, values, solver=solver)
    assert jp.Status(int(both.status)) is jp.Status.INACCURATE
    # The same where a task puts them side by side, the leaf being read and the wires driven.
    task = jp.Task(boundary, values=[[1.0]], readout=np.eye(5)[4:], targets=[[0.5]])
    response = jp.respond(network, task, solver=solver)
    assert jp.Status(int(response.status)) is jp.Status.INACCURATE


def test_a_network_of_nothing_follows_what_holds_it(solver):
    """Where H is zero and every node is held nothing is left to be wrong."""
    network = jp.NodeNetwork([0.0, 0.0, 0.0])
    boundary = jp.Boundary(network, held_nodes=[0], ground=[1])
    state = jp.equilibrate(network, boundary, values=jnp.array([2.0]), solver=solver)
    assert state.x.tolist() == [2.0, 0.0]
    assert jp.Status(int(state.status)) is jp.Status.OK


@pytest.mark.float64
@pytest.mark.parametrize("name", ["dense", "bordered_lu", "sparse_cholesky"])
def test_digits_that_were_lost_in_the_hessian_are_told(name):
    """Powers of two are eliminated without an error; what was added to one was cut off before that."""
    network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2), (2, 3)]), k=[8.3, 2.0**43, 4.1])
    boundary = jp.Boundary(network, held_nodes=[0], ground=[3])
    solver = {"dense": jp.Dense(), "bordered_lu": jp.BorderedLU()}.get(name)
    if solver is None:
        solver = jp.SparseCholesky(network.topology.edges, boundary.rows, network.strain_directions())
    state = jp.equilibrate(network, boundary, values=jnp.array([1.0]), solver=solver)
    assert abs(float(state.x[1]) - 8.3 / 12.4) > 1e-6
    assert jp.Status(int(state.status)) is jp.Status.INACCURATE
    # By drops and means the same digits are lost where entries of H meet.
    network = jp.FlowNetwork(jp.from_edges([(1, 2), (2, 0)]), k=[8.0, 1e200])
    floating = jp.Boundary(network, held_drops=[(0, 2)], free_modes="project")
    if name != "sparse_cholesky":
        state = jp.equilibrate(network, floating, jnp.array([1.0, -1.0, 0.0]), solver=solver)
        assert jp.Status(int(state.status)) is jp.Status.INACCURATE
