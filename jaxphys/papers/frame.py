"""What every experiment is made of: settings, a function that computes, a function that draws."""

import dataclasses
import functools
import importlib.util
import json
import threading
import zlib
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeAlias, TypeVar, cast

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, ArrayLike, Float, Key
from matplotlib.figure import Figure

from jaxphys._checks import InputError, require
from jaxphys._version import __version__
from jaxphys.io import provenance, run_dataset
from jaxphys.papers.claims import Claim, from_json, to_json
from jaxphys.training._train import Run

P = ParamSpec("P")
T = TypeVar("T")
Variables: TypeAlias = dict[str, tuple[str | tuple[str, ...], Any]]
"""Variables of a dataset by name, each with its axes and an array; xarray takes whatever NumPy does."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """How large and how long an experiment is; nothing else may change its numbers.

    - `scale`: fraction of the paper's number of realizations (`--quick` is a tenth).
    - `patience`: fraction of the learning steps.
    - `seed`: of every random draw.

    Raises `InputError` unless scale and patience lie above 0 and up to 1.

    >>> Settings(scale=0.1).realizations(300)
    30
    """

    scale: float = 1.0
    patience: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("scale", "patience"):
            value = getattr(self, name)
            require(0 < value <= 1, name, "lie above 0 and up to 1", f"it is {value}")

    def realizations(self, full: int) -> int:
        """How many of the paper's `full` realizations to draw, at least 2."""
        return max(2, round(full * self.scale))

    def steps(self, full: int) -> int:
        """How many learning steps where the whole experiment takes `full`."""
        return max(4, round(full * self.patience))

    def key(self, purpose: str) -> Key[Array, ""]:
        """A random key of its own for every purpose, so that experiments do not depend on their order."""
        return jax.random.fold_in(jax.random.key(self.seed), zlib.crc32(purpose.encode()))


QUICK = Settings(scale=0.1)


def computed_once(maxsize: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """`functools.lru_cache` for what several figures need, which may be computed side by side.

    A thread that asks for what another one is computing waits for it. Arguments are given by position.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        # The type of a cached function knows nothing of its arguments.
        cached = cast("Callable[P, T]", functools.lru_cache(maxsize)(function))
        locks: dict[tuple[object, ...], threading.Lock] = {}

        @functools.wraps(function)
        def call(*arguments: P.args, **none: P.kwargs) -> T:
            # `setdefault` is atomic.
            with locks.setdefault(arguments, threading.Lock()):
                return cached(*arguments, **none)

        return call

    return decorate


@dataclasses.dataclass(frozen=True)
class Result:
    """What an experiment found.

    **Attributes**: `dataset`: every array of its picture, and the trained networks; `part` takes one ensemble
    out of it. `claims`: what the paper says of it beside what was measured.
    """

    dataset: xr.Dataset
    claims: list[Claim]


@dataclasses.dataclass(frozen=True)
class Experiment:
    """An entry of the registry.

    - `name`: `paper.figure`. `title`, `caption`: for the report.
    - `compute`: settings → `Result`. `draw`: dataset → picture, from the dataset alone.
    - `revision`: raised whenever its numbers may change, so that old results are not taken for new ones.
    - `extras`: module → name of the optional extra that brings it.
    """

    name: str
    title: str
    caption: str
    compute: Callable[[Settings], Result]
    draw: Callable[[xr.Dataset], Figure]
    revision: int = 1
    extras: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def run(self, settings: Settings | None = None) -> Result:
        """Compute, and label the dataset with settings, versions and claims.

        Raises `InputError` before any compute if an extra is missing or JAX is not in double precision.
        """
        settings = Settings() if settings is None else settings
        self.check()
        result = self.compute(settings)
        facts = {
            "experiment": self.name,
            "title": self.title,
            "settings": self.identity(settings),
            "seed": settings.seed,
            "versions": json.dumps(provenance()),
            "claims": to_json(result.claims),
        }
        return Result(result.dataset.assign_attrs(facts), result.claims)

    def identity(self, settings: Settings) -> str:
        """JSON text that two results share if and only if the same code and settings made them."""
        facts = {**dataclasses.asdict(settings), "revision": self.revision, "jaxphys": __version__}
        return json.dumps(facts, sort_keys=True)

    def check(self) -> None:
        """Raise `InputError` unless this can run here and now."""
        for module, extra in self.extras.items():
            if importlib.util.find_spec(module) is None:
                raise InputError(f"{self.name} needs {module}: pip install 'jaxphys[{extra}]'")
        if not jax.config.read("jax_enable_x64"):
            raise InputError(
                f"{self.name} runs in double precision: jax.config.update('jax_enable_x64', True) first"
            )


def stored_claims(dataset: xr.Dataset) -> list[Claim]:
    """The claims that travel with a dataset; raises `InputError` if there are none."""
    if "claims" not in dataset.attrs:
        raise InputError("Dataset must be that of an experiment, but it holds no claims.")
    return from_json(dataset.attrs["claims"], "Attribute `claims`")


# Variables of a run that an experiment does not keep: histories as large as all else together.
_LEFT_OUT = ("k_history",)


def ensemble_dataset(name: str, run: Run, **variables: tuple[str | tuple[str, ...], object]) -> xr.Dataset:
    """A run as `run_dataset` has it, every variable and axis with the ensemble's name before it.

    So several ensembles fit in one file: `node_k(node_realization, node_edge)`. `variables`: further
    ones, `(axes, values)` with the axes named as in `run_dataset`. Facts about the network become
    attributes with the same prefix. `part` undoes it.
    """
    dataset = run_dataset(run).assign(variables)
    return prefixed(dataset.drop_vars(_LEFT_OUT, errors="ignore"), name)


def prefixed(dataset: xr.Dataset, name: str) -> xr.Dataset:
    """The dataset with `name_` before every variable, axis and attribute; `part` undoes it.

    So the datasets of several ensembles can be merged. The name of no other ensemble in the dataset may begin
    with `name_`.
    """
    renamed = dataset.rename({old: f"{name}_{old}" for old in (*dataset.variables, *dataset.dims)})
    renamed.attrs = {f"{name}_{key}": value for key, value in dataset.attrs.items()}
    return renamed


def part(dataset: xr.Dataset, name: str) -> xr.Dataset:
    """One ensemble of a dataset of several, under the names that it had before `ensemble_dataset`.

    Raises `InputError` if the dataset holds no ensemble `name`.
    """
    prefix = f"{name}_"
    found = dataset[[key for key in dataset.variables if str(key).startswith(prefix)]]
    if not found.variables:
        raise InputError(f"Dataset must hold the ensemble `{name}`, but it does not.")
    renamed = found.rename({old: str(old).removeprefix(prefix) for old in (*found.variables, *found.sizes)})
    facts = {k.removeprefix(prefix): v for k, v in dataset.attrs.items() if k.startswith(prefix)}
    renamed.attrs = facts
    return renamed


def merged(*datasets: xr.Dataset) -> xr.Dataset:
    """Datasets of different variables in one, attributes included."""
    return xr.merge(datasets, combine_attrs="no_conflicts", join="exact", compat="no_conflicts")


def ratio(values: Float[ArrayLike, "R T ..."]) -> Float[np.ndarray, "R ..."]:
    """Last record over first, `(R, T, …)` → `(R, …)`; NaN where the first is 0."""
    first, last = np.asarray(values)[:, 0], np.asarray(values)[:, -1]
    return np.divide(last, first, out=np.full_like(last, np.nan), where=first != 0)
