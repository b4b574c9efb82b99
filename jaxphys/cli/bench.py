"""Time learning steps on this machine."""

import argparse
import json
import sys
from typing import Any

from jaxphys._checks import InputError
from jaxphys.cli.common import Commands, output


def add(commands: Commands) -> None:
    """Let the command line know it."""
    bench = commands.add_parser(
        "bench",
        help="time learning steps on this machine",
        description="Time one learning step of fixed workloads, in float64 and float32, beside a NumPy loop, "
        "a SciPy loop and a vmapped jnp.linalg.solve, and measure what the machine can do at best.",
        epilog="example: jaxphys bench --workload W1 W2 --json bench.json",
    )
    bench.add_argument("--json", metavar="FILE", type=output, help="also write everything measured as JSON")
    bench.add_argument("--quick", action="store_true", help="few short rounds: a look, not a measurement")
    bench.add_argument("--workload", metavar="NAME", nargs="+", help="only these: W1, W2, W3")
    bench.add_argument("--cores", metavar="N", type=int, default=1, help="cores to keep to (default: 1)")
    bench.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    import jax

    from jaxphys.checks.timing import rerun_on_cores, run_benchmark, timings_table
    from jaxphys.checks.workloads import check_workloads
    from jaxphys.io import write_atomically

    check_workloads(parsed.workload or ())
    if parsed.json is not None and not parsed.json.resolve().parent.is_dir():
        raise InputError(f"--json {parsed.json}: must lie in a folder that exists")
    command = ["bench", "--cores", str(parsed.cores)]
    command += ["--json", str(parsed.json)] if parsed.json else []
    command += ["--quick"] if parsed.quick else []
    command += ["--workload", *parsed.workload] if parsed.workload else []
    status = rerun_on_cores([sys.executable, "-m", "jaxphys", *command], parsed.cores)
    if status is not None:
        return status
    jax.config.update("jax_enable_x64", True)
    effort: dict[str, Any] = {"rounds": 3, "seconds": 0.1} if parsed.quick else {}
    report = run_benchmark(parsed.workload, command=["jaxphys", *command], progress=True, **effort)
    print(timings_table(report))
    if parsed.json is not None:
        write_atomically(parsed.json, lambda to: to.write_text(json.dumps(report, indent=1) + "\n"))
    return 0
