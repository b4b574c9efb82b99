"""What can be learned: analytic cases, certificates checked by hand, and SciPy as a judge of either side."""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from helpers import assert_close, assert_refused

import jaxphys as jp
from jaxphys import diagnostics
from jaxphys.diagnostics import Decision

pytestmark = pytest.mark.float64

DECIDE = eqx.filter_jit(diagnostics.learnability)
YES, NO, OPEN = Decision.LEARNABLE, Decision.NOT_LEARNABLE, Decision.UNDECIDED


def decide(forces, readouts, targets):
    arrays = (jnp.asarray(x, dtype=float) for x in (forces, readouts, targets))
    return DECIDE(*arrays)


def check_certificate(found, forces, readouts, targets):
    """Either matrix proves what it is handed out for, from the tasks alone."""
    forces, readouts, targets = (np.asarray(x, dtype=float) for x in (forces, readouts, targets))
    if found.decision == YES:
        green = np.asarray(found.response)
        assert_close(green, green.T, relative=1e-14)
        assert np.linalg.eigvalsh(green)[0] > 0
        for force, readout, target in zip(forces, readouts, targets, strict=True):
            assert abs(readout @ green @ force - target) < 1e-9 * np.abs(targets).max()
        assert np.isnan(found.separator).all()
    else:
        assert found.decision == NO
        multipliers = np.asarray(found.multipliers)
        outer = [np.outer(a, f) + np.outer(f, a) for a, f in zip(readouts, forces, strict=True)]
        separator = 0.5 * np.tensordot(multipliers, outer, axes=1)
        assert_close(found.separator, separator, relative=1e-12, scale=1 + np.abs(separator).max())
        assert multipliers @ targets < 0
        largest = np.abs(multipliers[:, None, None] * outer).sum()
        below = np.linalg.eigvalsh(separator)[0] / largest
        assert below > -1e-12
        # Whatever G of the size that is asked for would miss the tasks by more than rounding explains.
        sizes = np.linalg.norm(forces, axis=1) * np.linalg.norm(readouts, axis=1)
        asked = np.max(np.abs(targets) / sizes)
        assert multipliers @ targets < 1e3 * min(below, -1e-15) * largest * asked
        assert np.isnan(found.response).all()


@pytest.mark.parametrize("target", [-2.0, 1e-3, 2.0])
def test_one_node_one_task(target):
    """`a g f = t` has a positive g if and only if t has the sign of `a f`."""
    for force, readout in ((1.0, 1.0), (-0.5, 2.0), (-3.0, -1.0)):
        found = decide([[force]], [[readout]], [target])
        assert found.decision == (YES if target * force * readout > 0 else NO)
        check_certificate(found, [[force]], [[readout]], [target])


def test_two_nodes_two_tasks():
    """Both diagonal entries of G are wanted to be 1, the coupling to be t: positive definite if |t| < 1."""
    eye = np.eye(2)
    forces, readouts = eye[[0, 1, 0]], eye[[0, 1, 1]]
    for target in (-1.2, -1.001, -0.999, 0.0, 0.5, 0.999, 1.001, 3.0):
        found = decide(forces, readouts, [1.0, 1.0, target])
        assert found.decision == (YES if abs(target) < 1 else NO)
        check_certificate(found, forces, readouts, [1.0, 1.0, target])
    # Without the second entry any coupling will do.
    found = decide(forces[[0, 2]], readouts[[0, 2]], [1.0, 50.0])
    check_certificate(found, forces[[0, 2]], readouts[[0, 2]], [1.0, 50.0])
    assert found.decision == YES


def test_a_node_does_not_move_against_its_force():
    """Self-response below zero: the certificate is singular, and there is none better."""
    unit = np.eye(4)[:1]
    found = decide(unit, unit, [-1.0])
    assert found.decision == NO
    check_certificate(found, unit, unit, [-1.0])
    assert_close(found.separator, unit.T @ unit, relative=1e-15)
    assert found.margin == 0
    # Nor does it rest: a positive definite G answers every force.
    still = decide(unit, unit, [0.0])
    assert still.decision == NO
    assert still.residual == 0


def pairs(vectors):
    """Forces and readouts of all responses between vectors."""
    first, second = np.triu_indices(len(vectors))
    return vectors[first], vectors[second]


def block(matrix):
    return matrix[np.triu_indices(len(matrix))]


