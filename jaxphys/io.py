"""Reading and writing networks and runs. Files from strangers are data: nothing in them is executed."""

import contextlib
import csv
import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from jaxphys._checks import InputError, require
from jaxphys.equilibrium import Status
from jaxphys.networks import AbstractNetwork, FlowNetwork, NodeNetwork, SpringNetwork
from jaxphys.topology import from_edges
from jaxphys.train import Run

# Names of the axes behind (realization, record) of the functionals that `train` knows.
_AXES: dict[str, tuple[str, ...]] = {
    "k": ("edge",),
    "eigenvalues": ("mode",),
    "force_alignment": ("mode", "sample"),
    "response_alignment": ("mode", "sample"),
    "susceptibility": ("edge",),
}


def write_atomically(path: Path | str, write: Callable[[Path], Any]) -> None:
    """Call `write` on a temporary neighbour of `path`, then move it there: whole file or none."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.part")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def provenance() -> dict[str, str]:
    """What a run depended on: versions, device, and the commit if jaxphys runs from a git checkout."""
    from jaxphys import __version__

    record = {
        "jaxphys": __version__,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "numpy": np.__version__,
        "device": jax.devices()[0].device_kind,
        "platform": platform.platform(),
    }
    root = Path(__file__).resolve().parent.parent
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            described = subprocess.run(command, capture_output=True, text=True, check=True)
            record["commit"] = described.stdout.strip()
    return record


def run_dataset(
    run: Run, *, attributes: Mapping[str, str | int | float] | None = None, **per_realization: Any
) -> xr.Dataset:
    """A `Run` as a labelled dataset; `run.nc` holds just this.

    Variables: `cost(realization, record)`, `step(record)`, `k` and `k_initial(realization, edge)`,
    `edges(edge, end)` or `(realization, edge, end)`, `status(realization)` (`Status` codes),
    `evaluations(realization)` of the rule,
    recorded functionals as `name(realization, record, …)`, `positions` where nodes have them,
    the task's arrays as `task_*`, and any `per_realization` arrays by name. Node networks:
    edge = upper triangle with diagonal, row by row.
    """
    network, task = run.network, run.task
    variables: dict[str, Any] = {
        "step": ("record", run.steps),
        "cost": (("realization", "record"), run.cost, {"long_name": "learning cost"}),
        "k": (("realization", "edge"), np.asarray(network.k), {"long_name": "learning degrees of freedom"}),
        "k_initial": (("realization", "edge"), np.asarray(run.initial_k)),
        "status": ("realization", run.status, {"long_name": "0: ok; else see jaxphys.Status"}),
    }
    if isinstance(network, NodeNetwork):
        variables["edges"] = (("edge", "end"), np.stack(np.triu_indices(network.num_nodes), axis=1))
    else:
        variables["edges"] = _shared(np.asarray(network.topology.edges), ("edge", "end"))
        if network.topology.positions is not None:
            variables["positions"] = _shared(np.asarray(network.topology.positions), ("node", "axis"))
        if network.topology.box is not None:
            variables["box"] = _shared(np.asarray(network.topology.box), ("axis",))
    for name, axes, values in (
        ("force", ("terminal", "coordinate"), task.force),
        ("values", ("terminal", "held_row"), task.values),
        ("inputs", ("sample", "terminal"), task.inputs),
        ("readout", ("output", "coordinate"), task.readout),
        ("targets", ("sample", "output"), task.targets),
        ("weights", ("sample", "output"), task.weights),
        ("boundary", ("row", "coordinate"), task.boundary.rows),
    ):
        if values is not None:
            variables[f"task_{name}"] = (("realization", *axes), np.asarray(values))
    if run.evaluations is not None:
        variables["evaluations"] = ("realization", run.evaluations)
    for name, values in run.records.items():
        further = _AXES.get(name, tuple(f"{name}_{i}" for i in range(values.ndim - 2)))
        # The final k is there already; its history needs another name.
        variables[f"{name}_history" if name in variables else name] = (
            ("realization", "record", *further),
            values,
        )
    for name, values in per_realization.items():
        variables[name] = ("realization", np.asarray(values))
    facts = {
        "network": type(network).__name__,
        "num_nodes": network.num_nodes,
        "dimension": network.dimension,
    }
    return xr.Dataset(variables, attrs={**facts, **(attributes or {})})


def save_run(dataset: xr.Dataset, path: Path | str) -> None:
    """Write a dataset of `run_dataset` as compressed netCDF (HDF5), whole or not at all.

    Read it with `load_run` or `xarray.open_dataset(path)`.
    """
    encoding = {
        name: {"zlib": True, "complevel": 4}
        for name, variable in dataset.variables.items()
        if variable.size > 1000
    }
    write_atomically(path, lambda to: dataset.to_netcdf(to, engine="h5netcdf", encoding=encoding))


def load_run(path: Path | str) -> xr.Dataset:
    """Read a `run.nc` into memory; raises `InputError` if the file is none of ours."""
    try:
        dataset = xr.load_dataset(path, engine="h5netcdf")
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise InputError(f"File {path} cannot be read as netCDF: {_first_line(error)}") from None
    missing = {"cost", "step", "k", "k_initial", "edges", "status"} - set(dataset.variables)
    if missing:
        raise InputError(f"File {path} is no jaxphys run: it lacks {', '.join(sorted(missing))}.")
    return dataset


def save_network(network: AbstractNetwork, path: Path | str, **facts: Any) -> None:
    """Write one network as node-link JSON, exact in float64; networkx reads it too.

    Nodes have `id` and, where known, `pos`; edges `source`, `target`, `k`, in the order of `k`.
    A node network's diagonal entries are self-loops. `graph` holds `kind`, and any `facts`.
    """
    graph: dict[str, Any] = {"kind": _KINDS[type(network)], **facts}
    nodes: list[dict[str, Any]] = [{"id": i} for i in range(network.num_nodes)]
    if isinstance(network, NodeNetwork):
        pairs = np.stack(np.triu_indices(network.num_nodes), axis=1).tolist()
        kept = np.ones(len(pairs), bool)
    else:
        assert isinstance(network, FlowNetwork | SpringNetwork)
        topology = network.topology
        pairs, kept = np.asarray(topology.edges).tolist(), np.asarray(topology.edge_mask)
        if topology.positions is not None:
            for node, position in zip(nodes, np.asarray(topology.positions).tolist(), strict=True):
                node["pos"] = position
        if topology.box is not None:
            graph["box"] = np.asarray(topology.box).tolist()
        if isinstance(network, SpringNetwork):
            graph["law"] = network.law
    k = np.asarray(network.k).tolist()
    edges = [{"source": a, "target": b, "k": k[i]} for i, (a, b) in enumerate(pairs) if kept[i]]
    parallel = len({frozenset((e["source"], e["target"])) for e in edges}) < len(edges)
    content = {"directed": False, "multigraph": parallel, "graph": graph, "nodes": nodes, "edges": edges}
    write_atomically(path, lambda to: to.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8"))


def load_network(path: Path | str) -> AbstractNetwork:
    """Read a network from node-link JSON (`save_network`) or a CSV edge list.

    A CSV file has a header with `source`, `target` and optionally `k` (1 if left out); nodes are
    numbered in the order in which they first appear and the network is a flow network.

    Raises `InputError` that names the file and what is wrong with it.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"File {path} cannot be read: {_first_line(error)}") from None
    try:
        if path.suffix.lower() == ".csv":
            return _network_from_csv(text)
        if path.suffix.lower() == ".json":
            return _network_from_json(text)
    except InputError as error:
        raise InputError(f"File {path}: {error}") from None
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
        OverflowError,
        csv.Error,
    ) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else _first_line(error)
        raise InputError(f"File {path} holds no network: {what}") from None
    raise InputError(f"File {path} must end in .json or .csv, but it ends in {path.suffix!r}.")


