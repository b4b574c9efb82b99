"""Files: exact round trips, and one clear sentence about those that are broken."""

import json
from pathlib import Path
from types import SimpleNamespace

import h5py
import jax
import networkx as nx
import numpy as np
import pytest
import xarray as xr
from helpers import assert_identical

import jaxphys as jp
from jaxphys.io import (
    join_runs,
    load_network,
    load_run,
    provenance,
    run_dataset,
    sampled_run,
    save_network,
    save_run,
    typical_realization,
    write_atomically,
)
from jaxphys.io.runs import ChunkedRows

PACKAGE = Path(jp.__file__).parent


def networks():
    graph = jp.erdos_renyi(8, 20, jax.random.key(1), dimension=2, rigid=True)
    k = np.random.default_rng(0).uniform(1e-3, 1e3, 20)
    lattice = jp.triangular_lattice((4, 4), periodic=True)
    return {
        "flow": jp.FlowNetwork(graph, k),
        "spring": jp.SpringNetwork(graph, k),
        "vector": jp.SpringNetwork(graph, k, law="vector"),
        "periodic": jp.SpringNetwork(lattice, 0.1),
        "node": jp.NodeNetwork(np.random.default_rng(1).standard_normal(21)),
    }


@pytest.mark.parametrize("name", list(networks()))
def test_networks_come_back_exactly(name, tmp_path):
    network = networks()[name]
    save_network(network, tmp_path / "network.json", seed=3)
    assert_identical(load_network(tmp_path / "network.json"), network)
    assert [path.name for path in tmp_path.iterdir()] == ["network.json"]


@pytest.mark.float64
def test_networkx_reads_our_json(tmp_path):
    network = networks()["flow"]
    save_network(network, tmp_path / "network.json")
    graph = nx.node_link_graph(json.loads((tmp_path / "network.json").read_text()), edges="edges")
    assert graph.number_of_nodes() == 8
    for (a, b), k in zip(np.asarray(network.topology.edges).tolist(), network.k.tolist(), strict=True):
        assert graph.edges[a, b]["k"] == k


def test_padding_is_not_written(tmp_path):
    topology = jp.from_edges([(0, 1), (1, 2)]).padded(4)
    network = jp.FlowNetwork(topology, [1.0, 2.0, 0.0, 0.0])
    save_network(network, tmp_path / "network.json")
    assert load_network(tmp_path / "network.json").k.tolist() == [1.0, 2.0]


def small_run():
    graphs = [jp.erdos_renyi(8, 12, jax.random.key(i)) for i in range(3)]
    flows = [jp.FlowNetwork(graph) for graph in graphs]
    tasks = [jp.allostery(n, jp.Boundary(n, ground=[0]), [1], [2], response=0.4) for n in flows]
    functionals = {name: jp.diagnostics.FUNCTIONALS[name] for name in ("k", "eigenvalues")}
    optimizer = jp.bounds(1e-3)
    return jp.train(
        jp.stack(flows),
        jp.stack(tasks),
        steps=20,
        record=jp.Record(every=10, functionals=functionals),
        optimizer=optimizer,
    )


def test_runs_come_back(tmp_path):
    run = small_run()
    dataset = run_dataset(run, attributes={"seed": 5}, test_cost=np.arange(3.0))
    save_run(dataset, tmp_path / "run.nc")
    with xr.open_dataset(tmp_path / "run.nc", engine="h5netcdf") as opened:
        assert opened.attrs["seed"] == 5
    loaded = load_run(tmp_path / "run.nc")
    xr.testing.assert_identical(loaded, dataset)
    assert loaded["cost"].dims == ("realization", "record")
    assert loaded["step"].values.tolist() == [0, 10, 20]
    assert loaded["k"].dims == loaded["k_initial"].dims == ("realization", "edge")
    assert loaded["edges"].dims == ("realization", "edge", "end")
    assert loaded["eigenvalues"].dims == ("realization", "record", "mode")
    assert loaded["k_history"].dims == ("realization", "record", "edge")
    np.testing.assert_array_equal(loaded["k_history"].values[:, -1], np.asarray(run.network.k))
    np.testing.assert_array_equal(loaded["task_boundary"].values, np.asarray(run.task.boundary.rows))
    assert loaded["test_cost"].values.tolist() == [0, 1, 2]


def test_shared_edges_are_written_once():
    network = jp.NodeNetwork.from_matrix(10 * np.eye(4))
    run = jp.train(network, jp.random_linear(network, 1, jax.random.key(0)), steps=2)
    dataset = run_dataset(run)
    assert dataset["edges"].dims == ("edge", "end")
    assert dataset["edges"].values[:3].tolist() == [[0, 0], [0, 1], [0, 2]]


@pytest.mark.parametrize("kind", ["junk", "cut short", "a folder", "missing"])
def test_broken_runs_are_refused(kind, tmp_path):
    path = tmp_path / "run.nc"
    if kind == "junk":
        path.write_bytes(bytes(range(256)))
    elif kind == "cut short":
        save_run(run_dataset(small_run()), path)
        path.write_bytes(path.read_bytes()[:-1000])
    elif kind == "a folder":
        path.mkdir()
    with pytest.raises(jp.InputError, match=r"run\.nc: it cannot be read") as caught:
        load_run(path)
    assert "\n" not in str(caught.value)


