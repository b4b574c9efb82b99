"""How tests are written: what they share lies in modules of their own, and they use no private names."""

import ast
from pathlib import Path

import pytest

pytestmark = pytest.mark.float64

ROOT = Path(__file__).resolve().parents[2]
# Underscores that do not mean private: methods of named tuples, and the end of a process.
PUBLIC = {"_replace", "_asdict", "_fields", "_make", "_exit"}
# Functions that take names of attributes as text.
PATCHING = ("setattr", "getattr", "delattr", "hasattr")


def is_private(name):
    """Whether a dotted name has a private part."""
    parts = name.split(".")
    return any(part.startswith("_") and not part.endswith("__") and part not in PUBLIC for part in parts)


def complaints(source):
    """What a test, or a module that tests share, must not do; one sentence each."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls"):
            names = [node.attr]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in PATCHING:
            texts = (each.value for each in node.args[:2] if isinstance(each, ast.Constant))
            names = [text for text in texts if isinstance(text, str)]
        else:
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            found += [
                f"line {node.lineno} imports from the test module {name}"
                for name in names
                if any(part.startswith("test_") for part in name.split("."))
            ]
        found += [f"line {node.lineno} uses the private {name}" for name in names if is_private(name)]
    return found


FILES = [path for folder in ("tests", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]


def test_tests_share_by_modules_and_use_public_names():
    assert len(FILES) > 60
    found = {
        str(path.relative_to(ROOT)): wrong
        for path in FILES
        if (wrong := complaints(path.read_text(encoding="utf-8")))
    }
    assert not found


@pytest.mark.parametrize(
    ("source", "saying"),
    [
        ("from test_cli import CONFIG", "test module test_cli.CONFIG"),
        ("import test_cli", "test module test_cli"),
        ("from tests.cli.test_cli import CONFIG", "test module"),
        ("from jaxphys.config._build import build", "private jaxphys.config._build.build"),
        ("from jaxphys.io.runs import _Rows", "private jaxphys.io.runs._Rows"),
        ("import jaxphys._checks", "private jaxphys._checks"),
        ("programs._kept.clear()", "private _kept"),
        ("monkeypatch.setattr(programs, '_MOST', 3)", "private _MOST"),
        ("monkeypatch.setattr('jaxphys.io.runs._MOST', 3)", "private jaxphys.io.runs._MOST"),
        ("getattr(programs, '_kept')", "private _kept"),
    ],
)
def test_other_ways_are_found(source, saying):
    (found,) = complaints(source)
    assert saying in found


def test_what_is_public_is_allowed():
    source = "import numpy\nfrom helpers import ulps\npair._replace(a=1)\nself._kept = f.__wrapped__\n"
    assert complaints(source + "monkeypatch.setattr(sys.stdout, 'isatty', print)\nos._exit(0)") == []
