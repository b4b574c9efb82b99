"""Files and calls of people who do not know the library: drawn cases, and how each must end.

`strategies.py` and `endings.py` draw what the library was made for; here are netlists with units, strengths
under many names, one network in many formats, and mistakes in calls. What is right is worked out by plain
Python, from what the formats mean and not from what the readers do.
"""

import io
import json
import re
import tempfile
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import networkx as nx
import numpy as np
import optax
from endings import ended
from hypothesis import strategies as st

import jaxphys as jp
from jaxphys.io import (
    export_network,
    make_circuit,
    read_measured,
    read_netlist,
    read_network,
    save_netlist,
)


@dataclass(frozen=True)
class Netlist:
    """A current through a resistor, as words of a netlist; `flaw` says whether they are no numbers."""

    current: str
    resistance: str
    flaw: bool = False


@dataclass(frozen=True)
class Header:
    """Values of the edges of a triangle under a name, in a file of this suffix."""

    suffix: str
    name: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Written:
    """A network, perhaps with parallel edges, and a way to write it down."""

    way: str
    edges: tuple[tuple[int, int], ...]
    k: tuple[float, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Call:
    """A function of the library, one of its arguments, and the name of a wrong value for it."""

    function: str
    argument: str
    wrong: str


# Units


FACTORS = {
    **{
        "": 1.0,
        "t": 1e12,
        "g": 1e9,
        "meg": 1e6,
        "k": 1e3,
        "mil": 25.4e-6,
        "m": 1e-3,
        "u": 1e-6,
        "\u00b5": 1e-6,
    },
    **{"n": 1e-9, "p": 1e-12, "f": 1e-15},
}
_UNITS = ("", "A", "V", "Ohm", "ohms", "Amps", "Hz", "S", "\u03a9", "Volts", "Watt")
_DIGITS = ("3", "4.7", ".5e1", "2.E-1", "1e3", "+6", "0.25")
_NO_NUMBERS = ("1..2k", "k1", "0x1F", "1e", "--3", "nan", "inf", "1,5k")


@st.composite
def netlists(draw: st.DrawFn) -> Netlist:
    """Every factor with every unit, in any case; some words that are no numbers."""

    def word() -> str:
        factor = draw(st.sampled_from(tuple(FACTORS)))
        shape = draw(st.sampled_from((str, str.upper, str.capitalize)))
        # The sign for micro has no upper case of its own.
        text = factor if factor == "\u00b5" else shape(factor)
        return draw(st.sampled_from(_DIGITS)) + text + draw(st.sampled_from(_UNITS))

    if draw(st.integers(0, 9)) == 0:
        broken = draw(st.sampled_from(_NO_NUMBERS))
        return Netlist(*draw(st.permutations((word(), broken))), flaw=True)
    return Netlist(word(), word())


def spice_value(word: str) -> float:
    """A number with a scale factor as the manual of ngspice has it; further letters mean nothing."""
    found = re.fullmatch(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)([^\W\d_]*)", word.lower())
    assert found is not None, word
    factor = next((name for name in ("meg", "mil", *FACTORS) if name and found[2].startswith(name)), "")
    return float(found[1]) * FACTORS[factor]


@ended.register
def _(case: Netlist) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.cir"
        path.write_text(f"* drawn\nI1 0 a {case.current}\nR1 a 0 {case.resistance}\n.end\n", encoding="utf-8")
        try:
            circuit = read_netlist(path)
        except jp.InputError as error:
            assert case.flaw, f"refused: {error}"
            return "refused"
    assert not case.flaw, "no number was taken for one"
    found = np.asarray(circuit.equilibrate().x)[list(circuit.labels).index("a")]
    expected = spice_value(case.current) * spice_value(case.resistance)
    assert np.isclose(found, expected, rtol=1e-9, atol=0), (found, expected)
    return "right"


# Names of strengths


_SIEMENS = {"S": 1.0, "mS": 1e-3, "uS": 1e-6, "siemens": 1.0}
_OHMS = {"ohm": 1.0, "kohm": 1e3, "\u03a9": 1.0, "M\u03a9": 1e6, "ohms": 1.0}
# Of what is no strength, or not enough to know one, nothing may be made.
_NAMES = {
    **dict.fromkeys(("conductance", "cond", "G", "hydraulic_conductance"), ("conductance", _SIEMENS)),
    **dict.fromkeys(("resistance", "R", "electrical resistance"), ("resistance", _OHMS)),
    **dict.fromkeys(("stiffness", "spring_constant"), ("conductance", {"N/m": 1.0})),
    **dict.fromkeys(("k", "weight", "Weight"), ("conductance", {})),
    **dict.fromkeys(("length", "diameter", "conductivity", "colour", "value", "kk", "radius"), (None, {})),
}
_MEANINGS: dict[str, tuple[str | None, float]] = {
    "ohms": ("resistance", 1.0),
    "kOhm": ("resistance", 1e3),
    "siemens": ("conductance", 1.0),
}
for _name, (_quantity, _units) in _NAMES.items():
    for _shape in (str, str.upper, str.lower):
        _MEANINGS[_shape(_name)] = _quantity, 1.0
        for _unit, _factor in _units.items():
            for _form in ("{} ({})", "{}[{}]", "{}_{}"):
                _MEANINGS[_form.format(_shape(_name), _unit)] = _quantity, _factor
_TRIANGLE = (("a", "b"), ("b", "c"), ("c", "a"))


@st.composite
def headers(draw: st.DrawFn) -> Header:
    """Numbers other than 1 under names that say much, little or nothing, with units in brackets or behind."""
    values = tuple(draw(st.sampled_from((0.25, 2.0, 4.0, 5.0, 80.0))) for _ in _TRIANGLE)
    suffix = draw(st.sampled_from((".csv", ".tsv", ".json", ".graphml", ".npz")))
    return Header(suffix, draw(st.sampled_from(sorted(_MEANINGS))), values)


def _file_of(case: Header) -> bytes:
    rows = [(*ends, value) for ends, value in zip(_TRIANGLE, case.values, strict=True)]
    match case.suffix:
        case ".csv" | ".tsv":
            mark = "," if case.suffix == ".csv" else "\t"
            lines = [("source", "target", case.name), *rows]
            return "".join(mark.join(map(str, line)) + "\n" for line in lines).encode()
        case ".json":
            edges = [{"source": a, "target": b, case.name: value} for a, b, value in rows]
            return json.dumps({"nodes": [{"id": name} for name in "abc"], "edges": edges}).encode()
        case ".graphml":
            graph = nx.Graph()
            for a, b, value in rows:
                graph.add_edge(a, b, **{case.name: value})
            content = io.BytesIO()
            nx.write_graphml_xml(graph, content)
            return content.getvalue()
    content = io.BytesIO()
    edges = np.array([["abc".index(node) for node in ends] for ends in _TRIANGLE])
    np.savez(content, **{"edges": edges, "labels": np.array(list("abc")), case.name: np.array(case.values)})
    return content.getvalue()


@ended.register
def _(case: Header) -> str:
    if case.suffix == ".npz" and "/" in case.name:
        return "refused"  # No archive has such a name.
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        path = Path(folder) / f"network{case.suffix}"
        path.write_bytes(_file_of(case))
        try:
            network, labels = read_network(path)[:2]
        except jp.InputError as error:
            assert path.name in str(error), str(error)
            return "refused"
    found = {
        frozenset(labels[node] for node in ends): k
        for ends, k in zip(np.asarray(network.topology.edges).tolist(), network.k.tolist(), strict=True)
    }
    quantity, factor = _MEANINGS[case.name]
    if quantity is None:
        assert set(found.values()) == {1.0}, "something was made of it"
        assert told, "k = 1 in silence"
        return "right"
    for ends, value in zip(_TRIANGLE, case.values, strict=True):
        expected = value * factor if quantity == "conductance" else 1 / (value * factor)
        assert np.isclose(found[frozenset(ends)], expected, rtol=1e-9, atol=0), (found, expected)
    return "right"


# Formats


WAYS = (".json", ".graphml", ".csv", ".npz", ".cir", "networkx", "laplacian", "adjacency", "responses")


@st.composite
def written(draw: st.DrawFn) -> Written:
    """Trees with some edges more, parallel ones among them, under numbers, words or signs as names."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    nodes = draw(st.integers(4, 8))
    edges = [(int(generator.integers(node)), node) for node in range(1, nodes)]
    edges += [tuple(generator.choice(nodes, 2, replace=False).tolist()) for _ in range(3)]
    if draw(st.booleans()):
        edges += [edges[0], edges[1][::-1]]
    k = np.round(10.0 ** generator.uniform(-3, 3, len(edges)), 6)
    names = draw(st.sampled_from(("{}", "n{}", "pump {}", "\u7bc0{}", "node;{}", "A.{}")))
    labels = tuple(names.format(number) for number in range(nodes))
    return Written(draw(st.sampled_from(WAYS)), tuple(edges), tuple(k.tolist()), labels)


def _laplacian(edges: Any, k: Any, nodes: int) -> np.ndarray:
    matrix = np.zeros((nodes, nodes))
    for (a, b), value in zip(np.asarray(edges).tolist(), np.asarray(k).tolist(), strict=True):
        matrix[a, a] += value
        matrix[b, b] += value
        matrix[a, b] -= value
        matrix[b, a] -= value
    return matrix


@ended.register
def _(case: Written) -> str:
    nodes = len(case.labels)
    topology = jp.from_edges(list(case.edges), num_nodes=nodes, names=list(case.labels))
    network = jp.FlowNetwork(topology, list(case.k))
    expected = _laplacian(case.edges, case.k, nodes)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network"
        try:
            if case.way in ("laplacian", "adjacency", "responses"):
                return _matrix_ended(case.way, expected, path.with_suffix(".csv"))
            if case.way == "networkx":
                graph = nx.MultiGraph()
                graph.add_nodes_from(case.labels)
                for (a, b), value in zip(case.edges, case.k, strict=True):
                    graph.add_edge(case.labels[a], case.labels[b], conductance=value)
                path = path.with_suffix(".graphml")
                nx.write_graphml_xml(graph, path)
            elif case.way == ".cir":
                path = path.with_suffix(".cir")
                save_netlist(make_circuit(network, held={0: 1.0}, ground=[1]), path)
            else:
                path = path.with_suffix(case.way)
                export_network(network, path)
            read, labels = read_network(path)[:2]
        except jp.InputError as error:
            assert str(error).isprintable()
            return "refused"
    expected_labels = case.labels
    if case.way == ".cir" and not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.]*", case.labels[0]):
        # What no netlist can hold as a name is numbered.
        expected_labels = tuple(f"n{number}" for number in range(nodes))
    assert set(labels) == set(expected_labels), labels
    order = [labels.index(label) for label in expected_labels]
    found = _laplacian(read.topology.edges, read.k, len(labels))[np.ix_(order, order)]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())
    return "right"


def _matrix_ended(way: str, laplacian: np.ndarray, path: Path) -> str:
    """A square matrix: only of responses may be made what they say."""
    matrix = {
        "laplacian": laplacian,
        "adjacency": np.diag(np.diag(laplacian)) - laplacian,
        "responses": np.linalg.pinv(laplacian, hermitian=True),
    }[way]
    np.savetxt(path, matrix, delimiter=",", fmt="%.17g")
    found = read_measured(path)
    assert way == "responses", f"a matrix that is the {way} was taken for responses"
    np.testing.assert_allclose(found.responses, matrix, rtol=1e-12)
    return "right"


# Calls


@lru_cache(maxsize=1)
def _sane() -> dict[str, Any]:
    network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2), (2, 0), (2, 3)]))
    boundary = jp.Boundary(network, ground=[0])
    task = jp.allostery(network, boundary, [1], [2], response=0.2)
    return {"network": network, "boundary": boundary, "task": task}


_TRAINING = {"network": "network", "task": "task", "steps": 2, "optimizer": optax.sgd(0.1)}
_ALLOSTERY = {"network": "network", "boundary": "boundary", "sources": [1], "targets": [2], "response": 0.2}
# What is called, and with what besides the wrong value; a name stands for what `_sane` makes.
CALLS: dict[str, tuple[Any, dict[str, Any]]] = {
    "train": (jp.train, _TRAINING),
    "train by a rule": (jp.train, _TRAINING | {"rule": jp.CoupledLearning(0.1)}),
    "train for long": (jp.train, _TRAINING | {"record": jp.Record(every=1)}),
    "train with rests": (jp.train, _TRAINING | {"stop_cost": 1e-9}),
    "allostery": (jp.allostery, _ALLOSTERY),
    "respond": (jp.respond, {"network": "network", "task": "task"}),
    "equilibrate": (jp.equilibrate, {"network": "network", "boundary": "boundary", "force": np.zeros(4)}),
    "inspect_network": (jp.inspect_network, {"network": "network", "num_null": 19, "seed": 0}),
    "FlowNetwork": (jp.FlowNetwork, {"topology": "topology", "k": [1.0, 1.0, 1.0, 1.0]}),
    "concerns": (jp.concerns, {"network": "network", "task": "task"}),
}
SANE = "as it should be"
WRONG: dict[str, Any] = {
    "None": lambda: None,
    "words": lambda: "coupled_learning",
    "true": lambda: True,
    "negative": lambda: -1,
    "half": lambda: 0.5,
    "NaN": lambda: float("nan"),
    "nested": lambda: [[["x"]]],
    "empty": lambda: [],
    "an object": object,
    "a factory": lambda: optax.adam,
    "a class": lambda: jp.CoupledLearning,
    "L-BFGS": optax.lbfgs,
    "scalar array": lambda: np.array(1.0),
    "an ensemble": lambda: jp.stack([_sane()["network"]] * 2),
    "tasks": lambda: jp.stack([_sane()["task"]] * 2),
    "a dictionary": lambda: {"k": 1.0},
    "too long": lambda: np.ones(99),
    "complex": lambda: 1j,
}
# Which of them mean something: k for all edges, a response of -1, half of one, no rule but the usual one.
SENSIBLE = {
    ("optimizer", "None"),
    ("rule", "None"),
    ("record", "None"),
    ("stop_cost", "None"),
    ("stop_cost", "half"),
    ("stop_cost", "true"),
    ("stop_cost", "negative"),
    ("stop_cost", "scalar array"),
    ("force", "None"),
    ("k", "half"),
    ("k", "scalar array"),
    ("k", "true"),
    ("k", "None"),
    *((name, wrong) for name in ("response", "steps") for wrong in ("scalar array", "true")),
    *(("response", wrong) for wrong in ("negative", "half")),
    ("sources", "None"),
}


@st.composite
def calls(draw: st.DrawFn) -> Call:
    """One argument of one function takes a value of another kind, shape or size; in some calls none does."""
    function = draw(st.sampled_from(tuple(CALLS)))
    argument = draw(st.sampled_from(tuple(CALLS[function][1])))
    return Call(function, argument, draw(st.sampled_from((*WRONG, SANE, SANE))))


@ended.register
def _(case: Call) -> str:
    function, given = CALLS[case.function]
    sane = _sane() | {"topology": _sane()["network"].topology}
    arguments = {name: sane[value] if isinstance(value, str) else value for name, value in given.items()}
    if case.wrong != SANE:
        arguments[case.argument] = WRONG[case.wrong]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = function(**arguments)
        except jp.InputError as error:
            assert str(error).isprintable(), str(error)
            assert len(str(error)) < 500, str(error)
            assert case.wrong != SANE, f"refused, though nothing is wrong: {error}"
            return "refused"
    jax.block_until_ready(jax.tree.leaves(found))
    assert case.wrong == SANE or (case.argument, case.wrong) in SENSIBLE, "taken without a word"
    return "right"
