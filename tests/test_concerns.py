"""What is told of a task before training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
    assert jp.concerns(network, jp.allostery(network, boundary, [], [(12, 13)], response=1.0)) == []
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
