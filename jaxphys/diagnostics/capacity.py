"""Which sets of tasks any network of a kind could learn: an exact answer, with a certificate either way.

A linear task asks for an output `a_r · x_r = t_r` of the state `x_r = G f_r`. In the response `G = H⁻¹` that
is one linear equation, `⟨S_r, G⟩ = t_r` with `S_r = (a_r f_rᵀ + f_r a_rᵀ)/2` (paper A, eq. D2, corrected). A
network with some positive definite Hessian can learn a set of tasks if and only if some `G ≻ 0` satisfies
all of them: semidefinite feasibility. Exactly one of two things exists, and `learnability` looks for both:

- a positive definite `G` with `⟨S_r, G⟩ = t_r`: the node network `W = G⁻¹` performs all tasks;
- multipliers `c` with `Y = Σ c_r S_r ⪰ 0` and `c · t < 0` (or `Y ≠ 0` and `c · t = 0`): any `G ≻ 0` would
  have `⟨Y, G⟩ ≥ 0`, positive unless `Y = 0`, and yet `⟨Y, G⟩ = c · t`.

Both are found by minimising `-log det(1 - Σ y_r S_r) - log(1 + y · t)`, smooth, convex and self-concordant in
one number per task (the dual of the analytic centre of the tasks made homogeneous, `⟨S_r, X⟩ = t_r x` with
`X ≻ 0` and `x > 0`). Damped Newton steps either find its minimum, where `G = (1 + y · t) (1 - Σ y_r S_r)⁻¹`
solves the tasks, or run off to infinity along the cone of certificates, `c = -y`.

Often Y is singular: a node that is to move against its force is proved wrong by `Y = f fᵀ`. Then y over its
length comes near a face of the cone and stays outside by rounding's root. Newton steps on the face itself,
`Nᵀ Σ (c_r + δc_r) S_r N = 0` with N the modes that Y nearly lacks, take c onto it to rounding.

What is checked at the end are inequalities that hold whatever was rounded on the way. Let `ρ = (m + 4) ε`
be the rounding of a Y whose terms `|c_r| |a_r| |f_r|` add up to 1. Then
`⟨Y, G⟩ ≥ (min(0, λ_min(Y)) - ρ) tr G`, and none performs the tasks if `c · t` is below that for all G up to
`ε^-½` times the size that the tasks ask for at least, `max |t_r| / |a_r| |f_r|`; or if `λ_min(Y) > ρ` and
`c · t < 0`. Where `c · t` is zero to rounding it is asked instead that `⟨Y, G⟩` is positive for all G that
are not singular to rounding, `λ_min(G) ≥ 100 ρ tr G`.

For node networks that is the whole truth. For flow and spring networks with `k ≥ 0` it is a relaxation: their
responses are some of the positive definite matrices on the subspace that the boundary leaves free. "Not
learnable" then holds for every such network, on any graph and whatever its `k`. "Learnable" says only that
symmetry and stability do not forbid the tasks, not that a given graph with `k ≥ 0` has such a response.
"""

import enum
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from jaxphys._checks import check_count, check_key, check_kind, is_concrete, require, to_array
from jaxphys.learning import SquaredError, Task

Kind = Literal["node", "flow", "spring"]


class Decision(enum.IntEnum):
    """What is known about a set of tasks."""

    LEARNABLE = 0
    NOT_LEARNABLE = 1
    UNDECIDED = 2


