"""Files are data, and stay where they belong: nothing is unpickled or run, nothing is written elsewhere."""

import ast
import json
import os
import shutil
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from small_runs import CLASSIFICATION

import jaxphys as jp
from jaxphys import cli
from jaxphys.io import provenance, read_measured, run_dataset, save_network, save_run, write_atomically
from jaxphys.reports.run_page import write_report

pytestmark = pytest.mark.float64

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [
    path for folder in ("jaxphys", "benchmarks", "docs") for path in sorted((ROOT / folder).rglob("*.py"))
]

# Modules that run what they read, unpack archives by the names in them, or resolve entities of XML.
FORBIDDEN_MODULES = {
    *("pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "pickletools"),
    *("tarfile", "code", "codeop", "runpy", "pty"),
    *("xml.dom", "xml.sax", "xml.etree", "lxml", "defusedxml", "xmlrpc"),
}
FORBIDDEN_CALLS = {
    *("eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec", "builtins.compile"),
    *("os.system", "os.popen", "os.startfile", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load", "shutil.unpack_archive", "importlib.import_module"),
    *("networkx.read_graphml", "networkx.read_gpickle", "networkx.parse_graphml", "pandas.read_pickle"),
}
FORBIDDEN_METHODS = {"extract", "extractall", "read_pickle", "to_pickle"}


@pytest.fixture(scope="module", autouse=True)
def coarse():
    """Pictures of few pixels: nobody looks at them here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxphys.reports.page.DPI", 20)
        yield


def modules_by_name(tree):
    """What the names of a module mean, as far as imports say: `{"np": "numpy", "load": "numpy.load"}`."""
    meant = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                meant[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and not node.level:
            meant |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return meant


def dotted(node, meant):
    """`np.load` as `numpy.load`; an empty text for what is no chain of names."""
    if isinstance(node, ast.Name):
        return meant.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        before = dotted(node.value, meant)
        return f"{before}.{node.attr}" if before else ""
    return ""


def is_constant(node, value):
    return isinstance(node, ast.Constant) and node.value is value


def dangers(source):
    """What a module does that files must never be able to ask for, one sentence each."""
    tree = ast.parse(source)
    meant = modules_by_name(tree)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{name}" for name in names] + [node.module or ""]
            for bad in sorted(FORBIDDEN_MODULES):
                if any(name == bad or name.startswith(f"{bad}.") for name in names):
                    found.append(f"line {node.lineno} imports {bad}")
        elif isinstance(node, ast.Attribute | ast.Name) and dotted(node, meant) in FORBIDDEN_CALLS:
            found.append(f"line {node.lineno} names {dotted(node, meant)}")
        if not isinstance(node, ast.Call):
            continue
        name, options = dotted(node.func, meant), {each.arg: each.value for each in node.keywords}
        if name in ("numpy.load", "numpy.lib.format.read_array") and not is_constant(
            options.get("allow_pickle"), False
        ):
            found.append(f"line {node.lineno} calls {name} without allow_pickle=False")
        elif "allow_pickle" in options and not is_constant(options["allow_pickle"], False):
            found.append(f"line {node.lineno} allows pickles")
        if "shell" in options and not is_constant(options["shell"], False):
            found.append(f"line {node.lineno} calls a shell")
        if isinstance(node.func, ast.Attribute) and node.func.attr in FORBIDDEN_METHODS:
            found.append(f"line {node.lineno} calls {node.func.attr}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_is_read_is_run(path):
    assert dangers(path.read_text(encoding="utf-8")) == []


def test_there_are_sources():
    assert len(SOURCES) > 60


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import marshal as m",
        "def late():\n    import joblib",
        "import dill.session",
        "import shelve",
        "import tarfile",
        "from xml.etree import ElementTree",
        "import xml.etree.ElementTree as tree",
        "from xml.dom import minidom",
        "from lxml import etree",
        "value = eval(text)",
        "run = exec",
        "compile(text, 'file', 'exec')",
        "__import__(name)",
        "import builtins\nbuiltins.eval(text)",
        "import numpy as np\nnp.load(path)",
        "from numpy import load\nload(path, mmap_mode='r')",
        "import numpy\nnumpy.load(path, allow_pickle=True)",
        "import numpy as np\nnp.load(path, allow_pickle=flag)",
        "import numpy as np\nnp.lib.format.read_array(file)",
        "import numpy as np\nnp.save(path, array, allow_pickle=True)",
        "import subprocess\nsubprocess.run(command, shell=True)",
        "from subprocess import Popen as P\nP(command, shell=flag)",
        "import os\nos.system(command)",
        "from os import system as s\ns(command)",
        "import yaml\nyaml.load(text)",
        "import zipfile\nzipfile.ZipFile(path).extractall(folder)",
        "archive.extract(member, folder)",
        "import shutil\nshutil.unpack_archive(path)",
        "import networkx as nx\nnx.read_graphml(path)",
        "import pandas as pd\npd.read_pickle(path)",
    ],
)
def test_dangers_are_found(source):
    """Whatever way they are written."""
    assert len(dangers("import numpy as fine\n" + source)) >= 1


@pytest.mark.parametrize(
    "source",
    [
        "import re\nre.compile('a')",
        "import numpy as np\nnp.load(path, allow_pickle=False)",
        "import subprocess\nsubprocess.run(['git'], shell=False)",
        "import zipfile\nzipfile.ZipFile(path).open(member).read(9)",
        "from xml.parsers import expat",
    ],
)
def test_what_is_no_danger_is_let_be(source):
    assert dangers(source) == []


# Names in files that would lead elsewhere, were they taken for paths.
ELSEWHERE = (
    "../../escaped",
    "/tmp/jaxphys-escaped",
    "..\\escaped",
    "figures/../../escaped",
    "a/b",
    "~",
    "%2e%2e",
)


def tree(folder):
    """Everything below a folder: files with their bytes, links with their targets."""
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def written_outside(folder, out, before):
    """What appeared, changed or went below `folder`, but not below `out`."""
    after = tree(folder)
    inside = f"{out.relative_to(folder)}{os.sep}"
    names = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    return sorted(name for name in names if not name.startswith(inside))


def square():
    topology = jp.square_lattice((3, 4))
    return jp.FlowNetwork(topology, 1.0 + np.arange(topology.num_edges) % 5)


@pytest.mark.parametrize("suffix", [".csv", ".json", ".npz"])
def test_names_of_nodes_are_no_paths(suffix, tmp_path, capsys):
    """From whatever file they come, findings are written below the output folder alone."""
    network, work = square(), tmp_path / "work"
    names = [*ELSEWHERE, *(f"../{i}" for i in range(12 - len(ELSEWHERE)))]
    edges = np.asarray(network.topology.edges).tolist()
    path = work / f"network{suffix}"
    work.mkdir()
    if suffix == ".csv":
        rows = [f"{names[a]},{names[b]},{k}" for (a, b), k in zip(edges, network.k.tolist(), strict=True)]
        path.write_text("\n".join(["source,target,k", *rows]))
    elif suffix == ".json":
        save_network(network, path, **{name: name for name in ELSEWHERE}, title="../../escaped")
        content = json.loads(path.read_text())
        content["nodes"] = [{"id": name, "name": "../escaped"} for name in names]
        for edge in content["edges"]:
            edge |= {end: names[edge[end]] for end in ("source", "target")}
        path.write_text(json.dumps(content))
    else:
        np.savez(path, edges=np.array(edges), k=np.asarray(network.k), labels=np.array(names))
    assert set(read_measured(path).labels) == set(names)
    out, before = work / "out", tree(tmp_path)
    assert cli.main(["inspect", str(path), "--out", str(out), "--draws", "19"]) == 0
    assert (out / "report.html").exists()
    assert written_outside(tmp_path, out, before) == []
    capsys.readouterr()


def test_names_in_archives_are_never_unpacked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("../edges.npy", "/tmp/jaxphys-escaped.npy", "a/../../edges.npy", "edges"):
        with zipfile.ZipFile("network.npz", "w") as archive:
            archive.writestr(name, b"x")
        before = tree(tmp_path.parent)
        with pytest.raises(jp.InputError, match="no name that numpy"):
            read_measured("network.npz")
        assert tree(tmp_path.parent) == before


def small_run():
    network = square()
    task = jp.allostery(network, jp.Boundary(network, ground=[0]), [1], [2], response=0.4)
    return jp.train(network, task, steps=4, record=jp.Record(every=2))


def test_facts_of_runs_and_graph_files_are_no_paths(tmp_path, monkeypatch, capsys):
    """Attributes, titles, and the path of the graph file in a config."""
    work = tmp_path / "deep" / "work"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    facts = {"config": "../../escaped", "network": "../../escaped", "../../escaped": "/tmp/jaxphys-escaped"}
    dataset = run_dataset(small_run()).assign_attrs(facts)
    before = tree(tmp_path)
    write_report(dataset, work / "report", config="../../escaped", title="../../escaped")
    save_run(dataset.drop_attrs().assign_attrs(config="../../escaped"), work / "report" / "run.nc")
    assert written_outside(tmp_path, work / "report", before) == []

    save_network(square(), tmp_path / "net.json")
    config = work / "run.toml"
    config.write_text(
        CLASSIFICATION.replace("nodes = 8", 'kind = "flow"\ngraph = {kind = "file", path = "../../net.json"}')
    )
    before = tree(tmp_path)
    assert cli.main(["train", str(config), "--out", "out", "--set", "steps=4"]) == 0
    assert written_outside(tmp_path, work / "out", before) == []
    capsys.readouterr()


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "run.toml").write_text(CLASSIFICATION.replace("steps = 40", "steps = 4"))
    assert cli.main(["train", str(folder / "run.toml"), "--out", str(folder / "out")]) == 0
    return folder


@pytest.fixture
def finished(whole_run, tmp_path, capsys):
    """A config, and the folder of its run."""
    shutil.copytree(whole_run, tmp_path, dirs_exist_ok=True)
    capsys.readouterr()
    return tmp_path / "run.toml", tmp_path / "out"


def one_line(capsys, saying):
    printed = capsys.readouterr()
    assert saying in printed.err
    assert printed.err.count("\n") == 1
    assert "Traceback" not in printed.err


def test_force_follows_no_link(finished, tmp_path, capsys):
    """Neither to remove nor to write: in the place of a folder a link is refused before anything is lost."""
    (config, out), other = finished, tmp_path / "other"
    (out / "figures").rename(other)
    (out / "figures").symlink_to(other, target_is_directory=True)
    before = tree(tmp_path)
    assert cli.main(["train", str(config), "--out", str(out), "--force"]) == 2
    one_line(capsys, "must be a folder, but it is a link")
    assert tree(tmp_path) == before
    with pytest.raises(jp.InputError, match="must be a folder, but it is a link"):
        write_report(run_dataset(small_run()), out)
    assert tree(tmp_path) == before


def test_links_in_the_place_of_files_are_replaced(finished, tmp_path, capsys):
    (config, out), mine = finished, tmp_path / "mine"
    mine.mkdir()
    for name in ("run.nc", "config.toml", "report.html"):
        (mine / name).write_text("keep")
        (out / name).unlink()
        (out / name).symlink_to(mine / name)
    (out / ".run.nc.part").symlink_to(mine / "run.nc")
    kept = tree(mine)
    assert cli.main(["train", str(config), "--out", str(out), "--force"]) == 0
    assert tree(mine) == kept
    assert not [path for path in out.rglob("*") if path.is_symlink()]
    capsys.readouterr()


def test_force_keeps_what_jaxphys_did_not_write(finished, tmp_path, capsys):
    config, out = finished
    pictures = {path.name for path in (out / "figures").iterdir()}
    (out / "figures" / "mine.png").write_text("keep")
    (out / "figures" / "mine").mkdir()
    diverging = ["--set", "network.diagonal=-5.0"]
    assert cli.main(["train", str(config), "--out", str(out), "--force", *diverging]) == 1
    # All failed, so there are no pictures; those of before are gone.
    assert pictures
    assert {path.name for path in (out / "figures").iterdir()} == {"mine.png", "mine"}
    (out / "run.nc").unlink()
    (out / "run.nc").mkdir()
    (out / "run.nc" / "mine").write_text("keep")
    capsys.readouterr()
    before = tree(out)
    assert cli.main(["train", str(config), "--out", str(out), "--force"]) == 2
    one_line(capsys, "must be a file, but it is a folder")
    assert tree(out) == before


def test_inspect_follows_no_link(tmp_path, capsys):
    save_network(square(), tmp_path / "net.json")
    out, other = tmp_path / "out", tmp_path / "other"
    arguments = ["inspect", str(tmp_path / "net.json"), "--draws", "19", "--out", str(out)]
    assert cli.main(arguments) == 0
    capsys.readouterr()
    (out / "figures").rename(other)
    (out / "figures").symlink_to(other, target_is_directory=True)
    before = tree(tmp_path)
    assert cli.main([*arguments, "--force"]) == 2
    one_line(capsys, "must be a folder, but it is a link")
    assert tree(tmp_path) == before


def test_a_planted_part_file_leads_nowhere(tmp_path):
    (tmp_path / "victim").write_text("keep")
    (tmp_path / ".file.part").symlink_to(tmp_path / "victim")
    write_atomically(tmp_path / "file", lambda to: to.write_text("new"))
    assert (tmp_path / "victim").read_text() == "keep"
    assert (tmp_path / "file").read_text() == "new"
    assert not (tmp_path / "file").is_symlink()


def test_provenance_is_complete_and_private(monkeypatch):
    provenance()  # The backend starts, which would not start with such flags.
    flags = "--xla_cpu_foo=true --xla_dump_to=/home/someone/secret /home/someone/flags.txt"
    monkeypatch.setenv("XLA_FLAGS", flags)
    monkeypatch.setenv("NPROC", "16")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/home/someone/cache")
    monkeypatch.setenv("SOME_TOKEN", "secret")
    record = provenance()
    assert {name: record[name] for name in ("XLA_FLAGS", "NPROC", "JAX_PLATFORMS")} == {
        "XLA_FLAGS": "--xla_cpu_foo=true --xla_dump_to=...",
        "NPROC": "16",
        "JAX_PLATFORMS": "cpu",
    }
    versions = {"jaxphys", "python", "jax", "jaxlib", "equinox", "optax", "numpy", "scipy"}
    versions |= {"networkx", "xarray", "h5netcdf", "h5py"}
    facts = {"backend", "device", "devices", "processes", "platform", "jax_enable_x64"}
    assert versions | facts <= set(record)
    assert all(isinstance(value, str) and "\n" not in value for value in record.values())
    assert not any(word in value for value in record.values() for word in ("someone", "secret"))
    assert record["jax_enable_x64"] == "true"


def test_every_file_of_a_run_says_what_made_it(finished, tmp_path, capsys):
    config, out = finished
    record = provenance()
    with xr.open_dataset(out / "run.nc", engine="h5netcdf") as dataset:
        assert json.loads(dataset.attrs["versions"]) == record
        assert dataset.attrs["seed"] == 1
    assert tomllib.loads((out / "config.toml").read_text())["versions"] == record
    assert json.loads((out / "network.json").read_text())["graph"]["versions"] == record
    page = (out / "report.html").read_text()
    assert record["optax"] in page
    # Runs by earlier versions, which recorded less, or other things: they are whole, and stay what they are.
    recorded = (out / "config.toml").read_text()
    old = recorded[: recorded.index("[versions]")] + '[versions]\njaxphys = "0.0.1"\nother = "1"\n'
    (out / "config.toml").write_text(old)
    assert cli.main(["train", str(config), "--out", str(out), "--resume"]) == 0
    assert tomllib.loads((out / "config.toml").read_text())["versions"]["jaxphys"] == "0.0.1"
    # One that had not ended goes on, and then this version made it.
    (out / "report.html").unlink()
    assert cli.main(["train", str(config), "--out", str(out), "--resume"]) == 0
    assert tomllib.loads((out / "config.toml").read_text())["versions"] == record
    capsys.readouterr()
