"""One contract for every learning rule on every network, with every solver, under every kind of drive.

The same numbers come out of a plain call, of `jit`, and of `vmap` over a stacked ensemble; the
estimate has the shape and dtype of `k` and is finite; gradients of the cost go through. All rules
of a combination share one compiled program, and combinations of equal shapes share it too.
"""

import itertools

import equinox as eqx
import jax
import numpy as np
import pytest
from helpers import assert_close, ulps

import jaxphys as jp

# The same programs in either precision; numbers in single precision are those of `test_rules.py`.
pytestmark = pytest.mark.float64

RULES = {
    "exact gradient": jp.ExactGradient(),
    "equilibrium propagation": jp.EquilibriumPropagation(nudge=0.01, symmetric=True),
    "equilibrium propagation, energy": jp.EquilibriumPropagation(nudge=0.01, mode="energy"),
    "coupled learning": jp.CoupledLearning(nudge=1e-6),
}
# The reference LU is there to be right, which is judged in double precision.
SOLVERS = {"dense": jp.Dense(), "bordered LU": jp.BorderedLU()}
if not jax.config.read("jax_enable_x64"):
    del SOLVERS["bordered LU"]
MEMBERS = 2


# A member's seed fixes its graph and its k. The springs are one more than it takes to be rigid, so that
# what is held does not fix the answer.
def flow(seed):
    k = np.random.default_rng(seed).uniform(0.5, 2.0, 12)
    return jp.FlowNetwork(jp.erdos_renyi(8, 12, jax.random.key(seed)), k=k)


def springs(seed):
    random = np.random.default_rng(seed)
    positions = np.array([[0.0, 0.0], [1.0, 0.1], [0.3, 0.9], [0.9, 1.2]]) + random.uniform(-0.1, 0.1, (4, 2))
    topology = jp.from_edges(list(itertools.combinations(range(4), 2)), positions=positions)
    return jp.SpringNetwork(topology, k=random.uniform(0.5, 2.0, 6))


def node(seed):
    w = np.random.default_rng(seed).normal(size=(8, 8))
    return jp.NodeNetwork.from_matrix(w + w.T + 11 * np.eye(8))


NETWORKS = {"flow": flow, "springs": springs, "node": node}
BOUNDARIES = {
    "forces, grounded": {"ground": [5]},
    "forces, projected": {"free_modes": "project"},
    "held nodes": {"held_nodes": [0, 3], "ground": [5]},
    "held drops": {"held_drops": [(0, 3), (1, 4)], "ground": [5]},
}
SPRING_BOUNDARIES = {
    "forces, grounded": {"ground": [0], "free_modes": "project"},
    "forces, projected": {"free_modes": "project"},
    "held nodes": {"held_nodes": [0], "ground": [1]},
    "held drops": {"held_drops": [(0, 1), (2, 0)], "free_modes": "project"},
}
COMBINATIONS = list(itertools.product(NETWORKS, SOLVERS, BOUNDARIES))


def member(kind, held, seed):
    """A network and its task: two inputs, by forces or held values, and one output."""
    network = NETWORKS[kind](seed)
    boundary = jp.Boundary(network, **(SPRING_BOUNDARIES if kind == "springs" else BOUNDARIES)[held])
    random = np.random.default_rng(100 + seed)
    readout = network.drop_row(2, 3) if kind == "springs" else network.node_rows([2])[0]
    return network, jp.Task(
        boundary,
        force=random.normal(size=(2, 8)) * ("forces" in held),
        values=np.eye(2)[:, : boundary.num_held],
        inputs=random.normal(size=(3, 2)),
        readout=readout[None],
        targets=random.normal(size=(3, 1)),
        reduction="mean",
    )


def estimates(network, task, solver):
    return {name: rule(network, task, solver=solver) for name, rule in RULES.items()}


@eqx.filter_jit
def compiled(networks, tasks, solver):
    """Estimates of a stacked ensemble, and the gradient of the cost of each member."""

    def cost(k, network, task):
        return jp.task_cost(network.with_k(k), task, solver=solver)

    gradients = jax.vmap(jax.grad(cost))(networks.k, networks, tasks)
    return jax.vmap(lambda *one: estimates(*one, solver))(networks, tasks), gradients


@pytest.fixture(scope="module", params=COMBINATIONS, ids=lambda names: " | ".join(names))
def results(request):
    """What the ensemble gives in one program, and each member by itself, operation by operation."""
    kind, solver, held = request.param
    members = [member(kind, held, seed) for seed in range(MEMBERS)]
    stacked = [jp.stack(column) for column in zip(*members, strict=True)]
    together, gradients = compiled(*stacked, SOLVERS[solver])
    return members, together, gradients, [estimates(*one, SOLVERS[solver]) for one in members]


@pytest.mark.parametrize("rule", RULES)
def test_contract(results, rule):
    members, together, gradients, alone = results
    estimate = together[rule]
    k = members[0][0].k
    assert estimate.gradient.shape == (MEMBERS, *k.shape)
    assert estimate.cost.shape == estimate.residual.shape == estimate.status.shape == (MEMBERS,)
    assert estimate.gradient.dtype == estimate.cost.dtype == estimate.residual.dtype == k.dtype
    assert estimate.status.dtype == np.int32
    assert not np.any(estimate.status)
    assert np.isfinite(estimate.gradient).all()
    assert float(np.abs(estimate.gradient).max()) > 1e-3
    for r in range(MEMBERS):
        one = alone[r][rule]
        assert one.gradient.shape == k.shape
        assert one.gradient.dtype == k.dtype
        assert_close(estimate.gradient[r], one.gradient, relative=ulps(1e3))
        assert_close(estimate.cost[r], one.cost, relative=ulps(1e3))
        assert int(one.status) == 0
    assert np.isfinite(gradients).all()
    if rule == "exact gradient":
        assert_close(estimate.gradient, gradients, relative=ulps(2e3))
    elif rule == "coupled learning":
        # Of a single output, the error is scaled but not turned.
        for found, wanted in zip(np.asarray(estimate.gradient), np.asarray(gradients), strict=True):
            assert_close(found / np.linalg.norm(found), wanted / np.linalg.norm(wanted), relative=1e-2)
    else:
        assert_close(estimate.gradient, gradients, relative=0.3)
