"""Networks in files: our own and those that others made."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from jaxphys._checks import InputError, require
from jaxphys.io.circuits import NETLISTS, read_netlist_network
from jaxphys.io.files import (
    MOST_EDGES,
    MOST_ENTRIES,
    MOST_NODES,
    Table,
    about,
    check_different,
    check_names,
    no_number,
    read_archive,
    read_table,
    read_text,
    shown,
    to_indices,
    to_label,
    to_labels,
    to_number,
    to_numbers,
    write_atomically,
)
from jaxphys.io.graphml import read_graphml
from jaxphys.io.runs import read_run_network
from jaxphys.networks import AbstractNetwork, FlowNetwork, NodeNetwork, SpringNetwork, check_single
from jaxphys.topology import Topology, from_edges

Kind = Literal["flow", "spring", "node"]

KINDS: dict[type, Kind] = {FlowNetwork: "flow", SpringNetwork: "spring", NodeNetwork: "node"}
_VALUES = ("k", "conductance", "resistance", "stiffness")
# networkx calls whatever an edge carries its weight; a table may mean anything by it.
_GRAPH_VALUES = (*_VALUES, "weight")
_VAGUE = ("weight", "weights", "w", "g", "r", "value")
_POSITIONS = tuple(f"{end}_{axis}" for end in ("source", "target") for axis in "xyz")
NETWORK_ARRAYS = (*_VALUES, "edges", "positions", "box", "labels", "matrix")


class NetworkFile(NamedTuple):
    """What a file says of a network.

    - `network`: a `FlowNetwork`, `SpringNetwork` or `NodeNetwork`.
    - `labels`: `(N,)` names of its nodes, in the order of the network's nodes.
    """

    network: AbstractNetwork
    labels: tuple[str, ...]


def save_network(network: AbstractNetwork, path: Path | str, **facts: Any) -> None:
    """Write one network as node-link JSON, exact in float64; networkx reads it too.

    Nodes have `id` (their number, or their name) and, where known, `pos`; edges `source`, `target`, `k`, in
    the order of `k`. A node network's diagonal entries are self-loops. `graph` holds `kind`, and any `facts`.
    Raises `InputError` for an ensemble.
    """
    check_single(network)
    graph: dict[str, Any] = {"kind": KINDS[type(network)], **facts}
    names: Sequence[str | int] = range(network.num_nodes) if network.names is None else network.names
    nodes: list[dict[str, Any]] = [{"id": name} for name in names]
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
    edges = [{"source": names[a], "target": names[b], "k": k[i]} for i, (a, b) in enumerate(pairs) if kept[i]]
    parallel = len({frozenset((e["source"], e["target"])) for e in edges}) < len(edges)
    content = {"directed": False, "multigraph": parallel, "graph": graph, "nodes": nodes, "edges": edges}
    write_atomically(path, lambda to: to.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8"))


def load_network(path: Path | str) -> AbstractNetwork:
    """The network in a file, whatever its format: `read_network(path).network`."""
    return read_network(path).network


def read_network(path: Path | str, *, kind: str | None = None, realization: int | None = None) -> NetworkFile:
    """Read a network that anyone made: CSV edge list, JSON, GraphML, `.npz`, netlist or run (`.nc`).

    `docs/files.md` describes the formats. A regular file of bounded size is read as data: nothing in it is
    executed or followed.

    **Arguments**

    - `kind`: `"flow"`, `"spring"` or `"node"`; left out, what the file says: its `kind`, springs where the
      values are called `stiffness`, a node network for a matrix, else a flow network.
    - `realization`: of a run; left out, the `typical_realization`.

    `k` is in the units of the file (for resistances one over these), 1 where the file gives no values.
    Raises `InputError` that names the file, the place in it, and what is wrong.

    >>> import pathlib, tempfile
    >>> from jaxphys.io import read_network
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "edges.csv"
    >>> _ = path.write_text("source,target,resistance\\npump,valve,4\\nvalve,drain,2\\n")
    >>> network, labels = read_network(path)
    >>> network.k.tolist(), labels
    ([0.25, 0.5], ('pump', 'valve', 'drain'))
    """
    check_kind(kind)
    suffix = Path(path).suffix.lower()
    with about(path):
        if realization is not None and suffix != ".nc":
            raise InputError("it holds no realizations to choose from; only a run (.nc) does.")
        if suffix in (".csv", ".tsv"):
            return network_from_table(read_table(read_text(path)), kind)
        if suffix == ".json":
            return _network(_from_json(read_text(path)), kind)
        if suffix == ".graphml":
            return _network(_from_graphml(read_text(path)), kind)
        if suffix == ".npz":
            return network_from_arrays(read_archive(path, NETWORK_ARRAYS), kind)
        if suffix == ".nc":
            return _network(_from_run(path, realization), kind)
        if suffix in NETLISTS:
            require(kind in (None, "flow"), "kind", "be flow for a netlist", f"it is {kind}")
            return NetworkFile(*read_netlist_network(path))
        raise InputError(
            "it must end in .csv, .tsv, .json, .graphml, .npz, .nc or, for a netlist, "
            f"{', '.join(NETLISTS)}, but it ends in {shown(suffix)}."
        )


def check_kind(kind: str | None) -> None:
    """Require a kind of network, or None."""
    require(kind in (None, *KINDS.values()), "kind", "be flow, spring or node", f"it is {shown(kind)}")


def is_edge_list(header: Sequence[str]) -> bool:
    """Whether the first row of a table is that of an edge list."""
    return {"source", "target"} <= set(header)


def network_from_table(table: Table, kind: str | None) -> NetworkFile:
    """The network in an edge list; raises `InputError` without the name of the file."""
    return _network(_from_table(table), kind)


def network_from_arrays(arrays: dict[str, np.ndarray], kind: str | None) -> NetworkFile:
    """The network in the arrays of an archive; raises `InputError` without the name of the file."""
    if "matrix" not in arrays:
        return _network(_from_arrays(arrays), kind)
    if "edges" in arrays:
        raise InputError("it must hold `edges` or `matrix`, but it holds both.")
    if kind not in (None, "node"):
        raise InputError(f"it holds a matrix, which is that of a node network, not of a {kind} network.")
    matrix = to_numbers(arrays["matrix"], "array `matrix`", 2)
    _check_matrix_size(len(matrix))
    labels = to_labels(arrays.get("labels"), len(matrix))
    return NetworkFile(_node_network(matrix, labels), labels)


@dataclass
class _Draft:
    """What a file says, before it is known to be a network.

    `places` says where in the file edge i stands; `quantity` is what the file calls the values of its
    edges, None where it gives none.
    """

    labels: Sequence[str]
    edges: np.ndarray
    places: Callable[[int], str]
    quantity: str | None
    values: np.ndarray | Sequence[Any]
    kind: Any = None
    law: Any = "central"
    positions: np.ndarray | None = None
    box: np.ndarray | None = None
    parallel: bool = False


def _network(draft: _Draft, kind: str | None) -> NetworkFile:
    """A network from what a file says, everything checked; `kind` comes before what the file says."""
    if kind is None:
        kind = draft.kind
    if kind is None:
        kind = "spring" if draft.quantity == "stiffness" else "flow"
    if kind not in KINDS.values():
        raise InputError(f"its kind must be flow, spring or node, but it is {shown(kind)}.")
    labels = tuple(draft.labels)
    if len(labels) > MOST_NODES:
        raise InputError(f"it has more than the {MOST_NODES} nodes allowed.")
    if not len(draft.edges):
        raise InputError("it must have edges, but it has none.")
    if len(draft.edges) > MOST_EDGES and kind != "node":
        raise InputError(f"it has more than the {MOST_EDGES} edges allowed.")
    if kind != "node":
        loops = np.flatnonzero(draft.edges[:, 0] == draft.edges[:, 1])
        if loops.size:
            i = int(loops[0])
            raise InputError(
                f"{draft.places(i)} joins {shown(labels[draft.edges[i, 0]])} to itself; take it out."
            )
    if kind == "node" or not draft.parallel:
        _check_duplicates(draft, labels)
    k = _checked_values(draft, kind)
    if kind == "node":
        _check_matrix_size(len(labels))
        matrix = np.zeros((len(labels), len(labels)))
        a, b = draft.edges[:, 0], draft.edges[:, 1]
        matrix[a, b] = matrix[b, a] = k
        bare = np.setdiff1d(np.arange(len(labels)), a[a == b])
        if bare.size:
            raise InputError(
                f"a node network needs an edge from every node to itself, its diagonal entry, but "
                f"{shown(labels[bare[0]])} has none."
            )
        return NetworkFile(_node_network(matrix, labels), labels)
    topology = _topology(draft)
    if kind == "flow":
        return NetworkFile(FlowNetwork(topology, k), labels)
    if draft.law not in ("central", "vector"):
        raise InputError(f"the law of its springs must be central or vector, but it is {shown(draft.law)}.")
    if topology.positions is None:
        raise InputError("it must give positions of the nodes of a spring network, but it has none.")
    return NetworkFile(SpringNetwork(topology, k, law=draft.law), labels)


def _check_duplicates(draft: _Draft, labels: Sequence[str]) -> None:
    low, high = draft.edges.min(axis=1), draft.edges.max(axis=1)
    pairs = low * len(labels) + high
    order = np.argsort(pairs, kind="stable")
    again = np.flatnonzero(np.diff(pairs[order]) == 0)
    if again.size:
        # The first repetition in the order of the file.
        at = again[np.argmin(order[again + 1])]
        first, second = int(order[at]), int(order[at + 1])
        names = " – ".join(shown(labels[node]) for node in draft.edges[second])
        raise InputError(
            f"{draft.places(second)} repeats the edge {names} of {draft.places(first)}; keep one of them."
        )


def _checked_values(draft: _Draft, kind: str) -> np.ndarray:
    """`k` of every edge in double precision, known to survive JAX's present precision."""
    if draft.quantity is None:
        if kind == "node":
            raise InputError("it must give the values of a node network's edges, but it has none.")
        return np.ones(len(draft.edges))
    if draft.quantity == "resistance" and kind != "flow":
        raise InputError(f"it gives resistances, which a {kind} network does not have.")
    k = np.array([to_number(value) for value in draft.values], dtype=float)
    positive = kind != "node"
    must = "a positive number" if positive else "a finite number"
    bad = ~((k > 0) | ((not positive) & np.isfinite(k)))
    if not bad.any():
        with np.errstate(over="ignore", under="ignore", divide="ignore"):
            k = 1 / k if draft.quantity == "resistance" else k
            kept = k.astype(jax.dtypes.canonicalize_dtype(float))
        bad = ~np.isfinite(kept) | ((kept <= 0) if positive else False)
        must += f" within the range of {kept.dtype}"
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        value = draft.values[i]
        value = value.item() if isinstance(value, np.generic) else value
        raise no_number(value, f"`{draft.quantity}` of {draft.places(i)}", must)
    return k


