"""Learning rules against clamped states built one by one, and against the gradient of the cost.

The fixture `case` is a network and a task with everything the rules say about it, from one compiled
program: all nudges at once. The tests compare that with oracles of their own.
"""

import functools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize
from helpers import assert_close, fitted_slope, ulps
from oracles import cost_by_hand, solve_bordered

import jaxphys as jp

equilibrate = eqx.filter_jit(jp.equilibrate)


@eqx.filter_jit
def estimate(rule, network, task):
    return rule(network, task)


# Both networks of scalars have eight nodes, the springs eight coordinates. Inputs are forces, under one
# ground or with free motions projected out, or the values of two held rows. Outputs are what can also
# be held: nodes, or distances between nodes.
def flow(held):
    k = np.random.default_rng(0).uniform(0.5, 2.0, 12)
    network = jp.FlowNetwork(jp.erdos_renyi(8, 12, jax.random.key(0)), k=k)
    return network, {"held_nodes": [0, 3] if held else [], "ground": [6]}, [2, 7]


def springs(held):
    k = np.random.default_rng(0).uniform(0.5, 2.0, 6)
    topology = jp.erdos_renyi(4, 6, jax.random.key(0), dimension=2, rigid=True)
    network = jp.SpringNetwork(topology, k=k)
    held_drops = [(0, 1), (2, 0)] if held else []
    return network, {"held_drops": held_drops, "free_modes": "project"}, [(3, 1), (3, 2)]


def node(held):
    w = np.random.default_rng(0).normal(size=(8, 8))
    network = jp.NodeNetwork.from_matrix(w + w.T + 11 * np.eye(8))
    return network, {"held_nodes": [0, 3] if held else []}, [2, 7]


NETWORKS = {"flow": flow, "springs": springs, "node": node}
TARGETS = {"flow": (0.1, 0.4), "springs": (0.02, 0.1), "node": (0.02, 0.1)}
COSTS = {
    "squared": jp.SquaredError(),
    "entropy": jp.CrossEntropy(inverse_temperature=5.0),
    "cosine": jp.CosineDistance(),
}
CASES = [
    "flow forces squared",
    "flow held squared masked",
    "flow held entropy",
    "springs forces cosine",
    "springs held squared",
    "node forces squared masked",
    "node held entropy",
]
# The limit of small nudges, those whose errors are fitted, and a large one.
TINY, SMALL, FITTED, LARGE = 1e-12, 1e-6, np.geomspace(1e-3, 2e-2, 4).tolist(), 0.5
NUDGES = [TINY, SMALL, *FITTED, LARGE]


def build(name):
    """The network, its task (two inputs, two outputs, three samples), its boundary and its outputs."""
    kind, drive, cost, *masked = name.split()
    random = np.random.default_rng(1)
    network, conditions, outputs = NETWORKS[kind](drive == "held")
    if kind == "springs":
        readout = np.array([network.drop_row(*pair) for pair in outputs])
    else:
        readout = network.node_rows(outputs)
    forces = random.normal(size=(2, network.num_coordinates))
    # Nudges are small or large beside the square of the outputs, where the cost is their direction.
    inputs = random.normal(size=(3, 2)) * (10 if cost == "cosine" else 1)
    task = jp.Task(
        jp.Boundary(network, **conditions),
        **({"values": np.eye(2)} if drive == "held" else {"force": forces}),
        inputs=inputs,
        readout=readout,
        targets=random.uniform(*TARGETS[kind], size=(3, 2)),
        weights=[[1.0, 0.5], [0.0, 1.0], [2.0, 0.0]] if masked else None,
        cost=COSTS[cost],
        reduction="mean" if masked else "sum",
    )
    return network, task, conditions, outputs


@eqx.filter_jit
def measure(network, task, nudges):
    """All rules at all nudges, and the gradient of the cost by automatic differentiation."""

    response = jp.respond(network, task)

    def at_every_nudge(rule):
        return jax.vmap(lambda nudge: rule(nudge).estimate(network, task, response))(nudges)

    propagation = functools.partial(jp.EquilibriumPropagation)
    return {
        "exact": jp.ExactGradient()(network, task),
        "force": at_every_nudge(propagation),
        "force, symmetric": at_every_nudge(functools.partial(propagation, symmetric=True)),
        "energy": at_every_nudge(functools.partial(propagation, mode="energy")),
        "energy, symmetric": at_every_nudge(functools.partial(propagation, mode="energy", symmetric=True)),
        "coupled": at_every_nudge(jp.CoupledLearning),
        "response": response,
        "value and gradient": jax.value_and_grad(lambda k: jp.task_cost(network.with_k(k), task))(network.k),
    }


