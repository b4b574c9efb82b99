"""Time of a learning step on this machine, of its baselines, and the best that the machine can do."""

import contextlib
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from tqdm import tqdm

from jaxphys._checks import require
from jaxphys.checks.baselines import CONTENDERS, Contender, trained
from jaxphys.checks.workloads import WORKLOADS, Workload, check_workloads, workload
from jaxphys.io import provenance
from jaxphys.learning.task import Task
from jaxphys.networks.physics import AbstractNetwork
from jaxphys.solvers import AbstractSolver, BorderedLU, Dense, SparseCholesky, StarMesh, TrackedInverse
from jaxphys.training.solver_choice import choose_solver

Report: TypeAlias = dict[str, Any]
"""What is written as JSON: numbers, texts, and lists and tables of these."""

# Solvers by name, for scripts that compare them.
SOLVERS: dict[str, type[AbstractSolver]] = {
    solver.__name__: solver for solver in (Dense, BorderedLU, StarMesh, TrackedInverse, SparseCholesky)
}


@dataclass(frozen=True)
class Timing:
    """Microseconds per step of all realizations: quartiles over rounds of `steps` steps each."""

    lower: float
    median: float
    upper: float
    steps: int


def interleaved(contenders: Mapping[str, Contender], rounds: int, seconds: float) -> dict[str, Timing]:
    """Time contenders in turn, round after round, so that a drift of the machine's speed affects all alike.

    The time of a step is that of a call of `1 + steps` minus that of a call of one, over `steps`: the cost of
    starting (`train` evaluates its rule once at step 0) drops out.

    **Arguments**

    - `contenders`: by name. `rounds`: how often each is timed.
    - `seconds`: about how long one timing takes, which sets the number of steps.

    **Returns** a `Timing` for each, in microseconds per step.
    """
    steps = {name: _steps_lasting(contender, seconds) for name, contender in contenders.items()}
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            samples[name].append(1e6 * _further(contender, steps[name]) / steps[name])
    timings = {}
    for name, found in samples.items():
        lower, median, upper = map(float, np.quantile(found, (0.25, 0.5, 0.75)))
        timings[name] = Timing(lower, median, upper, steps[name])
    return timings


def _steps_lasting(contender: Contender, seconds: float, most: int = 100_000) -> int:
    contender(1)
    steps = 1
    while (elapsed := _further(contender, steps)) < seconds / 4 and steps < most:
        steps *= 8
    return max(1, min(most, round(steps * seconds / max(elapsed, 1e-9))))


def _further(contender: Contender, steps: int) -> float:
    """Seconds that `steps` take after the first one."""
    first = _elapsed(contender, 1)
    return _elapsed(contender, 1 + steps) - first


def _elapsed(contender: Contender, steps: int) -> float:
    begin = time.perf_counter()
    contender(steps)
    return time.perf_counter() - begin


def compile_seconds(contender: Contender) -> float:
    """Seconds of a contender's first step without compiled programs: plan, trace, compile, run."""
    eqx.clear_caches()
    jax.clear_caches()
    return _elapsed(contender, 1)


def deviations(
    workload: Workload, reference: Workload, solver: AbstractSolver | None = None
) -> dict[str, float]:
    """Largest relative errors against the reference LU.

    **Arguments**

    - `workload`: what is measured. `reference`: the same workload in float64.
    - `solver`: of the workload; None chooses one.

    **Returns** `"update"`, the error of one estimate of ∂C/∂k relative to its largest entry, the worst over
    realizations, and `"k_after_10_steps"`, that of `k` after ten steps of `train`.
    """

    def estimate(workload: Workload, solver: AbstractSolver | None) -> np.ndarray:
        @jax.jit
        def gradients(network: AbstractNetwork, task: Task) -> Array:
            return jax.vmap(lambda n, t: workload.rule(n, t, solver=solver).gradient)(network, task)

        return np.asarray(gradients(workload.network, workload.task), float)

    def worst(actual: np.ndarray, expected: np.ndarray) -> float:
        return float(np.max(np.abs(actual - expected).max(axis=1) / np.abs(expected).max(axis=1)))

    exact = BorderedLU()
    return {
        "update": worst(estimate(workload, solver), estimate(reference, exact)),
        "k_after_10_steps": worst(trained(workload, solver)(10).astype(float), trained(reference, exact)(10)),
    }


