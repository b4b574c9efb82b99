"""Networks on their way to other programs and back; ngspice agrees on the voltages."""

import dataclasses
import os
import re
import shutil
import subprocess

import equinox as eqx
import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
from helpers import assert_close, assert_identical

import jaxphys as jp
from jaxphys import InputError, cli
from jaxphys.io import (
    Circuit,
    export_network,
    make_circuit,
    netlist,
    read_netlist,
    read_network,
    read_run_circuit,
    run_dataset,
    save_netlist,
    save_run,
)
from jaxphys.io.circuits import parse_netlist

pytestmark = pytest.mark.float64

NGSPICE = shutil.which("ngspice")
needs_ngspice = pytest.mark.skipif(
    NGSPICE is None and "JAXPHYS_TEST_NGSPICE" not in os.environ, reason="ngspice is not installed"
)


def simulated(text, folder):
    """Node voltages by name, as ngspice finds them in batch, printed to seventeen digits."""
    control = ".control\nset numdgt=17\nop\nprint all\nquit\n.endc\n"
    control = f".options reltol=1e-12 gmin=1e-30\n{control}.end\n"
    (folder / "net.cir").write_text(text.replace(".op\n.end\n", control))
    command = [NGSPICE or "ngspice", "-b", "net.cir"]
    printed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100).stdout
    found = re.findall(r"^v?\(?(n\d+)\)? = (\S+)$", printed, flags=re.MULTILINE)
    return {name: float(value) for name, value in found}


def random_circuit(seed):
    """A connected random network with conductances over six decades, held nodes, a ground and currents."""
    random = np.random.default_rng(seed)
    nodes = int(np.geomspace(8, 300, 20)[seed])
    topology = jp.erdos_renyi(nodes, 2 * nodes, jax.random.key(seed))
    network = jp.FlowNetwork(topology, k=10 ** random.uniform(-5, 1, 2 * nodes))
    a, b, c, d, e = random.permutation(nodes)[:5].tolist()
    return make_circuit(network, held={a: 5.0}, drops={(c, d): 0.5}, ground=[b], currents={e: 1e-3})


@needs_ngspice
@pytest.mark.parametrize("seed", range(20))
def test_ngspice_agrees_on_every_voltage(seed, tmp_path):
    circuit = random_circuit(seed)
    ours = np.asarray(circuit.equilibrate().x)
    theirs = simulated(netlist(circuit), tmp_path)
    assert len(theirs) == circuit.network.num_nodes
    assert_close([theirs[f"n{i}"] for i in range(len(ours))], ours, relative=1e-9)


@needs_ngspice
def test_ngspice_agrees_on_a_network_that_floats_with_a_drop_held(tmp_path):
    network = jp.FlowNetwork(jp.erdos_renyi(10, 16, jax.random.key(2)), k=np.geomspace(0.1, 10, 16))
    boundary = jp.Boundary(network, held_drops=[(2, 7)], free_modes="project")
    force = jnp.zeros(10).at[4].set(0.3)
    circuit = Circuit(network, boundary, force, jnp.array([0.5]))
    ours = np.asarray(circuit.equilibrate().x)
    assert_close(ours[2] - ours[7], 0.5, relative=1e-12)
    theirs = simulated(netlist(circuit), tmp_path)
    found = np.array([theirs[f"n{i}"] for i in range(10)])
    assert_close(found, ours - ours[0], relative=1e-9)


@needs_ngspice
def test_ngspice_agrees_on_a_trained_network_that_floats(tmp_path):
    path = trained(tmp_path, free_modes="project")
    circuit = read_run_circuit(path, realization=1)
    ours = np.asarray(circuit.equilibrate().x)
    theirs = simulated(netlist(circuit), tmp_path)
    found = np.array([theirs[f"n{i}"] for i in range(len(ours))])
    assert_close(found, ours - ours[0], relative=1e-9)
    # What was trained is what the circuit does.
    assert_close(ours[5], 0.2, relative=0.02)


def trained(folder, **boundary):
    pairs = []
    for number in range(2):
        network = jp.FlowNetwork(jp.erdos_renyi(12, 20, jax.random.key(number)))
        held = jp.Boundary(network, **(boundary or {"ground": [0]}))
        pairs.append((network, jp.allostery(network, held, [1], [5], response=0.2)))
    networks, tasks = map(jp.stack, zip(*pairs, strict=True))
    run = jp.train(networks, tasks, steps=100, optimizer=jp.Descent(adaptive=jp.AdaptiveStep()))
    save_run(run_dataset(run), folder / "run.nc")
    return folder / "run.nc"


@pytest.mark.parametrize("seed", [0, 7])
def test_a_netlist_comes_back_as_it_was(seed, tmp_path):
    circuit = random_circuit(seed)
    save_netlist(circuit, tmp_path / "net.cir", title="two\nlines")
    again = read_netlist(tmp_path / "net.cir")
    place = [again.labels.index(f"n{i}") for i in range(circuit.network.num_nodes)]
    assert_close(np.asarray(again.equilibrate().x)[place], circuit.equilibrate().x, relative=1e-12)
    assert_close(again.network.k, circuit.network.k, relative=1e-15)


