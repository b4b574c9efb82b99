"""The rows of a boundary, planned on the host: what they read, and which motions they leave free."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxphys._checks import InputError, require
from jaxphys.networks.physics import AbstractNetwork
from jaxphys.networks.topology import component_labels
from jaxphys.solvers import AnyConstraints, Constraints, SparseConstraints, SparseLU

_LARGE = 1000
"""Coordinates beyond which boundaries keep their rows sparse."""


class ChosenRows(NamedTuple):
    """Rows of held nodes, held drops and grounds: dense for small networks, by entries for large ones."""

    dense: np.ndarray | None
    places: np.ndarray
    entries: np.ndarray
    num_rows: int
    size: int
    repeat: bool

    @property
    def holds_nodes(self) -> bool:
        """Whether every row reads a single coordinate; known of large networks."""
        return len(self.places) == self.num_rows

    def sees(self, motions: np.ndarray) -> np.ndarray:
        """`(c, z)` what every row reads of every motion."""
        if self.dense is not None:
            return self.dense @ motions.T
        read = np.zeros((self.num_rows, len(motions)))
        np.add.at(read, self.places[:, 0], self.entries[:, None] * motions[:, self.places[:, 1]].T)
        return read

    def with_motions(self, motions: np.ndarray, dtype: np.dtype | type) -> AnyConstraints:
        if self.dense is not None:
            return Constraints(np.concatenate([self.dense, motions]), dtype)
        return SparseConstraints(
            jnp.asarray(self.places, jnp.int32),
            jnp.asarray(self.entries, dtype),
            jnp.asarray(motions, dtype),
            self.num_rows,
        )


def chosen_rows(
    network: AbstractNetwork, held_nodes: np.ndarray, pairs: np.ndarray, ground: np.ndarray
) -> ChosenRows:
    """The rows of held nodes, of drops between `pairs`, `(p, 2)`, and of grounded nodes, in this order.

    Raises `InputError` on a drop between nodes that coincide.
    """
    size = network.num_coordinates
    if size > _LARGE and network.kind.is_pairwise:
        return _sparse_rows(network, held_nodes, pairs, ground)
    drops = [network.drop_row(a, b) for a, b in pairs.tolist()]
    _check_apart(drops)
    between = np.reshape(drops, (-1, size))
    dense = np.concatenate([network.node_rows(held_nodes), between, network.node_rows(ground)])
    repeat = len(dense) > 0 and np.linalg.matrix_rank(dense) < len(dense)
    return ChosenRows(dense, np.zeros((0, 2), int), np.zeros(0), len(dense), size, repeat)


def _sparse_rows(
    network: AbstractNetwork, held_nodes: np.ndarray, pairs: np.ndarray, ground: np.ndarray
) -> ChosenRows:
    size, d = network.num_coordinates, network.dimension
    # Coordinates that are read: one by each row of a node, those of both nodes by each drop.
    single = [(d * nodes[:, None] + np.arange(d)).ravel() for nodes in (held_nodes, ground)]
    both = (d * pairs[:, :, None] + np.arange(d)).reshape(len(pairs), 2 * d)
    if network.kind.is_laplacian:
        drops = [np.array([1.0, -1.0])] * len(pairs)
    else:
        drops = [network.drop_row(*pair)[both[i]] for i, pair in enumerate(pairs.tolist())]
        _check_apart(drops)
    first, second = len(single[0]), len(single[0]) + len(pairs)
    count = second + len(single[1])
    numbers = [np.arange(first), np.repeat(np.arange(first, second), 2 * d), np.arange(second, count)]
    places = np.stack([np.concatenate(numbers), np.concatenate([single[0], both.ravel(), single[1]])], axis=1)
    entries = np.concatenate([np.ones(first), np.ravel(drops), np.ones(len(single[1]))])
    repeat = _repeats(places, entries, count, size, is_forest=network.kind.is_laplacian)
    return ChosenRows(None, places, entries, count, size, repeat)


def _check_apart(drops: list[np.ndarray]) -> None:
    require(np.isfinite(drops).all(), "held_drops", "join nodes that are apart", "two of them coincide")


def _repeats(places: np.ndarray, entries: np.ndarray, count: int, size: int, *, is_forest: bool) -> bool:
    """Whether rows depend on one another: if they read nodes and drops, whether these are no forest."""
    if is_forest:
        # A row that reads one node joins it to what is at rest.
        ends = np.full((count, 2), size)
        where = np.zeros(count, int)
        for row, coordinate in places.tolist():
            ends[row, where[row]] = coordinate
            where[row] += 1
        pieces = component_labels(ends, size + 1)
        return int(pieces.max()) + 1 > size + 1 - count
    touched, columns = np.unique(places[:, 1], return_inverse=True)
    rows = np.zeros((count, len(touched)))
    rows[places[:, 0], columns] = entries
    return count > 0 and bool(np.linalg.matrix_rank(rows) < count)


def free_motions(
    network: AbstractNetwork, chosen: ChosenRows, pairs: np.ndarray, held: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`(z, n)` orthonormal rigid motions that no row of C sees, and `(N,)` which nodes these move.

    `held` are the numbers of nodes that are held or grounded.
    """
    size, d = chosen.size, network.dimension
    if chosen.dense is None and network.kind.is_laplacian:
        # Pieces of the graph, drops counted, of which nothing is held; several are refused without rows.
        edges = np.asarray(network.topology.edges)
        pieces = component_labels(np.concatenate([edges, pairs]), size)
        floating = ~np.isin(pieces, pieces[held.astype(int)])
        free = np.full((1, size), size**-0.5) if floating.all() else np.zeros((int(floating.any()), size))
        return free, floating
    motions = network.rigid_motions()
    free = motions
    if len(motions) and chosen.num_rows:
        read = chosen.sees(motions)
        _, singular, right = np.linalg.svd(read, full_matrices=len(read) < len(motions))
        seen = int(np.sum(singular > 1e-10 * max(1.0, singular.max(initial=0.0))))
        free = right[seen:] @ motions
    return free, np.abs(free).max(axis=0, initial=0.0).reshape(-1, d).max(axis=1) > 1e-10