class Case(NamedTuple):
    name: str
    network: jp.AbstractNetwork
    task: jp.Task
    conditions: dict
    outputs: list
    results: dict

    def at(self, rule, nudge):
        """The gradient estimate of a rule at one of the nudges."""
        return np.asarray(self.results[rule].gradient[NUDGES.index(nudge)])

    @property
    def exact(self):
        return np.asarray(self.results["exact"].gradient)

    @property
    def held(self):
        return "held" in self.name


@pytest.fixture(scope="module", params=CASES)
def case(request):
    network, task, conditions, outputs = build(request.param)
    results = measure(network, task, jnp.asarray(NUDGES))
    return Case(request.param, network, task, conditions, outputs, results)


def test_the_exact_gradient_is_the_gradient_of_the_cost(case):
    value, gradient = case.results["value and gradient"]
    assert_close(case.exact, gradient, relative=ulps(2e3))
    assert_close(case.results["exact"].cost, value, relative=ulps(100))
    assert float(jnp.abs(gradient).max()) > 1e-4


def test_every_estimate_carries_the_cost_of_the_free_state_and_a_status(case):
    value = float(case.results["value and gradient"][0])
    for rule in ("force", "force, symmetric", "energy", "energy, symmetric", "coupled"):
        result = case.results[rule]
        assert_close(result.cost, np.full(len(NUDGES), value), relative=ulps(100))
        assert not np.any(result.status[: NUDGES.index(LARGE)])
        assert float(jnp.max(result.residual)) < ulps(50)


def energy_difference(case, free, clamped, nudge):
    """`Σ_r (e(x_C) - e(x_F)) / η` for every edge, times the weight of a sample in the cost."""
    before, after = (np.asarray(case.network.edge_energies(jnp.asarray(x))) for x in (free, clamped))
    return (after - before).sum(axis=0) / nudge * case.task.sample_weight


def drive(case):
    return case.task.inputs @ case.task.force, case.task.inputs @ case.task.values


@pytest.mark.float64
def test_equilibrium_propagation_is_the_energy_difference_of_explicit_states(case):
    """Output force `-η ∂C/∂x` at the free state, applied sample by sample."""
    task = case.task
    force, values = drive(case)
    outward = -task.cost_gradients(case.results["response"].outputs) @ task.readout
    nudges = np.array([0.0, FITTED[-1], -FITTED[-1], LARGE, -LARGE])
    forces = force + jnp.asarray(nudges)[:, None, None] * outward
    free, *clamped = equilibrate(case.network, task.boundary, forces, values, solver=jp.BorderedLU()).x
    sides = [energy_difference(case, free, x, nudge) for x, nudge in zip(clamped, nudges[1:], strict=True)]
    assert_close(case.at("force", FITTED[-1]), sides[0], relative=1e-11)
    assert_close(case.at("force", LARGE), sides[2], relative=1e-11)
    assert_close(case.at("force, symmetric", FITTED[-1]), (sides[0] + sides[1]) / 2, relative=1e-11)
    assert_close(case.at("force, symmetric", LARGE), (sides[2] + sides[3]) / 2, relative=1e-11)


def nudged_states(case, nudge):
    """Minimum of `E - F·x + η C` for every sample: output forces iterated to the fixed point by SciPy."""
    network, task = case.network, case.task
    force, values = map(np.asarray, drive(case))
    hessian, rows, readout = (np.asarray(a) for a in (network.hessian(), task.boundary.rows, task.readout))
    weights = np.ones((3, 2)) if task.weights is None else np.asarray(task.weights)
    states = []
    for r in range(3):

        def state(output_force, r=r):
            return solve_bordered(hessian, rows, force[r] + output_force @ readout, values[r])[0]

        def gap(output_force, r=r):
            outputs = readout @ state(output_force)
            slope = cost_by_hand(task.cost, outputs, np.asarray(task.targets)[r], weights[r])[1]
            return output_force + nudge * slope

        found = scipy.optimize.root(gap, np.zeros(2), tol=1e-15)
        assert np.abs(gap(found.x)).max() < 1e-13
        states.append(state(found.x))
    return np.array(states)


