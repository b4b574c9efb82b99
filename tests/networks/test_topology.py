"""Graphs: components, bonds, rigidity counts, padding, and the way to networkx and back."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
from helpers import assert_close, assert_identical, ulps

import jaxphys as jp

# Built on the host, in either precision alike.
pytestmark = pytest.mark.float64

SQUARE = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
SIDES = [(0, 1), (1, 2), (2, 3), (3, 0)]
CUBE = list(itertools.product([0.0, 1.0], repeat=3))
CUBE_EDGES = [
    (a, b) for a, b in itertools.combinations(range(8), 2) if sum(np.abs(np.subtract(CUBE[a], CUBE[b]))) == 1
]


def test_sizes():
    topology = jp.from_edges([(0, 1), (1, 4)])
    assert (topology.num_nodes, topology.num_edges) == (5, 2)
    assert jp.from_edges([(0, 1)], num_nodes=9).num_nodes == 9
    assert topology.edges.dtype == jnp.int32
    assert topology.positions is None
    assert topology.box is None


def test_edges_and_positions_are_leaves_and_the_number_of_nodes_is_not():
    topology = jp.from_edges(SIDES, positions=SQUARE, box=[5.0, 5.0])
    assert len(jax.tree.leaves(topology)) == 3
    assert eqx.tree_equal(jax.tree.map(lambda leaf: leaf, topology), topology)


def test_differences_run_from_source_to_target(random):
    edges = [(0, 1), (3, 1), (2, 0)]
    x = random.normal(size=(6, 4))
    expected = np.stack([x[:, a] - x[:, b] for a, b in edges], axis=1)
    assert_close(jp.from_edges(edges).differences(jnp.asarray(x)), expected, relative=ulps(4))


def test_components():
    pieces = jp.from_edges([(0, 2), (2, 4), (1, 3)], num_nodes=6)
    labels = pieces.components()
    assert labels[0] == labels[2] == labels[4]
    assert labels[1] == labels[3]
    assert len({labels[0], labels[1], labels[5]}) == 3
    assert not pieces.is_connected()
    assert jp.from_edges([(0, 2), (2, 1)]).is_connected()
    assert not jp.from_edges([(0, 1)], num_nodes=3).is_connected()


def test_components_agree_with_networkx(random):
    for _ in range(5):
        edges = np.array([random.choice(30, 2, replace=False) for _ in range(20)])
        topology = jp.from_edges(edges, num_nodes=30)
        labels = topology.components()
        ours = {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels.tolist())}
        theirs = {frozenset(nodes) for nodes in nx.connected_components(topology.to_networkx())}
        assert ours == theirs


def test_bonds_point_from_target_to_source():
    topology = jp.from_edges([(1, 0), (2, 0)], positions=[[0.0, 0.0], [3.0, 4.0], [0.0, -2.0]])
    assert_close(topology.bond_vectors(), [[3.0, 4.0], [0.0, -2.0]], relative=ulps(4))
    assert_close(topology.bond_directions(), [[0.6, 0.8], [0.0, -1.0]], relative=ulps(4))


def test_bonds_take_the_nearest_image():
    positions = [[0.1, 0.2], [2.9, 3.7], [1.5, 2.0]]
    topology = jp.from_edges([(0, 1), (0, 2)], positions=positions, box=[3.0, 4.0])
    assert_close(topology.bond_vectors(), [[0.2, 0.5], [-1.4, -1.8]], relative=ulps(20))


@pytest.mark.parametrize(
    ("positions", "edges", "floppy"),
    [
        ([[0.0, 0.0], [1.0, 0.0]], [(0, 1)], 0),
        (SQUARE, SIDES, 1),
        (SQUARE, [*SIDES, (0, 2)], 0),
        (SQUARE, [*SIDES, (0, 2), (1, 3)], 0),
        # A chain on a line: its inner node moves sideways for free, in each direction across.
        ([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]], [(0, 1), (1, 2)], 1),
        ([[0.0, 0.0], [1.0, 0.0], [2.0, 0.5]], [(0, 1), (1, 2)], 1),
        # A cube has 24 coordinates, 12 bonds and 6 rigid motions.
        (CUBE, CUBE_EDGES, 6),
        (CUBE, list(itertools.combinations(range(8), 2)), 0),
        ([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]], [(0, 1)], 0),
        ([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [(0, 1), (1, 2), (2, 0)], 0),
    ],
    ids=[
        "bond",
        "square",
        "braced square",
        "twice braced square",
        "straight chain",
        "bent chain",
        "cube",
        "fully braced cube",
        "bond in space",
        "triangle in space",
    ],
)
def test_floppy_modes(positions, edges, floppy):
    assert jp.from_edges(edges, positions=positions).num_floppy_modes() == floppy


def test_floppy_modes_of_periodic_lattices():
    """Square: every line of bonds can shear by itself, `rows + columns` modes of which 2 are translations."""
    assert jp.square_lattice((4, 5), periodic=True).num_floppy_modes() == 4 + 5 - 2
    assert jp.triangular_lattice((4, 4), periodic=True).num_floppy_modes() == 0


def test_floppy_modes_do_not_see_padding_or_translation():
    topology = jp.from_edges(SIDES, positions=SQUARE)
    moved = jp.from_edges(SIDES, positions=np.add(SQUARE, 17.0))
    assert topology.padded(9).num_floppy_modes() == moved.num_floppy_modes() == 1


def test_padding_is_masked():
    topology = jp.from_edges(SIDES, positions=SQUARE).padded(7)
    assert topology.num_edges == 7
    assert np.asarray(topology.edge_mask).tolist() == [True] * 4 + [False] * 3
    assert_identical(topology.bond_directions()[4:], jnp.zeros((3, 2)))
    assert topology.is_connected()
    assert topology.padded(7).num_edges == 7
    assert topology.to_networkx().number_of_edges() == 4


@eqx.filter_jit
def everything(network, task, x):
    """What must not depend on padding: Hessian, energy, and the estimate of a learning rule."""
    return network.hessian(), network.energy(x), jp.EquilibriumPropagation(nudge=0.1)(network, task)


@pytest.mark.parametrize("kind", ["flow", "central", "vector"])
def test_padding_changes_nothing(kind, random):
    """Same Hessian, energy, rigid motions, state and gradient, and nothing asked of the padding's own k."""
    topology = jp.from_edges([*SIDES, (0, 2)], positions=SQUARE)
    k = random.uniform(1.0, 2.0, 5)

    def network(topology, k):
        return jp.FlowNetwork(topology, k) if kind == "flow" else jp.SpringNetwork(topology, k, law=kind)

    plain = network(topology, k)
    x = jnp.asarray(random.normal(size=plain.num_coordinates))
    force = random.normal(size=(1, plain.num_coordinates))
    results = []
    for one in (plain, *(network(topology.padded(8), np.concatenate([k, [f] * 3])) for f in (0.0, 7.0))):
        assert_identical(one.rigid_motions(), plain.rigid_motions())
        boundary = jp.Boundary(one, free_modes="project")
        assert_identical(boundary, jp.Boundary(plain, free_modes="project"))
        task = jp.Task(boundary, force=force, readout=one.node_rows([1])[:1], targets=[[0.3]])
        results.append(everything(one, task, x))
    (hessian, energy, estimate), *padded = results
    for padded_hessian, padded_energy, padded_estimate in padded:
        assert_identical(padded_hessian, hessian)
        assert_close(padded_energy, energy, relative=ulps(8))
        assert_close(padded_estimate.cost, estimate.cost, relative=ulps(50))
        assert_close(padded_estimate.gradient[:5], estimate.gradient, relative=ulps(200))
        assert_identical(padded_estimate.gradient[5:], jnp.zeros(3))


