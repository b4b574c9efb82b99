"""A sweep: many configs from one file, whose table `[sweep]` says which keys take which values."""

import copy
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import tomli_w

from jaxphys._checks import InputError
from jaxphys.config.schema import RunConfig
from jaxphys.config.toml import LONGEST_SHOWN, TomlTable, parse_config, read_table, set_key, shown_value

_MOST_POINTS = 10_000
_TABLES = ("grid", "list")
# Swept keys and the values that they take together.
_Pairs: TypeAlias = tuple[tuple[str, object], ...]
# Of the whole program, or of the run as one.
_FIXED = ("precision", "checkpoint_seconds", "block", "versions", "sweep")


class Point(NamedTuple):
    """A point of a sweep: the values that swept keys take there, and the config that follows.

    **Attributes**: `values`: dotted key → its value at this point, as TOML has it. `config`: the whole
    config, in which those keys have these values.
    """

    values: TomlTable
    config: RunConfig


class Sweep(NamedTuple):
    """The points of a sweep in their order, and the table that they come from.

    **Attributes**: `points`: at most 10 000, the first swept key changing slowest. `table`: the config file
    as nested dictionaries, with its table `sweep` and without `versions`.

    `load_sweep` and `parse_sweep` make one and check it.
    """

    points: tuple[Point, ...]
    table: TomlTable

    @property
    def keys(self) -> list[str]:
        """The swept keys, dotted."""
        return list(self.points[0].values)

    def text(self, **versions: str) -> str:
        """The table as TOML; `versions` of packages, by name, become its table `[versions]`."""
        return tomli_w.dumps({**self.table, **({"versions": versions} if versions else {})})


def load_sweep(path: Path | str, overrides: Sequence[str] = ()) -> Sweep | None:
    """The sweep of a config file, or None if it has no table `[sweep]`; arguments are those of `load_config`.

    Raises `InputError` if a key is unknown, a value does not fit, or lists differ in length.
    """
    table = read_table(path, overrides)
    return parse_sweep(table, str(path)) if "sweep" in table else None


def parse_sweep(table: Mapping[str, object], source: str = "config") -> Sweep:
    """A sweep from nested dictionaries.

    Keys of `grid` are combined with one another, each value with each; keys of `list` go side by side, and
    as one with the grid. The first key changes slowest.

    >>> from jaxphys.config import parse_sweep
    >>> sweep = parse_sweep({"sweep": {"grid": {"seed": [0, 1, 2]}, "list": {"steps": [10, 20]}}})
    >>> len(sweep.points), sweep.points[1].values
    (6, {'seed': 0, 'steps': 20})
    """
    swept = table["sweep"]
    if not isinstance(swept, dict):
        raise InputError(f"{source}: key `sweep` must be a table [sweep.grid] or [sweep.list]")
    for name in swept:
        if name not in _TABLES:
            raise InputError(f"{source}: key `sweep.{name}` must be `sweep.grid` or `sweep.list`")
    grid, side_by_side = (_columns(swept.get(name, {}), f"{source}: key `sweep.{name}`") for name in _TABLES)
    _check_keys(grid, side_by_side, source)
    axes: list[list[_Pairs]] = [[((key, value),) for value in values] for key, values in grid.items()]
    rows: list[_Pairs] = [
        tuple(zip(side_by_side, row, strict=True)) for row in zip(*side_by_side.values(), strict=True)
    ]
    base = {name: value for name, value in table.items() if name not in ("sweep", "versions")}
    points = []
    for chosen in itertools.product(*axes, rows or [()]):
        values = dict(itertools.chain.from_iterable(chosen))
        one = copy.deepcopy(base)
        for key, value in values.items():
            set_key(one, key, value, f"{source}: key `sweep`")
        points.append(Point(values, parse_config(one, f"{source} at {listed(values)}")))
    return Sweep(tuple(points), {**base, "sweep": {name: swept[name] for name in _TABLES if name in swept}})


def listed(values: Mapping[str, object]) -> str:
    """The values of a point in a line."""
    return ", ".join(f"{key} = {shown_value(value)}" for key, value in values.items())


def _columns(table: object, where: str) -> dict[str, list[object]]:
    """Dotted keys and their values; tables within tables are dotted keys, too."""
    if not isinstance(table, dict):
        raise InputError(f"{where} must be a table of keys and lists of values")
    columns: dict[str, list[object]] = {}
    for key, values in table.items():
        if not key.isprintable() or len(key) > LONGEST_SHOWN:
            raise InputError(f"{where} must name keys of a config, but it names {shown_value(key)}")
        if isinstance(values, dict):
            columns |= {f"{key}.{inner}": found for inner, found in _columns(values, where).items()}
        elif isinstance(values, list) and values:
            columns[key] = values
        else:
            raise InputError(f"{where} must hold lists of values, but `{key}` is {shown_value(values)}")
    return columns


def _check_keys(
    grid: Mapping[str, list[object]], side_by_side: Mapping[str, list[object]], source: str
) -> None:
    if not grid and not side_by_side:
        raise InputError(
            f"{source}: key `sweep` must name keys and their values in [sweep.grid] or [sweep.list]"
        )
    for key in (*grid, *side_by_side):
        if key.split(".")[0] in _FIXED:
            raise InputError(f"{source}: key `{key}` cannot be swept; it is one for the whole sweep")
    for key in set(grid) & set(side_by_side):
        raise InputError(f"{source}: key `{key}` must be in [sweep.grid] or [sweep.list], but is in both")
    lengths = {key: len(values) for key, values in side_by_side.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"`{key}` has {length}" for key, length in lengths.items())
        raise InputError(f"{source}: lists of [sweep.list] must be equally long, but {found}")
    number = max(lengths.values(), default=1)
    for values in grid.values():
        number *= len(values)
    if number > _MOST_POINTS:
        raise InputError(f"{source}: a sweep must have at most {_MOST_POINTS} points, but it has {number}")
