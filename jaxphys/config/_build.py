"""From a `RunConfig` to stacked networks and tasks."""

import csv
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from jaxphys import solvers
from jaxphys._checks import InputError, require
from jaxphys.config import schema
from jaxphys.config.schema import RunConfig
from jaxphys.data import iris, labelled_table
from jaxphys.diagnostics import FUNCTIONALS
from jaxphys.equilibrium import Boundary
from jaxphys.io import load_network
from jaxphys.io.files import MOST_EDGES, MOST_ENTRIES, MOST_NODES, about, read_text
from jaxphys.learning import (
    AbstractCost,
    CosineDistance,
    CrossEntropy,
    SquaredError,
    Task,
    builders,
    rules,
    transforms,
)
from jaxphys.networks import generators
from jaxphys.networks.packings import jammed_packing
from jaxphys.networks.physics import AbstractNetwork, FlowNetwork, NodeNetwork, SpringNetwork
from jaxphys.networks.topology import Topology
from jaxphys.training._train import own_bounds, stack
from jaxphys.training.arguments import Record, Sampling, check_batches, transformation_of
from jaxphys.training.descent import AdaptiveStep, Descent
from jaxphys.training.gradient_flow import GradientFlow
from jaxphys.training.host_loop import ChooseSolver
from jaxphys.training.integrator import AbstractIntegrator
from jaxphys.training.levenberg_marquardt import LevenbergMarquardt
from jaxphys.training.solver_choice import choose_solver

_Terminal = int | tuple[int, int]


"""Which solver the networks and tasks of a block take."""

_SOLVERS: dict[str, type[solvers.AbstractSolver]] = {
    "dense": solvers.Dense,
    "bordered_lu": solvers.BorderedLU,
    "star_mesh": solvers.StarMesh,
    "sparse_cholesky": solvers.SparseCholesky,
    "tracked_inverse": solvers.TrackedInverse,
}


@dataclass(frozen=True)
class Ensemble:
    """A config built into objects: stacked networks and tasks, and what `train` takes beside them.

    `test` is the task on test samples, or None; `arguments` are keyword arguments of `train`.
    """

    network: AbstractNetwork
    task: Task
    test: Task | None
    arguments: dict[str, Any]  # Of as many types as `train` has keywords.


def build(config: RunConfig) -> Ensemble:
    """Draw all realizations and check that they fit together; raises `InputError` before any compute.

    Uses JAX's current precision; the command line sets it from `config.precision`.
    """
    network, task, test = draw(config, 0, config.realizations)
    arguments, choose = training_arguments(config, network, task)
    solver = choose(network, task)
    return Ensemble(
        network, task, test, {**arguments._asdict(), "bounds": configured_bounds(config), "solver": solver}
    )


def draw(config: RunConfig, first: int, last: int) -> tuple[AbstractNetwork, Task, Task | None]:
    """Networks, tasks and test tasks (or None) of the realizations from `first` to before `last`, stacked.

    A realization is drawn from the seed and its own number, whichever others are drawn beside it. Raises
    `InputError` where the config cannot be.
    """
    _check_sizes(config)
    require(config.block is None or config.block > 0, "block", "be positive", f"it is {config.block}")
    seconds = config.checkpoint_seconds
    require(seconds >= 0, "checkpoint_seconds", "be at least 0", f"it is {seconds}")
    root = jax.random.key(config.seed, impl="threefry2x32")
    drawn = []
    for i in range(first, min(last, config.realizations)):
        network_key, task_key = jax.random.split(jax.random.fold_in(root, i))
        network = _network(config.network, network_key)
        drawn.append((network, *_task(config.task, network, task_key)))
    networks, trains, tests = zip(*drawn, strict=True)
    return stack(networks), stack(trains), None if tests[0] is None else stack(tests)


class Arguments(NamedTuple):
    """What a config says of training: keyword arguments of `train`, by their names there."""

    steps: int
    rule: rules.AbstractRule
    optimizer: AbstractIntegrator
    sampling: Sampling
    stop_cost: float | None
    record: Record


