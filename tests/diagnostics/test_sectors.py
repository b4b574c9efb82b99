"""Sectors: persistence diagrams against a topology library, labels against plain graph theory."""

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
from helpers import assert_refused

import jaxphys as jp
from jaxphys.diagnostics import sectors

pytestmark = pytest.mark.float64


def random_graph(seed, nodes=60, edges=120):
    return jp.erdos_renyi(nodes, edges, jax.random.key(seed, impl="threefry2x32"))


def test_a_jump_in_a_chain():
    chain = jp.from_edges([(0, 1), (1, 2), (2, 3), (3, 4)])
    found = sectors(chain, [1.0, 0.9, 0.85, 0.1, 0.0], 0.3)
    # Drops are .1, .05, .75, .1: the pair of 3 and 4, born at .1, dies at .75 by the third edge; the one of 0
    # is born with the edge by which it dies.
    np.testing.assert_allclose((found.births, found.deaths), [[0.1], [0.75]], atol=1e-12)
    assert found.death_edges.tolist() == [2]
    assert found.labels.tolist() == [0, 0, 0, 1, 1]
    assert found.walls.tolist() == found.boundary.tolist() == [False, False, True, False]
    assert sectors(chain, [1.0, 0.9, 0.85, 0.1, 0.0], 0.7).labels.tolist() == [0] * 5


@pytest.mark.parametrize("seed", range(3))
def test_diagram_is_that_of_a_topology_library(seed):
    graph = random_graph(seed)
    drops = np.random.default_rng(seed).exponential(size=graph.num_edges)
    found = sectors(graph, drops, 0.1)
    edges = np.asarray(graph.edges)
    gudhi = pytest.importorskip("gudhi")
    tree = gudhi.SimplexTree()
    births = np.full(graph.num_nodes, np.inf)
    for end in (0, 1):
        np.minimum.at(births, edges[:, end], drops)
    tree.insert_batch(np.arange(graph.num_nodes)[None], births)
    tree.insert_batch(edges.T.copy(), drops)
    tree.compute_persistence(homology_coeff_field=2, persistence_dim_max=False)
    diagram = tree.persistence_intervals_in_dimension(0)
    diagram = diagram[np.isfinite(diagram[:, 1]) & (diagram[:, 1] > diagram[:, 0])]
    ours = np.stack([found.births, found.deaths], axis=1)
    assert len(ours) > 10
    assert np.array_equal(ours[np.lexsort(ours.T)], diagram[np.lexsort(diagram.T)])
    assert np.array_equal(drops[found.death_edges], found.deaths)


@pytest.mark.parametrize("persistence", [0.01, 0.3, 1.0])
def test_sectors_are_what_walls_leave_of_the_spanning_tree(persistence):
    graph = random_graph(7)
    potentials = np.random.default_rng(7).standard_normal(graph.num_nodes)
    found = sectors(graph, potentials, persistence)
    edges = np.asarray(graph.edges)
    drops = np.abs(potentials[edges[:, 0]] - potentials[edges[:, 1]])
    tree = nx.minimum_spanning_tree(
        graph.to_networkx(drop=drops, number=np.arange(len(edges))), weight="drop"
    )
    assert found.walls[found.walls].size == found.labels.max()
    cut = [(a, b) for a, b, number in tree.edges(data="number") if found.walls[number]]
    assert len(cut) == found.walls.sum()
    tree.remove_edges_from(cut)
    for number, members in enumerate(sorted(nx.connected_components(tree), key=min)):
        assert set(np.flatnonzero(found.labels == number)) == members
    assert np.array_equal(found.boundary, found.labels[edges[:, 0]] != found.labels[edges[:, 1]])
    assert (found.deaths - found.births >= persistence).sum() == found.walls.sum()


def test_padding_joins_nothing():
    chain = jp.from_edges([(0, 1), (1, 2), (2, 3)])
    plain, padded = (sectors(graph, [1.0, 0.9, 0.1, 0.0], 0.5) for graph in (chain, chain.padded(7)))
    assert plain.labels.tolist() == padded.labels.tolist()
    assert not padded.boundary[3:].any()


def test_drops_instead_of_potentials():
    graph = random_graph(1)
    potentials = np.random.default_rng(1).standard_normal(graph.num_nodes)
    drops = np.asarray(graph.differences(jnp.asarray(potentials)))
    for one, other in zip(sectors(graph, potentials, 0.2), sectors(graph, drops, 0.2), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("response", "persistence", "name"),
    [([1.0], 0.1, "response"), ([1.0, np.nan, 0.0], 0.1, "response"), ([1.0, 0.5, 0.0], 0.0, "persistence")],
)
def test_bad_input(response, persistence, name):
    assert_refused(name, sectors, jp.from_edges([(0, 1), (1, 2)]), response, persistence)
