"""Networks on their way to other programs."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import networkx as nx
import numpy as np

from jaxphys._checks import InputError
from jaxphys.equilibrium import Boundary
from jaxphys.io.circuits import NETLISTS, Circuit, make_circuit, read_netlist, read_rows, save_netlist
from jaxphys.io.files import about, shown, write_atomically
from jaxphys.io.networks import read_network, save_network, split_parts
from jaxphys.io.runs import read_run_network, read_run_task
from jaxphys.networks.physics import AbstractNetwork, FlowNetwork, check_single
from jaxphys.solvers import row_entries


def export_file(
    path: Path | str,
    out: Path | str,
    *,
    as_netlist: bool = False,
    kind: str | None = None,
    realization: int | None = None,
    sample: int = 0,
    held: Mapping[str, float] | None = None,
    currents: Mapping[str, float] | None = None,
    ground: Sequence[str] = (),
    values: str | None = None,
    unweighted: bool = False,
) -> None:
    """Write the network of a file in another format: that of `out`'s suffix, or a netlist.

    A netlist of a run has the sources of one `sample` of its task, that of a netlist its own; any other file
    needs what is `held` (volts) and grounded, and `currents` (amperes), by the names of nodes. `kind`,
    `realization`, `values` and `unweighted` are those of `read_network`.

    Raises `InputError` that names the file, the node or what is missing.
    """
    suffix, has_sources = Path(path).suffix.lower(), bool(held or currents or ground)
    if not as_netlist:
        network = read_network(
            path, kind=kind, realization=realization, values=values, unweighted=unweighted
        ).network
        export_network(network, out)
        return
    if not has_sources and suffix == ".nc":
        save_netlist(read_run_circuit(path, realization=realization, sample=sample), out)
        return
    if not has_sources and suffix in NETLISTS:
        save_netlist(read_netlist(path), out)
        return
    network, labels = read_network(
        path, kind=kind, realization=realization, values=values, unweighted=unweighted
    )
    with about(path):
        if not isinstance(network, FlowNetwork):
            raise InputError(f"a circuit is a flow network, but it holds a {type(network).__name__}.")
        if not held and not ground:
            raise InputError("a netlist needs a node that is held or grounded, but none is named.")
        for node in (*(held or ()), *(currents or ()), *ground):
            if node not in labels:
                raise InputError(f"it has no node {shown(node)}; its first ones are {', '.join(labels[:5])}.")
        # By number: where names are but numbers, nodes have no others.
        number = {label: i for i, label in enumerate(labels)}
        circuit = make_circuit(
            network,
            held={number[node]: value for node, value in (held or {}).items()},
            currents={number[node]: value for node, value in (currents or {}).items()},
            ground=[number[node] for node in ground],
        )
    save_netlist(circuit, out)


def export_network(network: AbstractNetwork, path: Path | str) -> None:
    """Write a network as `.json`, `.graphml`, `.csv` or `.npz`, told by the suffix; exact in float64.

    `read_network` reads all of them back. Only JSON and `.npz` hold a periodic box; an edge list (`.csv`)
    holds no nodes without edges, and does not say that a network is one of nodes or that springs are vectors.
    Raises `InputError` for an ensemble, and where the format cannot hold the network.
    """
    check_single(network)
    suffix = Path(path).suffix.lower()
    if suffix == ".json":
        save_network(network, path)
        return
    edges, k, positions, box = _plain(network)
    names = list(network.node_names)
    scalars, of_edges = split_parts(network)
    if suffix == ".npz":
        arrays: dict[str, Any] = {"edges": edges, network.kind.column: k, "kind": network.kind.tag, **scalars}
        arrays |= {name: array[np.asarray(network.edge_mask)] for name, array in of_edges.items()}
        if network.kind.is_matrix:
            arrays = {"matrix": np.asarray(network.hessian())}
        arrays |= {} if positions is None else {"positions": positions}
        arrays |= {} if box is None else {"box": box}
        content = io.BytesIO()
        np.savez(content, labels=np.array(names), **arrays)
        write_atomically(path, lambda to: to.write_bytes(content.getvalue()))
        return
    if of_edges and suffix in (".csv", ".graphml"):
        raise InputError(f"File {path}: {suffix} cannot hold a {network.kind.name}; use .json or .npz.")
    if box is not None and suffix in (".csv", ".graphml"):
        raise InputError(f"File {path}: {suffix} cannot hold a periodic box; use .json or .npz.")
    alone = np.setdiff1d(np.arange(network.num_nodes), edges)
    if alone.size and suffix == ".csv":
        raise InputError(
            f"File {path}: .csv has no line for node {shown(names[alone[0]])}, which has no edge; use .json, "
            ".graphml or .npz."
        )
    if suffix == ".csv":
        text = _edge_list(network, edges, k, positions, names)
    elif suffix == ".graphml":
        text = _graphml(network, edges, k, positions, names)
    else:
        raise InputError(
            f"File {path}: it must end in .json, .graphml, .csv or .npz, but ends in {suffix!r}."
        )
    write_atomically(path, lambda to: to.write_text(text, encoding="utf-8"))


def read_run_circuit(path: Path | str, *, realization: int | None = None, sample: int = 0) -> Circuit:
    """The trained flow network of one realization of a run between the sources of one sample of its task.

    Raises `InputError` that names the file.
    """
    with about(path):
        realization = read_run_network(path, realization).realization
    network = read_network(path, realization=realization).network
    with about(path):
        if not isinstance(network, FlowNetwork):
            raise InputError(f"a circuit is a flow network, but it holds a {type(network).__name__}.")
        task = read_run_task(path, realization)
        inputs, rows = task["inputs"], task["boundary"]
        if not 0 <= sample < len(inputs):
            raise InputError(f"its task has samples from 0 to {len(inputs) - 1}, but {sample} is asked for.")
        for name, size in (("force", network.num_nodes), ("boundary", network.num_nodes), ("values", None)):
            shape = (inputs.shape[1] if name != "boundary" else len(rows), size or task[name].shape[1])
            if task[name].shape != shape:
                raise InputError(f"variable `task_{name}` does not fit the others of its task.")
        force = inputs[sample] @ task["force"]
        values = inputs[sample] @ task["values"]
        nodes, pairs, ground, floating = read_rows(row_entries(rows), network.num_nodes, len(values))
    boundary = Boundary(
        network,
        held_nodes=nodes,
        held_drops=pairs,
        ground=ground,
        free_modes="project" if floating else "forbid",
    )
    dtype = network.k.dtype
    return Circuit(network, boundary, jnp.asarray(force, dtype), jnp.asarray(values, dtype))


def _plain(
    network: AbstractNetwork,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Edges that there are, their values, positions and periodic box."""
    topology, kept = network.topology, np.asarray(network.edge_mask)
    places = None if topology.positions is None else np.asarray(topology.positions, dtype=float)
    box = None if topology.box is None else np.asarray(topology.box, dtype=float)
    return _aligned(np.asarray(topology.edges)[kept]), np.asarray(network.k, dtype=float)[kept], places, box


