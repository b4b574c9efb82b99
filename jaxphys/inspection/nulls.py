"""Null models: untrained networks that are otherwise as similar as possible to the one inspected.

Each rules out another explanation. `shuffled` keeps the graph and the values of k and places them at random.
`smooth` does the same but keeps the correlations between neighbouring edges, which an external field, a
gradient or a crack would leave. `redrawn` draws new values from the distribution of the old ones. `rewired`
joins other pairs of nodes, keeps all degrees, and tests whether the graph itself is special.
"""

import numpy as np
from jaxtyping import Float, Int

from jaxphys.networks.physics import AbstractNetwork
from jaxphys.networks.topology import component_labels


def classes(network: AbstractNetwork) -> Int[np.ndarray, " M"]:
    """`(M,)`: which entries of k are exchangeable. In node networks the diagonal is a class of its own."""
    if network.kind.is_matrix:
        rows, columns = np.asarray(network.topology.edges).T
        return (rows == columns).astype(int)
    return np.zeros(network.num_edges, dtype=int)


def shuffled(
    network: AbstractNetwork, draws: int, generator: np.random.Generator
) -> Float[np.ndarray, "draws M"]:
    """The values of k in random order. If the order has no meaning the network is one such draw: p is exact.

    **Arguments**

    - `network`: one network of M entries of k; only entries of one of its `classes` are exchanged.
    - `draws`: how many. `generator`: draws the order.

    **Returns** `(draws, M)`, in the units of k.
    """
    k, kinds = np.asarray(network.k, dtype=float), classes(network)
    drawn = np.tile(k, (draws, 1))
    for kind in np.unique(kinds):
        drawn[:, kinds == kind] = generator.permuted(drawn[:, kinds == kind], axis=1)
    return drawn


def redrawn(
    network: AbstractNetwork, draws: int, generator: np.random.Generator
) -> Float[np.ndarray, "draws M"]:
    """Values from a kernel density estimate of the distribution of k, or of log k where all are positive.

    Each is one of the values, drawn at random, plus Gaussian noise of Silverman's bandwidth,
    0.9 min(σ, IQR/1.34) M^(-1/5) (Silverman, Density Estimation, 1986).

    **Arguments**

    - `network`: one network of M entries of k. `draws`: how many. `generator`: draws the values.

    **Returns** `(draws, M)`, in the units of k.
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
    network: AbstractNetwork, draws: int, generator: np.random.Generator
) -> Float[np.ndarray, "draws M"]:
    """The values of k rearranged so that adjacent edges stay as correlated as they were.

    The normal scores of k are expanded in eigenvectors of the adjacency matrix of edges; random signs of the
    coefficients keep Moran's I and every other quadratic measure of correlation (Wagner and Dray, Methods in
    Ecology and Evolution 6, 1169, 2015); the values of k then take the order of the resulting field. The
    matrix is `J (T Tᵀ - 2) J`, where T is the incidence of edges and nodes and J removes means. The null
    space of `Tᵀ J` has a single eigenvalue, so that this part of the scores is rotated at random as a whole.

    **Arguments**

    - `network`: one network with edges, M of them. `draws`: how many. `generator`: draws the signs.

    **Returns** `(draws, M)`, in the units of k.
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
    # Where there are no more edges than nodes, this part is rounding only.
    turned *= np.where(sizes > 1e-8, np.linalg.norm(rest) / np.maximum(sizes, 1e-8), 0)
    fields = (generator.choice([-1.0, 1.0], (draws, len(coefficients))) * coefficients) @ modes.T + turned
    drawn = np.empty_like(fields)
    np.put_along_axis(drawn, np.argsort(fields, axis=1), k[order][None], axis=1)
    return drawn


def rewired(
    network: AbstractNetwork, draws: int, generator: np.random.Generator
) -> Int[np.ndarray, "draws M 2"]:
    """Random connected graphs of the same degrees, by many random exchanges of the ends of edges.

    Two edges `a-b`, `c-d` become `a-d`, `c-b` unless that makes a loop, a double edge, or (undone after every
    sweep) a disconnected graph. Each draw starts from the graph itself and makes ten attempts per edge.

    **Arguments**

    - `network`: one network with edges, M of them. `draws`: how many. `generator`: draws the exchanges.

    **Returns** `(draws, M, 2)` node numbers.
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
    """One sweep of exchanges in place, as many attempts as there are edges."""
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
    """The fraction of z-scores that are at least as large as the first, itself included (add-one rule)."""
    return float(np.mean(z >= z[0] - 1e-9))


def standardised(pool: Float[np.ndarray, "draws_and_one s"]) -> Float[np.ndarray, "draws_and_one s"]:
    """z-scores within the pool, the inspected network included, so that ranks of their maxima are exact.

    Zero for a statistic that does not vary.
    """
    # The response of a singular network may be infinite; such a statistic is left out.
    with np.errstate(invalid="ignore"):
        centred, spread = pool - pool.mean(axis=0), pool.std(axis=0)
    varies = np.isfinite(spread) & (spread > 1e-9 * np.abs(pool).max(axis=0))
    return np.where(varies, centred, 0.0) / np.where(varies, spread, 1)
