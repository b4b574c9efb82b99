"""The tracked inverse: the same learning as by factorisation, and guards that notice when it is not."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_close, assert_identical, interrupt_call

import jaxphys as jp

NODES = 12

TRACKING = sys.modules["jaxphys.training.tracking"]
RULES = {
    "exact": jp.ExactGradient(),
    "equilibrium propagation": jp.EquilibriumPropagation(1e-2),
    "implicit nudge": jp.EquilibriumPropagation(1e-1, mode="energy"),
    "coupled learning": jp.CoupledLearning(1e-2),
}


def network(seed, stiffness=1.0):
    drawn = np.random.default_rng(seed).standard_normal((NODES, NODES))
    return jp.NodeNetwork.from_matrix(
        (drawn + drawn.T) / 2 + stiffness * 3 * np.sqrt(2 * NODES) * np.eye(NODES)
    )


def random_constraints(seed, num_tasks=1, **options):
    one = network(seed, **options)
    return one, jp.random_linear(one, num_tasks, jax.random.key(seed))


def held_allostery(seed):
    one = network(seed)
    boundary = jp.Boundary(one, held_nodes=[3], ground=[7, 2])
    return one, jp.allostery(one, boundary, [], [5], response=0.3)


def forced_allostery(seed):
    one = network(seed)
    return one, jp.allostery(one, jp.Boundary(one, ground=[0]), [1], [5], response=0.05)


TASKS = {
    "one constraint": random_constraints,
    "two constraints": lambda seed: random_constraints(seed, 2),
    "held input": held_allostery,
    "grounded": forced_allostery,
}


def ensemble(make, count=3):
    networks, tasks = zip(*(make(seed) for seed in range(count)), strict=True)
    return jp.stack(networks), jp.stack(tasks)


def descent(networks, rate, *more):
    metric = jax.tree.map(lambda leaf: leaf[0], networks).frobenius_metric
    return optax.chain(jp.precondition(metric), optax.sgd(rate), *more)


def both(networks, tasks, **arguments):
    return [
        jp.train(networks, tasks, solver=solver, record=jp.Record(every=10), **arguments)
        for solver in (jp.TrackedInverse(), jp.Dense())
    ]


def assert_same_learning(tracked, dense):
    precise = tracked.network.k.dtype == np.float64
    assert_close(tracked.network.k, dense.network.k, relative=1e-10 if precise else 1e-3)
    scale = dense.cost[:, :1]
    assert_close(tracked.cost / scale, dense.cost / scale, relative=1e-10 if precise else 1e-3)
    assert (tracked.status == dense.status).all()


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        *((rule, "two constraints") for rule in RULES),
        *(("exact", kind) for kind in TASKS if kind != "two constraints"),
    ],
)
def test_learning_is_that_of_a_factorisation(rule, kind):
    networks, tasks = ensemble(TASKS[kind])
    tracked, dense = both(networks, tasks, steps=40, rule=RULES[rule], optimizer=descent(networks, 1.0))
    assert_same_learning(tracked, dense)
    assert (dense.cost[:, -1] < dense.cost[:, 0]).all()


@pytest.mark.float64
def test_adaptive_steps_may_be_refused():
    networks, tasks = ensemble(random_constraints)
    arguments = {"optimizer": jp.Descent(descent(networks, 1.0), jp.AdaptiveStep(30.0, growth=2.0))}
    tracked, dense = both(networks, tasks, steps=30, **arguments)
    assert_same_learning(tracked, dense)


@pytest.mark.float64
def test_minibatches():
    def make(seed):
        one = network(seed)
        draw = np.random.default_rng(seed)
        matrix, inputs = draw.standard_normal((1, 2)) / 30, draw.standard_normal((9, 2))
        return one, jp.regression(one, jp.Boundary(one), [0, 1], [5], matrix=matrix, inputs=inputs)

    networks, tasks = ensemble(make)
    tracked, dense = both(
        networks,
        tasks,
        steps=40,
        optimizer=descent(networks, 100.0),
        sampling=jp.Sampling(3, jax.random.key(4)),
    )
    assert_same_learning(tracked, dense)


@pytest.mark.float64
@pytest.mark.parametrize(
    "optimizer",
    [
        lambda networks: optax.sgd(1.0),
        lambda networks: descent(networks, 1.0, optax.trace(0.9)),
        lambda networks: descent(networks, 1.0, jp.update_noise(1e-3)),
        lambda networks: descent(networks, 1.0, jp.bounds(-0.5, 15.0)),
    ],
    ids=["another metric", "momentum", "noise", "bounds"],
)
def test_updates_of_another_form_are_noticed(optimizer):
    networks, tasks = ensemble(random_constraints)
    start = jnp.clip(networks.k, -0.5, 15.0)
    networks, chosen = networks.with_k(start), optimizer(networks)
    tracked, dense = both(networks, tasks, steps=30, optimizer=chosen)
    assert_same_learning(tracked, dense)


@pytest.mark.float64
def test_without_the_guard_they_are_not():
    networks, tasks = ensemble(random_constraints)
    arguments = {"steps": 30, "optimizer": optax.rmsprop(1e-2)}
    blind = jp.train(networks, tasks, solver=jp.TrackedInverse(tolerance=1e9), **arguments)
    exact = jp.train(networks, tasks, solver=jp.Dense(), **arguments)
    assert np.abs(blind.network.k - exact.network.k).max() > 1e-4


@pytest.mark.float64
def test_a_step_across_is_refused():
    networks, tasks = ensemble(lambda seed: random_constraints(seed, stiffness=0.75))
    tracked, dense = both(networks, tasks, steps=20, optimizer=descent(networks, 2000.0))
    assert (dense.status == jp.Status.NOT_POSITIVE_DEFINITE).any()
    assert (tracked.status == dense.status).all()
    assert_close(tracked.network.k, dense.network.k, relative=1e-9 if dense.cost.dtype == float else 1e-3)


@pytest.mark.float64
def test_nothing_is_solved_for_those_who_rest(monkeypatch):
    solved, columns = [], TRACKING.solved_columns

    def counted(*arguments):
        jax.debug.callback(lambda: solved.append(1))
        return columns(*arguments)

    monkeypatch.setattr(TRACKING, "solved_columns", counted)
    networks, tasks = ensemble(lambda seed: random_constraints(seed, stiffness=0.75))
    # A solver of its own, for programs know solvers and not what they call.
    solver = jp.TrackedInverse(refresh=777)
    run = jp.train(networks, tasks, steps=300, optimizer=descent(networks, 200.0), solver=solver)
    assert (run.status == jp.Status.NOT_POSITIVE_DEFINITE).any()
    assert (run.status == jp.Status.OK).any()
    assert 0 < len(solved) < 100


@pytest.mark.parametrize("refresh", [1024, 10**6])
def test_a_hundred_thousand_steps(refresh):
    # Slow and noisy at the end: errors have all the time to grow, with and without a new start.
    networks, tasks = ensemble(lambda seed: random_constraints(seed, 2))
    run = jp.train(
        networks,
        tasks,
        steps=100_000,
        optimizer=descent(networks, 1e-2),
        solver=jp.TrackedInverse(refresh=refresh),
        record=jp.Record(every=1000, functionals={"exact": jp.task_cost}),
    )
    assert (run.status == jp.Status.OK).all()
    tolerance = jp.TrackedInverse().allowed(run.cost.dtype)
    assert (np.abs(run.cost - run.records["exact"]) / run.cost[:, :1]).max() < 10 * tolerance
    assert (run.cost[:, -1] < 0.9 * run.cost[:, 0]).all()


@pytest.mark.float64
def test_checkpoints_carry_what_is_known(tmp_path, monkeypatch):
    networks, tasks = ensemble(random_constraints)
    arguments = {
        "optimizer": descent(networks, 1.0),
        "record": jp.Record(every=1),
        "solver": jp.TrackedInverse(),
    }
    whole = jp.train(networks, tasks, steps=60, **arguments)
    interrupt_call(monkeypatch, 5)
    with pytest.raises(KeyboardInterrupt):
        jp.train(networks, tasks, steps=60, checkpoint=jp.Checkpointing(tmp_path / "checkpoint"), **arguments)
    monkeypatch.undo()
    arguments |= {"checkpoint": jp.Checkpointing(tmp_path / "checkpoint", resume=True)}
    assert_identical(jp.train(networks, tasks, steps=60, **arguments).network, whole.network)


@pytest.mark.float64
def test_chosen_where_it_serves():
    networks, tasks = ensemble(random_constraints)
    scaled = descent(networks, optax.exponential_decay(1.0, 10, 0.5))
    assert isinstance(jp.choose_solver(networks, tasks, scaled), jp.TrackedInverse)
    for other in (None, optax.sgd(1.0), optax.adam(1.0), descent(networks, 1.0, optax.trace(0.9))):
        assert isinstance(jp.choose_solver(networks, tasks, other), jp.Dense)
    many = ensemble(lambda seed: random_constraints(seed, 2))
    assert isinstance(jp.choose_solver(*many, scaled), jp.Dense)


@pytest.mark.parametrize(
    ("arguments", "name"), [({"refresh": 0}, "refresh"), ({"tolerance": 0.0}, "tolerance")]
)
def test_bad_arguments(arguments, name):
    with pytest.raises(jp.InputError, match=f"`{name}`"):
        jp.TrackedInverse(**arguments)


def test_refuses_what_it_cannot_follow():
    flow = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]))
    task = jp.allostery(flow, jp.Boundary(flow, ground=[0]), [1], [2], response=0.1)
    with pytest.raises(jp.InputError, match="FlowNetwork"):
        jp.train(flow, task, steps=1, solver=jp.TrackedInverse())
    one = network(0)
    drop = jp.allostery(one, jp.Boundary(one, held_drops=[(0, 1)]), [], [5], response=0.1)
    with pytest.raises(jp.InputError, match="drops"):
        jp.train(one, drop, steps=1, solver=jp.TrackedInverse())
