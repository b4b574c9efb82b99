"""Damped Gauss-Newton steps: dense algebra, closed forms, SciPy, bounds, isolated failures, records."""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from helpers import assert_close, assert_identical, assert_refused, interrupt_call, ulps

import jaxphys as jp
from jaxphys.training.checkpoints import Checkpoints

# Nobody minds that some targets cannot be reached here.
pytestmark = [
    pytest.mark.float64,
    pytest.mark.filterwarnings("ignore:Targets lie"),
]

EVERY_STEP = jp.Record(every=1, functionals={"k": lambda network, task: network.k})


def node(size=6, tasks=4, seed=0):
    draws = np.random.default_rng(seed).standard_normal((size, size))
    network = jp.NodeNetwork.from_matrix((draws + draws.T) / 2 + 3 * np.sqrt(2 * size) * np.eye(size))
    return network, jp.random_linear(network, tasks, jax.random.key(seed))


def flow(samples=7, seed=0, reduction="mean"):
    """9 edges; `samples` of 2 outputs, so that residuals are fewer than edges or more."""
    random = np.random.default_rng(seed)
    network = jp.FlowNetwork(jp.erdos_renyi(6, 9, jax.random.key(seed)), k=random.uniform(1.0, 2.0, 9))
    return network, jp.Task(
        jp.Boundary(network, ground=[0]),
        force=np.eye(6)[1:3],
        readout=np.eye(6)[3:5],
        inputs=random.normal(size=(samples, 2)),
        targets=random.normal(size=(samples, 2)),
        weights=random.uniform(0.5, 2.0, (samples, 2)),
        reduction=reduction,
    )


def residuals(network, task, k):
    """`√w (y - t)` by the definition."""
    outputs = jp.respond(network.with_k(k), task).outputs
    return (jnp.sqrt(task.weights) * (outputs - task.targets)).ravel()


@pytest.mark.float64
@pytest.mark.parametrize("system", [flow(2), flow(7), node(4, 3)], ids=["few", "many", "node"])
def test_a_step_is_the_damped_least_squares_solution(system):
    network, task = system
    metric = np.linspace(0.5, 2.0, network.num_edges)
    integrator = jp.LevenbergMarquardt(metric=metric).check(network, task, jp.ExactGradient(), None)
    near = integrator.linearize(network, task)
    jacobian = np.asarray(jax.jacobian(lambda k: residuals(network, task, k))(network.k))
    errors = np.asarray(residuals(network, task, network.k))
    counted = np.asarray(task.weights).ravel() > 0
    assert_close(near.jacobian, jacobian[counted], relative=1e-11)
    assert_close(near.residuals, errors[counted], relative=1e-12)
    scale = np.trace(jacobian @ np.diag(metric) @ jacobian.T)
    for damping in (1e-3, 1.0):
        # Minimise |r + J δ|² + μ s |δ|² over the metric, as one least-squares problem.
        rows = np.concatenate([jacobian, np.sqrt(damping * scale) * np.diag(metric**-0.5)])
        expected = np.linalg.lstsq(rows, -np.concatenate([errors, np.zeros(len(metric))]), rcond=None)[0]
        found = integrator.step(near, network.k, jnp.asarray(damping)) - network.k
        assert_close(found, expected, relative=1e-9)


def test_outputs_without_weight_are_left_out():
    network, task = node(6, 4)
    planned = jp.LevenbergMarquardt().check(network, task, jp.ExactGradient(), None)
    assert planned.pairs.tolist() == [[i, i] for i in range(4)]
    stacked = planned.check(jp.stack([network] * 2), jp.stack([task] * 2), jp.ExactGradient(), None)
    assert stacked.pairs.shape == (4, 2)
    whole = jp.LevenbergMarquardt().linearize(network, task)
    assert whole.jacobian.shape == (16, 21)
    damping = jnp.asarray(0.1, network.k.dtype)
    few = planned.step(planned.linearize(network, task), network.k, damping)
    many = jp.LevenbergMarquardt().step(whole, network.k, damping)
    assert_close(few - network.k, many - network.k, relative=ulps(1e5))


