"""Planned elimination of the nodes of a sparse graph: which order, in which levels, with which fill.

Eliminating a node joins its neighbours to one another. What that does to the graph depends on the graph
alone, so it is worked out once, on the host, and what remains for every new set of numbers is a short
list of gathers and scatters. Nodes that do not touch are eliminated together, a level at a time;
consecutive levels of like size are padded to one shape and run as one loop, so that programs stay small.
"""

import warnings
from collections.abc import Collection, Sequence
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jaxphys._checks import InputError

# What a loop more is worth in padded rows: it costs about a tenth of a second of compilation. Rows are
# whole ensembles where one graph serves all, and single numbers where each has its own.
_LOOP_ROWS, _LOOP_NUMBERS = 4e3, 2e3


MOST_PRODUCTS = 20_000_000
"""Products of one elimination beyond which there is no plan for it: some four gigabytes and two minutes."""
# From so many on, about five seconds, a warning says how long planning takes.
WARNED_PRODUCTS = 1_000_000


class TooMuchFill(InputError):
    """Eliminating the nodes of a graph would join so many pairs that there is no plan for it."""


# Pivots that go together, each with its neighbours at the time.
_Star = list[tuple[int, list[int]]]


class Stage(eqx.Module):
    """Levels of one padded shape: L levels of up to m pivots with up to d neighbours and u updates each.

    Slots number the pairs of nodes that are ever joined, then one for each node; the last one stays zero and
    takes all padding. The row after the last node does the same for nodes.

    - `pivots`: `(L, m)` nodes, and `places`, `(L, m)`, their own slots.
    - `neighbours`, `slots`: `(L, d, m)`, who is joined to a pivot, and by which slot.
    - `sources`, `inlets`: `(L, e, m)`, pivots of earlier levels that were joined to it, and by which slot.
    - `targets`: `(L, u)` slots between two neighbours of a pivot. `factors`: `(L, 3, u)`, the slots that join
      these to it, the one first that is eliminated first, and its own.
    """

    pivots: Int[Array, "L m"]
    places: Int[Array, "L m"]
    neighbours: Int[Array, "L d m"]
    slots: Int[Array, "L d m"]
    sources: Int[Array, "L e m"]
    inlets: Int[Array, "L e m"]
    targets: Int[Array, "L u"]
    factors: Int[Array, "L 3 u"]


class Elimination(eqx.Module):
    """The plan for one graph, or for many side by side that are numbered through.

    - `stages`: in the order of elimination. `quiet`: so many stages come before the first pivot of `late`.
    - `pairs`: `(S, 2)` the nodes that each slot joins, the zero slot left out.
    - `num_nodes`: over all graphs.
    """

    stages: list[Stage]
    pairs: Int[np.ndarray, "S 2"]
    num_nodes: int = eqx.field(static=True)
    quiet: int = eqx.field(static=True)


class Room(NamedTuple):
    """Sizes that a plan is padded to; plans of one room run in one compiled program.

    - `pairs`: of nodes that are ever joined. `quiet`, `late`: `(L, 4)` of every level, before and after the
      first pivot that goes late: pivots, neighbours, earlier pivots, updates.
    """

    pairs: int
    quiet: np.ndarray
    late: np.ndarray

    def joined(self, other: "Room") -> "Room":
        """Room enough for both."""
        return Room(
            max(self.pairs, other.pairs),
            *(_largest(*both) for both in ((self.quiet, other.quiet), (self.late, other.late))),
        )

    def with_spare(self, growth: int) -> "Room":
        """With more of all that differs from one set of graphs to the next, the more the larger `growth`."""
        factor, more = 1 + 0.02 * 2**growth, growth + 1
        levels = []
        for sizes in (self.quiet, self.late):
            wider = np.concatenate([sizes, np.repeat(sizes[-1:], more, axis=0)])
            # Neighbours and earlier pivots multiply the work of a level, and hardly differ.
            wider[:, [0, 3]] = np.ceil(wider[:, [0, 3]] * factor) + more
            wider[:, [1, 2]] += growth
            levels.append(wider)
        return Room(int(np.ceil(self.pairs * factor)) + more, *levels)


