"""The command line: what it writes, what it refuses, and that refusing leaves nothing behind."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray as xr
from helpers import interrupt_call
from small_runs import CLASSIFICATION

import jaxphys as jp
from jaxphys import cli
from jaxphys.checks import certificate
from jaxphys.checks.certificate import Rules, certify
from jaxphys.cli import common, train
from jaxphys.io import provenance, read_network
from jaxphys.io.files import jsonable
from jaxphys.runs import run as run_folder
from jaxphys.training import host_loop

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.float64


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(CLASSIFICATION)
    return path


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"jaxphys {jp.__version__}\n"


def test_train_writes_a_whole_run(config, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["train", str(config), "--out", str(out), "--set", "steps=30", "network.nodes=9"]) == 0
    assert {"config.toml", "run.nc", "network.json", "report.html"} <= set(files(out))
    assert "blocks" not in {path.name for path in out.iterdir()}
    # What it takes to go on with more steps, and no more.
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["block-000000-step-0000000030.ckpt"]
    assert any(name.startswith("figures/") and name.endswith(".png") for name in files(out))
    assert not [name for name in files(out) if name.endswith(".part")]
    resolved = tomllib.loads((out / "config.toml").read_text())
    assert (resolved["steps"], resolved["network"]["nodes"], resolved["seed"]) == (30, 9, 1)
    assert resolved["versions"]["jaxphys"] == jp.__version__
    with xr.open_dataset(out / "run.nc", engine="h5netcdf") as dataset:
        assert dataset["cost"].shape == (4, 4)
        assert dataset["k"].shape == dataset["k_initial"].shape == (4, 45)
        assert (dataset["cost"].values[:, -1] < dataset["cost"].values[:, 0]).all()
        assert dataset["test_accuracy"].shape == dataset["train_accuracy"].shape == (4,)
        assert json.loads(dataset.attrs["versions"])["jaxphys"] == jp.__version__
        assert tomllib.loads(dataset.attrs["config"])["steps"] == 30
    assert len(json.loads((out / "network.json").read_text())["nodes"]) == 9
    printed = capsys.readouterr()
    assert "test accuracy" in printed.out
    assert "step/s" in printed.err


NAMED = """
realizations = 3
steps = 10
block = 2
[network]
kind = "flow"
graph = { kind = "file", path = "PATH" }
initial = { kind = "file" }
[task]
kind = "allostery"
sources = ["in <A>"]
targets = [["outlet", "ß"]]
ground = ["4"]
"""


def test_names_of_nodes_travel_from_a_file_to_all_that_a_run_writes(tmp_path):
    names = ("in <A>", "ß", "outlet", "4")
    edges = tmp_path / "edges.csv"
    edges.write_text("source,target,k\nin <A>,ß,1\nß,outlet,2\noutlet,4,1\n4,in <A>,1\n")
    config, out = tmp_path / "run.toml", tmp_path / "out"
    config.write_text(NAMED.replace("PATH", str(edges)))
    assert cli.main(["train", str(config), "--out", str(out)]) == 0
    with xr.open_dataset(out / "run.nc", engine="h5netcdf") as run:
        assert run["node_name"].dims == ("node",)
        assert tuple(run["node_name"].values) == names
        assert run.sizes["realization"] == 3
    assert [node["id"] for node in json.loads((out / "network.json").read_text())["nodes"]] == list(names)
    page = (out / "report.html").read_text()
    assert '"names":["in \\u003cA\\u003e","\\u00df","outlet","4"]' in page
    for suffix in ("graphml", "csv", "json", "npz"):
        there = tmp_path / f"network.{suffix}"
        assert cli.main(["export", str(out / "run.nc"), "--to", suffix, "--out", str(there)]) == 0
        assert set(read_network(there).network.names) == set(names)
    assert cli.main(["export", str(out / "run.nc"), "--to", "spice", "--out", str(tmp_path / "a.cir")]) == 0
    circuit = (tmp_path / "a.cir").read_text()
    assert "* n0 is in <A>" in circuit
    assert "R1 n1 outlet " in circuit


def test_the_resolved_config_gives_the_same_run(config, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert cli.main(["train", str(config), "--out", str(first)]) == 0
    assert cli.main(["train", str(first / "config.toml"), "--out", str(second)]) == 0
    with xr.open_dataset(first / "run.nc") as a, xr.open_dataset(second / "run.nc") as b:
        np.testing.assert_array_equal(a["k"].values, b["k"].values)
        np.testing.assert_array_equal(a["cost"].values, b["cost"].values)


def test_a_summary_for_programs(config, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["train", str(config), "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    with xr.open_dataset(out / "run.nc", engine="h5netcdf") as run:
        assert found["cost"]["after"]["median"] == pytest.approx(float(np.median(run["cost"][:, -1])))
        assert found["test_accuracy"]["mean"] == pytest.approx(float(run["test_accuracy"].mean()))
    assert (found["realizations"], found["failed"], found["folder"]) == (4, {}, str(out))
    assert found["seconds"].keys() == {"set_up", "compile", "training", "report"}
    # Of a run that is done there are no times.
    assert cli.main(["train", str(config), "--out", str(out), "--json", "--resume"]) == 0
    assert json.loads(capsys.readouterr().out) == found | {"seconds": None, "solver": None}
    grid = ["sweep.grid={seed=[1, 2]}", "steps=10"]
    assert cli.main(["train", str(config), "--out", str(out), "--json", "--force", "--set", *grid]) == 0
    points = json.loads(capsys.readouterr().out)["points"]
    assert [point["values"] for point in points] == [{"seed": 1}, {"seed": 2}]


def test_json_has_no_numbers_that_are_none():
    found = jsonable({"a": [1.0, float("nan")], "b": {"c": float("inf"), "d": "inf"}})
    assert found == {"a": [1.0, None], "b": {"c": None, "d": "inf"}}


@pytest.mark.parametrize(
    ("terminal", "variables", "painted"),
    [(True, {}, True), (False, {}, False), (True, {"NO_COLOR": "1"}, False), (True, {"TERM": "dumb"}, False)],
)
def test_verdicts_have_colours_on_a_terminal_alone(terminal, variables, painted, monkeypatch, capsys):
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    common.say("gradient  flow  ok\norder  node  FAILED")
    printed = capsys.readouterr().out
    assert printed.replace("\033[32m", "").replace("\033[31m", "").replace("\033[0m", "") == (
        "gradient  flow  ok\norder  node  FAILED\n"
    )
    assert ("\033[32mok\033[0m" in printed) == ("\033[31mFAILED\033[0m" in printed) == painted


def test_an_interrupted_run_goes_on_bit_for_bit(config, tmp_path, monkeypatch, capsys):
    """By the command that it names, as a shell reads it."""
    whole, broken = tmp_path / "whole", tmp_path / "broken run"
    train = ["train", str(config), "--set", "seed=5", "--out"]
    assert cli.main([*train, str(whole)]) == 0
    interrupt_call(monkeypatch, 3)
    assert cli.main([*train, str(broken)]) == 130
    (named,) = re.findall(r"o on with: jaxphys (.+)", capsys.readouterr().err)
    assert not (broken / "run.nc").exists()
    monkeypatch.undo()
    assert cli.main(shlex.split(named)) == 0
    with xr.open_dataset(whole / "run.nc") as a, xr.open_dataset(broken / "run.nc") as b:
        for name in ("k", "cost", "eigenvalues", "status"):
            np.testing.assert_array_equal(a[name].values, b[name].values)


def assert_same_datasets(one, other):
    with xr.open_dataset(one, engine="h5netcdf") as a, xr.open_dataset(other, engine="h5netcdf") as b:
        assert set(a.variables) == set(b.variables)
        for name in a.variables:
            np.testing.assert_array_equal(a[name].values, b[name].values, err_msg=str(name))


def test_a_finished_run_is_made_longer(config, tmp_path, monkeypatch):
    """Bit for bit one long run, through an interruption, and killed while it writes its end."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    noisy = ["block=3", "optimizer.noise=1e-3", "optimizer.adaptive=false"]
    train = ["train", str(config), "--set", *noisy]
    assert cli.main([*train, "steps=72", "--out", str(whole)]) == 0
    assert cli.main([*train, "--out", str(out)]) == 0
    longer = [*train, "steps=72", "--out", str(out), "--resume"]
    with monkeypatch.context() as patched:
        interrupt_call(patched, 4)
        assert cli.main(longer) == 130
    with monkeypatch.context() as patched:
        patched.setattr(run_folder, "write_report", lambda *_, **__: (_ for _ in ()).throw(OSError("lost")))
        assert cli.main(longer) == 2
    assert cli.main(longer) == 0
    assert_same_datasets(out / "run.nc", whole / "run.nc")
    assert files(out) == files(whole)
    written = (out / "run.nc").stat().st_mtime_ns
    assert cli.main(longer) == 0
    assert (out / "run.nc").stat().st_mtime_ns == written


