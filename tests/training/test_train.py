"""Training ensembles: one program, isolated failures, schedules, minibatches, checkpoints."""

import dataclasses
import errno
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_close, assert_identical, assert_refused, ulps

import jaxphys as jp
from jaxphys.learning.transforms import check_ordered
from jaxphys.training import own_bounds
from jaxphys.training.checkpoints import Checkpoints, Header, Place, regular

# Nobody minds that some targets cannot be reached here.
pytestmark = pytest.mark.filterwarnings("ignore:Targets lie")

# Optimizers hold functions, and programs are compiled once per optimizer object: tests share these.
UNIT_STEP = optax.sgd(1.0)
DESCENT = optax.sgd(0.02)
# With a memory, random draws and bounds that are reached.
RESTLESS = optax.chain(optax.sgd(0.02, momentum=0.9), jp.update_noise(1e-2), jp.bounds(1.1, 1.9))
ADAPTIVE = jp.AdaptiveStep(initial=400.0, growth=1.2, shrink=0.4)

FUNCTIONALS = {
    "k": lambda network, task: network.k,
    "hessian": lambda network, task: network.hessian(),
    "stiffness": lambda network, task: jnp.sum(network.k),
}
EVERY_STEP = jp.Record(every=1, functionals=FUNCTIONALS)


def ensemble(realizations=4, inputs=None, response=0.1):
    """Flow networks of 6 nodes and 9 edges, each its own graph, k, two input currents and two outputs."""
    networks, tasks = [], []
    for seed in range(realizations):
        random = np.random.default_rng(seed)
        topology = jp.erdos_renyi(6, 9, jax.random.key(seed))
        network = jp.FlowNetwork(topology, k=random.uniform(1.0, 2.0, 9))
        ground, *nodes = random.permutation(6).tolist()
        boundary = jp.Boundary(network, ground=[ground])
        matrix = response * random.normal(size=(2, 2))
        samples = random.normal(size=(5, 2)) if inputs is None else inputs
        tasks.append(jp.regression(network, boundary, nodes[:2], nodes[2:4], matrix=matrix, inputs=samples))
        networks.append(network)
    return jp.stack(networks), jp.stack(tasks)


@eqx.filter_jit
def costs_and_gradients(networks, tasks):
    def cost(k, network, task):
        return jp.task_cost(network.with_k(k), task)

    return jax.vmap(jax.value_and_grad(cost))(networks.k, networks, tasks)


def descend(networks, tasks, steps, rate):
    """Plain gradient descent in a Python loop: `k` and costs at every step, `(R, T + 1, …)`."""
    states, costs = [networks.k], []
    for _ in range(steps + 1):
        cost, gradient = costs_and_gradients(networks, tasks)
        costs.append(cost)
        networks = eqx.tree_at(lambda n: n.k, networks, networks.k - rate * gradient)
        states.append(networks.k)
    return np.stack(states[:-1], axis=1), np.stack(costs, axis=1)


calls = []


class CountedRule(jp.ExactGradient):
    """Counts how often Python runs it: once for every program that it is traced into."""

    def __call__(self, network, task, *, solver=None):
        calls.append(network.k.shape)
        return super().__call__(network, task, solver=solver)


@pytest.mark.float64
def test_five_hundred_realizations_train_in_one_program():
    """Each its own Erdős–Rényi graph of 40 nodes and 60 edges; other graphs and k compile nothing new."""
    calls.clear()
    networks, tasks = [], []
    for seed in range(500):
        random = np.random.default_rng(seed)
        network = jp.FlowNetwork(jp.erdos_renyi(40, 60, jax.random.key(seed)), k=1.0)
        ground, source, target = random.choice(40, 3, replace=False).tolist()
        boundary = jp.Boundary(network, ground=[ground])
        networks.append(network)
        tasks.append(jp.allostery(network, boundary, [source], [target], response=random.uniform(0.3, 0.6)))
    assert len({np.asarray(network.topology.edges).tobytes() for network in networks}) == 500
    networks, tasks = jp.stack(networks), jp.stack(tasks)

    def train(networks, steps):
        return jp.train(
            networks,
            tasks,
            steps=steps,
            rule=CountedRule(),
            optimizer=jp.Descent(UNIT_STEP, jp.AdaptiveStep()),
            record=jp.Record(every=steps),
            solver=jp.Dense(),
        )

    run = train(networks, 40)
    # One trace, of the step, which sees one realization of the ensemble; the first estimate is one as well.
    assert calls == [(60,)]
    assert run.network.k.shape == (500, 60)
    assert run.cost.shape == (500, 2)
    assert not run.status.any()
    assert run.failures == {}
    assert np.median(run.cost[:, -1] / run.cost[:, 0]) < 1e-2
    assert (run.cost[:, -1] <= run.cost[:, 0]).all()
    backwards = jax.tree.map(lambda leaf: leaf[::-1], networks)
    other = train(backwards.with_k(3 * backwards.k), 7)
    assert len(calls) == 1
    assert not np.array_equal(other.network.k, run.network.k)


def test_nothing_compiles_twice(small):
    """Also where the optimizer is left out: a second run with other numbers of steps traces nothing."""
    calls.clear()
    for steps in (3, 5):
        jp.train(*small, steps=steps, rule=CountedRule(), record=jp.Record(every=1))
    assert len(calls) == 1


@pytest.fixture(scope="module")
def small():
    return ensemble()


@pytest.fixture(scope="module")
def plain_run(small):
    return jp.train(*small, steps=30, optimizer=DESCENT, record=EVERY_STEP)


@pytest.fixture(scope="module")
def free_run(small):
    """Nothing keeps k positive."""
    return jp.train(*small, steps=30, optimizer=DESCENT, record=EVERY_STEP, bounds=None)


def test_training_is_plain_descent(small, plain_run):
    """Records at step t belong to k after t steps."""
    states, costs = descend(*small, 30, 0.02)
    assert plain_run.steps.tolist() == list(range(31))
    assert_close(plain_run.records["k"], states, relative=ulps(2e3))
    assert_close(plain_run.cost, costs, relative=ulps(5e3))
    assert_identical(plain_run.network.k, jnp.asarray(plain_run.records["k"][:, -1]))
    assert_identical(plain_run.initial_k, small[0].k)
    assert not plain_run.status.any()
    assert_identical(plain_run.task, small[1])
    assert (plain_run.cost[:, -1] < plain_run.cost[:, 0]).all()
    assert len(plain_run.seconds) == 2
    assert min(plain_run.seconds) >= 0


