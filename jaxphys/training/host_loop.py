"""The host's part of training: blocks of realizations, as many at a time as there are devices.

A wave is one block on each device. It advances in calls of bounded length, between which progress is shown,
checkpoints are saved, and signals are handled.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int
from tqdm import tqdm

from jaxphys._checks import InputError
from jaxphys.solvers import AbstractSolver
from jaxphys.training.checkpoints import Checkpoints, Header, Place
from jaxphys.training.devices import (
    CommonFailure,
    ProcessLost,
    available_memory,
    global_max,
    own_parts,
    own_places,
    spread,
)
from jaxphys.training.identity import fingerprint
from jaxphys.training.integrator import TrainState, is_active
from jaxphys.training.programs import keep_program
from jaxphys.training.solver_choice import BlockSolvers
from jaxphys.training.steps import Block, Options, Realizations, advance, start

# A run in this many calls at least shows progress often enough, and costs nothing next to them.
_CALLS = 50
# Several processes hear one another after so many calls, or after so many seconds if calls are long.
_QUIET_CALLS, _QUIET_SECONDS = 5, 5.0
# Seconds that a call should take: nobody waits much longer for Ctrl-C.
_CALL_SECONDS = 1.0


class TrainingPlan(NamedTuple):
    """What all blocks of a run share; `record_steps`: when it records, `size`: realizations of a block."""

    options: Options
    record_steps: Int[np.ndarray, " T"]
    mesh: Mesh
    size: int

    def blocks(self, realizations: int) -> int:
        """How many blocks so many realizations make."""
        return -(-realizations // self.size)


class BlockResult(NamedTuple):
    """A block at its end: NumPy arrays that lead with its realizations."""

    k: np.ndarray
    records: dict[str, np.ndarray]
    status: np.ndarray
    evaluations: np.ndarray


class TooLarge(CommonFailure):
    """A wave does not fit into memory; blocks of `size` realizations would (none does if it is 0)."""

    def __init__(self, needed: float | int, room: float | int, asked: int):
        self.size = min(int(0.9 * asked * room / needed), asked - 1)
        cure = f"let `block` be at most {self.size}" if self.size else "one realization alone is too large"
        super().__init__(
            f"Argument `block` must fit into memory, but {asked} realizations at once need "
            f"{needed / 2**30:.2g} GiB of {room / 2**30:.2g} GiB that may be used; {cure}."
        )


class Stopped(KeyboardInterrupt):
    """A run was asked to stop, and has saved where it is."""


Draw = Callable[[int, int], Realizations]
"""Realizations from the first to before the last; of the last block there may be fewer than asked for."""

Recorded = Callable[[int, int], tuple[np.ndarray, dict[str, np.ndarray]]]
"""Of a block of so many realizations: the steps at which it recorded, and what, `(R, T, …)`."""


def train_blocks(
    plan: TrainingPlan,
    blocks: Sequence[int],
    draw: Draw,
    solvers: BlockSolvers,
    finish: Callable[[list[int], list[BlockResult]], None],
    *,
    checkpoints: Checkpoints | None = None,
    checkpoint_seconds: float = 60.0,
    resume: bool = False,
    progress: bool = False,
    stop: Callable[[], bool] = lambda: False,
    started: Callable[[], None] = lambda: None,
    recorded: Recorded | None = None,
) -> tuple[float, float]:
    """Train `blocks`, a wave at a time; returns seconds until the first call ended, and after it.

    - `finish`: is handed the blocks of each wave and what became of those of this process (in the order of
      its places along the mesh; where there are fewer blocks than devices, the first one stands in for the
      others).
    - `stop`: asked between calls. If any process says so, all save and raise `Stopped`.
    - `started`: called before the first step, once it is known that there is memory enough; nothing has been
      written until then.
    - `recorded`: what knows the records of blocks that were handed to `finish` before; their last checkpoints
      then leave them out.

    Raises `TooLarge` before the first step.
    """
    begin = time.perf_counter()
    first = empty = None
    waves = _waves(plan, blocks, checkpoints if resume else None)
    _check_drawing(plan, draw, min(len(waves), _FORESEEN))
    drawn: dict[int, Realizations] = {}

    def ahead() -> Iterator[tuple[Any, Any]]:
        for wave, _ in waves[:_FORESEEN]:
            for number in _own_blocks(plan, wave):
                if number not in drawn:
                    drawn[number] = _drawn(plan, number, draw)
                yield drawn[number].network, drawn[number].task

    solvers.foresee(ahead(), all_of_them=len(waves) <= _FORESEEN)
    total = int(plan.record_steps[-1])
    with tqdm(total=total * len(waves), unit="step", disable=not progress) as bar:
        for wave, place in waves:
            for number in _own_blocks(plan, wave):
                if number not in drawn:
                    drawn[number] = _drawn(plan, number, draw)
            loop = _BlockLoop(plan, wave, drawn, solvers, checkpoints, empty)
            empty = loop.empty
            if place is not None:
                loop.restore(recorded)
            bar.update(max(loop.place.step, 0))
            if first is None:
                loop.check_memory()
                started()
                if checkpoints is not None and not resume:
                    if jax.process_index() == 0:
                        checkpoints.clear()
                    global_max([0])  # Nobody writes before what was there is gone.
            try:
                while not loop.is_done:
                    before = max(loop.place.step, 0)
                    loop.go_on()
                    first = time.perf_counter() if first is None else first
                    bar.update(loop.place.step - before)
                    bar.set_postfix_str(f"median cost {loop.median_cost():.3g}", refresh=False)
                    loop.look_up(stop(), checkpoint_seconds)
            except (KeyboardInterrupt, ProcessLost):
                loop.save()
                raise
            bar.update(total - max(loop.place.step, 0))
            loop.save()
            finish(wave, loop.trained())
            if recorded is not None:
                loop.save_end()
            for number in set(loop.numbers):
                del drawn[number]
    end = time.perf_counter()
    first = end if first is None else first
    return first - begin, end - first


# What others take meanwhile, and what no compiler knows of.
_SHARE = 0.8


# Waves whose networks are drawn before the first one starts, where they have plans to be made.
_FORESEEN = 4


def _check_drawing(plan: TrainingPlan, draw: Draw, waves: int) -> None:
    """Raise `TooLarge` if networks and tasks alone would fill the memory, before they are all drawn."""
    one = _bytes(draw(0, 1)) * (_COPIES + waves - 1)
    _check_room(one * plan.size * len(own_places(plan.mesh)), plan.size)


def _check_room(needed: float | int, size: int) -> None:
    room = _SHARE * available_memory()
    # Processes start alike, so they must agree on what is too large.
    needed = float(global_max([needed / room])[0]) * room
    if needed > room:
        raise TooLarge(needed, room, size)


# Networks and tasks are drawn one by one, stacked, and spread over devices.
_COPIES = 3


def _bytes(tree: Any) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree) if eqx.is_array(leaf))


def fitting(
    plan: TrainingPlan, run: Callable[[TrainingPlan], Any], *, adjust: bool = True
) -> tuple[TrainingPlan, Any]:
    """`run(plan)`, if need be with smaller blocks than asked for, which is told; and the plan that ran.

    Raises `TooLarge` if not even one realization fits, or if blocks are not to be changed.
    """
    asked = plan.size
    while True:
        try:
            return plan, run(plan)
        except TooLarge as error:
            if not adjust or not error.size:
                raise
            plan = plan._replace(size=error.size)
            warnings.warn(
                f"{asked} realizations at once need more memory than there is; going on with {error.size}.",
                stacklevel=3,
            )


def _waves(
    plan: TrainingPlan, blocks: Sequence[int], checkpoints: Checkpoints | None
) -> list[tuple[list[int], Place | None]]:
    """Blocks that stand at the same place, as many together as there are devices, the furthest first."""
    places: dict[int, Place | None] = dict.fromkeys(blocks)
    if checkpoints is not None:
        # One process looks; what another finds while files come and go might differ.
        found = np.full((len(blocks), 2), -np.inf)
        if jax.process_index() == 0:
            for row, number in zip(found, blocks, strict=True):
                header = checkpoints.header(number)
                if header is not None:
                    row[:] = _carried_over(plan, header)[0]
        found = global_max(found.ravel()).reshape(found.shape)
        places = {
            number: Place(*row.astype(int).tolist()) if np.isfinite(row).all() else None
            for number, row in zip(blocks, found, strict=True)
        }
    devices = plan.mesh.devices.size
    waves = []
    for place in sorted(set(places.values()), key=lambda place: place or Place(-1, 0), reverse=True):
        alike = [number for number in blocks if places[number] == place]
        waves += [(alike[i : i + devices], place) for i in range(0, len(alike), devices)]
    return waves


def _own_blocks(plan: TrainingPlan, wave: Sequence[int]) -> list[int]:
    """Blocks of a wave at this process's places; where there are too few, the first stands in for others."""
    return [wave[place] if place < len(wave) else wave[0] for place in own_places(plan.mesh)]