def _aligned(edges: np.ndarray) -> np.ndarray:
    """The same edges, those side by side in one direction: the opposite one reads as the same edge again."""
    _, first, pair = np.unique(np.sort(edges, axis=1), axis=0, return_index=True, return_inverse=True)
    return edges[first][pair.reshape(-1)]


def _edge_list(
    network: AbstractNetwork, edges: np.ndarray, k: np.ndarray, positions: np.ndarray | None, names: list[str]
) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    axes = "" if positions is None or positions.shape[1] < 2 else "xyz"[: positions.shape[1]]
    places = [f"{end}_{axis}" for end in ("source", "target") for axis in axes]
    table.writerow(["source", "target", network.kind.column, *places])
    for (a, b), value in zip(edges.tolist(), k.tolist(), strict=True):
        coordinates = [] if positions is None or not axes else positions[[a, b]].ravel().tolist()
        table.writerow([names[a], names[b], repr(value), *map(repr, coordinates)])
    return text.getvalue()


def _graphml(
    network: AbstractNetwork, edges: np.ndarray, k: np.ndarray, positions: np.ndarray | None, names: list[str]
) -> str:
    facts = {"kind": network.kind.tag, **split_parts(network)[0]}
    graph = nx.MultiGraph(**facts) if _are_parallel(edges) else nx.Graph(**facts)
    for node, name in enumerate(names):
        place = {} if positions is None else dict(zip("xyz", positions[node].tolist(), strict=False))
        graph.add_node(name, **place)
    for (a, b), value in zip(edges.tolist(), k.tolist(), strict=True):
        graph.add_edge(names[a], names[b], **{network.kind.column: value})
    return "\n".join(nx.generate_graphml(graph)) + "\n"


def _are_parallel(edges: np.ndarray) -> bool:
    return len(np.unique(np.sort(edges, axis=1), axis=0)) < len(edges)