def test_one_network_is_an_ensemble_of_one(small, plain_run):
    network, task = jax.tree.map(lambda leaf: leaf[1], small)
    run = jp.train(network, task, steps=30, optimizer=DESCENT, record=EVERY_STEP)
    assert run.cost.shape == (1, 31)
    assert_close(run.cost[0], plain_run.cost[1], relative=ulps(5e3))
    assert_close(run.network.k[0], plain_run.network.k[1], relative=ulps(2e3))


def test_functionals_are_recorded(plain_run):
    """Values of any shape, `(R, T, …)`."""
    assert set(plain_run.records) == {"k", "hessian", "stiffness"}
    k, hessian = plain_run.records["k"], plain_run.records["hessian"]
    assert hessian.shape == (4, 31, 6, 6)
    assert plain_run.records["stiffness"].shape == (4, 31)
    assert_close(plain_run.records["stiffness"], k.sum(axis=-1), relative=ulps(20))
    # Every conductance stands twice on the diagonal of the Laplacian.
    assert_close(np.trace(hessian, axis1=-2, axis2=-1), 2 * k.sum(axis=-1), relative=ulps(20))


@pytest.mark.parametrize(
    ("arguments", "steps"),
    [
        ({"every": 7}, [0, 7, 14, 21, 28, 30]),
        ({"steps": [3, 9, 10]}, [0, 3, 9, 10, 30]),
        ({"steps": np.array([30, 4, 4, 0])}, [0, 4, 30]),
        ({"every": 100}, [0, 30]),
    ],
)
def test_records_are_taken_when_asked(small, plain_run, arguments, steps):
    record = jp.Record(functionals=FUNCTIONALS, **arguments)
    run = jp.train(*small, steps=30, optimizer=DESCENT, record=record)
    assert run.steps.tolist() == steps
    assert_identical(run.cost, plain_run.cost[:, steps])
    assert_identical(run.records["k"], plain_run.records["k"][:, steps])


def test_about_a_hundred_records_by_default(small, plain_run):
    """Many records come in chunks; the last one is shorter, and the numbers are the same."""
    run = jp.train(*small, steps=157, optimizer=DESCENT)
    assert run.steps.tolist() == [*range(157), 157]
    assert_close(run.cost[:, :31], plain_run.cost, relative=ulps(5e3))
    assert (np.diff(run.cost, axis=1) < 0).all()
    assert run.records == {}


def test_stop_cost(small, plain_run):
    """A realization rests once it is good enough; the others go on as if nothing had happened."""
    stop = float(plain_run.cost[:, 20].max())
    run = jp.train(*small, steps=30, optimizer=DESCENT, record=EVERY_STEP, stop_cost=stop)
    assert len(run.steps) == 31
    rested_at = []
    for cost, full, k in zip(run.cost, plain_run.cost, run.records["k"], strict=True):
        # The first state at or below the cost is kept for good, also after all of them rest.
        last = int(np.flatnonzero(full <= stop)[0])
        rested_at.append(last)
        assert_close(cost[: last + 1], full[: last + 1], relative=ulps(100))
        assert (cost[last:] == cost[last]).all()
        assert (k[last:] == k[last]).all()
    assert max(rested_at) == 20
    assert min(rested_at) < 20
    assert not run.status.any()


@pytest.fixture(scope="module")
def adaptive_run(small):
    return train_adaptively(*small)


def train_adaptively(networks, tasks):
    return jp.train(
        networks,
        tasks,
        steps=40,
        optimizer=jp.Descent(UNIT_STEP, ADAPTIVE),
        record=EVERY_STEP,
        bounds=None,
    )


def test_adaptive_costs_never_rise(adaptive_run):
    """A refused step leaves cost and k as they are, and a smaller one is tried."""
    changes = np.diff(adaptive_run.cost, axis=1)
    assert (changes <= 0).all()
    moved = np.diff(adaptive_run.records["k"], axis=1).any(axis=-1)
    assert_identical(moved, changes < 0)
    assert moved.any(axis=1).all()
    assert not moved.all()
    assert not adaptive_run.status.any()
    assert (adaptive_run.cost[:, -1] < 0.2 * adaptive_run.cost[:, 0]).all()


def test_adaptive_rates_follow_acceptance(small, adaptive_run):
    """The rate is `initial × growth^accepted × shrink^refused`: read off the steps in k."""
    networks, tasks = small
    rate = np.full(4, ADAPTIVE.initial)
    for step in range(40):
        k, after = adaptive_run.records["k"][:, step], adaptive_run.records["k"][:, step + 1]
        gradient = costs_and_gradients(networks.with_k(jnp.asarray(k)), tasks)[1]
        accepted = (k != after).any(axis=1)
        expected = k - np.where(accepted, rate, 0)[:, None] * np.asarray(gradient)
        assert_close(after, expected, relative=ulps(5e4))
        rate = rate * np.where(accepted, ADAPTIVE.growth, ADAPTIVE.shrink)


def harmed(small, kind):
    """The ensemble with realization 2 made to fail in its first step, or from the start."""
    networks, tasks = small
    if kind == "indefinite":
        # An input this large makes a step that leaves no conductance positive.
        return networks, eqx.tree_at(lambda t: t.force, tasks, tasks.force.at[2].multiply(1e3))
    if kind == "overflow":
        huge = jnp.finfo(tasks.targets.dtype).max / 1e3
        return networks, eqx.tree_at(lambda t: t.targets, tasks, tasks.targets.at[2].multiply(huge))
    if kind == "negative from the start":
        return networks.with_k(networks.k.at[2].multiply(-1)), tasks
    return networks.with_k(networks.k.at[2, 0].set(jnp.nan)), tasks


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("indefinite", jp.Status.NOT_POSITIVE_DEFINITE),
        ("overflow", jp.Status.NOT_FINITE),
        ("negative from the start", jp.Status.NOT_POSITIVE_DEFINITE),
        ("NaN from the start", jp.Status.NOT_POSITIVE_DEFINITE),
    ],
)
def test_a_failure_is_isolated(small, free_run, kind, status):
    """It is marked and stays at its last good state; its neighbours do not notice, to the last bit."""
    networks, tasks = harmed(small, kind)
    settings = {"optimizer": DESCENT, "record": EVERY_STEP, "bounds": None}
    run = jp.train(networks, tasks, steps=30, **settings)
    assert run.status.tolist() == [0, 0, status, 0]
    assert run.failures == {status.name: 1}
    others = [0, 1, 3]
    assert_identical(run.cost[others], free_run.cost[others])
    assert_identical(run.records["k"][others], free_run.records["k"][others])
    assert_identical(run.network.k[jnp.array(others)], free_run.network.k[jnp.array(others)])
    # It never left its first state.
    assert_identical(run.network.k[2], networks.k[2])
    assert np.array_equal(run.cost[2], np.repeat(run.cost[2, :1], 31), equal_nan=True)


