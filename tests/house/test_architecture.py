"""One direction of data: a module imports only what stands above it."""

import ast
import graphlib
import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import jaxphys

# The same in either precision.
pytestmark = pytest.mark.float64

PAGE = Path(__file__).resolve().parents[2] / "docs" / "architecture.md"


def rooms(page):
    """Names of files and packages in the table of the page, from the top down."""
    rows = re.findall(r"^\| `(\w+)(?:\.py|/)` \|", page, re.MULTILINE)
    assert len(set(rows)) == len(rows)
    return rows


ORDER = rooms(PAGE.read_text(encoding="utf-8"))


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
            if len(parts) == 1 or parts[1] not in order:
                complaints.append(f"{name} imports {target} through the package itself")
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


def test_every_room_has_a_row():
    root = Path(jaxphys.__file__).parent
    found = {path.stem for path in root.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert found - {"__init__"} == set(ORDER)


@pytest.mark.parametrize(
    ("file", "source", "complaint"),
    [
        ("networks/topology.py", "from jaxphys.training.steps import start", "which stands below it"),
        ("networks/topology.py", "import jaxphys.training", "which stands below it"),
        ("networks/topology.py", "def late():\n    from jaxphys import training", "which stands below it"),
        ("networks/topology.py", "from ..training import train", "which stands below it"),
        ("solvers/bordered.py", "from ..equilibrium import State", "which stands below it"),
        ("networks/topology.py", "from jaxphys import Run", "through the package itself"),
        ("networks/topology.py", "from jaxphys import __version__", "through the package itself"),
        ("networks/topology.py", "import jaxphys", "through the package itself"),
        ("attic.py", "", "has no place"),
        ("solvers/schur.py", "from jaxphys.solvers.bordered import x", "circle"),
    ],
)
def test_wrong_arrows_are_found(tmp_path, file, source, complaint):
    """Whatever way they are written."""
    root = tmp_path / "jaxphys"
    for room in ("networks", "solvers", "training"):
        (root / room).mkdir(parents=True)
    (root / "_checks.py").write_text("import numpy")
    text = "from jaxphys._version import __version__\nfrom jaxphys._checks import require"
    (root / "training" / "steps.py").write_text(text)
    (root / "solvers" / "bordered.py").write_text("from jaxphys.solvers import schur")
    assert violations(root, ORDER) == []
    (root / file).write_text(source)
    found = violations(root, ORDER)
    assert len(found) == 1
    assert complaint in found[0]


def test_no_module_hides_a_function():
    """What a package exports is that, and no module of the same name, whatever was imported before."""
    root = Path(jaxphys.__file__).parent
    for package in (root, *(path.parent for path in root.glob("*/__init__.py"))):
        found = importlib.import_module(".".join(["jaxphys", *package.relative_to(root).parts]))
        inside = {path.stem for path in package.glob("*.py")} | {path.name for path in package.glob("*/")}
        hidden = {
            name
            for name in inside & set(getattr(found, "__all__", []))
            if not isinstance(getattr(found, name), ModuleType)
        }
        assert not hidden, found.__name__


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
