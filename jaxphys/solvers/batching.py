"""Planned solvers, and kernels that know their batch: along the last axis, or as graphs side by side."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap
from jax.experimental.layout import Layout, with_layout_constraint
from jaxtyping import Array, Int, PyTree

from jaxphys._checks import is_concrete, require
from jaxphys.solvers.bordered import AbstractSolver, NetworkLike, TaskLike

Carry = TypeVar("Carry")
Tree = TypeVar("Tree")
_Planned = TypeVar("_Planned", bound="AbstractPlannedSolver")


class AbstractPlannedSolver(AbstractSolver):
    """A solver planned for one graph and boundary, or for `graphs` of them side by side.

    A plan for one graph serves any number of realizations on it, and `vmap` over them becomes the last,
    contiguous axis of every array. Realizations with different graphs are planned side by side, as one large
    graph; the solver then serves exactly that ensemble, in its order, under one `vmap` over all of it.

    **Attributes**

    - `graphs`: G, how many graphs there are side by side; 1 if all realizations have the same.
    - `chunk`: how many realizations on one graph are worked on at once.

    A subclass takes what `plan_arguments` makes of a network and a task, plans in `__init__`, and has kernels
    that `batched` calls.
    """

    is_planned: ClassVar[bool] = True

    graphs: eqx.AbstractVar[int]

    @classmethod
    @abstractmethod
    def plan_arguments(
        cls, network: NetworkLike, task: TaskLike
    ) -> tuple[Any, ...]:  # A subclass's `__init__` takes what it wants.
        """What `__init__` takes, for a network and its task or for stacked ensembles of both.

        Raises `InputError` where the solver is not made for such a network.
        """

    @classmethod
    def for_task(cls: type[_Planned], network: NetworkLike, task: TaskLike) -> _Planned:
        return cls(*cls.plan_arguments(network, task))

    @property
    def is_shared(self) -> bool:
        return self.graphs == 1

    @property
    @abstractmethod
    def chunk(self) -> int:
        """Realizations that are worked on at once: what they need stays in cache."""

    def can_respond(self, structure: str) -> bool:
        return self.structures is None or structure in self.structures


def to_last_axis(is_batched: bool, array: Array) -> Array:
    """The array with its realizations, on the first axis where `is_batched`, on the last; else `(..., 1)`.

    `(B, ...)` becomes `(..., B)`; an array that all realizations share gets a last axis of length 1.
    """
    return jnp.moveaxis(array, 0, -1) if is_batched else array[..., None]


def batched(
    solver: AbstractPlannedSolver, kernel: Callable[..., PyTree[Array]], arguments: tuple[Array, ...]
) -> PyTree[Array]:
    """Call `kernel(solver, *arguments)` so that `vmap` becomes axes that the kernel knows.

    A kernel takes and returns arrays `(G, …, B)`: G graphs, each with its own numbers, and B realizations on
    the same graph, contiguous; B is 1 where realizations do not differ.
    """

    wanted = "see all realizations that it was planned for under one `vmap`"
    require(
        solver.is_shared or not is_concrete(arguments[0]),
        "solver",
        wanted,
        f"they are {solver.graphs} graphs",
    )

    @custom_vmap
    def call(solver: AbstractPlannedSolver, arguments: tuple[Array, ...]) -> PyTree[Array]:
        if solver.is_shared:
            results = kernel(solver, *(argument[None, ..., None] for argument in arguments))
            return jax.tree.map(lambda result: result[0, ..., 0], results)
        # One graph of several, unknown which: shapes, for what traces this before `vmap`, and NaN for
        # numbers.
        all_graphs = [
            jnp.broadcast_to(array, (solver.graphs, *array.shape))[..., None] for array in arguments
        ]
        shapes = jax.eval_shape(partial(kernel, solver), *all_graphs)
        return jax.tree.map(lambda each: _nothing(each.shape[1:-1], each.dtype), shapes)

    @call.def_vmap
    def call_all(
        axis_size: int,
        batched: Sequence[PyTree[bool]],
        solver: AbstractPlannedSolver,
        arguments: tuple[Array, ...],
    ) -> tuple[PyTree[Array], PyTree[bool]]:
        if solver.is_shared:
            results = _chunked(partial(kernel, solver), solver.chunk, axis_size, batched[1], arguments)
            return results, jax.tree.map(lambda _: True, results)
        require(axis_size == solver.graphs, "solver", wanted, f"it sees {axis_size} of {solver.graphs}")
        whole = [
            argument if is_batched else jnp.broadcast_to(argument, (axis_size, *argument.shape))
            for is_batched, argument in zip(batched[1], arguments, strict=True)
        ]
        results = kernel(solver, *(argument[..., None] for argument in whole))
        return jax.tree.map(lambda result: result[..., 0], results), jax.tree.map(lambda _: True, results)

    return call(solver, arguments)


def _nothing(shape: tuple[int, ...], dtype: np.dtype) -> Array:
    return jnp.full(shape, jnp.nan if jnp.issubdtype(dtype, jnp.floating) else 0, dtype)


def _chunked(
    kernel: Callable[..., PyTree[Array]],
    most: int,
    count: int,
    batched: tuple[bool, ...],
    arguments: tuple[Array, ...],
) -> PyTree[Array]:
    """Run a kernel on chunks of realizations, filled up with the first one so that rows are whole vectors."""
    width = min(most, 1 << (count - 1).bit_length())
    chunks = -(-count // width)
    lifted = [to_last_axis(*pair)[None] for pair in zip(batched, arguments, strict=True)]

    def filled_up(array: Array) -> Array:
        filling = jnp.broadcast_to(array[..., :1], (*array.shape[:-1], chunks * width - count))
        return jnp.concatenate([array, filling], axis=-1)

    varying = [filled_up(array) for each, array in zip(batched, lifted, strict=True) if each]

    def one(varying: list[Array]) -> PyTree[Array]:
        rest = iter(varying)
        results = kernel(
            *(next(rest) if each else array for each, array in zip(batched, lifted, strict=True))
        )
        return jax.tree.map(lambda result: jnp.broadcast_to(result, (*result.shape[:-1], width)), results)

    if chunks == 1:
        results = one(varying)
    else:
        parts = [jnp.moveaxis(array.reshape(*array.shape[:-1], chunks, width), -2, 0) for array in varying]
        results = jax.lax.map(one, parts)
        results = jax.tree.map(lambda r: jnp.moveaxis(r, 0, -2).reshape(*r.shape[1:-1], -1), results)
    return jax.tree.map(lambda result: jnp.moveaxis(result[0, ..., :count], -1, 0), results)


def row_major(tree: Tree) -> Tree:
    """The same arrays laid out in memory in the order of their axes.

    Without this XLA keeps the layout from before a transposition, and copies at every step.
    """

    def lay_out(array: Array) -> Array:
        return _ordered(array, tuple(range(array.ndim)))

    return jax.tree.map(lay_out, tree)


def last_in_memory(batched: PyTree[bool], tree: Tree) -> Tree:
    """Ensembles with realizations on the first axis, laid out so that these are contiguous in memory.

    Steps keep realizations on the last axis; without this XLA may copy back and forth at every step.
    """

    def lay_out(is_batched: bool, array: Array) -> Array:
        return _ordered(array, (*range(1, array.ndim), 0)) if is_batched else array

    return jax.tree.map(lay_out, batched, tree)


def _ordered(array: Array, axes: tuple[int, ...]) -> Array:
    if jax.dtypes.issubdtype(array.dtype, jax.dtypes.extended):
        return array
    return with_layout_constraint(array, Layout(axes))


@custom_vmap
def vmapped_last_in_memory(array: Array) -> Array:
    """One realization's array of an ensemble that is to be `last_in_memory`."""
    return array


