"""Which sets of tasks any network of a kind can learn: an exact answer, with a certificate either way.

A linear task demands an output `a_r · x_r = t_r` of the state `x_r = G f_r`. For the response `G = H⁻¹` this
is one linear equation, `⟨S_r, G⟩ = t_r` with `S_r = (a_r f_rᵀ + f_r a_rᵀ)/2` (Stern et al. (2023), eq. D2,
corrected). A network with some positive definite Hessian can learn a set of tasks if and only if some `G ≻ 0`
satisfies all these equations: semidefinite feasibility. Exactly one of two certificates exists, and
`learnability` searches for both:

- a positive definite `G` with `⟨S_r, G⟩ = t_r`: the node network `W = G⁻¹` performs all tasks;
- multipliers `c` with `Y = Σ c_r S_r ⪰ 0` and `c · t < 0` (or `Y ≠ 0` and `c · t = 0`): any `G ≻ 0` would
  have `⟨Y, G⟩ ≥ 0`, positive unless `Y = 0`, and yet `⟨Y, G⟩ = c · t`.

Both are found by minimising `-log det(1 - Σ y_r S_r) - log(1 + y · t)`, smooth, convex and self-concordant in
one number per task (the dual of the analytic centre of the tasks made homogeneous, `⟨S_r, X⟩ = t_r x` with
`X ≻ 0` and `x > 0`). Damped Newton steps either find its minimum, where `G = (1 + y · t) (1 - Σ y_r S_r)⁻¹`
solves the tasks, or diverge along the cone of certificates, `c = -y`.

Often Y is singular: `Y = f fᵀ` proves that no node moves against its own force. Then `y / |y|` approaches a
face of the cone, but stays outside by the square root of the rounding. Newton steps on the face itself,
`Nᵀ Σ (c_r + δc_r) S_r N = 0` with N the near-null modes of Y, bring c onto the face to within rounding.

The certificates are verified by inequalities that hold despite all rounding before. Let `ρ = (m + 4) ε` be
the rounding of a Y whose terms `|c_r| |a_r| |f_r|` sum to 1. Then `⟨Y, G⟩ ≥ (min(0, λ_min(Y)) - ρ) tr G`, and
no G performs the tasks if `c · t` is below this bound for all G up to `ε^-½` times the smallest size that the
tasks require, `max |t_r| / |a_r| |f_r|`; or if `λ_min(Y) > ρ` and `c · t < 0`. Where `c · t` is zero to
rounding, `⟨Y, G⟩` must be positive for all G that are not singular to rounding, `λ_min(G) ≥ 100 ρ tr G`.

For node networks the answer is exact. For flow and spring networks with `k ≥ 0` the problem is a relaxation:
their responses are a subset of the positive definite matrices on the free subspace of the boundary. "Not
learnable" then holds for every such network, on any graph and for any `k`. "Learnable" means only that
symmetry and stability do not forbid the tasks, not that a given graph with `k ≥ 0` has such a response.
"""

import enum
from collections.abc import Sequence
from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from jaxphys._checks import check_count, check_key, check_kind, is_concrete, require, to_array
from jaxphys.learning import SquaredError, Task

FloatingKind = Literal["node", "flow", "spring"]


class Decision(enum.IntEnum):
    """Whether a set of tasks can be learned, as a code in arrays."""

    LEARNABLE = 0
    NOT_LEARNABLE = 1
    UNDECIDED = 2


