"""How long a learning step takes: fixed workloads, what a step costs by other means, what the machine allows.

`jaxphys bench` prints what `run_benchmark` measures. A contender is a function of a number of steps that
returns `k` after them, so that what is timed is also what is compared.
"""

import contextlib
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.linalg
import scipy.sparse
from jaxtyping import Array, Float, Key
from scipy.sparse.linalg import splu
from scipy.spatial import Delaunay, cKDTree
from tqdm import tqdm

from jaxphys._checks import require
from jaxphys.equilibrium import Boundary
from jaxphys.io import provenance
from jaxphys.learning.rules import CoupledLearning, EquilibriumPropagation
from jaxphys.learning.tasks import (
    Task,
    allostery,
    random_linear,
    regression,
)
from jaxphys.learning.transforms import bounds, precondition
from jaxphys.networks.generators import erdos_renyi, host_generator
from jaxphys.networks.physics import AbstractNetwork, FlowNetwork, NodeNetwork
from jaxphys.networks.topology import Topology, component_labels, from_edges
from jaxphys.solvers import AbstractSolver, BorderedLU, Dense, TrackedInverse
from jaxphys.training._train import stack, train
from jaxphys.training.solver_choice import choose_solver, sparse_cholesky, star_mesh

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
    """The library as users call it: `train`, which records the cost at the first and the last step only.

    The first call plans a solver unless it is handed one; a plan's time would hide that of the steps.
    """
    planned = solver

    def advance(steps: int) -> np.ndarray:
        nonlocal planned
        if planned is None:
            planned = choose_solver(workload.network, workload.task, workload.optimizer)
        run = train(
            workload.network,
            workload.task,
            steps=steps,
            rule=workload.rule,
            optimizer=workload.optimizer,
            record_steps=(steps,),
            solver=planned,
            block=workload.realizations,
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
            rows, columns, _ = _triangle(self.size)
            hessian[rows, columns] = hessian[columns, rows] = k
            return hessian
        source, target = self.edges.T
        hessian[source, target] = hessian[target, source] = -k
        np.fill_diagonal(hessian, self.degrees(k))
        return hessian

    def edge_energies(self, x: np.ndarray) -> np.ndarray:
        if self.edges is None:
            rows, columns, metric = _triangle(self.size)
            return x[:, rows] * x[:, columns] * metric.astype(x.dtype)
        return 0.5 * (x[:, self.edges[:, 0]] - x[:, self.edges[:, 1]]) ** 2

    def degrees(self, k: np.ndarray) -> np.ndarray:
        """What the edges of every node sum to, the diagonal of the Hessian of a flow network."""
        assert self.edges is not None
        return np.bincount(self.edges[:, 0], k, self.size) + np.bincount(self.edges[:, 1], k, self.size)


@lru_cache
def _triangle(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and columns of an upper triangle, and what its entries count in the energy."""
    rows, columns = np.triu_indices(size)
    return rows, columns, np.where(rows == columns, 0.5, 1.0)


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


# What solvers are called, and how to make one for an ensemble, for scripts that compare them.
SOLVERS: dict[str, Callable[[Any, Any], AbstractSolver]] = {
    "Dense": lambda network, task: Dense(),
    "BorderedLU": lambda network, task: BorderedLU(),
    "StarMesh": star_mesh,
    "TrackedInverse": lambda network, task: TrackedInverse(),
    "SparseCholesky": sparse_cholesky,
}


@dataclass(frozen=True)
class Timing:
    """Microseconds per step of all realizations: quartiles over rounds of `steps` steps each."""

    lower: float
    median: float
    upper: float
    steps: int


def interleaved(contenders: Mapping[str, Contender], rounds: int, seconds: float) -> dict[str, Timing]:
    """Time contenders in turn, round after round, so that a change of the machine's pace meets all of them.

    A step costs what a call of `1 + steps` takes beyond a call of one, over `steps`: what starting costs
    (`train` evaluates its rule once at step 0) drops out. `steps` take about `seconds`.
    """
    steps = {name: _steps_lasting(contender, seconds) for name, contender in contenders.items()}
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            samples[name].append(1e6 * _further(contender, steps[name]) / steps[name])
    timings = {}
    for name, found in samples.items():
        lower, median, upper = map(float, np.quantile(found, (0.25, 0.5, 0.75)))
        timings[name] = Timing(lower, median, upper, steps[name])
    return timings


def _steps_lasting(contender: Contender, seconds: float, most: int = 100_000) -> int:
    contender(1)
    steps = 1
    while (elapsed := _further(contender, steps)) < seconds / 4 and steps < most:
        steps *= 8
    return max(1, min(most, round(steps * seconds / max(elapsed, 1e-9))))


def _further(contender: Contender, steps: int) -> float:
    """Seconds that `steps` take behind the first one."""
    first = _elapsed(contender, 1)
    return _elapsed(contender, 1 + steps) - first


def _elapsed(contender: Contender, steps: int) -> float:
    begin = time.perf_counter()
    contender(steps)
    return time.perf_counter() - begin


def compile_seconds(contender: Contender) -> float:
    """Seconds of a contender's first step when nothing has been compiled: plan, trace, compile, run."""
    eqx.clear_caches()
    jax.clear_caches()
    return _elapsed(contender, 1)


def deviations(
    workload: Workload, reference: Workload, solver: AbstractSolver | None = None
) -> dict[str, float]:
    """Largest relative errors against the reference LU on `reference`, the same workload in float64.

    `"update"`: of one estimate of ∂C/∂k, relative to its largest entry, the worst of all realizations.
    `"k_after_10_steps"`: of `k` after ten steps of `train`, likewise.
    """

    def estimate(workload: Workload, solver: AbstractSolver | None) -> np.ndarray:
        @jax.jit
        def gradients(network: Any, task: Any) -> Array:
            return jax.vmap(lambda n, t: workload.rule(n, t, solver=solver).gradient)(network, task)

        return np.asarray(gradients(workload.network, workload.task), float)

    def worst(actual: np.ndarray, expected: np.ndarray) -> float:
        return float(np.max(np.abs(actual - expected).max(axis=1) / np.abs(expected).max(axis=1)))

    exact = BorderedLU()
    return {
        "update": worst(estimate(workload, solver), estimate(reference, exact)),
        "k_after_10_steps": worst(trained(workload, solver)(10).astype(float), trained(reference, exact)(10)),
    }


def arithmetic(workload: Workload) -> tuple[int, int]:
    """Floating-point operations and bytes that one step of all realizations takes at least, done densely.

    Operations: with m free coordinates, s terminals, o outputs and M edges, `m³/3` for a Cholesky
    factorisation, `2 m² (s + o)` for the solves and `2 M o (s + o)` for the second moments at the edges.
    Bytes: the Hessian written and read, half of it as a factor likewise, the states written and read,
    `k` and the estimate each read and written. Sparsity or the last step's factor make do with less.
    """
    network, task = workload.network, workload.task
    rows, n = task.boundary.rows.shape[1:]
    free, columns, outputs = n - rows, task.force.shape[1] + task.readout.shape[1], task.readout.shape[1]
    edges = network.k.shape[1]
    operations = free**3 // 3 + 2 * free**2 * columns + 2 * edges * outputs * columns
    numbers = 2 * n**2 + free**2 + 2 * n * columns + 4 * edges
    return workload.realizations * operations, workload.realizations * numbers * network.k.dtype.itemsize


def ceilings(seconds: float = 0.5) -> dict[str, float]:
    """What this machine does at its best, the fastest of repeats over about `seconds` each.

    Matrix products in 1e9 operations per second: NumPy, 1024 squared; XLA, 50 products 40 squared. Copies in
    1e9 bytes per second, read plus written: 64 MiB, and 128 KiB that stay in cache. The dispatch of a
    compiled function, in microseconds.
    """
    found: dict[str, float] = {}

    def best(call: Callable[[], Any]) -> float:
        call()
        times: list[float] = []
        while not times or (sum(times) < seconds and len(times) < 1000):
            begin = time.perf_counter()
            call()
            times.append(time.perf_counter() - begin)
        return min(times)

    def waited(function: Callable[[Array], Array], argument: Array) -> None:
        function(argument).block_until_ready()

    @jax.jit
    def products(matrices: Array) -> Array:
        return jax.lax.fori_loop(0, 100, lambda _, product: matrices @ product, matrices)

    draw = np.random.default_rng(0)
    for dtype in (np.float64, np.float32):
        name = np.dtype(dtype).name
        large = draw.standard_normal((1024, 1024)).astype(dtype)
        found[f"numpy_product_{name}_gflops"] = 2e-9 * 1024**3 / best(partial(np.matmul, large, large))
        # Rotations keep their size however often they are multiplied.
        small = jnp.asarray(np.linalg.qr(draw.standard_normal((50, 40, 40)))[0], dtype)
        elapsed = best(partial(waited, products, small))
        found[f"xla_batched_product_{name}_gflops"] = 2e-9 * 100 * 50 * 40**3 / elapsed
    for name, size in (("memory", 2**26), ("cache", 2**17)):
        source, target = np.ones(size // 8), np.ones(size // 8)
        found[f"{name}_copy_gbytes_per_s"] = 2e-9 * size / best(partial(np.copyto, target, source))
    add, one = jax.jit(lambda x: x + 1), jnp.asarray(1.0)
    found["dispatch_us"] = 1e6 * best(partial(waited, add, one))
    return found


def peak_memory_mib() -> float:
    """The largest memory this process has held so far, in MiB; NaN where the system does not tell."""
    try:
        import resource
    except ImportError:
        return math.nan
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / (2**20 if sys.platform == "darwin" else 2**10)


def surroundings(command: Sequence[str], seed: int) -> dict[str, Any]:
    """What a report of measurements begins with: date, command, seed, machine and versions."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
        processor = names[0].split(":", 1)[1].strip() if names else processor
    versions = provenance()
    machine = {
        "processor": processor,
        "device": versions.pop("device"),
        "platform": versions.pop("platform"),
        "cores": os.cpu_count(),
        "cores_used": len(_allowed_cores()) or None,
    }
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(command),
        "seed": seed,
        "machine": machine,
        "versions": versions,
    }


def run_benchmark(
    names: Sequence[str] | None = None,
    *,
    command: Sequence[str] = (),
    realizations: int = 50,
    rounds: int = 7,
    seconds: float = 0.5,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Measure workloads in float64 and float32 and the machine's ceilings; what `jaxphys bench` writes.

    **Arguments**

    - `names`: workloads, all by default. `command`: how this was called, for the record.
    - `rounds`, `seconds`: how often each contender is timed, and for about how long each time.

    An entry of `"workloads"` is that of `measure` in float64, with the same in float32 under `"float32"`.
    Needs `jax_enable_x64`. Raises `InputError` on another name.
    """
    chosen = tuple(WORKLOADS) if names is None else tuple(names)
    check_names(chosen)
    report = surroundings(command, seed)
    limits = ceilings(seconds)
    entries: dict[str, Any] = {}
    with tqdm(total=2 * len(chosen), disable=not progress, unit="workload", leave=False) as bar:
        for name in chosen:
            double = workload(name, realizations=realizations, seed=seed)
            for dtype in (np.float64, np.float32):
                bar.set_postfix_str(f"{name} {np.dtype(dtype).name}")
                found = workload(name, realizations=realizations, dtype=dtype, seed=seed)
                entry = measure(found, double, limits, rounds=rounds, seconds=seconds)
                if name in entries:
                    entries[name][entry["dtype"]] = entry
                else:
                    entries[name] = entry
                bar.update()
    return {
        **report,
        "ceilings": limits,
        "workloads": entries,
        "peak_memory_mib_of_process": peak_memory_mib(),
    }


def measure(
    workload: Workload,
    reference: Workload,
    limits: Mapping[str, float],
    *,
    rounds: int = 7,
    seconds: float = 0.5,
) -> dict[str, Any]:
    """Time a workload and its baselines side by side; compare its numbers with `reference` in float64.

    Times are microseconds per step of all realizations, medians; `ratio` is that of the NumPy loop over ours.
    `compile_s` is the first step of all. `max_rel_error` is the larger of the `deviations`. Fractions say how
    much of `limits`, the machine's `ceilings`, the counts of `arithmetic` come to.
    """
    contenders = {name: make(workload) for name, make in CONTENDERS.items()}
    seconds_compiling = compile_seconds(contenders["jaxphys"])
    solver = choose_solver(workload.network, workload.task, workload.optimizer)
    errors = deviations(workload, reference, solver)
    timings = interleaved(contenders, rounds, seconds)
    ours, loop = timings["jaxphys"].median, timings["numpy_loop"].median
    operations, moved = arithmetic(workload)
    dtype = workload.network.k.dtype.name
    return {
        "dtype": dtype,
        "solver": type(solver).__name__,
        "us_per_step": ours,
        **{f"us_per_step_{name}": timings[name].median for name in CONTENDERS if name != "jaxphys"},
        "ratio": loop / ours,
        "compile_s": seconds_compiling,
        "max_rel_error": max(errors.values()),
        "errors": errors,
        "quartiles_us": {name: [timing.lower, timing.upper] for name, timing in timings.items()},
        "steps_per_round": {name: timing.steps for name, timing in timings.items()},
        "rounds": rounds,
        "realizations": workload.realizations,
        "dense_operations_per_step": operations,
        "dense_bytes_per_step": moved,
        "fraction_of_matrix_product": 1e-3 * operations / ours / limits[f"numpy_product_{dtype}_gflops"],
        "fraction_of_memory_copy": 1e-3 * moved / ours / limits["memory_copy_gbytes_per_s"],
    }


def format_table(report: Mapping[str, Any]) -> str:
    """What `run_benchmark` found, on one screen."""
    machine = report["machine"]
    lines = [
        f"{machine['processor']}, {machine['cores_used']} of {machine['cores']} cores; "
        f"times are for one step of all realizations",
        "",
        f"{'':3}{'dtype':>9}{'solver':>12}{'µs/step':>12}{'quartiles':>19}{'numpy':>8}{'scipy':>8}"
        f"{'vmap':>8}{'compile':>9}{'error':>9}{'of peak':>9}",
    ]
    for name, double in report["workloads"].items():
        for entry in (double, double["float32"]):
            lower, upper = entry["quartiles_us"]["jaxphys"]
            ours = entry["us_per_step"]
            ratios = [entry[f"us_per_step_{other}"] / ours for other in CONTENDERS if other != "jaxphys"]
            lines.append(
                f"{name:3}{entry['dtype']:>9}{entry['solver']:>12}{ours:12,.0f}"
                f"{f'{lower:,.0f} … {upper:,.0f}':>19}"
                + "".join(f"{f'× {ratio:.1f}':>8}" for ratio in ratios)
                + f"{entry['compile_s']:8.1f}s{entry['max_rel_error']:9.0e}"
                + f"{entry['fraction_of_matrix_product']:>9.0%}"
            )
    ceilings = report["ceilings"]
    lines += [
        "",
        "numpy, scipy, vmap: time of a NumPy loop, a SciPy loop and a vmapped jnp.linalg.solve over ours",
        "of peak: operations of a dense Cholesky step over what a matrix product does in that time",
        f"matrix product {ceilings['numpy_product_float64_gflops']:.0f} (float64) and "
        f"{ceilings['numpy_product_float32_gflops']:.0f} (float32) Gflop/s, batched 40² in XLA "
        f"{ceilings['xla_batched_product_float64_gflops']:.0f} and "
        f"{ceilings['xla_batched_product_float32_gflops']:.0f}",
        f"copy {ceilings['memory_copy_gbytes_per_s']:.0f} GB/s in memory, "
        f"{ceilings['cache_copy_gbytes_per_s']:.0f} in cache; dispatch {ceilings['dispatch_us']:.1f} µs; "
        f"peak memory of the process {report['peak_memory_mib_of_process']:,.0f} MiB",
    ]
    return "\n".join(lines)


# What numerical libraries read when they are loaded, and never again.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def rerun_on_cores(command: Sequence[str], cores: int) -> int | None:
    """Run `command` in a process that keeps to so many cores, and return its exit status.

    Returns None, and runs nothing, if this process already keeps to them: then go on. Needed because threads
    of numerical libraries start when they are loaded. Where the system cannot pin a process, only the
    number of threads of the libraries is limited. Raises `InputError` unless `cores` is positive.
    """
    require(cores > 0, "cores", "be positive", f"it is {cores}")
    limited = {name: str(cores) for name in _THREAD_VARIABLES}
    allowed = _allowed_cores()
    if limited.items() <= os.environ.items() and len(allowed) <= cores:
        return None
    environment = {**os.environ, **limited}
    if not allowed:
        return subprocess.run(command, env=environment).returncode
    # A child inherits what its parent may use.
    os.sched_setaffinity(0, allowed[:cores])
    try:
        return subprocess.run(command, env=environment).returncode
    finally:
        os.sched_setaffinity(0, allowed)


def _allowed_cores() -> list[int]:
    """Cores that this process may use; empty where the system does not tell."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