def training_arguments(
    config: RunConfig, network: AbstractNetwork, task: Task
) -> tuple[Arguments, ChooseSolver]:
    """What `train` takes beside stacked networks and tasks, checked against some of these.

    The second is a function of the networks and tasks of a block that says which solver they take.
    """
    one, its_task = (jax.tree.map(lambda leaf: leaf[0], tree) for tree in (network, task))
    rule, integrator = make_rule(config.rule), make_integrator(config, one)
    check_batches(task, config.batch_size, config.stop_cost)
    integrator.check(network, task, rule, config.batch_size)
    own_bounds(configured_bounds(config), network)
    functionals = {name: FUNCTIONALS[name] for name in config.record}
    for functional in functionals.values():
        jax.eval_shape(functional, one, its_task)  # Refuses what this network does not have.
    arguments = Arguments(
        config.steps,
        rule,
        integrator,
        Sampling(config.batch_size, key_of_training(config)),
        config.stop_cost,
        Record(config.record_every, functionals=functionals),
    )
    if config.solver == "auto":
        return arguments, partial(choose_solver, optimizer=transformation_of(integrator))
    return arguments, _SOLVERS[config.solver].for_task


def configured_bounds(config: RunConfig) -> tuple[float | None, float | None]:
    """Between which values `k` is kept, as `train` takes it."""
    return config.optimizer.lower, config.optimizer.upper


def key_of_training(config: RunConfig) -> Key[Array, ""]:
    """For what is drawn at random while networks learn."""
    # No realization has this number.
    return jax.random.fold_in(jax.random.key(config.seed, impl="threefry2x32"), 2**32 - 1)


# More than a run can need; beyond, memory or patience would end before there was anything to complain of.
_MOST_REALIZATIONS = 1_000_000
_MOST_STEPS = 2**31 - 1
_MOST_RECORDS = 1_000_000
_MOST_SAMPLES = 1_000_000


def _check_sizes(config: RunConfig) -> None:
    """Refuse sizes that nobody can mean before anything of that size is made."""
    most_of_matrix = math.isqrt(MOST_ENTRIES)
    sizes = {"realizations": (config.realizations, _MOST_REALIZATIONS), "steps": (config.steps, _MOST_STEPS)}
    network, task = config.network, config.task
    match network:
        case schema.Node(nodes=nodes):
            sizes["network.nodes"] = nodes, most_of_matrix
        case schema.Flow(graph=graph) | schema.Spring(graph=graph):
            sizes |= _graph_sizes(graph)
    match task:
        case schema.RandomLinear(tasks=tasks) | schema.Allostery(tasks=tasks):
            sizes["task.tasks"] = tasks, most_of_matrix
        case schema.Regression(samples=samples, test_samples=test_samples):
            sizes["task.samples"] = samples, _MOST_SAMPLES
            sizes["task.test_samples"] = test_samples, _MOST_SAMPLES
    for name, (size, most) in sizes.items():
        require(0 < size <= most, name, f"lie between 1 and {most}", f"it is {size}")
    _check_record(config)


def _check_record(config: RunConfig) -> None:
    every = config.record_every
    if every is None:
        return
    require(every > 0, "record_every", "be positive", f"it is {every}")
    number = config.steps // every
    require(
        number <= _MOST_RECORDS, "record_every", f"make at most {_MOST_RECORDS} records", f"it makes {number}"
    )


def _graph_sizes(graph: schema.Graph) -> dict[str, tuple[int, int]]:
    """Sizes of a graph by their keys, each with the most that it may be."""
    match graph:
        case schema.ErdosRenyi(nodes=nodes, edges=edges):
            return {
                "network.graph.nodes": (nodes, MOST_NODES),
                "network.graph.edges": (edges, MOST_EDGES),
            }
        case schema.CompleteGraph(nodes=nodes):
            return {"network.graph.nodes": (nodes, math.isqrt(2 * MOST_EDGES))}
        case schema.JammedPacking(particles=particles):
            return {"network.graph.particles": (particles, MOST_NODES)}
        case schema.SquareLattice(shape=shape) | schema.TriangularLattice(shape=shape):
            nodes = math.prod(abs(side) for side in shape)
            require(
                nodes <= MOST_NODES,
                "network.graph.shape",
                f"make at most {MOST_NODES} nodes",
                f"it makes {nodes}",
            )
    return {}


