"""What a run is made of, as digests that are equal for equal things, functions included.

An optimizer is a pair of closures. Two of them do the same if they are made of the same functions, with the
same numbers in their cells; so functions are told by their names, code and cells, all the way down.
"""

import functools
import hashlib
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import equinox as eqx
import jax
import numpy as np

# Their functions are told by name: the code of an installed package changes with its version alone.
_PACKAGES = frozenset(
    ("jaxphys", "jax", "jaxlib", "optax", "equinox", "diffrax", "numpy", "scipy", "functools", "builtins")
)
_PLAIN = (type(None), bool, int, float, complex, str, bytes, np.dtype)


def fingerprint(value: Any) -> str:
    """A digest of anything that a run is made of: numbers, arrays, modules, functions and their closures.

    Equal in another process. What only its type tells is told by its type: objects of other languages, say.

    >>> import optax
    >>> from jaxphys.training.identity import fingerprint
    >>> [fingerprint(optax.sgd(rate)) == fingerprint(optax.sgd(0.02)) for rate in (0.02, 5.0)]
    [True, False]
    """
    return _digest(_words(value, frozenset()).encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _words(value: Any, above: frozenset[int]) -> str:
    """`above`: what the value lies within; a closure may hold itself."""
    if isinstance(value, _PLAIN):
        return repr(value)
    if eqx.is_array(value) or isinstance(value, np.generic):
        return _of_array(value)
    if id(value) in above:
        return "itself"
    above = above | {id(value)}

    def all_of(values: Any) -> str:
        return f"({', '.join(_words(each, above) for each in values)})"

    if isinstance(value, Mapping):
        return f"map{all_of(sorted(value.items(), key=lambda item: repr(item[0])))}"
    if isinstance(value, set | frozenset):
        return f"set({', '.join(sorted(_words(each, above) for each in value))})"
    if isinstance(value, list | tuple):
        return f"{_name(type(value))}{all_of(value)}"
    if isinstance(value, functools.partial):
        return f"partial{all_of((value.func, value.args, value.keywords))}"
    if isinstance(value, types.MethodType):
        return f"method{all_of((value.__func__, value.__self__))}"
    if isinstance(value, type):
        return _of_class(value, above)
    if hasattr(value, "__wrapped__"):  # What `jit` and decorators make of a function.
        return _words(value.__wrapped__, above)
    if isinstance(value, types.FunctionType):
        return _of_function(value, above)
    if isinstance(value, types.CodeType):
        return f"code{all_of((value.co_code, value.co_names, value.co_consts))}"
    if is_dataclass(value):
        inside = {field.name: getattr(value, field.name, None) for field in fields(value)}
    else:
        inside = getattr(value, "__dict__", {})
    return f"{_of_class(type(value), above)}{_words(inside, above)}"


def _of_array(value: Any) -> str:
    if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        return f"key {jax.random.key_impl(value)}{_of_array(jax.random.key_data(value))}"
    array = np.asarray(value)
    return f"{array.dtype}{array.shape}{_digest(array.tobytes())}"


def _of_function(function: types.FunctionType, above: frozenset[int]) -> str:
    cells = []
    for cell in function.__closure__ or ():
        try:
            cells.append(cell.cell_contents)
        except ValueError:  # Nothing was ever put into it.
            cells.append(None)
    parts: list[Any] = [cells, function.__defaults__, function.__kwdefaults__]
    if _is_own(function) or function.__name__ == "<lambda>":  # A name that says nothing.
        code = function.__code__
        parts += [code, [_used(function.__globals__[n]) for n in code.co_names if n in function.__globals__]]
    return f"{_name(function)}{_words(parts, above)}"


def _used(value: Any) -> Any:
    """What a function uses of the module around it, where it is not a package's."""
    return value.__name__ if isinstance(value, types.ModuleType) else value


def _of_class(kind: type, above: frozenset[int]) -> str:
    """Its name, and the code of methods that no package brings."""
    own = [each for each in kind.__mro__ if _is_own(each)]
    methods = [
        [(name, method) for name, method in vars(each).items() if isinstance(method, types.FunctionType)]
        for each in own
        if id(each) not in above or each is kind
    ]
    return f"{_name(kind)}{_words(methods, above | {id(kind)}) if own else ''}"


def _is_own(thing: Any) -> bool:
    return (getattr(thing, "__module__", None) or "builtins").split(".")[0] not in _PACKAGES


def _name(thing: Any) -> str:
    return f"{getattr(thing, '__module__', '')}.{thing.__qualname__}"
