"""Star-mesh elimination: against the reference LU, against exact arithmetic, and under vmap, jit and grad."""

import itertools
from fractions import Fraction

import equinox as eqx
import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
from helpers import assert_close, assert_refused, is_double, ulps

import jaxphys as jp
from jaxphys.solvers import elimination
from jaxphys.solvers.elimination import plan_elimination
from jaxphys.solvers.star_mesh import draft_mesh

respond = eqx.filter_jit(jp.respond)
equilibrate = eqx.filter_jit(jp.equilibrate)


@eqx.filter_jit
def estimates(network, task):
    """Gradient and cost by every kind of rule."""
    rules = (
        jp.ExactGradient(),
        jp.EquilibriumPropagation(0.1),
        jp.EquilibriumPropagation(0.1, mode="energy"),
        jp.CoupledLearning(0.1),
    )
    return [(rule(network, task).gradient, rule(network, task).cost) for rule in rules]


def flow(seed, nodes=12, edges=18):
    k = np.random.default_rng(seed).uniform(0.5, 2.0, edges)
    return jp.FlowNetwork(jp.erdos_renyi(nodes, edges, jax.random.key(seed)), k)


def task_on(network, seed=0):
    """Two inputs and two outputs at single nodes, so that a plan has few terminals."""
    draw = np.random.default_rng(seed)
    n = network.num_nodes
    force = np.zeros((2, n))
    force[[0, 1], [7, 8]] = draw.normal(size=2)
    return jp.Task(
        jp.Boundary(network, ground=[5]),
        force=force,
        inputs=draw.normal(size=(9, 2)),
        readout=np.eye(n)[[2, 4]],
        targets=draw.normal(size=(9, 2)),
        reduction="mean",
    )


def test_more_realizations_than_a_chunk():
    """Seventy on one graph are two chunks, filled up; each comes out as it does alone."""
    network = flow(2)
    task = task_on(network)
    solver = jp.StarMesh.for_task(network, task)
    k = network.k * jnp.linspace(0.5, 1.5, 70, dtype=network.k.dtype)[:, None]
    together = eqx.filter_jit(
        jax.vmap(lambda k: jp.ExactGradient()(network.with_k(k), task, solver=solver).gradient)
    )(k)
    for i in (0, 63, 64, 69):
        alone = jp.ExactGradient()(network.with_k(k[i]), task, solver=jp.BorderedLU()).gradient
        assert_close(together[i], alone, relative=ulps(2000))


def test_parallel_edges_and_padding():
    """Edges side by side add up; an edge from a node to itself carries nothing."""
    edges = [(0, 1), (1, 0), (1, 2), (0, 1)]
    topology = jp.from_edges(edges).padded(6)
    network = jp.FlowNetwork(topology, jnp.array([1.0, 2.0, 3.0, 0.5, 7.0, 7.0]))
    task = jp.allostery(network, jp.Boundary(network, ground=[2]), [0], [1], response=0.1)
    found = respond(network, task, solver=jp.StarMesh.for_task(network, task))
    wanted = respond(network, task, solver=jp.BorderedLU())
    assert_close(found.drive, wanted.drive, relative=ulps(50))
    assert_close(found.drive[0], [1 / 3 + 1 / 3.5, 1 / 3, 0.0], relative=ulps(50))


def exact_potentials(network, held, force):
    """Rational arithmetic: Gauss elimination of the grounded Laplacian."""
    n = network.num_nodes
    rows = [[Fraction(0)] * n + [Fraction(f)] for f in force]
    for (a, b), k in zip(np.asarray(network.topology.edges).tolist(), np.asarray(network.k), strict=True):
        for i, j in ((a, b), (b, a)):
            rows[i][i] += Fraction(float(k))
            rows[i][j] -= Fraction(float(k))
    free = [i for i in range(n) if i != held]
    for place, i in enumerate(free):
        for j in free[place + 1 :]:
            factor = rows[j][i] / rows[i][i]
            if factor:
                rows[j] = [one - factor * other for one, other in zip(rows[j], rows[i], strict=True)]
    x = [Fraction(0)] * n
    for i in reversed(free):
        x[i] = (rows[i][n] - sum(rows[i][j] * x[j] for j in free if j != i and x[j])) / rows[i][i]
    return np.array([float(each) for each in x])


