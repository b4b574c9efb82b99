"""Bad input is refused before any compute, by one sentence that names the argument."""

import inspect

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
from helpers import assert_refused

import jaxphys as jp
from jaxphys.networks.generators import erdos_renyi

# The same in either precision.
pytestmark = pytest.mark.float64

SQUARE = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
SIDES = [(0, 1), (1, 2), (2, 3), (3, 0)]
KEY = jax.random.key(0)
NAN, INFINITY = float("nan"), float("inf")


def chain(**arguments):
    return jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2), (2, 3)]), **arguments)


def two_pieces():
    return jp.FlowNetwork(jp.from_edges([(0, 1), (2, 3)]))


def square():
    return jp.SpringNetwork(jp.from_edges(SIDES, positions=SQUARE))


def braced():
    return jp.SpringNetwork(jp.from_edges([*SIDES, (0, 2)], positions=SQUARE))


def positive():
    return jp.NodeNetwork.from_matrix(3 * np.eye(3))


@pytest.mark.parametrize(
    ("argument", "edges", "arguments", "saying"),
    [
        ("edges", [], {}, "non-empty list of node pairs"),
        ("edges", np.zeros((3, 3), int), {}, r"\(3, 3\)"),
        ("edges", np.array([0, 1]), {}, r"\(2,\)"),
        ("edges", np.array([[0.0, 1.0]]), {}, "integers"),
        ("edges", [(0, 1), (1, 5)], {"num_nodes": 3}, "5 is out of range"),
        ("edges", [(0, 1), (-1, 1)], {}, "-1 is out of range"),
        ("edges", [(0, 1), (2, 2)], {}, "edge 1 joins node 2 to itself"),
        ("positions", SIDES, {"positions": SQUARE[:3]}, r"\(4, d\)"),
        ("positions", SIDES, {"positions": [0.0, 1.0, 2.0, 3.0]}, r"\(4, d\)"),
        ("positions", SIDES, {"positions": [*SQUARE[:3], [0.0, NAN]]}, "finite"),
        ("box", SIDES, {"box": [1.0, 1.0]}, "come with positions"),
        ("box", SIDES, {"positions": SQUARE, "box": [3.0]}, "2 positive side lengths"),
        ("box", SIDES, {"positions": SQUARE, "box": [3.0, 0.0]}, "2 positive side lengths"),
        ("box", SIDES, {"positions": SQUARE, "box": [3.0, NAN]}, "2 positive side lengths"),
    ],
)
def test_from_edges(argument, edges, arguments, saying):
    assert_refused(argument, jp.from_edges, edges, saying=saying, **arguments)


@pytest.mark.parametrize(
    ("graph", "saying"),
    [
        (nx.DiGraph([(0, 1), (1, 0)]), "one direction"),
        (nx.Graph([(0, 0), (0, 1)]), "itself"),
        (nx.empty_graph(3), "edges"),
    ],
)
def test_from_networkx(graph, saying):
    assert_refused("graph|edges", jp.from_networkx, graph, saying=saying)


def test_topology_methods():
    topology = jp.from_edges(SIDES)
    assert_refused("num_edges", topology.padded, 3, saying="at least 4, but it is 3")
    for method in (topology.bond_vectors, topology.bond_directions, topology.num_floppy_modes):
        with pytest.raises(jp.InputError, match="`topology` must have positions"):
            method()


@pytest.mark.parametrize(
    ("argument", "nodes", "edges", "arguments", "saying"),
    [
        ("num_nodes", 1, 0, {}, "at least 2"),
        ("num_edges", 5, 3, {}, "4 .a tree."),
        ("num_edges", 5, 11, {}, "10 .all pairs."),
        ("dimension", 5, 6, {"dimension": 4}, "2, 3 or None"),
        ("rigid", 5, 7, {"rigid": True}, "dimension"),
        ("num_edges", 5, 6, {"rigid": True, "dimension": 2}, "at least 7"),
        ("num_edges", 40, 39, {"max_draws": 3}, "3 draws"),
    ],
)
def test_erdos_renyi(argument, nodes, edges, arguments, saying):
    assert_refused(argument, erdos_renyi, nodes, edges, KEY, saying=saying, **arguments)


