"""Baselines that a learning step is timed against: the same step in NumPy, SciPy and plain JAX."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.sparse
from jaxtyping import Array
from scipy.sparse.linalg import SuperLU, splu

from jaxphys.checks.workloads import Workload
from jaxphys.learning import Task
from jaxphys.learning.rules import CoupledLearning, EquilibriumPropagation
from jaxphys.networks.physics import AbstractNetwork
from jaxphys.solvers import AbstractSolver
from jaxphys.training._train import train
from jaxphys.training.arguments import Devices, Record
from jaxphys.training.solver_choice import choose_solver

# Steps → `k` of all realizations after them, `(R, M)`, from the workload's start.
Contender = Callable[[int], np.ndarray]


def trained(workload: Workload, solver: AbstractSolver | None = None) -> Contender:
    """The library as users call it: `train`, which records the cost at the first and the last step only.

    **Arguments**

    - `workload`: what is trained.
    - `solver`: planned before; None plans one in the first call, so that planning is not timed with the
      steps.
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
            record=Record(steps=(steps,)),
            solver=planned,
            devices=Devices(block=workload.realizations),
        )
        return np.asarray(run.network.k)

    return advance


def numpy_loop(workload: Workload) -> Contender:
    """A loop like most scripts of the field: over realizations, and over tasks.

    For each it builds the Hessian and the bordered matrix, with one row per held node, and calls
    `np.linalg.solve`, once for the free state and once for the clamped one. Samples of a regression are
    right-hand sides of one solve. Edges are vectorised.
    """
    return _looped(workload, lambda one: partial(_dense_solution, one))


def scipy_loop(workload: Workload) -> Contender:
    """The same loop with SciPy used well: a new factorisation only where the matrix changes.

    `cho_factor` for node networks; for flow networks SuperLU of the sparse bordered matrix, whose pattern is
    found once. All tasks and samples are right-hand sides of one factorisation.
    """
    factors = _cholesky_solver if workload.network.kind.is_matrix else _superlu_solver
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
    def advance(k: Array, network: AbstractNetwork, task: Task, steps: Array) -> Array:
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
        """Sums of k over the edges of each node, the diagonal of the Hessian of a flow network."""
        assert self.edges is not None
        return np.bincount(self.edges[:, 0], k, self.size) + np.bincount(self.edges[:, 1], k, self.size)


@lru_cache
def _triangle(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and columns of an upper triangle, and the weights of its entries in the energy."""
    rows, columns = np.triu_indices(size)
    return rows, columns, np.where(rows == columns, 0.5, 1.0)


def _plain(workload: Workload, realization: int) -> _Plain:
    task = workload.task
    edges = None if workload.network.kind.is_matrix else workload.network.topology.edges
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
    """A loop over realizations, and over groups of samples that share a solve."""
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
    # SciPy's pair of a triangle and whether it is the lower one.
    factor: tuple[np.ndarray, bool] | None = None

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
    factor: SuperLU | None = None

    def pattern(rows: np.ndarray) -> tuple[np.ndarray, scipy.sparse.csc_array]:
        """The order of the entries (edges twice, nodes, border twice) in a sparse bordered matrix."""
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
        assert factor is not None  # The first call is not the same as any.
        return factor.solve(right)

    return solve
