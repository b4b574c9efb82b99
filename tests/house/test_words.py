"""One word for one thing: sources by authors and year, names defined once, docstrings that stand alone."""

import ast
import enum
import importlib
import inspect
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

import jaxphys

# The same in either precision.
pytestmark = pytest.mark.float64

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(jaxphys.__file__).parent
SOURCES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}

# Phrases of text → what stands for them now.
PHRASES = {
    r"\bpapers? [AB]\b": "Stern et al. (2023), or Guzman et al. (2024), with the equation or figure",
    r"\buntold\b": "without it, or unless it is given",
    r"\bwhoever\b": "the caller, or who it is",
}

# Names that code had → what they are called now.
FORMER = {
    "Walker": "TrainState",
    "Learner": "StepInputs",
    "_Walk": "BlockLoop, or what it walks over",
    "Course": "Plan",
    "RefusedAlone": "LocalFailure",
    "leave_processes": "shut_down",
    "is_told_apart": "is_classification",
    "told": "known, described, or what it holds",
    "heard": "global_values",
    "begun": "started",
}

# Public names that several modules define → why. Each module has its own meaning of nothing else.
SHARED = {
    "add": "every command of the command line adds its parser",
    "run": "every command of the command line runs",
}
# Modules whose public names follow those of another module → why.
FOLLOWERS = {
    "config/schema.py": "a table of the configuration is called as the class that it makes",
    "reports/interactive.py": "an interactive plot is called as the static one",
}
# The folder of a paper is a leaf: nothing imports from it, and the other paper may use the same names.
LEAF = re.compile(r"papers/\w+/")


def texts():
    """Every file of the project that people read, by its path: code, pages, examples, notebooks."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    for folder, kinds in {
        "jaxphys": ("py", "html", "js", "css", "toml"),
        "docs": ("md", "py"),
        "examples": ("toml",),
        "notebooks": ("py",),
        "benchmarks": ("py", "md"),
        "tests": ("py", "md"),
    }.items():
        found += [path for kind in kinds for path in sorted((ROOT / folder).rglob(f"*.{kind}"))]
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for path in found
        if path != Path(__file__)
    }


def former_phrases(text):
    """Lines with a phrase that something else stands for, and what that is."""
    return [
        f"{number}: {line.strip()[:80]} (now: {better})"
        for number, line in enumerate(text.splitlines(), 1)
        for phrase, better in PHRASES.items()
        if re.search(phrase, line, re.IGNORECASE)
    ]


def names_in(tree):
    """Every name that code makes or uses: of variables, attributes, arguments, functions and classes."""
    for node in ast.walk(tree):
        for field in ("id", "attr", "arg", "name"):
            name = getattr(node, field, None)
            if isinstance(name, str):
                yield name


def defined(tree):
    """Public functions, classes, constants and types that a module defines at its top level."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        else:
            names = []
        # A single letter stands for a type.
        yield from (name for name in names if not name.startswith("_") and len(name) > 1)


def defined_twice(sources):
    """Names → modules, for public names that more than one module defines without a reason."""
    modules = defaultdict(list)
    for name, text in sources.items():
        for each in defined(ast.parse(text)):
            modules[each].append(name)
    twice = {}
    for name, found in modules.items():
        papers = Counter(leaf[0] for module in found if (leaf := LEAF.match(module)))
        others = [module for module in found if module not in FOLLOWERS and not LEAF.match(module)]
        if name not in SHARED and len(others) + max(papers.values(), default=0) > 1:
            twice[name] = found
    return twice


def strange_arguments(tree):
    """What docstrings list under "Arguments" though the function does not take it."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef) or node.args.kwarg or node.args.vararg:
            continue
        listed = re.search(r"\*\*Arguments\*\*\n\n(.*?)(?:\n\n|\Z)", ast.get_docstring(node) or "", re.DOTALL)
        taken = {each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)}
        heads = re.findall(r"^- ((?:`\w+`(?:, )?)+)", listed[1] if listed else "", re.MULTILINE)
        for name in re.findall(r"`(\w+)`", " ".join(heads)):
            if name not in taken:
                yield f"{node.name}: {name}"


def test_text_has_the_present_phrases():
    found = {name: lines for name, text in texts().items() if (lines := former_phrases(text))}
    assert found == {}


def test_code_has_the_present_names():
    found = {}
    scripts = {
        name: ROOT / name for name in texts() if name.endswith(".py") and not name.startswith("tests/")
    }
    assert len(scripts) > len(SOURCES) + 10
    for name, path in scripts.items():
        used = set(names_in(ast.parse(path.read_text(encoding="utf-8")))) & set(FORMER)
        if used:
            found[name] = {each: FORMER[each] for each in used}
    assert found == {}


def test_public_names_are_defined_once():
    found = defined_twice({name: path.read_text(encoding="utf-8") for name, path in SOURCES.items()})
    assert found == {}


def test_arguments_in_docstrings_exist():
    found = {
        name: list(strange_arguments(ast.parse(path.read_text("utf-8")))) for name, path in SOURCES.items()
    }
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def short_docstrings(package):
    """Exported functions and classes of several arguments with one sentence, or no docstring of their own."""
    for name in package.__all__:
        thing = getattr(package, name)
        is_special = inspect.isclass(thing) and issubclass(thing, enum.Enum | Exception)
        if not (inspect.isfunction(thing) or inspect.isclass(thing)):
            continue
        text = inspect.getdoc(thing) if inspect.isfunction(thing) else vars(thing).get("__doc__")
        taken = () if is_special else inspect.signature(thing).parameters
        if not text or (len(taken) > 1 and len(text.strip().splitlines()) < 3):
            yield f"{package.__name__}.{name}"


def test_help_stands_alone():
    modules = (
        importlib.import_module(f"jaxphys.{path.parent.name}") for path in PACKAGE.glob("*/__init__.py")
    )
    packages = [jaxphys, *(module for module in modules if hasattr(module, "__all__"))]
    assert len(packages) > 8
    found = [name for package in packages for name in short_docstrings(package)]
    assert found == []


def test_former_words_are_found():
    assert former_phrases("see Paper A,\nand papers b")
    assert not former_phrases("paper about papers; told")
    assert set(names_in(ast.parse("def f(told): return a.heard(begun=1)"))) >= {"told", "heard", "begun"}
    twice = {"a.py": "def one(): ...\nTWO = 1\ndef _own(): ...", "b.py": "class one: ...\ndef _own(): ..."}
    assert defined_twice(twice) == {"one": ["a.py", "b.py"]}
    assert defined_twice({"a.py": "def one(): ...", "config/schema.py": "class one: ..."}) == {}
    assert defined_twice({"papers/a/x.py": "ONE = 1", "papers/b/y.py": "ONE = 1"}) == {}
    assert defined_twice({"papers/a/x.py": "ONE = 1", "papers/a/y.py": "ONE = 1"}) != {}
    assert defined_twice({"papers/a/x.py": "ONE = 1", "io/y.py": "ONE = 1"}) != {}
    documented = '''def f(a, b):\n    """F.\n\n    **Arguments**\n\n    - `a`, `c`: x.\n    """'''
    assert list(strange_arguments(ast.parse(documented))) == ["f: c"]


def test_each_reason_to_share_a_name_is_needed():
    modules = defaultdict(list)
    for name, path in SOURCES.items():
        for each in defined(ast.parse(path.read_text(encoding="utf-8"))):
            modules[each].append(name)
    assert [name for name in SHARED if len(modules[name]) < 2] == []
