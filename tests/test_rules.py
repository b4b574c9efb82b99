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