def test_a_failure_midway_keeps_the_last_good_state(small, free_run):
    """A network that learns well until its step is too long for it: what it had learned is still there."""
    networks, tasks = small
    steep = eqx.tree_at(lambda t: t.targets, tasks, tasks.targets.at[2].multiply(-2000.0))
    settings = {"optimizer": DESCENT, "record": EVERY_STEP, "bounds": None}
    run = jp.train(networks, steep, steps=30, **settings)
    assert run.status[2] == jp.Status.NOT_POSITIVE_DEFINITE
    changed = np.flatnonzero(np.diff(run.records["k"][2], axis=0).any(axis=1))
    assert 3 < len(changed) < 27
    assert changed.tolist() == list(range(len(changed)))
    last = run.records["k"][2, -1]
    assert_identical(np.asarray(run.network.k[2]), last)
    assert (last > 0).all()
    cost = costs_and_gradients(networks.with_k(networks.k.at[2].set(last)), steep)[0][2]
    assert_close(run.cost[2, -1], cost, relative=ulps(1e3))
    assert_identical(run.cost[[0, 1, 3]], free_run.cost[[0, 1, 3]])


def test_an_adaptive_run_refuses_steps_that_would_fail(small, adaptive_run):
    """They count as steps that do not lower the cost, so nothing is marked."""
    networks, tasks = harmed(small, "indefinite")
    run = train_adaptively(networks, tasks)
    assert not run.status.any()
    assert not np.diff(run.records["k"][2], axis=0)[:5].any()
    assert run.cost[2, -1] < run.cost[2, 0]
    assert_identical(run.cost[[0, 1, 3]], adaptive_run.cost[[0, 1, 3]])


class Asked(jp.solvers.AbstractSolver):
    """A solver that only says that it was asked."""

    is_relative = False

    def factor(self, hessian, constraints):
        raise LookupError("asked")

    def solve(self, factors, *system):
        raise NotImplementedError

    def is_definite(self, factors):
        raise NotImplementedError


def test_the_solver_is_the_one_asked_for(small):
    with pytest.raises(LookupError, match="asked"):
        jp.train(*small, steps=1, optimizer=DESCENT, solver=Asked())


def test_the_reference_solver_marks_what_is_indefinite_too(small):
    networks, tasks = harmed(small, "negative from the start")
    run = jp.train(networks, tasks, steps=1, optimizer=DESCENT, solver=jp.BorderedLU(), bounds=None)
    assert run.failures == {"NOT_POSITIVE_DEFINITE": 1}


class Reveal(jp.ExactGradient):
    """Its "gradient" is -1 at entry r when sample r is in the batch (inputs are unit vectors), else 0."""

    def __call__(self, network, task, *, solver=None):
        estimate = super().__call__(network, task, solver=solver)
        used = jnp.sum(task.inputs, axis=0)
        gradient = jnp.zeros_like(network.k).at[: used.shape[0]].set(-used)
        return eqx.tree_at(lambda e: e.gradient, estimate, gradient)


def sampled(realizations):
    """Tasks of five samples that are the five unit inputs, to see which are drawn."""
    networks, tasks = [], []
    for seed in range(realizations):
        network = jp.FlowNetwork(jp.erdos_renyi(7, 9, jax.random.key(seed)))
        boundary = jp.Boundary(network, ground=[0])
        arguments = {"matrix": np.full((1, 5), 9.0), "inputs": np.eye(5)}
        tasks.append(jp.regression(network, boundary, [1, 2, 3, 4, 5], [6], **arguments))
        networks.append(network)
    return jp.stack(networks), jp.stack(tasks)


def test_minibatches_are_drawn_without_replacement():
    networks, tasks = sampled(3)
    run = jp.train(
        networks,
        tasks,
        steps=40,
        rule=Reveal(),
        optimizer=UNIT_STEP,
        sampling=jp.Sampling(batch_size=2),
        record=EVERY_STEP,
    )
    used = np.round(np.diff(run.records["k"], axis=1)[..., :5]).astype(int)
    assert set(np.unique(used)) == {0, 1}
    assert (used.sum(axis=-1) == 2).all()
    # Every sample has its turn, and no two realizations, and no two successive steps, draw alike.
    assert (used.sum(axis=1) > 5).all()
    assert (used.sum(axis=1) < 27).all()
    assert not np.array_equal(used[0], used[1])
    assert len({tuple(map(tuple, used[0, step : step + 3])) for step in range(38)}) > 20


def test_progress_shows_the_median_cost(small, capsys):
    shown = dataclasses.replace(EVERY_STEP, progress=True)
    run = jp.train(*small, steps=30, optimizer=DESCENT, record=shown)
    shown = capsys.readouterr().err
    assert "30/30" in shown
    assert f"median cost {np.median(run.cost[:, -1]):.3g}" in shown
    jp.train(*small, steps=30, optimizer=DESCENT, record=EVERY_STEP)
    assert capsys.readouterr().err == ""


# Checkpoints. Momentum, minibatches and noise all have to survive.


def restless(
    small,
    folder=None,
    *,
    seconds=60.0,
    resume=False,
    every=1,
    at=None,
    functionals=FUNCTIONALS,
    batch_size=2,
    key=None,
    block=None,
    **others,
):
    settings = {
        "steps": 12,
        "optimizer": RESTLESS,
        "sampling": jp.Sampling(batch_size, key),
        "record": jp.Record(every if at is None else None, at, functionals),
        "checkpoint": None if folder is None else jp.Checkpointing(folder, seconds, resume),
        "devices": jp.Devices(block=block),
    }
    return jp.train(*small, **{**settings, **others})


@pytest.fixture(scope="module")
def uninterrupted(small):
    return restless(small)


