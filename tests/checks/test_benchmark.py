"""Workloads are what they are said to be, and every contender takes the same steps. Nothing here is timed."""

import json
import os
import subprocess
import sys
from functools import cache

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import optax
import pytest
from helpers import assert_close, assert_refused

import jaxphys as jp
from jaxphys import cli
from jaxphys.checks import timing, workloads
from jaxphys.checks.baselines import CONTENDERS
from jaxphys.checks.workloads import WORKLOADS, Workload, planar_graph, workload
from jaxphys.io import provenance

pytestmark = pytest.mark.float64

SMALL = {
    "W1": {"nodes": 6},
    "W2": {"nodes": 12, "edges": 18, "tasks": 3},
    "W3": {"nodes": 20, "edges": 40, "grid": 3},
}


@cache
def small(name, **settings):
    return workload(name, realizations=3, **SMALL[name], **settings)


@cache
def ours(name, steps):
    return CONTENDERS["jaxphys"](small(name))(steps)


@pytest.mark.parametrize(
    ("name", "nodes", "entries", "samples"), [("W1", 20, 210, 1), ("W2", 40, 60, 5), ("W3", 300, 600, 121)]
)
def test_workloads_have_the_named_sizes(name, nodes, entries, samples):
    found = workload(name, realizations=2)
    assert found.realizations == 2
    assert found.network.k.shape == (2, entries)
    assert found.task.readout.shape[-1] == nodes
    assert found.task.num_samples == samples
    assert workload(name, realizations=1, **SMALL[name]).network.k.dtype == np.float64


def test_fifty_realizations_are_the_default():
    assert workload("W1").realizations == 50


def test_node_networks_are_shifted_by_three_sigma():
    matrices = np.asarray(jax.vmap(lambda network: network.hessian())(workload("W1").network))
    diagonal = np.diagonal(matrices, axis1=1, axis2=2) - 3 * np.sqrt(40)
    above = matrices[:, *np.triu_indices(20, 1)]
    assert abs(diagonal.mean()) < 0.15
    assert abs(diagonal.std() - 1) < 0.1
    assert abs(above.std() - np.sqrt(0.5)) < 0.03
    assert np.linalg.eigvalsh(matrices).min() > 0


def test_flow_networks_float_on_a_graph_each():
    found = workload("W2", realizations=2)
    edges = np.asarray(found.network.topology.edges)
    assert not np.array_equal(edges[0], edges[1])
    assert np.all(np.asarray(found.network.k) == 10)
    assert_close(found.task.boundary.rows[0], np.full((1, 40), 40**-0.5), relative=1e-12)
    terminals = np.asarray(found.task.force + found.task.readout)[0].sum(axis=0)
    assert sorted(terminals) == [0.0] * 30 + [1.0] * 10


def test_regression_networks_share_a_planar_graph():
    found = workload("W3", realizations=2)
    edges, k = np.asarray(found.network.topology.edges), np.asarray(found.network.k)
    assert np.array_equal(edges[0], edges[1])
    assert not np.array_equal(k[0], k[1])
    assert (k >= 1).all()
    assert (k <= 1.1).all()
    assert found.task.boundary.rows.shape == (2, 3, 300)
    inputs = np.asarray(found.task.inputs[0])
    assert_close(inputs.T @ inputs / 121, np.eye(2), relative=1e-12)
    assert_close(found.task.targets[0], inputs @ [[0.15, 0.2], [0.3, 0.1]], relative=1e-12)


def test_the_seed_fixes_the_draw_and_precision_rounds_it():
    first, again, other = small("W1"), small("W1"), small("W1", seed=1)
    assert np.array_equal(first.network.k, again.network.k)
    assert not np.array_equal(first.network.k, other.network.k)
    single = small("W1", dtype=np.float32)
    assert single.task.force.dtype == single.task.boundary.constraints.lift.dtype == np.float32
    assert np.array_equal(single.network.k, first.network.k.astype(jnp.float32))
    assert np.array_equal(single.task.force, first.task.force.astype(jnp.float32))


@pytest.mark.parametrize("degree", [2, 3])
def test_planar_graphs(degree, key):
    graph = planar_graph(60, 120 if degree == 3 else 80, key, min_degree=degree).to_networkx()
    assert nx.is_connected(graph)
    assert nx.check_planarity(graph)[0]
    assert min(d for _, d in graph.degree) >= degree


def test_what_cannot_be_drawn_is_refused(key):
    assert_refused("num_edges", planar_graph, 20, 61, key, max_draws=2)
    assert_refused("num_edges", planar_graph, 20, 25, key, max_draws=2)
    assert_refused("num_nodes", planar_graph, 3, 3, key)
    assert_refused("realizations", workload, "W1", realizations=0)
    with pytest.raises(jp.InputError, match="W1, W2, W3"):
        workload("W4")


@pytest.mark.parametrize("contender", sorted(set(CONTENDERS) - {"jaxphys"}))
@pytest.mark.parametrize("name", sorted(WORKLOADS))
def test_every_contender_takes_the_same_steps(name, contender):
    found = small(name)
    start = np.asarray(found.network.k)
    for steps in (1, 4):
        assert_close(CONTENDERS[contender](found)(steps) - start, ours(name, steps) - start, relative=1e-8)