class Learnability(eqx.Module):
    """A decision and the matrix that proves it; arrays lead with the realization axis for an ensemble.

    - `decision`: a `Decision` code, taken from the certificate after that was checked against the tasks.
    - `response`: `(n, n)` G, positive definite where the boundary leaves it free; NaN unless learnable.
    - `separator`: `(n, n)` `Y = Σ c_r S_r` and `multipliers`, `(q,)` c, with `Σ |c_r| |a_r| |f_r| = 1`; NaN
      but where the tasks are not learnable. A task without force or readout that wants an output has `Y = 0`
      and `c_r = ±1`.
    - `margin`: how far the certificate is from the edge: the smallest eigenvalue over the largest, of G or Y;
      0 for a singular Y, and for one that vanishes because the tasks contradict one another.
    - `residual`: of G, `max |⟨S_r, G⟩ - t_r| / max |t_r|`; of Y, `c · t` over the largest
      `|t_r| / |a_r| |f_r|`: negative, or zero to rounding where only a singular G would do.
    - `iterations`: Newton steps taken.
    """

    decision: Int[Array, ""]
    response: Float[Array, "n n"]
    separator: Float[Array, "n n"]
    multipliers: Float[Array, " q"]
    margin: Float[Array, ""]
    residual: Float[Array, ""]
    iterations: Int[Array, ""]

    @property
    def learnable(self) -> Bool[Array, "..."]:
        """Whether a response that performs all tasks was found."""
        return self.decision == Decision.LEARNABLE


# A matrix counts as singular whose smallest eigenvalue is this many roundings of its trace.
_SINGULAR = 100
# Up to which share of the largest eigenvalue others are made to vanish, and steps for each.
_FACES = np.array([1e-6, 1e-4, 1e-2])
_FACE_STEPS = 6


class CapacityCurve(NamedTuple):
    """How many random tasks can be learned.

    - `num_tasks`: `(T,)` ascending. `fraction`: `(T,)` of realizations in which so many are learnable.
    - `capacities`: `(R,)` the largest learnable number in each realization. `undecided`: how many of
      all decisions stayed open; they count as not learnable.
    - `half`: number of tasks at which half of the sets are learnable, interpolated.
    - `free_dimension`: m, the size of G; it has `m (m + 1) / 2` independent entries.
    """

    num_tasks: Int[np.ndarray, " T"]
    fraction: Float[np.ndarray, " T"]
    capacities: Int[np.ndarray, " R"]
    undecided: int
    half: float
    free_dimension: int