def _topology(draft: _Draft) -> Topology:
    positions = draft.positions
    if positions is not None and not np.abs(positions).max() < 1e15:
        # Squares of distances must fit into single precision.
        raise InputError("positions must be smaller than 1e15; choose another unit of length.")
    return from_edges(
        draft.edges, num_nodes=len(draft.labels), positions=positions, box=draft.box, names=draft.labels
    )


def _check_matrix_size(num_nodes: int) -> None:
    most = math.isqrt(MOST_ENTRIES)
    if num_nodes > most:
        raise InputError(f"it has {num_nodes} nodes, more than the {most} allowed of a node network.")


def _node_network(matrix: np.ndarray, labels: Sequence[str]) -> NodeNetwork:
    if matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise InputError(f"the matrix of a node network must be square, but its shape is {matrix.shape}.")
    differs = np.argwhere(matrix != matrix.T)
    if len(differs):
        a, b = (int(i) for i in differs[0])
        raise InputError(
            f"the matrix of a node network must be symmetric, but entry [{a}, {b}] is {matrix[a, b]} "
            f"and entry [{b}, {a}] is {matrix[b, a]}."
        )
    with np.errstate(over="ignore"):
        matrix = matrix.astype(jax.dtypes.canonicalize_dtype(float))
    if not np.isfinite(matrix).all():
        raise InputError(f"the matrix of a node network must fit into {matrix.dtype}.")
    return NodeNetwork.from_matrix(matrix, names=labels)