@pytest.mark.float64
def test_energy_nudges_are_the_energy_difference_of_explicit_states(case):
    """The cost itself is added to the energy: the clamped state minimises `E - F·x + η C`."""
    nudge = FITTED[-1]
    free = nudged_states(case, 0.0)
    up, down = (energy_difference(case, free, nudged_states(case, s * nudge), s * nudge) for s in (1, -1))
    assert_close(case.at("energy", nudge), up, relative=1e-9)
    assert_close(case.at("energy, symmetric", nudge), (up + down) / 2, relative=1e-9)


@pytest.mark.float64
def test_coupled_learning_is_the_energy_difference_of_explicit_states(case):
    """The outputs are held at `y_F + η (t - y_F)` by a new boundary, those of nonzero weight."""
    task, network = case.task, case.network
    force, values = drive(case)
    outputs = case.results["response"].outputs
    free = equilibrate(network, task.boundary, force, values, solver=jp.BorderedLU()).x
    name = "held_drops" if "springs" in case.name else "held_nodes"
    mask = np.ones((3, 2), bool) if task.weights is None else np.asarray(task.weights) > 0
    patterns = {tuple(row) for row in mask.tolist()}
    for nudge in (FITTED[-1], LARGE):
        wanted = outputs + nudge * (task.targets - outputs)
        clamped = np.zeros(free.shape)
        for pattern in patterns:
            chosen = np.flatnonzero(pattern)
            held = [*case.conditions.get(name, []), *(case.outputs[o] for o in chosen)]
            boundary = jp.Boundary(network, **{**case.conditions, name: held})
            both = jnp.concatenate([values, wanted[:, chosen]], axis=1)
            states = equilibrate(network, boundary, force, both, solver=jp.BorderedLU()).x
            samples = (mask == pattern).all(axis=1)
            clamped[samples] = states[samples]
        expected = energy_difference(case, free, clamped, nudge)
        assert_close(case.at("coupled", nudge), expected, relative=1e-10)


@pytest.mark.float64
def test_coupled_learning_at_small_nudges_is_propagation_of_another_error(case):
    """As η → 0: equilibrium propagation with the error r replaced by `G_TT⁻¹ r`."""
    task = case.task
    errors = np.asarray(task.targets - case.results["response"].outputs)
    hessian, rows, readout = (
        np.asarray(a) for a in (case.network.hessian(), task.boundary.rows, task.readout)
    )
    green = solve_bordered(hessian, rows, readout, np.zeros((2, len(rows))))[0].T
    coupling = readout @ green
    mask = np.ones((3, 2), bool) if task.weights is None else np.asarray(task.weights) > 0
    free = solve_bordered(hessian, rows, *map(np.asarray, drive(case)))[0]
    expected = 0
    for r in range(3):
        on = np.flatnonzero(mask[r])
        replaced = np.linalg.solve(coupling[np.ix_(on, on)], errors[r, on])
        answer = green[:, on] @ replaced
        form = case.network.edge_form(jnp.asarray(free[r]), jnp.asarray(answer))
        expected = expected + np.asarray(form) * task.sample_weight
    assert_close(case.at("coupled", TINY), expected, relative=1e-8)
    if "squared" in case.name and "masked" not in case.name:
        # It descends the cost, and yet it is not the gradient.
        cosine = expected @ case.exact / np.linalg.norm(expected) / np.linalg.norm(case.exact)
        assert 0.5 < cosine < 1 - 1e-6


def order_of_error(case, rule):
    return fitted_slope(FITTED, [np.abs(case.at(rule, nudge) - case.exact).max() for nudge in FITTED])


@pytest.mark.float64
def test_one_sided_errors_are_of_first_order(case):
    assert abs(order_of_error(case, "force") - 1) < 0.1
    assert abs(order_of_error(case, "energy") - 1) < 0.1


@pytest.mark.float64
def test_symmetric_energy_errors_are_of_second_order(case):
    assert abs(order_of_error(case, "energy, symmetric") - 2) < 0.1


def test_symmetric_force_nudges_have_no_error_at_all(case):
    """Energies are quadratic, so what is odd in η is linear: exact even at η = 0.5."""
    for nudge in NUDGES:
        assert_close(case.at("force, symmetric", nudge), case.exact, relative=ulps(200))
    assert np.abs(case.at("force", LARGE) - case.exact).max() > 1e-3 * np.abs(case.exact).max()