def test_a_bridge_by_hand(tmp_path):
    """A Wheatstone bridge that is not balanced, with all that a netlist may say in more than one way."""
    (tmp_path / "bridge.cir").write_text(
        "R9 is the title, no element\n"
        "* a comment\n"
        "Vin TOP gnd DC 10 ; the source\n"
        "R1 (top left) 1K\n"
        "R2 top,right 2kOhm\n"
        "R3 left 0 3e3\n"
        "R4 right 0\n"
        "+ 1000\n"
        "Rbridge left right 0.5k $ across\n"
        "Iload right 0 1m\n"
        ".options reltol=1e-9\n.control\nR99 x y 1\n.endc\n.op\n.end\nD1 not read\n"
    )
    circuit = read_netlist(tmp_path / "bridge.cir")
    x = dict(zip((label.lower() for label in circuit.labels), circuit.equilibrate().x.tolist(), strict=True))
    # Kirchhoff's current law at the two free nodes, in millisiemens and milliamperes.
    matrix = [[1 + 1 / 3 + 2, -2], [-2, 0.5 + 1 + 2]]
    left, right = np.linalg.solve(matrix, [10.0, 5.0 - 1.0])
    assert_close([x["top"], x["left"], x["right"]], [10.0, left, right], relative=1e-12)
    assert x["0"] == 0


@pytest.mark.parametrize(
    ("text", "siemens"),
    [
        ("2meg", 0.5e-6),
        ("2MegOhm", 0.5e-6),
        ("4mil", 1 / 101.6e-6),
        ("4m", 250.0),
        ("5Ω", 0.2),
        ("1e3k", 1e-6),
    ],
)
def test_scales_are_those_of_spice(text, siemens):
    assert_close(
        parse_netlist(f"title\nR1 a b {text}\nV1 a 0 1\nR2 b 0 1\n").network.k[0], siemens, relative=1e-15
    )


@pytest.mark.parametrize(
    ("line", "saying"),
    [
        ("D1 a 0 model", "line 3 is 'd1', but only resistors"),
        (".include secret.txt", "line 3 is '.include'"),
        (".param 3", "line 3 must have names and values"),
        ("R2 a", "line 3 must be a name, two nodes and one value"),
        ("R2 a 0", "line 3 must have one value"),
        ("R2 a 0 {r}", "resistance in line 3 must be a number"),
        ("R2 a 0 5at", "some programs read an a as atto"),
        ("R2 a 0 -5", "resistance in line 3 must be positive"),
        ("R2 a 0 0", "resistance in line 3 must be positive"),
        ("V1 a 0 AM(0 1 1k)", "line 3 has no direct value, and what 'am' is at time zero is not read"),
        ("I1 far 0 1", "node 'far' in line 3"),
        ("V1 a a 1", "held already"),
        ("V1 a 0 1\nV2 0 a 1", "line 4 holds what is held already"),
        ("V1 a b 1\nV2 b a 1", "line 4 holds what is held already"),
        ("R7 c d 1", "component"),
    ],
)
def test_wrong_netlists_are_refused(line, saying, tmp_path):
    path = tmp_path / "net.cir"
    path.write_text(f"title\nR1 a b 1\n{line}\nR5 b 0 1\n")
    with pytest.raises(InputError) as error:
        read_netlist(path)
    assert saying in str(error.value)
    assert str(error.value).startswith(f"File {path}: ")
    assert "\n" not in str(error.value)


def networks():
    key = jax.random.key(3)
    flow = jp.FlowNetwork(jp.erdos_renyi(9, 14, key), k=np.geomspace(1e-3, 1e3, 14))
    spring = jp.SpringNetwork(jp.triangular_lattice((3, 4)), k=0.7)
    solid = jp.SpringNetwork(jp.erdos_renyi(12, 40, key, dimension=3, rigid=True), k=1.3)
    node = jp.NodeNetwork.from_matrix(jnp.array([[2.0, -1.0, 0.1], [-1.0, 3.0, 0.0], [0.1, 0.0, 1.0]]))
    return {"flow": flow, "spring": spring, "solid": solid, "node": node}


def named(network, names):
    if isinstance(network, jp.NodeNetwork):
        return jp.NodeNetwork(network.k, names=names)
    topology = dataclasses.replace(network.topology, names=names)
    return eqx.tree_at(lambda one: one.topology, network, topology)


