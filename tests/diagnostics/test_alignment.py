"""First-order predictions of eigenvalues, modes, alignments: finite differences and printed formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_close, assert_refused, central_differences, ulps
from systems import certified_systems

import jaxphys as jp
from jaxphys import diagnostics

pytestmark = pytest.mark.float64

# Driven by forces, floating or without a border; and one each that is held.
SYSTEMS = [certified_systems(5)[i] for i in (0, 6, 8, 12, 24)]
NAMES = [f"{system.network_name}-{system.boundary_name}" for system in SYSTEMS]

PREDICTED = {
    "eigenvalues": (
        lambda network, task: diagnostics.eigenvalues(network, task.boundary),
        diagnostics.predicted_eigenvalue_change,
    ),
    "force": (diagnostics.force_alignment, diagnostics.predicted_force_alignment_change),
    "response": (diagnostics.response_alignment, diagnostics.predicted_response_alignment_change),
}


@pytest.mark.float64
@pytest.mark.parametrize("system", SYSTEMS, ids=NAMES)
def test_predictions_are_derivatives_along_learning(system):
    network, task = system.network, system.task
    names = [name for name in PREDICTED if name != "force" or np.asarray(task.force).any()]
    direction = diagnostics.learning_direction(network, task)
    assert float(jnp.abs(direction).max()) > 0
    step = 1e-4 / float(jnp.abs(direction).max())

    @jax.jit
    def follow(time):
        moved = network.with_k(network.k + time[0] * direction)
        return jnp.concatenate([PREDICTED[name][0](moved, task).ravel() for name in names])

    slopes = central_differences(lambda time: follow(jnp.asarray(time)), [0.0], step)[..., 0]
    predicted = [np.asarray(PREDICTED[name][1](network, task)) for name in names]
    ends = np.cumsum([each.size for each in predicted])[:-1]
    for found, expected in zip(predicted, np.split(slopes, ends), strict=True):
        assert_close(found.ravel(), expected, relative=1e-6)


def random_node(random, size=6):
    draws = random.standard_normal((size, size))
    network = jp.NodeNetwork.from_matrix((draws + draws.T) / 2 + 8 * np.eye(size))
    return network, jp.random_linear(network, 2, jax.random.key(3))


@pytest.mark.float64
def test_node_networks_follow_the_printed_formulas(random):
    """Equations 21 and 22, summed over tasks as eq. 19 is."""
    network, task = random_node(random)
    values, vectors = np.linalg.eigh(np.asarray(network.hessian()))
    forces = np.asarray(task.force)
    errors = np.asarray(jp.respond(network, task).outputs - task.targets).diagonal()
    output_forces = -errors[:, None] * np.asarray(task.readout)
    size = len(values)
    eigenvalue_change, mode_change = np.zeros(size), np.zeros((size, size))
    for force, output in zip(forces, output_forces, strict=True):
        outer = np.outer(force, output) + np.outer(output, force)
        for n in range(size):
            eigenvalue_change[n] += -0.5 / values[n] ** 2 * vectors[:, n] @ outer @ vectors[:, n]
            for m in set(range(size)) - {n}:
                gap = (values[n] - values[m]) * values[n] * values[m]
                mode_change[n] += -0.5 * (vectors[:, m] @ outer @ vectors[:, n]) / gap * vectors[:, m]
    assert_close(diagnostics.predicted_eigenvalue_change(network, task), eigenvalue_change, relative=1e-11)
    direction = diagnostics.learning_direction(network, task)
    found = diagnostics.mode_change(network, task.boundary, direction)
    signs = np.sign(
        np.sum(np.asarray(diagnostics.spectrum(network, task.boundary).modes) * vectors.T, axis=1)
    )
    assert_close(signs[:, None] * found.modes, mode_change, relative=1e-10)


@pytest.mark.float64
def test_flow_networks_follow_the_printed_formulas(random):
    """Equations 24 and 25 with the alignment matrix, on the modes of a floating network."""
    network = jp.FlowNetwork(jp.erdos_renyi(6, 9, jax.random.key(1)), k=random.uniform(1, 2, 9))
    task = jp.allostery(network, jp.Boundary(network, free_modes="project"), [0], [3], response=0.4)
    values, vectors = np.linalg.eigh(np.asarray(network.hessian()))
    values, vectors = values[1:], vectors[:, 1:]
    drops = np.asarray(network.compatibility())[:, 0] @ vectors
    error = (jp.respond(network, task).outputs - task.targets)[0, 0]
    force, output = np.asarray(task.force[0]), -float(error) * np.asarray(task.readout[0])
    alignment = np.outer((vectors.T @ force) / values, (vectors.T @ output) / values)
    elements = -np.einsum("ab,ia,ib,im,in->mn", alignment, drops, drops, drops, drops)
    assert_close(diagnostics.predicted_eigenvalue_change(network, task), elements.diagonal(), relative=1e-11)
    gaps = values - values[:, None] + np.diag(np.full(len(values), np.inf))
    mode_change = (vectors @ (elements / gaps)).T
    direction = diagnostics.learning_direction(network, task)
    found = diagnostics.mode_change(network, task.boundary, direction)
    signs = np.sign(
        np.sum(np.asarray(diagnostics.spectrum(network, task.boundary).modes) * vectors.T, axis=1)
    )
    assert_close(signs[:, None] * found.modes, mode_change, relative=1e-10)


@pytest.mark.float64
def test_predictions_add_up_along_a_run(random):
    """Small steps of eq. 13: what was predicted at each record is what happened."""
    network, task = random_node(random)
    names = ("eigenvalues", "force_alignment", "response_alignment")
    changes = [f"predicted_{name.removesuffix('s')}_change" for name in names]
    functionals = {name: diagnostics.FUNCTIONALS[name] for name in (*names, *changes)}
    optimizer = optax.chain(jp.precondition(network.frobenius_metric), optax.sgd(0.05))
    run = jp.train(
        network, task, steps=200, optimizer=optimizer, record=jp.Record(1, functionals=functionals)
    )
    for name, change in zip(names, changes, strict=True):
        measured = run.records[name]
        predicted = diagnostics.accumulate(measured[:, 0], run.records[change], 0.05 * run.steps)
        moved = np.abs(measured - measured[:, :1]).max()
        assert moved > 1e-3
        assert_close(predicted, measured, relative=2e-3, scale=moved)


def test_rule_metric_and_bounds_shape_the_direction():
    network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]), k=[1.0, 2.0])
    task = jp.allostery(network, jp.Boundary(network, ground=[2]), [0], [0], response=3.0)
    gradient = jp.ExactGradient()(network, task).gradient
    direction = diagnostics.learning_direction
    assert_close(direction(network, task), -gradient, relative=ulps(10))
    assert_close(
        direction(network, task, metric=[2.0, 0.5]), -gradient * jnp.array([2.0, 0.5]), relative=ulps(10)
    )
    # A larger response is wanted: both conductances fall, the first is at its bound.
    held = direction(network, task, lower=1.0)
    assert held[0] == 0
    assert held[1] == -gradient[1]
    wanted_less = task.with_samples(task.inputs, 0 * task.targets)
    assert direction(network, wanted_less, upper=2.0).tolist()[1] == 0
    coupled = jp.CoupledLearning(1e-2)
    assert_close(direction(network, task, rule=coupled), -coupled(network, task).gradient, relative=ulps(10))
    assert_refused("metric", direction, network, task, metric=[1.0])


DEGENERATE = {
    "equal": lambda random: np.zeros((4, 4)),
    "pairs": lambda random: np.diag([0.0, 0.0, 2.0, 2.0]),
    "nearly equal": lambda random: 1e-12 * random.standard_normal((4, 4)),
    "one apart": lambda random: np.diag([0.0, 1.0, 1.0, 1.0]),
}


@pytest.mark.float64
@pytest.mark.parametrize("kind", DEGENERATE)
def test_equal_eigenvalues_part_as_those_of_the_step_do(random, kind):
    """Exact eigenvalues of `H + rate δH` over a small rate; modes as rounding has them say something else."""
    draws, rotation = DEGENERATE[kind](random), np.linalg.qr(random.standard_normal((4, 4)))[0]
    matrix = rotation @ (3 * np.eye(4) + draws) @ rotation.T
    network = jp.NodeNetwork.from_matrix((matrix + matrix.T) / 2)
    task = jp.random_linear(network, 1, jax.random.key(0))
    rate = 1e-6
    hessian = np.asarray(network.hessian())
    step = np.asarray(network.with_k(diagnostics.learning_direction(network, task)).hessian())
    exact = (np.linalg.eigvalsh(hessian + rate * step) - np.linalg.eigvalsh(hessian)) / rate
    found = diagnostics.predicted_eigenvalue_change(network, task)
    assert_close(found, exact, relative=1e-5)
    if kind == "equal":
        # One task changes H by two directions: one softens, one stiffens.
        assert_close(found[1:3], np.zeros(2), relative=1e-12, scale=float(np.abs(exact).max()))


@pytest.mark.float64
@pytest.mark.parametrize("gap", [0.0, 1e-9, 1e-5, 1e-3, 1e-1])
def test_a_step_of_some_rate_bridges_small_gaps(random, gap):
    draws = random.standard_normal((5, 5))
    network = jp.NodeNetwork.from_matrix(np.diag([1.0, 1, 1, 1.5, 4]) + gap * (draws + draws.T) / 4)
    task = jp.random_linear(network, 2, jax.random.key(1))
    hessian = np.asarray(network.hessian())
    step = np.asarray(network.with_k(diagnostics.learning_direction(network, task)).hessian())
    predicted = jax.jit(lambda rate: diagnostics.predicted_eigenvalue_change(network, task, rate=rate))
    for rate in (1e-3, 1e-5):
        exact = (np.linalg.eigvalsh(hessian + rate * step) - np.linalg.eigvalsh(hessian)) / rate
        assert_close(predicted(jnp.asarray(rate)), exact, relative=2e-4)
    assert_refused("rate", diagnostics.mode_change, network, task.boundary, network.k, rate=0.0)


def scalar_and_vector(random):
    """The same springs twice: a vector law is the flow network's Laplacian in each coordinate."""
    places = random.uniform(size=(6, 2))
    edges = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0), (0, 3), (1, 4)]
    k = random.uniform(0.5, 2.0, len(edges))
    network = jp.SpringNetwork(jp.from_edges(edges, positions=places), k, law="vector")
    boundary = jp.Boundary(network, ground=[0])
    forces, readout = random.standard_normal((2, 12)), random.standard_normal((2, 12))
    task = jp.Task(boundary, force=forces, readout=readout, targets=np.ones((2, 2)), weights=np.eye(2))
    return jp.FlowNetwork(jp.from_edges(edges), k), network, task


