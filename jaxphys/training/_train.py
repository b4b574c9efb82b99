"""Training: an ensemble of networks, side by side, in one compiled program.

Realizations are cut into blocks, and `host_loop` runs jitted calls of one block on each device; a
call scans over records, and between two records a loop of steps (`steps`) runs over all realizations of the
block. Nothing leaves the device but the records.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key

from jaxphys._checks import InputError, check_count, described, require
from jaxphys.equilibrium import Status
from jaxphys.learning import Task
from jaxphys.learning.feasibility import concerns
from jaxphys.learning.rules import AbstractRule, ExactGradient
from jaxphys.learning.transforms import Bounds, bounds_of, check_ordered
from jaxphys.networks.physics import AbstractNetwork
from jaxphys.solvers import AbstractSolver
from jaxphys.training.arguments import check_batches, check_handed, check_integrator
from jaxphys.training.checkpoints import Checkpoints, regular, spacing
from jaxphys.training.devices import default_block, gathered, realization_mesh
from jaxphys.training.host_loop import BlockResult, TrainingPlan, fitting, train_blocks
from jaxphys.training.levenberg_marquardt import LevenbergMarquardt
from jaxphys.training.solver_choice import BlockSolvers, choose_solver
from jaxphys.training.steps import AdaptiveStep, Functional, Integrator, Options, Realizations

__all__ = ["AdaptiveStep", "Integrator", "Run", "stack", "train"]

Limits = tuple[float | None, float | None] | Literal["automatic"] | None
"""Between which values `k` is kept, as `train` takes it."""

_DESCENT = optax.sgd(1.0)
# Compiled programs know optimizers by identity: the same one must be wrapped the same way each time.
_with_extra_arguments = lru_cache(optax.with_extra_args_support)


class Run(eqx.Module):
    """What `train` returns; every array but `steps` leads with the realization axis, R.

    - `network`: the trained networks; `initial_k`: `(R, M)` where they started; `task`: what they learned.
    - `steps`: `(T,)` steps at which records were taken, the first being 0.
    - `cost`: `(R, T)` learning cost. `records`: name → `(R, T, …)` values of the functionals.
    - `status`: `(R,)` `Status` codes; a failed realization stays at its last good state.
    - `seconds`: time spent compiling and in the first chunk, and in all later chunks.
    - `evaluations`: `(R,)` how often the rule was asked: once at the start, then once a step, or several
      times where an integrator is at work; steps at rest do not count.
    """

    network: Any
    task: Any
    initial_k: Float[Array, "R M"]
    steps: Int[np.ndarray, " T"]
    cost: Float[np.ndarray, "R T"]
    records: dict[str, np.ndarray]
    status: Int[np.ndarray, " R"]
    seconds: tuple[float, float]
    evaluations: Int[np.ndarray, " R"] | None = None

    @property
    def failures(self) -> dict[str, int]:
        """How many realizations failed, by the name of the status; empty when all is well."""
        codes, counts = np.unique(self.status[self.status != Status.OK], return_counts=True)
        return {Status(code).name: int(count) for code, count in zip(codes, counts, strict=True)}


def stack(realizations: Sequence[Any]) -> Any:
    """Stack networks, tasks or any pytrees of equal shapes along a new leading realization axis.

    Raises `InputError` if there is none or they differ in structure or shape.

    >>> import jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]))
    >>> jp.stack([network] * 5).k.shape
    (5, 2)
    """
    is_list = isinstance(realizations, Iterable) and not isinstance(realizations, str | eqx.Module)
    require(is_list, "realizations", "be a list", f"it is {described(realizations)}")
    realizations = list(realizations)
    require(len(realizations) > 0, "realizations", "hold at least one", "it is empty")

    def stacked(*parts: Any) -> Any:
        if all(hasattr(part, "alike") for part in parts):
            parts = parts[0].alike(parts)
        return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *parts)

    try:
        return jax.tree.map(stacked, *realizations, is_leaf=lambda part: hasattr(part, "alike"))
    except (ValueError, TypeError) as error:
        raise InputError(
            "Argument `realizations` must have equal shapes and settings to be stacked, but they differ "
            f"({str(error).splitlines()[0]})."
        ) from None


def member(realizations: Any, number: int) -> Any:
    """One realization of an ensemble: the network, task or other pytree that stands at a place of `stack`.

    Raises `InputError` if there is no such place.

    >>> import jaxphys as jp
    >>> networks = jp.stack([jp.FlowNetwork(jp.from_edges([(0, 1)]), k=k) for k in (1.0, 2.0)])
    >>> jp.member(networks, 1).k.tolist()
    [2.0]
    """
    check_count("number", number, least=-(2**31))
    parts = jax.tree.leaves(realizations, is_leaf=lambda part: isinstance(part, AbstractNetwork | Task))
    for part in parts:
        # One alone has the axes of its physics only.
        is_single = (isinstance(part, AbstractNetwork) and part.k.ndim == 1) or (
            isinstance(part, Task) and part.targets.ndim == 2
        )
        require(not is_single, "realizations", "be an ensemble of `stack`", f"it is {_single(realizations)}")
    sizes = {
        leaf.shape[0] if leaf.ndim else 0 for leaf in jax.tree.leaves(eqx.filter(realizations, eqx.is_array))
    }
    size = sizes.pop() if len(sizes) == 1 else 0
    require(
        -size <= number < size,
        "number",
        f"name one of the {size} realizations" if size else "name a realization of a stacked ensemble",
        f"it is {number}",
    )
    return jax.tree.map(lambda leaf: leaf[number] if eqx.is_array(leaf) else leaf, realizations)


def _single(realizations: Any) -> str:
    if isinstance(realizations, AbstractNetwork | Task):
        return f"one {'network' if isinstance(realizations, AbstractNetwork) else 'task'}"
    return described(realizations)


def train(
    network: Any,
    task: Any,
    *,
    steps: int,
    rule: AbstractRule | Sequence[AbstractRule] | None = None,
    rate: float | Float[Any, " _"] = 1.0,
    optimizer: optax.GradientTransformation | None = None,
    adaptive: AdaptiveStep | None = None,
    integrator: Integrator | None = None,
    bounds: Limits = "automatic",
    key: Key[Array, ""] | None = None,
    record_every: int | None = None,
    record_steps: Sequence[int] | None = None,
    functionals: Mapping[str, Functional] | None = None,
    batch_size: int | None = None,
    stop_cost: float | None = None,
    solver: AbstractSolver | None = None,
    progress: bool = False,
    checkpoint: Path | str | None = None,
    checkpoint_seconds: float = 60.0,
    resume: bool = False,
    block: int | None = None,
    mesh: Mesh | None = None,
) -> Run:
    """Train an ensemble of networks, each on its own task.

    **Arguments**

    - `network`, `task`: one of each, or ensembles made with `stack` (graphs, tasks and `k` may all
      differ between realizations as long as shapes agree).
    - `steps`: how many. `rule`: `ExactGradient()` by default, or a list of one for each realization, which
      may differ in numbers (the nudge) alone. `optimizer`: any optax transformation of
      the estimate of `∂C/∂k`, plain descent `optax.sgd(1.0)` by default; `transforms.bounds` and
      others chain behind it.
    - `rate`: multiplies the estimate before the optimizer sees it, one number or one for each realization:
      behind it plain descent has as many learning rates. Not for integrators.
    - `adaptive`: an `AdaptiveStep`; None for fixed steps.
    - `integrator`: in place of `optimizer` and `adaptive`, for full batches. A `GradientFlow` is the limit of
      small steps, by Runge-Kutta steps as long as accuracy allows; a learning step is then a unit of time.
      `LevenbergMarquardt` takes damped Gauss-Newton steps on squared errors, in place of the rule too.
    - `bounds`: `(lower, upper)` between which every step leaves `k`, by projection behind the optimizer
      (whose chain may end in `transforms.bounds`; the narrower ones hold). `"automatic"`, or None in the
      place of one: flow and spring networks, whose k are positive, keep a floor of 1e-6 of the mean k that
      a realization starts with (an entry that starts lower goes no lower), node networks have none. None in
      place of both: no floor, and conductances may be negative while the Hessian stays definite.
    - `key`: for minibatches and random transformations; `jax.random.key(0)` by default.
    - `record_every` or `record_steps`: when to record (about a hundred times by default); step 0 and
      the last one always are. `functionals`: name → function of `(network, task)` recorded then.
    - `batch_size`: samples per step, drawn without replacement; all by default.
    - `stop_cost`: a realization rests once its cost is at or below this (full batches only); never if None.
    - `progress`: show a bar with the median cost and the time left.
    - `checkpoint`: a folder that gets the state of training every `checkpoint_seconds`, at the end and on the
      way out of an interruption, written in the background; with `resume=True` training goes on from there,
      bit for bit as if it had never stopped, on any number of devices. With more `steps` than before it ends
      as one long run; unless it is said when to record, records go on at the spacing that they began with,
      and with an integrator, whose steps end at records, those taken so far are kept.
    - `block`: realizations that a device works on at once (about 64 by default, 1024 on a GPU). Results do
      not depend on how many devices there are; they may in the last digit on `block`.
    - `mesh`: devices, from `realization_mesh`; all of all processes by default. In a program of many
      processes each calls with the same arguments, and each gets the whole `Run`.

    Returns a `Run`. A realization whose step leads to a Hessian that is not positive definite, to NaN
    or to an inaccurate solution is marked in `Run.status` and stays at its last good state.
    Raises `InputError` on arguments that do not fit together or that need more memory than there is, and
    warns of `concerns`.

    >>> import jax, jaxphys as jp
    >>> network = jp.FlowNetwork(jp.erdos_renyi(10, 15, jax.random.key(0)))
    >>> task = jp.allostery(network, jp.Boundary(network, ground=[0]), [1], [5], response=0.2)
    >>> run = jp.train(network, task, steps=50, adaptive=jp.AdaptiveStep())
    >>> bool(run.cost[0, -1] < 1e-3 * run.cost[0, 0])
    True
    """
    check_handed(
        network,
        task,
        steps=steps,
        rule=rule,
        rate=rate,
        optimizer=optimizer,
        adaptive=adaptive,
        integrator=integrator,
        bounds=bounds,
        key=key,
        record_every=record_every,
        record_steps=record_steps,
        functionals=functionals,
        batch_size=batch_size,
        stop_cost=stop_cost,
        solver=solver,
        checkpoint=checkpoint,
        checkpoint_seconds=checkpoint_seconds,
        resume=resume,
        progress=progress,
        block=block,
        mesh=mesh,
    )
    if network.k.ndim == 1:
        network, task = stack([network]), stack([task])
    realizations = network.k.shape[0]
    for concern in concerns(network, task):
        warnings.warn(concern, stacklevel=2)
    if not isinstance(rule, Sequence):
        shared, own = rule, None
    else:
        require(len(rule) == realizations, "rule", f"hold {realizations} rules", f"it holds {len(rule)}")
        shared, own = None, _stacked_rules(rule)
    require(
        integrator is None or (own is None and np.all(rate == 1.0)),
        "rate",
        "be 1, and `rule` one for all, beside `integrator`",
        "they are not",
    )
    # The kind of key is fixed, so that draws do not depend on shards.
    key = jax.random.key(0, impl="threefry2x32") if key is None else key
    everything = Realizations(
        network,
        task,
        own_keys(key, range(realizations)),
        _rates(rate, network.k),
        own,
        own_bounds(bounds, network, optimizer, integrator),
    )
    require(
        not resume or (checkpoint is not None and Path(checkpoint).is_dir()),
        "checkpoint",
        "name an existing folder to resume",
        f"it is {checkpoint}",
    )
    checkpoints = None if checkpoint is None else Checkpoints(checkpoint)
    plan = make_plan(
        network,
        task,
        steps=steps,
        after=checkpoints.schedule() if resume and checkpoints is not None else None,
        rule=shared,
        optimizer=optimizer,
        adaptive=adaptive,
        integrator=integrator,
        record_every=record_every,
        record_steps=record_steps,
        functionals=functionals,
        batch_size=batch_size,
        stop_cost=stop_cost,
        mesh=mesh,
        size=min(realizations, default_block(realizations) if block is None else block),
    )
    choice = partial(choose_solver, optimizer=optimizer) if solver is None else solver
    found: dict[int, BlockResult] = {}

    def draw(first: int, last: int) -> Realizations:
        return jax.tree.map(lambda leaf: leaf[first:last] if eqx.is_array(leaf) else leaf, everything)

    def finish(wave: list[int], trained: list[BlockResult]) -> None:
        found.update(zip(wave, gathered(plan.mesh, trained), strict=False))

    def run(plan: TrainingPlan) -> tuple[float, float]:
        return train_blocks(
            plan,
            range(plan.blocks(realizations)),
            draw,
            BlockSolvers(choice, alone=plan.blocks(realizations) == 1),
            finish,
            checkpoints=checkpoints,
            checkpoint_seconds=checkpoint_seconds,
            resume=resume,
            progress=progress,
        )

    plan, seconds = fitting(plan, run, adjust=block is None)
    whole = jax.tree.map(
        lambda *parts: np.concatenate(parts)[:realizations],
        *(found[number] for number in range(plan.blocks(realizations))),
    )
    return as_run(network, task, whole, plan.schedule, seconds)


def own_keys(key: Key[Array, ""], numbers: Sequence[int]) -> Key[Array, " R"]:
    """Of a realization's number alone, so that it draws the same in any block, and among any others."""
    return jax.vmap(partial(jax.random.fold_in, key))(jnp.asarray(numbers, jnp.uint32))


