"""Strengths of edges under the names that people give them, parallel edges, and squares of something else.

A strength is understood, asked about, or said to be missing aloud; never taken for 1 in silence.
"""

import json
import warnings

import networkx as nx
import numpy as np
import pytest
from helpers import assert_identical

import jaxphys as jp
from jaxphys import cli
from jaxphys.io import NetworkFile, ResponseFile, export_network, read_measured, read_network
from jaxphys.io.strengths import read_name

# Host code in double precision.
pytestmark = pytest.mark.float64

EDGES = [("a", "b"), ("b", "c"), ("c", "a")]
VALUES = [2.0, 4.0, 0.5]


def as_csv(path, name, values=VALUES):
    rows = [f'a,b,"{values[0]!r}"', f'b,c,"{values[1]!r}"', f'c,a,"{values[2]!r}"']
    (path / "net.csv").write_text("\n".join([f'source,target,"{name}"', *rows]), encoding="utf-8")
    return path / "net.csv"


def as_json(path, name, values=VALUES):
    edges = [{"source": a, "target": b, name: value} for (a, b), value in zip(EDGES, values, strict=True)]
    content = {"nodes": [{"id": node} for node in "abc"], "links": edges}
    (path / "net.json").write_text(json.dumps(content))
    return path / "net.json"


def as_graphml(path, name, values=VALUES):
    graph = nx.Graph()
    graph.add_nodes_from("abc")
    for (a, b), value in zip(EDGES, values, strict=True):
        graph.add_edge(a, b, **{name: value})
    nx.write_graphml(graph, path / "net.graphml")
    return path / "net.graphml"


def as_npz(path, name, values=VALUES):
    np.savez(path / "net.npz", edges=np.array([[0, 1], [1, 2], [2, 0]]), **{name: np.array(values)})
    return path / "net.npz"


FORMATS = [as_csv, as_json, as_graphml, as_npz]


def strengths(path, **said):
    """k of every edge, by the names of its ends."""
    network, labels = read_network(path, **said)
    labels = labels if labels[0] == "a" else "abc"
    pairs = [tuple(sorted(labels[end] for end in edge)) for edge in np.asarray(network.topology.edges)]
    found = dict(zip(pairs, np.asarray(network.k).tolist(), strict=True))
    return [found[tuple(sorted(pair))] for pair in EDGES]


UNDERSTOOD = [
    # name, is a resistance, SI value of its unit
    *[(name, True, 1.0) for name in ("R", "ohms", "resistance (ohm)", "R_ohm", "r_ohm", "Resistance [Ω]")],
    *[(name, True, 1.0) for name in ("hydraulic resistance", "RESISTANCE (OHM)", "flowResistance")],
    *[(name, False, 1.0) for name in ("G", "cond", "conductance", "Conductances", "hydraulic_conductance")],
    *[(name, False, 1.0) for name in ("G_siemens", "siemens", "mho", "k", "K", "g", "conductance (a.u.)")],
    ("resistance (kOhm)", True, 1e3),
    ("R_MOhm", True, 1e6),
    ("R in mΩ", True, 1e-3),
    ("resistanceKOhm", True, 1e3),
    ("resistance (megohm)", True, 1e6),
    ("G_mS", False, 1e-3),
    ("G (µS)", False, 1e-6),
    ("hydraulic conductance (mL min^-1 mmHg^-1)", False, 1e-6 / 60 / 133.322387415),
    ("hydraulic resistance (Pa s m^-3)", True, 1.0),
    ("thermal conductance (W K^-1)", False, 1.0),
]


@pytest.mark.parametrize("write", FORMATS)
@pytest.mark.parametrize(("name", "inverse", "size"), UNDERSTOOD)
def test_names_and_units_are_understood_in_every_format(write, name, inverse, size, tmp_path):
    values = np.array(VALUES) * size
    expected = 1 / values if inverse else values
    np.testing.assert_allclose(strengths(write(tmp_path, name)), expected, rtol=1e-15)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("stiffness", 1),
        ("spring_constant", 1),
        ("Spring Constant [N/m]", 1),
        ("k (pN/nm)", 1e-3),
        ("k_N_per_mm", 1e3),
        ("force constant (kcal/mol/Å^2)", 4184 / 6.02214076e23 * 1e20),
    ],
)
def test_stiffnesses_are_those_of_springs(name, size):
    found = read_name(name)
    assert found.quantity == "stiffness"
    assert float(found.factor) == pytest.approx(size, rel=1e-15)


# By hand: exponents of SI prefixes, and what a bare number of that unit is.
PREFIXES = {"f": -15, "p": -12, "n": -9, "u": -6, "µ": -6, "μ": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9}


@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes_scale(prefix):
    assert read_name("resistance %") is None
    for quantity, units in {"resistance": ("Ohm", "ohm", "Ω"), "conductance": ("S", "Siemens")}.items():
        for unit in units:
            for name in (f"{quantity} ({prefix}{unit})", f"{quantity}_{prefix}{unit}"):
                found = read_name(name)
                assert found.quantity == quantity
                assert float(found.factor) == float(f"1e{PREFIXES[prefix]}")


UNCLEAR = {
    "length": "'length'",
    "value": "'value'",
    "r": r"'r' \(which may be a resistance or a radius\)",
    "conductivity": r"property of the material: the conductance of an edge also takes its length",
    "capacity": "'capacity'",
    "-R": "'-R'",
    "log(R)": r"'log\(R\)'",
    "resistance (foo)": r"whose unit 'foo' is not understood",
    "resistance (ohm m)": "whose unit 'ohm m' is none of resistance",
    "G (ohm)": "whose unit 'ohm' is none of conductance",
    "conductance_s": "whose unit 's' is none of conductance",
    "RESISTANCE_MOHM": "may be mega or milli",
    "R_initial": "'R_initial'",
}