def _one_quantity(found: Sequence[str], known: Sequence[str]) -> str | None:
    """What the values of edges are called, None where there are none."""
    quantities = [name for name in known if name in found]
    if len(quantities) > 1:
        raise InputError(f"it must give one of {', '.join(known)}, but it gives {' and '.join(quantities)}.")
    return quantities[0] if quantities else None


def _from_table(table: Table) -> _Draft:
    header = table.first
    check_names(header, ("source", "target", *_VALUES, *_POSITIONS), "column")
    if not is_edge_list(header):
        raise InputError(
            f"it must have the columns source and target, but its first line is {shown(', '.join(header))}."
        )
    check_different(header, "columns")
    quantity = _one_quantity(header, _VALUES)
    vague = next((name for name in header if name.lower() in _VAGUE), None)
    if quantity is None and vague is not None:
        raise InputError(
            f"column {shown(vague)} can mean anything; call it conductance, resistance or stiffness."
        )
    column = {name: i for i, name in enumerate(header)}
    axes = "".join(axis for axis in "xyz" if {f"source_{axis}", f"target_{axis}"} & set(header))
    wanted = {f"{end}_{axis}" for end in ("source", "target") for axis in axes}
    if axes not in ("", "xy", "xyz") or not wanted <= set(header):
        raise InputError(
            "it must give positions as source_x, source_y, target_x and target_y, in space also source_z and "
            "target_z."
        )
    number: dict[str, int] = {}
    places: list[tuple[list[float], int]] = []  # position of every node, and the line that gave it
    edges, values, lines = [], [], []
    for line, cells in table.rows:
        for end in ("source", "target"):
            label = to_label(cells[column[end]], f"{end} in line {line}")
            edges.append(number.setdefault(label, len(number)))
            if axes:
                names = [f"{end}_{axis}" for axis in axes]
                place = [to_number(cells[column[name]]) for name in names]
                wrong = next((i for i, value in enumerate(place) if math.isnan(value)), None)
                if wrong is not None:
                    raise no_number(cells[column[names[wrong]]], f"`{names[wrong]}` in line {line}")
                if len(number) > len(places):
                    places.append((place, line))
                elif places[edges[-1]][0] != place:
                    raise InputError(
                        f"line {line} places {shown(label)} elsewhere than line {places[edges[-1]][1]} does."
                    )
        if len(number) > MOST_NODES:
            raise InputError(f"it has more than the {MOST_NODES} nodes allowed.")
        lines.append(line)
        if quantity is not None:
            values.append(cells[column[quantity]])
    return _Draft(
        list(number),
        np.array(edges, dtype=np.int64).reshape(-1, 2),
        lambda i: f"line {lines[i]}",
        quantity,
        values,
        positions=np.array([place for place, _ in places]) if places else None,
    )


