"""Star-mesh elimination: resistor networks solved without a subtraction.

Eliminating a node a of a resistor network replaces its star of conductances `k_ai` by the mesh
`k_ai k_aj / Σ_l k_al` between its neighbours (the Kron reduction, one node at a time). Every number is a
sum, product or quotient of positive numbers: the pivot is the sum of the node's conductances, never a
stored diagonal from which they would have to cancel. Relative accuracy then does not depend on how far
apart the conductances lie (the idea of Grassmann, Taksar and Heyman for Markov chains).
"""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from jaxphys._checks import InputError
from jaxphys.solvers.batching import (
    AbstractPlannedSolver,
    batched,
    gather_rows,
    loop,
    of_one_width,
    to_last_axis,
)
from jaxphys.solvers.bordered import Bonds, NetworkLike, Reply, TaskLike, check_planned_for
from jaxphys.solvers.constraints import AnyConstraints
from jaxphys.solvers.elimination import MOST_PRODUCTS, Draft, Elimination, Room, Stage, draft_elimination


class StarMesh(AbstractPlannedSolver):
    """Sparse, subtraction-free elimination for flow networks, planned once per graph.

    For boundaries that hold nodes (no drops), or that let the network float with its mean projected out.
    Conductances must be positive. Every potential keeps its digits however far apart the conductances lie, so
    long as products of two of them are no smaller or larger than numbers can be (1e-152 to 1e152 in float64).

    Usually made by `StarMesh.for_task(network, task)`. An ensemble on one graph shares one plan. Realizations
    with different graphs are planned side by side; the solver then serves exactly that ensemble, in its
    order, under one `vmap` over all of it.

    **Arguments**

    - `edges`: `(M, 2)`, or `(R, M, 2)` for R realizations; an edge from a node to itself carries nothing.
    - `rows`: the rows of the boundary, `(c, n)` or `(R, c, n)`.
    - `terminals`: `(n,)` or `(R, n)`, true for nodes where a task applies forces or reads: all that `respond`
      may use; every node if None. Few of them make it faster.
    - `draft`, `room`: `draft_mesh` of the same arguments where it is at hand, and the sizes that its tables
      are padded to; plans of one room run in one compiled program.

    Raises `InputError` where the boundary holds anything but nodes, where realizations hold different numbers
    of them, or where elimination would fill the graph beyond `MOST_PRODUCTS`.

    >>> import jax.numpy as jnp, jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]), k=[1e-9, 3e9])
    >>> boundary = jp.Boundary(network, ground=[2])
    >>> solver = jp.StarMesh(network.topology.edges, boundary.rows)
    >>> jp.equilibrate(network, boundary, jnp.array([1e-9, 0.0, 0.0]), solver=solver).x.round(3).tolist()
    [1.0, 0.0, 0.0]
    """

    structures: ClassVar[tuple[str, ...] | None] = ("laplacian",)
    has_room: ClassVar[bool] = True

    plan: Elimination
    conductors: Int[Array, "p S"]
    ends: Int[Array, "2 G M"]
    held: Int[Array, "G c"]
    terminals: Int[Array, "G t"] | None
    num_nodes: int = eqx.field(static=True)
    graphs: int = eqx.field(static=True)
    floating: bool = eqx.field(static=True)

    def __init__(
        self,
        edges: ArrayLike,
        rows: ArrayLike,
        terminals: ArrayLike | None = None,
        *,
        room: "MeshRoom | None" = None,
        draft: "MeshDraft | None" = None,
    ):
        draft = draft_mesh(edges, rows, terminals) if draft is None else draft
        room = draft.room if room is None else room
        edges, n = draft.edges, draft.num_nodes
        count = len(edges)
        offsets = n * np.arange(count)[:, None]
        self.plan = draft.elimination.planned(room.elimination)
        through = (edges + offsets[..., None]).reshape(-1, 2)
        conductors = _conductors(
            through, draft.elimination.slot, len(self.plan.pairs), n * count, room.parallel
        )
        self.conductors = jnp.asarray(conductors, jnp.int32)
        self.ends = jnp.asarray(np.moveaxis(edges + offsets[..., None], -1, 0), jnp.int32)
        self.held = jnp.asarray(draft.held + offsets, jnp.int32)
        few = None if room.terminals is None else _filled_up(draft.acted, room.terminals)
        self.terminals = None if few is None else jnp.asarray(few + offsets, jnp.int32)
        self.num_nodes = n
        self.graphs = count
        self.floating = draft.floating

    @classmethod
    def plan_arguments(cls, network: NetworkLike, task: TaskLike) -> tuple[Array, Array, np.ndarray]:
        must = "be a flow network for star-mesh elimination"
        check_planned_for(network, task, cls.structures, must)
        acting = [np.any(np.asarray(rows) != 0, axis=-2) for rows in (task.force, task.readout)]
        return network.topology.edges, task.boundary.rows, acting[0] | acting[1]

    @property
    def chunk(self) -> int:
        return 64

    @property
    def is_relative(self) -> bool:
        return True

    def factor(self, hessian: Float[Array, "n n"], constraints: AnyConstraints) -> Bool[Array, ""]:
        # Elimination costs no more than a solve and goes with each; what is left is to look at the signs.
        diagonal = jnp.eye(hessian.shape[0], dtype=bool)
        return jnp.all(diagonal | (hessian <= 0)) & jnp.all(jnp.isfinite(hessian))

    def solve(
        self,
        factors: Bool[Array, ""],
        hessian: Float[Array, "n n"],
        constraints: AnyConstraints,
        force: Float[Array, "n m"],
        values: Float[Array, "c m"],
    ) -> tuple[Float[Array, "n m"], Float[Array, "c m"]]:
        x = batched(self, _solve_kernel, (hessian, force, values))
        return x, constraints.lift.T @ (force - hessian @ x)

    def is_definite(self, factors: Bool[Array, ""]) -> Bool[Array, ""]:
        return factors

    def respond(
        self,
        bonds: Bonds,
        constraints: AnyConstraints,
        force: Float[Array, "n m"],
        values: Float[Array, "c m"],
        readout: Float[Array, "o n"],
    ) -> Reply:
        k, edges, rows = bonds.k, bonds.edges, constraints.rows
        arguments = (k, edges, rows, force, values, readout)
        x, strains, outputs, sound, planned = batched(self, _respond_kernel, arguments)
        # Currents that are left over at nodes which nothing holds; compiled away where it is not used.
        currents = k[:, None] * strains
        balance = jnp.zeros_like(x).at[edges[:, 0]].add(currents).at[edges[:, 1]].add(-currents) - force
        balance = balance - rows.T @ (constraints.lift.T @ balance)
        # Currents are differences of what either end would drive alone.
        either = k[:, None] * (jnp.abs(x[edges[:, 0]]) + jnp.abs(x[edges[:, 1]]))
        size = jnp.max(either, axis=0, initial=0.0) + jnp.max(jnp.abs(force), axis=0)
        residual = jnp.max(jnp.max(jnp.abs(balance), axis=0) / (size + jnp.finfo(size.dtype).tiny))
        # Elimination multiplies conductances two by two: where that leaves the range of numbers, they are
        # lost.
        limits, is_edge = jnp.finfo(k.dtype), edges[:, 0] != edges[:, 1]
        smallest, largest = 100 * float(limits.tiny) ** 0.5, 0.01 * float(limits.max) ** 0.5
        # Conductances that are not positive, or NaN, are marked by `definite`.
        fits = jnp.all(~(k > 0) | ((k > smallest) & (k < largest)) | ~is_edge)
        return Reply(x, outputs, strains, residual, jnp.zeros((), x.dtype), sound, planned & fits)


