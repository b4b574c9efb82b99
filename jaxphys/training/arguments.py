"""What `train` is handed, looked at in one place and before any compute.

Python lets anything be handed in; what is wrong shows up deep inside a compiled program, as an error about
things that nobody passed.
"""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
import optax
from jax.sharding import Mesh

from jaxphys._checks import (
    InputError,
    check_count,
    check_key,
    check_kind,
    check_number,
    described,
    refuse,
    require,
    to_array,
)
from jaxphys.learning import check_pair
from jaxphys.learning.rules import AbstractRule, ExactGradient
from jaxphys.networks.physics import AbstractNetwork
from jaxphys.solvers import AbstractSolver
from jaxphys.training.gradient_flow import GradientFlow
from jaxphys.training.levenberg_marquardt import LevenbergMarquardt
from jaxphys.training.steps import AdaptiveStep, Integrator


def check_handed(network: Any, task: Any, **handed: Any) -> None:
    """Raise `InputError` unless each argument of `train` is of the kind that it takes, and fits the others.

    `handed` are its keyword arguments by name. Numbers and shapes that take looking into are checked where
    they are used.
    """
    check_ensemble(network, task)
    for name, check in _CHECKS.items():
        check(name, handed[name])
    one, its_task = (_first(tree, network.k.ndim) for tree in (network, task))
    if handed["optimizer"] is not None:
        _try_optimizer(handed["optimizer"], one)
    for name, functional in (handed["functionals"] or {}).items():
        _try_functional(name, functional, one, its_task)


def check_ensemble(network: Any, task: Any) -> None:
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


def check_integrator(
    integrator: Integrator | None,
    rule: AbstractRule | None,
    optimizer: Any,
    adaptive: AdaptiveStep | None,
    batch_size: int | None,
    num_edges: int,
) -> None:
    """Raise `InputError` unless what stands beside an integrator leaves its work to it."""
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
    shape = (num_edges,) if integrator.metric is None else integrator.metric.shape
    require(shape == (num_edges,), "integrator", f"have a metric of {num_edges} entries", f"it has {shape}")


def _optional(check: Callable[[str, Any], None]) -> Callable[[str, Any], None]:
    return lambda name, value: None if value is None else check(name, value)


def _kind(kinds: Any, what: str) -> Callable[[str, Any], None]:
    return _optional(lambda name, value: check_kind(name, value, kinds, what))


def _check_rule(name: str, value: Any) -> None:
    what = "a rule, as `CoupledLearning(0.1)`, or a list of them"
    for rule in value if isinstance(value, list | tuple) else (value,):
        check_kind(name, rule, AbstractRule, what)


def _check_optimizer(name: str, value: Any) -> None:
    what = "an optax transformation, as `optax.sgd(0.1)`"
    called = getattr(value, "__name__", "")
    cure = ""
    if called and getattr(optax, called, None) is value:
        cure = f"; call it, as in optax.{called}(0.1)"
    elif callable(value) and "schedule" in getattr(value, "__module__", ""):
        cure = "; a schedule is the rate of one, as in optax.sgd(schedule)"
    is_right = isinstance(value, optax.GradientTransformation) or (
        callable(getattr(value, "init", None)) and callable(getattr(value, "update", None))
    )
    require(is_right and not isinstance(value, type), name, f"be {what}", f"it is {described(value)}{cure}")


def _check_rate(name: str, value: Any) -> None:
    require(value is not None and not callable(value), name, "be a number or an array", _it_is(value))
    to_array(name, value, float)


def _check_record_steps(name: str, value: Any) -> None:
    require(np.ndim(value) == 1, name, "be a list of steps", _it_is(value))
    for step in np.asarray(value).tolist():
        # Where they may lie is said by the schedule.
        require(isinstance(step, int), name, "hold whole numbers", f"it holds {step!r}")


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


def _check_path(name: str, value: Any) -> None:
    check_kind(name, value, str | Path, "the path of a folder")
    path = Path(value)
    require(not path.exists() or path.is_dir(), name, "name a folder", f"{value} is a file")


def _check_seconds(name: str, value: Any) -> None:
    check_number(name, value)
    require(value >= 0, name, "be at least 0", f"it is {value}")


def _it_is(value: Any) -> str:
    return f"it is {described(value)}"


# In the order in which a reader would correct them.
_CHECKS: dict[str, Callable[[str, Any], None]] = {
    "steps": lambda name, value: check_count(name, value),
    "rule": _optional(_check_rule),
    "rate": _check_rate,
    "optimizer": _optional(_check_optimizer),
    "adaptive": _kind(AdaptiveStep, "an `AdaptiveStep`, as `AdaptiveStep()`"),
    "integrator": _kind((GradientFlow, LevenbergMarquardt), "a `GradientFlow` or `LevenbergMarquardt`"),
    "bounds": _optional(_check_bounds),
    "key": _optional(check_key),
    "record_every": _optional(check_count),
    "record_steps": _optional(_check_record_steps),
    "functionals": _optional(_check_functionals),
    "batch_size": _optional(lambda name, value: check_count(name, value, least=-(2**31))),
    "stop_cost": _optional(check_number),
    "solver": _kind(AbstractSolver, "a solver, as `Dense()`"),
    "checkpoint": _optional(_check_path),
    "checkpoint_seconds": _check_seconds,
    "resume": _kind(bool, "True or False, beside a folder `checkpoint`"),
    "progress": _kind(bool, "True or False"),
    "block": _optional(check_count),
    "mesh": _kind(Mesh, "a mesh of devices from `realization_mesh`"),
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
