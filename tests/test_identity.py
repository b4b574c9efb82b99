"""Fingerprints: equal for what does the same, in any process; different for what does not."""

import functools
import subprocess
import sys

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
