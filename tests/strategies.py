"""Hypothesis strategies: networks, boundaries, tasks, configs and files, from sane to broken.

A case is a frozen dataclass of plain numbers, so that its `repr` is all that it takes to run it again.
`endings.py` says how a case must end. Shapes come from few buckets, because every new one compiles anew.
"""

import copy
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

EXAMPLES = Path(__file__).parent.parent / "examples"
NAN, INFINITY = math.nan, math.inf

# Edges up to which graphs are padded.
ROOM = 24
SIZES = (2, 3, 6, 12)
# Conductances that no network can have, and those at the ends of what float64 can hold.
BROKEN_K = (0.0, -0.0, -1.0, -1e-300, NAN, INFINITY, -INFINITY)
EXTREME_K = (5e-324, 1e-310, 1e-200, 1e-160, 1e160, 1e200, 1e308)


@dataclass(frozen=True)
class Equilibrium:
    """A network, what holds it, two columns of force and held values, and the solver that is asked.

    A node network has no edges. `padding` is what `k` holds where an edge joins a node to itself.
    """

    kind: str
    num_nodes: int
    edges: tuple[tuple[int, int], ...]
    k: tuple[float, ...]
    padding: float = 1.0
    positions: tuple[tuple[float, ...], ...] | None = None
    held_nodes: tuple[float, ...] = ()
    held_drops: tuple[tuple[int, int], ...] = ()
    ground: tuple[float, ...] = ()
    free_modes: str = "forbid"
    seed: int = 0
    sizes: tuple[float, float] = (1.0, 1.0)
    solver: str = "dense"


@dataclass(frozen=True)
class Learning:
    """A task for a network: what is asked of `builder`, on the network and boundary of `rest`."""

    rest: Equilibrium
    builder: str
    sources: tuple[Any, ...]
    targets: tuple[Any, ...]
    numbers: tuple[float, ...]
    cost: str = "squared_error"
    inverse_temperature: float = 1.0


