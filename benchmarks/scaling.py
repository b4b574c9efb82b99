"""Time, compile time and memory of one learning step against the size of a network and of an ensemble.

Every point is measured in a process of its own, so that its peak memory is its own; a contender stops where
one step takes longer than `--seconds-at-most` or where the next size would not fit into `--memory-at-most`.
"""

import argparse
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
from matplotlib.figure import Figure

from jaxphys.checks.baselines import CONTENDERS, trained
from jaxphys.checks.timing import (
    SOLVERS,
    compile_seconds,
    interleaved,
    peak_memory_mib,
    rerun_on_cores,
    surroundings,
)
from jaxphys.checks.workloads import workload
from jaxphys.io import write_atomically

NODES = (20, 40, 80, 150, 300, 600, 1000, 2000, 3000)
REALIZATIONS = (1, 3, 10, 30, 100, 300, 1000)
BASELINES = ("scipy", "vmap_solve")


def main() -> int:
    parsed = parser().parse_args()
    if parsed.point is not None:
        print(json.dumps(measure_point(json.loads(parsed.point))))
        return 0
    command = [sys.executable, *sys.argv]
    status = rerun_on_cores(command, parsed.cores)
    if status is not None:
        return status
    report = surroundings(["python", *sys.argv], parsed.seed)
    report["dtype"] = parsed.dtype
    report["points"] = [
        *sweep("nodes", parsed.nodes, {"workload": "W3", "realizations": 1}, parsed),
        *sweep("nodes", parsed.nodes, {"workload": "W3", "realizations": parsed.ensemble}, parsed),
    ]
    for name in parsed.workloads:
        report["points"] += sweep("realizations", parsed.realizations, {"workload": name}, parsed)
    parsed.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=1) + "\n"
    write_atomically(parsed.out / "scaling.json", lambda to: to.write_text(text))
    write_atomically(parsed.out / "scaling.png", lambda to: plot(report).savefig(to, format="png", dpi=150))
    return 0


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options.add_argument("--nodes", type=int, nargs="*", default=NODES, help="sizes of the flow networks")
    options.add_argument(
        "--ensemble", type=int, default=50, help="realizations of the ensemble, timed beside a single network"
    )
    options.add_argument("--realizations", type=int, nargs="*", default=REALIZATIONS)
    options.add_argument(
        "--workloads", nargs="*", default=("W1", "W2", "W3"), help="timed against realizations"
    )
    options.add_argument("--contenders", nargs="+", default=(*SOLVERS, *BASELINES))
    options.add_argument("--dtype", default="float64", choices=("float64", "float32"))
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=0.5, help="of one round")
    options.add_argument(
        "--seconds-at-most", type=float, default=30.0, help="of one step, after which a contender stops"
    )
    options.add_argument("--memory-at-most", type=float, default=8.0, help="GiB")
    options.add_argument("--cores", type=int, default=1)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--point", help=argparse.SUPPRESS)
    return options


def sweep(axis: str, sizes: list[int], fixed: dict, parsed: argparse.Namespace) -> list[dict]:
    """Points of every contender along one axis, each until it becomes too slow or too large."""
    points = []
    for contender in parsed.contenders:
        before: dict = {}
        for size in sizes:
            if before and is_too_much(axis, size, before, parsed):
                break
            asked = {**fixed, axis: size, "contender": contender, "dtype": parsed.dtype, "seed": parsed.seed}
            asked |= {"rounds": parsed.rounds, "seconds": parsed.seconds}
            point = {"axis": axis, **asked, **measured_elsewhere(asked)}
            points.append(point)
            if "failed" in point:
                print(f"{describe(point)}: {point['failed']}", file=sys.stderr)
                break
            before = point
            print(
                f"{describe(point)}: {point['us_per_step']:,.0f} µs, {point['compile_s']:.1f} s to compile, "
                f"{point['peak_memory_mib']:,.0f} MiB",
                flush=True,
            )
    return points


def is_too_much(axis: str, size: int, before: dict, parsed: argparse.Namespace) -> bool:
    """Whether the size before was too slow, or this one must be expected to be too large."""
    slow = before["us_per_step"] > 1e6 * parsed.seconds_at_most
    # Matrices hold N² numbers, for each realization.
    grown = before["workload_memory_mib"] * (size / before[axis]) ** (2 if axis == "nodes" else 1)
    return slow or before["base_memory_mib"] + grown > 1024 * parsed.memory_at_most


