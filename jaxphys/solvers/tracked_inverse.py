"""An inverse that follows a learning network: low-rank steps in place of new factorisations.

A learning step changes the Hessian of a node network by `δH = Xᵀ C X`, with the m states X of its terminals
(inputs and outputs) and a small symmetric C. What that does to `G = H⁻¹` is exact (Woodbury),

    G' = G - Yᵀ S Y,   X' = X - (X Xᵀ) S Y,   Y = X G,   S = (1 + C K)⁻¹ C,   K = X Gᵀ Xᵀ,

and costs `O(m n²)` where a factorisation costs `O(n³)`. The same holds of a bordered system, where G is the
block of its inverse that answers forces. Arrays here carry realizations along their last axis.
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from jaxphys._checks import require
from jaxphys.solvers.bordered import AbstractSolver, NetworkLike, TaskLike, check_planned_for
from jaxphys.solvers.constraints import AnyConstraints, holds_nodes
from jaxphys.solvers.dense import Dense

# The largest step, as the norm of C K with unit diagonal of K, that is followed. Below 1 no eigenvalue of H
# changes its sign on the way, so what was positive definite stays so; at ½ errors at most double.
_LARGEST_STEP = 0.5
# Columns up to which eliminations of m × m systems are written out.
_FEW = 2


class TrackedInverse(AbstractSolver):
    """Follow the inverse through training instead of factoring at every step; for node networks.

    For optimizers that scale the gradient in the Frobenius metric (Stern et al. (2023), eq. 13:
    `precondition` with `frobenius_metric`, then plain descent at any rate), few terminals, and boundaries
    that hold nothing but nodes. Outside of `train`, and for every exact solution, it is `Dense`.

    Three guards keep it exact, each for a realization by itself:

    - a step too large to be followed safely (it might cross to an indefinite Hessian) is solved by
      factorisation;
    - so is a step after which one row of `H x = F`, a different one at each step in turn, is off by more than
      `tolerance` of the terms that cancel in it: the update was not of the form above (noise, bounds,
      momentum), or errors have grown;
    - every `refresh` steps the inverse is computed anew.

    **Arguments**

    - `refresh`: steps between two exact inverses, at least 1.
    - `tolerance`: relative, positive; `ε^0.6` by default, 4e-10 in float64 and 7e-5 in float32.

    Raises `InputError` on arguments out of range.

    >>> import jax, jax.numpy as jnp, jaxphys as jp, optax
    >>> network = jp.NodeNetwork.from_matrix(4.0 * jnp.eye(12))
    >>> task = jp.random_linear(network, 1, jax.random.key(0))
    >>> descent = optax.chain(jp.precondition(network.frobenius_metric), optax.sgd(0.1))
    >>> run = jp.train(network, task, steps=20, optimizer=descent, solver=jp.TrackedInverse())
    >>> bool(run.cost[0, -1] < run.cost[0, 0])
    True
    """

    structures: ClassVar[tuple[str, ...] | None] = ("matrix",)
    is_tracked: ClassVar[bool] = True

    refresh: int = eqx.field(static=True, default=1024)
    tolerance: float | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        require(self.refresh >= 1, "refresh", "be at least 1", f"it is {self.refresh}")
        require(
            self.tolerance is None or self.tolerance > 0,
            "tolerance",
            "be positive",
            f"it is {self.tolerance}",
        )

    @classmethod
    def check(cls, network: NetworkLike, task: TaskLike) -> None:
        """Raise `InputError` unless this is a node network whose boundary holds nothing but nodes."""
        must = "fit the network: a tracked inverse follows node networks"
        check_planned_for(network, task, cls.structures, must, argument="solver")
        must = "fit the boundary: a tracked inverse takes held nodes only"
        require(holds_nodes(task.boundary.rows), "solver", must, "it holds drops")

    @property
    def is_relative(self) -> bool:
        return False

    def factor(self, hessian: Float[Array, "n n"], constraints: AnyConstraints) -> PyTree[Array]:
        return Dense().factor(hessian, constraints)

    def solve(
        self,
        factors: PyTree[Array],
        hessian: Float[Array, "n n"],
        constraints: AnyConstraints,
        force: Float[Array, "n m"],
        values: Float[Array, "c m"],
    ) -> tuple[Float[Array, "n m"], Float[Array, "c m"]]:
        return Dense().solve(factors, hessian, constraints, force, values)

    def is_definite(self, factors: PyTree[Array]) -> Bool[Array, ""]:
        return Dense().is_definite(factors)

    def pivot_error_bound(
        self, factors: PyTree[Array], hessian: Float[Array, "n n"], constraints: AnyConstraints
    ) -> Float[Array, ""]:
        return Dense().pivot_error_bound(factors, hessian, constraints)

    def inverse(self, hessian: Float[Array, "n n"], constraints: AnyConstraints) -> Float[Array, "n n"]:
        return Dense().inverse(hessian, constraints)

    def allowed(self, dtype: np.dtype | type) -> float:
        """The tolerance of the guard in a dtype."""
        return float(jnp.finfo(dtype).eps) ** 0.6 if self.tolerance is None else self.tolerance


def follow(
    inverse: Float[Array, "n n B"], columns: Float[Array, "m n B"], change: Float[Array, "m m B"]
) -> tuple[Float[Array, "m n B"], Float[Array, "m n B"], Float[Array, "m n B"], Bool[Array, " B"]]:
    """New columns after `δH = Xᵀ C X`; Y and S Y, which `followed` takes; and whether the step was small.

    `inverse` is G, `columns` the m states X, `change` is C, for B realizations. A step is small while
    `|C K| ≤ ½` in units where K has 1 on its diagonal; NaN counts as large.
    """
    pushed = jnp.stack([jnp.sum(inverse * column[:, None], axis=0) for column in columns])
    stiffness = _products(columns, pushed)
    turned = jnp.sum(change[:, :, None] * stiffness[None], axis=1)
    diagonal = jnp.stack([stiffness[i, i] for i in range(len(columns))])
    size = jnp.sum(turned**2 * diagonal[:, None] / diagonal[None], axis=(0, 1))
    pulled = jnp.sum(_solved(turned, change)[:, :, None] * pushed[None], axis=1)
    moved = columns - jnp.sum(_products(columns, columns)[:, :, None] * pulled[None], axis=1)
    # Written so that NaN counts as too large.
    return moved, pushed, pulled, size <= _LARGEST_STEP**2


def followed(
    inverse: Float[Array, "n n B"], pushed: Float[Array, "m n B"], pulled: Float[Array, "m n B"]
) -> Float[Array, "n n B"]:
    """The inverse after a step, `G - Yᵀ S Y`, from Y (`pushed`) and S Y (`pulled`) of `follow`.

    `inverse`: G before it, `(n, n, B)`. `pushed`, `pulled`: `(m, n, B)`. All arrays have the B realizations
    on the last axis.
    """
    return inverse - sum(y[:, None] * z[None] for y, z in zip(pushed, pulled, strict=True))


def row_error(
    row: Float[Array, "n B"], columns: Float[Array, "m n B"], force: Float[Array, "m B"]
) -> Float[Array, " B"]:
    """Backward error of one row of `H x = F`: how far it is off, over the terms that cancel in it.

    `row` is that of H, `force` its entry of F for each of the m columns; the worst column counts.
    """
    terms = row * columns
    size = jnp.sum(jnp.abs(terms), axis=1) + jnp.abs(force)
    gap = jnp.abs(jnp.sum(terms, axis=1) - force)
    return jnp.max(gap / (size + jnp.finfo(row.dtype).tiny), axis=0)


def _products(first: Float[Array, "m n B"], second: Float[Array, "m n B"]) -> Float[Array, "m m B"]:
    return jnp.sum(first[:, None] * second[None], axis=2)


def _solved(turned: Float[Array, "m m B"], change: Float[Array, "m m B"]) -> Float[Array, "m m B"]:
    """`(1 + C K)⁻¹ C` by Gauss-Jordan elimination; small steps need no pivoting."""
    size = turned.shape[0]
    table = jnp.concatenate([turned + jnp.eye(size, dtype=turned.dtype)[..., None], change], axis=1)

    def eliminate(pivot: int | Array, table: Array) -> Array:
        row = table[pivot] / table[pivot, pivot]
        cleared = table - table[:, pivot][:, None] * row
        return cleared.at[pivot].set(row)

    if size <= _FEW:
        for pivot in range(size):
            table = eliminate(pivot, table)
    else:
        table = jax.lax.fori_loop(0, size, eliminate, table)
    return table[:, size:]
