"""The networks and tasks of Stern et al. (2023), and how we train them.

What the paper leaves out is chosen here once. Costs are sums over tasks (`Σ_r C_r`, as its rules have it).
Steps are adaptive: a step is taken only if the cost falls and the Hessian stays positive definite.
Node networks follow eq. 13, whose diagonal learns too. Flow networks have a fixed number of edges, start
from `k = 10` and float, with their mean projected out; springs likewise, their rigid motions projected out.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Concatenate, Literal, ParamSpec

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from jaxphys.diagnostics import spectrum
from jaxphys.equilibrium import Boundary
from jaxphys.learning import Task, allostery, random_linear
from jaxphys.learning.transforms import bounds, precondition
from jaxphys.networks.generators import erdos_renyi, host_generator
from jaxphys.networks.physics import AbstractNetwork, FlowNetwork, NodeNetwork, SpringNetwork
from jaxphys.papers.frame import Settings, Variables, computed_once
from jaxphys.solvers import AbstractSolver, Dense
from jaxphys.training._train import Run, stack, train
from jaxphys.training.arguments import Record
from jaxphys.training.descent import AdaptiveStep, Descent
from jaxphys.training.integrator import AbstractIntegrator

Kind = Literal["node", "flow", "spring"]
Pair = tuple[AbstractNetwork, Task]
Optimizer = optax.GradientTransformation | AbstractIntegrator
P = ParamSpec("P")

# Conductances and spring constants to start from, and the least they may become.
START, FLOOR = 10.0, 1e-2
# Learning rests here: far below any error that a picture shows, above rounding.
REST = 1e-24


def node_network(key: Key[Array, ""], num_nodes: int = 20) -> NodeNetwork:
    """The node networks of section II A: `W = sym(N(0, 1)) + 3 sqrt(2N) I` for N nodes, and `H = W`.

    They are positive definite but for rare draws: the lowest eigenvalue lies near `2 sqrt(2N)`.
    """
    draws = host_generator(key).standard_normal((num_nodes, num_nodes))
    return NodeNetwork.from_matrix((draws + draws.T) / 2 + 3 * np.sqrt(2 * num_nodes) * np.eye(num_nodes))


def node_pair(key: Key[Array, ""], num_tasks: int = 1, num_nodes: int = 20) -> Pair:
    """A node network and `num_tasks` random linear tasks of one output each (eq. A1).

    `key`: of all draws. The network is that of `node_network`, with `num_nodes` nodes.
    """
    network = node_network(key, num_nodes)
    return network, random_linear(network, num_tasks, jax.random.fold_in(key, 1))


def flow_pair(
    key: Key[Array, ""], num_tasks: int = 1, *, num_nodes: int = 40, degree: float = 3.0, start: float = START
) -> Pair:
    """A flow network on a random graph, and allosteric tasks: unit currents in, a pressure of 0.3 out.

    The graph has `num_nodes` nodes and a mean `degree`; all conductances are `start`, in simulation units.
    """
    network = FlowNetwork(erdos_renyi(num_nodes, round(degree * num_nodes / 2), key), start)
    return network, _allostery(network, num_tasks, 0.3, host_generator(jax.random.fold_in(key, 1)))


def spring_pair(
    key: Key[Array, ""],
    num_tasks: int = 1,
    *,
    degree: float = 6.0,
    law: Literal["central", "vector"] = "central",
    num_nodes: int = 40,
) -> Pair:
    """A spring network in the plane, and allosteric tasks: unit forces in, displacements of 0.5 out.

    Central-force networks are drawn until one is rigid; at the printed degree 4 that takes about a hundred
    draws. `law="vector"` is eq. 14 read literally, which is rigid on any connected graph.
    """
    edges = round(degree * num_nodes / 2)
    topology = erdos_renyi(num_nodes, edges, key, dimension=2, rigid=law == "central")
    network = SpringNetwork(topology, START, law=law)
    return network, _allostery(network, num_tasks, 0.5, host_generator(jax.random.fold_in(key, 1)))


def node_allostery_pair(key: Key[Array, ""], response: float = 0.3) -> Pair:
    """A node network of 20 nodes and one allosteric task (fig. 7a): a unit force in, `response` out.

    The boundary holds nothing.
    """
    network = node_network(key)
    return network, _allostery(network, 1, response, host_generator(jax.random.fold_in(key, 1)))


def _allostery(
    network: AbstractNetwork, num_tasks: int, response: float, generator: np.random.Generator
) -> Task:
    """Sources and targets are all different nodes; springs are pushed and read in random directions."""
    boundary = Boundary(network, free_modes="project")
    nodes = generator.permutation(network.num_nodes)[: 2 * num_tasks].tolist()
    return allostery(
        network,
        boundary,
        nodes[:num_tasks],
        nodes[num_tasks:],
        response=response,
        source_directions=_directions(network, num_tasks, generator),
        target_directions=_directions(network, num_tasks, generator),
    )


def _directions(network: AbstractNetwork, number: int, generator: np.random.Generator) -> np.ndarray | None:
    if network.dimension == 1:
        return None
    angles = generator.uniform(0, 2 * np.pi, number)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


PAIRS: dict[str, Callable[..., Pair]] = {"node": node_pair, "flow": flow_pair, "spring": spring_pair}


def ensemble(
    pair: Callable[Concatenate[Key[Array, ""], P], Pair],
    keys: Key[Array, " R"],
    *arguments: P.args,
    **options: P.kwargs,
) -> Pair:
    """Networks and tasks, stacked: `pair(key, *arguments, **options)` for each of R keys.

    `pair`: one of `PAIRS`, or any function that makes a network and its task of a key; the networks must have
    arrays of the same shapes.
    """
    networks, tasks = zip(*(pair(key, *arguments, **options) for key in keys), strict=True)
    return stack(networks), stack(tasks)


@lru_cache
def _descent(node_entries: int | None, longest: float | None) -> optax.GradientTransformation:
    chain = [optax.sgd(1.0)] if longest is None else [optax.sgd(1.0), optax.clip_by_global_norm(longest)]
    if node_entries is not None:
        return optax.chain(precondition(NodeNetwork(jnp.zeros(node_entries)).frobenius_metric), *chain)
    return optax.chain(*chain, bounds(FLOOR))


def descent(network: AbstractNetwork, longest: float | None = None) -> optax.GradientTransformation:
    """Plain descent by the paper's rules: eq. 13 for node networks, else eq. 16 with a floor for k.

    `longest`: no step moves k by more, in the Euclidean norm. Always the same object for networks of one
    kind and size, since compiled programs know it by identity.
    """
    return _descent(network.k.shape[-1] if network.kind.is_matrix else None, longest)


def train_adaptively(
    network: AbstractNetwork,
    task: Task,
    steps: int,
    records: Sequence[int],
    *,
    longest: float | None = None,
    optimizer: Optimizer | None = None,
    stop_cost: float | None = REST,
) -> Run:
    """`train` with adaptive steps until the cost is down to `stop_cost`, recording k.

    `network` and `task` are an `ensemble`. Nothing is recorded from step `steps` on, whatever `records` has.
    `longest`: as in `descent`. `optimizer`: what to step by instead.
    """
    return train(
        network,
        task,
        steps=steps,
        optimizer=Descent(descent(network, longest), AdaptiveStep()) if optimizer is None else optimizer,
        solver=solver_of(network),
        stop_cost=stop_cost,
        record=Record(steps=[record for record in records if record < steps], functionals={"k": _field}),
    )


def solver_of(network: AbstractNetwork) -> AbstractSolver | None:
    """`Dense` for node networks, which have many terminals here; else what `train` chooses."""
    return Dense() if network.kind.is_matrix else None


def _field(network: AbstractNetwork, task: Task) -> Float[Array, " M"]:
    return network.k


# Every step while steps are small, then fewer and fewer.
RECORDS = (*range(0, 40, 2), *range(40, 100, 4), *range(100, 200, 10), *range(200, 500, 50), 700, 1000, 2000)


class Trajectory(eqx.Module):
    """What one eigendecomposition per record gives, for all realizations and records; m modes, S samples.

    Eigenvalues ascend; alignments are absolute cosines of the modes with forces, responses, and the space
    that all forces span.
    """

    eigenvalues: Float[Array, "*R m"]
    force_alignment: Float[Array, "*R m S"]
    response_alignment: Float[Array, "*R m S"]
    span_alignment: Float[Array, "*R m"]
    effective_conductance: Float[Array, "*R"]
    effective_dimension: Float[Array, "*R"]

    def variables(self) -> Variables:
        """For `ensemble_dataset`."""
        axes: dict[str, tuple[str, ...]] = {
            "eigenvalues": ("mode",),
            "force_alignment": ("mode", "sample"),
            "response_alignment": ("mode", "sample"),
            "span_alignment": ("mode",),
            "effective_conductance": (),
            "effective_dimension": (),
        }
        return {
            name: (("realization", "record", *further), np.asarray(getattr(self, name)))
            for name, further in axes.items()
        }


def trajectory(run: Run) -> Trajectory:
    """Spectra, alignments, conductance and dimension at every record of a run that recorded k."""
    network, task = run.network, run.task
    return _trajectory(network, task, jnp.asarray(run.records["k"]))


@eqx.filter_jit
def _trajectory(network: AbstractNetwork, task: Task, history: Float[Array, "R T M"]) -> Trajectory:
    def one(network: AbstractNetwork, task: Task, k: Array) -> Trajectory:
        values, modes = spectrum(network.with_k(k), task.boundary)
        amplitudes = modes @ (task.inputs @ task.force).T
        responses = amplitudes / values[:, None]
        span = jnp.linalg.qr(modes @ task.force.T)[0]
        inverse = values**-2.0
        return Trajectory(
            values,
            jnp.abs(amplitudes) / jnp.linalg.norm(amplitudes, axis=0),
            jnp.abs(responses) / jnp.linalg.norm(responses, axis=0),
            jnp.linalg.norm(span, axis=1),
            jnp.sqrt(jnp.mean(inverse)),
            jnp.sum(inverse) ** 2 / (3 * jnp.sum(inverse**2)),
        )

    return jax.vmap(jax.vmap(one, in_axes=(None, None, 0)))(network, task, history)


def lowest_share(alignment: Float[Array, "R T m S"], number: int) -> np.ndarray:
    """Norm of what unit vectors have in the span of the `number` lowest modes, mean over S: `(R, T)`.

    `alignment`: absolute cosines of m modes with S vectors, as a `Trajectory` has them; 1 where the vectors
    lie within the span.
    """
    lowest = np.asarray(alignment)[:, :, :number]
    return np.sqrt(np.sum(lowest**2, axis=2)).mean(axis=-1)


@dataclasses.dataclass(frozen=True)
class Trained:
    """A run and its trajectory."""

    run: Run
    trajectory: Trajectory


@computed_once(maxsize=8)
def single_task(kind: Kind, settings: Settings) -> Trained:
    """Networks of one kind that learn one task each, fifty at full scale: those of figs 2, 3 and 4.

    Trained for 3000 steps, or until the cost is below `REST`; once for all figures of the same `settings`.
    """
    keys = jax.random.split(settings.key(f"single {kind}"), settings.realizations(50))
    network, task = ensemble(PAIRS[kind], keys)
    run = train_adaptively(network, task, settings.steps(3000), RECORDS)
    return Trained(run, trajectory(run))


@computed_once(maxsize=3)
def small_steps(kind: Kind, settings: Settings) -> Trained:
    """The networks of `single_task`, trained in steps no longer than 1 in k, which first order can follow.

    For 400 steps, of which every second one is recorded; once for all figures of the same `settings`.
    """
    keys = jax.random.split(settings.key(f"single {kind}"), settings.realizations(50))
    network, task = ensemble(PAIRS[kind], keys)
    steps = settings.steps(400)
    run = train_adaptively(network, task, steps, range(0, steps, 2), longest=1.0)
    return Trained(run, trajectory(run))