def learnability(
    forces: Float[Array, "q n"],
    readouts: Float[Array, "q n"],
    targets: Float[Array, " q"],
    *,
    counted: Bool[Array, " q"] | None = None,
    max_iterations: int = 100,
) -> Learnability:
    """Decide whether some `G ≻ 0` has `readouts[r] · G forces[r] = targets[r]` for all r; prove it.

    Learnable means by a G whose eigenvalues lie within a ratio of `ε^-0.6`, 2e9; not learnable, that no G
    performs the tasks unless it is singular to rounding, or 7e7 times as large as they ask for. What lies
    between stays `UNDECIDED`: tasks that nothing but a G at the edge of being singular performs.

    In float64: tasks near the edge of what is learnable need all digits. Compiles and batches. Random sets
    are decided in about ten Newton steps, each `O(q³ + q² n + n³)`.

    **Arguments**

    - `counted`: which tasks to ask for; all by default. `max_iterations`: after which it stays `UNDECIDED`.

    Raises `InputError` on shapes that do not fit, no tasks, and numbers that are not finite.

    >>> import jax.numpy as jnp
    >>> from jaxphys.diagnostics import learnability
    >>> force, readout = jnp.array([[1.0]]), jnp.array([[2.0]])
    >>> [bool(learnability(force, readout, jnp.array([t])).learnable) for t in (3.0, -3.0)]
    [True, False]
    """
    forces, readouts, targets = (
        values if isinstance(values, jax.Array) else jnp.asarray(to_array(name, values, float))
        for name, values in (("forces", forces), ("readouts", readouts), ("targets", targets))
    )
    require(
        forces.ndim == 2 and forces.shape == readouts.shape == (*targets.shape, forces.shape[-1]),
        "forces",
        "have shape (q, n), as `readouts` has, with q `targets`",
        f"shapes are {forces.shape}, {readouts.shape} and {targets.shape}",
    )
    require(
        forces.size > 0, "forces", "hold at least one task and coordinate", f"its shape is {forces.shape}"
    )
    counts = jnp.ones(targets.shape, bool) if counted is None else counted
    f, a, t = (jnp.where(counts.reshape(-1, *[1] * (x.ndim - 1)), x, 0) for x in (forces, readouts, targets))
    for name, values in (("forces", f), ("readouts", a), ("targets", t)):
        is_finite = not is_concrete(values) or np.isfinite(values).all()
        require(is_finite, name, "be finite", "it holds NaN or infinity")
    # Sensing matrices of norm one, targets of order one: then G is of order one too.
    norms = jnp.sqrt(0.5 * (jnp.sum(a**2, -1) * jnp.sum(f**2, -1) + jnp.sum(a * f, -1) ** 2))
    norms = jnp.where(norms > 0, norms, 1)
    unit = a / norms[:, None]
    height = jnp.max(jnp.abs(t / norms), initial=0.0)
    height = jnp.where(height > 0, height, 1)
    wanted = t / norms / height
    overlap = unit @ f.T
    gram = 0.5 * ((unit @ unit.T) * (f @ f.T) + overlap * overlap.T)
    values, vectors = jnp.linalg.eigh(gram)
    is_null = values <= 10 * len(values) * jnp.finfo(t.dtype).eps * values[-1]
    inverse = (vectors * jnp.where(is_null, 0, 1 / jnp.where(is_null, 1, values))) @ vectors.T
    # Combinations of tasks that no matrix tells apart: their targets must cancel too.
    contradiction = vectors @ jnp.where(is_null, vectors.T @ wanted, 0)
    y, iterations = _newton(unit, f, wanted, max_iterations)
    matrix = _combined(unit, f, -y)
    green = (1 + y @ wanted) * jnp.linalg.inv(matrix + jnp.eye(len(matrix), dtype=t.dtype))
    green = 0.5 * (green + green.T)
    # What Newton and rounding left of the residual goes in one projection onto the tasks.
    missing = wanted - jnp.sum((unit @ green) * f, -1)
    green = height * (green + _combined(unit, f, inverse @ missing))
    contradicts = jnp.sum(jnp.abs(contradiction)) > jnp.finfo(t.dtype).eps ** 0.5
    multipliers = jnp.where(contradicts, -contradiction, -y)
    feasible = _performs(green, f, a, t)[0]
    multipliers = _on_a_face(unit, f, wanted, multipliers, feasible)
    return _verified(f, a, t, green, multipliers / norms, iterations)


def task_learnability(task: Task, *, max_iterations: int = 100) -> Learnability:
    """`learnability` of all outputs with weight of a `Task`, or of a stacked ensemble of tasks.

    `response` and `separator` act on all n coordinates and vanish on what the boundary holds. For node
    networks without a boundary the answer is exact; for flow and spring networks see the top of this module.

    Raises `InputError` unless inputs are forces (the response to held values is not linear in G) and the cost
    is a `SquaredError`.

    >>> import jax, jaxphys as jp
    >>> network = jp.NodeNetwork.from_matrix(4 * jax.numpy.eye(4))
    >>> few, many = (jp.random_linear(network, count, jax.random.key(0)) for count in (2, 11))
    >>> [bool(jp.diagnostics.task_learnability(task).learnable) for task in (few, many)]
    [True, False]
    """
    check_kind("task", task, Task, "a task, or an ensemble of `jp.stack`")
    require(
        isinstance(task.cost, SquaredError),
        "task",
        "have a `SquaredError` cost, whose targets say what is wanted",
        f"it has a {type(task.cost).__name__}",
    )
    require(
        task.boundary.num_held == 0,
        "task",
        "take its inputs as forces",
        f"{task.boundary.num_held} row(s) of its boundary are held at values",
    )
    shape = task.targets.shape[-2:]
    weights = np.ones(shape) if task.weights is None else np.asarray(task.weights)
    samples, outputs = np.nonzero(weights.reshape(-1, *shape).any(axis=0))
    require(samples.size > 0, "task", "ask for something", "no output of it has weight")
    return _of_samples(task, samples, outputs, max_iterations)