def arithmetic(workload: Workload) -> tuple[int, int]:
    """Floating-point operations and bytes of one dense step of all realizations, at least.

    Operations: with m free coordinates, s terminals, o outputs and M edges, `m³/3` for a Cholesky
    factorisation, `2 m² (s + o)` for the solves and `2 M o (s + o)` for the second moments at the edges.
    Bytes: the Hessian written and read, half of it as a factor likewise, the states written and read,
    `k` and the estimate each read and written. Solvers that use sparsity or the factor of the last step need
    less.
    """
    network, task = workload.network, workload.task
    rows, n = task.boundary.rows.shape[1:]
    free, columns, outputs = n - rows, task.force.shape[1] + task.readout.shape[1], task.readout.shape[1]
    edges = network.k.shape[1]
    operations = free**3 // 3 + 2 * free**2 * columns + 2 * edges * outputs * columns
    numbers = 2 * n**2 + free**2 + 2 * n * columns + 4 * edges
    return workload.realizations * operations, workload.realizations * numbers * network.k.dtype.itemsize


def ceilings(seconds: float = 0.5) -> dict[str, float]:
    """The best that this machine does, the fastest of repeats over about `seconds` each.

    Matrix products in 1e9 operations per second: NumPy, 1024 squared; XLA, 50 products 40 squared. Copies in
    1e9 bytes per second, read plus written: 64 MiB, and 128 KiB that stay in cache. The dispatch of a
    compiled function, in microseconds.
    """
    found: dict[str, float] = {}

    def best(call: Callable[[], object]) -> float:
        call()
        times: list[float] = []
        while not times or (sum(times) < seconds and len(times) < 1000):
            begin = time.perf_counter()
            call()
            times.append(time.perf_counter() - begin)
        return min(times)

    def waited(function: Callable[[Array], Array], argument: Array) -> None:
        function(argument).block_until_ready()

    @jax.jit
    def products(matrices: Array) -> Array:
        return jax.lax.fori_loop(0, 100, lambda _, product: matrices @ product, matrices)

    draw = np.random.default_rng(0)
    for dtype in (np.float64, np.float32):
        name = np.dtype(dtype).name
        large = draw.standard_normal((1024, 1024)).astype(dtype)
        found[f"numpy_product_{name}_gflops"] = 2e-9 * 1024**3 / best(partial(np.matmul, large, large))
        # Rotations keep their size however often they are multiplied.
        small = jnp.asarray(np.linalg.qr(draw.standard_normal((50, 40, 40)))[0], dtype)
        elapsed = best(partial(waited, products, small))
        found[f"xla_batched_product_{name}_gflops"] = 2e-9 * 100 * 50 * 40**3 / elapsed
    for name, size in (("memory", 2**26), ("cache", 2**17)):
        source, target = np.ones(size // 8), np.ones(size // 8)
        found[f"{name}_copy_gbytes_per_s"] = 2e-9 * size / best(partial(np.copyto, target, source))
    add, one = jax.jit(lambda x: x + 1), jnp.asarray(1.0)
    found["dispatch_us"] = 1e6 * best(partial(waited, add, one))
    return found


def peak_memory_mib() -> float:
    """The peak memory of this process so far, in MiB; NaN where the system does not report it."""
    try:
        import resource
    except ImportError:
        return math.nan
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / (2**20 if sys.platform == "darwin" else 2**10)


def surroundings(command: Sequence[str], seed: int) -> Report:
    """The head of a report of measurements: date, command, seed, machine and versions.

    **Arguments**

    - `command`: the words of the command that measured. `seed`: of the random numbers.
    """
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
        processor = names[0].split(":", 1)[1].strip() if names else processor
    versions = provenance()
    machine = {
        "processor": processor,
        "device": versions.pop("device"),
        "platform": versions.pop("platform"),
        "cores": os.cpu_count(),
        "cores_used": len(allowed_cores()) or None,
    }
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(command),
        "seed": seed,
        "machine": machine,
        "versions": versions,
    }