@pytest.mark.float64
def test_modes_of_equal_eigenvalues_share_an_alignment_evenly(random):
    flow, network, task = scalar_and_vector(random)
    values, vectors = np.linalg.eigh(np.asarray(flow.hessian())[1:, 1:])
    forces = np.asarray(task.force).reshape(2, 6, 2)[:, 1:]
    states = np.linalg.solve(np.asarray(flow.hessian())[1:, 1:], forces)
    for found, columns in (
        (diagnostics.force_alignment(network, task), forces),
        (diagnostics.response_alignment(network, task), states),
    ):
        # In the plane that both coordinates of one scalar mode span.
        lengths = np.linalg.norm(np.einsum("nm,rnd->mrd", vectors, columns), axis=-1)
        expected = lengths / np.linalg.norm(columns, axis=(1, 2)) / np.sqrt(2)
        assert_close(found, np.repeat(expected, 2, axis=0), relative=1e-12)
        assert_close(jnp.sum(found**2, axis=0), np.ones(2), relative=1e-13)
    assert_close(diagnostics.eigenvalues(network, task.boundary), np.repeat(values, 2), relative=1e-12)


@pytest.mark.float64
def test_alignments_of_equal_modes_are_predicted(random):
    """A step of a vector law leaves its pairs equal, so the alignments of their planes have a slope."""
    _, network, task = scalar_and_vector(random)
    direction = diagnostics.learning_direction(network, task)
    names = ("eigenvalues", "force", "response")

    @jax.jit
    def follow(time):
        moved = network.with_k(network.k + time[0] * direction)
        return jnp.concatenate([PREDICTED[name][0](moved, task).ravel() for name in names])

    step = 1e-4 / float(jnp.abs(direction).max())
    slopes = central_differences(lambda time: follow(jnp.asarray(time)), [0.0], step)[..., 0]
    predicted = [np.asarray(PREDICTED[name][1](network, task)).ravel() for name in names]
    assert_close(np.concatenate(predicted), slopes, relative=1e-6)