@pytest.mark.float64
@pytest.mark.parametrize("kind", ["log-uniform", "bimodal"])
def test_ten_decades_of_conductances(kind):
    """Every potential to 1e-10 of itself, where Cholesky loses digits and says so once they are many."""
    draw = np.random.default_rng(3)
    for seed in range(3):
        network = flow(seed, nodes=12, edges=22)
        exponents = draw.uniform(-5, 5, 22) if kind == "log-uniform" else draw.choice([-5.0, 5.0], 22)
        network = network.with_k(jnp.asarray(10.0**exponents))
        boundary = jp.Boundary(network, ground=[0])
        force = np.eye(12)[7]
        solver = jp.StarMesh(network.topology.edges, boundary.rows)
        found = equilibrate(network, boundary, jnp.asarray(force), solver=solver)
        exact = exact_potentials(network, 0, force)
        assert int(found.status) == jp.Status.OK
        np.testing.assert_allclose(np.asarray(found.x), exact, rtol=1e-12)
        dense = equilibrate(network, boundary, jnp.asarray(force))
        error = np.abs(np.asarray(dense.x) - exact).max() / exact.max()
        assert error < 1e-5 or int(dense.status) != jp.Status.OK


def test_quiet_wrong_answers_are_told():
    """Dense on conductances twenty decades apart, and negative ones."""
    edges = jp.from_edges([(0, 1), (1, 2), (2, 3), (3, 0), (1, 3)])
    small = 1e-20 if is_double() else 1e-9
    network = jp.FlowNetwork(edges, jnp.array([small, 1.0, 1.0, 2 * small, 1.0]))
    boundary = jp.Boundary(network, ground=[0])
    force = jnp.array([0.0, 0.0, 1.0, 0.0])
    assert int(equilibrate(network, boundary, force).status) != jp.Status.OK
    solver = jp.StarMesh(network.topology.edges, boundary.rows)
    assert int(equilibrate(network, boundary, force, solver=solver).status) == jp.Status.OK
    negative = network.with_k(jnp.array([1.0, 1.0, -0.1, 1.0, 1.0]))
    task = jp.allostery(network, boundary, [1], [2], response=0.1)
    for status in (
        equilibrate(negative, boundary, force, solver=solver).status,
        respond(negative, task, solver=solver).status,
    ):
        assert int(status) == jp.Status.NOT_POSITIVE_DEFINITE


def test_what_cannot_be_planned():
    network = flow(0)
    drops = jp.Boundary(network, held_drops=[(0, 1)], ground=[5])
    assert_refused("rows", jp.StarMesh, network.topology.edges, drops.rows, saying="use `Dense`")


def test_which_solver_is_chosen():
    """By the work that there is, and by what a boundary holds."""
    large = flow(0, nodes=100, edges=150)
    grounded = jp.Boundary(large, ground=[0])
    task = jp.allostery(large, grounded, [1], [2], response=0.1)
    assert isinstance(jp.choose_solver(large, task), jp.StarMesh)
    small = flow(0)
    assert isinstance(jp.choose_solver(small, task_on(small)), jp.Dense)
    drop = jp.Boundary(large, held_drops=[(3, 4)], ground=[0])
    assert isinstance(
        jp.choose_solver(large, jp.allostery(large, drop, [], [(5, 6)], response=0.1)), jp.Dense
    )


def test_a_plan_eliminates_every_node_once():
    """Each pivot once, late ones last, and padding only where it does nothing."""
    edges = np.asarray(flow(0).topology.edges)
    plan = plan_elimination([edges, edges], 12, [[5], [6]], [{2, 4}, {2, 4}])
    pivots = np.concatenate([np.asarray(stage.pivots).ravel() for stage in plan.stages])
    real = pivots[pivots < 24]
    assert sorted(real.tolist()) == sorted(set(range(24)) - {5, 18})
    assert set(real[-4:].tolist()) == {2, 4, 14, 16}
    late = np.concatenate([np.asarray(stage.pivots).ravel() for stage in plan.stages[plan.quiet :]])
    assert set(late[late < 24].tolist()) == {2, 4, 14, 16}


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_condensed_samples_tell_the_same(reduction):
    """Costs and estimates of every rule from s + o samples instead of forty."""
    network = flow(5)
    boundary = jp.Boundary(network, held_nodes=[0, 3], ground=[5])
    draw = np.random.default_rng(0)
    task = jp.Task(
        boundary,
        values=np.eye(2),
        inputs=draw.normal(size=(40, 2)),
        readout=np.eye(12)[[2, 4, 7]],
        targets=draw.normal(size=(40, 3)),
        reduction=reduction,
    )
    few = task.condensed()
    assert few.num_samples == 5
    for (gradient, cost), (wanted, price) in zip(
        estimates(network, few), estimates(network, task), strict=True
    ):
        assert_close(gradient, wanted, relative=ulps(5000))
        assert_close(cost, price, relative=ulps(500))
    weighted = eqx.tree_at(lambda t: t.weights, task, jnp.ones((40, 3)), is_leaf=lambda leaf: leaf is None)
    assert weighted.condensed() is weighted


