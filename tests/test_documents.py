"""What is written runs: examples in docstrings, README and docs."""

import doctest
import importlib
import json
import pkgutil
import re
from pathlib import Path

import pytest

import jaxphys

ROOT = Path(__file__).parent.parent
MODULES = [
    name for _, name, _ in pkgutil.walk_packages(jaxphys.__path__, "jaxphys.") if name != "jaxphys.__main__"
]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

pytestmark = pytest.mark.float64


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    results = doctest.testmod(importlib.import_module(name))
    assert results.failed == 0


def test_there_are_docstring_examples():
    finder = doctest.DocTestFinder()
    found = [test for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples]
    assert len(found) >= 15


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
        exec(compile(block, str(page), "exec"), namespace)
    assert "Error" not in capsys.readouterr().err


def test_the_speed_table_is_what_was_measured():
    """The README's numbers are those of the results, to the digits shown."""
    report = json.loads((ROOT / "benchmarks" / "results" / "workloads.json").read_text(encoding="utf-8"))
    rows = re.findall(
        r"^\| 50 .* \| ([\d.]+) µs \| ([\d.]+) ms \| (\d+) × \|$",
        (ROOT / "README.md").read_text("utf-8"),
        re.MULTILINE,
    )
    assert len(rows) == 3
    for workload, row in zip(report["workloads"].values(), rows, strict=True):
        measured = workload["us_per_step"], workload["us_per_step_numpy_loop"] / 1e3, workload["ratio"]
        for text, value in zip(row, measured, strict=True):
            assert abs(float(text) - value) <= 0.51 * 10 ** -len(text.partition(".")[2])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target