@pytest.mark.parametrize("write", FORMATS)
@pytest.mark.parametrize("name", UNCLEAR)
def test_what_may_be_a_strength_is_asked_about(write, name, tmp_path, capsys):
    path = write(tmp_path, name)
    with pytest.raises(jp.InputError, match=UNCLEAR[name]) as error:
        read_network(path)
    assert "--values" in str(error.value)
    assert "--unweighted" in str(error.value)
    assert str(error.value).startswith(f"File {path}: ")
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 800
    # Each cure that it names works.
    assert strengths(path, unweighted=True) == [1.0, 1.0, 1.0]
    assert strengths(path, values=f"{name}=conductance") == VALUES
    assert strengths(path, values=f"{name}=resistance (kOhm)") == [1 / 2000, 1 / 4000, 1 / 500]
    if write is not as_csv:
        return
    out = str(tmp_path / "out.csv")
    assert cli.main(["export", str(path), "--to", "csv", "--out", out]) == 2
    assert cli.main(["export", str(path), "--to", "csv", "--out", out, f"--values={name}=cond"]) == 0
    capsys.readouterr()
    assert strengths(tmp_path / "out.csv") == VALUES


@pytest.mark.parametrize("write", FORMATS)
def test_a_weight_is_k_and_said_so(write, tmp_path):
    for name in ("weight", "Weight", "weights"):
        path = write(tmp_path, name)
        with pytest.warns(UserWarning, match=rf"its '{name}' is taken for k.*--values='{name}=conductance'"):
            assert strengths(path) == VALUES
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert strengths(path, values=f"{name}=resistance") == [0.5, 0.25, 2.0]


@pytest.mark.parametrize("write", FORMATS)
def test_a_file_without_strengths_says_so_once(write, tmp_path, capsys):
    """Whatever it has instead: text, and ones as Gephi writes them where there are no weights."""
    for name, value in (("colour", "red"), ("Weight", 1.0), ("id", 7), ("length", 1.0)):
        values = [value] * 3 if write is not as_npz else [1.0] * 3
        path = write(tmp_path, name if write is not as_npz else "weight", values)
        with pytest.warns(UserWarning, match=f"{path.name}: it gives no strengths .* every k is 1") as heard:
            assert strengths(path) == [1.0] * 3
        assert len(heard) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert strengths(path, unweighted=True) == [1.0] * 3
    command = ["export", str(path), "--to", "json", "--out", str(tmp_path / "out.json"), "--force"]
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert cli.main(command) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith("jaxphys: warning: File ")
    assert printed.err.count("\n") == 1
    assert cli.main([*command, "--unweighted"]) == 0
    assert capsys.readouterr().err == ""


def test_strengths_inside_of_something_are_asked_about(tmp_path):
    for inside in ({"conductance": 3.0}, [1.0, 2.0], {"G": "0.5"}):
        with pytest.raises(jp.InputError, match="no strengths by their names: 'data'"):
            read_network(as_json(tmp_path, "data", [inside] * 3))
    path = as_json(tmp_path, "data", [{"shape": "round"}] * 3)
    assert strengths(path, unweighted=True) == [1.0] * 3
    column = as_npz(tmp_path, "length", [[value] for value in VALUES])
    with pytest.raises(jp.InputError, match="no strengths by their names: 'length'"):
        read_network(column)
    assert strengths(as_npz(tmp_path, "G", [[value] for value in VALUES])) == VALUES


def test_two_strengths_are_one_too_many(tmp_path):
    path = tmp_path / "net.csv"
    path.write_text("source,target,R,G,length\na,b,2,3,9\nb,c,4,5,9\n")
    with pytest.raises(jp.InputError, match=r"gives 'R' and 'G'; .*--values='R=resistance'"):
        read_network(path)
    assert read_network(path, values="R=resistance").network.k.tolist() == [0.5, 0.25]
    path.write_text("source,target,conductance,weight,length,conductance_std\na,b,2,3,9,1\n")
    assert read_network(path).network.k.tolist() == [2.0]


@pytest.mark.parametrize(
    ("values", "saying"),
    [
        ("speed=conductance", "no values called 'speed'; there are: 'length'"),
        ("length", "NAME=MEANING"),
        ("length=speed", "NAME=MEANING"),
        ("=conductance", "NAME=MEANING"),
        ("length=conductance (foo)", "NAME=MEANING"),
    ],
)
def test_what_is_said_of_values_must_fit(values, saying, tmp_path):
    with pytest.raises(jp.InputError, match=saying):
        read_network(as_csv(tmp_path, "length"), values=values)


def test_a_config_says_what_its_graph_does_not(tmp_path):
    from jaxphys.config import build, parse_config

    path = as_csv(tmp_path, "weight")
    network = {"kind": "flow", "graph": {"kind": "file", "path": str(path)}, "initial": {"kind": "file"}}
    table = {"realizations": 1, "steps": 1, "record": [], "network": network, "task": {"kind": "allostery"}}
    network["graph"]["values"] = "weight=resistance"
    assert build(parse_config(table)).network.k.tolist() == [[0.5, 0.25, 2.0]]
    # The same where the config does not say how k begins.
    del network["initial"]
    assert build(parse_config(table)).network.k.tolist() == [[0.5, 0.25, 2.0]]
    network["graph"].pop("values")
    with pytest.warns(UserWarning, match="'weight' is taken for k"):
        assert build(parse_config(table)).network.k.tolist() == [VALUES]
    network["graph"]["unweighted"] = True
    assert build(parse_config(table)).network.k.tolist() == [[1.0] * 3]
    # Where nobody asks for strengths, nobody is asked about them.
    network["graph"]["unweighted"] = False
    network["initial"] = {"kind": "constant", "value": 3.0}
    assert build(parse_config(table)).network.k.tolist() == [[3.0] * 3]