def describe(point: dict) -> str:
    nodes = f", {point['nodes']} nodes" if "nodes" in point else ""
    return f"{point['contender']} on {point['workload']}{nodes}, {point['realizations']} realizations"


def measured_elsewhere(asked: dict) -> dict:
    """`measure_point` in a fresh process."""
    command = [sys.executable, __file__, "--point", json.dumps(asked)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        return {"failed": f"exit status {done.returncode}"}
    return json.loads(done.stdout)


def measure_point(asked: dict) -> dict:
    jax.config.update("jax_enable_x64", True)
    base = peak_memory_mib()
    sizes = {"nodes": asked["nodes"], "edges": 2 * asked["nodes"]} if "nodes" in asked else {}
    found = workload(
        asked["workload"],
        realizations=asked["realizations"],
        dtype=asked["dtype"],
        seed=asked["seed"],
        **sizes,
    )
    name = asked["contender"]
    solver = SOLVERS[name].for_task(found.network, found.task) if name in SOLVERS else None
    make = CONTENDERS[name] if solver is None else partial(trained, solver=solver)
    contender = make(found)
    compiling = compile_seconds(contender)
    timing = interleaved({name: contender}, asked["rounds"], asked["seconds"])[name]
    peak = peak_memory_mib()
    return {
        "us_per_step": timing.median,
        "quartiles_us": [timing.lower, timing.upper],
        "compile_s": compiling,
        "peak_memory_mib": peak,
        "base_memory_mib": base,
        "workload_memory_mib": peak - base,
    }


def plot(report: dict) -> Figure:
    """Left: a step against nodes, single (dashed) and ensemble. Right: per realization."""
    figure = Figure(figsize=(11, 5.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    points = [point for point in report["points"] if "failed" not in point]
    contenders = list(dict.fromkeys(point["contender"] for point in points))
    colours = {name: f"C{i}" for i, name in enumerate(contenders)}
    by_nodes = [point for point in points if point["axis"] == "nodes"]
    for realizations in sorted({point["realizations"] for point in by_nodes}):
        style = "--" if realizations == 1 else "-"
        for name in contenders:
            line = [p for p in by_nodes if (p["contender"], p["realizations"]) == (name, realizations)]
            label = f"{name}, {realizations} network{'s' if realizations > 1 else ''}"
            draw(left, line, "nodes", 1.0, color=colours[name], linestyle=style, label=label)
    left.set(xlabel="nodes of a planar flow network", ylabel="time of one learning step (µs)")
    by_realizations = [point for point in points if point["axis"] == "realizations"]
    markers = dict(zip(("W1", "W2", "W3"), "osv", strict=True))
    for workload_name in dict.fromkeys(point["workload"] for point in by_realizations):
        for name in contenders:
            line = [p for p in by_realizations if (p["contender"], p["workload"]) == (name, workload_name)]
            draw(
                right,
                line,
                "realizations",
                None,
                color=colours[name],
                marker=markers[workload_name],
                label=f"{workload_name}, {name}",
            )
    right.set(xlabel="realizations side by side", ylabel="time of one learning step per realization (µs)")
    for axes in (left, right):
        if axes.lines:
            axes.set(xscale="log", yscale="log")
            axes.legend(fontsize=7, frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.14))
        axes.grid(alpha=0.3)
    machine = report["machine"]
    cores = f"{machine['cores_used']} core(s)"
    title = f"{machine['processor']}, {cores}, {report['dtype']}, {report['date'][:10]}"
    figure.suptitle(title, fontsize=9)
    return figure


def draw(axes, line: list[dict], x: str, divisor: float | None, **style) -> None:
    """A line through medians with bars to the quartiles; per realization where `divisor` is None."""
    if not line:
        return
    per = [point["realizations"] if divisor is None else divisor for point in line]
    median = [point["us_per_step"] / d for point, d in zip(line, per, strict=True)]
    bars = [
        [
            abs(point["us_per_step"] - point["quartiles_us"][end]) / d
            for point, d in zip(line, per, strict=True)
        ]
        for end in (0, 1)
    ]
    style = {"marker": "o", **style}
    axes.errorbar([point[x] for point in line], median, yerr=bars, markersize=4, linewidth=1.3, **style)


if __name__ == "__main__":
    sys.exit(main())
