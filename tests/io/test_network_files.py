"""Networks that others made: exact values from every format, and one clear sentence about what is broken."""

import json
import os
import subprocess
import sys

import h5py
import jax
import networkx as nx
import numpy as np
import pytest
import sample_files
from helpers import assert_identical
from sample_files import (
    EDGES,
    GRAPHML,
    NAMES,
    POSITIONS,
    K,
    archive,
    assert_one_line,
    edge_list,
    mutations,
    quietly,
    small_run,
    valid_files,
    written,
)

import jaxphys as jp
from jaxphys.io import load_network, read_network, run_dataset, save_network, save_run, typical_realization
from jaxphys.io.files import LARGEST_FILE, MOST_EDGES, MOST_NODES

# Host code in double precision; what depends on the precision of the leg is in test_round_trips.py.
pytestmark = pytest.mark.float64

ORDER = [2, 0, 1, 3]  # the nodes, in the order in which the edges above name them


@pytest.mark.parametrize("separator", [",", ";", "\t", " , "])
@pytest.mark.parametrize("quantity", ["k", "conductance", "resistance"])
def test_edge_lists(separator, quantity, tmp_path):
    network, labels = read_network(written(tmp_path, "a.csv", edge_list(separator, quantity)))
    assert isinstance(network, jp.FlowNetwork)
    assert labels == tuple(NAMES[i] for i in ORDER)
    assert [[ORDER[end] for end in edge] for edge in np.asarray(network.topology.edges)] == EDGES
    np.testing.assert_allclose(network.k, K, rtol=1e-15)
    assert network.topology.positions is None


def test_edge_lists_as_spreadsheets_write_them(tmp_path):
    text = "\ufeff" + edge_list().replace("\n", "\r\n").replace("röhre", '"röhre"') + ",,,\r\n\r\n"
    network, labels = read_network(written(tmp_path, "a.csv", text.encode()))
    assert labels[0] == "röhre"
    assert network.k.tolist() == K
    excel = written(tmp_path, "b.csv", edge_list("\t").replace("\n", "\r\n").encode("utf-16"))
    assert read_network(excel).network.k.tolist() == K
    assert read_network(excel).labels == labels


def test_edge_lists_with_positions_are_springs_where_they_say_so(tmp_path):
    path = written(tmp_path, "a.csv", edge_list(quantity="stiffness", places=True))
    network = load_network(path)
    assert isinstance(network, jp.SpringNetwork)
    assert network.law == "central"
    assert network.topology.positions.tolist() == [POSITIONS[i] for i in ORDER]
    assert isinstance(read_network(path, kind="flow").network, jp.FlowNetwork)
    path = written(tmp_path, "b.csv", edge_list(places=True))
    assert isinstance(load_network(path), jp.FlowNetwork)
    assert isinstance(read_network(path, kind="spring").network, jp.SpringNetwork)
    space = "source,target,source_x,source_y,source_z,target_x,target_y,target_z\na,b,0,0,0,1,2,3\n"
    network = load_network(written(tmp_path, "c.csv", space), unweighted=True)
    assert network.topology.positions.tolist() == [[0, 0, 0], [1, 2, 3]]


def test_edge_lists_of_node_networks(tmp_path):
    text = "source,target,k\na,a,2\nb,a,-0.5\nb,b,3\nc,c,1\n"
    network, labels = read_network(written(tmp_path, "a.csv", text), kind="node")
    assert labels == ("a", "b", "c")
    assert network.hessian().tolist() == [[2, -0.5, 0], [-0.5, 3, 0], [0, 0, 1]]


def test_graphml(tmp_path):
    path = written(tmp_path, "a.graphml", GRAPHML)
    network, labels = read_network(path)
    assert isinstance(network, jp.SpringNetwork)
    assert labels == tuple(NAMES)
    assert np.asarray(network.topology.edges).tolist() == EDGES
    assert network.k.tolist() == K
    assert network.topology.positions.tolist() == POSITIONS
    assert isinstance(read_network(path, kind="flow").network, jp.FlowNetwork)


# What a caller says of files whose values do not say what they are.
SAID = {"weight": {"values": "weight=conductance"}, None: {"unweighted": True}}


@pytest.mark.parametrize("quantity", ["k", "conductance", "resistance", "weight", None])
def test_graphml_of_networkx(quantity, tmp_path):
    graph = nx.random_regular_graph(3, 10, seed=1)
    values = {edge: 2.0 ** (i - 5) for i, edge in enumerate(graph.edges)}
    if quantity is not None:
        nx.set_edge_attributes(graph, values, quantity)
    graph.add_node("alone")
    for node in graph:
        graph.nodes[node]["pos"] = f"({hash(node) % 7}, 0.5)"
    nx.write_graphml(graph, tmp_path / "a.graphml")
    network, labels = read_network(tmp_path / "a.graphml", **SAID.get(quantity, {}))
    assert labels == tuple(map(str, graph))
    assert network.num_nodes == 11
    assert network.topology.positions[:, 1].tolist() == [0.5] * 11
    number = {label: i for i, label in enumerate(labels)}
    found = {
        frozenset(edge): k
        for edge, k in zip(np.asarray(network.topology.edges).tolist(), network.k.tolist(), strict=True)
    }
    for (a, b), k in values.items():
        expected = {"resistance": 1 / k, None: 1.0}.get(quantity, k)
        assert found[frozenset((number[str(a)], number[str(b)]))] == expected


