"""Refusing bad input in one sentence that names the argument, the rule and what was found."""

from types import UnionType
from typing import NoReturn

import jax
import jax.numpy as jnp
import numpy as np


class InputError(ValueError):
    """An argument cannot be used; the message is one sentence that says which, and what it must be.

    Library code raises it before any compute. The command line prints it as one line and exits with status 2.
    """


def require(condition: object, argument: str, must: str, but: str) -> None:
    """Refuse an argument unless `condition` holds.

    **Arguments**

    - `condition`: anything with a truth value on the host.
    - `argument`, `must`, `but`: the parts of the sentence "Argument `argument` must `must`, but `but`.".

    Raises `InputError` with that sentence.

    >>> require(3 > 0, "steps", "be positive", "it is 3")
    """
    if not condition:
        refuse(argument, must, but)


def refuse(argument: str, must: str, but: str) -> NoReturn:
    """Raise `InputError` "Argument `argument` must `must`, but `but`.".

    >>> refuse("steps", "be positive", "it is -1")
    Traceback (most recent call last):
    jaxphys._checks.InputError: Argument `steps` must be positive, but it is -1.
    """
    raise InputError(f"Argument `{argument}` must {must}, but {but}.")


def is_concrete(array: object) -> bool:
    """Whether the values of an array are known; they are not inside `jit`, `vmap` or `grad`."""
    return not isinstance(array, jax.core.Tracer)


def check_positive(argument: str, values: object, *, mask: object = True) -> None:
    """Require positive and finite numbers; skipped while tracing.

    **Arguments**

    - `argument`: its name. `values`: of any shape.
    - `mask`: where they count, of a shape that broadcasts.

    Raises `InputError` that names the first wrong entry.
    """
    if not is_concrete(values):
        return
    flat = np.asarray(values)
    bad = ~(np.isfinite(flat) & (flat > 0)) & np.asarray(mask)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        index = ", ".join(str(i) for i in where)
        refuse(argument, "be positive and finite", f"entry [{index}] is {flat[where]}")


def check_indices(argument: str, values: object, size: int, what: str) -> None:
    """Require integers between 0 and `size - 1`.

    **Arguments**

    - `argument`: its name. `values`: of any shape. `size`: how many there are of `what`, as "nodes".

    Raises `InputError` that names the first wrong one.
    """
    array = np.asarray(values)
    if array.size == 0:
        return
    require(
        np.issubdtype(array.dtype, np.integer), argument, "hold integers", f"it holds {array.dtype} values"
    )
    bad = (array < 0) | (array >= size)
    if bad.any():
        refuse(
            argument,
            f"name {what} between 0 and {size - 1}",
            f"{int(array[bad][0])} is out of range",
        )


def described(value: object) -> str:
    """A wrong value in a few words: a class by its name, an array by its shape.

    >>> described(None), described(np.zeros((2, 3))), described([1])
    ('None', 'an array of shape (2, 3)', 'a list')
    """
    if isinstance(value, type):
        return f"the class {value.__name__}; write {value.__name__}(...)"
    if value is None or isinstance(value, bool | int | float | complex | str | np.generic):
        text = repr(value.item() if isinstance(value, np.generic) else value)
        return text if len(text) <= 40 else text[:37] + "..."
    if isinstance(value, np.ndarray | jax.Array):
        return f"an array of shape {value.shape}"
    name = getattr(value, "__name__", None)
    if callable(value) and name is not None:
        return f"the function {name}"
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'AEIOUaeiou' else 'a'} {kind}"


def check_kind(argument: str, value: object, kinds: type | UnionType | tuple[type, ...], what: str) -> None:
    """Require an instance of a class.

    **Arguments**

    - `argument`: its name. `value`: what was passed.
    - `kinds`: a class, a union or a tuple of them. `what`: the same in words, as "a solver".

    Raises `InputError` that describes the value.
    """
    require(isinstance(value, kinds), argument, f"be {what}", f"it is {described(value)}")


