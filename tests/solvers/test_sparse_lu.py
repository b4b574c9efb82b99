"""Large networks at rest on the host: against NumPy, by hand, and what they must not cost."""

import tracemalloc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_refused
from oracles import explicit_hessian, solve_bordered

import jaxphys as jp
from jaxphys.io.circuits import parse_netlist
from jaxphys.solvers import Constraints, SparseConstraints

pytestmark = pytest.mark.float64

LARGE = 1500


def flow():
    network = jp.FlowNetwork(jp.erdos_renyi(12, 20, jax.random.key(1)))
    return network.with_k(jnp.asarray(np.random.default_rng(1).uniform(0.5, 2.0, 20)))


def springs():
    network = jp.SpringNetwork(jp.erdos_renyi(6, 12, jax.random.key(2), dimension=2, rigid=True))
    return network.with_k(jnp.asarray(np.random.default_rng(2).uniform(0.5, 2.0, 12)))


BOUNDARIES = {
    "nodes": (flow, {"held_nodes": [4, 7], "ground": [0, 9]}),
    "drops": (flow, {"held_drops": [(2, 5), (5, 8), (3, 2)], "ground": [0]}),
    "drops on nodes": (flow, {"held_nodes": [4], "held_drops": [(4, 5), (6, 5), (1, 0)], "ground": [0]}),
    "nothing": (flow, {"free_modes": "project"}),
    "drops alone": (flow, {"held_drops": [(2, 7), (1, 7)], "free_modes": "project"}),
    "springs between nodes": (springs, {"held_nodes": [1], "ground": [3]}),
    "springs": (springs, {"free_modes": "project"}),
    "springs about a node": (springs, {"ground": [2], "free_modes": "project"}),
}


@pytest.mark.parametrize("name", BOUNDARIES)
def test_as_numpy_solves_the_whole_bordered_system(name):
    """States and reactions of three columns; the drops of any tree, also on top of held nodes."""
    make, conditions = BOUNDARIES[name]
    network = make()
    boundary = jp.Boundary(network, **conditions)
    draw = np.random.default_rng(3)
    force = draw.normal(size=(3, network.num_coordinates))
    values = draw.normal(size=(3, boundary.num_held))
    x, reaction = solve_bordered(explicit_hessian(network), np.asarray(boundary.rows), force, values)
    state = jp.equilibrate(network, boundary, jnp.asarray(force), jnp.asarray(values), solver=jp.SparseLU())
    assert_close(state.x, x, relative=1e-13)
    assert_close(state.reaction, reaction, relative=1e-13)
    assert state.residual < 1e-14
    assert state.status == jp.Status.OK


def path(size, k=1.0):
    edges = np.stack([np.arange(size - 1), np.arange(1, size)], axis=1)
    return jp.FlowNetwork(jp.from_edges(edges), k=np.full(size - 1, k))


def test_a_long_path_by_hand():
    """The voltage falls evenly, and the current is that of resistors in series."""
    network = path(LARGE, k=2.0)
    boundary = jp.Boundary(network, held_nodes=[0], ground=[LARGE - 1])
    state = jp.equilibrate(network, boundary, values=jnp.array([3.0]))
    assert_close(state.x, 3.0 * (1 - np.arange(LARGE) / (LARGE - 1)), relative=1e-15)
    current = 2.0 * 3.0 / (LARGE - 1)
    assert_close(state.reaction, [-current, current], relative=1e-12)
    assert state.status == jp.Status.OK


def test_large_boundaries_are_those_of_small_ones():
    """Rows, values and checks of either kind; a traced network still goes the dense way."""
    network = path(LARGE)
    conditions = {"held_nodes": [5, 3], "held_drops": [(7, 9), (11, 5)], "ground": [0]}
    boundary = jp.Boundary(network, **conditions)
    assert isinstance(boundary.constraints, SparseConstraints)
    small = jp.Boundary(path(20), **conditions)
    assert isinstance(small.constraints, Constraints)
    assert_close(boundary.rows[:, :20], small.rows, relative=1e-15)
    assert not boundary.rows[:, 20:].any()
    assert boundary.num_held == small.num_held == 4
    assert boundary.num_rows == small.num_rows == 5
    assert_close(boundary.constraints.lift[:20], small.constraints.lift, relative=1e-14)
    assert_close(
        boundary.rows @ boundary.constraints.basis, np.zeros((5, LARGE - 5)), relative=1e-14, scale=1.0
    )
    stacked = jp.stack([boundary, boundary])
    assert stacked.rows.shape == (2, 5, LARGE)
    floating = jp.Boundary(network, held_drops=[(0, 5)], free_modes="project")
    assert_close(floating.rows[1], np.full(LARGE, LARGE**-0.5), relative=1e-15)
    draw = np.random.default_rng(0)
    values, force = jnp.asarray(draw.normal(size=4)), jnp.asarray(draw.normal(size=LARGE))
    sparse = jp.equilibrate(network, boundary, force, values)
    dense = eqx.filter_jit(jp.equilibrate)(network, boundary, force, values)
    assert_close(sparse.x, dense.x, relative=1e-9)
    assert_close(sparse.reaction, dense.reaction, relative=1e-9)


