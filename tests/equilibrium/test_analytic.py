"""Equilibria against closed forms, networkx's resistance distance and SciPy's pseudo-inverse."""

import equinox as eqx
import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
import scipy.linalg
import systems
from helpers import assert_close, ulps
from oracles import bordered_matrix, explicit_direction, explicit_hessian, solve_bordered

import jaxphys as jp

equilibrate = systems.equilibrate
greens_function = eqx.filter_jit(jp.greens_function)


@pytest.mark.parametrize("system", systems.ALL, ids=lambda function: function.__name__)
def test_equilibrium_is_the_closed_form(system, solver):
    system = system()
    state = system.solve(solver)
    assert_close(state.x, system.x, relative=ulps(100))
    if len(system.reaction):
        # Reactions that vanish do so on the scale of the forces inside.
        inside = np.abs(np.asarray(system.network.k)).max() * np.abs(system.x).max()
        scale = max(np.abs(system.reaction).max(), inside)
        assert_close(state.reaction, system.reaction, relative=ulps(200), scale=scale)
    assert state.reaction.shape == system.reaction.shape
    assert int(state.status) == jp.Status.OK
    assert float(state.residual) < ulps(50)


def test_the_balanced_bridge_carries_nothing(solver):
    x = systems.balanced_bridge(bridge=17.0).solve(solver).x
    assert_close(x[1] - x[2], 0.0, relative=ulps(20), scale=float(x[0]))


def test_superposition(solver):
    """In a linear network the state of all sources is the sum of the states of each."""
    together = systems.divider_mixed().solve(solver).x
    held = systems.divider_held().solve(solver).x
    driven = systems.divider_mixed(voltage=0.0).solve(solver).x
    assert_close(held + driven, together, relative=ulps(50))


def weighted_graph(num_nodes, num_edges, seed):
    """A connected random graph with conductances over two decades, as a network and for networkx."""
    topology = jp.erdos_renyi(num_nodes, num_edges, jax.random.key(seed))
    k = 10 ** np.random.default_rng(seed).uniform(-1, 1, num_edges)
    return jp.FlowNetwork(topology, k=k), topology.to_networkx(k=k)


def resistance_distances(graph):
    """All pairs, `(N, N)`, by networkx (which takes conductances with `invert_weight=False`)."""
    distances = nx.resistance_distance(graph, weight="k", invert_weight=False)
    nodes = range(len(distances))
    return np.array([[distances[a][b] for b in nodes] for a in nodes])


@pytest.mark.float64
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "boundary", [{"ground": [3]}, {"free_modes": "project"}], ids=["grounded", "projected"]
)
def test_resistance_distance(seed, boundary, solver):
    """`R_ab = G_aa + G_bb - 2 G_ab`, whatever is grounded and where."""
    network, graph = weighted_graph(18, 34, seed)
    green = np.asarray(greens_function(network, jp.Boundary(network, **boundary), solver=solver))
    diagonal = np.diag(green)
    assert_close(
        diagonal[:, None] + diagonal[None, :] - 2 * green, resistance_distances(graph), relative=1e-12
    )


@pytest.mark.float64
def test_resistance_distance_by_a_held_drop(solver):
    """A drop of one between two nodes takes the current `1 / R_ab`."""
    network, graph = weighted_graph(18, 34, 0)
    boundary = jp.Boundary(network, held_drops=[(2, 11)], free_modes="project")
    state = equilibrate(network, boundary, values=jnp.ones(1), solver=solver)
    expected = 1 / nx.resistance_distance(graph, 2, 11, weight="k", invert_weight=False)
    assert_close(-state.reaction[0], expected, relative=1e-12)


@pytest.mark.float64
def test_resistance_distance_of_a_tree_is_the_path(solver):
    """Without loops, resistances add up along the path, with no linear algebra at all."""
    # Padded to the size of the graphs above.
    topology = jp.erdos_renyi(18, 17, jax.random.key(3)).padded(34)
    k = np.random.default_rng(3).uniform(0.2, 5.0, 34)
    network = jp.FlowNetwork(topology, k=k)
    green = np.asarray(greens_function(network, jp.Boundary(network, free_modes="project"), solver=solver))
    paths = dict(nx.all_pairs_dijkstra_path_length(topology.to_networkx(r=1 / k), weight="r"))
    expected = np.array([[paths[a][b] for b in range(18)] for a in range(18)])
    diagonal = np.diag(green)
    assert_close(diagonal[:, None] + diagonal - 2 * green, expected, relative=1e-12)


def floating_network(kind):
    """Random networks whose only zero modes are the uniform one or rigid motions."""
    random = np.random.default_rng(5)
    if kind == "flow":
        return jp.FlowNetwork(jp.erdos_renyi(20, 35, jax.random.key(1)), k=random.uniform(0.5, 2.0, 35))
    dimension = {"springs 2-D": 2, "springs 3-D": 3}[kind]
    topology = jp.erdos_renyi(12, 60, jax.random.key(1), dimension=dimension, rigid=True)
    return jp.SpringNetwork(topology, k=random.uniform(0.5, 2.0, 60))


@pytest.mark.parametrize("kind", ["flow", "springs 2-D", "springs 3-D"])
def test_projected_free_modes_are_the_pseudo_inverse(kind, solver):
    network = floating_network(kind)
    hessian = explicit_hessian(network)
    pseudo_inverse, rank = scipy.linalg.pinvh(hessian, rtol=1e-6, return_rank=True)
    free = {"flow": 1, "springs 2-D": 3, "springs 3-D": 6}[kind]
    assert rank == network.num_coordinates - free
    green = greens_function(network, jp.Boundary(network, free_modes="project"), solver=solver)
    # Twelve digits in double precision.
    condition = np.linalg.norm(hessian, 2) * np.linalg.norm(pseudo_inverse, 2)
    assert condition < 200
    assert_close(green, pseudo_inverse, relative=ulps(20 * condition))


@pytest.mark.parametrize("kind", ["flow", "springs 2-D"])
def test_everything_at_once_is_the_bordered_system(kind, solver, random):
    """Forces, held nodes, held drops and a ground together, against SciPy on the explicit bordered matrix."""
    network = floating_network(kind)
    held = {"held_nodes": [3], "held_drops": [(5, 7), (8, 2)], "ground": [0]}
    boundary = jp.Boundary(network, **held)
    n, d = network.num_coordinates, network.dimension
    rows = [np.eye(n)[d * 3 + c] for c in range(d)]
    for a, b in held["held_drops"]:
        row = np.zeros((n // d, d))
        row[a] = explicit_direction(network, a, b)
        row[b] = -row[a]
        rows.append(row.ravel())
    rows = np.array(rows + [np.eye(n)[c] for c in range(d)])
    assert boundary.num_held == d + 2
    assert_close(boundary.rows, rows, relative=ulps(10))
    force, values = random.normal(size=n), random.normal(size=d + 2)
    state = equilibrate(network, boundary, jnp.asarray(force), jnp.asarray(values), solver=solver)
    hessian = explicit_hessian(network)
    x, reaction = solve_bordered(hessian, rows, force, values)
    tolerance = ulps(20 * np.linalg.cond(bordered_matrix(hessian, rows)))
    assert_close(state.x, x, relative=tolerance)
    assert_close(state.reaction, reaction, relative=tolerance)
    assert_close(state.x[d * 3 : d * 4], values[:d], relative=tolerance, scale=float(np.abs(state.x).max()))