@pytest.mark.parametrize("listed", ["links", "edges"])
@pytest.mark.parametrize("quantity", ["k", "stiffness", "weight"])
def test_node_link_data_of_networkx(listed, quantity, tmp_path):
    graph = nx.Graph(purpose="test")
    for name, (x, y) in zip(NAMES, POSITIONS, strict=True):
        graph.add_node(name, x=x, y=y)
    for (a, b), k in zip(EDGES, K, strict=True):
        graph.add_edge(NAMES[a], NAMES[b], **{quantity: k})
    path = written(tmp_path, "a.json", nx.node_link_data(graph, edges=listed))
    network, labels = read_network(path, **SAID.get(quantity, {}))
    assert isinstance(network, jp.SpringNetwork if quantity == "stiffness" else jp.FlowNetwork)
    assert labels == tuple(NAMES)
    assert network.topology.positions.tolist() == POSITIONS
    assert sorted(network.k.tolist()) == sorted(K)


def test_labels_of_our_own_json_are_numbers(tmp_path):
    network = jp.FlowNetwork(jp.from_edges(np.array(EDGES)), K)
    save_network(network, tmp_path / "a.json")
    read = read_network(tmp_path / "a.json")
    assert_identical(read.network, network)
    assert read.labels == ("0", "1", "2", "3")


def test_our_own_json_says_whether_it_has_parallel_edges(tmp_path):
    network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 0)]), [1.0, 1.0])
    save_network(network, tmp_path / "a.json")
    assert_identical(load_network(tmp_path / "a.json"), network)
    content = json.loads((tmp_path / "a.json").read_text()) | {"multigraph": False}
    with pytest.raises(
        jp.InputError, match=r"edge 1 repeats the edge '1' – '0' of edge 0; .* \(multigraph\)"
    ):
        load_network(written(tmp_path, "a.json", content))


def test_isolated_nodes_and_pieces_are_read(tmp_path):
    content = {"nodes": [{"id": i} for i in range(5)], "edges": [{"source": 0, "target": 4, "k": 1}]}
    assert load_network(written(tmp_path, "a.json", content)).num_nodes == 5
    path = written(tmp_path, "a.csv", "source,target\na,b\nc,d\n")
    assert not load_network(path, unweighted=True).topology.is_connected()


@pytest.mark.parametrize("quantity", ["k", "conductance", "resistance", "stiffness"])
def test_arrays(quantity, tmp_path):
    values = 1 / np.array(K) if quantity == "resistance" else np.array(K)
    arrays = {"edges": np.array(EDGES, np.uint8), quantity: values, "positions": np.array(POSITIONS)}
    arrays |= {"labels": np.array(NAMES), "box": np.array([10, 20]), "remark": np.zeros(3)}
    network, labels = read_network(written(tmp_path, "a.npz", arrays))
    assert isinstance(network, jp.SpringNetwork if quantity == "stiffness" else jp.FlowNetwork)
    assert labels == tuple(NAMES)
    assert np.asarray(network.topology.edges).tolist() == EDGES
    np.testing.assert_allclose(network.k, K, rtol=1e-15)
    assert network.topology.positions.tolist() == POSITIONS
    assert network.topology.box.tolist() == [10, 20]


def test_arrays_alone(tmp_path):
    path = written(tmp_path, "a.npz", {"edges": np.array(EDGES)})
    network, labels = read_network(path, unweighted=True)
    assert network.k.tolist() == [1.0] * 4
    assert labels == ("0", "1", "2", "3")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [">f8", "<f4", "i2"])
def test_a_matrix_is_a_node_network(order, dtype, tmp_path):
    matrix = np.array([[2, -1, 0], [-1, 3, 4], [0, 4, -5]]).astype(dtype, order=order)
    network, labels = read_network(written(tmp_path, "a.npz", {"matrix": matrix}))
    assert network.hessian().tolist() == matrix.tolist()
    assert labels == ("0", "1", "2")


