"""The host's part of training: rounds of blocks, one after the other, as a stream of events.

A round is one block on each device. It advances in calls of bounded length; between calls the loop yields an
event, saves what is due, and sees whether anyone asked it to stop.
"""

import time
import warnings
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass
from threading import Event as Flag

import jax
import numpy as np
from jaxtyping import Int

from jaxphys.learning import Task
from jaxphys.networks.physics import AbstractNetwork
from jaxphys.solvers import AbstractSolver
from jaxphys.training.checkpoints import Checkpoints, Header, Place
from jaxphys.training.devices import (
    CommonFailure,
    ProcessLost,
    available_memory,
    global_max,
    own_places,
)
from jaxphys.training.events import (
    BlocksDone,
    Event,
    Finished,
    Interrupted,
    Planned,
    Progress,
    Started,
)
from jaxphys.training.rounds import (
    Draw,
    DrawnBlocks,
    HostRecords,
    Round,
    TrainingPlan,
    bytes_of,
    carried_over,
    identity,
)
from jaxphys.training.solver_choice import BlockSolvers

# Several processes agree after so many calls, or after so many seconds if calls are long.
_QUIET_CALLS, _QUIET_SECONDS = 5, 5.0
# Seconds that a call should take: Ctrl-C waits for its end.
_CALL_SECONDS = 1.0
# Of the memory that is free: other programs take some meanwhile, and no compiler knows of all.
MEMORY_SHARE = 0.8
# Rounds whose networks are drawn before the first one starts, where they have plans to be made.
_FORESEEN = 4
# Networks and tasks are drawn one by one, stacked, and spread over devices.
_COPIES = 3

ChooseSolver = Callable[[AbstractNetwork, Task], AbstractSolver]
Recorded = Callable[[int, int], tuple[Int[np.ndarray, " T"], HostRecords]]
"""Of a block of so many realizations: the steps at which it recorded, and what, `(R, T, …)`."""


class TooLarge(CommonFailure):
    """A round does not fit into memory; blocks of `size` realizations would (none does if it is 0)."""

    def __init__(self, needed: float | int, available: float | int, asked: int):
        self.size = min(int(0.9 * asked * available / needed), asked - 1)
        cure = f"let `block` be at most {self.size}" if self.size else "one realization alone is too large"
        super().__init__(
            f"Argument `block` must fit into memory, but {asked} realizations at once need "
            f"{needed / 2**30:.2g} GiB of {available / 2**30:.2g} GiB that may be used; {cure}."
        )


class Stopped(KeyboardInterrupt):
    """A run was asked to stop, and has saved where it is."""


@dataclass(frozen=True)
class Saving:
    """Where the state of training is saved, every how many seconds, and whether it goes on from there.

    `recorded`: what knows the records of blocks that were done before; their last checkpoints then leave them
    out.
    """

    checkpoints: Checkpoints
    seconds: float = 60.0
    is_resumed: bool = False
    recorded: Recorded | None = None


def train_blocks(
    plan: TrainingPlan,
    realizations: int,
    draw: Draw,
    choice: AbstractSolver | ChooseSolver,
    *,
    saving: Saving | None = None,
    skip: Collection[int] = (),
    stop: Flag | None = None,
    adjust: bool = False,
) -> Generator[Event, None, None]:
    """Train realizations, block by block, a round at a time.

    **Arguments**

    - `draw`: gives the realizations from one number to before another. `choice`: a solver, or what chooses it
      for the networks and tasks of a block.
    - `skip`: numbers of blocks that are done.
    - `stop`: looked at between calls. If it is set in any process, all save and yield `Interrupted`.
    - `adjust`: whether to go on with smaller blocks, and a warning, where those of the plan do not fit into
      memory.

    Close the generator when you leave it early, as `contextlib.closing` does: it then saves where it is, as
    it does on Ctrl-C. Raises `TooLarge` before the first step.
    """
    begin, asked = time.perf_counter(), plan.size
    while True:
        try:
            yield from _train_rounds(plan, realizations, draw, choice, saving, skip, stop, begin)
            return
        except TooLarge as error:
            if not adjust or not error.size:
                raise
            plan = plan._replace(size=error.size)
            warnings.warn(
                f"{asked} realizations at once need more memory than there is; going on with {error.size}.",
                stacklevel=5,
            )


