"""Susceptibility against automatic differentiation, for every kind of network and boundary."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_refused
from systems import certified_systems

import jaxphys as jp
from jaxphys import diagnostics

pytestmark = pytest.mark.float64

# Every kind of network, and every boundary of one of them.
SYSTEMS = [certified_systems(3)[i] for i in (0, 2, 7, 9, 12, 18, 24)]
NAMES = [f"{system.network_name}-{system.boundary_name}" for system in SYSTEMS]
ONE_STRAIN = [
    pair for pair in zip(SYSTEMS, NAMES, strict=True) if pair[0].network_name in ("flow", "spring 2-D")
]


def bordered_inverse(network, boundary, k):
    """The inverse of `[[H, Cᵀ], [C, 0]]`, as it is printed."""
    rows = boundary.rows
    corner = jnp.zeros((len(rows), len(rows)))
    return jnp.linalg.inv(jnp.block([[network.with_k(k).hessian(), rows.T], [rows, corner]]))


@eqx.filter_jit
def slopes(network, boundary):
    return jax.jacobian(partial(bordered_inverse, network, boundary))(network.k)


@pytest.mark.parametrize("system", [pair[0] for pair in ONE_STRAIN], ids=[pair[1] for pair in ONE_STRAIN])
def test_vectors_are_the_derivative_of_the_response(system):
    network, boundary = system.network, system.task.boundary
    derivative = np.asarray(slopes(network, boundary))
    vectors = np.asarray(diagnostics.susceptibility_vectors(network, boundary, border=True))
    assert_close(-np.einsum("ia,ib->abi", vectors, vectors), derivative, relative=1e-10)
    n = network.num_coordinates
    assert_close(diagnostics.susceptibility_vectors(network, boundary), vectors[:, :n], relative=1e-10)


@pytest.mark.parametrize("system", SYSTEMS, ids=NAMES)
def test_norms_are_those_of_the_derivative(system):
    network, boundary = system.network, system.task.boundary
    n = network.num_coordinates
    derivative = np.asarray(slopes(network, boundary))[:n, :n]
    wanted = np.sqrt(np.sum(derivative**2, axis=(0, 1)))
    assert_close(diagnostics.susceptibility(network, boundary), wanted, relative=1e-10)


@pytest.mark.parametrize("system", SYSTEMS, ids=NAMES)
def test_all_modes_make_the_whole(system):
    network, boundary = system.network, system.task.boundary
    size = network.num_coordinates + len(boundary.rows)
    found = diagnostics.partial_susceptibility(network, boundary, [0, size // 2, size])
    whole = diagnostics.susceptibility(network, boundary)
    assert_close(found[-1], whole, relative=1e-9)
    assert (np.asarray(found[0]) == 0).all()
    assert np.abs(found[1] - whole).max() > 1e-3 * np.max(whole)


def test_partial_sums_take_the_softest_modes_first():
    system = SYSTEMS[3]
    network, boundary = system.network, system.task.boundary
    matrix = np.linalg.inv(np.asarray(bordered_inverse(network, boundary, network.k)))
    values, modes = np.linalg.eigh(matrix)
    chosen = np.argsort(np.abs(values))[:4]
    n = network.num_coordinates
    partly = (modes[:n, chosen] / values[chosen]) @ modes[:n, chosen].T
    edges = np.asarray(network.topology.edges)
    wanted = np.sum((partly[edges[:, 0]] - partly[edges[:, 1]]) ** 2, axis=1)
    assert_close(diagnostics.partial_susceptibility(network, boundary, [4])[0], wanted, relative=1e-9)


def test_a_number_that_cuts_through_equal_modes_takes_the_same_of_each(random):
    """A ring of equal bonds: its edges are alike, whatever basis rounding finds for its pairs of modes."""
    order = random.permutation(6).tolist()
    ring = jp.FlowNetwork(jp.from_edges([(order[i], order[(i + 1) % 6]) for i in range(6)]))
    boundary = jp.Boundary(ring, free_modes="project")
    found = np.asarray(diagnostics.partial_susceptibility(ring, boundary, range(8)))
    assert_close(found, np.repeat(found[:, :1], 6, axis=1), relative=1e-12)
    assert_close(found[-1], diagnostics.susceptibility(ring, boundary), relative=1e-12)


def test_spectral_form():
    """Guzman et al. (2024), eq. 20, with the modes of the grounded Hessian."""
    network = next(system.network for system in SYSTEMS if system.network_name == "flow")
    boundary = jp.Boundary(network, ground=[0])
    values, modes = diagnostics.spectrum(network, boundary)
    drops = np.asarray(network.strains(modes))[..., 0]
    wanted = np.sum((drops / np.asarray(values)[:, None]) ** 2, axis=0)
    assert_close(diagnostics.susceptibility(network, boundary), wanted, relative=1e-11)


@pytest.mark.parametrize("system", SYSTEMS, ids=NAMES)
def test_contraction_with_the_task_is_the_cost_hessian(system):
    network, task = system.network, system.task
    contraction = diagnostics.susceptibility_cost_hessian(network, task)
    assert_close(contraction, diagnostics.cost_hessian(network, task, kind="gauss_newton"), relative=1e-10)


def test_at_zero_cost_it_is_the_exact_hessian():
    network, task = SYSTEMS[2].network, SYSTEMS[2].task
    learned = task.with_samples(task.inputs, jp.respond(network, task).outputs, task.weights)
    contraction = diagnostics.susceptibility_cost_hessian(network, learned)
    assert_close(contraction, diagnostics.cost_hessian(network, learned), relative=1e-9)


@pytest.mark.parametrize("cost", [jp.CosineDistance(), jp.CrossEntropy(3.0)])
def test_any_differentiable_cost(cost):
    system = SYSTEMS[2]
    task = eqx.tree_at(lambda task: task.cost, system.task, cost)
    task = eqx.tree_at(lambda task: task.targets, task, jnp.abs(task.targets) + 0.1)
    found = diagnostics.susceptibility_cost_hessian(system.network, task)
    assert_close(found, diagnostics.cost_hessian(system.network, task, kind="gauss_newton"), relative=1e-10)


def test_the_ground_alone_is_not_enough_for_voltage_inputs():
    """Eq. 12 of Guzman et al. (2024) with a ground-only border freezes the input currents, which depend on k.

    At zero cost it is right for what currents drive, and wrong for the same states driven by voltages.
    """
    graph = jp.erdos_renyi(12, 24, jax.random.key(1, impl="threefry2x32"))
    network = jp.FlowNetwork(graph, np.random.default_rng(0).uniform(0.5, 2.0, 24))
    held = jp.Boundary(network, held_nodes=[3, 7], ground=[0])
    inputs = np.array([[1.0, 0.2], [0.3, 1.0], [-0.5, 0.7]])
    states = jp.equilibrate(network, held, values=jnp.asarray(inputs))
    outputs = np.asarray(states.x)[:, [5, 9]]
    readout = network.node_rows([5, 9])
    by_voltage = jp.Task(held, values=np.eye(2), inputs=inputs, readout=readout, targets=outputs)
    currents = -np.asarray(states.reaction)[:, :2]
    grounded = jp.Boundary(network, ground=[0])
    by_current = jp.Task(
        grounded, force=network.node_rows([3, 7]), inputs=currents, readout=readout, targets=outputs
    )
    assert_close(jp.respond(network, by_current).outputs, outputs, relative=1e-12)
    full, frozen = (diagnostics.susceptibility_cost_hessian(network, t) for t in (by_voltage, by_current))
    exact = diagnostics.cost_hessian(network, by_voltage)
    assert_close(full, exact, relative=1e-10)
    assert_close(frozen, diagnostics.cost_hessian(network, by_current), relative=1e-10)
    assert np.linalg.norm(frozen - exact) > 0.4 * np.linalg.norm(exact)


def test_relative_conductance_edge_by_edge():
    graph = jp.erdos_renyi(9, 15, jax.random.key(2, impl="threefry2x32"))
    network = jp.FlowNetwork(graph, np.random.default_rng(1).uniform(0.1, 3.0, 15))
    edges, k = np.asarray(graph.edges), np.asarray(network.k)
    wanted = []
    for i, ends in enumerate(edges):
        around = [j for j in range(15) if j != i and set(edges[j]) & set(ends)]
        wanted.append(k[i] / k[around].mean() if around else np.nan)
    assert_close(diagnostics.relative_conductance(network), np.array(wanted), relative=1e-13)
    padded = jp.FlowNetwork(graph.padded(17), np.append(k, [0.0, 0.0]))
    found = np.asarray(diagnostics.relative_conductance(padded))
    assert_close(found[:15], np.array(wanted), relative=1e-13)
    assert np.isnan(found[15:]).all()
    alone = jp.FlowNetwork(jp.from_edges([(0, 1)]))
    assert np.isnan(diagnostics.relative_conductance(alone)).all()


def test_vectors_need_one_strain_per_edge():
    node = jp.NodeNetwork.from_matrix(np.eye(3))
    assert_refused("network", diagnostics.susceptibility_vectors, node, jp.Boundary(node))
    assert_refused("network", diagnostics.relative_conductance, node)
    bond = jp.SpringNetwork(jp.from_edges([(0, 1)], positions=[[0.0, 0.0], [1.0, 0.0]]), law="vector")
    assert_refused("network", diagnostics.susceptibility_vectors, bond, jp.Boundary(bond, ground=[0]))


@pytest.mark.parametrize("numbers", [[], [-1], [4]])
def test_numbers_of_modes(numbers):
    node = jp.NodeNetwork.from_matrix(np.eye(3))
    assert_refused("num_modes", diagnostics.partial_susceptibility, node, jp.Boundary(node), numbers)
