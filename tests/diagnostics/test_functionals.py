"""Diagnostics against eigendecompositions, automatic differentiation, analytic systems and sampling."""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_refused, type_checks_off, ulps
from systems import certified_systems

import jaxphys as jp
from jaxphys import diagnostics

# One boundary of each kind, one network of each kind, and a flow and a spring network more.
SYSTEMS = [certified_systems(3)[i] for i in (0, 6, 12, 18, 24, 7, 13)]
NAMES = [f"{system.network_name}-{system.boundary_name}" for system in SYSTEMS]


def two_bonds():
    """A chain of two unit conductances: modes of the floating chain have eigenvalues 0, 1 and 3."""
    network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]))
    return network, jp.Boundary(network, free_modes="project")


def test_spectrum_of_a_chain():
    network, boundary = two_bonds()
    found = diagnostics.spectrum(network, boundary)
    assert_close(found.eigenvalues, np.array([1.0, 3.0]), relative=ulps(100))
    softest = np.array([1.0, 0.0, -1.0]) / np.sqrt(2)
    assert_close(np.abs(np.asarray(found.modes[0]) @ softest), np.ones(()), relative=ulps(100))


@pytest.mark.float64
@pytest.mark.parametrize("system", SYSTEMS, ids=NAMES)
def test_modes_diagonalise_the_hessian_where_it_is_free(system):
    network, boundary = system.network, system.task.boundary
    values, modes = diagnostics.spectrum(network, boundary)
    assert modes.shape == (network.num_coordinates - len(boundary.rows), network.num_coordinates)
    assert_close(modes @ network.hessian() @ modes.T, jnp.diag(values), relative=1e-12)
    assert_close(modes @ modes.T, jnp.eye(len(values)), relative=1e-12)
    if len(boundary.rows):
        assert_close(
            boundary.rows @ modes.T, np.zeros((len(boundary.rows), len(values))), relative=1e-12, scale=1
        )
    assert_close(diagnostics.eigenvalues(network, boundary), values, relative=1e-12)


@pytest.mark.float64
@pytest.mark.parametrize("system", SYSTEMS, ids=NAMES)
def test_conductance_and_dimension_follow_the_spectrum(system):
    network, boundary = system.network, system.task.boundary
    inverse = np.asarray(diagnostics.eigenvalues(network, boundary)) ** -2.0
    m = len(inverse)
    law = inverse.sum() ** 2 / (3 * (inverse**2).sum())
    assert_close(
        diagnostics.effective_conductance(network, boundary), np.sqrt(inverse.mean()), relative=1e-10
    )
    assert_close(diagnostics.effective_dimension(network, boundary), law, relative=1e-9)
    unit = diagnostics.effective_dimension(network, boundary, forces="unit")
    assert_close(unit, law * (m + 2) / m, relative=1e-9)


def test_one_soft_mode_alone_has_a_third_of_a_dimension():
    network = jp.NodeNetwork.from_matrix(np.diag([1e-6, 1.0, 1.0, 1.0]))
    boundary = jp.Boundary(network)
    assert_close(diagnostics.effective_dimension(network, boundary), np.array(1 / 3), relative=1e-5)
    unit = diagnostics.effective_dimension(network, boundary, forces="unit")
    assert_close(unit, np.array(6 / 12), relative=1e-5)


def test_equal_modes_have_known_averages():
    """With all eigenvalues equal a unit force gets a response of norm 1/λ, and D_m has a known mean."""
    network = jp.NodeNetwork.from_matrix(2.0 * np.eye(5))
    boundary, key = jp.Boundary(network), jax.random.key(0)
    norms = diagnostics.effective_conductance_monte_carlo(network, boundary, key, num_forces=10)
    assert_close(norms, np.array(0.5), relative=ulps(100))
    # D_m = 1 / Σ u⁴ over the unit sphere, sampled independently here.
    directions = np.random.default_rng(1).standard_normal((400_000, 5))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    expected = np.mean(1 / (directions**4).sum(axis=1))
    found = diagnostics.participation_ratio(network, boundary, key, num_forces=100_000)
    assert_close(found, expected, relative=0.01)


