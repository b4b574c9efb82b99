"""What a report says of its typical network is what the library finds for it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close

import jaxphys as jp
from jaxphys.diagnostics import FUNCTIONALS, susceptibility
from jaxphys.io import run_dataset
from jaxphys.reports.replay import replay

pytestmark = pytest.mark.float64


def flow(number):
    network = jp.FlowNetwork(jp.erdos_renyi(9, 15, jax.random.key(number)), k=1.5)
    boundary = jp.Boundary(network, held_nodes=[1, 2], ground=[0])
    inputs = np.array([[1.0, -0.5], [0.2, 1.0]])
    values = np.eye(2)
    force = np.zeros((2, 9))
    force[1, 4] = 0.3
    task = jp.Task(
        boundary,
        force=force,
        values=values,
        inputs=inputs,
        readout=np.eye(9)[[7]],
        targets=np.array([[0.4], [0.1]]),
    )
    return network, task


def floating(number):
    network = jp.FlowNetwork(jp.erdos_renyi(8, 12, jax.random.key(number)))
    return network, jp.allostery(network, jp.Boundary(network, free_modes="project"), [1], [5], response=0.2)


def spring(law):
    def draw(number):
        topology = jp.triangular_lattice((3, 4))
        k = jax.random.uniform(jax.random.key(number), (topology.num_edges,), minval=0.5, maxval=1.5)
        network = jp.SpringNetwork(topology, k=k, law=law)
        boundary = jp.Boundary(network, ground=[0, 3])
        return network, jp.allostery(
            network,
            boundary,
            [5],
            [10],
            response=0.2,
            source_directions=np.array([[1.0, 0.0]]),
            target_directions=np.array([[0.6, 0.8]]),
        )

    return draw


def node(number):
    matrix = np.diag(np.linspace(3, 5, 6)) + 0.1 * np.ones((6, 6))
    network = jp.NodeNetwork.from_matrix(matrix * (1 + 0.1 * number))
    return network, jp.allostery(network, jp.Boundary(network), [1], [4], response=0.2)


DRAWN = {
    "held": flow,
    "floating": floating,
    "central": spring("central"),
    "vector": spring("vector"),
    "node": node,
}


@pytest.fixture(scope="module", params=list(DRAWN))
def trained(request):
    networks, tasks = map(jp.stack, zip(*[DRAWN[request.param](number) for number in range(2)], strict=True))
    run = jp.train(
        networks,
        tasks,
        steps=12,
        record_every=4,
        adaptive=jp.AdaptiveStep(),
        functionals={"k": FUNCTIONALS["k"]},
    )
    return run, run_dataset(run)


def test_states_strains_and_susceptibilities_are_those_of_the_library(trained):
    run, dataset = trained
    shown = replay(dataset, 1)
    assert shown.records.tolist() == [0, 1, 2, 3]
    network, task = jax.tree.map(lambda leaf: leaf[1], (run.network, run.task))
    force, values = task.inputs[0] @ task.force, task.inputs[0] @ task.values
    for frame, k in enumerate(run.records["k"][1]):
        here = network.with_k(jnp.asarray(k))
        assert_close(shown.k[frame], k, relative=1e-15)
        state = jp.equilibrate(here, task.boundary, force, values)
        assert_close(shown.x[frame], state.x, relative=1e-10)
        assert_close(shown.susceptibility[frame], susceptibility(here, task.boundary), relative=1e-9)
        if shown.strain is not None:
            energies = 0.5 * shown.strain[frame] ** 2
            assert_close(energies, here.edge_energies(state.x), relative=1e-9)


def test_a_drop_is_from_the_first_end_to_the_second(trained):
    _, dataset = trained
    shown = replay(dataset, 0)
    if dataset.attrs["network"] == "FlowNetwork":
        ends = dataset["edges"].values
        ends = (ends[0] if ends.ndim == 3 else ends)[shown.edges]
        assert_close(shown.strain[-1], shown.x[-1][ends[:, 0]] - shown.x[-1][ends[:, 1]], relative=1e-12)


def test_without_a_history_there_are_two_records(trained):
    run, dataset = trained
    shown = replay(dataset.drop_vars("k_history"), 1)
    assert shown.records.tolist() == [0, 3]
    assert_close(shown.k, [run.initial_k[1], run.network.k[1]], relative=1e-15)
    assert_close(shown.x, replay(dataset, 1).x[[0, -1]], relative=1e-12)


def test_of_many_records_some_are_shown_most_of_them_early(trained):
    _, dataset = trained
    long = dataset.isel(record=np.arange(400) % 4)
    shown = replay(long, 0)
    assert len(shown.records) == 41
    assert shown.records[[0, -1]].tolist() == [0, 399]
    assert np.sum(shown.records <= 40) == 20
    assert np.all(np.diff(shown.records) > 0)


def test_without_a_task_there_is_k_alone(trained):
    _, dataset = trained
    shown = replay(dataset.drop_vars("task_force"), 0)
    assert shown.k.shape[0] == 4
    assert (shown.x, shown.strain, shown.susceptibility) == (None, None, None)


def test_padding_is_left_out(trained):
    _, dataset = trained
    if dataset.attrs["network"] == "NodeNetwork":
        return
    padded = dataset.copy(deep=True)
    ends = padded["edges"].values
    one = (ends[0] if ends.ndim == 3 else ends).copy()
    padded["edges"] = (("edge", "end"), np.where(np.arange(len(one))[:, None] == 2, one[:, :1], one))
    shown = replay(padded.drop_vars("task_force"), 0)
    assert 2 not in shown.edges
    assert len(shown.edges) == len(one) - 1 == shown.k.shape[1]
