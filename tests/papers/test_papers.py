"""Experiments: the frame with small ones of our own, and the papers' at a size that takes seconds.

`JAXPHYS_TEST_EXPERIMENTS=1 pytest tests/papers/test_papers.py` runs every experiment of the registry.
"""

import dataclasses
import json
import os
import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import matplotlib.figure
import networkx as nx
import numpy as np
import pytest
import xarray as xr

from jaxphys import InputError, cli
from jaxphys import papers as ex
from jaxphys.io import provenance
from jaxphys.papers import frame, pages, registry
from jaxphys.papers.claims import Claim, from_json, geometric_mean, measured, to_json
from jaxphys.papers.frame import computed_once
from jaxphys.papers.microscopic_imprints import conductances, measures
from jaxphys.papers.microscopic_imprints import systems as imprint_systems
from jaxphys.papers.physical_effects.overload import half_point

pytestmark = pytest.mark.float64

KEYS = {
    "id",
    "source",
    "statement",
    "paper_value",
    "value",
    "spread",
    "realizations",
    "verdict",
    "condition",
}
TINY = ex.Settings(scale=0.01, patience=0.01)
ALL = tuple(ex.EXPERIMENTS)
QUICKLY = tuple(
    f"{paper}.{figure}"
    for paper, figures in {
        "physical-effects": ("fig4", "fig5", "fig6"),
        "microscopic-imprints": ("fig4", "fig6", "nulls"),
    }.items()
    for figure in figures
)


def draw(dataset):
    figure = matplotlib.figure.Figure()
    figure.subplots().plot(dataset["x"].values)
    return figure


class Counter:
    """An experiment that counts how often it was asked."""

    def __init__(self, name, interrupt=False, extras=None):
        self.calls, self.interrupt = 0, interrupt
        self.experiment = ex.Experiment(
            name, f"About {name}", "<b>bold</b>", self.compute, draw, extras=extras or {}
        )

    def compute(self, settings):
        self.calls += 1
        if self.interrupt:
            raise KeyboardInterrupt
        name = self.experiment.name
        values = np.arange(settings.realizations(10), dtype=float)
        claim = measured(f"{name}.mean", "here", "A <mean> is small", values, lambda v: v < 100)
        return ex.Result(xr.Dataset({"x": ("realization", values)}), [claim])


@pytest.fixture
def toys(monkeypatch):
    """Two experiments in place of the papers'."""
    counters = {name: Counter(name) for name in ("toy.one", "toy.two")}
    table = {name: counter.experiment for name, counter in counters.items()}
    for module in (registry, sys.modules["jaxphys.papers._reproduce"]):
        monkeypatch.setattr(module, "EXPERIMENTS", table)
    return counters


@pytest.fixture
def small_packings(monkeypatch):
    """Networks of Guzman et al. (2024) at a size whose programs compile in seconds."""
    for name, value in {"PARTICLES": 90, "NODES": 70, "APART": 2, "INSIDE": 1.0, "CANDIDATES": 2}.items():
        monkeypatch.setattr(imprint_systems, name, value)


def test_the_registry_knows_the_figures():
    first = {f"physical-effects.fig{i}" for i in range(2, 10)}
    second = {f"microscopic-imprints.fig{i}" for i in (1, *range(4, 13))}
    more = {f"physical-effects.{name}" for name in ("discovery", "capacity", "cost-hessian")}
    assert first | second | more <= set(ALL)
    assert all(name == one.name for name, one in ex.EXPERIMENTS.items())
    assert [one.name for one in ex.resolve([])] == list(ALL)
    assert {one.name for one in ex.resolve(["microscopic-imprints"])} >= second
    assert not {one.name for one in ex.resolve(["microscopic-imprints"])} & first
    two = ["physical-effects.fig4", "physical-effects.fig2"]
    assert [one.name for one in ex.resolve(two)] == two[::-1]