class MeshRoom(NamedTuple):
    """What plans of `StarMesh` share if they run in one compiled program.

    - `elimination`: sizes of the tables. `parallel`: edges between one pair of nodes. `terminals`: of each
      graph, or None where every node may be one. `side_by_side`: whether realizations have graphs of their
      own.
    """

    elimination: Room
    parallel: int
    terminals: int | None
    side_by_side: bool

    def joined(self, other: "MeshRoom") -> "MeshRoom":
        """Room enough for both."""
        return MeshRoom(
            self.elimination.joined(other.elimination),
            max(self.parallel, other.parallel),
            None
            if self.terminals is None or other.terminals is None
            else max(self.terminals, other.terminals),
            self.side_by_side or other.side_by_side,
        )


class MeshDraft(NamedTuple):
    """What a plan of `StarMesh` is made from once its room is known; `G` graphs, one if all are the same."""

    edges: Int[np.ndarray, "G M 2"]
    held: Int[np.ndarray, "G c"]
    acted: Bool[np.ndarray, "G n"]
    floating: bool
    num_nodes: int
    elimination: Draft

    @property
    def room(self) -> MeshRoom:
        """The least that it needs."""
        terminals = _most(self.acted) if _are_few(self.acted) else None
        ends = np.sort(self.edges, axis=2) + self.num_nodes * np.arange(len(self.edges))[:, None, None]
        joining = ends[ends[..., 0] != ends[..., 1]]
        parallel = np.unique(joining, axis=0, return_counts=True)[1].max(initial=2)
        return MeshRoom(self.elimination.room, int(parallel), terminals, len(self.edges) > 1)


