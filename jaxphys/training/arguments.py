"""What `train` is handed, looked at in one place and before any compute.

Python lets anything be handed in; what is wrong shows up deep inside a compiled program, as an error about
things that were not passed.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import equinox as eqx
import jax
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Int, Key

from jaxphys._checks import (
    InputError,
    check_count,
    check_key,
    check_kind,
    check_number,
    described,
    refuse,
    require,
)
from jaxphys.learning import Task, check_pair
from jaxphys.learning.rules import AbstractRule
from jaxphys.networks.physics import AbstractNetwork
from jaxphys.solvers import AbstractSolver
from jaxphys.training.descent import Descent, check_optimizer
from jaxphys.training.devices import AXIS
from jaxphys.training.integrator import AbstractIntegrator
from jaxphys.training.steps import Functional


@dataclass(frozen=True)
class Record:
    """What `train` records and shows while networks learn; step 0 and the last one are always recorded.

    **Attributes**

    - `every`: steps between records, or `steps`: a list of those to record at. About a hundred records if
      both are None.
    - `functionals`: name → function of `(network, task)`, recorded beside the cost. It sees one network,
      under `jit` and `vmap`.
    - `progress`: show a bar with the median cost and the time left.

    Raises `InputError` on values of other kinds, and where both `every` and `steps` are given.

    >>> import jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]))
    >>> task = jp.allostery(network, jp.Boundary(network, ground=[2]), [0], [1], response=0.5)
    >>> wanted = jp.Record(every=5, functionals={"k": lambda network, task: network.k})
    >>> run = jp.train(network, task, steps=10, record=wanted)
    >>> run.steps.tolist(), run.records["k"].shape
    ([0, 5, 10], (1, 3, 2))
    """

    every: int | None = None
    steps: Sequence[int] | Int[np.ndarray, " _"] | None = None
    functionals: Mapping[str, Functional] | None = None
    progress: bool = False

    def __post_init__(self) -> None:
        if self.every is not None:
            check_count("every", self.every)
        if self.steps is not None:
            axes = np.ndim(self.steps)
            found = f"it has {axes} axes" if axes > 1 else _it_is(self.steps)
            require(axes == 1, "steps", "be a list of steps", found)
            for step in np.asarray(self.steps).tolist():
                # Where they may lie is known to `train`.
                require(type(step) is int, "steps", "hold whole numbers", f"it holds {step!r}")
            require(self.every is None, "steps", "be None beside `every`", "both are set")
        if self.functionals is not None:
            _check_functionals("functionals", self.functionals)
        check_kind("progress", self.progress, bool, "True or False")


@dataclass(frozen=True)
class Sampling:
    """What `train` draws at random while networks learn.

    **Attributes**

    - `batch_size`: samples of a step, drawn without replacement; all if None.
    - `key`: for minibatches and for optimizers that draw; `jax.random.key(0)` if None. Each realization draws
      from its own number, whichever others are trained beside it.

    Raises `InputError` on values of other kinds.
    """

    batch_size: int | None = None
    key: Key[Array, ""] | Int[Array, " 2"] | None = None

    def __post_init__(self) -> None:
        if self.batch_size is not None:
            check_count("batch_size", self.batch_size, least=-(2**31))
        if self.key is not None:
            check_key("key", self.key)


@dataclass(frozen=True)
class Checkpointing:
    """Where `train` saves the state of training, how often, and whether it goes on from there.

    **Attributes**

    - `folder`: gets a file for each block of realizations every so many `seconds`, at the end, and on the way
      out of an interruption, written in the background.
    - `resume`: go on from what the folder holds, bit for bit as if training had never stopped, on any number
      of devices; a folder without checkpoints begins anew. With more `steps` than before it ends as one
      long run; unless `record` says otherwise, records go on at the spacing that they began with, and with
      an integrator whose steps end at records, those taken so far are kept.

    Raises `InputError` on values of other kinds, and where there is no folder to resume from.
    """

    folder: Path | str
    seconds: float = 60.0
    resume: bool = False

    def __post_init__(self) -> None:
        check_kind("folder", self.folder, str | Path, "the path of a folder")
        # An empty path is the working directory, which an empty text hardly means.
        require(str(self.folder).strip(), "folder", "name a folder", f"it is {self.folder!r}")
        path = Path(self.folder)
        require(not path.exists() or path.is_dir(), "folder", "name a folder", f"{path} is a file")
        check_number("seconds", self.seconds)
        require(self.seconds >= 0, "seconds", "be at least 0", f"it is {self.seconds}")
        check_kind("resume", self.resume, bool, "True or False")
        require(
            not self.resume or path.is_dir(), "folder", "name an existing folder to resume", f"it is {path}"
        )


@dataclass(frozen=True)
class Devices:
    """What `train` works on.

    **Attributes**

    - `mesh`: devices, from `realization_mesh`; all of all processes if None. In a program of many processes
      each calls `train` with the same arguments, and each gets the whole `Run`.
    - `block`: realizations that a device works on at once; about 64 if None, 1024 on a GPU, fewer where
      memory is short. Results do not depend on how many devices there are; they may in the last digit on
      `block`.

    Raises `InputError` on values of other kinds.
    """

    mesh: Mesh | None = None
    block: int | None = None

    def __post_init__(self) -> None:
        if self.mesh is not None:
            what = "a mesh of devices from `realization_mesh`"
            check_kind("mesh", self.mesh, Mesh, what)
            axes = self.mesh.axis_names
            require(axes == (AXIS,), "mesh", f"be {what}", f"its axes are {', '.join(axes)}")
        if self.block is not None:
            check_count("block", self.block)


# What arguments of `train` were called before they were grouped.
_MOVED = {
    "rate": "optimizer=Descent(rate=...)",
    "adaptive": "optimizer=Descent(adaptive=...)",
    "integrator": "optimizer=...",
    "key": "sampling=Sampling(key=...)",
    "batch_size": "sampling=Sampling(batch_size=...)",
    "record_every": "record=Record(every=...)",
    "record_steps": "record=Record(steps=...)",
    "functionals": "record=Record(functionals=...)",
    "progress": "record=Record(progress=...)",
    "checkpoint_seconds": "checkpoint=Checkpointing(folder, seconds=...)",
    "resume": "checkpoint=Checkpointing(folder, resume=...)",
    "block": "devices=Devices(block=...)",
    "mesh": "devices=Devices(mesh=...)",
}

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


def names_moved_arguments(function: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """Make a function name the present spelling of a keyword that `train` once took."""

    @wraps(function)
    def called(*arguments: _Given.args, **named: _Given.kwargs) -> _Result:
        for name in named:
            if name in _MOVED:
                refuse(name, f"be written as `{_MOVED[name]}`", "it is given by itself")
        return function(*arguments, **named)

    return called


def as_integrator(optimizer: Any) -> AbstractIntegrator:
    """What `train` takes as `optimizer` as an integrator: an optax transformation becomes a `Descent`.

    Raises `InputError` unless it is one or the other.
    """
    if isinstance(optimizer, AbstractIntegrator):
        return optimizer
    if optimizer is None:
        return Descent()
    check_optimizer("optimizer", optimizer)
    return Descent(optimizer)


def transformation_of(integrator: eqx.Module) -> optax.GradientTransformation | None:
    """The optax transformation that makes all of an integrator's updates; None if there is no such."""
    return getattr(integrator, "optimizer", None)


