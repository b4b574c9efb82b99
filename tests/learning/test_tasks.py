"""Tasks: what is applied and read, what it costs, and the builders of the papers' tasks."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_identical, assert_refused, central_differences, ulps
from oracles import cost_by_hand

import jaxphys as jp

COSTS = {
    "squared error": jp.SquaredError(),
    "cross entropy": jp.CrossEntropy(inverse_temperature=3.0),
    "cosine": jp.CosineDistance(),
}
costs = pytest.mark.parametrize("cost", COSTS.values(), ids=COSTS)
equilibrate = eqx.filter_jit(jp.equilibrate)
respond = eqx.filter_jit(jp.respond)
task_cost = eqx.filter_jit(jp.task_cost)


def flow():
    k = np.random.default_rng(0).uniform(0.5, 2.0, 12)
    return jp.FlowNetwork(jp.erdos_renyi(8, 12, jax.random.key(0)), k=k)


def springs():
    k = np.random.default_rng(0).uniform(0.5, 2.0, 6)
    topology = jp.erdos_renyi(4, 6, jax.random.key(0), dimension=2, rigid=True)
    return jp.SpringNetwork(topology, k=k)


def driven_task(network, boundary, random, **changes):
    """Two terminals that take forces and values at once, three samples, two outputs."""
    n = network.num_coordinates
    arrays = {
        "force": random.normal(size=(2, n)),
        "values": random.normal(size=(2, boundary.num_held)),
        "inputs": random.normal(size=(3, 2)),
        "readout": random.normal(size=(2, n)),
        "targets": random.uniform(0.1, 1.0, size=(3, 2)),
    }
    return jp.Task(boundary, **{**arrays, **changes})


CASES = {
    "flow": lambda: (flow(), {"held_nodes": [4], "held_drops": [(2, 5)], "ground": [0]}),
    "springs": lambda: (springs(), {"free_modes": "project"}),
}


@pytest.mark.parametrize("case", CASES)
def test_respond_is_what_equilibrate_says_sample_by_sample(case, solver, random):
    network, held = CASES[case]()
    boundary = jp.Boundary(network, **held)
    task = driven_task(network, boundary, random)
    response = respond(network, task, solver=solver)
    for r in range(3):
        force = jnp.sum(task.inputs[r][:, None] * task.force, axis=0)
        values = jnp.sum(task.inputs[r][:, None] * task.values, axis=0)
        state = equilibrate(network, boundary, force, values, solver=solver)
        assert_close(task.inputs[r] @ response.drive, state.x, relative=ulps(1e3))
        assert_close(response.outputs[r], task.readout @ state.x, relative=ulps(1e3))
    for o in range(2):
        answer = equilibrate(network, boundary, task.readout[o], solver=solver).x
        assert_close(response.adjoint[o], answer, relative=ulps(1e3))
        assert_close(response.coupling[o], task.readout @ answer, relative=ulps(1e3))
    assert int(response.status) == jp.Status.OK
    assert float(response.residual) < ulps(50)


@costs
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("weighted", [False, True])
def test_costs_and_their_gradients(cost, reduction, weighted, random):
    network = flow()
    weights = random.uniform(0.5, 2.0, size=(3, 2)) if weighted else None
    boundary = jp.Boundary(network, ground=[0])
    task = driven_task(network, boundary, random, cost=cost, reduction=reduction, weights=weights)
    outputs = random.uniform(0.2, 1.0, size=(3, 2))
    used = np.ones((3, 2)) if weights is None else weights
    expected = [
        cost_by_hand(cost, *each) for each in zip(outputs, np.asarray(task.targets), used, strict=True)
    ]
    values, gradients = (np.array([e[i] for e in expected]) for i in range(2))
    assert_close(task.sample_costs(jnp.asarray(outputs)), values, relative=ulps(50))
    assert_close(task.cost_gradients(jnp.asarray(outputs)), gradients, relative=ulps(50))
    assert task.sample_weight == (1 if reduction == "sum" else 1 / 3)


@pytest.mark.float64
@costs
def test_cost_curvatures(cost, random):
    network = flow()
    weights = random.uniform(0.5, 2.0, size=(3, 2))
    task = driven_task(network, jp.Boundary(network, ground=[0]), random, cost=cost, weights=weights)
    outputs = random.uniform(0.2, 1.0, size=(3, 2))
    curvatures = task.cost_curvatures(jnp.asarray(outputs))
    for r in range(3):

        def gradient(y, r=r):
            return cost_by_hand(cost, y, np.asarray(task.targets)[r], weights[r])[1]

        expected = central_differences(gradient, outputs[r], 1e-3)
        assert_close(curvatures[r], expected, relative=1e-8)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@costs
def test_task_cost_adds_up_its_samples(cost, reduction, random):
    network = flow()
    boundary = jp.Boundary(network, ground=[0])
    task = driven_task(network, boundary, random, cost=cost, reduction=reduction)
    outputs = np.asarray(respond(network, task).outputs)
    ones = np.ones(2)
    each = [cost_by_hand(cost, y, t, ones)[0] for y, t in zip(outputs, np.asarray(task.targets), strict=True)]
    expected = sum(each) / (1 if reduction == "sum" else 3)
    assert_close(task_cost(network, task), expected, relative=ulps(500))


def test_the_cosine_cost_sees_only_directions(random):
    outputs, targets, ones = (
        jnp.asarray(a) for a in (random.normal(size=4), random.normal(size=4), np.ones(4))
    )
    cost = jp.CosineDistance()
    value = cost(outputs, targets, ones)
    unit = [a / np.linalg.norm(a) for a in (np.asarray(outputs), np.asarray(targets))]
    assert_close(value, 0.5 * np.sum((unit[0] - unit[1]) ** 2), relative=ulps(20))
    assert_close(cost(7 * outputs, 0.1 * targets, ones), value, relative=ulps(20))
    assert_close(cost(targets, 3 * targets, ones), 0.0, relative=ulps(4), scale=1.0)
    assert_close(cost(-targets, targets, ones), 2.0, relative=ulps(4))


def test_cross_entropy_survives_low_temperatures():
    """A hundred times the temperature that overflows a naive exponential."""
    cost = jp.CrossEntropy(inverse_temperature=1e5)
    outputs, targets, ones = jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0]), jnp.ones(2)
    assert_close(cost(outputs, targets, ones), 1e5, relative=ulps(10))
    assert_close(jax.grad(cost)(outputs, targets, ones), [1e5, -1e5], relative=ulps(10))
    assert jp.CrossEntropy().inverse_temperature == 100.0


@costs
def test_an_output_of_zero_weight_does_not_belong_to_its_sample(cost):
    """Neither its value nor its target matters, and nothing pushes it."""
    targets, weights = jnp.array([0.0, 1.0, 0.0]), jnp.array([1.0, 1.0, 0.0])
    value, gradient = jax.value_and_grad(cost)(jnp.array([0.2, 0.5, 0.3]), targets, weights)
    other = cost(jnp.array([0.2, 0.5, 9.0]), targets.at[2].set(5.0), weights)
    assert_close(other, value, relative=ulps(10))
    assert float(gradient[2]) == 0.0
    assert float(jnp.abs(gradient[0])) > 0.01


def test_any_differentiable_function_will_do_as_a_cost(random):
    class Quartic(jp.AbstractCost):
        def __call__(self, outputs, targets, weights):
            return jnp.sum(weights * (outputs - targets) ** 4)

    network = flow()
    task = driven_task(network, jp.Boundary(network, ground=[0]), random, cost=Quartic())
    outputs = np.asarray(respond(network, task).outputs)
    assert_close(
        task_cost(network, task), np.sum((outputs - np.asarray(task.targets)) ** 4), relative=ulps(2e3)
    )


def test_a_batch_is_its_samples(random):
    network = flow()
    boundary = jp.Boundary(network, ground=[0])
    weights = random.uniform(size=(3, 2))
    task = driven_task(network, boundary, random, weights=weights, reduction="mean")
    batch = task.batch(jnp.array([2, 0]))
    assert batch.num_samples == 2
    assert batch.sample_weight == 0.5
    for name in ("inputs", "targets", "weights"):
        assert_identical(getattr(batch, name), getattr(task, name)[jnp.array([2, 0])])
    assert_identical(batch.readout, task.readout)
    outputs = respond(network, task).outputs
    assert_close(respond(network, batch).outputs, outputs[jnp.array([2, 0])], relative=ulps(50))


def test_with_samples_changes_only_samples(random):
    network = flow()
    task = driven_task(network, jp.Boundary(network, ground=[0]), random)
    inputs, targets = jnp.ones((5, 2)), jnp.zeros((5, 2))
    other = task.with_samples(inputs, targets)
    assert other.num_samples == 5
    assert other.weights is None
    assert_identical((other.inputs, other.targets), (inputs, targets))
    assert_identical((other.force, other.boundary), (task.force, task.boundary))
    assert task.with_samples(inputs, targets, jnp.ones((5, 2))).weights.shape == (5, 2)


def test_inputs_default_to_one_sample_per_terminal(random):
    network = flow()
    boundary = jp.Boundary(network, held_nodes=[1, 2], ground=[0])
    task = jp.Task(boundary, values=np.eye(2), readout=network.node_rows([5]), targets=[[0.0], [1.0]])
    assert_identical(task.inputs, jnp.eye(2))
    assert task.force.shape == (2, 8)
    assert not np.any(task.force)
    assert isinstance(task.cost, jp.SquaredError)
    assert task.reduction == "sum"


def test_accuracy():
    """Of a divider that halves and one that does not: the larger output names the class."""
    network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]), k=[1.0, 3.0])
    boundary = jp.Boundary(network, held_nodes=[0], ground=[2])
    task = jp.Task(
        boundary,
        values=np.eye(1),
        inputs=[[1.0], [2.0], [-1.0], [-3.0]],
        readout=[[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]],
        targets=[[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]],
    )
    assert float(jp.accuracy(network, task)) == 0.75


def test_a_task_takes_the_dtype_of_its_network():
    network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]), k=np.ones(2, np.float32))
    task = jp.allostery(network, jp.Boundary(network, ground=[2]), [0], [1], response=0.3)
    assert {leaf.dtype for leaf in jax.tree.leaves(task)} == {np.dtype(np.float32)}
    assert task_cost(network, task).dtype == np.float32


def test_random_linear(key):
    """`Aᵣ·xᵣ + Bᵣ = 0` under `Fᵣ`: one sample, one output and one random force per task, normal draws."""
    w = np.random.default_rng(0).normal(size=(40, 40))
    network = jp.NodeNetwork.from_matrix(w + w.T + 30 * np.eye(40))
    task = jp.random_linear(network, 5, key)
    assert_identical(task, jp.random_linear(network, 5, key))
    assert not np.array_equal(task.force, jp.random_linear(network, 5, jax.random.key(8)).force)
    assert_identical(task.inputs, jnp.eye(5))
    states = np.linalg.solve(np.asarray(network.hessian()), np.asarray(task.force).T).T
    gaps = np.sum(np.asarray(task.readout) * states, axis=1) - np.diag(np.asarray(task.targets))
    assert_close(task_cost(network, task), 0.5 * np.sum(gaps**2), relative=ulps(1e3))
    many = jp.random_linear(network, 500, key)
    for draws in (many.force, many.readout, np.diag(np.asarray(many.targets))):
        draws = np.asarray(draws, dtype=float).ravel()
        deviation = 5 / np.sqrt(draws.size)
        assert abs(draws.mean()) < deviation
        assert abs(draws.var() - 1) < np.sqrt(2) * deviation
    assert abs(np.corrcoef(np.asarray(many.force).ravel(), np.asarray(many.readout).ravel())[0, 1]) < 0.04


def test_allostery_pairs_sources_with_targets(random):
    network = flow()
    boundary = jp.Boundary(network, ground=[0])
    sources, targets = [1, (2, 3)], [5, (6, 7)]
    task = jp.allostery(network, boundary, sources, targets, response=[0.2, -0.4], amplitude=3.0)
    force = np.zeros((2, 8))
    force[0, 1] = 3
    force[1, 2], force[1, 3] = 3, -3
    readout = np.zeros((2, 8))
    readout[0, 5] = readout[1, 6] = 1
    readout[1, 7] = -1
    assert_identical(task.force, jnp.asarray(force))
    assert_identical(task.readout, jnp.asarray(readout))
    outputs = np.asarray(respond(network, task).outputs)
    wrong = np.diag(outputs) - [0.2, -0.4]
    assert_close(task_cost(network, task), 0.5 * np.sum(wrong**2), relative=ulps(500))


def test_one_source_serves_all_targets():
    network = flow()
    task = jp.allostery(network, jp.Boundary(network, ground=[0]), [1], [5, 6], response=0.2)
    assert task.num_samples == 1
    assert_identical(task.targets, jnp.array([[0.2, 0.2]]))
    assert task.weights is None


def test_allostery_by_held_rows():
    """Held rows are the sources: each in turn at the amplitude, the others at zero."""
    network = flow()
    boundary = jp.Boundary(network, held_nodes=[1], held_drops=[(2, 3)], ground=[0])
    task = jp.allostery(network, boundary, [], [5, 6], response=0.2, amplitude=2.0)
    assert_identical(task.values, 2 * jnp.eye(2))
    x = equilibrate(network, boundary, values=jnp.array([0.0, 2.0])).x
    outputs = respond(network, task).outputs
    assert_close(outputs[1], x[jnp.array([5, 6])], relative=ulps(200))


def test_allostery_of_springs_takes_directions():
    network = springs()
    boundary = jp.Boundary(network, free_modes="project")
    task = jp.allostery(
        network,
        boundary,
        [0],
        [3, (1, 2)],
        response=0.1,
        source_directions=np.array([[0.6, 0.8]]),
        target_directions=np.array([[0.0, 1.0], [1.0, 0.0]]),
    )
    assert_close(task.force, [[0.6, 0.8, 0, 0, 0, 0, 0, 0]], relative=ulps(2))
    positions = np.asarray(network.topology.positions)
    along = (positions[1] - positions[2]) / np.linalg.norm(positions[1] - positions[2])
    assert_close(task.readout[0], [0, 0, 0, 0, 0, 0, 0, 1], relative=ulps(2))
    assert_close(task.readout[1], [0, 0, *along, *-along, 0, 0], relative=ulps(10))


@pytest.mark.parametrize("held", [False, True])
def test_regression(held, random):
    """Targets are `matrix @ u`, the cost is the mean over samples; a network that does it costs nothing."""
    network = flow()
    inputs = random.normal(size=(6, 2))
    if held:
        boundary, sources = jp.Boundary(network, held_nodes=[1, 2], ground=[0]), []
        drive = {"values": jnp.eye(2)}
    else:
        boundary, sources = jp.Boundary(network, ground=[0]), [1, 2]
        drive = {"force": jnp.asarray(network.node_rows([1, 2]), network.k.dtype)}
    matrix = random.normal(size=(3, 2))
    task = jp.regression(network, boundary, sources, [5, 6, 7], matrix=matrix, inputs=inputs)
    assert_close(task.targets, inputs @ matrix.T, relative=ulps(10))
    done = np.asarray(equilibrate(network, boundary, **drive).x)[:, [5, 6, 7]].T
    outputs = np.asarray(respond(network, task).outputs)
    assert_close(outputs, inputs @ done.T, relative=ulps(500))
    expected = 0.5 * np.mean(np.sum((outputs - inputs @ matrix.T) ** 2, axis=1))
    assert_close(task_cost(network, task), expected, relative=ulps(500))
    perfect = jp.regression(network, boundary, sources, [5, 6, 7], matrix=done, inputs=inputs)
    assert_close(task_cost(network, perfect), 0.0, relative=ulps(1), scale=float(expected))


def test_classification(random):
    network = flow()
    features, labels = random.normal(size=(4, 2)), [2, 0, 1, 2]
    boundary = jp.Boundary(network, held_nodes=[1, 2], ground=[0])
    task = jp.classification(network, boundary, [], [5, 6, 7], features=features, labels=labels)
    assert_identical(task.targets, jnp.eye(3)[jnp.array(labels)])
    assert isinstance(task.cost, jp.CrossEntropy)
    outputs = np.asarray(respond(network, task).outputs, dtype=float)
    logits = 100 * outputs
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    expected = -np.mean(np.log(shares[np.arange(4), labels]))
    assert_close(task_cost(network, task), expected, relative=ulps(2e4))
    assert float(jp.accuracy(network, task)) == np.mean(outputs.argmax(axis=1) == labels)
    cheap = jp.classification(
        network, boundary, [], [5, 6, 7], features=features, labels=labels, cost=jp.CosineDistance()
    )
    assert isinstance(cheap.cost, jp.CosineDistance)


def test_terminals_may_be_numpy_integers():
    network = flow()
    boundary = jp.Boundary(network, ground=[0])
    nodes = np.array([1, 5])
    task = jp.allostery(network, boundary, list(nodes[:1]), list(nodes[1:]), response=0.2)
    assert_identical(task, jp.allostery(network, boundary, [1], [5], response=0.2))


@costs
def test_a_sample_without_weight_costs_nothing(cost):
    """Value, gradient and curvature are zero whatever outputs and targets are, zero included."""
    for outputs, targets in ((0.3, 1.0), (0.0, 1.0), (0.3, 0.0), (0.0, 0.0)):
        arrays = outputs * jnp.ones(2), targets * jnp.ones(2), jnp.zeros(2)
        for derivative in (cost, jax.grad(cost), jax.hessian(cost)):
            assert not np.any(derivative(*arrays)), (outputs, targets)


def test_a_sample_without_weight_leaves_the_others_alone(random):
    """Also in the estimates of the rules and the cost Hessian."""
    network = flow()
    boundary = jp.Boundary(network, ground=[0])
    weights = np.array([[1.0, 0.5], [0.0, 0.0], [1.0, 1.0]])
    task = driven_task(network, boundary, random, cost=jp.CosineDistance(), weights=weights)
    fewer = task.batch(jnp.array([0, 2]))
    for rule in (jp.ExactGradient(), jp.EquilibriumPropagation(1e-3, mode="energy")):
        all_of_them, two = rule(network, task), rule(network, fewer)
        assert int(all_of_them.status) == jp.Status.OK
        assert_close(all_of_them.cost, two.cost, relative=ulps(50))
        assert_close(all_of_them.gradient, two.gradient, relative=ulps(200))
    hessians = [jp.diagnostics.cost_hessian(network, each) for each in (task, fewer)]
    assert_close(hessians[0], hessians[1], relative=ulps(200))


def test_the_cosine_of_faint_outputs():
    """Squares of what is faint are lost in float32; a direction is not."""
    faint = jnp.asarray([3e-13, 4e-13])
    assert_close(
        jp.CosineDistance()(faint, 1e-10 * jnp.array([1.0, 0.0]), jnp.ones(2)), 0.4, relative=ulps(20)
    )


def test_numbers_in_place_of_rows_are_refused():
    boundary = jp.Boundary(flow(), ground=[0])
    arrays = {"readout": np.eye(boundary.rows.shape[1])[1:2], "targets": [[1.0]]}
    for name in ("force", "values"):
        for number in (3.0, np.float64(3.0)):
            wrong = arrays | {name: number}
            assert_refused(name, jp.Task, boundary, **wrong, saying="it is the number 3.0")


def test_accuracy_needs_classes(random):
    network = flow()
    boundary = jp.Boundary(network, ground=[0])
    one = jp.allostery(network, boundary, [1], [5], response=0.2)
    assert_refused("task", jp.accuracy, network, one, saying="it has one output")
    paired = jp.allostery(network, boundary, [1, 2], [5, 6], response=0.2)
    assert_refused("task", jp.accuracy, network, paired, saying="fewer than two outputs belong to sample 0")
    both = jp.allostery(network, boundary, [1], [5, 6], response=0.2)
    assert_refused("task", jp.accuracy, network, both, saying="two targets of sample 0 are largest")
    with pytest.raises(jp.InputError, match="it has one output"):
        jax.vmap(jp.accuracy)(jp.stack([network] * 2), jp.stack([one] * 2))
    labels = {"features": np.ones((2, 1)), "labels": [0, 0]}
    assert_refused("targets", jp.classification, network, boundary, [1], [5], **labels, saying="one class")


def test_accuracy_leaves_out_what_has_no_weight_or_no_value(random):
    network = flow()
    boundary = jp.Boundary(network, ground=[0])
    weights = np.array([[1.0, 1.0, 0.0]] * 4)
    targets = np.array([[1.0, 0.0, 9.0], [0.0, 1.0, 9.0]] * 2)
    task = driven_task(
        network,
        boundary,
        random,
        readout=np.vstack([random.normal(size=(2, 8)), np.full(8, 100.0)]),
        inputs=random.normal(size=(4, 2)),
        targets=targets,
        weights=weights,
    )
    outputs = np.asarray(respond(network, task).outputs)[:, :2]
    assert float(jp.accuracy(network, task)) == np.mean(outputs.argmax(axis=1) == [0, 1, 0, 1])
    broken = network.with_k(-network.k)
    assert np.isnan(jp.accuracy(broken, task))