def test_minibatch_records_hold_the_full_cost(small, uninterrupted):
    networks, tasks = small
    for step in (0, 4, 12):
        k = jnp.asarray(uninterrupted.records["k"][:, step])
        costs, _ = costs_and_gradients(networks.with_k(k), tasks)
        assert_close(uninterrupted.cost[:, step], costs, relative=ulps(5e3))


def test_bounds_hold_in_training(uninterrupted):
    """Noise pushes against them all the time."""
    k = uninterrupted.records["k"][:, 1:]
    assert k.min() == np.asarray(1.1, k.dtype)
    assert k.max() == np.asarray(1.9, k.dtype)
    assert not uninterrupted.status.any()


def test_the_same_seed_gives_the_same_result(small, uninterrupted):
    first, again, other = (restless(small, key=jax.random.key(seed)) for seed in (3, 3, 4))
    assert_same_run(again, first)
    assert not np.array_equal(other.network.k, first.network.k)
    assert_same_run(restless(small), uninterrupted)


LOOP = {"_train_rounds", "_look_up", "advance"}


class Interruption:
    """Ctrl-C at the n-th line that runs of functions in `host_loop.py` and `rounds.py` of the training."""

    def __init__(self, functions, line):
        self.functions, self.left = functions, line

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self.call)
        return self

    def __exit__(self, *_):
        sys.settrace(self.before)

    def call(self, frame, event, argument):
        code = frame.f_code
        ours = code.co_name in self.functions and code.co_filename.endswith(("host_loop.py", "rounds.py"))
        return self.line if ours else None

    def line(self, frame, event, argument):
        if event == "line":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self.line


def assert_same_run(run, expected):
    assert_identical(
        (run.network, run.cost, run.records, run.status, run.steps, run.initial_k, run.evaluations),
        (
            expected.network,
            expected.cost,
            expected.records,
            expected.status,
            expected.steps,
            expected.initial_k,
            expected.evaluations,
        ),
    )


@pytest.mark.float64
@pytest.mark.parametrize("seconds", [0.0, 1e9], ids=["saved every time", "saved on the way out"])
@pytest.mark.parametrize("first", [50, 80])
def test_an_interrupted_run_resumes_to_the_last_bit(small, uninterrupted, tmp_path, seconds, first):
    """Wherever Ctrl-C comes, be it between steps and the note that they are done: at 16 successive lines."""
    resumed = 0
    for line in range(first, first + 16):
        path = tmp_path / str(line)
        with pytest.raises(KeyboardInterrupt), Interruption(LOOP, line):
            restless(small, path, seconds=seconds)
        resumed += path.exists()
        assert_same_run(restless(small, path, resume=path.exists()), uninterrupted)
    assert resumed >= 12


@pytest.mark.float64
def test_rest_between_two_records_is_recorded(small):
    """Good enough long before the next record: it holds where networks rest, and not where they were."""
    settings = {"optimizer": jp.Descent(UNIT_STEP, ADAPTIVE)}
    enough = float(jp.train(*small, steps=40, **settings).cost[:, -1].max())
    often = jp.train(*small, steps=4000, record=jp.Record(every=1), stop_cost=enough, **settings)
    seldom = jp.train(*small, steps=4000, record=jp.Record(every=4000), stop_cost=enough, **settings)
    assert (often.cost[:, -1] <= enough).all()
    assert_identical(seldom.cost[:, -1], often.cost[:, -1])


@pytest.mark.float64
def test_blocks_change_nothing(small, uninterrupted):
    """One block, blocks that fill up, and a block for each realization; the same on several devices."""
    for block in (1, 3, 100):
        run = restless(small, block=block)
        assert_close(run.network.k, uninterrupted.network.k, relative=1e-12)
        assert_close(run.cost, uninterrupted.cost, relative=1e-12)


@pytest.mark.float64
def test_blocks_that_were_done_are_not_trained_again(small, tmp_path):
    """Of four blocks one is at its end, one on its way and two have not begun when Ctrl-C comes."""
    expected = restless(small, block=1)
    with pytest.raises(KeyboardInterrupt), Interruption({"_look_up"}, 110):
        restless(small, tmp_path, block=1, seconds=0.0)
    headers = [Checkpoints(tmp_path).header(number) for number in range(4)]
    records = [0 if header is None else header.place.records for header in headers]
    assert records[0] == len(expected.steps) > records[1] > 0 == records[3]
    assert_same_run(restless(small, tmp_path, block=1, resume=True), expected)


A_RUN = {"rule": "one", "optimizer": "another"}


def header(step):
    return Header(Place(step, step + 1), regular(20, 1), True)


@pytest.mark.float64
@pytest.mark.parametrize("where", ["equinox.tree_serialise_leaves", "os.fsync", "os.replace"])
def test_failed_saving_leaves_the_old_file(small, tmp_path, monkeypatch, where):
    """A full disk: one clear line, the old file whole, nothing half-written."""
    restless(small, tmp_path, steps=4)
    old = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def fail(file, *_):
        if where.startswith("equinox"):
            file.write(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(where, fail)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(0, header(10), {"k": np.ones(3)}, A_RUN)
    with pytest.raises(jp.InputError, match="No space left on device"):
        checkpoints.wait()
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == old


@pytest.mark.float64
def test_a_full_disk_ends_training_with_one_line(small, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(jp.InputError, match="cannot be written to"):
        restless(small, tmp_path, seconds=0.0)


@pytest.mark.float64
def test_the_last_few_checkpoints_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=3)
    for step in range(9):
        checkpoints.save(step % 2, header(step), {"k": np.full(3, step)}, A_RUN)
    checkpoints.wait()
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        f"block-{step % 2:06d}-step-{step:010d}.ckpt" for step in (4, 6, 8, 3, 5, 7)
    ]
    place, state = checkpoints.load(1, {"k": np.zeros(3, int)}, A_RUN)
    assert place == Place(7, 8)
    assert_identical(state["k"], np.full(3, 7))
    assert_identical(checkpoints.header(1).record_steps, np.arange(21))
    irregular = np.array([0, 1, 5, 20])
    checkpoints.save(1, Header(Place(8, 3), irregular, False), {"k": np.ones(3)}, A_RUN, alone=True)
    checkpoints.wait()
    assert len(list(tmp_path.glob("block-000001-*"))) == 1
    assert_identical(checkpoints.header(1).record_steps, irregular)
    assert not checkpoints.header(1).has_records