def test_unknown_names_list_the_known_ones(tmp_path, capsys):
    assert cli.main(["reproduce", "physical-effects.fig1", "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "physical-effects.fig1" in printed
    assert "physical-effects.fig2, physical-effects.fig3" in printed
    assert not (tmp_path / "out").exists()


def test_reproduce_writes_everything_and_goes_on(toys, tmp_path):
    told = []
    claims = ex.reproduce([], tmp_path, report=told.append)
    assert {path.name for path in tmp_path.iterdir()} == {
        *(f"toy.{number}.{end}" for number in ("one", "two") for end in ("nc", "png")),
        "claims.json",
        "report.html",
    }
    entries = json.loads((tmp_path / "claims.json").read_text())
    assert [set(entry) for entry in entries] == [KEYS, KEYS]
    assert [entry["id"] for entry in entries] == [claim.id for claim in claims]
    assert ex.load_claims(tmp_path / "claims.json") == claims
    with xr.open_dataset(tmp_path / "toy.one.nc") as dataset:
        assert dataset.attrs["seed"] == 0
        assert json.loads(dataset.attrs["versions"]) == provenance()
        assert ex.stored_claims(dataset) == claims[:1]
    page = (tmp_path / "report.html").read_text()
    assert "A &lt;mean&gt; is small" in page
    assert "&lt;b&gt;bold" in page
    assert not re.search("https?:", page.replace("http://www.w3.org", ""))

    assert ex.reproduce(["toy"], tmp_path, report=told.append) == claims
    assert [counter.calls for counter in toys.values()] == [1, 1]
    assert told[-2:] == ["toy.one: already there", "toy.two: already there"]
    (tmp_path / "toy.one.png").unlink()
    ex.reproduce(["toy.one"], tmp_path)
    assert toys["toy.one"].calls == 1
    assert (tmp_path / "toy.one.png").exists()
    ex.reproduce(["toy.one"], tmp_path, force=True)
    assert [counter.calls for counter in toys.values()] == [2, 1]


def test_side_by_side_is_as_one_by_one(toys, tmp_path):
    claims = ex.reproduce([], tmp_path / "one", jobs=1)
    assert ex.reproduce([], tmp_path / "two", jobs=2) == claims
    assert (tmp_path / "two" / "claims.json").read_text() == (tmp_path / "one" / "claims.json").read_text()
    with pytest.raises(InputError, match="`jobs`"):
        ex.reproduce([], tmp_path / "three", jobs=0)


def test_what_figures_share_is_computed_once():
    barrier, calls = threading.Barrier(4), []

    @computed_once(maxsize=4)
    def slow(number):
        calls.append(number)
        time.sleep(0.05)
        return object()

    def ask(number):
        barrier.wait()
        return slow(number)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, [0, 0, 0, 1]))
    assert sorted(calls) == [0, 1]
    assert found[0] is found[1] is found[2] is not found[3]


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interruption_leaves_what_is_done(toys, tmp_path, jobs):
    toys["toy.two"].interrupt = True
    ex.reproduce(["toy.one"], tmp_path)
    with pytest.raises(KeyboardInterrupt):
        ex.reproduce([], tmp_path, jobs=jobs)
    assert len(ex.load_claims(tmp_path / "claims.json")) == 1
    toys["toy.two"].interrupt = False
    ex.reproduce([], tmp_path)
    assert [counter.calls for counter in toys.values()] == [1, 2]
    assert len(ex.load_claims(tmp_path / "claims.json")) == 2


def test_results_of_other_settings_are_not_replaced(toys, tmp_path):
    ex.reproduce(["toy.one"], tmp_path)
    before = (tmp_path / "toy.one.nc").read_bytes()
    with pytest.raises(InputError, match=r"scale 1.0 instead of 0.1.*--force"):
        ex.reproduce([], tmp_path, ex.QUICK)
    assert (tmp_path / "toy.one.nc").read_bytes() == before
    assert [counter.calls for counter in toys.values()] == [1, 0]
    ex.reproduce([], tmp_path, ex.QUICK, force=True)
    with xr.open_dataset(tmp_path / "toy.one.nc") as dataset:
        assert dataset.sizes["realization"] == 2
    newer = dataclasses.replace(toys["toy.one"].experiment, revision=2)
    assert newer.identity(ex.QUICK) != toys["toy.one"].experiment.identity(ex.QUICK)


