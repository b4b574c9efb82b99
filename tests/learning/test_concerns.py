"""What is told of a task before training."""

import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_refused

import jaxphys as jp

# Nothing here computes in the precision of the networks.
pytestmark = pytest.mark.float64


@pytest.fixture
def network():
    return jp.FlowNetwork(jp.square_lattice((4, 5)))


def voltage_task(network, targets=(18,), inputs=((1.0, 0.5),), wanted=((0.7,),), ground=(0,)):
    boundary = jp.Boundary(network, held_nodes=[4, 15], ground=ground)
    readout = network.node_rows(list(targets))
    return jp.Task(boundary, values=np.eye(2), inputs=inputs, readout=readout, targets=wanted)


def test_nothing_to_say(network):
    assert jp.concerns(network, voltage_task(network)) == []
    by_current = jp.allostery(network, jp.Boundary(network, ground=[0]), [4], [18], response=50.0)
    assert jp.concerns(network, by_current) == []
    node = jp.NodeNetwork.from_matrix(np.eye(4))
    assert jp.concerns(node, jp.random_linear(node, 1, jax.random.key(0))) == []


@pytest.mark.parametrize("target", [1.01, -0.01])
def test_targets_beyond_all_voltages(network, target):
    (told,) = jp.concerns(network, voltage_task(network, wanted=((target,),)))
    assert f"wants {target:.3g} of output 0, which lies between 0 and 1" in told


def test_without_a_ground_the_lowest_input_counts(network):
    (told,) = jp.concerns(network, voltage_task(network, wanted=((0.3,),), ground=()))
    assert "lies between 0.5 and 1" in told


def test_drops_and_weights(network):
    boundary = jp.Boundary(network, held_nodes=[4], ground=[0])
    assert jp.concerns(network, jp.allostery(network, boundary, [], [(12, 13)], response=0.9)) == []
    (told,) = jp.concerns(network, jp.allostery(network, boundary, [], [(12, 13)], response=-1.5))
    assert "between -1 and 1" in told
    task = voltage_task(network, targets=(18, 12), wanted=((0.7, 5.0),))
    assert len(jp.concerns(network, task)) == 1
    unweighted = task.with_samples(task.inputs, task.targets, jnp.array([[1.0, 0.0]]))
    assert jp.concerns(network, unweighted) == []


def test_targets_beside_a_ground(network):
    (told,) = jp.concerns(network, voltage_task(network, targets=(18, 5), wanted=((0.7, 0.2),)))
    assert "output 1 of realization 0 reads node 5, which an edge joins to node 0" in told
    # In a divider there is no other place.
    divider = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]))
    boundary = jp.Boundary(divider, held_nodes=[0], ground=[2])
    assert jp.concerns(divider, jp.allostery(divider, boundary, [], [1], response=0.5)) == []


def test_ensembles_are_counted_and_train_warns(network):
    tasks = [voltage_task(network, wanted=((target,),)) for target in (0.5, 1.5, 2.0)]
    networks, tasks = jp.stack([network] * 3), jp.stack(tasks)
    with pytest.warns(UserWarning, match="out of reach in 2 of 3 realizations: sample 0 of realization 1"):
        jp.train(networks, tasks, steps=1, solver=jp.Dense())


# Bounds on the cost, each beside what Levenberg-Marquardt steps reach.


@pytest.fixture(scope="module")
def clique():
    return jp.FlowNetwork(jp.complete_graph(5))


def told_bound(network, task, heading):
    """The one concern, and the cost that it says is the least."""
    (told,) = jp.concerns(network, task)
    assert told.startswith(f"Targets {heading} in 1 of 1 realizations: ")
    return float(re.search(r"cost stays above ([^;, ]+?)[;, ]", told)[1])


def reached(network, task, lower=1e-9):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = jp.train(
            network,
            task,
            steps=1500,
            record=jp.Record(steps=(1500,)),
            optimizer=jp.LevenbergMarquardt(),
            bounds=(lower, None),
        )
    assert not np.any(run.status)
    return run.cost[0, -1]


