"""Graphs to start from. They are drawn on the host, once; the key fixes the draw."""

import itertools
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Array, Key

from jaxphys._checks import check_count, check_key, described, refuse, require
from jaxphys.networks.topology import Topology, component_labels, floppy_modes, from_edges


def host_generator(key: Key[Array, ""]) -> np.random.Generator:
    """A NumPy generator seeded by a JAX key, for draws that happen once and on the host."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())


def erdos_renyi(
    num_nodes: int,
    num_edges: int,
    key: Key[Array, ""],
    *,
    dimension: int | None = None,
    rigid: bool = False,
    max_draws: int = 10_000,
) -> Topology:
    """A uniformly random connected graph with exactly `num_edges` edges (the G(N, M) ensemble).

    Equal N and M give equal shapes, so realizations stack. Draws are rejected until the
    graph is connected and, with `rigid=True`, until the central-force spring network on it
    has no zero modes but the rigid motions. The mean degree is `Z = 2 M / N`.

    **Arguments**

    - `num_nodes`, `num_edges`: N and M.
    - `key`: a JAX random key.
    - `dimension`: 2 or 3 to place the nodes uniformly in the unit box; None for no positions.
    - `rigid`: reject networks with floppy modes; needs `dimension`.
    - `max_draws`: give up after so many rejections.

    Raises `InputError` if no such graph exists or none was found.

    >>> import jax, jaxphys as jp
    >>> jp.erdos_renyi(40, 60, jax.random.key(0)).num_edges
    60
    """
    check_count("num_nodes", num_nodes, least=-(2**31))
    check_count("num_edges", num_edges, least=-(2**31))
    check_key("key", key)
    pairs = num_nodes * (num_nodes - 1) // 2
    require(num_nodes >= 2, "num_nodes", "be at least 2", f"it is {num_nodes}")
    require(
        num_nodes - 1 <= num_edges <= pairs,
        "num_edges",
        f"lie between {num_nodes - 1} (a tree) and {pairs} (all pairs)",
        f"it is {num_edges}",
    )
    require(dimension in (None, 2, 3), "dimension", "be 2, 3 or None", f"it is {dimension}")
    if rigid:
        require(dimension is not None, "rigid", "come with a dimension", "`dimension` is None")
        assert dimension is not None
        needed = dimension * num_nodes - dimension * (dimension + 1) // 2
        require(
            num_edges >= needed,
            "num_edges",
            f"be at least {needed} for a rigid network",
            f"it is {num_edges}",
        )
    generator = host_generator(key)
    first, second = np.triu_indices(num_nodes, k=1)
    for _ in range(max_draws):
        chosen = np.sort(generator.choice(pairs, num_edges, replace=False))
        positions = None if dimension is None else generator.random((num_nodes, dimension))
        edges = np.stack([first[chosen], second[chosen]], axis=1)
        # Most draws fail by a node that nothing touches, which is quickly seen.
        if np.bincount(edges.ravel(), minlength=num_nodes).min() == 0:
            continue
        if component_labels(edges, num_nodes).max() > 0:
            continue
        if rigid and positions is not None:
            bonds = positions[edges[:, 0]] - positions[edges[:, 1]]
            directions = bonds / np.linalg.norm(bonds, axis=1, keepdims=True)
            if floppy_modes(edges, directions, positions, False) > 0:
                continue
        return from_edges(edges, num_nodes=num_nodes, positions=positions)
    kind = "connected and rigid" if rigid else "connected"
    refuse("num_edges", f"make {kind} graphs likely", f"{max_draws} draws gave none")


def complete_graph(num_nodes: int) -> Topology:
    """All `N (N - 1) / 2` pairs of nodes, row by row; raises `InputError` below two nodes."""
    check_count("num_nodes", num_nodes, least=2)
    return from_edges(np.stack(np.triu_indices(num_nodes, k=1), axis=1), num_nodes=num_nodes)


def square_lattice(shape: Sequence[int], *, periodic: bool = False) -> Topology:
    """The square lattice (cubic for three sides, a chain for one) with unit spacing.

    **Arguments**

    - `shape`: nodes along each axis; node numbers run fastest along the last axis.
    - `periodic`: join opposite sides; every side then needs at least 3 nodes.

    Raises `InputError` on sides that are too short.

    >>> import jaxphys as jp
    >>> jp.square_lattice((4, 5)).num_edges
    31
    """
    _check_sides(shape, periodic)
    sides = np.array(shape)
    cells = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, len(shape))
    edges = []
    for cell, step in itertools.product(cells, np.eye(len(shape), dtype=int)):
        neighbour = (cell + step) % sides if periodic else cell + step
        if (neighbour < sides).all():
            edges.append((np.ravel_multi_index(cell, sides), np.ravel_multi_index(neighbour, sides)))
    return from_edges(np.array(edges), num_nodes=len(cells), positions=cells, box=sides if periodic else None)


def triangular_lattice(shape: tuple[int, int], *, periodic: bool = False) -> Topology:
    """The triangular lattice with unit spacing: `shape = (rows, columns)`, six neighbours inside.

    With `periodic=True` opposite sides are joined; both sides then need at least 3 nodes and
    the rows must be even in number, so that the box is rectangular.

    Raises `InputError` on a shape that does not fit.

    >>> import jaxphys as jp
    >>> jp.triangular_lattice((4, 4), periodic=True).num_edges
    48
    """
    require(np.ndim(shape) == 1, "shape", "be a list of sides", f"it is {described(shape)}")
    require(len(shape) == 2, "shape", "have two sides", f"it has {len(shape)}")
    rows, columns = shape
    require(
        not periodic or rows % 2 == 0, "shape", "have an even number of rows to be periodic", f"it has {rows}"
    )
    _check_sides(shape, periodic)
    edges, positions = [], []
    for row, column in itertools.product(range(rows), range(columns)):
        positions.append((column + 0.5 * (row % 2), row * np.sqrt(3) / 2))
        # Odd rows are shifted half a spacing to the right: their upper neighbours are one further.
        for up, right in ((0, 1), (1, row % 2), (1, row % 2 - 1)):
            r, c = row + up, column + right
            if periodic:
                r, c = r % rows, c % columns
            if 0 <= r < rows and 0 <= c < columns:
                edges.append((row * columns + column, r * columns + c))
    box = np.array([columns, rows * np.sqrt(3) / 2]) if periodic else None
    return from_edges(np.array(edges), num_nodes=rows * columns, positions=np.array(positions), box=box)


def _check_sides(shape: Sequence[int], periodic: bool) -> None:
    require(np.ndim(shape) == 1, "shape", "be a list of sides", f"it is {described(shape)}")
    for side in shape:
        check_count("shape", side, least=-(2**31))
    least = 3 if periodic else 1
    require(
        len(shape) >= 1 and min(shape) >= least and np.prod(shape) >= 2,
        "shape",
        f"have sides of at least {least} and two nodes in all",
        f"it is {tuple(shape)}",
    )
