"""The gradient certificate: every rule, network, solver and boundary against independent oracles.

Each check compares what the library computes in closed form with automatic differentiation
through the reference LU, with a fitted order in the nudge, or with a Monte Carlo average, and
keeps the measured number beside its bound.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypedDict

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key
from tqdm import tqdm

from jaxphys._checks import require
from jaxphys.diagnostics import (
    cost_hessian,
    cost_hessian_autodiff,
    effective_conductance,
    effective_conductance_monte_carlo,
    effective_dimension,
    effective_dimension_monte_carlo,
    eigenvalues,
)
from jaxphys.equilibrium import Boundary, equilibrate, greens_function
from jaxphys.learning import CosineDistance, CrossEntropy, Response, SquaredError, Task, respond, task_cost
from jaxphys.learning.costs import AbstractCost
from jaxphys.learning.rules import AbstractRule, CoupledLearning, EquilibriumPropagation, ExactGradient
from jaxphys.learning.transforms import precondition
from jaxphys.networks.generators import erdos_renyi, host_generator
from jaxphys.networks.physics import (
    AbstractNetwork,
    FlowNetwork,
    NodeNetwork,
    SpringNetwork,
    check_single,
)
from jaxphys.solvers import AbstractSolver, BorderedLU, Dense, SparseCholesky, StarMesh, TrackedInverse
from jaxphys.training._train import train
from jaxphys.training.arguments import Record

NETWORKS = ("node", "flow", "spring 2-D", "spring 3-D", "spring vector")


@dataclass(frozen=True)
class Check:
    """One row of the certificate: `measured` must lie between `lowest` and `highest`.

    - `name`: what is checked. `network`, `boundary`, `solver`: for which case.
    - `measured`: a relative error, an order in the nudge, or a ratio of averages; without units.
    - `lowest`, `highest`: its bounds; `lowest` is 0 for errors.
    """

    name: str
    network: str
    boundary: str
    solver: str
    measured: float
    lowest: float
    highest: float

    @property
    def passed(self) -> bool:
        """Whether `measured` lies between the bounds; NaN does not."""
        return self.lowest <= self.measured <= self.highest


@dataclass(frozen=True)
class System:
    """A small network with a task on it, named after its kinds of network and boundary."""

    network_name: str
    boundary_name: str
    network: AbstractNetwork
    task: Task


class Rules(NamedTuple):
    """The rules that are certified, each as something that makes one: a class, or a function.

    - `exact()`: must give `∂C/∂k` itself.
    - `propagation(nudge, symmetric=…, mode=…)`: must approach it in the order of its kind.
    - `coupled(nudge)`: must approach the gradient with errors weighted by `G_TT⁻¹`.

    Programs are compiled for each choice: a subclass that overrides `contrasts` is certified as it is.
    """

    exact: Callable[[], AbstractRule] = ExactGradient
    propagation: Callable[..., AbstractRule] = EquilibriumPropagation
    coupled: Callable[..., AbstractRule] = CoupledLearning


LIBRARY_RULES = Rules()


def certify(
    *,
    seed: int = 0,
    networks: Sequence[str | AbstractNetwork] | None = None,
    groups: Sequence[str] | None = None,
    rules: Rules = LIBRARY_RULES,
    progress: bool = False,
) -> list[Check]:
    """Run all checks in the current precision (float64 for the bounds to hold); takes a few minutes.

    Rows: every rule × kind of network × boundary × solver, planned solvers where they serve. `ExactGradient`
    against `jax.grad` through the reference LU; equilibrium propagation's order in η, one- and two-sided;
    coupled learning against equilibrium propagation with the error `G_TT⁻¹ r`; learning by a tracked inverse
    against factorisations; the cost Hessian, exact and Gauss-Newton, against `jax.hessian`; the spectral laws
    of conductance and dimension by Monte Carlo; the closed forms of a kind of network against automatic
    differentiation of its energies, and what its `kind` claims of its Hessian. Nearly all of the time is
    compilation.

    **Arguments**

    - `seed`: of the random networks, tasks and forces.
    - `networks`: which of `NETWORKS`, or networks of your own, of 6 nodes or more, on tasks that are drawn at
      random; all of `NETWORKS` by default. `groups`: which checks, as `certify_system` takes them.
    - `rules`: which rules; the library's by default.
    - `progress`: show a bar.

    Raises `InputError` on a name that is not in `NETWORKS`, an ensemble, and a network of fewer nodes.

    >>> import jaxphys as jp
    >>> jp.checks.certify(networks=[jp.FlowNetwork(jp.square_lattice((2, 2)))])
    Traceback (most recent call last):
    jaxphys._checks.InputError: Argument `networks` must have 6 nodes or more, but one has 4.
    """
    kinds = []
    for chosen in NETWORKS if networks is None else networks:
        if not isinstance(chosen, str):
            kinds.append(own_systems(chosen, seed))
            continue
        require(chosen in NETWORKS, "networks", f"name some of {', '.join(NETWORKS)}", f"it names {chosen!r}")
        kinds.append([system for system in systems(seed) if system.network_name == chosen])

    def of_one_kind(kind: list[System]) -> list[Check]:
        # Boundary after boundary: some share their compiled programs.
        return [
            check
            for system in kind
            for check in certify_system(system, groups=groups, rules=rules, seed=seed)
        ]

    checks: list[Check] = []
    # Most of the time goes into compilation, which lets other threads run.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(of_one_kind, kinds)
        for found in tqdm(results, total=len(kinds), disable=not progress, unit="network", leave=False):
            checks += found
    return checks


def certify_system(
    system: System, *, groups: Sequence[str] | None = None, rules: Rules = LIBRARY_RULES, seed: int = 0
) -> list[Check]:
    """The checks of one of `systems`, in the current precision.

    **Arguments**

    - `system`: one of `systems` or `own_systems`. `groups`: which checks, by names of `GROUPS`. By default
      `"learning"`, `"conservation"` and `"hessian"`, and where free modes are projected out also `"forms"`,
      `"spectral"` and, for flow networks, `"costs"`.
    - `rules`: what is certified. `seed`: of random forces and targets.

    Raises `InputError` on a name that is not in `GROUPS`.
    """
    if groups is None:
        is_projected = system.boundary_name == "forces, projected"
        groups = ("learning", "conservation", "hessian")
        groups += ("forms", "spectral") if is_projected else ()
        groups += ("costs",) if is_projected and system.network_name == "flow" else ()
    for name in groups:
        require(name in GROUPS, "groups", f"name some of {', '.join(GROUPS)}", f"it names {name!r}")
    return [check for name in groups for check in GROUPS[name](system, rules, seed)]


def checks_table(checks: list[Check]) -> str:
    """The checks as text: one line per kind of check and network with the worst case, then every failure."""
    groups: dict[tuple[str, str], list[Check]] = {}
    for check in checks:
        groups.setdefault((check.name, check.network), []).append(check)
    lines = [f"{'check':54}{'network':16}{'cases':>6}  {'measured':>22}  {'bound':>14}  "]
    for (name, network), group in groups.items():
        low, high = min(c.measured for c in group), max(c.measured for c in group)
        passed = all(check.passed for check in group)
        one_sided = group[0].lowest == 0
        measured = f"{high:.1e}" if one_sided else f"{low:.3f} … {high:.3f}"
        bound = f"≤ {group[0].highest:.0e}" if one_sided else f"{group[0].lowest:g} … {group[0].highest:g}"
        verdict = "ok" if passed else "FAILED"
        lines.append(f"{name:54}{network:16}{len(group):6}  {measured:>22}  {bound:>14}  {verdict}")
    failed = [check for check in checks if not check.passed]
    lines.append(f"{len(checks) - len(failed)} of {len(checks)} checks passed")
    lines += [
        f"failed: {c.name}, {c.network} network, {c.boundary}, {c.solver}: {c.measured:.3g}" for c in failed
    ]
    return "\n".join(lines)


def systems(seed: int = 0) -> Iterator[System]:
    """Every kind of network under every kind of boundary, with a task of two outputs and five samples."""
    keys = jax.random.split(jax.random.key(seed, impl="threefry2x32"), 5)
    draw = host_generator(keys[0])
    flow = erdos_renyi(10, 18, keys[1])
    plane = erdos_renyi(8, 20, keys[2], dimension=2, rigid=True)
    space = erdos_renyi(7, 18, keys[3], dimension=3, rigid=True)
    matrix = draw.standard_normal((7, 7))
    stiffnesses = [draw.uniform(0.5, 2.0, graph.num_edges) for graph in (flow, plane, space, plane)]
    networks: tuple[AbstractNetwork, ...] = (
        NodeNetwork.from_matrix(matrix @ matrix.T + 3 * np.eye(7)),
        FlowNetwork(flow, stiffnesses[0]),
        SpringNetwork(plane, stiffnesses[1]),
        SpringNetwork(space, stiffnesses[2]),
        SpringNetwork(plane, stiffnesses[3], law="vector"),
    )
    for name, network in zip(NETWORKS, networks, strict=True):
        for boundary_name, boundary in boundaries(network).items():
            yield System(name, boundary_name, network, _task(network, boundary, draw))


def own_systems(network: AbstractNetwork, seed: int = 0) -> list[System]:
    """One network of any kind under every kind of boundary, with tasks as those of `systems`.

    Raises `InputError` on an ensemble or fewer than 6 nodes.
    """
    check_single(network, "networks")
    nodes = network.num_nodes
    require(nodes >= 6, "networks", "have 6 nodes or more", f"one has {nodes}")
    draw = np.random.default_rng(seed)
    return [
        System(network.kind.name, name, network, _task(network, boundary, draw))
        for name, boundary in boundaries(network).items()
    ]


class _Held(TypedDict, total=False):
    """Arguments of `Boundary` that hold something."""

    held_nodes: list[int]
    held_drops: list[tuple[int, int]]
    ground: list[int]


def boundaries(network: AbstractNetwork) -> dict[str, Boundary]:
    """Free modes projected, grounded, held nodes, held drops, and all at once.

    Drops are left out where a kind of several coordinates does not say how one is read. Free motions that a
    boundary leaves (rotations about one grounded node) are projected out. Where numbers of rows agree, one
    compiled program serves several boundaries.
    """
    held: dict[str, _Held] = {
        "forces, projected": {},
        "forces, grounded": {"ground": [0]},
        "held nodes": {"held_nodes": [3, 4] if network.dimension == 1 else [3], "ground": [0]},
        "held drops": {"held_drops": [(3, 4), (1, 5)], "ground": [0]},
        "mixture": {"held_nodes": [3], "held_drops": [(4, 5)], "ground": [0]},
    }
    if network.dimension > 1 and type(network).drop_row is AbstractNetwork.drop_row:
        held = {name: kinds for name, kinds in held.items() if "held_drops" not in kinds}
    return {
        name: Boundary(network, free_modes="project", **_straining(network, kinds))
        for name, kinds in held.items()
    }


def _straining(network: AbstractNetwork, held: _Held) -> _Held:
    """The same nodes or drops, and as many more as it takes that no rigid motion meets all that is held."""
    nodes, pairs = held.get("held_nodes"), held.get("held_drops", [])
    if nodes is None and not pairs:
        return held
    motions, ground = network.rigid_motions(), held["ground"]
    for other in range(6, network.num_nodes):
        single = network.node_rows([*(nodes or []), *ground])
        rows = np.concatenate([single, *(network.drop_row(*pair)[None] for pair in pairs)])
        if np.linalg.matrix_rank(rows @ motions.T) < len(rows):
            break
        nodes, pairs = (nodes, [*pairs, (1, other)]) if nodes is None else ([*nodes, other], pairs)
    more: _Held = {**held}
    if nodes is not None:
        more["held_nodes"] = nodes
    if pairs:
        more["held_drops"] = pairs
    return more


# Some outputs do not belong to some samples, and one counts half.
_WEIGHTS = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.5], [1.0, 1.0]])


def _task(
    network: AbstractNetwork,
    boundary: Boundary,
    draw: np.random.Generator,
    *,
    cost: AbstractCost | None = None,
    targets: np.ndarray | None = None,
    weights: np.ndarray | None = _WEIGHTS,
) -> Task:
    """Random forces and held values, random readouts, some outputs switched off for some samples."""
    terminals, (samples, outputs) = 3, _WEIGHTS.shape
    drawn = {
        "force": draw.standard_normal((terminals, network.num_coordinates)),
        "values": draw.standard_normal((terminals, boundary.num_held)),
        "inputs": draw.standard_normal((samples, terminals)),
        "readout": draw.standard_normal((outputs, network.num_coordinates)),
        "targets": draw.standard_normal((samples, outputs)),
    }
    if targets is not None:
        drawn["targets"] = targets
    return Task(boundary, weights=weights, cost=cost, reduction="mean", **drawn)


def _learning_checks(system: System, rules: Rules, seed: int) -> list[Check]:
    """Gradients and their orders in the nudge, solver by solver."""
    checks: list[Check] = []
    network, task = system.network, system.task
    gradient, limit, nudges, responses = _learning_oracles(network, task)
    rows = list(
        zip(
            _SOLVERS,
            zip(*_learning_estimates(network, task, responses, nudges, rules), strict=True),
            strict=True,
        )
    )
    for solver in _planned(system):
        response = jax.tree.map(
            lambda leaf: leaf[None], eqx.filter_jit(respond)(network, task, solver=solver)
        )
        found = _learning_estimates(network, task, response, nudges, rules)
        rows += [(solver, next(zip(*found, strict=True)))]
    for solver, (exact, force, force_symmetric, energy, energy_symmetric, coupled, _) in rows:
        names = (system.network_name, system.boundary_name, type(solver).__name__)
        small = (
            ("exact gradient against jax.grad", _relative(exact, gradient), 1e-10),
            ("equilibrium propagation, force, symmetric: exact", _relative(force_symmetric, gradient), 1e-10),
            ("coupled learning as η → 0 against G_TT⁻¹ r", _relative(coupled, limit), 1e-8),
        )
        orders = (
            ("equilibrium propagation, force: order in η", force, 1),
            ("equilibrium propagation, energy: order in η", energy, 1),
            ("equilibrium propagation, energy, symmetric: order", energy_symmetric, 2),
        )
        checks += [Check(name, *names, measured, 0.0, bound) for name, measured, bound in small]
        for name, series, order in orders:
            checks.append(Check(name, *names, _order(series, gradient, nudges), order - 0.1, order + 0.1))
    if network.kind.is_matrix and system.boundary_name in ("forces, projected", "held nodes"):
        names = (system.network_name, system.boundary_name, "TrackedInverse")
        checks.append(
            Check("learning of 20 steps against factorisations", *names, _tracking(system), 0.0, 1e-10)
        )
    return checks


def _conservation_checks(system: System, rules: Rules, seed: int) -> list[Check]:
    """The component of the gradient along k: `k·g = Σ a·G F + (η/2) Σ a·G_TT a` under clamping forces `η a`.

    Voltages do not depend on the scale of k and responses to forces go as 1/k, so that the first term is zero
    where values are held, and `-Σ c'·y` for the exact gradient where forces are applied.
    """
    network, task, checks = system.network, system.task, []
    names = (system.network_name, system.boundary_name)
    forced = eqx.tree_at(lambda task: task.values, task, jnp.zeros_like(task.values))
    driven = eqx.tree_at(lambda task: task.force, task, jnp.zeros_like(task.force))
    for case in (forced, driven) if task.boundary.num_held else (forced,):
        _, _, nudges, responses = _learning_oracles(network, case)
        estimates = _learning_estimates(network, case, responses, nudges, rules)
        nudge = float(nudges[0])
        # Equilibrium propagation at the largest nudge, the first of the series.
        found = [each if each.ndim == 2 else each[:, 0] for each in estimates]
        exact, force, symmetric, energy, energies, _, coupled = (np.asarray(each) for each in found)
        slopes, up, down, holding = _clamps(case, responses, nudge)
        coupling, outputs = np.asarray(responses.coupling[1]), np.asarray(responses.outputs[1])

        def product(
            forces: np.ndarray, eta: float, drive: np.ndarray, coupling: np.ndarray = coupling
        ) -> float:
            return float(np.sum(forces * drive) + eta / 2 * np.sum(forces @ coupling * forces))

        drive = outputs if case is forced else np.zeros_like(outputs)
        expected = {
            "force": (force, product(-slopes, nudge, drive)),
            "energy": (energy, product(up, nudge, drive)),
            "energy, symmetric": (energies, (product(up, nudge, drive) + product(down, -nudge, drive)) / 2),
            "coupled learning": (coupled, product(holding, nudge, drive)),
            "exact gradient": (exact, product(-slopes, 0.0, drive)),
            "force, symmetric": (symmetric, product(-slopes, 0.0, drive)),
        }
        k = np.asarray(network.k)
        how, linear = ("forces", "⟨a·y⟩ + ") if case is forced else ("held values", "")
        limit = "-⟨c'·y⟩" if case is forced else "0"
        for rule, (gradients, wanted) in expected.items():
            law = limit if rule in ("exact gradient", "force, symmetric") else linear + "η⟨a·G_TT a⟩/2"
            for solver, gradient in zip(_SOLVERS, gradients, strict=True):
                size = np.linalg.norm(k) * np.linalg.norm(gradient)
                error = float(abs(k @ gradient - task.sample_weight * wanted) / size)
                name = f"{how}, {rule}: k·g = {law}"
                checks.append(Check(name, *names, type(solver).__name__, error, 0.0, 1e-12))
    if system.boundary_name == "held nodes":
        step, flow = map(float, _conserved(network, driven, rules))
        small = (
            ("held values, plain steps: Σk² grows by α²|g|²", step),
            ("held values, flow in a metric: Σk²/m stays", flow),
        )
        checks += [Check(name, *names, "Dense", measured, 0.0, 1e-10) for name, measured in small]
    return checks


def _clamps(task: Task, responses: Response, nudge: float) -> tuple[np.ndarray, ...]:
    """Cost gradients at the free outputs; output forces of energy nudges at ±η and of a clamp that holds.

    In closed form for squared errors, from the response of the reference solver.
    """
    coupling, outputs = np.asarray(responses.coupling[1]), np.asarray(responses.outputs[1])
    errors, identity = np.asarray(task.targets) - outputs, np.eye(len(coupling))
    up, down, holding = (np.zeros_like(errors) for _ in range(3))
    for sample, weights in enumerate(_WEIGHTS):
        pull = weights * errors[sample]
        up[sample], down[sample] = (
            np.linalg.solve(identity + eta * weights[:, None] * coupling, pull) for eta in (nudge, -nudge)
        )
        held = np.flatnonzero(weights)
        holding[sample, held] = np.linalg.solve(coupling[np.ix_(held, held)], errors[sample, held])
    return -_WEIGHTS * errors, up, down, holding


@eqx.filter_jit
def _conserved(network: AbstractNetwork, task: Task, rules: Rules, steps: int = 20) -> tuple[Array, Array]:
    """Relative errors of two laws: plain steps add `α² Σ|g|²` to `Σk²`, and gradient flow keeps `Σk²/m`."""

    def gradient(k: Array) -> Array:
        return rules.exact()(network.with_k(k), task).gradient

    start = network.k
    rate = 0.05 / jnp.max(jnp.abs(gradient(start)))
    metric = jnp.linspace(0.5, 2.0, len(start), dtype=start.dtype)

    def both(state: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], None]:
        plain, added, flown = state
        slope = gradient(plain)
        # A Runge-Kutta step of order four, a tenth of a plain step long.
        stages = [jnp.zeros_like(flown)]
        for part in (0.0, 0.5, 0.5, 1.0):
            stages.append(-0.1 * rate * metric * gradient(flown + part * stages[-1]))
        flown = flown + (stages[1] + 2 * stages[2] + 2 * stages[3] + stages[4]) / 6
        return (plain - rate * slope, added + rate**2 * jnp.sum(slope**2), flown), None

    (plain, added, flown), _ = jax.lax.scan(both, (start, jnp.zeros_like(rate), start), None, length=steps)
    sums = (
        jnp.sum(plain**2),
        jnp.sum(start**2) + added,
        jnp.sum(flown**2 / metric),
        jnp.sum(start**2 / metric),
    )
    return jnp.abs(sums[0] - sums[1]) / added, jnp.abs(sums[2] - sums[3]) / sums[3]


_SOLVERS = (Dense(), BorderedLU())


def _planned(system: System) -> list[AbstractSolver]:
    """Solvers planned for this network and boundary; each costs one more compiled program."""
    held = system.boundary_name == "held nodes" and system.network_name in ("flow", "spring 2-D")
    if not held and system.boundary_name != "forces, projected":
        return []
    kind = system.network.kind
    if not kind.is_pairwise:
        return []
    planned = StarMesh if kind.is_laplacian else SparseCholesky
    return [planned.for_task(system.network, system.task)]


def _tracking(system: System) -> float:
    """Relative error of 20 steps of learning by a tracked inverse against a factorisation in every step."""
    network, task = system.network, system.task
    metric = network.descent_metric
    assert metric is not None
    rate = 0.05 / float(jnp.max(jnp.abs(ExactGradient()(network, task).gradient)))
    descent = optax.chain(precondition(metric), optax.sgd(rate))
    tracked, factored = (
        train(network, task, steps=20, record=Record(every=20), optimizer=descent, solver=solver).network.k
        for solver in (TrackedInverse(), Dense())
    )
    return _relative(tracked - network.k, factored - network.k)


@eqx.filter_jit
def _learning_oracles(network: AbstractNetwork, task: Task) -> tuple[Array, Array, Array, Response]:
    """Gradient by automatic differentiation, limit of coupled learning, small nudges, solvers' responses.

    The responses are stacked, one for each of `_SOLVERS`.
    """

    def cost(k: Array) -> Array:
        return task_cost(network.with_k(k), task, solver=BorderedLU())

    responses = [respond(network, task, solver=solver) for solver in _SOLVERS]
    # What has to be small is η times the output's response to a unit force on it.
    nudges = jnp.array([3e-3, 1e-3, 3e-4], network.k.dtype) / jnp.linalg.norm(responses[1].coupling)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *responses)
    return jax.grad(cost)(network.k), _coupled_limit(network, task, responses[1]), nudges, stacked


@eqx.filter_jit
def _learning_estimates(
    network: AbstractNetwork, task: Task, responses: Response, nudges: Array, rules: Rules
) -> tuple[Array, ...]:
    """Gradients by every rule, one for each of the solvers that the responses come from.

    The exact one, equilibrium propagation of four kinds (at each nudge), coupled learning (at a vanishing
    nudge, and at the largest).
    """

    def gradient(rule: AbstractRule, response: Response) -> Array:
        return rule.estimate(network, task, response).gradient

    def series(response: Response, **kind: bool | str) -> Array:
        return jax.vmap(lambda nudge: gradient(rules.propagation(nudge, **kind), response))(nudges)

    def all_rules(response: Response) -> tuple[Array, ...]:
        return (
            gradient(rules.exact(), response),
            series(response),
            series(response, symmetric=True),
            series(response, mode="energy"),
            series(response, symmetric=True, mode="energy"),
            gradient(rules.coupled(1e-8 * nudges[0]), response),
            gradient(rules.coupled(nudges[0]), response),
        )

    return jax.vmap(all_rules)(responses)


def _coupled_limit(network: AbstractNetwork, task: Task, response: Response) -> Float[Array, " M"]:
    """Equilibrium propagation with the error `r` replaced by `G_TT⁻¹ r`, sample by sample, from G itself."""
    green = greens_function(network, task.boundary, solver=BorderedLU())
    total = jnp.zeros_like(network.k)
    for sample in range(task.num_samples):
        held = np.flatnonzero(_WEIGHTS[sample])
        readout = task.readout[held]
        error = task.targets[sample, held] - response.outputs[sample, held]
        force = readout.T @ jnp.linalg.solve(readout @ green @ readout.T, error)
        total = total + network.edge_form(task.inputs[sample] @ response.drive, green @ force)
    return task.sample_weight * total


def _hessian_checks(system: System, rules: Rules, seed: int) -> list[Check]:
    """Cost Hessian and Gauss-Newton matrix in closed form."""
    names = (system.network_name, system.boundary_name, "Dense")
    exact, oracle, gauss_newton, learned_oracle = _measure_hessians(system.network, system.task)
    return [
        Check("cost Hessian against jax.hessian", *names, _relative(exact, oracle), 0.0, 1e-10),
        Check(
            "Gauss-Newton matrix at zero cost against jax.hessian",
            *names,
            _relative(gauss_newton, learned_oracle),
            0.0,
            1e-10,
        ),
    ]


@eqx.filter_jit
def _measure_hessians(network: AbstractNetwork, task: Task) -> tuple[Array, ...]:
    """Exact Hessian and its oracle; Gauss-Newton matrix and its oracle where the cost is zero."""
    learned = task.with_samples(task.inputs, respond(network, task).outputs, task.weights)
    return (
        cost_hessian(network, task),
        cost_hessian_autodiff(network, task, solver=BorderedLU()),
        cost_hessian(network, learned, kind="gauss_newton"),
        cost_hessian_autodiff(network, learned, solver=BorderedLU()),
    )


def _form_checks(system: System, rules: Rules, seed: int) -> list[Check]:
    """Closed forms of the network against derivatives of its energies, and what its kind claims of H."""
    network, generator = system.network, np.random.default_rng(seed)
    n, dtype = network.num_coordinates, network.k.dtype
    x, y, moment, g = (
        jnp.asarray(generator.standard_normal(shape), dtype) for shape in ((3, n), (2, n), (3, 2), (n, n))
    )
    motions = jnp.asarray(network.rigid_motions(), dtype)
    forms, still = _measure_forms(network, x, y, moment, g, motions)
    measured = {
        f"{name} against derivatives of the energies": _relative(found, wanted)
        for name, (found, wanted) in forms.items()
    }
    measured["rigid motions: no edge pulls"] = float(still)
    measured["Hessian as its kind says"] = _claimed(network)
    names = (system.network_name, system.boundary_name, "Dense")
    return [Check(name, *names, found, 0.0, 1e-10) for name, found in measured.items()]


@eqx.filter_jit
def _measure_forms(
    network: AbstractNetwork, x: Array, y: Array, moment: Array, g: Array, motions: Array
) -> tuple[dict[str, tuple[Array, Array]], Array]:
    """Each form of the network beside what follows from its energies, and how far its rigid motions pull."""
    base = AbstractNetwork
    forms = {
        "Hessian": (network.hessian(), base.hessian(network)),
        "edge form": (network.edge_form(x, x), base.edge_form(network, x, x)),
        "edge moment": (network.edge_moment(x, y, moment), base.edge_moment(network, x, y, moment)),
        "edge norms": (network.edge_norms(x), base.edge_norms(network, x)),
        "Hessian coupling": (
            network.hessian_coupling(x, y, moment, g),
            base.hessian_coupling(network, x, y, moment, g),
        ),
    }
    pulls = base.edge_forces(network, motions)
    return forms, jnp.max(jnp.abs(pulls), initial=0.0) / jnp.max(jnp.abs(base.edge_forces(network, x)))


def _claimed(network: AbstractNetwork) -> float:
    """How far H is from what `kind.structure` says it is; 0 where it says nothing."""
    hessian, edges = np.asarray(network.hessian()), np.asarray(network.topology.edges)
    if network.kind.is_matrix:
        return _relative(network.k, jnp.asarray(hessian[edges[:, 0], edges[:, 1]]))
    if network.kind.is_laplacian:
        return _relative(FlowNetwork(network.topology, network.k).hessian(), network.hessian())
    if not network.kind.is_pairwise:
        return 0.0
    directions = np.asarray(network.strain_directions())
    blocks = np.einsum("m,mqd,mqe->mde", np.asarray(network.k), directions, directions)
    expected = np.zeros((network.num_nodes, network.num_nodes, *blocks.shape[1:]))
    for sign, a, b in ((1, 0, 0), (1, 1, 1), (-1, 0, 1), (-1, 1, 0)):
        np.add.at(expected, (edges[:, a], edges[:, b]), sign * blocks)
    expected = expected.transpose(0, 2, 1, 3).reshape(hessian.shape)
    return _relative(jnp.asarray(hessian), jnp.asarray(expected))


def _cost_checks(system: System, rules: Rules, seed: int) -> list[Check]:
    """Gradient and Hessian of every kind of cost, without weights."""
    checks = []
    draw = np.random.default_rng(seed)
    targets = np.abs(draw.standard_normal((5, 2))) + 0.1
    names = (system.network_name, system.boundary_name, "Dense")
    for cost in (SquaredError(), CrossEntropy(3.0), CosineDistance()):
        task = _task(system.network, system.task.boundary, draw, targets=targets, cost=cost, weights=None)
        gradient, oracle, hessian, hessian_oracle = _measure_cost(system.network, task, rules)
        name = type(cost).__name__
        checks += [
            Check(f"{name}, gradient against jax.grad", *names, _relative(gradient, oracle), 0.0, 1e-10),
            Check(
                f"{name}, Hessian against jax.hessian", *names, _relative(hessian, hessian_oracle), 0.0, 1e-10
            ),
        ]
    return checks


@eqx.filter_jit
def _measure_cost(network: AbstractNetwork, task: Task, rules: Rules) -> tuple[Array, ...]:
    """Gradient and Hessian of the cost in closed form, each with its oracle."""

    def cost(k: Array) -> Array:
        return task_cost(network.with_k(k), task, solver=BorderedLU())

    return (
        rules.exact()(network, task).gradient,
        jax.grad(cost)(network.k),
        cost_hessian(network, task),
        jax.hessian(cost)(network.k),
    )


def _spectral_checks(system: System, rules: Rules, seed: int) -> list[Check]:
    """Ratios of Monte Carlo averages to the spectral laws; bounds at about four standard errors."""
    key = jax.random.key(seed, impl="threefry2x32")
    names = (system.network_name, system.boundary_name, "Dense")
    deviation, rms, mean_over_rms, gaussian, unit = map(
        float, _spectral_ratios(system.network, system.task.boundary, key)
    )
    return [
        Check("conductance sqrt(Σλ⁻²/m), by Green's function", *names, deviation, 0.0, 1e-10),
        Check("sampled rms response over sqrt(Σλ⁻²/m)", *names, rms, 0.99, 1.01),
        Check("mean of norms over rms (eq. 26 over 28)", *names, mean_over_rms, 0.8, 1.0),
        Check("dimension over its law, gaussian forces", *names, gaussian, 0.97, 1.03),
        Check("dimension over its law, unit forces", *names, unit, 0.97, 1.03),
    ]


@eqx.filter_jit
def _spectral_ratios(
    network: AbstractNetwork, boundary: Boundary, key: Key[Array, ""], draws: int = 200_000
) -> tuple[Array, ...]:
    """Green's function and sampled forces over eq. 28, eq. 26 over 28, sampled dimensions over their laws."""
    law = jnp.sqrt(jnp.mean(eigenvalues(network, boundary) ** -2.0))
    basis = boundary.constraints.basis
    forces = jax.random.normal(key, (draws, basis.shape[1]), basis.dtype)
    forces = forces / jnp.linalg.norm(forces, axis=-1, keepdims=True)
    responses = equilibrate(network, boundary, forces @ basis.T, solver=BorderedLU()).x
    sampled_rms = jnp.sqrt(jnp.mean(jnp.sum(responses**2, axis=-1)))
    mean = effective_conductance_monte_carlo(network, boundary, key, num_forces=draws)

    def dimension(forces: Literal["gaussian", "unit"]) -> Array:
        law = effective_dimension(network, boundary, forces=forces)
        return effective_dimension_monte_carlo(network, boundary, key, num_forces=draws, forces=forces) / law

    deviation = jnp.abs(effective_conductance(network, boundary) / law - 1)
    return deviation, sampled_rms / law, mean / law, dimension("gaussian"), dimension("unit")


def _relative(actual: Array, expected: Array) -> float:
    """Largest deviation over the largest expected entry."""
    return float(jnp.max(jnp.abs(actual - expected)) / jnp.max(jnp.abs(expected)))


def _order(estimates: Array, gradient: Array, nudges: Array) -> float:
    """Slope of log error against log η."""
    errors = jnp.linalg.norm(estimates - gradient, axis=-1)
    return float(np.polyfit(np.log(nudges), np.log(errors), 1)[0])


GROUPS: dict[str, Callable[[System, Rules, int], list[Check]]] = {
    "learning": _learning_checks,
    "conservation": _conservation_checks,
    "hessian": _hessian_checks,
    "forms": _form_checks,
    "spectral": _spectral_checks,
    "costs": _cost_checks,
}
