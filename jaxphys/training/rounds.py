"""Blocks of realizations side by side: one on each device, from their first step to their last record.

A round is as many blocks as there are devices. Its state lies on the devices, its records in host memory.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from jaxphys._checks import InputError
from jaxphys.learning import Task
from jaxphys.solvers import AbstractSolver
from jaxphys.training.checkpoints import Header, Place
from jaxphys.training.devices import own_parts, own_places, spread
from jaxphys.training.identity import fingerprint
from jaxphys.training.integrator import TrainState, is_active
from jaxphys.training.programs import keep_program
from jaxphys.training.steps import Block, Options, Realizations, advance, start

# A run in this many calls at least shows progress often enough, and costs nothing next to them.
_CALLS = 50

_Tree = TypeVar("_Tree")
HostRecords = dict[str, np.ndarray]
"""Name → what a block recorded, `(R, T, …)`."""
Draw = Callable[[int, int], Realizations]
"""Realizations from the first to before the last; of the last block there may be fewer than asked for."""


class TrainingPlan(NamedTuple):
    """What all blocks of a run share; `record_steps`: when it records, `size`: realizations of a block."""

    options: Options
    record_steps: Int[np.ndarray, " T"]
    mesh: Mesh
    size: int

    @property
    def steps(self) -> int:
        """How many learning steps there are."""
        return int(self.record_steps[-1])

    @property
    def records_per_call(self) -> int:
        """How many records a call of the compiled program takes, at most."""
        # XLA compiles a loop that runs once as if it were none, with other roundings: a run that is made
        # longer would differ in the last digit from one that was long from the start.
        return max(2, -(-len(self.record_steps) // _CALLS))

    def blocks(self, realizations: int) -> int:
        """How many blocks so many realizations make."""
        return -(-realizations // self.size)

    def own_blocks(self, blocks: Sequence[int]) -> list[int]:
        """Blocks of a round at this process's devices; where there are too few, the first stands in."""
        return [blocks[place] if place < len(blocks) else blocks[0] for place in own_places(self.mesh)]


class BlockResult(NamedTuple):
    """A block after its last step: NumPy arrays that lead with its realizations."""

    k: Float[np.ndarray, "R M"]
    records: HostRecords
    status: Int[np.ndarray, " R"]
    evaluations: Int[np.ndarray, " R"]


class DrawnBlocks:
    """The realizations of blocks, drawn when they are asked for and kept until they are forgotten."""

    def __init__(self, plan: TrainingPlan, draw: Draw):
        self._plan, self._draw = plan, draw
        self._kept: dict[int, Realizations] = {}

    def __getitem__(self, number: int) -> Realizations:
        """Of a block; a last one that is short is filled up with its first realization."""
        if number not in self._kept:
            size = self._plan.size
            drawn = self._draw(number * size, (number + 1) * size)
            self._kept[number] = _filled_up(drawn, size)
        return self._kept[number]

    def forget(self, numbers: Sequence[int]) -> None:
        """Let the memory of blocks go that are done."""
        for number in set(numbers):
            del self._kept[number]


def _filled_up(drawn: Realizations, size: int) -> Realizations:
    count = drawn.network.k.shape[0]
    if count == size:
        return drawn
    order = np.where(np.arange(size) < count, np.arange(size), 0)

    def filled(leaf: Any) -> Any:  # Of a pytree: some are no arrays.
        if not eqx.is_array(leaf):
            return leaf
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return leaf[order] if is_key else np.asarray(leaf)[order]

    return jax.tree.map(filled, drawn)


