"""The keys of a run's config as typed, frozen dataclasses, each with a default and a line of documentation.

Tables with several kinds (`[network]`, `[task]`, `[rule]`, …) are told apart by their key `kind`.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from jaxphys.diagnostics import FUNCTIONALS


def _key(default: object, doc: str) -> Any:  # A field, which stands where a value of its type does.
    """A field with a default and a line of documentation."""
    if callable(default):
        return dataclasses.field(default_factory=default, metadata={"doc": doc})
    return dataclasses.field(default=default, metadata={"doc": doc})


@dataclass(frozen=True)
class ErdosRenyi:
    """A connected random graph with exactly `edges` edges, drawn anew for each realization."""

    kind: Literal["erdos_renyi"] = _key("erdos_renyi", "this table")
    nodes: int = _key(40, "number of nodes, N")
    edges: int = _key(60, "number of edges, M; the mean degree is 2 M / N")


@dataclass(frozen=True)
class SquareLattice:
    """A square (or, with three sides, cubic) lattice."""

    kind: Literal["square_lattice"] = _key("square_lattice", "this table")
    shape: tuple[int, ...] = _key((10, 10), "nodes along each axis")
    periodic: bool = _key(False, "join opposite sides")


@dataclass(frozen=True)
class TriangularLattice:
    """A triangular lattice."""

    kind: Literal["triangular_lattice"] = _key("triangular_lattice", "this table")
    shape: tuple[int, int] = _key((10, 10), "rows and columns")
    periodic: bool = _key(False, "join opposite sides")


@dataclass(frozen=True)
class CompleteGraph:
    """All pairs of nodes (flow networks only: it has no positions)."""

    kind: Literal["complete"] = _key("complete", "this table")
    nodes: int = _key(20, "number of nodes, N")


@dataclass(frozen=True)
class JammedPacking:
    """The contacts of one jammed packing of soft discs or spheres, the same for each realization."""

    kind: Literal["jammed_packing"] = _key("jammed_packing", "this table")
    particles: int = _key(340, "how many are packed; those that bear no load are removed")
    dimension: Literal[2, 3] = _key(2, "discs or spheres")
    packing_fraction: float | None = _key(None, "share of the box that they fill; 0.86 in 2-D, 0.68 in 3-D")
    boundary: Literal["periodic", "open"] = _key("open", "cut contacts across the box, or keep them")
    seed: int = _key(0, "of the packing alone")


@dataclass(frozen=True)
class GraphFile:
    """The graph of a network file, the same for each realization."""

    kind: Literal["file"] = _key("file", "this table")
    path: str = _key("network.json", "in a format of docs/files.md; relative to the working directory")
    values: str | None = _key(
        None, 'where its edges have their strengths and what they are, as in "weight=resistance (kOhm)"'
    )
    unweighted: bool = _key(False, "every k of the file is 1, whatever it gives")


@dataclass(frozen=True)
class Constant:
    """The same initial value on every edge."""

    kind: Literal["constant"] = _key("constant", "this table")
    value: float | None = _key(None, "initial k; if left out, what the graph's file gives, else 1")


@dataclass(frozen=True)
class Uniform:
    """Initial values drawn uniformly."""

    kind: Literal["uniform"] = _key("uniform", "this table")
    low: float = _key(0.5, "smallest initial k")
    high: float = _key(1.5, "largest initial k")


@dataclass(frozen=True)
class LogNormal:
    """Initial values drawn log-normally."""

    kind: Literal["log_normal"] = _key("log_normal", "this table")
    median: float = _key(1.0, "median initial k")
    spread: float = _key(0.5, "standard deviation of log k")


@dataclass(frozen=True)
class File:
    """Initial values from the graph's file."""

    kind: Literal["file"] = _key("file", "this table")


def _rigid() -> ErdosRenyi:
    """Springs in the plane need a mean degree of about 6 to be rigid."""
    return ErdosRenyi(edges=120)


Graph = ErdosRenyi | SquareLattice | TriangularLattice | CompleteGraph | JammedPacking | GraphFile
Initial = Constant | Uniform | LogNormal | File


@dataclass(frozen=True)
class Node:
    """A fully connected linear network, `W = sym(N(0, 1)) + diagonal √(2N) I`."""

    kind: Literal["node"] = _key("node", "this table")
    nodes: int = _key(20, "number of nodes, N")
    diagonal: float = _key(3.0, "shift of the diagonal in units of √(2N); keeps W positive definite")