@pytest.mark.parametrize(
    ("generator", "argument", "value", "periodic"),
    [
        (jp.square_lattice, "shape", (0, 4), False),
        (jp.square_lattice, "shape", (1, 1), False),
        (jp.square_lattice, "shape", (), False),
        (jp.square_lattice, "shape", (2, 4), True),
        (jp.triangular_lattice, "shape", (1, 1), False),
        (jp.triangular_lattice, "shape", (3, 4), True),
        (jp.triangular_lattice, "shape", (2, 4), True),
        (jp.triangular_lattice, "shape", (4, 2), True),
    ],
)
def test_lattices(generator, argument, value, periodic):
    assert_refused(argument, generator, value, periodic=periodic)


def test_complete_graph():
    assert_refused("num_nodes", jp.complete_graph, 1, saying="at least 2")


@pytest.mark.parametrize("bad", [0.0, -1.0, NAN, INFINITY, -INFINITY])
@pytest.mark.parametrize("network", [jp.FlowNetwork, jp.SpringNetwork], ids=["flow", "springs"])
def test_k_must_be_positive(network, bad):
    topology = jp.from_edges(SIDES, positions=SQUARE)
    assert_refused("k", network, topology, [1.0, 1.0, bad, 1.0], saying=r"entry \[2\]")
    assert_refused("k", network, topology, bad)
    # Padding carries nothing, so nothing is asked of it.
    assert network(topology.padded(5), [1.0, 1.0, 1.0, 1.0, bad]).num_edges == 5


@pytest.mark.parametrize("network", [jp.FlowNetwork, jp.SpringNetwork], ids=["flow", "springs"])
def test_k_must_fit(network):
    topology = jp.from_edges(SIDES, positions=SQUARE)
    assert_refused("k", network, topology, [1.0, 1.0], saying=r"\(4,\)")
    assert_refused("k", network, topology, np.ones((2, 4)), saying=r"\(2, 4\)")


def test_spring_networks():
    assert_refused("topology", jp.SpringNetwork, jp.from_edges(SIDES), saying="positions")
    flat = jp.from_edges(SIDES, positions=[SQUARE[0], SQUARE[0], SQUARE[2], SQUARE[3]])
    assert_refused("topology", jp.SpringNetwork, flat, saying="bond 0 has length 0")


@pytest.mark.parametrize("size", [0, 2, 4, 5])
def test_node_networks_need_a_triangle(size):
    assert_refused("k", jp.NodeNetwork, np.ones(size), saying=f"it has {size}")


def test_node_networks():
    assert_refused("k", jp.NodeNetwork, [1.0, NAN, 1.0], saying="finite")
    build = jp.NodeNetwork.from_matrix
    assert_refused("matrix", build, np.ones((2, 3)), saying="square")
    assert_refused("matrix", build, np.ones(4), saying="square")
    assert_refused("matrix", build, [[1.0, 2.0], [2.5, 1.0]], saying="symmetric")


def test_rows():
    assert_refused("nodes", chain().node_rows, [4], saying="4 is out of range")
    for network in (chain(), braced(), positive()):
        row = network.drop_row
        with pytest.raises(jp.InputError, match="`nodes` must name nodes"):
            row(0, 7)
        with pytest.raises(jp.InputError, match="`nodes` must be two different nodes, but both are 1"):
            row(1, 1)