@eqx.filter_jit
def _of_samples(task: Task, samples: Any, outputs: Any, max_iterations: int) -> Learnability:
    """Learnability of these outputs of these samples, one for each task if they are stacked."""

    def one(task: Task) -> Learnability:
        basis = task.boundary.constraints.basis
        forces = (task.inputs @ task.force @ basis)[samples]
        readouts = (task.readout @ basis)[outputs]
        counted = None if task.weights is None else task.weights[samples, outputs] > 0
        targets = task.targets[samples, outputs]
        found = learnability(forces, readouts, targets, counted=counted, max_iterations=max_iterations)
        whole = (basis @ found.response @ basis.T, basis @ found.separator @ basis.T)
        return eqx.tree_at(lambda this: (this.response, this.separator), found, whole)

    return one(task) if task.targets.ndim == 2 else jax.vmap(one)(task)


def capacities(
    forces: Float[Array, "R q n"],
    readouts: Float[Array, "R q n"],
    targets: Float[Array, "R q"],
    *,
    max_iterations: int = 100,
) -> tuple[Int[np.ndarray, " R"], int]:
    """How many of the first tasks of each realization can be learned; how many decisions stayed open.

    Another task never makes a set easier, so the number is found by bisection. Undecided sets count as not
    learnable. On the host, one compiled program for all.
    """
    realizations, most = targets.shape
    low, high = np.zeros(realizations, dtype=int), np.full(realizations, most + 1)
    undecided = 0
    while (high - low > 1).any():
        middle = np.where(high - low > 1, (low + high) // 2, low)
        decision = np.asarray(
            _decisions(
                forces, readouts, targets, jnp.asarray(np.arange(most) < middle[:, None]), max_iterations
            )
        )
        open_yet = high - low > 1
        undecided += int(((decision == Decision.UNDECIDED) & open_yet).sum())
        good = decision == Decision.LEARNABLE
        low, high = np.where(open_yet & good, middle, low), np.where(open_yet & ~good, middle, high)
    return low, undecided


@eqx.filter_jit
def _decisions(forces: Any, readouts: Any, targets: Any, counted: Any, max_iterations: int) -> Any:
    """`Decision` on the tasks that are counted, `(R,)`."""

    def one(*arrays: Any) -> Any:
        *task, counted = arrays
        return learnability(*task, counted=counted, max_iterations=max_iterations).decision

    return jax.vmap(one)(forces, readouts, targets, counted)


def free_dimension(kind: Kind, num_nodes: int, *, dimension: int = 2) -> int:
    """m, coordinates that a floating network of a kind responds with: N, N - 1, `d N - d (d + 1) / 2`.

    Node networks have no free motion, flow networks one, springs in d dimensions their rigid motions.
    Raises `InputError` on an unknown kind or too few nodes.

    >>> from jaxphys.diagnostics import free_dimension
    >>> [free_dimension(kind, 10) for kind in ("node", "flow", "spring")]
    [10, 9, 17]
    """
    motions = {"node": (1, 0), "flow": (1, 1), "spring": (dimension, dimension * (dimension + 1) // 2)}
    require(kind in motions, "kind", f"be one of {list(motions)}", f"it is {kind!r}")
    check_count("num_nodes", num_nodes)
    per_node, rigid = motions[kind]
    free = per_node * num_nodes - rigid
    require(free > 0, "num_nodes", "leave something free to move", f"it is {num_nodes}")
    return free


def capacity_curve(
    kind: Kind,
    num_nodes: int,
    key: Key[Array, ""],
    *,
    realizations: int = 100,
    num_tasks: Sequence[int] | None = None,
    dimension: int = 2,
) -> CapacityCurve:
    """Fraction of sets of random linear tasks that are learnable, against their number (paper A, fig. 6a).

    Tasks are those of `random_linear`, `a · G f = t` with standard normal entries. What a boundary leaves
    free of a Gaussian force is Gaussian again, so they are drawn in the free subspace at once, and networks
    enter by its dimension m alone. For `"flow"` and `"spring"` the curve is an upper bound where `k ≥ 0`.

    - `num_tasks`: where to give the fraction; 1 to `m (m + 1) / 2` by default: no more are learnable.

    Raises `InputError` as `free_dimension` does, and on numbers that are not positive.
    """
    free = free_dimension(kind, num_nodes, dimension=dimension)
    check_key("key", key)
    check_count("realizations", realizations)
    most = free * (free + 1) // 2
    counts = np.arange(1, most + 1) if num_tasks is None else np.unique(np.asarray(num_tasks, dtype=int))
    require(len(counts) > 0 and counts[0] > 0, "num_tasks", "hold positive numbers", f"it is {num_tasks}")
    keys = jax.random.split(key, 3)
    # One more than there are unknowns settles that more cannot be.
    shape = (realizations, most + 1, free)
    forces, readouts = jax.random.normal(keys[0], shape), jax.random.normal(keys[1], shape)
    found, undecided = capacities(forces, readouts, jax.random.normal(keys[2], shape[:2]))
    everywhere = (found[:, None] >= np.arange(most + 2)).mean(axis=0)
    after = int(np.argmax(everywhere < 0.5))
    half = after - 1 + (everywhere[after - 1] - 0.5) / (everywhere[after - 1] - everywhere[after])
    fraction = (found[:, None] >= counts).mean(axis=0)
    return CapacityCurve(counts, fraction, found, undecided, float(half), free)


def _combined(a: Float[Array, "q n"], f: Float[Array, "q n"], y: Float[Array, " q"]) -> Float[Array, "n n"]:
    """`Σ y_r S_r`."""
    half = 0.5 * (a * y[:, None]).T @ f
    return half + half.T


def _newton(
    a: Float[Array, "q n"], f: Float[Array, "q n"], t: Float[Array, " q"], max_iterations: int
) -> tuple[Float[Array, " q"], Int[Array, ""]]:
    """Minimise `-log det(1 - Σ y_r S_r) - log(1 + y · t)` until -y is a certificate or G solves all."""
    epsilon = float(jnp.finfo(t.dtype).eps)
    eye, tasks = jnp.eye(a.shape[1], dtype=t.dtype), jnp.eye(len(t), dtype=t.dtype)
    # Tasks that do not count leave rows of zeros in Newton's matrix.
    idle = jnp.where(jnp.sum(a**2, -1) * jnp.sum(f**2, -1) > 0, 0, 1) * tasks

    def goes_on(state: Any) -> Bool[Array, ""]:
        _, _, done, count = state
        return ~done & (count < max_iterations)

    def iterate(state: Any) -> Any:
        y, ridge, _, count = state
        factor = jnp.linalg.cholesky(eye + _combined(a, f, -y))
        left, right = (jax.scipy.linalg.solve_triangular(factor, x.T, lower=True) for x in (a, f))
        crossing = left.T @ right
        slack = 1 + y @ t
        gradient = jnp.diagonal(crossing) - t / slack
        curvature = 0.5 * ((left.T @ left) * (right.T @ right) + crossing * crossing.T)
        curvature = curvature + jnp.outer(t, t) / slack**2
        # Tasks that depend on one another make it singular, in directions in which nothing is to be gained.
        damped = curvature + idle + ridge * jnp.trace(curvature) * tasks
        step = -jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(damped), True), gradient)
        descent = -gradient @ step
        decrement = jnp.sqrt(jnp.maximum(descent, 0))
        converged = (descent < 1e-14) & (slack * jnp.max(jnp.abs(gradient)) < epsilon**0.4)
        # Along the step the matrix has eigenvalues 1 + s μ relative to here: any s is cheap to try.
        inner = jax.scipy.linalg.solve_triangular(factor, _combined(a, f, -step), lower=True)
        inner = jax.scipy.linalg.solve_triangular(factor, inner.T, lower=True)
        spread = jnp.linalg.eigvalsh(0.5 * (inner + inner.T))
        spread = jnp.append(spread, step @ t / slack)
        # The first of these is the damped step of self-concordant functions, which always descends.
        lengths = jnp.concatenate(
            [2.0 ** jnp.arange(-1, 14, dtype=t.dtype) / (1 + decrement), jnp.ones(1, t.dtype)]
        )
        growth = 1 + lengths[:, None] * spread
        inside = jnp.all(growth > 0.01, axis=1)
        cost = -jnp.sum(jnp.log(jnp.where(growth > 0, growth, 1)), axis=1)
        further = y + lengths[jnp.argmin(jnp.where(inside, cost, jnp.inf))] * step
        # Far out it is singular to rounding as well: then try again with a larger ridge.
        sound = jnp.all(jnp.isfinite(further)) & ((descent > 0) | converged)
        further, ridge = jnp.where(sound, further, y), jnp.where(sound, ridge, 1e3 * ridge)
        values = jnp.linalg.eigvalsh(_combined(a, f, -further))
        separates = (values[0] > epsilon**0.5 * values[-1]) & (
            further @ t > epsilon**0.5 * jnp.sum(jnp.abs(further * t))
        )
        # Y is over -1: so far out, it is positive semidefinite to the digits that a face is found from.
        return further, ridge, converged | separates | (values[-1] > epsilon**-0.6), count + 1

    start = (
        jnp.zeros_like(t),
        jnp.asarray(10 * epsilon, t.dtype),
        jnp.array(False),
        jnp.asarray(0, jnp.int32),
    )
    y, _, _, count = jax.lax.while_loop(goes_on, iterate, start)
    return y, count


def _performs(
    green: Float[Array, "n n"], f: Float[Array, "q n"], a: Float[Array, "q n"], t: Float[Array, " q"]
) -> tuple[Bool[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """Whether G is positive definite and performs the tasks; what it misses, and its margin."""
    tolerance = float(jnp.finfo(t.dtype).eps) ** 0.6
    scale = jnp.max(jnp.abs(t), initial=0.0)
    scale = jnp.where(scale > 0, scale, 1)
    residual = jnp.max(jnp.abs(jnp.sum((a @ green) * f, -1) - t), initial=0.0) / scale
    definite = jnp.linalg.eigvalsh(green)
    feasible = (residual <= tolerance) & (definite[0] > tolerance * definite[-1])
    return feasible, residual, definite[0] / definite[-1]


class _Proof(NamedTuple):
    """Multipliers of unit size, `Y`, `c · t` over the size of the tasks, its margin; whether it proves."""

    multipliers: Float[Array, " q"]
    separator: Float[Array, "n n"]
    gap: Float[Array, ""]
    margin: Float[Array, ""]
    separates: Bool[Array, ""]


def _proof(
    f: Float[Array, "q n"], a: Float[Array, "q n"], t: Float[Array, " q"], multipliers: Float[Array, " q"]
) -> _Proof:
    """What multipliers prove, by the inequalities at the top of this module."""
    epsilon = float(jnp.finfo(t.dtype).eps)
    lengths = jnp.linalg.norm(a, axis=-1) * jnp.linalg.norm(f, axis=-1)
    # A task that drives or reads nothing, and yet wants something, is its own proof: Y = 0 and c · t < 0.
    idle = ~(jnp.any(a != 0, axis=-1) & jnp.any(f != 0, axis=-1))
    is_vain = jnp.any(idle & (t != 0))
    multipliers = jnp.where(is_vain, jnp.where(idle, -jnp.sign(t), 0), multipliers)
    terms = jnp.sum(jnp.abs(multipliers) * lengths)
    multipliers = multipliers / jnp.where(terms > 0, terms, 1)
    separator = _combined(a, f, multipliers)
    values = jnp.linalg.eigvalsh(separator)
    rounding = (len(values) + 4) * epsilon
    # At least so large is the largest eigenvalue of any G that performs the tasks.
    size = jnp.max(jnp.abs(t) / jnp.where(lengths > 0, lengths, 1), initial=0.0)
    gap = multipliers @ t / jnp.where(size > 0, size, 1)
    above, below = jnp.sum(jnp.maximum(values, 0)), jnp.sum(jnp.maximum(-values, 0))
    allowed = jnp.where(values[0] > rounding, 0, jnp.minimum(values[0], 0) - rounding)
    separates = gap < epsilon**-0.5 * allowed - rounding
    is_still = _SINGULAR * rounding * above > below + 2 * rounding
    separates = separates | (is_still & (jnp.abs(gap) <= rounding))
    # Lengths whose product is below all numbers prove nothing.
    separates = is_vain | (separates & (terms > 0) & ~jnp.any((lengths == 0) & (t != 0)))
    margin = jnp.where(jnp.abs(values[0]) <= rounding, 0, values[0] / jnp.max(jnp.abs(values)))
    return _Proof(multipliers, separator, gap, margin, separates)


def _on_a_face(
    a: Float[Array, "q n"],
    f: Float[Array, "q n"],
    t: Float[Array, " q"],
    start: Float[Array, " q"],
    settled: Bool[Array, ""],
) -> Float[Array, " q"]:
    """Multipliers nearby whose Y is singular and positive semidefinite to rounding, if it must be singular.

    Which eigenvalues of Y are to vanish is tried from few to many.
    """

    def goes_on(state: Any) -> Bool[Array, ""]:
        _, _, done, count = state
        return ~done & (count < _FACES.size * _FACE_STEPS)

    def iterate(state: Any) -> Any:
        multipliers, best, _, count = state
        share = jnp.asarray(_FACES, t.dtype)[count // _FACE_STEPS]
        # Tasks of which hardly anything enters are left out first.
        sizes = jnp.abs(start)
        few = jnp.where(sizes > share * jnp.max(sizes), start, 0)
        multipliers = jnp.where(count % _FACE_STEPS == 0, few, multipliers)
        multipliers = multipliers / jnp.max(jnp.abs(multipliers))
        values, vectors = jnp.linalg.eigh(_combined(a, f, multipliers))
        vanish = jnp.where(values <= share * values[-1], vectors, 0)
        left, right = a @ vanish, f @ vanish
        crossing = left @ right.T
        gram = 0.5 * ((left @ left.T) * (right @ right.T) + crossing * crossing.T)
        excess = jnp.where(values <= share * values[-1], values, 0)
        # Least change of c that makes them vanish.
        sizes, directions = jnp.linalg.eigh(gram)
        kept = sizes > 1e-10 * sizes[-1]
        pull = directions.T @ jnp.sum(left * right * excess, axis=1)
        change = directions @ jnp.where(kept, pull / jnp.where(kept, sizes, 1), 0)
        moved = multipliers - change
        proof = _proof(f, a, t, moved)
        best = jnp.where(proof.separates, moved, best)
        return moved, best, proof.separates & (proof.margin >= 0), count + 1

    proof = _proof(f, a, t, start)
    done = settled | (proof.separates & (proof.margin >= 0))
    state = (start, start, done, jnp.asarray(0, jnp.int32))
    return jax.lax.while_loop(goes_on, iterate, state)[1]


def _verified(
    f: Float[Array, "q n"],
    a: Float[Array, "q n"],
    t: Float[Array, " q"],
    green: Float[Array, "n n"],
    multipliers: Float[Array, " q"],
    iterations: Int[Array, ""],
) -> Learnability:
    """The decision that the two candidates support, checked against the tasks as they were given."""
    feasible, residual, margin = _performs(green, f, a, t)
    proof = _proof(f, a, t, multipliers)
    decision = jnp.where(
        feasible,
        Decision.LEARNABLE,
        jnp.where(proof.separates, Decision.NOT_LEARNABLE, Decision.UNDECIDED),
    )
    proved = proof.separates & ~feasible
    return Learnability(
        decision=decision.astype(jnp.int32),
        response=jnp.where(feasible, green, jnp.nan),
        separator=jnp.where(proved, proof.separator, jnp.nan),
        multipliers=jnp.where(proved, proof.multipliers, jnp.nan),
        margin=jnp.where(feasible, margin, proof.margin),
        residual=jnp.where(feasible, residual, proof.gap),
        iterations=iterations,
    )
