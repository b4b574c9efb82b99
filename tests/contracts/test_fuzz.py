"""A few hundred drawn cases: each ends in the right answer, in one clear sentence, or in a status that tells.

`benchmarks/fuzz.py` draws thousands from the same strategies; broken files are in `test_io*.py`.
"""

import json
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import endings as endings_module
import equinox as eqx
import jax.numpy as jnp
import numpy as np
import outside
import pytest
import strategies
from endings import assert_within_bound, ended, exact_states
from hypothesis import HealthCheck, Phase, given, settings
from oracles import explicit_hessian, solve_bordered, solve_exactly
from strategies import Equilibrium, File, Learning, Table

import jaxphys as jp
from jaxphys.config import build, dump_config, parse_config, parse_sweep

pytestmark = pytest.mark.float64

TABLES = tuple(tomllib.loads(dump_config(parse_config(table))) for table in strategies.small_tables())
SWEEP = {
    "steps": 3,
    "seed": 0,
    "sweep": {
        "grid": {"seed": [1, 2], "network": {"nodes": [5, 6]}},
        "list": {"steps": [3, 4], "rule.nudge": [0.1, 1.0]},
    },
}
TRIANGLE = Equilibrium("flow", 3, ((0, 1), (1, 2), (2, 0)), (1.0, 2.0, 3.0), ground=(0,))
LEARNS = Learning(TRIANGLE, "allostery", (1,), (2,), (0.3, 1.0))


def endings(cases, count, ending=ended):
    """How `count` cases end, the same ones each time."""
    found = Counter()

    @settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        # Shrinking compiles more programs than it is worth: a case says by its repr what it is.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def end(case):
        found[ending(case)] += 1

    end()
    return found


def test_equilibria():
    found = endings(strategies.equilibria(planned=False, sizes=(6,)), 100)
    assert found.keys() == {"right", "refused", "marked"}


def test_equilibria_of_planned_solvers():
    found = endings(strategies.equilibria().filter(lambda case: case.solver in strategies.PLANNED), 12)
    assert found.keys() >= {"right", "refused"}


def test_tasks():
    found = endings(strategies.learnings(planned=False), 40)
    assert found.keys() >= {"right", "refused"}


def test_configs():
    assert endings(strategies.tables(TABLES[:4]), 10).keys() >= {"right", "refused"}


def built_or_refused(case):
    try:
        build(parse_config(case.table))
    except jp.InputError as error:
        assert str(error).isprintable()
        assert "`" in str(error) or "unknown name" in str(error)
        return "refused"
    return "right"


def test_configs_are_built_or_refused():
    assert endings(strategies.tables(TABLES), 120, built_or_refused).keys() == {"right", "refused"}


def parsed_or_refused(case):
    try:
        sweep = parse_sweep(case.table) if "sweep" in case.table else None
    except jp.InputError as error:
        assert str(error).isprintable()
        assert len(str(error)) < 400
        assert str(error).startswith("config")
        return "refused"
    assert sweep is None or sweep.points
    return "right"


def test_sweeps_are_parsed_or_refused():
    assert endings(strategies.tables((SWEEP,)), 120, parsed_or_refused).keys() == {"right", "refused"}


@pytest.mark.parametrize(
    ("cases", "count"),
    [(outside.netlists, 40), (outside.headers, 60), (outside.written, 40)],
    ids=["units", "headers", "formats"],
)
def test_files_of_strangers(cases, count):
    assert endings(cases(), count).keys() == {"right", "refused"}


