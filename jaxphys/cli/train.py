"""Train an ensemble, a sweep, or go on with either."""

import argparse
import json
import os
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from jaxphys._checks import InputError
from jaxphys.cli.common import PREEMPTED, Commands, output

if TYPE_CHECKING:
    # Runs are imported when one is trained.
    from jaxphys.runs.batch import RunEvent, RunOptions
    from jaxphys.runs.run import Summary


def add(commands: Commands) -> None:
    """Let the command line know it."""
    train = commands.add_parser(
        "train",
        help="train an ensemble of networks",
        description="Train an ensemble described by a TOML file. Writes config.toml (as resolved), run.nc, "
        "network.json, figures/, report.html and a checkpoint into the output folder.",
        epilog="examples: jaxphys train examples/iris.toml --out runs/iris --set steps=1000 "
        "network.nodes=30; jaxphys train examples/iris.toml --out runs/iris --resume",
    )
    train.add_argument(
        "config", metavar="CONFIG.toml", type=Path, nargs="?", help="what to train; see docs/configuration.md"
    )
    train.add_argument("--out", metavar="DIR", type=output, help="output folder")
    train.add_argument(
        "--print-config", action="store_true", help="print the config with every key spelt out, and stop"
    )
    train.add_argument(
        "--set",
        metavar="KEY=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="override keys of the config, dotted for tables; may be given again",
    )
    train.add_argument(
        "--json", action="store_true", help="print what came out as JSON, and all else to standard error"
    )
    existing = train.add_mutually_exclusive_group()
    existing.add_argument("--resume", action="store_true", help="go on from the output folder's checkpoint")
    existing.add_argument("--force", action="store_true", help="replace an earlier run in the output folder")
    many = train.add_argument_group(
        "many processes", "One for each host or GPU, all with the same config and a folder that all can see."
    )
    many.add_argument(
        "--distributed", action="store_true", help="find the other processes from SLURM, MPI or Kubernetes"
    )
    many.add_argument("--coordinator", metavar="HOST:PORT", help="where the first process listens")
    many.add_argument("--processes", metavar="N", type=int, help="how many there are")
    many.add_argument("--process", metavar="I", type=int, help="which of them this is, from 0")
    train.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    _find_config(parsed)
    _prepare_devices()
    import jax

    from jaxphys.config import dump_config, parse_config, parse_sweep, read_table
    from jaxphys.training.devices import start_processes

    table, source = read_table(parsed.config, parsed.set), str(parsed.config)
    sweep = parse_sweep(table, source) if "sweep" in table else None
    config = parse_config(table, source) if sweep is None else sweep.points[0].config
    if parsed.print_config:
        print(dump_config(config) if sweep is None else sweep.text(), end="")
        return 0
    if parsed.out is None:
        raise InputError("--out: must name an output folder")
    jax.config.update("jax_enable_x64", config.precision == "float64")
    if parsed.force and parsed.config.resolve() == (parsed.out / "config.toml").resolve():
        raise InputError(f"{parsed.config}: lies in the output folder, where --force would replace it")
    asked = (parsed.coordinator, parsed.processes, parsed.process)
    if parsed.distributed or any(each is not None for each in asked):
        start_processes(*asked)
    from jaxphys.runs.run import train_into
    from jaxphys.runs.sweep import sweep_into

    if jax.process_index() == 0:
        warn_of_idle_gpu()
    if sweep is None:
        return _run_into(parsed, partial(train_into, parsed.out, config))
    return _run_into(parsed, partial(sweep_into, parsed.out, sweep))