@pytest.mark.float64
def test_a_checkpoint_of_other_versions_is_told(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(0, header(10), {"k": np.ones(3)}, A_RUN)
    checkpoints.wait()
    monkeypatch.setattr(jax, "__version__", "0.0.1")
    with pytest.warns(UserWarning, match=r"written with jax .* \(here 0\.0\.1\); numbers may differ"):
        Checkpoints(tmp_path).load(0, {"k": np.zeros(3)}, A_RUN)


@pytest.mark.float64
def test_a_finished_run_resumes_to_itself(small, uninterrupted, tmp_path):
    path = tmp_path / "deeper" / "run"
    assert_same_run(restless(small, path), uninterrupted)
    assert_same_run(restless(small, path, resume=True), uninterrupted)


@pytest.mark.float64
def test_without_resume_a_run_starts_afresh(small, uninterrupted, tmp_path):
    """And what another run left there does not come back."""
    restless(ensemble(response=0.7), tmp_path)
    (tmp_path / "notes.txt").write_text("something else")
    assert_same_run(restless(small, tmp_path), uninterrupted)
    assert_same_run(restless(small, tmp_path, resume=True), uninterrupted)
    assert (tmp_path / "notes.txt").read_text() == "something else"


@pytest.fixture
def saved(small, tmp_path):
    """The two checkpoints of an interrupted run, the newest first."""
    with pytest.raises(KeyboardInterrupt), Interruption({"_look_up"}, 60):
        restless(small, tmp_path, seconds=0.0)
    files = sorted(tmp_path.iterdir(), reverse=True)
    assert len(files) == 2
    return files


def truncated(part):
    return lambda content: content[: int(part * len(content))]


def flipped(part):
    def flip(content):
        changed = bytearray(content)
        changed[int(part * len(content))] ^= 0x10
        return bytes(changed)

    return flip


DAMAGES = {
    **{f"cut at {part}": truncated(part) for part in (0.0, 0.001, 0.02, 0.1, 0.5, 0.9, 0.99)},
    **{f"a bit flipped at {part}": flipped(part) for part in (0.0, 0.01, 0.05, 0.3, 0.95)},
    "another file": lambda _: b"no checkpoint\n",
    "another header": lambda content: b"{}\n" + content.split(b"\n", 2)[2],
}


@pytest.mark.float64
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_the_one_before_a_damaged_checkpoint_is_used(small, uninterrupted, saved, damage):
    """Said aloud, and to the same end; if both are damaged, nothing is trained."""
    newest = saved[0]
    newest.write_bytes(damage(newest.read_bytes()))
    with pytest.warns(UserWarning, match="damaged .*going on from the one before"):
        run = restless(small, newest.parent, resume=True)
    assert_same_run(run, uninterrupted)
    for file in set(newest.parent.iterdir()) - {newest}:
        file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(jp.InputError, match="no whole checkpoint of block 0"):
        restless(small, newest.parent, resume=True)


OTHERS = {
    "other shapes": ({"realizations": 3}, {}, "network"),
    "another task": ({"response": 0.7}, {}, "task"),
    "another optimizer": ({}, {"optimizer": optax.sgd(5.0)}, "optimizer"),
    "another rate": ({}, {"optimizer": jp.Descent(RESTLESS, rate=0.5)}, "optimizer"),
    "a rate of each": (
        {},
        {"optimizer": [jp.Descent(RESTLESS, rate=rate) for rate in (1.0, 1.0, 0.5, 1.0)]},
        "optimizer",
    ),
    "another momentum": (
        {},
        {"optimizer": optax.chain(optax.sgd(0.02, momentum=0.8), jp.update_noise(1e-2), jp.bounds(1.1, 1.9))},
        "optimizer",
    ),
    "another schedule of rates": (
        {},
        {"optimizer": optax.chain(optax.scale_by_schedule(lambda count: -0.02), jp.bounds(1.1, 1.9))},
        "optimizer",
    ),
    "another rule": ({}, {"rule": jp.CoupledLearning()}, "rule"),
    "another nudge": ({}, {"rule": jp.EquilibriumPropagation(0.1)}, "rule"),
    "another key": ({}, {"key": jax.random.key(5)}, "key"),
    "no bounds": ({}, {"bounds": None, "optimizer": optax.sgd(0.02)}, "optimizer"),
    "another batch": ({}, {"batch_size": 3}, "batch_size"),
    "all samples": ({}, {"batch_size": None}, "batch_size"),
    "other functionals": ({}, {"functionals": {**FUNCTIONALS, "k": lambda n, t: 2 * n.k}}, "functionals"),
    "another solver": ({}, {"solver": jp.BorderedLU()}, "solver"),
    "other blocks": ({}, {"block": 2}, "block"),
}


@pytest.mark.float64
@pytest.mark.parametrize(("other", "settings", "saying"), OTHERS.values(), ids=OTHERS)
def test_a_checkpoint_of_another_run_is_refused(saved, other, settings, saying):
    """It says what differs; nothing is trained."""
    saying = f"belongs to another run: .*`{saying}`"
    with pytest.raises(jp.InputError, match=saying):
        restless(ensemble(**other), saved[0].parent, resume=True, **settings)


@pytest.mark.float64
def test_a_checkpoint_knows_its_bounds(small, tmp_path):
    settings = {"steps": 2, "optimizer": DESCENT}
    jp.train(*small, bounds=(0.5, None), checkpoint=jp.Checkpointing(tmp_path), **settings)
    go_on = jp.Checkpointing(tmp_path, resume=True)
    for bounds in ((0.4, None), (0.5, 3.0), "automatic", None):
        with pytest.raises(jp.InputError, match="`bounds` differs"):
            jp.train(*small, bounds=bounds, checkpoint=go_on, **settings)


@pytest.mark.float64
def test_the_same_optimizer_made_anew_goes_on(small, uninterrupted, saved):
    again = optax.chain(optax.sgd(0.02, momentum=0.9), jp.update_noise(1e-2), jp.bounds(1.1, 1.9))
    assert_same_run(restless(small, saved[0].parent, resume=True, optimizer=again), uninterrupted)


LENGTHENED = {
    "every step": ({"every": 1}, {"every": 1}, {"every": 1}),
    # The first run's end is no record of the long one.
    "every five": ({"every": 5}, {"every": 5}, {"every": 5}),
    "fewer records": ({"every": 2}, {"every": 4}, {"every": 4}),
    "chosen records": ({"at": [3, 7]}, {"at": [3, 7, 18]}, {"at": [3, 7, 18]}),
    "none said": ({"every": None}, {"every": None}, {"every": 1}),
    "as it began": ({"every": 5}, {"every": None}, {"every": 5}),
}


@pytest.mark.float64
@pytest.mark.parametrize(("first", "then", "whole"), LENGTHENED.values(), ids=LENGTHENED)
def test_a_run_can_be_made_longer(small, tmp_path, first, then, whole):
    """To the last bit what one long run is, records and all; from its end, and once more from there."""
    expected = restless(small, steps=23, **whole)
    restless(small, tmp_path, **first)
    run = restless(small, tmp_path, resume=True, steps=23, **then)
    assert_same_run(run, expected)
    if "at" not in then:
        further = restless(small, tmp_path, resume=True, steps=30, **then)
        assert_same_run(further, restless(small, steps=30, **whole))


@pytest.mark.float64
def test_a_run_that_was_interrupted_can_be_made_longer(small, saved, tmp_path):
    """And an interruption of the longer one loses nothing."""
    expected = restless(small, steps=30)
    with pytest.raises(KeyboardInterrupt), Interruption({"_look_up"}, 40):
        restless(small, saved[0].parent, seconds=0.0, resume=True, steps=30)
    assert_same_run(restless(small, saved[0].parent, resume=True, steps=30), expected)


@pytest.mark.float64
def test_networks_at_rest_rest_in_a_longer_run(small, plain_run, tmp_path):
    stop = float(plain_run.cost[:, 20].max())
    settings = {"optimizer": DESCENT, "record": EVERY_STEP, "stop_cost": stop}
    jp.train(*small, steps=30, checkpoint=jp.Checkpointing(tmp_path), **settings)
    run = jp.train(*small, steps=50, checkpoint=jp.Checkpointing(tmp_path, resume=True), **settings)
    assert_same_run(run, jp.train(*small, steps=50, **settings))


@pytest.mark.float64
@pytest.mark.parametrize("integrator", [jp.GradientFlow(rate=0.1), jp.LevenbergMarquardt()])
def test_integrators_keep_the_records_that_they_stopped_at(small, tmp_path, integrator):
    record = jp.Record(every=3, functionals=FUNCTIONALS)
    settings = {"optimizer": integrator, "record": record}
    jp.train(*small, steps=8, checkpoint=jp.Checkpointing(tmp_path), **settings)
    run = jp.train(*small, steps=13, checkpoint=jp.Checkpointing(tmp_path, resume=True), **settings)
    assert run.steps.tolist() == [0, 3, 6, 8, 9, 12, 13]
    record = jp.Record(steps=[3, 6, 8, 9, 12], functionals=FUNCTIONALS)
    assert_same_run(run, jp.train(*small, steps=13, optimizer=integrator, record=record))


@pytest.mark.float64
def test_a_run_cannot_be_made_shorter_or_record_what_is_gone(small, tmp_path):
    restless(small, tmp_path, every=2)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    for saying, other in {
        "`steps` must be at least the 12": {"steps": 11, "every": None},
        "`record` must go on with": {"steps": 20, "every": 1},
        "`record` must go on": {"steps": 20, "at": [5]},
    }.items():
        with pytest.raises(jp.InputError, match=saying):
            restless(small, tmp_path, resume=True, **other)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.float64
def test_resuming_wants_a_folder(tmp_path):
    (tmp_path / "file").write_text("no folder")
    for path in (tmp_path / "missing", tmp_path / "file"):
        assert_refused("folder", jp.Checkpointing, path, resume=True)
    assert_refused("folder", jp.Checkpointing, tmp_path / "file")


@pytest.mark.float64
def test_what_does_not_fit_into_memory_runs_in_smaller_blocks(small, uninterrupted, monkeypatch):
    """Found before the first step, and told; refused where blocks are given, or one alone is too large."""
    host_loop = sys.modules["jaxphys.training.host_loop"]
    needed = []
    check = host_loop.check_fits
    monkeypatch.setattr(host_loop, "check_fits", lambda *asked: (needed.append(asked[0]), check(*asked)))
    restless(small)
    whole = max(needed)
    monkeypatch.setattr(host_loop, "available_memory", lambda: int(0.7 * whole / host_loop.MEMORY_SHARE))
    with pytest.warns(UserWarning, match="going on with [123]"):
        run = restless(small)
    assert_close(run.cost, uninterrupted.cost, relative=1e-5)
    with pytest.raises(jp.InputError, match="let `block` be at most"):
        restless(small, block=4)
    monkeypatch.setattr(host_loop, "available_memory", lambda: 1000)
    with pytest.raises(jp.InputError, match="one realization alone is too large"):
        restless(small)


# Transformations, by themselves and in training.


def test_bounds():
    k, updates = jnp.array([1.0, 1.0, 1.0]), jnp.array([-0.3, -5.0, 5.0])
    for bounds, expected in [
        (jp.bounds(0.5, 2.0), [0.7, 0.5, 2.0]),
        (jp.bounds(0.5), [0.7, 0.5, 6.0]),
        (jp.bounds(upper=2.0), [0.7, -4.0, 2.0]),
    ]:
        shortened, _ = bounds.update(updates, bounds.init(k), k)
        assert_close(k + shortened, expected, relative=ulps(4))


def two_in_parallel(response):
    """Edges side by side drain the same node: `y = 1/(k₁ + k₂)`, above `1/(2 floor)` out of reach."""
    network = jp.FlowNetwork(jp.from_edges([(0, 1), (0, 1)]), k=[3.0, 1.0])
    return network, jp.allostery(network, jp.Boundary(network, ground=[0]), [1], [1], response=response)


@pytest.mark.float64
@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": optax.sgd(3.0)},
        {"optimizer": optax.sgd(1.0, momentum=0.9)},
        {"optimizer": optax.chain(optax.sgd(1.0), jp.update_noise(0.5))},
        {"optimizer": jp.Descent(adaptive=jp.AdaptiveStep())},
        {"rule": jp.CoupledLearning(0.5)},
        {"optimizer": jp.GradientFlow(rate=10.0)},
        {"optimizer": jp.LevenbergMarquardt()},
    ],
    ids=["sgd", "momentum", "noise", "adaptive", "coupled learning", "flow", "Gauss-Newton"],
)
def test_conductances_stay_positive(settings):
    """A response of 1e9 asks for k₁ + k₂ = 1e-9: with k > 0 it is never reached, whatever steps are taken."""
    network, task = two_in_parallel(1e9)
    run = jp.train(network, task, steps=40, record=EVERY_STEP, **settings)
    assert not run.status.any()
    # A floor of 1e-6 of the mean conductance, 2.
    assert run.records["k"].min() >= 2e-6
    assert run.records["k"].min() == 2e-6 or "noise" in str(settings) or run.cost[0, -1] > 1e17
    assert run.cost[0, -1] > 0.5 * (1e9 - 1 / 4e-6) ** 2 * 0.999