# --- tables that other programs write ---


def test_a_command_says_once_what_a_file_does_not(tmp_path, monkeypatch, capsys):
    """Though a config's graph is read for every realization."""
    monkeypatch.setattr("jaxphys.reports.page.DPI", 20)
    config, path = tmp_path / "run.toml", as_csv(tmp_path, "colour", ["red"] * 3)
    config.write_text(
        'realizations = 3\nsteps = 1\nrecord = []\n[network]\nkind = "flow"\n'
        f'graph = {{kind = "file", path = "{path}"}}\ninitial = {{kind = "file"}}\n'
        '[task]\nkind = "allostery"\n'
    )
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert cli.main(["train", str(config), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().err.count("gives no strengths") == 1


def test_gephi_tables(tmp_path):
    path = tmp_path / "edges.csv"
    path.write_text(
        "Source,Target,Type,Id,Label,timeset,Weight\n1,2,Undirected,0,,,2.5\n2,3,Undirected,1,,,0.5\n"
    )
    with pytest.warns(UserWarning, match="'Weight' is taken for k"):
        network, labels = read_network(path)
    assert labels == ("1", "2", "3")
    assert network.k.tolist() == [2.5, 0.5]
    path.write_text(path.read_text().replace("2.5", "1.0").replace("0.5", "1.0"))
    with pytest.warns(UserWarning, match="gives no strengths"):
        assert read_network(path).network.k.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "ends",
    [
        *("from,to", "Source,Target", "node1,node2", "StartNode,EndNode", "u,v", "i,j", "Node A,Node B"),
        *("source_id,target_id", "from_node,to_node", "a,b", "parent,child", "src,dst"),
    ],
)
def test_ends_by_other_names(ends, tmp_path):
    path = tmp_path / "edges.csv"
    path.write_text(f"{ends},R\nb,a,2\na,c,4\n")
    network, labels = read_network(path)
    assert labels == ("b", "a", "c")
    assert network.k.tolist() == [0.5, 0.25]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0x1.8p+1", 3.0),
        ("0X.8P2", 2.0),
        ("1.5D-3", 1.5e-3),
        ("2d2", 200.0),
        (float.hex(0.1), 0.1),
        ("1.5e3", 1500.0),
    ],
)
def test_numbers_as_c_and_fortran_write_them(text, value, tmp_path):
    path = tmp_path / "edges.csv"
    path.write_text(f"source,target,k\na,b,{text}\n")
    assert read_network(path).network.k.tolist() == [value]


@pytest.mark.parametrize(
    "text", ["0x1.8", "0x", "0xp1", "0x1p99999", "0x1p9999999999", "1.5d", "nand", "0b1"]
)
def test_what_is_no_number_in_any_language(text, tmp_path):
    path = tmp_path / "edges.csv"
    path.write_text(f"source,target,k\na,b,{text}\n")
    with pytest.raises(jp.InputError, match="`k` of line 2 must be a positive number"):
        read_network(path)


def test_tuples_name_nodes_of_lattices(tmp_path):
    graph = nx.grid_2d_graph(2, 3)
    for i, edge in enumerate(graph.edges):
        graph.edges[edge]["conductance"] = 1.0 + i
    (tmp_path / "grid.json").write_text(json.dumps(nx.node_link_data(graph, edges="edges")))
    nx.write_graphml(graph, tmp_path / "grid.graphml")
    expected = nx.laplacian_matrix(graph, weight="conductance").toarray()
    for name in ("grid.json", "grid.graphml"):
        network, labels = read_network(tmp_path / name)
        assert labels == tuple(map(str, graph))
        assert np.asarray(network.hessian()).tolist() == expected.tolist()


YED = """<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns" xmlns:y="http://www.yworks.com/xml/graphml">
  <key attr.name="Description" attr.type="string" for="graph" id="d0"/>
  <key for="port" id="d1" yfiles.type="portgraphics"/>
  <key attr.name="url" attr.type="string" for="node" id="d4"/>
  <key for="node" id="d6" yfiles.type="nodegraphics"/>
  <key for="graphml" id="d7" yfiles.type="resources"/>
  <key attr.name="{name}" attr.type="double" for="edge" id="d8"/>
  <key for="edge" id="d10" yfiles.type="edgegraphics"/>
  <graph edgedefault="directed" id="G">
    <data key="d0"/>
    {nodes}
    {edges}
  </graph>
  <data key="d7"><y:Resources/></data>
</graphml>
"""
YED_NODE = """<node id="n{i}"><data key="d6"><y:ShapeNode><y:Geometry height="30.0" width="30.0" x="1" y="2"/>
<y:NodeLabel alignment="center">{label}<y:LabelModel/></y:NodeLabel><y:Shape type="ellipse"/></y:ShapeNode>
</data></node>"""
YED_EDGE = """<edge id="e{i}" source="n{a}" target="n{b}"><data key="d8">{value}</data><data key="d10">
<y:PolyLineEdge><y:Arrows source="none" target="none"/><y:EdgeLabel>{shown}</y:EdgeLabel></y:PolyLineEdge>
</data></edge>"""


def yed(path, labels=("pump", "valve", "drain"), name="resistance", shown=("", ""), pairs=((0, 1), (2, 1))):
    nodes = [YED_NODE.format(i=i, label=label) for i, label in enumerate(labels)]
    edges = [
        YED_EDGE.format(i=i, a=a, b=b, value=4.0 / (i + 1) if name == "resistance" else "", shown=shown[i])
        for i, (a, b) in enumerate(pairs)
    ]
    path.write_text(YED.format(name=name, nodes="\n".join(nodes), edges="\n".join(edges)))
    return path