def _train_rounds(
    plan: TrainingPlan,
    realizations: int,
    draw: Draw,
    choice: AbstractSolver | ChooseSolver,
    saving: Saving | None,
    skip: Collection[int],
    stop: Flag | None,
    begin: float,
) -> Generator[Event, None, None]:
    count = plan.blocks(realizations)
    blocks = tuple(number for number in range(count) if number not in skip)
    yield Planned(plan, blocks)
    rounds = _rounds(plan, blocks, saving)
    _check_drawing(plan, draw, min(len(rounds), _FORESEEN))
    drawn, solvers = DrawnBlocks(plan, draw), BlockSolvers(choice, alone=count == 1)
    _foresee(plan, rounds, drawn, solvers)
    empty = first = None
    for index, (members, place) in enumerate(rounds):
        own = plan.own_blocks(members)
        chosen = solvers([(drawn[number].network, drawn[number].task) for number in own])
        current = Round(plan, members, drawn, chosen, empty)
        empty = current.empty
        saver = _Saver(saving, current, drawn, chosen)
        if place is not None:
            saver.restore()
        if index == 0:
            check_fits(current.bytes_needed(), plan.size)
            yield Started(plan)
            _clear(saving)
        pace = _Pace()
        try:
            while not current.is_done:
                pace.advance(current)
                first = time.perf_counter() if first is None else first
                yield _progress(current, index, len(rounds))
                if _look_up(current, pace, saver, stop):
                    saver.save()
                    yield Interrupted(current.place.step)
                    return
        except (KeyboardInterrupt, ProcessLost, GeneratorExit):
            saver.save()
            raise
        saver.save()
        yield _progress(current, index, len(rounds))
        yield BlocksDone(plan, tuple(members), current.results())
        saver.save_end()
        drawn.forget(own)
    end = time.perf_counter()
    first = end if first is None else first
    yield Finished((first - begin, end - first), count, solvers.kind)


def _progress(current: Round, index: int, rounds: int) -> Progress:
    steps, step = current.plan.steps, max(current.place.step, 0)
    done = index * steps + (steps if current.is_done else step)
    return Progress(tuple(current.blocks), step, current.median_cost(), done, rounds * steps)


def _look_up(current: Round, pace: "_Pace", saver: "_Saver", stop: Flag | None) -> bool:
    """Between calls, with the other processes: save what is due, see whether all rest; whether to stop."""
    step = current.place.step
    if step < pace.quiet_until:
        return False
    is_asked = stop is not None and stop.is_set()
    is_asked, is_due, is_active = pace.agree(step, is_asked, saver.is_due(), current.is_active())
    if not is_active and not current.is_done:
        current.rest()
    if is_asked and not current.is_done:
        return True
    if is_due:
        saver.save(wait=False)
    return False


class _Pace:
    """How many steps a call takes: as many as last about a second, the same on all processes."""

    def __init__(self) -> None:
        # The first call measures where networks stand, and compiles.
        self.most_steps = self._wanted = 1
        self._overhead, self._seconds = np.inf, 0.0
        self.quiet_until = 0

    def advance(self, current: Round) -> None:
        """One call, and what is learned from the time that it takes."""
        before, begin = current.place.step, time.perf_counter()
        current.advance(self.most_steps)
        if before >= 0:
            self._seconds = time.perf_counter() - begin
            self._find(current.place.step - before, self._seconds)

    def _find(self, steps: int, seconds: float) -> None:
        """How far the next call goes: its steps last about a second, or as long as what every call costs."""
        self._overhead = min(self._overhead, seconds)
        if steps > 1:
            pace = steps / max(seconds - self._overhead, 1e-6)
            wanted = int(pace * max(_CALL_SECONDS, self._overhead))
            self._wanted = min(max(wanted, 1), 8 * self.most_steps)
        else:
            self._wanted = max(self.most_steps, 8)

    def agree(self, step: int, *said: bool) -> list[bool]:
        """What any process says, statement by statement; and the length of the calls to come."""
        is_growing = self._wanted > 2 * self.most_steps
        agreed = global_max([*said, is_growing, -self._wanted, self._seconds])
        *found, is_growing = (bool(each) for each in agreed[:-2])
        self.most_steps = -int(agreed[-2])
        if jax.process_count() > 1 and not is_growing:
            # Waiting for the others after every call would mean waiting for the slowest each time.
            calls = min(_QUIET_CALLS, int(_QUIET_SECONDS / max(agreed[-1], 1e-3)))
            self.quiet_until = step + max(calls - 1, 0) * self.most_steps
        return found


