"""Resistor networks with their sources, as SPICE netlists: to be simulated elsewhere, or built."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxphys._checks import InputError
from jaxphys.equilibrium import Boundary, State, equilibrate
from jaxphys.io.files import MOST_NODES, about, read_text, shown, write_atomically
from jaxphys.io.spice import GROUND, Part, read_parts
from jaxphys.networks.physics import FlowNetwork, Node, check_single
from jaxphys.networks.topology import component_labels, from_edges
from jaxphys.solvers import AbstractSolver

NETLISTS = (".cir", ".sp", ".spice", ".net", ".ckt")
"""Suffixes of netlists."""


class Circuit(NamedTuple):
    """A flow network between sources.

    - `network`: a `FlowNetwork`, conductances in siemens. `labels`: `(N,)` what its nodes are called.
    - `boundary`: nodes, and drops between nodes, that voltage sources hold, and grounds.
    - `force`: `(N,)` currents into the nodes, in amperes. `values`: `(h,)` voltages that are held, in volts.
    """

    network: FlowNetwork
    boundary: Boundary
    force: Float[Array, " N"]
    values: Float[Array, " h"]

    @property
    def labels(self) -> tuple[str, ...]:
        return self.network.node_names

    def equilibrate(self, *, solver: AbstractSolver | None = None) -> State:
        """The circuit at rest: `x` are the voltages of its nodes."""
        return equilibrate(self.network, self.boundary, self.force, self.values, solver=solver)


def make_circuit(
    network: FlowNetwork,
    *,
    held: Mapping[Any, float] | None = None,
    drops: Mapping[Any, float] | None = None,
    ground: Sequence[Node] = (),
    currents: Mapping[Any, float] | None = None,
) -> Circuit:
    """A circuit from what its sources do: `held` volts and `currents` in amperes by node, `drops` by pairs.

    Nodes go by number or by name. Raises `InputError` as `Boundary` does, where currents name a node that
    does not exist, and for an ensemble.

    >>> import jaxphys as jp
    >>> from jaxphys.io import make_circuit
    >>> divider = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]), k=[1.0, 3.0])
    >>> make_circuit(divider, held={0: 1.0}, ground=[2]).equilibrate().x.round(3).tolist()
    [1.0, 0.25, 0.0]
    """
    check_single(network)
    held, drops, currents = dict(held or {}), dict(drops or {}), dict(currents or {})
    boundary = Boundary(network, held_nodes=list(held), held_drops=list(drops), ground=list(ground))
    force = np.zeros(network.num_nodes)
    np.add.at(force, network.node_numbers(list(currents), "currents"), list(currents.values()))
    dtype = network.k.dtype
    values = jnp.asarray([*held.values(), *drops.values()], dtype)
    return Circuit(network, boundary, jnp.asarray(force, dtype), values)


def save_netlist(circuit: Circuit, path: Path | str, *, title: str = "jaxphys") -> None:
    """Write a circuit as a SPICE netlist: R, V and I elements and an operating point.

    Every number is written with all digits of its float64, resistances as 1/k.

    Nodes keep names that SPICE can read (letters, digits, `_` and `.`); any other node is called `n` and its
    number, and a comment says what it is called here. Grounds are sources of no
    voltage, whose currents can be read. A circuit that floats is balanced, its currents less their mean, and
    tied to ground at its first node: its voltages are ours less that node's. So it is with held drops, too.
    """
    text = netlist(circuit, title=title)
    write_atomically(path, lambda to: to.write_text(text, encoding="utf-8"))


def netlist(circuit: Circuit, *, title: str = "jaxphys") -> str:
    """The text of a circuit as a SPICE netlist; `save_netlist` writes it and says what it holds.

    **Arguments**

    - `circuit`: a flow network with what is held and fed. Volts, amperes and ohms where its numbers are in SI
      units.
    - `title`: the first line, a comment.
    """
    network, boundary = circuit.network, circuit.boundary
    nodes, pairs, ground, floating = read_rows(boundary.row_entries(), network.num_nodes, boundary.num_held)
    force = np.asarray(circuit.force, dtype=float)
    if floating:
        force, ground = force - force.mean(), [0]
    lines = [f"* {_one_line(title)}"]
    called = _node_words(circuit.labels)
    for i, (word, label) in enumerate(zip(called, circuit.labels, strict=True)):
        if label not in (word, str(i)):
            lines.append(f"* {word} is {_one_line(label)}")
    k, mask = np.asarray(network.k, dtype=float).tolist(), np.asarray(network.topology.edge_mask)
    for i, (a, b) in enumerate(np.asarray(network.topology.edges).tolist()):
        if mask[i]:
            lines.append(f"R{i} {called[a]} {called[b]} {1 / k[i]!r}")
    values = np.asarray(circuit.values, dtype=float).tolist()
    ends = [(called[node], "0") for node in nodes] + [(called[a], called[b]) for a, b in pairs]
    ends += [(called[node], "0") for node in ground]
    held = [*values, *[0.0] * (len(ends) - len(values))]
    lines += [f"V{i} {a} {b} DC {value!r}" for i, ((a, b), value) in enumerate(zip(ends, held, strict=True))]
    lines += [f"I{i} 0 {called[i]} DC {float(force[i])!r}" for i in np.flatnonzero(force).tolist()]
    lines += [".op", ".end"]
    return "\n".join(lines) + "\n"


# Not `n3`, which another node may be given.
_WORD = re.compile(r"(?!n\d+$)[a-z][\w.]*", re.ASCII | re.IGNORECASE)


def _node_words(labels: Sequence[str]) -> list[str]:
    """What SPICE calls the nodes: their names where these are words that differ also in lower case."""
    lower = Counter(label.lower() for label in labels)
    plain = [_WORD.fullmatch(each) and lower[each.lower()] == 1 and each.lower() != "gnd" for each in labels]
    return [label if keeps else f"n{i}" for i, (label, keeps) in enumerate(zip(labels, plain, strict=True))]


def read_netlist(path: Path | str) -> Circuit:
    """Read a netlist of resistors and independent sources at its direct-current operating point.

    The first line is a title. Elements are `R1 a b 4.7k`, `V1 a b DC 5` and `I1 a b 1mA`, with the scale
    factors of SPICE (`t g meg k m mil u n p f`, `m` being milli) and units, which mean nothing; node `0`
    (or `gnd`) is ground. Inductors are shorts and capacitors open; without a direct value a source has that
    of its waveform at time zero, or none. Subcircuits are flattened: node `mid` of `X1` is `X1.mid`.

    What means nothing at the operating point is passed over; all else (other elements, expressions, files to
    include) is refused with its line. UTF-8, UTF-16 and Latin-1 are read.

    Raises `InputError` that names the file, the line and what is wrong.

    >>> import pathlib, tempfile
    >>> from jaxphys.io import read_netlist
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "divider.cir"
    >>> _ = path.write_text("a divider\\nV1 top 0 DC 5V\\nR1 top out 3kOhm\\nR2 out 0 2k\\n.end\\n")
    >>> circuit = read_netlist(path)
    >>> dict(zip(circuit.labels, circuit.equilibrate().x.round(6).tolist()))
    {'top': 5.0, 'out': 2.0, '0': 0.0}
    """
    with about(path):
        return parse_netlist(read_text(path, older=True))


def parse_netlist(text: str) -> Circuit:
    """The circuit of a netlist's text; raises `InputError` without the name of a file."""
    return _circuit(read_parts(text))


