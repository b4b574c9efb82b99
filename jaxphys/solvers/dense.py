"""Dense factorisations of bordered systems: Cholesky, the default, and LU, the reference."""

import jax
import jax.numpy as jnp
import jax.scipy.linalg
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from jaxphys.solvers.bordered import AbstractSolver, solve_bordered
from jaxphys.solvers.constraints import AnyConstraints, Constraints


class BorderedLU(AbstractSolver):
    """The reference: LU with partial pivoting of the whole `(n + c)²` bordered matrix.

    It also solves indefinite systems, and says that they are indefinite.
    """

    @property
    def is_relative(self) -> bool:
        return False

    def factor(self, hessian: Float[Array, "n n"], constraints: AnyConstraints) -> PyTree[Array]:
        rows = _stiffness_scale(hessian) * constraints.rows
        zeros = jnp.zeros((rows.shape[0], rows.shape[0]), hessian.dtype)
        bordered = jnp.block([[hessian, rows.T], [rows, zeros]])
        return jax.scipy.linalg.lu_factor(bordered), _reduced_cholesky(hessian, constraints)

    def solve(
        self,
        factors: PyTree[Array],
        hessian: Float[Array, "n n"],
        constraints: AnyConstraints,
        force: Float[Array, "n m"],
        values: Float[Array, "c m"],
    ) -> tuple[Float[Array, "n m"], Float[Array, "c m"]]:
        scale = _stiffness_scale(hessian)
        solution = jax.scipy.linalg.lu_solve(factors[0], jnp.concatenate([force, scale * values]))
        return solution[: force.shape[0]], scale * solution[force.shape[0] :]

    def is_definite(self, factors: PyTree[Array]) -> Bool[Array, ""]:
        return jnp.all(jnp.isfinite(factors[1]))

    def pivot_error_bound(
        self, factors: PyTree[Array], hessian: Float[Array, "n n"], constraints: AnyConstraints
    ) -> Float[Array, ""]:
        return pivot_error_bound(factors[1], _terms(hessian, constraints))


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

    def factor(self, hessian: Float[Array, "n n"], constraints: AnyConstraints) -> PyTree[Array]:
        if _is_pinned(constraints):
            return _cholesky(_pinned(hessian, constraints, _stiffness_scale(hessian)))
        return _reduced_cholesky(hessian, constraints)

    def solve(
        self,
        factors: PyTree[Array],
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

    def is_definite(self, factors: PyTree[Array]) -> Bool[Array, ""]:
        return jnp.all(jnp.isfinite(factors))

    def pivot_error_bound(
        self, factors: PyTree[Array], hessian: Float[Array, "n n"], constraints: AnyConstraints
    ) -> Float[Array, ""]:
        # Springs that pin outweigh whatever cancels where they act.
        is_pinned = _is_pinned(constraints)
        return pivot_error_bound(
            factors, jnp.sum(factors**2, axis=1) if is_pinned else _terms(hessian, constraints)
        )

    def inverse(self, hessian: Float[Array, "n n"], constraints: AnyConstraints) -> Float[Array, "n n"]:
        # One factorisation of the whole H, pinned, takes as many operations as without a border.
        n, dtype = len(hessian), hessian.dtype
        rows, lift = constraints.rows, constraints.lift
        stiffness = jax.lax.stop_gradient(_stiffness_scale(hessian))
        free, held = Constraints(np.zeros((0, n)), dtype), jnp.zeros((0, n), dtype)
        whole = _pinned(hessian, constraints, stiffness)
        return solve_bordered(self, whole, free, jnp.eye(n, dtype=dtype), held).x - lift @ rows / stiffness


def _pinned(
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


def pivot_error_bound(lower: Float[Array, "m m"], terms: Float[Array, " m"]) -> Float[Array, ""]:
    """A rounding error of the terms of every diagonal entry, over its pivot.

    `lower`: the Cholesky factor, `(m, m)`. `terms`: `(m,)`, the size of the terms that cancel in each
    diagonal entry. **Returns** the largest quotient: near 1 and above, rounding may have made the matrix
    definite.
    """
    return jnp.finfo(lower.dtype).eps * jnp.max(terms / jnp.diagonal(lower) ** 2, initial=0.0)
