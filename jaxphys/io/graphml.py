"""GraphML as plain lists. networkx reads it too, but forgets the order of edges and expands entities."""

from collections.abc import Callable, Iterable
from typing import NamedTuple
from xml.parsers import expat

from jaxphys._checks import InputError
from jaxphys.io.files import MOST_EDGES, MOST_NODES, check_names, shown, to_label

_DEEPEST = 64
_LONGEST_VALUE = 1000


# Where yEd writes what it shows beside a node or an edge, and under which name it is kept.
_SHOWN = {"NodeLabel": "y:NodeLabel", "EdgeLabel": "y:EdgeLabel"}


class Edge(NamedTuple):
    """An edge of a GraphML file: ids of its ends, its own or None, its values by name, and its line."""

    source: str
    target: str
    id: str | None
    values: dict[str, str]
    line: int


class Graph(NamedTuple):
    """What a GraphML file says, in its order: values of the graph, of nodes by id, and of edges.

    `directed` tells whether any edge has a direction; `y:NodeLabel` and `y:EdgeLabel` are what yEd shows.
    """

    values: dict[str, str]
    nodes: dict[str, dict[str, str]]
    edges: list[Edge]
    directed: bool


def read_graphml(text: str, *, of_graph: Callable[[str], bool], of_nodes: set[str]) -> Graph:
    """Read GraphML; of the values of the graph and of nodes only those of wanted names are kept.

    Raises `InputError` on hyperedges, nested graphs, declarations of types or entities, and names of values
    of nodes that are nearly one of those given.
    """
    reader = _Reader({"graph": of_graph, "node": of_nodes.__contains__})
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = lambda name, attributes: reader.start(
        name.rpartition(" ")[2], attributes, parser.CurrentLineNumber
    )
    parser.EndElementHandler = lambda name: reader.end()
    parser.CharacterDataHandler = reader.characters
    parser.StartDoctypeDeclHandler = reader.doctype
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        reason = expat.errors.messages[error.code]
        raise InputError(f"line {error.lineno} is no XML: {reason}.") from None
    return reader.graph(of_nodes)