# Tasks on few random vectors: what they ask for, and by how much it is impossible.
IMPOSSIBLE = {
    "against the force": lambda u, v, w: ([u], [u], [-0.2]),
    "two answers to one force": lambda u, v, w: ([u, u], [v, v], [1.0, 1.3]),
    "reciprocity": lambda u, v, w: ([u, v], [v, u], [1.0, 0.7]),
    "sum of answers": lambda u, v, w: ([u, u, u], [v, w, v - 2 * w], [1.0, 1.0, 1.0]),
    "self-response as a difference": lambda u, v, w: ([u, u], [u + v, v], [1.0, 1.5]),
    "cauchy and schwarz": lambda u, v, w: ([u, u, v], [u, v, v], [1.0, 1.2, 1.0]),
    "parallelogram": lambda u, v, w: ([u, v, u + v], [u, v, u + v], [1.0, 1.0, 4.5]),
    "block of three": lambda u, v, w: (
        *pairs(np.array([u, v, w])),
        block(np.array([[1.0, -0.6, -0.6], [-0.6, 1.0, -0.6], [-0.6, -0.6, 1.0]])),
    ),
}


@pytest.mark.parametrize("kind", IMPOSSIBLE)
@pytest.mark.parametrize("others", [0, 3])
def test_what_is_impossible_is_proved_to_be(kind, others):
    """Certificates are singular: Y lives on few vectors, whatever else is asked for beside."""
    random = np.random.default_rng(7)
    for size in (4, 7):
        vectors = random.standard_normal((3, size)) * np.array([[1.0], [30.0], [0.1]])
        forces, readouts, targets = (np.array(each) for each in IMPOSSIBLE[kind](*vectors))
        # What some network does with random forces is possible by itself.
        draws = random.standard_normal((size, size))
        green = draws @ draws.T + 0.1 * np.eye(size)
        more, read = random.standard_normal((2, others, size))
        forces, readouts = np.concatenate([forces, more]), np.concatenate([readouts, read])
        targets = np.concatenate([targets, np.sum(read @ green * more, axis=1)])
        found = decide(forces, readouts, targets)
        assert found.decision == NO
        check_certificate(found, forces, readouts, targets)
        # The same forces and readouts, asked for what that network does.
        possible = np.sum(readouts @ green * forces, axis=1)
        found = decide(forces, readouts, possible)
        assert found.decision == YES
        check_certificate(found, forces, readouts, possible)


def test_near_the_edge_neither_is_claimed_wrongly():
    """Coupling up to `1 - δ` between two unit responses is possible, from `1 + δ` on it is not."""
    eye = np.eye(4)
    forces, readouts = eye[[0, 1, 0]], eye[[0, 1, 1]]
    for exponent in range(1, 16):
        inside, outside = (decide(forces, readouts, [1.0, 1.0, 1 + s * 10.0**-exponent]) for s in (-1, 1))
        assert inside.decision in ((YES,) if exponent < 9 else (YES, OPEN))
        assert outside.decision in ((NO,) if exponent < 7 else (NO, OPEN))
    # Nothing answers a force whose own response is zero, however large the rest of G.
    weak = decide(eye[[0, 0, 2]], eye[[0, 1, 3]], [0.0, 1.0, 1.0])
    assert weak.decision == NO
    assert_close(weak.separator, np.diag([1.0, 0, 0, 0]), relative=1e-12)
    # Only a large second response makes up for a small first one.
    for first in 10.0 ** -np.arange(0, 7):
        found = decide(eye[[0, 0]], eye[[0, 1]], [first, 10.0])
        assert found.decision in ((YES,) if first > 1e-3 else (YES, OPEN))


def test_contradicting_tasks():
    forces, readouts = [[1.0, 2.0], [1.0, 2.0]], [[0.5, -1.0], [0.5, -1.0]]
    found = decide(forces, readouts, [1.0, 2.0])
    assert found.decision == NO
    assert found.margin == 0
    check_certificate(found, forces, readouts, [1.0, 2.0])
    # The same thing asked for twice is one task.
    twice = decide(forces, readouts, [1.0, 1.0])
    assert twice.decision == YES
    check_certificate(twice, forces, readouts, [1.0, 1.0])
    # By reciprocity the exchange of force and readout changes nothing.
    assert decide([forces[0], readouts[0]], [readouts[0], forces[0]], [1.0, 2.0]).decision == NO


def draw(random, tasks, size, realizations):
    return tuple(
        random.standard_normal(s) for s in [(realizations, tasks, size)] * 2 + [(realizations, tasks)]
    )


@pytest.fixture(scope="module")
def program():
    return eqx.filter_jit(jax.vmap(diagnostics.learnability))


