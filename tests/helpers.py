"""How tests compare numbers, and what they expect of error messages.

Every helper here can fail; `test_helpers.py` makes each of them do so.
"""

import contextlib
import inspect
import re
import sys

import jax
import jaxtyping
import numpy as np
import pytest

import jaxphys as jp


def is_double():
    """Whether this is the double precision leg."""
    return jax.dtypes.canonicalize_dtype(float) == np.float64


def ulps(count):
    """A relative tolerance of `count` units in the last place of the leg's floating dtype."""
    return count * float(np.finfo(jax.dtypes.canonicalize_dtype(float)).eps)


def assert_close(actual, expected, *, relative, scale=None):
    """Require `max |actual - expected| <= relative * max |expected|` and equal shapes.

    The size of what is expected sets the scale for all entries, so that entries which cancel
    to zero do not ask for more digits than the numbers they came from. Where everything
    expected is zero, say what `scale` the error is measured on. NaN or infinity on either side
    fails.
    """
    if not 0 < relative < 1:
        raise ValueError(f"a relative tolerance lies between 0 and 1, not {relative}")
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.shape != expected.shape:
        raise AssertionError(f"shapes differ: {actual.shape} instead of {expected.shape}")
    if expected.size == 0:
        raise ValueError("nothing to compare")
    if not (np.isfinite(actual).all() and np.isfinite(expected).all()):
        raise AssertionError(f"not finite: {actual} instead of {expected}")
    size = float(np.abs(expected).max()) if scale is None else scale
    if not size > 0:
        raise ValueError("everything expected is zero: give the scale on which errors are measured")
    errors = np.abs(actual.astype(float) - expected.astype(float)) / size
    worst = np.unravel_index(errors.argmax(), errors.shape)
    if not errors[worst] <= relative:
        raise AssertionError(
            f"relative error {errors[worst]:.3g} exceeds {relative:.3g}: "
            f"{actual[worst]} instead of {expected[worst]} at {tuple(map(int, worst))}"
        )


def assert_identical(actual, expected):
    """Require two pytrees of arrays to agree in structure, shape, dtype and every bit (NaN equals NaN)."""
    leaves, structure = jax.tree.flatten(actual)
    expected_leaves, expected_structure = jax.tree.flatten(expected)
    if structure != expected_structure:
        raise AssertionError(f"structures differ: {structure} instead of {expected_structure}")
    if not leaves:
        raise ValueError("nothing to compare")
    for leaf, wanted in zip(map(np.asarray, leaves), map(np.asarray, expected_leaves), strict=True):
        if (leaf.shape, leaf.dtype) != (wanted.shape, wanted.dtype):
            raise AssertionError(f"{leaf.dtype}{leaf.shape} instead of {wanted.dtype}{wanted.shape}")
        same = np.array_equal(leaf, wanted, equal_nan=np.issubdtype(leaf.dtype, np.inexact))
        if not same:
            differ = np.argwhere(~((leaf == wanted) | ((leaf != leaf) & (wanted != wanted))))
            first = tuple(differ[0].tolist())
            raise AssertionError(
                f"values differ at {len(differ)} of {leaf.size} places, first {first}: "
                f"{leaf[first]!r} instead of {wanted[first]!r}"
            )


def assert_refused(argument, function, /, *args, saying="", **kwargs):
    """Require `InputError` with one sentence "Argument `x` must …, but …" that names the argument.

    `argument` must be a parameter of `function`; "targets|readout" also accepts what a builder makes of
    its argument. `saying` is a regular expression that the message must contain besides.
    """
    names = argument.split("|")
    if names[0] not in inspect.signature(function).parameters:
        raise ValueError(f"{function} takes no argument `{names[0]}`")
    with pytest.raises(jp.InputError) as caught:
        function(*args, **kwargs)
    message = str(caught.value)
    sentence = re.fullmatch(r"Arguments? (.+?) must (.+), but (.+)\.", message)
    if sentence is None:
        raise AssertionError(f'not "Argument `x` must ..., but ...": {message}')
    if not any(f"`{name}`" in sentence[1] for name in names):
        raise AssertionError(f"`{argument}` is not named: {message}")
    if not re.search(saying, message):
        raise AssertionError(f"{saying!r} is not said: {message}")


@contextlib.contextmanager
def type_checks_off():
    """No checks of annotations, which would see a wrong literal before the function itself does."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def fitted_slope(x, y):
    """Least-squares slope of `log y` against `log x`: the order in which y vanishes with x."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.shape != y.shape or x.size < 3:
        raise ValueError("a slope needs three points or more")
    if not ((x > 0).all() and (y > 0).all() and np.isfinite(y).all()):
        raise AssertionError(f"no logarithm of {x}, {y}")
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def central_differences(function, point, step):
    """Derivatives of a function by every entry of `point`, along a new last axis; error O(step⁴)."""
    if not step > 0:
        raise ValueError(f"a step is positive, not {step}")
    point = np.asarray(point, dtype=float)
    columns = []
    for entry in range(point.size):
        shift = np.zeros(point.size)
        shift[entry] = step
        shift = shift.reshape(point.shape)
        near = np.asarray(function(point + shift)) - np.asarray(function(point - shift))
        far = np.asarray(function(point + 2 * shift)) - np.asarray(function(point - 2 * shift))
        columns.append((8 * near - far) / (12 * step))
    derivative = np.stack(columns, axis=-1)
    if not np.isfinite(derivative).all():
        raise AssertionError("the function is not finite around this point")
    return derivative


def interrupt_call(monkeypatch, number):
    """Ctrl-C in place of the n-th call of the compiled program; returns a list with an entry for each."""
    rounds, calls = sys.modules["jaxphys.training.rounds"].Round, []
    advance = rounds.advance

    def interrupted(self, most_steps):
        calls.append(None)
        if len(calls) == number:
            raise KeyboardInterrupt
        advance(self, most_steps)

    monkeypatch.setattr(rounds, "advance", interrupted)
    return calls
