"""How a computation ended, and when a solution counts as accurate."""

import enum

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Status(enum.IntEnum):
    """How a computation ended; carried as data, so that one failure does not stop its neighbours.

    - `OK`: the answer is within the bounds of [reliability](../reliability.md).
    - `NOT_POSITIVE_DEFINITE`: the network is unstable where its boundary leaves it free, or k is NaN.
    - `NOT_FINITE`: numbers that went in, or came out, are infinite or NaN.
    - `INACCURATE`: too ill-conditioned for the precision, or solved by a plan for something else.
    - `NOT_CONVERGED`: an iteration did not settle.
    """

    OK = 0
    NOT_POSITIVE_DEFINITE = 1
    NOT_FINITE = 2
    INACCURATE = 3
    NOT_CONVERGED = 4


def state_error(doubt: Float[Array, ""], size: int) -> Float[Array, ""]:
    """Relative error to expect at worst of n = `size` coordinates that refinement moves by `doubt`.

    Four times that, for refinement may be lucky, and a rounding error for each coordinate.
    """
    return 4 * doubt + size * jnp.finfo(doubt.dtype).eps


def judged(definite: Bool[Array, ""], residual: Float[Array, ""], doubt: Float[Array, ""]) -> Int[Array, ""]:
    """`Status` of a solution with this backward error, which refinement would move by `doubt` of its size.

    `INACCURATE` from 1e4 units in the last place of backward error on, or where `doubt` exceeds `ε^0.4`: 5e-7
    in float64, 2e-3 in float32.
    """
    epsilon = float(jnp.finfo(residual.dtype).eps)
    # The comparisons are written so that NaN counts as inaccurate.
    accurate = (residual <= 1e4 * epsilon) & (doubt <= epsilon**0.4)
    code = jnp.where(
        accurate, Status.OK, jnp.where(jnp.isfinite(residual), Status.INACCURATE, Status.NOT_FINITE)
    )
    return jnp.where(definite, code, Status.NOT_POSITIVE_DEFINITE).astype(jnp.int32)
