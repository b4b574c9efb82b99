"""Step by step: an optax optimizer of the estimate, with fixed steps or steps that must go downhill."""

import dataclasses
from functools import lru_cache
from typing import Any, ClassVar, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from jaxphys._checks import check_kind, check_number, described, require, to_array
from jaxphys.equilibrium import Status
from jaxphys.learning import Task
from jaxphys.learning.rules import AbstractRule, Estimate
from jaxphys.networks.physics import AbstractNetwork
from jaxphys.solvers import TrackedInverse
from jaxphys.solvers.batching import vmapped_last_in_memory
from jaxphys.training.integrator import AbstractIntegrator, Problem, TrainState
from jaxphys.training.tracking import Memory, Proposal, commit, propose, unsolved


class AdaptiveStep(eqx.Module):
    """Accept a step only if the cost falls and the Hessian stays positive definite, per realization.

    An accepted step multiplies the rate by `growth`, a refused one by `shrink`; the rate scales
    the gradient before the optimizer sees it (so it means nothing to optimizers that
    normalise gradients, such as Adam). For full batches and rules that descend.

    **Attributes**: `initial` rate, `growth` ≥ 1, `shrink` < 1. Raises `InputError` otherwise.
    """

    initial: float = eqx.field(static=True, default=1.0)
    growth: float = eqx.field(static=True, default=1.1)
    shrink: float = eqx.field(static=True, default=0.5)

    def __check_init__(self) -> None:
        for name in ("initial", "growth", "shrink"):
            check_number(name, getattr(self, name))
            require(np.isfinite(getattr(self, name)), name, "be finite", f"it is {getattr(self, name)}")
        require(self.initial > 0, "initial", "be positive", f"it is {self.initial}")
        require(self.growth >= 1, "growth", "be at least 1", f"it is {self.growth}")
        require(0 < self.shrink < 1, "shrink", "lie between 0 and 1", f"it is {self.shrink}")


class DescentMemory(eqx.Module):
    """What `Descent` carries from step to step.

    **Attributes**: `optimizer_state`: of optax. `rate`: what multiplies the estimate before the optimizer
    sees it. `tracked`: of a `TrackedInverse`; None beside other solvers.
    """

    optimizer_state: Any  # Each transformation has its own.
    rate: Float[Array, "*R"]
    tracked: Memory | None = None


_PLAIN = optax.sgd(1.0)
# Compiled programs know optimizers by identity: the same one must be wrapped the same way each time.
_with_extra_arguments = lru_cache(optax.with_extra_args_support)


def check_optimizer(name: str, value: Any, *, or_integrator: bool = True) -> None:
    """Raise `InputError` unless a value is an optax transformation.

    `or_integrator`: whether the message says that an integrator would do as well.
    """
    what = "an optax transformation, as `optax.sgd(0.1)`"
    what += ", or an integrator, as `Descent()`" if or_integrator else ""
    called = getattr(value, "__name__", "")
    cure = ""
    if called and getattr(optax, called, None) is value:
        cure = f"; call it, as in optax.{called}(0.1)"
    elif callable(value) and "schedule" in getattr(value, "__module__", ""):
        cure = "; a schedule is the rate of one, as in optax.sgd(schedule)"
    is_right = isinstance(value, optax.GradientTransformation) or (
        callable(getattr(value, "init", None)) and callable(getattr(value, "update", None))
    )
    require(is_right and not isinstance(value, type), name, f"be {what}", f"it is {described(value)}{cure}")


def _transformation(value: Any) -> optax.GradientTransformationExtraArgs:
    if value is None:
        value = _PLAIN
    check_optimizer("optimizer", value, or_integrator=False)
    return _with_extra_arguments(value)


def _rate(value: Any) -> Float[np.ndarray, ""]:
    """A rate as an array, so that another one needs no other program."""
    is_number = value is not None and not callable(value) and not isinstance(value, bool)
    require(is_number, "rate", "be a number", f"it is {described(value)}")
    array = to_array("rate", value, float)
    require(array.ndim == 0, "rate", "be a number", f"it has shape {array.shape}")
    require(bool(array > 0) and np.isfinite(array), "rate", "be positive and finite", f"it is {value}")
    return array