def test_yed_files(tmp_path):
    network, labels = read_network(yed(tmp_path / "drawn.graphml"))
    assert labels == ("pump", "valve", "drain")
    assert network.k.tolist() == [0.25, 0.5]
    assert np.asarray(network.topology.edges).tolist() == [[0, 1], [2, 1]]
    for same in (("pump", "pump", "drain"), ("pump", "", "drain"), ("pump", "x" * 300, "drain")):
        assert read_network(yed(tmp_path / "same.graphml", same)).labels == ("n0", "n1", "n2")
    # What stands beside edges in the drawing may be their strengths.
    path = yed(tmp_path / "beside.graphml", name="Description", shown=("4", "2"))
    with pytest.raises(jp.InputError, match="no strengths by their names: 'y:EdgeLabel'"):
        read_network(path)
    assert read_network(path, values="y:EdgeLabel=resistance").network.k.tolist() == [0.25, 0.5]


# --- edges side by side ---


def parallel_networks():
    edges = [(0, 1), (1, 0), (0, 1), (1, 2)]
    equal = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 0)]), [2.0, 2.0])
    return [equal, jp.FlowNetwork(jp.from_edges(edges), [1.0, 2.0, 1.0, 0.1]), jp.FlowNetwork(jp.from_edges(
        [(0, 1), (1, 2), (1, 0), (2, 1)]), [1.0, 3.0, 1.0, 3.0])]  # fmt: skip


@pytest.mark.parametrize("suffix", ["csv", "json", "graphml", "npz"])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_parallel_edges_go_through_every_format(suffix, which, tmp_path):
    network = parallel_networks()[which]
    export_network(network, tmp_path / f"net.{suffix}")
    again = read_network(tmp_path / f"net.{suffix}").network
    assert again.num_edges == network.num_edges
    # networkx writes GraphML in an order of its own.
    order = np.sort if suffix == "graphml" else np.asarray
    assert_identical(order(again.k), order(network.k))
    np.testing.assert_allclose(again.hessian(), network.hessian(), rtol=1e-15)


def double_edges(write, tmp_path, pairs, values):
    """The same edges as a table, as JSON and as GraphML without ids, and as arrays."""
    number = {name: i for i, name in enumerate("abc")}
    if write is as_csv:
        path = tmp_path / "net.csv"
        rows = [f"{a},{b},{value}" for (a, b), value in zip(pairs, values, strict=True)]
        path.write_text("\n".join(["source,target,conductance", *rows]))
    elif write is as_npz:
        path = tmp_path / "net.npz"
        np.savez(path, edges=np.array([[number[end] for end in pair] for pair in pairs]), G=np.array(values))
    elif write is as_json:
        path = tmp_path / "net.json"
        edges = [{"source": a, "target": b, "G": value} for (a, b), value in zip(pairs, values, strict=True)]
        path.write_text(json.dumps({"nodes": [{"id": node} for node in "abc"], "edges": edges}))
    else:
        path = tmp_path / "net.graphml"
        edges = [
            f'<edge source="{a}" target="{b}"><data key="G">{value}</data></edge>'
            for (a, b), value in zip(pairs, values, strict=True)
        ]
        nodes = "".join(f'<node id="{node}"/>' for node in "abc")
        key = '<key id="G" for="edge" attr.name="G" attr.type="double"/>'
        path.write_text(
            f'<graphml>{key}<graph edgedefault="undirected">{nodes}{"".join(edges)}</graph></graphml>'
        )
    return path


@pytest.mark.parametrize("write", FORMATS)
def test_parallel_conductances_add(write, tmp_path):
    path = double_edges(write, tmp_path, ["ab", "bc", "ab", "ba"], [1.0, 2.0, 3.0, 0.5])
    network = read_network(path).network
    assert network.num_edges == 4
    assert np.asarray(network.hessian()).tolist() == [[4.5, -4.5, 0], [-4.5, 6.5, -2], [0, -2, 2]]


@pytest.mark.parametrize("write", FORMATS)
def test_a_network_listed_from_both_ends_is_asked_about(write, tmp_path):
    """As dumps of matrices do; added up it would have twice its conductances."""
    path = double_edges(write, tmp_path, ["ab", "ba", "bc", "cb"], [1.0, 1.0, 2.0, 2.0 + 1e-9])
    with pytest.raises(
        jp.InputError, match=r"in both directions, .* 2 of its 2 pairs .* one edge listed twice"
    ):
        read_network(path)
    path = double_edges(write, tmp_path, ["ab", "ba", "bc", "ca"], [1.0, 1.0, 2.0, 3.0])
    with pytest.warns(UserWarning, match="1 such pairs are taken for edges side by side"):
        assert read_network(path).network.num_edges == 4


def test_responses_cannot_tell_parallel_edges_apart(tmp_path):
    from jaxphys.reports.findings_page import inspect_file

    network = jp.FlowNetwork(jp.square_lattice((3, 3)), k=np.geomspace(1, 2, 12))
    responses = np.asarray(jp.greens_function(network, jp.Boundary(network, free_modes="project")))
    names = [str(i) for i in range(9)]
    rows = [",".join([name, *map(repr, row)]) for name, row in zip(names, responses.tolist(), strict=True)]
    (tmp_path / "responses.csv").write_text("\n".join([",".join(["node", *names]), *rows]))
    edges = [f"{a},{b}" for a, b in np.asarray(network.topology.edges).tolist()]
    edges += edges[:1]
    (tmp_path / "graph.csv").write_text("\n".join(["source,target", *edges]))
    found = inspect_file(tmp_path / "responses.csv", graph=tmp_path / "graph.csv", num_null=19)
    assert found.fields.sizes["edge"] == 12