def test_monte_carlo_agrees_with_the_laws():
    network, boundary = two_bonds()
    key = jax.random.key(2)
    for forces in ("gaussian", "unit"):
        law = diagnostics.effective_dimension(network, boundary, forces=forces)
        sampled = diagnostics.effective_dimension_monte_carlo(
            network, boundary, key, num_forces=100_000, forces=forces
        )
        assert_close(sampled, law, relative=0.03)
    rms = diagnostics.effective_conductance(network, boundary)
    mean = diagnostics.effective_conductance_monte_carlo(network, boundary, key, num_forces=10_000)
    assert 0.8 * float(rms) < float(mean) < float(rms)


@pytest.mark.parametrize("system", SYSTEMS[:3], ids=NAMES[:3])
def test_alignments_are_direction_cosines(system):
    network, task = system.network, system.task
    modes = np.asarray(diagnostics.spectrum(network, task.boundary).modes)
    forces = np.asarray(task.inputs @ task.force)
    inside = forces @ modes.T
    expected = np.abs(inside / np.linalg.norm(inside, axis=1, keepdims=True)).T
    assert_close(diagnostics.force_alignment(network, task), expected, relative=ulps(1e4))
    alignment = diagnostics.response_alignment(network, task)
    assert alignment.shape == (len(modes), task.num_samples)
    assert_close(jnp.sum(alignment**2, axis=0), np.ones(task.num_samples), relative=ulps(1e4))


def test_a_mode_is_aligned_with_the_force_along_it():
    network, boundary = two_bonds()
    modes = diagnostics.spectrum(network, boundary).modes
    task = jp.Task(boundary, force=modes[1:], readout=np.eye(3)[:1], targets=[[1.0]])
    assert_close(diagnostics.force_alignment(network, task)[:, 0], np.array([0.0, 1.0]), relative=ulps(100))
    assert_close(
        diagnostics.response_alignment(network, task)[:, 0], np.array([0.0, 1.0]), relative=ulps(100)
    )


@pytest.mark.float64
@pytest.mark.parametrize("system", SYSTEMS[:2], ids=NAMES[:2])
def test_cost_hessian_equals_autodiff(system):
    """The certificate does this for every kind of network and boundary."""
    network, task = system.network, system.task
    closed = diagnostics.cost_hessian(network, task)
    oracle = eqx.filter_jit(diagnostics.cost_hessian_autodiff)(network, task, solver=jp.BorderedLU())
    assert_close(closed, oracle, relative=1e-10)


@pytest.mark.float64
def test_gauss_newton_is_exact_once_learned_and_not_before():
    system = SYSTEMS[1]
    network, task = system.network, system.task
    learned = task.with_samples(task.inputs, jp.respond(network, task).outputs, task.weights)
    exact = diagnostics.cost_hessian(network, learned)
    assert_close(diagnostics.cost_hessian(network, learned, kind="gauss_newton"), exact, relative=1e-10)
    rough = diagnostics.cost_hessian(network, task, kind="gauss_newton")
    full = diagnostics.cost_hessian(network, task)
    assert float(jnp.abs(rough - full).max()) > 1e-3 * float(jnp.abs(full).max())
    assert np.linalg.matrix_rank(rough, tol=1e-10 * np.abs(rough).max()) <= task.num_samples * 2


# Type checks of the test suite would see a wrong literal first: unwrapped functions check for themselves.
def test_kind_of_cost_hessian_is_checked():
    system = SYSTEMS[0]
    assert_refused(
        "kind", inspect.unwrap(diagnostics.cost_hessian), system.network, system.task, kind="newton"
    )


def test_forces_are_checked():
    network, boundary = two_bonds()
    with type_checks_off():
        assert_refused("forces", diagnostics.effective_dimension, network, boundary, forces="gauss")
    refused = diagnostics.participation_ratio
    assert_refused("num_forces", refused, network, boundary, jax.random.key(0), num_forces=0)


@pytest.mark.parametrize("name", sorted(diagnostics.FUNCTIONALS))
def test_functionals_batch_and_compile(name):
    functional = diagnostics.FUNCTIONALS[name]
    network, boundary = two_bonds()
    task = jp.allostery(network, boundary, [0], [2], response=0.1)
    alone = functional(network, task)
    together = jax.jit(jax.vmap(functional))(jp.stack([network] * 3), jp.stack([task] * 3))
    assert_close(together[1], alone, relative=ulps(1e4))