@pytest.mark.parametrize("rule", ["force", "energy", "energy, symmetric", "coupled"])
def test_small_nudges_lose_no_digits(case, rule):
    """At η = 1e-6 a difference of energies keeps no digit in single precision, at 1e-12 few in double."""
    limit = case.at(rule, TINY)
    # They differ by the second-order term alone.
    assert_close(case.at(rule, SMALL), limit, relative=max(ulps(500), 1e-4))
    if rule != "coupled":
        assert_close(limit, case.exact, relative=max(ulps(500), 1e-10))


def test_scaling_all_k(case):
    """Driven by forces, `x ~ 1/k` and `⟨k, ∇C⟩ = -Σ_r c'_r · y_r` (Euler); by held values x stays."""
    outputs = np.asarray(case.results["response"].outputs, dtype=float)
    slopes = np.asarray(case.task.cost_gradients(case.results["response"].outputs), dtype=float)
    expected = 0.0 if case.held else -np.sum(slopes * outputs) * case.task.sample_weight
    terms = np.asarray(case.network.k, dtype=float) * case.exact
    assert_close(terms.sum(), expected, relative=ulps(1e3), scale=np.abs(terms).sum())
    if not case.held and "cosine" not in case.name:
        assert abs(expected) > 1e-4


@pytest.mark.float64
def test_an_estimate_of_the_exact_gradient_differentiates_to_the_hessian():
    """Gradients go through a rule."""
    network, task, *_ = build("flow forces squared")
    jacobian = jax.jacobian(lambda k: jp.ExactGradient()(network.with_k(k), task).gradient)
    hessian = jax.hessian(lambda k: jp.task_cost(network.with_k(k), task))
    second, expected = jax.jit(lambda k: (jacobian(k), hessian(k)))(network.k)
    assert_close(second, expected, relative=1e-11)


def test_second_moments_stand_for_any_number_of_samples():
    """A hundred copies of the samples give a hundred times the sum."""
    network, task, *_ = build("flow held squared")
    many = task.with_samples(jnp.tile(task.inputs, (100, 1)), jnp.tile(task.targets, (100, 1)))

    @eqx.filter_jit
    def estimates(task):
        response = jp.respond(network, task)
        return [rule.estimate(network, task, response) for rule in RULES]

    for once, often in zip(estimates(task), estimates(many), strict=True):
        assert_close(often.gradient, 100 * once.gradient, relative=ulps(1e3))
        assert_close(often.cost, 100 * once.cost, relative=ulps(1e3))


RULES = [
    jp.ExactGradient(),
    jp.EquilibriumPropagation(nudge=0.01),
    jp.EquilibriumPropagation(nudge=0.01, mode="energy", symmetric=True),
    jp.CoupledLearning(nudge=0.01),
]


@eqx.filter_jit
def all_estimates(network, task):
    response = jp.respond(network, task)
    return [rule.estimate(network, task, response) for rule in RULES]


def test_rules_rest_where_the_task_is_done_and_descend_elsewhere():
    network, task, *_ = build("flow held squared")
    before = jp.task_cost(network, task)
    for result in all_estimates(network, task):
        step = 1e-3 * result.gradient / jnp.max(jnp.abs(result.gradient))
        assert float(jp.task_cost(network.with_k(network.k - step), task)) < float(before)
    done = task.with_samples(task.inputs, jp.respond(network, task).outputs)
    for result in all_estimates(network, done):
        assert_close(result.gradient, np.zeros(12), relative=ulps(1e3), scale=float(before))


def test_a_failed_solution_outranks_everything_else():
    w = np.eye(8)
    w[0, 0] = -1.0
    network = jp.NodeNetwork.from_matrix(w)
    task = build("node forces squared")[1]
    for result in all_estimates(network, task):
        assert int(result.status) == jp.Status.NOT_POSITIVE_DEFINITE


def test_an_unconverged_nudge_is_marked():
    """Strong beside the square of the outputs, a nudge that seeks a direction has no stable state to find."""
    network, task, *_ = build("flow held cosine")
    rule = jp.EquilibriumPropagation(nudge=jnp.asarray(1e-2), mode="energy", symmetric=True)
    assert int(estimate(rule, network, task).status) == jp.Status.OK
    faint = task.with_samples(1e-2 * task.inputs, task.targets)
    assert int(estimate(rule, network, faint).status) == jp.Status.NOT_CONVERGED


