"""An integrator of one's own, by `Problem.settle`: bounds, rest, failure, random draws, resumption."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_identical

import jaxphys as jp

# The same in either precision.
pytestmark = pytest.mark.float64

NETWORK = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2), (2, 0)]), k=[1.0, 2.0, 3.0])
TASK = jp.allostery(NETWORK, jp.Boundary(NETWORK, ground=[0]), [1], [2], response=0.05)
PAIR = jp.stack([NETWORK] * 2), jp.stack([TASK] * 2)


class Drift(jp.AbstractIntegrator):
    """`k ← k + pace` with noise, whatever the estimate; counts its steps."""

    pace: float
    noise: float = 0.0
    stepwise = False

    def check(self, network, task, rule, batch_size):
        return self

    def init(self, problem, estimate):
        return jnp.zeros((), jnp.int32)

    def advance(self, problem, state, begin, end):
        def step(number, state):
            draw = jax.random.normal(jax.random.fold_in(problem.key, number), state.k.shape, state.k.dtype)
            k = state.k + self.pace + self.noise * draw
            return problem.settle(state, k, state.memory + 1, number)

        return jax.lax.fori_loop(begin, end, step, state)


class DriftByStep(Drift):
    """The same, called for each step; step -1 measures alone."""

    stepwise = True

    def advance(self, problem, state, begin, end):
        draw = jax.random.normal(jax.random.fold_in(problem.key, begin), state.k.shape, state.k.dtype)
        move = jnp.where(begin < 0, 0, self.pace + self.noise * draw)
        return problem.settle(state, state.k + move, state.memory + 1, end)


def trained(steps=4, **arguments):
    return jp.train(*PAIR, steps=steps, **({"record": jp.Record(every=2)} | arguments))


@pytest.mark.parametrize("kind", [Drift, DriftByStep])
def test_steps_end_within_bounds(kind):
    run = trained(optimizer=kind(0.5), bounds=(0.1, 3.25))
    np.testing.assert_array_equal(run.network.k, [[3.0, 3.25, 3.25]] * 2)
    assert run.evaluations.tolist() == [5, 5]


def test_what_is_good_enough_rests():
    # Only the first realization starts with a cost above the one to stop at, and soon falls below it.
    networks = jp.stack([NETWORK, NETWORK.with_k(100 * NETWORK.k)])
    enough = 0.5 * float(jp.task_cost(NETWORK, TASK))
    assert jp.task_cost(jp.member(networks, 1), TASK) < enough
    run = jp.train(networks, PAIR[1], steps=20, optimizer=Drift(1.0), stop_cost=enough)
    assert (run.cost[:, -1] <= enough).all()
    assert 1 < run.evaluations[0] < 20
    np.testing.assert_allclose(run.network.k[0], np.asarray(NETWORK.k) + (run.evaluations[0] - 1))
    np.testing.assert_array_equal(run.network.k[1], networks.k[1])


def test_what_cannot_be_measured_stays_where_it_was():
    run = trained(optimizer=Drift(-1.75), bounds=None)
    # The first step leaves k = -0.75, 0.25, 1.25, whose Hessian is indefinite.
    assert run.failures == {"NOT_POSITIVE_DEFINITE": 2}
    np.testing.assert_array_equal(run.network.k, PAIR[0].k)
    assert run.evaluations.tolist() == [2, 2]


def test_draws_belong_to_realizations_and_runs_go_on(tmp_path):
    noisy = {"optimizer": Drift(0.0, 0.1), "sampling": jp.Sampling(key=jax.random.key(3))}
    whole = trained(**noisy)
    assert (whole.network.k[0] != whole.network.k[1]).all()
    trained(steps=2, **noisy, checkpoint=jp.Checkpointing(tmp_path))
    again = trained(**noisy, checkpoint=jp.Checkpointing(tmp_path, resume=True))
    assert_identical((again.network.k, again.cost), (whole.network.k, whole.cost))
