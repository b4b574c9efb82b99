"""How bad input is refused: one sentence that names the argument, the rule and what was found."""

from typing import Any

import jax
import numpy as np


class InputError(ValueError):
    """What a user handed in cannot be used; the message is one sentence that says where and what to do.

    The command line turns it into one line and exit status 2. Library code raises it
    before any compute.
    """


def require(condition: Any, argument: str, must: str, but: str) -> None:
    """Raise `InputError` "Argument `x` must ..., but ..." unless `condition` holds."""
    if not condition:
        raise InputError(f"Argument `{argument}` must {must}, but {but}.")


def is_concrete(array: Any) -> bool:
    """Whether values can be looked at (they cannot inside `jit`, `vmap` or `grad`)."""
    return not isinstance(array, jax.core.Tracer)


def check_positive(argument: str, values: Any, *, mask: Any = True) -> None:
    """Require strictly positive, finite `values` wherever `mask` holds; skipped while tracing."""
    if not is_concrete(values):
        return
    flat = np.asarray(values)
    bad = ~(np.isfinite(flat) & (flat > 0)) & np.asarray(mask)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        index = ", ".join(str(i) for i in where)
        require(False, argument, "be positive and finite", f"entry [{index}] is {flat[where]}")


def check_indices(argument: str, values: Any, size: int, what: str) -> None:
    """Require integer `values` in `[0, size)`, where `what` says what they count."""
    array = np.asarray(values)
    if array.size == 0:
        return
    require(
        np.issubdtype(array.dtype, np.integer), argument, "hold integers", f"it holds {array.dtype} values"
    )
    bad = (array < 0) | (array >= size)
    if bad.any():
        require(
            False,
            argument,
            f"name {what} between 0 and {size - 1}",
            f"{int(array[bad][0])} is out of range",
        )