def _rates(rate: float | Float[Any, " _"], k: Float[Array, "R M"]) -> Float[np.ndarray, " R"]:
    given = np.asarray(rate, k.dtype)
    require(
        given.shape in ((), k.shape[:1]),
        "rate",
        f"be a number or {len(k)} of them",
        f"it has shape {given.shape}",
    )
    require(
        bool(np.all((given > 0) & np.isfinite(given))),
        "rate",
        "be positive and finite",
        f"it reaches {given.min()}",
    )
    return np.broadcast_to(given, len(k))


# Of the mean k at the start: small enough for an edge that does nothing, large enough to factor with.
_FLOOR = 1e-6


def own_bounds(
    asked: Limits,
    network: Any,
    optimizer: optax.GradientTransformation | None = None,
    integrator: Integrator | None = None,
) -> Bounds:
    """Where `train` keeps the `k` of each realization of a stacked network, `(R,)`; on the host.

    Those in the optimizer's chain count as well: what wraps it may lead out of them. Raises `InputError` on
    bounds that cross, that are given twice, that the start does not meet, or that are seen not to be last in
    the optimizer's chain.
    """
    given = tuple(asked) if isinstance(asked, tuple | list) else (None, None)
    if integrator is not None and (integrator.lower, integrator.upper) != (None, None):
        require(given == (None, None), "bounds", "be left out where `integrator` has bounds", "both are set")
        given = integrator.lower, integrator.upper
    check_ordered(*given)
    k = np.asarray(network.k)
    mask = np.asarray(jax.vmap(lambda one: one.edge_mask)(network))
    for bound, is_outside in ((given[0], np.less), (given[1], np.greater)):
        if bound is not None:
            number = int(np.sum(is_outside(k, k.dtype.type(bound)) & mask))
            require(
                number == 0, "network", f"start within the bound {bound}", f"{number} entries of k do not"
            )
    kept = [] if optimizer is None else bounds_of(optimizer, network.k[0])
    lowers = [b for b in (given[0], *(each.lower for each in kept)) if b is not None]
    uppers = [b for b in (given[1], *(each.upper for each in kept)) if b is not None]
    lower, upper = max(lowers, default=-np.inf), min(uppers, default=np.inf)
    require(
        lower < upper,
        "bounds",
        "leave room beside those of `optimizer`",
        f"together they keep k between {lower} and {upper}",
    )
    found: list[Any] = [None if lower == -np.inf else lower, None if upper == np.inf else upper]
    if asked is not None and network.positive_k and (not lowers or lower >= 0):
        number = int(np.sum((k < 0) & mask))
        entries = f"{number} {'entry of it is' if number == 1 else 'entries of it are'} negative"
        cure = "for conductances of any sign hand in bounds=None"
        require(number == 0, "network", "start with positive k", f"{entries}; {cure}")
    if asked is not None and not lowers and network.positive_k:
        good = mask & np.isfinite(k) & (k > 0)
        found[0] = _FLOOR * np.sum(np.where(good, k, 0), axis=1) / np.maximum(good.sum(axis=1), 1)
    return Bounds(*(None if b is None else np.full(len(k), b, k.dtype) for b in found))