@pytest.mark.parametrize(
    ("argument", "network", "arguments", "saying"),
    [
        ("held_nodes", chain, {"held_nodes": [4]}, "between 0 and 3"),
        ("held_nodes", chain, {"held_nodes": [-1]}, "-1 is out of range"),
        ("held_nodes", chain, {"held_nodes": np.array([1.0])}, "integers"),
        ("ground", chain, {"ground": [9]}, "9 is out of range"),
        ("held_drops|nodes", chain, {"held_drops": [(0, 9)], "ground": [0]}, "9 is out of range"),
        ("held_drops|nodes", chain, {"held_drops": [(1, 1)], "ground": [0]}, "1 to itself"),
        # One condition twice, whichever way.
        ("held_nodes", chain, {"held_nodes": [0], "ground": [0]}, "hold each coordinate once"),
        ("ground", chain, {"ground": [0, 0]}, "hold each coordinate once"),
        ("held_drops", chain, {"held_drops": [(0, 1), (1, 0)], "ground": [0]}, "hold each coordinate once"),
        ("held_drops", chain, {"held_nodes": [1], "held_drops": [(0, 1)], "ground": [0]}, "follows from"),
        # Free motions that nothing holds.
        ("free_modes", chain, {}, "project"),
        ("free_modes", chain, {"held_drops": [(0, 3)]}, "project"),
        ("free_modes", braced, {}, "3 motion"),
        ("free_modes", braced, {"ground": [0]}, "1 motion"),
        ("ground", two_pieces, {"ground": [0]}, "component of node 2 floats"),
        ("ground", two_pieces, {"held_nodes": [3]}, "component of node 0 floats"),
        ("ground", two_pieces, {"free_modes": "project"}, "component of node 0 floats"),
        ("ground", two_pieces, {"ground": [1], "free_modes": "project"}, "component of node 2 floats"),
        # Floppy springs.
        ("network", square, {"free_modes": "project"}, "1 floppy mode"),
        ("network", square, {"ground": [0, 1]}, "1 floppy mode"),
    ],
)
def test_boundary(argument, network, arguments, saying):
    assert_refused(argument, jp.Boundary, network(), saying=saying, **arguments)


def test_a_spring_network_in_two_pieces_is_refused():
    """Each piece rigid, one of them held: the other flies off."""
    positions = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [5.0, 0.0], [6.0, 0.0], [5.0, 1.0]]
    edges = [(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3)]
    network = jp.SpringNetwork(jp.from_edges(edges, positions=positions))
    for arguments in ({"ground": [0, 1]}, {"free_modes": "project"}):
        with pytest.raises(jp.InputError, match=r"component|floppy"):
            jp.Boundary(network, **arguments)


def test_a_drop_between_coincident_nodes_has_no_direction():
    positions = [*SQUARE, SQUARE[0]]
    network = jp.SpringNetwork(jp.from_edges([*SIDES, (0, 2), (4, 1), (4, 2)], positions=positions))
    assert_refused("held_drops", jp.Boundary, network, held_drops=[(0, 4)], free_modes="project")


def test_equilibrate():
    network = chain()
    boundary = jp.Boundary(network, held_nodes=[0], ground=[3])
    assert_refused("force", jp.equilibrate, network, boundary, jnp.ones(3), saying="4 entries")
    assert_refused("values", jp.equilibrate, network, boundary, None, jnp.ones(2), saying="1 entries")


GOOD = {"force": np.eye(4)[1:2], "readout": np.eye(4)[2:3], "targets": [[0.1]]}


@pytest.mark.parametrize(
    ("argument", "arguments", "saying"),
    [
        ("force", {"force": None}, "neither is"),
        ("force", {"force": np.eye(3)[:1]}, r"\(1, 4\)"),
        ("force", {"force": [[NAN, 0.0, 0.0, 0.0]]}, "finite"),
        ("values", {"values": [[1.0]]}, r"\(1, 0\)"),
        ("inputs", {"inputs": [[1.0, 1.0]]}, r"\(1, 1\)"),
        ("inputs", {"inputs": [[INFINITY]]}, "finite"),
        ("inputs", {"inputs": np.zeros((0, 1)), "targets": np.zeros((0, 1))}, "the task is empty"),
        ("force|inputs", {"force": np.zeros((0, 4)), "targets": np.zeros((0, 1))}, "the task is empty"),
        ("readout|inputs", {"readout": np.zeros((0, 4)), "targets": np.zeros((1, 0))}, "the task is empty"),
        ("readout", {"readout": np.eye(4)[2]}, r"\(4,\)"),
        ("readout", {"readout": np.eye(5)[2:3]}, r"\(1, 4\)"),
        ("readout", {"readout": np.eye(4)[:1]}, "output 0 is also held"),
        ("readout", {"readout": np.zeros((1, 4))}, "output 0"),
        ("targets", {"targets": [[0.1, 0.2]]}, r"\(1, 1\)"),
        ("targets", {"targets": [[NAN]]}, "finite"),
        ("weights", {"weights": [[1.0], [1.0]]}, r"\(1, 1\)"),
        ("weights", {"weights": [[NAN]]}, "finite"),
        ("reduction", {"reduction": "max"}, "sum"),
    ],
)
def test_task(argument, arguments, saying):
    boundary = jp.Boundary(chain(), ground=[0])
    if argument == "reduction":
        # Type checks of the test suite get there first; users without them meet ours.
        with pytest.raises((jp.InputError, TypeError), match="reduction"):
            jp.Task(boundary, **{**GOOD, **arguments})
        return
    assert_refused(argument, jp.Task, boundary, saying=saying, **{**GOOD, **arguments})


