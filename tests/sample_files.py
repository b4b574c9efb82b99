"""A small network in every file format, a small run, and broken copies of files.

Shared by the tests of files and by `benchmarks/fuzz.py`.
"""

import json
import warnings
import zipfile

import jax
import numpy as np

import jaxphys as jp
from jaxphys.io import save_network

K = [2.5, 0.5, 1e-3, 7.0]
EDGES = [[2, 0], [0, 1], [1, 2], [2, 3]]
POSITIONS = [[0.0, 0.5], [1.0, 0.25], [0.125, 2.0], [3.0, 4.0]]
NAMES = ["pump", "left valve", "röhre", "0"]

GRAPHML = """<?xml version="1.0" encoding="UTF-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
  <key id="k0" for="edge" attr.name="conductance" attr.type="double"><default>0.5</default></key>
  <key id="k1" for="node" attr.name="x" attr.type="double"/>
  <key id="k2" for="node" attr.name="y" attr.type="double"/>
  <key id="k3" for="graph" attr.name="kind" attr.type="string"/>
  <key id="k4" for="node" attr.name="colour" attr.type="string"/>
  <graph id="G" edgedefault="undirected">
    <data key="k3">spring</data>
    <node id="pump"><data key="k1">0</data><data key="k2">0.5</data><data key="k4">red</data></node>
    <node id="left valve"><data key="k1">1</data><data key="k2">0.25</data></node>
    <node id="röhre"><data key="k1">0.125</data><data key="k2">2</data></node>
    <node id="0"><data key="k1">3</data><data key="k2">4</data></node>
    <edge source="röhre" target="pump"><data key="k0">2.5</data></edge>
    <edge source="pump" target="left valve"/>
    <edge source="left valve" target="röhre"><data key="k0">1e-3</data></edge>
    <edge source="röhre" target="0"><data key="k0">7</data></edge>
  </graph>
</graphml>
"""


def written(tmp_path, name, content):
    path = tmp_path / name
    if isinstance(content, dict) and name.endswith(".npz"):
        np.savez(path, **content)
    elif isinstance(content, dict):
        path.write_text(json.dumps(content))
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content, encoding="utf-8")
    return path


def archive(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def edge_list(separator=",", quantity="k", places=False):
    """The network of `EDGES` as a table, nodes in the order in which edges name them."""
    axes = [f"{end}_{axis}" for end in ("source", "target") for axis in "xy"] if places else []
    lines = [["source", "target", quantity, *axes, "comment"]]
    for (a, b), k in zip(EDGES, K, strict=True):
        where = [repr(x) for node in (a, b) for x in POSITIONS[node]] if places else []
        value = 1 / k if quantity == "resistance" else k
        lines.append([NAMES[a], NAMES[b], repr(value), *where, "as found"])
    return "\n".join(separator.join(line) for line in lines) + "\n"


def small_run(kind):
    """Two steps of training of a network of some kind."""
    key = jax.random.key(3)
    if kind == "node":
        network = jp.NodeNetwork.from_matrix(10 * np.eye(4))
        return jp.train(network, jp.random_linear(network, 1, key), steps=2)
    graphs = [
        jp.erdos_renyi(8, n, jax.random.key(n), dimension=2, rigid=True).padded(15) for n in (13, 14, 15)
    ]
    if kind == "periodic":
        graphs = [jp.triangular_lattice((4, 4), periodic=True)]
    k = [np.where(graph.edge_mask, np.random.default_rng(i).uniform(1, 2, graph.num_edges), 0)
         for i, graph in enumerate(graphs)]  # fmt: skip
    if kind == "flow":
        networks = [jp.FlowNetwork(graph, each) for graph, each in zip(graphs, k, strict=True)]
    else:
        law = "vector" if kind == "vector" else "central"
        networks = [jp.SpringNetwork(graph, each, law=law) for graph, each in zip(graphs, k, strict=True)]
    tasks = [
        jp.allostery(n, jp.Boundary(n, free_modes="project"), [(0, 1)], [(2, 3)], response=0.2)
        for n in networks
    ]
    return jp.train(jp.stack(networks), jp.stack(tasks), steps=2, optimizer=jp.bounds(1e-3))


def valid_files(tmp_path):
    network = jp.SpringNetwork(jp.from_edges(np.array(EDGES), positions=POSITIONS), K)
    save_network(network, tmp_path / "a.json")
    save_network(jp.NodeNetwork([1.0, 2.0, 3.0]), tmp_path / "b.json")
    written(tmp_path, "c.csv", edge_list(places=True))
    written(tmp_path, "d.graphml", GRAPHML)
    arrays = {"edges": np.array(EDGES), "k": np.array(K), "labels": np.array(NAMES)}
    written(tmp_path, "e.npz", arrays)
    written(tmp_path, "f.npz", {"matrix": np.eye(3), "labels": np.array(NAMES[:3])})
    written(
        tmp_path, "g.cir", "a divider\nV1 top 0 DC 5\nR1 top out 3k\nR2 out 0 2k\nI1 0 out 1m\n.op\n.end\n"
    )
    return sorted(tmp_path.iterdir())


def mutations(content, generator):
    """Endless broken copies: bytes changed, cut out, repeated or exchanged with words that matter."""
    words = [
        b"NaN",
        b"-",
        b"1e999",
        b"9" * 30,
        b"null",
        b"\0",
        b"\xff",
        b"\n",
        *(b"%c" % c for c in b'"{[<&,'),
    ]
    while True:
        broken = bytearray(content)
        for _ in range(generator.integers(1, 4)):
            at = int(generator.integers(0, len(broken) + 1))
            to = at + int(generator.integers(0, 12))
            match generator.integers(0, 4):
                case 0:
                    broken[at:to] = generator.bytes(to - at)
                case 1:
                    del broken[at : to if generator.random() < 0.8 else None]
                case 2:
                    broken[at:at] = broken[at:to]
                case 3:
                    broken[at:to] = words[generator.integers(len(words))]
        yield bytes(broken)


def quietly(read, path):
    """What a file holds, whatever is said aloud about it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read(path)


def assert_one_line(error):
    """Require one short sentence that begins with the file, without codes for terminals."""
    message = str(error)
    assert message.startswith("File ")
    assert message.endswith(".")
    assert message.isprintable()
    assert len(message) < 800