def _largest(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    most = max(len(one), len(other))
    filled = (np.pad(sizes, ((0, most - len(sizes)), (0, 0))) for sizes in (one, other))
    return np.maximum(*filled)


class Draft(NamedTuple):
    """An elimination whose order is settled, but not yet the room that its tables are given."""

    quiet: list["_Level"]
    late: list["_Level"]
    slot: dict[tuple[int, int], int]
    num_nodes: int
    loop: float

    @property
    def room(self) -> Room:
        """The least that it needs."""
        quiet, late = (
            np.array([level.shape for level in levels], dtype=int).reshape(-1, 4)
            for levels in (self.quiet, self.late)
        )
        return Room(len(self.slot), quiet, late)

    def planned(self, room: Room | None = None) -> Elimination:
        """The plan, padded to a room (the least one if None)."""
        room = room or self.room
        stages, counts = [], []
        for levels, sizes in ((self.quiet, room.quiet), (self.late, room.late)):
            filled = [*levels, *[_Level([], [], [], [])] * (len(sizes) - len(levels))]
            spans = _spans(sizes, self.loop)
            counts.append(len(spans))
            stages += [
                _stage(filled[begin:end], sizes[begin:end].max(axis=0), room.pairs, self.num_nodes)
                for begin, end in spans
            ]
        pairs = np.zeros((room.pairs, 2), dtype=int)
        pairs[: len(self.slot)] = np.array(list(self.slot), dtype=int).reshape(-1, 2)
        return Elimination(stages, pairs, self.num_nodes, counts[0])


def plan_elimination(
    graphs: Sequence[np.ndarray],
    num_nodes: int,
    kept: Sequence[Sequence[int]],
    late: Sequence[Collection[int]],
    loop: float | None = None,
) -> Elimination:
    """Plan the elimination of all nodes but `kept`, `late` after all others, in tables just large enough.

    Arguments and errors are those of `draft_elimination`.
    """
    return draft_elimination(graphs, num_nodes, kept, late, loop).planned()


def draft_elimination(
    graphs: Sequence[np.ndarray],
    num_nodes: int,
    kept: Sequence[Sequence[int]],
    late: Sequence[Collection[int]],
    loop: float | None = None,
    most: int = MOST_PRODUCTS,
) -> Draft:
    """Settle the order in which all nodes but `kept` go, those in `late` after all others.

    **Arguments**

    - `graphs`: `(M, 2)` edges of every graph, all with `num_nodes` nodes; edges from a node to itself do not
      count. `kept`, `late`: nodes of every graph.
    - `loop`: what a loop less is worth in padded rows.
    - `most`: products, `d (d - 1) / 2` for every node that goes while it has d neighbours, of all graphs.

    Raises `TooMuchFill` as soon as there are more of them, and warns of a plan that takes long.
    """
    products, is_warned = 0, False
    levels: dict[int, _Star] = {}
    late_levels: dict[int, _Star] = {}
    kept_pairs: list[tuple[int, int]] = []
    for number, edges in enumerate(graphs):
        offset = number * num_nodes
        order, remaining = least_fill_order(
            edges, num_nodes, set(kept[number]), set(late[number]), most - products
        )
        products += sum(len(near) * (len(near) - 1) // 2 for _, near in order)
        if products > WARNED_PRODUCTS and not is_warned:
            is_warned = True
            _tell(products * len(graphs) / (number + 1))
        depth = [0] * num_nodes
        for node, around in order:
            for other in around:
                depth[other] = max(depth[other], depth[node] + 1)
        for node, around in order:
            into = late_levels if node in late[number] else levels
            into.setdefault(depth[node], []).append((offset + node, [offset + other for other in around]))
        kept_pairs += [(offset + a, offset + b) for a, b in remaining]
    slot: dict[tuple[int, int], int] = {}
    rows = []
    first_late = len(levels)
    for level in [levels[depth] for depth in sorted(levels)] + [late_levels[d] for d in sorted(late_levels)]:
        for node, around in level:
            for other in around:
                slot.setdefault(_pair(node, other), len(slot))
        rows.append(level)
    for a, b in kept_pairs:
        slot.setdefault(_pair(a, b), len(slot))
    tables = _level_tables(rows, slot)
    if loop is None:
        loop = _LOOP_ROWS if len(graphs) == 1 else _LOOP_NUMBERS
    return Draft(tables[:first_late], tables[first_late:], slot, num_nodes * len(graphs), loop)


def _tell(products: float) -> None:
    warnings.warn(
        f"Planning the elimination of {products:.2g} products takes about {5e-6 * products:.0f} s "
        f"and {200 * products / 2**30:.2g} GiB; a `Dense` solver needs no plan.",
        stacklevel=2,
    )


def _pair(a: int, b: int) -> tuple[int, int]:
    return (a, b) if a < b else (b, a)


def elimination_order(edges: np.ndarray, num_nodes: int, kept: Collection[int]) -> _Star:
    """Nodes in the order of elimination, each with its neighbours at the time.

    All but `kept`, cheapest fill first. `edges`: `(M, 2)`; one from a node to itself counts for nothing.
    Raises `TooMuchFill` beyond `MOST_PRODUCTS`.
    """
    return least_fill_order(edges, num_nodes, set(kept), set())[0]


def least_fill_order(
    edges: np.ndarray, num_nodes: int, kept: set[int], late: set[int], most: int = MOST_PRODUCTS
) -> tuple[_Star, list[tuple[int, int]]]:
    """Pivots with their neighbours at the time, cheapest fill first; and pairs of kept nodes left joined.

    In every round all nodes of (nearly) least fill that do not touch go at once, which keeps levels few.
    Neighbours are kept twice, as sets to iterate over and as bits of whole numbers to count what two nodes
    have in common: an edge less in the fill for each neighbour of both.
    """
    around: list[set[int]] = [set() for _ in range(num_nodes)]
    for a, b in edges.tolist():
        if a != b:
            around[a].add(b)
            around[b].add(a)
    bits = [sum(1 << other for other in near) for near in around]
    order: _Star = []
    products = 0

    def check(products: int) -> None:
        if products > most:
            raise TooMuchFill(
                f"Argument `edges` must leave at most {most} products to planned elimination, "
                f"but {num_nodes} nodes with {len(edges)} edges need more; solve by `Dense`."
            )

    for group in (set(range(num_nodes)) - kept - late, late - kept):
        left, stale = set(group), set(group)
        price: dict[int, tuple[int, int]] = {}
        while left:
            for node in stale & left:
                near = around[node]
                own, common = bits[node], 0
                for other in near:
                    common += (bits[other] & own).bit_count()
                price[node] = ((len(near) * (len(near) - 1) - common) // 2, len(near))
            stale.clear()
            first = min(left)
            if left == {first, *(around[first] & left)} and {price[node] for node in left} == {
                (0, len(around[first]))
            }:
                # All that is left is joined to all, and nothing will change any more.
                rest = around[first] | {first}
                for node in sorted(left):
                    rest.discard(node)
                    order.append((node, sorted(rest)))
                    products += len(rest) * (len(rest) - 1) // 2
                for node in rest:
                    around[node] -= left
                    bits[node] &= ~sum(1 << gone for gone in left)
                check(products)
                break
            cheap = min(price[node][0] for node in left) + 1
            blocked: set[int] = set()
            for node in sorted(left, key=lambda node: (price[node], node)):
                if price[node][0] > cheap or node in blocked:
                    continue
                near, own = around[node], bits[node]
                blocked |= near
                order.append((node, sorted(near)))
                products += len(near) * (len(near) - 1) // 2
                check(products)
                left.discard(node)
                for other in near:
                    around[other] |= near
                    around[other] -= {other, node}
                    bits[other] = (bits[other] | own) & ~(1 << other | 1 << node)
                    stale |= around[other] | {other}
    return order, [(a, b) for a in kept for b in around[a] & kept if a < b]


class _Level(NamedTuple):
    """Pivots; neighbours, and earlier pivots, with slots; updates `(target, first, second, pivot)`."""

    pivots: list[int]
    outward: list[list[tuple[int, int]]]
    inward: list[list[tuple[int, int]]]
    updates: list[tuple[int, int, int, int]]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Pivots m, neighbours d, earlier pivots e, updates u."""
        widest = (max(map(len, self.outward)), max(map(len, self.inward)))
        return len(self.pivots), max(widest[0], 1), max(widest[1], 1), len(self.updates)


def _level_tables(levels: Sequence[_Star], slot: dict[tuple[int, int], int]) -> list[_Level]:
    tables = []
    incoming: dict[int, list[tuple[int, int]]] = {}
    # Who goes first; kept nodes come last, by number.
    turn = {node: place for place, (node, _) in enumerate(star for level in levels for star in level)}
    for level in levels:
        outward, updates = [], []
        for node, around in level:
            joined = [(other, slot[_pair(node, other)]) for other in around]
            outward.append(joined)
            for i, (one, first) in enumerate(joined):
                incoming.setdefault(one, []).append((node, first))
                for other, second in joined[:i]:
                    earlier = (turn.get(one, len(turn)), one) < (turn.get(other, len(turn)), other)
                    sides = (first, second) if earlier else (second, first)
                    updates.append((slot[_pair(one, other)], *sides, node))
        pivots = [node for node, _ in level]
        tables.append(_Level(pivots, outward, [incoming.get(node, []) for node in pivots], updates))
    return tables


def _spans(sizes: np.ndarray, loop: float) -> list[tuple[int, int]]:
    """Cut levels into runs of one padded shape each: padding against the number of loops."""
    best, cut = [0.0], [0]
    for end in range(1, len(sizes) + 1):
        shape = [0, 0, 0, 0]
        price, choice = float("inf"), end - 1
        for begin in range(end - 1, -1, -1):
            shape = [max(pair) for pair in zip(shape, sizes[begin].tolist(), strict=True)]
            pivots, outward, inward, updates = shape
            total = best[begin] + (end - begin) * (3 * updates + 3 * pivots * (outward + inward)) + loop
            if total < price:
                price, choice = total, begin
        best.append(price)
        cut.append(choice)
    spans, end = [], len(sizes)
    while end:
        spans.append((cut[end], end))
        end = cut[end]
    return spans[::-1]


def _stage(tables: Sequence[_Level], sizes: np.ndarray, num_pairs: int, zero_node: int) -> Stage:
    count = len(tables)
    m, d, e, u = sizes.tolist()
    zero_slot = num_pairs + zero_node
    pivots = np.full((count, m), zero_node)
    outward, inward = np.full((2, count, d, m), zero_slot), np.full((2, count, e, m), zero_slot)
    outward[0], inward[0] = zero_node, zero_node
    updates = np.full((4, count, u), zero_slot)
    for row, level in enumerate(tables):
        pivots[row, : len(level.pivots)] = level.pivots
        for table, joined in ((outward, level.outward), (inward, level.inward)):
            for place, pairs in enumerate(joined):
                if pairs:
                    table[:, row, : len(pairs), place] = np.array(pairs).T
        if level.updates:
            updates[:, row, : len(level.updates)] = np.array(level.updates).T
            updates[3, row, : len(level.updates)] += num_pairs
    factors = np.moveaxis(updates[1:], 0, 1)
    arrays = [pivots, num_pairs + pivots, *outward, *inward, updates[0], factors]
    return Stage(*(jnp.asarray(array, jnp.int32) for array in arrays))
