"""Reading tasks off trained networks, with trained and untrained controls."""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_close, assert_refused, ulps

import jaxphys as jp
from jaxphys import diagnostics

pytestmark = pytest.mark.float64

SIZE, COUNT = 20, 12


@pytest.fixture(scope="module")
def ensemble():
    """Node networks before and after training for allostery, and the pairs of nodes that were planted."""
    random = np.random.default_rng(11)
    networks, tasks, pairs = [], [], []
    for _ in range(COUNT):
        draws = random.standard_normal((SIZE, SIZE))
        shift = 3 * np.sqrt(2 * SIZE) * np.eye(SIZE)
        networks.append(jp.NodeNetwork.from_matrix((draws + draws.T) / 2 + shift))
        source, target = random.permutation(SIZE)[:2].tolist()
        boundary = jp.Boundary(networks[-1])
        tasks.append(jp.allostery(networks[-1], boundary, [source], [target], response=0.3))
        pairs.append({source, target})
    optimizer = optax.chain(jp.precondition(networks[0].frobenius_metric), optax.sgd(1.0))
    untrained = jp.stack(networks)
    arguments = {"optimizer": jp.Descent(optimizer, jp.AdaptiveStep()), "stop_cost": 1e-10}
    run = jp.train(untrained, jp.stack(tasks), steps=1000, record=jp.Record(every=1000), **arguments)
    assert (run.cost[:, -1] <= 1e-10).all()
    return untrained, run.network, jp.Boundary(networks[0]), pairs


@eqx.filter_jit
def read(networks, boundary, noise):
    null = jax.random.key(5)

    def one(network, key):
        measured = diagnostics.measure_responses(network, boundary, key, noise=noise)
        return diagnostics.discover(measured, null, num_null=199)

    return jax.vmap(one)(networks, jax.random.split(jax.random.key(1), COUNT))


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_trained_networks_are_told_and_their_nodes_named(ensemble, noise):
    untrained, trained, boundary, pairs = ensemble
    found = read(trained, boundary, noise)
    assert found.trained.all()
    assert [set(nodes) for nodes in found.nodes.tolist()] == pairs
    assert_close(found.output, np.full(COUNT, 0.3), relative=0.02 + 3 * noise)
    assert (found.contrast > 2).all()
    control = read(untrained, boundary, noise)
    # At one in a hundred, one in twelve is bad luck already.
    assert control.trained.sum() <= 1
    assert sum(set(n) == p for n, p in zip(control.nodes.tolist(), pairs, strict=True)) <= 1
    # p-values of untrained networks are spread over (0, 1].
    assert 0.25 < control.p_value.mean() < 0.75


def test_equally_soft_modes_do_not_hang_on_the_basis(random):
    """Two nodes answer alike: whichever two modes rounding finds, one node is named, the same each time."""
    responses = np.diag([1.0, 1, 5, 1, 1, 5, 1, 1])
    for _ in range(5):
        noise = 1e-14 * random.standard_normal((8, 8))
        found = diagnostics.discover(jnp.asarray(responses + noise + noise.T), jax.random.key(0), num_null=99)
        assert int(found.nodes[0]) == 2
        assert_close(found.mode, np.eye(8)[2], relative=1e-12)
        assert_close(found.contrast, np.array(1.0), relative=1e-12)
        assert_close(found.concentration, np.array(1.0), relative=1e-12)


def test_p_values_follow_the_add_one_rule():
    soft = jnp.zeros(6).at[1].set(1.0).at[4].set(-1.0)
    responses = jnp.eye(6) + jnp.outer(soft, soft)
    found = diagnostics.discover(responses, jax.random.key(0), num_null=99)
    assert_close(found.p_value, np.array(0.01), relative=ulps(10))
    assert sorted(found.nodes.tolist()) == [1, 4]
    assert_close(found.output, np.array(-1.0), relative=ulps(100))
    assert_close(found.softness, np.array(3.0), relative=ulps(100))
    assert_close(found.contrast, np.array(3.0), relative=ulps(100))
    assert_close(found.peak, np.sqrt(np.array(15.0)), relative=ulps(100))
    assert_close(found.concentration, np.array(1.0), relative=ulps(100))
    assert_close(found.response, responses[int(found.nodes[0])], relative=ulps(100))