def _from_json(text: str) -> _Draft:
    # Every list and object takes many times its two characters in memory.
    if text.count("{") + text.count("[") > MOST_EDGES + 3 * MOST_NODES:
        raise InputError("it holds more lists and objects than a network of the size allowed.")
    try:
        content = json.loads(text, parse_int=_whole, parse_constant=_not_a_number)
    except json.JSONDecodeError as error:
        raise InputError(f"line {error.lineno} is no JSON: {error.msg}.") from None
    except RecursionError:
        raise InputError("it nests lists and objects too deep.") from None
    content = _typed(content, dict, "the file")
    for flag in ("directed", "multigraph"):
        _typed(content.get(flag, False), bool, f"`{flag}`")
    if content.get("directed"):
        raise InputError("it must hold an undirected graph, but it says directed.")
    if "links" in content and "edges" in content:
        raise InputError("it must hold `edges` or `links`, but it holds both.")
    for name in ("nodes", "edges"):
        if name not in content and not (name == "edges" and "links" in content):
            raise InputError(f"it must hold `nodes` and `edges` of a node-link graph, but it lacks `{name}`.")
    graph = _typed(content.get("graph", {}), dict, "`graph`")
    nodes = _typed(content["nodes"], list, "`nodes`")
    listed = "links" if "links" in content else "edges"
    links = _typed(content[listed], list, f"`{listed}`")
    if len(nodes) > MOST_NODES:
        raise InputError(f"it has more than the {MOST_NODES} nodes allowed.")
    number: dict[str, int] = {}
    for i, node in enumerate(nodes):
        if "id" not in _typed(node, dict, f"node {i}"):
            raise InputError(f"node {i} must have an `id`, but it has none.")
        label = to_label(node["id"], f"`id` of node {i}")
        if number.setdefault(label, i) != i:
            raise InputError(f"node {i} repeats the `id` {shown(label)} of node {number[label]}.")
    edges = []
    names: dict[str, None] = {}
    for i, edge in enumerate(links):
        names.update(dict.fromkeys(_typed(edge, dict, f"edge {i}")))
        for end in ("source", "target"):
            if end not in edge:
                raise InputError(f"edge {i} must have `source` and `target`, but it lacks `{end}`.")
            node = number.get(to_label(edge[end], f"`{end}` of edge {i}"))
            if node is None:
                raise InputError(f"edge {i} names a node that is not among the nodes: {shown(edge[end])}.")
            edges.append(node)
    check_names(names, ("source", "target", *_GRAPH_VALUES), "value of edges")
    quantity = _one_quantity(list(names), _GRAPH_VALUES)
    for i, edge in enumerate(links):
        if quantity is not None and quantity not in edge:
            raise InputError(f"edge {i} must have `{quantity}` as others do, but it has none.")
    return _Draft(
        list(number),
        np.array(edges, dtype=np.int64).reshape(-1, 2),
        lambda i: f"edge {i}",
        quantity,
        [edge[quantity] for edge in links] if quantity is not None else [],
        kind=graph.get("kind"),
        law=graph.get("law", "central"),
        positions=_positions(nodes, list(number)),
        box=_box(graph.get("box")),
        parallel=content.get("multigraph", False),
    )