def check_arguments(network: AbstractNetwork, task: Task, others: Mapping[str, object]) -> None:
    """Raise `InputError` unless each argument of `train` is of the kind that it takes, and fits the others.

    `others` are its keyword arguments by name. Numbers and shapes that take looking into are checked where
    they are used.
    """
    check_ensemble(network, task)
    for name, check in _CHECKS.items():
        if others[name] is not None or name in _REQUIRED:
            check(name, others[name])


def check_compilable(
    network: AbstractNetwork,
    task: Task,
    integrator: AbstractIntegrator,
    functionals: Mapping[str, Functional] | None,
) -> None:
    """Raise `InputError` unless optimizer and functionals do with what `train` hands them.

    They are traced, not run, on one realization of the ensemble.
    """
    one, its_task = (_first(tree, network.k.ndim) for tree in (network, task))
    transformation = transformation_of(integrator)
    if transformation is not None:
        _try_optimizer(transformation, one)
    for name, functional in (functionals or {}).items():
        _try_functional(name, functional, one, its_task)


def check_ensemble(network: AbstractNetwork, task: Task) -> None:
    """Raise `InputError` unless these are one network and its task, or ensembles of as many of both."""
    check_pair(network, task, ensembles=True)
    axes = network.k.ndim
    require(axes <= 2, "network", "be one, or stacked once", f"its `k` has {axes} axes")
    require(
        task.targets.ndim == axes + 1,
        "task",
        "have a realization axis if and only if the network has one",
        f"its targets have {task.targets.ndim} axes and the network's `k` has {axes}"
        if axes == 1
        else f"it has none beside {network.k.shape[0]} realizations of the network",
    )
    if axes == 2:
        realizations = network.k.shape[0]
        sizes = {leaf.shape[:1] for leaf in jax.tree.leaves((network, task)) if eqx.is_array(leaf)}
        require(
            sizes == {(realizations,)},
            "task",
            f"have the network's {realizations} realizations",
            f"leading axes are {sorted(sizes)}",
        )