def soaked(folder, *arguments):
    """What the benchmark writes of a few cases; its process has no types checked at run time."""
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "fuzz.py"
    command = [sys.executable, script, "--json", folder / "fuzz.json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    report = json.loads((folder / "fuzz.json").read_text())
    assert done.returncode == (1 if report["bad"] else 0)
    return report


def test_mistakes_in_calls(tmp_path):
    report = soaked(tmp_path, "--kinds", "calls", "--cases", "1000")
    assert report["bad"] == []
    assert report["cases"] == 40
    assert report["kinds"]["calls"]["refused"] > 20


def test_what_does_not_end_is_told(tmp_path):
    """Nothing ends within a microsecond."""
    report = soaked(tmp_path, "--kinds", "units", "--cases", "20", "--limit", "1e-6")
    assert report["kinds"]["units"]["hang"] == 1
    assert report["bad"][0]["ending"] == "hang"


def test_sane_cases_end_right():
    assert ended(TRIANGLE) == "right"
    assert ended(LEARNS) == "right"
    assert ended(Table(TABLES[0], "none")) == "right"
    assert ended(File("network.csv", b"source,target\na,b\n")) == "right"


def test_broken_cases_are_refused():
    assert ended(Equilibrium("flow", 3, ((0, 1), (1, 3)), (1.0, 2.0), ground=(0,))) == "refused"
    assert ended(Learning(TRIANGLE, "allostery", (1,), (0,), (0.3, 1.0))) == "refused"
    assert ended(Table(TABLES[0] | {"stepz": 1}, "rename")) == "refused"
    assert ended(File("network.csv", b"source,target\na,a\n")) == "refused"


@pytest.mark.parametrize("wrong", [1 + 1e-5, np.nan], ids=["five digits", "NaN"])
def test_a_silent_wrong_answer_would_be_found(wrong, monkeypatch):
    """States that are a little off, of which the status says nothing."""
    at_rest, measured = endings_module.at_rest, endings_module.measured_response

    def off_rest(*arguments):
        return eqx.tree_at(lambda state: state.x, at_rest(*arguments), replace_fn=lambda x: x * wrong)

    def off_measured(*arguments):
        return eqx.tree_at(lambda pair: pair[0].drive, measured(*arguments), replace_fn=lambda x: x * wrong)

    monkeypatch.setattr(endings_module, "at_rest", off_rest)
    monkeypatch.setattr(endings_module, "measured_response", off_measured)
    for case in (TRIANGLE, LEARNS):
        with pytest.raises(AssertionError):
            ended(case)


def test_a_failure_without_a_cause_would_be_found(monkeypatch):
    at_rest = endings_module.at_rest

    def refusing(*arguments):
        code = jnp.asarray(jp.Status.INACCURATE, jnp.int32)
        return eqx.tree_at(lambda state: state.status, at_rest(*arguments), code)

    monkeypatch.setattr(endings_module, "at_rest", refusing)
    with pytest.raises(AssertionError, match="without a cause"):
        ended(TRIANGLE)


def test_the_two_oracles_agree(random):
    """Bordered LU in double precision and elimination in fifty digits, on what both can do."""
    network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2), (2, 3), (3, 0)]), k=[1.0, 2.0, 0.5, 4.0])
    boundary = jp.Boundary(network, held_nodes=[0], ground=[2])
    force, values = random.standard_normal((3, 4)), random.standard_normal((3, 1))
    rows = np.asarray(boundary.rows)
    exact = solve_exactly(network, rows, force, values)
    plain = solve_bordered(explicit_hessian(network), rows, force, values)
    for found, expected in zip(exact, plain, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(exact_states(network, boundary, force, values)[0].shape, (3, 4))
    with pytest.raises(AssertionError):
        assert_within_bound(network, exact[0] * (1 + 1e-5), exact[0], force)


def test_exact_elimination_knows_what_is_singular():
    network = jp.NodeNetwork([1.0, 1.0, 1.0])
    assert solve_exactly(network, np.zeros((0, 2)), np.ones((1, 2)), np.zeros((1, 0))) is None


def test_the_page_shows_what_was_measured():
    """Its table is that of the committed results: ten thousand cases, none of them bad."""
    root = Path(__file__).resolve().parents[2]
    report = json.loads((root / "benchmarks" / "results" / "fuzz.json").read_text(encoding="utf-8"))
    page = (root / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert report["bad"] == []
    assert sum(sum(endings.values()) for endings in report["kinds"].values()) >= 10_000
    for kind, endings in report["kinds"].items():
        assert not any(endings.get(ending) for ending in ("silently wrong", "traceback", "hang"))
        row = [kind, sum(endings.values()), *endings.values()]
        assert f"| {' | '.join(map(str, row))} |" in page
    for fact in (report["command"], report["date"][:10], report["versions"]["commit"]):
        assert fact in page
