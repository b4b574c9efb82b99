"""What a run is made of, as digests that are equal for equal things, functions included.

An optimizer is a pair of closures. Two of them do the same if they are made of the same functions, with the
same numbers in their cells; so functions are identified by their names, code and cells, recursively.
"""

import copyreg
import functools
import hashlib
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array

# Their functions are identified by name: the code of an installed package changes with its version only.
_PACKAGES = frozenset(("jaxphys", "jax", "jaxlib", "optax", "equinox", "diffrax", "numpy", "scipy"))
_PACKAGES |= sys.stdlib_module_names - {"__main__"}
# What they wrap does the same as before.
_CHECKERS = frozenset(("jaxtyping", "beartype", "typeguard"))
_PLAIN = (type(None), bool, int, float, complex, str, bytes, np.dtype)


def fingerprint(value: object) -> str:
    """A digest of anything that a run is made of: numbers, arrays, modules, functions and their closures.

    It is the same in another process. Objects without readable content (of other languages, say) are
    identified by their type.

    >>> import optax
    >>> from jaxphys.training.identity import fingerprint
    >>> [fingerprint(optax.sgd(rate)) == fingerprint(optax.sgd(0.02)) for rate in (0.02, 5.0)]
    [True, False]
    """
    return _digest(_Description().words(value, frozenset()).encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


class _Description:
    """Describes things in words, each function and class once, so that shared ones are not repeated."""

    def __init__(self) -> None:
        self.seen: dict[int, tuple[int, object]] = {}

    def words(self, value: object, above: frozenset[int]) -> str:
        """`above`: what the value lies within; a closure may hold itself."""
        if isinstance(value, _PLAIN):
            own = type(value) if _is_own(type(value).__module__) else None
            return repr(value) if own is None else f"{self._of_class(own, above)}{value!r}"
        if isinstance(value, jax.Array | np.ndarray | np.generic):
            return _of_array(value)
        if id(value) in above:
            return "itself"
        above = above | {id(value)}

        def all_of(values: Iterable[object]) -> str:
            return f"({', '.join(self.words(each, above) for each in values)})"

        if isinstance(value, Mapping):
            items = sorted(value.items(), key=lambda item: repr(item[0]))
            return f"map{all_of(items)}"
        if isinstance(value, set | frozenset):  # In no order, so each by itself.
            return f"set({', '.join(sorted(_Description().words(each, above) for each in value))})"
        if isinstance(value, list | tuple):
            return f"{self._of_class(type(value), above)}{all_of(value)}"
        if isinstance(value, functools.partial):
            return f"partial{all_of((value.func, value.args, value.keywords))}"
        if isinstance(value, types.MethodType):
            return f"method{all_of((value.__func__, value.__self__))}"
        if isinstance(value, types.ModuleType):
            return f"{value.__name__}{all_of(_plain_members(value))}"
        if isinstance(value, type):
            return self._of_class(value, above)
        if isinstance(value, staticmethod | classmethod):
            return f"{type(value).__name__}{all_of([value.__func__])}"
        if isinstance(value, types.FunctionType) and _package(value) not in _CHECKERS:
            return self._of_function(value, above)
        if hasattr(value, "__wrapped__"):  # What `jit` makes of a function.
            return self.words(value.__wrapped__, above)
        if isinstance(value, types.CodeType):
            return f"code{all_of((value.co_code, value.co_names, value.co_consts))}"
        return f"{self._of_class(type(value), above)}{self.words(_inside(value), above)}"

    def _again(self, thing: type | types.FunctionType) -> str | None:
        """A reference by number to a thing that was described before; None for a new one."""
        if id(thing) in self.seen:
            return f"{_name(thing)} as told {self.seen[id(thing)][0]}"
        self.seen[id(thing)] = len(self.seen), thing
        return None

    def _of_function(self, function: types.FunctionType, above: frozenset[int]) -> str:
        again = self._again(function)
        if again is not None:
            return again
        is_own = _is_own(_package(function))
        code = function.__code__
        names = _names(code)
        cells = []
        for cell in function.__closure__ or ():
            try:
                cells.append(_used(cell.cell_contents, names))
            except ValueError:  # Nothing was ever put into it.
                cells.append(None)
        parts: list[object] = [cells, function.__defaults__, function.__kwdefaults__]
        if is_own or function.__name__ == "<lambda>":  # A name that says nothing.
            parts.append(code)
            around = function.__globals__
            parts.append([(n, _used(around[n], names)) for n in names if n in around])
            # What it imports itself.
            imported = [n for n in code.co_names if n not in around and n in sys.modules]
            parts.append([(n, _used(sys.modules[n], names)) for n in imported])
        return f"{_name(function)}{self.words(parts, above)}"

    def _of_class(self, kind: type, above: frozenset[int]) -> str:
        """Its name, and all its members that no package brings."""
        if not _is_own(kind.__module__):
            return _name(kind)
        again = self._again(kind)
        if again is not None:
            return again
        members = [
            (name, member)
            for name, member in sorted(vars(kind).items())
            if name != "_abc_impl"
            and (not _is_special(name) or callable(member) or hasattr(member, "__get__"))
        ]
        return f"{_name(kind)}{self.words([members, kind.__bases__], above | {id(kind)})}"


def _of_array(value: Array | np.ndarray | np.generic) -> str:
    if isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        return f"key {jax.random.key_impl(value)}{_of_array(jax.random.key_data(value))}"
    array = np.asarray(value)
    return f"{array.dtype}{array.shape}{_digest(array.tobytes())}"


def _inside(value: object) -> object:
    """What an object holds: its attributes, slots and fields; else what it would be made again from."""
    names = {field.name for field in fields(value)} if is_dataclass(value) else set()
    for kind in type(value).__mro__:
        slots = {name for name, each in vars(kind).items() if isinstance(each, types.MemberDescriptorType)}
        names |= {name for name in slots if not _is_special(name)}
    inside = {**getattr(value, "__dict__", {}), **{name: getattr(value, name, None) for name in names}}
    inside.pop("__doc__", None)
    if inside or hasattr(value, "__dict__"):
        return {**inside, "": getattr(value, "__name__", None)}
    reduce = copyreg.dispatch_table.get(type(value))
    try:
        return value.__reduce_ex__(2) if reduce is None else reduce(value)
    except Exception:  # Whatever a class says that cannot be made again.
        return getattr(value, "__name__", None)


def _names(code: types.CodeType) -> list[str]:
    """The names and words in a function, and in the functions within it."""
    inner = [each for each in code.co_consts if isinstance(each, types.CodeType)]
    words = [each for each in code.co_consts if isinstance(each, str)]
    return list(dict.fromkeys([*code.co_names, *words, *(name for each in inner for name in _names(each))]))


def _used(value: object, names: list[str]) -> object:
    """What a function uses of a thing around it: of a module of one's own the members that it names."""
    if not isinstance(value, types.ModuleType):
        return value
    if not _is_own(value.__name__):
        return value.__name__
    members = [
        (name, getattr(value, name)) for name in names if hasattr(value, name) and not _is_special(name)
    ]
    return value.__name__, [
        (name, _used(each, [other for other in names if other != name])) for name, each in members
    ]


def _plain_members(module: types.ModuleType) -> Iterator[tuple[str, object]]:
    for name, value in sorted(vars(module).items()) if _is_own(module.__name__) else ():
        if not _is_special(name) and (isinstance(value, _PLAIN) or eqx.is_array(value)):
            yield name, value


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _package(function: types.FunctionType) -> str:
    """Where its code stands: a decorator may have given it the name of another."""
    return (function.__globals__.get("__name__") or "builtins").split(".")[0]


def _is_own(module: str | None) -> bool:
    return (module or "builtins").split(".")[0] not in _PACKAGES | _CHECKERS


def _name(thing: type | types.FunctionType) -> str:
    return f"{getattr(thing, '__module__', '')}.{thing.__qualname__}"
