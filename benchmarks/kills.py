"""Kill training at random moments and check that nothing is lost: `python benchmarks/kills.py --kills 200`.

A run of `jaxphys train` is killed (SIGKILL) repeatedly, at moments drawn over its whole length: during
set-up, training, checkpoints, and while results of blocks are written and joined. Each time it is resumed,
until it ends by itself; then its `run.nc` must equal that of an undisturbed run, bit by bit, and no partial
file may be left.

Children are forked from a process that has imported everything and has started no thread of JAX, so that a
kill costs a second.
"""

import argparse
import collections
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

CONFIG = """
seed = 3
realizations = 6
steps = 400
block = 2
checkpoint_seconds = 0.0
record = []
[network]
nodes = 5
[task]
kind = "random_linear"
[optimizer]
kind = "momentum"
rate = 1e-3
noise = 1e-4
"""
# Stages of a run, by what its folder holds once the process is gone.
_MOMENTS = ("before anything", "before a checkpoint", "with checkpoints", "with blocks", "while it ends")


def child(config: Path, out: Path, cache: Path) -> int:
    """Fork a process that trains, or resumes where `out` exists; returns its process id."""
    number = os.fork()
    if number:
        return number
    status = 70
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        log = open(out.with_suffix(".log"), "w")  # noqa: SIM115
        os.dup2(log.fileno(), 2)
        import jax

        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
        from jaxphys import cli

        resume = ["--resume"] if out.exists() else []
        status = cli.main(["train", str(config), "--out", str(out), *resume])
    finally:
        os._exit(status)


def moment(out: Path) -> str:
    """The stage that a run had reached."""
    if not (out / "config.toml").exists():
        return _MOMENTS[0]
    if (out / "run.nc").exists():
        return _MOMENTS[4]
    if any((out / "blocks").glob("*.nc")):
        return _MOMENTS[3]
    return _MOMENTS[2] if any((out / "checkpoints").glob("*.ckpt")) else _MOMENTS[1]


def same_numbers(one: Path, other: Path) -> bool:
    """Whether two runs hold the same numbers, to the last bit."""
    import xarray as xr

    with xr.open_dataset(one, engine="h5netcdf") as a, xr.open_dataset(other, engine="h5netcdf") as b:
        return set(a.variables) == set(b.variables) and all(
            a[name].values.tobytes() == b[name].values.tobytes() for name in a.variables
        )


def run_kills(kills: int, seed: int, folder: Path, *, progress: bool = False) -> dict[str, Any]:
    """Kill runs `kills` times; returns how many kills fell on which stage, and how many were recovered."""
    random = np.random.default_rng(seed)
    config, cache, whole = folder / "run.toml", folder / "cache", folder / "whole"
    config.write_text(CONFIG)
    durations = []
    for _ in range(2):  # The second finds compiled programs, as all others do.
        shutil.rmtree(whole, ignore_errors=True)
        begin = time.perf_counter()
        _, status = os.waitpid(child(config, whole, cache), 0)
        durations.append(time.perf_counter() - begin)
        if status:
            raise RuntimeError(f"the undisturbed run failed:\n{whole.with_suffix('.log').read_text()}")
    moments: collections.Counter[str] = collections.Counter()
    killed = recovered = runs = since = 0
    failures = []
    out = folder / "disturbed"
    while killed < kills or since:
        number = child(config, out, cache)
        if killed < kills:
            # Every other kill comes early, so that many fall on one run.
            span = durations[-1] * (0.4 if killed % 2 else 1.05)
            deadline = time.perf_counter() + random.uniform(0.02, 1.0) * span
            while time.perf_counter() < deadline and os.waitpid(number, os.WNOHANG) == (0, 0):
                time.sleep(0.002)
        try:
            if killed < kills:
                os.kill(number, signal.SIGKILL)
            _, status = os.waitpid(number, 0)
        except (ProcessLookupError, ChildProcessError):
            status = 0  # It had ended before.
        if os.WIFSIGNALED(status):
            killed, since = killed + 1, since + 1
            moments[moment(out)] += 1
            if progress:
                print(
                    f"\r{killed} of {kills} killed, {runs} runs at their end",
                    end="",
                    file=sys.stderr,
                    flush=True,
                )
            continue
        runs += 1
        problems = problems_of(out, whole)
        recovered += 0 if problems else since
        failures += problems
        since = 0
        shutil.rmtree(out, ignore_errors=True)
    return {
        "kills": killed,
        "recovered": recovered,
        "runs": runs,
        "moments": {name: moments[name] for name in _MOMENTS if moments[name]},
        "seconds of a run": round(durations[-1], 2),
        "failures": failures,
    }


def problems_of(out: Path, whole: Path) -> list[str]:
    """What is wrong with a run that has ended, one text each."""
    if not (out / "run.nc").exists():
        return [f"no run.nc: {out.with_suffix('.log').read_text()[-500:]}"]
    problems = [] if same_numbers(out / "run.nc", whole / "run.nc") else ["other numbers"]
    left = {path.name for path in out.rglob("*")} - {path.name for path in whole.rglob("*")}
    return problems + [f"left behind: {name}" for name in sorted(left)]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parsed = parser.parse_args()
    # Imports everything before the first fork, and starts nothing.
    from jaxphys.io import provenance

    with tempfile.TemporaryDirectory() as folder:
        table = run_kills(parsed.kills, parsed.seed, Path(folder), progress=True)
    command = f"python benchmarks/kills.py --kills {parsed.kills} --seed {parsed.seed}"
    report = {"command": command, **table, "provenance": provenance()}
    print(json.dumps(report, indent=1))
    if parsed.json is not None:
        parsed.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if table["recovered"] == table["kills"] else 1


if __name__ == "__main__":
    sys.exit(main())