def draft_mesh(
    edges: ArrayLike,
    rows: ArrayLike,
    terminals: ArrayLike | None = None,
    *,
    side_by_side: bool = False,
    most_each: int = MOST_PRODUCTS,
) -> MeshDraft:
    """Settle the order of elimination for the arguments of `StarMesh`; on the host.

    With `side_by_side` realizations on one graph are planned as if each had its own. Raises `TooMuchFill`
    where a graph needs more than `most_each` products, or all of them more than there is a plan for.
    """
    edges, rows = np.asarray(edges), np.asarray(rows, dtype=float)
    n = rows.shape[-1]
    acted = np.ones(n, bool) if terminals is None else np.asarray(terminals, dtype=bool)
    parts = [edges.reshape(-1, *edges.shape[-2:]), rows.reshape(-1, *rows.shape[-2:]), acted.reshape(-1, n)]
    if not side_by_side and all((part == part[:1]).all() for part in parts):
        parts = [part[:1] for part in parts]
    count = max(len(part) for part in parts)
    edges, rows, acted = (np.broadcast_to(part, (count, *part.shape[1:])) for part in parts)
    held, floating = _held_nodes(edges, rows)
    late = [set(np.flatnonzero(row).tolist()) if _are_few(acted) and not floating else set() for row in acted]
    most = min(count * most_each, MOST_PRODUCTS)
    elimination = draft_elimination(list(edges), n, held.tolist(), late, most=most)
    return MeshDraft(edges, held, acted, floating, n, elimination)


def strain_moment(
    strains: Float[Array, "M m"], moment: Float[Array, "m o"], *, shared: bool
) -> Float[Array, " M"]:
    """`Σ_ab moment_ab s_a s_(m-o+b)` for every edge: the last o columns of `strains` against all m.

    With `shared`, `vmap` works along the last axis, as `StarMesh` does for an ensemble on one graph.
    """
    return _shared_moment(strains, moment) if shared else _moment(strains, moment)


def _moment(strains: Float[Array, "M m"], moment: Float[Array, "m o"]) -> Float[Array, " M"]:
    return jnp.sum((strains @ moment) * strains[:, strains.shape[1] - moment.shape[1] :], axis=1)


@jax.custom_jvp
def _shared_moment(strains: Float[Array, "M m"], moment: Float[Array, "m o"]) -> Float[Array, " M"]:
    return _moment_by_realization(strains, moment)


@_shared_moment.defjvp
def _shared_moment_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    return jax.jvp(_moment, primals, tangents)


@custom_vmap
def _moment_by_realization(strains: Array, moment: Array) -> Array:
    return _moment(strains, moment)


@_moment_by_realization.def_vmap
def _moment_of_all(
    axis_size: int, batched: Sequence[bool], strains: Array, moment: Array
) -> tuple[Array, bool]:
    strains, moment = (to_last_axis(*pair) for pair in zip(batched, (strains, moment), strict=True))
    count, outputs = moment.shape[:2]
    pulls = jnp.sum(strains[:, :, None] * moment, axis=1)
    total = jnp.sum(pulls * strains[:, count - outputs :], axis=1)
    return jnp.moveaxis(jnp.broadcast_to(total, (strains.shape[0], axis_size)), -1, 0), True