def test_directions_are_left_aside_unless_they_contradict(tmp_path):
    graph = nx.DiGraph()
    graph.add_edge("b", "a", conductance=2.0)
    graph.add_edge("b", "c", conductance=3.0)

    def both():
        (tmp_path / "net.json").write_text(json.dumps(nx.node_link_data(graph, edges="edges")))
        nx.write_graphml(graph, tmp_path / "net.graphml")
        return tmp_path / "net.json", tmp_path / "net.graphml"

    for path in both():
        network, labels = read_network(path)
        assert labels == ("b", "a", "c")
        assert np.asarray(network.topology.edges).tolist() == [[0, 1], [0, 2]]
        assert network.k.tolist() == [2.0, 3.0]
    graph.add_edge("a", "b", conductance=5.0)
    for path in both():
        with pytest.raises(jp.InputError, match="'b' and 'a' in both directions, where a physical edge acts"):
            read_network(path)


# --- squares of numbers ---

ADJACENCY = np.array([[0, 2.0, 0, 1], [2, 0, 0.5, 0], [0, 0.5, 0, 4], [1, 0, 4, 0]])
LAPLACIAN = np.diag(ADJACENCY.sum(axis=1)) - ADJACENCY
STRANGE = {
    "adjacency": (ADJACENCY, "its diagonal is zero"),
    "zeros and ones": ((ADJACENCY > 0).astype(float), "its diagonal is zero"),
    "distances": (np.abs(np.subtract.outer(np.arange(4.0), np.arange(4.0))), "its diagonal is zero"),
    "laplacian": (LAPLACIAN, "those of a Laplacian"),
    "negative laplacian": (-LAPLACIAN, "not positive"),
    "grounded laplacian": (LAPLACIAN + np.diag([1.0, 0, 0, 0]), "as in a Hessian"),
    "correlations": (np.corrcoef(np.random.default_rng(0).standard_normal((4, 9))), "correlations"),
    "some loops": (ADJACENCY + np.diag([1.0, 0, 0, 0]), "not positive"),
    "steps to the next": (np.roll(np.diag([5.0, 4, 3, 2]), 1, axis=1) + 0.1, "far from the largest"),
}


def write_square(path, matrix, form):
    if form == "npy":
        np.save(path / "square.npy", matrix)
    elif form == "csv":
        np.savetxt(path / "square.csv", matrix, delimiter=",")
    else:
        rows = [
            ",a,b,c,d",
            *("abcd"[i] + "," + ",".join(map(repr, row)) for i, row in enumerate(matrix.tolist())),
        ]
        (path / "square.csv").write_text("\n".join(rows))
    return path / ("square.npy" if form == "npy" else "square.csv")


@pytest.mark.parametrize("form", ["npy", "csv", "pandas"])
@pytest.mark.parametrize("what", STRANGE)
def test_squares_of_something_else_are_asked_about(what, form, tmp_path, capsys):
    matrix, saying = STRANGE[what]
    path = write_square(tmp_path, matrix, form)
    with pytest.raises(jp.InputError, match=f"{saying}.*--matrix responses, adjacency, laplacian or hessian"):
        read_measured(path)
    assert isinstance(read_measured(path, matrix="responses"), ResponseFile)
    assert cli.main(["inspect", str(path), "--json", "--draws", "19"]) == 2
    assert saying in capsys.readouterr().err


@pytest.mark.parametrize("form", ["npy", "csv", "pandas"])
def test_squares_are_what_the_caller_says(form, tmp_path):
    labels = tuple("abcd") if form == "pandas" else tuple("0123")
    for meaning, matrix in (("adjacency", ADJACENCY), ("laplacian", LAPLACIAN)):
        network, names = read_measured(write_square(tmp_path, matrix, form), matrix=meaning)
        assert names == labels
        assert isinstance(network, jp.FlowNetwork)
        np.testing.assert_allclose(network.hessian(), LAPLACIAN, rtol=1e-15)
    grounded = LAPLACIAN + np.diag([1.0, 0, 0, 0])
    path = write_square(tmp_path, grounded, form)
    network, names = read_measured(path, matrix="hessian")
    assert isinstance(network, jp.NodeNetwork)
    assert np.asarray(network.hessian()).tolist() == grounded.tolist()
    for meaning, saying in (("laplacian", "row 0 sums to 1"), ("adjacency", r"\[0, 0\] joins")):
        with pytest.raises(jp.InputError, match=saying):
            read_measured(path, matrix=meaning)
    with pytest.raises(jp.InputError, match="`matrix` must be one of"):
        read_measured(path, matrix="incidence")


def test_an_adjacency_matrix_is_no_node_network(tmp_path):
    np.savez(tmp_path / "net.npz", matrix=ADJACENCY)
    with pytest.raises(jp.InputError, match="diagonal of zeros"):
        read_network(tmp_path / "net.npz")
    network = read_measured(tmp_path / "net.npz", matrix="adjacency").network
    np.testing.assert_allclose(network.hessian(), LAPLACIAN, rtol=1e-15)


