"""Compiled programs do not pile up."""

import jax
import numpy as np
import optax
import pytest
from helpers import assert_identical

import jaxphys as jp
from jaxphys.training import programs

pytestmark = pytest.mark.float64

DESCENT = optax.sgd(0.1)
traced = []


class Counted(jp.ExactGradient):
    """Notes what it is traced for."""

    def __call__(self, network, task, *, solver=None):
        traced.append(network.num_edges)
        return super().__call__(network, task, solver=solver)


def trained(edges, optimizer=DESCENT):
    network = jp.FlowNetwork(jp.erdos_renyi(6, edges, jax.random.key(edges)))
    task = jp.allostery(network, jp.Boundary(network, ground=[0]), [1], [2], response=0.1)
    return jp.train(network, task, steps=2, rule=Counted(), optimizer=optimizer, record=jp.Record(every=1))


def test_programs_of_many_shapes_are_forgotten_and_made_again(monkeypatch):
    """Three are kept; the fourth makes room, and the first, asked for again, gives the same numbers."""
    monkeypatch.setattr(programs, "MOST_PROGRAMS", 3)
    jp.clear_caches()
    traced.clear()
    first = trained(6)
    for edges in (7, 8, 6, 7, 8):
        trained(edges)
    assert traced == [6, 7, 8]
    trained(9)
    assert programs.num_kept() == 1
    assert_identical(trained(6).network.k, first.network.k)
    assert traced == [6, 7, 8, 9, 6]


def test_optimizers_that_are_made_anew_count(monkeypatch):
    monkeypatch.setattr(programs, "MOST_PROGRAMS", 2)
    jp.clear_caches()
    for number in range(5):
        trained(6, optax.sgd(0.1))
        assert programs.num_kept() == 1 + number % 2


def test_clearing_is_free_to_ask():
    """Twice, with nothing there, and in between two equal trainings."""
    before = trained(7)
    jp.clear_caches()
    jp.clear_caches()
    assert programs.num_kept() == 0
    assert np.array_equal(trained(7).cost, before.cost)