def assert_tight(network, task, heading, expected=None, lower=1e-9):
    bound, least = told_bound(network, task, heading), reached(network, task, lower)
    # Three digits are said.
    assert bound == pytest.approx(least, rel=1e-2)
    if expected is not None:
        assert least == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("weights", "expected"), [((1.0, 1.0), 0.04), ((0.5, 2.0), 0.032)])
def test_a_swapped_pair_contradicts_reciprocity(clique, weights, expected):
    """`w₁w₂/(2(w₁+w₂)) (r₁ - r₂)²`, read at the places of the other's source."""
    rows = clique.node_rows([1, 2])
    task = jp.Task(
        jp.Boundary(clique, ground=[0]),
        force=rows,
        readout=rows[::-1],
        targets=np.diag([0.6, 0.2]),
        weights=np.diag(weights),
    )
    assert_tight(clique, task, "contradict reciprocity", expected)


def test_reciprocity_of_springs_read_in_other_units():
    network = jp.SpringNetwork(jp.erdos_renyi(5, 9, jax.random.key(0), dimension=2, rigid=True))
    rows = network.node_rows([1, 3], np.array([[1.0, 0.0], [0.6, 0.8]]))
    task = jp.Task(
        jp.Boundary(network, ground=[0], free_modes="project"),
        force=rows,
        readout=[-2 * rows[1], 2 * rows[0]],
        targets=np.diag([-1.2, 0.4]),
        weights=np.eye(2),
        reduction="mean",
    )
    assert_tight(network, task, "contradict reciprocity", 0.25 * (0.6 - 0.2) ** 2 * 4 / 2)


def test_reciprocity_of_mixed_inputs(clique):
    """By the moments of the inputs, in any order of the outputs, noise of the targets on top."""
    random = np.random.default_rng(1)
    inputs = random.normal(size=(20, 2)) @ np.array([[1.0, 0.3], [0.0, 0.6]])
    wanted = np.array([[0.6, 0.35], [0.15, 0.5]])
    noise = 0.01 * random.normal(size=(20, 2))
    task = jp.Task(
        jp.Boundary(clique, ground=[0]),
        force=clique.node_rows([1, 2]),
        inputs=inputs,
        readout=clique.node_rows([2, 1]),
        targets=(inputs @ wanted.T + noise)[:, ::-1],
        reduction="mean",
    )
    assert_tight(clique, task, "contradict reciprocity")
    # Of what is read elsewhere too, or driven elsewhere too, nothing is known.
    node = jp.NodeNetwork.from_matrix(2 * np.eye(4))
    inputs = random.normal(size=(20, 3))
    wanted = np.array([[0.6, 0.3, 0.2], [0.1, 0.5, -0.3]])
    other = jp.Task(
        jp.Boundary(node),
        force=np.eye(4)[:3],
        inputs=inputs,
        readout=np.eye(4)[:2],
        targets=inputs @ wanted.T,
    )
    assert_tight(node, other, "contradict reciprocity", lower=None)


def test_responses_where_forces_act_are_positive():
    """Isotropic inputs: `½ σ² Σ min(0, λ)²` on top of what reciprocity takes."""
    node = jp.NodeNetwork.from_matrix(2 * np.eye(4))
    wanted = np.array([[0.3, 0.5, 0.1], [0.7, 0.4, -0.2], [0.3, 0.2, 0.1]])
    skew, symmetric = wanted - wanted.T, (wanted + wanted.T) / 2
    expected = 0.125 * np.sum(skew**2) + 0.5 * np.sum(np.minimum(np.linalg.eigvalsh(symmetric), 0) ** 2)
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    for inputs in (np.eye(3), turned):
        task = jp.Task(
            jp.Boundary(node),
            force=np.eye(4)[:3],
            inputs=inputs,
            readout=np.eye(4)[:3],
            targets=inputs @ wanted.T,
        )
        assert_tight(node, task, "contradict reciprocity", expected, lower=None)
    alone = jp.Task(jp.Boundary(node), force=np.eye(4)[:1], readout=np.eye(4)[:1], targets=[[-0.2]])
    assert_tight(node, alone, "contradict reciprocity", 0.02, lower=None)


