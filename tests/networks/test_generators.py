"""Generated graphs: exact counts, connectedness, rigidity, geometry of lattices, and what the key fixes."""

import collections
import itertools

import jax
import networkx as nx
import numpy as np
import pytest
import scipy.stats
from helpers import assert_close, assert_identical, ulps

import jaxphys as jp

# Built on the host, in either precision alike.
pytestmark = pytest.mark.float64


def edge_set(topology):
    return {frozenset(edge) for edge in np.asarray(topology.edges).tolist()}


@pytest.mark.parametrize(("nodes", "edges"), [(2, 1), (7, 6), (7, 21), (40, 60), (40, 100)])
def test_erdos_renyi_has_exactly_its_edges_and_is_connected(nodes, edges):
    for seed in range(3):
        topology = jp.erdos_renyi(nodes, edges, jax.random.key(seed))
        assert (topology.num_nodes, topology.num_edges) == (nodes, edges)
        assert len(edge_set(topology)) == edges
        assert topology.is_connected()
        assert nx.is_connected(topology.to_networkx())
        assert topology.positions is None


def test_the_key_fixes_the_draw():
    first, again, other = (jp.erdos_renyi(20, 40, jax.random.key(seed), dimension=2) for seed in (1, 1, 2))
    assert_identical(again, first)
    assert edge_set(first) != edge_set(other)
    assert not np.array_equal(first.positions, other.positions)
    split = jp.erdos_renyi(20, 40, jax.random.split(jax.random.key(1))[0], dimension=2)
    assert edge_set(split) != edge_set(first)


def test_erdos_renyi_is_uniform():
    """On four nodes, three edges make 16 connected graphs (Cayley): all trees must be equally likely."""
    draws = 320
    counts = collections.Counter(
        frozenset(edge_set(jp.erdos_renyi(4, 3, key))) for key in jax.random.split(jax.random.key(0), draws)
    )
    assert len(counts) == 16
    assert scipy.stats.chisquare(list(counts.values())).pvalue > 1e-3


@pytest.mark.parametrize("dimension", [2, 3])
def test_positions_fill_the_unit_box(dimension):
    positions = np.asarray(jp.erdos_renyi(300, 900, jax.random.key(0), dimension=dimension).positions)
    assert positions.shape == (300, dimension)
    for column in positions.T:
        assert scipy.stats.kstest(column, "uniform").pvalue > 1e-3


@pytest.mark.parametrize(("dimension", "nodes", "edges"), [(2, 12, 30), (2, 5, 7), (3, 8, 24)])
def test_rigid_networks_have_only_rigid_motions(dimension, nodes, edges):
    """Zero eigenvalues of the Hessian, counted independently of the rank that the generator looks at."""
    motions = dimension * (dimension + 1) // 2
    for seed in range(2):
        topology = jp.erdos_renyi(nodes, edges, jax.random.key(seed), dimension=dimension, rigid=True)
        assert topology.num_edges == edges
        assert topology.is_connected()
        assert topology.num_floppy_modes() == 0
        eigenvalues = np.linalg.eigvalsh(np.asarray(jp.SpringNetwork(topology).hessian(), dtype=float))
        assert np.sum(np.abs(eigenvalues) < ulps(100) * eigenvalues[-1]) == motions


def test_rigid_rejects_floppy_draws():
    """The same key without `rigid` gives floppy networks at this mean degree."""
    floppy = [jp.erdos_renyi(12, 26, jax.random.key(s), dimension=2).num_floppy_modes() for s in range(5)]
    rigid = [
        jp.erdos_renyi(12, 26, jax.random.key(s), dimension=2, rigid=True).num_floppy_modes()
        for s in range(5)
    ]
    assert max(floppy) > 0
    assert rigid == [0] * 5


def test_complete_graph():
    topology = jp.complete_graph(6)
    assert topology.num_edges == 15
    assert edge_set(topology) == {frozenset(pair) for pair in itertools.combinations(range(6), 2)}


def coordination(topology):
    return np.bincount(np.asarray(topology.edges).ravel(), minlength=topology.num_nodes)


def bond_lengths(topology):
    return np.linalg.norm(np.asarray(topology.bond_vectors()), axis=1)


@pytest.mark.parametrize(
    ("topology", "neighbours"),
    [
        (lambda: jp.square_lattice((3, 3), periodic=True), 4),
        (lambda: jp.square_lattice((4, 7), periodic=True), 4),
        (lambda: jp.square_lattice((9,), periodic=True), 2),
        (lambda: jp.square_lattice((3, 4, 5), periodic=True), 6),
        (lambda: jp.triangular_lattice((4, 3), periodic=True), 6),
        (lambda: jp.triangular_lattice((6, 5), periodic=True), 6),
    ],
    ids=["square 3x3", "square 4x7", "ring", "cubic", "triangular 4x3", "triangular 6x5"],
)
def test_periodic_lattices_are_regular(topology, neighbours):
    topology = topology()
    assert (coordination(topology) == neighbours).all()
    assert topology.num_edges == neighbours * topology.num_nodes // 2
    assert len(edge_set(topology)) == topology.num_edges
    assert_close(bond_lengths(topology), np.ones(topology.num_edges), relative=ulps(10))
    assert topology.is_connected()


@pytest.mark.parametrize("shape", [(2, 2), (4, 5), (1, 6), (7,), (2, 3, 4)])
def test_open_square_lattices_are_grids(shape):
    topology = jp.square_lattice(shape)
    number = np.arange(np.prod(shape)).reshape(shape)
    expected = set()
    for axis in range(len(shape)):
        low, high = np.delete(number, -1, axis).ravel(), np.delete(number, 0, axis).ravel()
        expected |= {frozenset(pair) for pair in zip(low.tolist(), high.tolist(), strict=True)}
    assert edge_set(topology) == expected
    assert topology.num_edges == len(expected)
    assert_close(bond_lengths(topology), np.ones(topology.num_edges), relative=ulps(4))
    assert topology.box is None
    corners = np.stack(np.unravel_index(np.arange(number.size), shape), axis=1)
    assert_close(topology.positions, corners, relative=ulps(2))


@pytest.mark.parametrize(("rows", "columns"), [(1, 5), (2, 2), (3, 4), (6, 3), (5, 1)])
def test_open_triangular_lattices_join_all_neighbours(rows, columns):
    """The edges are exactly the pairs of nodes at distance one."""
    topology = jp.triangular_lattice((rows, columns))
    positions = np.asarray(topology.positions, dtype=float)
    assert len(positions) == rows * columns
    distances = np.linalg.norm(positions[:, None] - positions, axis=-1)
    close = np.argwhere(np.triu(np.abs(distances - 1) < 1e-5))
    assert edge_set(topology) == {frozenset(pair) for pair in close.tolist()}
    assert len(edge_set(topology)) == topology.num_edges
    assert np.triu(distances, 1)[np.triu_indices(len(positions), 1)].min() > 1 - 1e-5


def test_lattice_draws_are_deterministic():
    assert_identical(jp.triangular_lattice((4, 4)), jp.triangular_lattice((4, 4)))
    assert_identical(jp.square_lattice((4, 4), periodic=True), jp.square_lattice((4, 4), periodic=True))
