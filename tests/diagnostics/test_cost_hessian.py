"""Factors, products and modes of the cost Hessian against the dense matrices of automatic differentiation."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_refused, ulps
from systems import certified_systems

import jaxphys as jp
from jaxphys import diagnostics

# One boundary of each kind and one network of each kind.
SYSTEMS = [certified_systems(3)[i] for i in (0, 6, 12, 18, 24)]
NAMES = [f"{system.network_name}-{system.boundary_name}" for system in SYSTEMS]


lanczos = eqx.filter_jit(diagnostics.cost_hessian_modes)


@eqx.filter_jit
def measured(network, task, key):
    """All closed forms of a task, and all modes, by as many Lanczos iterations as there are edges."""
    vector = jnp.cos(jnp.arange(network.num_edges, dtype=network.k.dtype))
    return {
        "exact": diagnostics.cost_hessian(network, task),
        "factor": diagnostics.gauss_newton_factor(network, task),
        "stiff": diagnostics.stiff_modes(network, task, 3),
        "product": diagnostics.cost_hessian_product(network, task, vector),
        "modes": diagnostics.cost_hessian_modes(
            network, task, network.num_edges, key, num_iterations=network.num_edges
        ),
    }


@eqx.filter_jit
def by_automatic_differentiation(network, task):
    """The exact Hessian, and the Gauss-Newton matrix from the Jacobian of the outputs, through the LU."""
    solver = jp.BorderedLU()
    exact = diagnostics.cost_hessian_autodiff(network, task, solver=solver)
    slopes = jax.jacfwd(lambda k: jp.respond(network.with_k(k), task, solver=solver).outputs)(network.k)
    curvatures = task.cost_curvatures(jp.respond(network, task, solver=solver).outputs)
    return exact, task.sample_weight * jnp.einsum("roi,rop,rpj->ij", slopes, curvatures, slopes)


def assert_modes(found, matrix, relative):
    """Eigenvalues are the largest of `matrix`, descending; modes are orthonormal and solve the equation."""
    count, scale = len(found.eigenvalues), np.abs(matrix).max()
    assert_close(found.eigenvalues, np.linalg.eigvalsh(matrix)[::-1][:count], relative=relative)
    assert_close(found.modes @ found.modes.T, np.eye(count), relative=relative)
    gaps = matrix @ found.modes.T - found.eigenvalues * found.modes.T
    assert_close(gaps, np.zeros_like(gaps), relative=relative, scale=scale)
    assert_close(found.residuals, np.zeros(count), relative=relative, scale=scale)


@pytest.mark.float64
@pytest.mark.parametrize("system", SYSTEMS, ids=NAMES)
def test_closed_forms_equal_the_dense_matrices(system):
    network, task = system.network, system.task
    found = measured(network, task, jax.random.key(1))
    exact, gauss_newton = map(np.asarray, by_automatic_differentiation(network, task))
    assert_close(found["exact"], exact, relative=1e-10)
    # Three terminals and two outputs: six rows, however many samples.
    assert found["factor"].shape == (6, network.num_edges)
    assert_close(found["factor"].T @ found["factor"], gauss_newton, relative=1e-10)
    assert_modes(found["stiff"], gauss_newton, 1e-10)
    assert_close(found["product"], exact @ np.cos(np.arange(network.num_edges)), relative=1e-10)
    assert_modes(found["modes"], exact, 1e-10)


@pytest.mark.float64
def test_lanczos_residuals_say_what_has_converged():
    """Five iterations do not reach the third mode; every residual bounds the distance to an eigenvalue."""
    system = SYSTEMS[1]
    network, task = system.network, system.task
    found = lanczos(network, task, 3, jax.random.key(1), num_iterations=5)
    exact, _ = map(np.asarray, by_automatic_differentiation(network, task))
    gaps = np.linalg.norm(exact @ found.modes.T - found.eigenvalues * found.modes.T, axis=0)
    assert_close(found.residuals, gaps, relative=1e-10)
    eigenvalues = np.linalg.eigvalsh(exact)
    distances = np.abs(eigenvalues - np.asarray(found.eigenvalues)[:, None]).min(axis=1)
    assert (distances <= found.residuals + 1e-12 * eigenvalues[-1]).all()
    assert found.residuals[2] > 1e-3 * eigenvalues[-1]
    assert_close(found.eigenvalues[0], eigenvalues[-1], relative=1e-2)


def test_an_ensemble_equals_its_members():
    """Three graphs with conductances of their own, in either precision."""
    draw, boundary = np.random.default_rng(4), {"held_nodes": [3, 4], "ground": [0]}
    networks, tasks = [], []
    for key in jax.random.split(jax.random.key(5), 3):
        network = jp.FlowNetwork(jp.erdos_renyi(9, 14, key), k=draw.uniform(0.5, 2.0, 14))
        inputs, matrix = draw.standard_normal((7, 2)), draw.standard_normal((2, 2))
        tasks.append(
            jp.regression(network, jp.Boundary(network, **boundary), [], [1, 2], matrix=matrix, inputs=inputs)
        )
        networks.append(network)
    keys = jax.random.split(jax.random.key(6), 3)
    together = jax.jit(jax.vmap(measured))(jp.stack(networks), jp.stack(tasks), keys)
    for i in range(3):
        alone = measured(networks[i], tasks[i], keys[i])
        exact = np.asarray(alone["exact"])
        assert_modes(alone["modes"], exact, ulps(1e3))
        for name in ("exact", "factor", "product"):
            # The sign of a row of a factor is arbitrary.
            one, other = together[name][i], alone[name]
            one, other = (one.T @ one, other.T @ other) if name == "factor" else (one, other)
            assert_close(one, other, relative=ulps(1e3))
        for name in ("stiff", "modes"):
            assert_close(together[name].eigenvalues[i], alone[name].eigenvalues, relative=ulps(1e3))
            scale = float(np.abs(exact).max())
            for modes in (together[name].residuals[i], alone[name].residuals):
                assert_close(modes, np.zeros_like(modes), relative=ulps(1e3), scale=scale)


@pytest.mark.float64
def test_many_terminals_are_summed_sample_by_sample():
    """Two samples of three forces and three readouts: a row for every output of every sample, six in all."""
    matrix = np.random.default_rng(7).standard_normal((6, 6))
    network = jp.NodeNetwork.from_matrix(matrix @ matrix.T + 3 * np.eye(6))
    task = jp.random_linear(network, 3, jax.random.key(8))
    task = task.with_samples(task.inputs[:2], task.targets[:2], task.weights[:2])
    found = measured(network, task, jax.random.key(1))
    exact, gauss_newton = map(np.asarray, by_automatic_differentiation(network, task))
    assert found["factor"].shape == (6, 21)
    assert_close(found["exact"], exact, relative=1e-10)
    assert_close(found["factor"].T @ found["factor"], gauss_newton, relative=1e-10)
    # Two of the six rows are not zero.
    assert_modes(found["stiff"], gauss_newton, 1e-10)
    assert_close(found["stiff"].eigenvalues[2], np.zeros(()), relative=1e-14, scale=float(np.trace(exact)))


def two_bonds(**settings):
    network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2), (0, 2)]))
    boundary = jp.Boundary(network, ground=[2])
    return network, jp.Task(
        boundary, force=np.eye(3)[:1], readout=np.eye(3)[:2], targets=[[1.0, 2.0]], **settings
    )


def test_lanczos_goes_on_where_a_direction_leads_nowhere():
    """With one output that is right, the Hessian has rank one: two iterations see all that there is."""
    network, task = two_bonds()
    task = task.with_samples(task.inputs, jp.respond(network, task).outputs, jnp.array([[0.0, 1.0]]))
    found = lanczos(network, task, 3, jax.random.key(0))
    exact = np.asarray(eqx.filter_jit(diagnostics.cost_hessian)(network, task))
    assert np.linalg.matrix_rank(exact, tol=ulps(100)) == 1
    assert_modes(found, exact, ulps(1e3))


def test_a_cost_that_curves_down_has_no_gauss_newton_factor():
    network, task = two_bonds(cost=jp.CosineDistance())
    assert np.linalg.eigvalsh(task.cost_curvatures(jp.respond(network, task).outputs))[0, 0] < -0.01
    assert np.isnan(diagnostics.gauss_newton_factor(network, task)).all()


def test_numbers_of_modes_are_checked():
    network, task = two_bonds()
    stiff, modes = diagnostics.stiff_modes, diagnostics.cost_hessian_modes
    for count in (0, 3):
        assert_refused("num_modes", stiff, network, task, count, saying="between 1 and 2")
    key = jax.random.key(0)
    for count in (0, 4):
        assert_refused("num_modes", modes, network, task, count, key, saying="between 1 and 3")
    for count in (1, 4):
        assert_refused(
            "num_iterations", modes, network, task, 2, key, num_iterations=count, saying="between 2 and 3"
        )
