"""Learning as a flow: closed forms, SciPy's integrator, bounds, isolated failures, records, checkpoints."""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.integrate
from helpers import assert_close, assert_identical, assert_refused, interrupt_call

import jaxphys as jp

# Steps of adaptive length meet their tolerances in double precision.
# Nobody minds that some targets cannot be reached here.
pytestmark = [
    pytest.mark.float64,
    pytest.mark.filterwarnings("ignore:Targets lie"),
]

FLOW = jp.GradientFlow(rate=0.5)
FUNCTIONALS = {"k": lambda network, task: network.k}


def two_edges(currents=(1.0, 2.0), k=(1.0, 1.0)):
    """Two edges to ground, each driven by its own current I and asked for zero: `C = ½ Σ (I/k)²`.

    Then `dk/dt = I²/k³`, so `k⁴ = k₀⁴ + 4 I² t`, and the edges know nothing of each other.
    """
    network = jp.FlowNetwork(jp.from_edges([(0, 1), (0, 2)]), k=np.array(k))
    boundary = jp.Boundary(network, ground=[0])
    force = np.array([[0.0, currents[0], 0.0], [0.0, 0.0, currents[1]]])
    readout = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    return network, jp.Task(boundary, force=force, readout=readout, targets=np.zeros((2, 2)))


def grown(k, currents, time):
    return (np.asarray(k) ** 4 + 4 * np.square(currents) * time) ** 0.25


def ensemble(realizations=3):
    """Flow networks of 6 nodes and 9 edges, each its own graph, k and task."""
    drawn = []
    for seed in range(realizations):
        random = np.random.default_rng(seed)
        network = jp.FlowNetwork(jp.erdos_renyi(6, 9, jax.random.key(seed)), k=random.uniform(1.0, 2.0, 9))
        ground, *nodes = random.permutation(6).tolist()
        matrix = 0.1 * random.normal(size=(2, 2))
        arguments = {"matrix": matrix, "inputs": random.normal(size=(5, 2))}
        boundary = jp.Boundary(network, ground=[ground])
        drawn.append((network, jp.regression(network, boundary, nodes[:2], nodes[2:4], **arguments)))
    networks, tasks = zip(*drawn, strict=True)
    return jp.stack(networks), jp.stack(tasks)


@pytest.fixture(scope="module")
def small():
    return ensemble()


def flow(network, task, steps=40, optimizer=FLOW, *, every=10, at=None, **arguments):
    record = jp.Record(every if at is None else None, at, FUNCTIONALS)
    return jp.train(network, task, steps=steps, optimizer=optimizer, record=record, **arguments)


@pytest.fixture(scope="module")
def flown(small):
    return flow(*small)


@pytest.mark.parametrize("method", ["bosh3", "tsit5", "dopri5"])
def test_a_flow_in_closed_form(method):
    """At every record, k is where time `rate × step` leads, each realization at its own pace."""
    currents = np.array([[1.0, 2.0], [0.1, 30.0], [5.0, 5.0]])
    network, task = map(jp.stack, zip(*[two_edges(pair) for pair in currents], strict=True))
    run = flow(
        network,
        task,
        100,
        jp.GradientFlow(rate=0.3, method=method),
        at=[1, 7, 50],
    )
    assert run.steps.tolist() == [0, 1, 7, 50, 100]
    for record, step in enumerate(run.steps):
        assert_close(run.records["k"][:, record], grown(1.0, currents, 0.3 * step), relative=1e-3)
    assert_close(run.cost, 0.5 * ((currents[:, None] / run.records["k"]) ** 2).sum(axis=-1), relative=1e-5)
    assert not run.status.any()
    assert len(set(run.evaluations.tolist())) == 3
    assert (run.evaluations % (3 if method == "bosh3" else 6) == 1).all()
    assert (run.evaluations < 400).all()


@pytest.mark.float64
def test_errors_shrink_with_the_tolerance():
    network, task = two_edges()
    errors = []
    for tolerance in (1e-4, 1e-9):
        tight = jp.GradientFlow(relative_tolerance=tolerance, absolute_tolerance=tolerance)
        run = flow(network, task, 100, tight, every=100)
        errors.append(np.abs(run.records["k"][0, -1] - grown(1.0, [1.0, 2.0], 100)).max())
    assert errors[1] < 1e-7
    assert errors[1] < errors[0] < 1e-2


