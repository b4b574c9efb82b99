"""What is written runs: examples in docstrings, and every block of code in README and docs.

Blocks of a page run in the order of the page, in one folder with the examples in it. A block is run
(`python`, `sh`), read by our reader of its format (`toml`, `json`, `xml`, `csv`, `spice`), or says what the
block before it printed (`text`). `NOT_RUN` and `SHORTER` name the commands that are left out or cut short,
with reasons; a block of any other kind fails.
"""

import doctest
import importlib
import json
import math
import pkgutil
import re
import shlex
import shutil
import tomllib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import jaxphys
from jaxphys import cli
from jaxphys.config import parse_config, parse_sweep
from jaxphys.io import read_measured, read_netlist, read_network

ROOT = Path(__file__).resolve().parents[2]
MODULES = [
    name for _, name, _ in pkgutil.walk_packages(jaxphys.__path__, "jaxphys.") if name != "jaxphys.__main__"
]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
# Beside the pages of the site: for those who work on jaxphys.
FOR_DEVELOPERS = ["CONTRIBUTING.md", "tests/README.md", "benchmarks/README.md", "docs/architecture.md"]

# Commands by how they begin → why they do not run here.
NOT_RUN = {
    "make demo": "makes an environment, and trains fifty networks in full",
    "make test": "is what runs this",
    "pip install": "would change the environment that runs this",
    "srun": "needs a cluster; test_parallel.py runs two processes",
    "JAX_NUM_CPU_DEVICES=4": "must be set before JAX starts; test_parallel.py does so",
    "jaxphys train examples/allostery.toml --out /shared/a --coordinator": "takes two hosts; as above",
    "jaxphys inspect network.csv": "the reader's own file; the tutorial inspects one",
    "jaxphys reproduce physical-effects --out": "eight minutes; test_papers.py runs some small",
    "jaxphys reproduce microscopic-imprints --out": "as above",
    "jaxphys reproduce physical-effects.fig4 --out": "the block of Python on the page runs that figure",
    "jaxphys verify": "half a minute; test_certificate.py runs it",
    "jaxphys bench": "a timing; test_benchmark.py runs it",
    "python benchmarks/": "takes an hour",
    "nvidia-smi": "needs a GPU",
    "JAX_PLATFORMS=cpu": "must be set before JAX starts; it is where tests run",
}
# Commands by how they begin → arguments that cut them short. What they print is then not compared.
SHORTER = {
    "jaxphys inspect responses.csv": ["--draws", "19"],
    "jaxphys inspect jaxphys/data/ubiquitin.pdb": ["--draws", "19"],
}

FENCED = re.compile(r"^```.*?^```$", flags=re.DOTALL | re.MULTILINE)
COMMANDS = ("train", "reproduce", "inspect", "export", "examples", "completion", "verify", "bench")

pytestmark = pytest.mark.float64


class Block(NamedTuple):
    """A block of code: the language of its fence, what is in it, and the line where it begins."""

    language: str
    text: str
    line: int


