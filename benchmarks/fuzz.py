"""Thousands of drawn networks, tasks, configs and files: does each end right, refused or marked?

Strategies and broken files are those of the tests (`tests/strategies.py`, `outside.py`, `sample_files.py`).
A case that ends otherwise (a silently wrong answer, a traceback, a hang) is printed with all that it takes to
run it again. Cases run in a process of their own, which may die or be killed without ending the others.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
import tomllib
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

# As in the tests: most of the time is compilation.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
os.environ.setdefault("NPROC", "16")

import jax
import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import outside
import sample_files
import strategies
from endings import ended
from hypothesis import HealthCheck, Phase, given, seed, settings
from strategies import File

import jaxphys as jp
from jaxphys.checks.timing import surroundings
from jaxphys.config import dump_config, parse_config
from jaxphys.io import run_dataset, save_run, write_atomically

ENDINGS = ("right", "refused", "marked", "silently wrong", "traceback", "hang")
# The share of all cases that each kind gets.
SHARES = {
    **{"equilibria": 0.2, "tasks": 0.08, "configs": 0.03, "files": 0.42, "runs": 0.03},
    **{"units": 0.06, "headers": 0.08, "formats": 0.06, "calls": 0.04},
}
# Seconds after which a case counts as hanging: longer than compilation on a busy machine.
LIMIT = 120.0
# Compiled programs take memory maps, of which the system allows a limited number.
MOST_COMPILED = 1500


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--cases", type=int, default=10_000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "results" / "fuzz.json")
    options.add_argument("--kinds", nargs="+", default=tuple(SHARES), choices=tuple(SHARES))
    options.add_argument(
        "--limit", type=float, default=LIMIT, help="seconds after which a case counts as hanging"
    )
    parsed = options.parse_args()
    prepare()
    report = surroundings(["python", *sys.argv], parsed.seed)
    report["kinds"], report["bad"] = {}, []
    worker = Worker(parsed.limit)
    strategies_of = cases_of_kinds()
    for kind in parsed.kinds:
        start = time.perf_counter()
        count = max(1, round(SHARES[kind] * parsed.cases))
        endings, bad = soak(strategies_of[kind], count, parsed.seed, worker.end)
        report["kinds"][kind] = {name: endings[name] for name in ENDINGS}
        report["bad"] += [{"kind": kind, **each} for each in bad]
        print(f"{kind}: {dict(endings)} in {time.perf_counter() - start:.0f} s", flush=True)
    worker.close()
    report["cases"] = sum(sum(endings.values()) for endings in report["kinds"].values())
    print(table(report))
    text = json.dumps(report, indent=1) + "\n"
    parsed.json.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(parsed.json, lambda to: to.write_text(text))
    return 1 if report["bad"] else 0


def cases_of_kinds() -> dict[str, Any]:
    """The strategy of every kind."""
    tables = [tomllib.loads(dump_config(parse_config(table))) for table in strategies.small_tables()]
    files, runs = whole_files(tables)
    return {
        "equilibria": strategies.equilibria(),
        "tasks": strategies.learnings(),
        "configs": strategies.tables((*tables, *strategies.small_tables())),
        "files": strategies.files(files, sample_files.mutations),
        "runs": strategies.files(runs, sample_files.mutations),
        "units": outside.netlists(),
        "headers": outside.headers(),
        "formats": outside.written(),
        "calls": outside.calls(),
    }


def soak(
    cases: Any, count: int, number: int, end: Callable[[Any], tuple[str, str]]
) -> tuple[Counter, list[dict]]:
    """How `count` cases end, and a description of each that ended wrongly."""
    endings: Counter = Counter()
    bad: list[dict] = []

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def one(case: Any) -> None:
        ending, reason = end(case)
        endings[ending] += 1
        if reason:
            bad.append({"ending": ending, "reason": reason, "case": repr(case)})
            print(f"{ending}: {reason}\n  {case!r}", flush=True)

    one()
    return endings, bad


def ending_of(case: Any) -> tuple[str, str]:
    """How a case ends, and the reason where that is wrong."""
    try:
        return ended(case), ""
    except AssertionError as error:
        return "silently wrong", str(error) or traceback.format_exc()
    except Exception:
        return "traceback", traceback.format_exc()


class Worker:
    """A process that runs cases; it is replaced if it dies or a case takes longer than `limit` seconds."""

    def __init__(self, limit: float):
        self.limit = limit
        self.process: Any = None

    def end(self, case: Any) -> tuple[str, str]:
        """`ending_of` a case; "hang" if it takes longer than the limit, "traceback" if the process dies."""
        if self.process is None:
            context = multiprocessing.get_context("spawn")
            self.pipe, other = context.Pipe()
            self.process = context.Process(target=work, args=(other,), daemon=True)
            self.process.start()
            other.close()
            self.pipe.recv()  # It has imported what it needs.
        try:
            self.pipe.send(case)
            if self.pipe.poll(self.limit):
                return self.pipe.recv()
            found = "hang", f"no end after {self.limit:g} s"
        except (EOFError, OSError):
            self.process.join(10)
            found = "traceback", f"the process died of {self.process.exitcode}"
        self.close()
        return found

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.pipe.close()
        self.process = None


def work(pipe: Connection) -> None:
    """Run the cases that come through a pipe, and send back how they ended."""
    prepare()
    pipe.send("ready")
    for number in range(sys.maxsize):
        if number % MOST_COMPILED == MOST_COMPILED - 1:
            jax.clear_caches()
        pipe.send(ending_of(pipe.recv()))


def prepare() -> None:
    """The settings of every process."""
    jax.config.update("jax_enable_x64", True)
    warnings.simplefilter("ignore")


def whole_files(tables: list[dict]) -> tuple[tuple[File, ...], tuple[File, ...]]:
    """Valid files of every format that is read; and runs, which are netCDF."""
    with tempfile.TemporaryDirectory() as folder:
        found = [
            File(f"network.{path.name}", path.read_bytes()) for path in sample_files.valid_files(Path(folder))
        ]
    readings = "input,output,response\na,a,0.5\na,b,0.25\nb,a,0.25\nb,b,0.75\n"
    matrix = "node,in,out\nin,1.5,0.25\nout,0.25,2.0\nb,1,2\n"
    found.append(File("measured.a.csv", readings.encode()))
    found.append(File("responses.b.tsv", matrix.replace(",", "\t").encode()))
    with tempfile.TemporaryDirectory() as folder:
        for name, arrays in {
            "responses.c.npz": {"responses": np.eye(3)},
            "measured.d.npy": np.eye(3),
        }.items():
            path = Path(folder) / name
            np.savez(path, **arrays) if isinstance(arrays, dict) else np.save(path, arrays)
            found.append(File(name, path.read_bytes()))
        run = Path(folder) / "run.nc"
        save_run(run_dataset(sample_files.small_run("spring")), run)
        runs = (File("run.a.nc", run.read_bytes()),)
    protein = (Path(jp.__file__).parent / "data" / "ubiquitin.pdb").read_bytes()
    atoms = [line for line in protein.splitlines(keepends=True) if line[12:16].strip() == b"CA"]
    found.append(File("protein.a.pdb", b"".join(atoms[:8])))
    found += [File("config.a.toml", dump_config(parse_config(table)).encode()) for table in tables[:3]]
    return tuple(found), runs


def table(report: dict) -> str:
    """The endings as a Markdown table."""
    lines = ["| kind | cases | " + " | ".join(ENDINGS) + " |", "|---|" + "--:|" * (len(ENDINGS) + 1)]
    totals = Counter()
    for kind, endings in report["kinds"].items():
        totals.update(endings)
        lines.append(
            f"| {kind} | {sum(endings.values())} | " + " | ".join(str(endings[e]) for e in ENDINGS) + " |"
        )
    lines.append(f"| all | {sum(totals.values())} | " + " | ".join(str(totals[e]) for e in ENDINGS) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
