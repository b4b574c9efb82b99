"""One direction of data: a module imports only what stands above it."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import jaxphys

# The same in either precision.
pytestmark = pytest.mark.float64

# From the top down; a package stands where its name stands. `__main__` is the door to the command line.
ORDER = [
    "_checks",
    "topology",
    "generators",
    "packings",
    "networks",
    "proteins",
    "solvers",
    "equilibrium",
    "tasks",
    "concerns",
    "tracking",
    "rules",
    "transforms",
    "flow",
    "levenberg_marquardt",
    "parallel",
    "planning",
    "programs",
    "identity",
    "checkpoints",
    "steps",
    "waves",
    "arguments",
    "train",
    "diagnostics",
    "inspection",
    "data",
    "io",
    "plots",
    "replay",
    "interactive",
    "report",
    "findings_plots",
    "findings_report",
    "experiments",
    "certificate",
    "benchmark",
    "config",
    "block_folder",
    "run_folder",
    "sweep_folder",
    "cli",
    "__main__",
]
# What modules may take from the package itself; all else there would drag everything in.
FACTS = {"__version__"}


def modules(root):
    """Name → file of every module under a package, `__init__` files exempt."""
    files = (path for path in sorted(root.rglob("*.py")) if path.name != "__init__.py")
    return {".".join(path.relative_to(root.parent).with_suffix("").parts): path for path in files}


def imported(name, path, package):
    """Every name of the package that a module imports, wherever in the file it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = name.split(".")[: -node.level] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            found |= {f"{source}.{alias.name}" for alias in node.names}
    return {each for each in found if each.split(".")[0] == package}


def violations(root, order):
    """What the order of modules does not allow, one sentence each."""
    package, complaints, siblings = root.name, [], {}
    for name, path in modules(root).items():
        room = name.split(".")[1]
        if room not in order:
            complaints.append(f"{name} has no place in the order")
            continue
        for target in sorted(imported(name, path, package)):
            parts = target.split(".")
            if len(parts) == 1 or (parts[1] not in order and parts[1] not in FACTS):
                complaints.append(f"{name} imports {target} through the package itself")
            elif parts[1] in FACTS:
                continue
            elif parts[1] == room:
                arrows = siblings.setdefault(room, {}).setdefault(name, set())
                arrows |= {other for other in modules(root) if target.startswith(other) and other != name}
            elif order.index(parts[1]) > order.index(room):
                complaints.append(f"{name} imports {target}, which stands below it")
    for room, arrows in siblings.items():
        try:
            graphlib.TopologicalSorter(arrows).prepare()
        except graphlib.CycleError as error:
            complaints.append(f"{room} has a circle: {' → '.join(error.args[1])}")
    return complaints


def test_every_import_points_up():
    root = Path(jaxphys.__file__).parent
    assert len(modules(root)) > 10
    assert violations(root, ORDER) == []


@pytest.mark.parametrize(
    ("file", "source", "complaint"),
    [
        ("topology.py", "from jaxphys.train import train", "which stands below it"),
        ("topology.py", "import jaxphys.train", "which stands below it"),
        ("topology.py", "def late():\n    from jaxphys import train", "which stands below it"),
        ("topology.py", "from .train import train", "which stands below it"),
        ("solvers/bordered.py", "from ..equilibrium import State", "which stands below it"),
        ("topology.py", "from jaxphys import Run", "through the package itself"),
        ("topology.py", "import jaxphys", "through the package itself"),
        ("attic.py", "", "has no place"),
        ("solvers/schur.py", "from jaxphys.solvers.bordered import x", "circle"),
    ],
)
def test_wrong_arrows_are_found(tmp_path, file, source, complaint):
    """Whatever way they are written."""
    root = tmp_path / "jaxphys"
    (root / "solvers").mkdir(parents=True)
    (root / "_checks.py").write_text("import numpy")
    (root / "train.py").write_text("from jaxphys import __version__\nfrom jaxphys._checks import require")
    (root / "solvers" / "bordered.py").write_text("from jaxphys.solvers import schur")
    assert violations(root, ORDER) == []
    (root / file).write_text(source)
    found = violations(root, ORDER)
    assert len(found) == 1
    assert complaint in found[0]


def offered(source):
    """The names in a module's `__all__`, as written."""
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", None) == "__all__":
            return [element.value for element in statement.value.elts]
    return []


def test_modules_export_what_they_name_once():
    lists = {path: offered(path.read_text()) for path in Path(jaxphys.__file__).parent.rglob("*.py")}
    assert sum(map(bool, lists.values())) > 5
    for path, names in lists.items():
        assert len(set(names)) == len(names), path
    for name in jaxphys.__all__:
        assert hasattr(jaxphys, name)
    assert offered('__all__ = ["a", "b", "a"]') == ["a", "b", "a"]


def test_what_takes_long_to_import_is_imported_late():
    """`import jaxphys` takes hardly longer than what it stands on: JAX, Equinox and Optax."""
    late = ("diffrax", "h5py", "matplotlib", "networkx", "pandas", "plotly", "scipy.sparse", "xarray")
    code = f"import sys, jaxphys; print(*(name for name in {late} if name in sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