class _Saver:
    """Saves a round, unless there is no `saving`: a checkpoint for each of this process's blocks."""

    def __init__(
        self,
        saving: Saving | None,
        current: Round,
        drawn: DrawnBlocks,
        solvers: Sequence[AbstractSolver],
    ):
        self._saving, self._round = saving, current
        asked = zip(current.numbers, solvers, strict=True) if saving else ()
        self._identities = [identity(current.plan, number, drawn[number], solver) for number, solver in asked]
        self._saved_at = time.perf_counter()
        self._saved: Place | None = None

    def is_due(self) -> bool:
        """Whether it is time to save."""
        return self._saving is not None and time.perf_counter() - self._saved_at > self._saving.seconds

    def restore(self) -> None:
        """Let the round go on from the checkpoints of its blocks, which all stand at the same place."""
        current, plan, saving = self._round, self._round.plan, self._saving
        assert saving is not None
        states = []
        place = Place(-1, 0)
        for number, like, records, own in zip(
            current.numbers, current.like, current.records, self._identities, strict=True
        ):
            header = saving.checkpoints.header(number)
            assert header is not None
            earlier = {
                name: np.empty((len(value), len(header.record_steps), *value.shape[2:]), value.dtype)
                for name, value in records.items()
                if header.has_records
            }
            _, (state, earlier) = saving.checkpoints.load(number, (like, earlier), own)
            if not header.has_records:
                assert saving.recorded is not None
                record_steps, earlier = saving.recorded(number, plan.size)
                header = header._replace(record_steps=record_steps)
            place, kept = carried_over(plan, header)
            for name, value in records.items():
                value[:, : place.records] = earlier[name][:, kept]
            states.append(state)
        current.restore(place, states)
        self._saved = place

    def save(self, *, wait: bool = True) -> None:
        """Checkpoints of this process's blocks, unless they are there."""
        current = self._round
        if self._saving is None or current.place.step < 0:
            return
        place = current.place
        if place != self._saved:
            for own, state, records in current.own_states():
                # Records go on being written while these are on their way to the disk.
                copied = {name: value.copy() for name, value in records.items()}
                header = Header(place, current.plan.record_steps, True)
                number = current.numbers[own]
                self._saving.checkpoints.save(number, header, (state, copied), self._identities[own])
        self._saved, self._saved_at = place, time.perf_counter()
        if wait:
            self._saving.checkpoints.wait()

    def save_end(self) -> None:
        """Of blocks whose records others know, keep what it takes to go on, and no records."""
        if self._saving is None or self._saving.recorded is None:
            return
        current = self._round
        for own, state, _ in current.own_states():
            header = Header(current.place, current.plan.record_steps, False)
            number = current.numbers[own]
            self._saving.checkpoints.save(number, header, (state, {}), self._identities[own], alone=True)
        self._saving.checkpoints.wait()


def _clear(saving: Saving | None) -> None:
    """Remove what another run left in the folder, unless this one goes on with it."""
    if saving is not None and not saving.is_resumed:
        if jax.process_index() == 0:
            saving.checkpoints.clear()
        global_max([0])  # No process writes before what was there is gone.


def _rounds(
    plan: TrainingPlan, blocks: Sequence[int], saving: Saving | None
) -> list[tuple[list[int], Place | None]]:
    """Blocks that stand at the same place, as many together as there are devices, the furthest first."""
    places: dict[int, Place | None] = dict.fromkeys(blocks)
    if saving is not None and saving.is_resumed:
        # One process looks; what another finds while files come and go might differ.
        found = np.full((len(blocks), 2), -np.inf)
        if jax.process_index() == 0:
            for row, number in zip(found, blocks, strict=True):
                header = saving.checkpoints.header(number)
                if header is not None:
                    row[:] = carried_over(plan, header)[0]
        found = global_max(found.ravel()).reshape(found.shape)
        places = {
            number: Place(*row.astype(int).tolist()) if np.isfinite(row).all() else None
            for number, row in zip(blocks, found, strict=True)
        }
    devices = plan.mesh.devices.size
    rounds = []
    for place in sorted(set(places.values()), key=lambda place: place or Place(-1, 0), reverse=True):
        alike = [number for number in blocks if places[number] == place]
        rounds += [(alike[i : i + devices], place) for i in range(0, len(alike), devices)]
    return rounds


def _foresee(
    plan: TrainingPlan,
    rounds: Sequence[tuple[list[int], Place | None]],
    drawn: DrawnBlocks,
    solvers: BlockSolvers,
) -> None:
    """Let solvers that are planned for blocks see the first ones before any is trained."""
    own = [number for members, _ in rounds[:_FORESEEN] for number in plan.own_blocks(members)]
    ahead = ((drawn[number].network, drawn[number].task) for number in own)
    solvers.foresee(ahead, all_of_them=len(rounds) <= _FORESEEN)


def _check_drawing(plan: TrainingPlan, draw: Draw, rounds: int) -> None:
    """Raise `TooLarge` if networks and tasks alone would fill the memory, before they are all drawn."""
    one = bytes_of(draw(0, 1)) * (_COPIES + rounds - 1)
    check_fits(one * plan.size * len(own_places(plan.mesh)), plan.size)


def check_fits(needed: float | int, size: int) -> None:
    """Raise `TooLarge` unless so many bytes, of `size` realizations, are free on all processes."""
    available = MEMORY_SHARE * available_memory()
    # Processes start alike, so they must agree on what is too large.
    needed = float(global_max([needed / available])[0]) * available
    if needed > available:
        raise TooLarge(needed, available, size)
