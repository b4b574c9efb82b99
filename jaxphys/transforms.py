"""What happens to an update on its way to the edges, as optax gradient transformations.

They go behind any optimizer in `optax.chain`. Those that draw random numbers take the
realization's key of the current step as the extra argument `key`, which `train` supplies.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Key

from jaxphys._checks import require


def bounds(lower: float | None = None, upper: float | None = None) -> optax.GradientTransformation:
    """Shorten updates so that `lower ≤ k ≤ upper` after them (projected descent); put it last in a chain.

    Raises `InputError` if no bound is given or they cross.

    >>> import jax.numpy as jnp, jaxphys as jp, optax
    >>> chain = optax.chain(optax.sgd(1.0), jp.bounds(0.01))
    >>> k = jnp.array([1.0, 1.0])
    >>> updates, _ = chain.update(jnp.array([0.5, 3.0]), chain.init(k), k)
    >>> (k + updates).round(2).tolist()
    [0.5, 0.01]
    """
    require(lower is not None or upper is not None, "lower", "be given, or `upper`", "neither is")
    if lower is not None and upper is not None:
        require(lower < upper, "lower", f"be below `upper` = {upper}", f"it is {lower}")

    def shorten(update: Array, k: Array) -> Array:
        update = jnp.clip(k + update, lower, upper) - k
        # Where `k + update` rounds past a bound the next number inside is taken.
        if lower is not None:
            update = jnp.where(k + update < lower, jnp.nextafter(update, jnp.inf), update)
        if upper is not None:
            update = jnp.where(k + update > upper, jnp.nextafter(update, -jnp.inf), update)
        return update

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        require(params is not None, "params", "be passed to `update`, bounds depend on them", "it is None")
        return jax.tree.map(shorten, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def precondition(metric: np.ndarray) -> optax.GradientTransformation:
    """Multiply `∂C/∂k` entry by entry, `(M,)`: steepest descent in another metric.

    With `network.frobenius_metric` a node network follows paper A's eq. 13. Put it first in a chain.
    """

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return jax.tree.map(lambda u: u * jnp.asarray(metric, u.dtype), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def update_noise(standard_deviation: float) -> optax.GradientTransformationExtraArgs:
    """Add Gaussian noise N(0, σ²), drawn afresh for every edge and step (paper A, appendix E).

    Behind `optax.sgd(α)` the paper's noise is `update_noise(5e-3 * α)`.
    """
    require(standard_deviation >= 0, "standard_deviation", "be at least 0", f"it is {standard_deviation}")

    def noisy(updates: Array, key: Key[Array, ""]) -> Array:
        return updates + standard_deviation * jax.random.normal(key, updates.shape, updates.dtype)

    return _random_transformation(1, noisy)


def desynchronous(fraction: float) -> optax.GradientTransformationExtraArgs:
    """Let each edge take part in a step with probability `fraction` (paper A, appendix E uses 0.1)."""
    require(0 < fraction <= 1, "fraction", "lie above 0 and up to 1", f"it is {fraction}")

    def masked(updates: Array, key: Key[Array, ""]) -> Array:
        return jnp.where(jax.random.bernoulli(key, fraction, updates.shape), updates, 0)

    return _random_transformation(2, masked)


def _random_transformation(stream: int, change: Any) -> optax.GradientTransformationExtraArgs:
    """A stateless transformation that draws from the extra argument `key`, each kind from its own stream."""

    def update(updates: Any, state: Any, params: Any = None, *, key: Any = None, **_: Any) -> tuple[Any, Any]:
        require(key is not None, "key", "be passed to `update` for random transformations", "it is None")
        return jax.tree.map(lambda u: change(u, jax.random.fold_in(key, stream)), updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