@pytest.mark.float64
@pytest.mark.parametrize(("k", "status"), [(1e-120, "OK"), (1e120, "OK"), (1e-160, "INACCURATE")])
def test_conductances_whose_products_vanish_are_told(k, status):
    """Their meshes were lost, and the answer wrong by a quarter; far from there the scale does not matter."""
    network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2), (2, 3), (0, 3), (1, 3)]), k)
    task = jp.allostery(network, jp.Boundary(network, ground=[0]), [2], [1], response=0.1)
    response = jp.respond(network, task, solver=jp.StarMesh.for_task(network, task))
    assert jp.Status(int(response.status)).name == status
    if status == "OK":
        assert_close(response.outputs, np.array([[0.5 / k]]), relative=ulps(10))


def cheapest_first(edges, nodes, kept, late):
    """The order of elimination as it is told, by counting all fill anew in every round."""
    graph = nx.Graph(edges)
    graph.add_nodes_from(range(nodes))
    graph.remove_edges_from(nx.selfloop_edges(graph))
    order = []
    for group in (set(range(nodes)) - kept - late, late - kept):
        while group:
            price = {}
            for node in group:
                around = set(graph[node])
                fill = sum(not graph.has_edge(*pair) for pair in itertools.combinations(around, 2))
                price[node] = fill, len(around), node
            least, blocked = min(price.values())[0], set()
            for node in sorted(group, key=price.get):
                if price[node][0] <= least + 1 and node not in blocked:
                    around = sorted(graph[node])
                    blocked |= {*around}
                    order.append((node, around))
                    graph.add_edges_from(itertools.combinations(around, 2))
                    graph.remove_node(node)
                    group.discard(node)
    return order, {frozenset(pair) for pair in graph.edges}


@pytest.mark.parametrize("density", [0.1, 0.3, 1.0])
def test_the_order_is_that_of_least_fill(density, random):
    for nodes in (2, 7, 12, 25):
        pairs = np.array(list(itertools.combinations(range(nodes), 2)))
        edges = pairs[random.uniform(size=len(pairs)) < density]
        kept, late = ({int(each) for each in random.integers(nodes, size=2)} for _ in range(2))
        order, remaining = elimination.least_fill_order(edges, nodes, kept, late)
        expected = cheapest_first(edges.tolist(), nodes, kept, late)
        assert order == expected[0]
        assert {frozenset(pair) for pair in remaining} == expected[1]


def test_plans_that_take_too_much_are_refused_or_told(monkeypatch):
    """All nodes of K_30 but one that is held: Σ d (d - 1) / 2 = 29·30·28/6 products, for d = 29, 28, …, 1."""
    edges, rows = np.asarray(jp.complete_graph(30).edges), np.eye(30)[:1]
    assert draft_mesh(edges, rows, most_each=4060).num_nodes == 30
    assert_refused(
        "edges", draft_mesh, edges, rows, most_each=4059, saying="4059 products .* solve by `Dense`"
    )
    stacked = np.stack([edges, edges[:, ::-1]])
    with pytest.raises(jp.InputError, match="products"):
        draft_mesh(stacked, rows, most_each=4059)
    monkeypatch.setattr(elimination, "WARNED_PRODUCTS", 4000)
    with pytest.warns(UserWarning, match=r"8.1e\+03 products takes about 0 s"):
        draft_mesh(stacked, rows)


def test_graphs_that_fill_up_are_left_to_dense_algebra():
    """400 nodes with 40 neighbours each; a lattice of as many nodes keeps its plan."""
    ends = np.random.default_rng(0).integers(400, size=(8001, 2))
    for topology, kind in (
        (jp.from_edges(ends[ends[:, 0] != ends[:, 1]], num_nodes=400), jp.Dense),
        (jp.square_lattice((20, 20)), jp.StarMesh),
    ):
        network = jp.FlowNetwork(topology)
        task = jp.allostery(network, jp.Boundary(network, ground=[0]), [1], [5], response=0.2)
        assert isinstance(jp.choose_solver(network, task), kind)