class _Reader:
    """Follows the elements of a GraphML file one by one, so that no tree of them is built."""

    def __init__(self, wanted: dict[str, Callable[[str], bool]]):
        self.wanted = wanted
        self.keys: dict[str, tuple[str, str]] = {}  # id → what it is for, name
        self.defaults: dict[tuple[str, str], str] = {}
        self.values: dict[str, str] = {}
        self.nodes: dict[str, dict[str, str]] = {}
        self.edges: list[Edge] = []
        self.path: tuple[str, ...] = ()
        self.current = self.values  # of the element that the reader is in
        self.graphs = 0
        self.is_directed = False  # unless an edge says otherwise
        self.some_directed = False
        self.key = ""
        self.opened: tuple[str, ...] | None = None  # the element whose text is kept, its name, and that text
        self.called = ""
        self.text: list[str] = []

    def doctype(self, *declaration: object) -> None:
        raise InputError(
            "it declares a document type (<!DOCTYPE or <!ENTITY), which is never followed; take it out."
        )

    def start(self, name: str, attributes: dict[str, str], line: int) -> None:
        self.path = (*self.path, name)
        if len(self.path) > _DEEPEST:
            raise InputError(f"line {line} nests elements deeper than {_DEEPEST}.")
        match self.path:
            case ("graphml",):
                pass
            case (_,):
                raise InputError(f"it must be GraphML, but its first element is {shown(name)}.")
            case ("graphml", "key"):
                self.key = self._attribute(attributes, "id", line)
                what, called = attributes.get("for", "all"), attributes.get("attr.name", self.key)
                self.keys[self.key] = (what, called)
            case ("graphml", "key", "default"):
                self._open(self.keys[self.key][1])
            case ("graphml", "graph"):
                if self.graphs:
                    raise InputError(f"line {line} starts a second graph; one file holds one.")
                self.graphs = 1
                if attributes.get("edgedefault") not in ("directed", "undirected"):
                    raise InputError(
                        f"the graph in line {line} must have edgedefault directed or undirected, "
                        f"but it is {shown(attributes.get('edgedefault', 'missing'))}."
                    )
                self.is_directed = attributes["edgedefault"] == "directed"
                self.current = self.values
            case ("graphml", "graph", "node"):
                self._node(attributes, line)
            case ("graphml", "graph", "edge"):
                self._edge(attributes, line)
            case ("graphml", "graph", "data") | ("graphml", "graph", "node" | "edge", "data"):
                self.key = self._attribute(attributes, "key", line)
                if self.key not in self.keys:
                    raise InputError(
                        f"line {line} has a value of key {shown(self.key)}, which is not declared."
                    )
                if len(self.path) == 3:
                    self.current = self.values
                called = self.keys[self.key][1]
                if self.path[-2] == "edge" or self.wanted[self.path[-2]](called):
                    self._open(called)
            case ("graphml", "graph", "node" | "edge", "data", *_, label) if label in _SHOWN:
                # The first one; others are what else is shown there.
                if _SHOWN[label] not in self.current:
                    self._open(_SHOWN[label])
            case (*_, "graph" | "node" | "edge" | "hyperedge" | "key"):
                raise InputError(
                    f"line {line} has a {name} where jaxphys knows none; one graph holds nodes and edges "
                    "that join two of them."
                )

    def _open(self, called: str) -> None:
        self.opened, self.called, self.text = self.path, called, []

    def _node(self, attributes: dict[str, str], line: int) -> None:
        label = to_label(self._attribute(attributes, "id", line), f"the node in line {line}")
        if label in self.nodes:
            raise InputError(f"line {line} repeats the node {shown(label)}.")
        if len(self.nodes) == MOST_NODES:
            raise InputError(f"it has more than the {MOST_NODES} nodes allowed.")
        self.current = self.nodes[label] = {}

    def _edge(self, attributes: dict[str, str], line: int) -> None:
        directed = attributes.get("directed", str(self.is_directed).lower())
        self.some_directed |= directed not in ("false", "0")
        if len(self.edges) == MOST_EDGES:
            raise InputError(f"it has more than the {MOST_EDGES} edges allowed.")
        source, target = (
            to_label(self._attribute(attributes, end, line), f"the {end} in line {line}")
            for end in ("source", "target")
        )
        self.current = {}
        self.edges.append(Edge(source, target, attributes.get("id"), self.current, line))

    def end(self) -> None:
        ended, self.path = self.path, self.path[:-1]
        if ended != self.opened:
            return
        text, self.opened = " ".join("".join(self.text).split()), None
        if ended[-1] == "default":
            self.defaults[self.keys[self.key][0], self.called] = text
        else:
            self.current[self.called] = text

    def characters(self, text: str) -> None:
        if self.opened is not None:
            self.text.append(text)
            if sum(map(len, self.text)) > _LONGEST_VALUE:
                # A remark, or digits without end, which are no number any more.
                self.text = ["".join(self.text)[:_LONGEST_VALUE], "…"]

    def graph(self, of_nodes: set[str]) -> Graph:
        if not self.graphs:
            raise InputError("it must be GraphML with a graph, but it has none.")
        declared = [name for target, name in self.keys.values() if target in ("node", "all")]
        check_names(declared, of_nodes, "node attribute")
        self._fill("node", self.nodes.values())
        self._fill("edge", (edge.values for edge in self.edges))
        return Graph(self.values, self.nodes, self.edges, self.some_directed)

    def _fill(self, what: str, each: Iterable[dict[str, str]]) -> None:
        """Give the defaults to those that have no value of their own."""
        defaults = {
            name: value
            for (target, name), value in self.defaults.items()
            if target in (what, "all") and (what == "edge" or self.wanted[what](name))
        }
        if defaults:
            for values in each:
                values.update(defaults | values)

    def _attribute(self, attributes: dict[str, str], name: str, line: int) -> str:
        if name not in attributes:
            raise InputError(f"the {self.path[-1]} in line {line} must have {name}, but it has none.")
        return attributes[name]