class Round:
    """Blocks that train side by side. `state` changes in one assignment: an interruption finds it old or new.

    **Arguments**: `blocks`: their numbers, at most as many as there are devices. `solvers`: one for each of
    this process's. `empty`: of the round before, where there was one, as finding it out traces a step.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        blocks: Sequence[int],
        drawn: DrawnBlocks,
        solvers: Sequence[AbstractSolver],
        empty: HostRecords | None = None,
    ):
        self.plan, self.blocks = plan, list(blocks)
        self.numbers = plan.own_blocks(blocks)
        # What stands in for others is saved once.
        self._is_own = [place < len(blocks) for place in own_places(plan.mesh)]
        parts = [
            _block(plan, drawn[number], solver) for number, solver in zip(self.numbers, solvers, strict=True)
        ]
        self._block = spread(plan.mesh, parts)
        keep_program(self._block, plan.options, plan.records_per_call)
        states = start(plan.mesh, self._block, plan.options)
        self.like = own_parts(plan.mesh, states)
        self.empty = self._empty_records(states) if empty is None else empty
        self.records = [{name: value.copy() for name, value in self.empty.items()} for _ in self.numbers]
        self.state: tuple[TrainState, Place] = states, Place(-1, 0)

    @property
    def place(self) -> Place:
        """The step that all of them stand at, and how many records they have."""
        return self.state[1]

    @property
    def is_done(self) -> bool:
        """Whether all records are there."""
        return self.place.records == len(self.plan.record_steps)

    def is_active(self) -> bool:
        """Whether any realization of this process is not at rest."""
        states = self.state[0]
        parts = own_parts(self.plan.mesh, (states.status, states.estimate.cost))
        return any(
            bool(np.any(is_active(status, cost, self.plan.options.stop_cost))) for status, cost in parts
        )

    def advance(self, most_steps: int) -> None:
        """One call of the compiled program, of at most so many steps if the integrator allows."""
        states, place = self.state
        record_steps, length = self.plan.record_steps, self.plan.records_per_call
        ends = self._ends(most_steps)
        padded = np.concatenate([[place.step], ends, np.full(length - len(ends), ends[-1])])
        states, values = advance(self.plan.mesh, states, self._block, self.plan.options, padded)
        reached = int(np.searchsorted(record_steps, ends[-1], side="right"))
        count = reached - place.records
        for records, new in zip(self.records, own_parts(self.plan.mesh, values), strict=True):
            for name, value in new.items():
                records[name][:, place.records : reached] = value[:, :count]
        self.state = states, Place(int(ends[-1]), reached)

    def rest(self) -> None:
        """Nothing will change any more: what there is to record now is what all records to come hold."""
        states, place = self.state
        ends = np.full(self.plan.records_per_call + 1, place.step)
        _, values = advance(self.plan.mesh, states, self._block, self.plan.options, ends)
        for records, new in zip(self.records, own_parts(self.plan.mesh, values), strict=True):
            for name, value in new.items():
                records[name][:, place.records :] = value[:, :1]
        self.state = states, Place(place.step, len(self.plan.record_steps))

    def restore(self, place: Place, states: Sequence[TrainState]) -> None:
        """Go on from the states of this process's blocks, whose records are in `records` already."""
        whole = spread(self.plan.mesh, list(states))
        self.state = _as_keys(self.state[0], whole), place

    def own_states(self) -> Iterator[tuple[int, TrainState, HostRecords]]:
        """Place among this process's, state and records of its blocks, but of what stands in for others."""
        parts = own_parts(self.plan.mesh, self.state[0])
        for place, (is_own, states, records) in enumerate(
            zip(self._is_own, parts, self.records, strict=True)
        ):
            if is_own:
                yield place, states, records

    def results(self) -> list[BlockResult]:
        """What became of the blocks at this process's devices."""
        parts = own_parts(self.plan.mesh, self.state[0])
        return [
            BlockResult(own.k, records, own.status, own.evaluations)
            for own, records in zip(parts, self.records, strict=True)
        ]

    def median_cost(self) -> float:
        """Of this process's realizations, at the last record."""
        last = max(self.place.records - 1, 0)
        return float(np.median(np.concatenate([records["cost"][:, last] for records in self.records])))

    def bytes_needed(self) -> int:
        """What the program of a round needs, as the compiler says of the very compilation that will run."""
        plan = self.plan
        ends = np.zeros(plan.records_per_call + 1, int)
        compiled_for: Any = advance  # Equinox does not say what `lower` returns.
        lowered = compiled_for.lower(plan.mesh, self.state[0], self._block, plan.options, ends)
        memory = lowered.compile().compiled.memory_analysis()
        program = 0
        if memory is not None:
            program = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
        if jax.default_backend() == "cpu":
            # Records are copied when they are saved, and once more when they are written.
            program = program * len(self.numbers) + 2 * sum(bytes_of(each) for each in self.records)
        return program

    def _ends(self, most_steps: int) -> Int[np.ndarray, " c"]:
        """Where the segments of the next call end: at records, the last one perhaps between two."""
        place, record_steps = self.place, self.plan.record_steps
        if place.step < 0:
            return record_steps[:1]
        ends = record_steps[place.records : place.records + self.plan.records_per_call]
        furthest = place.step + most_steps
        if not self.plan.options.integrator.stepwise:
            # Its own steps end where a segment does: only records may say where.
            return ends[: max(1, int(np.searchsorted(ends, furthest, side="right")))]
        within = ends[ends <= furthest]
        return within if len(within) else np.array([min(furthest, int(ends[0]))])

    def _empty_records(self, states: TrainState) -> HostRecords:
        """Host memory for all records of a block, `(R, T, …)`."""
        plan = self.plan
        ends = np.zeros(plan.records_per_call + 1, int)
        _, shapes = eqx.filter_eval_shape(advance, plan.mesh, states, self._block, plan.options, ends)
        return {
            name: np.full(
                (plan.size, len(plan.record_steps), *value.shape[2:]),
                np.nan if value.dtype.kind == "f" else 0,
                value.dtype,
            )
            for name, value in shapes.items()
        }


