"""A network that someone else trained or measured: against brute force, theory, and untrained networks."""

import inspect

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
import scipy.stats

import jaxphys as jp
from jaxphys.inspection import nulls, verdicts
from jaxphys.inspection.fitting import fit_conductances
from jaxphys.inspection.reconstruction import bonds, reconstruct
from jaxphys.inspection.statistics import imprint, learning_pattern, statistics_of, zero_modes

pytestmark = pytest.mark.float64

# All that bears on the verdict.
QUICK = ("shuffled", "redrawn", "smooth")
GRAPH = jp.erdos_renyi(16, 30, jax.random.key(3))
PLANE = jp.erdos_renyi(12, 30, jax.random.key(1), dimension=2, rigid=True)


def flow(seed=0, width=0.5, graph=GRAPH):
    draws = np.random.default_rng(seed).standard_normal(graph.num_edges)
    return jp.FlowNetwork(graph, np.exp(width * draws))


def strains(network):
    """Strains of edges (rows) under unit forces (columns) on the graph with k = 1, from NumPy alone."""
    b = np.asarray(network.compatibility())[:, 0]
    return b @ np.linalg.pinv(b.T @ b, rcond=1e-10, hermitian=True)


def marked(network, source, target, size=0.8):
    """k as one step of learning a response between two coordinates would leave it."""
    s = strains(network)
    pattern = s[:, source] * s[:, target]
    return 1 - size * pattern / np.abs(pattern).max()


def test_statistics_do_not_depend_on_the_names_of_nodes():
    """On a square lattice modes are equal two by two: in which basis depends on the order of the nodes."""
    graph = jp.square_lattice((5, 5), periodic=True)
    k = np.random.default_rng(0).uniform(0.5, 1.5, graph.num_edges)
    order = np.random.default_rng(1).permutation(25)
    renamed = jp.from_edges(order[np.asarray(graph.edges)])
    found = [
        statistics_of(
            jp.FlowNetwork(each, strengths), 1, learning_pattern(jp.FlowNetwork(each, strengths), 1)
        )
        for each in (graph, renamed)
        for strengths in (k, np.ones_like(k))
    ]
    for name in ("localisation", "imprint", "imprint_of_ranks", "conduit"):
        first, uniform, second, uniform_again = (float(each[name]) for each in found)
        np.testing.assert_allclose(first, second, rtol=1e-9)
        np.testing.assert_allclose(uniform, uniform_again, rtol=1e-9)


# Null models.


@pytest.mark.parametrize("null", ["shuffled", "smooth"])
def test_rearrangements_keep_every_value(null):
    network = flow()
    draws = getattr(nulls, null)(network, 5, np.random.default_rng(0))
    assert np.array_equal(np.sort(draws, axis=1), np.tile(np.sort(network.k), (5, 1)))
    assert all((draw != np.asarray(network.k)).any() for draw in draws)


def test_the_diagonal_of_a_node_network_stays_on_the_diagonal():
    network = jp.NodeNetwork.from_matrix(np.diag(np.arange(1.0, 7.0)) + 0.1)
    diagonal = np.arange(6) * 6 - np.arange(6) * (np.arange(6) - 1) // 2
    for draw in nulls.shuffled(network, 4, np.random.default_rng(0)):
        assert set(draw[diagonal].tolist()) == {1.1, 2.1, 3.1, 4.1, 5.1, 6.1}


def likeness(network, k):
    log_k = np.log(k) - np.log(k).mean()
    met = np.zeros(network.num_nodes)
    edges = np.asarray(network.topology.edges)
    for end in (0, 1):
        np.add.at(met, edges[:, end], log_k)
    return (met[edges].sum(axis=1) * log_k - 2 * log_k**2).sum() / (log_k**2).sum()


def test_smooth_draws_are_as_alike_along_the_graph_as_the_network():
    topology = jp.square_lattice((10, 10))
    heights = np.asarray(topology.positions)[np.asarray(topology.edges)].mean(axis=1)[:, 0]
    network = jp.FlowNetwork(topology, np.exp(0.3 * heights))
    own = likeness(network, np.asarray(network.k))
    generator = np.random.default_rng(0)
    smooth = [likeness(network, draw) for draw in nulls.smooth(network, 20, generator)]
    shuffled = [likeness(network, draw) for draw in nulls.shuffled(network, 20, generator)]
    assert own > 3
    assert np.mean(smooth) > 0.8 * own
    assert abs(np.mean(shuffled)) < 0.3


