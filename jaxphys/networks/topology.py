"""Which nodes are joined: edges, positions, components. The only room that knows networkx."""

import dataclasses
import difflib
import numbers
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxphys._checks import check_indices, refuse, require

# Here and elsewhere, what takes long to import is imported where it is needed.
if TYPE_CHECKING:
    import networkx


class Topology(eqx.Module):
    """The graph of a network: edges between nodes, and where the nodes are.

    Edges and positions are array leaves, so topologies with equal numbers of nodes and
    edges stack along a leading realization axis (`jaxphys.stack`) and one compiled program
    serves them all. The number of nodes and their names are static.

    **Attributes**

    - `edges`: `(M, 2)` integers; edge i runs from `edges[i, 0]` to `edges[i, 1]`. A row whose
      two ends are equal is padding: it carries nothing.
    - `positions`: `(N, d)` coordinates, or None.
    - `box`: `(d,)` side lengths of a periodic box (bonds take the nearest image), or None.
    - `num_nodes`: N.
    - `names`: N names of the nodes, all different, or None where they only have numbers. A name may stand
      wherever a node's number may.

    Build one with `from_edges`, `from_networkx` or a generator.
    """

    edges: Int[Array, "M 2"]
    positions: Float[Array, "N d"] | None
    box: Float[Array, " d"] | None
    num_nodes: int = eqx.field(static=True)
    names: tuple[str, ...] | None = eqx.field(static=True, default=None)

    @property
    def num_edges(self) -> int:
        """M, padding included."""
        return self.edges.shape[-2]

    @property
    def edge_mask(self) -> Bool[Array, " M"]:
        """True for real edges, False for padding."""
        return self.edges[..., 0] != self.edges[..., 1]

    def differences(self, x: Float[Array, "... N"]) -> Float[Array, "... M"]:
        """`Δx`: value at the source minus value at the target of every edge.

        Shape `(..., M)` for values of the nodes, `(..., N)` (Stern et al. 2023, eq. 14). Zero for padding.
        """
        return x[..., self.edges[:, 0]] - x[..., self.edges[:, 1]]

    def bond_vectors(self) -> Float[Array, "M d"]:
        """Position of the source minus position of the target, nearest periodic image."""
        require(self.positions is not None, "topology", "have positions", "it has none")
        assert self.positions is not None
        return nearest_image(self.positions[self.edges[:, 0]] - self.positions[self.edges[:, 1]], self.box)

    def bond_directions(self) -> Float[Array, "M d"]:
        """Unit vectors along the bonds; zero for padding."""
        vectors = self.bond_vectors()
        squared = jnp.sum(vectors**2, axis=-1, keepdims=True)
        # Padding has no direction; the inner `where` keeps its derivative finite.
        return jnp.where(squared > 0, vectors / jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)

    def components(self) -> np.ndarray:
        """Number of the connected component of every node, `(N,)`. Runs on the host."""
        return component_labels(np.asarray(self.edges), self.num_nodes)

    def is_connected(self) -> bool:
        """Whether every node can be reached from every other. Runs on the host."""
        return bool(self.components().max(initial=0) == 0)

    def distances(self) -> np.ndarray:
        """Number of edges on the shortest path between any two nodes, `(N, N)`; infinite where there is none.

        Runs on the host.
        """
        edges = np.asarray(self.edges)
        size = (self.num_nodes, self.num_nodes)
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import shortest_path

        graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=size)
        return shortest_path(graph, directed=False, unweighted=True)

    def num_floppy_modes(self) -> int:
        """Zero modes of the central-force spring network on this graph, rigid motions not counted.

        `N d - rank(B) - (rigid motions)` with the compatibility matrix B of the bonds. Runs on the host;
        raises `InputError` without positions.
        """
        require(self.positions is not None, "topology", "have positions", "it has none")
        # Ranks are decided in double precision, whatever the positions are stored in.
        bonds = self.host_bonds(np.asarray(self.edges))
        lengths = np.linalg.norm(bonds, axis=1, keepdims=True)
        directions = bonds / np.where(lengths > 0, lengths, 1)
        return floppy_modes(
            np.asarray(self.edges), directions, np.asarray(self.positions, dtype=float), self.box is not None
        )

    def host_bonds(self, pairs: np.ndarray) -> np.ndarray:
        """`bond_vectors` between any pairs of nodes, `(P, d)` in double precision on the host."""
        positions = np.asarray(self.positions, dtype=float)
        bonds = positions[pairs[:, 0]] - positions[pairs[:, 1]]
        if self.box is None:
            return bonds
        box = np.asarray(self.box, dtype=float)
        return bonds - box * np.round(bonds / box)

    def padded(self, num_edges: int) -> "Topology":
        """The same graph with padding edges up to `num_edges`, so that ragged graphs can be stacked.

        Raises `InputError` if the graph has more edges than that.
        """
        extra = num_edges - self.num_edges
        require(extra >= 0, "num_edges", f"be at least {self.num_edges}", f"it is {num_edges}")
        padding = jnp.zeros((extra, 2), self.edges.dtype)
        return dataclasses.replace(self, edges=jnp.concatenate([self.edges, padding]))

    def to_networkx(self, **edge_attributes: Any) -> "networkx.Graph":
        """A networkx graph of the nodes (names, else numbers) with `pos`, and the named values of edges.

        A `MultiGraph` where edges run side by side, else a `Graph`; padding is left out.

        >>> import jaxphys as jp
        >>> jp.from_edges([(0, 1), (1, 2)]).to_networkx(k=[1.0, 2.0]).edges[1, 2]["k"]
        2.0
        """
        pairs = np.sort(np.asarray(self.edges)[np.asarray(self.edge_mask)], axis=1)
        import networkx

        graph = networkx.Graph() if len(np.unique(pairs, axis=0)) == len(pairs) else networkx.MultiGraph()
        names: Sequence[int | str] = range(self.num_nodes) if self.names is None else self.names
        for node, name in enumerate(names):
            graph.add_node(name)
            if self.positions is not None:
                graph.nodes[name]["pos"] = [float(c) for c in self.positions[node]]
        columns = {name: np.asarray(values).tolist() for name, values in edge_attributes.items()}
        for i, (source, target) in enumerate(np.asarray(self.edges).tolist()):
            if source != target:
                values = {name: column[i] for name, column in columns.items()}
                graph.add_edge(names[source], names[target], **values)
        return graph