def _drawn(plan: TrainingPlan, number: int, draw: Draw) -> Realizations:
    """A block's realizations; a last one that is short is filled up with its first realization."""
    drawn = draw(number * plan.size, (number + 1) * plan.size)
    count = drawn.network.k.shape[0]
    if count == plan.size:
        return drawn
    order = np.where(np.arange(plan.size) < count, np.arange(plan.size), 0)

    def filled(leaf: Any) -> Any:
        if not eqx.is_array(leaf):
            return leaf
        return (
            leaf[order] if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else np.asarray(leaf)[order]
        )

    return jax.tree.map(filled, drawn)


def _carried_over(plan: TrainingPlan, header: Header) -> tuple[Place, np.ndarray]:
    """Where a checkpoint stands in this plan, which may be longer and record more seldom; and which of its
    records those are that this plan would have.

    Raises `InputError` if the plan is shorter, or records where the checkpoint's run did not.
    """
    place, earlier, schedule = header.place, header.record_steps, plan.record_steps
    if np.array_equal(earlier, schedule):
        return place, np.arange(place.records)
    if earlier[-1] > schedule[-1]:
        raise InputError(
            f"Argument `steps` must be at least {earlier[-1]}, which the run to resume is to take, but it is "
            f"{schedule[-1]}."
        )
    done, wanted = earlier[earlier <= place.step], schedule[schedule <= place.step]
    # Steps of an integrator end at records: others would have led elsewhere.
    same = wanted if plan.options.integrator.stepwise else done
    if not np.isin(wanted, done).all() or not np.isin(same, wanted).all():
        raise InputError(
            "Argument `record` must go on with the records of the run to resume, but others are to be "
            f"recorded up to step {place.step}; leave it out, or `record_every` in a config."
        )
    return Place(place.step, len(wanted)), np.searchsorted(earlier, wanted)


