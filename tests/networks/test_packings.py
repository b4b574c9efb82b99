"""Jammed packings: forces balance, nothing rattles, and the graph is that of the contacts."""

import jax
import networkx as nx
import numpy as np
import pytest
from helpers import assert_close, assert_identical

import jaxphys as jp

# Packings are relaxed in double precision whatever the networks have.
pytestmark = pytest.mark.float64

PARTICLES = 48


def packing(seed=0, **options):
    return jp.jammed_packing(PARTICLES, jax.random.key(seed, impl="threefry2x32"), **options)


def contacts(found):
    """Overlap force, unit vector and length of every contact, from positions and radii alone."""
    bonds = np.asarray(found.topology.bond_vectors(), dtype=float)
    lengths = np.linalg.norm(bonds, axis=1)
    reach = found.radii[np.asarray(found.topology.edges)].sum(axis=1)
    return (1 - lengths / reach) / reach, bonds / lengths[:, None], lengths


@pytest.mark.parametrize("options", [{}, {"dimension": 3}, {"pressure": 5e-3}, {"packing_fraction": 0.9}])
def test_forces_balance(options):
    found = packing(**options)
    forces, directions, lengths = contacts(found)
    assert (forces > 0).all()
    net = np.zeros((found.topology.num_nodes, directions.shape[1]))
    edges = np.asarray(found.topology.edges)
    np.add.at(net, edges[:, 0], forces[:, None] * directions)
    np.subtract.at(net, edges[:, 1], forces[:, None] * directions)
    # Positions may be stored in single precision.
    rounding = 1e-10 if found.topology.positions.dtype == float else 1e-3
    assert np.abs(net).max() / forces.mean() <= rounding
    assert found.residual <= 1e-10
    volume = np.prod(np.asarray(found.topology.box, dtype=float))
    virial = np.sum(forces * lengths) / (directions.shape[1] * volume)
    np.testing.assert_allclose(found.pressure, virial, rtol=10 * rounding)
    if "pressure" in options:
        np.testing.assert_allclose(found.pressure, options["pressure"], rtol=1e-8)
    if "packing_fraction" in options:
        np.testing.assert_allclose(found.packing_fraction, options["packing_fraction"], rtol=1e-12)


def net_force(found):
    """Largest net force over the mean contact force, from what was handed out alone."""
    forces, directions, _ = contacts(found)
    edges = np.asarray(found.topology.edges)
    net = np.zeros((found.topology.num_nodes, directions.shape[1]))
    np.add.at(net, edges[:, 0], forces[:, None] * directions)
    np.subtract.at(net, edges[:, 1], forces[:, None] * directions)
    return np.linalg.norm(net, axis=1).max() / forces.mean(), forces.mean()


@pytest.mark.parametrize("pressure", [None, 1e-2, 1e-4, 1e-5])
def test_the_residual_is_that_of_what_is_handed_out(pressure):
    for seed in range(2):
        found = packing(seed, pressure=pressure)
        true, mean = net_force(found)
        rounding = np.finfo(float).eps / mean
        np.testing.assert_allclose(found.residual, true, rtol=1e-3, atol=rounding)
        side = float(found.topology.box[0])
        assert true <= 1e-11 + 4 * np.finfo(float).eps * side / mean
        if pressure:
            np.testing.assert_allclose(found.pressure, pressure, rtol=1e-10)


def test_positions_in_single_precision_balance_as_their_residual_says():
    with jax.enable_x64(False):
        found = packing()
        assert found.topology.positions.dtype == np.float32
        true, _ = net_force(found)
    assert true > 1e-7
    # Bonds are computed in single precision here, and in double where the residual is told.
    np.testing.assert_allclose(found.residual, true, rtol=0.9)


@pytest.mark.parametrize("dimension", [2, 3])
def test_what_bears_load_is_rigid(dimension):
    found = packing(dimension=dimension)
    degree = np.bincount(np.asarray(found.topology.edges).ravel())
    assert degree.min() > dimension
    assert found.topology.is_connected()
    assert found.topology.num_floppy_modes() == 0
    # Maxwell: as many contacts as coordinates that are not translations, and one for the pressure.
    count, nodes = found.topology.num_edges, found.topology.num_nodes
    assert count >= dimension * nodes - dimension + 1
    assert found.mean_degree == 2 * count / nodes


def test_nodes_touch_if_and_only_if_joined():
    found = packing()
    first, second = np.triu_indices(found.topology.num_nodes, 1)
    gaps = np.linalg.norm(found.topology.host_bonds(np.stack([first, second], axis=1)), axis=1)
    touching = gaps < found.radii[first] + found.radii[second]
    joined = {tuple(sorted(edge)) for edge in np.asarray(found.topology.edges).tolist()}
    assert joined == set(zip(first[touching].tolist(), second[touching].tolist(), strict=True))


def test_open_packings_are_planar():
    found = packing(boundary="open")
    graph = found.topology.to_networkx()
    assert found.topology.box is None
    assert nx.check_planarity(graph)[0]
    assert nx.is_connected(graph)
    assert min(dict(graph.degree).values()) >= 2
    # No bond spans the box.
    assert np.linalg.norm(np.asarray(found.topology.bond_vectors()), axis=1).max() <= 1.4


def test_trimmed_to_a_number_of_nodes():
    found = packing(boundary="open", num_nodes=35)
    graph = found.topology.to_networkx()
    assert found.topology.num_nodes == 35
    assert nx.is_connected(graph)
    assert min(dict(graph.degree).values()) >= 2


def test_keys_side_by_side_or_alone():
    keys = jax.random.split(jax.random.key(0, impl="threefry2x32"), 2)
    together = jp.jammed_packings(PARTICLES, keys)
    for key, each in zip(keys, together, strict=True):
        alone = jp.jammed_packing(PARTICLES, key).topology
        assert_identical(alone.edges, each.topology.edges)
        # As the machine's compiler has it, to the last bit or but for rounding.
        assert_close(alone.positions, each.topology.positions, relative=1e-12)
    assert together[0].packing_fraction == pytest.approx(0.86)


def test_nodes_know_their_particles():
    # An open boundary leaves some particles hanging.
    found = packing(boundary="open")
    removed = set(range(PARTICLES)) - set(found.particles.tolist())
    assert [found.node(int(particle)) for particle in found.particles] == list(range(len(found.particles)))
    assert removed
    with pytest.raises(jp.InputError, match=f"particle {min(removed)} is a rattler"):
        found.node(min(removed))
    with pytest.raises(jp.InputError, match="particle"):
        found.node(PARTICLES)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"packing_fraction": 0.6}, "does not jam: 48 particles find room at packing fraction 0.6"),
        ({"packing_fraction": -1.0}, "`packing_fraction`"),
        ({"packing_fraction": 0.9, "pressure": 1e-3}, "`pressure`"),
        ({"pressure": 0.0}, "`pressure`"),
        ({"dimension": 4}, "`dimension`"),
        ({"boundary": "closed"}, "`boundary`"),
        ({"num_nodes": 49}, "`num_nodes`"),
        ({"num_nodes": 48, "boundary": "open"}, "trimming reaches"),
    ],
)
def test_bad_input(options, words):
    with pytest.raises(jp.InputError, match=words):
        packing(**options)


def test_too_few_particles():
    for number, dimension in ((3, 2), (8, 2), (16, 3)):
        with pytest.raises(jp.InputError, match="`num_particles`"):
            jp.jammed_packing(number, jax.random.key(0), dimension=dimension)
