"""One direction of data: a module imports only modules above it."""

import ast
from pathlib import Path

import jaxphys

ROOT = Path(jaxphys.__file__).parent
# From the top of the house down; a package stands where its name stands.
ROOMS = (
    "_checks",
    "topology",
    "generators",
    "networks",
    "solvers",
    "equilibrium",
    "tasks",
    "rules",
    "transforms",
    "train",
    "diagnostics",
    "data",
    "io",
    "plots",
    "report",
    "certificate",
    "config",
    "cli",
    "__main__",
)


def room(module):
    """`jaxphys.diagnostics.spectrum` → `diagnostics`."""
    return module.split(".")[1]


def imports(path):
    """Modules of ours that a file imports, wherever in the file it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            # `from jaxphys import x` names a room, or something that `__init__` gathers (its version).
            names = {f"{module}.{alias.name}" for alias in node.names} if module == "jaxphys" else {module}
            found |= {name for name in names if name != "jaxphys.__version__"}
    return {name for name in found if name.startswith("jaxphys.")}


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        if path != ROOT / "__init__.py":
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(("jaxphys", *parts)).removesuffix(".__init__"), path


def test_every_module_has_its_place():
    assert {room(name) for name, _ in modules()} == set(ROOMS)


def test_imports_go_up():
    wrong = []
    for name, path in modules():
        for imported in imports(path):
            below = ROOMS.index(room(imported)) > ROOMS.index(room(name))
            if below:
                wrong.append(f"{name} imports {imported}")
    assert wrong == []


def test_siblings_do_not_import_in_circles():
    arrows = {name: {i for i in imports(path) if room(i) == room(name)} for name, path in modules()}
    done, left = set(), set(arrows)
    while left:
        free = {name for name in left if arrows[name] <= done | {name, ".".join(name.split(".")[:2])}}
        assert free, f"circle among {sorted(left)}"
        done |= free
        left -= free


def test_the_top_level_package_names_what_it_exports():
    assert sorted(jaxphys.__all__) == sorted(set(jaxphys.__all__))
    assert all(hasattr(jaxphys, name) for name in jaxphys.__all__)