def _identity(plan: TrainingPlan, number: int, drawn: Realizations, solver: AbstractSolver) -> dict[str, str]:
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
        # A plan follows from network and task; the room that it leaves changes no number.
        "solver": type(solver) if solver.is_planned else solver,
    }
    return {name: fingerprint(part) for name, part in parts.items()}


class _BlockLoop:
    """A wave on its way. `state` changes in one assignment: an interruption finds all of it old or new."""

    def __init__(
        self,
        plan: TrainingPlan,
        wave: Sequence[int],
        drawn: Mapping[int, Realizations],
        solvers: BlockSolvers,
        checkpoints: Checkpoints | None,
        empty: dict[str, np.ndarray] | None = None,
    ):
        self.plan, self.checkpoints = plan, checkpoints
        # What stands in for others is kept once.
        self.is_own = [place < len(wave) for place in own_places(plan.mesh)]
        self.numbers = own = _own_blocks(plan, wave)
        planned = solvers([(drawn[number].network, drawn[number].task) for number in own])
        asked = zip(own, planned, strict=True) if checkpoints else ()
        self.identities = [_identity(plan, number, drawn[number], solver) for number, solver in asked]
        blocks = [_block(plan, drawn[number], solver) for number, solver in zip(own, planned, strict=True)]
        self.block = spread(plan.mesh, blocks)
        keep_program(self.block, plan.options, self._most_records())
        states = start(plan.mesh, self.block, self.plan.options)
        self.like = own_parts(plan.mesh, states)
        # Of the wave before, where there was one: to find out their shapes is to trace a step.
        self.empty = self._room(states) if empty is None else empty
        self.records = [{name: value.copy() for name, value in self.empty.items()} for _ in own]
        self.state: tuple[TrainState, Place] = states, Place(-1, 0)
        # The first call measures where networks stand, and compiles.
        self.most_steps = self.wanted = 1
        self.overhead, self.seconds, self.quiet_until = np.inf, 0.0, 0
        self.saved_at = time.perf_counter()
        self.saved: Place | None = None

    @property
    def place(self) -> Place:
        return self.state[1]

    @property
    def is_done(self) -> bool:
        return self.place.records == len(self.plan.record_steps)

    def restore(self, recorded: Recorded | None = None) -> None:
        """Go on from the checkpoints of this process's blocks, which all stand at the same place."""
        assert self.checkpoints is not None
        restored = []
        for number, like, records, identity in zip(
            self.numbers, self.like, self.records, self.identities, strict=True
        ):
            header = self.checkpoints.header(number)
            assert header is not None
            earlier = {
                name: np.empty((len(value), len(header.record_steps), *value.shape[2:]), value.dtype)
                for name, value in records.items()
                if header.has_records
            }
            _, (states, earlier) = self.checkpoints.load(number, (like, earlier), identity)
            if not header.has_records:
                assert recorded is not None
                record_steps, earlier = recorded(number, self.plan.size)
                header = header._replace(record_steps=record_steps)
            place, kept = _carried_over(self.plan, header)
            for name, value in records.items():
                value[:, : place.records] = earlier[name][:, kept]
            restored.append((place, states))
        states = spread(self.plan.mesh, [states for _, states in restored])
        self.state = _as_keys(self.state[0], states), restored[0][0]
        self.saved = restored[0][0]

    def go_on(self) -> None:
        """One call: to the next records, or as far as a call should go."""
        states, place = self.state
        schedule, length = self.plan.record_steps, self._most_records()
        ends = self._ends(length)
        marks = np.concatenate([[place.step], ends, np.full(length - len(ends), ends[-1])])
        begin = time.perf_counter()
        states, values = advance(self.plan.mesh, states, self.block, self.plan.options, marks)
        reached = np.searchsorted(schedule, ends[-1], side="right")
        count = int(reached) - place.records
        for records, new in zip(self.records, own_parts(self.plan.mesh, values), strict=True):
            for name, value in new.items():
                records[name][:, place.records : reached] = value[:, :count]
        steps = int(ends[-1]) - place.step
        if place.step >= 0:
            self.seconds = time.perf_counter() - begin
            self._find_pace(steps, self.seconds)
        self.state = states, Place(int(ends[-1]), int(reached))

    def _rest(self) -> None:
        """Nothing will change any more: what there is to record now is what all records to come hold."""
        states, place = self.state
        marks = np.full(self._most_records() + 1, place.step)
        _, values = advance(self.plan.mesh, states, self.block, self.plan.options, marks)
        for records, new in zip(self.records, own_parts(self.plan.mesh, values), strict=True):
            for name, value in new.items():
                records[name][:, place.records :] = value[:, :1]
        self.state = states, Place(place.step, len(self.plan.record_steps))

    def _find_pace(self, steps: int, seconds: float) -> None:
        """How far the next call goes: its steps last about a second, or as long as what every call costs."""
        self.overhead = min(self.overhead, seconds)
        if steps > 1:
            pace = steps / max(seconds - self.overhead, 1e-6)
            wanted = int(pace * max(_CALL_SECONDS, self.overhead))
            self.wanted = min(max(wanted, 1), 8 * self.most_steps)
        else:
            self.wanted = max(self.most_steps, 8)

    def _ends(self, length: int) -> np.ndarray:
        """Where the segments of the next call end: at records, the last one perhaps between two."""
        place, schedule = self.place, self.plan.record_steps
        if place.step < 0:
            return schedule[:1]
        ends = schedule[place.records : place.records + length]
        furthest = place.step + self.most_steps
        if not self.plan.options.integrator.stepwise:
            # Its own steps end where a segment does: only records may say where.
            return ends[: max(1, int(np.searchsorted(ends, furthest, side="right")))]
        within = ends[ends <= furthest]
        return within if len(within) else np.array([min(furthest, int(ends[0]))])

    def look_up(self, stop: bool, checkpoint_seconds: float) -> None:
        """Between calls: hear the other processes, save, and see whether everything is at rest."""
        if self.place.step < self.quiet_until:
            return
        due = time.perf_counter() - self.saved_at > checkpoint_seconds
        status, cost = self.state[0].status, self.state[0].estimate.cost
        active = any(
            bool(np.any(is_active(status, cost, self.plan.options.stop_cost)))
            for status, cost in own_parts(self.plan.mesh, (status, cost))
        )
        is_growing = self.wanted > 2 * self.most_steps
        agreed = global_max([stop, due, active, is_growing, -self.wanted, self.seconds])
        stop, due, active, is_growing = (bool(each) for each in agreed[:4])
        self.most_steps = -int(agreed[4])
        if jax.process_count() > 1 and not is_growing:
            # Whoever waits for the others after every call waits for the slowest each time.
            calls = min(_QUIET_CALLS, int(_QUIET_SECONDS / max(agreed[5], 1e-3)))
            self.quiet_until = self.place.step + max(calls - 1, 0) * self.most_steps
        if not active and not self.is_done:
            self._rest()
        if stop and not self.is_done:
            raise Stopped
        if due:
            self.save(wait=False)

    def save(self, *, wait: bool = True) -> None:
        """Checkpoints of this process's blocks, unless they are there."""
        if self.checkpoints is None or self.place.step < 0:
            return
        states, place = self.state
        if place != self.saved:
            for number, own, records, identity in self._own_states(states):
                # Records go on being written while these are on their way to the disk.
                copied = {name: value.copy() for name, value in records.items()}
                header = Header(place, self.plan.record_steps, True)
                self.checkpoints.save(number, header, (own, copied), identity)
        self.saved, self.saved_at = place, time.perf_counter()
        if wait:
            self.checkpoints.wait()

    def save_end(self) -> None:
        """Of blocks that are done, keep what it takes to go on, and no records: others know them."""
        assert self.checkpoints is not None
        states, place = self.state
        for number, own, _, identity in self._own_states(states):
            header = Header(place, self.plan.record_steps, False)
            self.checkpoints.save(number, header, (own, {}), identity, alone=True)
        self.checkpoints.wait()

    def _own_states(self, states: TrainState) -> Iterator[tuple[int, TrainState, dict[str, np.ndarray], Any]]:
        """Number, states, records and identity of this process's blocks, but what stands in for others."""
        parts = zip(
            self.is_own,
            self.numbers,
            own_parts(self.plan.mesh, states),
            self.records,
            self.identities,
            strict=True,
        )
        return (part for is_own, *part in parts if is_own)  # type: ignore[misc]

    def check_memory(self) -> None:
        """Compile what will run, ask the compiler what it needs, and raise `TooLarge` if there is no room."""
        plan = self.plan
        marks = np.zeros(self._most_records() + 1, int)
        compiled_for: Any = advance
        lowered = compiled_for.lower(plan.mesh, self.state[0], self.block, plan.options, marks)
        memory = lowered.compile().compiled.memory_analysis()
        program = 0
        if memory is not None:
            program = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
        if jax.default_backend() == "cpu":
            # Records are copied when they are saved, and once more when they are written.
            program = program * len(self.numbers) + 2 * sum(_bytes(each) for each in self.records)
        _check_room(program, plan.size)

    def median_cost(self) -> float:
        """Of this process's realizations, at the last record."""
        last = max(self.place.records - 1, 0)
        return float(np.median(np.concatenate([records["cost"][:, last] for records in self.records])))

    def trained(self) -> list[BlockResult]:
        """What became of the blocks at this process's places."""
        parts = own_parts(self.plan.mesh, self.state[0])
        return [
            BlockResult(own.k, records, own.status, own.evaluations)
            for own, records in zip(parts, self.records, strict=True)
        ]

    def _room(self, states: TrainState) -> dict[str, np.ndarray]:
        """Host memory for all records of a block, `(R, T, …)`."""
        plan = self.plan
        marks = np.zeros(self._most_records() + 1, int)
        _, shapes = eqx.filter_eval_shape(advance, plan.mesh, states, self.block, plan.options, marks)
        return {
            name: np.full(
                (plan.size, len(plan.record_steps), *value.shape[2:]),
                np.nan if value.dtype.kind == "f" else 0,
                value.dtype,
            )
            for name, value in shapes.items()
        }

    def _most_records(self) -> int:
        """Of one call."""
        # XLA compiles a loop that runs once as if it were none, with other roundings: a run that is made
        # longer would differ in the last digit from one that was long from the start.
        return max(2, -(-len(self.plan.record_steps) // _CALLS))


@eqx.filter_jit
def _condensed(task: Any) -> Any:
    return jax.vmap(lambda one: one.condensed())(task)


def _block(plan: TrainingPlan, drawn: Realizations, solver: Any) -> Block:
    samples = drawn.task if plan.options.batch_size is not None else _condensed(drawn.task)
    solver = jax.tree.map(lambda leaf: leaf[None] if eqx.is_array(leaf) else leaf, solver)
    return Block(drawn, samples, solver)


def _as_keys(like: Any, tree: Any) -> Any:
    """Random keys, which are saved as their bits, as keys again."""

    def one(like: Any, array: Any) -> Any:
        if not jax.dtypes.issubdtype(like.dtype, jax.dtypes.prng_key):
            return array
        return jax.random.wrap_key_data(array, impl=jax.random.key_impl(like))

    return jax.tree.map(one, like, tree)
