"""Whether jaxphys works with every dependency at its lowest allowed version, or at the newest.

    python tests/dependency_bounds.py lowest
    python tests/dependency_bounds.py newest --python python3.13 --out table.json

Builds jaxphys, installs it into a fresh environment in a temporary folder, with what it names in
pyproject.toml (the extras `flow`, `dimension` and `proteins` too, tools for tests not) at the bound, and runs
a short selection of tests on the installed package. Prints a table of versions; exit status 1 if a test
failed. Needs Python 3.11 and a package index.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# Closed forms, solvers with their derivatives, training, every file format, and whole runs by command.
SELECTION = (
    "tests/solvers/test_jax_regressions.py",
    "tests/equilibrium/test_analytic.py",
    "tests/equilibrium/test_equilibrium.py",
    "tests/training/test_train.py::test_a_failure_is_isolated",
    "tests/training/test_train.py::test_training_is_plain_descent",
    "tests/io/test_round_trips.py",
    "tests/io/test_network_files.py",
    "tests/diagnostics/test_dimension.py",
    "tests/networks/test_proteins.py",
    "tests/training/test_gradient_flow.py::test_a_flow_in_closed_form",
    "tests/cli/test_cli.py::test_train_writes_a_whole_run",
    "tests/cli/test_inspect.py::test_findings_are_written_once_and_replaced_only_by_force",
)
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?:\[[\w,]+\])?\s*(?P<bounds>.*)")


def requirements(project: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and lowest version of all that jaxphys names, but for GPUs and tools for tests."""
    extras = project["optional-dependencies"]
    for line in (*project["dependencies"], *extras["flow"], *extras["dimension"], *extras["proteins"]):
        found = _REQUIREMENT.fullmatch(line)
        lowest = found and re.search(r">=\s*([\w.]+)", found["bounds"])
        if not found or not lowest:
            sys.exit(f"pyproject.toml: {line!r} must say its lowest version, as in numpy>=2.0")
        yield found["name"], lowest[1]


def main() -> int:
    """Install, test, tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bound", choices=("lowest", "newest"))
    parser.add_argument("--python", default=sys.executable, help="interpreter (default: this one)")
    parser.add_argument("--out", type=Path, help="JSON file in which to replace the entry of this bound")
    parsed = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lowest = dict(requirements(project))
    with tempfile.TemporaryDirectory() as folder:
        python = _installed(Path(folder), parsed.python, lowest if parsed.bound == "lowest" else {})
        version, versions = _versions(python, [*lowest, "jaxlib"])
        print(f"python {version}")
        for name, found in versions.items():
            print(f"{name:18} {lowest.get(name, ''):10} {found}")
        # Old libraries warn of what newer ones below them say; that is no fault of ours.
        options = ["-W", "default"] if parsed.bound == "lowest" else []
        counts, failed = _tested(Path(folder), python, options)
    print(counts)
    if parsed.out is not None:
        report = json.loads(parsed.out.read_text(encoding="utf-8")) if parsed.out.exists() else {}
        report[parsed.bound] = {
            "python": version,
            "platform": platform.platform(),
            "versions": versions,
            "selection": SELECTION,
            "tests": counts,
        }
        parsed.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return failed


def _installed(folder: Path, python: str, pinned: dict[str, str]) -> Path:
    """The interpreter of a fresh environment with jaxphys in it, and with some packages at one version."""
    subprocess.run([python, "-m", "venv", folder / "venv"], check=True)
    inside = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    constraints = folder / "constraints.txt"
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in pinned.items()))
    command = [inside, "-m", "pip", "install", "-qq", "--upgrade", "-c", constraints, f"{ROOT}[test]"]
    subprocess.run(command, check=True)
    return inside


def _versions(python: Path, names: list[str]) -> tuple[str, dict[str, str]]:
    """Versions of the interpreter and of installed packages."""
    code = (
        "import json, platform, sys; from importlib.metadata import version; "
        "print(json.dumps([platform.python_version(), {name: version(name) for name in sys.argv[1:]}]))"
    )
    done = subprocess.run([python, "-c", code, *names], check=True, capture_output=True, text=True)
    version, versions = json.loads(done.stdout)
    return version, versions


def _tested(folder: Path, python: Path, options: list[str]) -> tuple[str, bool]:
    """The last line of pytest without its time, and whether a test failed."""
    # Not `-m pytest`, which would put the checkout before the installed package.
    command = [python.with_name("pytest"), "-q", "-p", "no:cacheprovider", f"--basetemp={folder / 'tests'}"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [*command, *options, *SELECTION], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        print(done.stdout[-10_000:], done.stderr[-2000:], sep="\n")
    last = (done.stdout.splitlines() or ["pytest did not start"])[-1]
    return last.partition(" in ")[0], done.returncode != 0


if __name__ == "__main__":
    sys.exit(main())