def bytes_of(tree: Any) -> int:  # Any pytree.
    """How much memory its arrays take."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree) if eqx.is_array(leaf))


def carried_over(plan: TrainingPlan, header: Header) -> tuple[Place, Int[np.ndarray, " _"]]:
    """Where a checkpoint stands in this plan, which may be longer and record more seldom; and which of its
    records those are that this plan would have.

    Raises `InputError` if the plan is shorter, or records where the checkpoint's run did not.
    """
    place, earlier, record_steps = header.place, header.record_steps, plan.record_steps
    if np.array_equal(earlier, record_steps):
        return place, np.arange(place.records)
    if earlier[-1] > record_steps[-1]:
        raise InputError(
            f"Argument `steps` must be at least {earlier[-1]}, which the run to resume is to take, but it is "
            f"{record_steps[-1]}."
        )
    done, wanted = earlier[earlier <= place.step], record_steps[record_steps <= place.step]
    # Steps of an integrator may end at records: others would have led elsewhere.
    same = wanted if plan.options.integrator.stepwise else done
    if not np.isin(wanted, done).all() or not np.isin(same, wanted).all():
        raise InputError(
            "Argument `record` must go on with the records of the run to resume, but others are to be "
            f"recorded up to step {place.step}; leave it out, or `record_every` in a config."
        )
    return Place(place.step, len(wanted)), np.searchsorted(earlier, wanted)


def identity(plan: TrainingPlan, number: int, drawn: Realizations, solver: AbstractSolver) -> dict[str, str]:
    """A digest of everything that a block's numbers depend on, by the names that users know it by.

    How many steps there are, and which of them are recorded, is none of it: a run may go on.
    """
    options = plan.options
    parts = {
        "precision": str(drawn.network.k.dtype),
        "block": (number, plan.size),
        "network": drawn.network,
        "task": drawn.task,
        "key": drawn.keys,
        "rule": (options.rule, drawn.rule),
        "optimizer": (options.integrator, drawn.integrator),
        "bounds": drawn.bounds,
        "functionals": options.functionals,
        "batch_size": options.batch_size,
        "stop_cost": options.stop_cost,
        # A plan follows from network and task; its padding changes no number.
        "solver": type(solver) if solver.is_planned else solver,
    }
    return {name: fingerprint(part) for name, part in parts.items()}


@eqx.filter_jit
def _condensed(task: Task) -> Task:
    return jax.vmap(lambda one: one.condensed())(task)


def _block(plan: TrainingPlan, drawn: Realizations, solver: AbstractSolver) -> Block:
    samples = drawn.task if plan.options.batch_size is not None else _condensed(drawn.task)
    solver = jax.tree.map(lambda leaf: leaf[None] if eqx.is_array(leaf) else leaf, solver)
    return Block(drawn, samples, solver)


def _as_keys(like: _Tree, tree: _Tree) -> _Tree:
    """Random keys, which are saved as their bits, as keys again."""

    def one(like: Array, array: Array) -> Array:
        if not jax.dtypes.issubdtype(like.dtype, jax.dtypes.prng_key):
            return array
        return jax.random.wrap_key_data(array, impl=jax.random.key_impl(like))

    return jax.tree.map(one, like, tree)