def read_netlist_network(path: Path | str) -> tuple[FlowNetwork, tuple[str, ...]]:
    """The resistors of a netlist, without its sources, and the names of their nodes.

    Raises `InputError` without the name of the file, also on inductors: what they join is one node.
    """
    parts = read_parts(read_text(path, older=True))
    for part in parts:
        if part.kind == "l":
            raise InputError(
                f"line {part.line} is an inductor, a short, which a network of resistors cannot hold: "
                f"{shown(part.name)}; call the nodes that it joins by one name."
            )
    circuit = _circuit(parts)
    return circuit.network, circuit.labels


def _circuit(parts: Sequence[Part]) -> Circuit:
    """The network of the resistors, between what the sources hold and drive."""
    resistors = [part for part in parts if part.kind == "r" and not _is_loop(part)]
    if not resistors:
        raise InputError("it must hold at least one resistor between two nodes.")
    # SPICE does not tell upper from lower case. Ground is a node where resistors touch it.
    written: dict[str, str] = {}
    for part in (*resistors, *(part for part in parts if part.kind in "vli")):
        for end in part.ends:
            if end != GROUND or part.kind == "r":
                written.setdefault(end.lower(), end)
    if len(written) > MOST_NODES:
        raise InputError(f"it has more than the {MOST_NODES} nodes allowed.")
    number = {name: i for i, name in enumerate(written)}
    # The number behind the last is that of ground, be it a node or not.
    ground = number.setdefault(GROUND, len(written))
    edges = [(number[a.lower()], number[b.lower()]) for a, b in (part.ends for part in resistors)]
    held, drops = _holds(parts, number)
    _check_grounded(parts, number, [*edges, *((node, ground) for node in held), *drops])
    currents: dict[int, float] = {}
    for part in parts:
        for end, sign in zip(part.ends, (-1, 1), strict=True):
            if part.kind == "i" and number[end.lower()] != ground:
                node = number[end.lower()]
                currents[node] = currents.get(node, 0.0) + sign * part.value
    topology = from_edges(edges, num_nodes=len(written), names=list(written.values()))
    return make_circuit(
        FlowNetwork(topology, k=np.array([1 / part.value for part in resistors])),
        held=held,
        drops=drops,
        ground=[ground] if GROUND in written else [],
        currents=currents,
    )