@pytest.mark.parametrize(
    ("network", "conditions", "readout"),
    [
        (chain, {"held_drops": [(0, 1)], "ground": [3]}, [1.0, -1.0, 0.0, 0.0]),
        (chain, {"held_drops": [(0, 1)], "ground": [0]}, [0.0, 1.0, 0.0, 0.0]),
        (chain, {"free_modes": "project"}, [1.0, 1.0, 1.0, 1.0]),
        (braced, {"free_modes": "project"}, [1.0, 0.0] * 4),
    ],
    ids=["the held drop", "what follows from held rows", "the projected mode", "a projected translation"],
)
def test_outputs_that_are_held(network, conditions, readout):
    network = network()
    boundary = jp.Boundary(network, **conditions)
    force = np.ones((1, network.num_coordinates))
    assert_refused(
        "readout",
        jp.Task,
        boundary,
        force=force,
        readout=[readout],
        targets=[[0.1]],
        saying="output 0 is also held",
    )


@pytest.mark.parametrize(
    ("argument", "sources", "targets", "arguments", "saying"),
    [
        ("targets", [1], [], {}, "the task is empty"),
        ("sources", [], [2], {}, "the task is empty"),
        ("sources", [1, 2], [3, 1, 2], {}, "there are 2"),
        ("sources|nodes", [9], [2], {}, "9 is out of range"),
        ("targets|nodes", [1], [9], {}, "9 is out of range"),
        ("targets|nodes", [1], [(2, 9)], {}, "9 is out of range"),
        ("targets|nodes", [1], [(2, 2)], {}, "2 to itself"),
        ("targets|readout", [1], [0], {}, "held"),
        ("response|targets", [1], [2], {"response": NAN}, "finite"),
        ("response", [1], [2], {"response": [0.1, 0.2]}, "2"),
        ("amplitude|force", [1], [2], {"amplitude": INFINITY}, "finite"),
        ("target_directions|directions", [1], [2], {"target_directions": np.ones((2, 1))}, r"\(1, 1\)"),
        ("source_directions|directions", [1], [2], {"source_directions": np.ones((1, 2))}, r"\(1, 1\)"),
    ],
)
def test_allostery(argument, sources, targets, arguments, saying):
    network = chain()
    boundary = jp.Boundary(network, ground=[0])
    arguments = {"response": 0.1, **arguments}
    assert_refused(argument, jp.allostery, network, boundary, sources, targets, saying=saying, **arguments)


def test_allostery_by_held_rows():
    network = chain()
    boundary = jp.Boundary(network, held_nodes=[0], ground=[3])
    assert_refused("sources", jp.allostery, network, boundary, [1], [2], response=0.1, saying="empty")


def test_allostery_of_springs_needs_directions():
    network = braced()
    boundary = jp.Boundary(network, free_modes="project")
    along = np.array([[1.0, 0.0]])
    for argument, given in [
        ("target_directions", "source_directions"),
        ("source_directions", "target_directions"),
    ]:
        assert_refused(
            f"{argument}|directions",
            jp.allostery,
            network,
            boundary,
            [0],
            [2],
            response=0.1,
            saying="unit vector",
            **{given: along},
        )


@pytest.mark.parametrize(
    ("argument", "arguments", "saying"),
    [
        ("sources", {"sources": []}, "the task is empty"),
        ("targets|inputs", {"targets": [], "matrix": np.zeros((0, 2))}, "the task is empty"),
        ("matrix", {"matrix": np.ones((2, 2))}, r"\(1, 2\)"),
        ("matrix|targets", {"matrix": [[NAN, 1.0]]}, "finite"),
        ("inputs", {"inputs": np.ones((4, 3))}, r"\(samples, 2\)"),
        ("inputs", {"inputs": np.ones((0, 2))}, r"\(samples, 2\)"),
        ("inputs", {"inputs": np.ones(2)}, r"\(samples, 2\)"),
        ("inputs|targets", {"inputs": [[NAN, 1.0]]}, "finite"),
        ("targets|readout", {"targets": [0]}, "held"),
    ],
)
def test_regression(argument, arguments, saying):
    network = chain()
    boundary = jp.Boundary(network, ground=[0])
    good = {"sources": [1, 2], "targets": [3], "matrix": np.ones((1, 2)), "inputs": np.ones((4, 2))}
    assert_refused(argument, jp.regression, network, boundary, saying=saying, **{**good, **arguments})