def _whole(digits: str) -> int | float:
    # Longer ones are no numbers of nodes, and Python takes long over them.
    return int(digits) if len(digits) < 20 else float(digits)


def _not_a_number(name: str) -> float:
    raise InputError(f"it holds {name}, which is no JSON and no number.")


def _typed(value: Any, wanted: type, what: str) -> Any:
    if not isinstance(value, wanted):
        kinds: dict[type, str] = {dict: "a JSON object", list: "a JSON list", bool: "true or false"}
        raise InputError(f"{what} must be {kinds[wanted]}, but it is {shown(value)}.")
    return value


def _positions(nodes: Sequence[dict[str, Any]], labels: Sequence[str]) -> np.ndarray | None:
    """Positions from `pos`, a list or text, or else from `x`, `y` and perhaps `z` of every node."""
    places: list[list[float]] = []
    for node, label in zip(nodes, labels, strict=True):
        axes = [axis for axis in "xyz" if axis in node]
        if node.get("pos") is not None:
            place = node["pos"]
            if isinstance(place, str):
                place = place.strip("()[] ").replace(",", " ").split()
        elif axes:
            if axes not in (["x", "y"], ["x", "y", "z"]):
                raise InputError(f"node {shown(label)} must have x and y or x, y and z, but it has {axes}.")
            place = [node[axis] for axis in axes]
        else:
            continue
        if not isinstance(place, list) or not 1 <= len(place) <= 3:
            raise InputError(f"the position of node {shown(label)} must be a list of at most three numbers.")
        place = [to_number(coordinate) for coordinate in place]
        if any(map(math.isnan, place)):
            raise InputError(
                f"the position of node {shown(label)} must hold finite numbers, but it does not."
            )
        if places and len(place) != len(places[0]):
            raise InputError(
                f"the position of node {shown(label)} must have {len(places[0])} coordinates like others."
            )
        places.append(place)
    if places and len(places) < len(nodes):
        raise InputError(f"only {len(places)} of {len(nodes)} nodes have positions; give all or none.")
    return np.array(places) if places else None


def _box(box: Any) -> np.ndarray | None:
    if box is None:
        return None
    sides = [to_number(side) for side in box] if isinstance(box, list) and len(box) <= 3 else [math.nan]
    if not all(0 < side < 1e15 for side in sides):
        raise InputError("its `box` must be a list of at most three positive numbers smaller than 1e15.")
    return np.array(sides)