class Learnability(eqx.Module):
    """A decision and the matrix that proves it; for an ensemble each array has a leading realization axis.

    - `decision`: a `Decision` code; the certificate was verified against the tasks.
    - `response`: `(n, n)` G, positive definite on the free subspace; NaN unless learnable.
    - `separator`: `(n, n)` `Y = Σ c_r S_r`; `multipliers`: `(q,)` c, with `Σ |c_r| |a_r| |f_r| = 1`; NaN
      unless not learnable. For a task with a target but no force or no readout `Y = 0` and `c_r = ±1`.
    - `margin`: ratio of the smallest to the largest eigenvalue, of G or Y; 0 for a singular Y, and for one
      that vanishes because the tasks contradict one another.
    - `residual`: for G, `max |⟨S_r, G⟩ - t_r| / max |t_r|`; for Y, `c · t` over the largest
      `|t_r| / |a_r| |f_r|`: negative, or zero to rounding where only a singular G performs the tasks.
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
        """Whether a response that performs all tasks was found, as a boolean array."""
        return self.decision == Decision.LEARNABLE


# A matrix counts as singular if its smallest eigenvalue is below this multiple of the rounding of its trace.
_SINGULAR = 100
# Eigenvalues up to these shares of the largest one are made to vanish in turn, in so many steps each.
_FACES = np.array([1e-6, 1e-4, 1e-2])
_FACE_STEPS = 6

# State of an iteration: two arrays, whether it is done, and the number of steps taken.
_LoopState = tuple[Array, Array, Array, Array]


class CapacityCurve(NamedTuple):
    """How many random tasks can be learned.

    - `num_tasks`: `(T,)` numbers of tasks, ascending. `fraction`: `(T,)` fraction of realizations in which as
      many are learnable.
    - `capacities`: `(R,)` the largest learnable number in each realization. `undecided`: number of decisions
      that stayed open; they count as not learnable.
    - `half`: the number of tasks at which half of the sets are learnable, interpolated.
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
    """Decide whether some `G ≻ 0` has `readouts[r] · G forces[r] = targets[r]` for all r, with a proof.

    Stern et al. (2023), appendix D. "Learnable" means by a G whose eigenvalues lie within a ratio of
    `ε^-0.6`, 2e9; "not learnable" means that every G that performs the tasks is singular to rounding, or 7e7
    times as large as the tasks require. Tasks between the two, performed only by a G that is nearly singular,
    stay `UNDECIDED`.

    Use float64: tasks near the limit of what is learnable need all digits. The function works under `jit` and
    `vmap`. Random sets are decided in about ten Newton steps, each `O(q³ + q² n + n³)`.

    **Arguments**

    - `forces`, `readouts`, `targets`: `(q, n)`, `(q, n)` and `(q,)`, one row for each of q tasks; in any
      units.
    - `counted`: `(q,)`, which tasks count; all by default.
    - `max_iterations`: Newton steps after which the decision stays `UNDECIDED`.

    **Returns** a `Learnability`.

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
    # Scaled to matrices S_r of norm one and targets of order one, so that G is of order one too.
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
    # Combinations of tasks for which `Σ c_r S_r` vanishes: the same combination of targets must vanish.
    contradiction = vectors @ jnp.where(is_null, vectors.T @ wanted, 0)
    y, iterations = _newton(unit, f, wanted, max_iterations)
    matrix = _combined(unit, f, -y)
    green = (1 + y @ wanted) * jnp.linalg.inv(matrix + jnp.eye(len(matrix), dtype=t.dtype))
    green = 0.5 * (green + green.T)
    # One projection onto the tasks removes what Newton's method and rounding left of the residual.
    missing = wanted - jnp.sum((unit @ green) * f, -1)
    green = height * (green + _combined(unit, f, inverse @ missing))
    contradicts = jnp.sum(jnp.abs(contradiction)) > jnp.finfo(t.dtype).eps ** 0.5
    multipliers = jnp.where(contradicts, -contradiction, -y)
    feasible = _performs(green, f, a, t)[0]
    multipliers = _on_a_face(unit, f, wanted, multipliers, feasible)
    return _verified(f, a, t, green, multipliers / norms, iterations)


def task_learnability(task: Task, *, max_iterations: int = 100) -> Learnability:
    """`learnability` of a `Task`, or of a stacked ensemble of tasks: all its outputs of nonzero weight.

    For node networks without a boundary the answer is exact. For flow and spring networks with `k ≥ 0` it is
    a relaxation: "not learnable" holds for every such network, "learnable" means that symmetry and stability
    do not forbid the tasks.

    **Arguments**

    - `task`: with forces as inputs and a `SquaredError` cost.
    - `max_iterations`: Newton steps after which the decision stays `UNDECIDED`.

    **Returns** a `Learnability`, whose `response` and `separator` are `(n, n)` in all coordinates, and zero
    for held ones.

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
def _of_samples(
    task: Task,
    samples: Int[Array | np.ndarray, " q"],
    outputs: Int[Array | np.ndarray, " q"],
    max_iterations: int,
) -> Learnability:
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
    """The largest number of tasks that each realization can learn, of its first ones.

    Another task never makes a set easier, so that the number is found by bisection. Undecided sets count as
    not learnable. Runs on the host, with one compiled program for all sets.

    **Arguments**

    - `forces`, `readouts`, `targets`: `(R, q, n)`, `(R, q, n)` and `(R, q)`, as in `learnability`.
    - `max_iterations`: Newton steps after which a decision stays `UNDECIDED`.

    **Returns** the numbers, `(R,)`, and how many decisions stayed open.
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
        searching = high - low > 1
        undecided += int(((decision == Decision.UNDECIDED) & searching).sum())
        good = decision == Decision.LEARNABLE
        low, high = np.where(searching & good, middle, low), np.where(searching & ~good, middle, high)
    return low, undecided


@eqx.filter_jit
def _decisions(
    forces: Float[Array, "R q n"],
    readouts: Float[Array, "R q n"],
    targets: Float[Array, "R q"],
    counted: Bool[Array, "R q"],
    max_iterations: int,
) -> Int[Array, " R"]:
    """`Decision` on the tasks that are counted, of every realization."""

    def one(forces: Array, readouts: Array, targets: Array, counted: Array) -> Array:
        found = learnability(forces, readouts, targets, counted=counted, max_iterations=max_iterations)
        return found.decision

    return jax.vmap(one)(forces, readouts, targets, counted)


def free_dimension(kind: FloatingKind, num_nodes: int, *, dimension: int = 2) -> int:
    """m, the number of independent coordinates of a floating network: N, N - 1 or `d N - d (d + 1) / 2`.

    Node networks have no free motion, flow networks the uniform one, springs in d dimensions the rigid
    motions.

    **Arguments**

    - `kind`: `"node"`, `"flow"` or `"spring"`. `num_nodes`: N. `dimension`: d, for springs.

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
    kind: FloatingKind,
    num_nodes: int,
    key: Key[Array, ""],
    *,
    realizations: int = 100,
    num_tasks: Sequence[int] | None = None,
    dimension: int = 2,
) -> CapacityCurve:
    """The fraction of sets of random linear tasks that are learnable, as a function of the number of tasks.

    Stern et al. (2023), fig. 6a. Tasks are those of `random_linear`, `a · G f = t` with standard normal
    entries. The projection of a Gaussian force onto the free subspace is Gaussian, so that tasks are drawn in
    that subspace, and the network enters by its dimension m alone. For `"flow"` and `"spring"` the curve is
    an upper bound where `k ≥ 0`.

    **Arguments**

    - `kind`, `num_nodes`, `dimension`: as in `free_dimension`.
    - `key`: draws the tasks. `realizations`: how many sets, R.
    - `num_tasks`: the numbers of tasks at which the fraction is given; by default 1 to `m (m + 1) / 2`,
      beyond which none are learnable.

    **Returns** a `CapacityCurve`.

    Raises `InputError` as `free_dimension` does, and on numbers that are not positive.

    >>> import jax, jaxphys as jp
    >>> curve = jp.diagnostics.capacity_curve("node", 2, jax.random.key(0), realizations=20)
    >>> curve.num_tasks.tolist(), curve.free_dimension
    ([1, 2, 3], 2)
    """
    free = free_dimension(kind, num_nodes, dimension=dimension)
    check_key("key", key)
    check_count("realizations", realizations)
    most = free * (free + 1) // 2
    counts = np.arange(1, most + 1) if num_tasks is None else np.unique(np.asarray(num_tasks, dtype=int))
    require(len(counts) > 0 and counts[0] > 0, "num_tasks", "hold positive numbers", f"it is {num_tasks}")
    keys = jax.random.split(key, 3)
    # One task more than there are unknowns, so that every curve ends below the last number.
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
    # Tasks that do not count make rows of zeros in the Hessian of Newton's method.
    idle = jnp.where(jnp.sum(a**2, -1) * jnp.sum(f**2, -1) > 0, 0, 1) * tasks

    def goes_on(state: _LoopState) -> Bool[Array, ""]:
        _, _, done, count = state
        return ~done & (count < max_iterations)

    def iterate(state: _LoopState) -> _LoopState:
        y, ridge, _, count = state
        factor = jnp.linalg.cholesky(eye + _combined(a, f, -y))
        left, right = (jax.scipy.linalg.solve_triangular(factor, x.T, lower=True) for x in (a, f))
        crossing = left.T @ right
        slack = 1 + y @ t
        gradient = jnp.diagonal(crossing) - t / slack
        curvature = 0.5 * ((left.T @ left) * (right.T @ right) + crossing * crossing.T)
        curvature = curvature + jnp.outer(t, t) / slack**2
        # Linearly dependent tasks make it singular, in directions in which the function is constant.
        damped = curvature + idle + ridge * jnp.trace(curvature) * tasks
        step = -jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(damped), True), gradient)
        descent = -gradient @ step
        decrement = jnp.sqrt(jnp.maximum(descent, 0))
        converged = (descent < 1e-14) & (slack * jnp.max(jnp.abs(gradient)) < epsilon**0.4)
        # Along the step, relative to the current matrix, eigenvalues are 1 + s μ: trying any s is cheap.
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
        # At large y the Hessian is singular to rounding: then a larger ridge is tried.
        sound = jnp.all(jnp.isfinite(further)) & ((descent > 0) | converged)
        further, ridge = jnp.where(sound, further, y), jnp.where(sound, ridge, 1e3 * ridge)
        values = jnp.linalg.eigvalsh(_combined(a, f, -further))
        separates = (values[0] > epsilon**0.5 * values[-1]) & (
            further @ t > epsilon**0.5 * jnp.sum(jnp.abs(further * t))
        )
        # `1 - Σ y_r S_r ≻ 0` bounds Y from below by -1: at this size it is positive semidefinite to `ε^0.6`.
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
    """Whether G is positive definite and performs the tasks; its residual, and its margin."""
    tolerance = float(jnp.finfo(t.dtype).eps) ** 0.6
    scale = jnp.max(jnp.abs(t), initial=0.0)
    scale = jnp.where(scale > 0, scale, 1)
    residual = jnp.max(jnp.abs(jnp.sum((a @ green) * f, -1) - t), initial=0.0) / scale
    definite = jnp.linalg.eigvalsh(green)
    feasible = (residual <= tolerance) & (definite[0] > tolerance * definite[-1])
    return feasible, residual, definite[0] / definite[-1]


