"""Learning in the limit of small steps: `dk/dt = -∂C/∂k`, followed by Runge-Kutta steps of adaptive length.

Small steps of plain descent are Euler's method for this flow. A Runge-Kutta method of order five takes
steps that are longer by orders of magnitude and ends where the small steps end. Tableaus and control of
the step's length come from diffrax, an optional dependency that is imported when a flow is made.
"""

import dataclasses
from functools import partial
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxphys._checks import InputError, check_number, check_positive, require
from jaxphys.equilibrium import Status
from jaxphys.learning import Task
from jaxphys.learning.rules import AbstractRule, Estimate
from jaxphys.learning.transforms import Bounds
from jaxphys.networks.physics import AbstractNetwork
from jaxphys.training.integrator import (
    AbstractIntegrator,
    Problem,
    TrainState,
    check_full_batches,
    check_metric,
)

# Each ends on an evaluation at the very point it proposes, which is the first one of the next step.
_METHODS = {"bosh3": "Bosh3", "tsit5": "Tsit5", "dopri5": "Dopri5"}

_Carry = tuple[TrainState, Float[Array, ""]]
"""A state, and the learning steps that are left."""


class Pace(eqx.Module):
    """What a realization carries from one Runge-Kutta step to the next.

    - `length`: of the step to try next, in learning steps.
    - `errors`: of the last two steps, relative to the tolerances, as diffrax's controller keeps them.
    """

    length: Float[Array, "*R"]
    errors: tuple[Float[Array, "*R"], Float[Array, "*R"]]