@pytest.mark.float64
def test_node_networks_learn_to_rounding_in_a_few_steps():
    networks, tasks = zip(*(node(8, 6, seed) for seed in range(4)), strict=True)
    run = jp.train(
        jp.stack(networks),
        jp.stack(tasks),
        steps=100,
        record=jp.Record(every=5),
        stop_cost=1e-26,
        optimizer=jp.LevenbergMarquardt(),
    )
    assert not run.status.any()
    assert (run.cost[:, -1] <= 1e-26).all()
    assert (np.diff(run.cost, axis=1) <= 0).all()
    for k in run.network.k:
        assert np.linalg.eigvalsh(networks[0].with_k(k).hessian()).min() > 0


@pytest.mark.float64
def test_scipy_finds_the_same_minimum():
    """More residuals than edges: the least cost is not zero."""
    network, task = flow(12)
    run = jp.train(network, task, steps=80, optimizer=jp.LevenbergMarquardt(), bounds=(0.05, 20.0))
    fit = scipy.optimize.least_squares(
        jax.jit(lambda k: residuals(network, task, k)),
        np.asarray(network.k),
        jac=jax.jit(jax.jacobian(lambda k: residuals(network, task, k))),
        bounds=(0.05, 20.0),
        xtol=1e-12,
        ftol=1e-14,
        gtol=1e-12,
    )
    assert_close(run.cost[0, -1], np.array(fit.cost / 12), relative=1e-5)
    assert run.cost[0, -1] > 1e-3


def one_edge(target, current=1.0):
    """`y = I / k`: the step that solves for the target is known in closed form."""
    network = jp.FlowNetwork(jp.from_edges([(0, 1)]))
    boundary = jp.Boundary(network, ground=[0])
    return network, jp.allostery(network, boundary, [1], [1], response=target, amplitude=current)


def test_one_edge_in_closed_form():
    """Undamped this is Newton's method for `1/k = t`, `k → k (2 - k t)`."""
    integrator = jp.LevenbergMarquardt(damping=1e-7, smallest_damping=1e-7)
    run = jp.train(*one_edge(0.8), steps=6, optimizer=integrator, record=EVERY_STEP)
    k = [1.0]
    for _ in range(6):
        k.append(k[-1] * (2 - 0.8 * k[-1]))
    assert_close(run.records["k"][0, :3, 0], np.array(k)[:3], relative=1e-4)
    assert_close(run.records["k"][0, -1, 0], np.array(1.25), relative=ulps(100) + 1e-7)


def test_a_step_out_of_bounds_is_clipped_and_pinned():
    run = jp.train(
        *one_edge(4.0),
        steps=30,
        optimizer=jp.LevenbergMarquardt(),
        bounds=(0.5, None),
        record=EVERY_STEP,
    )
    assert run.records["k"].min() == 0.5
    assert run.records["k"][0, -1, 0] == 0.5
    above = jp.train(*one_edge(0.2), steps=30, optimizer=jp.LevenbergMarquardt(), bounds=(None, 2.0))
    assert above.network.k.tolist() == [[2.0]]


def test_one_pinned_edge_leaves_the_others_to_learn():
    """Two edges in series, `y = 1/k₀ + 1/k₁`: the first wants to fall too, and may not."""
    network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]), k=[1.0, 3.0])
    task = jp.allostery(network, jp.Boundary(network, ground=[2]), [0], [0], response=2.0)
    run = jp.train(network, task, steps=40, optimizer=jp.LevenbergMarquardt(), bounds=(1.0, None))
    assert_close(run.network.k[0], np.array([1.0, 1.0]), relative=1e-4)


