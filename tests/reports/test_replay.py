"""What a report says of its typical network is what the library finds for it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close
from small_runs import DRAWN

import jaxphys as jp
from jaxphys.diagnostics import FUNCTIONALS, susceptibility
from jaxphys.io import run_dataset
from jaxphys.reports.replay import replay

pytestmark = pytest.mark.float64


@pytest.fixture(scope="module", params=list(DRAWN))
def trained(request):
    networks, tasks = map(jp.stack, zip(*[DRAWN[request.param](number) for number in range(2)], strict=True))
    run = jp.train(
        networks,
        tasks,
        steps=12,
        optimizer=jp.Descent(adaptive=jp.AdaptiveStep()),
        record=jp.Record(every=4, functionals={"k": FUNCTIONALS["k"]}),
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


class Weighted(jp.networks.AbstractStrainNetwork):
    """A kind of its own: every edge feels its drop times a weight that does not learn."""

    kind = jp.networks.NetworkKind(
        tag="weighted, of the replay's tests",
        name="weighted network",
        strength="conductance",
        strengths="conductances",
        coordinate="pressure",
        force="current",
        strain="weighted drop",
        parts=("weight",),
    )
    topology: jp.Topology
    k: jax.Array
    weight: jax.Array

    @property
    def dimension(self):
        return 1

    def strains(self, x):
        return (self.weight * self.topology.differences(x))[..., None]


def test_a_kind_of_ones_own_is_solved_by_its_own_class():
    topology = jp.square_lattice((2, 3))
    weights = np.linspace(0.5, 1.5, topology.num_edges)
    network = Weighted(topology, jnp.ones(topology.num_edges), jnp.asarray(weights))
    task = jp.allostery(network, jp.Boundary(network, ground=[0]), [1], [5], response=0.1)
    networks, tasks = jp.stack([network]), jp.stack([task])
    run = jp.Run(
        networks, tasks, networks.k, np.array([0]), np.ones((1, 1)), {}, np.zeros(1, int), (0.0, 0.0)
    )
    shown = replay(run_dataset(run), 0)
    x = jp.equilibrate(network, task.boundary, task.inputs[0] @ task.force).x
    assert_close(shown.x[0], x, relative=1e-10)
    ends = np.asarray(topology.edges)
    assert_close(shown.strain[0], weights * (x[ends[:, 0]] - x[ends[:, 1]]), relative=1e-9)


def test_a_network_that_is_not_positive_definite_has_no_states():
    matrix = np.diag([1.0, -1.0, 2.0])
    network = jp.NodeNetwork.from_matrix(matrix)
    task = jp.allostery(network, jp.Boundary(network), [0], [2], response=0.1)
    networks, tasks = jp.stack([network]), jp.stack([task])
    run = jp.Run(
        networks, tasks, networks.k, np.array([0]), np.ones((1, 1)), {}, np.zeros(1, int), (0.0, 0.0)
    )
    shown = replay(run_dataset(run), 0)
    assert np.isnan(shown.x).all()
    assert shown.strain is None