@pytest.mark.parametrize("last", ["join_blocks", "write_typical", "write_report", "remove_blocks"])
def test_a_run_that_is_trained_but_not_shown_goes_on(last, config, tmp_path, monkeypatch):
    """All blocks are on disk, and nothing is left to train."""
    out, train = tmp_path / "out", ["train", str(config), "--set", "steps=4", "block=2", "--out"]
    with monkeypatch.context() as patched:
        patched.setattr(run_folder, last, lambda *_, **__: (_ for _ in ()).throw(OSError("lost")))
        assert cli.main([*train, str(out)]) == 2
    assert len(list((out / "blocks").iterdir())) == 2
    assert cli.main([*train, str(out), "--resume"]) == 0
    assert not (out / "blocks").exists()
    assert {"run.nc", "network.json", "report.html"} <= set(files(out))


def test_folders_with_a_run_are_not_overwritten(config, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    assert cli.main(["train", str(config), "--out", str(out)]) == 0
    before = (out / "run.nc").read_bytes()
    assert cli.main(["train", str(config), "--out", str(out)]) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert (out / "run.nc").read_bytes() == before
    other = ["train", str(config), "--out", str(out), "--resume", "--set", "steps=50", "network.nodes=9"]
    assert cli.main(other) == 2
    assert "another config (`network.nodes`, `steps` differ)" in capsys.readouterr().err
    shorter = ["train", str(config), "--out", str(out), "--resume", "--set", "steps=30"]
    assert cli.main(shorter) == 2
    assert "holds a run of 40 steps, which cannot be cut to 30" in capsys.readouterr().err
    finer = ["train", str(config), "--out", str(out), "--resume", "--set", "steps=50", "record_every=5"]
    assert cli.main(finer) == 2
    assert "must go on with the records of the run" in capsys.readouterr().err
    assert (out / "run.nc").read_bytes() == before
    assert cli.main(["train", str(config), "--out", str(out), "--force", "--set", "steps=20"]) == 0
    assert (out / "notes.txt").read_text() == "mine"
    with xr.open_dataset(out / "run.nc") as dataset:
        assert dataset["step"].values[-1] == 20


@pytest.mark.parametrize(
    ("override", "saying"),
    [
        ("stepz=3", "nearest known: 'steps'"),
        ("steps=0", "`steps` must lie between 1 and"),
        ("steps=soon", "must be an integer"),
        ("batch_size=1000", "`batch_size`"),
        ("rule={kind='coupled_learning',nudge=0.0}", "`nudge` must be positive"),
        ("network={kind='flow',initial={value=-1.0}}", "`k` must be positive"),
        ("network={kind='spring',graph={kind='square_lattice'}}", "rigid"),
        ("network.nodes=2", "free nodes"),
        ("task.data=nowhere.csv", "nowhere.csv"),
        ("optimizer={kind='adam',adaptive=true}", "optimizer.adaptive"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(override, saying, config, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["train", str(config), "--out", str(out), "--set", override]) == 2
    printed = capsys.readouterr()
    assert saying in printed.err
    assert printed.err.startswith((f"jaxphys: {config}: ", "jaxphys: --set"))
    assert printed.err.count("\n") == 1
    assert "Traceback" not in printed.err
    assert not out.exists()


def test_a_run_without_memory_leaves_what_was_there(config, tmp_path, monkeypatch, capsys):
    """Refused once the compiler has said what it needs, and before anything of the run before is touched."""
    out = tmp_path / "out"
    train = ["train", str(config), "--out", str(out), "--set", "block=2"]
    with monkeypatch.context() as patched:
        patched.setattr(host_loop, "available_memory", lambda: 20_000)
        assert cli.main(train) == 2
        assert "must fit into memory" in capsys.readouterr().err
        assert not out.exists()
    assert cli.main(train) == 0
    before = {name: (out / name).read_bytes() for name in files(out)}
    monkeypatch.setattr(host_loop, "available_memory", lambda: 20_000)
    assert cli.main([*train, "steps=50", "--force"]) == 2
    assert {name: (out / name).read_bytes() for name in files(out)} == before


def test_the_config_is_printed_as_it_would_run(config, tmp_path, capsys):
    assert cli.main(["train", str(config), "--print-config", "--set", "steps=7"]) == 0
    printed = tomllib.loads(capsys.readouterr().out)
    assert (printed["steps"], printed["seed"], printed["rule"]["kind"]) == (7, 1, "exact_gradient")
    assert cli.main(["train", str(config)]) == 2
    assert capsys.readouterr().err == "jaxphys: --out: must name an output folder\n"


def test_examples_are_listed_and_copied(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shipped = {path.stem: path.read_text() for path in (ROOT / "examples").glob("*.toml")}
    assert cli.main(["examples"]) == 0
    printed = capsys.readouterr().out
    # Each is told by its first lines.
    assert [line for line in printed.splitlines() if not line.startswith(" ")] == sorted(shipped)
    for name, text in shipped.items():
        assert cli.main(["examples", "copy", name]) == 0
        assert (tmp_path / f"{name}.toml").read_text() == text
        assert cli.main(["train", f"{name}.toml", "--print-config"]) == 0
        assert f"examples/{name}.toml" in (ROOT / "pyproject.toml").read_text()
    assert cli.main(["examples", "copy", "iris"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert cli.main(["examples", "copy", "irs"]) == 2
    assert "must name one of allostery, iris" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_shells_complete_commands(shell, capsys):
    assert cli.main(["completion", shell]) == 0
    printed = capsys.readouterr().out
    assert "jaxphys" in printed
    assert "reproduce" in printed
    if shell == "bash":
        ask = "COMP_WORDS=(jaxphys exp); COMP_CWORD=1; _shtab_jaxphys; echo ${COMPREPLY[@]}"
        found = subprocess.run(["bash", "-c", f"{printed}\n{ask}"], capture_output=True, text=True)
        assert found.stdout.split() == ["export"]


def test_an_idle_gpu_is_told(monkeypatch):
    exists = train.os.path.exists
    monkeypatch.setattr(train.os.path, "exists", lambda path: path == "/dev/kfd" or exists(path))
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    if jax.default_backend() == "cpu":
        with pytest.warns(UserWarning, match="has a GPU that JAX does not see"):
            train.warn_of_idle_gpu()
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    train.warn_of_idle_gpu()  # A warning would fail the test.


def test_malformed_toml_and_missing_files(tmp_path, capsys):
    path = tmp_path / "bad.toml"
    path.write_text("steps = = 3")
    for wanted in (path, tmp_path / "missing.toml"):
        assert cli.main(["train", str(wanted), "--out", str(tmp_path / "out")]) == 2
        assert capsys.readouterr().err.startswith(f"jaxphys: {wanted}: ")
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_output_folder(config, tmp_path, capsys):
    (tmp_path / "out").write_text("a file")
    assert cli.main(["train", str(config), "--out", str(tmp_path / "out")]) == 2
    assert "must be a folder" in capsys.readouterr().err


def test_a_run_in_which_everything_fails_says_so(config, tmp_path, capsys):
    diverging = ["--set", "network.diagonal=-5.0", "optimizer.adaptive=false"]
    assert cli.main(["train", str(config), "--out", str(tmp_path / "out"), *diverging]) == 1
    assert "4 not_positive_definite" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("overrides", "status", "failed"),
    [
        # Costs that no number holds, from the start: infinite minus infinite is nobody's median.
        (["task.response=1e200"], 1, {"not_finite": 4}),
        # Steps this long throw three of the four networks out of what can be solved.
        (["optimizer.rate=1e9"], 0, {"inaccurate": 3}),
    ],
)
def test_the_exit_status_says_whether_any_network_is_left(overrides, status, failed, tmp_path, capsys):
    """Of runs; what NumPy thinks of their numbers never reaches the user."""
    (tmp_path / "run.toml").write_text(
        "seed = 1\nrealizations = 4\nsteps = 20\nrecord_every = 5\n"
        'network = {kind = "flow", graph = {nodes = 8, edges = 12}}\ntask = {kind = "allostery"}\n'
    )
    train = [
        "train",
        str(tmp_path / "run.toml"),
        "--out",
        str(tmp_path / "out"),
        "--json",
        "--set",
        *overrides,
    ]
    assert cli.main(train) == status
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["failed"] == failed
    assert found["succeeded"] == (status == 0)
    assert "warning" not in printed.err.lower()
    # A look at what is there says the same.
    assert cli.main([*train, "--resume"]) == status
    assert json.loads(capsys.readouterr().out)["succeeded"] == (status == 0)


def test_single_precision(config, tmp_path):
    command = [sys.executable, "-m", "jaxphys", "train", str(config), "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [*command, "--set", "precision=float32"], capture_output=True, text=True, check=True
    )
    assert "accuracy" in done.stdout
    with xr.open_dataset(tmp_path / "out" / "run.nc") as dataset:
        assert dataset["k"].dtype == np.float32


def test_verify_prints_a_table_and_fails_with_a_broken_rule(tmp_path, monkeypatch, capsys):
    class Doubled(jp.ExactGradient):
        def contrasts(self, response, task):
            found, converged = super().contrasts(response, task)
            return found + found, converged

    monkeypatch.setattr(certificate, "certify", partial(certify, rules=Rules(exact=Doubled)))
    assert cli.main(["verify", "--network", "flow", "--json", str(tmp_path / "table.json")]) == 1
    assert "failed: exact gradient against jax.grad, flow network" in capsys.readouterr().out
    table = json.loads((tmp_path / "table.json").read_text())
    wrong = {check["name"] for check in table["checks"] if not check["measured"] <= check["highest"]}
    assert "exact gradient against jax.grad" in wrong
    # Euler's theorem knows the size of the gradient, too.
    others = {name for name in wrong if not name.endswith("gradient against jax.grad")}
    assert all("exact gradient: k·g" in name for name in others), others
    assert len(table["checks"]) > 50
    assert table["provenance"] == provenance()


def test_help_names_the_commands(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    assert {"train", "verify", "bench"} <= set(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "saying"),
    [
        (["trian"], "invalid choice: 'trian'"),
        (["train", "run.toml", "--out", ""], "--out: must name where to write, but it is empty"),
        (["reproduce", "--out", " "], "--out: must name where to write, but it is empty"),
        (["inspect", "net.csv", "--out", ""], "--out: must name where to write, but it is empty"),
        (["verify", "--json", ""], "--json: must name where to write, but it is empty"),
    ],
)
def test_wrong_usage_is_one_line(arguments, saying, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert saying in printed.err
    assert printed.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_overrides_may_stand_before_the_config(config, tmp_path, capsys, monkeypatch):
    asked = []

    def read_table(config, overrides):
        asked.append((config, overrides))
        raise jp.InputError("that is all")

    monkeypatch.setattr("jaxphys.config.read_table", read_table)
    out, wanted = ["--out", str(tmp_path / "out")], ["steps=3", "seed=2", "record_every=1"]
    for arguments in (
        ["--set", *wanted, str(config), *out],
        ["--set", wanted[0], "--set", wanted[1], str(config), *out, "--set", wanted[2]],
        [str(config), "--set", *wanted[:2], *out, "--set", wanted[2]],
        [*out, str(config), "--set", *wanted],
    ):
        assert cli.main(["train", *arguments]) == 2
        assert asked.pop() == (config, wanted)
    capsys.readouterr()
    for arguments in (["--set", *wanted], ["--set", "steps", str(config)], []):
        assert cli.main(["train", *arguments, *out]) == 2
        assert capsys.readouterr().err == "jaxphys: train needs one CONFIG.toml; name it before --set\n"


def test_every_help_has_an_example_that_is_a_command(capsys):
    parser = cli.parser()
    names = re.findall(r"^    ([a-z]+)\b", parser.format_help(), re.MULTILINE)
    assert {"train", "verify", "bench", "completion"} < set(names)
    for name in names:
        with pytest.raises(SystemExit):
            parser.parse_args([name, "--help"])
        shown = capsys.readouterr().out.rpartition("\nexample")[2].partition(":")[2]
        for example in shown.replace('eval "$(', "").replace(')"', "").split(";"):
            program, first, *rest = shlex.split(example)
            assert (program, first) == ("jaxphys", name)
            parser.parse_args([first, *rest])
