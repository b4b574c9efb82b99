"""What belongs into the repository: every tracked file is of a kind that a rule expects, and no larger."""

import re
import shutil
import subprocess
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

pytestmark = pytest.mark.float64

ROOT = Path(__file__).resolve().parents[2]
KIB = 1024
# Names, in which a star stands for no folder, and the largest size.
RULES = {
    "CHANGELOG.md|CITATION.cff|CONTRIBUTING.md|LICENSE|Makefile|README.md|pyproject.toml|mkdocs.yml": 128,
    ".ci/run|.github/workflows/*.yml|.gitignore|.pre-commit-config.yaml": 16,
    "jaxphys/*.py|jaxphys/*/*.py|jaxphys/*/*/*.py|jaxphys/py.typed": 64,
    "jaxphys/reports/templates/*.*|jaxphys/data/README.md": 64,
    "jaxphys/data/*.csv|jaxphys/data/*.pdb": 128,
    "tests/*.py|tests/*/test_*.py|tests/README.md": 64,
    "tests/data/*.csv|tests/data/*.cif|tests/data/*.cir|tests/data/*.json": 128,
    "examples/*.toml|examples/*/*.sbatch": 16,
    "benchmarks/*.py|benchmarks/README.md": 64,
    "benchmarks/results/*.json|benchmarks/results/*.png": 400,
    "docs/*.md|docs/*/*.md|docs/*.css|docs/*/*.css|docs/*.py": 128,
    "docs/images/*.png": 400,
    "notebooks/*.py|notebooks/*.toml": 64,
    "notebooks/*.ipynb": 800,
}


def largest(name):
    """The largest size in bytes that the rules give a file, 0 if they do not know it."""
    sizes = [
        size
        for patterns, size in RULES.items()
        for pattern in patterns.split("|")
        if fnmatchcase(name, pattern) and name.count("/") == pattern.count("/")
    ]
    return KIB * max(sizes, default=0)


def test_every_tracked_file_is_expected():
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("this is no checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    names = [name for name in listed.decode().split("\0") if name and (ROOT / name).exists()]
    assert len(names) > 100
    unknown = [name for name in names if not largest(name)]
    assert not unknown, "no rule of this test expects these files; remove them, or say why they are here"
    links = [name for name in names if (ROOT / name).is_symlink()]
    assert not links
    sizes = {name: (ROOT / name).stat().st_size for name in names}
    assert not {name: size for name, size in sizes.items() if size > largest(name)}


@pytest.mark.parametrize(
    "name",
    [
        *("fancy-3.0.0.tar.gz", "jaxphys/fancy-3.0.0.tar.gz", "docs/images/x.svg", "notes.md", "setup.py"),
        *("dist/jaxphys-0.1.0.whl", "benchmarks/results/run.nc", "jaxphys/a/b/c/d.py", "tests/.env", ".env"),
        *("runs/report.html", "jaxphys/core", "notebooks/data.csv", "jaxphys/__pycache__/x.pyc"),
    ],
)
def test_strangers_are_found(name):
    assert largest(name) == 0


def test_rules_are_no_longer_than_they_need_be():
    """Where files stand for a rule: none is left over. Data of tests may come."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("this is no checkout")
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for patterns in RULES:
        if not patterns.startswith("tests/data"):
            assert any(
                fnmatchcase(name, each) for name in names.splitlines() for each in patterns.split("|")
            ), patterns


def test_every_example_is_in_the_wheel():
    """`jaxphys examples` lists in an installed package what it lists in a checkout."""
    hatch = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]
    examples = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "examples").glob("*.toml"))]
    assert hatch["build"]["targets"]["wheel"]["force-include"] == {
        path: f"jaxphys/{path}" for path in examples
    }


def test_versions_of_python_are_those_of_ci():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    tested = re.findall(r'"(3\.\d+)"', re.search(r"^\s+python: (\[.*\])$", workflow, re.MULTILINE)[1])
    prefix = "Programming Language :: Python :: "
    assert [prefix + version for version in tested] == [
        each for each in project["classifiers"] if each.startswith(prefix + "3.")
    ]
    assert project["requires-python"] == f">={tested[0]}"