def _is_loop(part: Part) -> bool:
    return part.ends[0].lower() == part.ends[1].lower()


def _holds(
    parts: Sequence[Part], number: Mapping[str, int]
) -> tuple[dict[int, float], dict[tuple[int, int], float]]:
    """Voltages against ground and between nodes that sources hold; inductors hold none between theirs.

    Raises `InputError` on loops: nothing says how currents run around them.
    """
    ground, held, drops = number[GROUND], {}, {}
    # A forest: for every node the one above it, and how much higher its voltage is.
    above: dict[int, tuple[int, float]] = {}

    def root(node: int) -> tuple[int, float]:
        path, higher = [], 0.0
        while node in above:
            path.append(node)
            node = above[node][0]
        for each in reversed(path):
            higher += above[each][1]
            above[each] = node, higher
        return node, higher

    for part in (*(p for p in parts if p.kind == "v"), *(p for p in parts if p.kind == "l")):
        a, b = (number[end.lower()] for end in part.ends)
        (top_a, high_a), (top_b, high_b) = root(a), root(b)
        if top_a == top_b and part.kind == "l" and high_a == high_b:
            continue
        if top_a == top_b:
            raise InputError(
                f"line {part.line} holds what is held already, so that voltage sources or inductors form a "
                f"loop: {shown(part.name)}."
            )
        above[top_a] = top_b, part.value + high_b - high_a
        if ground in (a, b):
            held[b if a == ground else a] = -part.value if a == ground else part.value
        else:
            drops[a, b] = part.value
    return held, drops


def _check_grounded(
    parts: Sequence[Part], number: Mapping[str, int], joined: Sequence[tuple[int, int]]
) -> None:
    """Refuse nodes that no resistors, voltage sources or inductors join to ground."""
    ends = {end.lower(): (end, part.line) for part in reversed(parts) for end in part.ends}
    if GROUND not in ends:
        raise InputError("it has no ground; call one of its nodes 0 or gnd.")
    piece = component_labels(np.array(joined), max(number.values()) + 1)
    for name, (end, line) in ends.items():
        if name not in number:
            raise InputError(
                f"line {line} names a node that nothing which conducts joins to another: {shown(end)}."
            )
        if piece[number[name]] != piece[number[GROUND]]:
            raise InputError(
                f"node {shown(end)} in line {line} and its component of the circuit are not joined to ground "
                "(node 0 or gnd) by resistors, voltage sources or inductors."
            )


def read_rows(
    rows: Sequence[tuple[np.ndarray, np.ndarray]], size: int, num_held: int
) -> tuple[list[int], list[tuple[int, int]], list[int], bool]:
    """Held nodes, held drops and grounds of a flow network's boundary, and whether it floats.

    `rows` are those of `Boundary.row_entries`, `size` is how many nodes there are.
    """
    nodes: list[int] = []
    pairs: list[tuple[int, int]] = []
    ground: list[int] = []
    floating = False
    for number, (where, entries) in enumerate(rows):
        if len(where) == 1:
            (nodes if number < num_held else ground).append(int(where[0]))
        elif len(where) == 2 and number < num_held:
            pairs.append((int(where[np.argmax(entries)]), int(where[np.argmin(entries)])))
        elif len(where) == size and np.ptp(entries) < 1e-9 * np.abs(entries).max():
            floating = True
        else:
            raise InputError("Its boundary must hold nodes or drops, or let the whole network float.")
    if floating and (nodes or ground):
        raise InputError("Its boundary must not hold nodes where it lets the network float.")
    return nodes, pairs, ground, floating


def _one_line(text: str) -> str:
    return text if text.isprintable() else ascii(text)
