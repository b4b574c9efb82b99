"""Null models: networks that nobody trained, as like the one in question as can be.

Each answers another objection. `shuffled` keeps the graph and the very values of k and puts them in random
places. `smooth` does so too but keeps how alike neighbouring edges are, as the weather, a gradient or a
crack would make them. `redrawn` takes new values from the distribution of the old ones. `rewired` joins other
nodes, each to as many as before, and says whether the graph itself is special.
"""

import numpy as np
from jaxtyping import Float, Int

from jaxphys.networks.physics import AbstractDifferenceNetwork, AbstractNetwork, NodeNetwork
from jaxphys.networks.topology import component_labels


def classes(network: AbstractNetwork) -> Int[np.ndarray, " M"]:
    """Which entries of k may trade places: all edges; in node networks the diagonal stays among itself."""
    if isinstance(network, NodeNetwork):
        rows, columns = np.triu_indices(network.num_nodes)
        return (rows == columns).astype(int)
    return np.zeros(network.num_edges, dtype=int)


def shuffled(
    network: AbstractNetwork, draws: int, generator: np.random.Generator
) -> Float[np.ndarray, "draws M"]:
    """The values of k in random order. Where order means nothing, the network is one of these: p is exact."""
    k, kinds = np.asarray(network.k, dtype=float), classes(network)
    drawn = np.tile(k, (draws, 1))
    for kind in np.unique(kinds):
        drawn[:, kinds == kind] = generator.permuted(drawn[:, kinds == kind], axis=1)
    return drawn


def redrawn(
    network: AbstractNetwork, draws: int, generator: np.random.Generator
) -> Float[np.ndarray, "draws M"]:
    """Values from a kernel estimate of the distribution of k, of log k where all are positive.

    A value drawn at random with Gaussian noise of Silverman's bandwidth, 0.9 min(σ, IQR/1.34) M^(-1/5).
    """
    k, kinds = np.asarray(network.k, dtype=float), classes(network)
    drawn = np.empty((draws, len(k)))
    for kind in np.unique(kinds):
        values = k[kinds == kind]
        positive = bool((values > 0).all())
        values = np.log(values) if positive else values
        quartiles = np.quantile(values, [0.25, 0.75])
        width = 0.9 * min(values.std(), np.ptp(quartiles) / 1.34) * len(values) ** -0.2
        size = (draws, len(values))
        new = generator.choice(values, size) + width * generator.standard_normal(size)
        drawn[:, kinds == kind] = np.exp(new) if positive else new
    return drawn


def smooth(
    network: AbstractDifferenceNetwork, draws: int, generator: np.random.Generator
) -> Float[np.ndarray, "draws M"]:
    """The values of k rearranged so that edges that meet are as alike as they were.

    Deviations of the normal scores of k are written in eigenvectors of the matrix that says which edges
    meet; random signs of the coefficients keep Moran's I and every other quadratic measure of likeness
    (Wagner and Dray, Methods in Ecology and Evolution 2015); the values of k then take the order of the sum.
    The matrix is `J (T Tᵀ - 2) J` with T the ends of edges and J taking off means: what T does not reach
    has one eigenvalue, so that its part is turned at random as a whole.
    """
    from scipy.special import ndtri

    edges, k = np.asarray(network.topology.edges), np.asarray(network.k, dtype=float)
    touches = np.zeros((len(edges), network.num_nodes))
    touches[np.arange(len(edges))[:, None], edges] = 1
    left, singular, _ = np.linalg.svd(touches - touches.mean(axis=0), full_matrices=False)
    modes = left[:, singular > 1e-10 * singular[0]]
    order = np.argsort(k, kind="stable")
    scores = np.empty(len(k))
    scores[order] = ndtri((np.arange(len(k)) + 0.5) / len(k))
    coefficients = modes.T @ scores
    rest = scores - modes @ coefficients
    turned = generator.standard_normal((draws, len(k)))
    turned -= turned.mean(axis=1, keepdims=True)
    turned -= (turned @ modes) @ modes.T
    sizes = np.linalg.norm(turned, axis=1, keepdims=True)
    # Nothing but rounding is left where edges are no more than nodes.
    turned *= np.where(sizes > 1e-8, np.linalg.norm(rest) / np.maximum(sizes, 1e-8), 0)
    fields = (generator.choice([-1.0, 1.0], (draws, len(coefficients))) * coefficients) @ modes.T + turned
    drawn = np.empty_like(fields)
    np.put_along_axis(drawn, np.argsort(fields, axis=1), k[order][None], axis=1)
    return drawn


def rewired(
    network: AbstractDifferenceNetwork, draws: int, generator: np.random.Generator
) -> Int[np.ndarray, "draws M 2"]:
    """Connected graphs in which every node has as many edges as before: many random exchanges of ends.

    Two edges `a-b`, `c-d` become `a-d`, `c-b` unless that makes a loop, a double edge, or (undone after every
    sweep) a disconnected graph. Each draw starts from the graph itself and takes ten attempts per edge.
    """
    original = np.asarray(network.topology.edges)
    graphs = np.empty((draws, *original.shape), dtype=int)
    for graph in graphs:
        graph[:] = original
        for _ in range(10):
            before = graph.copy()
            _exchange_ends(graph, generator)
            if component_labels(graph, network.num_nodes).max() > 0:
                graph[:] = before
    return graphs


def _exchange_ends(graph: Int[np.ndarray, "M 2"], generator: np.random.Generator) -> None:
    """As many attempts as there are edges, in place."""
    present = {frozenset(pair) for pair in graph.tolist()}
    partners = generator.integers(len(graph), size=(len(graph), 2)).tolist()
    turned = (generator.random(len(graph)) < 0.5).tolist()
    ends = graph.tolist()
    for (first, second), turn in zip(partners, turned, strict=True):
        (a, b), (c, d) = ends[first], ends[second][::-1] if turn else ends[second]
        new = frozenset((a, d)), frozenset((c, b))
        if len({a, b, c, d}) < 4 or new[0] in present or new[1] in present:
            continue
        present -= {frozenset((a, b)), frozenset((c, d))}
        present |= set(new)
        ends[first], ends[second] = [a, d], [c, b]
    graph[:] = ends


def pooled_p(z: Float[np.ndarray, " draws_and_one"]) -> float:
    """How often a z-score of the pool is at least as large as the first one, which counts (add-one rule)."""
    return float(np.mean(z >= z[0] - 1e-9))


def standardised(pool: Float[np.ndarray, "draws_and_one s"]) -> Float[np.ndarray, "draws_and_one s"]:
    """z-scores within the pool, the network in question counted in, so that ranks of their maxima are exact.

    Zero for a statistic that does not vary.
    """
    # A singular network may answer without bounds; such a statistic says nothing.
    with np.errstate(invalid="ignore"):
        centred, spread = pool - pool.mean(axis=0), pool.std(axis=0)
    told = np.isfinite(spread) & (spread > 1e-9 * np.abs(pool).max(axis=0))
    return np.where(told, centred, 0.0) / np.where(told, spread, 1)
