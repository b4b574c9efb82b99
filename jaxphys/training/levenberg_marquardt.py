"""Levenberg-Marquardt training: Gauss-Newton steps with a damping that each realization adapts.

Plain descent takes many steps along the flat directions of a cost; a Gauss-Newton step solves for them.
With the residuals `r = √w (y - t)` of all outputs that count and their Jacobian `J`, a step is the minimum
of `|r + J δ|² + μ s |δ|²` in the metric of the learning rule. The Jacobian needs no more than the free
states and the adjoints of one `respond`: `∂y_ro/∂kᵢ = -x_rᵀ Qᵢ z_o`.
"""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxphys._checks import check_number, check_positive, require
from jaxphys.equilibrium import Status
from jaxphys.learning import SquaredError, Task, respond
from jaxphys.learning.rules import AbstractRule, Estimate, ExactGradient
from jaxphys.learning.transforms import Bounds
from jaxphys.networks.physics import AbstractNetwork
from jaxphys.solvers import AbstractSolver
from jaxphys.training.integrator import (
    AbstractIntegrator,
    Problem,
    TrainState,
    check_full_batches,
    check_metric,
    without_residual,
)


class Linearization(eqx.Module):
    """A network's residuals near one `k`: what was measured there, `(q,)` residuals, `(q, M)` Jacobian."""

    estimate: Estimate
    residuals: Float[Array, " q"]
    jacobian: Float[Array, "q M"]


_Carry = tuple[Float[Array, " M"], Linearization, Float[Array, ""], Int[Array, ""], Int[Array, ""]]
"""`k`, what is near it, the damping, evaluations so far, and the steps that are left."""


