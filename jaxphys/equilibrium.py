"""Boundary conditions and the states in which a network comes to rest."""

import enum
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxphys._checks import InputError, check_kind, is_concrete, require, to_array
from jaxphys.networks.physics import (
    AbstractDifferenceNetwork,
    AbstractNetwork,
    FlowNetwork,
    Node,
    SpringNetwork,
    check_single,
)
from jaxphys.networks.topology import component_labels
from jaxphys.solvers import (
    AbstractSolver,
    AnyConstraints,
    Constraints,
    Dense,
    SparseConstraints,
    SparseLU,
    pinned,
    solve_bordered,
)


class Status(enum.IntEnum):
    """How a computation ended; carried as data, so that one failure does not stop its neighbours."""

    OK = 0
    NOT_POSITIVE_DEFINITE = 1
    NOT_FINITE = 2
    INACCURATE = 3
    NOT_CONVERGED = 4


# What a reaction may be off by, in units of what refinement moves it and a rounding error of its terms,
# beside what it shares of the error of x.
_REACTION = 30


class Boundary(eqx.Module):
    """What is held: rows of `C x = d`, beside which the network minimises its energy.

    Held nodes (Dirichlet), held differences between two nodes, grounds and projected free
    modes are all rows of C; forces or currents (Neumann) need none. Only the first
    `num_held` rows, those of `held_nodes` and then `held_drops`, have values that a caller
    chooses; the rest are held at zero.

    **Arguments**

    - `network`: the network that is held (only its graph and geometry matter).
    - `held_nodes`: nodes whose coordinates are all held (d rows each).
    - `held_drops`: pairs of nodes whose difference is held: a voltage drop, or for springs the
      extension along the line between them.
    - `ground`: nodes held at zero. Nodes are given by number, or by name where the network's have names.
    - `free_modes`: what to do about motions that cost nothing and that no row holds (a floating
      flow network, rigid motions): `"forbid"` refuses them; `"project"` keeps the state
      orthogonal to them and balances forces along them evenly (the pseudo-inverse).

    Raises `InputError` on nodes that do not exist, rows that repeat one another, a component of
    the graph that nothing holds, or a spring network with floppy modes.

    >>> import jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]))
    >>> jp.Boundary(network, held_nodes=[0], ground=[2]).rows.tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """

    constraints: AnyConstraints
    num_held: int = eqx.field(static=True)

    def __init__(
        self,
        network: AbstractNetwork,
        *,
        held_nodes: Sequence[Node] | np.ndarray = (),
        held_drops: Sequence[tuple[Node, Node]] | np.ndarray = (),
        ground: Sequence[Node] | np.ndarray = (),
        free_modes: Literal["forbid", "project"] = "forbid",
    ):
        check_single(network)
        require(
            free_modes in ("forbid", "project"),
            "free_modes",
            'be "forbid" or "project"',
            f"it is {free_modes!r}",
        )
        held_nodes = network.node_numbers(held_nodes, "held_nodes").reshape(-1)
        ground = network.node_numbers(ground, "ground").reshape(-1)
        pairs = network.node_numbers(held_drops, "held_drops")
        require(
            pairs.size == 0 or pairs.shape[-1] == 2,
            "held_drops",
            "hold pairs of nodes",
            f"it has shape {pairs.shape}",
        )
        pairs = pairs.reshape(-1, 2)
        for source, target in pairs[pairs[:, 0] == pairs[:, 1]][:1].tolist():
            joined = f"one joins {network.node_names[source]} to itself"
            require(source != target, "held_drops", "join different nodes", joined)
        chosen = _chosen_rows(network, held_nodes, pairs, ground)
        if chosen.repeat:
            raise InputError(
                "Arguments `held_nodes`, `held_drops` and `ground` must hold each coordinate once, "
                "but one of their conditions repeats or follows from the others."
            )
        free, floating = _free_motions(network, chosen, pairs, np.concatenate([held_nodes, ground]))
        _check_free_modes(network, chosen, free, floating, free_modes)
        self.constraints = chosen.with_motions(free, network.k.dtype)
        self.num_held = network.dimension * len(held_nodes) + len(pairs)

    @property
    def num_rows(self) -> int:
        """c: rows of C."""
        return self.constraints.num_rows

    def row_entries(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of every row of C the coordinates that it reads, and its entries there. Runs on the host."""
        return self.constraints.row_entries()

    @property
    def rows(self) -> Float[Array, "*R c n"]:
        """C: held nodes, held drops, grounds, projected free modes."""
        return self.constraints.rows


def check_boundary(
    network: AbstractNetwork, boundary: Boundary, solver: AbstractSolver | None = None
) -> None:
    """Raise `InputError` unless this is one network, and a boundary of its size and precision."""
    check_single(network)
    check_kind("boundary", boundary, Boundary, "a `Boundary`")
    check_solver(solver)
    rows = boundary.constraints.rows_like
    require(
        rows.ndim == 2, "boundary", "be that of one network", "it is stacked; use `jax.vmap` or `jp.member`"
    )
    n = network.num_coordinates
    require(
        rows.shape[1] == n,
        "boundary",
        f"be made for this network of {n} coordinates",
        f"it was made for one of {rows.shape[1]}",
    )
    check_precision("boundary", network, rows)


def check_solver(solver: Any) -> None:
    """Raise `InputError` unless this is a solver or None."""
    if solver is not None:
        check_kind("solver", solver, AbstractSolver, "a solver, as `Dense()`")


def check_precision(argument: str, network: AbstractNetwork, array: Any) -> None:
    """Raise `InputError` unless an array is as precise as the network."""
    require(
        array.dtype == network.k.dtype,
        argument,
        f"have the precision of the network, {network.k.dtype}",
        f"it has {array.dtype}; make both after `jax_enable_x64` is set, and give `k` in that precision",
    )


class State(eqx.Module):
    """A network at rest.

    - `x`: `(..., n)` coordinates (voltages, displacements).
    - `reaction`: `(..., c)` Lagrange multipliers λ of `H x + Cᵀ λ = F`: minus the force or current
      that holding each row takes.
    - `residual`: backward error of the solution, the largest entry of `H x + Cᵀλ - F` and `C x - d`
      over the size of the terms that cancel in it, the worst of all columns; about 1e-16 when all is well in
      float64.
    - `status`: a `Status` code, of x.
    - `reaction_error`: `(...)` how far the entries of each state's `reaction` may be off, in its units. A
      reaction is what is left of all forces on a node; where they cancel it has few digits or none, though x
      has all of its own.
    """

    x: Float[Array, "... n"]
    reaction: Float[Array, "... c"]
    residual: Float[Array, ""]
    status: Int[Array, ""]
    reaction_error: Float[Array, "..."]


def equilibrate(
    network: AbstractNetwork,
    boundary: Boundary,
    force: Any = None,
    values: Any = None,
    *,
    solver: AbstractSolver | None = None,
) -> State:
    """The state that minimises `E(x; k) - F·x` subject to `C x = d` (paper A, eq. 3; paper B, eqs 2-4).

    One factorisation serves all leading axes of `force` and `values`. Differentiable to any
    order in `k`, `force` and `values`, through any solver.

    **Arguments**

    - `force`: `(..., n)` forces or currents into the coordinates, an array or a list; none if left out.
    - `values`: `(..., h)` values of the `boundary.num_held` held rows; zero if left out.
    - `solver`: `Dense()` (default), `BorderedLU()`, for flow networks a `StarMesh`, which keeps its digits
      however far apart the conductances lie, or for spring networks a `SparseCholesky`. Flow and spring
      networks of more than a thousand coordinates take `SparseLU()` outside of `jit`, `vmap` and `grad`.

    Raises `InputError` on shapes that do not fit. What depends on numbers is in
    `State.status`: `NOT_POSITIVE_DEFINITE` (then `x` is NaN), `NOT_FINITE`, or `INACCURATE` if
    `residual` exceeds 1e4 units in the last place, or if one step of iterative refinement would move `x` by
    more than ε^0.4 of its size, 5e-7 in float64 and 2e-3 in float32, or a pivot may have lost more than that
    to rounding: the system is then ill-conditioned. With `OK` the error of `x` is at most twice
    that; that of a reaction is told by `State.reaction_error`.

    >>> import jax.numpy as jnp, jaxphys as jp
    >>> divider = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]), k=[1.0, 3.0])
    >>> held = jp.Boundary(divider, held_nodes=[0], ground=[2])
    >>> jp.equilibrate(divider, held, values=jnp.array([1.0])).x.round(3).tolist()
    [1.0, 0.25, 0.0]
    """
    check_boundary(network, boundary, solver)
    dtype = network.k.dtype
    n, h = network.num_coordinates, boundary.num_held
    force = jnp.zeros((n,), dtype) if force is None else _numbers("force", force, dtype)
    values = jnp.zeros((h,), dtype) if values is None else _numbers("values", values, dtype)
    require(
        force.shape[-1:] == (n,),
        "force",
        f"have {n} entries along its last axis",
        f"its shape is {force.shape}",
    )
    require(
        values.shape[-1:] == (h,),
        "values",
        f"have {h} entries, one per held row",
        f"its shape is {values.shape}",
    )
    try:
        batch = jnp.broadcast_shapes(force.shape[:-1], values.shape[:-1])
    except ValueError:
        raise InputError(
            "Arguments `force` and `values` must have leading axes that fit, but their shapes are "
            f"{force.shape} and {values.shape}."
        ) from None
    solver = solver or _default_solver(network, boundary, force, values)
    if solver.on_host:
        return _equilibrate_on_host(network, boundary, force, values, batch, solver)
    count = math.prod(batch)
    columns = jnp.broadcast_to(force, (*batch, n)).reshape(count, n).T
    held = jnp.broadcast_to(values, (*batch, h)).reshape(count, h).T
    held = jnp.concatenate([held, jnp.zeros((boundary.num_rows - h, held.shape[1]), dtype)])
    return _shaped(solve_columns(network.hessian(), boundary, columns, held, solver), batch)


def _shaped(found: "Columns", batch: tuple[int, ...]) -> State:
    """Columns as the states that were asked for."""
    x, reaction = (part.T.reshape(*batch, len(part)) for part in (found.x, found.reaction))
    return State(x, reaction, found.residual, found.status, found.reaction_error.reshape(batch))


class Columns(NamedTuple):
    """States of m columns, with units, residual, status and `reaction_error` as in `State`.

    `error` is that of x, over the largest entry of a column and what its forces would do if nothing held it;
    mostly far less than what a status of `OK` promises.
    """

    x: Float[Array, "n m"]
    reaction: Float[Array, "c m"]
    residual: Float[Array, ""]
    status: Int[Array, ""]
    error: Float[Array, ""]
    reaction_error: Float[Array, " m"]


_LARGE = 1000
"""Coordinates beyond which boundaries keep their rows sparse."""


def _default_solver(
    network: AbstractNetwork, boundary: Boundary, force: Array, values: Array
) -> AbstractSolver:
    rows = boundary.constraints
    if not isinstance(rows, SparseConstraints) or not _are_concrete(network, boundary, force, values):
        return Dense()
    without_drops = isinstance(network, SpringNetwork) and rows.holds_nodes
    return SparseLU() if isinstance(network, FlowNetwork) or without_drops else Dense()


def _are_concrete(*trees: Any) -> bool:
    return all(map(is_concrete, jax.tree.leaves(trees)))


def _equilibrate_on_host(
    network: AbstractNetwork,
    boundary: Boundary,
    force: Array,
    values: Array,
    batch: tuple[int, ...],
    solver: AbstractSolver,
) -> State:
    require(
        isinstance(network, FlowNetwork | SpringNetwork),
        "network",
        f"be a flow or spring network for `{type(solver).__name__}`",
        f"it is a {type(network).__name__}",
    )
    require(
        _are_concrete(network, boundary, force, values),
        "solver",
        "work inside of `jit`, `vmap` and `grad` here",
        f"`{type(solver).__name__}` works on the host",
    )
    assert isinstance(network, FlowNetwork | SpringNetwork)
    # In NumPy: what JAX does once it compiles first.
    n, c, h, count = network.num_coordinates, boundary.num_rows, boundary.num_held, math.prod(batch)
    held = np.zeros((c, count))
    held[:h] = np.broadcast_to(values, (*batch, h)).reshape(count, h).T
    found = solver.rest(
        network.k,
        network.strain_directions(),
        network.topology.edges,
        boundary.constraints,
        np.broadcast_to(force, (*batch, n)).reshape(count, n).T,
        held,
    )
    parts = (found.x, found.reaction, found.residual, found.doubt, found.reaction_doubt)
    x, reaction, residual, doubt, reaction_doubt = (jnp.asarray(each, force.dtype) for each in parts)
    status = judged(jnp.asarray(found.definite), residual, doubt)
    return _shaped(_judged_columns(x, reaction, residual, status, doubt, reaction_doubt), batch)


def solve_columns(
    hessian: Float[Array, "n n"],
    boundary: Boundary,
    force: Float[Array, "n m"],
    values: Float[Array, "c m"],
    solver: AbstractSolver | None = None,
) -> Columns:
    """`equilibrate` for m columns from one factorisation.

    `values` covers all rows of the boundary, `(c, m)`, not only those that are held at a choice.
    """
    rows = boundary.rows
    found = solve_bordered(solver or Dense(), hessian, boundary.constraints, force, values)
    residual = _backward_error(hessian, rows, found.x, found.reaction, force, values)
    doubt = jnp.max(found.doubt, initial=0.0)
    status = judged(found.definite, residual, doubt)
    return _judged_columns(found.x, found.reaction, residual, status, doubt, found.reaction_doubt)


def _judged_columns(
    x: Array, reaction: Array, residual: Array, status: Array, doubt: Array, reaction_doubt: Array
) -> Columns:
    error = state_error(doubt, len(x))
    share = 4 * error * jnp.max(jnp.abs(jax.lax.stop_gradient(reaction)), axis=0, initial=0.0)
    return Columns(x, reaction, residual, status, error, _REACTION * reaction_doubt + share)


def greens_function(
    network: AbstractNetwork, boundary: Boundary, *, solver: AbstractSolver | None = None
) -> Float[Array, "n n"]:
    """Response `G_ab` of coordinate a to a unit force at b, every held row at zero; `H⁻¹` without a border.

    Shape `(n, n)`, symmetric, in units of 1/k. NaN where the Hessian is not positive definite (with `Dense`).
    `Dense` factors H with what is held pinned to a stiff spring of its own, which takes as many operations
    as without a border.

    >>> import jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]), k=2.0)
    >>> jp.greens_function(network, jp.Boundary(network, ground=[2])).round(3).tolist()
    [[1.0, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]
    """
    check_boundary(network, boundary, solver)
    n, c = network.num_coordinates, boundary.rows.shape[0]
    hessian = network.hessian()
    identity = jnp.eye(n, dtype=hessian.dtype)
    if not isinstance(solver or Dense(), Dense):
        return solve_columns(hessian, boundary, identity, jnp.zeros((c, n), hessian.dtype), solver)[0]
    rows, lift = boundary.rows, boundary.constraints.lift
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(hessian)))
    stiffness = jnp.where(largest > 0, largest, 1)
    free = Constraints(np.zeros((0, n)), hessian.dtype)
    whole = pinned(hessian, boundary.constraints, stiffness)
    inverse, *_ = solve_bordered(Dense(), whole, free, identity, jnp.zeros((0, n), hessian.dtype))
    return inverse - lift @ rows / stiffness


def _numbers(argument: str, values: Any, dtype: Any) -> Array:
    """What was handed in as an array of this precision; numbers and lists will do."""
    if isinstance(values, jax.Array):
        return values
    return jnp.asarray(to_array(argument, values, dtype))


def _backward_error(
    hessian: Array, rows: Array, x: Array, reaction: Array, force: Array, values: Array
) -> Array:
    """The worst column's, each on its own scale."""

    def largest(array: Array) -> Array:
        return jnp.max(jnp.abs(array), axis=0, initial=0.0)

    balance = largest(hessian @ x + rows.T @ reaction - force)
    # Pinning, projecting and factoring mix all entries: what cancels is as large as the largest of them.
    terms = jnp.max(jnp.abs(hessian)) * largest(x) + largest(jnp.abs(rows.T) @ jnp.abs(reaction))
    held = largest(rows @ x - values)
    # A held value of zero cancels against the whole state, not against the entries that it reads; and a state
    # of zero against what its forces would do if nothing held it.
    tiny = jnp.finfo(hessian.dtype).tiny
    state = largest(x) + largest(force) / (jnp.max(jnp.abs(hessian)) + tiny)
    size = jnp.max(jnp.abs(rows), initial=0.0) * state + largest(values)
    return jnp.max(jnp.maximum(balance / (terms + largest(force) + tiny), held / (size + tiny)), initial=0.0)


def state_error(doubt: Float[Array, ""], size: int) -> Float[Array, ""]:
    """What to expect at worst of n coordinates of which so much is in doubt: refinement may be lucky."""
    return 4 * doubt + size * jnp.finfo(doubt.dtype).eps


def judged(definite: Bool[Array, ""], residual: Float[Array, ""], doubt: Float[Array, ""]) -> Int[Array, ""]:
    """`Status` of a solution with this backward error, which refinement would move by `doubt` of its size."""
    epsilon = float(jnp.finfo(residual.dtype).eps)
    # The comparisons are written so that NaN counts as inaccurate.
    accurate = (residual <= 1e4 * epsilon) & (doubt <= epsilon**0.4)
    code = jnp.where(
        accurate, Status.OK, jnp.where(jnp.isfinite(residual), Status.INACCURATE, Status.NOT_FINITE)
    )
    return jnp.where(definite, code, Status.NOT_POSITIVE_DEFINITE).astype(jnp.int32)


class _ChosenRows(NamedTuple):
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

    def with_motions(self, motions: np.ndarray, dtype: Any) -> AnyConstraints:
        if self.dense is not None:
            return Constraints(np.concatenate([self.dense, motions]), dtype)
        return SparseConstraints(
            jnp.asarray(self.places, jnp.int32),
            jnp.asarray(self.entries, dtype),
            jnp.asarray(motions, dtype),
            self.num_rows,
        )


def _chosen_rows(
    network: AbstractNetwork, held_nodes: np.ndarray, pairs: np.ndarray, ground: np.ndarray
) -> _ChosenRows:
    size = network.num_coordinates
    if size > _LARGE and isinstance(network, AbstractDifferenceNetwork):
        return _sparse_rows(network, held_nodes, pairs, ground)
    drops = [network.drop_row(a, b) for a, b in pairs.tolist()]
    _check_apart(drops)
    between = np.reshape(drops, (-1, size))
    dense = np.concatenate([network.node_rows(held_nodes), between, network.node_rows(ground)])
    repeat = len(dense) > 0 and np.linalg.matrix_rank(dense) < len(dense)
    return _ChosenRows(dense, np.zeros((0, 2), int), np.zeros(0), len(dense), size, repeat)


def _sparse_rows(
    network: AbstractNetwork, held_nodes: np.ndarray, pairs: np.ndarray, ground: np.ndarray
) -> _ChosenRows:
    size, d = network.num_coordinates, network.dimension
    # Coordinates that are read: one by each row of a node, those of both nodes by each drop.
    single = [(d * nodes[:, None] + np.arange(d)).ravel() for nodes in (held_nodes, ground)]
    both = (d * pairs[:, :, None] + np.arange(d)).reshape(len(pairs), 2 * d)
    if isinstance(network, FlowNetwork):
        drops = [np.array([1.0, -1.0])] * len(pairs)
    else:
        drops = [network.drop_row(*pair)[both[i]] for i, pair in enumerate(pairs.tolist())]
        _check_apart(drops)
    first, second = len(single[0]), len(single[0]) + len(pairs)
    count = second + len(single[1])
    numbers = [np.arange(first), np.repeat(np.arange(first, second), 2 * d), np.arange(second, count)]
    places = np.stack([np.concatenate(numbers), np.concatenate([single[0], both.ravel(), single[1]])], axis=1)
    entries = np.concatenate([np.ones(first), np.ravel(drops), np.ones(len(single[1]))])
    repeat = _repeats(places, entries, count, size, is_forest=isinstance(network, FlowNetwork))
    return _ChosenRows(None, places, entries, count, size, repeat)


def _check_apart(drops: Any) -> None:
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


def _free_motions(
    network: AbstractNetwork, chosen: _ChosenRows, pairs: np.ndarray, held: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal combinations of free motions that no row of C sees, and the nodes that these move."""
    size, d = chosen.size, network.dimension
    if chosen.dense is None and isinstance(network, FlowNetwork):
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


def _check_free_modes(
    network: AbstractNetwork, chosen: _ChosenRows, free: np.ndarray, floating: np.ndarray, policy: str
) -> None:
    if not isinstance(network, AbstractDifferenceNetwork):
        return
    components = network.topology.components()
    if len(free) and components.max() > 0:
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
    if isinstance(network, FlowNetwork):
        return
    rows = chosen.dense
    if rows is None and chosen.holds_nodes and isinstance(network, SpringNetwork):
        held = chosen.with_motions(free, float)
        is_rigid = SparseLU().is_rigid(network.strain_directions(), network.topology.edges, held)
        must, but = "be rigid under its boundary", "it is floppy; add bonds or hold more nodes"
        require(is_rigid, "network", must, but)
        return
    if rows is None:
        rows = np.zeros((chosen.num_rows, chosen.size))
        rows[chosen.places[:, 0], chosen.places[:, 1]] = chosen.entries
    compatibility = np.asarray(network.compatibility(), dtype=float).reshape(-1, network.num_coordinates)
    floppy = network.num_coordinates - np.linalg.matrix_rank(np.concatenate([compatibility, rows, free]))
    require(
        floppy == 0,
        "network",
        "be rigid under its boundary",
        f"it has {floppy} floppy mode(s); add bonds or hold more nodes",
    )
