"""How a computation ended, and when a solution counts as accurate."""

import enum

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Status(enum.IntEnum):
    """How a computation ended; carried as data, so that one failure does not stop its neighbours."""

    OK = 0
    NOT_POSITIVE_DEFINITE = 1
    NOT_FINITE = 2
    INACCURATE = 3
    NOT_CONVERGED = 4


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
