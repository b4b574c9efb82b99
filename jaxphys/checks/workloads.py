"""Workloads that are timed: fixed ensembles and tasks of three kinds."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key
from numpy.typing import DTypeLike
from scipy.spatial import Delaunay, cKDTree

from jaxphys._checks import refuse, require
from jaxphys.equilibrium import Boundary
from jaxphys.learning import Task, allostery, random_linear, regression
from jaxphys.learning.rules import CoupledLearning, EquilibriumPropagation
from jaxphys.learning.transforms import bounds, precondition
from jaxphys.networks.generators import erdos_renyi, host_generator
from jaxphys.networks.physics import AbstractNetwork, FlowNetwork, NodeNetwork
from jaxphys.networks.topology import Topology, component_labels, from_edges
from jaxphys.training._train import stack


@dataclass(frozen=True)
class Workload:
    """An ensemble, its tasks, and the rule and optimizer by which it learns.

    - `name`: W1, W2 or W3. `network`, `task`: stacked, R realizations.
    - `rule`, `optimizer`: arguments of `train`.
    - `rate`, `metric`, `lower`: the optimizer in numbers, for baselines:
      `k ← max(k - rate metric ∂C/∂k, lower)`; `metric` is `(M,)` or one number.
    - `samples_per_solve`: right-hand sides of one solve in the NumPy loop.
    """

    name: str
    network: AbstractNetwork
    task: Task
    rule: EquilibriumPropagation | CoupledLearning
    optimizer: optax.GradientTransformation
    rate: float
    metric: Float[np.ndarray, " M"] | float = 1.0
    lower: float = -math.inf
    samples_per_solve: int = 1

    @property
    def realizations(self) -> int:
        """How many networks the ensemble has, R."""
        return self.network.k.shape[0]


def workload(
    name: str, *, realizations: int = 50, dtype: DTypeLike = float, seed: int = 0, **sizes: int
) -> Workload:
    """One of the fixed workloads, in its standard or another size.

    - `"W1"`: node networks, `nodes=20`, `H = (A + Aᵀ)/2 + 3 sqrt(2N) I` with A from N(0, 1), one random
      linear constraint each; equilibrium propagation in the Frobenius metric (Stern et al. (2023), eq. 13).
    - `"W2"`: flow networks that float on an Erdős-Rényi graph each, `nodes=40`, `edges=60`, k = 10, `tasks=5`
      allosteric tasks; equilibrium propagation, k ≥ 0.01.
    - `"W3"`: k from U[1, 1.1] on one planar graph, `nodes=300`, `edges=600`, two held inputs, two outputs,
      a linear regression on a `grid=11` squared of samples; coupled learning, k ≥ 1e-6.

    **Arguments**

    - `name`: which. `realizations`: how many networks. `seed`: of the random numbers.
    - `dtype`: numbers are drawn in double precision and rounded to it, so that precisions can be compared.
    - `sizes`: the numbers named above, where they differ from the standard.

    Raises `InputError` on another name, or float64 where `jax_enable_x64` is not set.

    >>> import jaxphys as jp, numpy as np
    >>> workload("W2", realizations=3, dtype=np.float32).network.k.shape
    (3, 60)
    """
    check_workloads([name])
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


def check_workloads(names: Sequence[str]) -> None:
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
    triangulated (Delaunay); edges are then removed in random order, as long as degrees stay at least
    `min_degree`, until `num_edges` are left. Mean coordination is `2 M / N`, 4 at the jamming threshold in
    two dimensions.

    **Arguments**

    - `num_nodes`, `num_edges`: N and M. `key`: draws points and edges.
    - `min_degree`: of every node. `max_draws`: attempts before the sizes are refused.

    **Returns** a connected `Topology` with positions.

    Raises `InputError` if `max_draws` draws give no such graph.

    >>> import jax, jaxphys as jp
    >>> planar_graph(30, 60, jax.random.key(0)).num_edges
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
    refuse("num_edges", "leave a connected planar graph", f"{max_draws} draws gave none")