@dataclass(frozen=True)
class Flow:
    """A flow or resistor network."""

    kind: Literal["flow"] = _key("flow", "this table")
    graph: Graph = _key(ErdosRenyi, "which nodes are joined")
    initial: Initial = _key(Constant, "initial conductances")


@dataclass(frozen=True)
class Spring:
    """A central-force spring network; random graphs are drawn until rigid."""

    kind: Literal["spring"] = _key("spring", "this table")
    graph: Graph = _key(_rigid, "which nodes are joined; by default 40 nodes and 120 edges")
    initial: Initial = _key(Constant, "initial spring constants")
    dimension: Literal[2, 3] = _key(2, "dimension of space, for graphs that are placed at random")
    law: Literal["central", "vector"] = _key("central", "strain: extension of the bond, or whole difference")


# A number, or a name where a graph's file names its nodes.
AnyNode = int | str
Terminal = AnyNode | tuple[AnyNode, AnyNode]


@dataclass(frozen=True)
class RandomLinear:
    """Random linear constraints on the response to random forces."""

    kind: Literal["random_linear"] = _key("random_linear", "this table")
    tasks: int = _key(1, "number of constraints")


@dataclass(frozen=True)
class Terminals:
    """Where inputs enter and outputs are read; shared by the tasks that need it."""

    terminals: Literal["nodes", "edges"] = _key("nodes", "what random sources and targets are")
    drive: Literal["force", "held"] = _key("force", "inputs are forces (currents), or held values")
    ground: Literal["project", "random"] | tuple[AnyNode, ...] = _key(
        "project", "nodes held at zero, one random node, or none with free modes projected out"
    )
    sources: tuple[Terminal, ...] = _key((), "nodes or pairs of nodes, by number or name; random if empty")
    targets: tuple[Terminal, ...] = _key((), "nodes or pairs of nodes, by number or name; random if empty")


@dataclass(frozen=True)
class Allostery(Terminals):
    """A wanted response at each target to an input at its source."""

    kind: Literal["allostery"] = _key("allostery", "this table")
    tasks: int = _key(1, "number of source-target pairs (of targets where inputs are held)")
    response: float = _key(0.3, "wanted output")
    amplitude: float = _key(1.0, "input")


@dataclass(frozen=True)
class Regression(Terminals):
    """Outputs that are a linear function of the inputs."""

    kind: Literal["regression"] = _key("regression", "this table")
    matrix: tuple[tuple[float, ...], ...] = _key(((0.5, 0.2), (-0.1, 0.7)), "outputs by inputs")
    samples: int = _key(50, "training samples, drawn from N(0, 1)")
    test_samples: int = _key(100, "test samples")


@dataclass(frozen=True)
class Classification(Terminals):
    """Classes told by the largest output."""

    kind: Literal["classification"] = _key("classification", "this table")
    data: str = _key("iris", "`iris`, or a CSV file: header, then numbers and last the name of a class")
    train_per_class: int = _key(10, "training samples of each class; the rest are for testing")
    cost: Literal["cross_entropy", "squared_error", "cosine"] = _key("cross_entropy", "cost of a sample")
    inverse_temperature: float = _key(100.0, "β of the cross-entropy")


@dataclass(frozen=True)
class ExactGradient:
    """The gradient of the cost."""

    kind: Literal["exact_gradient"] = _key("exact_gradient", "this table")


@dataclass(frozen=True)
class EquilibriumPropagation:
    """Nudge the outputs down the cost gradient."""

    kind: Literal["equilibrium_propagation"] = _key("equilibrium_propagation", "this table")
    nudge: float = _key(1e-3, "η")
    symmetric: bool = _key(False, "average +η and -η")
    mode: Literal["force", "energy"] = _key("force", "constant output force, or η C in the energy")


@dataclass(frozen=True)
class CoupledLearning:
    """Hold the outputs a little closer to their targets."""

    kind: Literal["coupled_learning"] = _key("coupled_learning", "this table")
    nudge: float = _key(1e-3, "η")