@pytest.mark.float64
def test_only_who_turns_the_floor_off_gets_negative_conductances():
    """One edge alone: `k → k - α ∂C/∂k` by hand, once projected and once not."""
    network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2), (0, 2)]), k=[1.0, 1.0, 3.0])
    task = jp.allostery(network, jp.Boundary(network, ground=[0]), [2], [1], response=-0.05)
    free = jp.train(network, task, steps=400, bounds=None)
    assert float(free.network.k.min()) < -0.1
    assert free.cost[0, -1] < 1e-8
    kept = jp.train(network, task, steps=400)
    assert_close(kept.network.k.min(), np.array(1e-6 * 5 / 3), relative=1e-12)
    # Between 0 and the source's own response there is no negative one.
    assert kept.cost[0, -1] >= 0.5 * 0.05**2
    for bounds, least, most in [((0.5, 1.25), 0.5, 1.25), ((None, 1.25), 1e-6 * 5 / 3, 1.25)]:
        start = network.with_k(jnp.array([1.0, 1.0, 1.2]))
        run = jp.train(start, task, steps=400, bounds=bounds)
        assert float(run.network.k.min()) >= (least if bounds[0] else 1e-6 * 3.2 / 3 * (1 - 1e-12))
        assert float(run.network.k.max()) <= most
    assert_refused("network", jp.train, network, task, steps=1, bounds=(2.0, None), saying="2 entries of k")
    assert_refused("lower", check_ordered, 2.0, 1.0)