def test_what_agrees_with_reciprocity_is_not_told(clique):
    boundary = jp.Boundary(clique, ground=[0])
    rows = clique.node_rows([1, 2])
    wanted = np.array([[0.5, 0.2], [0.2, 0.4]])
    inputs = np.random.default_rng(0).normal(size=(9, 2))
    for drive in ({}, {"inputs": inputs}):
        u = drive.get("inputs", np.eye(2))
        task = jp.Task(boundary, force=rows, readout=rows, targets=u @ wanted.T, **drive)
        assert jp.concerns(clique, task) == []
        assert reached(clique, task) < 1e-12
    # Responses of nodes to what others hold need not be symmetric.
    held = jp.Boundary(clique, held_nodes=[1, 2], ground=[0])
    swapped = jp.Task(
        held, values=np.eye(2), readout=clique.node_rows([3, 4]), targets=[[0.1, 0.5], [0.4, 0.2]]
    )
    assert jp.concerns(clique, swapped) == []
    w = np.random.default_rng(0).normal(size=(12, 12))
    node = jp.NodeNetwork.from_matrix(w @ w.T + 9 * np.eye(12))
    assert jp.concerns(node, jp.random_linear(node, 20, jax.random.key(0))) == []
    labels = jp.classification(clique, boundary, [1, 2], [2, 1], features=inputs, labels=[0, 1, 1] * 3)
    assert jp.concerns(clique, labels) == []


def test_currents_push_voltages_above_the_ground(clique):
    boundary = jp.Boundary(clique, ground=[0])
    rows = clique.node_rows([1, 2, 3])
    negative = jp.Task(boundary, force=rows[:1], readout=rows[1:], targets=[[-0.3, 0.2]])
    assert_tight(clique, negative, "lie on the wrong side of the ground", 0.045)
    drawn = negative.with_samples(-negative.inputs, negative.targets)
    assert told_bound(clique, drawn, "lie on the wrong side of the ground") == pytest.approx(0.02)
    # Both signs can be had of currents in and out, of drops, and of floating networks.
    for force, readout, conditions in (
        (rows[0] - rows[1], rows[2], {"ground": [0]}),
        (rows[0], rows[1] - rows[2], {"ground": [0]}),
        (rows[0], rows[1], {"free_modes": "project"}),
    ):
        task = jp.Task(jp.Boundary(clique, **conditions), force=[force], readout=[readout], targets=[[-0.05]])
        assert jp.concerns(clique, task) == []


def test_nothing_flows_past_a_ground():
    """Beyond it all voltages are zero whatever the conductances: so is a target of zero, and no other."""
    path = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2), (2, 3)]))
    boundary = jp.Boundary(path, ground=[1])
    task = jp.allostery(path, boundary, [0], [3], response=0.0)
    assert jp.concerns(path, task) == []
    other = jp.allostery(path, boundary, [0], [3], response=0.1)
    assert told_bound(path, other, "lie on the wrong side of the ground") == pytest.approx(0.005)
    held = jp.Boundary(path, held_nodes=[0], ground=[1])
    assert jp.concerns(path, jp.allostery(path, held, [], [3], response=0.0)) == []
    assert told_bound(path, jp.allostery(path, held, [], [3], response=0.2), "are out of reach") == 0.02


def test_no_response_exceeds_that_of_the_source(clique):
    """`0 ≤ G_ij ≤ min(G_ii, G_jj)`, of nodes and of drops."""
    heading = "exceed the source's own response"
    boundary = jp.Boundary(clique, ground=[0])
    rows = clique.node_rows([1, 3])
    task = jp.Task(boundary, force=rows[:1], readout=rows, targets=[[0.3, 0.5]])
    assert_tight(clique, task, heading, 0.25 * 0.2**2)
    assert "wants 0.5 of output 1, more than the 0.3 of output 0" in jp.concerns(clique, task)[0]
    floating = jp.Boundary(clique, free_modes="project")
    source, drop = clique.drop_row(1, 2), clique.drop_row(4, 3)
    across = jp.Task(floating, force=[source], readout=[source, drop], targets=[[0.3, -0.5]])
    assert_tight(clique, across, heading, 0.25 * 0.2**2)
    # A drop beside the node that is driven: between 0 and the voltage there.
    mixed = jp.Task(boundary, force=rows[:1], readout=[rows[0], drop], targets=[[0.3, 0.29]])
    assert jp.concerns(clique, mixed) == []
    assert reached(clique, mixed) < 1e-8
    more = mixed.with_samples(mixed.inputs, jnp.array([[0.3, 0.4]]))
    assert_tight(clique, more, heading, 0.25 * 0.1**2)