def make_rule(
    config: schema.ExactGradient | schema.EquilibriumPropagation | schema.CoupledLearning,
) -> rules.AbstractRule:
    """The rule of a config's table `[rule]`."""
    match config:
        case schema.ExactGradient():
            return rules.ExactGradient()
        case schema.EquilibriumPropagation():
            return rules.EquilibriumPropagation(config.nudge, config.symmetric, config.mode)
        case schema.CoupledLearning():
            return rules.CoupledLearning(config.nudge)


def make_integrator(config: RunConfig, network: AbstractNetwork) -> AbstractIntegrator:
    """What a config's tables `[integrator]` and `[optimizer]` make of one network of the ensemble."""
    return _INTEGRATORS[type(config.integrator)](config, network)


def _descent(config: RunConfig, network: AbstractNetwork) -> Descent:
    optimizer = config.optimizer
    require(optimizer.rate > 0, "optimizer.rate", "be positive", f"it is {optimizer.rate}")
    require(
        not optimizer.adaptive or optimizer.kind == "sgd",
        "optimizer.adaptive",
        "be false unless the optimizer is sgd",
        f"the optimizer is {optimizer.kind}",
    )
    require(
        not optimizer.adaptive or config.batch_size is None,
        "optimizer.adaptive",
        "be false for minibatches (costs do not compare)",
        "`batch_size` is set",
    )
    metric = _metric(config, network)
    chain = [] if metric is None else [transforms.precondition(metric)]
    rate = 1.0 if optimizer.adaptive else optimizer.rate
    makers: dict[str, Callable[[], optax.GradientTransformation]] = {
        "sgd": lambda: optax.sgd(rate),
        "momentum": lambda: optax.sgd(rate, optimizer.momentum),
        "adam": lambda: optax.adam(rate),
    }
    chain.append(makers[optimizer.kind]())
    if optimizer.noise:
        chain.append(transforms.update_noise(optimizer.noise))
    if optimizer.participation != 1:
        chain.append(transforms.participation(optimizer.participation))
    return Descent(optax.chain(*chain), AdaptiveStep(optimizer.rate) if optimizer.adaptive else None)


def _gradient_flow(config: RunConfig, network: AbstractNetwork) -> GradientFlow:
    table, optimizer = config.integrator, config.optimizer
    assert isinstance(table, schema.GradientFlow)
    require(optimizer.rate > 0, "optimizer.rate", "be positive", f"it is {optimizer.rate}")
    _check_beside(config, "a gradient flow", ())
    return GradientFlow(
        optimizer.rate,
        table.method,
        table.relative_tolerance,
        table.absolute_tolerance,
        metric=_metric(config, network),
        max_evaluations=table.max_evaluations,
    )


def _levenberg_marquardt(config: RunConfig, network: AbstractNetwork) -> LevenbergMarquardt:
    table, beside = config.integrator, "Gauss-Newton steps"
    assert isinstance(table, schema.LevenbergMarquardt)
    _check_beside(config, beside, ("rate",))
    is_exact = config.rule.kind == "exact_gradient"
    require(is_exact, "rule.kind", f"be exact_gradient beside {beside}", f"it is {config.rule.kind}")
    return LevenbergMarquardt(table.damping, table.growth, table.shrink, metric=_metric(config, network))


# Schema → what makes its integrator.
_INTEGRATORS: dict[type, Callable[[RunConfig, AbstractNetwork], AbstractIntegrator]] = {
    schema.Steps: _descent,
    schema.GradientFlow: _gradient_flow,
    schema.LevenbergMarquardt: _levenberg_marquardt,
}


