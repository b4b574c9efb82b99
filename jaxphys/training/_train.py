"""Training: an ensemble of networks, side by side, in one compiled program.

Realizations are cut into blocks, and `host_loop` runs jitted calls of one block on each device; a
call scans over records, and between two records a loop of steps (`steps`) runs over all realizations of the
block. Nothing leaves the device but the records.
"""

import warnings
from collections.abc import Iterable, Sequence
from contextlib import closing
from functools import partial
from typing import Any, Generic, Literal, NamedTuple, TypeVar, cast

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
from jaxphys.training.arguments import (
    Checkpointing,
    Devices,
    Record,
    Sampling,
    as_integrator,
    check_arguments,
    check_batches,
    check_compilable,
    names_moved_arguments,
    transformation_of,
)
from jaxphys.training.checkpoints import Checkpoints, regular, spacing
from jaxphys.training.devices import default_block, gathered, realization_mesh
from jaxphys.training.events import BlocksDone, Finished, ProgressBar
from jaxphys.training.host_loop import Saving, train_blocks
from jaxphys.training.integrator import AbstractIntegrator
from jaxphys.training.rounds import BlockResult, TrainingPlan
from jaxphys.training.solver_choice import choose_solver
from jaxphys.training.steps import Options, Realizations

Limits = tuple[float | None, float | None] | Literal["automatic"] | None
"""Between which values `k` is kept, as `train` takes it."""

Network = TypeVar("Network", bound=AbstractNetwork)