_KINDS: dict[type, str] = {FlowNetwork: "flow", SpringNetwork: "spring", NodeNetwork: "node"}


def _network_from_csv(text: str) -> AbstractNetwork:
    table = csv.DictReader(text.lstrip("\ufeff").splitlines(), skipinitialspace=True)
    columns = table.fieldnames or []
    require(
        {"source", "target"} <= set(columns),
        "header",
        "name the columns source and target",
        f"it names {columns}",
    )
    number: dict[str, int] = {}
    edges, k = [], []
    for line, row in enumerate(table, start=2):
        ends = [(row[end] or "").strip() for end in ("source", "target")]
        require(all(ends), "content", "name two nodes in every line", f"line {line} does not")
        edges.append([number.setdefault(end, len(number)) for end in ends])
        k.append(float(row["k"]) if "k" in columns else 1.0)
    return FlowNetwork(from_edges(np.array(edges, dtype=int).reshape(-1, 2)), jnp.asarray(k, float))


def _network_from_json(text: str) -> AbstractNetwork:
    content = json.loads(text)
    require(isinstance(content, dict), "content", "be a JSON object", f"it is a {type(content).__name__}")
    graph = content.get("graph", {})
    kind = graph.get("kind", "flow")
    require(kind in _KINDS.values(), "kind", "be flow, spring or node", f"it is {kind!r}")
    number = {node["id"]: i for i, node in enumerate(content["nodes"])}
    edges = np.array([[number[e["source"]], number[e["target"]]] for e in content["edges"]], dtype=int)
    k = np.array([float(e["k"]) for e in content["edges"]])
    if kind == "node":
        matrix = np.zeros((len(number), len(number)))
        matrix[edges[:, 0], edges[:, 1]] = matrix[edges[:, 1], edges[:, 0]] = k
        return NodeNetwork.from_matrix(matrix)
    positions = [node.get("pos") for node in content["nodes"]]
    topology = from_edges(
        edges,
        num_nodes=len(number),
        positions=None if any(p is None for p in positions) else np.array(positions, dtype=float),
        box=graph.get("box"),
    )
    if kind == "spring":
        return SpringNetwork(topology, k, law=graph.get("law", "central"))
    return FlowNetwork(topology, k)


def _shared(values: np.ndarray, axes: tuple[str, ...]) -> tuple[tuple[str, ...], np.ndarray]:
    """Without the realization axis where all realizations agree."""
    return (axes, values[0]) if (values == values[0]).all() else (("realization", *axes), values)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def typical_realization(dataset: xr.Dataset) -> int:
    """The realization whose final cost is the median of those that did not fail (0 if all did)."""
    cost = np.where(dataset["status"].values == Status.OK, dataset["cost"].values[:, -1], np.nan)
    if np.isnan(cost).all():
        return 0
    order = np.argsort(cost)  # NaN last
    return int(order[(np.isfinite(cost).sum() - 1) // 2])