def run_benchmark(
    names: Sequence[str] | None = None,
    *,
    command: Sequence[str] = (),
    realizations: int = 50,
    rounds: int = 7,
    seconds: float = 0.5,
    seed: int = 0,
    progress: bool = False,
) -> Report:
    """Measure workloads in float64 and float32 and the machine's ceilings: the report of `jaxphys bench`.

    **Arguments**

    - `names`: workloads, all by default. `command`: the words of the command, for the record.
    - `realizations`: how many networks. `seed`: of the random numbers. `progress`: show a bar.
    - `rounds`, `seconds`: how often each contender is timed, and for about how long each time.

    An entry of `"workloads"` is that of `measure` in float64, with the same in float32 under `"float32"`.
    Needs `jax_enable_x64`. Raises `InputError` on another name.
    """
    chosen = tuple(WORKLOADS) if names is None else tuple(names)
    check_workloads(chosen)
    report = surroundings(command, seed)
    limits = ceilings(seconds)
    entries: Report = {}
    with tqdm(total=2 * len(chosen), disable=not progress, unit="workload", leave=False) as bar:
        for name in chosen:
            double = workload(name, realizations=realizations, seed=seed)
            for dtype in (np.float64, np.float32):
                bar.set_postfix_str(f"{name} {np.dtype(dtype).name}")
                found = workload(name, realizations=realizations, dtype=dtype, seed=seed)
                entry = measure(found, double, limits, rounds=rounds, seconds=seconds)
                if name in entries:
                    entries[name][entry["dtype"]] = entry
                else:
                    entries[name] = entry
                bar.update()
    return {
        **report,
        "ceilings": limits,
        "workloads": entries,
        "peak_memory_mib_of_process": peak_memory_mib(),
    }


def measure(
    workload: Workload,
    reference: Workload,
    limits: Mapping[str, float],
    *,
    rounds: int = 7,
    seconds: float = 0.5,
) -> Report:
    """Time a workload and its baselines side by side, and compare its numbers with a reference.

    **Arguments**

    - `workload`: what is timed. `reference`: the same workload in float64.
    - `limits`: the machine's `ceilings`.
    - `rounds`, `seconds`: how often each contender is timed, and for about how long each time.

    **Returns** times in microseconds per step of all realizations, medians; `ratio`, that of the NumPy loop
    over ours; `compile_s`, the time of the very first step; `max_rel_error`, the larger of the `deviations`;
    and fractions, the counts of `arithmetic` per time over `limits`.
    """
    contenders = {name: make(workload) for name, make in CONTENDERS.items()}
    seconds_compiling = compile_seconds(contenders["jaxphys"])
    solver = choose_solver(workload.network, workload.task, workload.optimizer)
    errors = deviations(workload, reference, solver)
    timings = interleaved(contenders, rounds, seconds)
    ours, loop = timings["jaxphys"].median, timings["numpy_loop"].median
    operations, moved = arithmetic(workload)
    dtype = workload.network.k.dtype.name
    return {
        "dtype": dtype,
        "solver": type(solver).__name__,
        "us_per_step": ours,
        **{f"us_per_step_{name}": timings[name].median for name in CONTENDERS if name != "jaxphys"},
        "ratio": loop / ours,
        "compile_s": seconds_compiling,
        "max_rel_error": max(errors.values()),
        "errors": errors,
        "quartiles_us": {name: [timing.lower, timing.upper] for name, timing in timings.items()},
        "steps_per_round": {name: timing.steps for name, timing in timings.items()},
        "rounds": rounds,
        "realizations": workload.realizations,
        "dense_operations_per_step": operations,
        "dense_bytes_per_step": moved,
        "fraction_of_matrix_product": 1e-3 * operations / ours / limits[f"numpy_product_{dtype}_gflops"],
        "fraction_of_memory_copy": 1e-3 * moved / ours / limits["memory_copy_gbytes_per_s"],
    }


