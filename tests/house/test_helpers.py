"""Every helper is made to fail: a helper that cannot fail tests nothing."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    assert_close,
    assert_identical,
    assert_refused,
    central_differences,
    fitted_slope,
    is_double,
    ulps,
)

import jaxphys as jp


def test_the_leg_computes_in_its_own_precision():
    assert jnp.ones(()).dtype == (np.float64 if is_double() else np.float32)
    assert ulps(1) == (2.0**-52 if is_double() else 2.0**-23)


def test_assert_close_measures_on_the_largest_entry():
    assert_close([100.0, 1e-9], [100.0, 0.0], relative=1e-10)
    with pytest.raises(AssertionError, match=r"relative error 1e-11"):
        assert_close([100.0, 1e-9], [100.0, 0.0], relative=1e-12)
    assert_close([1e-9], [0.0], relative=1e-8, scale=1.0)
    with pytest.raises(AssertionError, match="relative error"):
        assert_close([1e-9], [0.0], relative=1e-10, scale=1.0)


@pytest.mark.parametrize(
    ("actual", "expected", "complaint"),
    [
        ([1.0, np.nan], [1.0, 1.0], "not finite"),
        ([1.0, np.nan], [1.0, np.nan], "not finite"),
        ([np.inf], [np.inf], "not finite"),
        ([1.0], [[1.0]], "shapes differ"),
        (1.0, [1.0, 1.0], "shapes differ"),
        ([1.0, -1.0], [1.0, 1.0], "relative error 2"),
    ],
)
def test_assert_close_fails(actual, expected, complaint):
    with pytest.raises(AssertionError, match=complaint):
        assert_close(actual, expected, relative=0.5)


@pytest.mark.parametrize("relative", [0, 0.0, -1e-3, 1.0, 3.0, np.nan, np.inf])
def test_assert_close_refuses_meaningless_tolerances(relative):
    with pytest.raises(ValueError, match="between 0 and 1"):
        assert_close(1.0, 1.0, relative=relative)


def test_assert_close_refuses_to_compare_nothing():
    with pytest.raises(ValueError, match="nothing to compare"):
        assert_close([], [], relative=0.1)
    with pytest.raises(ValueError, match="give the scale"):
        assert_close([0.0], [0.0], relative=0.1)


def test_assert_identical():
    tree = {"a": np.array([1.0, np.nan]), "b": [np.arange(3)]}
    assert_identical(tree, {"a": np.array([1.0, np.nan]), "b": [np.arange(3)]})


@pytest.mark.parametrize(
    ("other", "complaint"),
    [
        ([np.array([1.0, 1 + 2**-52])], "values differ"),
        ([np.array([1.0, np.nan])], "values differ"),
        ([np.array([1.0, 1.0], np.float32)], "instead of"),
        ([np.array([[1.0, 1.0]])], "instead of"),
        ((np.array([1.0, 1.0]),), "structures differ"),
    ],
)
def test_assert_identical_fails(other, complaint):
    with pytest.raises(AssertionError, match=complaint):
        assert_identical([np.array([1.0, 1.0])], other)


def test_assert_identical_refuses_to_compare_nothing():
    with pytest.raises(ValueError, match="nothing to compare"):
        assert_identical([], [])


def refuse(number, other=0):
    """Stands for a library function: refuses with whatever message is asked for."""
    if isinstance(number, str):
        raise jp.InputError(number)


def test_assert_refused():
    assert_refused("number", refuse, "Argument `number` must be 1, but it is 2.", saying="it is 2")
    assert_refused("number|inner", refuse, "Argument `inner` must be 1, but it is 2.")


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (3, "DID NOT RAISE"),
        ("number is wrong", 'not "Argument'),
        ("Argument `number` must be 1.", 'not "Argument'),
        ("Argument `other` must be 1, but it is 2.", "`number` is not named"),
        ("Argument `number` must be 1, but it is 2.", "is not said"),
    ],
)
def test_assert_refused_fails(message, complaint):
    with pytest.raises((AssertionError, pytest.fail.Exception), match=complaint):
        assert_refused("number", refuse, message, saying="it is 3")


def test_assert_refused_wants_an_argument_that_exists():
    with pytest.raises(ValueError, match="takes no argument `missing`"):
        assert_refused("missing", refuse, 3)


def test_fitted_slope():
    x = np.array([1e-3, 1e-2, 1e-1])
    assert abs(fitted_slope(x, 7 * x**2) - 2) < 1e-12
    with pytest.raises(AssertionError, match="no logarithm"):
        fitted_slope(x, np.zeros(3))
    with pytest.raises(AssertionError, match="no logarithm"):
        fitted_slope(x, np.array([1.0, np.nan, 1.0]))
    with pytest.raises(ValueError, match="three points"):
        fitted_slope(x[:2], x[:2])


def test_central_differences():
    def cubic(v):
        return np.array([v[0] ** 3, v[0] * v[1]])

    expected = [[12.0, 0.0], [5.0, 2.0]]
    assert_close(central_differences(cubic, [2.0, 5.0], 1e-3), expected, relative=1e-9)
    with pytest.raises(AssertionError, match="not finite"):
        central_differences(lambda v: v * np.nan, [2.0], 1e-3)
    with pytest.raises(ValueError, match="step is positive"):
        central_differences(cubic, [2.0, 5.0], 0.0)