@pytest.mark.float64
def test_a_floor_changes_nothing_that_stays_above_it(small, plain_run, free_run):
    assert_close(plain_run.network.k, free_run.network.k, relative=1e-14)
    assert_close(plain_run.cost, free_run.cost, relative=1e-13)


@pytest.mark.float64
def test_what_starts_below_the_floor_is_not_lifted():
    """Conductances over ten decades: the smallest may grow, and go no lower; padding stays zero."""
    graph = jp.from_edges([(0, 1), (1, 2), (2, 0)]).padded(5)
    network = jp.FlowNetwork(graph, k=[3.0, 1e-9, 1.0, 1.0, 1.0])
    network = network.with_k(network.k.at[3:].set(0))
    task = jp.allostery(network, jp.Boundary(network, ground=[0]), [2], [1], response=5.0)
    run = jp.train(network, task, steps=30, optimizer=optax.sgd(1e-12), record=jp.Record(every=1))
    assert run.network.k[0, 3:].tolist() == [0, 0]
    assert 1e-9 <= float(run.network.k[0, 1]) < 2e-9


@pytest.mark.parametrize(
    "chain",
    [
        optax.chain(jp.bounds(0.1), optax.sgd(5.0)),
        optax.chain(jp.bounds(0.1), optax.adam(1e-3)),
        optax.chain(optax.sgd(1.0), jp.bounds(0.1), jp.update_noise(0.1)),
        optax.chain(optax.chain(jp.bounds(0.1, 2.0)), optax.scale(-1.0)),
        optax.inject_hyperparams(lambda rate: optax.chain(jp.bounds(0.1), optax.sgd(rate)))(rate=0.1),
        optax.apply_if_finite(optax.chain(jp.bounds(0.1), optax.sgd(0.5)), 3),
        optax.MultiSteps(optax.chain(jp.bounds(0.1), optax.sgd(0.5)), 2).gradient_transformation(),
        optax.MultiSteps(optax.chain(jp.bounds(0.1), optax.sgd(0.5)), 9).gradient_transformation(),
    ],
)
def test_bounds_in_the_wrong_place_are_found(small, chain):
    assert_refused("optimizer", jp.train, *small, steps=1, optimizer=chain, saying="last in its chain")


def test_bounds_in_the_right_place_hold(small):
    """Also within what wraps a whole chain, and where edges that stand still come behind."""
    chain = optax.chain(optax.sgd(5.0), jp.bounds(0.9, 2.5))
    for optimizer in (chain, optax.apply_if_finite(chain, 3), optax.chain(chain, jp.participation(0.5))):
        run = jp.train(*small, steps=20, optimizer=optimizer, record=EVERY_STEP)
        assert run.records["k"].min() == np.asarray(0.9, run.records["k"].dtype)
        assert run.records["k"].max() <= np.asarray(2.5, run.records["k"].dtype)


@pytest.mark.float64
@pytest.mark.parametrize(
    ("inner", "own", "expected"),
    [
        ((0.1, None), "automatic", (0.1, np.inf)),
        ((0.1, None), None, (0.1, np.inf)),
        ((0.1, 3.5), (0.05, None), (0.1, 3.5)),
        ((0.1, None), (0.2, 3.5), (0.2, 3.5)),
        ((None, 3.5), "automatic", (1e-6 * 5 / 3, 3.5)),
    ],
)
def test_bounds_hold_wherever_they_stand(inner, own, expected):
    """The narrowest of all are projected upon behind the optimizer."""
    network = jp.stack([jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2), (0, 2)]), k=[1.0, 1.0, 3.0])])
    kept = own_bounds(own, network, optax.chain(optax.sgd(0.5), jp.bounds(*inner)))
    k = jnp.array([1.0, 1.0, 3.0])
    assert_close(kept.keep(k - 9, k).min(), np.array(expected[0]), relative=1e-12)
    assert float(kept.keep(k + 9, k).max()) == min(expected[1], 12)


@pytest.mark.float64
def test_bounds_that_no_probe_can_reach_hold_all_the_same():
    network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2), (0, 2)]), k=[1.0, 1.0, 3.0])
    task = jp.allostery(network, jp.Boundary(network, ground=[0]), [2], [1], response=-0.05)
    late = optax.MultiSteps(optax.chain(jp.bounds(0.1), optax.sgd(500.0)), 1000)
    late = late.gradient_transformation()
    with jax.numpy_dtype_promotion("standard"):  # For what optax itself does.
        run = jp.train(network, task, steps=2000, optimizer=late, record=jp.Record(every=1000))
    assert float(run.network.k.min()) == 0.1


