"""Killed at random moments, fifty times over, a run reaches the end of an undisturbed one."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.float64

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "kills.py"


def loaded():
    spec = importlib.util.spec_from_file_location("kills", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_fifty_kills_are_recovered(tmp_path):
    """In a process of its own, which forks before it starts anything."""
    command = [
        sys.executable,
        str(SCRIPT),
        "--kills",
        "50",
        "--seed",
        "1",
        "--json",
        str(tmp_path / "kills.json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"recovered": 50' in done.stdout


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