def _check_beside(config: RunConfig, integrator: str, others: tuple[str, ...]) -> None:
    """Refuse keys that mean nothing beside an integrator that is no optimizer's."""
    require(config.batch_size is None, "batch_size", f"be left out beside {integrator}", "it is set")
    defaults = schema.Optimizer()
    for name in ("kind", "adaptive", "noise", "participation", *others):
        value, default = getattr(config.optimizer, name), getattr(defaults, name)
        require(value == default, f"optimizer.{name}", f"be {default} beside {integrator}", f"it is {value}")


def _metric(config: RunConfig, network: AbstractNetwork) -> Float[np.ndarray, " M"] | None:
    """The weights of the gradient that a config asks for; None if all are one."""
    return network.descent_metric if config.optimizer.metric == "frobenius" else None


def _network(config: schema.Node | schema.Flow | schema.Spring, key: Key[Array, ""]) -> AbstractNetwork:
    graph_key, k_key = jax.random.split(key)
    match config:
        case schema.Node(nodes=nodes, diagonal=diagonal):
            draws = generators.host_generator(key).standard_normal((nodes, nodes))
            shift = diagonal * np.sqrt(2 * nodes) * np.eye(nodes)
            return NodeNetwork.from_matrix(jnp.asarray((draws + draws.T) / 2 + shift))
        case schema.Flow():
            topology, from_file = _graph(config, graph_key)
            k = _initial(config.initial, topology.num_edges, k_key, from_file)
            return FlowNetwork(topology, k)
        case schema.Spring(law=law, dimension=dimension):
            space = {"dimension": dimension, "rigid": law == "central"}
            topology, from_file = _graph(config, graph_key, **space)
            k = _initial(config.initial, topology.num_edges, k_key, from_file)
            return SpringNetwork(topology, k, law=law)


def _graph(
    config: schema.Flow | schema.Spring, key: Key[Array, ""], **space: Any
) -> tuple[Topology, Array | None]:
    """The topology, and the `k` that its file gives (or None); `space`: where a random graph lies."""
    graph = config.graph
    match graph:
        case schema.ErdosRenyi():
            return generators.erdos_renyi(graph.nodes, graph.edges, key, **space), None
        case schema.SquareLattice():
            return generators.square_lattice(graph.shape, periodic=graph.periodic), None
        case schema.TriangularLattice():
            return generators.triangular_lattice(graph.shape, periodic=graph.periodic), None
        case schema.CompleteGraph():
            return generators.complete_graph(graph.nodes), None
        case schema.JammedPacking():
            return _packed(graph), None
        case schema.GraphFile():
            # Of a file whose strengths nobody asks for, none are looked for.
            asked = config.initial in (schema.File(), schema.Constant(value=None))
            network = load_network(
                graph.path,
                values=graph.values if asked else None,
                unweighted=graph.unweighted or not asked,
            )
            if not network.kind.is_pairwise:
                raise InputError(
                    f"File {graph.path} must hold a flow or spring network, but it holds another."
                )
            return network.topology, network.k


@lru_cache(maxsize=16)
def _packed(graph: schema.JammedPacking) -> Topology:
    """Packed once for all realizations."""
    return jammed_packing(
        graph.particles,
        jax.random.key(graph.seed),
        dimension=graph.dimension,
        packing_fraction=graph.packing_fraction,
        boundary=graph.boundary,
    ).topology


def _initial(config: schema.Initial, num_edges: int, key: Key[Array, ""], from_file: Any) -> Any:
    generator = generators.host_generator(key)
    match config:
        case schema.Constant(value=None) if from_file is not None:
            return from_file
        case schema.Constant():
            values = np.full(num_edges, 1.0 if config.value is None else config.value)
        case schema.Uniform():
            require(
                config.low <= config.high, "initial.low", f"be at most {config.high}", f"it is {config.low}"
            )
            values = generator.uniform(config.low, config.high, num_edges)
        case schema.LogNormal():
            require(config.median > 0, "initial.median", "be positive", f"it is {config.median}")
            with np.errstate(over="ignore"):  # The network refuses what is not finite.
                values = config.median * np.exp(config.spread * generator.standard_normal(num_edges))
        case schema.File():
            require(
                from_file is not None, "initial.kind", "be file only for a graph from a file", "it is not"
            )
            return from_file
    return jnp.asarray(values)