def check_batches(task: Task, batch_size: int | None, stop_cost: float | None = None) -> None:
    """Raise `InputError` unless minibatches of `batch_size` can be drawn from a stacked task."""
    require(stop_cost is None or not np.isnan(stop_cost), "stop_cost", "be a number", "it is NaN")
    if batch_size is None:
        return
    require(stop_cost is None, "stop_cost", "be None for minibatches (their costs vary)", "it is set")
    samples = task.inputs.shape[1]
    require(0 < batch_size <= samples, "batch_size", f"lie between 1 and {samples}", f"it is {batch_size}")


def _check_rule(name: str, value: object) -> None:
    what = "a rule, as `CoupledLearning(0.1)`, or a list of them"
    for rule in value if isinstance(value, list | tuple) else (value,):
        check_kind(name, rule, AbstractRule, what)


def _check_optimizer(name: str, value: object) -> None:
    is_list = isinstance(value, list) or type(value) is tuple
    for each in value if isinstance(value, Sequence) and is_list else (value,):
        if is_list:
            what = (
                "an optax transformation or an integrator, or a list of integrators, one for each realization"
            )
            check_kind(name, each, AbstractIntegrator, what)
        elif not isinstance(each, AbstractIntegrator):
            check_optimizer(name, each)


def _check_functionals(name: str, value: Any) -> None:
    what = "be a dictionary of names and functions of (network, task)"
    require(isinstance(value, Mapping), name, what, _it_is(value))
    for key, functional in value.items():
        require(isinstance(key, str), name, what, f"{described(key)} is no name")
        require(callable(functional), name, what, f"{key!r} is {described(functional)}")
    require("cost" not in value, name, "leave the name `cost` to the cost", "it is taken")


def _check_bounds(name: str, value: Any) -> None:
    if isinstance(value, str) and value == "automatic":
        return
    what = 'be (lower, upper), None or "automatic"'
    cure = (
        "; put it behind the optimizer in a chain" if isinstance(value, optax.GradientTransformation) else ""
    )
    is_pair = isinstance(value, tuple | list) and len(value) == 2 and not cure
    require(is_pair, name, what, f"it is {described(value)}{cure}")
    for bound in value:
        if bound is not None:
            check_number(name, bound)
            require(not np.isnan(bound), name, "hold numbers", "one of them is NaN")
    lower, upper = value
    is_ordered = lower is None or upper is None or lower < upper
    require(
        is_ordered, name, "be (lower, upper), the lower one below the upper", f"they are ({lower}, {upper})"
    )