class LevenbergMarquardt(AbstractIntegrator):
    """Damped Gauss-Newton steps, accepted only if the cost falls and H stays positive definite.

    Given to `train` as `optimizer`, for `SquaredError` tasks and full batches; a learning step is
    one attempted step and measures the network once. A step solves

        (JᵀJ + μ s metric⁻¹) δ = -Jᵀ r,   s = tr(J metric Jᵀ),

    by Cholesky in the smaller of residuals and edges. Each realization has its own damping μ, relative to the
    scale s: an accepted step multiplies it by `shrink`, a refused one by `growth`. Small μ is Gauss and
    Newton's step, large μ a short step of plain descent with the same `metric`. A realization whose damping
    has grown past `largest_damping` is at rest: it is OK and no step makes it better. Edges that the cost
    pushes out of a bound stay there.

    **Attributes**

    - `damping`: μ to start with, relative to s. `growth` > 1, `shrink` < 1.
    - `metric`: `(M,)` positive weights, as in `transforms.precondition`; all one if None.
    - `smallest_damping`, `largest_damping`: where μ is kept, and where steps end.

    Raises `InputError` on values out of range.

    >>> import jax, jaxphys as jp
    >>> network = jp.FlowNetwork(jp.erdos_renyi(10, 15, jax.random.key(0)))
    >>> task = jp.allostery(network, jp.Boundary(network, ground=[0]), [1], [5], response=0.2)
    >>> run = jp.train(network, task, steps=15, optimizer=jp.LevenbergMarquardt())
    >>> bool(run.cost[0, -1] < 1e-6 * run.cost[0, 0])
    True
    """

    damping: float = eqx.field(static=True, default=1e-2)
    growth: float = eqx.field(static=True, default=2.0)
    shrink: float = eqx.field(static=True, default=0.4)
    metric: Any = eqx.field(default=None, converter=lambda m: None if m is None else jnp.asarray(m, float))
    smallest_damping: float = eqx.field(static=True, default=1e-12)
    largest_damping: float = eqx.field(static=True, default=1e12)
    # Samples and outputs that count; None for all of them. Set by `check`.
    pairs: Int[Array, "q 2"] | None = None
    stepwise: ClassVar[bool] = False

    def __check_init__(self) -> None:
        for name in ("damping", "growth", "shrink", "smallest_damping", "largest_damping"):
            check_number(name, getattr(self, name))
        require(self.growth > 1, "growth", "be above 1", f"it is {self.growth}")
        require(0 < self.shrink < 1, "shrink", "lie between 0 and 1", f"it is {self.shrink}")
        require(
            0 < self.smallest_damping <= self.damping <= self.largest_damping < np.inf,
            "damping",
            "be positive and lie between its smallest and largest value",
            f"it is {self.damping}, and they are {self.smallest_damping} and {self.largest_damping}",
        )
        if self.metric is not None:
            check_positive("metric", self.metric)

    def check(
        self, network: AbstractNetwork, task: Task, rule: AbstractRule, batch_size: int | None
    ) -> "LevenbergMarquardt":
        """Itself for this task: outputs without weight in any realization are left out.

        Raises `InputError` unless the task's cost is a `SquaredError`, the rule the exact gradient, the batch
        all samples, and the metric one of `network`.
        """
        check_full_batches(self, batch_size)
        check_metric(self, self.metric, network)
        require(
            isinstance(rule, ExactGradient),
            "rule",
            "be None beside Gauss-Newton steps, which know the cost",
            f"it is {type(rule).__name__}",
        )
        require(
            isinstance(task.cost, SquaredError),
            "task",
            "have a `SquaredError` cost for Levenberg-Marquardt steps",
            f"it has a {type(task.cost).__name__}",
        )
        if task.weights is None:
            return self
        counts = np.asarray(task.weights).reshape(-1, *task.weights.shape[-2:]).any(axis=0)
        return eqx.tree_at(
            lambda this: this.pairs, self, jnp.asarray(np.argwhere(counts)), is_leaf=lambda leaf: leaf is None
        )

    def init(self, problem: Problem, estimate: Estimate) -> Float[Array, ""]:
        """The damping with which to set out."""
        return jnp.asarray(self.damping, problem.network.k.dtype)

    def linearize(
        self, network: AbstractNetwork, task: Task, solver: AbstractSolver | None = None
    ) -> Linearization:
        """Cost, gradient, residuals and their Jacobian, from one factorisation. Residuals leave out `1/R`."""
        response = respond(network, task, solver=solver)
        estimate = without_residual(ExactGradient().estimate(network, task, response))
        errors = response.outputs - task.targets
        states = task.inputs @ response.drive
        if self.pairs is None:
            slopes = network.edge_form(states[:, None], response.adjoint[None])
            jacobian, residuals = slopes.reshape(-1, slopes.shape[-1]), errors.ravel()
            weights = None if task.weights is None else task.weights.ravel()
        else:
            samples, outputs = self.pairs.T
            jacobian = network.edge_form(states[samples], response.adjoint[outputs])
            residuals = errors[samples, outputs]
            weights = None if task.weights is None else task.weights[samples, outputs]
        if weights is None:
            return Linearization(estimate, residuals, -jacobian)
        roots = jnp.sqrt(weights)
        return Linearization(estimate, roots * residuals, -roots[:, None] * jacobian)

    def step(
        self,
        near: Linearization,
        k: Float[Array, " M"],
        damping: Float[Array, ""],
        bounds: Bounds = Bounds(),  # noqa: B008, it is frozen
    ) -> Float[Array, " M"]:
        """`k + δ` within bounds; NaN where the damped matrix cannot be factored."""
        metric = jnp.ones_like(k) if self.metric is None else self.metric.astype(k.dtype)
        held_up = bounds.at_lower(k) & (near.estimate.gradient > 0)
        held_down = bounds.at_upper(k) & (near.estimate.gradient < 0)
        metric = jnp.where(held_up | held_down, 0, metric)
        roots = jnp.sqrt(metric)
        jacobian = near.jacobian * roots
        count, edges = jacobian.shape
        # Residuals and edges see the same eigenvalues; the smaller side is factored.
        gram = jacobian @ jacobian.T if count <= edges else jacobian.T @ jacobian
        scale = jnp.trace(gram)
        shift = damping * jnp.where(scale > 0, scale, 1)
        damped = gram + shift * jnp.eye(len(gram), dtype=k.dtype)
        right = near.residuals if count <= edges else jacobian.T @ near.residuals
        solved = jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(damped), True), right)
        change = -roots * (jacobian.T @ solved if count <= edges else solved)
        return bounds.keep(k + change, k)

    def advance(
        self, problem: Problem, state: TrainState, begin: Int[Array, ""], end: Int[Array, ""]
    ) -> TrainState:
        """Attempt `end - begin` steps of one realization; rests where it failed or is good enough.

        Each call measures once more at the `k` that it starts from.
        """

        def linearize(k: Float[Array, " M"]) -> Linearization:
            return self.linearize(problem.network.with_k(k), problem.samples, problem.solver)

        def is_active(cost: Array, damping: Array, left: Array) -> Bool[Array, ""]:
            going = (state.status == Status.OK) & (cost > problem.stop_cost)
            return going & (left > 0) & (damping <= self.largest_damping)

        def is_unfinished(carry: _Carry) -> Bool[Array, ""]:
            _, near, damping, _, left = carry
            return is_active(near.estimate.cost, damping, left)

        def attempt(carry: _Carry) -> _Carry:
            k, near, damping, evaluations, left = carry
            candidate = self.step(near, k, damping, problem.bounds)
            measured = linearize(candidate)
            good = (measured.estimate.status == Status.OK) & (measured.estimate.cost < near.estimate.cost)
            k, near = jax.tree.map(
                lambda new, old: jnp.where(good, new, old), (candidate, measured), (k, near)
            )
            damping = damping * jnp.where(good, self.shrink, self.growth).astype(k.dtype)
            damping = jnp.maximum(damping, self.smallest_damping)
            return k, near, damping, evaluations + 1, left - 1

        steps = end - begin
        begins = is_active(state.estimate.cost, state.memory, steps)
        evaluations = state.evaluations + begins.astype(jnp.int32)
        carry = (state.k, linearize(state.k), state.memory, evaluations, steps)
        k, near, damping, evaluations, _ = jax.lax.while_loop(is_unfinished, attempt, carry)
        # A realization at rest keeps what it had measured, bit for bit.
        estimate = jax.tree.map(lambda new, old: jnp.where(begins, new, old), near.estimate, state.estimate)
        return TrainState(k, estimate, damping, state.status, evaluations)
