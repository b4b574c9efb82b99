"""The networks and tasks of Guzman et al. (2024), and how we train them.

Networks are planar: contacts of jammed discs in an open box, trimmed to 300 nodes. What the paper leaves
out is chosen here once. Terminals lie at least five bonds apart and three diameters inside the rim: on the
outer face of a planar network some tasks cannot be routed (K₂,₃ is not outerplanar), whatever k is.
Conductances start in [1, 1.1] and stay within [1e-3, 1e3] times their mean, inputs have unit second moment,
and rates are given as `ρ = α ⟨u²⟩ / k₀`, on which alone voltage-driven learning depends.
"""

import dataclasses
from functools import lru_cache
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from jaxphys._checks import InputError
from jaxphys.diagnostics import (
    cost_hessian,
    relative_conductance,
    susceptibility,
)
from jaxphys.equilibrium import Boundary, equilibrate
from jaxphys.learning import CosineDistance, Task, allostery, regression, respond
from jaxphys.learning.rules import CoupledLearning
from jaxphys.learning.transforms import bounds
from jaxphys.networks.generators import host_generator
from jaxphys.networks.packings import Packing, jammed_packings
from jaxphys.networks.physics import FlowNetwork
from jaxphys.networks.topology import Topology
from jaxphys.papers.frame import Settings, computed_once
from jaxphys.training._train import Run, member, stack, train
from jaxphys.training.arguments import Record

# Discs to pack and nodes that are left of them; bonds between terminals, and diameters to the rim.
PARTICLES, NODES = 340, 300
APART, INSIDE = 5, 3.0
# Wider, and edges at the floor take long to come back: with 1e5, 33 instead of 38 of 40 packings learned.
_RANGE = 1e3
# Learning rests here.
REST = 1e-10
LEARNED = 1e-8

TWO_TARGETS = np.array([[0.15, 0.3], [0.2, 0.1]])
FIVE_TARGETS = np.array([[0.15, 0.3], [0.2, 0.1], [0.05, 0.2], [0.1, 0.05], [0.3, 0.15]])
# Means and covariances of the three classes (eqs D1-D3, as far as they can be read).
_CLASSES = (
    ((2.0, 2.0), ((0.5, 0.0), (0.0, 0.5))),
    ((7.0, 7.0), ((1.0, -0.5), (-0.5, 1.0))),
    ((1.5, 7.0), ((1.0, 0.0), (0.0, 0.5))),
)