@pytest.fixture(scope="module")
def spring_run(tmp_path_factory):
    """The bytes of a run of springs."""
    path = tmp_path_factory.mktemp("runs") / "run.nc"
    save_run(run_dataset(small_run("spring")), path)
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["flow", "spring", "vector", "periodic", "node"])
def test_runs_hold_networks(kind, tmp_path):
    run = small_run(kind)
    dataset = run_dataset(run)
    save_run(dataset, tmp_path / "run.nc")
    for realization in (None, 0, len(run.cost) - 1):
        network, labels = read_network(tmp_path / "run.nc", realization=realization)
        chosen = typical_realization(dataset) if realization is None else realization
        expected = jax.tree.map(lambda leaf, chosen=chosen: leaf[chosen], run.network)
        if kind != "node":
            # Padding is no part of the network.
            real = np.asarray(expected.edge_mask)
            topology = expected.topology
            topology = jp.from_edges(
                np.asarray(topology.edges)[real],
                num_nodes=topology.num_nodes,
                positions=topology.positions,
                box=topology.box,
            )
            k = expected.k[real]
            law = {"law": expected.law} if kind != "flow" else {}
            expected = type(expected)(topology, k, **law)
        assert_identical(network, expected)
        assert labels == tuple(str(i) for i in range(network.num_nodes))


@pytest.mark.parametrize(
    ("change", "saying"),
    [
        (lambda file: file.attrs.__delitem__("network"), "does not say its network"),
        (lambda file: file.attrs.__setitem__("network", "Tree"), "of which class"),
        (lambda file: file.attrs.__setitem__("num_nodes", 10**9), "between 1 and 20000 nodes"),
        (lambda file: file.attrs.__setitem__("num_nodes", 3), "nodes below 3"),
        (lambda file: file.attrs.__setitem__("num_nodes", "many"), "does not say its num_nodes"),
        (lambda file: file.attrs.__delitem__("law"), "does not say its law"),
        (lambda file: file.__delitem__("edges"), "lacks edges"),
        (lambda file: replace(file, "k", np.full((3, 15), np.nan)), "`k` must hold finite numbers"),
        (lambda file: replace(file, "k", np.ones((3, 4))), "two nodes for every entry"),
        (lambda file: replace(file, "k", np.ones(15)), "realizations and edges"),
        (lambda file: replace(file, "k", h5py.Empty("f8")), "realizations and edges"),
        (lambda file: replace(file, "k", h5py.ExternalLink("other.h5", "/k")), "'k' must hold its numbers"),
        (lambda file: replace(file, "k", h5py.SoftLink("/cost")), "'k' must hold its numbers"),
        (lambda file: replace(file, "cost", np.ones((2, 2))), "`cost` must have realizations"),
        (lambda file: replace(file, "status", np.ones(2)), "`status` must have one"),
        (lambda file: replace(file, "positions", np.ones((3, 8, 9))), "at most three coordinates"),
        (lambda file: replace(file, "edges", np.full((15, 2), -1)), "between 0 and 19999"),
        (lambda file: replace(file, "edges", np.full((15, 2), 0.5)), "two nodes"),
        (lambda file: huge(file, "k", (3, 2**30), (1, 2**10)), "1073741824 edges"),
        (lambda file: huge(file, "k", (3, 15), (2**13, 2**13)), "larger chunks"),
        (lambda file: huge(file, "positions", (3, 2**30, 2), (1, 2**10, 2)), "larger than allowed"),
    ],
)
def test_broken_runs_hold_no_network(change, saying, tmp_path, spring_run):
    (tmp_path / "run.nc").write_bytes(spring_run)
    with h5py.File(tmp_path / "run.nc", "a") as file:
        change(file)
    assert_refused(tmp_path / "run.nc", saying)


def replace(file, name, values):
    del file[name]
    file[name] = values


def huge(file, name, shape, chunks):
    """Declared, but never written."""
    del file[name]
    file.create_dataset(name, shape, "f8", maxshape=[None] * len(shape), chunks=chunks, compression="gzip")


def assert_refused(path, saying, **arguments):
    with pytest.raises(jp.InputError, match=saying) as caught:
        read_network(path, **arguments)
    assert path.name in str(caught.value)
    assert_one_line(caught.value)


@pytest.mark.parametrize("realization", [-1, 3])
def test_realizations_exist_only_in_runs(realization, tmp_path):
    save_run(run_dataset(small_run("flow")), tmp_path / "run.nc")
    assert_refused(tmp_path / "run.nc", "between 0 and 2", realization=realization)
    assert_refused(written(tmp_path, "a.csv", edge_list()), "no realizations", realization=0)


def json_of(**changes):
    content = {
        "nodes": [{"id": "a"}, {"id": "b"}, {"id": "c"}],
        "edges": [{"source": "a", "target": "b", "k": 1.0}, {"source": "b", "target": "c", "k": 2.0}],
    }
    return json.dumps(content | changes)


def xml_of(inside, keys="", default="undirected"):
    return f'<graphml>{keys}<graph edgedefault="{default}">{inside}</graph></graphml>'