def test_alignments_do_not_depend_on_the_basis():
    """Twice the unit matrix: any basis is one of modes, and each has an equal share."""
    network = jp.NodeNetwork.from_matrix(2.0 * np.eye(4))
    task = jp.random_linear(network, 3, jax.random.key(0))
    for found in (diagnostics.force_alignment(network, task), diagnostics.response_alignment(network, task)):
        assert_close(found, np.full((4, 3), 0.5), relative=ulps(10))
    change = diagnostics.predicted_force_alignment_change(network, task)
    assert_close(change, np.zeros((4, 3)), relative=ulps(100), scale=1.0)


def test_equal_eigenvalues_do_not_mix():
    network = jp.NodeNetwork.from_matrix(2.0 * np.eye(3))
    change = jnp.arange(1.0, 7.0)
    found = diagnostics.mode_change(network, jp.Boundary(network), change)
    assert not np.asarray(found.modes).any()


@pytest.mark.parametrize(
    ("argument", "values"),
    [
        ("initial", ([1.0], [[[1.0, 2.0]]], [0.0])),
        ("velocities", ([1.0], [1.0], [0.0])),
        ("times", ([1.0], [[1.0, 2.0]], [0.0])),
    ],
)
def test_accumulate_checks_shapes(argument, values):
    assert_refused(argument, diagnostics.accumulate, *values)


def test_each_realization_has_its_own_time():
    found = diagnostics.accumulate([0.0, 1.0], [[1.0, 3.0], [1.0, 3.0]], [[0.0, 1.0], [0.0, 2.0]])
    assert found.tolist() == [[0.0, 2.0], [1.0, 5.0]]