@pytest.mark.float64
def test_scipy_follows_the_same_flow(small):
    """With a metric, at every record."""
    metric = np.linspace(0.5, 2.0, 9)
    tight = jp.GradientFlow(rate=0.5, metric=metric, relative_tolerance=1e-8, absolute_tolerance=1e-9)
    run = flow(*small, optimizer=tight)

    @jax.jit
    def gradient(k, network, task):
        return jax.grad(lambda k: jp.task_cost(network.with_k(k), task))(k)

    for i in range(3):
        network, task = jax.tree.map(lambda leaf, i=i: leaf[i], small)

        def field(_, k, network=network, task=task):
            return -metric * np.asarray(gradient(jnp.asarray(k), network, task))

        times = 0.5 * run.steps
        expected = scipy.integrate.solve_ivp(
            field, (0, times[-1]), np.asarray(network.k), "DOP853", times, rtol=1e-10, atol=1e-12
        )
        assert_close(run.records["k"][i], expected.y.T, relative=1e-6)


@pytest.mark.parametrize(
    "rule", [jp.EquilibriumPropagation(1e-2), jp.CoupledLearning(1e-2)], ids=lambda rule: type(rule).__name__
)
def test_any_rule_flows_to_where_small_steps_lead(small, rule):
    """Also within bounds that are reached on both sides."""
    lower, upper = 1.1, 1.9
    networks, tasks = small
    small = networks.with_k(jnp.clip(networks.k, lower, upper)), tasks
    run = flow(*small, 80, every=80, bounds=(lower, upper), rule=rule)
    descent = optax.chain(optax.sgd(0.005), jp.bounds(lower, upper))
    slow = flow(*small, 8000, descent, every=8000, rule=rule)
    k = np.asarray(run.network.k)
    assert_close(k, slow.network.k, relative=1e-3)
    assert k.min() == np.asarray(lower, k.dtype)
    assert k.max() == np.asarray(upper, k.dtype)
    assert not run.status.any()
    assert (30 * run.evaluations < slow.evaluations).all()
    assert slow.evaluations.tolist() == [8001] * 3


@pytest.mark.parametrize("upper", [1.5, 2.5])
def test_an_edge_stops_at_a_bound_and_its_neighbour_goes_on(upper):
    """No steps are spent on finding the moment."""
    network, task = two_edges()
    run = flow(network, task, 10, every=1, bounds=(None, upper))
    free = grown(1.0, [1.0, 2.0], 0.5 * run.steps[:, None])
    assert (free > upper).any(axis=0).tolist() == [upper == 1.5, True]
    assert_close(run.records["k"][0], np.minimum(free, upper), relative=1e-3)
    assert run.evaluations[0] <= 1 + 6 * 21


class Bowl(jp.ExactGradient):
    """`C = ½ (k - c)ᵀ A (k - c)` whatever the network does; not finite beyond `edge`."""

    curvature: tuple = eqx.field(static=True, default=((2.0, -1.8), (-1.8, 2.0)))
    centre: tuple = eqx.field(static=True, default=(3.0, 3.0))
    edge: float = eqx.field(static=True, default=np.inf)

    def __call__(self, network, task, *, solver=None):
        estimate = super().__call__(network, task, solver=solver)
        gap = network.k - jnp.array(self.centre, network.k.dtype)
        gradient = jnp.array(self.curvature, network.k.dtype) @ gap
        status = jnp.where(jnp.max(network.k) > self.edge, jp.Status.NOT_FINITE, estimate.status)
        return jp.Estimate(gradient, 0.5 * gap @ gradient, estimate.residual, status.astype(jnp.int32))


@pytest.mark.float64
def test_an_edge_leaves_a_bound_when_it_is_no_longer_pushed_out():
    """The first edge is drawn down to its bound by the second and follows it up again."""
    network, task = two_edges(k=(1.0, 0.8))
    rule = Bowl(centre=(1.0, 3.0))
    curvature, k = np.array(rule.curvature), np.array([1.0, 0.8])
    path = [k]
    for _ in range(80_000):
        k = np.maximum(k - 1e-4 * curvature @ (k - [1.0, 3.0]), 0.7)
        path.append(k)
    path = np.array(path)
    tight = jp.GradientFlow(relative_tolerance=1e-6, absolute_tolerance=1e-8)
    run = flow(network, task, 8, tight, at=[2], bounds=(0.7, None), rule=rule)
    assert_close(run.records["k"][0], path[10_000 * run.steps], relative=1e-4)
    bound = path[:, 0] == 0.7
    assert bound.any()
    assert path[-1, 0] > 0.9
    assert not bound[-1]


