"""Seconds and memory from a large netlist to its voltages, solved once; every case in a process of its own.

Memory is the peak of the process beyond what it took after the import of jaxphys.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

from jaxphys.checks.timing import peak_memory_mib, surroundings
from jaxphys.io import read_netlist, write_atomically


def chain(nodes: int) -> Iterator[str]:
    """Equal resistors in series between a voltage source and ground."""
    yield "V0 n0 0 1"
    for i in range(nodes - 2):
        yield f"R{i} n{i} n{i + 1} 1k"
    yield f"R n{nodes - 2} 0 1k"


def grid(side: int) -> Iterator[str]:
    """A square of resistors between a held corner, a held drop and ground."""
    draw = np.random.default_rng(0)
    yield "V0 n0_0 0 5"
    yield f"V1 n{side - 1}_{side - 1} n0_{side - 1} 1"
    yield f"R n{side - 1}_0 0 1k"
    for i in range(side):
        for j in range(side - 1):
            yield f"Ra{i}_{j} n{i}_{j} n{i}_{j + 1} {draw.uniform(1, 10)}k"
            yield f"Rb{i}_{j} n{j}_{i} n{j + 1}_{i} {draw.uniform(1, 10)}k"


def ladder(sources: int) -> Iterator[str]:
    """A row of resistors, with a voltage source of its own at every node."""
    for i in range(sources):
        yield f"V{i} s{i} 0 {i % 7}"
        yield f"Rs{i} s{i} n{i} 1k"
        yield f"R{i} n{i} n{i + 1} 2k"
    yield f"R n{sources} 0 1k"


def random(nodes: int) -> Iterator[str]:
    """Twice as many resistors as nodes, between random nodes, so that a factorisation fills in."""
    draw = np.random.default_rng(0)
    yield "V0 n0 0 1"
    yield "R n5 0 1"
    for i in range(1, nodes):
        yield f"Rt{i} n{i} n{draw.integers(i)} {draw.uniform(0.5, 2)}"
        yield f"Rx{i} n{i} n{draw.integers(nodes)} {draw.uniform(0.5, 2)}"


CASES = {
    "chain of 10 001 nodes": lambda: chain(10_001),
    "chain of 19 000 nodes": lambda: chain(19_000),
    "grid of 100 by 100, 2 sources": lambda: grid(100),
    "ladder of 3 000 voltage sources": lambda: ladder(3000),
    "random graph of 19 000 nodes": lambda: random(19_000),
}


def measure(case: str) -> dict[str, float | str]:
    """Read and solve a case in this process."""
    jax.config.update("jax_enable_x64", True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.cir"
        path.write_text("\n".join([case, *CASES[case](), ".op", ".end", ""]))
        before, start, cpu = peak_memory_mib(), time.perf_counter(), time.process_time()
        circuit = read_netlist(path)
        read = time.perf_counter() - start
        state = circuit.equilibrate()
        state.x.block_until_ready()
        return {
            "seconds_to_read": read,
            "seconds": time.perf_counter() - start,
            "seconds_of_cpu": time.process_time() - cpu,
            "mib": peak_memory_mib() - before,
            "residual": float(state.residual),
            "status": int(state.status),
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=CASES, help="measure this one in this process, and print it")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/netlists.json"))
    parsed = parser.parse_args()
    if parsed.case is not None:
        print(json.dumps(measure(parsed.case)))
        return 0
    found = {}
    for case in CASES:
        command = [sys.executable, __file__, "--case", case]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found[case] = json.loads(printed)
        print(f"{case}: {found[case]['seconds']:.2f} s, {found[case]['mib']:.0f} MiB")
    text = json.dumps({**surroundings(sys.argv, 0), "cases": found}, indent=1)
    write_atomically(parsed.out, lambda to: to.write_text(text + "\n"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