def test_a_run_that_would_fill_the_memory_is_not_loaded(tmp_path):
    """HDF5 stores no numbers that were never written: a small file can declare any size."""
    path = tmp_path / "run.nc"
    save_run(run_dataset(small_run()), path)
    with h5py.File(path, "a") as file:
        file.create_dataset("bomb", (2**20, 2**14), "f8", chunks=(2**10, 2**10), compression="gzip")
    assert path.stat().st_size < 2**20
    with pytest.raises(jp.InputError, match="unpacks to"):
        load_run(path)


@pytest.mark.parametrize("kind", ["link", "virtual", "external"])
def test_a_run_leads_to_no_other_file(kind, tmp_path):
    path, other = tmp_path / "run.nc", tmp_path / "other.h5"
    save_run(run_dataset(small_run()), path)
    with h5py.File(other, "w") as file:
        file["secret"] = np.arange(3.0)
    with h5py.File(path, "a") as file:
        if kind == "link":
            file["extra"] = h5py.ExternalLink("other.h5", "/secret")
        elif kind == "virtual":
            layout = h5py.VirtualLayout((3,), "f8")
            layout[:] = h5py.VirtualSource("other.h5", "secret", (3,))
            file.create_virtual_dataset("extra", layout)
        else:
            file.create_dataset("extra", (3,), "f8", external=[(str(other), 0, 24)])
    with pytest.raises(jp.InputError, match="'extra' must hold its numbers in the file itself"):
        load_run(path)


def test_another_netcdf_is_no_run(tmp_path):
    xr.Dataset({"cost": ("x", [1.0])}).to_netcdf(tmp_path / "run.nc", engine="h5netcdf")
    with pytest.raises(jp.InputError, match="lacks edges, k, k_initial, status, step"):
        load_run(tmp_path / "run.nc")


def test_typical_realization_is_the_median_of_those_that_did_not_fail():
    dataset = xr.Dataset(
        {
            "cost": (("realization", "record"), [[9.0, 5.0], [9.0, 1.0], [9.0, 0.1], [9.0, 3.0]]),
            "status": ("realization", [0, 0, 2, 0]),
        }
    )
    assert typical_realization(dataset) == 3


def test_writing_is_all_or_nothing(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")

    def fail(to):
        to.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_provenance_names_versions_and_device():
    record = provenance()
    assert record["jax"] == jax.__version__
    assert {"jaxphys", "python", "numpy", "device", "platform"} <= set(record)
    checkout = Path(__file__).resolve().parents[2]
    assert ("commit" in record) == ((checkout / ".git").exists() and checkout == PACKAGE.parent)


@pytest.mark.float64
@pytest.mark.parametrize("in_memory", [True, False])
def test_blocks_join_to_the_run_that_they_are(in_memory, tmp_path):
    """Whether they fit into memory or not; what all share is kept once, what only some share is not."""
    run = run_dataset(small_run(), attributes={"seed": 3}, test_cost=np.arange(3.0))
    one, other = run["edges"].values[0], run["edges"].values[2]
    whole = run.assign(edges=(("edge", "end"), one))
    own = run.assign(edges=(("realization", "edge", "end"), np.stack([one, one, other])))
    most = {} if in_memory else {"in_memory": 0}
    for dataset, name in ((whole, "shared"), (own, "own")):
        parts = [tmp_path / f"{name}{i}.nc" for i in range(2)]
        first = dataset.isel(realization=slice(0, 2))
        # The first two agree on their edges, and say so once.
        first = first.assign(edges=(("edge", "end"), one))
        for part, path in zip((first, dataset.isel(realization=slice(2, 3))), parts, strict=True):
            save_run(part, path)
        join_runs(parts, tmp_path / "run.nc", **most)
        joined = load_run(tmp_path / "run.nc")
        assert set(joined.variables) == set(dataset.variables)
        assert joined.attrs == dataset.attrs
        for variable in dataset.variables:
            assert joined[variable].dims == dataset[variable].dims
            assert_identical(joined[variable].values, dataset[variable].values)
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]


def test_rows_are_written_by_whole_chunks():
    class Variable:
        chunks, written = (4, 2), []

        def __setitem__(self, where, values):
            assert len(values) == where.stop - where.start
            self.written.append((where.start, values))

    rows, expected = ChunkedRows(Variable()), np.arange(22.0).reshape(11, 2)
    for part in np.split(expected, [3, 4, 9]):
        rows.append(part)
    rows.flush()
    assert [start for start, _ in Variable.written] == [0, 4, 8]
    assert_identical(np.concatenate([values for _, values in Variable.written]), expected)


@pytest.mark.float64
def test_runs_are_not_joined_where_a_disk_has_no_room(tmp_path, monkeypatch):
    save_run(run_dataset(small_run()), tmp_path / "part.nc")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(jp.InputError, match="make room and resume"):
        join_runs([tmp_path / "part.nc"], tmp_path / "run.nc", in_memory=0)
    assert not (tmp_path / "run.nc").exists()


@pytest.mark.float64
def test_of_a_large_run_some_are_shown(tmp_path):
    save_run(run_dataset(small_run()), tmp_path / "run.nc")
    assert "realizations" not in sampled_run(tmp_path / "run.nc", 3).attrs
    # A task that holds nothing has no values.
    dataset = load_run(tmp_path / "run.nc").isel(held_row=slice(0, 0), realization=[0, 1, 2, 0, 1])
    save_run(dataset, tmp_path / "run.nc")
    # These do not lie at equal distances.
    sample = sampled_run(tmp_path / "run.nc", 4)
    assert sample["task_values"].shape[0] == 4
    assert sample["task_values"].size == 0
    assert sample.attrs["realizations"] == 5
    assert_identical(sample["k"].values, dataset["k"].values[[0, 1, 3, 4]])