@pytest.mark.parametrize("kind", ["grounded", "floating", "spring", "noisy", "weak", "uncoupled"])
def test_responses_are_still_responses(kind, tmp_path):
    """Of grounded, floating and spring networks, with noise, and of nodes that hardly hear each other."""
    generator = np.random.default_rng(4)
    if kind == "spring":
        network = jp.SpringNetwork(jp.triangular_lattice((3, 4)), k=0.7)
    else:
        network = jp.FlowNetwork(jp.square_lattice((3, 4)), k=generator.uniform(0.5, 2, 17))
    ground = {"ground": [0], "free_modes": "project"} if kind == "grounded" else {"free_modes": "project"}
    responses = np.array(jp.greens_function(network, jp.Boundary(network, **ground)))
    if kind == "noisy":
        responses += 0.2 * np.abs(responses).max() * generator.standard_normal(responses.shape)
    elif kind == "weak":
        responses = np.diag(responses.diagonal()) + 1e-3 * generator.standard_normal(responses.shape)
    elif kind == "uncoupled":
        responses = np.eye(5)
    np.savetxt(tmp_path / "square.csv", responses, delimiter=",")
    assert isinstance(read_measured(tmp_path / "square.csv"), ResponseFile)


@pytest.mark.parametrize(
    "text",
    [
        "0,1,2\n1,2,3\n2,3,1\n",
        "0,1,0.5\n1,2,0.25\n2,0,4\n",
        "0.0;1.0;2\n1.0;2.0;3\n2.0;3.0;1\n",
        "1,2\n2,3\n",
        "1,2\n2,3\n3,4\n",
        "0,1,2\n1,2,3\n",
        "0,0,1,2.5\n1,1,2,0.5\n2,2,3,1\n3,3,0,4\n",
        "1,0,1,2.5\n2,1,2,0.5\n3,2,3,1\n4,3,0,4\n5,0,2,1\n",
        "0,0,1\n1,1,2\n2,2,0\n",
        "0.0e+00,1.000e+00,2.5\n1.0e0,2.0e+00,3.5\n",
        "0\t1\t2\n1\t2\t3\n2\t3\t1\n3\t1\t1\n",
    ],
)
def test_edge_lists_without_names_are_asked_about(text, tmp_path, capsys):
    path = tmp_path / "edges.csv"
    path.write_text(text)
    with pytest.raises(jp.InputError, match=r"look like edges .* write (id,)?source,target"):
        read_measured(path)
    with pytest.raises(jp.InputError, match=r"if it is an edge list, write (id,)?source,target"):
        read_network(path)
    assert cli.main(["inspect", str(path), "--json"]) == 2
    assert "edge list" in capsys.readouterr().err


@pytest.mark.parametrize(
    "square", [[[3, 1], [1, 2]], [[3, 1, 0], [1, 3, 1], [0, 1, 3]], [[2, 1, 1], [1, 2, 1], [1, 1, 2]]]
)
def test_squares_of_integers_may_be_responses(square, tmp_path):
    np.savetxt(tmp_path / "square.csv", square, delimiter=",", fmt="%d")
    found = read_measured(tmp_path / "square.csv")
    assert isinstance(found, ResponseFile)
    assert found.responses.tolist() == square