@pytest.mark.parametrize(
    ("conditions", "argument", "saying"),
    [
        ({"held_nodes": [5, 5]}, "held_nodes", "repeats or follows"),
        ({"held_nodes": [5], "held_drops": [(5, 8)], "ground": [8]}, "held_nodes", "repeats or follows"),
        ({"held_drops": [(1, 2), (2, 3), (3, 1)], "ground": [8]}, "held_drops", "repeats or follows"),
        ({"held_drops": [(3, 3)], "ground": [8]}, "held_drops", "3 to itself"),
        ({}, "free_modes", "1 motion"),
        ({"held_drops": [(3, 4)]}, "free_modes", "1 motion"),
    ],
)
def test_large_boundaries_are_checked(conditions, argument, saying):
    assert_refused(argument, jp.Boundary, path(LARGE), **conditions, saying=saying)


def test_pieces_of_a_large_network_are_held_each():
    """Nodes without edges, too, which drops may tie to others; one that nothing holds is named."""
    network = path(LARGE - 100)
    topology = jp.from_edges(np.asarray(network.topology.edges), num_nodes=LARGE)
    network = jp.FlowNetwork(topology)
    apart = list(range(LARGE - 100, LARGE))
    ties = list(zip([3, *apart], apart, strict=False))
    boundary = jp.Boundary(network, ground=[0], held_drops=ties)
    state = jp.equilibrate(network, boundary, values=jnp.full(100, 0.5))
    assert_close(state.x[jnp.array(apart)], -0.5 * np.arange(1, 101), relative=1e-14)
    saying = f"node {LARGE - 1} floats"
    assert_refused("ground", jp.Boundary, network, ground=[0], held_drops=ties[:-1], saying=saying)


