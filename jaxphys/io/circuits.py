"""Resistor networks with their sources, as SPICE netlists: to be simulated elsewhere, or built."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxphys._checks import InputError
from jaxphys.equilibrium import Boundary, State, equilibrate
from jaxphys.io.files import MOST_EDGES, MOST_NODES, about, read_text, shown, to_label, write_atomically
from jaxphys.networks import FlowNetwork
from jaxphys.solvers import AbstractSolver
from jaxphys.topology import from_edges

NETLISTS = (".cir", ".sp", ".spice", ".net", ".ckt")
"""Suffixes of netlists."""


class Circuit(NamedTuple):
    """A flow network between sources.

    - `network`: a `FlowNetwork`, conductances in siemens. `labels`: `(N,)` names of its nodes.
    - `boundary`: nodes, and drops between nodes, that voltage sources hold, and grounds.
    - `force`: `(N,)` currents into the nodes, in amperes. `values`: `(h,)` voltages that are held, in volts.
    """

    network: FlowNetwork
    boundary: Boundary
    force: Float[Array, " N"]
    values: Float[Array, " h"]
    labels: tuple[str, ...]

    def equilibrate(self, *, solver: AbstractSolver | None = None) -> State:
        """The circuit at rest: `x` are the voltages of its nodes."""
        return equilibrate(self.network, self.boundary, self.force, self.values, solver=solver)


def make_circuit(
    network: FlowNetwork,
    *,
    held: Mapping[int, float] | None = None,
    drops: Mapping[tuple[int, int], float] | None = None,
    ground: Sequence[int] = (),
    currents: Mapping[int, float] | None = None,
    labels: Sequence[str] | None = None,
) -> Circuit:
    """A circuit from what its sources do: `held` volts and `currents` in amperes by node, `drops` by pairs.

    Raises `InputError` as `Boundary` does, and where currents name a node that does not exist.

    >>> import jaxphys as jp
    >>> from jaxphys.io import make_circuit
    >>> divider = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]), k=[1.0, 3.0])
    >>> make_circuit(divider, held={0: 1.0}, ground=[2]).equilibrate().x.round(3).tolist()
    [1.0, 0.25, 0.0]
    """
    held, drops, currents = dict(held or {}), dict(drops or {}), dict(currents or {})
    boundary = Boundary(network, held_nodes=list(held), held_drops=list(drops), ground=list(ground))
    force = np.zeros(network.num_nodes)
    for node, current in currents.items():
        if not 0 <= node < network.num_nodes:
            raise InputError(
                f"Argument `currents` must name nodes below {network.num_nodes}, but names {node}."
            )
        force[node] += current
    dtype = network.k.dtype
    values = jnp.asarray([*held.values(), *drops.values()], dtype)
    named = tuple(labels) if labels is not None else tuple(map(str, range(network.num_nodes)))
    return Circuit(network, boundary, jnp.asarray(force, dtype), values, named)


def save_netlist(circuit: Circuit, path: Path | str, *, title: str = "jaxphys") -> None:
    """Write a circuit as a SPICE netlist: R, V and I elements and an operating point.

    Every number is written with all digits of its float64, resistances as 1/k.

    A node is called `n` and its number, and a comment says what it is called here. Grounds are sources of no
    voltage, whose currents can be read. A circuit that floats is balanced, its currents less their mean, and
    tied to ground at its first node: its voltages are ours less that node's. So it is with held drops, too.
    """
    text = netlist(circuit, title=title)
    write_atomically(path, lambda to: to.write_text(text, encoding="utf-8"))


def netlist(circuit: Circuit, *, title: str = "jaxphys") -> str:
    """The text that `save_netlist` writes."""
    network, rows = circuit.network, np.asarray(circuit.boundary.rows)
    nodes, pairs, ground, floating = read_rows(rows, circuit.boundary.num_held)
    force = np.asarray(circuit.force, dtype=float)
    if floating:
        force, ground = force - force.mean(), [0]
    lines = [f"* {_one_line(title)}"]
    lines += [f"* n{i} is {_one_line(label)}" for i, label in enumerate(circuit.labels) if label != str(i)]
    k, mask = np.asarray(network.k, dtype=float).tolist(), np.asarray(network.topology.edge_mask)
    for i, (a, b) in enumerate(np.asarray(network.topology.edges).tolist()):
        if mask[i]:
            lines.append(f"R{i} n{a} n{b} {1 / k[i]!r}")
    values = np.asarray(circuit.values, dtype=float).tolist()
    ends = [(f"n{node}", "0") for node in nodes] + [(f"n{a}", f"n{b}") for a, b in pairs]
    ends += [(f"n{node}", "0") for node in ground]
    held = [*values, *[0.0] * (len(ends) - len(values))]
    lines += [f"V{i} {a} {b} DC {value!r}" for i, ((a, b), value) in enumerate(zip(ends, held, strict=True))]
    lines += [f"I{i} 0 n{i} DC {float(force[i])!r}" for i in np.flatnonzero(force).tolist()]
    lines += [".op", ".end"]
    return "\n".join(lines) + "\n"


def read_netlist(path: Path | str) -> Circuit:
    """Read a netlist of resistors and independent direct sources (R, V and I elements).

    The first line is a title. Elements are `R1 a b 4.7k`, `V1 a b DC 5` and `I1 a b 1m` with the scale
    letters of SPICE (`t g meg k m mil u n p f`); node `0` (or `gnd`) is ground. Comments and directives that
    ask for output or settings are passed over; all else (other elements, subcircuits, parameters, files to
    include) is refused with its line.

    Raises `InputError` that names the file, the line and what is wrong.

    >>> import pathlib, tempfile
    >>> from jaxphys.io import read_netlist
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "divider.cir"
    >>> _ = path.write_text("a divider\\nV1 top 0 DC 5\\nR1 top out 3k\\nR2 out 0 2k\\n.end\\n")
    >>> circuit = read_netlist(path)
    >>> dict(zip(circuit.labels, circuit.equilibrate().x.round(6).tolist()))
    {'top': 5.0, 'out': 2.0, '0': 0.0}
    """
    with about(path):
        return parse_netlist(read_text(path))


def parse_netlist(text: str) -> Circuit:
    """The circuit of a netlist's text; raises `InputError` without the name of a file."""
    return _circuit(_elements(text))