def _stacked_rules(rules: Sequence[AbstractRule]) -> AbstractRule:
    """Rules of one kind as one, whose numbers lead with them."""
    try:
        return cast(AbstractRule, stack(rules))
    except InputError:
        raise InputError(
            "Argument `rule` must hold rules that differ in numbers alone, but these do not."
        ) from None


def as_run(
    network: Any, task: Any, trained: BlockResult, schedule: np.ndarray, seconds: tuple[float, float]
) -> Run:
    """What came of training, with the networks that were trained."""
    records = dict(trained.records)
    return Run(
        network=jax.vmap(lambda one, k: one.with_k(k))(network, jnp.asarray(trained.k)),
        task=task,
        initial_k=network.k,
        steps=schedule,
        cost=records.pop("cost"),
        records=records,
        status=trained.status,
        seconds=seconds,
        evaluations=trained.evaluations,
    )


def make_plan(
    network: Any,
    task: Any,
    *,
    steps: int,
    size: int,
    rule: AbstractRule | None = None,
    optimizer: optax.GradientTransformation | None = None,
    adaptive: AdaptiveStep | None = None,
    integrator: Integrator | None = None,
    record_every: int | None = None,
    record_steps: Sequence[int] | None = None,
    functionals: Mapping[str, Functional] | None = None,
    batch_size: int | None = None,
    stop_cost: float | None = None,
    mesh: Mesh | None = None,
    after: np.ndarray | None = None,
) -> TrainingPlan:
    """What realizations share, checked against stacked networks and tasks (some of them are enough).

    `after`: where the run to resume records, if it is known.
    """
    schedule = record_schedule(steps, record_every, record_steps, after)
    if after is not None and integrator is not None:
        schedule = np.union1d(after, schedule)
    check_batches(task, batch_size, adaptive, stop_cost)
    check_integrator(integrator, rule, optimizer, adaptive, batch_size, network.num_edges)
    if isinstance(integrator, LevenbergMarquardt):
        integrator = integrator.planned(task)
    options = Options(
        rule or ExactGradient(),
        _with_extra_arguments(_DESCENT if optimizer is None else optimizer),
        adaptive,
        dict(functionals or {}),
        batch_size,
        np.asarray(-np.inf if stop_cost is None else stop_cost, network.k.dtype),
        integrator,
    )
    return TrainingPlan(options, schedule, realization_mesh() if mesh is None else mesh, size)


