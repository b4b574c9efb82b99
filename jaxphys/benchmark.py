"""How long a learning step takes: fixed workloads, what a step costs by other means, what the machine allows.

`jaxphys bench` prints what `run_benchmark` measures. A contender is a function of a number of steps that
returns `k` after them, so that what is timed is also what is compared.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.linalg
import scipy.sparse
from jaxtyping import Array, Float, Key
from scipy.sparse.linalg import splu
from scipy.spatial import Delaunay, cKDTree

from jaxphys._checks import require
from jaxphys.equilibrium import Boundary
from jaxphys.generators import erdos_renyi, host_generator
from jaxphys.networks import AbstractNetwork, FlowNetwork, NodeNetwork
from jaxphys.rules import CoupledLearning, EquilibriumPropagation
from jaxphys.solvers import AbstractSolver
from jaxphys.tasks import Task, allostery, random_linear, regression
from jaxphys.topology import Topology, component_labels, from_edges
from jaxphys.train import stack, train
from jaxphys.transforms import bounds, precondition

# Steps → `k` of all realizations after them, `(R, M)`, from the workload's start.
Contender = Callable[[int], np.ndarray]


@dataclass(frozen=True)
class Workload:
    """An ensemble, its tasks and how it learns.

    - `name`; `network`, `task`: stacked, R realizations.
    - `rule`, `optimizer`: what `train` takes. In numbers the optimizer is
      `k ← max(k - rate metric ∂C/∂k, lower)`; `metric` is `(M,)` or one number.
    - `samples_per_solve`: right-hand sides of one solve in the naive loop.
    """

    name: str
    network: Any
    task: Any
    rule: EquilibriumPropagation | CoupledLearning
    optimizer: optax.GradientTransformation
    rate: float
    metric: Float[np.ndarray, " M"] | float = 1.0
    lower: float = -math.inf
    samples_per_solve: int = 1

    @property
    def realizations(self) -> int:
        """R."""
        return self.network.k.shape[0]


def workload(
    name: str, *, realizations: int = 50, dtype: Any = float, seed: int = 0, **sizes: int
) -> Workload:
    """One of the fixed workloads, or the same at other sizes.

    - `"W1"`: node networks, `nodes=20`, `H = (A + Aᵀ)/2 + 3 sqrt(2N) I` with A from N(0, 1), one random
      linear constraint each; equilibrium propagation in the Frobenius metric (paper A, eq. 13).
    - `"W2"`: flow networks that float on an Erdős-Rényi graph each, `nodes=40`, `edges=60`, k = 10, `tasks=5`
      allosteric tasks; equilibrium propagation, k ≥ 0.01.
    - `"W3"`: k from U[1, 1.1] on one planar graph, `nodes=300`, `edges=600`, two held inputs, two outputs,
      a linear regression on a `grid=11` squared of samples; coupled learning, k ≥ 1e-6.

    Numbers are drawn in double precision and rounded to `dtype`, so that precisions compare. Raises
    `InputError` on another name, or float64 where `jax_enable_x64` is not set.

    >>> import jaxphys as jp, numpy as np
    >>> jp.benchmark.workload("W2", realizations=3, dtype=np.float32).network.k.shape
    (3, 60)
    """
    check_names([name])
    require(realizations > 0, "realizations", "be positive", f"it is {realizations}")
    dtype = np.dtype(dtype)
    require(
        jax.dtypes.canonicalize_dtype(dtype) == dtype,
        "dtype",
        "be float32 unless jax_enable_x64 is set",
        f"it is {dtype}",
    )
    keys = jax.random.split(jax.random.key(seed, impl="threefry2x32"), realizations + 1)
    drawn = WORKLOADS[name](keys, **sizes)

    def rounded(leaf: Array) -> Array:
        return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    network, task = jax.tree.map(rounded, (drawn.network, drawn.task))
    return Workload(**{**vars(drawn), "network": network, "task": task})


def check_names(names: Sequence[str]) -> None:
    """Raise `InputError` unless all `names` are those of workloads."""
    for name in names:
        require(name in WORKLOADS, "workload", f"be among {', '.join(WORKLOADS)}", f"it is {name!r}")


def _random_constraints(keys: Key[Array, " R1"], nodes: int = 20) -> Workload:
    def one(key: Key[Array, ""]) -> tuple[NodeNetwork, Task]:
        matrix_key, task_key = jax.random.split(key)
        drawn = host_generator(matrix_key).standard_normal((nodes, nodes))
        shift = 3 * np.sqrt(2 * nodes) * np.eye(nodes)
        network = NodeNetwork.from_matrix((drawn + drawn.T) / 2 + shift)
        return network, random_linear(network, 1, task_key)

    network, task = map(stack, zip(*map(one, keys[1:]), strict=True))
    metric = jax.tree.map(lambda leaf: leaf[0], network).frobenius_metric
    rate = 1.0
    optimizer = optax.chain(precondition(metric), optax.sgd(rate))
    return Workload("W1", network, task, EquilibriumPropagation(1e-3), optimizer, rate, metric=metric)


def _floating_allostery(
    keys: Key[Array, " R1"], nodes: int = 40, edges: int = 60, tasks: int = 5
) -> Workload:
    def one(key: Key[Array, ""]) -> tuple[FlowNetwork, Task]:
        graph_key, terminal_key = jax.random.split(key)
        network = FlowNetwork(erdos_renyi(nodes, edges, graph_key), 10.0)
        terminals = host_generator(terminal_key).choice(nodes, 2 * tasks, replace=False).tolist()
        boundary = Boundary(network, free_modes="project")
        return network, allostery(network, boundary, terminals[:tasks], terminals[tasks:], response=0.1)

    network, task = map(stack, zip(*map(one, keys[1:]), strict=True))
    rate, lower = 10.0, 1e-2
    optimizer = optax.chain(optax.sgd(rate), bounds(lower))
    return Workload("W2", network, task, EquilibriumPropagation(1e-3), optimizer, rate, lower=lower)


def _planar_regression(
    keys: Key[Array, " R1"], nodes: int = 300, edges: int = 600, grid: int = 11
) -> Workload:
    graph = planar_graph(nodes, edges, keys[0])
    draw = host_generator(jax.random.fold_in(keys[0], 1))
    terminals = draw.choice(nodes, 5, replace=False).tolist()
    networks = [FlowNetwork(graph, host_generator(key).uniform(1.0, 1.1, edges)) for key in keys[1:]]
    boundary = Boundary(networks[0], held_nodes=terminals[:2], ground=terminals[2:3])
    axis = np.linspace(-1.0, 1.0, grid)
    axis = axis / np.sqrt(np.mean(axis**2))
    inputs = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    matrix = [[0.15, 0.3], [0.2, 0.1]]
    task = regression(networks[0], boundary, [], terminals[3:], matrix=matrix, inputs=inputs)
    rate, lower = 0.1, 1e-6
    optimizer = optax.chain(optax.sgd(rate), bounds(lower))
    return Workload(
        "W3",
        stack(networks),
        stack([task] * len(networks)),
        CoupledLearning(1e-3),
        optimizer,
        rate,
        lower=lower,
        samples_per_solve=len(inputs),
    )


WORKLOADS: dict[str, Callable[..., Workload]] = {
    "W1": _random_constraints,
    "W2": _floating_allostery,
    "W3": _planar_regression,
}


def planar_graph(
    num_nodes: int, num_edges: int, key: Key[Array, ""], *, min_degree: int = 3, max_draws: int = 100
) -> Topology:
    """A planar graph like the contacts of a jammed packing: evenly spread nodes, near neighbours joined.

    Random points in the unit square are relaxed to even spacing (Lloyd's algorithm on a sample) and
    triangulated (Delaunay); edges are then taken out in random order, none below `min_degree`, until
    `num_edges` are left. Mean coordination is `2 M / N`, 4 at the threshold of jamming in two dimensions.

    Raises `InputError` if `max_draws` draws give no such connected graph.

    >>> import jax, jaxphys as jp
    >>> jp.benchmark.planar_graph(30, 60, jax.random.key(0)).num_edges
    60
    """
    require(num_nodes >= 4, "num_nodes", "be at least 4", f"it is {num_nodes}")
    draw = host_generator(key)
    for _ in range(max_draws):
        points = draw.random((num_nodes, 2))
        for _ in range(10):
            samples = draw.random((50 * num_nodes, 2))
            nearest = cKDTree(points).query(samples)[1]
            counts = np.bincount(nearest, minlength=num_nodes)
            sums = [np.bincount(nearest, samples[:, axis], num_nodes) for axis in range(2)]
            points = np.where(
                counts[:, None] > 0, np.stack(sums, axis=1) / np.maximum(counts, 1)[:, None], points
            )
        corners = Delaunay(points).simplices
        pairs = np.sort(corners[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
        edges = np.unique(pairs, axis=0)
        degrees = np.bincount(edges.ravel(), minlength=num_nodes)
        kept = np.ones(len(edges), bool)
        for edge in draw.permutation(len(edges)):
            if kept.sum() <= num_edges:
                break
            if (degrees[edges[edge]] > min_degree).all():
                degrees[edges[edge]] -= 1
                kept[edge] = False
        edges = edges[kept]
        if len(edges) == num_edges and component_labels(edges, num_nodes).max() == 0:
            return from_edges(edges, num_nodes=num_nodes, positions=points)
    require(False, "num_edges", "leave a connected planar graph", f"{max_draws} draws gave none")
    raise AssertionError("unreachable")


def trained(workload: Workload, solver: AbstractSolver | None = None) -> Contender:
    """The library as users call it: `train`, which records the cost at the first and the last step only."""

    def advance(steps: int) -> np.ndarray:
        run = train(
            workload.network,
            workload.task,
            steps=steps,
            rule=workload.rule,
            optimizer=workload.optimizer,
            record_steps=(steps,),
            solver=solver,
        )
        return np.asarray(run.network.k)

    return advance


def numpy_loop(workload: Workload) -> Contender:
    """The loop that most scripts of the field are: one realization after the other, one task after the other.

    For each it builds the Hessian and the bordered matrix, one row per held node, and hands it to
    `np.linalg.solve`; once for the free state and once more for the clamped one. Samples of a regression
    are right-hand sides of one solve. Edges are vectorised.
    """
    return _looped(workload, lambda one: partial(_dense_solution, one))


def scipy_loop(workload: Workload) -> Contender:
    """The same loop with SciPy used well: one factorisation per state that differs in its matrix.

    `cho_factor` for node networks. For flow networks SuperLU of the sparse bordered matrix, whose pattern is
    found once. All tasks and samples are right-hand sides of one factorisation.
    """
    factors = _cholesky_solver if isinstance(workload.network, NodeNetwork) else _superlu_solver
    whole = Workload(**{**vars(workload), "samples_per_solve": workload.task.targets.shape[1]})
    return _looped(whole, factors)


def vmapped_solve(workload: Workload) -> Contender:
    """JAX without this library's solvers: vmapped `jnp.linalg.solve` of free and clamped states, compiled."""
    rule, metric = workload.rule, jnp.asarray(workload.metric, workload.network.k.dtype)

    def bordered(network: AbstractNetwork, rows: Array, right: Array) -> Array:
        corner = jnp.zeros((len(rows), len(rows)), rows.dtype)
        matrix = jnp.block([[network.hessian(), rows.T], [rows, corner]])
        return jnp.linalg.solve(matrix, right.T).T[:, : network.num_coordinates]

    def step(k: Array, network: AbstractNetwork, task: Task) -> Array:
        network = network.with_k(k)
        rows, force = task.boundary.rows, task.inputs @ task.force
        held = jnp.zeros((len(force), len(rows)), k.dtype)
        held = held.at[:, : task.boundary.num_held].set(task.inputs @ task.values)
        free = bordered(network, rows, jnp.concatenate([force, held], axis=1))
        outputs = free @ task.readout.T
        if isinstance(rule, CoupledLearning):
            nudged = outputs + rule.nudge * (task.targets - outputs)
            right = jnp.concatenate([force, held, nudged], axis=1)
            clamped = bordered(network, jnp.concatenate([rows, task.readout]), right)
        else:
            pull = -rule.nudge * task.cost_gradients(outputs) @ task.readout
            clamped = bordered(network, rows, jnp.concatenate([force + pull, held], axis=1))
        contrast = network.edge_energies(clamped) - network.edge_energies(free)
        gradient = task.sample_weight / rule.nudge * jnp.sum(contrast, axis=0)
        return jnp.maximum(k - workload.rate * metric * gradient, workload.lower)

    @jax.jit
    def advance(k: Array, network: Any, task: Any, steps: Array) -> Array:
        return jax.lax.fori_loop(0, steps, lambda _, k: jax.vmap(step)(k, network, task), k)

    return lambda steps: np.asarray(
        advance(workload.network.k, workload.network, workload.task, jnp.asarray(steps))
    )


CONTENDERS: dict[str, Callable[[Workload], Contender]] = {
    "jaxphys": trained,
    "numpy_loop": numpy_loop,
    "scipy": scipy_loop,
    "vmap_solve": vmapped_solve,
}


@dataclass(frozen=True)
class _Plain:
    """One realization in NumPy arrays; S samples. `edges` is None for node networks."""

    rule: EquilibriumPropagation | CoupledLearning
    edges: np.ndarray | None
    rows: np.ndarray
    force: np.ndarray
    values: np.ndarray
    readout: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    sample_weight: float

    @property
    def size(self) -> int:
        return self.force.shape[1]

    def samples(self, chosen: slice) -> "_Plain":
        arrays = {name: getattr(self, name)[chosen] for name in ("force", "values", "targets", "weights")}
        return _Plain(**{**vars(self), **arrays})

    def hessian(self, k: np.ndarray) -> np.ndarray:
        hessian = np.zeros((self.size, self.size), k.dtype)
        if self.edges is None:
            rows, columns = np.triu_indices(self.size)
            hessian[rows, columns] = hessian[columns, rows] = k
            return hessian
        source, target = self.edges.T
        hessian[source, target] = hessian[target, source] = -k
        np.fill_diagonal(hessian, self.degrees(k))
        return hessian

    def edge_energies(self, x: np.ndarray) -> np.ndarray:
        if self.edges is None:
            rows, columns = np.triu_indices(self.size)
            return x[:, rows] * x[:, columns] * np.where(rows == columns, 0.5, 1.0).astype(x.dtype)
        return 0.5 * (x[:, self.edges[:, 0]] - x[:, self.edges[:, 1]]) ** 2

    def degrees(self, k: np.ndarray) -> np.ndarray:
        """What the edges of every node sum to, the diagonal of the Hessian of a flow network."""
        assert self.edges is not None
        return np.bincount(self.edges[:, 0], k, self.size) + np.bincount(self.edges[:, 1], k, self.size)


def _plain(workload: Workload, realization: int) -> _Plain:
    task = workload.task
    edges = workload.network.topology.edges if isinstance(workload.network, FlowNetwork) else None
    rows, inputs, force, values, readout, targets = (
        np.asarray(array[realization])
        for array in (task.boundary.rows, task.inputs, task.force, task.values, task.readout, task.targets)
    )
    held = np.zeros((len(inputs), len(rows)), rows.dtype)
    held[:, : values.shape[1]] = inputs @ values
    return _Plain(
        rule=workload.rule,
        edges=None if edges is None else np.asarray(edges[realization]),
        rows=rows,
        force=inputs @ force,
        values=held,
        readout=readout,
        targets=targets,
        weights=np.ones_like(targets) if task.weights is None else np.asarray(task.weights[realization]),
        sample_weight=1.0 if task.reduction == "sum" else 1.0 / len(inputs),
    )


def _looped(workload: Workload, make_solver: Callable[[_Plain], "_Solve"]) -> Contender:
    """Goes through realizations, and through groups of samples that are solved together, one by one."""
    number = workload.samples_per_solve
    groups = []
    for realization in range(workload.realizations):
        one = _plain(workload, realization)
        parts = [one.samples(slice(at, at + number)) for at in range(0, len(one.targets), number)]
        groups.append([(part, make_solver(part)) for part in parts])
    start = np.asarray(workload.network.k)
    scale = np.asarray(workload.rate * np.asarray(workload.metric), start.dtype)

    def advance(steps: int) -> np.ndarray:
        ensemble = start.copy()
        for _ in range(steps):
            for k, parts in zip(ensemble, groups, strict=True):
                gradient = sum(_contrast(part, k, solve) for part, solve in parts)
                k[:] = np.maximum(k - scale * gradient, workload.lower)
        return ensemble

    return advance


# (k, rows, right-hand sides, whether k is that of the last call) → solutions of the bordered system.
_Solve = Callable[[np.ndarray, np.ndarray, np.ndarray, bool], np.ndarray]


def _contrast(one: _Plain, k: np.ndarray, solve: _Solve) -> np.ndarray:
    """`(e(x_C) - e(x_F)) / η` of every edge, `(M,)`, summed over samples: free state, then clamped state."""
    free = solve(k, one.rows, np.concatenate([one.force, one.values], axis=1).T, False)[: one.size].T
    outputs = free @ one.readout.T
    nudge = one.rule.nudge
    if isinstance(one.rule, CoupledLearning):
        rows = np.concatenate([one.rows, one.readout])
        nudged = outputs + nudge * (one.targets - outputs)
        right = np.concatenate([one.force, one.values, nudged], axis=1)
    else:
        rows = one.rows
        pull = -nudge * (one.weights * (outputs - one.targets)) @ one.readout
        right = np.concatenate([one.force + pull, one.values], axis=1)
    clamped = solve(k, rows, right.T, rows is one.rows)[: one.size].T
    difference = one.edge_energies(clamped) - one.edge_energies(free)
    return one.sample_weight / nudge * difference.sum(axis=0)


def _dense_solution(one: _Plain, k: np.ndarray, rows: np.ndarray, right: np.ndarray, _: bool) -> np.ndarray:
    n, size = one.size, one.size + len(rows)
    matrix = np.zeros((size, size), k.dtype)
    matrix[:n, :n] = one.hessian(k)
    matrix[n:, :n] = rows
    matrix[:n, n:] = rows.T
    return np.linalg.solve(matrix, right)


def _cholesky_solver(one: _Plain) -> _Solve:
    factor: Any = None

    def solve(k: np.ndarray, rows: np.ndarray, right: np.ndarray, same: bool) -> np.ndarray:
        nonlocal factor
        if not same:
            factor = scipy.linalg.cho_factor(one.hessian(k), lower=True, check_finite=False)
        return scipy.linalg.cho_solve(factor, right, check_finite=False)

    return solve


def _superlu_solver(one: _Plain) -> _Solve:
    assert one.edges is not None
    n, nodes = one.size, np.arange(one.size)
    source, target = one.edges.T
    patterns: dict[int, tuple[np.ndarray, scipy.sparse.csc_array]] = {}
    factor: Any = None

    def pattern(rows: np.ndarray) -> tuple[np.ndarray, scipy.sparse.csc_array]:
        """Which entry (edges twice, nodes, border twice) stands where in a sparse bordered matrix."""
        border, column = np.nonzero(rows)
        down = np.concatenate([source, target, nodes, n + border, column])
        across = np.concatenate([target, source, nodes, column, n + border])
        matrix = scipy.sparse.csc_array((np.arange(1.0, len(down) + 1), (down, across)))
        return matrix.data.astype(int) - 1, matrix

    def solve(k: np.ndarray, rows: np.ndarray, right: np.ndarray, same: bool) -> np.ndarray:
        nonlocal factor
        if not same:
            if len(rows) not in patterns:
                patterns[len(rows)] = pattern(rows)
            order, matrix = patterns[len(rows)]
            border = rows[np.nonzero(rows)]
            entries = np.concatenate([-k, -k, one.degrees(k).astype(k.dtype), border, border])
            matrix.data = entries[order]
            factor = splu(matrix, permc_spec="MMD_AT_PLUS_A")
        return factor.solve(right)

    return solve