@pytest.mark.parametrize("tasks", [8, 15, 16])
def test_random_sets_are_decided_and_proved(program, random, tasks):
    """Five nodes, 15 unknowns: half-way, at the end of it, and past it."""
    drawn = draw(random, tasks, 5, 30)
    found = program(*map(jnp.asarray, drawn))
    assert not (found.decision == OPEN).any()
    if tasks == 8:
        assert 8 <= found.learnable.sum() <= 28
    for i in range(30):
        check_certificate(jax.tree.map(lambda leaf, i=i: leaf[i], found), *(x[i] for x in drawn))
    if tasks == 16:
        assert not found.learnable.any()


def test_scipy_finds_no_more_and_no_less(program, random):
    """The smallest eigenvalue of G at a trace of one per task scale, maximised by another method."""
    drawn = draw(random, 5, 3, 12)
    found = program(*map(jnp.asarray, drawn))
    rows, columns = np.triu_indices(3)
    assert 0 < found.learnable.sum() < 12
    for i in range(12):
        forces, readouts, targets = (x[i] for x in drawn)
        outer = [np.outer(a, f) + np.outer(f, a) for a, f in zip(readouts, forces, strict=True)]
        sensing = np.array([0.5 * m[rows, columns] * np.where(rows == columns, 1, 2) for m in outer])
        # Five equations for six unknowns leave a line, G₀ + s N: some s must make it positive definite.
        start = np.linalg.lstsq(sensing, targets, rcond=None)[0]
        line = np.linalg.svd(sensing)[2][-1]

        def smallest(s, start=start, line=line):
            matrix = np.zeros((3, 3))
            matrix[rows, columns] = start + s * line
            return np.linalg.eigvalsh(matrix + matrix.T - np.diag(matrix.diagonal()))[0]

        # Concave in s.
        size = 1e4 * np.abs(start).max()
        best = scipy.optimize.minimize_scalar(lambda s: -smallest(s), bounds=(-size, size), method="bounded",
                                              options={"xatol": 1e-9 * size})  # fmt: skip
        assert (-best.fun > 0) == bool(found.learnable[i])


def test_the_response_is_a_network_that_performs_the_tasks():
    random = np.random.default_rng(3)
    draws = random.standard_normal((6, 6))
    network = jp.NodeNetwork.from_matrix((draws + draws.T) / 2 + 10 * np.eye(6))
    task = jp.random_linear(network, 8, jax.random.key(2))
    found = diagnostics.task_learnability(task)
    assert found.learnable
    assert found.multipliers.shape == (8,)
    weights = np.linalg.inv(found.response)
    built = jp.NodeNetwork.from_matrix((weights + weights.T) / 2)
    assert jp.task_cost(built, task) < 1e-15
    assert jp.task_cost(network, task) > 1e-3
    stacked = diagnostics.task_learnability(jp.stack([task, task]))
    assert stacked.learnable.tolist() == [True, True]
    assert_close(stacked.response[1], found.response, relative=1e-6)


def test_what_a_network_does_can_be_learned():
    """Targets measured on a flow network on a floating boundary; asked with the opposite sign they cannot."""
    network = jp.FlowNetwork(jp.erdos_renyi(6, 9, jax.random.key(0)))
    boundary = jp.Boundary(network, free_modes="project")
    forces = np.random.default_rng(0).standard_normal((9, 6))
    task = jp.Task(boundary, force=forces, readout=forces, targets=np.zeros((9, 9)), weights=np.eye(9))
    outputs = jp.respond(network, task).outputs
    possible = diagnostics.task_learnability(task.with_samples(task.inputs, outputs, task.weights))
    assert possible.learnable
    assert_close(boundary.rows @ possible.response, np.zeros((1, 6)), relative=1e-12, scale=1.0)
    impossible = diagnostics.task_learnability(task.with_samples(task.inputs, -outputs, task.weights))
    assert impossible.decision == NO
    # A flow network holds its answer to one force: response to e_0 - e_1 and back is the same number.
    eye = np.eye(6)
    mutual = [[1.0, 0.0], [0.0, 2.0]]
    drops = np.array([eye[0] - eye[1], eye[2] - eye[3]])
    both = jp.Task(boundary, force=drops, readout=drops[::-1], targets=mutual, weights=np.eye(2))
    assert diagnostics.task_learnability(both).decision == NO


def test_bisection_agrees_with_every_number(random):
    drawn = tuple(map(jnp.asarray, draw(random, 11, 4, 10)))
    found, undecided = diagnostics.capacities(*drawn)
    assert undecided == 0
    one_by_one = np.zeros(10, dtype=int)
    decide_first = eqx.filter_jit(
        jax.vmap(
            lambda f, a, t, c: diagnostics.learnability(f, a, t, counted=c).learnable, in_axes=(0, 0, 0, None)
        )
    )
    for count in range(1, 12):
        learnable = np.asarray(decide_first(*drawn, jnp.arange(11) < count))
        assert (learnable <= (one_by_one == count - 1)).all()
        one_by_one += learnable
    assert found.tolist() == one_by_one.tolist()


