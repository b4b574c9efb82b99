"""The states in which a linear network comes to rest."""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from jaxphys._checks import InputError, is_concrete, require, to_array
from jaxphys.equilibrium._boundary import Boundary, check_boundary
from jaxphys.equilibrium._status import judged, state_error
from jaxphys.networks.physics import AbstractNetwork
from jaxphys.solvers import AbstractSolver, Bonds, Dense, Solution, SparseLU, solve_bordered

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
    """The state that minimises `E(x; k) - F·x` subject to `C x = d` (Stern et al. (2023), eq. 3).

    Guzman et al. (2024), eqs 2-4, have the same for resistor networks with twice the energy. One
    factorisation serves all leading axes of `force` and `values`. Differentiable to any order in `k`, `force`
    and `values`, through any solver.

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
    that; that of a reaction is `State.reaction_error`.

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
    rows, kind = boundary.constraints, network.kind
    if not rows.is_sparse or not _are_concrete(network, boundary, force, values):
        return Dense()
    return SparseLU() if kind.is_laplacian or (kind.is_pairwise and rows.holds_nodes) else Dense()


def _are_concrete(*trees: PyTree) -> bool:
    return all(map(is_concrete, jax.tree.leaves(trees)))


def _equilibrate_on_host(
    network: AbstractNetwork,
    boundary: Boundary,
    force: Array,
    values: Array,
    batch: tuple[int, ...],
    solver: AbstractSolver,
) -> State:
    name = type(solver).__name__
    is_served = solver.structures is None or network.kind.structure in solver.structures
    must, but = f"be a flow or spring network for `{name}`", f"it is a {type(network).__name__}"
    require(is_served, "network", must, but)
    must, but = "work inside of `jit`, `vmap` and `grad` here", f"`{name}` works on the host"
    require(_are_concrete(network, boundary, force, values), "solver", must, but)
    # In NumPy: what JAX does once it compiles first.
    n, c, h, count = network.num_coordinates, boundary.num_rows, boundary.num_held, math.prod(batch)
    held = np.zeros((c, count))
    held[:h] = np.broadcast_to(values, (*batch, h)).reshape(count, h).T
    columns = np.broadcast_to(force, (*batch, n)).reshape(count, n).T
    bonds = Bonds(network.k, network.topology.edges, network.strain_directions())
    return _shaped(_judged_columns(solver.rest(bonds, boundary.constraints, columns, held)), batch)


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
    return _judged_columns(solve_bordered(solver or Dense(), hessian, boundary.constraints, force, values))


def _judged_columns(found: Solution) -> Columns:
    error = state_error(found.doubt, len(found.x))
    share = 4 * error * jnp.max(jnp.abs(jax.lax.stop_gradient(found.reaction)), axis=0, initial=0.0)
    status = judged(found.definite, found.residual, found.doubt)
    reaction_error = _REACTION * found.reaction_doubt + share
    return Columns(found.x, found.reaction, found.residual, status, error, reaction_error)


def greens_function(
    network: AbstractNetwork, boundary: Boundary, *, solver: AbstractSolver | None = None
) -> Float[Array, "n n"]:
    """Response `G_ab` of coordinate a to a unit force at b, every held row at zero; `H⁻¹` without a border.

    Shape `(n, n)`, symmetric, in units of 1/k. NaN where the Hessian is not positive definite (with `Dense`).
    `Dense`, the default, factors H with what is held pinned to a stiff spring of its own, which takes as many
    operations as without a border. Differentiable in `k`.

    Raises `InputError` unless the boundary was made for this network, and in its precision.

    >>> import jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]), k=2.0)
    >>> jp.greens_function(network, jp.Boundary(network, ground=[2])).round(3).tolist()
    [[1.0, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]
    """
    check_boundary(network, boundary, solver)
    return (solver or Dense()).inverse(network.hessian(), boundary.constraints)


def _numbers(argument: str, values: Any, dtype: np.dtype) -> Array:
    """What was handed in as an array of this precision; numbers and lists will do."""
    if isinstance(values, jax.Array):
        return values
    return jnp.asarray(to_array(argument, values, dtype))
