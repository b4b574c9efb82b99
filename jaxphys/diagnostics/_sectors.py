"""Sectors of a response: regions of like values, found by persistent homology."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxphys._checks import require
from jaxphys.networks.topology import Topology


class Sectors(NamedTuple):
    """Connected components of the edges whose drop is small, and how long each persists.

    - `births`, `deaths`: `(P,)`, at what drop a component appears, and joins an older one; those that die at
      birth are left out, and the last one of all never dies. `death_edges`: `(P,)` by which edge it joins.
    - `walls`: `(M,)` the death edges of components of at least the wanted persistence.
    - `labels`: `(N,)` sector of every node: what all edges of births and deaths join but the walls. Numbered
      from 0 in the order of their first nodes.
    - `boundary`: `(M,)` all edges between two sectors.
    """

    births: Float[np.ndarray, " P"]
    deaths: Float[np.ndarray, " P"]
    death_edges: Int[np.ndarray, " P"]
    walls: Bool[np.ndarray, " M"]
    labels: Int[np.ndarray, " N"]
    boundary: Bool[np.ndarray, " M"]


def sectors(topology: Topology, response: Any, persistence: float) -> Sectors:
    """Sectors of a response on a graph (paper B, section V A; Rocks et al., Phys. Rev. Research 2020).

    Edges enter in ascending order of the drop `|V_a - V_b|` between their ends, a node with the first of its
    edges. A component that joins an older one dies there; its persistence is the difference of the two drops.
    Sectors are the components of at least the wanted persistence: voltages vary little within one, and jump
    from one to the next. Union-find on the host, `O(M log M)`.

    **Arguments**

    - `response`: `(N,)` voltages or pressures, in whatever units; or `(M,)` drops, where `N != M`.
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
    # Lists, whose entries Python reads faster than those of arrays.
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