def test_a_cost_without_a_value_is_marked():
    """A network at rest under no input has no direction: the cosine cost is 0/0."""
    network, task, *_ = build("flow held cosine")
    silent = task.with_samples(jnp.zeros_like(task.inputs), task.targets)
    result = estimate(jp.ExactGradient(), network, silent)
    assert int(result.status) == jp.Status.NOT_FINITE


def test_defaults():
    """One-sided force nudges of a thousandth, as the papers and their code use them."""
    rule = jp.EquilibriumPropagation()
    assert (rule.nudge, rule.symmetric, rule.mode) == (1e-3, False, "force")
    assert jp.CoupledLearning().nudge == 1e-3


def coupled_by_least_norm(network, task, eta):
    """Coupled learning in NumPy: the smallest forces that hold the outputs, by a pseudo-inverse."""
    hessian, rows, readout = (
        np.asarray(a, dtype=float) for a in (network.hessian(), task.boundary.rows, task.readout)
    )
    force, values = (np.asarray(task.inputs @ a, dtype=float) for a in (task.force, task.values))
    count = len(readout)
    green = solve_bordered(hessian, rows, readout, np.zeros((count, len(rows))))[0].T
    held = np.pad(values, ((0, 0), (0, len(rows) - values.shape[1])))
    weights = np.ones(task.targets.shape) if task.weights is None else np.asarray(task.weights)
    total = np.zeros(network.num_edges)
    for r in range(len(force)):
        free = solve_bordered(hessian, rows, force[r], held[r])[0]
        on = np.flatnonzero(weights[r])
        coupling = (readout @ green)[np.ix_(on, on)]
        error = (np.asarray(task.targets, dtype=float)[r] - readout @ free)[on]
        answer = green[:, on] @ np.linalg.pinv(coupling, rcond=1e-9, hermitian=True) @ error
        clamped = free + eta * answer
        before, after = (np.asarray(network.edge_energies(jnp.asarray(x))) for x in (free, clamped))
        total += (after.astype(float) - before) / eta
    return total * task.sample_weight


def triangle(k):
    network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2), (2, 0)]), k=k)
    return network, jp.Boundary(network, ground=[0])


DROPS = np.array([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0], [-1.0, 0.0, 1.0]])


def dependent_tasks():
    """Networks whose outputs follow from one another, with targets that agree."""
    random = np.random.default_rng(3)
    for _ in range(8):
        network, boundary = triangle(random.uniform(0.5, 2.0, 3))
        a, b = random.normal(size=2)
        drive = {"force": [[0.0, 1.0, 0.0]], "targets": [[a, b, -a - b]]}
        yield network, jp.Task(boundary, readout=DROPS, **drive)
    network, boundary = triangle([1.0, 2.0, 0.5])
    node = network.node_rows([2])[0]
    # Read twice, and at another scale; of the third sample only one of the two, of the last none.
    yield (
        network,
        jp.Task(
            boundary,
            force=[[0.0, 1.0, 0.3]],
            inputs=np.arange(1.0, 5.0)[:, None],
            readout=[node, -3 * node],
            targets=[[0.4, -1.2], [0.1, -0.3], [9.0, 0.6], [0.5, 0.9]],
            weights=[[1.0, 1.0], [2.0, 1.0], [0.0, 1.0], [0.0, 0.0]],
            reduction="mean",
        ),
    )
    # Beside a held node a drop says the same as its other end.
    held = jp.Boundary(network, held_nodes=[1], ground=[0])
    readout = [node, node - network.node_rows([1])[0]]
    yield network, jp.Task(held, values=[[2.0]], readout=readout, targets=[[0.5, -1.5]])
    springs = jp.SpringNetwork(jp.erdos_renyi(4, 6, jax.random.key(0), dimension=2, rigid=True))
    grounded = jp.Boundary(springs, ground=[0], free_modes="project")
    rows = springs.node_rows([2, 2], np.array([[1.0, 0.0], [0.6, 0.8]]))
    rows = np.concatenate([rows, rows[:1] + rows[1:]])
    force = springs.node_rows([3], np.array([[0.0, 1.0]]))
    yield springs, jp.Task(grounded, force=force, readout=rows, targets=[[0.1, 0.2, 0.3]])