class Run(eqx.Module, Generic[Network]):
    """What `train` returns; every array but `steps` leads with the realization axis, R.

    - `network`: the trained networks; `initial_k`: `(R, M)` where they started; `task`: what they learned.
    - `steps`: `(T,)` steps at which records were taken, the first being 0.
    - `cost`: `(R, T)` learning cost. `records`: name → `(R, T, …)` values of the functionals.
    - `status`: `(R,)` `Status` codes; a failed realization stays at its last good state.
    - `seconds`: time spent compiling and in the first chunk, and in all later chunks.
    - `evaluations`: `(R,)` how often the rule was asked: once at the start, then once a step, or several
      times where an integrator is at work; steps at rest do not count.
    """

    network: Network
    task: Task
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
    kinds = sorted({type(each).__name__ for each in realizations})
    require(len(kinds) == 1, "realizations", "be of one kind", f"there are {' and '.join(kinds)}")

    def stacked(*parts: Any) -> Any:
        if all(hasattr(part, "alike") for part in parts):
            parts = parts[0].alike(parts)
        return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *parts)

    try:
        return jax.tree.map(stacked, *realizations, is_leaf=lambda part: hasattr(part, "alike"))
    except (ValueError, TypeError) as error:
        raise InputError(
            "Argument `realizations` must have equal shapes and settings to be stacked, but they differ "
            f"({str(error).splitlines()[0].rstrip('.')})."
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


@names_moved_arguments
def train(
    network: Network,
    task: Task,
    *,
    steps: int,
    rule: AbstractRule | Sequence[AbstractRule] | None = None,
    optimizer: optax.GradientTransformation | AbstractIntegrator | Sequence[AbstractIntegrator] | None = None,
    bounds: Limits = "automatic",
    sampling: Sampling | None = None,
    stop_cost: float | None = None,
    solver: AbstractSolver | None = None,
    record: Record | None = None,
    checkpoint: Checkpointing | None = None,
    devices: Devices | None = None,
) -> Run[Network]:
    """Train an ensemble of networks, each on its own task.

    **Arguments**

    - `network`, `task`: one of each, or ensembles made with `stack` (graphs, tasks and `k` may all
      differ between realizations as long as shapes agree).
    - `steps`: how many learning steps.
    - `rule`: how `∂C/∂k` is estimated, `ExactGradient()` by default; or a list of one for each realization,
      which may differ in numbers (the nudge) alone.
    - `optimizer`: how `k` moves. Any optax transformation of the estimate, plain descent `optax.sgd(1.0)` by
      default; or an integrator. `Descent(optimizer, adaptive=…, rate=…)` is the first one spelt out.
      `GradientFlow` is the limit of small steps, by Runge-Kutta steps as long as accuracy allows; a learning
      step is then a unit of time. `LevenbergMarquardt` takes damped Gauss-Newton steps on squared errors, in
      place of the rule too. Your own will do as well (docs/own-integrator.md); and a list of integrators, one
      for each realization, which may differ in arrays alone (the rate of `Descent`).
    - `bounds`: `(lower, upper)` between which every step leaves `k`, by projection behind the optimizer
      (whose chain may end in `jp.bounds`; the narrower ones hold). `"automatic"`, or None in the
      place of one: flow and spring networks, whose k are positive, keep a floor of 1e-6 of the mean k that
      a realization starts with (an entry that starts lower goes no lower), node networks have none. None in
      place of both: no floor, and conductances may be negative while the Hessian stays definite.
    - `sampling`: a `Sampling(batch_size, key)`: minibatches, and the key of all random draws.
    - `stop_cost`: a realization rests once its cost is at or below this (full batches only); never if None.
    - `solver`: what solves for states; `choose_solver` by default.
    - `record`: a `Record(every, steps, functionals, progress)`: when to record what, and whether to show a
      bar.
    - `checkpoint`: a `Checkpointing(folder, seconds, resume)`: where to save, and whether to go on from
      there.
    - `devices`: a `Devices(mesh, block)`: what works, and on how many realizations at once.

    Returns a `Run`. A realization whose step leads to a Hessian that is not positive definite, to NaN
    or to an inaccurate solution is marked in `Run.status` and stays at its last good state.
    Raises `InputError` on arguments that do not fit together or that need more memory than there is, and
    warns of `concerns`.

    >>> import jax, jaxphys as jp, optax
    >>> network = jp.FlowNetwork(jp.erdos_renyi(10, 15, jax.random.key(0)))
    >>> task = jp.allostery(network, jp.Boundary(network, ground=[0]), [1], [5], response=0.2)
    >>> run = jp.train(network, task, steps=200, optimizer=optax.sgd(1.0))
    >>> bool(run.cost[0, -1] < 1e-2 * run.cost[0, 0])
    True
    """
    given = _Given(
        *(network, task, steps, rule, optimizer, bounds),
        *(sampling, stop_cost, solver, record, checkpoint, devices),
    )
    check_arguments(network, task, given._asdict())
    return cast(Run[Network], _trained(given))


class _Given(NamedTuple):
    """The arguments of `train`."""

    network: AbstractNetwork
    task: Task
    steps: int
    rule: AbstractRule | Sequence[AbstractRule] | None
    optimizer: optax.GradientTransformation | AbstractIntegrator | Sequence[AbstractIntegrator] | None
    bounds: Limits
    sampling: Sampling | None
    stop_cost: float | None
    solver: AbstractSolver | None
    record: Record | None
    checkpoint: Checkpointing | None
    devices: Devices | None


def _trained(given: _Given) -> Run[AbstractNetwork]:
    """What comes of arguments that are of the right kinds."""
    record, devices = given.record or Record(), given.devices or Devices()
    network, task = given.network, given.task
    if network.k.ndim == 1:
        network, task = stack([network]), stack([task])
    everything, rule, integrator = _realizations(given, network, task, record)
    transformation = transformation_of(integrator)
    realizations, saving, after = network.k.shape[0], None, None
    if given.checkpoint is not None:
        folder, every, is_resumed = given.checkpoint.folder, given.checkpoint.seconds, given.checkpoint.resume
        saving = Saving(Checkpoints(folder), every, is_resumed)
        after = saving.checkpoints.record_steps() if is_resumed else None
    plan = make_plan(
        network,
        task,
        steps=given.steps,
        size=min(realizations, devices.block or default_block(realizations)),
        rule=rule,
        integrator=integrator,
        record=record,
        batch_size=None if given.sampling is None else given.sampling.batch_size,
        stop_cost=given.stop_cost,
        mesh=devices.mesh,
        after=after,
    )

    def draw(first: int, last: int) -> Realizations:
        return jax.tree.map(lambda leaf: leaf[first:last] if eqx.is_array(leaf) else leaf, everything)

    choice = given.solver or partial(choose_solver, optimizer=transformation)
    adjust = devices.block is None
    events = train_blocks(plan, realizations, draw, choice, saving=saving, adjust=adjust)
    found: dict[int, BlockResult] = {}
    seconds = (0.0, 0.0)
    with closing(events), ProgressBar(record.progress) as bar:
        for event in events:
            bar.show(event)
            match event:
                case BlocksDone():
                    results = gathered(event.plan.mesh, event.results)
                    found |= zip(event.blocks, results, strict=False)
                case Finished():
                    seconds = event.seconds
    whole = jax.tree.map(
        lambda *parts: np.concatenate(parts)[:realizations], *(found[number] for number in sorted(found))
    )
    return as_run(network, task, whole, plan.record_steps, seconds)


def _realizations(
    given: _Given, network: AbstractNetwork, task: Task, record: Record
) -> tuple[Realizations, AbstractRule | None, AbstractIntegrator]:
    """What stacked networks and tasks begin with, and the rule and integrator that they share."""
    realizations = network.k.shape[0]
    own_rule, rule = _own_and_shared("rule", given.rule, realizations)
    own_integrator, optimizer = _own_and_shared("optimizer", given.optimizer, realizations)
    integrator = as_integrator(optimizer)
    check_compilable(network, task, integrator, record.functionals)
    for concern in concerns(network, task):
        warnings.warn(concern, stacklevel=5)
    # The kind of key is fixed, so that draws do not depend on shards.
    key = None if given.sampling is None else given.sampling.key
    key = jax.random.key(0, impl="threefry2x32") if key is None else key
    keys = own_keys(key, range(realizations))
    bounds = own_bounds(given.bounds, network, transformation_of(integrator))
    return Realizations(network, task, keys, own_rule, own_integrator, bounds), rule, integrator


_Module = TypeVar("_Module", bound=eqx.Module)


def _own_and_shared(name: str, given: object, realizations: int) -> tuple[Any, Any]:
    """The numbers that realizations have of their own (None if they share one), and what they share."""
    # An optax transformation is a tuple, too.
    if not isinstance(given, list) and type(given) is not tuple:
        return None, given
    must = f"hold {name}s for as many realizations as the network has, {realizations}"
    require(len(given) == realizations, name, must, f"it holds {len(given)}")
    numbers = own_numbers(name, given)
    # With its numbers as arrays: others need no other program.
    return numbers, eqx.combine(jax.tree.map(lambda leaf: leaf[0], numbers), given[0])


def own_numbers(name: str, modules: Sequence[_Module]) -> _Module:
    """Rules or integrators of one kind as one, whose numbers lead with realizations; all else is None.

    Raises `InputError` unless they differ in numbers alone; `name` is what `train` calls them.
    """
    numbers, rest = zip(*(eqx.partition(module, eqx.is_array_like) for module in modules), strict=True)
    try:
        if all(eqx.tree_equal(rest[0], each) for each in rest):
            return cast(_Module, stack(numbers))
    except InputError:
        pass
    cure = (
        "; share one optax transformation, and give each `Descent` a `rate` of its own"
        if any(transformation_of(module) is not None for module in modules)
        else ""
    )
    raise InputError(
        f"Argument `{name}` must hold {name}s that differ in numbers alone, but these do not{cure}."
    )


def own_keys(key: Key[Array, ""], numbers: Sequence[int]) -> Key[Array, " R"]:
    """Of a realization's number alone, so that it draws the same in any block, and among any others."""
    return jax.vmap(partial(jax.random.fold_in, key))(jnp.asarray(numbers, jnp.uint32))


# Of the mean k at the start: small enough for an edge that does nothing, large enough to factor with.
_FLOOR = 1e-6


def own_bounds(
    asked: Limits,
    network: Any,
    optimizer: optax.GradientTransformation | None = None,
) -> Bounds:
    """Where `train` keeps the `k` of each realization of a stacked network, `(R,)`; on the host.

    Those in the optimizer's chain count as well: what wraps it may lead out of them. Raises `InputError` on
    bounds that cross, that the start does not meet, or that are seen not to be last in the optimizer's chain.
    """
    given = tuple(asked) if isinstance(asked, tuple | list) else (None, None)
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


def as_run(
    network: Network,
    task: Task,
    trained: BlockResult,
    record_steps: Int[np.ndarray, " T"],
    seconds: tuple[float, float],
) -> Run[Network]:
    """What came of training, with the networks that were trained."""
    records = dict(trained.records)
    return Run(
        network=jax.vmap(lambda one, k: one.with_k(k))(network, jnp.asarray(trained.k)),
        task=task,
        initial_k=network.k,
        steps=record_steps,
        cost=records.pop("cost"),
        records=records,
        status=trained.status,
        seconds=seconds,
        evaluations=trained.evaluations,
    )


def make_plan(
    network: AbstractNetwork,
    task: Task,
    *,
    steps: int,
    size: int,
    rule: AbstractRule | None,
    integrator: AbstractIntegrator,
    record: Record,
    batch_size: int | None,
    stop_cost: float | None,
    mesh: Mesh | None = None,
    after: Int[np.ndarray, " T"] | None = None,
) -> TrainingPlan:
    """What realizations share, checked against stacked networks and tasks (some of them are enough).

    **Arguments**: those of `train`, and `size`: realizations of a block. `after`: the steps at which the run
    to resume records, if they are known.
    """
    record_steps = record_schedule(steps, record.every, record.steps, after)
    if after is not None and not integrator.stepwise:
        record_steps = np.union1d(after, record_steps)
    check_batches(task, batch_size, stop_cost)
    rule = rule or ExactGradient()
    planned = integrator.check(network, task, rule, batch_size)
    found = f"that of {type(integrator).__name__} returns {described(planned)}"
    is_one = isinstance(planned, AbstractIntegrator)
    require(is_one, "optimizer", "have a `check` that returns an integrator, as itself", found)
    options = Options(
        rule,
        planned,
        dict(record.functionals or {}),
        batch_size,
        np.asarray(-np.inf if stop_cost is None else stop_cost, network.k.dtype),
    )
    return TrainingPlan(options, record_steps, realization_mesh() if mesh is None else mesh, size)


def record_schedule(
    steps: int,
    every: int | None = None,
    chosen: Sequence[int] | Int[np.ndarray, " _"] | None = None,
    after: Int[np.ndarray, " _"] | None = None,
) -> Int[np.ndarray, " T"]:
    """Steps at which `train` records: ascending, from 0 to `steps`.

    **Arguments**: `every`, `chosen`: `every` and `steps` of a `Record`, of which one at least is None.
    `after`: the steps of a run that is to go on; it goes on at its spacing where nothing else is asked for.

    Raises `InputError` where `chosen` are out of range, or where the run to go on is longer or follows no
    rule.
    """
    if after is not None:
        require(steps >= after[-1], "steps", f"be at least the {after[-1]} of before", f"it is {steps}")
        if every is None and chosen is None:
            if steps == after[-1]:
                return after
            every = spacing(after)
            require(every, "record", "be given where the records of before follow no rule", "it is None")
    if chosen is None:
        return regular(steps, default_spacing(steps) if every is None else every)
    ends = np.unique(np.asarray([0, *chosen, steps], dtype=int))
    require(
        ends[0] >= 0 and ends[-1] <= steps,
        "record",
        f"name steps between 0 and {steps}",
        f"it reaches {ends[0] if ends[0] < 0 else ends[-1]}",
    )
    return ends


def default_spacing(steps: int) -> int:
    """Steps between records where none are given: about a hundred records."""
    return max(1, steps // 100)