def test_the_null_keeps_the_spectrum_and_forgets_directions():
    discovery = inspect.getmodule(diagnostics.discover)
    values = jnp.arange(1.0, 6.0)
    frames = discovery.random_frames(jax.random.key(0), 2000, 5, values.dtype)
    matrices = discovery.with_spectrum(values, frames)
    assert_close(jnp.linalg.eigvalsh(matrices)[:50], np.tile(values, (50, 1)), relative=ulps(1e3))
    # Every direction is as good as any other: the mean is a multiple of the identity.
    assert_close(matrices.mean(axis=0), 3 * np.eye(5), relative=0.03)


def test_flow_networks_want_controls():
    """Neighbours on a path respond alike without training; controls of the same make know that."""
    topology = jp.from_edges([(i, i + 1) for i in range(11)])
    random = np.random.default_rng(2)
    networks = [jp.FlowNetwork(topology, k=random.uniform(0.8, 1.2, 11)) for _ in range(240)]
    boundary = jp.Boundary(networks[0], free_modes="project")
    key = jax.random.key(0)
    responses = jax.vmap(lambda network: jp.greens_function(network, boundary))(jp.stack(networks))
    controls, others = responses[:200], responses[200:]
    read = jax.jit(jax.vmap(lambda one: diagnostics.discover(one, key, controls=controls)))
    assert read(others).trained.sum() <= 3
    weak = networks[0].with_k(networks[0].k.at[5].set(0.02))
    found = diagnostics.discover(jp.greens_function(weak, boundary), key, controls=controls)
    assert found.trained
    assert_close(found.p_value, np.array(2 / 201), relative=ulps(10))


def test_errors_of_readings_have_the_size_asked_for():
    network = jp.NodeNetwork.from_matrix(np.diag([1.0, 2.0, 4.0]))
    boundary = jp.Boundary(network)

    def errors(scale):
        def one(key):
            return diagnostics.measure_responses(network, boundary, key, noise=0.1, noise_scale=scale)

        drawn = jax.vmap(one)(jax.random.split(jax.random.key(0), 20_000))
        return np.std(np.asarray(drawn), axis=0)

    green = np.diag([1.0, 0.5, 0.25])
    assert_close(errors("reading"), 0.1 * green, relative=0.03)
    column = 0.1 * np.sqrt((green**2).mean(axis=0))
    assert_close(errors("response"), np.tile(column, (3, 1)), relative=0.03)


@pytest.mark.parametrize(
    ("argument", "responses", "arguments"),
    [
        ("responses", np.ones((3, 2)), {}),
        ("responses", np.ones((2, 2)), {}),
        ("responses", np.full((3, 3), np.nan), {}),
        ("significance", np.eye(3), {"significance": 0.0}),
        ("num_null", np.eye(3), {"num_null": 98}),
        ("controls", np.eye(3), {"controls": np.ones((198, 3, 3))}),
        ("controls", np.eye(3), {"controls": np.ones((199, 2, 2))}),
    ],
)
def test_bad_input(argument, responses, arguments):
    key = jax.random.key(0)
    assert_refused(argument, inspect.unwrap(diagnostics.discover), responses, key, **arguments)


@pytest.mark.parametrize("arguments", [{"noise": -0.1}, {"noise_scale": "column"}])
def test_bad_noise(arguments):
    network = jp.NodeNetwork.from_matrix(np.eye(3))
    measure = inspect.unwrap(diagnostics.measure_responses)
    boundary = jp.Boundary(network)
    assert_refused(next(iter(arguments)), measure, network, boundary, jax.random.key(0), **arguments)