def node_numbers(
    nodes: Any, num_nodes: int, names: tuple[str, ...] | None = None, argument: str = "nodes"
) -> np.ndarray:
    """Numbers of nodes that are given by number or by name: integers of the shape of `nodes`.

    Raises `InputError` about `argument` on a node that does not exist, with the name that comes nearest.

    >>> from jaxphys.networks.topology import node_numbers
    >>> node_numbers([("pump", "drain"), (0, 1)], 3, ("pump", "valve", "drain")).tolist()
    [[0, 2], [0, 1]]
    """
    if isinstance(nodes, np.ndarray) and nodes.dtype.kind in "iu":
        check_indices(argument, nodes, num_nodes, "nodes")
        return nodes.astype(int)
    place: dict[str, int] = {}
    if names is not None:
        place = {name: number for number, name in enumerate(names)}

    def number(node: Any) -> Any:
        if isinstance(node, str):
            if node not in place:
                near = difflib.get_close_matches(node[:200], list(place)[:2000], 1, 0.0)
                known = f"none of that name; nearest is {near[0]!r}" if near else "names for no node"
                refuse(argument, "name nodes of the network", f"of {node[:200]!r} it has {known}")
            return place[node]
        if isinstance(node, numbers.Integral) and not isinstance(node, bool):
            check_indices(argument, [int(node)], num_nodes, "nodes")
            return int(node)
        is_many = isinstance(node, Sequence | set | range) or getattr(node, "ndim", 0) > 0
        require(is_many, argument, "hold nodes, as integers or names", f"it holds {node!r:.100}")
        return [number(each) for each in node]

    return np.array(number(nodes), dtype=int)