def test_memory_grows_with_the_edges_alone():
    """A hundred bytes and a few for each node and edge, where a matrix would take megabytes for a row."""
    network = path(6000)
    tracemalloc.start()
    boundary = jp.Boundary(network, held_nodes=np.arange(0, 6000, 2))
    jp.equilibrate(network, boundary, values=jnp.ones(3000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30e6


def test_large_networks_whose_nodes_are_all_close():
    """Conjugate gradients, where factors would fill in: against Kirchhoff's current law, node by node."""
    draw = np.random.default_rng(4)
    size = 4500
    edges = np.stack([np.arange(1, size), draw.integers(0, np.arange(1, size))], axis=1)
    extra = draw.integers(0, size, (size, 2))
    edges = np.concatenate([edges, extra[extra[:, 0] != extra[:, 1]]])
    k = draw.uniform(0.5, 2.0, len(edges))
    network = jp.FlowNetwork(jp.from_edges(edges), k=k)
    boundary = jp.Boundary(network, held_nodes=[0], held_drops=[(3, 4)], ground=[7])
    state = jp.equilibrate(network, boundary, values=jnp.array([1.0, 0.1]))
    x = np.asarray(state.x)
    currents = k * (x[edges[:, 0]] - x[edges[:, 1]])
    left = np.bincount(edges[:, 0], currents, size) - np.bincount(edges[:, 1], currents, size)
    left[[0, 3, 4, 7]] += np.asarray(state.reaction)[[0, 1, 1, 2]] * [1, 1, -1, 1]
    assert np.abs(left).max() < 1e-14
    assert_close(x[3] - x[4], 0.1, relative=1e-14)
    assert state.status == jp.Status.OK


def test_large_springs_take_it_too():
    """A bar under its own weight: node i sinks by the sum of what hangs below it."""
    size = 1200
    positions = np.stack([np.arange(size), np.zeros(size)], axis=1)
    edges = np.stack([np.arange(size - 1), np.arange(1, size)], axis=1)
    network = jp.SpringNetwork(jp.from_edges(edges, positions=positions), k=4.0, law="vector")
    boundary = jp.Boundary(network, ground=[0])
    force = jnp.zeros((size, 2)).at[:, 1].set(-1.0).reshape(-1)
    state = jp.equilibrate(network, boundary, force)
    below = np.arange(size - 1, 0, -1)
    assert_close(state.x[3::2], -np.cumsum(below) / 4.0, relative=1e-12)
    assert_close(state.reaction, [0.0, -float(size)], relative=1e-12)


def test_large_springs_must_be_rigid():
    """A strip of triangles is; without one of its braces it folds."""
    size = 600
    positions = np.stack([np.arange(size) / 2, np.arange(size) % 2], axis=1)
    edges = [(i, i + step) for step in (1, 2) for i in range(size - step)]
    boundary = jp.Boundary(jp.SpringNetwork(jp.from_edges(edges, positions=positions)), free_modes="project")
    assert boundary.num_rows == 3
    edges.remove((300, 302))
    folding = jp.SpringNetwork(jp.from_edges(edges, positions=positions))
    assert_refused("network", jp.Boundary, folding, free_modes="project", saying="floppy")


def test_what_is_wrong_with_the_numbers_is_in_the_status():
    network, conditions = flow(), {"held_nodes": [4], "ground": [0]}
    boundary = jp.Boundary(network, **conditions)

    def status(network, force=None):
        return jp.equilibrate(network, boundary, force, jnp.ones(1), solver=jp.SparseLU())

    for k in (jnp.nan, -100.0):
        state = status(network.with_k(network.k.at[3].set(k)))
        assert state.status == jp.Status.NOT_POSITIVE_DEFINITE
        assert np.isnan(state.x).all()
    assert status(network, jnp.zeros(12).at[2].set(jnp.nan)).status == jp.Status.NOT_FINITE
    loose = path(4)
    state = jp.equilibrate(
        loose.with_k(jnp.array([1.0, 0.0, 1.0])), jp.Boundary(loose, ground=[0]), solver=jp.SparseLU()
    )
    assert state.status == jp.Status.NOT_POSITIVE_DEFINITE


def test_where_it_cannot_go():
    network = flow()
    boundary = jp.Boundary(network, ground=[0])
    solver = jp.SparseLU()

    def solve(k):
        return jp.equilibrate(network.with_k(k), boundary, solver=solver).x

    for transformed in (jax.jit(solve), jax.jacfwd(solve)):
        with pytest.raises(jp.InputError, match="`SparseLU` works on the host"):
            transformed(network.k)
    task = jp.allostery(network, boundary, [1], [2], response=0.1)
    assert_refused("solver", jp.respond, network, task, solver=solver, saying="works on the host")
    elastic = springs()
    drops = jp.Boundary(elastic, held_drops=[(0, 1)], free_modes="project")
    assert_refused("solver", jp.equilibrate, elastic, drops, solver=solver, saying="between nodes of springs")
    node = jp.NodeNetwork(jnp.array([2.0, 0.1, 3.0]))
    assert_refused("network", jp.equilibrate, node, jp.Boundary(node), solver=solver, saying="NodeNetwork")


def test_dense_algebra_counts_before_it_starts():
    network = path(10_001)
    boundary = jp.Boundary(network, held_nodes=[0], ground=[5])
    saying = r"Dense algebra needs 10001 by 10001 numbers, 0\.7 GiB a matrix, more than the 10000 by 10000"
    for refused in (
        network.hessian,
        lambda: boundary.constraints.basis,
        lambda: jp.greens_function(network, boundary),
        lambda: jp.equilibrate(network, boundary, values=jnp.ones(1), solver=jp.Dense()),
        lambda: jax.jit(lambda v: jp.equilibrate(network, boundary, values=v).x)(jnp.ones(1)),
    ):
        with pytest.raises(jp.InputError, match=saying):
            refused()
    assert boundary.rows.shape == (2, 10_001)


def test_thousands_of_voltage_sources_are_read_and_solved():
    """Each holds a node of a ladder: what one sees of its neighbours follows from three resistors."""
    count = 3000
    lines = [f"V{i} s{i} 0 {i % 7}\nR{i} s{i} n{i} 1k\nRn{i} n{i} 0 1k" for i in range(count)]
    circuit = parse_netlist("\n".join(["title", *lines]))
    state = circuit.equilibrate()
    found = dict(zip(circuit.labels, np.asarray(state.x).tolist(), strict=True))
    assert_close([found[f"n{i}"] for i in range(count)], [i % 7 / 2 for i in range(count)], relative=1e-14)
    assert state.status == jp.Status.OK


def wires(k):
    network = jp.FlowNetwork(jp.from_edges([(i, i + 1) for i in range(len(k))]), k=k)
    return network, jp.Boundary(network, held_nodes=[0], ground=[len(k)])


@pytest.mark.parametrize("power", [43, 50, 54, 56, 60])
def test_digits_that_were_lost_in_the_hessian_come_back(power):
    """What was added to a large conductance was cut off; drops of edges know it still, or it is told."""
    network, boundary = wires([8.3, 2.0**power, 4.1])
    state = jp.equilibrate(network, boundary, values=jnp.array([1.0]), solver=jp.SparseLU())
    error = abs(float(state.x[1]) - 8.3 / 12.4)
    assert error < 1e-12 if power <= 54 else state.status != jp.Status.OK or error < 1e-6
    assert power > 54 or state.status == jp.Status.OK


@pytest.mark.parametrize("decades", [6, 12, 16])
def test_currents_through_good_conductors_keep_their_digits(decades):
    """What holds a node is a drop of 1e-16 times 1e16: the second float of the state has it."""
    k = np.array([10.0**decades, 1.0, 2.0, 10.0**decades])
    network, boundary = wires(k)
    state = jp.equilibrate(network, boundary, values=jnp.array([1.0]), solver=jp.SparseLU())
    current = 1 / np.sum(1 / k)
    assert_close(state.reaction, [-current, current], relative=1e-14)
    assert state.status == jp.Status.OK