def test_damaged_results_and_folders(toys, tmp_path):
    ex.reproduce([], tmp_path)
    (tmp_path / "toy.one.nc").write_text("nothing of ours")
    with pytest.raises(InputError, match=r"toy\.one\.nc: cannot be read"):
        ex.reproduce([], tmp_path)
    # What is not asked for is in the summary all the same.
    with pytest.raises(InputError, match=r"toy\.one\.nc: cannot be read"):
        ex.reproduce(["toy.two"], tmp_path, force=True)
    assert len(ex.reproduce([], tmp_path, force=True)) == 2
    (tmp_path / "file").write_text("a file")
    with pytest.raises(InputError, match="must be a folder"):
        ex.reproduce([], tmp_path / "file")


def test_a_missing_extra_is_told_before_anything_is_computed(toys, tmp_path):
    lacking = Counter("toy.two", extras={"no_such_module_here": "dimension"})
    registry.EXPERIMENTS["toy.two"] = lacking.experiment
    with pytest.raises(InputError, match=r"pip install 'jaxphys\[dimension\]'"):
        ex.reproduce([], tmp_path / "out")
    assert toys["toy.one"].calls == 0
    assert not (tmp_path / "out").exists()


def test_experiments_want_double_precision(toys):
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(InputError, match="jax_enable_x64"):
            toys["toy.one"].experiment.run()
    finally:
        jax.config.update("jax_enable_x64", True)


def test_claims():
    values = [1.0, 2.0, 4.0, np.nan]
    claim = measured("a.b", "eq. 1", "It grows", values, lambda v: v > 1, paper="grows")
    assert (claim.value, claim.realizations, claim.verdict) == (2.0, 3, "holds")
    assert claim.spread == pytest.approx((1.2, 3.6))
    assert measured("a.b", "", "", values, lambda v: v > 9).verdict == "does not hold"
    nothing = measured("a.c", "", "", [np.nan], lambda v: True)
    assert (nothing.value, nothing.realizations, nothing.verdict) == (None, 0, "does not hold")
    assert from_json(to_json([claim, nothing])) == [claim, nothing]
    infinite = dataclasses.replace(claim, value=float("inf"))
    assert json.loads(to_json([infinite]))[0]["value"] is None
    assert geometric_mean(np.array([1e-4, 1.0])) == pytest.approx(1e-2)
    with pytest.raises(InputError, match="condition"):
        Claim("a", "", "", None, None, None, 0, "conditional")
    unknown = to_json([claim]).replace('"holds"', '"maybe"')
    for text in ("{", "3", '[{"id": "a"}]', unknown):
        with pytest.raises(InputError, match="list of claims"):
            from_json(text)


def test_the_table_in_markdown_has_a_row_for_each_claim():
    claim = measured("a.b", "eq. 1", "x | y", [1.0, 3.0], True, condition="now")
    lines = pages.markdown_table([claim]).splitlines()
    assert len(lines) == 3
    assert lines[2] == "| eq. 1 | x \\| y | – | 2 (1.2 to 2.8) | 2 | holds: now |"


def test_settings():
    assert ex.QUICK.realizations(300) == 30
    assert ex.Settings(scale=0.001).realizations(10) == 2
    draws = {float(jax.random.uniform(ex.Settings(seed=s).key(p))) for s in (0, 1) for p in ("a", "b")}
    assert len(draws) == 4
    for wrong in ({"scale": 0.0}, {"patience": 2.0}):
        with pytest.raises(InputError, match="lie above 0"):
            ex.Settings(**wrong)