@dataclass(frozen=True)
class Optimizer:
    """What is made of the estimate of ∂C/∂k."""

    kind: Literal["sgd", "momentum", "adam"] = _key("sgd", "optax optimizer")
    rate: float = _key(1.0, "learning rate α; with `adaptive`, where it starts")
    momentum: float = _key(0.9, "decay of the momentum (`momentum` only)")
    adaptive: bool = _key(False, "accept a step only if the cost falls, and adapt the rate (`sgd` only)")
    metric: Literal["frobenius", "independent"] = _key(
        "frobenius", "node networks: eq. 13's gradient, or that of the independent entries"
    )
    lower: float | None = _key(
        None,
        "smallest k allowed; if left out, 1e-6 of the mean k that a network starts with for flow and spring "
        "networks, none for node networks",
    )
    upper: float | None = _key(None, "largest k allowed")
    noise: float = _key(0.0, "standard deviation of Gaussian noise in every update")
    participation: float = _key(1.0, "fraction of edges that take part in each step, drawn at random")


@dataclass(frozen=True)
class Steps:
    """The optimizer's steps, one evaluation of the rule each."""

    kind: Literal["steps"] = _key("steps", "this table")


@dataclass(frozen=True)
class GradientFlow:
    """The limit of small steps, by adaptive Runge-Kutta steps; a learning step lasts the time `rate`.

    Of the optimizer's keys `rate`, `metric`, `lower` and `upper` apply. Needs diffrax (the extra `flow`).
    """

    kind: Literal["gradient_flow"] = _key("gradient_flow", "this table")
    method: Literal["tsit5", "dopri5", "bosh3"] = _key("tsit5", "Runge-Kutta method, of order 5, 5 or 3")
    relative_tolerance: float = _key(1e-4, "on k, for every Runge-Kutta step")
    absolute_tolerance: float = _key(1e-6, "on k, for every Runge-Kutta step")
    max_evaluations: int = _key(1_000_000, "of the rule; a network that needs more fails")


@dataclass(frozen=True)
class LevenbergMarquardt:
    """Damped Gauss-Newton steps on squared errors; one measurement each, taken only if the cost falls.

    Of the optimizer's keys `metric`, `lower` and `upper` apply; the rule is the exact gradient.
    """

    kind: Literal["levenberg_marquardt"] = _key("levenberg_marquardt", "this table")
    damping: float = _key(1e-2, "to start with, relative to the size of the Gauss-Newton matrix")
    growth: float = _key(2.0, "factor of the damping after a refused step")
    shrink: float = _key(0.4, "factor of the damping after an accepted step")


@dataclass(frozen=True)
class RunConfig:
    """An ensemble of networks, its task, and how it learns.

    Lengths, strengths and forces are in any units that belong together. A config checks nothing when it is
    made: `load_config` and `parse_config` check the keys and the types of their values, `build` whether they
    fit together.
    """

    seed: int = _key(0, "fixes every random choice")
    realizations: int = _key(50, "networks trained side by side")
    steps: int = _key(3000, "learning steps")
    record_every: int | None = _key(None, "steps between records; about a hundred records if left out")
    record: tuple[str, ...] = _key(
        ("eigenvalues", "effective_conductance", "effective_dimension"),
        f"what to record: {', '.join(FUNCTIONALS)}; with `k` the report shows how every edge learned",
    )
    batch_size: int | None = _key(None, "samples per step; all if left out")
    stop_cost: float | None = _key(None, "rest once the cost is this low (full batches only)")
    checkpoint_seconds: float = _key(60.0, "between two checkpoints, and the most that a crash can cost")
    block: int | None = _key(
        None, "realizations that a device trains at once; as many as fit into caches and memory if left out"
    )
    precision: Literal["float64", "float32"] = _key("float64", "of all numbers")
    solver: Literal["auto", "dense", "bordered_lu", "star_mesh", "sparse_cholesky", "tracked_inverse"] = _key(
        "auto",
        "Cholesky, the reference LU, sparse elimination (flow networks), sparse Cholesky (springs), "
        "or an inverse that follows the steps (node networks)",
    )
    network: Node | Flow | Spring = _key(Node, "the physics")
    task: RandomLinear | Allostery | Regression | Classification = _key(RandomLinear, "what to learn")
    rule: ExactGradient | EquilibriumPropagation | CoupledLearning = _key(ExactGradient, "how to learn")
    optimizer: Optimizer = _key(Optimizer, "how far to step")
    integrator: Steps | GradientFlow | LevenbergMarquardt = _key(
        Steps, "step by step, the limit of small steps, or Gauss-Newton steps"
    )
    versions: dict[str, str] = _key(dict, "written by a run, for the record; ignored when read")
