"""What one sample costs, as a function of its outputs."""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxphys._checks import check_number, require


class AbstractCost(eqx.Module):
    """The cost of one sample as a function of its outputs. Any differentiable function will do."""

    @abstractmethod
    def __call__(
        self, outputs: Float[Array, " o"], targets: Float[Array, " o"], weights: Float[Array, " o"]
    ) -> Float[Array, ""]:
        """Cost of one sample with `o` outputs."""


class SquaredError(AbstractCost):
    """`½ Σ_o w_o (y_o - t_o)²`, for outputs y, targets t and weights w.

    With `reduction="mean"` the mean squared error of Stern et al. (2023), eq. 4, and Guzman et al. (2024),
    eq. 6.
    """

    def __call__(
        self, outputs: Float[Array, " o"], targets: Float[Array, " o"], weights: Float[Array, " o"]
    ) -> Float[Array, ""]:
        return 0.5 * jnp.sum(weights * (outputs - targets) ** 2)


class CrossEntropy(AbstractCost):
    """`-Σ_o t_o log softmax(β y)_o` with inverse temperature β and one-hot (or soft) targets.

    Physical outputs are small, so β sets the scale on which one output beats another.
    """

    inverse_temperature: float = eqx.field(static=True, default=100.0)

    def __check_init__(self) -> None:
        value = self.inverse_temperature
        check_number("inverse_temperature", value)
        is_finite = 0 < value < np.inf
        require(is_finite, "inverse_temperature", "be positive and finite", f"it is {value}")

    def __call__(
        self, outputs: Float[Array, " o"], targets: Float[Array, " o"], weights: Float[Array, " o"]
    ) -> Float[Array, ""]:
        # Outputs without weight take no part in the competition.
        logits = jnp.where(weights > 0, self.inverse_temperature * outputs, -jnp.inf)
        shares = jnp.where(weights > 0, jax.nn.log_softmax(logits), 0)
        return -jnp.sum(weights * targets * shares)


class CosineDistance(AbstractCost):
    """`1 - cos(y, t) = ½ |ŷ - t̂|²`, the angle between outputs and targets (Guzman et al. (2024), eq. 23).

    NaN where outputs or targets are all zero, which point nowhere; 0 where no output has weight.
    """

    def __call__(
        self, outputs: Float[Array, " o"], targets: Float[Array, " o"], weights: Float[Array, " o"]
    ) -> Float[Array, ""]:
        # A sample without weight is taken as any other, and its value left out: derivatives of 0/0 are NaN
        # even where they are not used.
        counts = jnp.any(weights > 0)
        weights, outputs, targets = (jnp.where(counts, each, 1) for each in (weights, outputs, targets))
        norms = jnp.sqrt(jnp.sum(weights * outputs**2)) * jnp.sqrt(jnp.sum(weights * targets**2))
        return jnp.where(counts, 1 - jnp.sum(weights * outputs * targets) / norms, 0)
