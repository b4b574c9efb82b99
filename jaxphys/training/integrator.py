"""How `k` moves while a network learns: the protocol of integrators, and what they are handed.

`Descent` takes one step of an optax optimizer at a time; `GradientFlow` and `LevenbergMarquardt` go from
record to record in steps of their own. The compiled loop (`steps`) and the host's (`host_loop`) know no more
of them than `AbstractIntegrator` says.
"""

import abc
import dataclasses
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from jaxphys._checks import require
from jaxphys.equilibrium import Status
from jaxphys.learning import Task
from jaxphys.learning.rules import AbstractRule, Estimate
from jaxphys.learning.transforms import Bounds
from jaxphys.networks.physics import AbstractNetwork
from jaxphys.solvers import AbstractSolver


class TrainState(eqx.Module):
    """The state of one realization between two steps; ensembles stack it.

    **Attributes**

    - `k`: `(M,)`, the last accepted one. `estimate`: what the rule measured there.
    - `memory`: what the integrator carries from step to step, a pytree of arrays.
    - `status`: a `Status`; what is not OK rests. `evaluations`: how often the rule was asked.
    """

    k: Float[Array, "*R M"]
    estimate: Estimate
    memory: Any  # Each integrator has its own.
    status: Int[Array, "*R"]
    evaluations: Int[Array, "*R"]


class Problem(eqx.Module):
    """What one realization learns: what an integrator is handed beside the state.

    **Attributes**

    - `network`: with the `k` that it started from. `samples`: the task as the rule sees it.
    - `rule`, `solver`: how `measure` estimates `∂C/∂k`. `bounds`: where `k` must stay.
    - `key`: for random draws, of this realization. `stop_cost`: good enough. `batch_size`: samples of a
      measurement, None for all.
    """

    network: AbstractNetwork
    samples: Task
    rule: AbstractRule
    solver: AbstractSolver | None
    bounds: Bounds
    key: Key[Array, ""]
    stop_cost: Float[Array, ""]
    batch_size: int | None = eqx.field(static=True)

    def measure(self, k: Float[Array, " M"], step: Int[Array, ""] | int = 0) -> Estimate:
        """Cost and `∂C/∂k` at `k`, `(M,)`, as the rule estimates them; `step` numbers the minibatch."""
        return without_residual(self.rule(self.network.with_k(k), self.batch(step), solver=self.solver))

    def batch(self, step: Int[Array, ""] | int) -> Task:
        """The samples of a step: all, or `batch_size` of them drawn without replacement."""
        if self.batch_size is None:
            return self.samples
        key = jax.random.fold_in(jax.random.fold_in(self.key, step), 0)
        order = jax.random.permutation(key, self.samples.num_samples)
        return self.samples.batch(order[: self.batch_size])

    def is_active(self, state: TrainState) -> Bool[Array, ""]:
        """Whether the realization goes on: it has not failed, and is not good enough yet."""
        return cast(Array, is_active(state.status, state.estimate.cost, self.stop_cost))

    def settle(
        self, state: TrainState, k: Float[Array, " M"], memory: Any, step: Int[Array, ""] | int = 0
    ) -> TrainState:
        """The state after a step to `k`, which is brought within the bounds and measured.

        A realization that is not active stays where it is; one that cannot be measured at the new `k` stays
        as well, and is marked with the rule's status. `memory` is kept where the step is taken.
        """
        k = self.bounds.keep(k, state.k)
        estimate, active = self.measure(k, step), self.is_active(state)
        status = jnp.where(active, estimate.status, state.status)
        evaluations = state.evaluations + active.astype(jnp.int32)
        moved = TrainState(k, estimate, memory, status, evaluations)
        rested = dataclasses.replace(state, status=status, evaluations=evaluations)
        is_taken = active & (estimate.status == Status.OK)
        return jax.tree.map(lambda new, old: jnp.where(is_taken, new, old), moved, rested)


class AbstractIntegrator(eqx.Module):
    """How `k` moves from record to record; `train` takes one as `optimizer`.

    Subclasses are immutable (equinox modules) and hold numbers and functions. Methods see one realization,
    but `check`; they run under `jit` and `vmap`, so that what depends on values is `jnp.where` and loops of
    JAX. docs/own-integrator.md makes one.

    **Attributes**

    - `stepwise`: False where `advance` is called once from record to record, True where it is called for each
      learning step. What is not stepwise may end its own steps at records: where it records is then part of
      what is computed, and a resumed run keeps its records.

    An integrator that applies an optax transformation and nothing else calls it `optimizer`: the bounds in
    its chain then hold, and `choose_solver` sees whether a solver can follow its updates.
    """

    stepwise: eqx.AbstractClassVar[bool]

    @abc.abstractmethod
    def check(
        self, network: AbstractNetwork, task: Task, rule: AbstractRule, batch_size: int | None
    ) -> "AbstractIntegrator":
        """The integrator that will run: itself, or itself planned for this task.

        On the host, before any compute, with an ensemble and its task. Raises `InputError` on what it cannot
        do.
        """

    @abc.abstractmethod
    def init(self, problem: Problem, estimate: Estimate) -> Any:
        """The memory to set out with, a pytree of arrays.

        `estimate` is what was measured at `problem.network.k`; stepwise integrators get one that knows
        nothing (a cost of infinity), since their step -1 measures.
        """

    @abc.abstractmethod
    def advance(
        self, problem: Problem, state: TrainState, begin: Int[Array, ""], end: Int[Array, ""]
    ) -> TrainState:
        """The state at step `end`, from the one at step `begin`.

        A realization that is not `problem.is_active` rests; one that fails keeps its last good state and a
        status that says why (`problem.settle` does both). `stepwise`: `end` is `begin + 1`, and where `begin`
        is -1, the network is measured where it stands and nothing else happens.
        """


def is_active(
    status: Int[Array | np.ndarray, "*R"],
    cost: Float[Array | np.ndarray, "*R"],
    stop_cost: Float[Array | np.ndarray, ""],
) -> Bool[Array | np.ndarray, "*R"]:
    """Whether realizations go on: they have not failed, and are not good enough yet."""
    return (status == Status.OK) & (cost > stop_cost)


def without_residual(estimate: Estimate) -> Estimate:
    """The estimate with a residual of zero.

    Its status has taken note of the residual; where it is not read, some solvers need not compute it.
    """
    return dataclasses.replace(estimate, residual=jnp.zeros_like(estimate.residual))


def check_full_batches(integrator: AbstractIntegrator, batch_size: int | None) -> None:
    """Raise `InputError` unless an integrator whose steps compare costs sees all samples."""
    must = f"be None beside `{type(integrator).__name__}`, which compares costs"
    require(batch_size is None, "batch_size", must, f"it is {batch_size}")


def check_metric(
    integrator: AbstractIntegrator, metric: Float[Array, " M"] | None, network: AbstractNetwork
) -> None:
    """Raise `InputError` unless a metric has a weight for each edge of a network (or ensemble)."""
    shape = (network.num_edges,) if metric is None else metric.shape
    name = type(integrator).__name__
    require(
        shape == (network.num_edges,),
        "optimizer",
        f"have a metric of {network.num_edges} entries",
        f"that of `{name}` has {shape}",
    )