def test_targets_exactly_at_a_bound(clique):
    heading = "Targets lie exactly at a bound"
    boundary = jp.Boundary(clique, ground=[0])
    rows = clique.node_rows([1, 3])
    held = jp.Boundary(clique, held_nodes=[1], ground=[0])
    for task in (
        jp.Task(boundary, force=rows[:1], readout=rows[1:], targets=[[0.0]]),
        jp.Task(boundary, force=rows[:1], readout=rows, targets=[[0.2, 0.2]]),
        jp.Task(held, values=[[2.0]], readout=rows[1:], targets=[[2.0]]),
        jp.Task(held, values=[[2.0]], readout=rows[1:], targets=[[0.0]]),
    ):
        (told,) = jp.concerns(clique, task)
        assert told.startswith(heading)
    # Nothing is held at any other voltage, or the output does not count.
    floating = jp.Boundary(clique, held_nodes=[1])
    assert jp.concerns(clique, jp.Task(floating, values=[[2.0]], readout=rows[1:], targets=[[2.0]])) == []
    idle = jp.Task(boundary, force=rows[:1], readout=rows[1:], targets=[[0.0]], weights=[[0.0]])
    assert jp.concerns(clique, idle) == []


def test_outputs_that_follow_from_one_another(clique):
    heading = "contradict one another"
    boundary = jp.Boundary(clique, ground=[0])
    drops = [clique.drop_row(1, 2), clique.drop_row(2, 3), clique.drop_row(3, 1)]
    task = jp.Task(boundary, force=clique.node_rows([1]), readout=drops, targets=[[0.1, 0.1, 0.1]])
    assert_tight(clique, task, heading, 0.015)
    agreed = task.with_samples(task.inputs, jnp.array([[0.1, 0.1, -0.2]]))
    assert jp.concerns(clique, agreed) == []
    held = jp.Boundary(clique, held_nodes=[1], ground=[0])
    readout = [drops[0], clique.node_rows([2])[0]]
    beside = jp.Task(held, values=[[1.0]], readout=readout, targets=[[0.3, 0.6]], weights=[[1.0, 0.5]])
    assert_tight(clique, beside, heading, 0.5 * 0.1**2 / 3)
    alone = beside.with_samples(beside.inputs, beside.targets, jnp.array([[1.0, 0.0]]))
    assert jp.concerns(clique, alone) == []


def test_one_network_and_many_tasks_are_no_pair(network):
    task = voltage_task(network)
    for pair in ((jp.stack([network] * 2), task), (network, jp.stack([task] * 2))):
        assert_refused("task", jp.concerns, *pair, saying="realizations of the network")
    assert_refused("task", jp.concerns, jp.stack([network] * 2), jp.stack([task] * 3))


def test_targets_whose_squares_are_beyond_all_numbers(clique):
    task = jp.allostery(clique, jp.Boundary(clique, ground=[0]), [1], [2], response=-1e200)
    assert told_bound(clique, task, "lie on the wrong side of the ground") == np.inf


def test_a_cut_node_has_the_response_of_the_source_itself():
    """What hangs on the source has its voltage for all conductances: no limit, but a fact."""
    path = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]))
    boundary = jp.Boundary(path, ground=[0])
    task = jp.regression(path, boundary, [1, 2], [1, 2], matrix=[[1.0, 1.0], [1.0, 2.0]], inputs=np.eye(2))
    assert jp.concerns(path, task) == []
    # The drop from a source to the ground beyond which it hangs; and a drop between two cut nodes.
    tree = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2), (2, 3), (2, 4), (1, 5)]))
    floating = jp.Boundary(tree, free_modes="project")
    rows = [tree.drop_row(1, 2), tree.drop_row(5, 4)]
    own = jp.Task(floating, force=rows[:1], readout=rows, targets=[[1.0, 1.0]])
    assert jp.concerns(tree, own) == []
    turned = own.with_samples(own.inputs, jnp.array([[1.0, -1.0]]))
    assert jp.concerns(tree, turned)[0].startswith("Targets lie exactly at a bound")