def test_redrawn_values_follow_the_distribution_and_equal_ones_stay():
    generator = np.random.default_rng(0)
    network = flow(width=1.0, graph=jp.square_lattice((12, 12)))
    draws = np.log(nulls.redrawn(network, 50, generator))
    log_k = np.log(np.asarray(network.k))
    assert abs(draws.mean() - log_k.mean()) < 0.05
    assert 1 < draws.std() / log_k.std() < 1.15
    equal = jp.FlowNetwork(GRAPH, 3.0)
    assert np.allclose(nulls.redrawn(equal, 3, generator), 3.0, rtol=1e-12)


def test_rewired_graphs_keep_degrees_and_hang_together():
    network = flow()
    degrees = np.bincount(np.asarray(GRAPH.edges).ravel(), minlength=16)
    for edges in nulls.rewired(network, 6, np.random.default_rng(0)):
        graph = nx.Graph(edges.tolist())
        assert np.array_equal(np.bincount(edges.ravel(), minlength=16), degrees)
        assert nx.is_connected(graph)
        assert graph.number_of_edges() == 30
        assert (
            len({frozenset(pair) for pair in edges.tolist()} - set(map(frozenset, GRAPH.edges.tolist()))) > 3
        )


def test_a_network_counts_among_its_own_draws():
    assert nulls.pooled_p(np.array([3.0, 1.0, 3.0, 2.0])) == 0.5
    assert nulls.pooled_p(np.array([9.0, 1.0, 3.0, 2.0])) == 0.25


# Statistics.


@pytest.mark.parametrize("kind", ["flow", "spring"])
def test_the_imprint_is_a_correlation_with_what_learning_would_do(kind):
    """Brute force: patterns edge by edge, nuisance removed by least squares, Pearson's correlation."""
    k = np.exp(0.5 * np.random.default_rng(0).standard_normal(30))
    network = jp.FlowNetwork(GRAPH, k) if kind == "flow" else jp.SpringNetwork(PLANE, k)
    free = zero_modes(network)
    assert free == (1 if kind == "flow" else 3)
    pattern = learning_pattern(network, free)
    found = np.asarray(imprint(network, pattern, network.k))
    s = strains(network)
    nuisance = np.asarray(pattern.nuisance)

    def left(values):
        return values - nuisance @ np.linalg.lstsq(nuisance, values, rcond=None)[0]

    assert np.allclose(left(np.ones(30)), 0, atol=1e-10)
    assert np.allclose(left(np.sum(s**2, axis=1)), 0, atol=1e-10)
    for a, b in ((0, 5), (2, 9), (7, 7)):
        expected = -np.corrcoef(left(k), left(s[:, a] * s[:, b]))[0, 1] * np.sqrt(29)
        assert np.isclose(found[a, b], expected, rtol=1e-8)


def test_imprints_of_random_placements_have_mean_zero_and_unit_variance():
    network = flow(width=1.0)
    pattern = learning_pattern(network, 1)
    draws = jnp.asarray(nulls.shuffled(network, 4000, np.random.default_rng(0)))
    scores = jax.vmap(lambda k: imprint(network, pattern, k)[2, 9])(draws)
    # Scores are relative to what the nuisance leaves of k, which is less than all of it.
    assert abs(float(scores.mean())) < 0.06
    rank = np.linalg.matrix_rank(pattern.nuisance)
    assert np.isclose(float(scores.std()), np.sqrt(29 / (30 - rank)), rtol=0.06)


def test_statistics_are_those_of_the_diagnostics():
    network = flow()
    found = statistics_of(network, 1, learning_pattern(network, 1))
    boundary = jp.Boundary(network, free_modes="project")
    conductance = jp.diagnostics.effective_conductance(network, boundary)
    assert np.isclose(10 ** float(found["effective_conductance"]), conductance)
    dimension = jp.diagnostics.effective_dimension(network, boundary)
    assert np.isclose(found["effective_dimension"], dimension)
    assert np.allclose(found["eigenvalues"], jp.diagnostics.eigenvalues(network, boundary))
    susceptible = np.sort(jp.diagnostics.susceptibility(network, boundary))
    assert np.isclose(found["susceptible_share"], susceptible[-2:].sum() / susceptible.sum())
    assert np.isclose(found["likeness"], likeness(network, np.asarray(network.k)))


def test_the_mean_response_is_the_total_resistance():
    """`Σ_pairs R = N Σ 1/λ` (Klein and Randić), by networkx."""
    network = flow()
    graph = network.topology.to_networkx(k=network.k)
    distances = nx.resistance_distance(graph, weight="k", invert_weight=False)
    total = sum(distances[a][b] for a in range(16) for b in range(a))
    mean = 10 ** float(statistics_of(network, 1, None)["mean_response"])
    assert np.isclose(16 * 15 * mean, total)