class GradientFlow(AbstractIntegrator):
    """Follow `dk/dt = -metric · g(k)` within bounds, `g` being the rule's estimate of `∂C/∂k`.

    Given to `train` as `optimizer`, for full batches. A learning step lasts the time `rate`, so that `steps`
    steps cover the same time as `steps` steps of `optax.sgd(rate)`, and end at the same `k` if that rate is
    small. A step is accepted once its estimated error in `k`, root mean square over edges, is below
    `absolute_tolerance + relative_tolerance · |k|`. Steps end at records, so each record costs one
    Runge-Kutta step at least: ask for few.

    At a bound, what pushes out of it is zero (the projected flow: in the limit of small steps the same
    as plain descent with `transforms.bounds`).

    **Attributes**

    - `rate`: α, the time that one learning step lasts.
    - `method`: `"tsit5"` or `"dopri5"` (order 5, six evaluations a step) or `"bosh3"` (order 3, three).
    - `relative_tolerance`, `absolute_tolerance`: on `k`, for every Runge-Kutta step.
    - `metric`: `(M,)` positive weights, as in `transforms.precondition`; all one if None.
    - `max_evaluations`: of the rule; a realization that needs more rests as `Status.NOT_CONVERGED`.

    Raises `InputError` on values out of range, or where diffrax is not installed.
    """

    rate: float = eqx.field(static=True, default=1.0)
    method: Literal["tsit5", "dopri5", "bosh3"] = eqx.field(static=True, default="tsit5")
    relative_tolerance: float = eqx.field(static=True, default=1e-4)
    absolute_tolerance: float = eqx.field(static=True, default=1e-6)
    metric: Any = eqx.field(default=None, converter=lambda m: None if m is None else jnp.asarray(m, float))
    max_evaluations: int = eqx.field(static=True, default=1_000_000)
    stepwise: ClassVar[bool] = False

    def __check_init__(self) -> None:
        for name in ("rate", "relative_tolerance", "absolute_tolerance", "max_evaluations"):
            value = getattr(self, name)
            check_number(name, value)
            require(value > 0 and np.isfinite(value), name, "be positive and finite", f"it is {value}")
        require(self.method in _METHODS, "method", f"be one of {list(_METHODS)}", f"it is {self.method!r}")
        if self.metric is not None:
            check_positive("metric", self.metric)
        _diffrax()

    def check(
        self, network: AbstractNetwork, task: Task, rule: AbstractRule, batch_size: int | None
    ) -> "GradientFlow":
        """Itself; raises `InputError` on minibatches, and on a metric that is not one of `network`."""
        check_full_batches(self, batch_size)
        check_metric(self, self.metric, network)
        return self

    def init(self, problem: Problem, estimate: Estimate) -> Pace:
        """The pace at which to set out: a first step that changes `k` by about a hundredth."""
        k, bounds = problem.network.k, problem.bounds
        scale = self.absolute_tolerance + self.relative_tolerance * jnp.abs(k)
        speed = _root_mean_square(self._velocity(estimate, k, bounds, k) / scale)
        length = 0.01 * _root_mean_square(k / scale) / speed
        # Where nothing moves, or nothing is known, any step will do.
        length = jnp.where(jnp.isfinite(length) & (length > 0), length, 1).astype(k.dtype)
        return Pace(length, (jnp.ones_like(length), jnp.ones_like(length)))

    def advance(
        self, problem: Problem, state: TrainState, begin: Int[Array, ""], end: Int[Array, ""]
    ) -> TrainState:
        """Follow one realization's flow for the time of the learning steps from `begin` to `end`.

        A Runge-Kutta step onto a state that the rule cannot measure is refused and shortened; the realization
        fails, with the rule's status, once its steps are too short to move `k`.
        """
        diffrax = _diffrax()
        method = getattr(diffrax, _METHODS[self.method])()
        # Proportional-integral control: stiff flows settle at the longest stable step instead of bouncing.
        controller = diffrax.PIDController(
            self.relative_tolerance, self.absolute_tolerance, pcoeff=0.3, icoeff=0.4
        )
        attempt = partial(self._attempt, problem, method, controller)
        price = method.tableau.num_stages - 1

        def is_unfinished(carry: _Carry) -> Bool[Array, ""]:
            state, left = carry
            return (left > 0) & problem.is_active(state)

        def may_measure(carry: _Carry) -> Bool[Array, ""]:
            return carry[0].evaluations + price <= self.max_evaluations

        carry = (state, (end - begin).astype(state.k.dtype))
        carry = jax.lax.while_loop(lambda carry: is_unfinished(carry) & may_measure(carry), attempt, carry)
        state = carry[0]
        broke = is_unfinished(carry) & ~may_measure(carry)
        status = jnp.where(broke, Status.NOT_CONVERGED, state.status).astype(jnp.int32)
        return dataclasses.replace(state, status=status)

    # `method` and `controller` are diffrax's, which is imported late.
    def _attempt(self, problem: Problem, method: Any, controller: Any, carry: _Carry) -> _Carry:
        """One Runge-Kutta step of what is left, taken or refused, and the length of the next one."""
        state, left = carry
        k, estimate, pace = state.k, state.estimate, state.memory
        taken = jnp.minimum(pace.length, left)
        candidate, measured, error, trouble = self._step(problem, method.tableau, k, estimate, taken)
        trouble = jnp.where((trouble == Status.OK) & ~jnp.isfinite(error).all(), Status.NOT_FINITE, trouble)
        # To the controller trouble is an infinite error: refuse and shorten.
        error = jnp.where(trouble == Status.OK, error, jnp.inf)
        accepted, begin, end, _, errors, _ = controller.adapt_step_size(
            jnp.zeros_like(taken),
            taken,
            k,
            candidate,
            None,
            error,
            method.order(None),
            (*pace.errors, False),
        )
        # A step cut short by a record says nothing about how long the next one may be.
        cut = accepted & (taken < pace.length)
        length = jnp.where(cut, jnp.maximum(end - begin, pace.length), end - begin)
        errors = jax.tree.map(lambda new, old: jnp.where(cut, old, new), errors[:2], pace.errors)
        evaluations = state.evaluations + method.tableau.num_stages - 1
        k, estimate = jax.tree.map(
            lambda new, old: jnp.where(accepted, new, old), (candidate, measured), (k, estimate)
        )
        left = jnp.where(accepted, left - taken, left)
        failure = jnp.where(trouble == Status.OK, Status.NOT_CONVERGED, trouble)
        way = length * _root_mean_square(self._velocity(estimate, k, problem.bounds, k))
        stuck = ~accepted & (way <= 4 * jnp.finfo(k.dtype).eps * _root_mean_square(k))
        status = jnp.where(stuck, failure, Status.OK).astype(jnp.int32)
        return TrainState(k, estimate, Pace(length, errors), status, evaluations), left

    def _step(
        self,
        problem: Problem,
        tableau: Any,  # Of diffrax.
        k: Float[Array, " M"],
        estimate: Estimate,
        length: Float[Array, ""],
    ) -> tuple[Float[Array, " M"], Estimate, Float[Array, " M"], Int[Array, ""]]:
        """One Runge-Kutta step: where it leads, what the rule says there, its error, the first bad status.

        An edge that reaches a bound within the step may run past it in the stages, where the rule sees it
        at the bound: the field then has a kink there, no jump, and steps need not shrink to hit the moment.
        """
        stages, bounds = tableau.num_stages, problem.bounds
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
            measured = problem.measure(inside)
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