@pytest.mark.float64
def test_refused_steps_take_no_time():
    """A stiff flow refuses some; its slow part tells the time."""
    stiff = Bowl(curvature=((1.0, 0.0), (0.0, 200.0)), centre=(2.0, 3.0))
    run = flow(*two_edges(), 2, jp.GradientFlow(), every=2, rule=stiff)
    assert_close(run.records["k"][0, -1], [2 - np.exp(-2), 3], relative=1e-3)


def test_one_network_flows_as_in_an_ensemble(small, flown):
    network, task = jax.tree.map(lambda leaf: leaf[1], small)
    run = flow(network, task)
    assert_close(run.network.k[0], flown.network.k[1], relative=1e-4)
    assert abs(int(run.evaluations[0]) - int(flown.evaluations[1])) <= 12


def test_records_do_not_bend_the_flow(small, flown):
    """More of them cost evaluations and change nothing else."""
    run = flow(*small, every=1)
    assert_close(run.records["k"][:, ::10], flown.records["k"], relative=1e-4)
    assert (run.evaluations >= 1 + 6 * 40).all()
    assert (run.evaluations > flown.evaluations).all()
    assert (np.diff(run.cost, axis=1) < 0).all()


@pytest.mark.parametrize("kind", ["indefinite", "nan"])
def test_a_failure_stays_alone(small, flown, kind):
    networks, tasks = small
    wrong = -networks.k[1] if kind == "indefinite" else networks.k[1].at[0].set(jnp.nan)
    run = flow(networks.with_k(networks.k.at[1].set(wrong)), tasks, bounds=None)
    assert run.status[1] in (jp.Status.NOT_POSITIVE_DEFINITE, jp.Status.NOT_FINITE)
    assert run.evaluations[1] == 1
    assert_identical(run.network.k[1], wrong)
    others = np.array([0, 2])
    assert_identical(run.records["k"][others], flown.records["k"][others])
    assert_identical(run.evaluations[others], flown.evaluations[others])
    assert not run.status[others].any()


def test_a_flow_that_ends_nowhere_keeps_its_last_good_state():
    """It comes as close as rounding allows to the state that the rule cannot measure, and says so."""
    run = flow(*two_edges(), rule=Bowl(edge=2.0, curvature=((1.0, 0.0), (0.0, 1.0))), every=1)
    assert run.failures == {"NOT_FINITE": 1}
    assert 1.9 < float(run.network.k.max()) <= 2.0
    assert run.evaluations[0] < 1000
    assert_identical(np.asarray(run.network.k), run.records["k"][:, -1])
    assert np.isfinite(run.cost).all()


def test_too_many_evaluations(small, flown):
    """The one that needs most rests where it was, the others go on."""
    needed = np.sort(flown.evaluations)
    assert needed[-2] < needed[-1]
    run = flow(*small, optimizer=jp.GradientFlow(rate=0.5, max_evaluations=int(needed[-1]) - 1))
    slowest = int(flown.evaluations.argmax())
    assert run.failures == {"NOT_CONVERGED": 1}
    assert run.status[slowest] == jp.Status.NOT_CONVERGED
    others = flown.evaluations < needed[-1]
    assert_close(run.records["k"][others], flown.records["k"][others], relative=1e-5)
    assert np.isfinite(run.records["k"]).all()


def test_stop_cost(small, flown):
    stop = float(flown.cost[:, 2].max())
    run = flow(*small, stop_cost=stop)
    assert (run.cost[:, -1] <= stop).all()
    assert (run.cost[:, -1] > flown.cost[:, -1]).all()
    assert (run.evaluations <= flown.evaluations).all()
    assert not run.status.any()


def test_a_network_at_rest_stays():
    """No gradient gives no scale for the first step."""
    network, task = two_edges(currents=(0.0, 0.0))
    run = flow(network, task)
    assert_identical(run.network.k[0], network.k)
    assert not run.status.any()


