"""Networks in files: our own and those that others made."""

import dataclasses
import inspect
import itertools
import json
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

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
    plain,
    read_archive,
    read_text,
    shown,
    shown_path,
    to_indices,
    to_label,
    to_labels,
    to_number,
    to_numbers,
    to_table,
    write_atomically,
)
from jaxphys.io.graphml import Edge, read_graphml
from jaxphys.io.matrices import MEANINGS
from jaxphys.io.runs import read_run_network
from jaxphys.io.strengths import (
    Said,
    Strength,
    Unknown,
    check_said,
    chosen,
    in_units,
    is_strength,
    is_unit_name,
    may_be_unit,
    units_of,
)
from jaxphys.networks.kinds import NetworkKind
from jaxphys.networks.physics import (
    AbstractNetwork,
    NodeNetwork,
    SpringNetwork,
    check_single,
    network_classes,
)
from jaxphys.networks.topology import Topology, from_edges

# How tables call the two ends of an edge.
_ENDS = (
    *(("source", "target"), ("from", "to"), ("start", "end"), ("startnode", "endnode"), ("node1", "node2")),
    *(("tail", "head"), ("u", "v"), ("sourceid", "targetid"), ("fromnode", "tonode"), ("fromid", "toid")),
    *(("sourcenode", "targetnode"), ("nodefrom", "nodeto"), ("startid", "endid"), ("nodea", "nodeb")),
    *(("nodei", "nodej"), ("node0", "node1"), ("src", "dst"), ("src", "tgt"), ("vertex1", "vertex2")),
    *(("v1", "v2"), ("n1", "n2"), ("id1", "id2"), ("parent", "child"), ("inlet", "outlet")),
    *(("upstream", "downstream"), ("i", "j"), ("a", "b")),
)
# Beside a first column of nodes these are nodes, too: those that are driven.
_MAY_BE_NODES = {"a", "b", "i", "j", "u", "v", "n1", "n2", "v1", "v2", "inlet", "outlet"}
# What an archive of a network holds beside its strengths.
NETWORK_ARRAYS = ("edges", "edge_index", "positions", "box", "labels", "matrix", "kind")


def is_of_edges(name: str) -> bool:
    """Whether an array of this name holds strengths, their units or parts of a network, and must be read."""
    return is_strength(name) or is_unit_name(name) or name in _part_names()


def _part_names() -> set[str]:
    """What networks of any kind are made of beside topology and k."""
    return {name for network in network_classes().values() for name in network.kind.parts}


class NetworkFile(NamedTuple):
    """What a file says of a network.

    - `network`: a `FlowNetwork`, `SpringNetwork` or `NodeNetwork`, or one of your own kind.
    - `labels`: `(N,)` names of its nodes, in the order of the network's nodes.
    """

    network: AbstractNetwork
    labels: tuple[str, ...]