@pytest.mark.parametrize(
    ("argument", "arguments", "saying"),
    [
        ("labels", {"labels": [0, 2]}, "classes between 0 and 1"),
        ("labels", {"labels": [0, -1]}, "-1 is out of range"),
        ("labels", {"labels": [0.0, 1.0]}, "integers"),
        ("labels|targets", {"labels": [0]}, "2"),
        ("features|inputs", {"features": np.ones((2, 3))}, r"\(2, 1\)"),
        ("features|inputs", {"features": [[NAN], [1.0]]}, "finite"),
        ("features|inputs", {"features": np.ones((0, 1)), "labels": []}, "the task is empty"),
        ("sources", {"sources": []}, "the task is empty"),
    ],
)
def test_classification(argument, arguments, saying):
    network = chain()
    boundary = jp.Boundary(network, ground=[0])
    good = {"sources": [1], "targets": [2, 3], "features": np.ones((2, 1)), "labels": [0, 1]}
    assert_refused(argument, jp.classification, network, boundary, saying=saying, **{**good, **arguments})


@pytest.mark.parametrize("number", [0, -2])
def test_random_linear(number):
    assert_refused("num_tasks", jp.random_linear, positive(), number, KEY, saying=f"it is {number}")


@pytest.mark.parametrize("rule", [jp.EquilibriumPropagation, jp.CoupledLearning])
@pytest.mark.parametrize("nudge", [0.0, -1e-3, NAN])
def test_nudges_are_positive(rule, nudge):
    assert_refused("nudge", rule, nudge=nudge, saying="positive")


@pytest.mark.parametrize("value", [0.0, -1.0, NAN, INFINITY])
def test_temperatures_are_positive(value):
    assert_refused("inverse_temperature", jp.CrossEntropy, inverse_temperature=value, saying="positive")


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("initial", 0.0),
        ("initial", -1.0),
        ("growth", 0.9),
        ("shrink", 0.0),
        ("shrink", 1.0),
        ("initial", NAN),
    ],
)
def test_adaptive_steps(argument, value):
    assert_refused(argument, jp.AdaptiveStep, **{argument: value})


@pytest.mark.parametrize(
    ("argument", "transformation", "arguments"),
    [
        ("lower", jp.bounds, {}),
        ("lower", jp.bounds, {"lower": 2.0, "upper": 1.0}),
        ("lower", jp.bounds, {"lower": 1.0, "upper": 1.0}),
        ("standard_deviation", jp.update_noise, {"standard_deviation": -1.0}),
        ("standard_deviation", jp.update_noise, {"standard_deviation": NAN}),
        ("fraction", jp.participation, {"fraction": 0.0}),
        ("fraction", jp.participation, {"fraction": 1.5}),
        ("fraction", jp.participation, {"fraction": NAN}),
    ],
)
def test_transformations(argument, transformation, arguments):
    assert_refused(argument, transformation, **arguments)


def test_transformations_out_of_place():
    updates = jnp.ones(3)
    bounds = jp.bounds(0.1)
    assert_refused("params", bounds.update, updates, bounds.init(updates))
    for random in (jp.update_noise(1.0), jp.participation(0.5)):
        assert_refused("key", random.update, updates, random.init(updates))


DOWNHILL = jp.Descent(adaptive=jp.AdaptiveStep())


def learner(seed=0, samples=2):
    network = jp.FlowNetwork(jp.erdos_renyi(5, 6, jax.random.key(seed)))
    boundary = jp.Boundary(network, ground=[0])
    return network, jp.regression(network, boundary, [1], [2], matrix=[[0.1]], inputs=np.ones((samples, 1)))