class Descent(AbstractIntegrator):
    """Step by step: an optax transformation of the estimate of `∂C/∂k`, one measurement a step.

    `jp.train(…, optimizer=optax.sgd(0.1))` is short for `optimizer=jp.Descent(optax.sgd(0.1))`.

    **Attributes**

    - `optimizer`: any optax transformation that does with gradient, state, `k` and a random `key`; plain
      descent, `optax.sgd(1.0)`, if None. `jp.update_noise`, `jp.participation` and `jp.bounds` chain behind
      it.
    - `adaptive`: an `AdaptiveStep`, for full batches; None for fixed steps.
    - `rate`: multiplies the estimate before the optimizer sees it. A list `[Descent(rate=r) for r in rates]`
      of one for each realization gives each its own.

    Raises `InputError` on values of other kinds, and on a rate that is not positive and finite.

    >>> import jax, jaxphys as jp, optax
    >>> network = jp.FlowNetwork(jp.erdos_renyi(10, 15, jax.random.key(0)))
    >>> task = jp.allostery(network, jp.Boundary(network, ground=[0]), [1], [5], response=0.2)
    >>> run = jp.train(network, task, steps=50, optimizer=jp.Descent(adaptive=jp.AdaptiveStep()))
    >>> bool(run.cost[0, -1] < 1e-3 * run.cost[0, 0])
    True
    """

    optimizer: Any = eqx.field(default=None, converter=_transformation)  # None until it is converted.
    adaptive: AdaptiveStep | None = None
    rate: Any = eqx.field(default=1.0, converter=_rate)  # A number that becomes an array.
    stepwise: ClassVar[bool] = True

    def __check_init__(self) -> None:
        if self.adaptive is not None:
            check_kind("adaptive", self.adaptive, AdaptiveStep, "an `AdaptiveStep`, as `AdaptiveStep()`")

    def check(
        self, network: AbstractNetwork, task: Task, rule: AbstractRule, batch_size: int | None
    ) -> "Descent":
        """Itself; raises `InputError` where steps that must go downhill are asked of minibatches."""
        if batch_size is not None:
            require(
                self.adaptive is None,
                "optimizer",
                "take fixed steps on minibatches (their costs do not compare)",
                "`adaptive` is set",
            )
        return self

    def init(self, problem: Problem, estimate: Estimate) -> DescentMemory:
        """The optimizer's state at `k`, and the rate to begin with."""
        k = problem.network.k
        rate = jnp.asarray(self.rate).astype(k.dtype)
        if self.adaptive is not None:
            rate = self.adaptive.initial * rate
        tracked = None
        if problem.solver is not None and problem.solver.is_tracked:
            tracked = unsolved(problem.network, problem.samples)
        return DescentMemory(self.optimizer.init(k), jnp.zeros((), k.dtype) + rate, tracked)

    def advance(
        self, problem: Problem, state: TrainState, begin: Int[Array, ""], end: Int[Array, ""]
    ) -> TrainState:
        """One step: a new `k` is proposed and measured; both are kept, or neither.

        Step -1 comes before all others and only measures: every program then holds the rule once.
        """
        first = begin < 0
        memory = state.memory
        updates, optimizer_state = self.optimizer.update(
            memory.rate * state.estimate.gradient,
            memory.optimizer_state,
            state.k,
            key=jax.random.fold_in(jax.random.fold_in(problem.key, begin), 1),
        )
        # Not `jnp.where`: a scalar condition leaves realizations along the last axis.
        moved_k = problem.bounds.keep(optax.apply_updates(state.k, updates), state.k)
        k = vmapped_last_in_memory(jax.lax.select(first, state.k, moved_k))
        optimizer_state = jax.tree.map(
            lambda new, old: jnp.where(first, old, new), optimizer_state, memory.optimizer_state
        )
        active = problem.is_active(state)
        change = updates if problem.bounds.are_open else moved_k - state.k
        estimate, tracked, answer = self._measure(problem, state, k, change, active, begin)
        good = estimate.status == Status.OK
        rate, status = memory.rate, state.status
        if self.adaptive is None:
            status = jnp.where(active, estimate.status, status)
        else:
            status = jnp.where(first, estimate.status, status)
            good &= estimate.cost < state.estimate.cost
            factor = jnp.where(good, self.adaptive.growth, self.adaptive.shrink).astype(rate.dtype)
            rate = jnp.where(active & ~first, rate * factor, rate)
        evaluations = state.evaluations + active.astype(jnp.int32)
        # Written as a reduction, which XLA computes once and not anew for every number that depends on it.
        accepted = jnp.any(jnp.stack([active & good, first]))
        moved = TrainState(k, estimate, DescentMemory(optimizer_state, rate), status, evaluations)
        kept = DescentMemory(memory.optimizer_state, rate)
        rested = TrainState(state.k, state.estimate, kept, status, evaluations)
        settled = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), moved, rested)
        if tracked is None or answer is None:
            return settled
        tracked = commit(tracked, *answer, accepted)
        return dataclasses.replace(settled, memory=dataclasses.replace(settled.memory, tracked=tracked))

    @staticmethod
    def _measure(
        problem: Problem,
        state: TrainState,
        k: Float[Array, " M"],
        change: Float[Array, " M"],
        active: Array,
        step: Int[Array, ""],
    ) -> tuple[Estimate, Memory | None, tuple[Proposal, Float[Array, "m o"]] | None]:
        """The estimate at `k`; beside a tracked inverse its memory, and what `commit` takes besides."""
        tracked = state.memory.tracked
        if tracked is None:
            return problem.measure(k, step + 1), None, None
        batch = problem.batch(step + 1)
        before, after = (problem.network.with_k(each) for each in (state.k, k))
        solver = cast(TrackedInverse, problem.solver)
        tracked, proposal, response = propose(
            solver, tracked, before, after, batch, change, state.estimate.gradient, active, step
        )
        estimate, moment = problem.rule.measure(after, batch, response)
        return estimate, tracked, (proposal, moment)