@pytest.mark.parametrize("target", [1e-17, -1e-17])
def test_targets_that_rounding_leaves_are_no_concern(target):
    path = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2), (2, 3)]))
    beyond = jp.allostery(path, jp.Boundary(path, ground=[1]), [0], [3], response=target)
    assert jp.concerns(path, beyond) == []


def test_a_held_drop_to_the_ground_grounds_its_other_end():
    star = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2), (1, 3)]))
    boundary = jp.Boundary(star, held_drops=[(1, 0)], ground=[0])
    rows = star.node_rows([2, 3])
    task = jp.Task(boundary, force=rows[:1], readout=rows[1:], targets=[[0.0]])
    assert jp.concerns(star, task) == []
    other = task.with_samples(task.inputs, jnp.array([[0.1]]))
    assert told_bound(star, other, "lie on the wrong side of the ground") == pytest.approx(0.005)


def test_what_a_network_does_itself_is_no_concern():
    """Random graphs, boundaries, currents or held values, readouts of nodes and drops."""
    rng = np.random.default_rng(7)
    for number in range(120):
        network, task = random_own_task(rng)
        response = own_outputs(network, task)
        told = jp.concerns(network, task.with_samples(task.inputs, response, task.weights))
        # Where an output lies is told whatever its target.
        assert [each for each in told if "next to a ground" not in each] == [], number


def random_own_task(rng):
    """A tree with a few edges more; sometimes two grounds, held drops or nothing held."""
    n = int(rng.integers(3, 8))
    edges = [(int(rng.integers(node)), node) for node in range(1, n)]
    edges += [tuple(rng.choice(n, 2, replace=False).tolist()) for _ in range(rng.integers(3))]
    graph = jp.from_edges(sorted({tuple(sorted(edge)) for edge in edges}))
    network = jp.FlowNetwork(graph, k=10.0 ** rng.uniform(-1, 1, len(graph.edges)))
    nodes = rng.permutation(n)
    kind = rng.integers(5)
    held = [int(nodes[0]), int(nodes[1])] if kind == 0 else []
    conditions = (
        {"held_nodes": held},
        {"ground": nodes[:1]},
        {"ground": nodes[:2]},
        {"free_modes": "project"},
        {"ground": nodes[:1], "held_drops": nodes[None, :2]},
    )[kind]
    boundary = jp.Boundary(network, **conditions)
    drops = [network.drop_row(*rng.choice(n, 2, replace=False).tolist()) for _ in range(2)]
    several = np.concatenate([network.node_rows(rng.choice(n, 3, replace=False)), drops])
    # What is held is no readout, but of three nodes at most two are held.
    lift, rows = np.asarray(boundary.constraints.lift), np.asarray(boundary.rows)
    several = several[np.abs(several - several @ lift @ rows).max(axis=1) > 1e-9]
    readout = rng.permutation(several)[: rng.integers(1, 5)]
    # Often read where it is driven.
    sources = np.concatenate([readout, several])[: rng.integers(1, 4)]
    terminals = {"values": np.eye(2)} if held else {"force": sources}
    count = 2 if held else len(sources)
    inputs = np.eye(count) if rng.integers(2) else rng.normal(size=(int(rng.integers(1, 5)), count))
    targets = np.zeros((len(inputs), len(readout)))
    return network, jp.Task(boundary, readout=readout, inputs=inputs, targets=targets, **terminals)


def own_outputs(network, task):
    """By the pseudo-inverse of the whole bordered matrix, in NumPy."""
    rows, n = np.asarray(task.boundary.rows), network.num_nodes
    bordered = np.block([[np.asarray(network.hessian()), rows.T], [rows, np.zeros((len(rows),) * 2)]])
    values = np.zeros((len(task.inputs), len(rows)))
    values[:, : task.values.shape[1]] = task.inputs @ task.values
    states = np.linalg.solve(bordered, np.concatenate([task.inputs @ task.force, values], axis=1).T)[:n]
    return jnp.asarray(states.T @ np.asarray(task.readout).T)
