"""Learning steps: the compiled part of training.

`advance` takes the states of a block of realizations from record to record: it scans over them, and between
two of them the integrator moves all realizations of a device at once.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key

from jaxphys.learning import Task, task_cost
from jaxphys.learning.rules import AbstractRule, Estimate
from jaxphys.learning.transforms import Bounds
from jaxphys.networks.physics import AbstractNetwork
from jaxphys.solvers import AbstractSolver
from jaxphys.solvers.batching import row_major
from jaxphys.training.devices import on_each_device
from jaxphys.training.integrator import AbstractIntegrator, Problem, TrainState

# Of any kind of network, or of one alone; what it returns is an array.
Functional = Callable[[Any, Task], Any]
"""What `train` records of a network and its task."""

Records = dict[str, Array]
"""Name → what was recorded, `(R, T, …)`: `cost`, and each functional."""


class Options(eqx.Module):
    """Everything of `train` that one compiled step depends on and that realizations share.

    `rule` and `integrator` are those of realizations which have none of their own. `solver` is None until a
    block brings its own.
    """

    rule: AbstractRule
    integrator: AbstractIntegrator
    functionals: dict[str, Functional]
    batch_size: int | None = eqx.field(static=True)
    stop_cost: Float[Any, ""]
    solver: AbstractSolver | None = None


class Realizations(eqx.Module):
    """What an ensemble begins with; every array leads with its realizations.

    **Attributes**

    - `network`, `task`: stacked. `keys`: for random draws while they learn.
    - `rule`, `integrator`: the numbers in which each realization has its own, in modules whose other fields
      are None; None where all share one.
    - `bounds`: what `k` is kept within after every step, whatever the optimizer says.
    """

    network: AbstractNetwork
    task: Task
    keys: Key[Array, " R"]
    rule: AbstractRule | None = None
    integrator: AbstractIntegrator | None = None
    bounds: Bounds = Bounds()


class Block(eqx.Module):
    """What one device works on: realizations, and a solver planned for them.

    `samples` are what the rule sees of the tasks. Over many devices every array leads with the realizations
    of all of them, and those of `solver` with the devices.
    """

    realizations: Realizations
    samples: Task
    solver: AbstractSolver


def _problem(options: Options, own: Realizations, samples: Task) -> Problem:
    """What one realization learns; its own numbers go before those that all share."""
    return Problem(
        own.network,
        samples,
        options.rule if own.rule is None else eqx.combine(own.rule, options.rule),
        options.solver,
        own.bounds,
        own.keys,
        options.stop_cost,
        options.batch_size,
    )


def _integrator(options: Options, own: Realizations) -> AbstractIntegrator:
    return options.integrator if own.integrator is None else eqx.combine(own.integrator, options.integrator)


@eqx.filter_jit
def start(mesh: Mesh, block: Block, options: Options) -> TrainState:
    """States of a block before its first step.

    Stepwise integrators measure in their step -1; for others the networks are measured here.
    """

    def one(options: Options, own: Realizations, samples: Task) -> TrainState:
        k, problem, integrator = own.network.k, _problem(options, own, samples), _integrator(options, own)
        zero = jnp.zeros((), k.dtype)
        if integrator.stepwise:
            estimate = Estimate(jnp.zeros_like(k), zero + jnp.inf, zero, jnp.asarray(0, jnp.int32))
        else:
            estimate = problem.measure(k)
        memory = integrator.init(problem, estimate)
        evaluations = jnp.asarray(0 if integrator.stepwise else 1, jnp.int32)
        return TrainState(k, estimate, memory, estimate.status, evaluations)

    def all_of(block: Block, options: Options) -> TrainState:
        each = jax.vmap(partial(one, _with_solver(options, block)))
        return each(block.realizations, block.samples)

    return on_each_device(mesh, all_of, block, options)


@eqx.filter_jit
def advance(
    mesh: Mesh, states: TrainState, block: Block, options: Options, ends: Int[Any, " c"]
) -> tuple[TrainState, Records]:
    """Run from step `ends[0]` to `ends[-1]`; record at each but the first: `(R, c - 1, …)`."""

    def all_of(given: tuple[TrainState, Block], options: Options, ends: Array) -> tuple[TrainState, Records]:
        states, block = given
        return _advance(states, block, _with_solver(options, block), ends)

    return on_each_device(mesh, all_of, (states, block), options, ends)


def _with_solver(options: Options, block: Block) -> Options:
    solver = jax.tree.map(lambda array: array[0] if eqx.is_array(array) else array, block.solver)
    return dataclasses.replace(options, solver=solver)


def _advance(
    states: TrainState, block: Block, options: Options, ends: Int[Array, " c"]
) -> tuple[TrainState, Records]:
    own, samples = block.realizations, block.samples

    def move(
        state: TrainState, own: Realizations, samples: Task, begin: Int[Array, ""], end: Int[Array, ""]
    ) -> TrainState:
        return _integrator(options, own).advance(_problem(options, own, samples), state, begin, end)

    # Realizations run along the last axis of what a step carries, as solvers like to work.
    step = jax.vmap(move, in_axes=(-1, 0, 0, None, None), out_axes=-1)
    stride = jax.vmap(move, in_axes=(0, 0, 0, None, None))
    record = jax.vmap(partial(_record, options))

    def one_step(index: Int[Array, ""], states: TrainState) -> TrainState:
        return row_major(step(states, own, samples, index, index + 1))

    def segment(states: TrainState, ends: tuple[Array, Array]) -> tuple[TrainState, Records]:
        begin, end = ends
        if options.integrator.stepwise:
            states = row_major(_turned(states, 0, -1))
            states = _turned(jax.lax.fori_loop(begin, end, one_step, states), -1, 0)
        else:
            # Measured in `start`: there is nothing to do before step 0.
            states = stride(states, own, samples, jnp.maximum(begin, 0), end)
        return states, record(states, own.network, own.task)

    states, records = jax.lax.scan(segment, states, (ends[:-1], ends[1:]))
    return states, jax.tree.map(lambda value: jnp.moveaxis(value, 0, 1), records)


def _turned(states: TrainState, source: int, target: int) -> TrainState:
    return jax.tree.map(lambda array: jnp.moveaxis(array, source, target), states)


def _record(options: Options, state: TrainState, network: AbstractNetwork, task: Task) -> Records:
    network = network.with_k(state.k)
    cost = state.estimate.cost
    if options.batch_size is not None:
        cost = task_cost(network, task, solver=options.solver)
    values = {name: functional(network, task) for name, functional in options.functionals.items()}
    return {"cost": cost, **values}