def test_ensembles_share_a_dataset_and_come_apart_again():
    one = xr.Dataset({"k": (("realization", "edge"), np.ones((2, 3)))}, attrs={"network": "FlowNetwork"})
    both = frame.merged(frame.prefixed(one, "flow"), frame.prefixed(2 * one, "spring4"))
    assert both["flow_k"].dims == ("flow_realization", "flow_edge")
    xr.testing.assert_identical(ex.part(both, "flow"), one)
    with pytest.raises(InputError, match="ensemble `spring`"):
        ex.part(both, "spring")


def test_half_point():
    number = np.repeat([1, 5, 9], 4)
    learned = np.array([1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1], bool)
    assert half_point(number, learned) == pytest.approx(7.0)
    assert np.isnan(half_point(number, np.ones(12, bool)))


# On networks as small as these a target may lie beside a ground.
@pytest.mark.filterwarnings("ignore:Targets lie")
@pytest.mark.parametrize("figure", ALL if os.environ.get("JAXPHYS_TEST_EXPERIMENTS") else QUICKLY)
def test_papers_at_a_tiny_size(figure, tmp_path, small_packings):
    """They run, under the suite's strict settings; their arrays go through a file and make the picture."""
    one = ex.EXPERIMENTS[figure]
    result = one.run(TINY)
    ids = [claim.id for claim in result.claims]
    assert len(ids) == len(set(ids))
    assert all(name.startswith(f"{one.name}.") for name in ids)
    assert all(claim.statement and claim.source for claim in result.claims)
    result.dataset.to_netcdf(tmp_path / "result.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "result.nc") as dataset:
        one.draw(dataset.load()).savefig(tmp_path / "picture.png")
        assert ex.stored_claims(dataset) == result.claims


def test_saved_networks_give_the_saved_numbers():
    """Spectra, conductance and dimension again, by NumPy alone, from k and edges as a stranger finds them."""
    dataset = ex.EXPERIMENTS["physical-effects.fig4"].run(TINY).dataset
    for kind in ("node", "flow"):
        one = ex.part(dataset, kind)
        for r in range(one.sizes["realization"]):
            hessian = np.zeros((one.attrs["num_nodes"],) * 2)
            edges = one["edges"].values
            for (a, b), k in zip(edges if edges.ndim == 2 else edges[r], one["k"].values[r], strict=True):
                if kind == "node":
                    hessian[a, b] = hessian[b, a] = k
                else:
                    hessian[[a, b], [a, b]] += k
                    hessian[[a, b], [b, a]] -= k
            values = np.linalg.eigvalsh(hessian)[0 if kind == "node" else 1 :]
            conductance = np.sqrt(np.mean(values**-2))
            dimension = np.sum(values**-2) ** 2 / np.sum(values**-4) / 3
            assert one["effective_conductance"].values[r, -1] == pytest.approx(conductance, rel=1e-9)
            assert one["effective_dimension"].values[r, -1] == pytest.approx(dimension, rel=1e-9)


def test_imprints_again_from_the_saved_networks(small_packings):
    """Voltages, susceptibility and costs by NumPy alone, from k, edges and the task as they are saved."""
    dataset = ex.EXPERIMENTS["microscopic-imprints.fig4"].run(TINY).dataset
    one = ex.part(dataset, "regression")
    edges, nodes = one["edges"].values, one.attrs["num_nodes"]
    incidence = np.zeros((len(edges), nodes))
    incidence[np.arange(len(edges)), edges[:, 0]], incidence[np.arange(len(edges)), edges[:, 1]] = 1, -1
    for r, k in enumerate(one["k"].values):
        laplacian = incidence.T @ (k[:, None] * incidence)
        ground = int(one["grounds_nodes"].values[0])
        free = np.delete(np.arange(nodes), ground)
        drops = incidence[:, free] @ np.linalg.inv(laplacian[np.ix_(free, free)])
        found = one["susceptibility"].values[r]
        assert found == pytest.approx(np.sum(drops**2, axis=1), rel=1e-8)
        held = np.append(one["inputs_nodes"].values, ground)
        free = np.delete(np.arange(nodes), held)
        inverse = np.linalg.inv(laplacian[np.ix_(free, free)])
        units = np.eye(nodes)[held[:2]]
        units[:, free] = -units[:, held] @ laplacian[np.ix_(held, free)] @ inverse
        outputs = one["targets_nodes"].values[:, 0]
        if r == 0:
            assert one["voltages"].values == pytest.approx(units, abs=1e-10)
        inputs = one["task_inputs"].values[r]
        wrong = inputs @ units[:, outputs] - one["task_targets"].values[r]
        assert one["cost"].values[r, -1] == pytest.approx(0.5 * np.mean(np.sum(wrong**2, axis=1)), rel=1e-6)


def test_measures_of_fields_on_edges():
    draw = np.random.default_rng(0)
    scores, positive = draw.integers(0, 20, 60).astype(float), draw.random(60) < 0.3
    pairs = scores[positive][:, None] - scores[~positive]
    wanted = np.mean((pairs > 0) + 0.5 * (pairs == 0))
    assert measures.area_under_curve(scores, positive) == pytest.approx(wanted)
    assert np.isnan(measures.area_under_curve(scores, np.zeros(60, bool)))
    assert measures.largest(np.array([3.0, np.nan, 5.0, 4.0]), 0.5).tolist() == [False, False, True, True]
    assert measures.precision(np.arange(4.0), np.array([True, False, False, True])) == 0.5
    null = measures.permutation_null(5, 40, 4000, draw)
    assert null.mean() == pytest.approx(0.5, abs=0.01)
    assert null.std() == pytest.approx(np.sqrt(41 / (12 * 5 * 35)), rel=0.05)


def test_terminals_keep_their_distance():
    graph = imprint_systems.packings(ex.Settings(), 1)[0].topology
    assert graph.num_nodes == imprint_systems.NODES == 300
    nodes = imprint_systems.distant_nodes(graph, 5, 5, np.random.default_rng(0))
    lengths = dict(nx.all_pairs_shortest_path_length(graph.to_networkx()))
    assert min(lengths[a][b] for a in nodes for b in nodes if a != b) >= 5
    places = np.asarray(graph.positions)
    low, high = places.min(axis=0), places.max(axis=0)
    assert (np.minimum(places[nodes] - low, high - places[nodes]) > imprint_systems.INSIDE).all()
    with pytest.raises(InputError, match="no room for 200 terminals"):
        imprint_systems.distant_nodes(graph, 200, 5, np.random.default_rng(0))


def test_walls_and_corridors():
    """A ladder: its rungs block, and the current runs along the rails beside them."""
    edges = np.array([[0, 1], [1, 2], [3, 4], [4, 5], [0, 3], [1, 4], [2, 5]])
    one = xr.Dataset({"edges": (("edge", "end"), edges)})
    rungs = np.arange(7) >= 6
    found = conductances.corridors(one, np.array([5.0, 4.0, 3.0, 2.0, 1.0, 0.1, 9.0]), rungs)
    # So few are the strongest 15 %: the rung itself, which is none.
    assert not found.any()
    found = conductances.corridors(one, np.array([5.0, 9.0, 3.0, 2.0, 1.0, 0.1, 0.2]), rungs)
    assert np.flatnonzero(found).tolist() == [1]


def test_relative_conductances_of_the_most_susceptible():
    rest = jnp.zeros((1, 4))
    scores, relative = jnp.array([[1.0, 9.0, 2.0, 8.0]]), jnp.array([[2.0, 0.1, 0.1, 3.0]])
    one = imprint_systems.Imprint(rest, rest[:, None], rest[:, 0], scores, scores, relative)
    assert conductances.low_share(one, 0.5).tolist() == [0.5]
    assert conductances.low_share(one, 0.25).tolist() == [1.0]