def test_a_network_by_its_matrix_is_inspected(tmp_path, capsys):
    path = write_square(tmp_path, ADJACENCY, "csv")
    assert cli.main(["inspect", str(path), "--json", "--draws", "19", "--matrix", "adjacency"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["kind"] == "flow"
    assert isinstance(read_measured(path, matrix="adjacency"), NetworkFile)


def test_units_beside_values_are_those_of_each_edge(tmp_path):
    """A column, key, attribute or array of units; the graph's too. 2 kΩ, 4 Ω and 0.5 MΩ."""
    units, expected = ["kOhm", "Ohm", "MOhm"], [1 / 2000, 1 / 4, 1 / 500_000]
    for name in ("unit", "units", "resistance_unit", "R_unit", "Unit of resistance", "resistanceunit"):
        rows = [f"{a},{b},{v},{u}" for (a, b), v, u in zip(EDGES, VALUES, units, strict=True)]
        (tmp_path / "net.csv").write_text("\n".join([f"source,target,resistance,{name}", *rows]))
        assert strengths(tmp_path / "net.csv") == expected
        content = json.loads(as_json(tmp_path, "resistance").read_text())
        for edge, unit in zip(content["links"], units, strict=True):
            edge[name] = unit
        (tmp_path / "net.json").write_text(json.dumps(content))
        assert strengths(tmp_path / "net.json") == expected
        content = json.loads(as_json(tmp_path, "resistance").read_text())
        for graph in (
            {"graph": {name: "kOhm"}},
            {"graph": {"units": {"resistance": "kOhm"}}},
            {name: "kOhm"},
        ):
            (tmp_path / "net.json").write_text(json.dumps(content | graph))
            assert strengths(tmp_path / "net.json") == [1 / 2000, 1 / 4000, 1 / 500]
        graph = nx.Graph(**{name: "kOhm"})
        for (a, b), value in zip(EDGES, VALUES, strict=True):
            graph.add_edge(a, b, resistance=value)
        nx.write_graphml(graph, tmp_path / "net.graphml")
        assert sorted(strengths(tmp_path / "net.graphml")) == sorted([1 / 2000, 1 / 4000, 1 / 500])
        del graph.graph[name]
        for edge, unit in zip(EDGES, units, strict=True):
            graph.edges[edge][name] = unit
        nx.write_graphml(graph, tmp_path / "net.graphml")
        assert strengths(tmp_path / "net.graphml") == expected
        arrays = {"edges": np.array([[0, 1], [1, 2], [2, 0]]), "resistance": np.array(VALUES)}
        np.savez(tmp_path / "net.npz", **arrays, **{name: np.array(units)})
        assert strengths(tmp_path / "net.npz") == expected
        np.savez(tmp_path / "net.npz", **arrays, **{name: np.array("kOhm")})
        assert strengths(tmp_path / "net.npz") == [1 / 2000, 1 / 4000, 1 / 500]


@pytest.mark.parametrize(
    ("text", "saying"),
    [
        ("source,target,R,unit\na,b,1,kOhm\nb,c,1,\n", "'unit' must hold a unit of 'R' for each edge"),
        ("source,target,R,unit\na,b,1,kOhm\nb,c,1,furlong\n", "'unit' .*'furlong' is not understood"),
        ("source,target,R,R_unit\na,b,1,mS\nb,c,1,S\n", "'R_unit' .*'mS' is none of resistance"),
        ("source,target,R_kOhm,unit\na,b,1,kOhm\nb,c,1,Ohm\n", "'unit' says 'Ohm', but 'R_kOhm' another"),
        ("source,target,R,unit,R_unit\na,b,1,Ohm,kOhm\n", "'unit' and 'R_unit' both"),
        ("source,target,weight,unit\na,b,1,S\nb,c,1,N/m\n", "'unit' must hold units of one quantity"),
        ("source,target,value,unit\na,b,1,kOhm\nb,c,1,Ohm\n", "'value'.*--values='value=resistance'"),
    ],
)
def test_units_beside_values_must_fit_them(text, saying, tmp_path):
    path = tmp_path / "net.csv"
    path.write_text(text)
    with pytest.raises(jp.InputError, match=saying):
        read_network(path)


def test_units_of_something_else_are_left_alone(tmp_path):
    path = tmp_path / "net.csv"
    path.write_text("source,target,R,length,length_unit\na,b,2,1,mm\nb,c,4,1,mm\n")
    assert read_network(path).network.k.tolist() == [0.5, 0.25]
    path.write_text("source,target,value,unit\na,b,2,kOhm\nb,c,4,Ohm\n")
    assert read_network(path, values="value=resistance").network.k.tolist() == [0.0005, 0.25]
    assert read_network(path, values="value=resistance (Ohm)").network.k.tolist() == [0.5, 0.25]


def test_cures_do_not_lead_to_wrong_numbers(tmp_path):
    """What a message tells to say of values is what their names suggest, with the unit in them."""
    for name, cure in {
        "RESISTANCE (MOHM)": r"=resistance \(mOhm\)' or .*=resistance \(MOhm\)",
        "r": "r=resistance'",
        "weight_kOhm": r"weight_kOhm=resistance \(kOhm\)",
        "admittance (mS)": r"=conductance \(mS\)",
        "resistance (foo)": r"=resistance'",
        "length": "length=MEANING'",
    }.items():
        with pytest.raises(jp.InputError, match=cure) as error:
            read_network(as_csv(tmp_path, name))
        assert "=conductance'" not in str(error.value)
    (tmp_path / "net.csv").write_text("source,target,R_kOhm,G\na,b,2,3\n")
    with pytest.raises(jp.InputError, match=r"--values='R_kOhm=resistance \(kOhm\)'"):
        read_network(tmp_path / "net.csv")
    with pytest.raises(jp.InputError, match="take the numbers out of what holds them") as error:
        read_network(as_json(tmp_path, "data", [{"conductance": 3.0}] * 3))
    assert "--values" not in str(error.value)


def test_columns_without_a_name_may_be_strengths(tmp_path):
    path = tmp_path / "net.csv"
    for name in ("", "Unnamed: 2"):
        path.write_text(f"source,target,{name}\na,b,2\nb,c,4\n")
        with pytest.raises(jp.InputError, match="no strengths by their names"):
            read_network(path)
    # An index, as pandas writes it before the others, also of rows that were chosen.
    for index in ((0, 1), (3, 8)):
        for name in ("", "Unnamed: 0"):
            path.write_text(f"{name},source,target\n{index[0]},a,b\n{index[1]},b,c\n")
            with pytest.warns(UserWarning, match="it gives no strengths"):
                assert read_network(path).network.k.tolist() == [1.0, 1.0]
    path.write_text("source,target,\na,b,\nb,c,\n")
    with pytest.warns(UserWarning, match="it gives no strengths"):
        assert read_network(path).network.k.tolist() == [1.0, 1.0]
    path.write_text(",source,target\n0.5,a,b\n2,b,c\n")
    with pytest.raises(jp.InputError, match="name the column"):
        read_network(path)


def other_squares():
    """Squares that are no responses, of sparse networks and with noise; name → matrix."""
    generator = np.random.default_rng(1)
    lattice = jp.square_lattice((4, 4))
    laplacian = np.array(jp.FlowNetwork(lattice, k=generator.uniform(0.5, 2, lattice.num_edges)).hessian())
    lattice = jp.triangular_lattice((4, 4))
    hessian = np.array(jp.SpringNetwork(lattice, k=generator.uniform(0.5, 2, lattice.num_edges)).hessian())
    ahead = np.triu(-laplacian, 1)
    squares = {
        "laplacian": laplacian,
        "grounded": laplacian[1:, 1:],
        "directed": np.diag(ahead.sum(axis=1)) - ahead,
        "signless": np.abs(laplacian),
        "hessian": hessian,
        "pinned": hessian[2:, 2:],
        "by axis": hessian.reshape(16, 2, 16, 2).transpose(1, 0, 3, 2).reshape(32, 32),
        "adjacency": np.diag(laplacian.diagonal()) - laplacian,
    }
    noisy = {
        f"noisy {name}": square + 1e-3 * generator.standard_normal(square.shape)
        for name, square in squares.items()
    }
    return squares | noisy


def test_squares_of_networks_are_told_from_responses(tmp_path):
    """By file and in Python alike, and each can be said to be responses all the same."""
    for name, square in other_squares().items():
        np.save(tmp_path / "square.npy", square)
        with pytest.raises(jp.InputError, match="should hold responses, but"):
            read_measured(tmp_path / "square.npy")
        with pytest.raises(jp.InputError, match=r"`responses` must hold responses.*matrix='responses'"):
            jp.inspect_responses(square)
        if name == "noisy hessian":
            assert jp.inspect_responses(square, matrix="responses", num_null=19).verdict
    with pytest.raises(jp.InputError, match="`matrix` must be responses"):
        jp.inspect_responses(square, matrix="laplacian")


def test_a_pair_that_moves_against_each_other_is_no_laplacian():
    noise = 0.01 * np.random.default_rng(0).standard_normal((12, 12))
    soft = np.zeros(12)
    soft[[2, 7]] = 1, -1
    found = jp.inspect_responses(np.eye(12) + 5 * np.outer(soft, soft) + noise + noise.T, num_null=59)
    assert found.verdict == "trained"


def test_driven_nodes_are_no_ends_of_edges(tmp_path):
    path = tmp_path / "responses.csv"
    path.write_text("node,a,b\na,0.75,0.25\nb,0.25,0.75\n")
    assert read_measured(path).driven.tolist() == [0, 1]


def test_comments_before_a_table(tmp_path):
    path = tmp_path / "edges.csv"
    for before in ("# measured, by us, 2024\n", "#\n\n# by; us\n", "  # x\r\n"):
        path.write_text(before + "source,target,R\na,b,2\nb,c,4\n", newline="")
        assert read_network(path).network.k.tolist() == [0.5, 0.25]
        path.write_text(before + "source,target,R\na,b,2\nb,c,x\n", newline="")
        with pytest.raises(jp.InputError, match=f"line {before.count(chr(10)) + 3}"):
            read_network(path)
    for header in ("# source,target,R", "#id,source,target,R"):
        count = header.count(",") - 2
        rows = [[0, 0, 1, 2], [1, 1, 2, 4]]
        text = "\n".join(",".join(map(str, row[1 - count :])) for row in rows)
        path.write_text(f"# by us\n{header}\n{text}\n")
        assert read_network(path).network.k.tolist() == [0.5, 0.25]
    path.write_text("# G of three nodes\n1.5,0.5\n0.5,1\n")
    assert read_measured(path).responses.tolist() == [[1.5, 0.5], [0.5, 1.0]]
    path.write_text("# nothing\n")
    with pytest.raises(jp.InputError, match="holds no lines"):
        read_network(path)


def test_ends_as_columns_of_an_array(tmp_path):
    path = tmp_path / "net.npz"
    ends = np.array([[0, 1, 2], [1, 2, 0]])
    np.savez(path, edge_index=ends, R=np.array(VALUES))
    assert strengths(path) == [1 / 2, 1 / 4, 2.0]
    np.savez(path, edge_index=ends[:, [0, 1]], R=np.array(VALUES[:2]))
    assert np.asarray(read_network(path).network.topology.edges).tolist() == [[0, 1], [1, 2]]
    for arrays, saying in (
        ({"edges": ends}, "2 columns, but it has 3; with an edge in each column it is called `edge_index`"),
        ({"edges": ends.T, "edge_index": ends}, "holds both"),
        ({"edge_index": ends.T}, "2 rows, but it has 3"),
        ({"edge_index": ends, "matrix": np.eye(3)}, "holds both"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(jp.InputError, match=saying):
            read_network(path)


def test_integers_written_as_floats_number_nodes(tmp_path):
    path = tmp_path / "net.npz"
    ends = np.array([[0.0, 1.0], [1.0, 2.0]])
    np.savez(path, edges=ends, labels=np.array([10.0, 11.0, 12.0]), k=np.ones(2))
    network, labels = read_network(path)
    assert labels == ("10", "11", "12")
    assert np.asarray(network.topology.edges).tolist() == [[0, 1], [1, 2]]
    for bad in (0.5, np.nan, 1e300):
        np.savez(path, edges=np.array([[0, 1.0], [1, bad]]), k=np.ones(2))
        with pytest.raises(jp.InputError, match="`edges` must hold integers"):
            read_network(path)
    nodes = [{"id": 1.0}, {"id": 2}, {"id": "c"}]
    links = [{"source": 1, "target": 2.0, "k": 3}, {"source": 2, "target": "c", "k": 4}]
    (tmp_path / "net.json").write_text(json.dumps({"nodes": nodes, "links": links}))
    network, labels = read_network(tmp_path / "net.json")
    assert (labels, network.k.tolist()) == (("1", "2", "c"), [3.0, 4.0])
    (tmp_path / "net.json").write_text(json.dumps({"nodes": [{"id": 1.5}], "links": []}))
    with pytest.raises(jp.InputError, match="must be text or an integer"):
        read_network(tmp_path / "net.json")


@pytest.mark.parametrize("name", ["Einheit", "R unit (see text)", "scale"])
def test_units_are_seen_by_what_they_are(name, tmp_path):
    path = tmp_path / "net.csv"
    path.write_text(f"source,target,R,{name}\na,b,2,kOhm\nb,c,4,Ohm\n")
    assert read_network(path).network.k.tolist() == [1 / 2000, 1 / 4]
    content = json.loads(as_json(tmp_path, "R").read_text())
    for edge in content["links"]:
        edge[name] = "kOhm"
    (tmp_path / "net.json").write_text(json.dumps(content))
    assert strengths(tmp_path / "net.json") == [1 / 2000, 1 / 4000, 1 / 500]
    path.write_text(f"source,target,R,{name}\na,b,2,kOhm\nb,c,4,red\n")
    assert read_network(path).network.k.tolist() == [1 / 2, 1 / 4]
    path.write_text("source,target,admittance (S)\na,b,2\n")
    with pytest.raises(jp.InputError, match=r"=conductance \(S\)'"):
        read_network(path)
