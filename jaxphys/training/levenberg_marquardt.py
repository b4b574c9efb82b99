"""Levenberg-Marquardt training: Gauss-Newton steps with a damping that each realization adapts.

Plain descent takes many steps along the flat directions of a cost; a Gauss-Newton step solves for them.
With the residuals `r = √w (y - t)` of all outputs that count and their Jacobian `J`, a step is the minimum
of `|r + J δ|² + μ s |δ|²` in the metric of the learning rule. The Jacobian needs no more than the free
states and the adjoints of one `respond`: `∂y_ro/∂kᵢ = -x_rᵀ Qᵢ z_o`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxphys._checks import check_number, check_positive, require
from jaxphys.equilibrium import Status
from jaxphys.learning import SquaredError, Task, respond
from jaxphys.learning.rules import Estimate, ExactGradient
from jaxphys.learning.transforms import Bounds, check_ordered
from jaxphys.networks.physics import AbstractNetwork
from jaxphys.solvers import AbstractSolver


class Damping(eqx.Module):
    """What a realization carries from one step to the next: its damping μ, and how often it was measured."""

    damping: Float[Array, ""]
    evaluations: Int[Array, ""]


class Linearization(eqx.Module):
    """A network's residuals near one `k`: what was measured there, `(q,)` residuals, `(q, M)` Jacobian."""

    estimate: Estimate
    residuals: Float[Array, " q"]
    jacobian: Float[Array, "q M"]


class LevenbergMarquardt(eqx.Module):
    """Damped Gauss-Newton steps, accepted only if the cost falls and H stays positive definite.

    Given to `train` as `integrator`, for `SquaredError` tasks and full batches; a learning step is
    one attempted step and measures the network once. A step solves

        (JᵀJ + μ s metric⁻¹) δ = -Jᵀ r,   s = tr(J metric Jᵀ),

    by Cholesky in the smaller of residuals and edges. Each realization has its own damping μ, relative to the
    scale s: an accepted step multiplies it by `shrink`, a refused one by `growth`. Small μ is Gauss and
    Newton's step, large μ a short step of plain descent with the same `metric`. A realization whose damping
    has grown past `largest_damping` is at rest: it is OK and no step makes it better.

    **Attributes**

    - `damping`: μ to start with, relative to s. `growth` > 1, `shrink` < 1.
    - `lower`, `upper`: bounds on `k`, in place of the argument `bounds` of `train`, which holds if both are
      None. Edges that the cost pushes out of a bound stay there.
    - `metric`: `(M,)` positive weights, as in `transforms.precondition`; all one if None.
    - `smallest_damping`, `largest_damping`: where μ is kept, and where steps end.

    Raises `InputError` on values out of range.

    >>> import jax, jaxphys as jp
    >>> network = jp.FlowNetwork(jp.erdos_renyi(10, 15, jax.random.key(0)))
    >>> task = jp.allostery(network, jp.Boundary(network, ground=[0]), [1], [5], response=0.2)
    >>> run = jp.train(network, task, steps=15, integrator=jp.LevenbergMarquardt())
    >>> bool(run.cost[0, -1] < 1e-6 * run.cost[0, 0])
    True
    """

    damping: float = eqx.field(static=True, default=1e-2)
    growth: float = eqx.field(static=True, default=2.0)
    shrink: float = eqx.field(static=True, default=0.4)
    lower: float | None = eqx.field(static=True, default=None)
    upper: float | None = eqx.field(static=True, default=None)
    metric: Any = eqx.field(default=None, converter=lambda m: None if m is None else jnp.asarray(m, float))
    smallest_damping: float = eqx.field(static=True, default=1e-12)
    largest_damping: float = eqx.field(static=True, default=1e12)
    # Samples and outputs that count; None for all of them. Set by `planned`.
    pairs: Int[Array, "q 2"] | None = None

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
        check_ordered(self.lower, self.upper)
        if self.metric is not None:
            check_positive("metric", self.metric)

    def planned(self, task: Task) -> "LevenbergMarquardt":
        """The same for one (stacked) task: outputs without weight in any realization are left out.

        On the host. Raises `InputError` unless the task's cost is a `SquaredError`.
        """
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

    def start(self, k: Float[Array, " M"], estimate: Estimate, bounds: Bounds) -> Damping:
        """The damping with which to set out."""
        return Damping(jnp.asarray(self.damping, k.dtype), jnp.asarray(1, jnp.int32))

    def linearize(
        self, network: AbstractNetwork, task: Task, solver: AbstractSolver | None = None
    ) -> Linearization:
        """Cost, gradient, residuals and their Jacobian, from one factorisation. Residuals leave out `1/R`."""
        response = respond(network, task, solver=solver)
        estimate = ExactGradient().estimate(network, task, response)
        # Its status has taken note of the residual.
        estimate = dataclasses.replace(estimate, residual=jnp.zeros_like(estimate.residual))
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
        self,
        linearize: Callable[[Float[Array, " M"]], Linearization],
        k: Float[Array, " M"],
        estimate: Estimate,
        memory: Damping,
        status: Int[Array, ""],
        steps: Int[Array, ""],
        stop_cost: Float[Array, ""] | float,
        bounds: Bounds,
    ) -> tuple[Float[Array, " M"], Estimate, Damping, Int[Array, ""]]:
        """Attempt `steps` steps of one realization within `bounds`; rests where it failed or is good enough.

        `linearize` is the method of that name as a function of `k`. Each call measures once more at the `k`
        it is handed.
        """

        def is_active(cost: Array, memory: Damping, left: Array) -> Bool[Array, ""]:
            going = (status == Status.OK) & (cost > stop_cost)
            return going & (left > 0) & (memory.damping <= self.largest_damping)

        def wants_more(state: Any) -> Bool[Array, ""]:
            _, near, memory, left = state
            return is_active(near.estimate.cost, memory, left)

        def attempt(state: Any) -> Any:
            k, near, memory, left = state
            candidate = self.step(near, k, memory.damping, bounds)
            measured = linearize(candidate)
            good = (measured.estimate.status == Status.OK) & (measured.estimate.cost < near.estimate.cost)
            k, near = jax.tree.map(
                lambda new, old: jnp.where(good, new, old), (candidate, measured), (k, near)
            )
            damping = memory.damping * jnp.where(good, self.shrink, self.growth).astype(k.dtype)
            damping = jnp.maximum(damping, self.smallest_damping)
            return k, near, Damping(damping, memory.evaluations + 1), left - 1

        begins = is_active(estimate.cost, memory, steps)
        evaluations = memory.evaluations + begins.astype(jnp.int32)
        state = (k, linearize(k), Damping(memory.damping, evaluations), steps)
        k, near, memory, _ = jax.lax.while_loop(wants_more, attempt, state)
        # A realization at rest keeps what it had measured, bit for bit.
        estimate = jax.tree.map(lambda new, old: jnp.where(begins, new, old), near.estimate, estimate)
        return k, estimate, memory, status
