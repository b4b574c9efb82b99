"""Learning steps: the compiled part of training.

A state is where one realization stands. `advance` takes the states of a block from step to step: it scans
over the ends of segments, and within a segment a loop of steps runs over all realizations of a device at
once.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key

from jaxphys._checks import check_number, require
from jaxphys.equilibrium import Status
from jaxphys.learning import Task, task_cost
from jaxphys.learning.rules import AbstractRule, Estimate
from jaxphys.learning.transforms import Bounds
from jaxphys.networks.physics import AbstractNetwork, NodeNetwork
from jaxphys.solvers import AbstractSolver, TrackedInverse
from jaxphys.solvers.batching import row_major, vmapped_last_in_memory
from jaxphys.training.devices import on_each_device
from jaxphys.training.gradient_flow import GradientFlow
from jaxphys.training.levenberg_marquardt import LevenbergMarquardt
from jaxphys.training.tracking import Memory, commit, propose, unsolved

Functional = Callable[[Any, Any], Any]
Integrator = GradientFlow | LevenbergMarquardt


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


class TrainState(eqx.Module):
    """Where one realization stands: its last accepted `k`, what the rule measured there, and its rate.

    The memory of an integrator takes the place of the optimizer's; that of a solver is None unless the solver
    follows the network.
    """

    k: Float[Array, " M"]
    estimate: Estimate
    optimizer_state: Any
    rate: Float[Array, ""]
    status: Int[Array, ""]
    evaluations: Int[Array, ""]
    memory: Memory | None = None


class Options(eqx.Module):
    """Everything of `train` that one compiled step depends on and that realizations share.

    `rule` is that of realizations which have none of their own.
    """

    rule: AbstractRule
    optimizer: Any
    adaptive: AdaptiveStep | None
    functionals: dict[str, Functional]
    batch_size: int | None = eqx.field(static=True)
    stop_cost: Float[Any, ""]
    integrator: Integrator | None = None
    solver: AbstractSolver | None = None

    @property
    def follows(self) -> bool:
        """Whether the solver carries what it knows from step to step."""
        return self.solver is not None and self.solver.is_tracked and self.integrator is None


class Realizations(eqx.Module):
    """What an ensemble begins with; every array leads with its realizations.

    `keys` are for random draws while they learn, `rates` multiply their gradients, `rule` is None where
    they share one, and `bounds` are what `k` is kept within after every step, whatever the optimizer says.
    """

    network: Any
    task: Any
    keys: Key[Array, " R"]
    rates: Float[Any, " R"]
    rule: Any = None
    bounds: Bounds = Bounds()


class StepInputs(eqx.Module):
    """What a step of one realization is taken with: `samples` are what the rule sees of its task."""

    network: AbstractNetwork
    samples: Task
    key: Key[Array, "*R"]
    rule: AbstractRule | None
    bounds: Bounds


class Block(eqx.Module):
    """What one device works on: realizations, and a solver planned for them.

    `samples` are what the rule sees of the tasks. Over many devices every array leads with the realizations
    of all of them, and those of `solver` with the devices.
    """

    realizations: Realizations
    samples: Any
    solver: Any

    @property
    def step_inputs(self) -> StepInputs:
        """All of them, stacked."""
        own = self.realizations
        return StepInputs(own.network, self.samples, own.keys, own.rule, own.bounds)


@eqx.filter_jit
def start(mesh: Mesh, block: Block, options: Options) -> TrainState:
    """Walkers before anything is measured; step -1 measures where they stand and leaves them there."""

    def one(options: Options, inputs: StepInputs, rate: Array) -> TrainState:
        network, options = inputs.network, _with_rule(options, inputs.rule)
        zero = jnp.zeros((), network.k.dtype)
        unknown = Estimate(jnp.zeros_like(network.k), zero + jnp.inf, zero, jnp.asarray(0, jnp.int32))
        rate = rate if options.adaptive is None else options.adaptive.initial * rate
        if options.integrator is None:
            memory_of_steps = options.optimizer.init(network.k)
        else:
            unknown = _measure(options, network, inputs.samples)
            memory_of_steps = options.integrator.start(network.k, unknown, inputs.bounds)
        memory = unsolved(cast(NodeNetwork, network), inputs.samples) if options.follows else None
        return TrainState(
            network.k,
            unknown,
            memory_of_steps,
            zero + rate,
            unknown.status,
            jnp.asarray(0, jnp.int32),
            memory,
        )

    def own(block: Block, options: Options) -> TrainState:
        return jax.vmap(partial(one, _with_solver(options, block)))(
            block.step_inputs, block.realizations.rates
        )

    return on_each_device(mesh, own, block, options)


@eqx.filter_jit
def advance(
    mesh: Mesh, states: TrainState, block: Block, options: Options, marks: Int[Any, " c"]
) -> tuple[TrainState, dict[str, Array]]:
    """Run from step `marks[0]` to `marks[-1]`; record at each but the first: `(R, c - 1, …)`."""

    def own(
        given: tuple[TrainState, Block], options: Options, marks: Array
    ) -> tuple[TrainState, dict[str, Array]]:
        states, block = given
        return _advance(states, block, _with_solver(options, block), marks)

    return on_each_device(mesh, own, (states, block), options, marks)


def _with_solver(options: Options, block: Block) -> Options:
    solver = jax.tree.map(lambda array: array[0] if eqx.is_array(array) else array, block.solver)
    return dataclasses.replace(options, solver=solver)


def _with_rule(options: Options, own: AbstractRule | None) -> Options:
    return options if own is None else dataclasses.replace(options, rule=own)


def _advance(
    states: TrainState, block: Block, options: Options, marks: Int[Array, " c"]
) -> tuple[TrainState, dict[str, Array]]:
    # Realizations run along the last axis of what a step carries, as solvers like to work.
    step = jax.vmap(partial(_step, options), in_axes=(-1, 0, None), out_axes=-1)
    record = jax.vmap(partial(_record, options))

    def segment(states: TrainState, ends: tuple[Array, Array]) -> tuple[TrainState, dict[str, Array]]:

        def one_step(index: Array, states: TrainState) -> TrainState:
            return row_major(step(states, block.step_inputs, index))

        if options.integrator is None:
            states = row_major(_turned(states, 0, -1))
            states = _turned(jax.lax.fori_loop(ends[0], ends[1], one_step, states), -1, 0)
        else:
            flow = jax.vmap(partial(_flow, options), in_axes=(0, 0, None))
            # It knows where it starts: there is nothing to do before step 0.
            states = flow(states, block.step_inputs, ends[1] - jnp.maximum(ends[0], 0))
        return states, record(states, block.realizations.network, block.realizations.task)

    states, records = jax.lax.scan(segment, states, (marks[:-1], marks[1:]))
    return states, jax.tree.map(lambda value: jnp.moveaxis(value, 0, 1), records)


def _turned(tree: Any, source: int, target: int) -> Any:
    return jax.tree.map(lambda array: jnp.moveaxis(array, source, target), tree)


def _step(options: Options, state: TrainState, inputs: StepInputs, index: Array) -> TrainState:
    """One learning step of one realization; rests where it has failed or is good enough.

    Step -1 comes before all others and only measures: every program then holds the rule once.
    """
    network, key, options = inputs.network, inputs.key, _with_rule(options, inputs.rule)
    first = index < 0
    updates, optimizer_state = options.optimizer.update(
        state.rate * state.estimate.gradient,
        state.optimizer_state,
        state.k,
        key=jax.random.fold_in(jax.random.fold_in(key, index), 1),
    )
    # Not `jnp.where`: a scalar condition leaves realizations along the last axis.
    moved_k = inputs.bounds.keep(optax.apply_updates(state.k, updates), state.k)
    k = vmapped_last_in_memory(jax.lax.select(first, state.k, moved_k))
    optimizer_state = jax.tree.map(
        lambda new, old: jnp.where(first, old, new), optimizer_state, state.optimizer_state
    )
    batch = _batch(inputs.samples, key, index + 1, options.batch_size)
    active = is_active(state.status, state.estimate.cost, options.stop_cost)
    memory = state.memory
    if memory is None:
        estimate = _measure(options, network.with_k(k), batch)
    else:
        before, after = (cast(NodeNetwork, network.with_k(each)) for each in (state.k, k))
        memory, proposal, response = propose(
            cast(TrackedInverse, options.solver),
            memory,
            before,
            after,
            batch,
            updates if inputs.bounds.are_open else moved_k - state.k,
            state.estimate.gradient,
            active,
            index,
        )
        estimate, moment = options.rule.measure(after, batch, response)
    good = estimate.status == Status.OK
    rate, status = state.rate, state.status
    if options.adaptive is None:
        status = jnp.where(active, estimate.status, status)
    else:
        status = jnp.where(first, estimate.status, status)
        good &= estimate.cost < state.estimate.cost
        factor = jnp.where(good, options.adaptive.growth, options.adaptive.shrink).astype(rate.dtype)
        rate = jnp.where(active & ~first, rate * factor, rate)
    evaluations = state.evaluations + active.astype(jnp.int32)
    # Written as a reduction, which XLA computes once and not anew for every number that depends on it.
    accepted = jnp.any(jnp.stack([active & good, first]))
    moved = TrainState(k, estimate, optimizer_state, rate, status, evaluations)
    rested = TrainState(state.k, state.estimate, state.optimizer_state, rate, status, evaluations)
    settled = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), moved, rested)
    if memory is None:
        return settled
    return dataclasses.replace(settled, memory=commit(memory, proposal, moment, accepted))


def _flow(options: Options, state: TrainState, inputs: StepInputs, steps: Array) -> TrainState:
    """Many learning steps of one realization at once, as its integrator takes them; it draws nothing."""
    network, options = inputs.network, _with_rule(options, inputs.rule)
    integrator = options.integrator
    assert integrator is not None

    def measure(k: Array) -> Any:
        if isinstance(integrator, LevenbergMarquardt):
            return integrator.linearize(network.with_k(k), inputs.samples, options.solver)
        return _measure(options, network.with_k(k), inputs.samples)

    k, estimate, memory, status = integrator.advance(
        measure,
        state.k,
        state.estimate,
        state.optimizer_state,
        state.status,
        steps,
        options.stop_cost,
        inputs.bounds,
    )
    return TrainState(k, estimate, memory, state.rate, status, memory.evaluations)


def _measure(options: Options, network: AbstractNetwork, task: Task) -> Estimate:
    estimate = options.rule(network, task, solver=options.solver)
    # The status has taken note of the residual; where nobody reads it, some solvers need not compute it.
    return dataclasses.replace(estimate, residual=jnp.zeros_like(estimate.residual))


def is_active(status: Any, cost: Any, stop_cost: Any) -> Any:
    """Whether realizations go on: they have not failed, and are not good enough yet."""
    return (status == Status.OK) & (cost > stop_cost)


def _batch(task: Task, key: Array, index: Any, batch_size: int | None) -> Task:
    if batch_size is None:
        return task
    order = jax.random.permutation(jax.random.fold_in(jax.random.fold_in(key, index), 0), task.num_samples)
    return task.batch(order[:batch_size])


def _record(options: Options, state: TrainState, network: AbstractNetwork, task: Task) -> dict[str, Array]:
    network = network.with_k(state.k)
    cost = state.estimate.cost
    if options.batch_size is not None:
        cost = task_cost(network, task, solver=options.solver)
    values = {name: functional(network, task) for name, functional in options.functionals.items()}
    return {"cost": cost, **values}