def test_capacity_of_one_node_is_one_half():
    """m = 1: the first task has a random sign, and the second contradicts it."""
    curve = diagnostics.capacity_curve("flow", 2, jax.random.key(0), realizations=2000)
    assert curve.free_dimension == 1
    assert set(curve.capacities.tolist()) == {0, 1}
    assert abs(curve.fraction[0] - 0.5) < 0.05
    assert curve.undecided == 0


def test_half_of_the_unknowns_can_be_learned():
    """The positive semidefinite cone has statistical dimension `m (m + 1) / 4`, half of its space."""
    curve = diagnostics.capacity_curve("node", 6, jax.random.key(0), realizations=60)
    assert curve.num_tasks.tolist() == list(range(1, 22))
    assert (np.diff(curve.fraction) <= 0).all()
    assert 10.5 < curve.half < 14.0
    assert curve.fraction[0] == 1
    assert curve.fraction[-1] == 0


def test_free_dimensions():
    free = diagnostics.free_dimension
    assert (free("node", 8), free("flow", 8), free("spring", 8), free("spring", 8, dimension=3)) == (
        8,
        7,
        13,
        18,
    )
    network = jp.SpringNetwork(jp.triangular_lattice((2, 4)))
    boundary = jp.Boundary(network, free_modes="project")
    assert diagnostics.free_subspace(boundary).shape[1] == free("spring", 8)
    assert_refused("kind", inspect.unwrap(free), "tensegrity", 8)
    assert_refused("num_nodes", free, "flow", 1)


def test_bad_input():
    ones = jnp.ones((2, 3))
    assert_refused("forces", diagnostics.learnability.__wrapped__, ones, ones[:1], jnp.ones(2))
    assert_refused("realizations", diagnostics.capacity_curve, "node", 2, jax.random.key(0), realizations=0)
    assert_refused("num_tasks", diagnostics.capacity_curve, "node", 2, jax.random.key(0), num_tasks=[0])
    network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]))
    held = jp.allostery(network, jp.Boundary(network, held_nodes=[0], ground=[2]), [], [1], response=0.5)
    assert_refused("task", diagnostics.task_learnability, held, saying="forces")
    driven = jp.allostery(network, jp.Boundary(network, ground=[2]), [0], [1], response=0.5)
    entropy = eqx.tree_at(lambda task: task.cost, driven, jp.CrossEntropy())
    assert_refused("task", diagnostics.task_learnability, entropy, saying="SquaredError")


@pytest.mark.parametrize("target", [1.0, -1.0, 1e-3])
@pytest.mark.parametrize("nothing", ["force", "readout"])
def test_what_is_not_driven_or_not_read_gives_no_output(nothing, target):
    """Y = 0 and yet c · t < 0, beside tasks that could be learned."""
    forces, readouts = np.eye(2), np.eye(2)
    (forces if nothing == "force" else readouts)[1] = 0
    targets = np.array([1.0, target])
    for kept in (slice(None), slice(1, 2)):
        found = decide(forces[kept], readouts[kept], targets[kept])
        assert found.decision == NO
        assert float(found.multipliers @ targets[kept]) < 0
        assert not np.any(found.separator)
    assert decide(forces, readouts, [1.0, 0.0]).decision == YES


def test_what_is_no_set_of_tasks_is_refused():
    one = jnp.ones((1, 2))
    decide = diagnostics.learnability
    for bad in (jnp.nan, jnp.inf):
        assert_refused("targets", decide, one, one, jnp.array([bad]), saying="be finite")
        assert_refused("forces", decide, bad * one, one, jnp.ones(1), saying="be finite")
        assert_refused("readouts", decide, one, bad * one, jnp.ones(1), saying="be finite")
    # What does not count may be anything.
    two, counted = jnp.ones((2, 2)), jnp.array([True, False])
    assert decide(two, two, jnp.array([1.0, jnp.nan]), counted=counted).decision == YES
    assert_refused("forces", decide, one[:0], one[:0], jnp.zeros(0), saying="at least one task")
    assert_refused("forces", decide, one[:, :0], one[:, :0], jnp.ones(1), saying="at least one task")
    network = jp.NodeNetwork.from_matrix(jnp.eye(2))
    task = jp.random_linear(network, 1, jax.random.key(0))
    idle = task.with_samples(task.inputs, task.targets, jnp.zeros_like(task.targets))
    assert_refused("task", diagnostics.task_learnability, idle, saying="weight")