def test_bounds_of_optimizer_and_train_leave_room(small):
    chain = optax.chain(optax.sgd(0.1), jp.bounds(0.1, 1.0))
    start = small[0].with_k(jnp.full_like(small[0].k, 2.0))
    saying = "`bounds` must leave room beside those of `optimizer`"
    assert_refused(
        "bounds", jp.train, start, small[1], steps=1, optimizer=chain, bounds=(1.5, 3.0), saying=saying
    )


@pytest.mark.float64
def test_node_networks_have_any_sign(random):
    w = random.normal(size=(4, 4))
    network = jp.NodeNetwork.from_matrix(0.1 * (w + w.T) + 8 * np.eye(4))
    task = jp.random_linear(network, 1, jax.random.key(0))
    run = jp.train(network, task, steps=3)
    assert not network.positive_k
    assert float(run.network.k.min()) < 0
    descent = optax.chain(jp.precondition(network.frobenius_metric), optax.sgd(20.0))
    largest = float(network.k.max()) + 1e-3
    tracked, dense = (
        jp.train(network, task, steps=20, optimizer=descent, bounds=(-0.5, largest), solver=solver)
        for solver in (jp.TrackedInverse(), jp.Dense())
    )
    # A tracked inverse sees that a step was cut, and is renewed.
    assert_close(tracked.network.k, dense.network.k, relative=ulps(1e5))
    assert float(dense.network.k.max()) <= largest
    assert float(dense.network.k.min()) >= -0.5


def test_precondition_multiplies_entry_by_entry():
    transformation = jp.precondition(np.array([1.0, 0.5, 3.0]))
    updates, _ = transformation.update(jnp.array([2.0, 2.0, 2.0]), transformation.init(jnp.ones(3)))
    assert_identical(updates, jnp.array([2.0, 1.0, 6.0]))


def test_preconditioned_node_networks_follow_eq_13(random):
    """One step along the Frobenius gradient `∂C/∂W = -Σ_r c'_r sym(g_r x_rᵀ)`, `g_r = W⁻¹ A_r`."""
    w = random.normal(size=(4, 4))
    w = w + w.T + 8 * np.eye(4)
    network = jp.NodeNetwork.from_matrix(w)
    task = jp.random_linear(network, 2, jax.random.key(0))
    optimizer = optax.chain(jp.precondition(network.frobenius_metric), optax.sgd(0.1))
    run = jp.train(network, task, steps=1, optimizer=optimizer)
    force, readout, targets = (np.asarray(a, dtype=float) for a in (task.force, task.readout, task.targets))
    inverse = np.linalg.inv(w)
    change = 0
    for r in range(2):
        state, answer = inverse @ force[r], inverse @ readout[r]
        gap = readout[r] @ state - targets[r, r]
        change = change + 0.1 * gap * (np.outer(answer, state) + np.outer(state, answer)) / 2
    after = np.asarray(jax.vmap(lambda n: n.hessian())(run.network))[0]
    assert_close(after - w, change, relative=ulps(1e4))


class Idle(jp.AbstractRule):
    """Wants nothing: what moves k is the transformations alone."""

    def contrasts(self, response, task):
        return [], jnp.array(True)


def test_update_noise_is_white(small):
    """Of the size asked for, and independent between edges, steps and realizations."""
    optimizer = optax.chain(optax.sgd(1.0), jp.update_noise(1e-3))
    run = jp.train(*small, steps=49, rule=Idle(), optimizer=optimizer, record=EVERY_STEP)
    noise = np.diff(run.records["k"].astype(float), axis=1) / 1e-3
    assert noise.shape == (4, 49, 9)
    count = noise.size
    assert abs(noise.mean()) < 4 / np.sqrt(count)
    assert abs(noise.var() - 1) < 4 * np.sqrt(2 / count)
    for left, right in [
        (noise[:, 1:], noise[:, :-1]),
        (noise[1:], noise[:-1]),
        (noise[..., 1:], noise[..., :-1]),
    ]:
        assert abs((left * right).mean()) < 4 / np.sqrt(left.size)


def test_participation_lets_a_fraction_take_part(small):
    """The others stand still; which ones is drawn anew."""
    optimizer = optax.chain(DESCENT, jp.participation(0.3))
    run = jp.train(*small, steps=49, optimizer=optimizer, record=EVERY_STEP)
    moved = np.diff(run.records["k"], axis=1) != 0
    # Edges that no current of this task can reach never move.
    live = moved.any(axis=1)
    assert live.mean() > 0.6
    fraction = moved.mean(axis=1)[live].mean()
    assert abs(fraction - 0.3) < 4 * np.sqrt(0.3 * 0.7 / (49 * live.sum()))
    assert not np.array_equal(moved[:, 0], moved[:, 1])


def test_noise_and_participation_draw_from_their_own_streams():
    """With the same key, who takes part says nothing about the noise."""
    updates, key = jnp.zeros(2000), jax.random.key(0)
    noise, _ = jp.update_noise(1.0).update(updates, optax.EmptyState(), key=key)
    mask, _ = jp.participation(0.5).update(updates + 1, optax.EmptyState(), key=key)
    assert_identical(jp.update_noise(1.0).update(updates, optax.EmptyState(), key=key)[0], noise)
    assert set(np.unique(mask)) == {0.0, 1.0}
    assert abs(np.corrcoef(np.asarray(noise), np.asarray(mask))[0, 1]) < 4 / np.sqrt(2000)
    assert abs(np.corrcoef(np.abs(noise), np.asarray(mask))[0, 1]) < 4 / np.sqrt(2000)


def test_participation_scales_nothing():
    mask, _ = jp.participation(1.0).update(jnp.arange(5.0), optax.EmptyState(), key=jax.random.key(0))
    assert_identical(mask, jnp.arange(5.0))


def test_a_member_of_an_ensemble_is_what_was_stacked():
    networks = [jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]), k=k) for k in (1.0, 2.0)]
    tasks = [jp.allostery(n, jp.Boundary(n, ground=[0]), [1], [2], response=0.1) for n in networks]
    for kept, stacked in ((networks, jp.stack(networks)), (tasks, jp.stack(tasks))):
        for number in (0, 1, -1):
            jax.tree.map(assert_identical, jp.member(stacked, number), kept[number])
    assert_refused("number", jp.member, jp.stack(networks), 2)
    assert_refused("realizations", jp.member, tasks[0], 0, saying="it is one task")