@vmapped_last_in_memory.def_vmap
def _all_last_in_memory(axis_size: int, batched: Sequence[bool], array: Array) -> tuple[Array, bool]:
    return last_in_memory(True, array), True


def gather_rows(array: Array, index: Int[Array, "..."]) -> Array:
    """Rows of an array, `(..., *row)` for an index of shape `(...)`, by indices known to be in range.

    None is checked, which saves a comparison for each.
    """
    return array.at[index].get(mode="promise_in_bounds")


def loop(
    body: Callable[..., tuple[Carry, PyTree[Array]]],
    carry: Carry,
    levels: PyTree[Array],
    *,
    reverse: bool = False,
) -> tuple[Carry, PyTree[Array]]:
    """`lax.scan` of `body(carry, level)` over the first axis of `levels`, written out where that is 1.

    **Arguments**

    - `body`: takes what is carried and one level, returns both anew. `carry`: to begin with.
    - `levels`: a tree of arrays with one first axis. `reverse`: from the last level to the first.

    **Returns** what is carried in the end, and the results of all levels, stacked in the order of `levels`.
    """
    if jax.tree.leaves(levels)[0].shape[0] > 1:
        return jax.lax.scan(body, carry, levels, reverse=reverse)
    carry, result = body(carry, jax.tree.map(lambda array: array[0], levels))
    return carry, jax.tree.map(lambda array: array[None], result)


def of_one_width(*arrays: Array) -> list[Array]:
    """Arrays whose last axis is 1 or the number of realizations, all with the latter."""
    width = max(array.shape[-1] for array in arrays)
    return [jnp.broadcast_to(array, (*array.shape[:-1], width)) for array in arrays]
