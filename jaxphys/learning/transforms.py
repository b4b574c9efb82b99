"""What happens to an update on its way to the edges, as optax gradient transformations.

They go behind any optimizer in `optax.chain`. Those that draw random numbers take the
realization's key of the current step as the extra argument `key`, which `train` supplies.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Key, PyTree

from jaxphys._checks import check_number, is_concrete, refuse, require, to_array


class Bounds(eqx.Module):
    """Where `k` is kept, one interval for each realization; a side that is None is open.

    **Attributes**: `lower`, `upper`: scalars in the units and dtype of `k`; ensembles stack them, `(R,)`.
    """

    lower: Float[Array | np.ndarray, "*R"] | None = None
    upper: Float[Array | np.ndarray, "*R"] | None = None

    @property
    def are_open(self) -> bool:
        """Whether there is nothing to keep."""
        return self.lower is None and self.upper is None

    def keep(self, k: Float[Array, " M"], before: Float[Array, " M"]) -> Float[Array, " M"]:
        """`k` projected onto the interval; entries that lay outside `before` go no further out.

        Entries within are what they were, bit for bit. (Padding has k = 0, and a network may start below a
        default floor: neither is lifted.)
        """
        if self.lower is not None:
            k = jnp.maximum(k, jnp.minimum(self.lower, before))
        if self.upper is not None:
            k = jnp.minimum(k, jnp.maximum(self.upper, before))
        return k

    def at_lower(self, k: Float[Array, " M"]) -> Bool[Array, " M"]:
        """Which entries may not become smaller."""
        return jnp.zeros(k.shape, bool) if self.lower is None else k <= self.lower

    def at_upper(self, k: Float[Array, " M"]) -> Bool[Array, " M"]:
        """Which entries may not become larger."""
        return jnp.zeros(k.shape, bool) if self.upper is None else k >= self.upper


def check_ordered(lower: float | None, upper: float | None) -> None:
    """Raise `InputError` unless the bounds are numbers, the lower one below the upper one.

    Either may be None (open), a number, or an array with an entry for each realization.
    """
    for name, bound in (("lower", lower), ("upper", upper)):
        if bound is not None and np.ndim(bound) == 0:
            check_number(name, bound)
        require(bound is None or not np.isnan(bound).any(), name, "be a number", "it is NaN")
    if lower is not None and upper is not None:
        require(np.all(lower < upper), "lower", f"be below `upper` = {upper}", f"it is {lower}")


class Bounded(eqx.Module):
    """The state of `bounds`: no arrays, only the mark by which `train` finds it in the state of a chain."""

    lower: float | None = eqx.field(static=True)
    upper: float | None = eqx.field(static=True)


# What `bounds` hands on, while `bounds_of` checks that its chain hands on the same.
_handed_on: ContextVar[list[Array] | None] = ContextVar("handed_on", default=None)


@contextmanager
def _watched() -> Iterator[list[Array]]:
    handed_on: list[Array] = []
    token = _handed_on.set(handed_on)
    try:
        yield handed_on
    finally:
        _handed_on.reset(token)


# How many steps a wrapper may gather before it takes one, to be looked into.
_PROBES = 32


def bounds_of(optimizer: optax.GradientTransformation, k: Float[Array, " M"]) -> list[Bounded]:
    """The bounds that an optimizer holds, wherever in its chain they stand; on the host.

    Raises `InputError` where they are not last: what comes behind would lead out of them.
    """
    state = optimizer.init(k)
    found = [
        leaf
        for leaf in jax.tree.leaves(state, is_leaf=lambda leaf: isinstance(leaf, Bounded))
        if isinstance(leaf, Bounded)
    ]
    if not found:
        return found
    transform = optax.with_extra_args_support(optimizer)
    seen = 0
    for number in range(_PROBES):
        # Sizes and signs of all kinds; no two of them cancel where a wrapper takes their mean.
        gradient = (-3.0) ** (number % 16) * (1 + jnp.abs(k)) * jnp.sin(1 + jnp.arange(len(k), dtype=k.dtype))
        # Not compiled, so that the branches of conditions can be looked into.
        with _watched() as handed_on, jax.disable_jit(), jax.numpy_dtype_promotion("standard"):
            updates, state = transform.update(gradient, state, k, key=jax.random.key(0))
        if not handed_on or not is_concrete(handed_on[-1]):
            continue
        seen += bool(jnp.any(updates != 0))
        # An edge that stands still stays within its bounds.
        same = np.asarray((updates == handed_on[-1]) | (updates == 0))
        require(
            same.all(),
            "optimizer",
            "have `bounds` last in its chain",
            "what comes behind changes its updates; put it last, or hand `bounds=(lower, upper)` to `train`",
        )
        if seen == 3:
            break
    return found


def bounds(lower: float | None = None, upper: float | None = None) -> optax.GradientTransformation:
    """Shorten updates so that `lower ≤ k ≤ upper` after them (projected descent); put it last in a chain.

    `train` takes `bounds=(lower, upper)` for the same, and refuses a chain in which something comes behind.
    Raises `InputError` if no bound is given or they cross.

    >>> import jax.numpy as jnp, jaxphys as jp, optax
    >>> chain = optax.chain(optax.sgd(1.0), jp.bounds(0.01))
    >>> k = jnp.array([1.0, 1.0])
    >>> updates, _ = chain.update(jnp.array([0.5, 3.0]), chain.init(k), k)
    >>> (k + updates).round(2).tolist()
    [0.5, 0.01]
    """
    require(lower is not None or upper is not None, "lower", "be given, or `upper`", "neither is")
    check_ordered(lower, upper)
    mark = Bounded(*(float(b) if b is not None and np.ndim(b) == 0 else None for b in (lower, upper)))

    def shorten(update: Array, k: Array) -> Array:
        update = jnp.clip(k + update, lower, upper) - k
        # Where `k + update` rounds past a bound the next number inside is taken.
        if lower is not None:
            update = jnp.where(k + update < lower, jnp.nextafter(update, jnp.inf), update)
        if upper is not None:
            update = jnp.where(k + update > upper, jnp.nextafter(update, -jnp.inf), update)
        return update

    def update(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
        require(params is not None, "params", "be passed to `update`, bounds depend on them", "it is None")
        shortened = jax.tree.map(shorten, updates, params)
        handed_on = _handed_on.get()
        if handed_on is not None:
            handed_on.extend(jax.tree.leaves(shortened))
        return shortened, state

    return optax.GradientTransformation(lambda params: mark, update)


def precondition(metric: Float[np.ndarray, " M"]) -> optax.GradientTransformation:
    """Multiply `∂C/∂k` entry by entry by `metric`, `(M,)`: steepest descent in another metric.

    With `network.frobenius_metric` a node network follows Stern et al. (2023), eq. 13. Put it first in a
    chain. Raises `InputError` unless the entries are real numbers.

    >>> import jax.numpy as jnp, jaxphys as jp, optax
    >>> network = jp.NodeNetwork([2.0, 0.5, 2.0])
    >>> chain = optax.chain(jp.precondition(network.frobenius_metric), optax.sgd(1.0))
    >>> updates, _ = chain.update(jnp.ones(3), chain.init(network.k), network.k)
    >>> updates.tolist()
    [-1.0, -0.5, -1.0]
    """
    to_array("metric", metric, float)

    def update(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
        return jax.tree.map(lambda u: u * jnp.asarray(metric, u.dtype), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def update_noise(standard_deviation: float) -> optax.GradientTransformationExtraArgs:
    """Add Gaussian noise N(0, σ²) to each update, drawn afresh for every edge and step.

    In the units of k: behind `optax.sgd(α)` the noise of Stern et al. (2023), appendix E, is
    `update_noise(5e-3 * α)`. Its draws come from the key of the realization and step. Raises `InputError` on
    a standard deviation below 0.

    >>> import jax, jax.numpy as jnp, jaxphys as jp, optax
    >>> noise = jp.update_noise(0.1)
    >>> updates, _ = noise.update(jnp.zeros(10_000), optax.EmptyState(), key=jax.random.key(0))
    >>> round(float(updates.std()), 2)
    0.1
    """
    check_number("standard_deviation", standard_deviation)
    require(standard_deviation >= 0, "standard_deviation", "be at least 0", f"it is {standard_deviation}")

    def noisy(updates: Array, key: Key[Array, ""]) -> Array:
        return updates + standard_deviation * jax.random.normal(key, updates.shape, updates.dtype)

    return _random_transformation(1, noisy)


def participation(fraction: float) -> optax.GradientTransformationExtraArgs:
    """Let each edge take part in a step with probability `fraction`, drawn afresh for every edge and step.

    The updates of the others are zero; those that take part are not scaled up. Stern et al. (2023), appendix
    E, train with 0.1. Raises `InputError` unless `fraction` lies above 0 and up to 1.

    >>> import jax, jax.numpy as jnp, jaxphys as jp, optax
    >>> half = jp.participation(0.5)
    >>> updates, _ = half.update(jnp.ones(10_000), optax.EmptyState(), key=jax.random.key(0))
    >>> round(float(updates.mean()), 1)
    0.5
    """
    check_number("fraction", fraction)
    require(0 < fraction <= 1, "fraction", "lie above 0 and up to 1", f"it is {fraction}")

    def masked(updates: Array, key: Key[Array, ""]) -> Array:
        return jnp.where(jax.random.bernoulli(key, fraction, updates.shape), updates, 0)

    return _random_transformation(2, masked)


def _random_transformation(
    stream: int, change: Callable[[Array, Key[Array, ""]], Array]
) -> optax.GradientTransformationExtraArgs:
    """A stateless transformation that draws from the extra argument `key`, each kind from its own stream."""

    def update(
        updates: PyTree,
        state: PyTree,
        params: PyTree = None,
        *,
        key: Key[Array, ""] | None = None,
        **_: object,
    ) -> tuple[PyTree, PyTree]:
        if key is None:
            refuse("key", "be passed to `update` for random transformations", "it is None")
        return jax.tree.map(lambda u: change(u, jax.random.fold_in(key, stream)), updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