PAIR = '<node id="a"/><node id="b"/>'
AB = '<edge source="a" target="b"/>'
KEY = '<key id="d" for="edge" attr.name="k"/>'
ONE = np.array([[0, 1]])
OBJECTS = np.array([{"k": 1}], dtype=object)


@pytest.mark.parametrize(
    ("name", "content", "saying"),
    [
        ("a.csv", "begin,finish\n1,2\n", "source and target"),
        ("a.csv", "0,1,2.5\n1,2,0.5\n", "edge list, write source,target,conductance"),
        ("a.csv", "sources,target\n1,2\n", "'sources' looks like `source`"),
        ("a.csv", "source,Source,target\n1,2,3\n", "different columns, but 'source' stands there twice"),
        ("a.csv", "source,target,k,resistance\n1,2,1,1\n", "'k' and 'resistance'"),
        ("a.csv", "source,target,k,K\n1,2,1,1\n", "'k' and 'K'"),
        ("a.csv", "source,target,k,k\n1,2,1,1\n", "'k' stands there twice"),
        ("a.csv", "source,target,k\n1,2,much\n", "`k` of line 2 must be a positive number, but it is 'much'"),
        ("a.csv", "source,target,k\n1,2,1\n2,3,\n", "`k` of line 3 .* but it is ''"),
        ("a.csv", "source;target;k\n1;2;0,5\n", "decimal point"),
        ("a.csv", "source,target,k\n1,2,1_000\n", "positive number"),
        ("a.csv", "source,target,k\n1,2,١\n", "positive number"),
        ("a.csv", "source,target,k\n1,2,-1\n", "positive"),
        ("a.csv", "source,target,k\n1,2,0\n", "positive"),
        ("a.csv", "source,target,k\n1,2,nan\n", "positive"),
        ("a.csv", "source,target,k\n1,2,inf\n", "positive"),
        ("a.csv", "source,target,k\n1,2,1e999\n", "positive"),
        ("a.csv", "source,target,resistance\n1,2,0\n", "`resistance` of line 2 must be a positive"),
        ("a.csv", "source,target,resistance\n1,2,1e-310\n", "range of float64"),
        ("a.csv", "source,target\n1,1\n", "line 2 joins '1' to itself"),
        ("a.csv", "source,target\n1,2\n\n2,1\n", "line 2 and line 4 join '1' and '2' in both directions"),
        ("a.csv", "source,target\n", "must have edges"),
        ("a.csv", "source,target\n1,\n", "target in line 2 must name a node"),
        ("a.csv", "source,target\n1,2,3\n", "line 2 must have 2 cells"),
        ("a.csv", "source,target\n1\n", "line 2 must have 2 cells"),
        ("a.csv", 'source,target\n"1,2\n', "line 2 is no CSV"),
        ("a.csv", 'source,target\n"a\nb",2\n', "printable"),
        ("a.csv", "source,target\n\x1b[2J,2\n", "printable"),
        ("a.csv", f"source,target\n{'x' * 201},2\n", "at most 200 characters, but it has 201"),
        ("a.csv", f"source,target\n{'x' * 140_000},2\n", "field larger than field limit"),
        ("a.csv", "," * 2**21, "more than the 1048576 characters"),
        ("a.csv", "source,target,source_x\n1,2,0\n", "positions as source_x"),
        ("a.csv", "source,target,source_x,source_y\n1,2,0,0\n", "positions as source_x"),
        ("a.csv", "source,target,source_x,target_x\n1,2,0,0\n", "positions as source_x"),
        (
            "a.csv",
            "source,target,source_x,source_y,target_x,target_y\n1,2,0,0,1,1\n2,3,1,2,5,5\n",
            "line 3 places '2' elsewhere than line 2",
        ),
        (
            "a.csv",
            "source,target,source_x,source_y,target_x,target_y\n1,2,0,0,1,east\n",
            "`target_y` in line 2 must be a finite number, but it is 'east'",
        ),
        (
            "a.csv",
            "source,target,source_x,source_y,target_x,target_y\n1,2,0,0,1,1e16\n",
            "smaller than 1e15",
        ),
        ("a.csv", "source,target,stiffness\n1,2,3\n", "positions of the nodes of a spring network"),
        (
            "a.csv",
            "source,target,stiffness,source_x,source_y,target_x,target_y\n1,2,3,1,1,1,1\n",
            "length 0",
        ),
        ("a.csv", b"source,target\n\xff\xfe,2\n", "byte 14 is no UTF-8"),
        ("a.csv", b"source,target\n\0,2\n", "character 14 is NUL"),
        ("a.csv", "", "it is empty"),
        ("a.csv", "\n\n \n", "holds no lines"),
        ("a.json", "", "it is empty"),
        ("a.json", "{", "line 1 is no JSON"),
        ("a.json", bytes(range(256)), "NUL|UTF-8"),
        ("a.json", "[1]", "must be a JSON object, but it is a list"),
        ("a.json", "[" * 100_000, "too deep"),
        ("a.json", '{"a":' * 100_000, "too deep"),
        ("a.json", '{"nodes": [{"id": 0}]}', "lacks `edges`"),
        ("a.json", '{"edges": []}', "lacks `nodes`"),
        ("a.json", json_of(links=[]), "holds both"),
        ("a.json", json_of(nodes=3), "`nodes` must be a JSON list, but it is 3"),
        ("a.json", json_of(nodes=[1, 2]), "node 0 must be a JSON object, but it is 1"),
        ("a.json", json_of(nodes=[{"name": "a"}]), "node 0 must have an `id`"),
        ("a.json", json_of(nodes=[{"id": []}]), "`id` of node 0 must be text or an integer"),
        ("a.json", json_of(nodes=[{"id": [["a"], 1]}]), "`id` of node 0 must be text or an integer"),
        ("a.json", json_of(nodes=[{"id": [True]}]), "`id` of node 0 must be text or an integer"),
        ("a.json", json_of(nodes=[{"id": ["a" * 200]}]), "at most 200 characters"),
        ("a.json", json_of(nodes=[{"id": True}]), "`id` of node 0 must be text or an integer"),
        ("a.json", json_of(nodes=[{"id": 1.5}]), "`id` of node 0 must be text or an integer"),
        ("a.json", json_of(nodes=[{"id": "1"}, {"id": 1}]), "node 1 repeats the `id` '1' of node 0"),
        ("a.json", json_of(nodes=[{"id": "a\u202e"}]), "printable"),
        ("a.json", json_of(nodes=[{"id": i} for i in range(MOST_NODES + 1)]), "20000 nodes"),
        ("a.json", json_of(edges={"a": 1}), "`edges` must be a JSON list"),
        ("a.json", json_of(edges=[]), "must have edges"),
        ("a.json", json_of(edges=[1]), "edge 0 must be a JSON object"),
        ("a.json", json_of(edges=[{"source": "a"}]), "edge 0 .* lacks `target`"),
        ("a.json", json_of(edges=[{"source": "a", "target": "z"}]), "not among the nodes: 'z'"),
        ("a.json", json_of(edges=[{"source": "a", "target": {"b": 1}}]), "must be text or an integer"),
        ("a.json", json_of(edges=[{"source": "a", "target": ["b"]}]), "not among the nodes: a list"),
        ("a.json", json_of(edges=[{"source": "a", "target": "b", "k": "1e3x"}]), "but it is '1e3x'"),
        ("a.json", json_of(edges=[{"source": "a", "target": "b", "k": True}]), "but it is True"),
        ("a.json", json_of(edges=[{"source": "a", "target": "b", "k": None}]), "but it is None"),
        ("a.json", json_of(edges=[{"source": "a", "target": "b", "k": {}}]), "but it is a dict"),
        ("a.json", json_of(edges=[{"source": "a", "target": "b", "k": 1, "R": 1}]), "'k' and 'R'"),
        ("a.json", json_of().replace('"k": 2.0', '"colour": 1'), "edge 1 must have `k` as others do"),
        ("a.json", json_of().replace("2.0", "NaN"), "holds NaN"),
        ("a.json", json_of().replace("2.0", "1e999"), "positive number, but it is inf"),
        ("a.json", json_of().replace("2.0", "9" * 4000), "positive number"),
        ("a.json", json_of().replace("2.0", "9" * 10_000), "positive number"),
        ("a.json", json_of().replace('"target": "b"', '"target": ' + "9" * 5000), "text or an integer"),
        ("a.json", json_of(directed="no"), "`directed` must be true or false"),
        ("a.json", json_of(multigraph=1), "`multigraph` must be true or false"),
        ("a.json", json_of(graph=[]), "`graph` must be a JSON object"),
        ("a.json", json_of(graph={"kind": "tree"}), "flow, spring or node, but it is 'tree'"),
        ("a.json", json_of(graph={"kind": ["flow"]}), "flow, spring or node, but it is a list"),
        ("a.json", json_of(graph={"kind": ""}), "flow, spring or node"),
        ("a.json", json_of(graph={"kind": "spring"}), "positions"),
        ("a.json", json_of(graph={"kind": "node"}), "diagonal entry, but 'a' has none"),
        ("a.json", json_of(graph={"box": [1, 1]}), "come with positions"),
        ("a.json", json_of(graph={"box": "wide"}), "`box` must be a list"),
        ("a.json", json_of(graph={"box": [1, -1]}), "`box` must be a list"),
        ("a.json", json_of(nodes=[{"id": "a", "pos": [0, 0]}, {"id": "b"}, {"id": "c"}]), "only 1 of 3"),
        ("a.json", json_of(nodes=[{"id": n, "x": 1} for n in "abc"]), "x and y"),
        ("a.json", json_of(nodes=[{"id": n, "pos": 5} for n in "abc"]), "list of at most three"),
        ("a.json", json_of(nodes=[{"id": n, "pos": ["w", 1]} for n in "abc"]), "finite numbers"),
        ("a.json", json_of(nodes=[{"id": n, "pos": [1] * i} for i, n in enumerate("abc", 1)]), "like others"),
        ("a.graphml", "hello", "line 1 is no XML"),
        ("a.graphml", "<html/>", "must be GraphML"),
        ("a.graphml", "<graphml/>", "must be GraphML with a graph"),
        ("a.graphml", GRAPHML[:-80], "no XML"),
        ("a.graphml", '<!DOCTYPE g [<!ENTITY a "aa">]><graphml>&a;</graphml>', "declares a document type"),
        ("a.graphml", '<!DOCTYPE g SYSTEM "file:///etc/hostname"><graphml/>', "declares a document type"),
        ("a.graphml", xml_of("&a;"), "no XML"),
        ("a.graphml", "<graphml>" * 100, "deeper than 64"),
        ("a.graphml", xml_of("<node/>"), "node in line 1 must have id"),
        ("a.graphml", xml_of(PAIR + PAIR), "line 1 repeats the node 'a'"),
        ("a.graphml", xml_of(PAIR), "must have edges"),
        ("a.graphml", xml_of(PAIR + '<edge source="a"/>'), "edge in line 1 must have target"),
        ("a.graphml", xml_of(PAIR + '<edge source="a" target="z"/>'), "does not have: 'z'"),
        ("a.graphml", xml_of(PAIR + '<edge source="a" target="a"/>'), "line 1 joins 'a' to itself"),
        (
            "a.graphml",
            xml_of(PAIR + '<edge source="a" target="b"/>\n<edge source="b" target="a"/>'),
            "line 1 and line 2 join 'a' and 'b' in both directions",
        ),
        ("a.graphml", xml_of(PAIR + "<hyperedge/>"), "a hyperedge where"),
        ("a.graphml", xml_of('<node id="a"><graph edgedefault="undirected"/></node>'), "a graph where"),
        ("a.graphml", xml_of(PAIR + AB + "<x><node id='c'/></x>"), "a node where"),
        ("a.graphml", xml_of(PAIR + AB).replace("</graph>", "</graph><graph/>"), "second graph"),
        ("a.graphml", xml_of('<node id="a"><data key="q">1</data></node>'), "'q', which is not declared"),
        (
            "a.graphml",
            xml_of(PAIR + '<edge source="a" target="b"><data key="d">x</data></edge>', KEY),
            "`k` of line 1 must be a positive number, but it is 'x'",
        ),
        (
            "a.graphml",
            xml_of(PAIR + f'<edge source="a" target="b"><data key="d">{"1" * 2000}</data></edge>', KEY),
            "`k` of line 1 must be a positive number",
        ),
        (
            "a.graphml",
            xml_of(PAIR + '<edge source="a" target="b"/>', KEY.replace("edge", "node").replace('"k"', '"X"')),
            "node attribute 'X' looks like `x`",
        ),
        ("a.npz", b"PK junk", "no .npz archive"),
        ("a.npz", {"x": np.zeros(3)}, "`edges` or `matrix`"),
        ("a.npz", {"edge": np.zeros((3, 2), int)}, "'edge' looks like `edges`"),
        ("a.npz", {"edges": np.full((3, 2), 0.5)}, "`edges` must hold integers"),
        ("a.npz", {"edges": np.zeros((3, 3), int)}, "2 columns"),
        ("a.npz", {"edges": np.array([["a", "b"]])}, "`edges` must hold integers"),
        ("a.npz", {"edges": np.array([[0, -1]])}, "between 0 and 19999"),
        ("a.npz", {"edges": np.array([[0, 2**63]], np.uint64)}, "between 0 and 19999"),
        ("a.npz", {"edges": np.zeros((0, 2), int)}, "should have 0 entries"),
        ("a.npz", {"edges": ONE, "k": np.ones(2)}, "1 entries like `edges`, but it has 2"),
        ("a.npz", {"edges": ONE, "k": np.array([np.nan])}, "entry \\[0\\] is not"),
        ("a.npz", {"edges": ONE, "k": np.array([-1.0])}, "`k` of row 0 of `edges`"),
        ("a.npz", {"edges": ONE, "k": np.array([1j])}, "its dtype is 'complex128'"),
        ("a.npz", {"edges": ONE, "k": OBJECTS}, "pickled Python objects"),
        ("a.npz", {"edges": ONE, "labels": np.array(["a"])}, "2 names"),
        ("a.npz", {"edges": ONE, "labels": np.array(["a", "a"])}, "stands there twice"),
        ("a.npz", {"edges": ONE, "labels": np.array(["a", "b\n\x07c"])}, "printable"),
        (
            "a.npz",
            {"edges": ONE, "positions": np.ones((3, 2)), "labels": np.arange(2)},
            "3 names",
        ),
        ("a.npz", {"edges": ONE, "positions": np.ones((1, 2))}, "2 rows"),
        ("a.npz", {"edges": ONE, "positions": np.ones((2, 9))}, "at most three coordinates"),
        ("a.npz", {"matrix": np.ones((2, 3))}, "square"),
        (
            "a.npz",
            {"matrix": np.array([[1, 2], [3, 4]])},
            r"\[0, 1\] is 2.0 and entry \[1, 0\] is 3.0",
        ),
        ("a.npz", {"matrix": np.ones((2, 2)), "edges": np.array([[0, 1]])}, "holds both"),
        ("a.npz", {"matrix": np.ones((4001, 2))}, "4001 nodes"),
        ("a.npz", {"matrix": np.array([["a"]])}, "`matrix` must hold numbers"),
        ("a.txt", "1 2", "must end in .csv"),
        ("a", "1 2", "must end in .csv"),
        ("a.pkl", b"\x80\x04.", "must end in .csv"),
        ("a.nc", bytes(range(256)), "cannot be read as netCDF"),
    ],
)
def test_broken_networks_are_refused(name, content, saying, tmp_path):
    assert_refused(written(tmp_path, name, content), saying)