def component_labels(edges: np.ndarray, num_nodes: int) -> np.ndarray:
    """Number of the connected component of every node, `(N,)`, from 0 on, for edges `(M, 2)` of N nodes."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(num_nodes, num_nodes))
    return connected_components(graph, directed=False)[1]


def floppy_modes(edges: np.ndarray, directions: np.ndarray, positions: np.ndarray, periodic: bool) -> int:
    """Zero modes of central-force springs beside rigid motions: `N d - rank(B) - (rigid motions)`.

    **Arguments**

    - `edges`: `(M, 2)`, along unit `directions`, `(M, d)`, in double precision for ranks to be sure.
    - `positions`: `(N, d)`; in a `periodic` box rotations are no rigid motions.
    """
    num_edges, dimension = directions.shape
    compatibility = np.zeros((num_edges, len(positions), dimension))
    compatibility[np.arange(num_edges), edges[:, 0]] += directions
    compatibility[np.arange(num_edges), edges[:, 1]] -= directions
    rank = int(np.linalg.matrix_rank(compatibility.reshape(num_edges, -1)))
    return positions.size - rank - len(rigid_motions(positions, rotations=not periodic))


def rigid_motions(positions: np.ndarray, *, rotations: bool) -> np.ndarray:
    """Orthonormal translations and infinitesimal rotations of points, `(z, N d)`, node by node.

    Points on a line turn about it without moving: such a rotation does not count.
    """
    num_nodes, dimension = positions.shape
    motions = [np.tile(axis, num_nodes) for axis in np.eye(dimension)]
    centred = positions - positions.mean(axis=0)
    # In units of the size of the body, so that rotations compare with translations.
    centred = centred / max(float(np.abs(centred).max()), np.finfo(float).tiny)
    for a in range(dimension if rotations else 0):
        for b in range(a):
            rotation = np.zeros_like(centred)
            rotation[:, a], rotation[:, b] = -centred[:, b], centred[:, a]
            motions.append(rotation.ravel())
    _, singular, right = np.linalg.svd(np.array(motions), full_matrices=False)
    return right[singular > 1e-6 * singular.max()]


def nearest_image(
    displacement: Float[Array, "... d"], box: Float[Array, " d"] | None
) -> Float[Array, "... d"]:
    """The shortest of a displacement's periodic images, component by component; itself where `box` is None.

    Displacements `(..., d)` in a box of sides `(d,)`, of any floating dtype.
    """
    return displacement if box is None else displacement - box * jnp.round(displacement / box)


def from_edges(
    edges: Sequence[tuple[int, int]] | np.ndarray,
    *,
    num_nodes: int | None = None,
    positions: Any = None,
    box: Any = None,
    names: Sequence[str] | None = None,
) -> Topology:
    """Build a `Topology` from node pairs.

    **Arguments**

    - `edges`: `(M, 2)` pairs of node numbers, counted from 0.
    - `num_nodes`: N; one more than the largest node number if left out.
    - `positions`: `(N, d)`, optional; `box`: `(d,)` periodic side lengths, optional.
    - `names`: N different names of the nodes, optional. Names that are but the nodes' numbers are left out.

    Raises `InputError` on an empty edge list, an index out of range, a self-loop, or
    positions or names that do not fit.

    >>> import jaxphys as jp
    >>> jp.from_edges([(0, 1), (1, 2), (2, 0)]).num_edges
    3
    """
    array = np.asarray(edges)
    require(
        array.ndim == 2 and array.shape[-1] == 2 and len(array) > 0,
        "edges",
        "be a non-empty list of node pairs",
        f"its shape is {array.shape}",
    )
    if num_nodes is None:
        check_indices("edges", array, 2**31 - 1, "nodes")
        num_nodes = int(array.max()) + 1
    check_indices("edges", array, num_nodes, "nodes")
    loops = np.flatnonzero(array[:, 0] == array[:, 1])
    if loops.size:
        i = int(loops[0])
        refuse("edges", "join two different nodes", f"edge {i} joins node {int(array[i, 0])} to itself")
    dtype = jax.dtypes.canonicalize_dtype(float)
    if positions is not None:
        positions = np.asarray(positions, dtype=dtype)
        require(
            positions.ndim == 2 and len(positions) == num_nodes,
            "positions",
            f"have shape ({num_nodes}, d)",
            f"its shape is {positions.shape}",
        )
        require(np.isfinite(positions).all(), "positions", "be finite", "it holds NaN or infinity")
        positions = jnp.asarray(positions)
    if box is not None:
        require(positions is not None, "box", "come with positions", "there are none")
        box = np.asarray(box, dtype=dtype)
        require(
            box.shape == (positions.shape[1],) and (box > 0).all(),
            "box",
            f"hold {positions.shape[1]} positive side lengths",
            f"it is {box}",
        )
        box = jnp.asarray(box)
    return Topology(
        jnp.asarray(array, dtype=jnp.int32),
        positions,
        box,
        num_nodes=num_nodes,
        names=checked_names(names, num_nodes),
    )


def checked_names(names: Sequence[str] | None, num_nodes: int) -> tuple[str, ...] | None:
    """Names as `Topology.names` holds them: None where there are none or they are but the nodes' numbers.

    Raises `InputError` unless they are `num_nodes` different texts.
    """
    if names is None:
        return None
    names = tuple(names)
    require(
        len(names) == num_nodes and all(isinstance(name, str) for name in names),
        "names",
        f"hold {num_nodes} names, one for each node, as text",
        f"it holds {len(names)}",
    )
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    require(twice is None, "names", "tell nodes apart", f"{twice!r} stands there twice")
    # They say no more than the numbers do, and would be compared at every call of a compiled program.
    return None if names == tuple(map(str, range(num_nodes))) else names


def from_networkx(graph: "networkx.Graph", *, position: str = "pos") -> Topology:
    """Build a `Topology` from a networkx graph; node i is `list(graph.nodes)[i]`, edges keep their order.

    Nodes keep their names (as text), and positions that they have by the name `position`. A topology holds no
    values of edges: where edges carry numbers a warning says so, and
    `FlowNetwork.from_networkx` or `SpringNetwork.from_networkx` take them over.

    Raises `InputError` on a directed graph that joins nodes in both directions, a graph without edges,
    self-loops, positions of some nodes only, or nodes whose names are equal as text.

    >>> import jaxphys as jp, networkx as nx
    >>> jp.from_networkx(nx.path_graph(4)).num_edges
    3
    """
    found = _from_networkx(graph, position)
    carried = _carried(graph)
    if carried:
        names = ", ".join(f"`{name}`" for name in carried[:5])
        warnings.warn(
            f"The edges of the graph carry {names}, which a topology leaves out; FlowNetwork.from_networkx "
            "and SpringNetwork.from_networkx take over what they are told is a conductance, resistance or "
            "stiffness.",
            stacklevel=2,
        )
    return found


def from_networkx_with_values(
    graph: "networkx.Graph", meanings: dict[str, str | None], *, position: str = "pos"
) -> tuple[Topology, Any]:
    """The topology of a networkx graph, and `(M,)` what its edges carry by the one name given in `meanings`.

    `meanings`: arguments of the caller, by what they mean. 1 where edges carry no numbers and none is given.
    Raises `InputError` as `from_networkx`, where an edge carries no such number, and where two names are
    given or none though edges carry numbers.
    """
    found, carried = _from_networkx(graph, position), _carried(graph)
    given = {meaning: name for meaning, name in meanings.items() if name is not None}
    first = next(iter(meanings))
    require(len(given) < 2, first, "be the only one that is named", f"{' and '.join(given)} are")
    require(
        given or not carried,
        first,
        f"name the {' or '.join(meanings)} of the edges, in the argument of that name",
        f"none is named and the edges carry {', '.join(carried[:5])}",
    )
    if not given:
        return found, 1.0
    ((meaning, value),) = given.items()
    for a, b, data in graph.edges(data=True):
        numbers_here = ", ".join(map(str, _numeric(data))) or "no numbers"
        require(
            value in _numeric(data),
            meaning,
            "name a number that every edge carries",
            f"edge ({a!r:.50}, {b!r:.50}) carries {numbers_here}, not {value!r:.50}",
        )
    return found, np.array([data[value] for *_, data in graph.edges(data=True)], dtype=float)


def _carried(graph: "networkx.Graph") -> list[str]:
    """Names of the numbers that edges of a graph carry."""
    return sorted({str(name) for *_, data in graph.edges(data=True) for name in _numeric(data)})


def _numeric(data: dict[Any, Any]) -> list[Any]:
    """Names of the numbers among the attributes of an edge."""
    return [
        name
        for name, value in data.items()
        if isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)
    ]


def _from_networkx(graph: "networkx.Graph", position: str) -> Topology:
    if graph.is_directed():
        # Where an edge points says nothing here; two that point against each other may be one listed twice.
        twice = next(((a, b) for a, b in graph.edges() if graph.has_edge(b, a) and a != b), None)
        require(
            twice is None,
            "graph",
            "join two nodes in one direction only, or be an undirected (multi)graph",
            f"{str(twice and twice[0])[:50]!r} and {str(twice and twice[1])[:50]!r} are joined in both",
        )
    number = {node: i for i, node in enumerate(graph.nodes)}
    edges = np.array([(number[a], number[b]) for a, b in graph.edges()], dtype=int).reshape(-1, 2)
    positions = [graph.nodes[node][position] for node in graph.nodes if position in graph.nodes[node]]
    require(
        len(positions) in (0, len(number)),
        "graph",
        f"give all nodes a `{position}` or none",
        f"{len(positions)} of {len(number)} have one",
    )
    return from_edges(
        edges,
        num_nodes=len(number),
        positions=np.array(positions, dtype=float) if positions else None,
        names=[str(node) for node in number],
    )