def _solve_kernel(
    solver: StarMesh,
    hessian: Float[Array, "G n n #B"],
    force: Float[Array, "G n m #B"],
    values: Float[Array, "G c m #B"],
) -> Float[Array, "G n m _"]:
    n, pairs = solver.num_nodes, solver.plan.pairs
    conductances = -hessian[pairs[:, 0] // n, pairs[:, 0] % n, pairs[:, 1] % n]
    places = jnp.zeros((solver.plan.num_nodes + 1, conductances.shape[-1]), conductances.dtype)
    conductances = jnp.concatenate([conductances, places])
    if solver.floating:
        force = force - jnp.mean(force, axis=1, keepdims=True)
    x = _potentials(solver, conductances, force, values, 0)
    states = x[:-1].reshape(solver.graphs, n, *x.shape[1:])
    return states - _shift(solver, x, values)[:, None] if solver.floating else states


def _respond_kernel(
    solver: StarMesh,
    k: Float[Array, "G M #B"],
    edges: Int[Array, "G M 2 #B"],
    rows: Float[Array, "G c n #B"],
    force: Float[Array, "G n m #B"],
    values: Float[Array, "G c m #B"],
    readout: Float[Array, "G o n #B"],
) -> tuple[Array, Array, Array, Array, Array]:
    graphs, n, terminals = solver.graphs, solver.num_nodes, solver.terminals
    flat = jnp.concatenate([k.reshape(-1, k.shape[-1]), jnp.zeros((1, k.shape[-1]), k.dtype)])
    conductances = jnp.sum(gather_rows(flat, solver.conductors), axis=0)
    sound = jnp.all(k >= 0, axis=1)
    planned = _is_planned(solver, edges, rows)
    if terminals is not None:
        elsewhere = jnp.ones(graphs * n, bool).at[terminals].set(False).reshape(graphs, n)
        outside = (force != 0).any(axis=2) | (readout != 0).any(axis=1)
        planned &= ~jnp.any(outside & elsewhere[..., None], axis=1)
    if solver.floating:
        force = force - jnp.mean(force, axis=1, keepdims=True)
    quiet = 0 if terminals is None or solver.floating else solver.plan.quiet
    x = _potentials(solver, conductances, force, values, quiet)
    signs = jnp.array([1, -1], x.dtype)[:, None, None, None, None]
    strains = jnp.sum(gather_rows(x, solver.ends) * signs, axis=0)
    states = x[:-1].reshape(graphs, n, *x.shape[1:])
    shift = _shift(solver, x, values)[:, None] if solver.floating else jnp.zeros((), x.dtype)
    if terminals is None:
        outputs = jnp.einsum("gonB,gnmB->gomB", *of_one_width(readout, states - shift))
    else:
        at = terminals - n * jnp.arange(graphs, dtype=terminals.dtype)[:, None]
        weights = jnp.take_along_axis(readout, at[:, None, :, None], axis=2)
        outputs = jnp.sum(weights[:, :, :, None] * (gather_rows(x, terminals) - shift)[:, None], axis=2)
    sound = sound & jnp.all(jnp.isfinite(outputs), axis=(1, 2))
    return states - shift, strains, outputs, sound, planned


def _is_planned(
    solver: StarMesh, edges: Int[Array, "G M 2 #B"], rows: Float[Array, "G c n #B"]
) -> Bool[Array, "G _"]:
    """Whether these are the edges and held nodes that were planned for."""
    first = solver.num_nodes * jnp.arange(solver.graphs, dtype=edges.dtype)[:, None]
    ends = jnp.moveaxis(solver.ends - first, 0, -1)[..., None]
    same = jnp.all(edges == ends, axis=(1, 2))
    if solver.floating:
        return same & jnp.all(rows != 0, axis=(1, 2))
    held = jnp.take_along_axis(rows, (solver.held - first)[:, :, None, None], axis=2)
    return same & jnp.all(held == 1, axis=(1, 2)) & (jnp.sum(rows != 0, axis=(1, 2)) == held.shape[1])


def _potentials(
    solver: StarMesh,
    conductances: Float[Array, " S #B"],
    force: Float[Array, "G n m #B"],
    values: Float[Array, "G c m #B"],
    quiet: int,
) -> Float[Array, "N1 m _"]:
    """Eliminate, carrying forces along, and substitute back; no force acts in the first `quiet` stages."""
    width = max(conductances.shape[-1], force.shape[-1], values.shape[-1])
    columns, zero_node = force.shape[2], solver.plan.num_nodes
    mesh = jnp.broadcast_to(conductances, (len(conductances), width))
    x = jnp.broadcast_to(force, (*force.shape[:-1], width)).reshape(-1, columns, width)
    x = jnp.concatenate([x, jnp.zeros((1, columns, width), x.dtype)])
    inverses = []
    for number, stage in enumerate(solver.plan.stages):
        if number < quiet:
            mesh, inverse = loop(partial(_eliminate, zero_node), mesh, stage)
        else:
            (mesh, x), inverse = loop(partial(_eliminate_with_forces, zero_node), (mesh, x), stage)
        inverses.append(inverse)
    held = jnp.zeros_like(values) if solver.floating else values
    x = x.at[solver.held].set(jnp.broadcast_to(held, (*held.shape[:-1], width)), mode="promise_in_bounds")
    for stage, inverse in zip(solver.plan.stages[::-1], inverses[::-1], strict=True):
        x, _ = loop(partial(_substitute, mesh), x, (stage, inverse), reverse=True)
    return x


def _eliminate(zero_node: int, mesh: Array, level: Stage) -> tuple[Array, Array]:
    """One level: a mesh in place of each pivot's star. Also one over each pivot's conductance."""
    whole = jnp.sum(gather_rows(mesh, level.slots), axis=0)
    inverse = jnp.where(level.pivots[:, None] < zero_node, 1 / whole, 0)
    if level.targets.shape[0] == 0:
        return mesh, inverse
    mesh = mesh.at[level.places].set(inverse, mode="promise_in_bounds")
    joined = jnp.prod(gather_rows(mesh, level.factors), axis=0)
    return mesh.at[level.targets].add(joined, mode="promise_in_bounds"), inverse


def _eliminate_with_forces(
    zero_node: int, carry: tuple[Array, Array], level: Stage
) -> tuple[tuple[Array, Array], Array]:
    """The same; and a pivot's current is what enters there and what earlier pivots passed on to it.

    What is kept is the current over the pivot's conductance.
    """
    mesh, x = carry
    mesh, inverse = _eliminate(zero_node, mesh, level)
    passed = jnp.sum(gather_rows(mesh, level.inlets)[:, :, None] * gather_rows(x, level.sources), axis=0)
    currents = (gather_rows(x, level.pivots) + passed) * inverse[:, None]
    return (mesh, x.at[level.pivots].set(currents, mode="promise_in_bounds")), inverse


def _substitute(mesh: Array, x: Array, level: tuple[Stage, Array]) -> tuple[Array, None]:
    """One level back: a potential is the weighted mean of the neighbours', plus the current's share."""
    stage, inverse = level
    pulled = jnp.sum(gather_rows(mesh, stage.slots)[:, :, None] * gather_rows(x, stage.neighbours), axis=0)
    return x.at[stage.pivots].add(pulled * inverse[:, None], mode="promise_in_bounds"), None


def _shift(solver: StarMesh, x: Float[Array, "N1 m #B"], values: Float[Array, "G c m #B"]) -> Array:
    """What a floating network's potentials must come down by, `(G, m, B)`, so that its row reads `values`."""
    mean = jnp.mean(x[:-1].reshape(solver.graphs, -1, *x.shape[1:]), axis=1)
    # The row reads the mean times √n.
    return mean - values[:, 0] / np.sqrt(solver.num_nodes).astype(x.dtype)


def _held_nodes(
    edges: Int[np.ndarray, "G M 2"], rows: Float[np.ndarray, "G c n"]
) -> tuple[Int[np.ndarray, "G c"], bool]:
    """Nodes that the rows hold, in order; or one node of each graph, and True, if it floats."""
    level = rows.shape[1] == 1 and (rows == rows[:, :, :1]).all() and (rows != 0).all() and rows.shape[2] > 1
    if level:
        # Any node may stay; the best connected one makes least fill.
        degrees = [
            np.bincount(each[each[:, 0] != each[:, 1]].ravel(), minlength=rows.shape[2]) for each in edges
        ]
        return np.argmax(degrees, axis=1)[:, None], True
    if rows.shape[1] == 0 or not ((rows != 0).sum(axis=2) == 1).all() or not (rows.max(axis=2) == 1).all():
        raise InputError(
            "Argument `rows` must hold single nodes, or nothing of a floating network, for `StarMesh`, "
            "but they hold drops or combinations of nodes; use `Dense`."
        )
    return np.argmax(rows, axis=2), False


def _most(chosen: Bool[np.ndarray, "G n"]) -> int:
    return max(1, int(chosen.sum(axis=1).max()))


def _are_few(chosen: Bool[np.ndarray, "G n"]) -> bool:
    return 4 * _most(chosen) <= chosen.shape[1]


def _filled_up(chosen: Bool[np.ndarray, "G n"], number: int) -> Int[np.ndarray, "G t"]:
    """Numbers of the chosen nodes, each graph's filled up to `number` with its first unchosen ones."""
    return np.sort(np.argsort(~chosen, axis=1, kind="stable")[:, :number], axis=1)


def _conductors(
    edges: Int[np.ndarray, "E 2"],
    slot: dict[tuple[int, int], int],
    num_pairs: int,
    num_nodes: int,
    parallel: int,
) -> Int[np.ndarray, "p S1"]:
    """Which edges join each pair; filled up with the number of edges, where a zero is kept."""
    table = np.full((parallel, num_pairs + 1 + num_nodes), len(edges))
    found = [0] * num_pairs
    for edge, (a, b) in enumerate(np.sort(edges, axis=1).tolist()):
        if a != b:
            place = slot[(a, b)]
            table[found[place], place] = edge
            found[place] += 1
    return table