@pytest.mark.parametrize("contender", sorted(CONTENDERS))
def test_every_contender_stops_at_the_bound(contender):
    found = small("W2")
    fast = {"rate": 1e6, "optimizer": optax.chain(optax.sgd(1e6), jp.bounds(found.lower))}
    k = CONTENDERS[contender](Workload(**{**vars(found), **fast}))(1)
    assert_close(k.min(), found.lower, relative=1e-12)
    assert (k < 1.001 * found.lower).sum() > 3


@pytest.mark.parametrize("name", sorted(WORKLOADS))
def test_contenders_run_in_single_precision(name):
    found = small(name, dtype=np.float32)
    for make in CONTENDERS.values():
        k = make(found)(4)
        assert k.dtype == np.float32
        assert_close(k, ours(name, 4), relative=1e-3)


def test_steps_are_timed_beside_what_starting_costs(monkeypatch):
    """A contender whose clock is known: 5 s to start, 2 s a step."""
    now = [0.0]

    def contender(steps):
        now[0] += 5.0 + 2.0 * steps
        return np.zeros((1, 1))

    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    found = timing.interleaved({"a": contender}, rounds=3, seconds=20.0)["a"]
    assert found == timing.Timing(2e6, 2e6, 2e6, 10)


def test_deviations_see_a_wrong_number():
    found = small("W2")
    assert max(timing.deviations(found, found).values()) < 1e-12
    off = Workload(**{**vars(found), "network": found.network.with_k(found.network.k * (1 + 1e-6))})
    errors = timing.deviations(off, found)
    assert 1e-8 < errors["update"] < 1e-4
    assert 1e-7 < errors["k_after_10_steps"] < 1e-5


def test_arithmetic_of_one_step_by_hand():
    # Six free coordinates, one force, one output, 21 entries: 72 + 144 + 84, for three realizations.
    assert timing.arithmetic(small("W1")) == (3 * 300, 3 * 8 * (72 + 36 + 24 + 84))
    assert timing.arithmetic(small("W1", dtype=np.float32))[1] == 3 * 4 * (72 + 36 + 24 + 84)


def test_ceilings_are_positive():
    found = timing.ceilings(0.0)
    assert set(found) == set(LIMITS)
    assert all(value > 0 for value in found.values())


PRODUCTS = ("numpy_product", "xla_batched_product")
LIMITS = [f"{kind}_{dtype}_gflops" for kind in PRODUCTS for dtype in ("float64", "float32")]
LIMITS += ["memory_copy_gbytes_per_s", "cache_copy_gbytes_per_s", "dispatch_us"]
KEYS = {"dtype", "solver", "us_per_step", "us_per_step_numpy_loop", "ratio", "compile_s", "max_rel_error"}


def test_bench_writes_a_whole_report(tmp_path, monkeypatch, capsys):
    for name in timing.THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(timing, "allowed_cores", lambda: [0])
    named = workloads.workload
    monkeypatch.setattr(timing, "workload", lambda name, **settings: named(name, **settings, nodes=5))
    monkeypatch.setattr(timing, "ceilings", lambda seconds: dict.fromkeys(LIMITS, 10.0))
    path = tmp_path / "bench.json"
    assert cli.main(["bench", "--quick", "--workload", "W1", "--json", str(path)]) == 0
    assert [file.name for file in tmp_path.iterdir()] == ["bench.json"]
    report = json.loads(path.read_text())
    assert {"machine", "versions", "workloads", "ceilings", "date", "seed", "command"} <= set(report)
    recorded = report["machine"] | report["versions"]
    assert {**recorded, **provenance()} == recorded
    assert report["command"].startswith("jaxphys bench --cores 1 --json")
    assert set(report["workloads"]) == {"W1"}
    double = report["workloads"]["W1"]
    for entry, dtype in ((double, "float64"), (double["float32"], "float32")):
        assert set(entry) >= KEYS
        assert entry["dtype"] == dtype
        assert entry["realizations"] == 50
        assert entry["ratio"] == entry["us_per_step_numpy_loop"] / entry["us_per_step"]
        assert 0 < entry["max_rel_error"] < (1e-12 if dtype == "float64" else 1e-4)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) <= 24
    rows = [line.split()[:2] for line in printed if line.startswith("W1")]
    assert rows == [["W1", "float64"], ["W1", "float32"]]


@pytest.mark.parametrize(
    ("arguments", "saying"),
    [
        (["--workload", "W4"], "`workload` must be among W1, W2, W3"),
        (["--cores", "0"], "`cores` must be positive"),
        (["--json", "nowhere/at/all.json"], "must lie in a folder that exists"),
    ],
)
def test_bench_refuses_before_it_measures(arguments, saying, capsys):
    assert cli.main(["bench", *arguments]) == 2
    printed = capsys.readouterr()
    assert saying in printed.err
    assert printed.out == ""


def test_a_process_is_kept_to_its_cores():
    """Where it is not yet, another one is started that is, and asks for no third."""
    script = (
        "import sys, os; from jaxphys.checks.timing import rerun_on_cores;"
        "status = rerun_on_cores([sys.executable, *sys.orig_argv[1:]], 1);"
        "print(status, os.environ.get('OMP_NUM_THREADS')); sys.exit(5 if status is None else status)"
    )
    command = [sys.executable, "-u", "-c", script]
    environment = {**os.environ, "OMP_NUM_THREADS": "7"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.stdout.splitlines() == ["None 1", "5 7"]
    assert done.returncode == 5
