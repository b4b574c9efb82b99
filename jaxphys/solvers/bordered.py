"""Solving `[[H, Cᵀ], [C, 0]] [x; λ] = [F; d]` by one factorisation for many right-hand sides.

A solver splits the work as lineax does: `factor` once per change of `H`, `solve` for as many
columns as there are. `solve_bordered` ties the two together and is what everything else
calls; it differentiates through the solution, never through the factorisation.
"""

from abc import abstractmethod
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxphys._checks import check_dense


class Constraints(eqx.Module):
    """What depends on the rows of `C x = d` alone, planned once on the host.

    - `rows`: C, `(c, n)`, of full rank.
    - `basis`: orthonormal columns Z that span `{x : C x = 0}`, `(n, n - c)`.
    - `lift`: the pseudo-inverse of C, `(n, c)`.

    Where every row reads a single coordinate Z is a selection of coordinates, which keeps the
    structure of H.
    """

    rows: Float[Array, "c n"]
    basis: Float[Array, "n m"]
    lift: Float[Array, "n c"]

    @property
    def num_rows(self) -> int:
        """c."""
        return self.rows.shape[-2]

    @property
    def rows_like(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of the rows."""
        return jax.ShapeDtypeStruct(self.rows.shape, self.rows.dtype)

    def __init__(self, rows: np.ndarray, dtype: Any):
        count, size = rows.shape
        selected = np.flatnonzero(np.any(rows != 0, axis=0))
        if len(selected) == count:
            basis = np.delete(np.eye(size), selected, axis=1)
        else:
            basis = np.linalg.qr(rows.T, mode="complete")[0][:, count:]
        self.rows = jnp.asarray(rows, dtype)
        self.basis = jnp.asarray(basis, dtype)
        self.lift = jnp.asarray(np.linalg.pinv(rows), dtype)

    def row_entries(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of every row the coordinates that it reads, and its entries there. Runs on the host."""
        return row_entries(np.asarray(self.rows))


def row_entries(rows: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of every row of a matrix where it is not zero, and what it is there."""
    places = [np.flatnonzero(row) for row in rows]
    return [(where, row[where]) for where, row in zip(places, rows, strict=True)]


class SparseConstraints(eqx.Module):
    """What `Constraints` is for large networks: the entries of C alone, until a dense solver asks for more.

    - `places`: `(e, 2)` row and coordinate of every entry of the rows that read few coordinates.
    - `entries`: `(e,)` these entries.
    - `motions`: `(z, n)` the rows behind them, which read all: orthonormal, and orthogonal to the others.
    - `num_chosen`: how many rows there are before the motions.

    `rows`, `basis` and `lift` are made anew whenever they are read. They raise `InputError` beyond the
    size that `check_dense` allows.
    """

    places: Int[Array, "*R e 2"]
    entries: Float[Array, "*R e"]
    motions: Float[Array, "*R z n"]
    num_chosen: int = eqx.field(static=True)

    @property
    def num_rows(self) -> int:
        """c."""
        return self.num_chosen + self.motions.shape[-2]

    @property
    def rows_like(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of the rows."""
        shape = (*self.entries.shape[:-1], self.num_rows, self.motions.shape[-1])
        return jax.ShapeDtypeStruct(shape, self.entries.dtype)

    def row_entries(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of every row the coordinates that it reads, and its entries there. Runs on the host."""
        places, entries = np.asarray(self.places), np.asarray(self.entries)
        # Entries stand in the order of their rows.
        cuts = np.searchsorted(places[:, 0], np.arange(1, self.num_chosen))
        chosen = zip(np.split(places[:, 1], cuts), np.split(entries, cuts), strict=True)
        all_of_them = np.arange(self.motions.shape[-1])
        motions = [(all_of_them, row) for row in np.asarray(self.motions)]
        return [*(chosen if self.num_chosen else ()), *motions]

    @property
    def holds_nodes(self) -> bool:
        """Whether every row but those of motions reads a single coordinate."""
        return self.places.shape[-2] == self.num_chosen

    @property
    def rows(self) -> Float[Array, "*R c n"]:
        if self.entries.ndim > 1:
            return jax.vmap(lambda one: one.rows)(self)
        size = self.motions.shape[-1]
        check_dense(self.num_rows, size)
        chosen = jnp.zeros((self.num_chosen, size), self.entries.dtype)
        chosen = chosen.at[self.places[:, 0], self.places[:, 1]].set(self.entries)
        return jnp.concatenate([chosen, self.motions])

    @property
    def lift(self) -> Float[Array, "n c"]:
        rows = self.rows
        return jnp.linalg.solve(rows @ rows.T, rows).T

    @property
    def basis(self) -> Float[Array, "n m"]:
        check_dense(self.motions.shape[-1], self.motions.shape[-1])
        return jnp.linalg.qr(self.rows.T, mode="complete")[0][:, self.num_rows :]


AnyConstraints = Constraints | SparseConstraints


class AtRest(NamedTuple):
    """`(n, m)` states and `(c, m)` multipliers in float64, and what the worst column is worth.

    `reaction_doubt`: `(m,)` a rounding error of what cancels in each column's multipliers.
    """

    x: np.ndarray
    reaction: np.ndarray
    residual: float
    definite: bool
    doubt: float
    reaction_doubt: np.ndarray


class AbstractSolver(eqx.Module):
    """A way to factor a bordered system and solve it for columns."""

    @property
    @abstractmethod
    def is_relative(self) -> bool:
        """Whether x comes out to rounding however ill-conditioned the system is."""

    @property
    def on_host(self) -> bool:
        """Whether it solves networks at rest by their edges and outside of compiled programs, by `rest`."""
        return False

    def rest(
        self,
        k: Float[Array, " M"],
        directions: Float[Array, "M q d"],
        edges: Int[Array, "M 2"],
        constraints: AnyConstraints,
        force: Float[np.ndarray, "n m"],
        values: Float[np.ndarray, "c m"],
    ) -> AtRest:
        """m states at rest: edge i feels `directions[i] @ (x_s - x_t)` and carries `k[i]` times that."""
        raise NotImplementedError("Solvers on the host have this method; others have `factor` and `solve`.")

    @abstractmethod
    def factor(self, hessian: Float[Array, "n n"], constraints: AnyConstraints) -> Any:
        """Whatever `solve` needs of H, as a pytree of arrays."""

    @abstractmethod
    def solve(
        self,
        factors: Any,
        hessian: Float[Array, "n n"],
        constraints: AnyConstraints,
        force: Float[Array, "n m"],
        values: Float[Array, "c m"],
    ) -> tuple[Float[Array, "n m"], Float[Array, "c m"]]:
        """`(x, λ)` for every column of right-hand sides."""

    @abstractmethod
    def is_definite(self, factors: Any) -> Bool[Array, ""]:
        """Whether H is positive definite where C leaves it free."""

    def loss(
        self, factors: Any, hessian: Float[Array, "n n"], constraints: AnyConstraints
    ) -> Float[Array, ""]:
        """What share of itself a pivot may have lost to rounding, at worst; zero if the solver `is_relative`.

        A pivot is what is left of a sum that was rounded: of stiffnesses that met in an entry of H, of
        entries that met in C's basis. No solution knows of that, however well it fits H.
        """
        return jnp.zeros((), hessian.dtype)


class BorderedLU(AbstractSolver):
    """The reference: LU with partial pivoting of the whole `(n + c)²` bordered matrix.

    It also solves indefinite systems, and says that they are indefinite.
    """

    @property
    def is_relative(self) -> bool:
        return False

    def factor(self, hessian: Float[Array, "n n"], constraints: AnyConstraints) -> Any:
        rows = _stiffness_scale(hessian) * constraints.rows
        zeros = jnp.zeros((rows.shape[0], rows.shape[0]), hessian.dtype)
        bordered = jnp.block([[hessian, rows.T], [rows, zeros]])
        return jax.scipy.linalg.lu_factor(bordered), _reduced_cholesky(hessian, constraints)

    def solve(
        self,
        factors: Any,
        hessian: Float[Array, "n n"],
        constraints: AnyConstraints,
        force: Float[Array, "n m"],
        values: Float[Array, "c m"],
    ) -> tuple[Float[Array, "n m"], Float[Array, "c m"]]:
        scale = _stiffness_scale(hessian)
        solution = jax.scipy.linalg.lu_solve(factors[0], jnp.concatenate([force, scale * values]))
        return solution[: force.shape[0]], scale * solution[force.shape[0] :]

    def is_definite(self, factors: Any) -> Bool[Array, ""]:
        return jnp.all(jnp.isfinite(factors[1]))

    def loss(
        self, factors: Any, hessian: Float[Array, "n n"], constraints: AnyConstraints
    ) -> Float[Array, ""]:
        return _loss(factors[1], _terms(hessian, constraints))


class Dense(AbstractSolver):
    """The default: one Cholesky factorisation of H where the constraints leave it free.

    With the lift C⁺ of `Constraints` and the projector `P = C⁺ C` on what the rows see,
    `x = C⁺ d + (1 - P) y`, `[(1 - P) H (1 - P) + s P] y = (1 - P) (F - H C⁺ d)` and
    `λ = C⁺ᵀ (F - H x)`: what is held is pinned to springs of some stiffness s, which takes products with the
    few rows of C instead of a basis of all that they leave free. Where rows are many the basis Z is used,
    `(Zᵀ H Z) y = Zᵀ (F - H C⁺ d)` and `x = C⁺ d + Z y`. Columns of an indefinite system are NaN.
    """

    @property
    def is_relative(self) -> bool:
        return False

    def factor(self, hessian: Float[Array, "n n"], constraints: AnyConstraints) -> Any:
        if _is_pinned(constraints):
            return _cholesky(pinned(hessian, constraints, _stiffness_scale(hessian)))
        return _reduced_cholesky(hessian, constraints)

    def solve(
        self,
        factors: Any,
        hessian: Float[Array, "n n"],
        constraints: AnyConstraints,
        force: Float[Array, "n m"],
        values: Float[Array, "c m"],
    ) -> tuple[Float[Array, "n m"], Float[Array, "c m"]]:
        if constraints.rows.shape[0] == 0:
            return jax.scipy.linalg.cho_solve((factors, True), force), values
        rows, basis, lift = constraints.rows, constraints.basis, constraints.lift
        held = lift @ values
        right_side = force - hessian @ held
        if _is_pinned(constraints):
            y = jax.scipy.linalg.cho_solve((factors, True), right_side - lift @ (rows @ right_side))
            x = held + y - lift @ (rows @ y)
        else:
            x = held + basis @ jax.scipy.linalg.cho_solve((factors, True), basis.T @ right_side)
        return x, lift.T @ (force - hessian @ x)

    def is_definite(self, factors: Any) -> Bool[Array, ""]:
        return jnp.all(jnp.isfinite(factors))

    def loss(
        self, factors: Any, hessian: Float[Array, "n n"], constraints: AnyConstraints
    ) -> Float[Array, ""]:
        # Springs that pin outweigh whatever cancels where they act.
        is_pinned = _is_pinned(constraints)
        return _loss(factors, jnp.sum(factors**2, axis=1) if is_pinned else _terms(hessian, constraints))


def pinned(
    hessian: Float[Array, "n n"], constraints: AnyConstraints, stiffness: Float[Array, ""]
) -> Float[Array, "n n"]:
    """`(1 - P) H (1 - P) + s P` with `P = C⁺C`: H with what is held pinned to springs of stiffness s.

    Its inverse is that of H where C leaves it free, plus `P / s`.
    """
    rows, lift = constraints.rows, constraints.lift
    crossing = lift @ (rows @ hessian)
    both = lift @ (rows @ hessian @ lift + stiffness * jnp.eye(rows.shape[0], dtype=rows.dtype)) @ rows
    return hessian - crossing - crossing.T + both


def _is_pinned(constraints: AnyConstraints) -> bool:
    """Whether rows are few enough for pinning to take fewer operations than a basis of the rest."""
    count, size = constraints.rows.shape
    return 0 < 8 * count <= size


def _stiffness_scale(hessian: Float[Array, "n n"]) -> Float[Array, ""]:
    """Largest entry of H: rows of C are brought to its scale, so that pivoting compares like with like."""
    largest = jnp.max(jnp.abs(hessian))
    return jnp.where(largest > 0, largest, 1)


def _reduced_cholesky(hessian: Float[Array, "n n"], constraints: AnyConstraints) -> Float[Array, "m m"]:
    if constraints.rows.shape[0] == 0:
        return _cholesky(hessian)
    return _cholesky(constraints.basis.T @ hessian @ constraints.basis)


def _cholesky(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Lower factor; NaN where the matrix is not positive definite."""
    return jax.lax.linalg.cholesky(matrix, symmetrize_input=False)


def _terms(hessian: Float[Array, "n n"], constraints: AnyConstraints) -> Float[Array, " m"]:
    """What is added up, signs aside, to the diagonal of `Zᵀ H Z`: at most `Σ_a Z_ai² Σ_b |H_ab|`."""
    return (constraints.basis**2).T @ jnp.sum(jnp.abs(hessian), axis=1)


def _loss(lower: Float[Array, "m m"], terms: Float[Array, " m"]) -> Float[Array, ""]:
    """A rounding error of the terms of every diagonal entry, over its pivot."""
    return jnp.finfo(lower.dtype).eps * jnp.max(terms / jnp.diagonal(lower) ** 2, initial=0.0)


class Solution(NamedTuple):
    """What `solve_bordered` found for m columns.

    - `x`, `reaction`: solutions; `definite`: whether H is positive definite where C leaves it free.
    - `doubt`: `(m,)` how far one step of iterative refinement would move x, of its largest entry: about the
      condition number times a rounding error, and so what x may be wrong by; or the solver's `loss`, if that
      is more. Zero where the solver `is_relative`.
    - `reaction_doubt`: `(m,)` the same of the reaction, its largest entry, in its own units, with a rounding
      error of all that cancels in `C⁺ᵀ (F - H x)` and, unless the solver `is_relative`, in all of `F - H x`.
    """

    x: Float[Array, "n m"]
    reaction: Float[Array, "c m"]
    definite: Bool[Array, ""]
    doubt: Float[Array, " m"]
    reaction_doubt: Float[Array, " m"]


def solve_bordered(
    solver: AbstractSolver,
    hessian: Float[Array, "n n"],
    constraints: AnyConstraints,
    force: Float[Array, "n m"],
    values: Float[Array, "c m"],
) -> Solution:
    """Solve `[[H, Cᵀ], [C, 0]] [x; λ] = [F; d]` for m columns.

    Derivatives of any order with respect to `H`, `F` and `d` follow from the implicit
    function theorem and reuse the same factors (`jax.lax.custom_linear_solve`).
    """
    constant = jax.lax.stop_gradient(hessian)
    factors = solver.factor(constant, constraints)
    rows = constraints.rows

    n = hessian.shape[0]

    def bordered(solution: Array) -> Array:
        x, reaction = solution[:n], solution[n:]
        return jnp.concatenate([hessian @ x + rows.T @ reaction, rows @ x])

    def solve(_: Any, right_side: Array) -> Array:
        return jnp.concatenate(solver.solve(factors, constant, constraints, right_side[:n], right_side[n:]))

    # Force and values travel as one array: the transpose rule wants all right-hand sides linear, or none.
    right_side = jnp.concatenate([force, values])
    solution = jax.lax.custom_linear_solve(bordered, right_side, solve, symmetric=True)
    epsilon = jnp.finfo(hessian.dtype).eps
    doubt = jnp.zeros(force.shape[1], hessian.dtype)
    # Terms that cancel in `C⁺ᵀ (F - H x)`, by rows of C.
    lift, terms = jnp.abs(constraints.lift.T), jnp.abs(constant) @ jnp.abs(solution[:n]) + jnp.abs(force)
    reaction_doubt = epsilon * jnp.max(lift @ terms, axis=0, initial=0.0)
    if not solver.is_relative:
        gap = jax.lax.stop_gradient(right_side - bordered(solution))
        refined = jnp.abs(solve(None, gap))
        moved = jnp.max(refined[:n], axis=0)
        # Entries of H were rounded when they were added up: on every coordinate that acts as a force, which
        # what is held takes up in the end. Refinement does not see it.
        stray = epsilon * jnp.max(lift, initial=0.0) * jnp.sum(terms, axis=0)
        reaction_doubt = reaction_doubt + jnp.max(refined[n:], axis=0, initial=0.0) + stray
        # Columns by themselves: a large one says nothing of a small one beside it. A state of zero is
        # measured against what its forces would do if nothing held it.
        tiny = jnp.finfo(hessian.dtype).tiny
        alone = jnp.max(jnp.abs(force), axis=0) / (jnp.max(jnp.abs(constant)) + tiny)
        size = jnp.max(jnp.abs(solution[:n]), axis=0) + alone
        doubt = jnp.maximum(moved / (size + tiny), solver.loss(factors, constant, constraints))
    doubts = jax.lax.stop_gradient((doubt, reaction_doubt))
    return Solution(solution[:n], solution[n:], solver.is_definite(factors), *doubts)