@pytest.mark.parametrize("suffix", ["json", "graphml", "csv", "npz"])
@pytest.mark.parametrize("kind", ["flow", "spring", "solid", "node"])
def test_formats_come_back_as_they_were(kind, suffix, tmp_path):
    network, path = networks()[kind], tmp_path / f"net.{suffix}"
    names = tuple(f"node {i}" for i in range(network.num_nodes))
    network = named(network, names)
    export_network(network, path)
    told = "node" if (kind, suffix) == ("node", "csv") else None
    again = read_network(path, kind=told)
    assert type(again.network) is type(network)
    # An edge list numbers nodes in the order in which they come.
    place = [again.labels.index(name) for name in names]
    size = network.dimension
    order = (np.array(place)[:, None] * size + np.arange(size)).ravel()
    assert_identical(np.asarray(again.network.hessian())[np.ix_(order, order)], np.asarray(network.hessian()))


def test_networkx_reads_our_graphml(tmp_path):
    network = networks()["flow"]
    export_network(network, tmp_path / "net.graphml")
    graph = nx.read_graphml(tmp_path / "net.graphml")
    assert graph.graph["kind"] == "flow"
    values = [
        graph.edges[str(a), str(b)]["conductance"] for a, b in np.asarray(network.topology.edges).tolist()
    ]
    assert values == np.asarray(network.k).tolist()


def test_what_a_format_cannot_hold_is_refused(tmp_path):
    periodic = jp.SpringNetwork(jp.triangular_lattice((4, 4), periodic=True))
    for suffix in ("csv", "graphml"):
        with pytest.raises(InputError, match="periodic box"):
            export_network(periodic, tmp_path / f"net.{suffix}")
    export_network(periodic, tmp_path / "net.npz")
    assert_identical(
        np.asarray(read_network(tmp_path / "net.npz", kind="spring").network.hessian()),
        np.asarray(periodic.hessian()),
    )
    with pytest.raises(InputError, match="must end in"):
        export_network(periodic, tmp_path / "net.xlsx")
    with pytest.raises(InputError, match="no line for node '2', which has no edge"):
        export_network(jp.FlowNetwork(jp.from_edges([(0, 1)], num_nodes=3)), tmp_path / "net.csv")


@pytest.mark.parametrize("suffix", ["json", "graphml", "csv", "npz"])
def test_an_ensemble_is_not_written_as_one_network(suffix, tmp_path):
    pair = jp.stack([jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]), k) for k in (1.0, 2.0)])
    with pytest.raises(jp.InputError, match=r"one network, but it is 2 realizations .*jaxphys\.member"):
        export_network(pair, tmp_path / f"network.{suffix}")
    assert not list(tmp_path.iterdir())
    export_network(jp.member(pair, 1), tmp_path / f"network.{suffix}")
    assert read_network(tmp_path / f"network.{suffix}").network.k.tolist() == [2.0, 2.0]


def test_the_command_writes_a_run_as_a_netlist(tmp_path, capsys):
    path = trained(tmp_path)
    assert cli.main(["export", str(path), "--to", "spice", "--realization", "1"]) == 0
    assert "run.cir" in capsys.readouterr().out
    circuit = read_netlist(tmp_path / "run.cir")
    response = circuit.equilibrate().x[circuit.labels.index("n5")]
    assert_close(response, 0.2, relative=0.02)
    assert cli.main(["export", str(path), "--to", "spice", "--realization", "1"]) == 2
    assert "--force" in capsys.readouterr().err
    assert cli.main(["export", str(path), "--to", "spice", "--sample", "9", "--force"]) == 2
    assert "samples from 0 to 0" in capsys.readouterr().err


def test_the_command_writes_a_file_between_named_sources(tmp_path, capsys):
    path = tmp_path / "edges.csv"
    path.write_text("source,target,resistance\npump,valve,4\nvalve,drain,2\n")
    export = ["export", str(path), "--to", "spice"]
    assert cli.main([*export, "--hold", "pump=6", "--ground", "drain", "--current", "valve=1.5"]) == 0
    circuit = read_netlist(tmp_path / "edges.cir")
    voltages = dict(zip(circuit.labels, circuit.equilibrate().x.tolist(), strict=True))
    assert_close([voltages["pump"], voltages["valve"]], [6.0, 4.0], relative=1e-12)
    capsys.readouterr()
    for wrong, saying in (
        ([], "held or grounded"),
        (["--hold", "pmup=6"], "no node 'pmup'"),
        (["--hold", "pump"], "NODE=NUMBER"),
        (["--hold", "pump=nan"], "NODE=NUMBER"),
    ):
        assert cli.main([*export, "--force", *wrong]) == 2
        assert saying in capsys.readouterr().err
    assert cli.main(["export", str(path), "--to", "graphml"]) == 0
    assert read_network(tmp_path / "edges.graphml").labels == ("pump", "valve", "drain")
    assert (
        cli.main(["export", str(tmp_path / "edges.cir"), "--to", "csv", "--out", str(tmp_path / "x.csv")])
        == 0
    )
    assert read_network(tmp_path / "x.csv").network.k.tolist() == [0.25, 0.5]