def test_failures_and_rest_are_isolated():
    """An unreachable target (nothing flows) comes to rest; a broken network fails; a third one learns."""
    network, task = one_edge(0.5)
    dead, impossible = one_edge(0.5, current=0.0)
    networks = jp.stack([network, dead, network])
    networks = eqx.tree_at(lambda n: n.k, networks, networks.k.at[2].set(-1.0))
    steps = jp.LevenbergMarquardt(largest_damping=1e3)
    arguments = {"optimizer": steps, "steps": 50, "record": jp.Record(every=50), "bounds": None}
    run = jp.train(networks, jp.stack([task, impossible, task]), **arguments)
    assert run.status.tolist() == [jp.Status.OK, jp.Status.OK, jp.Status.NOT_POSITIVE_DEFINITE]
    alone = jp.train(network, task, **arguments)
    assert_close(run.cost[0], alone.cost[0], relative=ulps(1e3), scale=1.0)
    assert_close(run.network.k[0], np.array([2.0]), relative=1e-3)
    assert run.network.k[1:].tolist() == [[1.0], [-1.0]]
    # Damping doubles from 0.01 to beyond 1000, 17 times, and then no more is measured.
    assert run.evaluations[1] == 1 + 1 + 17
    assert run.evaluations[2] == 1


def test_steps_do_not_depend_on_the_records():
    network, task = flow(5)
    arguments = {"steps": 12, "optimizer": jp.LevenbergMarquardt(), "bounds": (0.1, None)}
    often = jp.train(network, task, record=jp.Record(every=1), **arguments)
    seldom = jp.train(network, task, record=jp.Record(every=12), **arguments)
    assert_close(often.network.k, seldom.network.k, relative=ulps(1e5))
    # Each record measures once more where it starts.
    assert often.evaluations[0] == 1 + 12 + 12
    assert seldom.evaluations[0] == 1 + 1 + 12


def test_resumed_runs_are_bit_for_bit_the_same(tmp_path, monkeypatch):
    network, task = flow(5)
    path = tmp_path / "checkpoint"
    arguments = {"steps": 120, "record": EVERY_STEP, "optimizer": jp.LevenbergMarquardt()}
    arguments["bounds"] = (0.1, None)
    whole = jp.train(network, task, **arguments)

    interrupt_call(monkeypatch, 5)
    with pytest.raises(KeyboardInterrupt):
        jp.train(network, task, checkpoint=jp.Checkpointing(path, 0.0), **arguments)
    monkeypatch.undo()
    assert 0 < Checkpoints(path).header(0).place.records < 121
    go_on = jp.Checkpointing(path, resume=True)
    again = jp.train(network, task, checkpoint=go_on, **arguments)
    assert_identical(again.network.k, whole.network.k)
    for other in ({"bounds": (0.2, None)}, {"optimizer": jp.LevenbergMarquardt(damping=0.1)}):
        with pytest.raises(jp.InputError, match="belongs to another"):
            jp.train(network, task, checkpoint=go_on, **{**arguments, **other})


@pytest.mark.parametrize(
    ("argument", "arguments"),
    [
        ("rule", {"rule": jp.CoupledLearning()}),
        ("sampling|batch_size", {"sampling": jp.Sampling(batch_size=2)}),
        ("optimizer", {"optimizer": jp.LevenbergMarquardt(metric=np.ones(3))}),
        ("network", {"bounds": (1.5, None)}),
    ],
)
def test_arguments_that_do_not_fit_are_refused(argument, arguments):
    arguments = {"steps": 1, "optimizer": jp.LevenbergMarquardt(), **arguments}
    assert_refused(argument, jp.train, *flow(3), **arguments)


def test_other_costs_are_refused():
    network, task = flow(3)
    task = eqx.tree_at(lambda task: task.cost, task, jp.CrossEntropy())
    assert_refused("task", jp.train, network, task, steps=1, optimizer=jp.LevenbergMarquardt())


@pytest.mark.parametrize(
    "arguments",
    [
        {"damping": 0.0},
        {"damping": 1.0, "largest_damping": 0.5},
        {"growth": 1.0},
        {"shrink": 1.0},
        {"metric": [1.0, -1.0]},
    ],
)
def test_settings_out_of_range_are_refused(arguments):
    assert_refused(next(iter(arguments)), jp.LevenbergMarquardt, **arguments)
    assert set(inspect.signature(jp.LevenbergMarquardt).parameters) >= set(arguments)
