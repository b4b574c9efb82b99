"""Planning sparse Cholesky factorisation by blocks: where every number of every block is kept."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxphys._checks import InputError
from jaxphys.solvers.elimination import Elimination, Stage, elimination_order


class Level(eqx.Module):
    """A stage of the plan in rows of numbers: every entry of every block has a row, and every coordinate.

    With L levels of up to m pivots, p of them neighbours, e of them earlier pivots and u updates each:

    - `diagonals`: `(L, d, d, m)` rows of the pivots' own blocks. `coordinates`: `(L, d, m)` of the pivots.
    - `stars`: `(L, d, p, m, d)` rows of the blocks that join a pivot's coordinate to its neighbours'.
    - `targets`: `(L, u)` rows that are updated. `factors`: `(L, 2, d, u)` by the products of which.
    - `inlets`, `sources`: `(L, e d, d m)` what earlier pivots pass on, and by which rows.
    - `outlets`, `neighbours`: `(L, p d, d m)` what neighbours pass back, and by which rows.
    - `is_pivot`: `(L, m)`, false for padding.
    """

    diagonals: Int[Array, "L d d m"]
    coordinates: Int[Array, "L d m"]
    stars: Int[Array, "L d p m d"]
    targets: Int[Array, "L u"]
    factors: Int[Array, "L 2 d u"]
    inlets: Int[Array, "L a w"]
    sources: Int[Array, "L a w"]
    outlets: Int[Array, "L b w"]
    neighbours: Int[Array, "L b w"]
    is_pivot: Bool[Array, "L m"]


def level_of(stage: Stage, pairs: int, nodes: int, d: int) -> Level:
    """The tables of a stage for nodes of d coordinates, `pairs` and `nodes` in all.

    Block b of the pairs and then the nodes keeps its entry (i, j) in row `d² b + d i + j`.
    """
    host = jax.tree.map(np.asarray, stage)
    pivots, slots, around = host.pivots, host.slots, host.neighbours
    count, m = pivots.shape
    along = np.arange(d)

    def entries(blocks: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        return d * d * blocks + d * i + j

    i, j = along[:, None, None], along[:, None]
    diagonals = entries(host.places[:, None, None], i, j)
    coordinates = d * pivots[:, None] + along[:, None]
    stars = entries(slots[:, None, :, :, None], along[:, None, None, None], along)

    def through(slots: np.ndarray, others: np.ndarray, backwards: bool) -> tuple[np.ndarray, np.ndarray]:
        # Axes: level, other node, its coordinate, the pivot's coordinate, pivot.
        theirs, own = along[:, None, None], along[:, None]
        first, second = (own, theirs) if backwards else (theirs, own)
        blocks = entries(slots[:, :, None, None], first, second)
        rows = np.broadcast_to(d * others[:, :, None, None] + theirs, blocks.shape)
        shape = (count, -1, d * m)
        return blocks.reshape(shape), rows.reshape(shape)

    inlets, sources = through(host.inlets, host.sources, False)
    outlets, neighbours = through(slots, around, True)
    # Between two neighbours, all entries; of a neighbour's own block, the lower ones.
    flat = slots.reshape(count, -1)
    own = (pairs + around).reshape(count, -1)
    i, j = (part.ravel() for part in np.indices((d, d)))
    lower = i >= j
    parts = [
        (host.targets, host.factors[:, 0], host.factors[:, 1], i, j),
        (own, flat, flat, i[lower], j[lower]),
    ]
    targets = [entries(to[..., None], i, j).reshape(count, -1) for to, _, _, i, j in parts]
    factors = [
        np.stack(
            [
                entries(block[:, None, :, None], along[:, None, None], entry).reshape(count, d, -1)
                for block, entry in ((one, i), (other, j))
            ],
            axis=1,
        )
        for _, one, other, i, j in parts
    ]

    def kept(array: np.ndarray) -> Array:
        return jnp.asarray(array, jnp.int32)

    return Level(
        diagonals=kept(diagonals),
        coordinates=kept(coordinates),
        stars=kept(stars),
        targets=kept(np.concatenate(targets, axis=-1)),
        factors=kept(np.concatenate(factors, axis=-1)),
        inlets=kept(inlets),
        sources=kept(sources),
        outlets=kept(outlets),
        neighbours=kept(neighbours),
        is_pivot=jnp.asarray(pivots < nodes),
    )


def kinds_of_rows(
    edges: Int[np.ndarray, "G M 2"],
    rows: Float[np.ndarray, "G c n"],
    directions: Float[np.ndarray, "G M q d"],
) -> tuple[Int[np.ndarray, "G h"], Float[np.ndarray, "G z n"]]:
    """Coordinates that the first rows hold, and the free motions that the others project out.

    Raises `InputError` where there are rows of another kind, drops among them.
    """
    count, total, _ = rows.shape
    single = ((rows != 0).sum(axis=2) == 1) & (rows.max(axis=2, initial=0) == 1)
    h = int(single[0].sum())
    nodes = rows.reshape(count, total, -1, directions.shape[-1])
    relative = [each[:, ends[:, 0]] - each[:, ends[:, 1]] for each, ends in zip(nodes, edges, strict=True)]
    strains = np.abs(np.einsum("gmqd,gcmd->gcmq", directions, np.array(relative))).max(axis=(2, 3), initial=0)
    free = strains <= 1e3 * np.finfo(rows.dtype).eps
    if not (single[:, :h].all() and free[:, h:].all() and not single[:, h:].any()):
        raise InputError(
            "Argument `rows` must hold nodes, or motions that cost nothing, for `SparseCholesky`, "
            "but they hold drops or combinations of nodes; use `Dense`."
        )
    return np.argmax(rows[:, :h], axis=2), rows[:, h:]


def grounded_coordinates(motions: np.ndarray) -> np.ndarray:
    """As many coordinates as there are motions, far apart in what they see of them: `(G, z)`."""
    import scipy.linalg

    chosen = [scipy.linalg.qr(each, mode="r", pivoting=True)[1][: len(each)] for each in motions]
    return np.array(chosen, dtype=int).reshape(len(motions), motions.shape[1])


def core_nodes_of(graphs: list[np.ndarray], num_nodes: int, fixed: list[list[int]]) -> list[list[int]]:
    """The nodes of each graph that go last and mostly touch all others, to be factored densely.

    As many in every graph: the most that one has, where the others have as many nodes. `fixed` are not
    eliminated.
    """
    orders, sizes = [], []
    for edges, gone in zip(graphs, fixed, strict=True):
        order = elimination_order(edges, num_nodes, gone)
        sparse = [
            place for place, (_, around) in enumerate(order) if 2 * len(around) < len(order) - place - 1
        ]
        orders.append([node for node, _ in order])
        sizes.append(len(order) - 1 - max(sparse, default=-1))
    size = min(max(sizes), *map(len, orders))
    return [sorted(order[len(order) - size :]) for order in orders]


def core_entries(
    cores: np.ndarray, slot: dict[tuple[int, int], int], pairs: int, zero: int, d: int
) -> np.ndarray:
    """Rows where the entries of the core's matrix are kept, `(G, c d, c d)`, for `cores` of shape `(G, c)`.

    `slot` numbers the pairs of nodes that are ever joined; entries of others are at `zero`.
    """
    count, c = cores.shape
    where = np.zeros((count, c, d, c, d), int)
    i, j = np.indices((d, d))
    for g, nodes in enumerate(cores.tolist()):
        for p, a in enumerate(nodes):
            where[g, p, :, p] = d * d * (pairs + a) + d * np.maximum(i, j) + np.minimum(i, j)
            for q, b in enumerate(nodes[:p]):
                block = d * d * slot.get((b, a), zero) + d * i + j
                where[g, q, :, p], where[g, p, :, q] = block, block.T
    return where.reshape(count, c * d, c * d)


def core_inlets(plan: Elimination, cores: np.ndarray, zero: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """By which entries, and from which coordinates, pivots pass on to coordinates of the core.

    Shapes `(e d, G, c d)`, for at most e pivots joined to one node of the core; filled up with what is
    `zero`.
    """
    incoming: dict[int, list[tuple[int, int]]] = {node: [] for node in cores.ravel().tolist()}
    for stage in plan.stages:
        neighbours, slots, pivots = (
            np.asarray(part) for part in (stage.neighbours, stage.slots, stage.pivots)
        )
        for level, place, column in zip(*np.nonzero(np.isin(neighbours, cores)), strict=True):
            joined = int(pivots[level, column]), int(slots[level, place, column])
            incoming[int(neighbours[level, place, column])].append(joined)
    most = max([len(pairs) for pairs in incoming.values()], default=0)
    table = np.full((2, most, *cores.shape), zero)
    table[0] = plan.num_nodes
    for node, pairs in incoming.items():
        if pairs:
            table[:, : len(pairs), *np.argwhere(cores == node)[0]] = np.array(pairs).T
    theirs, own = np.arange(d)[:, None, None, None], np.arange(d)
    rows = d * table[0][:, None, ..., None] + theirs + 0 * own
    entries = d * d * table[1][:, None, ..., None] + d * theirs + own
    shape = (most * d, len(cores), cores.shape[1] * d)
    return entries.reshape(shape), rows.reshape(shape)


def by_turn(plan: Elimination, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of nodes, `(p,)` each, the one eliminated first in front; kept nodes come last, by number.

    `plan`: the order of elimination. `first`, `second`: the nodes of p pairs, in either order.
    """
    pivots = np.concatenate([np.asarray(stage.pivots).ravel() for stage in plan.stages] or [np.zeros(0, int)])
    pivots = pivots[pivots < plan.num_nodes]
    turn = plan.num_nodes + np.arange(plan.num_nodes)
    turn[pivots] = np.arange(len(pivots))
    swap = turn[first] > turn[second]
    return np.where(swap, second, first), np.where(swap, first, second)