@pytest.mark.parametrize(
    ("argument", "arguments", "saying"),
    [
        ("steps", {"steps": 0}, "positive"),
        ("steps", {"steps": -5}, "positive"),
        ("record", {"record": jp.Record(steps=[11])}, "between 0 and 10, but it reaches 11"),
        ("record", {"record": jp.Record(steps=[-1])}, "between 0 and 10, but it reaches -1"),
        ("sampling|batch_size", {"sampling": jp.Sampling(batch_size=0)}, "between 1 and 2"),
        ("sampling|batch_size", {"sampling": jp.Sampling(batch_size=3)}, "between 1 and 2"),
        ("optimizer", {"sampling": jp.Sampling(1), "optimizer": DOWNHILL}, "minibatches"),
        ("stop_cost", {"sampling": jp.Sampling(1), "stop_cost": 0.1}, "minibatches"),
    ],
)
def test_train(argument, arguments, saying):
    assert_refused(argument, jp.train, *learner(), saying=saying, **{"steps": 10, **arguments})


def test_train_wants_one_task_per_realization():
    members = [learner(seed) for seed in range(3)]
    networks, tasks = (jp.stack(column) for column in zip(*members, strict=True))
    assert_refused(
        "task", jp.train, networks, jp.stack([members[0][1]] * 2), steps=1, saying="3 realizations"
    )
    assert_refused("task", jp.train, networks, members[0][1], steps=1, saying="3 realizations")
    assert_refused("task", jp.train, members[0][0], tasks, steps=1)


def test_a_functional_may_not_be_called_cost():
    """It would be overwritten by the learning cost, or the other way round."""
    assert_refused("functionals", jp.Record, functionals={"cost": lambda network, task: network.k})


def test_records_by_spacing_or_by_steps():
    assert_refused("steps", jp.Record, every=1, steps=[3], saying="both are set")
    assert_refused("every", jp.Record, every=0, saying="positive")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("adaptive", r"optimizer=Descent\(adaptive="),
        ("rate", r"optimizer=Descent\(rate="),
        ("integrator", "optimizer="),
        ("batch_size", r"sampling=Sampling\(batch_size="),
        ("key", r"sampling=Sampling\(key="),
        ("record_every", r"record=Record\(every="),
        ("record_steps", r"record=Record\(steps="),
        ("functionals", r"record=Record\(functionals="),
        ("progress", r"record=Record\(progress="),
        ("checkpoint_seconds", r"checkpoint=Checkpointing\(folder, seconds="),
        ("resume", r"checkpoint=Checkpointing\(folder, resume="),
        ("block", r"devices=Devices\(block="),
        ("mesh", r"devices=Devices\(mesh="),
    ],
)
def test_an_argument_that_moved_says_where(old, new):
    with pytest.raises(jp.InputError, match=rf"^Argument `{old}` must be written as `{new}"):
        jp.train(*learner(), steps=1, **{old: None})


def test_an_unknown_argument_is_pythons_to_refuse():
    with pytest.raises(TypeError, match="learning_rate"):
        jp.train(*learner(), steps=1, learning_rate=0.1)
    assert len(inspect.signature(jp.train).parameters) <= 12


def test_stack():
    assert_refused("realizations", jp.stack, [], saying="empty")
    small, large = (jp.FlowNetwork(jp.from_edges(edges)) for edges in (SIDES, SIDES[:3]))
    assert_refused("realizations", jp.stack, [small, large], saying="differ")
    positioned = jp.FlowNetwork(jp.from_edges(SIDES, positions=SQUARE))
    assert_refused("realizations", jp.stack, [small, positioned], saying="differ")


def test_bad_values_inside_a_traced_program_are_left_to_the_status():
    """Under `jit` values cannot be looked at: nothing is raised, and the state says what is wrong."""
    topology = jp.from_edges([(0, 1), (1, 2)])
    boundary = jp.Boundary(jp.FlowNetwork(topology), ground=[0])

    @jax.jit
    def status(k):
        return jp.equilibrate(jp.FlowNetwork(topology, k), boundary, jnp.array([0.0, 0.0, 1.0])).status

    assert int(status(jnp.array([1.0, 1.0]))) == jp.Status.OK
    assert int(status(jnp.array([1.0, -1.0]))) == jp.Status.NOT_POSITIVE_DEFINITE