def _run_into(parsed: argparse.Namespace, train: "Callable[[RunOptions], Summary]") -> int:
    """Train into the output folder; say what happens, and how to go on after an interruption."""
    import jax

    from jaxphys.runs.batch import RunOptions
    from jaxphys.training.devices import LocalFailure, ProcessLost
    from jaxphys.training.host_loop import Stopped

    is_first = jax.process_index() == 0
    again = resume_command(parsed)
    with _Interruption() as interruption, _Console(parsed.json) as console:
        options = RunOptions(parsed.resume, parsed.force, str(parsed.config), interruption.flag, console.show)
        try:
            summary = train(options)
        except Stopped:
            console.close()
            if is_first:
                print(f"\nStopped; everything is saved. Go on with: {again}", file=sys.stderr)
            return interruption.status
        except KeyboardInterrupt:
            console.close()
            if is_first:
                print(f"\nInterrupted; go on with: {again}", file=sys.stderr)
            return 130
        except LocalFailure as error:
            print(f"jaxphys: {error}", file=sys.stderr, flush=True)
            os._exit(2)
        except ProcessLost:
            print(
                "\nAnother process is gone; everything here is saved. Go on, all together, with: " + again,
                file=sys.stderr,
                flush=True,
            )
            # A process that leaves in good order waits for all others.
            os._exit(PREEMPTED)
    if parsed.json and is_first:
        from jaxphys.io.files import jsonable

        print(json.dumps(jsonable(summary.facts), indent=1, allow_nan=False))
    else:
        for line in summary.lines:
            print(line)
    return 0 if summary.succeeded else 1


def resume_command(parsed: argparse.Namespace) -> str:
    """The command that goes on with an interrupted run, as a shell reads it."""
    changed = ["--set", *parsed.set] if parsed.set else []
    words = ["jaxphys", "train", str(parsed.config), "--out", str(parsed.out), *changed, "--resume"]
    return shlex.join(words)


def _find_config(parsed: argparse.Namespace) -> None:
    """Give CONFIG.toml back where `--set`, which takes all that follows, took it: `--set seed=3 C.toml`."""
    if parsed.config is None:
        taken = [item for item in parsed.set if "=" not in item]
        if len(taken) != 1:
            raise InputError("train needs one CONFIG.toml; name it before --set")
        parsed.config = Path(taken[0])
        parsed.set.remove(taken[0])


def _prepare_devices() -> None:
    """Before JAX starts: several devices on one CPU need more threads than a small machine gives them."""
    if os.environ.get("JAX_NUM_CPU_DEVICES") or "host_platform_device_count" in os.environ.get(
        "XLA_FLAGS", ""
    ):
        os.environ.setdefault("NPROC", "16")


def warn_of_idle_gpu() -> None:
    """Say so where a run would take the CPU of a machine that has a GPU, unless that was asked for."""
    import jax

    drivers = ("/proc/driver/nvidia/version", "/dev/kfd")
    is_asked_for = bool(os.environ.get("JAX_PLATFORMS"))
    if jax.default_backend() == "cpu" and not is_asked_for and any(map(os.path.exists, drivers)):
        warnings.warn(
            "this machine has a GPU that JAX does not see, so the CPU works: pip install 'jaxphys[cuda12]', "
            "or set JAX_PLATFORMS=cpu to say that it shall",
            stacklevel=1,
        )


class _Console:
    """Shows the events of a run: a line for each batch, and a bar."""

    def __init__(self, is_quiet: bool) -> None:
        from jaxphys.training.events import ProgressBar

        # Standard output is then for what came out.
        self._file = sys.stderr if is_quiet else sys.stdout
        self._bar = ProgressBar(is_shown=True)

    def __enter__(self) -> "_Console":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def show(self, event: "RunEvent") -> None:
        """Take note of an event."""
        from jaxphys.runs.batch import Announced
        from jaxphys.training.events import Finished

        match event:
            case Announced(line):
                print(line, flush=True, file=self._file)
            case Finished():
                self.close()
            case _:
                self._bar.show(event)

    def close(self) -> None:
        """End the bar."""
        self._bar.close()


class _Interruption:
    """Ctrl-C and SIGTERM ask a run to stop when it has saved; a second one stops it at once."""

    def __init__(self) -> None:
        self.flag, self.status = threading.Event(), 0

    def __enter__(self) -> "_Interruption":
        # Only the main thread may handle signals; others go on as they are.
        is_main = threading.current_thread() is threading.main_thread()
        names = (signal.SIGINT, signal.SIGTERM) if is_main else ()
        self._before = {name: signal.signal(name, self._handle) for name in names}
        return self

    def __exit__(self, *_: object) -> None:
        for name, handler in self._before.items():
            signal.signal(name, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.flag.is_set():
            raise KeyboardInterrupt
        self.status = PREEMPTED if number == signal.SIGTERM else 130
        self.flag.set()
        print("\nSaving; once more stops at once.", file=sys.stderr, flush=True)