def check_free_modes(
    network: AbstractNetwork, chosen: ChosenRows, free: np.ndarray, floating: np.ndarray, policy: str
) -> None:
    """Raise `InputError` on free motions that `policy` forbids, several floating pieces, or floppy modes.

    `free` and `floating` are what `free_motions` found; `policy` is the boundary's `free_modes`.
    """
    if len(free) and network.kind.is_pairwise and network.topology.components().max() > 0:
        node = int(np.flatnonzero(floating)[0])
        raise InputError(
            "Argument `ground` must hold every connected component of the graph, but the component of "
            f"node {node} floats; hold one of its nodes or join it to the rest."
        )
    if len(free) and policy == "forbid":
        raise InputError(
            f'Argument `free_modes` must be "project" where nothing holds a free motion, but it is "forbid" '
            f"and {len(free)} motion(s) are free; ground a node or project them out."
        )
    # Laplacians have no floppy modes beside floating pieces; where edges feel no strain a status tells.
    if network.kind.is_laplacian or network.kind.strain is None:
        return
    rows = chosen.dense
    if rows is None and chosen.holds_nodes:
        held = chosen.with_motions(free, float)
        is_rigid = SparseLU().is_rigid(network.strain_directions(), network.topology.edges, held)
        must, but = "be rigid under its boundary", "it is floppy; add bonds or hold more nodes"
        require(is_rigid, "network", must, but)
        return
    if rows is None:
        rows = np.zeros((chosen.num_rows, chosen.size))
        rows[chosen.places[:, 0], chosen.places[:, 1]] = chosen.entries
    n = network.num_coordinates
    strains = np.asarray(network.strains(jnp.eye(n, dtype=network.k.dtype)), dtype=float)
    floppy = n - np.linalg.matrix_rank(np.concatenate([strains.reshape(n, -1).T, rows, free]))
    require(
        floppy == 0,
        "network",
        "be rigid under its boundary",
        f"it has {floppy} floppy mode(s); add bonds or hold more nodes",
    )