# Verdicts.


@pytest.mark.parametrize("kind", ["flow", "spring"])
def test_a_first_step_of_learning_is_found_with_its_terminals(kind):
    if kind == "flow":
        network = jp.FlowNetwork(jp.erdos_renyi(40, 60, jax.random.key(0)), 1.0)
        nodes, coordinates = (4, 30), (4, 30)
    else:
        network = jp.SpringNetwork(jp.erdos_renyi(30, 90, jax.random.key(0), dimension=2, rigid=True), 1.0)
        nodes, coordinates = (4, 20), (9, 40)
    found = jp.inspect_network(
        network.with_k(jnp.asarray(marked(network, *coordinates))), num_null=59, null_models=QUICK
    )
    assert found.verdict == "trained"
    assert set(found.terminals) == set(nodes)
    assert set(np.argsort(-found.node_scores)[:2].tolist()) == set(nodes)
    assert found.p_value == 1 / 60


def test_a_soft_direction_of_a_node_network_is_found():
    draws = np.random.default_rng(0).standard_normal((20, 20))
    matrix = (draws + draws.T) / 2 + 19 * np.eye(20)
    assert (
        jp.inspect_network(jp.NodeNetwork.from_matrix(matrix), num_null=59).verdict == "not distinguishable"
    )
    soft = np.zeros(20)
    soft[[3, 8]] = np.sqrt(0.5)
    matrix -= (soft @ matrix @ soft - 0.5) * np.outer(soft, soft)
    found = jp.inspect_network(jp.NodeNetwork.from_matrix(matrix), num_null=59)
    assert (found.verdict, set(found.terminals)) == ("trained", {3, 8})


def test_p_values_of_untrained_networks_are_not_too_small():
    """Exact under random placement: uniform on multiples of 1/20 or, by the largest of three, above it."""
    topology = jp.erdos_renyi(12, 18, jax.random.key(5))
    p_values = []
    for seed in range(60):
        network = flow(seed, 1.0, topology)
        found = jp.inspect_network(network, num_null=19, seed=seed, null_models=("shuffled",))
        p_values.append(found.fields.attrs["p_training"])
    # One-sided Kolmogorov-Smirnov: no smaller than uniform ones; and no constant either.
    assert scipy.stats.kstest(p_values, "uniform", alternative="greater").pvalue > 0.01
    assert scipy.stats.kstest(np.array(p_values) - 0.05, "uniform", alternative="less").pvalue > 0.01


def test_a_well_connected_network_is_unusual_and_not_trained():
    topology = jp.triangular_lattice((6, 6))
    b = np.asarray(jp.FlowNetwork(topology).compatibility())[:, 0]
    k = np.ones(len(b))
    for _ in range(60):
        drops = (b @ np.linalg.eigh(b.T @ (k[:, None] * b))[1][:, 1]) ** 2
        k = k * np.exp(0.1 * drops / drops.max())
    found = jp.inspect_network(jp.FlowNetwork(topology, k), num_null=199, null_models=QUICK)
    assert found.verdict == "unusual"
    assert found.p_value == 1.0 or found.fields.attrs["p_training"] > 0.05


def test_equal_conductances_say_nothing():
    found = jp.inspect_network(jp.FlowNetwork(GRAPH, 2.0), num_null=19, null_models=QUICK)
    assert (found.verdict, found.p_value) == ("not distinguishable", 1.0)
    assert found.as_json()["terminals"] == []
    diagonal = jp.inspect_network(jp.NodeNetwork.from_matrix(np.eye(6)), num_null=19)
    assert (diagonal.verdict, diagonal.p_value) == ("not distinguishable", 1.0)


def test_the_same_seed_gives_the_same_findings_and_units_do_not_matter():
    first, again = (jp.inspect_network(flow(), num_null=19, seed=4).as_json() for _ in range(2))
    assert first == again
    other = flow()
    scaled = jp.inspect_network(other.with_k(1e6 * other.k), num_null=19, seed=4)
    assert scaled.p_value == first["p_value"]
    assert scaled.statistics["imprint"].value == pytest.approx(first["statistics"]["imprint"]["value"])