def test_networkx_round_trip_keeps_nodes_edges_order_and_positions():
    topology = jp.erdos_renyi(12, 20, jax.random.key(4), dimension=3)
    back = jp.from_networkx(topology.to_networkx())
    assert back.num_nodes == topology.num_nodes
    # networkx walks edges by their first node, as our generators do.
    assert_identical(back, topology)


def test_networkx_edge_values_follow_the_edges():
    graph = nx.Graph()
    graph.add_edge("tea", "pot", k=2.5)
    graph.add_edge("cup", "tea", k=0.5)
    network = jp.FlowNetwork.from_networkx(graph, conductance="k")
    assert network.names == ("tea", "pot", "cup")
    assert network.k.tolist() == [data["k"] for *_, data in graph.edges(data=True)]
    out = network.topology.to_networkx(k=network.k, power=np.array([1.0, 4.0]))
    assert out.edges["tea", "pot"] == {"k": 2.5, "power": 1.0}
    assert out.edges["tea", "cup"] == {"k": 0.5, "power": 4.0}
    assert type(out.edges["tea", "pot"]["power"]) is float
    assert jp.FlowNetwork.from_networkx(graph, resistance="k").k.tolist() == [0.4, 2.0]
    with pytest.raises(jp.InputError, match=r"name the conductance or resistance of the edges.*carry k"):
        jp.FlowNetwork.from_networkx(graph)
    with pytest.raises(jp.InputError, match="conductance and resistance are"):
        jp.FlowNetwork.from_networkx(graph, conductance="k", resistance="k")
    assert jp.FlowNetwork.from_networkx(nx.path_graph(3)).k.tolist() == [1.0, 1.0]


def test_networkx_edge_values_are_not_dropped_in_silence():
    graph = nx.Graph()
    graph.add_edge(0, 1, conductance=2.5, label="wide", open=True)
    with pytest.warns(UserWarning, match="carry `conductance`, which a topology leaves out"):
        jp.from_networkx(graph)
    graph.add_edge(1, 2, label="narrow")
    with pytest.raises(jp.InputError, match=r"edge \(1, 2\) carries no numbers, not 'conductance'"):
        jp.FlowNetwork.from_networkx(graph, conductance="conductance")