def blocks(text):
    """The fenced blocks of a page, in order."""
    found = list(re.finditer(r"^```(\S*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE))
    # A fence that is indented, or of another kind, would be passed over.
    assert len(re.findall(r"^\s*(?:```|~~~)", text, flags=re.MULTILINE)) == 2 * len(found)
    return [Block(each[1], each[2], text.count("\n", 0, each.start()) + 1) for each in found]


def commands(text):
    """The commands of a block of shell: continued lines joined, comments taken off."""
    lines = (shlex.join(shlex.split(line, comments=True)) for line in text.replace("\\\n", " ").splitlines())
    return [line for line in lines if line]


def given(page):
    """What a page takes to be there already."""
    shutil.copytree(ROOT / "examples", "examples")
    if page == "docs/files.md":
        small = ["--set", "realizations=4", "steps=2"]
        assert cli.main(["train", "examples/allostery.toml", "--out", "runs/a", *small]) == 0
    if page == "docs/inspect.md":
        Path("jaxphys/data").mkdir(parents=True)
        shutil.copy(ROOT / "jaxphys/data/ubiquitin.pdb", "jaxphys/data")
        network = jaxphys.FlowNetwork(jaxphys.square_lattice((4, 4)), k=np.linspace(0.5, 2.0, 24))
        responses = jaxphys.greens_function(network, jaxphys.Boundary(network, free_modes="project"))
        jaxphys.io.export_network(network, "network.csv")
        np.savetxt("responses.csv", responses, delimiter=",")


def run_command(command):
    """Run one command; whether it ran as written."""
    if any(command.startswith(shlex.join(shlex.split(start))) for start in NOT_RUN):
        return False
    name, *arguments = shlex.split(command)
    assert name == "jaxphys", f"{command!r} is neither run nor in NOT_RUN"
    extra = next((more for start, more in SHORTER.items() if command.startswith(start)), [])
    assert cli.main([*arguments, *extra]) == 0, command
    return not extra


def read_block(block):
    """Read a whole file, as its language says, by our own reader."""
    if block.language == "toml":
        table = tomllib.loads(block.text)
        if name := re.match(r"# (\w+\.toml)\n", block.text):  # Commands further down take it.
            Path(name[1]).write_text(block.text, encoding="utf-8")
        return parse_sweep(table) if "sweep" in table else parse_config(table)
    suffixes = {"csv": ".csv", "json": ".json", "xml": ".graphml", "spice": ".cir"}
    assert block.language in suffixes, f"line {block.line}: nobody runs or reads `{block.language}`"
    path = Path("block" + suffixes[block.language])
    path.write_text(block.text, encoding="utf-8")
    return {"csv": read_measured, "spice": read_netlist}.get(block.language, read_network)(path)


NUMBER = re.compile(r"[-+−]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def alike(shown, printed):
    """Whether two words are the same, but for numbers that differ by up to 5 %."""
    if NUMBER.sub("#", shown) != NUMBER.sub("#", printed):
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True)
    return all(math.isclose(*(float(one.replace("−", "-")) for one in pair), rel_tol=0.05) for pair in pairs)


def is_within(shown, printed):
    """Whether the words shown were printed, one after the other; `…` stands for any words."""
    parts = [part.split() for part in shown.split("…")]
    words, start = printed.split(), 0
    for part in parts:
        ends = (
            at + len(part)
            for at in range(start, len(words) - len(part) + 1)
            if all(map(alike, part, words[at : at + len(part)]))
        )
        start = next(ends, None)
        if start is None:
            return False
    return True


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    results = doctest.testmod(importlib.import_module(name))
    assert results.failed == 0


def test_there_are_docstring_examples():
    finder = doctest.DocTestFinder()
    found = [test for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples]
    assert len(found) >= 15


@pytest.mark.parametrize("name", NAMES)
def test_blocks_run(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jaxphys.reports.page.DPI", 20)  # Nobody looks at the pictures here.
    given(name)
    namespace, printed, comparable = {}, "", False
    for block in blocks((ROOT / name).read_text(encoding="utf-8")):
        if block.language == "math":
            continue
        if block.language == "text":
            assert printed or not comparable, f"line {block.line}: nothing was printed before it"
            assert not comparable or is_within(block.text, printed), (block.text, printed)
            continue
        capsys.readouterr()
        if block.language == "python":
            exec(compile(block.text, f"{name}:{block.line}", "exec"), namespace)
            comparable = True
        elif block.language == "sh":
            comparable = False not in [run_command(command) for command in commands(block.text)]
        else:
            read_block(block)
            comparable = False
        printed, errors = capsys.readouterr()
        assert "Error" not in errors


def refused_commands(text):
    """Every `jaxphys …` between backticks, outside of blocks, that the command line does not take."""
    found = []
    for command in re.findall(r"`(?:srun )?jaxphys ([^`]+)`", FENCED.sub("", text)):
        arguments = shlex.split(command)
        if len(arguments) == 1 and arguments[0] in COMMANDS:
            continue  # The command as such.
        # A last option may be named without its argument.
        whole = [*arguments, "x"] if arguments[-1] == "--json" else arguments
        try:
            cli.parser().parse_args(whole)
        except SystemExit as exit:
            found += [command] if exit.code else []  # `--version` ends with 0.
    return found


@pytest.mark.parametrize("name", NAMES)
def test_commands_within_sentences_and_tables_are_commands(name):
    assert refused_commands((ROOT / name).read_text(encoding="utf-8")) == []


def test_wrong_commands_are_found():
    text = """`jaxphys train a.toml --out b`, `jaxphys verify`, `jaxphys trains`, `jaxphys train --ot b`
```sh
jaxphys `jaxphys fly`
```
"""
    assert refused_commands(text) == ["trains", "train --ot b"]


def test_what_was_printed_is_compared():
    assert is_within("cost 1.00 … done", "a run: cost 1.02 then all is done")
    assert not is_within("cost 1.00 … done", "a run: cost 1.2 then all is done")
    assert not is_within("cost 1.0 done", "cost 1.0")
    assert is_within("16 and 27", "suspected: 16 and\n27")


def test_no_block_is_passed_over():
    with pytest.raises(AssertionError, match="neither run nor"):
        run_command("curl somewhere")
    with pytest.raises(AssertionError):
        blocks("1. item\n\n    ```sh\n    rm a\n    ```\n")
    with pytest.raises(AssertionError, match="nobody runs"):
        read_block(Block("ruby", "puts 1", 1))


def test_each_reason_not_to_run_is_needed():
    written = [
        command
        for page in PAGES
        for block in blocks(page.read_text("utf-8"))
        if block.language == "sh"
        for command in commands(block.text)
    ]
    for start in [*NOT_RUN, *SHORTER]:
        assert any(command.startswith(shlex.join(shlex.split(start))) for command in written), start


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


def dead_ends(name):
    """Links of a page, and paths between its backticks, that lead nowhere.

    A path between backticks may begin at the root, beside the page, in `jaxphys` or `tests`, or in one of
    their folders.
    """
    page = ROOT / name
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", text)
    found = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    folders = [ROOT / "jaxphys", ROOT / "tests"]
    inside = [path for folder in folders for path in folder.iterdir() if path.is_dir()]
    # What an option takes may be yet to be written.
    codes = [re.sub(r"--\S+\s+\S+", "", code) for code in re.findall(r"`([^`]+)`", text)]
    for word in " ".join(codes).split():
        is_path = re.fullmatch(r"([\w-]+/)*([\w-]+\.(py|md)|[\w-]+/)", word)
        if is_path and not any((place / word).exists() for place in (ROOT, page.parent, *folders, *inside)):
            found.append(word)
    return found


@pytest.mark.parametrize("name", FOR_DEVELOPERS)
def test_pages_for_developers_name_what_there_is(name):
    assert dead_ends(name) == []


def test_dead_ends_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "[a](a.md) [b](page.md), `tests/helpers.py`, `python rules.py`, `flow.py --out b.md`, `experiments/`"
    )
    assert dead_ends(page) == ["a.md", "flow.py", "experiments/"]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target