T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where a task sits: nodes whose voltage is an input, nodes at fixed voltages, and targets.

    A target is a pair of nodes, twice the same one where its voltage against the ground counts.
    """

    inputs: tuple[int, ...]
    grounds: tuple[int, ...]
    targets: tuple[tuple[int, int], ...]

    def boundary(self, network: FlowNetwork) -> Boundary:
        """Everything is held that the task holds."""
        return Boundary(network, held_nodes=self.inputs, ground=self.grounds)

    def ground(self, network: FlowNetwork) -> Boundary:
        """What is held by someone who does not know the inputs: the grounds (Guzman et al. (2024), eq. 2)."""
        return Boundary(network, ground=self.grounds)


def packings(settings: Settings, count: int) -> list[Packing]:
    """The first `count` packings of a seed; how many are asked for does not change them.

    Discs in an open box, each of `PARTICLES` particles cut down to `NODES` nodes. They are packed once for
    each number asked for.
    """
    return _packings(settings.seed, count, PARTICLES, NODES)


@computed_once(maxsize=4)
def _packings(seed: int, count: int, particles: int, nodes: int) -> list[Packing]:
    key = Settings(seed=seed).key("packing")
    keys = [jax.random.fold_in(key, number) for number in range(count)]
    return jammed_packings(particles, keys, boundary="open", num_nodes=nodes)


def distant_nodes(topology: Topology, number: int, apart: int, generator: np.random.Generator) -> list[int]:
    """Random nodes inside the rim, any two at least `apart` bonds from one another.

    Raises `InputError` if there is no room for so many.
    """
    places = np.asarray(topology.positions)
    low, high = places.min(axis=0) + INSIDE, places.max(axis=0) - INSIDE
    inside = np.flatnonzero(((places > low) & (places < high)).all(axis=1))
    far = topology.distances() >= apart
    for _ in range(2000):
        chosen: list[int] = []
        for node in generator.permutation(inside).tolist():
            if all(far[node, other] for other in chosen):
                chosen.append(node)
            if len(chosen) == number:
                return chosen
    raise InputError(f"There is no room for {number} terminals {apart} bonds apart on {len(places)} nodes.")


def grid() -> np.ndarray:
    """`(121, 2)` voltages on a square grid, each with unit second moment."""
    side = np.linspace(-1, 1, 11)
    samples = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    return samples / np.sqrt(np.mean(samples**2, axis=0))


def regression_task(
    network: FlowNetwork, matrix: np.ndarray, generator: np.random.Generator
) -> tuple[Task, Placement]:
    """A linear map of two voltages, learned on a grid of inputs (eqs 1 and 22), and where its terminals sit.

    `matrix`: `(targets, 2)`; the voltage wanted at target i is row i times the two inputs.
    """
    # Eight terminals need to stand a little closer.
    apart = APART if len(matrix) <= 2 else APART - 1
    nodes = distant_nodes(network.topology, 3 + len(matrix), apart, generator)
    targets = tuple((node, node) for node in nodes[3:])
    placement = Placement(tuple(nodes[:2]), (nodes[2],), targets)
    boundary = placement.boundary(network)
    return regression(network, boundary, [], nodes[3:], matrix=matrix, inputs=grid()), placement


def allostery_task(
    network: FlowNetwork, response: float, number: int, generator: np.random.Generator
) -> tuple[Task, Placement]:
    """One volt between two nodes in, a drop across each of some edges out (section V A).

    A target edge counts in the direction of its drop before learning.
    """
    nodes = distant_nodes(network.topology, 2 + number, APART, generator)
    placement = Placement((nodes[0],), (nodes[1],), ())
    boundary = placement.boundary(network)
    voltages = np.asarray(equilibrate(network, boundary, values=jnp.ones(1)).x)
    edges = np.asarray(network.topology.edges)
    targets = []
    for node in nodes[2:]:
        other = int(generator.choice(np.sum(edges[(edges == node).any(axis=1)], axis=1))) - node
        targets.append((node, other) if voltages[node] > voltages[other] else (other, node))
    placement = dataclasses.replace(placement, targets=tuple(targets))
    return allostery(network, boundary, [], targets, response=response), placement


def class_samples(generator: np.random.Generator, each: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of three classes, `(3 each, 2)`, class by class, and their labels.

    Coordinates are standardised by the means and the spread of all classes, not by those of the sample.
    """
    points = np.concatenate([generator.multivariate_normal(*one, size=each) for one in _CLASSES])
    centre = np.mean([mean for mean, _ in _CLASSES], axis=0)
    return (points - centre) / 2.7, np.repeat(np.arange(3), each)