def timings_table(report: Report) -> str:
    """The report of `run_benchmark` as text, on one screen."""
    machine = report["machine"]
    lines = [
        f"{machine['processor']}, {machine['cores_used']} of {machine['cores']} cores; "
        f"times are for one step of all realizations",
        "",
        f"{'':3}{'dtype':>9}{'solver':>16}{'µs/step':>12}{'quartiles':>19}{'numpy':>8}{'scipy':>8}"
        f"{'vmap':>8}{'compile':>9}{'error':>9}{'of peak':>9}",
    ]
    for name, double in report["workloads"].items():
        for entry in (double, double["float32"]):
            lower, upper = entry["quartiles_us"]["jaxphys"]
            ours = entry["us_per_step"]
            ratios = [entry[f"us_per_step_{other}"] / ours for other in CONTENDERS if other != "jaxphys"]
            lines.append(
                f"{name:3}{entry['dtype']:>9}{entry['solver']:>16}{ours:12,.0f}"
                f"{f'{lower:,.0f} … {upper:,.0f}':>19}"
                + "".join(f"{f'× {ratio:.1f}':>8}" for ratio in ratios)
                + f"{entry['compile_s']:8.1f}s{entry['max_rel_error']:9.0e}"
                + f"{entry['fraction_of_matrix_product']:>9.0%}"
            )
    ceilings = report["ceilings"]
    lines += [
        "",
        "numpy, scipy, vmap: time of a NumPy loop, a SciPy loop and a vmapped jnp.linalg.solve over ours",
        "of peak: operations of a dense Cholesky step over what a matrix product does in that time",
        f"matrix product {ceilings['numpy_product_float64_gflops']:.0f} (float64) and "
        f"{ceilings['numpy_product_float32_gflops']:.0f} (float32) Gflop/s, batched 40² in XLA "
        f"{ceilings['xla_batched_product_float64_gflops']:.0f} and "
        f"{ceilings['xla_batched_product_float32_gflops']:.0f}",
        f"copy {ceilings['memory_copy_gbytes_per_s']:.0f} GB/s in memory, "
        f"{ceilings['cache_copy_gbytes_per_s']:.0f} in cache; dispatch {ceilings['dispatch_us']:.1f} µs; "
        f"peak memory of the process {report['peak_memory_mib_of_process']:,.0f} MiB",
    ]
    return "\n".join(lines)


# Variables that numerical libraries read once, when they are loaded.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def rerun_on_cores(command: Sequence[str], cores: int) -> int | None:
    """Run `command` in a process restricted to so many cores, and return its exit status.

    Returns None, and runs nothing, if this process is already restricted to them: then the caller goes on. A
    new process is needed because threads of numerical libraries start when these are loaded. Where the system
    cannot pin a process, only the number of threads of the libraries is limited.

    **Arguments**

    - `command`: the words of the command. `cores`: how many.

    Raises `InputError` unless `cores` is positive.
    """
    require(cores > 0, "cores", "be positive", f"it is {cores}")
    limited = {name: str(cores) for name in THREAD_VARIABLES}
    allowed = allowed_cores()
    if limited.items() <= os.environ.items() and len(allowed) <= cores:
        return None
    environment = {**os.environ, **limited}
    if not allowed:
        return subprocess.run(command, env=environment).returncode
    # A child inherits what its parent may use.
    os.sched_setaffinity(0, allowed[:cores])
    try:
        return subprocess.run(command, env=environment).returncode
    finally:
        os.sched_setaffinity(0, allowed)


def allowed_cores() -> list[int]:
    """Cores that this process may use; empty where the system does not report them."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
