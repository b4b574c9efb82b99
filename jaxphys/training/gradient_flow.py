"""Learning in the limit of small steps: `dk/dt = -∂C/∂k`, followed by Runge-Kutta steps of adaptive length.

Small steps of plain descent are Euler's method for this flow. A Runge-Kutta method of order five takes
steps that are longer by orders of magnitude and ends where the small steps end. Tableaus and control of
the step's length come from diffrax, an optional dependency that is imported when a flow is made.
"""

from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxphys._checks import InputError, check_number, check_positive, require
from jaxphys.equilibrium import Status
from jaxphys.learning.rules import Estimate
from jaxphys.learning.transforms import Bounds, check_ordered

# Each ends on an evaluation at the very point it proposes, which is the first one of the next step.
_METHODS = {"bosh3": "Bosh3", "tsit5": "Tsit5", "dopri5": "Dopri5"}


class Pace(eqx.Module):
    """What a realization carries from one Runge-Kutta step to the next.

    - `length`: of the step to try next, in learning steps.
    - `memory`: of diffrax's controller. `evaluations`: of the rule so far, refused steps included.
    """

    length: Float[Array, ""]
    memory: Any
    evaluations: Int[Array, ""]


class GradientFlow(eqx.Module):
    """Follow `dk/dt = -metric · g(k)` within bounds, `g` being the rule's estimate of `∂C/∂k`.

    Given to `train` as `integrator`. A learning step lasts the time `rate`, so that `steps` steps cover
    the same time as `steps` steps of `optax.sgd(rate)`, and end at the same `k` if that rate is small.
    A step is accepted once its estimated error in `k`, root mean square over edges, is below
    `absolute_tolerance + relative_tolerance · |k|`. Steps end at records, so each record costs
    one Runge-Kutta step at least: ask for few.

    At a bound, what pushes out of it is zero (the projected flow: in the limit of small steps the same
    as plain descent with `transforms.bounds`).

    **Attributes**

    - `rate`: α, the time that one learning step lasts.
    - `method`: `"tsit5"` or `"dopri5"` (order 5, six evaluations a step) or `"bosh3"` (order 3, three).
    - `relative_tolerance`, `absolute_tolerance`: on `k`, for every Runge-Kutta step.
    - `lower`, `upper`: bounds on `k`, in place of the argument `bounds` of `train`, which holds if both are
      None.
    - `metric`: `(M,)` positive weights, as in `transforms.precondition`; all one if None.
    - `max_evaluations`: of the rule; a realization that needs more rests as `Status.NOT_CONVERGED`.

    Raises `InputError` on values out of range, or where diffrax is not installed.
    """

    rate: float = eqx.field(static=True, default=1.0)
    method: Literal["tsit5", "dopri5", "bosh3"] = eqx.field(static=True, default="tsit5")
    relative_tolerance: float = eqx.field(static=True, default=1e-4)
    absolute_tolerance: float = eqx.field(static=True, default=1e-6)
    lower: float | None = eqx.field(static=True, default=None)
    upper: float | None = eqx.field(static=True, default=None)
    metric: Any = eqx.field(default=None, converter=lambda m: None if m is None else jnp.asarray(m, float))
    max_evaluations: int = eqx.field(static=True, default=1_000_000)

    def __check_init__(self) -> None:
        for name in ("rate", "relative_tolerance", "absolute_tolerance", "max_evaluations"):
            value = getattr(self, name)
            check_number(name, value)
            require(value > 0 and np.isfinite(value), name, "be positive and finite", f"it is {value}")
        require(self.method in _METHODS, "method", f"be one of {list(_METHODS)}", f"it is {self.method!r}")
        check_ordered(self.lower, self.upper)
        if self.metric is not None:
            check_positive("metric", self.metric)
        _diffrax()

    def start(self, k: Float[Array, " M"], estimate: Estimate, bounds: Bounds) -> Pace:
        """The pace at which to set out: a first step that changes `k` by about a hundredth."""
        scale = self.absolute_tolerance + self.relative_tolerance * jnp.abs(k)
        speed = _root_mean_square(self._velocity(estimate, k, bounds, k) / scale)
        length = 0.01 * _root_mean_square(k / scale) / speed
        # Where nothing moves, or nothing is known, any step will do.
        length = jnp.where(jnp.isfinite(length) & (length > 0), length, 1).astype(k.dtype)
        return Pace(length, (jnp.ones_like(length), jnp.ones_like(length)), jnp.asarray(1, jnp.int32))

    def advance(
        self,
        measure: Callable[[Float[Array, " M"]], Estimate],
        k: Float[Array, " M"],
        estimate: Estimate,
        pace: Pace,
        status: Int[Array, ""],
        steps: Int[Array, ""],
        stop_cost: Float[Array, ""] | float,
        bounds: Bounds,
    ) -> tuple[Float[Array, " M"], Estimate, Pace, Int[Array, ""]]:
        """Follow one realization's flow for the time of `steps` learning steps, within `bounds`.

        `measure` is the rule as a function of `k`, `estimate` what it measured at the `k` handed in.
        Rests where `status` is not OK or the cost is at or below `stop_cost`. A step onto a state that
        the rule cannot measure is refused and shortened; the realization fails, with the rule's status,
        once its steps are too short to move `k`.
        """
        diffrax = _diffrax()
        method = getattr(diffrax, _METHODS[self.method])()
        # Proportional-integral control: stiff flows settle at the longest stable step instead of bouncing.
        controller = diffrax.PIDController(
            self.relative_tolerance, self.absolute_tolerance, pcoeff=0.3, icoeff=0.4
        )

        price = method.tableau.num_stages - 1

        def wants_more(state: Any) -> Bool[Array, ""]:
            _, estimate, _, status, left = state
            return (left > 0) & (status == Status.OK) & (estimate.cost > stop_cost)

        def can_pay(state: Any) -> Bool[Array, ""]:
            return state[2].evaluations + price <= self.max_evaluations

        def attempt(state: Any) -> Any:
            k, estimate, pace, _, left = state
            taken = jnp.minimum(pace.length, left)
            candidate, measured, error, trouble = self._step(
                measure, method.tableau, k, estimate, taken, bounds
            )
            trouble = jnp.where(
                (trouble == Status.OK) & ~jnp.isfinite(error).all(), Status.NOT_FINITE, trouble
            )
            # To the controller trouble is an infinite error: refuse and shorten.
            error = jnp.where(trouble == Status.OK, error, jnp.inf)
            accepted, begin, end, _, memory, _ = controller.adapt_step_size(
                jnp.zeros_like(taken),
                taken,
                k,
                candidate,
                None,
                error,
                method.order(None),
                (*pace.memory, False),
            )
            # A step cut short by a record says nothing about how long the next one may be.
            cut = accepted & (taken < pace.length)
            length = jnp.where(cut, jnp.maximum(end - begin, pace.length), end - begin)
            memory = jax.tree.map(lambda new, old: jnp.where(cut, old, new), memory[:2], pace.memory)
            evaluations = pace.evaluations + price
            k, estimate = jax.tree.map(
                lambda new, old: jnp.where(accepted, new, old), (candidate, measured), (k, estimate)
            )
            left = jnp.where(accepted, left - taken, left)
            failure = jnp.where(trouble == Status.OK, Status.NOT_CONVERGED, trouble)
            way = length * _root_mean_square(self._velocity(estimate, k, bounds, k))
            stuck = ~accepted & (way <= 4 * jnp.finfo(k.dtype).eps * _root_mean_square(k))
            status = jnp.where(stuck, failure, Status.OK).astype(jnp.int32)
            return k, estimate, Pace(length, memory, evaluations), status, left

        state = (k, estimate, pace, status, steps.astype(k.dtype))
        state = jax.lax.while_loop(lambda state: wants_more(state) & can_pay(state), attempt, state)
        k, estimate, pace, status, _ = state
        broke = wants_more(state) & ~can_pay(state)
        return k, estimate, pace, jnp.where(broke, Status.NOT_CONVERGED, status).astype(jnp.int32)

    def _step(
        self,
        measure: Callable[[Float[Array, " M"]], Estimate],
        tableau: Any,
        k: Float[Array, " M"],
        estimate: Estimate,
        length: Float[Array, ""],
        bounds: Bounds,
    ) -> tuple[Float[Array, " M"], Estimate, Float[Array, " M"], Int[Array, ""]]:
        """One Runge-Kutta step: where it leads, what the rule says there, its error, the first bad status.

        An edge that reaches a bound within the step may run past it in the stages, where the rule sees it
        at the bound: the field then has a kink there, no jump, and steps need not shrink to hit the moment.
        """
        stages = tableau.num_stages
        weights = np.zeros((stages, stages))
        for row, values in enumerate(tableau.a_lower, start=1):
            weights[row, : len(values)] = values
        coefficients = jnp.asarray(weights, k.dtype)
        first = self._velocity(estimate, k, bounds, k)
        velocities = jnp.zeros((stages, *k.shape), k.dtype).at[0].set(first)

        def stage(index: Array, state: Any) -> Any:
            velocities, _, _, trouble = state
            point = k + length * (coefficients[index] @ velocities)
            inside = bounds.keep(point, k)
            measured = measure(inside)
            velocities = velocities.at[index].set(self._velocity(measured, point, bounds, k))
            return velocities, inside, measured, jnp.where(trouble == Status.OK, measured.status, trouble)

        state = (velocities, k, estimate, jnp.zeros_like(estimate.status))
        velocities, inside, measured, trouble = jax.lax.fori_loop(1, stages, stage, state)
        error = length * (jnp.asarray(tableau.b_error, k.dtype) @ velocities)
        return inside, measured, error, trouble

    def _velocity(
        self, estimate: Estimate, k: Float[Array, " M"], bounds: Bounds, begin: Float[Array, " M"]
    ) -> Float[Array, " M"]:
        """Change of `k` per learning step; none for edges that set out from a bound and are pushed out."""
        velocity = -self.rate * estimate.gradient
        if self.metric is not None:
            velocity = velocity * self.metric.astype(k.dtype)
        held_up = bounds.at_lower(begin) & bounds.at_lower(k) & (velocity < 0)
        held_down = bounds.at_upper(begin) & bounds.at_upper(k) & (velocity > 0)
        return jnp.where(held_up | held_down, 0, velocity)


def _root_mean_square(values: Float[Array, " M"]) -> Float[Array, ""]:
    return jnp.sqrt(jnp.mean(values**2))


def _diffrax() -> Any:
    try:
        import diffrax
    except ImportError:
        raise InputError("`GradientFlow` needs diffrax: pip install 'jaxphys[flow]'") from None
    return diffrax