def classification_task(network: FlowNetwork, generator: np.random.Generator) -> tuple[Task, Placement]:
    """Three classes by the largest of three voltages, with the cosine cost (section V, eq. 23).

    Each feature is held at two nodes, and with the other sign at two more; two grounds lie at -1, two at 1.
    """
    nodes = distant_nodes(network.topology, 15, 2, generator)
    placement = Placement(tuple(nodes[:8]), tuple(nodes[8:12]), tuple((node, node) for node in nodes[12:]))
    values = np.zeros((3, 12))
    for feature in (0, 1):
        values[feature, 4 * feature : 4 * feature + 4] = (1, 1, -1, -1)
    values[2, 8:] = (-1, -1, 1, 1)
    points, labels = class_samples(generator, 40)
    task = Task(
        Boundary(network, held_nodes=nodes[:12]),
        values=values,
        inputs=np.column_stack([points, np.ones(len(points))]),
        readout=network.node_rows(nodes[12:]),
        targets=np.eye(3)[labels],
        cost=CosineDistance(),
        reduction="mean",
    )
    return task, placement


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a task is learned: `rho` as above, the nudge of coupled learning, steps, the cost to rest at."""

    rho: float
    nudge: float = 1e-3
    steps: int = 10_000
    rest: float = REST


RECIPES = {
    "regression": Recipe(30.0),
    "five": Recipe(30.0, steps=15_000),
    "classification": Recipe(0.1, nudge=1e-2, rest=1e-4),
    "allostery": Recipe(10.0),
}
TITLES = {
    "regression": "regression, 2 targets",
    "five": "regression, 5 targets",
    "classification": "three classes",
    "allostery": "voltage drops at 3 edges",
}
# Stiff modes of the cost that belong to the task: coefficients of a regression, target edges; three classes
# leave two directions for each of three inputs.
STIFF = {"regression": 4, "five": 10, "classification": 6, "allostery": 3}


@lru_cache
def _descent(rate: float, widest: float) -> optax.GradientTransformation:
    """The same object for the same numbers, for compiled programs know it by identity."""
    return optax.chain(optax.sgd(rate), bounds(1 / widest, widest))


def real_edges(network: FlowNetwork) -> Bool[np.ndarray, "R M"]:
    """True for edges, false for padding, in an ensemble."""
    return np.asarray(jax.vmap(lambda one: one.edge_mask)(network))


def learn(network: FlowNetwork, task: Task, recipe: Recipe, settings: Settings) -> Run:
    """Coupled learning by a recipe, recording k.

    Conductances are learned relative to their mean at the start, which changes nothing where voltages drive
    (k and the rate scale together), and lets one compiled program serve all starts.
    """
    scale = float(np.mean(np.asarray(network.k)[real_edges(network)]))
    steps = settings.steps(recipe.steps)
    run = train(
        network.with_k(network.k / scale),
        task,
        steps=steps,
        rule=CoupledLearning(recipe.nudge),
        optimizer=_descent(recipe.rho, _RANGE),
        stop_cost=recipe.rest,
        # Most of what happens, happens early.
        record=Record(
            steps=np.unique(np.geomspace(1, steps, 120).astype(int)).tolist(), functionals={"k": _field}
        ),
    )
    return dataclasses.replace(
        run,
        network=run.network.with_k(scale * run.network.k),
        initial_k=network.k,
        records={"k": scale * run.records["k"]},
    )


def _field(network: FlowNetwork, task: Task) -> Float[Array, " M"]:
    return network.k


def starts(
    network: FlowNetwork, count: int, generator: np.random.Generator, low: float = 1.0, high: float = 1.1
) -> FlowNetwork:
    """`count` copies of a network with initial conductances drawn between `low` and `high`, stacked.

    Uniform and independent for every edge and copy, in simulation units. `generator`: of these draws.
    """
    k = generator.uniform(low, high, (count, network.num_edges))
    return stack([network.with_k(jnp.asarray(one)) for one in k])


def make_task(name: str, network: FlowNetwork, generator: np.random.Generator) -> tuple[Task, Placement]:
    """One of the four tasks of the main text, by its name in `RECIPES`, at random terminals.

    `network`: one network. `generator`: of the terminals. **Returns** the task, and where its terminals lie.
    """
    match name:
        case "regression":
            return regression_task(network, TWO_TARGETS, generator)
        case "five":
            return regression_task(network, FIVE_TARGETS, generator)
        case "classification":
            return classification_task(network, generator)
    return allostery_task(network, 0.5, 3, generator)


@dataclasses.dataclass(frozen=True)
class Learned:
    """A trained ensemble on one graph with one placement.

    `tried`: cost that each placement reached which was tried before, and of this one, a single network each.
    """

    run: Run
    placement: Placement
    task: Task
    tried: np.ndarray


# Placements to try side by side for tasks that not every placement allows.
CANDIDATES = 10


@computed_once(maxsize=8)
def learned(name: str, settings: Settings) -> Learned:
    """One task from many initial conditions, fifty at full scale, on one graph at one placement.

    `name`: of `RECIPES`. Where not every placement allows the task, a single network tries `CANDIDATES` of
    them, and the first that it learns is taken, or else the one of least cost.
    """
    network = FlowNetwork(packings(settings, 1)[0].topology)
    recipe, key = RECIPES[name], settings.key(f"task {name}")
    generator = host_generator(key)
    tried = np.zeros(0)
    if name in ("five", "allostery"):
        candidates = [make_task(name, network, generator) for _ in range(CANDIDATES)]
        run = learn(
            starts(network, CANDIDATES, generator),
            stack([task for task, _ in candidates]),
            dataclasses.replace(recipe, steps=10_000),
            settings,
        )
        tried = run.cost[:, -1]
        reached = np.flatnonzero(tried <= LEARNED)
        chosen = int(reached[0]) if reached.size else int(np.argmin(tried))
        task, placement = candidates[chosen]
    else:
        task, placement = make_task(name, network, generator)
    networks = starts(network, settings.realizations(50), generator)
    run = learn(networks, stack([task] * len(networks.k)), recipe, settings)
    return Learned(run, placement, task, tried)


class Imprint(eqx.Module):
    """What learning left in one network; edges that are padding have NaN or zero.

    - `cost_eigenvalues`: `(M,)` of the exact cost Hessian, descending.
    - `stiff_modes`: `(p, M)` of the Gauss-Newton matrix, which is the exact Hessian at zero cost; before,
      that one's largest eigenvalues are mostly residual, and not the task's. `curvature_rank`: its rank.
    - `susceptibility`: `(M,)` with the grounds alone held (Guzman et al. (2024), eq. 18).
      `driven_susceptibility`: with the inputs held as well. `relative_conductance`: `(M,)`.
    """

    cost_eigenvalues: Float[Array, "*R M"]
    stiff_modes: Float[Array, "*R p M"]
    curvature_rank: Float[Array, "*R"]
    susceptibility: Float[Array, "*R M"]
    driven_susceptibility: Float[Array, "*R M"]
    relative_conductance: Float[Array, "*R M"]

    @property
    def stiffness(self) -> np.ndarray:
        """`(R, M)` share of every edge in the stiff modes, `√Σ_p Ψ_p²`."""
        return np.sqrt(np.sum(np.asarray(self.stiff_modes) ** 2, axis=-2))

    @property
    def gap(self) -> np.ndarray:
        """`(R,)` decades between the last stiff eigenvalue and the largest of all others in size."""
        number = self.stiff_modes.shape[-2]
        values = np.asarray(self.cost_eigenvalues)
        rest = np.max(np.abs(values[..., number:]), axis=-1)
        return np.log10(np.maximum(values[..., number - 1], np.finfo(float).tiny) / rest)


def imprints(network: FlowNetwork, task: Task, ground: Boundary, stiff: int) -> Imprint:
    """Imprints of an ensemble with `ground` held, and `stiff` modes of the cost Hessian.

    Realizations are taken one after another, since each makes matrices of M² numbers.
    """
    return _imprints(network, task, ground, stiff)


@eqx.filter_jit
def _imprints(network: FlowNetwork, task: Task, ground: Boundary, stiff: int) -> Imprint:
    def one(triple: tuple[FlowNetwork, Task, Boundary]) -> Imprint:
        network, task, ground = triple
        values = jnp.linalg.eigvalsh(cost_hessian(network, task))
        curvatures, modes = jnp.linalg.eigh(cost_hessian(network, task, kind="gauss_newton"))
        sizes = jnp.abs(curvatures)
        return Imprint(
            values[::-1],
            modes.T[::-1][:stiff],
            jnp.sum((sizes > 1e-10 * jnp.max(sizes)).astype(sizes.dtype)),
            susceptibility(network, ground),
            susceptibility(network, task.boundary),
            relative_conductance(network),
        )

    return jax.lax.map(one, (network, task, ground))


@computed_once(maxsize=8)
def imprinted(name: str, settings: Settings) -> tuple[Imprint, Imprint]:
    """Imprints in the ensemble of `learned`, after learning and before.

    `name`: of the task in `RECIPES`. Computed once for all figures of the same `settings`.
    """
    found = learned(name, settings)
    return before_and_after(found.run, found.placement, STIFF[name])


def before_and_after(run: Run, placement: Placement, stiff: int) -> tuple[Imprint, Imprint]:
    """Imprints, with `stiff` modes, in a trained ensemble on one graph, and in the same networks before.

    `run`: as trained. `placement`: where the terminals of its task lie. **Returns** those after learning
    first.
    """
    grounds = stack([placement.ground(trained_pair(run, 0)[0])] * len(run.cost))
    before = run.network.with_k(run.initial_k)
    return imprints(run.network, run.task, grounds, stiff), imprints(before, run.task, grounds, stiff)


def trained_pair(run: Run, realization: int) -> tuple[FlowNetwork, Task]:
    """The trained network of one realization, and its task.

    `run`: of an ensemble. `realization`: its number, from 0.
    """
    pair: tuple[FlowNetwork, Task] = member((run.network, run.task), realization)
    return pair


def selected(tree: T, which: slice | Int[np.ndarray, " r"]) -> T:
    """Several realizations of an ensemble, an ensemble again: a network, a task, or any tuple of these.

    `tree`: arrays of it lead with realizations. `which`: a slice, or `(r,)` numbers from 0.
    """
    # JAX does not say that a map keeps the structure.
    found: T = jax.tree.map(lambda leaf: leaf[which], tree)
    return found


def states(run: Run, realization: int = 0) -> Float[Array, "s N"]:
    """Voltages of one trained network for one unit of each input terminal.

    `realization`: its number in the `run`, from 0. **Returns** `(s, N)`, a row for each of s terminals.
    """
    return respond(*trained_pair(run, realization)).drive
