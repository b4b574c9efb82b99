"""Killed at random moments, again and again, a run reaches the end of an undisturbed one."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.float64

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "kills.py"


def loaded():
    spec = importlib.util.spec_from_file_location("kills", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_kills_are_recovered(tmp_path):
    """In a process of its own, which forks before it starts anything."""
    command = [
        sys.executable,
        str(SCRIPT),
        "--kills",
        "25",
        "--seed",
        "1",
        "--json",
        str(tmp_path / "kills.json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "kills.json").read_text())
    assert found["recovered"] == found["kills"] == 25
    assert sum(number > 0 for number in found["moments"].values()) >= 3


def test_a_run_that_differs_is_told(tmp_path):
    """The comparison can fail: one bit, one file that is left."""
    kills = loaded()
    import numpy as np
    import xarray as xr

    for name, value in (("whole", 1.0), ("same", 1.0), ("other", np.nextafter(1.0, 2.0))):
        (tmp_path / name).mkdir()
        xr.Dataset({"k": ("edge", [value])}).to_netcdf(tmp_path / name / "run.nc", engine="h5netcdf")
        (tmp_path / f"{name}.log").write_text("said")
    assert kills.problems_of(tmp_path / "same", tmp_path / "whole") == []
    assert kills.problems_of(tmp_path / "other", tmp_path / "whole") == ["other numbers"]
    (tmp_path / "same" / ".run.nc.part").write_text("half")
    assert kills.problems_of(tmp_path / "same", tmp_path / "whole") == ["left behind: .run.nc.part"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.log").write_text("no memory")
    assert "no memory" in kills.problems_of(tmp_path / "empty", tmp_path / "whole")[0]


# Writes findings in processes that kill themselves before the n-th change of the disk. They are forked before
# JAX starts anything.
KILLED_WHILE_IT_WRITES = """
import os, pickle, shutil, signal, sys, traceback, warnings
from pathlib import Path
import jax
jax.config.update("jax_enable_x64", True)
warnings.simplefilter("ignore")
import jaxphys as jp
from jaxphys.reports.findings_page import check_findings_folder, write_findings
from jaxphys.io.files import write_together

root, changes, NEVER = Path(sys.argv[1]), 0, 10**9

def forked(write, moment=NEVER):
    '''Run `write` in a process that kills itself before that change of the disk; whether it did.'''
    def count(event, arguments):
        global changes
        is_written = event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if is_written or event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir"):
            changes += 1
            if changes > moment:
                os.kill(os.getpid(), signal.SIGKILL)
    number = os.fork()
    if number == 0:
        try:
            sys.addaudithook(count)
            write()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
    status = os.waitpid(number, 0)[1]
    assert os.WIFSIGNALED(status) or status == 0
    return os.WIFSIGNALED(status)

def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

def look(folder, write, whole, before, moment):
    '''What a kill left behind is whole, or is finished by the next call without force.'''
    begun = forked(write, moment)
    found = files(folder)
    if "report.html" in found:
        seen = {name: content for name, content in found.items() if not name.startswith(".")}
        assert seen in (whole, before), (moment, sorted(found))
    else:
        check_findings_folder(folder)
        forked(write)
        assert files(folder) == whole, (moment, sorted(found))
    return begun

def prepare():
    network = jp.FlowNetwork(jp.square_lattice((4, 4)), 1.0 + jax.numpy.arange(24) % 5)
    draw = {"num_null": 19, "null_models": ("shuffled",)}
    findings = jp.inspect_network(network, **draw)
    write_findings(findings, root / "whole", source="x")
    # All equal: fewer pictures.
    equal = jp.inspect_network(network.with_k(1.0 + 0 * network.k), **draw)
    write_findings(equal, root / "plain", source="x")
    (root / "findings").write_bytes(pickle.dumps(findings))

forked(prepare)
whole, plain = files(root / "whole"), files(root / "plain")
assert set(plain) < set(whole)
looked = 0
for moment in (12, 26):
    folder = root / f"new{moment}"
    def write():
        global changes
        findings = pickle.loads((root / "findings").read_bytes())
        changes = 0
        write_findings(findings, folder, source="x")
    looked += look(folder, write, whole, {}, moment)
for old, new in (({}, whole), (whole, plain), (plain, whole)):
    contents = {name: new[name] for name in sorted(new, key=lambda name: name == "report.html")}
    stale = set(old) - set(new)
    for moment in range(200):
        folder = root / "again"
        shutil.rmtree(folder, ignore_errors=True)
        for name, content in old.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        if not look(folder, lambda: write_together(folder, contents, stale=stale), new, old, moment):
            break
        looked += 1
print("looked at", looked)
"""


def test_findings_are_whole_or_finished_by_the_next_call(tmp_path):
    """Killed before any change of the disk, over no findings and over others, with more pictures or fewer."""
    command = [sys.executable, "-c", KILLED_WHILE_IT_WRITES, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) > 60