@eqx.filter_jit
def coupled(network, task):
    return jp.CoupledLearning(jnp.asarray(0.1))(network, task)


def test_coupled_learning_holds_dependent_outputs_that_agree():
    """The clamped state is unique where the forces that hold it are not."""
    for network, task in dependent_tasks():
        result = coupled(network, task)
        assert task.dependent
        assert int(result.status) == jp.Status.OK
        expected = coupled_by_least_norm(network, task, 0.1)
        assert_close(result.gradient, expected, relative=max(1e-9, ulps(500)))


def test_coupled_learning_marks_dependent_outputs_that_disagree():
    for network, task in dependent_tasks():
        off = task.with_samples(task.inputs, task.targets.at[0, 0].add(3e-3), task.weights)
        assert int(coupled(network, off).status) == jp.Status.INACCURATE


@pytest.mark.float64
def test_training_on_the_drops_around_a_triangle():
    """The cost falls where it rose a millionfold, with three tasks of their own side by side."""
    random = np.random.default_rng(0)
    networks, tasks = [], []
    for a, b in ((0.3, 0.2), (0.1, 0.4), (0.25, 0.25)):
        network, boundary = triangle(random.uniform(0.5, 2.0, 3))
        networks.append(network)
        drive = {"force": [[0.0, 1.0, 0.0]], "targets": [[a + b, -b, -a]]}
        tasks.append(jp.Task(boundary, readout=-DROPS, **drive))
    run = jp.train(
        jp.stack(networks),
        jp.stack(tasks),
        steps=1000,
        rule=jp.CoupledLearning(1e-3),
        optimizer=optax.sgd(0.1),
    )
    assert not np.any(run.status)
    assert (run.cost[:, -1] < 1e-2 * run.cost[:, 0]).all()


def test_tasks_stack_though_only_one_has_dependent_outputs():
    network, boundary = triangle([1.0, 2.0, 0.5])
    drive = {"force": [[0.0, 1.0, 0.0]], "targets": [[0.4, -0.2]]}
    twice = jp.Task(boundary, readout=[[0.0, 0.0, 2.0], [0.0, 0.0, -1.0]], **drive)
    apart = jp.Task(boundary, readout=np.eye(3)[1:], **drive)
    assert (twice.dependent, apart.dependent) == (True, False)
    both = eqx.filter_vmap(coupled)(jp.stack([network] * 2), jp.stack([apart, twice]))
    for r, task in enumerate((apart, twice)):
        assert not np.any(both.status)
        expected = coupled_by_least_norm(network, task, 0.1)
        assert_close(both.gradient[r], expected, relative=max(1e-9, ulps(500)))


@pytest.mark.float64
def test_ill_conditioned_coupling_is_marked():
    """Two nodes that a conductance joins ever better cannot be held apart."""
    statuses = []
    for middle in (1e3, 1e6, 1e12):
        network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]), k=[1.0, middle])
        task = jp.Task(
            jp.Boundary(network, ground=[0]), force=np.eye(3)[2:], readout=np.eye(3)[1:], targets=[[0.3, 0.4]]
        )
        solver = jp.StarMesh(network.topology.edges, task.boundary.rows)
        result = jp.CoupledLearning()(network, task, solver=solver)
        statuses.append(int(result.status))
        if statuses[-1] == jp.Status.OK:
            assert_close(result.gradient, coupled_by_hand_chain(middle), relative=1e-6)
    assert statuses == [jp.Status.OK, jp.Status.OK, jp.Status.INACCURATE]


def coupled_by_hand_chain(middle):
    """A unit current through both edges; voltages are held a thousandth of the way to .3 and .4."""
    free = np.array([1.0, 1.0 + 1 / middle])
    clamped = free + 1e-3 * (np.array([0.3, 0.4]) - free)
    drops = [np.array([x[0], x[1] - x[0]]) for x in (free, clamped)]
    return 0.5 * (drops[1] ** 2 - drops[0] ** 2) / 1e-3


def one_edge(**settings):
    network = jp.FlowNetwork(jp.from_edges([(0, 1)]))
    boundary = jp.Boundary(network, ground=[0])
    return network, jp.Task(boundary, force=[[0.0, 1.0]], readout=[[0.0, 1.0]], targets=[[0.3]], **settings)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("nudge", [0.5, 0.9, 1.1, 2.0])
