"""Fingerprints: equal for what does the same, in any process; different for what does not."""

import functools
import math
import operator
import os
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxphys as jp
from jaxphys.training.identity import fingerprint

pytestmark = pytest.mark.float64

FACTOR = 2.0


def scaled(factor):
    return lambda network, task: factor * network.k


def by_global(network, task):
    return FACTOR * network.k


class Own(jp.ExactGradient):
    scale: float = 1.0

    def contrasts(self, response, task):
        return super().contrasts(response, task)


DIFFERENT = {
    "sgd": lambda: optax.sgd(0.02),
    "another rate": lambda: optax.sgd(5.0),
    "another precision of it": lambda: optax.sgd(np.float32(0.02)),
    "momentum": lambda: optax.sgd(0.02, 0.9),
    "Nesterov": lambda: optax.sgd(0.02, 0.9, nesterov=True),
    "adam": lambda: optax.adam(0.02),
    "another b1": lambda: optax.adam(0.02, b1=0.8),
    "with extra arguments": lambda: optax.with_extra_args_support(optax.sgd(0.03)),
    "wrapped": lambda: optax.with_extra_args_support(optax.adam(0.03)),
    "schedule": lambda: optax.sgd(optax.cosine_decay_schedule(0.02, 100)),
    "longer schedule": lambda: optax.sgd(optax.cosine_decay_schedule(0.02, 101)),
    "late schedule": lambda: optax.sgd(optax.piecewise_constant_schedule(0.02, {10**6: 0.1})),
    "later schedule": lambda: optax.sgd(optax.piecewise_constant_schedule(0.02, {10**7: 0.1})),
    "own schedule": lambda: optax.sgd(lambda count: 0.02 + 0 * count),
    "other own schedule": lambda: optax.sgd(lambda count: 0.03 + 0 * count),
    "hyperparameters": lambda: optax.inject_hyperparams(optax.sgd)(learning_rate=0.1),
    "others": lambda: optax.inject_hyperparams(optax.sgd)(learning_rate=0.2),
    "bounds": lambda: optax.chain(optax.sgd(1.0), jp.bounds(0.1)),
    "other bounds": lambda: optax.chain(optax.sgd(1.0), jp.bounds(0.2)),
    "another order": lambda: optax.chain(jp.bounds(0.1), optax.sgd(1.0)),
    "metric": lambda: jp.precondition(np.ones(4)),
    "another metric": lambda: jp.precondition(np.array([1.0, 1.0, 1.0, 0.5])),
    "noise": lambda: jp.update_noise(0.1),
    "several steps": lambda: optax.MultiSteps(optax.sgd(0.1), 3),
    "more steps": lambda: optax.MultiSteps(optax.sgd(0.1), 4),
    "function": lambda: lambda network, task: network.k,
    "other function": lambda: lambda network, task: 2 * network.k,
    "closure": lambda: scaled(2.0),
    "other closure": lambda: scaled(3.0),
    "compiled": lambda: jax.jit(scaled(4.0)),
    "partial": lambda: functools.partial(scaled(2.0), task=None),
    "rule": lambda: jp.CoupledLearning(0.1),
    "another nudge": lambda: jp.CoupledLearning(0.2),
    "traced nudge": lambda: jp.CoupledLearning(jnp.asarray(0.1)),
    "own rule": lambda: Own(),
    "own rule, scaled": lambda: Own(scale=2.0),
    "key": lambda: jax.random.key(0),
    "another key": lambda: jax.random.key(1),
    "another kind of key": lambda: jax.random.key(0, impl="rbg"),
}


def test_what_differs_has_another_fingerprint_and_what_is_made_alike_the_same():
    first, second = ({name: fingerprint(make()) for name, make in DIFFERENT.items()} for _ in range(2))
    assert first == second
    found = {}
    for name, digest in first.items():
        assert digest not in found, f"{name} as {found[digest]}"
        found[digest] = name


def test_numbers_around_a_function_count(monkeypatch):
    before = fingerprint(by_global)
    monkeypatch.setitem(by_global.__globals__, "FACTOR", 3.0)
    assert fingerprint(by_global) != before
    monkeypatch.undo()
    assert fingerprint(by_global) == before


def test_circles_end():
    circle = []
    circle.append(circle)

    def itself(n):
        return n if n == 0 else itself(n - 1)

    assert fingerprint(circle) == fingerprint(circle)
    assert fingerprint(itself) == fingerprint(itself)