class _Element(NamedTuple):
    line: int
    name: str
    ends: tuple[str, str]
    value: float


_PASSED_OVER = (
    *(".op", ".dc", ".tran", ".ac", ".print", ".plot", ".probe", ".save", ".option", ".options"),
    *(".title", ".temp", ".width", ".meas", ".measure", ".nodeset", ".ic"),
)
_SCALES = {"t": 1e12, "g": 1e9, "meg": 1e6, "k": 1e3, "m": 1e-3, "u": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15}
_SCALES["mil"] = 25.4e-6
# Letters behind the scale are units, which SPICE passes over. What begins with an a is refused: to some
# programs it is a unit (ampere), to others a scale (atto).
_VALUE = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)(meg|mil|[tgkmunpf])?(?!a)[a-zω]*", re.ASCII)
# What stands between the words of a line.
_BETWEEN = re.compile(r"[\s(),=]+")
_MOST_ELEMENTS = 2 * MOST_EDGES


def _elements(text: str) -> list[_Element]:
    """Elements of a netlist, in their order."""
    elements: list[_Element] = []
    in_control = False
    for number, line in _cards(text):
        words = [word for word in _BETWEEN.split(line) if word]
        word = words[0].lower() if words else line
        if word == ".end":
            break
        if word in (".control", ".endc"):
            in_control = word == ".control"
        elif in_control or word in _PASSED_OVER:
            continue
        elif word[0] == ".":
            raise InputError(
                f"line {number} is {shown(word)}, which is not read; write out what it stands for."
            )
        elif word[0] not in "rvi":
            raise InputError(
                f"line {number} is {shown(word)}, but only resistors (R) and sources (V, I) are read."
            )
        else:
            elements.append(_element(number, words))
            if len(elements) > _MOST_ELEMENTS:
                raise InputError(f"it has more than the {_MOST_ELEMENTS} elements allowed.")
    return elements


def _cards(text: str) -> list[tuple[int, str]]:
    """Lines behind the title, with those that go on joined, and without comments."""
    cards: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines()[1:], start=2):
        line = re.split(r"[;$]|//", line, maxsplit=1)[0].strip()
        if line.startswith("+") and cards:
            cards[-1] = cards[-1][0], f"{cards[-1][1]} {line[1:]}"
        elif line and not line.startswith("*"):
            cards.append((number, line))
    return cards


