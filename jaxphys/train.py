"""Training: an ensemble of networks, side by side, in one compiled program.

A host loop runs jitted chunks; a chunk scans over records, and between two records a loop of
steps runs over all realizations at once. Nothing leaves the device but the records.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Key
from tqdm import tqdm

from jaxphys._checks import InputError, require
from jaxphys.concerns import concerns
from jaxphys.equilibrium import Status
from jaxphys.flow import GradientFlow
from jaxphys.levenberg_marquardt import LevenbergMarquardt
from jaxphys.networks import AbstractNetwork, NodeNetwork
from jaxphys.rules import AbstractRule, Estimate, ExactGradient
from jaxphys.solvers import AbstractSolver, TrackedInverse
from jaxphys.solvers.batching import as_in_shape, vmapped_last_in_memory
from jaxphys.tasks import Task, choose_solver, task_cost
from jaxphys.tracking import Memory, check_trackable, commit, propose, unsolved

Functional = Callable[[Any, Any], Any]
Integrator = GradientFlow | LevenbergMarquardt

_DESCENT = optax.sgd(1.0)
# Compiled programs know optimizers by identity: the same one must be wrapped the same way each time.
_with_extra_arguments = lru_cache(optax.with_extra_args_support)

# A host loop of this many chunks shows progress often enough and costs nothing next to them.
_CHUNKS = 50


class AdaptiveStep(eqx.Module):
    """Accept a step only if the cost falls and the Hessian stays positive definite, per realization.

    An accepted step multiplies the rate by `growth`, a refused one by `shrink`; the rate scales
    the gradient before the optimizer sees it (so it means nothing to optimizers that
    normalise gradients, such as Adam). For full batches and rules that descend.

    **Attributes**: `initial` rate, `growth` ≥ 1, `shrink` < 1. Raises `InputError` otherwise.
    """

    initial: float = eqx.field(static=True, default=1.0)
    growth: float = eqx.field(static=True, default=1.1)
    shrink: float = eqx.field(static=True, default=0.5)

    def __check_init__(self) -> None:
        require(self.initial > 0, "initial", "be positive", f"it is {self.initial}")
        require(self.growth >= 1, "growth", "be at least 1", f"it is {self.growth}")
        require(0 < self.shrink < 1, "shrink", "lie between 0 and 1", f"it is {self.shrink}")


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


class _Walker(eqx.Module):
    """Where one realization stands: its last accepted `k`, what the rule measured there, and its rate.

    The memory of an integrator takes the place of the optimizer's; that of a solver is None unless the solver
    follows the network.
    """

    k: Float[Array, " M"]
    estimate: Estimate
    optimizer_state: Any
    rate: Float[Array, ""]
    status: Int[Array, ""]
    evaluations: Int[Array, ""]
    memory: Memory | None = None


class _Options(eqx.Module):
    """Everything of `train` that one compiled step depends on and that realizations share."""

    rule: AbstractRule
    optimizer: Any
    solver: AbstractSolver | None
    adaptive: AdaptiveStep | None
    functionals: dict[str, Functional]
    batch_size: int | None = eqx.field(static=True)
    stop_cost: float = eqx.field(static=True)
    integrator: Integrator | None = None

    @property
    def follows(self) -> bool:
        """Whether the solver carries what it knows from step to step."""
        return isinstance(self.solver, TrackedInverse) and self.integrator is None


def stack(realizations: Sequence[Any]) -> Any:
    """Stack networks, tasks or any pytrees of equal shapes along a new leading realization axis.

    Raises `InputError` if there is none or they differ in structure or shape.

    >>> import jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]))
    >>> jp.stack([network] * 5).k.shape
    (5, 2)
    """
    realizations = list(realizations)
    require(len(realizations) > 0, "realizations", "hold at least one", "it is empty")
    try:
        return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *realizations)
    except ValueError as error:
        raise InputError(
            "Argument `realizations` must have equal shapes and settings to be stacked, but they differ "
            f"({str(error).splitlines()[0]})."
        ) from None


def train(
    network: Any,
    task: Any,
    *,
    steps: int,
    rule: AbstractRule | None = None,
    optimizer: optax.GradientTransformation | None = None,
    adaptive: AdaptiveStep | None = None,
    integrator: Integrator | None = None,
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
) -> Run:
    """Train an ensemble of networks, each on its own task.

    **Arguments**

    - `network`, `task`: one of each, or ensembles made with `stack` (graphs, tasks and `k` may all
      differ between realizations as long as shapes agree).
    - `steps`: how many. `rule`: `ExactGradient()` by default. `optimizer`: any optax transformation of
      the estimate of `∂C/∂k`, plain descent `optax.sgd(1.0)` by default; `transforms.bounds` and
      others chain behind it.
    - `adaptive`: an `AdaptiveStep`; None for fixed steps.
    - `integrator`: in place of `optimizer` and `adaptive`, for full batches. A `GradientFlow` is the limit of
      small steps, by Runge-Kutta steps as long as accuracy allows; a learning step is then a unit of time.
      `LevenbergMarquardt` takes damped Gauss-Newton steps on squared errors, in place of the rule too.
    - `key`: for minibatches and random transformations; `jax.random.key(0)` by default.
    - `record_every` or `record_steps`: when to record (about a hundred times by default); step 0 and
      the last one always are. `functionals`: name → function of `(network, task)` recorded then.
    - `batch_size`: samples per step, drawn without replacement; all by default.
    - `stop_cost`: a realization rests once its cost is at or below this (full batches only); never if None.
    - `progress`: show a bar with the median cost and the time left.
    - `checkpoint`: a file that is replaced every `checkpoint_seconds` (and on the way out of an
      interruption); with `resume=True` training goes on from it, bit for bit as if it had
      never stopped.

    Returns a `Run`. A realization whose step leads to a Hessian that is not positive definite, to NaN
    or to an inaccurate solution is marked in `Run.status` and stays at its last good state.
    Raises `InputError` on arguments that do not fit together, and warns of `concerns`.

    >>> import jax, jaxphys as jp
    >>> network = jp.FlowNetwork(jp.erdos_renyi(10, 15, jax.random.key(0)))
    >>> task = jp.allostery(network, jp.Boundary(network, ground=[0]), [1], [5], response=0.2)
    >>> run = jp.train(network, task, steps=50, adaptive=jp.AdaptiveStep())
    >>> bool(run.cost[0, -1] < 1e-3 * run.cost[0, 0])
    True
    """
    require(
        task.targets.ndim == network.k.ndim + 1,
        "task",
        "have a realization axis if and only if the network has one",
        f"its targets have {task.targets.ndim} axes and the network's `k` has {network.k.ndim}"
        if network.k.ndim == 1
        else f"it has none beside {network.k.shape[0]} realizations of the network",
    )
    require(
        "cost" not in (functionals or {}), "functionals", "leave the name `cost` to the cost", "it is taken"
    )
    if network.k.ndim == 1:
        network, task = stack([network]), stack([task])
    realizations = network.k.shape[0]
    sizes = {leaf.shape[:1] for leaf in jax.tree.leaves((network, task)) if eqx.is_array(leaf)}
    require(
        sizes == {(realizations,)},
        "task",
        f"have the network's {realizations} realizations",
        f"leading axes are {sorted(sizes)}",
    )
    schedule = record_schedule(steps, record_every, record_steps)
    for concern in concerns(network, task):
        warnings.warn(concern, stacklevel=2)
    if solver is None:
        solver = choose_solver(network, task, optimizer)
    if isinstance(solver, TrackedInverse):
        check_trackable(network, task)
    check_batches(task, batch_size, adaptive, stop_cost)
    _check_integrator(integrator, rule, optimizer, adaptive, batch_size, network.k)
    if isinstance(integrator, LevenbergMarquardt):
        integrator = integrator.planned(task)
    options = _Options(
        rule or ExactGradient(),
        _with_extra_arguments(_DESCENT if optimizer is None else optimizer),
        solver,
        adaptive,
        dict(functionals or {}),
        batch_size,
        -np.inf if stop_cost is None else float(stop_cost),
        integrator,
    )
    seed = jax.random.key(0, impl="threefry2x32") if key is None else key
    keys = jax.random.split(seed, realizations)
    return _run(network, task, options, keys, schedule, progress, checkpoint, checkpoint_seconds, resume)


def record_schedule(
    steps: int, record_every: int | None = None, record_steps: Sequence[int] | None = None
) -> np.ndarray:
    """Steps at which `train` records: ascending, from 0 to `steps`; raises `InputError` as `train` does."""
    require(steps > 0, "steps", "be positive", f"it is {steps}")
    require(
        record_every is None or record_steps is None,
        "record_steps",
        "be None beside `record_every`",
        "both are set",
    )
    if record_steps is None:
        record_every = max(1, steps // 100) if record_every is None else record_every
        require(record_every > 0, "record_every", "be positive", f"it is {record_every}")
        record_steps = range(0, steps, record_every)
    chosen = np.unique(np.asarray([0, *record_steps, steps], dtype=int))
    require(
        chosen[0] >= 0 and chosen[-1] <= steps,
        "record_steps",
        f"lie between 0 and {steps}",
        f"it reaches {chosen[0] if chosen[0] < 0 else chosen[-1]}",
    )
    return chosen


def check_batches(
    task: Any, batch_size: int | None, adaptive: AdaptiveStep | None, stop_cost: float | None = None
) -> None:
    """Raise `InputError` unless minibatches of `batch_size` can be drawn from a stacked task."""
    require(stop_cost is None or not np.isnan(stop_cost), "stop_cost", "be a number", "it is NaN")
    if batch_size is None:
        return
    require(stop_cost is None, "stop_cost", "be None for minibatches (their costs vary)", "it is set")
    samples = task.inputs.shape[1]
    require(0 < batch_size <= samples, "batch_size", f"lie between 1 and {samples}", f"it is {batch_size}")
    require(adaptive is None, "adaptive", "be None for minibatches (costs do not compare)", "it is set")


def _check_integrator(
    integrator: Integrator | None,
    rule: AbstractRule | None,
    optimizer: Any,
    adaptive: AdaptiveStep | None,
    batch_size: int | None,
    k: Float[Array, "R M"],
) -> None:
    if integrator is None:
        return
    for name, value in {"optimizer": optimizer, "adaptive": adaptive, "batch_size": batch_size}.items():
        require(value is None, name, "be None beside `integrator`", "it is set")
    require(
        isinstance(integrator, GradientFlow) or isinstance(rule, ExactGradient | None),
        "rule",
        "be None beside Gauss-Newton steps, which know the cost",
        f"it is {type(rule).__name__}",
    )
    num_edges = k.shape[1]
    shape = (num_edges,) if integrator.metric is None else integrator.metric.shape
    require(shape == (num_edges,), "integrator", f"have a metric of {num_edges} entries", f"it has {shape}")
    for bound, outside in (
        (integrator.lower, lambda bound: k < bound),
        (integrator.upper, lambda bound: k > bound),
    ):
        if bound is not None:
            number = int(jnp.sum(outside(bound)))
            require(
                number == 0, "network", f"start within the bound {bound}", f"{number} entries of k do not"
            )


def _run(
    network: Any,
    task: Any,
    options: _Options,
    keys: Key[Array, " R"],
    schedule: np.ndarray,
    progress: bool,
    checkpoint: Path | str | None,
    checkpoint_seconds: float,
    resume: bool,
) -> Run:
    """The host loop: chunks, progress, checkpoints."""
    start = time.perf_counter()
    samples = task if options.batch_size is not None else jax.vmap(lambda one: one.condensed())(task)
    walkers = _start(network, samples, options)
    shapes = eqx.filter_eval_shape(jax.vmap(partial(_record, options)), walkers, network, task)
    records = jax.tree.map(lambda value: _room(value, len(schedule)), shapes)
    # Records done. The first one is that of step 0, which the step before it measures.
    done = 0
    marks = np.concatenate([[-1], schedule])
    path = None if checkpoint is None else Path(checkpoint)
    identity = "" if path is None else _identity(network, task, options, keys, schedule)
    if resume:
        require(
            path is not None and path.exists(),
            "checkpoint",
            "name an existing file to resume",
            f"it is {path}",
        )
        assert path is not None
        walkers, records, done = load_checkpoint(path, walkers, records, identity)
    length = -(-len(schedule) // _CHUNKS)
    compiled = saved = time.perf_counter()
    with tqdm(
        total=int(schedule[-1]), initial=max(int(marks[done]), 0), unit="step", disable=not progress
    ) as bar:
        try:
            while done < len(schedule):
                stop = min(done + length, len(schedule))
                # Short last chunks are filled up with records of zero steps, so that one program serves all.
                ends = np.concatenate([marks[done : stop + 1], np.full(length - (stop - done), marks[stop])])
                advanced, chunk = _advance(walkers, network, task, samples, options, keys, jnp.asarray(ends))
                _store(records, chunk, done, stop)
                if done == 0:
                    compiled = time.perf_counter()
                bar.update(int(schedule[stop - 1] - max(marks[done], 0)))
                bar.set_postfix_str(
                    f"median cost {np.median(records['cost'][:, stop - 1]):.3g}", refresh=False
                )
                # One assignment: an interruption finds both old or both new.
                walkers, done = advanced, stop
                if path is not None and time.perf_counter() - saved > checkpoint_seconds:
                    save_checkpoint(path, walkers, records, done, identity)
                    saved = time.perf_counter()
                if not _any_active(walkers, options.stop_cost):
                    _fill(records, done)
                    done = len(schedule)
        except KeyboardInterrupt:
            if path is not None:
                save_checkpoint(path, walkers, records, done, identity)
            raise
    if path is not None:
        save_checkpoint(path, walkers, records, done, identity)
    end = time.perf_counter()
    trained = jax.vmap(lambda one, k: one.with_k(k))(network, walkers.k)
    return Run(
        network=trained,
        task=task,
        initial_k=network.k,
        steps=schedule,
        cost=records.pop("cost"),
        records=records,
        status=np.asarray(walkers.status),
        seconds=(compiled - start, end - compiled),
        evaluations=np.asarray(walkers.evaluations),
    )


@eqx.filter_jit
def _start(network: Any, samples: Any, options: _Options) -> _Walker:
    """Walkers before anything is measured; step -1 measures where they stand and leaves them there."""

    def one(network: AbstractNetwork, samples: Task) -> _Walker:
        zero = jnp.zeros((), network.k.dtype)
        unknown = Estimate(jnp.zeros_like(network.k), zero + jnp.inf, zero, jnp.asarray(0, jnp.int32))
        rate = 1.0 if options.adaptive is None else options.adaptive.initial
        if options.integrator is None:
            state = options.optimizer.init(network.k)
        else:
            unknown = _measure(options, network, samples)
            state = options.integrator.start(network.k, unknown)
        memory = unsolved(cast(NodeNetwork, network), samples) if options.follows else None
        return _Walker(
            network.k, unknown, state, zero + rate, unknown.status, jnp.asarray(0, jnp.int32), memory
        )

    return jax.vmap(one)(network, samples)


@eqx.filter_jit
def _advance(
    walkers: _Walker,
    network: Any,
    task: Any,
    samples: Any,
    options: _Options,
    keys: Array,
    marks: Int[Array, " c"],
) -> tuple[_Walker, dict[str, Array]]:
    """Run from step `marks[0]` to `marks[-1]` and record at each of the others."""
    # Realizations run along the last axis of what a step carries, as solvers like to work.
    step = jax.vmap(partial(_step, options), in_axes=(-1, 0, 0, 0, None), out_axes=-1)
    record = jax.vmap(partial(_record, options))

    def segment(walkers: _Walker, ends: tuple[Array, Array]) -> tuple[_Walker, dict[str, Array]]:

        def one_step(index: Array, walkers: _Walker) -> _Walker:
            return as_in_shape(step(walkers, network, samples, keys, index))

        if options.integrator is None:
            walkers = as_in_shape(_turned(walkers, 0, -1))
            walkers = _turned(jax.lax.fori_loop(ends[0], ends[1], one_step, walkers), -1, 0)
        else:
            flow = jax.vmap(partial(_flow, options), in_axes=(0, 0, 0, None))
            # It knows where it starts: there is nothing to do before step 0.
            walkers = flow(walkers, network, samples, ends[1] - jnp.maximum(ends[0], 0))
        return walkers, record(walkers, network, task)

    walkers, records = jax.lax.scan(segment, walkers, (marks[:-1], marks[1:]))
    return walkers, jax.tree.map(lambda value: jnp.moveaxis(value, 0, 1), records)


def _turned(tree: Any, source: int, target: int) -> Any:
    return jax.tree.map(lambda array: jnp.moveaxis(array, source, target), tree)


def _step(
    options: _Options, walker: _Walker, network: AbstractNetwork, task: Task, key: Array, index: Array
) -> _Walker:
    """One learning step of one realization; rests where it has failed or is good enough.

    Step -1 comes before all others and only measures: every program then holds the rule once.
    """
    first = index < 0
    updates, optimizer_state = options.optimizer.update(
        walker.rate * walker.estimate.gradient,
        walker.optimizer_state,
        walker.k,
        key=jax.random.fold_in(jax.random.fold_in(key, index), 1),
    )
    # Not `jnp.where`: a scalar condition leaves realizations along the last axis.
    k = vmapped_last_in_memory(jax.lax.select(first, walker.k, optax.apply_updates(walker.k, updates)))
    optimizer_state = jax.tree.map(
        lambda new, old: jnp.where(first, old, new), optimizer_state, walker.optimizer_state
    )
    batch = _batch(task, key, index + 1, options.batch_size)
    active = _is_active(walker, options.stop_cost)
    memory = walker.memory
    if memory is None:
        estimate = _measure(options, network.with_k(k), batch)
    else:
        before, after = (cast(NodeNetwork, network.with_k(each)) for each in (walker.k, k))
        memory, proposal, response = propose(
            cast(TrackedInverse, options.solver),
            memory,
            before,
            after,
            batch,
            updates,
            walker.estimate.gradient,
            active,
            index,
        )
        estimate, moment = options.rule.measure(after, batch, response)
    good = estimate.status == Status.OK
    rate, status = walker.rate, walker.status
    if options.adaptive is None:
        status = jnp.where(active, estimate.status, status)
    else:
        status = jnp.where(first, estimate.status, status)
        good &= estimate.cost < walker.estimate.cost
        factor = jnp.where(good, options.adaptive.growth, options.adaptive.shrink).astype(rate.dtype)
        rate = jnp.where(active & ~first, rate * factor, rate)
    evaluations = walker.evaluations + active.astype(jnp.int32)
    # Written as a reduction, which XLA computes once and not anew for every number that depends on it.
    accepted = jnp.any(jnp.stack([active & good, first]))
    moved = _Walker(k, estimate, optimizer_state, rate, status, evaluations)
    rested = _Walker(walker.k, walker.estimate, walker.optimizer_state, rate, status, evaluations)
    settled = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), moved, rested)
    if memory is None:
        return settled
    return dataclasses.replace(settled, memory=commit(memory, proposal, moment, accepted))


def _flow(options: _Options, walker: _Walker, network: AbstractNetwork, task: Task, steps: Array) -> _Walker:
    """Many learning steps of one realization at once, as its integrator takes them."""
    integrator = options.integrator
    assert integrator is not None

    def measure(k: Array) -> Any:
        if isinstance(integrator, LevenbergMarquardt):
            return integrator.linearize(network.with_k(k), task, options.solver)
        return _measure(options, network.with_k(k), task)

    k, estimate, memory, status = integrator.advance(
        measure, walker.k, walker.estimate, walker.optimizer_state, walker.status, steps, options.stop_cost
    )
    return _Walker(k, estimate, memory, walker.rate, status, memory.evaluations)


def _measure(options: _Options, network: AbstractNetwork, task: Task) -> Estimate:
    estimate = options.rule(network, task, solver=options.solver)
    # The status has taken note of the residual; where nobody reads it, some solvers need not compute it.
    return dataclasses.replace(estimate, residual=jnp.zeros_like(estimate.residual))


def _is_active(walker: _Walker, stop_cost: float) -> Bool[Array, "*R"]:
    return (walker.status == Status.OK) & (walker.estimate.cost > stop_cost)


def _any_active(walkers: _Walker, stop_cost: float) -> bool:
    return bool(jnp.any(_is_active(walkers, stop_cost)))


def _batch(task: Task, key: Array, index: Any, batch_size: int | None) -> Task:
    if batch_size is None:
        return task
    order = jax.random.permutation(jax.random.fold_in(jax.random.fold_in(key, index), 0), task.num_samples)
    return task.batch(order[:batch_size])


def _record(options: _Options, walker: _Walker, network: AbstractNetwork, task: Task) -> dict[str, Array]:
    network = network.with_k(walker.k)
    cost = walker.estimate.cost
    if options.batch_size is not None:
        cost = task_cost(network, task, solver=options.solver)
    values = {name: functional(network, task) for name, functional in options.functionals.items()}
    return {"cost": cost, **values}


def _room(value: Any, length: int) -> np.ndarray:
    """Host memory for all records of one functional, `(R, T, …)`."""
    empty = np.nan if value.dtype.kind == "f" else 0
    return np.full((value.shape[0], length, *value.shape[1:]), empty, value.dtype)


def _store(records: dict[str, np.ndarray], chunk: dict[str, Array], done: int, stop: int) -> None:
    for name, value in chunk.items():
        records[name][:, done:stop] = np.asarray(value)[:, : stop - done]


def _fill(records: dict[str, np.ndarray], done: int) -> None:
    """Everything rests: the remaining records are the last one."""
    for value in records.values():
        value[:, done:] = value[:, done - 1 : done]


def _identity(network: Any, task: Any, options: _Options, keys: Array, schedule: np.ndarray) -> str:
    """A digest of what a run starts from; a checkpoint of another run has another."""
    digest = hashlib.sha256(schedule.tobytes())
    arrays = eqx.filter((network, task, jax.random.key_data(keys), options.integrator), eqx.is_array)
    for leaf in jax.tree.leaves(arrays):
        digest.update(np.asarray(leaf).tobytes())
    shared = (options.rule, options.solver, options.adaptive, options.batch_size, options.stop_cost)
    digest.update(repr((*shared, options.integrator)).encode())
    return digest.hexdigest()


def save_checkpoint(
    path: Path, walkers: Any, records: dict[str, np.ndarray], done: int, identity: str
) -> None:
    """Replace `path` by the state of a training run: a reader sees the old file or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    body = io.BytesIO()
    eqx.tree_serialise_leaves(body, (walkers, records))
    checksum = hashlib.sha256(body.getbuffer()).hexdigest()
    header = {"format": _FORMAT, "run": identity, "done": done, "sha256": checksum}
    temporary = path.with_name(path.name + ".part")
    try:
        with open(temporary, "wb") as file:
            file.write((json.dumps(header) + "\n").encode())
            file.write(body.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


_FORMAT = "jaxphys checkpoint 1"


def load_checkpoint(
    path: Path, walkers: Any, records: dict[str, np.ndarray], identity: str
) -> tuple[Any, dict[str, np.ndarray], int]:
    """Read what `save_checkpoint` wrote for the same run; raises `InputError` on any other and on damage."""
    try:
        first, _, body = path.read_bytes().partition(b"\n")
        header = json.loads(first)
        if not isinstance(header, dict) or header.get("format") != _FORMAT:
            raise ValueError("it is none of ours")
        if header.get("run") != identity:
            raise ValueError("it was written for another network, task, rule or schedule")
        if header.get("sha256") != hashlib.sha256(body).hexdigest():
            raise ValueError("its checksum is wrong")
        done = header["done"]
        if not isinstance(done, int) or not 0 <= done <= records["cost"].shape[1]:
            raise ValueError("it has another number of records")
        walkers, records = eqx.tree_deserialise_leaves(io.BytesIO(body), (walkers, records))
    except (OSError, ValueError, RuntimeError, EOFError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"Checkpoint {path} does not belong to this run or is damaged: {reason}") from None
    return walkers, records, done
