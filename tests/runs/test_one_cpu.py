"""One visible CPU, as containers and batch queues give it: every command comes to its end.

JAX then has a pool of one thread. A routine of LAPACK that runs on it and waits for the pool waits for
itself: in jaxlib 0.9 a batch of singular values, in 0.10 every factorisation (`test_jax_regressions.py`).
"""

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import jaxphys as jp

pytestmark = pytest.mark.float64

PACKAGE = Path(jp.__file__).parent
# Functions of `jnp.linalg` that take singular values.
SINGULAR = {"svd", "svdvals", "pinv", "lstsq", "matrix_rank", "cond"}
CONFIG = """
steps = 20
realizations = 2
record_every = 10
[network]
nodes = 8
[task]
kind = "classification"
train_per_class = 3
"""
ONE_CPU = """
import os, sys
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
from jaxphys import cli
for command in (
    "inspect network.csv --kind flow --draws 19 --out findings",
    "train run.toml --out run",
    "verify --network node",
    "reproduce physical-effects.fig4 --quick --jobs 1 --out figures",
):
    print("begun:", command, flush=True)
    if cli.main(command.split()):
        sys.exit("failed: " + command)
print("done", flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="a process cannot be kept to one CPU here")
def test_commands_end_on_one_cpu(tmp_path):
    random = np.random.default_rng(0)
    ends = [(i, (i + step) % 20) for i in range(20) for step in (1, 7)]
    rows = [f"{a},{b},{k}\n" for (a, b), k in zip(ends, random.lognormal(size=40), strict=True)]
    (tmp_path / "network.csv").write_text("source,target,k\n" + "".join(rows))
    (tmp_path / "run.toml").write_text(CONFIG)
    environment = {name: value for name, value in os.environ.items() if name != "NPROC"}
    environment["PYTHONPATH"] = str(PACKAGE.parent)
    log = tmp_path / "log"
    with log.open("w") as told:
        child = subprocess.Popen(
            [sys.executable, "-c", ONE_CPU], env=environment, cwd=tmp_path, stdout=told, stderr=told
        )
        try:
            status = child.wait(timeout=300)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            status = "no end"
    begun = [line for line in log.read_text().splitlines() if line.startswith("begun:")]
    assert status == 0, f"{status} at {begun[-1:]}: {log.read_text()[-1000:]}"
    assert log.read_text().endswith("done\n")


def test_no_program_takes_singular_values():
    """Those of `jnp.linalg`: on the host, NumPy's are welcome."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in SINGULAR:
                is_on_host = ast.unparse(node.value) in ("np.linalg", "scipy.linalg")
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "jnp.linalg.norm":
                # The norm of a matrix of order 2 takes them, too.
                is_on_host = len(node.args) == 1 and not any(each.arg == "ord" for each in node.keywords)
            else:
                continue
            found += [] if is_on_host else [f"{path}:{node.lineno}"]
    assert not found