def save_network(network: AbstractNetwork, path: Path | str, **facts: Any) -> None:
    """Write one network as node-link JSON, exact in float64; networkx reads it too.

    Nodes have `id` (their number, or their name) and, where known, `pos`; edges `source`, `target`, `k`, in
    the order of `k`. A node network's diagonal entries are self-loops. `graph` holds `kind`, and any `facts`.
    Raises `InputError` for an ensemble, and on a path that does not end in .json: `load_network` goes by that
    (`export_network` writes other formats).
    """
    check_single(network)
    suffix = Path(path).suffix
    if suffix.lower() != ".json":
        raise InputError(
            f"File {path}: it would hold JSON and must end in .json, but ends in {suffix!r}; "
            "`export_network` writes .npz, .csv and .graphml."
        )
    graph: dict[str, Any] = {"kind": network.kind.tag, **facts}
    names: Sequence[str | int] = range(network.num_nodes) if network.names is None else network.names
    nodes: list[dict[str, Any]] = [{"id": name} for name in names]
    topology = network.topology
    if topology.positions is not None:
        for node, position in zip(nodes, np.asarray(topology.positions).tolist(), strict=True):
            node["pos"] = position
    if topology.box is not None:
        graph["box"] = np.asarray(topology.box).tolist()
    scalars, arrays = split_parts(network)
    graph |= scalars
    columns = {"k": np.asarray(network.k)} | arrays
    kept = np.flatnonzero(np.asarray(network.edge_mask))
    rows = {name: column[kept].tolist() for name, column in columns.items()}
    edges = [
        {"source": names[a], "target": names[b], **{name: row[i] for name, row in rows.items()}}
        for i, (a, b) in enumerate(np.asarray(topology.edges)[kept].tolist())
    ]
    parallel = len({frozenset((e["source"], e["target"])) for e in edges}) < len(edges)
    content = {"directed": False, "multigraph": parallel, "graph": graph, "nodes": nodes, "edges": edges}
    write_atomically(path, lambda to: to.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8"))


def split_parts(network: AbstractNetwork) -> tuple[dict[str, str | int | float], dict[str, np.ndarray]]:
    """What a network is made of beside topology and k: texts and numbers, and arrays of its edges."""
    parts = network.parts()
    scalars = {name: part for name, part in parts.items() if isinstance(part, str | int | float)}
    arrays = {name: np.asarray(part) for name, part in parts.items() if name not in scalars}
    return scalars, arrays


def load_network(path: Path | str, **said: Any) -> AbstractNetwork:
    """The network in a file, whatever its format, without the labels of its nodes.

    `read_network(path, **said).network`: formats, keywords, units of `k` and errors are those of
    `read_network`.

    >>> import pathlib, tempfile
    >>> from jaxphys.io import load_network
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "edges.csv"
    >>> _ = path.write_text("source,target,conductance\\n0,1,4\\n1,2,2\\n")
    >>> load_network(path).k.tolist()
    [4.0, 2.0]
    """
    return read_network(path, **said).network


def read_network(
    path: Path | str,
    *,
    kind: str | None = None,
    realization: int | None = None,
    values: str | None = None,
    unweighted: bool = False,
) -> NetworkFile:
    """Read a network that anyone made: CSV edge list, JSON, GraphML, `.npz`, netlist or run (`.nc`).

    `docs/files.md` describes the formats. A regular file of bounded size is read as data: nothing in it is
    executed or followed.

    **Arguments**

    - `kind`: `"flow"`, `"spring"`, `"node"` or the tag of your own kind; left out, what the file says: its
      `kind`, springs where the values are stiffnesses, a node network for a matrix, else a flow network.
    - `realization`: of a run; left out, the `typical_realization`.
    - `values`: under which name edges have their strengths and what they are, `"weight=resistance (kOhm)"`;
      left out, the names in the file are understood, where they can be.
    - `unweighted`: every k is 1, whatever the file gives.

    `k` is in SI units where the name of the values says a unit, else in the units of the file (for
    resistances one over these). Edges side by side are kept, so that their conductances add. Where the file
    gives no strengths, `k` is 1, and a warning says so unless `unweighted` does.

    Raises `InputError` that names the file, the place in it, and what is wrong; also where numbers of edges
    may be strengths but do not say so, and where every edge is listed in both directions.

    >>> import pathlib, tempfile
    >>> from jaxphys.io import read_network
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "edges.csv"
    >>> _ = path.write_text("source,target,resistance (kOhm)\\npump,valve,4\\nvalve,drain,2\\n")
    >>> network, labels = read_network(path)
    >>> network.k.tolist(), labels
    ([0.00025, 0.0005], ('pump', 'valve', 'drain'))
    """
    said = checked(path, kind, values, unweighted)
    suffix = Path(path).suffix.lower()
    with about(path):
        if realization is not None and suffix != ".nc":
            raise InputError("it holds no realizations to choose from; only a run (.nc) does.")
        if suffix in (".csv", ".tsv"):
            return network_from_table(to_table(read_text(path)), said)
        if suffix == ".json":
            return _network(_from_json(read_text(path), said), said)
        if suffix == ".graphml":
            return _network(_from_graphml(read_text(path), said), said)
        if suffix == ".npz":
            return network_from_arrays(read_archive(path, NETWORK_ARRAYS, others=is_of_edges), said)
        if suffix == ".nc":
            return _network(_from_run(path, realization), said)
        if suffix in NETLISTS:
            require(kind in (None, "flow"), "kind", "be flow for a netlist", f"it is {kind}")
            network, labels = read_netlist_network(path)
            k = jnp.ones_like(network.k) if unweighted else network.k
            return NetworkFile(network.with_k(k), labels)
        raise InputError(
            "it must end in .csv, .tsv, .json, .graphml, .npz, .nc or, for a netlist, "
            f"{', '.join(NETLISTS)}, but it ends in {shown(suffix)}."
        )


def checked(
    path: Path | str, kind: str | None, values: str | None, unweighted: bool, matrix: str | None = None
) -> Said:
    """What a caller says of a file, checked against what can be said of files of its suffix.

    **Arguments**

    - `path`: of the file, for its suffix and for messages. `matrix`: what a square of numbers is, one of
      `MEANINGS`. The others are those of `read_network`.

    Raises `InputError` on a kind, meaning or quantity that there is not, and on what is said of a file that
    leaves no choice (a run, a netlist).
    """
    is_known = kind is None or kind in network_classes()
    require(is_known, "kind", "be flow, spring or node", f"it is {shown(kind)}")
    check_said(values)
    require(not (unweighted and values is not None), "unweighted", "be left out beside `values`", "it is set")
    meanings = f"be one of {', '.join(MEANINGS)}"
    require(matrix in (None, *MEANINGS), "matrix", meanings, f"it is {shown(matrix)}")
    suffix = Path(path).suffix.lower()
    is_complete = suffix in (".nc", *NETLISTS)
    require(values is None or not is_complete, "values", "be left out for a run or a netlist", "it is set")
    squares = suffix in (".csv", ".tsv", ".npy", ".npz")
    require(matrix is None or squares, "matrix", "come with a square of numbers", f"the file is {suffix}")
    return Said(kind, values, unweighted, matrix, f"File {shown_path(path)}")


def is_edge_list(header: Sequence[str]) -> bool:
    """Whether the first row of a table is that of an edge list."""
    return _ends(header) is not None


def network_from_table(table: Table, said: Said) -> NetworkFile:
    """The network in an edge list: a table with a row for each edge, the names of its ends among its columns.

    `said` is what the caller says of it (`checked`). Raises `InputError` without the name of the file, but
    with the line.
    """
    return _network(_from_table(table, said), said)


def network_from_arrays(arrays: dict[str, np.ndarray], said: Said) -> NetworkFile:
    """The network in the arrays of an archive, by their names: `edges` and one value for each, or `matrix`.

    `said` is what the caller says of it (`checked`). Raises `InputError` without the name of the file.
    """
    if "matrix" not in arrays:
        return _network(_from_arrays(arrays, said), said)
    if {"edges", "edge_index"} & set(arrays):
        raise InputError("it must hold `edges` or `matrix`, but it holds both.")
    matrix = to_numbers(arrays["matrix"], "array `matrix`", 2)
    _check_matrix_size(len(matrix))
    labels = to_labels(arrays.get("labels"), len(matrix))
    if said.matrix is None and matrix.any() and not matrix.diagonal().any():
        raise InputError(
            "its `matrix` has a diagonal of zeros, as that of an adjacency matrix, which is no stable node "
            "network; " + ask_meaning()
        )
    if said.matrix == "responses":
        raise InputError("its `matrix` is that of a network; call it responses in the archive if it is not.")
    return network_from_matrix(matrix, labels, said._replace(matrix=said.matrix or "hessian"))


def ask_meaning() -> str:
    """How a caller says what a matrix is, as the end of a sentence."""
    return (
        f"say what it is with --matrix {', '.join(MEANINGS[:-1])} or {MEANINGS[-1]} (in Python matrix=...)."
    )


def network_from_matrix(matrix: np.ndarray, labels: tuple[str, ...], said: Said) -> NetworkFile:
    """The network of a symmetric matrix, which is what `said.matrix` says.

    `"adjacency"`: conductances A_ij, none on the diagonal; `"laplacian"`: conductances -L_ij, rows sum to
    zero; `"hessian"`: the matrix of a node network. Raises `InputError` without the name of the file.
    """
    kind = "node" if said.matrix == "hessian" else "flow"
    if said.kind not in (None, kind):
        raise InputError(
            f"it holds a matrix, which is that of a {kind} network, not of a {said.kind} network."
        )
    _check_symmetric(matrix)
    if said.matrix == "hessian":
        return NetworkFile(_node_network(matrix, labels), labels)
    if said.matrix == "laplacian":
        sums = matrix.sum(axis=1)
        row = int(np.argmax(np.abs(sums)))
        if abs(sums[row]) > 1e-6 * np.abs(matrix).max():
            raise InputError(
                f"the rows of a Laplacian must sum to zero, but row {row} sums to {sums[row]:.6g}; with "
                "grounded nodes it is a hessian."
            )
        matrix = np.diag(matrix.diagonal()) - matrix
    edges = np.argwhere(np.triu(matrix))
    draft = _Draft(
        labels,
        edges,
        lambda i: f"[{edges[i, 0]}, {edges[i, 1]}]",
        ("entry", Strength("k")),
        matrix[edges[:, 0], edges[:, 1]],
        parallel=True,
    )
    return _network(draft, said)


@dataclass
class _Draft:
    """What a file says, before it is known to be a network.

    `places` says where in the file edge i stands; `called` is under which name the file gives the strengths
    of its edges and what these are, None where it gives none. `parallel` is whether the file says that edges
    stand side by side, None where it does not say; `directed` whether it gives edges a direction. `units` are
    those that stand beside the values, by name and edge by edge. `parts` are what a network of this kind is
    made of beside them (`NetworkKind.parts`), arrays of numbers, texts and numbers, unchecked.
    """

    labels: Sequence[str]
    edges: np.ndarray
    places: Callable[[int], str]
    called: tuple[str, Strength] | None
    values: np.ndarray | Sequence[object]
    kind: object = None
    parts: Mapping[str, object] = dataclasses.field(default_factory=dict)
    positions: np.ndarray | None = None
    box: np.ndarray | None = None
    parallel: bool | None = None
    directed: bool = False
    units: Mapping[str, Sequence[object]] = dataclasses.field(default_factory=dict)

    @property
    def quantity(self) -> str | None:
        return None if self.called is None else self.called[1].quantity


def _network(draft: _Draft, said: Said) -> NetworkFile:
    """A network from what a file says, everything checked; what the caller says comes first."""
    kind = draft.kind if said.kind is None else said.kind
    called = None if said.unweighted else draft.called
    units: list[Strength] | None = None
    if called is not None:
        called, units = in_units(called, draft.units, said)
    draft = dataclasses.replace(draft, called=called)
    if kind is None:
        kind = "spring" if draft.quantity == "stiffness" else "flow"
    network_class = network_classes().get(kind) if isinstance(kind, str) else None
    if network_class is None:
        cure = "; the class of a kind of your own must be imported before" if isinstance(kind, str) else ""
        raise InputError(f"its kind must be flow, spring or node, but it is {shown(kind)}{cure}.")
    labels = tuple(draft.labels)
    if len(labels) > MOST_NODES:
        raise InputError(f"it has more than the {MOST_NODES} nodes allowed.")
    if not len(draft.edges):
        raise InputError("it must have edges, but it has none.")
    is_matrix = network_class.kind.is_matrix
    if len(draft.edges) > MOST_EDGES and not is_matrix:
        raise InputError(f"it has more than the {MOST_EDGES} edges allowed.")
    if not is_matrix:
        loops = np.flatnonzero(draft.edges[:, 0] == draft.edges[:, 1])
        if loops.size:
            i = int(loops[0])
            raise InputError(
                f"{draft.places(i)} joins {shown(labels[draft.edges[i, 0]])} to itself; take it out."
            )
    k = _checked_values(draft, network_class.kind, units)
    if is_matrix:
        _check_duplicates(draft, labels, "; keep one of them")
    else:
        _check_parallel(draft, labels, k, said)
    network = _from_matrix_entries(draft, labels, k) if is_matrix else _built(draft, network_class, k)
    _tell(draft, k, said)
    return NetworkFile(network, labels)


def _from_matrix_entries(draft: _Draft, labels: Sequence[str], k: np.ndarray) -> NodeNetwork:
    """A node network from the entries of its matrix; raises `InputError` where a diagonal one is missing."""
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
    return _node_network(matrix, labels)


def _built(draft: _Draft, network_class: type[AbstractNetwork], k: np.ndarray) -> AbstractNetwork:
    """The network itself; raises `InputError` where its kind needs what the file does not give."""
    topology, kind = _topology(draft), network_class.kind
    if network_class is SpringNetwork:
        law = draft.parts.get("law", "central")
        if law not in ("central", "vector"):
            raise InputError(f"the law of its springs must be central or vector, but it is {shown(law)}.")
        if topology.positions is None:
            raise InputError(
                "it must give positions of the nodes of a spring network, but it has none; with one "
                "displacement for each node, as in a chain, it is of kind flow."
            )
    parts = {
        name: _checked_part(draft.parts[name], name, len(k)) for name in kind.parts if name in draft.parts
    }
    missing = [name for name in kind.parts if name not in parts and _is_needed(network_class, name)]
    if missing:
        raise InputError(f"it must give `{missing[0]}` of a {kind.name}, but it has none.")
    try:
        return network_class.from_parts(topology, jnp.asarray(k), **parts)
    except InputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # A text where the class takes an array, say.
        raise InputError(f"it makes no {kind.name}: {str(error).splitlines()[0]}.") from error


def _checked_part(part: object, name: str, num_edges: int) -> str | int | float | Array:
    """A text or number as it stands, or an array of numbers with a row for every edge."""
    if isinstance(part, str):
        return to_label(part, f"its `{name}`")
    if isinstance(part, int | float) and not isinstance(part, bool):
        if math.isnan(to_number(part)):
            raise no_number(part, f"its `{name}`")
        return part
    try:
        array = np.asarray(part)
    except ValueError:  # Rows of different lengths.
        array = np.asarray(None)
    if array.dtype.kind not in "fiu" or array.shape[:1] != (num_edges,) or not np.isfinite(array).all():
        raise InputError(f"its `{name}` must hold finite numbers, as many for each of its {num_edges} edges.")
    if array.size > MOST_ENTRIES:
        raise InputError(f"its `{name}` has more than the {MOST_ENTRIES} numbers allowed.")
    return jnp.asarray(array)


def _is_needed(network_class: type[AbstractNetwork], name: str) -> bool:
    """Whether a network of this kind cannot be made without a part."""
    known = inspect.signature(network_class).parameters
    return name in known and known[name].default is inspect.Parameter.empty


def _check_duplicates(draft: _Draft, labels: Sequence[str], cure: str) -> None:
    low, high = draft.edges.min(axis=1), draft.edges.max(axis=1)
    pairs = low * len(labels) + high
    order = np.argsort(pairs, kind="stable")
    again = np.flatnonzero(np.diff(pairs[order]) == 0)
    if again.size:
        # The first repetition in the order of the file.
        at = again[np.argmin(order[again + 1])]
        first, second = int(order[at]), int(order[at + 1])
        names = " – ".join(shown(labels[node]) for node in draft.edges[second])
        raise InputError(f"{draft.places(second)} repeats the edge {names} of {draft.places(first)}{cure}.")


def _check_parallel(draft: _Draft, labels: Sequence[str], k: np.ndarray, said: Said) -> None:
    """Edges side by side add up; those that may be one edge, listed from both of its ends, are asked about.

    Tables of matrices list every edge twice, in both directions and with equal values: added up they would be
    a network of twice the conductances. Where the file says that it has parallel edges, it means them.
    """
    if draft.parallel is False and not draft.directed:
        side_by_side = "; it says that it has no edges side by side (multigraph), so take one out or say true"
        _check_duplicates(draft, labels, side_by_side)
    if draft.parallel and not draft.directed:
        return
    pairs = draft.edges.min(axis=1) * len(labels) + draft.edges.max(axis=1)
    backwards = draft.edges[:, 0] > draft.edges[:, 1]
    ahead, back = np.flatnonzero(~backwards), np.flatnonzero(backwards)
    _, first, second = np.intersect1d(pairs[ahead], pairs[back], return_indices=True)
    first, second = ahead[first], back[second]
    equal = np.isclose(k[first], k[second], rtol=1e-6, atol=0)
    if not draft.directed:
        first, second = first[equal], second[equal]
    if not first.size:
        return
    at = int(np.argmin(np.maximum(first, second)))
    one, other = sorted((int(first[at]), int(second[at])))
    ends = " and ".join(shown(labels[node]) for node in draft.edges[one])
    number, of = len(first), len(np.unique(pairs))
    same = "with equal strengths" if equal.all() else "where a physical edge acts both ways alike"
    found = f"{draft.places(one)} and {draft.places(other)} join {ends} in both directions, {same}"
    if draft.directed or 2 * number >= of:
        raise InputError(
            f"{found}, as do {number} of its {of} pairs of nodes; if that is one edge listed twice, take one "
            "of the two out, and if two edges stand side by side, give them the same direction."
        )
    warnings.warn(
        f"{said.name}: {found}; {number} such pairs are taken for edges side by side, whose strengths add",
        stacklevel=2,
    )


def _tell(draft: _Draft, k: np.ndarray, said: Said) -> None:
    """Say aloud what was taken for granted about strengths."""
    if said.unweighted or said.values is not None:
        return
    if draft.called is None or (draft.quantity == "weight" and (k == 1).all()):
        warnings.warn(
            f"{said.name}: it gives no strengths of its edges, so that every k is 1; --unweighted (in Python "
            "and configs `unweighted`) says that this is meant",
            stacklevel=2,
        )
    elif draft.quantity == "weight":
        name = draft.called[0]
        warnings.warn(
            f"{said.name}: its {shown(name)} is taken for k, a conductance or stiffness; "
            f"--values={shown(f'{name}=conductance')} (in Python and configs `values`) says that this is "
            f"meant, or {shown(f'{name}=resistance')} that it is not",
            stacklevel=2,
        )


def _checked_values(draft: _Draft, kind: NetworkKind, units: Sequence[Strength] | None) -> np.ndarray:
    """`k` of every edge in double precision, known to survive JAX's present precision."""
    if draft.called is None:
        if kind.is_matrix:
            raise InputError("it must give the values of a node network's edges, but it has none.")
        return np.ones(len(draft.edges))
    name, strength = draft.called
    inverse = strength.quantity == "resistance"
    if inverse and kind.strength != "conductance":
        raise InputError(f"it gives resistances, which a {kind.tag} network does not have.")
    k = np.array([to_number(value) for value in draft.values], dtype=float)
    positive = kind.positive_k
    must = "a positive number" if positive else "a finite number"
    bad = ~((k > 0) | ((not positive) & np.isfinite(k)))
    if not bad.any():
        times, over = strength.scale if units is None else np.array([unit.scale for unit in units]).T
        with np.errstate(over="ignore", under="ignore", divide="ignore"):
            k = k * times / over
            k = 1 / k if inverse else k
            kept = k.astype(jax.dtypes.canonicalize_dtype(float))
        bad = ~np.isfinite(kept) | ((kept <= 0) if positive else False)
        must += f" within the range of {kept.dtype}"
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        value = draft.values[i]
        value = value.item() if isinstance(value, np.generic) else value
        raise no_number(value, f"`{name}` of {draft.places(i)}", must)
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


def _check_symmetric(matrix: np.ndarray) -> None:
    if matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise InputError(f"the matrix of a network must be square, but its shape is {matrix.shape}.")
    differs = np.argwhere(matrix != matrix.T)
    if len(differs):
        a, b = (int(i) for i in differs[0])
        raise InputError(
            f"the matrix of a network must be symmetric, but entry [{a}, {b}] is {matrix[a, b]} "
            f"and entry [{b}, {a}] is {matrix[b, a]}."
        )


def _node_network(matrix: np.ndarray, labels: Sequence[str]) -> NodeNetwork:
    with np.errstate(over="ignore"):
        matrix = matrix.astype(jax.dtypes.canonicalize_dtype(float))
    if not np.isfinite(matrix).all():
        raise InputError(f"the matrix of a node network must fit into {matrix.dtype}.")
    return NodeNetwork.from_matrix(matrix, names=labels)


def _ends(header: Sequence[str]) -> tuple[int, int] | None:
    """The columns of the two ends of edges."""
    letters = [plain(name) for name in header]
    # Two columns a and b alone may hold anything.
    of_responses = letters[0] in ("", "node", "output") or letters == ["a", "b"]
    for ends in _ENDS:
        if set(ends) <= set(letters) and not (of_responses and set(ends) <= _MAY_BE_NODES):
            return letters.index(ends[0]), letters.index(ends[1])
    return None


def _place_columns(header: Sequence[str], ends: Sequence[str]) -> list[list[int]]:
    """The columns of the coordinates of both ends, `[[x, y], [x, y]]`; empty where there are none."""
    wanted = [[plain(f"{end}{axis}") for axis in "xyz"] for end in ends]
    letters = [plain(name) for name in header]
    axes = [i for i in range(3) if {wanted[0][i], wanted[1][i]} & set(letters)]
    found = [[names[i] for i in axes] for names in wanted]
    if axes not in ([], [0, 1], [0, 1, 2]) or not {*found[0], *found[1]} <= set(letters):
        raise InputError(
            "it must give positions as source_x, source_y, target_x and target_y, in space also source_z and "
            "target_z."
        )
    return [[letters.index(name) for name in names] for names in found] if axes else []


def _from_table(table: Table, said: Said) -> _Draft:
    header = table.first
    ends = _ends(header)
    if ends is None:
        check_names(header, ("source", "target"), "column")
        raise InputError(
            f"it must have the columns source and target, but its first line is {shown(', '.join(header))}"
            f"{headless(header)}."
        )
    names = [header[column] for column in ends]
    positions = tuple(f"{end}_{axis}" for end in names for axis in "xyz")
    structure = {plain(name) for name in (*names, *positions)}
    others = [name for name in header if plain(name) not in structure]
    check_names(others, (*names, *positions), "column")
    check_different((plain(name) for name in header if plain(name) in structure), "columns")
    check_different(header, "columns")
    coordinates = _place_columns(header, names)
    called = chosen(others, said)
    counter = header[0] if plain(header[0]) in ("", "unnamed0") else None
    unknown = Unknown(others if called is None and not said.unweighted else (), counter)
    units: dict[str, list[str]] = {name: [] for name in others if not is_strength(name)}
    at = {name: i for i, name in enumerate(header)}
    of_type = next((i for i, name in enumerate(header) if plain(name) == "type"), None)
    number: dict[str, int] = {}
    places: list[tuple[list[float], int]] = []  # position of every node, and the line that gave it
    edges, values, lines, directed = [], [], [], False
    for line, cells in table.rows:
        for end, column in enumerate(ends):
            label = to_label(cells[column], f"{names[end]} in line {line}")
            edges.append(number.setdefault(label, len(number)))
            if coordinates:
                place = [to_number(cells[each]) for each in coordinates[end]]
                wrong = next((i for i, value in enumerate(place) if math.isnan(value)), None)
                if wrong is not None:
                    column = coordinates[end][wrong]
                    raise no_number(cells[column], f"`{header[column]}` in line {line}")
                if len(number) > len(places):
                    places.append((place, line))
                elif places[edges[-1]][0] != place:
                    raise InputError(
                        f"line {line} places {shown(label)} elsewhere than line {places[edges[-1]][1]} does."
                    )
        if len(number) > MOST_NODES:
            raise InputError(f"it has more than the {MOST_NODES} nodes allowed.")
        lines.append(line)
        for name in list(units):
            units[name].append(cells[at[name]])
            if not is_unit_name(name) and not may_be_unit(cells[at[name]]):
                del units[name]
        directed |= of_type is not None and cells[of_type].lower() == "directed"
        if called is not None:
            values.append(cells[at[called[0]]])
        elif unknown:
            unknown.look({name: cells[at[name]] for name in unknown})
    given = units_of(others, lambda name: units.get(name, ()), {}, len(lines))
    unknown.check(given)
    return _Draft(
        list(number),
        np.array(edges, dtype=np.int64).reshape(-1, 2),
        lambda i: f"line {lines[i]}",
        called,
        values,
        positions=np.array([place for place, _ in places]) if places else None,
        directed=directed,
        units=given,
    )


def headless(first: Sequence[str]) -> str:
    """What to do about a table whose first line is that of an edge already, as the end of a sentence."""
    numbers = [to_number(cell) >= 0 and to_number(cell).is_integer() for cell in first]
    strength = "conductance (or resistance, or stiffness)"
    names = {2: "source,target", 3: f"source,target,{strength}", 4: f"id,source,target,{strength}"}
    if len(first) not in names or not all(numbers[: 3 if len(first) == 4 else 2]):
        return ""
    return f"; if it is an edge list, write {names[len(first)]} in a line before it"


def _strengths(
    edges: Sequence[Mapping[str, object]],
    place: Callable[[int], str],
    said: Said,
    of_graph: Mapping[str, object],
) -> tuple[tuple[str, Strength] | None, list[object], dict[str, Sequence[object]]]:
    """Under which name edges have their strengths, these, and their units; all edges have them, or none."""
    names = dict.fromkeys(itertools.chain.from_iterable(edges))
    units = units_of(names, lambda name: [edge.get(name) for edge in edges], of_graph, len(edges))
    called = chosen(names, said)
    if called is None:
        unknown = Unknown(() if said.unweighted else names)
        for edge in edges:
            unknown.look(edge)
        unknown.check(units)
        return None, [], units
    for i, edge in enumerate(edges):
        if called[0] not in edge:
            raise InputError(f"{place(i)} must have `{called[0]}` as others do, but it has none.")
    return called, [edge[called[0]] for edge in edges], units


def _from_json(text: str, said: Said) -> _Draft:
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
    for i, edge in enumerate(links):
        _typed(edge, dict, f"edge {i}")
        for end in ("source", "target"):
            if end not in edge:
                raise InputError(f"edge {i} must have `source` and `target`, but it lacks `{end}`.")
            node = number.get(to_label(edge[end], f"`{end}` of edge {i}"))
            if node is None:
                raise InputError(f"edge {i} names a node that is not among the nodes: {shown(edge[end])}.")
            edges.append(node)
    parts = _listed_parts(graph, links)
    own = (
        [{name: value for name, value in link.items() if name not in parts} for link in links]
        if parts
        else links
    )
    called, values, units = _strengths(own, lambda i: f"edge {i}", said, content | graph)
    return _Draft(
        list(number),
        np.array(edges, dtype=np.int64).reshape(-1, 2),
        lambda i: f"edge {i}",
        called,
        values,
        kind=graph.get("kind"),
        parts=parts,
        positions=_positions(nodes, list(number)),
        box=_box(graph.get("box")),
        parallel=content.get("multigraph"),
        directed=content.get("directed", False),
        units=units,
    )


def _listed_parts(graph: Mapping[str, object], links: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """What a network of the kind that a graph names is made of: facts of the graph, and of its edges."""
    found: dict[str, object] = {}
    network_class = network_classes().get(str(graph.get("kind")))
    for name in () if network_class is None else network_class.kind.parts:
        if any(name in link for link in links):
            found[name] = [link.get(name) for link in links]
        elif name in graph:
            found[name] = graph[name]
    return found


def _whole(digits: str) -> int | float:
    # Longer ones are no numbers of nodes, and Python takes long over them.
    return int(digits) if len(digits) < 20 else float(digits)


def _not_a_number(name: str) -> float:
    raise InputError(f"it holds {name}, which is no JSON and no number.")


def _typed(value: object, wanted: type, what: str) -> Any:
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


def _box(box: object) -> np.ndarray | None:
    if box is None:
        return None
    sides = [to_number(side) for side in box] if isinstance(box, list) and len(box) <= 3 else [math.nan]
    if not all(0 < side < 1e15 for side in sides):
        raise InputError("its `box` must be a list of at most three positive numbers smaller than 1e15.")
    return np.array(sides)


def _from_graphml(text: str, said: Said) -> _Draft:
    graph = read_graphml(
        text,
        of_graph=lambda name: name == "kind" or name in _part_names() or is_unit_name(name),
        of_nodes={"x", "y", "z", "pos"},
    )
    number = {node: i for i, node in enumerate(graph.nodes)}
    edges = []
    for edge in graph.edges:
        for end in (edge.source, edge.target):
            if end not in number:
                raise InputError(f"line {edge.line} names a node that the file does not have: {shown(end)}.")
            edges.append(number[end])
    called, values, units = _strengths(
        [edge.values for edge in graph.edges],
        lambda i: f"the edge in line {graph.edges[i].line}",
        said,
        graph.values,
    )
    labels = _shown_labels(graph.nodes)
    return _Draft(
        labels,
        np.array(edges, dtype=np.int64).reshape(-1, 2),
        lambda i: f"line {graph.edges[i].line}",
        called,
        values,
        kind=graph.values.get("kind"),
        parts={name: value for name, value in graph.values.items() if name in _part_names()},
        positions=_positions(list(graph.nodes.values()), labels),
        parallel=True if _have_ids(graph.edges) else None,
        directed=graph.directed,
        units=units,
    )


def _have_ids(edges: Iterable[Edge]) -> bool:
    """Whether edges have names of their own: then no two of them are the same one."""
    return all(edge.id is not None for edge in edges)


def _shown_labels(nodes: Mapping[str, Mapping[str, str]]) -> list[str]:
    """What yEd shows beside nodes, where that tells each from all others; else their ids."""
    labels = [node.get("y:NodeLabel", "") for node in nodes.values()]
    try:
        labels = [to_label(label, "a node") for label in labels]
        check_different(labels, "labels")
    except InputError:
        return list(nodes)
    return labels


def _from_arrays(arrays: dict[str, np.ndarray], said: Said) -> _Draft:
    edges = _ends_in_arrays(arrays)
    kind, parts = _kind_in_arrays(arrays)
    # Numbers, one for each edge, or what is called a strength.
    others = {
        name: array.reshape(-1) if array.shape == (len(edges), 1) else array
        for name, array in arrays.items()
        if name not in NETWORK_ARRAYS and name not in parts
    }
    of_edges = [
        name for name, array in others.items() if array.shape == (len(edges),) and array.dtype.kind in "fiu"
    ]
    units = units_of(
        others,
        lambda name: _one_each(others[name], name, len(edges)),
        {},
        len(edges),
    )
    called = chosen(dict.fromkeys((*filter(is_strength, others), *of_edges)), said)
    values = np.ones(0) if called is None else to_numbers(others[called[0]], f"array `{called[0]}`", 1)
    if called is None and not said.unweighted:
        unknown = Unknown(of_edges)
        for name in of_edges:
            for value in np.unique(others[name]).tolist():
                unknown.look({name: value})
        unknown.check(units)
    if called is not None and len(values) != len(edges):
        raise InputError(
            f"array `{called[0]}` must have {len(edges)} entries like `edges`, but it has {len(values)}."
        )
    positions = to_numbers(arrays["positions"], "array `positions`", 2) if "positions" in arrays else None
    box = to_numbers(arrays["box"], "array `box`", 1) if "box" in arrays else None
    names = arrays["labels"].size if "labels" in arrays else 0
    count = max(int(edges.max(initial=-1)) + 1, names, 0 if positions is None else len(positions))
    if count > MOST_NODES:
        raise InputError(f"it has more than the {MOST_NODES} nodes allowed.")
    return _Draft(
        to_labels(arrays.get("labels"), count),
        edges,
        lambda i: f"row {i} of `edges`",
        called,
        values,
        kind=kind,
        parts=parts,
        positions=_placed(positions, count),
        box=_sides(box),
        # A file that names its kind lists each edge once.
        parallel=None if kind is None else True,
        units=units,
    )


def _kind_in_arrays(arrays: Mapping[str, np.ndarray]) -> tuple[str | None, dict[str, object]]:
    """The tag of the kind of network that an archive names, and what such a network is made of."""
    if "kind" not in arrays:
        return None, {}
    if arrays["kind"].shape != () or arrays["kind"].dtype.kind != "U":
        raise InputError("array `kind` must hold one text.")
    kind = str(arrays["kind"])
    network_class = network_classes().get(kind)
    names = () if network_class is None else network_class.kind.parts
    found = {name: arrays[name] for name in names if name in arrays}
    return kind, {name: part if part.ndim else part.item() for name, part in found.items()}


def _ends_in_arrays(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Both ends of each edge: rows of `edges`, or columns of `edge_index` as in graph learning."""
    if "edges" in arrays and "edge_index" in arrays:
        raise InputError("it must hold `edges` or `edge_index`, but it holds both.")
    if "edge_index" in arrays:
        ends = to_indices(arrays["edge_index"], "array `edge_index`", 2)
        if ends.shape[0] != 2:
            raise InputError(f"array `edge_index` must have 2 rows, but it has {ends.shape[0]}.")
        return ends.T
    if "edges" not in arrays:
        raise InputError("it must hold `edges` or `matrix` of a network, but it holds neither.")
    edges = to_indices(arrays["edges"], "array `edges`", 2)
    if edges.shape[1] != 2:
        cure = "; with an edge in each column it is called `edge_index`" if edges.shape[0] == 2 else ""
        raise InputError(f"array `edges` must have 2 columns, but it has {edges.shape[1]}{cure}.")
    return edges


def _one_each(array: np.ndarray, name: str, count: int) -> list[object]:
    """Units of all edges, from an array of one unit or as many as edges."""
    if not is_unit_name(name) and (array.dtype.kind != "U" or array.size not in (1, count)):
        return []
    if array.size not in (1, count):
        raise InputError(f"array {shown(name)} must hold one unit, or {count}, but it has {array.size}.")
    return np.broadcast_to(array.reshape(-1), (count,)).tolist()


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
    is_matrix = network_classes()[run.kind].kind.is_matrix
    real = np.ones(len(edges), bool) if is_matrix else edges[:, 0] != edges[:, 1]
    box = None if run.box is None else to_numbers(run.box, "variable `box`", 1)
    positions = None if run.positions is None else to_numbers(run.positions, "variable `positions`", 2)
    rows = np.flatnonzero(real)
    return _Draft(
        run.names or to_labels(None, run.num_nodes),
        edges[real],
        lambda i: f"edge {rows[i]}",
        ("k", Strength("k")),
        to_numbers(run.k, "variable `k`", 1)[real],
        kind=run.kind,
        parts={
            name: part[real] if isinstance(part, np.ndarray) else part for name, part in run.parts.items()
        },
        positions=_placed(positions, run.num_nodes),
        box=_sides(box),
        parallel=True,
    )