def test_a_nudge_beyond_stability_is_marked(symmetric, nudge):
    """On one edge of k = 1, E - η C is a parabola of curvature 1 - η."""
    rule = jp.EquilibriumPropagation(jnp.asarray(nudge), symmetric=symmetric, mode="energy")
    result = estimate(rule, *one_edge())
    stable = nudge < 1 or not symmetric
    assert int(result.status) == (jp.Status.OK if stable else jp.Status.NOT_POSITIVE_DEFINITE)
    if stable:
        sides = [nudge, -nudge] if symmetric else [nudge]
        clamped = [(1 + eta * 0.3) / (1 + eta) for eta in sides]
        expected = np.mean([0.5 * (y * y - 1) / eta for y, eta in zip(clamped, sides, strict=True)])
        assert_close(result.gradient, [expected], relative=ulps(1e3))


@pytest.mark.float64
def test_stability_is_that_of_the_nudged_hessian():
    """By eigenvalues of `H - η Aᵀ W A` where the boundary leaves it free; of dependent outputs too."""
    random = np.random.default_rng(5)
    seen = set()
    for readout in (DROPS[:2], DROPS, np.eye(3)[1:]):
        count = len(readout)
        network, boundary = triangle(random.uniform(0.5, 2.0, 3))
        weights = random.uniform(0.5, 2.0, size=(2, count))
        task = jp.Task(
            boundary,
            force=[[0.0, 1.0, 0.0]],
            inputs=[[1.0], [-0.5]],
            readout=readout,
            targets=np.zeros((2, count)),
            weights=weights,
        )
        hessian = np.asarray(network.hessian())[1:, 1:]
        for nudge in (0.05, 0.2, 0.4, 0.8):
            nudged = [hessian - nudge * (readout.T * w @ readout)[1:, 1:] for w in weights]
            least = min(np.linalg.eigvalsh(each)[0] for each in nudged)
            rule = jp.EquilibriumPropagation(jnp.asarray(nudge), symmetric=True, mode="energy")
            wanted = jp.Status.OK if least > 0 else jp.Status.NOT_POSITIVE_DEFINITE
            assert int(estimate(rule, network, task).status) == wanted
            seen.add(wanted)
    assert len(seen) == 2


class Well(jp.AbstractCost):
    """A cost with a hill, so that nudged energies have two minima."""

    def __call__(self, outputs, targets, weights):
        return jnp.sum(weights * jnp.cos(4 * (outputs - targets)))


@pytest.mark.float64
def test_the_clamped_state_is_the_one_to_which_the_network_relaxes():
    """Newton's method may end at a maximum, or in another valley."""
    network, task = one_edge(cost=Well())
    marked = 0
    for target in np.linspace(0.0, 1.5, 16):
        here = task.with_samples(task.inputs, jnp.full((1, 1), target))
        for nudge in (0.02, 0.05, 0.3, 1.0):
            rule = jp.EquilibriumPropagation(jnp.asarray(nudge), mode="energy")
            result = estimate(rule, network, here)
            # Downhill in small steps from the free state, y = 1.
            y = 1.0
            for _ in range(4000):
                y -= 5e-3 * (y - 1 - nudge * 4 * np.sin(4 * (y - target)))
            if int(result.status) == jp.Status.OK:
                assert_close(result.gradient, [0.5 * (y * y - 1) / nudge], relative=1e-4, scale=1.0)
            else:
                marked += 1
                assert nudge > 1 / 16
    assert 0 < marked < 32


def test_many_samples_of_dependent_outputs():
    """Training replaces them by few, of which some are what rounding left."""
    network, boundary = triangle([1.0, 2.0, 0.5])
    inputs = np.linspace(-1.0, 1.0, 50)[:, None] * [1.0, 0.5]
    targets = inputs[:, :1] * [-0.3, 0.2, 0.1]
    drive = {"force": [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], "inputs": inputs}
    task = jp.Task(boundary, readout=DROPS, targets=targets, **drive)
    whole, condensed = coupled(network, task), coupled(network, task.condensed())
    assert task.condensed().num_samples == 5
    assert (int(whole.status), int(condensed.status)) == (jp.Status.OK, jp.Status.OK)
    assert_close(condensed.gradient, whole.gradient, relative=ulps(1e3))
    off = jp.Task(boundary, readout=DROPS, targets=targets + 3e-3, **drive)
    for each in (off, off.condensed()):
        assert int(coupled(network, each).status) == jp.Status.INACCURATE