def test_padding_and_the_vector_law_are_left_out():
    options = {"num_null": 19, "null_models": QUICK}
    plain = jp.inspect_network(flow(), **options)
    padded = jp.FlowNetwork(GRAPH.padded(33), np.concatenate([flow().k, np.ones(3)]))
    assert jp.inspect_network(padded, **options).statistics == plain.statistics
    vector = jp.SpringNetwork(PLANE, flow().k, law="vector")
    alike = jp.FlowNetwork(PLANE, flow().k)
    assert (
        jp.inspect_network(vector, num_null=19).statistics
        == jp.inspect_network(alike, num_null=19).statistics
    )


def test_a_laplacian_given_as_a_matrix_is_read_as_the_flow_network_it_is():
    matrix = np.asarray(flow().hessian())
    alone, leaking = (jp.NodeNetwork.from_matrix(matrix + leak * np.eye(16)) for leak in (0.0, 0.01))
    expected = jp.inspect_network(flow(), num_null=19, null_models=QUICK)
    for network in (alone, leaking):
        found = jp.inspect_network(network, num_null=19, null_models=QUICK)
        assert isinstance(found.network, jp.FlowNetwork)
        assert found.statistics["imprint"].value == pytest.approx(expected.statistics["imprint"].value)


@pytest.mark.parametrize(
    ("network", "options", "words"),
    [
        (jp.NodeNetwork.from_matrix(np.zeros((6, 6))), {}, "between 1e-60"),
        (jp.stack([flow(), flow(1)]), {}, "one network"),
        (jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)])), {}, "at least 4 nodes"),
        (jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2), (3, 4), (4, 5)])), {}, "2 pieces"),
        (flow(), {"num_null": 5}, "num_null"),
        (flow(), {"significance": 0.001}, "significance"),
        (flow(), {"labels": ("a",)}, "name 16 nodes"),
        (flow(), {"seed": -1}, "seed"),
        (flow(), {"null_models": ("shufled",)}, "shufled"),
    ],
)
def test_what_cannot_be_inspected_is_said_in_one_sentence(network, options, words):
    with pytest.raises(jp.InputError, match=words) as error:
        jp.inspect_network(network, **options)
    assert "\n" not in str(error.value)


# Measured responses.


def green(network, ground=None):
    boundary = jp.Boundary(network, **({"free_modes": "project"} if ground is None else {"ground": [ground]}))
    return np.asarray(jp.greens_function(network, boundary))


def test_the_hessian_is_recovered_from_exact_responses():
    network = flow()
    found = reconstruct(green(network))
    assert (found.free, found.resolved) == (1, 15)
    assert np.allclose(found.hessian, network.hessian(), atol=1e-10)
    edges, k = bonds(found)
    assert {frozenset(pair) for pair in edges.tolist()} == set(map(frozenset, GRAPH.edges.tolist()))
    assert np.isclose(k.sum(), float(network.k.sum()))


def test_what_flows_to_ground_is_an_edge_to_it():
    network = flow()
    grounded = green(network, 15)[:15, :15]
    edges, k = bonds(reconstruct(grounded))
    assert len(edges) == 30
    assert np.isclose(k[(edges == 15).any(axis=1)].sum(), float(network.hessian()[15, 15]))


@pytest.mark.parametrize("given", [True, False])
def test_errors_of_the_hessian_are_as_large_as_they_say(given):
    random = np.random.default_rng(0)
    draws = random.standard_normal((12, 12))
    matrix = (draws + draws.T) / 2 + 12 * np.eye(12)
    size = np.full((12, 12), 1e-4)
    pulls = []
    for _ in range(20):
        noisy = np.linalg.inv(matrix) + size * random.standard_normal((12, 12))
        found = reconstruct(noisy, size if given else None)
        pulls.append((found.hessian - matrix) / found.errors)
        assert found.noise == pytest.approx(1e-4, rel=0.3)
    assert 0.85 < np.std(pulls) < 1.15


def test_errors_in_proportion_to_readings_are_recognised():
    random = np.random.default_rng(0)
    response = green(flow(width=1.0))
    noisy = response * (1 + 0.05 * random.standard_normal(response.shape))
    found = reconstruct(noisy)
    assert found.noise == pytest.approx(0.05 * np.sqrt(np.mean(response**2)), rel=0.3)
    assert found.free == 1


def test_stiff_directions_below_the_errors_are_not_made_up():
    random = np.random.default_rng(0)
    response = np.diag([5.0, 4.0, 3.0, 1e-3, 1e-3, 1e-3])
    found = reconstruct(response + 0.05 * random.standard_normal((6, 6)), np.full((6, 6), 0.05))
    assert found.resolved == 3
    assert np.linalg.eigvalsh(found.hessian).max() <= 1.001 / found.floor
    with pytest.raises(jp.InputError, match="rise above"):
        reconstruct(0.01 * response, np.full((6, 6), 5.0))