def record_schedule(
    steps: int,
    record_every: int | None = None,
    record_steps: Sequence[int] | None = None,
    after: np.ndarray | None = None,
) -> np.ndarray:
    """Steps at which `train` records: ascending, from 0 to `steps`; raises `InputError` as `train` does.

    `after`: those of a run that is to go on; it goes on with its own where nothing else is said.
    """
    require(steps > 0, "steps", "be positive", f"it is {steps}")
    require(
        record_every is None or record_steps is None,
        "record_steps",
        "be None beside `record_every`",
        "both are set",
    )
    if after is not None:
        require(steps >= after[-1], "steps", f"be at least the {after[-1]} of before", f"it is {steps}")
        if record_every is None and record_steps is None:
            if steps == after[-1]:
                return after
            record_every = spacing(after)
            require(
                record_every, "record_steps", "be given where those of before follow no rule", "it is None"
            )
    if record_steps is None:
        record_every = default_spacing(steps) if record_every is None else record_every
        require(record_every > 0, "record_every", "be positive", f"it is {record_every}")
        return regular(steps, record_every)
    chosen = np.unique(np.asarray([0, *record_steps, steps], dtype=int))
    require(
        chosen[0] >= 0 and chosen[-1] <= steps,
        "record_steps",
        f"lie between 0 and {steps}",
        f"it reaches {chosen[0] if chosen[0] < 0 else chosen[-1]}",
    )
    return chosen


def default_spacing(steps: int) -> int:
    """Steps between records where nobody says: about a hundred records."""
    return max(1, steps // 100)
