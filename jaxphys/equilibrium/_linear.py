"""The states in which a linear network comes to rest."""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxphys._checks import InputError, is_concrete, require, to_array
from jaxphys.equilibrium._boundary import Boundary, check_boundary
from jaxphys.equilibrium._status import judged, state_error
from jaxphys.networks.physics import AbstractNetwork, FlowNetwork, SpringNetwork
from jaxphys.solvers import (
    AbstractSolver,
    Constraints,
    Dense,
    SparseConstraints,
    SparseLU,
    pinned,
    solve_bordered,
)

# What a reaction may be off by, in units of what refinement moves it and a rounding error of its terms,
# beside what it shares of the error of x.
_REACTION = 30


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