def check_count(argument: str, value: object, *, least: int = 1, most: int = 2**31 - 1) -> None:
    """Require a whole number between `least` and `most`.

    **Arguments**

    - `argument`: its name. `value`: an integer of Python or NumPy; True and 3.0 are refused.

    Raises `InputError` that describes the value.
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        cure = f"; write {int(value)}" if isinstance(value, float) and value.is_integer() else ""
        refuse(argument, "be a whole number", f"it is {described(value)}{cure}")
    if least == 1:
        require(value >= least, argument, "be positive", f"it is {value}")
    require(value >= least, argument, f"be at least {least}", f"it is {value}")
    require(value <= most, argument, f"be at most {most}", f"it is {value}")


def check_number(argument: str, value: object) -> None:
    """Require a real number, or a scalar array of one, traced or not.

    **Arguments**

    - `argument`: its name. `value`: what was passed; booleans and complex numbers are refused.

    Raises `InputError` that describes the value.
    """
    dtype = getattr(value, "dtype", None)
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    if dtype is not None:
        is_real = getattr(value, "ndim", None) == 0 and np.issubdtype(dtype, np.number) and dtype.kind != "c"
    require(is_real, argument, "be a number", f"it is {described(value)}")


def to_array(argument: str, values: object, dtype: type | np.dtype) -> np.ndarray:
    """Real numbers as an array on the host.

    **Arguments**

    - `argument`: its name. `values`: numbers, nested sequences or an array. `dtype`: of the result.

    Raises `InputError` on anything but real numbers.
    """
    try:
        array = np.asarray(values)
        good = array.dtype.kind in "fiub" or jax.dtypes.issubdtype(array.dtype, np.floating)
    except (ValueError, TypeError):
        good = False
    require(good, argument, "hold real numbers", f"it is {described(values)}")
    return array.astype(dtype)


def check_numbers(argument: str, values: object, shape: tuple[int, ...], dtype: type | np.dtype) -> jax.Array:
    """Real numbers as an array of JAX, traced or not.

    **Arguments**

    - `argument`: its name. `values`: numbers, nested sequences or an array.
    - `shape`: that they must have. `dtype`: of the result.

    Raises `InputError` on another shape, and on anything but real numbers.
    """
    is_array = isinstance(values, jax.Array)
    array = jnp.asarray(values if is_array else to_array(argument, values, dtype), dtype)
    require(array.shape == shape, argument, f"have shape {shape}", f"it has {array.shape}")
    return array


def check_key(argument: str, value: object) -> None:
    """Require one random key of JAX, of `jax.random.key` or of the older `jax.random.PRNGKey`.

    **Arguments**

    - `argument`: its name. `value`: what was passed.

    Raises `InputError` that describes the value.
    """
    is_key = isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key)
    # Older keys are two integers.
    is_old = isinstance(value, jax.Array) and value.dtype == np.uint32 and value.shape == (2,)
    cure = f"; write jax.random.key({value})" if type(value) is int else ""
    require(is_key or is_old, argument, "be a random key of JAX", f"it is {described(value)}{cure}")
    shape = getattr(value, "shape", ())
    require(is_old or shape == (), argument, "be one random key", f"it is an array of shape {shape}")


MOST_DENSE = 10_000
"""Rows of the largest square matrix that dense algebra makes: 0.7 GiB in double precision."""


def check_dense(rows: int, columns: int) -> None:
    """Refuse a dense matrix that is too large, before it is made.

    **Arguments**

    - `rows`, `columns`: its shape; the product may be at most that of `MOST_DENSE` squared.

    Raises `InputError` that names its size in GiB and a sparse solver.
    """
    if rows * columns > MOST_DENSE**2:
        raise InputError(
            f"Dense algebra needs {rows} by {columns} numbers, {rows * columns / 2**27:.1f} GiB a matrix,"
            f" more than the {MOST_DENSE} by {MOST_DENSE} allowed; `SparseLU()` finds states at rest of flow "
            "and spring networks, outside of `jit`, `vmap` and `grad`."
        )