def test_an_interrupted_flow_resumes_to_the_last_bit(small, flown, tmp_path, monkeypatch):
    path = tmp_path / "run"
    interrupt_call(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        flow(*small, checkpoint=jp.Checkpointing(path))
    monkeypatch.undo()
    assert_refused_checkpoint(small, path)
    run = flow(*small, checkpoint=jp.Checkpointing(path, resume=True))
    assert_identical(
        (run.network, run.cost, run.records, run.evaluations),
        (flown.network, flown.cost, flown.records, flown.evaluations),
    )


def assert_refused_checkpoint(small, path):
    """It belongs to another flow if the metric differs, of which only values tell."""
    other = jp.GradientFlow(rate=0.5, metric=np.full(9, 2.0))
    with pytest.raises(jp.InputError, match="`optimizer` differs"):
        flow(*small, optimizer=other, checkpoint=jp.Checkpointing(path, resume=True))


def test_plain_training_counts_evaluations(small):
    """One at the start and one a step; none at rest."""
    run = flow(*small, 30, optax.sgd(0.02), every=30)
    assert run.evaluations.tolist() == [31] * 3
    networks, tasks = small
    wrong = networks.with_k(networks.k.at[1].multiply(-1))
    run = flow(wrong, tasks, 30, optax.sgd(0.02), bounds=None)
    assert run.evaluations.tolist() == [31, 1, 31]


@pytest.mark.parametrize(
    ("argument", "arguments"),
    [
        ("sampling|batch_size", {"sampling": jp.Sampling(batch_size=2)}),
        ("optimizer", {"optimizer": jp.GradientFlow(metric=np.ones(3))}),
        ("network", {"bounds": (1.5, None)}),
        ("network", {"bounds": (None, 1.5)}),
    ],
)
def test_what_does_not_go_with_a_flow(small, argument, arguments):
    assert_refused(argument, jp.train, *small, **{"steps": 1, "optimizer": FLOW, **arguments})


@pytest.mark.parametrize(
    "arguments",
    [
        {"rate": 0.0},
        {"rate": float("nan")},
        {"relative_tolerance": -1e-4},
        {"absolute_tolerance": 0.0},
        {"max_evaluations": 0},
        {"metric": np.array([1.0, 0.0])},
    ],
)
def test_flows_out_of_range_are_refused(arguments):
    assert_refused(next(iter(arguments)), jp.GradientFlow, **arguments)


def test_an_unknown_method_is_refused():
    with pytest.raises((jp.InputError, TypeError)):
        jp.GradientFlow(method="euler")


def test_without_diffrax_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffrax", None)
    with pytest.raises(jp.InputError, match=r"^`GradientFlow` needs diffrax: pip install 'jaxphys\[flow\]'$"):
        jp.GradientFlow()


def test_driven_by_voltages_the_norm_is_conserved():
    """`k·∂C/∂k = 0`: a flow in the metric m keeps `Σ k²/m`, plain steps of rate α add `α²|g|²` to `Σ k²`."""
    network = jp.FlowNetwork(jp.complete_graph(5), k=np.linspace(1.0, 2.0, 10))
    boundary = jp.Boundary(network, held_nodes=[1, 2], ground=[0])
    task = jp.Task(
        boundary, values=np.eye(2), readout=network.node_rows([3, 4]), targets=[[0.5, 0.1], [0.2, 0.4]]
    )
    metric = np.linspace(0.5, 3.0, 10)
    tight = {"relative_tolerance": 1e-10, "absolute_tolerance": 1e-12}
    flown = flow(network, task, 40, jp.GradientFlow(rate=2.0, metric=metric, **tight)).records["k"][0]
    assert np.abs(flown[-1] - flown[0]).max() > 0.1
    sums = np.sum(flown**2 / metric, axis=1)
    assert_close(sums, np.full(len(sums), sums[0]), relative=1e-8)
    rate = 0.5
    plain = jp.train(
        network, task, steps=20, optimizer=optax.sgd(rate), record=jp.Record(1, functionals=FUNCTIONALS)
    ).records["k"][0]
    # Each step is α g.
    added = np.cumsum(np.sum(np.diff(plain, axis=0) ** 2, axis=1))
    assert added[-1] > 1e-3
    assert_close(np.sum(plain[1:] ** 2, axis=1) - np.sum(plain[0] ** 2), added, relative=1e-10)