def _it_is(value: Any) -> str:
    return f"it is {described(value)}"


def _group(kind: type) -> Callable[[str, object], None]:
    what = f"a `{kind.__name__}`, as `{kind.__name__}({_EXAMPLES[kind]})`"
    return lambda name, value: check_kind(name, value, kind, what)


_EXAMPLES = {
    Record: "every=10",
    Sampling: "batch_size=16",
    Checkpointing: '"runs/a"',
    Devices: "block=64",
}
_REQUIRED = ("steps",)
# In the order in which a reader would correct them.
_CHECKS: dict[str, Callable[[str, Any], None]] = {
    "steps": check_count,
    "rule": _check_rule,
    "optimizer": _check_optimizer,
    "bounds": _check_bounds,
    "sampling": _group(Sampling),
    "record": _group(Record),
    "stop_cost": check_number,
    "solver": lambda name, value: check_kind(name, value, AbstractSolver, "a solver, as `Dense()`"),
    "checkpoint": _group(Checkpointing),
    "devices": _group(Devices),
}


def _first(tree: Any, axes: int) -> Any:
    """One realization of an ensemble as shapes and dtypes."""

    def shape(leaf: Any) -> Any:
        if not eqx.is_array(leaf):
            return leaf
        return jax.ShapeDtypeStruct(leaf.shape[axes - 1 :], leaf.dtype)

    return jax.tree.map(shape, tree)


def _try_optimizer(optimizer: Any, network: AbstractNetwork) -> None:
    """An optimizer must do with what `train` has: gradient, state, `k` and a key."""
    transform = optax.with_extra_args_support(optimizer)

    def step(gradient: Any) -> Any:
        updates, state = transform.update(gradient, transform.init(gradient), gradient, key=jax.random.key(0))
        return optax.apply_updates(gradient, updates), state

    with jax.numpy_dtype_promotion("standard"):
        try:
            changed, _ = jax.eval_shape(step, network.k)
        except InputError:
            raise
        except Exception as error:
            line = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
            raise InputError(
                "Argument `optimizer` must work with gradient, k and a key alone, as optax.sgd does, but it "
                f"does not ({line})."
            ) from None
    require(
        getattr(changed, "shape", None) == network.k.shape,
        "optimizer",
        f"return an update for each of {network.k.shape[0]} edges",
        f"it returns {getattr(changed, 'shape', changed)}",
    )


def _try_functional(name: str, functional: Callable[..., Any], network: Any, task: Any) -> None:
    """A functional must take a network and a task; what else it does is its own."""
    try:
        signature = inspect.signature(functional)
    except ValueError:  # Of what is not written in Python.
        signature = inspect.signature(lambda network, task: None)
    try:
        signature.bind(network, task)
    except TypeError as error:
        takes = f"{name!r} takes ({', '.join(signature.parameters)}): {error}"
        refuse("functionals", "hold functions of (network, task)", takes)
    try:
        found = eqx.filter_eval_shape(functional, network, task)
    except InputError:
        raise
    except jax.errors.JAXTypeError as error:
        raise InputError(
            "Argument `functionals` must hold functions that JAX can compile, of jax.numpy and without "
            f"float() or branches on values, but {name!r} looks at values ({type(error).__name__})."
        ) from error
    except Exception as error:
        line = (str(error).strip().splitlines() or [""])[0][:160]
        raise InputError(
            "Argument `functionals` must hold functions of (network, task), but "
            f"{name!r} fails ({type(error).__name__}: {line})."
        ) from error
    is_array = hasattr(found, "shape") or isinstance(found, bool | int | float)
    require(is_array, "functionals", "return arrays", f"{name!r} returns {described(found)}")