@pytest.mark.parametrize(
    ("name", "content", "kind", "saying"),
    [
        ("a.csv", edge_list(), "spring", "positions"),
        ("a.csv", edge_list(), "node", "needs an edge from every node to itself"),
        ("a.csv", "source,target\na,a\nb,b\n", "node", "values of a node network"),
        ("a.csv", "source,target,resistance\na,a,1\n", "node", "gives resistances"),
        ("a.csv", "source,target,k\na,a,1\na,b,1\nb,b,1\nb,a,1\n", "node", "line 5 repeats the edge"),
        ("a.csv", "source,target,k\na,a,1\na,b,nan\nb,b,1\n", "node", "`k` of line 3 must be a finite"),
        ("a.npz", {"matrix": np.eye(2)}, "flow", "a node network, not of a flow network"),
    ],
)
def test_the_kind_asked_for_must_fit(name, content, kind, saying, tmp_path):
    assert_refused(written(tmp_path, name, content), saying, kind=kind)


def test_unknown_kinds_are_refused(tmp_path):
    with pytest.raises(jp.InputError, match="`kind` must be flow, spring or node, but it is 'tree'"):
        read_network(tmp_path / "a.csv", kind="tree")


def test_what_is_no_regular_file_is_refused_before_it_is_opened(tmp_path):
    """A pipe would wait for ever, a device would never end."""
    for suffix in (".csv", ".json", ".graphml", ".npz", ".nc"):
        os.mkfifo(tmp_path / f"pipe{suffix}")
        (tmp_path / f"device{suffix}").symlink_to("/dev/zero")
        (tmp_path / f"folder{suffix}").mkdir()
        (tmp_path / f"circle{suffix}").symlink_to(f"circle{suffix}")
        assert_refused(tmp_path / f"pipe{suffix}", "a pipe, a device")
        assert_refused(tmp_path / f"device{suffix}", "a pipe, a device")
        assert_refused(tmp_path / f"folder{suffix}", "a folder")
        assert_refused(tmp_path / f"circle{suffix}", "cannot be read")
        assert_refused(tmp_path / f"missing{suffix}", "No such file")
        with pytest.raises(jp.InputError, match="none that a file can have"):
            read_network(tmp_path / f"nul\0{suffix}")
        with pytest.raises(jp.InputError, match=r"line\\nbreak"):
            read_network(tmp_path / f"line\nbreak{suffix}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_refused(tmp_path):
    path = written(tmp_path, "a.csv", edge_list())
    path.chmod(0)
    assert_refused(path, "Permission denied")


def test_large_files_are_refused_by_their_size(tmp_path):
    for suffix in (".csv", ".json", ".graphml", ".npz"):
        path = tmp_path / f"large{suffix}"
        with path.open("wb") as file:
            file.truncate(LARGEST_FILE + 1)  # a hole: takes no room
        assert_refused(path, f"{LARGEST_FILE + 1} bytes, more than the {LARGEST_FILE} allowed")


def test_many_lines_are_refused_while_they_are_read(tmp_path):
    assert_refused(written(tmp_path, "a.csv", "source,target\n" + "\n" * (MOST_EDGES + 1)), "1000000 lines")
    edges = "".join(f"{i},{i + 1}\n" for i in range(MOST_NODES))
    assert_refused(written(tmp_path, "b.csv", "source,target\n" + edges), "20000 nodes")
    assert_refused(
        written(tmp_path, "c.json", "{" * (MOST_EDGES + 3 * MOST_NODES + 1)), "more lists and objects"
    )


def test_archives_are_measured_before_they_are_unpacked(tmp_path):
    path = archive(tmp_path / "a.npz", **{"edges.npy": bytes(2**28 + 1)})
    assert path.stat().st_size < 2**20
    assert_refused(path, "unpacks to 268435457 bytes")
    assert_refused(archive(tmp_path / "b.npz", **{"../edges.npy": b"x"}), "no name that numpy.savez gives")
    assert_refused(archive(tmp_path / "c.npz", **{"edges.pkl": b"x"}), "no name that numpy.savez gives")
    assert_refused(archive(tmp_path / "d.npz", **{f"a{i}.npy": b"x" for i in range(65)}), "at most 64 arrays")


def test_a_lying_header_makes_no_array(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((1, 2), int))
    honest = (tmp_path / "a.npy").read_bytes()
    for shape in (b"(1000000000, 2)", b"(1, 200000000)", b"(-1, -2)", b"(1, 1)", b"(2, 2)"):
        start, end = honest.index(b"(1, 2)"), honest.index(b"\n")
        lying = honest[:start] + (shape + b", }").ljust(end - start) + honest[end:]
        assert len(lying) == len(honest)
        assert_refused(archive(tmp_path / "a.npz", **{"edges.npy": lying}), "that many are not in it")


def test_only_input_errors_come_from_broken_files(tmp_path):
    for path in valid_files(tmp_path):
        content = path.read_bytes()
        copies = mutations(content, np.random.default_rng(11))
        outcomes = {"read": 0, "refused": 0}
        for _ in range(300):
            path.write_bytes(next(copies))
            try:
                network, labels = quietly(read_network, path)
            except jp.InputError as error:
                assert_one_line(error)
                outcomes["refused"] += 1
            else:
                assert len(labels) == network.num_nodes
                assert np.isfinite(network.k).all()
                outcomes["read"] += 1
        assert min(outcomes.values()) > 0, (path.name, outcomes)


def test_only_input_errors_come_from_broken_arrays(tmp_path):
    """Arrays are changed inside the archive, so that no checksum protects the reader."""
    for name, array in {"edges": np.array(EDGES), "labels": np.array(NAMES), "matrix": np.eye(4)}.items():
        np.save(tmp_path / "a.npy", array)
        copies = mutations((tmp_path / "a.npy").read_bytes(), np.random.default_rng(12))
        np.save(tmp_path / "edges.npy", np.array(EDGES))
        outcomes = {"read": 0, "refused": 0}
        for _ in range(300):
            members = {f"{name}.npy": next(copies)}
            if name == "labels":
                members["edges.npy"] = (tmp_path / "edges.npy").read_bytes()
            archive(tmp_path / "a.npz", **members)
            try:
                network, labels = quietly(read_network, tmp_path / "a.npz")
            except jp.InputError as error:
                assert_one_line(error)
                outcomes["refused"] += 1
            else:
                assert len(labels) == network.num_nodes
                outcomes["read"] += 1
        assert min(outcomes.values()) > 0, (name, outcomes)


BROKEN_RUNS = """
import sys, numpy as np
from sample_files import assert_one_line, mutations
import jaxphys as jp
from jaxphys.io import load_run, read_network
path = sys.argv[1]
content = open(path, "rb").read()
copies = mutations(content, np.random.default_rng(13))
for _ in range(100):
    open(path, "wb").write(next(copies))
    for read in (read_network, load_run):
        try:
            read(path)
        except jp.InputError as error:
            assert_one_line(error)
print("done")
"""


def test_only_input_errors_come_from_broken_runs(tmp_path, spring_run):
    """In a process of its own: what HDF5 does to broken files is not ours to promise."""
    (tmp_path / "run.nc").write_bytes(spring_run)
    command = [sys.executable, "-c", BROKEN_RUNS, str(tmp_path / "run.nc")]
    folders = [os.path.dirname(sample_files.__file__), os.path.dirname(os.path.dirname(jp.__file__))]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(folders)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.stdout.endswith("done\n"), done.stderr[-2000:]


@pytest.mark.parametrize("name", ["network.npz", "network.csv", "run.nc", "network"])
def test_json_under_another_name_is_not_written(tmp_path, name):
    """It could not be read again, and may be a run that is in the way."""
    with pytest.raises(jp.InputError, match=rf"^File .*{name}: it would hold JSON.*`export_network`"):
        jp.io.save_network(jp.FlowNetwork(jp.square_lattice((2, 2))), tmp_path / name)
    assert list(tmp_path.iterdir()) == []
