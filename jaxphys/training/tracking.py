"""Training node networks with a `TrackedInverse`: what is carried from step to step, and what it answers.

Between two steps the memory holds the inverse and the terminals' states. A step asks `propose` (what would
the network answer after this update?), which computes the inverse anew where it is stale, and `commit` (it
was accepted). `vmap` becomes the last axis of every array; see `solvers/tracked_inverse.py` for the
equations.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxphys.equilibrium import Status, greens_function
from jaxphys.learning import Response, Task, respond
from jaxphys.networks.physics import AbstractNetwork, matrix_entries
from jaxphys.solvers import Dense, TrackedInverse
from jaxphys.solvers.batching import last_in_memory, to_last_axis
from jaxphys.solvers.tracked_inverse import follow, followed, row_error

T = TypeVar("T")
# Whether any is left to be solved, columns, error, status, and what makes the new inverse, twice.
_Answers: TypeAlias = tuple[Array, Array, Array, Array, Array, Array]


class Memory(eqx.Module):
    """What is known of one realization where it stands.

    - `inverse`: `(n, n)`, the response to forces. `columns`: `(m, n)` states of inputs and outputs.
    - `moment`: `(m, o)`, by which the last update pairs columns with outputs.
    - `stale`: the inverse belongs to an earlier `k`.
    """

    inverse: Float[Array, "*R n n"]
    columns: Float[Array, "*R m n"]
    moment: Float[Array, "*R m o"]
    stale: Bool[Array, "*R"]


class Proposal(eqx.Module):
    """A step that may yet be refused: new columns, and what makes the new inverse (zero if `stale`)."""

    columns: Float[Array, "*R m n"]
    pushed: Float[Array, "*R m n"]
    pulled: Float[Array, "*R m n"]
    stale: Bool[Array, "*R"]


def unsolved(network: AbstractNetwork, task: Task) -> Memory:
    """The memory of one realization before anything is solved: zeros, and stale.

    `network`, `task`: one network of n coordinates and its task of s terminals and o outputs, for shapes and
    dtype; the memory has m = s + o columns.
    """
    n, terminals, outputs = network.num_coordinates, len(task.force), len(task.readout)
    zeros = jnp.zeros((n, n), network.k.dtype)
    columns = jnp.zeros((terminals + outputs, n), network.k.dtype)
    return Memory(zeros, columns, columns[:, :outputs] * 0, jnp.asarray(True))


def propose(
    solver: TrackedInverse,
    memory: Memory,
    before: AbstractNetwork,
    after: AbstractNetwork,
    task: Task,
    updates: Float[Array, " M"],
    gradient: Float[Array, " M"],
    active: Bool[Array, ""],
    index: Int[Array, ""],
) -> tuple[Memory, Proposal, Response]:
    """The response of `after`, whose `k` differs from that of `before` by `updates`.

    These should be a multiple of `gradient` in the Frobenius metric; otherwise, or where the memory is stale,
    the network is solved anew. `index` counts steps. Also returns the memory, with a fresh inverse where it
    was stale. Nothing is solved for realizations that are not `active`, and their answers mean nothing.
    """
    scale, fits = _together(partial(_multiple, solver), updates, gradient, before, index)
    terminals = memory.moment.shape[0] - memory.moment.shape[1]
    half = jnp.pad(0.5 * scale * memory.moment, ((0, 0), (terminals, 0)))
    memory = _together(partial(_renew, solver), memory, before, task, active, index)
    change = half + half.T
    proposal, readings, residual, status = _together(
        partial(_answer, solver), memory, change, fits, after, task, active, index
    )
    drive, adjoint = proposal.columns[:terminals], proposal.columns[terminals:]
    outputs = task.inputs @ readings[:terminals]
    return memory, proposal, Response(drive, adjoint, readings[terminals:], outputs, residual, status)


def commit(
    memory: Memory, proposal: Proposal, moment: Float[Array, "m o"], accepted: Bool[Array, ""]
) -> Memory:
    """The memory after a step that was accepted, or the old one.

    `moment`: `(m, o)`, by which the gradient of the accepted step pairs columns with outputs.
    """
    pulled = jnp.where(accepted, proposal.pulled, 0)
    return Memory(
        _inverse_after(memory.inverse, proposal.pushed, pulled),
        jnp.where(accepted, proposal.columns, memory.columns),
        jnp.where(accepted, moment, memory.moment),
        jnp.where(accepted, proposal.stale, memory.stale),
    )


def _multiple(
    solver: TrackedInverse,
    axis_size: int,
    batched: PyTree[bool],
    updates: Float[Array, "R M"],
    gradient: Float[Array, "R M"],
    network: AbstractNetwork,
    index: Int[Array, ""],
) -> tuple[Float[Array, " R"], Bool[Array, " R"]]:
    """What multiple of the gradient in the Frobenius metric the updates are; and whether all of them are."""
    updates, gradient, k = (jnp.moveaxis(array, 0, -1) for array in (updates, gradient, network.k))
    metric = network.descent_metric
    direction = gradient if metric is None else jnp.asarray(metric, k.dtype)[:, None] * gradient
    # Entries all over the matrix give the multiple; sums over all of them would take longer.
    few = slice(None, None, max(network.num_nodes // 2 - 1, 1))
    length = jnp.sum(direction[few] ** 2, axis=0)
    known = length > 0
    scale = jnp.sum(direction[few] * updates[few], axis=0) / jnp.where(known, length, 1)
    wanted = scale * direction
    # Bounds round updates where they do not cut them.
    rounding = 4 * jnp.finfo(k.dtype).eps * jnp.abs(k)
    fits = jnp.all(jnp.abs(updates - wanted) <= rounding + solver.allowed(k.dtype) * jnp.abs(wanted), axis=0)
    return jnp.where(known, scale, 0), fits


def _renew(
    solver: TrackedInverse,
    axis_size: int,
    batched: PyTree[bool],
    memory: Memory,
    network: AbstractNetwork,
    task: Task,
    active: Bool[Array, " R"],
    index: Int[Array, ""],
) -> Memory:
    """Memories with an exact inverse, and columns refined by it, where they are stale or where it is time."""
    chosen = active & (memory.stale | ((index > 0) & (index % solver.refresh == 0)))
    axes = _axes(batched[1:3])

    def exact(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        def one(columns: Array, network: AbstractNetwork, task: Task) -> tuple[Array, Array]:
            inverse = greens_function(network, task.boundary)
            force = jnp.concatenate([task.force, task.readout])
            return inverse, columns + (force - columns @ network.hessian()) @ inverse

        ensemble = jnp.moveaxis(carry[2], -1, 0), last_in_memory(batched[1], network), task
        inverses, columns = jax.vmap(one, (0, *axes))(*ensemble)
        return (
            jnp.asarray(False),
            jnp.where(chosen, jnp.moveaxis(inverses, 0, -1), carry[1]),
            jnp.where(chosen, jnp.moveaxis(columns, 0, -1), carry[2]),
        )

    # A loop of no or one turn: unlike `cond` it works in place.
    inverse, columns = (jnp.moveaxis(array, 0, -1) for array in (memory.inverse, memory.columns))
    start = (jnp.any(chosen), inverse, columns)
    _, inverse, columns = jax.lax.while_loop(lambda carry: carry[0], exact, start)
    inverse, columns = (jnp.moveaxis(array, -1, 0) for array in (inverse, columns))
    return Memory(inverse, columns, memory.moment, memory.stale & ~chosen)


def _answer(
    solver: TrackedInverse,
    axis_size: int,
    batched: PyTree[bool],
    memory: Memory,
    step: Float[Array, "R m m"],
    fits: Bool[Array, " R"],
    network: AbstractNetwork,
    task: Task,
    active: Bool[Array, " R"],
    index: Int[Array, ""],
) -> tuple[Proposal, Float[Array, "R m o"], Float[Array, " R"], Int[Array, " R"]]:
    """Columns after the step, what the outputs read of them, residual and status."""

    def last(is_batched: bool, array: Array) -> Array:
        array = to_last_axis(is_batched, array)
        return jnp.broadcast_to(array, (*array.shape[:-1], axis_size))

    inverse, columns = jnp.moveaxis(memory.inverse, 0, -1), jnp.moveaxis(memory.columns, 0, -1)
    columns, pushed, pulled, small = follow(inverse, columns, jnp.moveaxis(step, 0, -1))
    number = jnp.remainder(index, columns.shape[1])
    row = last(batched[3].k, network.k)[jnp.asarray(matrix_entries(network.num_nodes))[number]]
    readout = last(batched[4].readout, task.readout)
    pulls = jnp.concatenate([last(batched[4].force, task.force)[:, number], readout[:, number]])
    error = row_error(row, columns, pulls)
    # A held coordinate takes whatever force it needs.
    rows = last(batched[4].boundary.constraints.rows, task.boundary.rows)
    error = jnp.where(jnp.any(rows[:, number] != 0, axis=0), 0, error)
    # Nothing is known before the first step; realizations at rest need no answer.
    sound = fits & small & (error <= solver.allowed(error.dtype)) & (index >= 0) | ~active
    axes = _axes(batched[3:5])

    def exact(carry: _Answers) -> _Answers:
        solved, response = jax.vmap(solved_columns, axes)(last_in_memory(batched[3], network), task)
        return (
            jnp.asarray(False),
            jnp.where(sound, carry[1], jnp.moveaxis(solved, 0, -1)),
            jnp.where(sound, carry[2], response.residual),
            jnp.where(sound, carry[3], response.status),
            jnp.where(sound, carry[4], 0),
            jnp.where(sound, carry[5], 0),
        )

    status = jnp.full(axis_size, Status.OK, jnp.int32)
    start = (jnp.any(~sound), columns, error, status, pushed, pulled)
    _, columns, error, status, *change = jax.lax.while_loop(lambda carry: carry[0], exact, start)
    readings = jnp.sum(columns[:, None] * readout[None], axis=2)
    found = (columns, *change, ~sound)
    found, rest = jax.tree.map(lambda array: jnp.moveaxis(array, -1, 0), (found, (readings, error, status)))
    return Proposal(*found), *rest


@custom_vmap
def _inverse_after(
    inverse: Float[Array, "n n"], pushed: Float[Array, "m n"], pulled: Float[Array, "m n"]
) -> Float[Array, "n n"]:
    return inverse - pushed.T @ pulled


@_inverse_after.def_vmap
def _inverses_after(axis_size: int, batched: PyTree[bool], *arrays: Array) -> tuple[Array, bool]:
    return jnp.moveaxis(followed(*(jnp.moveaxis(array, 0, -1) for array in arrays)), -1, 0), True


def _together(kernel: Callable[..., T], *arguments: PyTree) -> T:
    """Call `kernel(axis_size, batched, *arguments)` for all realizations that `vmap` runs over, or for one.

    It takes and returns arrays that lead with them where `batched` says so; the last argument they share.
    """

    @custom_vmap
    def call(*arguments: PyTree) -> T:
        lifted = jax.tree.map(lambda array: array[None], arguments[:-1])
        results = kernel(1, jax.tree.map(lambda _: True, arguments), *lifted, arguments[-1])
        return jax.tree.map(lambda array: array[0], results)

    @call.def_vmap
    def call_all(axis_size: int, batched: PyTree[bool], *arguments: PyTree) -> tuple[T, PyTree[bool]]:
        results = kernel(axis_size, batched, *arguments)
        return results, jax.tree.map(lambda _: True, results)

    return call(*arguments)


def _axes(batched: PyTree[bool]) -> PyTree[int | None]:
    """What `vmap` calls `in_axes`."""
    return tuple(jax.tree.map(lambda each: 0 if each else None, tree) for tree in batched)


def solved_columns(network: AbstractNetwork, task: Task) -> tuple[Float[Array, "m n"], Response]:
    """States of all drives and outputs by dense algebra, one below the other, and the response they make.

    `network`, `task`: one network of n coordinates and its task of s terminals and o outputs. **Returns** `(s
    + o, n)` states, in the units of the network's coordinates, and the response.
    """
    response = respond(network, task, solver=Dense())
    return jnp.concatenate([response.drive, response.adjoint]), response