@dataclass(frozen=True)
class File:
    """Bytes under a name whose ending says how they are to be read."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Table:
    """A config as a mutated table, and what was done to it."""

    table: dict[str, Any]
    change: str


def _tree(generator: np.random.Generator, nodes: int) -> list[tuple[int, int]]:
    return [(int(generator.integers(0, node)), node) for node in range(1, nodes)]


def _graph(shape: str, nodes: int, generator: np.random.Generator) -> list[tuple[int, int]]:
    """Edges of a graph of that shape; nodes come in random order."""
    path = [(node, node + 1) for node in range(nodes - 1)]
    match shape:
        case "path":
            edges = path
        case "star":
            edges = [(0, node) for node in range(1, nodes)]
        case "ring":
            edges = [*path, (nodes - 1, 0)] if nodes > 2 else path
        case "clique":
            edges = [(a, b) for a in range(min(nodes, 6)) for b in range(a)]
            edges += [(node - 1, node) for node in range(6, nodes)]
        case "lattice":
            across = 3 if nodes % 3 == 0 and nodes > 3 else nodes
            edges = [(a, a + 1) for a in range(nodes - 1) if (a + 1) % across]
            edges += [(a, a + across) for a in range(nodes - across)]
        case "multi":
            edges = _tree(generator, nodes)
            edges += [edges[i][::-1] for i in generator.integers(0, len(edges), 4)]
        case "pieces":
            edges = [edge for i, edge in enumerate(path) if i != len(path) // 2] or path
        case "isolated":
            edges = [edge for edge in path if nodes - 1 not in edge] or path
        case _:
            edges = _tree(generator, nodes)
            edges += [tuple(generator.choice(nodes, 2, replace=False).tolist()) for _ in range(nodes // 2)]
    names = generator.permutation(nodes)
    return [(int(names[a]), int(names[b])) for a, b in edges]


SHAPES = ("path", "star", "ring", "clique", "lattice", "multi", "tree")
SEEDS = st.integers(0, 2**32 - 1)
# Planned solvers compile anew for every graph, so they see few.
PLANNED = ("star_mesh", "sparse_cholesky")
FEW = st.integers(0, 1)


@st.composite
def conductances(draw: st.DrawFn, count: int) -> tuple[float, ...]:
    """Positive numbers: equal ones, a few decades, up to thirty; half of them 1; powers of ten or of two."""
    generator = np.random.default_rng(draw(SEEDS))
    decades = draw(st.sampled_from((0, 0, 1, 2, 4, 6, 8, 10, 12, 16, 30)))
    exponents = decades * generator.uniform(-0.5, 0.5, count)
    match draw(st.sampled_from(("uniform", "uniform", "bimodal", "round", "binary"))):
        case "bimodal":
            exponents = decades * np.round(generator.uniform(size=count))
        case "round":
            exponents = np.round(exponents)
        case "binary":
            return tuple((2.0 ** np.round(exponents / math.log10(2))).tolist())
    scale = draw(st.sampled_from((0, 0, 0, 0, 0, -6, 6, -100, 100, -180, 180)))
    return tuple((10.0 ** (exponents + scale)).tolist())


@st.composite
def edge_lists(draw: st.DrawFn, nodes: int, seeds: Any = SEEDS) -> tuple[tuple[int, int], ...]:
    """Connected graphs, mostly; some in pieces, with isolated nodes, loops or nodes that do not exist."""
    generator = np.random.default_rng(draw(seeds))
    shape = draw(st.sampled_from((*SHAPES, *SHAPES, *SHAPES, "pieces", "isolated")))
    edges = _graph(shape, nodes, generator)
    match draw(st.sampled_from(("sane",) * 60 + ("loop", "outside", "negative", "empty"))):
        case "loop":
            edges[-1] = (edges[-1][0], edges[-1][0])
        case "outside":
            edges[-1] = (edges[-1][0], nodes)
        case "negative":
            edges[-1] = (edges[-1][0], -1)
        case "empty":
            edges = []
    return tuple(edges)


@st.composite
def boundaries(draw: st.DrawFn, nodes: int, solver: str, springs: bool) -> dict[str, Any]:
    """What is held: mostly what the solver serves, sometimes nothing, twice, or what is not there."""
    order = np.random.default_rng(draw(FEW if solver in PLANNED else SEEDS)).permutation(nodes).tolist()
    conditions: dict[str, Any] = {}
    choices = ["ground", "floating", "held", "held and ground", "ground", "floating", "held", "nothing"]
    if solver not in PLANNED or draw(st.integers(0, 9)) == 0:
        choices += ["drop and ground", "drop and floating", "drop and ground", "drop and floating", "drop"]
    kind = draw(st.sampled_from(choices))
    fixed = 2 if springs and nodes > 2 else 1
    if "ground" in kind:
        conditions["ground"] = tuple(order[:fixed])
    if "held" in kind:
        conditions["held_nodes"] = tuple(order[fixed:][:1] or order[:1])
    if "drop" in kind:
        conditions["held_drops"] = (tuple(order[-2:]),)
    if "floating" in kind or (springs and kind != "nothing"):
        conditions["free_modes"] = "project"
    flaw = draw(st.sampled_from(("none",) * 48 + ("twice", "outside", "negative", "half", "itself", "both")))
    match flaw:
        case "twice":
            conditions["ground"] = (order[0], order[0])
        case "outside":
            conditions["held_nodes"] = (nodes,)
        case "negative":
            conditions["ground"] = (-1,)
        case "half":
            conditions["ground"] = (0.5,)
        case "itself":
            conditions["held_drops"] = ((order[0], order[0]),)
        case "both":
            conditions["ground"] = conditions["held_nodes"] = (order[0],)
    return conditions


@st.composite
def matrices(draw: st.DrawFn, nodes: int) -> tuple[float, ...]:
    """Upper triangles of symmetric matrices: any conditioning, singular or indefinite."""
    generator = np.random.default_rng(draw(SEEDS))
    decades = draw(st.sampled_from((0, 1, 3, 6, 8, 9, 10, 11, 12, 14, 16, 20)))
    eigenvalues = 10.0 ** -np.linspace(0, decades, nodes)
    match draw(st.sampled_from(("definite",) * 6 + ("indefinite", "singular", "zero", "diagonal"))):
        case "indefinite":
            eigenvalues[-1] *= -1
        case "singular":
            eigenvalues[-1] = 0
        case "zero":
            eigenvalues[:] = 0
        case "diagonal":
            return tuple(np.diag(eigenvalues)[np.triu_indices(nodes)].tolist())
    rotation = np.linalg.qr(generator.standard_normal((nodes, nodes)))[0]
    matrix = (rotation * eigenvalues) @ rotation.T
    return tuple(((matrix + matrix.T) / 2)[np.triu_indices(nodes)].tolist())


SPRING_SHAPES = {
    "triangle": [(0, 1), (1, 2), (2, 0)],
    "braced": [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2), (1, 3)],
    "square": [(0, 1), (1, 2), (2, 3), (3, 0)],
    "strip": [(a, b) for a in range(6) for b in range(a + 1, min(a + 4, 6))],
}


@st.composite
def springs(draw: st.DrawFn) -> dict[str, Any]:
    """Rigid, floppy and nearly floppy bodies in the plane."""
    generator = np.random.default_rng(draw(SEEDS))
    edges = SPRING_SHAPES[draw(st.sampled_from(tuple(SPRING_SHAPES)))]
    nodes = max(max(edge) for edge in edges) + 1
    angles = 2 * np.pi * (np.arange(nodes) + 0.3 * generator.uniform(size=nodes)) / nodes
    places = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    # A body that is nearly a line gives way across it.
    places[:, 1] *= 10.0 ** -draw(st.sampled_from((0, 0, 0, 1, 2, 4, 5, 6)))
    flaw = draw(st.sampled_from(("none",) * 20 + ("coincident", "nan", "line")))
    match flaw:
        case "coincident":
            places[edges[0][0]] = places[edges[0][1]]
        case "nan":
            places[0, 0] = NAN
        case "line":
            places[:, 1] = 0
    return {
        "num_nodes": nodes,
        "edges": tuple(edges),
        "positions": tuple(map(tuple, places.tolist())),
    }


SOLVERS = {
    "flow": ("dense", "bordered_lu", "star_mesh", "sparse_cholesky"),
    "spring": ("dense", "bordered_lu", "sparse_cholesky"),
    "node": ("dense", "bordered_lu", "tracked_inverse"),
}


@st.composite
def equilibria(draw: st.DrawFn, planned: bool = True, sizes: tuple[int, ...] = SIZES) -> Equilibrium:
    """Networks at rest under forces and held values, in float64.

    Planned solvers compile for every graph; without `planned` they are left out.
    """
    kind = draw(st.sampled_from(("flow", "flow", "spring", "node")))
    served = [name for name in SOLVERS[kind] if planned or name not in PLANNED]
    solver = draw(st.sampled_from(served))
    if kind == "spring":
        body = draw(springs())
    elif kind == "flow":
        nodes = 9 if solver in PLANNED else draw(st.sampled_from(sizes))
        body = {"num_nodes": nodes, "edges": draw(edge_lists(nodes, FEW if solver in PLANNED else SEEDS))}
    else:
        body = {"num_nodes": draw(st.sampled_from((1, *sizes))), "edges": ()}
    nodes = body["num_nodes"]
    k = draw(matrices(nodes)) if kind == "node" else draw(conductances(len(body["edges"])))
    flaw = draw(st.sampled_from(("none",) * 16 + ("broken", "extreme", "extreme")))
    if flaw != "none" and k:
        values = BROKEN_K if flaw == "broken" else EXTREME_K
        place = draw(st.integers(0, len(k) - 1))
        k = (*k[:place], draw(st.sampled_from(values)), *k[place + 1 :])
    conditions = {} if nodes == 1 else draw(boundaries(nodes, solver, kind == "spring"))
    if kind == "node" and draw(st.booleans()):
        conditions = {}
    return Equilibrium(
        kind,
        k=k,
        padding=draw(st.sampled_from((1.0, 1.0, 0.0, -1.0, NAN, INFINITY))),
        seed=draw(SEEDS),
        sizes=(
            draw(st.sampled_from((1.0, 1.0, 1e-8, 1e8, 0.0))),
            draw(st.sampled_from((1.0, 1.0, 1e-8, 1e8, 0.0))),
        ),
        solver=solver,
        **body,
        **conditions,
    )


NUMBERS = (0.3, -0.2, 1.0, 0.0, 1e-8, 1e8)
BROKEN_NUMBERS = (NAN, INFINITY, -INFINITY)


@st.composite
def learnings(draw: st.DrawFn, planned: bool = True) -> Learning:
    """Allostery, regression and classification on networks of six nodes: most can be asked, some cannot."""
    rest = draw(equilibria(planned, sizes=(6,)))
    n = rest.num_nodes
    order = np.random.default_rng(draw(FEW if rest.solver in PLANNED else SEEDS)).permutation(n).tolist()
    free = [node for node in order if node not in (*rest.ground, *rest.held_nodes)]
    if rest.kind == "spring" or draw(st.integers(0, 3)) == 0:
        inside = [(free[i], free[i - 1]) for i in range(len(free))] if len(free) > 1 else []
    else:
        inside = free
    number = draw(st.sampled_from((1, 2, 2)))
    held = len(rest.held_nodes) * (2 if rest.kind == "spring" else 1) + len(rest.held_drops)
    sources = () if held else tuple(inside[:number])
    targets = tuple(inside[-number:])
    flaws = ("outside", "itself", "held", "few sources", "driven twice", "number", "cost", "empty")
    flaw = draw(st.sampled_from(("none",) * 27 + flaws))
    numbers = tuple(draw(st.lists(st.sampled_from(NUMBERS), min_size=8, max_size=8)))
    temperature = draw(st.sampled_from((1.0, 100.0)))
    match flaw:
        case "outside":
            targets = (*targets[1:], n)
        case "itself":
            targets = (*targets[1:], (order[0], order[0]))
        case "held":
            targets = (*targets[1:], *(rest.ground or rest.held_nodes)[:1])
        case "few sources":
            sources = sources[1:]
        case "driven twice":
            sources = (*sources, order[0])
        case "number":
            numbers = (draw(st.sampled_from(BROKEN_NUMBERS)), *numbers[1:])
        case "cost":
            temperature = draw(st.sampled_from((0.0, -1.0, *BROKEN_NUMBERS)))
        case "empty":
            targets = ()
    builder = draw(st.sampled_from(("allostery", "regression", "classification")))
    cost = draw(st.sampled_from(("squared_error", "cross_entropy", "cosine")))
    return Learning(rest, builder, sources, targets, numbers, cost, temperature)


def small_tables() -> list[dict[str, Any]]:
    """The example configs on networks of a dozen nodes, and one table for every other kind there is."""
    tables = []
    for path in sorted(EXAMPLES.glob("*.toml")):
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        # What is swept is many configs.
        table.pop("sweep", None)
        if "nodes" in table["network"]:
            table["network"]["nodes"] = 8
        elif table["network"]["graph"]["kind"] == "erdos_renyi":
            table["network"]["graph"].update(nodes=8, edges=12)
        else:
            table["network"]["graph"]["shape"] = [3, 3]
        if table["task"]["kind"] == "regression":
            table["task"].update(samples=6, test_samples=4)
        elif table["task"]["kind"] == "classification":
            table["task"].update(train_per_class=3)
        tables.append(table)
    flow = {"kind": "flow", "graph": {"kind": "square_lattice", "shape": [3, 3]}}
    spring = {"kind": "spring", "graph": {"kind": "triangular_lattice", "shape": [3, 3]}}
    tables += [
        {"network": {"kind": "node", "nodes": 6}, "task": {"kind": "random_linear"}},
        {
            "network": flow,
            "task": {"kind": "allostery", "drive": "held", "tasks": 2},
            "optimizer": {"kind": "adam"},
        },
        {"network": flow, "task": {"kind": "allostery", "ground": [0], "sources": [1], "targets": [5]}},
        {"network": {**spring, "law": "vector"}, "task": {"kind": "allostery", "terminals": "edges"}},
        {"network": spring, "task": {"kind": "allostery", "terminals": "edges", "ground": "random"}},
        {"network": flow, "task": {"kind": "allostery"}, "integrator": {"kind": "levenberg_marquardt"}},
        {"network": flow, "task": {"kind": "allostery"}, "integrator": {"kind": "gradient_flow"}},
        {
            "network": {
                "kind": "flow",
                "graph": {"kind": "complete", "nodes": 6},
                "initial": {"kind": "log_normal"},
            }
        },
    ]
    return [{**table, "realizations": 2, "steps": 2, "record": []} for table in tables]


STRANGE = (
    *(NAN, INFINITY, -INFINITY, -1.0, 0.0, 1e-300, 1e299, 1e308, 0.5, 1.5, 3.0),
    *(-1, 0, 1, 2, 3, 7, 100, 2**31, 2**62, 2**63, -(2**63), 10**40),
    *("", "x", "flow", "iris", "nodes", "\n", "a" * 1000, "\x1b[2J", "nowhere.csv", "eigenvalues"),
    *(True, False, [], [0], [0, 1], [[0, 1]], [[]], [[1.0, NAN]], [-1], [2**40], ["x"], [[0, 0]], [[0, 99]]),
    *({}, {"kind": "x"}, {"kind": 3}, {"kind": "flow"}, {"x": {}}),
)


def places(table: dict[str, Any]) -> list[tuple[str, ...]]:
    """Where in a table something can be put: every key of every table in it."""
    found = []
    for key, value in table.items():
        found.append((key,))
        if isinstance(value, dict):
            found += [(key, *inner) for inner in places(value)]
    return found


@st.composite
def tables(draw: st.DrawFn, whole: tuple[dict[str, Any], ...]) -> Table:
    """One of `whole` tables with none, one or two of its keys changed, renamed, taken out or moved."""
    table = copy.deepcopy(draw(st.sampled_from(whole)))
    changes = []
    for _ in range(draw(st.sampled_from((0, 1, 1, 1, 1, 1, 1, 2, 2)))):
        path = draw(st.sampled_from(places(table)))
        inside = table
        for key in path[:-1]:
            inside = inside[key]
        change = draw(st.sampled_from(("set",) * 8 + ("scale", "rename", "remove", "wrap")))
        match change:
            case "set":
                inside[path[-1]] = copy.deepcopy(draw(st.sampled_from(STRANGE)))
            case "scale":
                value = inside[path[-1]]
                factor = draw(st.sampled_from((-1, 0, 2, 1e-12, 1e12)))
                inside[path[-1]] = value * factor if isinstance(value, float) else value
            case "rename":
                inside[path[-1] + draw(st.sampled_from(("s", "_", " ", "é")))] = inside.pop(path[-1])
            case "remove":
                del inside[path[-1]]
            case "wrap":
                inside[path[-1]] = [inside[path[-1]]]
        changes.append(f"{change} {'.'.join(path)}: {inside.get(path[-1])!r}")
    return Table(table, "; ".join(changes))


@st.composite
def files(draw: st.DrawFn, whole: tuple[File, ...], mutations: Any) -> File:
    """One of `whole` files, broken by `mutations(content, generator)`; now and then bytes of no meaning."""
    file = draw(st.sampled_from(whole))
    if draw(st.integers(0, 19)) == 0:
        return File(file.name, draw(st.binary(max_size=200)))
    return File(file.name, next(mutations(file.content, np.random.default_rng(draw(SEEDS)))))
