"""Sectors of a response: regions of nearly equal values, found by persistent homology."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike

from jaxphys._checks import require
from jaxphys.networks.topology import Topology


class Sectors(NamedTuple):
    """Connected components of the edges with small drops, and the range of drops over which each persists.

    - `births`, `deaths`: `(P,)`, the drop at which a component appears, and at which it joins an older one;
      components that die at birth are left out, and the oldest one never dies.
    - `death_edges`: `(P,)` the edge by which each component joins the older one.
    - `walls`: `(M,)` the death edges of components of at least the wanted persistence.
    - `labels`: `(N,)` sector of every node, the components that remain without the walls, numbered from 0 in
      the order of their first nodes.
    - `boundary`: `(M,)` all edges between two sectors.
    """

    births: Float[np.ndarray, " P"]
    deaths: Float[np.ndarray, " P"]
    death_edges: Int[np.ndarray, " P"]
    walls: Bool[np.ndarray, " M"]
    labels: Int[np.ndarray, " N"]
    boundary: Bool[np.ndarray, " M"]


def sectors(topology: Topology, response: ArrayLike, persistence: float) -> Sectors:
    """Divide a graph into sectors, within which a response varies little.

    Guzman et al. (2024), section V A, after Rocks, Liu and Katifori, Phys. Rev. Research 2, 033234 (2020).
    Edges are added in ascending order of the drop `|V_a - V_b|` between their ends; a node appears with the
    first of its edges. A component that joins an older one dies at that drop; its persistence is the
    difference of the drops at death and birth. Sectors are the components of at least the wanted persistence:
    voltages vary little within a sector, and jump at its boundary. Union-find on the host, `O(M log M)`.

    **Arguments**

    - `topology`: the graph, N nodes and M edges.
    - `response`: `(N,)` voltages or pressures, in any units; or `(M,)` drops, where `N != M`.
    - `persistence`: in the same units, positive; a twentieth of the input's drop is a good start.

    Raises `InputError` on a shape that does not fit, NaN, or a persistence that is not positive.

    >>> import jaxphys as jp
    >>> chain = jp.from_edges([(0, 1), (1, 2), (2, 3)])
    >>> jp.diagnostics.sectors(chain, [1.0, 0.9, 0.1, 0.0], 0.5).labels.tolist()
    [0, 0, 1, 1]
    """
    edges, size = np.asarray(topology.edges), topology.num_nodes
    values = np.asarray(response, dtype=float)
    require(
        values.shape in ((size,), (len(edges),)),
        "response",
        f"have {size} entries, one for each node, or {len(edges)}, one for each edge",
        f"its shape is {values.shape}",
    )
    require(np.isfinite(values).all(), "response", "be finite", "it holds NaN or infinity")
    require(persistence > 0, "persistence", "be positive", f"it is {persistence}")
    drops = np.abs(values if values.shape != (size,) else values[edges[:, 0]] - values[edges[:, 1]])
    real = np.flatnonzero(edges[:, 0] != edges[:, 1])
    birth = np.full(size, np.inf)
    for end in (0, 1):
        np.minimum.at(birth, edges[real, end], drops[real])
    # Lists: Python reads their entries faster than those of arrays.
    parent, regions, ends = list(range(size)), list(range(size)), edges.tolist()
    pairs = []
    walls = np.zeros(len(edges), dtype=bool)
    for edge in real[np.argsort(drops[real], kind="stable")]:
        older, younger = (_root(parent, node) for node in ends[edge])
        if older == younger:
            continue
        if birth[older] > birth[younger]:
            older, younger = younger, older
        if drops[edge] > birth[younger]:
            pairs.append((birth[younger], drops[edge], edge))
        if drops[edge] - birth[younger] >= persistence:
            walls[edge] = True
        else:
            first, second = (_root(regions, node) for node in ends[edge])
            regions[second] = first
        parent[younger] = older
    births, deaths, death_edges = np.array(pairs).reshape(-1, 3).T
    roots = np.array([_root(regions, node) for node in range(size)])
    _, first_nodes, inverse = np.unique(roots, return_index=True, return_inverse=True)
    labels = np.argsort(np.argsort(first_nodes))[inverse]
    boundary = labels[edges[:, 0]] != labels[edges[:, 1]]
    return Sectors(births, deaths, death_edges.astype(int), walls, labels, boundary)


def _root(parent: list[int], node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node
