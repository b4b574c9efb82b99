"""Events of a training for its caller: small frozen records, in the order in which they come.

`Planned`, `Started`, then `Progress` between any two calls of the compiled program and `BlocksDone` after the
last one of a round, and `Finished` at the end; or `Interrupted`, with all saved, where that was requested.
The caller who iterates over them decides what is shown, written and kept; where it stops, all is saved.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from tqdm import tqdm

from jaxphys.training.rounds import BlockResult, TrainingPlan


@dataclass(frozen=True)
class Planned:
    """Realizations are cut into blocks, of which those with the numbers `blocks` are to be trained.

    Comes once more, with smaller blocks, where they do not fit into memory.
    """

    plan: TrainingPlan
    blocks: tuple[int, ...]


@dataclass(frozen=True)
class Started:
    """The program is compiled and fits into memory; nothing has been written. The first step comes next."""

    plan: TrainingPlan


@dataclass(frozen=True)
class Progress:
    """A call has ended.

    **Attributes**: `step`: where the `blocks` stand now (of all processes, one for each device).
    `median_cost`: of this process's realizations at the last record. `done` of `total`: steps of all blocks,
    counted by rounds.
    """

    blocks: tuple[int, ...]
    step: int
    median_cost: float
    done: int
    total: int


@dataclass(frozen=True)
class BlocksDone:
    """Blocks have taken their last step, and are saved.

    **Attributes**: `blocks`: their numbers, of all processes. `results`: of those at this process's devices,
    in their order; where there are fewer blocks than devices, the first one stands in for the others.
    """

    plan: TrainingPlan
    blocks: tuple[int, ...]
    results: Sequence[BlockResult]


@dataclass(frozen=True)
class Interrupted:
    """Training was asked to stop: everything is saved, and nothing comes after this."""

    step: int


@dataclass(frozen=True)
class Finished:
    """All blocks are done.

    **Attributes**: `seconds`: until the first call ended, which compiles, and after it. `blocks`: how many
    there are. `solver`: the name of its class, "" if there was nothing left to solve.
    """

    seconds: tuple[float, float]
    blocks: int
    solver: str


Event = Planned | Started | Progress | BlocksDone | Interrupted | Finished


class ProgressBar:
    """Shows events as a bar with the median cost and the time left; or nothing, unless `is_shown`."""

    def __init__(self, is_shown: bool):
        self._is_shown = is_shown
        self._bar: tqdm | None = None

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def show(self, event: Event) -> None:
        """Take note of an event."""
        if not self._is_shown or not isinstance(event, Progress):
            return
        if self._bar is None:
            self._bar = tqdm(total=event.total, unit="step")
        self._bar.set_postfix_str(f"median cost {event.median_cost:.3g}", refresh=False)
        self._bar.update(event.done - self._bar.n)

    def close(self) -> None:
        """End the bar's line; the next event begins another one."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