def _element(number: int, words: Sequence[str]) -> _Element:
    name, rest = words[0], list(words[3:])
    if name[0].lower() in "vi" and rest and rest[0].lower() == "dc":
        rest = rest[1:]
    if len(words) < 4 or len(rest) != 1:
        raise InputError(
            f"line {number} must be a name, two nodes and one value, as in R1 a b 4.7k or V1 a 0 DC 5, "
            f"but it is {shown(' '.join(words))}."
        )
    a, b = (to_label("0" if end.lower() == "gnd" else end, f"node in line {number}") for end in words[1:3])
    found = _VALUE.fullmatch(rest[0].lower())
    value = float(found[1]) * _SCALES.get(found[2], 1.0) if found else math.nan
    if not math.isfinite(value):
        raise InputError(f"the value in line {number} must be a number, but it is {shown(rest[0])}.")
    if name[0].lower() == "r" and not 0 < value < 1e300:
        raise InputError(f"the resistance in line {number} must be positive, but it is {shown(rest[0])}.")
    return _Element(number, name, (a, b), value)


def _circuit(elements: Sequence[_Element]) -> Circuit:
    resistors = [e for e in elements if e.name[0].lower() == "r" and e.ends[0] != e.ends[1]]
    if not resistors:
        raise InputError("it must hold at least one resistor between two nodes.")
    labels: dict[str, int] = {}
    # SPICE does not tell upper from lower case.
    number = {end: labels.setdefault(end.lower(), len(labels)) for e in resistors for end in e.ends}
    if len(labels) > MOST_NODES:
        raise InputError(f"it has more than the {MOST_NODES} nodes allowed.")
    names = list(dict.fromkeys(end.lower() for e in resistors for end in e.ends))
    written = {end.lower(): end for e in reversed(resistors) for end in e.ends}
    edges = [(number[e.ends[0]], number[e.ends[1]]) for e in resistors]
    network = FlowNetwork(from_edges(edges, num_nodes=len(labels)), k=[1 / e.value for e in resistors])
    held: dict[int, float] = {}
    drops: dict[tuple[int, int], float] = {}
    currents: dict[int, float] = {}
    for element in elements:
        if element.name[0].lower() == "r":
            continue
        ends = [_end(end, labels, element.line) for end in element.ends]
        if element.name[0].lower() == "i":
            for end, sign in zip(ends, (-1, 1), strict=True):
                if end is not None:
                    currents[end] = currents.get(end, 0.0) + sign * element.value
        else:
            _hold(element, ends, labels.get("0"), held, drops)
    ground = [labels["0"]] if "0" in labels else []
    return make_circuit(
        network,
        held=held,
        drops=drops,
        ground=ground,
        currents={node: current for node, current in currents.items() if node not in ground},
        labels=[written[name] for name in names],
    )


def _end(label: str, labels: Mapping[str, int], line: int) -> int | None:
    """The node at one end of a source; None for a ground that no resistor touches."""
    if label.lower() not in labels and label != "0":
        raise InputError(f"line {line} names a node that no resistor touches: {shown(label)}.")
    return labels.get(label.lower())


def _hold(
    element: _Element,
    ends: Sequence[int | None],
    ground: int | None,
    held: dict[int, float],
    drops: dict[tuple[int, int], float],
) -> None:
    """Note what a voltage source holds."""
    a, b = (None if end == ground else end for end in ends)
    node, sign = (a, 1.0) if b is None else (b, -1.0)
    if a is None or b is None:
        is_new = node is not None and node not in held
    else:
        is_new = a != b and (a, b) not in drops and (b, a) not in drops
    if not is_new:
        raise InputError(f"line {element.line} holds what is held already: {shown(element.name)}.")
    if a is not None and b is not None:
        drops[a, b] = element.value
    elif node is not None:
        held[node] = sign * element.value


def read_rows(rows: np.ndarray, num_held: int) -> tuple[list[int], list[tuple[int, int]], list[int], bool]:
    """Held nodes, held drops and grounds of a flow network's boundary, and whether it floats."""
    nodes: list[int] = []
    pairs: list[tuple[int, int]] = []
    ground: list[int] = []
    floating = False
    for number, row in enumerate(rows):
        where = np.flatnonzero(row)
        if len(where) == 1:
            (nodes if number < num_held else ground).append(int(where[0]))
        elif len(where) == 2 and number < num_held:
            high, low = (int(np.argmax(row)), int(np.argmin(row)))
            pairs.append((high, low))
        elif len(where) == row.size and np.ptp(row) < 1e-9 * np.abs(row).max():
            floating = True
        else:
            raise InputError("Its boundary must hold nodes or drops, or let the whole network float.")
    if floating and (nodes or ground):
        raise InputError("Its boundary must not hold nodes where it lets the network float.")
    return nodes, pairs, ground, floating


def _one_line(text: str) -> str:
    return text if text.isprintable() else ascii(text)