def _task(
    config: schema.RandomLinear | schema.Allostery | schema.Regression | schema.Classification,
    network: AbstractNetwork,
    key: Key[Array, ""],
) -> tuple[Task, Task | None]:
    """The training task of one realization, and the same on its test samples."""
    if isinstance(config, schema.RandomLinear):
        return builders.random_linear(network, config.tasks, key), None
    generator = generators.host_generator(key)
    match config:
        case schema.Allostery():
            return _allostery(config, network, generator), None
        case schema.Regression():
            return _regression(config, network, generator)
        case schema.Classification():
            return _classification(config, network, generator)


def _allostery(config: schema.Allostery, network: AbstractNetwork, generator: np.random.Generator) -> Task:
    number = config.tasks if config.drive == "force" else 1
    boundary, sources, targets = _terminals(config, network, generator, number, config.tasks)
    return builders.allostery(
        network,
        boundary,
        sources,
        targets,
        response=config.response,
        amplitude=config.amplitude,
        source_directions=_directions(network, len(sources), generator),
        target_directions=_directions(network, len(targets), generator),
    )


def _regression(
    config: schema.Regression, network: AbstractNetwork, generator: np.random.Generator
) -> tuple[Task, Task]:
    widths = {len(row) for row in config.matrix}
    require(
        len(widths) == 1 and 0 not in widths,
        "task.matrix",
        "have rows of one length",
        f"it is {config.matrix}",
    )
    matrix = np.array(config.matrix)
    boundary, sources, targets = _terminals(config, network, generator, matrix.shape[1], matrix.shape[0])
    inputs = generator.standard_normal((config.samples + config.test_samples, matrix.shape[1]))
    train = builders.regression(
        network, boundary, sources, targets, matrix=matrix, inputs=inputs[: config.samples]
    )
    unseen = jnp.asarray(inputs[config.samples :], train.inputs.dtype)
    return train, train.with_samples(unseen, unseen @ jnp.asarray(matrix.T, unseen.dtype))


def _classification(
    config: schema.Classification, network: AbstractNetwork, generator: np.random.Generator
) -> tuple[Task, Task]:
    features, labels, classes = read_samples(config.data)
    smallest = int(np.bincount(labels).min())
    require(
        0 < config.train_per_class < smallest,
        "task.train_per_class",
        f"lie between 1 and {smallest - 1} (the smallest class has {smallest} samples)",
        f"it is {config.train_per_class}",
    )
    boundary, sources, targets = _terminals(config, network, generator, features.shape[1], len(classes))
    chosen = [
        generator.choice(np.flatnonzero(labels == c), config.train_per_class, replace=False)
        for c in range(len(classes))
    ]
    training = np.concatenate(chosen)
    testing = np.setdiff1d(np.arange(len(labels)), training)
    costs: dict[str, AbstractCost] = {
        "cross_entropy": CrossEntropy(config.inverse_temperature),
        "squared_error": SquaredError(),
        "cosine": CosineDistance(),
    }
    train = builders.classification(
        network,
        boundary,
        sources,
        targets,
        features=features[training],
        labels=labels[training],
        cost=costs[config.cost],
    )
    dtype = train.inputs.dtype
    unseen = jnp.asarray(features[testing], dtype)
    return train, train.with_samples(unseen, jnp.eye(len(classes), dtype=dtype)[labels[testing]])


