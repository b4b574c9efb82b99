"""The command line; thin.

Exit status: 0 done, 1 a check failed or every network that was trained, 2 the input was wrong, 75 stopped by
SIGTERM with all saved, 130 interrupted.
"""

import argparse
import json
import math
import os
import re
import signal
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from jaxphys._checks import InputError

# Exit status after SIGTERM: all is saved, and the same command with --resume goes on ("try again later" of
# sysexits.h).
_PREEMPTED = 75


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    parsed = _parser().parse_args(arguments)
    try:
        if parsed.run is _train:
            _find_config(parsed)
        with warnings.catch_warnings():
            told: set[str] = set()
            warnings.showwarning = partial(_show_warning, told)
            return parsed.run(parsed)
    except InputError as error:
        print(f"jaxphys: {error}", file=sys.stderr)
        return 2
    except (OSError, MemoryError, OverflowError, RecursionError) as error:
        print(f"jaxphys: {type(error).__name__}: {error}".splitlines()[0], file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("jaxphys: interrupted", file=sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    """Wrong usage is told like any wrong input: one line, exit status 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _output(text: str) -> Path:
    # What a script says with an unset variable; as a path it is the folder in which the command runs.
    if not text.strip():
        raise argparse.ArgumentTypeError("must name where to write, but it is empty")
    return Path(text)


def _find_config(parsed: argparse.Namespace) -> None:
    """Give CONFIG.toml back where `--set`, which takes all that follows, took it: `--set seed=3 C.toml`."""
    if parsed.config is None:
        taken = [item for item in parsed.set if "=" not in item]
        if len(taken) != 1:
            raise InputError("train needs one CONFIG.toml; name it before --set")
        parsed.config = Path(taken[0])
        parsed.set.remove(taken[0])


def _show_warning(told: set[str], message: Warning | str, *_: Any, **__: Any) -> None:
    """One line, once, without the place in the code, which is ours."""
    if str(message) in told:
        return
    told.add(str(message))
    print(f"jaxphys: warning: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="jaxphys",
        description="Simulate physical networks that learn, and read what they learned.",
        epilog="example: jaxphys examples copy iris, then jaxphys train iris.toml --out runs/iris. "
        "Exit status: 0 done, 1 a check failed or every network that was trained, 2 the input was "
        "wrong, 75 stopped by SIGTERM with all saved, 130 interrupted.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
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
    train.add_argument("--out", metavar="DIR", type=_output, help="output folder")
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
    train.set_defaults(run=_train)
    again = commands.add_parser(
        "reproduce",
        help="compute the papers' figures and check their claims",
        description="Compute figures of the papers at their ensemble sizes. Writes a picture and a dataset "
        "for each, claims.json and report.html into the output folder. What is there is kept, so that an "
        "interrupted call goes on. See docs/reproduce.md.",
        epilog="example: jaxphys reproduce physical-effects.fig4 --out runs/paper-a --quick",
    )
    again.add_argument(
        "names", metavar="NAME", nargs="*", help="a figure or a whole paper; everything if left out"
    )
    again.add_argument("--out", metavar="DIR", type=_output, required=True, help="output folder")
    again.add_argument("--quick", action="store_true", help="a tenth of the realizations: a first look")
    again.add_argument("--seed", metavar="N", type=int, default=0, help="of every random draw (default: 0)")
    again.add_argument("--force", action="store_true", help="compute again what is there already")
    again.add_argument(
        "--jobs",
        metavar="N",
        type=int,
        default=min(4, os.cpu_count() or 1),
        help="figures computed side by side (default: as many as cores, at most 4)",
    )
    again.set_defaults(run=_reproduce)
    inspect = commands.add_parser(
        "inspect",
        help="was this network trained, and for what?",
        description="Compare a network that someone else trained or measured with untrained networks made "
        "from it. Writes findings.json, findings.nc, figures/ and report.html into the output folder. FILE "
        "holds a network or measured responses (.csv, .tsv, .json, .graphml, .npz, .npy, run.nc; see "
        "docs/files.md) or a protein (.pdb, .cif).",
        epilog="example: jaxphys inspect network.csv --kind flow --out findings --draws 1000",
    )
    inspect.add_argument("file", metavar="FILE", type=Path, help="what to look at")
    inspect.add_argument("--out", metavar="DIR", type=_output, help="output folder")
    _add_meaning(inspect)
    inspect.add_argument(
        "--matrix",
        metavar="MEANING",
        help="of a square of numbers: responses, adjacency, laplacian or hessian",
    )
    inspect.add_argument(
        "--realization", metavar="N", type=int, help="which network of a run (default: typical)"
    )
    inspect.add_argument(
        "--cutoff",
        metavar="LENGTH",
        type=float,
        help="longest spring of a protein, in angstroms (default: 15)",
    )
    inspect.add_argument(
        "--graph", metavar="FILE", type=Path, help="edges of the flow network whose responses were measured"
    )
    inspect.add_argument(
        "--draws", metavar="N", type=int, default=200, help="of every null model (default: 200)"
    )
    inspect.add_argument(
        "--significance",
        metavar="P",
        type=float,
        default=0.05,
        help="called trained up to it (default: 0.05)",
    )
    inspect.add_argument("--seed", metavar="N", type=int, default=0, help="of the draws (default: 0)")
    inspect.add_argument("--force", action="store_true", help="replace earlier findings in the output folder")
    inspect.add_argument(
        "--json", action="store_true", help="print the findings as JSON; --out may be left out"
    )
    inspect.set_defaults(run=_inspect)
    export = commands.add_parser(
        "export",
        help="write a network for another program",
        description="Write the network of a FILE (a run.nc or any network that inspect reads) as a SPICE "
        "netlist, GraphML, an edge list, JSON or NumPy arrays. A netlist needs sources: a run brings those "
        "of its task, for others say what is held and driven.",
        epilog="examples: jaxphys export runs/a/run.nc --to spice --out a.cir --sample 2; jaxphys export "
        "edges.csv --to spice --hold pump=5 --ground drain --current valve=-0.1",
    )
    export.add_argument("file", metavar="FILE", type=Path, help="what to write anew")
    export.add_argument("--to", metavar="FORMAT", choices=tuple(_SUFFIXES), required=True, help=_FORMATS)
    export.add_argument("--out", metavar="FILE", type=_output, help="where to (default: beside FILE)")
    _add_meaning(export)
    export.add_argument(
        "--realization", metavar="N", type=int, help="which network of a run (default: typical)"
    )
    export.add_argument(
        "--sample", metavar="N", type=int, default=0, help="of a run's task, whose sources drive a netlist"
    )
    for name, metavar, text in (
        ("--hold", "NODE=VOLTS", "nodes that a netlist's voltage sources hold"),
        ("--current", "NODE=AMPERES", "currents into nodes"),
        ("--ground", "NODE", "nodes held at zero"),
    ):
        export.add_argument(name, metavar=metavar, nargs="+", action="extend", default=[], help=text)
    export.add_argument("--force", action="store_true", help="replace a file that is there")
    export.set_defaults(run=_export)
    examples = commands.add_parser(
        "examples",
        help="configs to start from",
        description="List the example configs that come with jaxphys, or copy one to work on.",
        epilog="example: jaxphys examples copy iris",
    )
    examples.add_argument("action", choices=("list", "copy"), nargs="?", default="list", help="default: list")
    examples.add_argument("name", metavar="NAME", nargs="?", help="which one to copy")
    examples.add_argument("--out", metavar="FILE", type=_output, help="where to (default: NAME.toml here)")
    examples.set_defaults(run=_examples)
    completion = commands.add_parser(
        "completion",
        help="let the shell complete commands",
        description="Print what makes a shell complete jaxphys commands. Needs shtab (pip install "
        "'jaxphys[completion]').",
        epilog='example: eval "$(jaxphys completion bash)"',
    )
    completion.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="which shell")
    completion.set_defaults(run=_completion)
    verify = commands.add_parser(
        "verify",
        help="certify gradients on this machine",
        description="Check every rule, network, solver and boundary against automatic differentiation, the "
        "orders in the nudge, the cost Hessian and the spectral laws. Exit status 1 if any check fails.",
        epilog="example: jaxphys verify --network flow 'spring 2-D' --json checks.json",
    )
    verify.add_argument(
        "--network",
        metavar="KIND",
        nargs="+",
        help="only these: node, flow, 'spring 2-D', 'spring 3-D', 'spring vector'",
    )
    verify.add_argument("--json", metavar="FILE", type=_output, help="also write the table as JSON")
    verify.set_defaults(run=_verify)
    bench = commands.add_parser(
        "bench",
        help="time learning steps on this machine",
        description="Time one learning step of fixed workloads, in float64 and float32, beside a NumPy loop, "
        "a SciPy loop and a vmapped jnp.linalg.solve, and measure what the machine can do at best.",
        epilog="example: jaxphys bench --workload W1 W2 --json bench.json",
    )
    bench.add_argument("--json", metavar="FILE", type=_output, help="also write everything measured as JSON")
    bench.add_argument("--quick", action="store_true", help="few short rounds: a look, not a measurement")
    bench.add_argument("--workload", metavar="NAME", nargs="+", help="only these: W1, W2, W3")
    bench.add_argument("--cores", metavar="N", type=int, default=1, help="cores to keep to (default: 1)")
    bench.set_defaults(run=_bench)
    return parser


def _add_meaning(command: argparse.ArgumentParser) -> None:
    """What a user says of a network file that does not say it."""
    command.add_argument("--kind", metavar="KIND", help="flow, spring or node, where the file does not say")
    strengths = command.add_mutually_exclusive_group()
    strengths.add_argument(
        "--values",
        metavar="NAME=MEANING",
        help="which values of edges are their strengths, as in weight=conductance or 'x=resistance (kOhm)'",
    )
    strengths.add_argument("--unweighted", action="store_true", help="take every k for 1")


def _train(parsed: argparse.Namespace) -> int:
    _prepare_devices()
    import jax

    from jaxphys.config import dump_config, parse_config, parse_sweep, read_table
    from jaxphys.training.devices import LocalFailure, ProcessLost, start_processes
    from jaxphys.training.host_loop import Stopped

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
    from jaxphys.io.files import jsonable
    from jaxphys.runs.run import train_into
    from jaxphys.runs.sweep import sweep_into

    if jax.process_index() == 0:
        _warn_of_idle_gpu()
    run = partial(train_into, parsed.out, config) if sweep is None else partial(sweep_into, parsed.out, sweep)
    is_first = jax.process_index() == 0
    begun = f"jaxphys train {parsed.config} --out {parsed.out} --resume"
    with _Interruption() as interruption:
        try:
            summary = run(
                resume=parsed.resume,
                force=parsed.force,
                progress=True,
                stop=interruption.asked,
                tell=partial(print, flush=True, file=sys.stderr if parsed.json else sys.stdout),
                source=source,
            )
        except Stopped:
            if is_first:
                print(f"\nStopped; everything is saved. Go on with: {begun}", file=sys.stderr)
            return interruption.status
        except KeyboardInterrupt:
            if is_first:
                print(f"\nInterrupted; go on with: {begun}", file=sys.stderr)
            return 130
        except LocalFailure as error:
            print(f"jaxphys: {error}", file=sys.stderr, flush=True)
            os._exit(2)
        except ProcessLost:
            print(
                "\nAnother process is gone; everything here is saved. Go on, all together, with: " + begun,
                file=sys.stderr,
                flush=True,
            )
            # A process that leaves in good order waits for all others.
            os._exit(_PREEMPTED)
    if parsed.json and is_first:
        print(json.dumps(jsonable(summary.facts), indent=1, allow_nan=False))
    else:
        for line in summary.lines:
            print(line)
    return 0 if summary.succeeded else 1


# Words of a verdict, and what a terminal shows them in: green, yellow, red.
_PAINT = (
    (r"\bok$|\b\d+ hold\b|^trained\b", 32),
    (r"\b\d+ conditional\b|^unusual\b", 33),
    (r"\bFAILED$|^failed\b|\b\d+ do not hold\b", 31),
)


def _say(text: str) -> None:
    """Print, with the words of verdicts in colour where a person looks at a terminal."""
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb":
        for words, color in _PAINT:
            text = re.sub(words, rf"\033[{color}m\g<0>\033[0m", text, flags=re.MULTILINE)
    print(text, flush=True)


def _prepare_devices() -> None:
    """Before JAX starts: several devices on one CPU need more threads than a small machine gives them."""
    if os.environ.get("JAX_NUM_CPU_DEVICES") or "host_platform_device_count" in os.environ.get(
        "XLA_FLAGS", ""
    ):
        os.environ.setdefault("NPROC", "16")


def _warn_of_idle_gpu() -> None:
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


class _Interruption:
    """Ctrl-C and SIGTERM ask a run to stop when it has saved; a second one stops it at once."""

    def __init__(self) -> None:
        self.status = 0

    def asked(self) -> bool:
        """Whether it should stop."""
        return self.status != 0

    def __enter__(self) -> "_Interruption":
        # Only the main thread may listen; others go on as they are.
        is_main = threading.current_thread() is threading.main_thread()
        names = (signal.SIGINT, signal.SIGTERM) if is_main else ()
        self.before = {name: signal.signal(name, self._hear) for name in names}
        return self

    def __exit__(self, *_: Any) -> None:
        for name, handler in self.before.items():
            signal.signal(name, handler)

    def _hear(self, number: int, _: Any) -> None:
        if self.asked():
            raise KeyboardInterrupt
        self.status = _PREEMPTED if number == signal.SIGTERM else 130
        print("\nSaving; once more stops at once.", file=sys.stderr, flush=True)


def _reproduce(parsed: argparse.Namespace) -> int:
    import jax

    jax.config.update("jax_enable_x64", True)
    from jaxphys.papers import Settings, reproduce

    settings = Settings(scale=0.1 if parsed.quick else 1.0, seed=parsed.seed)
    try:
        reproduce(
            parsed.names, parsed.out, settings, force=parsed.force, jobs=parsed.jobs, tell=_say, progress=True
        )
    except KeyboardInterrupt:
        print("\nInterrupted; the same command goes on with the figures that are not done.", file=sys.stderr)
        return 130
    print(f"open {parsed.out / 'report.html'}")
    return 0


def _inspect(parsed: argparse.Namespace) -> int:
    import jax

    jax.config.update("jax_enable_x64", True)
    from jaxphys.reports.findings_page import (
        check_findings_folder,
        findings_json,
        inspect_file,
        write_findings,
    )

    begin = time.perf_counter()
    if not 19 <= parsed.draws <= 100_000:
        raise InputError(f"--draws {parsed.draws}: must lie between 19 and 100000")
    if parsed.seed < 0:
        raise InputError(f"--seed {parsed.seed}: must be at least 0")
    if parsed.out is None and not parsed.json:
        raise InputError("--out: must name a folder for the findings, unless --json prints them")
    if parsed.out is not None:
        check_findings_folder(parsed.out, force=parsed.force)
    findings = inspect_file(
        parsed.file,
        kind=parsed.kind,
        realization=parsed.realization,
        cutoff=parsed.cutoff,
        graph=parsed.graph,
        values=parsed.values,
        unweighted=parsed.unweighted,
        matrix=parsed.matrix,
        num_null=parsed.draws,
        significance=parsed.significance,
        seed=parsed.seed,
        progress=True,
    )
    source = parsed.file.name
    if parsed.out is not None:
        write_findings(findings, parsed.out, source=source)
    if parsed.json:
        print(findings_json(findings, source=source), end="")
        return 0
    first, second = (findings.labels[node] for node in findings.terminals)
    _say(f"{findings.verdict} (p = {findings.p_value:.3g}): {' '.join(findings.reasons)}")
    if first != second:
        trace = "suspected" if findings.verdict == "trained" else "strongest trace, for what it is worth"
        print(f"{trace}: {first} and {second}")
    print(f"{time.perf_counter() - begin:.1f} s")
    print(f"open {parsed.out / 'report.html'}")
    return 0


def _export(parsed: argparse.Namespace) -> int:
    import jax

    jax.config.update("jax_enable_x64", True)
    from jaxphys.io import export_file

    out = parsed.out or parsed.file.with_suffix(_SUFFIXES[parsed.to])
    if out.exists() and not parsed.force:
        raise InputError(f"--out {out}: is there already; give --force or another name")
    if out.suffix.lower() != _SUFFIXES[parsed.to] and parsed.to != "spice":
        raise InputError(f"--out {out}: must end in {_SUFFIXES[parsed.to]}")
    export_file(
        parsed.file,
        out,
        as_netlist=parsed.to == "spice",
        kind=parsed.kind,
        realization=parsed.realization,
        sample=parsed.sample,
        held=_numbers(parsed.hold, "--hold"),
        currents=_numbers(parsed.current, "--current"),
        ground=parsed.ground,
        values=parsed.values,
        unweighted=parsed.unweighted,
    )
    print(f"wrote {out}")
    return 0


def _examples(parsed: argparse.Namespace) -> int:
    from importlib.resources import files

    # Beside the package in a checkout, within it once installed.
    inside = Path(str(files("jaxphys"))) / "examples"
    folder = inside if inside.is_dir() else inside.parents[1] / "examples"
    known = {path.stem: path for path in sorted(folder.glob("*.toml"))}
    if parsed.action == "list":
        if parsed.name is not None:
            raise InputError(f"examples list takes no name; to copy it: jaxphys examples copy {parsed.name}")
        for name, path in known.items():
            comment = [line[2:] for line in path.read_text("utf-8").splitlines() if line.startswith("# ")]
            print(f"{name}\n    {' '.join(comment)}")
        return 0
    if parsed.name not in known:
        raise InputError(f"examples copy {parsed.name or 'NAME'}: must name one of {', '.join(known)}")
    out = parsed.out or Path(f"{parsed.name}.toml")
    if out.exists():
        raise InputError(f"--out {out}: is there already; remove it or give another name")
    from jaxphys.io import write_atomically

    content = known[parsed.name].read_bytes()
    write_atomically(out, lambda to: to.write_bytes(content))
    print(f"wrote {out}; now: jaxphys train {out} --out runs/{parsed.name}")
    return 0


def _completion(parsed: argparse.Namespace) -> int:
    try:
        import shtab
    except ImportError:
        raise InputError("completion needs shtab: pip install 'jaxphys[completion]'") from None
    print(shtab.complete(_parser(), parsed.shell))
    return 0


_SUFFIXES = {"spice": ".cir", "graphml": ".graphml", "csv": ".csv", "json": ".json", "npz": ".npz"}
_FORMATS = "spice, graphml, csv, json or npz"


def _numbers(items: list[str], option: str) -> dict[str, float]:
    """`NODE=NUMBER` items as a dictionary."""
    found = {}
    for item in items:
        node, _, text = item.rpartition("=")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not node or not math.isfinite(value):
            raise InputError(f"{option} {item}: must be NODE=NUMBER, as in {option} pump=5")
        found[node] = value
    return found


def _verify(parsed: argparse.Namespace) -> int:
    import dataclasses

    import jax

    jax.config.update("jax_enable_x64", True)
    from jaxphys.checks.certificate import certify, format_table
    from jaxphys.io import provenance, write_atomically

    checks = certify(networks=parsed.network, progress=True)
    _say(format_table(checks))
    if parsed.json is not None:
        content = {"provenance": provenance(), "checks": [dataclasses.asdict(check) for check in checks]}
        write_atomically(parsed.json, lambda to: to.write_text(json.dumps(content, indent=1) + "\n"))
    return 0 if all(check.passed for check in checks) else 1


def _bench(parsed: argparse.Namespace) -> int:
    import jax

    from jaxphys.checks.benchmark import check_names, format_table, rerun_on_cores, run_benchmark
    from jaxphys.io import write_atomically

    check_names(parsed.workload or ())
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
    print(format_table(report))
    if parsed.json is not None:
        write_atomically(parsed.json, lambda to: to.write_text(json.dumps(report, indent=1) + "\n"))
    return 0