def test_networkx_directions_are_left_aside_unless_they_contradict():
    graph = nx.DiGraph()
    graph.add_edge("b", "a", g=2.0)
    graph.add_edge("b", "c", g=1.0)
    network = jp.FlowNetwork.from_networkx(graph, conductance="g")
    assert (network.topology.edges.tolist(), network.k.tolist()) == ([[0, 1], [0, 2]], [2.0, 1.0])
    graph.add_edge("a", "b", g=3.0)
    with pytest.raises(jp.InputError, match="'b' and 'a' are joined in both"):
        jp.FlowNetwork.from_networkx(graph, conductance="g")


def test_networkx_springs_keep_positions_and_values():
    graph = nx.Graph()
    for node, place in {"a": (0.0, 0.0), "b": (3.0, 4.0)}.items():
        graph.add_node(node, pos=place)
    graph.add_edge("a", "b", stiffness=2.0)
    network = jp.SpringNetwork.from_networkx(graph, stiffness="stiffness", law="vector")
    assert (network.law, network.names, network.k.tolist()) == ("vector", ("a", "b"), [2.0])
    assert_close(network.directions[0], jnp.array([-0.6, -0.8]), relative=ulps(4))


def test_names_stand_wherever_numbers_may():
    names = ("in A", "middle", "out", "in B")
    network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2), (2, 3), (3, 0)], names=names))
    plain = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2), (2, 3), (3, 0)]))
    assert network.node_names == names
    assert plain.node_names == ("0", "1", "2", "3")
    held = jp.Boundary(network, held_nodes=["in A"], held_drops=[("in B", "out")], ground=["middle"])
    assert_identical(held.rows, jp.Boundary(plain, held_nodes=[0], held_drops=[(3, 2)], ground=[1]).rows)
    grounded = [jp.Boundary(network, ground=["middle"]), jp.Boundary(plain, ground=[1])]
    by_name = jp.allostery(network, grounded[0], ["in A"], [("out", "in B"), 3], response=0.1)
    by_number = jp.allostery(plain, grounded[1], [0], [(2, 3), 3], response=0.1)
    assert_identical((by_name.force, by_name.readout), (by_number.force, by_number.readout))
    assert network.topology.padded(6).names == names
    assert jp.member(jp.stack([network, network]), 1).names == names
    assert jp.NodeNetwork.from_matrix(3 * np.eye(2), names=["a", "b"]).node_numbers(["b"]).tolist() == [1]


@pytest.mark.parametrize(
    ("nodes", "saying"),
    [
        (["in C"], "nearest is 'in [AB]'"),
        ([4], "4 is out of range"),
        ([-1], "-1 is out of range"),
        (np.array([0.5]), "as integers or names, but it holds .*0.5"),
        (np.array([True]), "it holds .*True"),
        (np.array([None]), "it holds None"),
    ],
)
def test_nodes_that_do_not_exist(nodes, saying):
    topology = jp.from_edges([(0, 1), (1, 2), (2, 3)], names=["in A", "middle", "out", "in B"])
    with pytest.raises(jp.InputError, match=saying):
        jp.Boundary(jp.FlowNetwork(topology), ground=nodes)


def test_names_must_tell_nodes_apart():
    for names, saying in (
        (["a"], "hold 2 names"),
        (["a", "a"], "'a' stands there twice"),
    ):
        with pytest.raises(jp.InputError, match=saying):
            jp.from_edges([(0, 1)], names=names)
    # Names that are but numbers say nothing.
    assert jp.from_edges([(0, 1)], names=["0", "1"]).names is None


def test_networkx_positions_need_every_node():
    graph = nx.path_graph(3)
    nx.set_node_attributes(graph, {0: (0.0, 0.0), 1: (1.0, 0.0)}, "pos")
    with pytest.raises(jp.InputError, match="give all nodes a `pos` or none, but 2 of 3 have one"):
        jp.from_networkx(graph)
    graph.nodes[2]["pos"] = (2.0, 1.0)
    assert_identical(jp.from_networkx(graph).positions, jnp.asarray([[0.0, 0.0], [1.0, 0.0], [2.0, 1.0]]))
    nx.set_node_attributes(graph, {node: (float(node), 0.0) for node in graph}, "place")
    assert jp.from_networkx(graph, position="place").positions[2, 0] == 2.0


def test_networkx_isolated_nodes_stay():
    graph = nx.path_graph(3)
    graph.add_node("alone")
    topology = jp.from_networkx(graph)
    assert topology.num_nodes == 4
    assert topology.to_networkx().number_of_nodes() == 4
    assert not topology.is_connected()


def test_networkx_parallel_edges_stay():
    """Two resistors side by side are two edges."""
    graph = nx.MultiGraph([(0, 1), (0, 1), (1, 2)])
    topology = jp.from_networkx(graph)
    assert topology.num_edges == 3
    back = topology.to_networkx(k=[1.0, 2.0, 3.0])
    assert sorted(k for *_, k in back.edges(data="k")) == [1.0, 2.0, 3.0]


def test_distances_are_those_of_networkx():
    graph = jp.from_edges([(0, 1), (1, 2), (2, 0), (2, 3), (4, 5)]).padded(7)
    found = graph.distances()
    for a, lengths in nx.all_pairs_shortest_path_length(graph.to_networkx()):
        assert [found[a, b] for b in lengths] == list(lengths.values())
    assert np.isinf(found[0, 4])
