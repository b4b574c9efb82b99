"""TOML to a `RunConfig` and back: every key known, every value of the right type."""

import dataclasses
import difflib
import inspect
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import tomli_w

from jaxphys._checks import InputError
from jaxphys.config.schema import RunConfig
from jaxphys.diagnostics import FUNCTIONALS

TomlTable: TypeAlias = dict[str, object]
"""A table of TOML: its values are texts, numbers, truth values, dates, lists and tables of these."""
# What an annotation says: a class, a union or a literal, which share no type.
_Hint: TypeAlias = Any


def load_config(path: Path | str, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a TOML file; `overrides` are `key=value` with dotted keys and TOML values.

    Raises `InputError`, one sentence with file, key and what was expected.
    """
    return parse_config(read_table(path, overrides), str(path))


def read_table(path: Path | str, overrides: Sequence[str] = ()) -> TomlTable:
    """Read a TOML file as nested dictionaries, neither keys nor values checked.

    **Arguments**

    - `path`: of the file, in UTF-8.
    - `overrides`: `key=value` with dotted keys and TOML values (anything else counts as a string), applied in
      their order.

    Raises `InputError`, one sentence, if the file cannot be read or is no TOML, if an override has no `=`, or
    if its key leads through a value.

    >>> import pathlib, tempfile
    >>> from jaxphys.config import read_table
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "run.toml"
    >>> _ = path.write_text("seed = 1")
    >>> read_table(path, ["network.nodes=10"])
    {'seed': 1, 'network': {'nodes': 10}}
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # Python itself refuses integers of thousands of digits.
        raise InputError(f"{path}: not valid TOML ({error})") from None
    for override in overrides:
        _override(table, override)
    return table


def parse_config(table: Mapping[str, object], source: str = "config") -> RunConfig:
    """A `RunConfig` from nested dictionaries, as TOML gives them.

    **Arguments**

    - `table`: keys and values of a config; what is left out has its default. An integer does for a finite
      number, a list for a tuple.
    - `source`: what the table is called in messages, as the path of its file.

    Raises `InputError` that names `source` and the key, where a key or a kind is unknown, where a value has
    the wrong type, and where there is a table `sweep` (`parse_sweep` reads those).

    >>> from jaxphys.config import parse_config
    >>> config = parse_config({"steps": 10, "network": {"kind": "flow"}})
    >>> config.steps, config.network.kind, config.seed
    (10, 'flow', 0)
    >>> parse_config({"stepz": 10}, "run.toml")
    Traceback (most recent call last):
    jaxphys._checks.InputError: run.toml: unknown name 'stepz'; nearest known: 'steps'
    """
    if "sweep" in table:
        raise InputError(
            f"{source}: has a table [sweep], which makes many configs of it; read it with load_sweep"
        )
    config = _parse(RunConfig, table, source, "")
    for name in config.record:
        if name not in FUNCTIONALS:
            raise InputError(f"{source}: key `record` {_unknown(name, FUNCTIONALS)}")
    return config


def dump_config(config: RunConfig) -> str:
    """The config as TOML with every key spelt out (those that are None left out)."""
    return tomli_w.dumps(_plain(config))


def describe() -> str:
    """Every table and key with type, default and meaning, as Markdown."""
    lines: list[str] = []
    seen: list[_Hint] = []
    _describe(RunConfig, "top level", lines, seen)
    return "\n".join(lines) + "\n"


def _override(table: TomlTable, override: str) -> None:
    name, separator, text = override.partition("=")
    keys = name.strip().split(".")
    said = override if override.isprintable() and len(override) <= LONGEST_SHOWN else shown_value(override)
    if not separator or not all(keys):
        raise InputError(f"--set {said}: expected key=value, as in --set network.nodes=10")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text.strip()
    set_key(table, name.strip(), value, f"--set {said}")


def set_key(table: TomlTable, name: str, value: object, source: str) -> None:
    """Set a dotted key of nested dictionaries, and make the tables that it leads through.

    **Arguments**

    - `table`: changed in place. `name`: dotted, as `network.nodes`. `value`: as TOML has it.
    - `source`: what the table is called in messages.

    Raises `InputError` where the key leads through a value that is no table.
    """
    *tables, last = name.split(".")
    for key in tables:
        inner = table.setdefault(key, {})
        if not isinstance(inner, dict):
            raise InputError(f"{source}: `{key}` is a value, not a table")
        table = inner
    table[last] = value


def _parse(cls: _Hint, table: Mapping[str, object], source: str, prefix: str) -> Any:  # An instance of `cls`.
    """A dataclass from a dictionary, key by key."""
    fields = {field.name: field for field in dataclasses.fields(cls)}
    types_of = typing.get_type_hints(cls)
    values = {}
    for name, value in table.items():
        if name not in fields:
            raise InputError(f"{source}: {_unknown(prefix + name, [prefix + known for known in fields])}")
        values[name] = _convert(types_of[name], value, source, prefix + name, fields[name])
    return cls(**values)


def _convert(wanted: _Hint, value: object, source: str, name: str, field: dataclasses.Field) -> object:
    """`value` as the type `wanted`, or an `InputError` that says what was expected."""
    options = _options(wanted)
    tables = [option for option in options if dataclasses.is_dataclass(option)]
    if tables:
        return _parse_table(tables, value, source, name, field)
    for option in options:
        converted = _fit(option, value)
        if converted is not _MISFIT:
            return converted
    raise InputError(f"{source}: key `{name}` must be {_type_name(wanted)}, but it is {shown_value(value)}")


def _parse_table(
    tables: list[_Hint], value: object, source: str, name: str, field: dataclasses.Field
) -> object:
    """One of several kinds of tables, told by its key `kind` (the default's kind if left out)."""
    if not isinstance(value, dict):
        raise InputError(f"{source}: key `{name}` must be a table [{name}], but it is {shown_value(value)}")
    kinds = {kind: table for table in tables for kind in _kinds(table)}
    assert callable(field.default_factory)
    kind = value.get("kind", field.default_factory().kind)
    if not isinstance(kind, str) or kind not in kinds:
        raise InputError(f"{source}: key `{name}.kind` {_unknown(kind, kinds)}")
    return _parse(kinds[kind], value, source, name + ".")


def _options(wanted: _Hint) -> tuple[_Hint, ...]:
    """The members of a union, or the type alone."""
    if typing.get_origin(wanted) in (types.UnionType, typing.Union):
        return typing.get_args(wanted)
    return (wanted,)


_MISFIT = object()


def _fit(wanted: _Hint, value: object) -> object:
    """`value` as a plain type, tuple or literal; `_MISFIT` if it is something else."""
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is Literal:
        # True == 1, so the type is compared as well.
        return value if any(value == a and type(value) is type(a) for a in arguments) else _MISFIT
    if origin is tuple and isinstance(value, list | tuple):
        inner = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(inner) != len(value):
            return _MISFIT
        parts = tuple(_fit_any(part, item) for part, item in zip(inner, value, strict=True))
        return _MISFIT if any(part is _MISFIT for part in parts) else parts
    if origin is dict:
        return dict(value) if isinstance(value, dict) else _MISFIT
    if wanted is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if abs(value) < 1e300 else _MISFIT
    if wanted is int and type(value) is int and abs(value) >= 2**63:
        return _MISFIT
    if wanted in (int, str, bool) and type(value) is wanted:
        return value
    return _MISFIT


def _fit_any(wanted: _Hint, value: object) -> object:
    options = _options(wanted)
    fits = (_fit(option, value) for option in options)
    return next((fit for fit in fits if fit is not _MISFIT), _MISFIT)


def _kinds(table: _Hint) -> tuple[str, ...]:
    return typing.get_args(typing.get_type_hints(table)["kind"])


def _unknown(name: object, known: Iterable[str]) -> str:
    # Names are compared in a time that grows with their length.
    close = difflib.get_close_matches(str(name)[:LONGEST_SHOWN], list(known), n=1, cutoff=0.0)
    unknown = f"unknown name {shown_value(str(name))}"
    return f"{unknown}; nearest known: {close[0]!r}" if close else unknown


LONGEST_SHOWN = 100


def shown_value(value: object) -> str:
    """A value in a message: on one line and not too long."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + "..."


def _type_name(wanted: _Hint, many: bool = False) -> str:
    if len(_options(wanted)) > 1:
        named = (_type_name(option, many) for option in _options(wanted) if option is not types.NoneType)
        return " or ".join(named)
    if typing.get_origin(wanted) is Literal:
        return " or ".join(repr(option) for option in typing.get_args(wanted))
    if typing.get_origin(wanted) is tuple:
        return f"{'lists' if many else 'a list'} of {_type_name(typing.get_args(wanted)[0], many=True)}"
    names = {
        int: ("an integer", "integers"),
        float: ("a finite number", "finite numbers"),
        str: ("a string", "strings"),
        bool: ("true or false", "true or false"),
    }
    return names.get(wanted, ("a table", "tables"))[many]


def _plain(value: object) -> Any:  # Whatever TOML holds.
    """Dataclasses as dictionaries, tuples as lists, None left out."""
    if dataclasses.is_dataclass(value):
        items = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {name: _plain(item) for name, item in items.items() if item is not None and item != {}}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _describe(cls: _Hint, title: str, lines: list[str], seen: list[_Hint]) -> None:
    seen.append(cls)
    lines += [
        f"## {title}",
        "",
        inspect.cleandoc(cls.__doc__),
        "",
        "| key | type | default | meaning |",
        "|---|---|---|---|",
    ]
    types_of = typing.get_type_hints(cls)
    inner: list[tuple[str, _Hint]] = []
    for field in dataclasses.fields(cls):
        wanted = types_of[field.name]
        options = _options(wanted)
        tables = [option for option in options if dataclasses.is_dataclass(option)]
        inner += [(field.name, table) for table in tables]
        kind = "table" if tables else _type_name(wanted).replace("|", "or")
        default = "" if tables or field.default is dataclasses.MISSING else f"`{_plain(field.default)!r}`"
        lines.append(f"| `{field.name}` | {kind} | {default} | {field.metadata['doc']} |")
    lines.append("")
    for name, table in inner:
        if table not in seen:
            _describe(table, f"{name}: {' / '.join(_kinds(table))}", lines, seen)
