"""Weak scaling over processes, and what checkpoints cost: `python benchmarks/processes.py`.

One process trains R realizations on one core; two joined processes train 2 R on two cores; and two
independent processes train R each, which is the best that two cores allow. The three are timed in turn,
several times, so that other load on the machine affects all alike. For checkpoints, the same training is
timed in turn with one every `--interval` seconds and with none.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np


def main() -> int:
    parsed = parser().parse_args()
    if parsed.child is not None:
        print(json.dumps(child(**json.loads(parsed.child))))
        return 0
    import jax

    from jaxphys.checks.timing import surroundings
    from jaxphys.io import write_atomically

    jax.config.update("jax_enable_x64", True)
    report = surroundings(["python", *sys.argv], 0)
    report["weak_scaling"] = {name: scaling(name, parsed) for name in parsed.workloads}
    report["checkpoints"] = {name: overhead(name, parsed) for name in parsed.workloads}
    print(json.dumps({name: report[name] for name in ("weak_scaling", "checkpoints")}, indent=1))
    text = json.dumps(report, indent=1) + "\n"
    write_atomically(parsed.json, lambda to: to.write_text(text))
    return 0


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--workloads", nargs="+", default=["W2", "W3"])
    options.add_argument("--realizations", type=int, default=50, help="that each process trains")
    options.add_argument("--rounds", type=int, default=5, help="of timings in turn")
    options.add_argument("--seconds", type=float, default=5.0, help="that a timed training lasts, roughly")
    options.add_argument("--interval", type=float, default=10.0, help="seconds between two checkpoints")
    options.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "processes.json")
    options.add_argument("--child", help=argparse.SUPPRESS)
    return options


def scaling(name: str, parsed: argparse.Namespace) -> dict[str, Any]:
    """Realization-steps per second of one process and of two, and their ratio in every round."""
    settings = {"name": name, "realizations": parsed.realizations, "seconds": parsed.seconds}
    ways = {"one": (1, True), "two": (2, True), "two apart": (2, False)}
    rounds = [{way: together(*ways[way], settings) for way in ways} for _ in range(parsed.rounds)]
    ratios = {way: [each[way] / each["one"] for each in rounds] for way in ("two", "two apart")}
    return {
        "realizations_per_process": parsed.realizations,
        "realization_steps_per_second": {way: [each[way] for each in rounds] for way in ways},
        "ratios": ratios,
        "ratio": {way: float(np.median(each)) for way, each in ratios.items()},
    }


def together(count: int, joined: bool, settings: dict[str, Any]) -> float:
    """Realization-steps per second of `count` processes, each on a core of its own, joined or independent."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    processes = []
    for i in range(count):
        given = json.dumps({**settings, "place": [address, count, i], "joined": joined})
        command = [sys.executable, __file__, "--child", given]
        # A thread pool wider than the core that a process has would split small kernels for nothing.
        environment = {
            name: value for name, value in os.environ.items() if name not in ("NPROC", "XLA_FLAGS")
        }
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment))
    answers = [process.communicate()[0] for process in processes]
    return sum(json.loads(answer.splitlines()[-1])["rate"] for answer in answers)


def child(
    name: str,
    realizations: int,
    seconds: float,
    place: list[Any] | None = None,
    joined: bool = True,
    interval: float | None = None,
    rounds: int = 1,
) -> dict[str, Any]:
    """Measure in this process: its rate, or with an `interval`, its seconds with and without checkpoints.

    `place` is the address, the number of processes and the rank of this one; None for a process alone.
    """
    core = 0 if place is None else place[2]
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[core]})
    import jax

    jax.config.update("jax_enable_x64", True)
    import jaxphys as jp
    from jaxphys.checks.workloads import workload
    from jaxphys.training.devices import global_max

    count = 1 if place is None or not joined else place[1]
    if place is not None and count > 1:
        jp.start_processes(*place)
    given = workload(name, realizations=realizations * count)

    def train(steps: int, **arguments: Any) -> float:
        begin = time.perf_counter()
        jp.train(
            given.network,
            given.task,
            steps=steps,
            rule=given.rule,
            optimizer=given.optimizer,
            devices=jp.Devices(block=realizations),
            record=jp.Record(every=max(1, steps // 100)),
            **arguments,
        )
        return time.perf_counter() - begin

    train(200)
    short = train(200)
    # All processes train as many steps.
    steps = 200 + int(global_max([2000 * seconds / (train(2200) - short)])[0])
    if interval is None:
        # The difference leaves out what any number of steps costs once.
        short, long = train(200), train(steps)
        return {"rate": realizations * (steps - 200) / (long - short)}
    with tempfile.TemporaryDirectory() as folder:
        saving = jp.Checkpointing(folder, interval)
        times = [(train(steps), train(steps, checkpoint=saving)) for _ in range(rounds)]
    return {"steps": steps, "seconds": times, "overheads": [saved / plain - 1 for plain, saved in times]}


def overhead(name: str, parsed: argparse.Namespace) -> dict[str, Any]:
    """By what fraction checkpoints lengthen training: the median over rounds, and every round."""
    settings = {
        "name": name,
        "realizations": parsed.realizations,
        "seconds": 3.2 * parsed.interval,
        "interval": parsed.interval,
        "rounds": parsed.rounds,
    }
    command = [sys.executable, __file__, "--child", json.dumps(settings)]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    found = json.loads(answer.splitlines()[-1])
    return {"interval_seconds": parsed.interval, **found, "overhead": float(np.median(found["overheads"]))}


if __name__ == "__main__":
    sys.exit(main())