def read_samples(data: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Features `(S, f)`, class numbers `(S,)` and class names of the data that a config names.

    `data` is `"iris"` or the path of a CSV file that `labelled_table` reads. Raises `InputError` on a file
    that cannot be read so, or that has one class.
    """
    if data == "iris":
        return iris()
    with about(data):
        text = read_text(data)
        try:
            features, labels, classes = labelled_table(text)
        except (ValueError, csv.Error) as error:
            raise InputError(f"it cannot be read as a labelled table: {error}.") from None
    require(len(classes) > 1, "task.data", "have at least two classes", f"{data} has {len(classes)}")
    return features, labels, classes


def _terminals(
    config: schema.Allostery | schema.Regression | schema.Classification,
    network: AbstractNetwork,
    generator: np.random.Generator,
    num_sources: int,
    num_targets: int,
) -> tuple[Boundary, list[_Terminal], list[_Terminal]]:
    """Boundary, sources (empty where they are held) and targets; random where the config names none."""
    given = {
        "sources": _numbered(network, config.sources, "task.sources"),
        "targets": _numbered(network, config.targets, "task.targets"),
    }
    grounds = () if isinstance(config.ground, str) else config.ground
    ground: list[Any] = _numbered(network, grounds, "task.ground")
    used = set(np.hstack([[], *itertools.chain(*given.values(), ground)]).astype(int).tolist())
    order = [node for node in generator.permutation(network.num_nodes).tolist() if node not in used]
    if config.ground == "random":
        require(order, "task.ground", "find a free node", "all nodes are taken")
        ground = [order.pop()]
    candidates: list[_Terminal] = list(order)
    if config.terminals == "edges":
        candidates = _separate_edges(network, set(order), generator)
    found: dict[str, list[_Terminal]] = {}
    for (name, named), number in zip(given.items(), (num_sources, num_targets), strict=True):
        require(
            len(named) in (0, number), f"task.{name}", f"be empty or name {number}", f"it names {len(named)}"
        )
        if not named:
            require(
                len(candidates) >= number,
                f"task.{name}",
                f"find {number} free {config.terminals}",
                f"the network has {len(candidates)} left",
            )
            named, candidates = candidates[:number], candidates[number:]
        found[name] = named
    # Grounded nodes leave a spring network its rotations about them.
    turning = network.dimension > 1
    policy: Literal["project", "forbid"] = "project" if turning or config.ground == "project" else "forbid"
    if config.drive == "force":
        return Boundary(network, ground=ground, free_modes=policy), found["sources"], found["targets"]
    nodes = [terminal for terminal in found["sources"] if isinstance(terminal, int)]
    drops = [terminal for terminal in found["sources"] if not isinstance(terminal, int)]
    require(
        not (nodes and drops),
        "task.sources",
        "be all nodes or all pairs where they are held",
        "they are mixed",
    )
    require(
        not nodes or network.dimension == 1,
        "task.terminals",
        'be "edges" for held inputs of a spring network',
        'it is "nodes"',
    )
    held = Boundary(network, held_nodes=nodes, held_drops=drops, ground=ground, free_modes=policy)
    return held, [], found["targets"]


def _numbered(network: AbstractNetwork, terminals: Sequence[schema.Terminal], key: str) -> list[_Terminal]:
    """Nodes and pairs of nodes by number. An integer that is also the name of another node is refused."""
    place = {name: number for number, name in enumerate(network.names or ())}
    for terminal in terminals:
        for node in terminal if isinstance(terminal, tuple) else (terminal,):
            require(
                isinstance(node, str) or place.get(str(node), node) == node,
                key,
                f"say which node {node} is",
                f'one is called "{node}" in the file and another has this number; write the name in quotes',
            )
    numbers = [network.node_numbers(terminal, key).tolist() for terminal in terminals]
    return [tuple(each) if isinstance(each, list) else each for each in numbers]


def _separate_edges(
    network: AbstractNetwork, free: set[int], generator: np.random.Generator
) -> list[_Terminal]:
    """Edges in random order, no two of which share a node."""
    pairs = np.asarray(network.topology.edges)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    chosen: list[_Terminal] = []
    left = set(free)
    for a, b in generator.permutation(pairs).tolist():
        if a in left and b in left:
            chosen.append((a, b))
            left -= {a, b}
    return chosen


def _directions(network: AbstractNetwork, number: int, generator: np.random.Generator) -> np.ndarray | None:
    """Random unit vectors for node terminals of spring networks."""
    if network.dimension == 1:
        return None
    drawn = generator.standard_normal((number, network.dimension))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