def test_another_process_finds_the_same():
    code = (
        "import optax, jaxphys as jp; from jaxphys.training.identity import fingerprint; "
        "print(fingerprint(optax.chain(optax.adam(optax.cosine_decay_schedule(0.1, 9)), jp.bounds(0.1))))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    chain = optax.chain(optax.adam(optax.cosine_decay_schedule(0.1, 9)), jp.bounds(0.1))
    assert found.stdout.split()[-1] == fingerprint(chain)


def classes(**members):
    """The schedule that such a class makes."""
    return type("S", (), {"__module__": __name__, **members})()


def with_slots(value):
    class Slotted:
        __slots__ = ("value",)

    made = Slotted()
    made.value = value
    return made


def decorated(function, factor):
    @functools.wraps(function)
    def scaled_of_it(*arguments):
        return factor * function(*arguments)

    return scaled_of_it


class Rate(float):
    pass


class FasterRate(float):
    def __call__(self, step):
        return 2 * self


# Pairs that differ in one thing.
UNLIKE = {
    "class attribute": [lambda rate=rate: classes(rate=rate) for rate in (0.02, 5.0)],
    "static method": [
        lambda: classes(f=staticmethod(lambda s: 0.02)),
        lambda: classes(f=staticmethod(lambda s: 5.0)),
    ],
    "class method": [
        lambda: classes(f=classmethod(lambda c, s: 0.02)),
        lambda: classes(f=classmethod(lambda c, s: 5.0)),
    ],
    "kind of method": [
        lambda: classes(f=staticmethod(by_global)),
        lambda: classes(f=classmethod(by_global)),
    ],
    "property": [
        lambda: classes(f=property(lambda self: 0.02)),
        lambda: classes(f=property(lambda self: 5.0)),
    ],
    "cached property": [
        lambda: classes(f=functools.cached_property(lambda self: 0.02)),
        lambda: classes(f=functools.cached_property(lambda self: 5.0)),
    ],
    "array of a class": [lambda rate=rate: classes(rate=np.array([rate])) for rate in (0.02, 5.0)],
    "slot": [lambda: with_slots(0.02), lambda: with_slots(5.0)],
    "attrgetter": [lambda: operator.attrgetter("k"), lambda: operator.attrgetter("names")],
    "itemgetter": [lambda: operator.itemgetter(0), lambda: operator.itemgetter(1)],
    "methodcaller": [lambda: operator.methodcaller("sum"), lambda: operator.methodcaller("max")],
    "its argument": [
        lambda: operator.methodcaller("sum", axis=0),
        lambda: operator.methodcaller("sum", axis=1),
    ],
    "slice": [lambda: slice(0, 3), lambda: slice(0, 3, 2)],
    "range": [lambda: range(3), lambda: range(4)],
    "built-in function": [lambda: math.sin, lambda: math.cos],
    "ufunc": [lambda: np.sin, lambda: np.cos],
    "decorator": [lambda: decorated(by_global, 2.0), lambda: decorated(by_global, 3.0)],
    "argument of grad": [lambda: jax.grad(by_global, 0), lambda: jax.grad(by_global, 1)],
    "class of a number": [lambda: Rate(0.1), lambda: FasterRate(0.1)],
}


@pytest.mark.parametrize("name", UNLIKE)
def test_one_thing_that_differs_tells(name):
    (first, again), (other, _) = ((fingerprint(make()), fingerprint(make())) for make in UNLIKE[name])
    assert first == again
    assert first != other


@pytest.fixture
def settings(monkeypatch):
    """A user's module of settings, with a module within."""
    module, inner = types.ModuleType("my_settings"), types.ModuleType("my_settings.inner")
    module.RATE, module.UNUSED, module.inner, inner.RATE = 0.02, 1.0, inner, 0.1
    monkeypatch.setitem(sys.modules, "my_settings", module)
    monkeypatch.setitem(by_global.__globals__, "my_settings", module)
    return module


def imports_itself(step):
    from my_settings import RATE

    return RATE


def nested(step):
    return [my_settings.RATE for _ in (lambda: my_settings.RATE,)]


@pytest.mark.parametrize(
    "function",
    [
        lambda step: my_settings.RATE,
        lambda step: getattr(my_settings, "RATE"),  # noqa: B009
        lambda step: (lambda: my_settings.RATE)(),
        imports_itself,
        nested,
    ],
)
def test_what_a_function_uses_of_a_users_module_counts(settings, function):
    before = fingerprint(function)
    settings.UNUSED = 2.0
    assert fingerprint(function) == before
    settings.RATE = 5.0
    assert fingerprint(function) != before


def test_a_module_in_a_closure_or_within_another_counts(settings):
    def make():
        own = settings
        return lambda step: own.inner.RATE

    before = fingerprint(make())
    assert fingerprint(make()) == before
    settings.inner.RATE = 5.0
    assert fingerprint(make()) != before


def test_globals_of_functions_within_functions_count(monkeypatch):
    def outer(step):
        return (lambda: FACTOR)()

    before = fingerprint(outer)
    monkeypatch.setitem(outer.__globals__, "FACTOR", 3.0)
    assert fingerprint(outer) != before


def test_own_classes_are_the_same_in_another_process(tmp_path):
    (tmp_path / "own_rules.py").write_text(
        "import enum, functools, operator, equinox as eqx, jaxphys as jp\n"
        "class Kind(enum.Enum):\n    slow = 1\n    fast = 2\n"
        "class Own(jp.ExactGradient):\n    scale: float = 1.0\n    names = frozenset('abcdef')\n"
        "    kind = Kind.fast\n"
        "    @property\n    def twice(self):\n        return 2 * self.scale\n"
        "    @functools.cached_property\n    def thrice(self):\n        return 3 * self.scale\n"
        "MADE = [Own(), Kind.slow, operator.itemgetter(1, 2), Own.estimate, eqx.filter_jit(Own.estimate)]\n"
    )
    code = "import own_rules, jaxphys.training.identity as i; print(i.fingerprint(own_rules.MADE))"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**environment, "PYTHONHASHSEED": str(seed)},
        ).stdout
        for seed in (1, 2)
    }
    assert len(found) == 1