class _Proof(NamedTuple):
    """A candidate certificate: scaled multipliers c, `Y`, the gap `c · t` over the size of the tasks, margin.

    `separates`: whether it proves that the tasks are not learnable.
    """

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
    # A task without force or readout but with a target is its own proof: Y = 0 and c · t < 0.
    idle = ~(jnp.any(a != 0, axis=-1) & jnp.any(f != 0, axis=-1))
    is_vain = jnp.any(idle & (t != 0))
    multipliers = jnp.where(is_vain, jnp.where(idle, -jnp.sign(t), 0), multipliers)
    terms = jnp.sum(jnp.abs(multipliers) * lengths)
    multipliers = multipliers / jnp.where(terms > 0, terms, 1)
    separator = _combined(a, f, multipliers)
    values = jnp.linalg.eigvalsh(separator)
    rounding = (len(values) + 4) * epsilon
    # A lower bound of the largest eigenvalue of any G that performs the tasks.
    size = jnp.max(jnp.abs(t) / jnp.where(lengths > 0, lengths, 1), initial=0.0)
    gap = multipliers @ t / jnp.where(size > 0, size, 1)
    above, below = jnp.sum(jnp.maximum(values, 0)), jnp.sum(jnp.maximum(-values, 0))
    allowed = jnp.where(values[0] > rounding, 0, jnp.minimum(values[0], 0) - rounding)
    separates = gap < epsilon**-0.5 * allowed - rounding
    is_still = _SINGULAR * rounding * above > below + 2 * rounding
    separates = separates | (is_still & (jnp.abs(gap) <= rounding))
    # Nothing is proved where the product of two lengths underflows.
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
    """Multipliers near `start` whose Y is positive semidefinite to rounding, where it must be singular.

    Sets of eigenvalues of Y that are to vanish are tried from few to many.
    """

    def goes_on(state: _LoopState) -> Bool[Array, ""]:
        _, _, done, count = state
        return ~done & (count < _FACES.size * _FACE_STEPS)

    def iterate(state: _LoopState) -> _LoopState:
        multipliers, best, _, count = state
        share = jnp.asarray(_FACES, t.dtype)[count // _FACE_STEPS]
        # Tasks of very small multipliers are dropped first.
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
        # The smallest change of c that makes these eigenvalues vanish.
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