def test_a_soft_pair_is_seen_in_noisy_responses():
    random = np.random.default_rng(1)
    draws = random.standard_normal((20, 20))
    matrix = (draws + draws.T) / 2 + 19 * np.eye(20)
    soft = np.zeros(20)
    soft[[3, 8]] = np.sqrt(0.5)
    trained = matrix - (soft @ matrix @ soft - 0.5) * np.outer(soft, soft)
    verdicts = []
    for hessian in (trained, matrix):
        noisy = np.linalg.inv(hessian) * (1 + 0.05 * random.standard_normal((20, 20)))
        verdicts.append(jp.inspect_responses(noisy, num_null=59))
    assert [found.verdict for found in verdicts] == ["trained", "not distinguishable"]
    assert set(verdicts[0].terminals) == {3, 8}


def test_a_flow_network_hidden_by_errors_gets_no_verdict_but_its_graph_helps():
    network = jp.FlowNetwork(jp.erdos_renyi(24, 36, jax.random.key(2)), 1.0)
    network = network.with_k(jnp.asarray(marked(network, 2, 17, 0.9)))
    response = green(network)
    random = np.random.default_rng(0)
    noisy = response * (1 + 0.05 * random.standard_normal(response.shape))
    hidden = jp.inspect_responses(noisy, num_null=59)
    assert (hidden.verdict, hidden.p_value) == ("not distinguishable", 1.0)
    helped = jp.inspect_responses(noisy, topology=network.topology, num_null=59)
    assert helped.verdict == "trained"
    assert set(helped.terminals) == {2, 17}
    fit = fit_conductances(network.topology, noisy)
    pulls = (np.asarray(fit.network.k) - np.asarray(network.k)) / fit.errors
    assert 0.5 < np.std(pulls) < 2
    with pytest.raises(jp.InputError, match="explain the responses"):
        fit_conductances(jp.erdos_renyi(24, 36, jax.random.key(9)), noisy)


@pytest.mark.parametrize("ground", [None, 5])
def test_conductances_are_fitted_exactly_to_exact_responses(ground):
    """Of a floating network, and of one with a ground, whose row is zero."""
    network = flow()
    fit = fit_conductances(GRAPH, green(network, ground))
    assert np.allclose(fit.network.k, network.k, rtol=1e-5)


def test_driven_nodes_in_any_order_and_held_ones():
    network = flow(width=0.3)
    response = green(network, 0)
    order = np.random.default_rng(0).permutation(16)
    labels = tuple(f"n{i}" for i in range(16))
    found = jp.inspect_responses(response[:, order], driven=order, labels=labels, num_null=19)
    assert sorted(found.labels) == sorted((*labels[1:], "ground"))
    assert np.isclose(np.asarray(found.network.k).sum(), float(network.k.sum()))


@pytest.mark.parametrize(
    ("responses", "options", "words"),
    [
        (np.full((5, 5), np.nan), {}, "finite"),
        (np.eye(3), {}, "at least 4"),
        (np.eye(6)[:, :5], {"driven": np.array([0, 1, 2, 3, 3])}, "driven"),
        (np.eye(6)[:, :5], {"driven": np.array([0, 1, 2, 3, 9])}, "driven"),
        (np.eye(5), {"errors": -np.ones((5, 5))}, "errors"),
        (np.eye(16), {"errors": np.full((16, 16), np.nan), "topology": GRAPH}, "errors"),
        (np.eye(5), {"labels": ("a",)}, "labels"),
        (np.zeros((5, 5)), {}, "at least 4 nodes that answer"),
        (np.eye(5), {"topology": GRAPH}, "each of the 16 nodes"),
        (np.eye(16), {"topology": GRAPH}, "do not sum to zero"),
    ],
)
def test_responses_that_cannot_be_read_are_refused(responses, options, words):
    with pytest.raises(jp.InputError, match=words) as error:
        jp.inspect_responses(responses, num_null=19, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("wrong", [None, [], "many", 20.5, True, {}, 1j], ids=repr)
def test_counts_are_whole_numbers(wrong):
    """As the library sees it; annotations are checked in tests alone."""
    flow = jp.FlowNetwork(jp.square_lattice((3, 3)))
    for name in ("seed", "num_null"):
        given = {"num_null": 19, "significance": 0.05, "seed": 0} | {name: wrong}
        with pytest.raises(jp.InputError, match=f"`{name}` must be a whole number"):
            inspect.unwrap(verdicts.check)(flow, None, **given)