def _from_graphml(text: str) -> _Draft:
    graph = read_graphml(
        text,
        of_graph={"kind", "law"},
        of_nodes={"x", "y", "z", "pos"},
        of_edges=set(_GRAPH_VALUES),
    )
    number = {label: i for i, label in enumerate(graph.nodes)}
    edges = []
    names: dict[str, None] = {}
    for edge in graph.edges:
        for end in (edge.source, edge.target):
            if end not in number:
                raise InputError(f"line {edge.line} names a node that the file does not have: {shown(end)}.")
            edges.append(number[end])
        names.update(dict.fromkeys(edge.values))
    quantity = _one_quantity(list(names), _GRAPH_VALUES)
    for edge in graph.edges:
        if quantity is not None and quantity not in edge.values:
            raise InputError(f"the edge in line {edge.line} must have `{quantity}` as others do.")
    return _Draft(
        list(number),
        np.array(edges, dtype=np.int64).reshape(-1, 2),
        lambda i: f"line {graph.edges[i].line}",
        quantity,
        [edge.values[quantity] for edge in graph.edges] if quantity is not None else [],
        kind=graph.values.get("kind"),
        law=graph.values.get("law", "central"),
        positions=_positions(list(graph.nodes.values()), list(number)),
    )


def _from_arrays(arrays: dict[str, np.ndarray]) -> _Draft:
    if "edges" not in arrays:
        raise InputError("it must hold `edges` or `matrix` of a network, but it holds neither.")
    edges = to_indices(arrays["edges"], "array `edges`", 2)
    if edges.shape[1] != 2:
        raise InputError(f"array `edges` must have 2 columns, but it has {edges.shape[1]}.")
    quantity = _one_quantity(list(arrays), _VALUES)
    values = np.ones(0) if quantity is None else to_numbers(arrays[quantity], f"array `{quantity}`", 1)
    if quantity is not None and len(values) != len(edges):
        raise InputError(
            f"array `{quantity}` must have {len(edges)} entries like `edges`, but it has {len(values)}."
        )
    positions = to_numbers(arrays["positions"], "array `positions`", 2) if "positions" in arrays else None
    box = to_numbers(arrays["box"], "array `box`", 1) if "box" in arrays else None
    named = arrays["labels"].size if "labels" in arrays else 0
    count = max(int(edges.max(initial=-1)) + 1, named, 0 if positions is None else len(positions))
    if count > MOST_NODES:
        raise InputError(f"it has more than the {MOST_NODES} nodes allowed.")
    return _Draft(
        to_labels(arrays.get("labels"), count),
        edges,
        lambda i: f"row {i} of `edges`",
        quantity,
        values,
        positions=_placed(positions, count),
        box=_sides(box),
    )


def _placed(positions: np.ndarray | None, count: int) -> np.ndarray | None:
    if positions is not None and (len(positions) != count or not 1 <= positions.shape[1] <= 3):
        raise InputError(
            f"positions must have {count} rows, one for every node, of at most three coordinates, "
            f"but their shape is {positions.shape}."
        )
    return positions


def _sides(box: np.ndarray | None) -> np.ndarray | None:
    return None if box is None else _box(box.tolist())


def _from_run(path: Path | str, realization: int | None) -> _Draft:
    run = read_run_network(path, realization)
    edges = to_indices(run.edges, "variable `edges`", 2)
    if edges.max() >= run.num_nodes:
        raise InputError(
            f"variable `edges` must name nodes below {run.num_nodes}, but it names {edges.max()}."
        )
    real = np.ones(len(edges), bool) if run.kind == "node" else edges[:, 0] != edges[:, 1]
    box = None if run.box is None else to_numbers(run.box, "variable `box`", 1)
    positions = None if run.positions is None else to_numbers(run.positions, "variable `positions`", 2)
    rows = np.flatnonzero(real)
    return _Draft(
        run.names or to_labels(None, run.num_nodes),
        edges[real],
        lambda i: f"edge {rows[i]}",
        "k",
        to_numbers(run.k, "variable `k`", 1)[real],
        kind=run.kind,
        law=run.law,
        positions=_placed(positions, run.num_nodes),
        box=_sides(box),
        parallel=True,
    )
