"""Alignment of the modes of the physical Hessian with a task, and how a learning step changes both.

To first order a learning step `δk` changes the Hessian by `δH = Σᵢ δkᵢ Qᵢ`, its eigenvalues by
`δλ_a = v_aᵀ δH v_a` and its modes by `δv_a = Σ_{b≠a} v_b (v_bᵀ δH v_a) / (λ_a - λ_b)`. With the update of a
rule in place of `δk` these are eqs 21 and 22 (node networks), 24 and 25 (difference networks) of Stern et al.
(2023).

Where eigenvalues are equal the sum is undefined and single modes are arbitrary: a block B of d such modes is
one eigenspace. Its eigenvalues change by those of `V_Bᵀ δH V_B` (Stern et al. (2023), after eq. 22), and its
alignment with a vector u is the length of the projection of u, shared equally by its modes, `|V_Bᵀ u| / √d`:
the same number in every basis. `degenerate` defines which eigenvalues count as equal.

The functions named `predicted_…` give the changes per unit of learning rate, so that `Record(functionals=…)`
can record them and `accumulate` can integrate them along a run.
"""

from typing import NamedTuple, TypedDict, Unpack

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from numpy.typing import ArrayLike

from jaxphys._checks import check_kind, check_number, check_numbers, is_concrete, require
from jaxphys.diagnostics._spectrum import Spectrum, degenerate, free_subspace, spectrum
from jaxphys.equilibrium import Boundary, check_boundary
from jaxphys.learning import Task, check_pair, respond
from jaxphys.learning.rules import AbstractRule, ExactGradient
from jaxphys.networks.physics import AbstractNetwork

# A step mixes modes across gaps up to this multiple of the largest shift of an eigenvalue.
_BRIDGED = 10


class ModeChange(NamedTuple):
    """First-order change of a spectrum, in the order of its modes.

    - `eigenvalues`: `(m,)`, ascending within a block of equal eigenvalues.
    - `modes`: `(m, n)`, relative to the signs that `spectrum` chose and, in a block of equal eigenvalues, to
      its basis: there they tell how the eigenspace rotates.
    """

    eigenvalues: Float[Array, " m"]
    modes: Float[Array, "m n"]


def force_alignment(network: AbstractNetwork, task: Task) -> Float[Array, "m R"]:
    """`|v_a · F_r| / |F_r|`, the alignment of every mode a with the input force of sample r.

    Stern et al. (2023), fig. 3b. Forces are projected onto the free subspace of the boundary, so that the
    squares over all modes sum to 1. Modes of equal eigenvalues (`degenerate`) share the projection onto their
    eigenspace equally.

    **Arguments**

    - `network`, `task`: one network and its task of R samples.

    **Returns** `(m, R)`, the softest mode first, without units; NaN where inputs are held values, which apply
    no force.

    Raises `InputError` on a network and task that do not fit.

    >>> import jaxphys as jp
    >>> bond = jp.FlowNetwork(jp.from_edges([(0, 1)]))
    >>> task = jp.allostery(bond, jp.Boundary(bond, ground=[0]), [1], [1], response=2.0)
    >>> jp.diagnostics.force_alignment(bond, task).tolist()
    [[1.0]]
    """
    check_pair(network, task)
    return _overlaps(spectrum(network, task.boundary), _free_forces(task))


def response_alignment(network: AbstractNetwork, task: Task) -> Float[Array, "m R"]:
    """`|v_a · x_r| / |x_r|`, the alignment of every mode a with the free state of sample r.

    Stern et al. (2023), section III D. Where inputs are held values, x is the part of the state in the free
    subspace of the boundary. Modes of equal eigenvalues share equally, as in `force_alignment`.

    **Arguments**

    - `network`, `task`: one network and its task of R samples.

    **Returns** `(m, R)`, the softest mode first, without units.

    Raises `InputError` on a network and task that do not fit.

    >>> import jaxphys as jp
    >>> bond = jp.FlowNetwork(jp.from_edges([(0, 1)]))
    >>> task = jp.allostery(bond, jp.Boundary(bond, ground=[0]), [1], [1], response=2.0)
    >>> jp.diagnostics.response_alignment(bond, task).tolist()
    [[1.0]]
    """
    check_pair(network, task)
    basis = free_subspace(task.boundary)
    states = (task.inputs @ respond(network, task).drive) @ basis @ basis.T
    return _overlaps(spectrum(network, task.boundary), states)


def mode_change(
    network: AbstractNetwork,
    boundary: Boundary,
    change: Float[Array, " M"],
    *,
    rate: Float[Array, ""] | float | None = None,
) -> ModeChange:
    """The change of eigenvalues and modes by `k → k + rate · change`, divided by `rate`.

    **Arguments**

    - `network`, `boundary`: one network and its boundary. `change`: `(M,)`, a direction in `k`.
    - `rate`: None for the limit of small rates, perturbation theory of first order (Stern et al. (2023), the
      first lines of eqs 21, 22, 24 and 25), in which only modes of equal eigenvalues (`degenerate`) form a
      block; it holds as long as a step shifts eigenvalues by less than the gaps between blocks. A positive
      number is a step of that size: modes whose gap is less than ten times the largest possible shift,
      `rate |δH|` (the largest row sum), form a block as well, and eigenvalues include the second order in the
      coupling to other blocks.

    **Returns** a `ModeChange`. Within a block eigenvalues change by those of `V_Bᵀ δH V_B`; the rotation of
    its modes among themselves is not determined by a small change, and is left out of `modes`.

    Raises `InputError` on a rate that is not positive, on a `change` of another shape than `k`, and on
    anything but one network and its boundary.

    >>> import jax.numpy as jnp, jaxphys as jp
    >>> network = jp.NodeNetwork.from_matrix(jnp.diag(jnp.array([1.0, 2.0])))
    >>> change = jp.diagnostics.mode_change(network, jp.Boundary(network), jnp.array([0.1, 0.0, -0.2]))
    >>> change.eigenvalues.round(3).tolist()
    [0.1, -0.2]
    """
    check_boundary(network, boundary)
    change = check_numbers("change", change, network.k.shape, network.k.dtype)
    if rate is not None:
        check_number("rate", rate)
    require(rate is None or not is_concrete(rate) or rate > 0, "rate", "be positive", f"it is {rate}")
    return _perturbed(spectrum(network, boundary), _hessian_of(network, change), rate)


class _Learning(TypedDict, total=False):
    """Keywords of `learning_direction`."""

    rule: AbstractRule | None
    metric: ArrayLike | None
    lower: float | None
    upper: float | None


def learning_direction(
    network: AbstractNetwork,
    task: Task,
    *,
    rule: AbstractRule | None = None,
    metric: ArrayLike | None = None,
    lower: float | None = None,
    upper: float | None = None,
) -> Float[Array, " M"]:
    """`-metric · ∂C/∂k`, the `δk` of one learning step per unit of learning rate.

    Stern et al. (2023), eqs 11, 13 and 16.

    **Arguments**

    - `network`, `task`: one network and its task.
    - `rule`: the estimate of `∂C/∂k`; `ExactGradient()` by default.
    - `metric`: `(M,)` weights; by default ½ for off-diagonal entries of node networks (eq. 13) and 1 for
      everything else.
    - `lower`, `upper`: bounds on k. Components that point out of them are set to zero.

    **Returns** `(M,)`, in units of cost over k.

    Raises `InputError` if `metric` has another shape than `k`, and on anything but one network and its task.

    >>> import jaxphys as jp
    >>> bond = jp.FlowNetwork(jp.from_edges([(0, 1)]))
    >>> task = jp.allostery(bond, jp.Boundary(bond, ground=[0]), [1], [1], response=2.0)
    >>> jp.diagnostics.learning_direction(bond, task).tolist()
    [-1.0]
    """
    check_pair(network, task)
    if rule is not None:
        check_kind("rule", rule, AbstractRule, "a rule, as `CoupledLearning()`")
    if metric is None:
        metric = np.ones(network.num_edges) if network.descent_metric is None else network.descent_metric
    metric = check_numbers("metric", metric, network.k.shape, network.k.dtype)
    direction = -metric * (rule or ExactGradient())(network, task).gradient
    if lower is not None:
        direction = jnp.where((network.k <= lower) & (direction < 0), 0, direction)
    if upper is not None:
        direction = jnp.where((network.k >= upper) & (direction > 0), 0, direction)
    return direction


def predicted_eigenvalue_change(
    network: AbstractNetwork,
    task: Task,
    *,
    rate: Float[Array, ""] | float | None = None,
    **learning: Unpack[_Learning],
) -> Float[Array, " m"]:
    """`δλ_a / α`, the change of the eigenvalues by one learning step with rate α.

    Stern et al. (2023), eqs 21 and 24.

    **Arguments**

    - `network`, `task`: one network and its task.
    - `rate`: α, which matters where eigenvalues are close (`mode_change`); the limit of small α by default.
    - the others are those of `learning_direction`.

    **Returns** `(m,)`, the softest mode first, in units of k per unit of learning rate.

    Raises `InputError` as `mode_change` and `learning_direction` do.

    >>> import jaxphys as jp
    >>> bond = jp.FlowNetwork(jp.from_edges([(0, 1)]))
    >>> task = jp.allostery(bond, jp.Boundary(bond, ground=[0]), [1], [1], response=2.0)
    >>> jp.diagnostics.predicted_eigenvalue_change(bond, task).tolist()
    [-1.0]
    """
    change = learning_direction(network, task, **learning)
    return mode_change(network, task.boundary, change, rate=rate).eigenvalues


def predicted_force_alignment_change(
    network: AbstractNetwork, task: Task, **learning: Unpack[_Learning]
) -> Float[Array, "m R"]:
    """The change of `force_alignment` by one learning step, per unit of a small learning rate.

    Stern et al. (2023), eqs 22 and 25. It is large where two eigenvalues come close: there a step exchanges
    modes, and only much smaller steps are of first order. Where eigenvalues are equal it is the change of the
    share of their common eigenspace.

    **Arguments**

    - `network`, `task`: one network and its task of R samples.
    - the others are those of `learning_direction`.

    **Returns** `(m, R)`, the softest mode first.

    Raises `InputError` as `learning_direction` does.
    """
    check_pair(network, task)
    modes = spectrum(network, task.boundary)
    change = _perturbed(modes, _hessian_of(network, learning_direction(network, task, **learning)))
    forces = _free_forces(task)
    turned = _shared_change(modes, modes.modes @ forces.T, change.modes @ forces.T)
    return turned / jnp.linalg.norm(forces, axis=-1)


def predicted_response_alignment_change(
    network: AbstractNetwork, task: Task, **learning: Unpack[_Learning]
) -> Float[Array, "m R"]:
    """The change of `response_alignment` by one learning step, per unit of a small learning rate.

    The modes rotate (Stern et al. (2023), eqs 22 and 25) and the response itself changes, by `-G δH x`.

    **Arguments**

    - `network`, `task`: one network and its task of R samples.
    - the others are those of `learning_direction`.

    **Returns** `(m, R)`, the softest mode first.

    Raises `InputError` as `learning_direction` does.
    """
    check_pair(network, task)
    modes = spectrum(network, task.boundary)
    change_of_hessian = _hessian_of(network, learning_direction(network, task, **learning))
    change = _perturbed(modes, change_of_hessian)
    basis = free_subspace(task.boundary)
    states = task.inputs @ respond(network, task).drive
    moved = -((states @ change_of_hessian @ modes.modes.T) / modes.eigenvalues) @ modes.modes
    free = states @ basis @ basis.T
    lengths = jnp.linalg.norm(free, axis=-1)
    overlaps = modes.modes @ free.T
    turned = _shared_change(modes, overlaps, change.modes @ free.T + modes.modes @ moved.T)
    stretched = _shared(modes, overlaps) * jnp.sum(free * moved, axis=-1) / lengths**2
    return (turned - stretched) / lengths


def accumulate(initial: ArrayLike, velocities: ArrayLike, times: ArrayLike) -> np.ndarray:
    """Integrate recorded changes per unit time along a run: `initial + ∫ velocity dt`, trapezoidal.

    **Arguments**

    - `initial`: `(R, …)` values at the first record. `velocities`: `(R, T, …)`, what `train` recorded.
    - `times`: `(T,)` or `(R, T)`: learning rate times steps, for fixed steps and gradient flows.

    **Returns** `(R, T, …)`; records must lie close enough for the accuracy of the trapezoidal rule.

    Raises `InputError` on shapes that do not fit.

    >>> from jaxphys.diagnostics import accumulate
    >>> accumulate([1.0], [[2.0, 2.0, 4.0]], [0.0, 1.0, 2.0]).tolist()
    [[1.0, 3.0, 6.0]]
    """
    initial, velocities, times = (np.asarray(each, dtype=float) for each in (initial, velocities, times))
    require(velocities.ndim >= 2, "velocities", "have axes (R, T, …)", f"its shape is {velocities.shape}")
    wanted = (velocities.shape[0], *velocities.shape[2:])
    require(initial.shape == wanted, "initial", f"have shape {wanted}", f"its shape is {initial.shape}")
    records = velocities.shape[:2]
    require(
        times.shape in (records, records[1:]),
        "times",
        f"have shape {records[1:]} or {records}",
        f"its shape is {times.shape}",
    )
    lengths = np.diff(np.broadcast_to(times, records), axis=1)
    lengths = lengths.reshape(*lengths.shape, *[1] * (velocities.ndim - 2))
    middles = 0.5 * (velocities[:, 1:] + velocities[:, :-1])
    steps = np.concatenate([initial[:, None], lengths * middles], axis=1)
    return np.cumsum(steps, axis=1)


def _free_forces(task: Task) -> Float[Array, "R n"]:
    basis = free_subspace(task.boundary)
    return (task.inputs @ task.force) @ basis @ basis.T


def _overlaps(modes: Spectrum, vectors: Float[Array, "R n"]) -> Float[Array, "m R"]:
    return _shared(modes, modes.modes @ (vectors / jnp.linalg.norm(vectors, axis=-1, keepdims=True)).T)


def _shared(modes: Spectrum, overlaps: Float[Array, "m R"]) -> Float[Array, "m R"]:
    """Root mean squares of overlaps over each block of modes."""
    same = degenerate(modes.eigenvalues).astype(overlaps.dtype)
    return jnp.sqrt(same @ overlaps**2 / jnp.sum(same, axis=1, keepdims=True))


def _shared_change(
    modes: Spectrum, overlaps: Float[Array, "m R"], change: Float[Array, "m R"]
) -> Float[Array, "m R"]:
    """The change of `_shared` by a small change of overlaps; zero where `_shared` is at its minimum, zero."""
    same = degenerate(modes.eigenvalues).astype(overlaps.dtype)
    shared = _shared(modes, overlaps)
    moved = same @ (overlaps * change) / jnp.sum(same, axis=1, keepdims=True)
    return jnp.where(shared > 0, moved / jnp.where(shared > 0, shared, 1), 0)


def _hessian_of(network: AbstractNetwork, change: Float[Array, " M"]) -> Float[Array, "n n"]:
    """`δH`: the Hessian is linear in k."""
    return network.with_k(change).hessian()


def _perturbed(
    modes: Spectrum, change: Float[Array, "n n"], rate: Float[Array, ""] | float | None = None
) -> ModeChange:
    values, vectors = modes
    elements = vectors @ change @ vectors.T
    size = jnp.max(jnp.sum(jnp.abs(elements), axis=1), initial=0.0)
    same = degenerate(values, 0.0 if rate is None else _BRIDGED * rate * size)
    gaps = values[:, None] - values
    mixing = jnp.where(same, 0, elements / jnp.where(same, 1, gaps))
    inside = jnp.where(same, elements, 0)
    if rate is None:
        return ModeChange(_block_values(inside, same), mixing @ vectors)
    # Coupling to other blocks enters to second order, made symmetric (Löwdin, J. Chem. Phys. 19, 1396, 1951).
    second = mixing @ elements
    inside = inside + rate * jnp.where(same, 0.5 * (second + second.T), 0)
    # Eigenvalues relative to the first of their block, so that each block is perturbed by itself.
    first = values[jnp.argmax(same, axis=1)]
    apart = (values - first) / rate
    return ModeChange(_block_values(inside + jnp.diag(apart), same) - apart, mixing @ vectors)


def _block_values(matrix: Float[Array, "m m"], same: Bool[Array, "m m"]) -> Float[Array, " m"]:
    """Eigenvalues of a matrix of blocks along the diagonal, ascending in each block."""
    # Shifts that separate the blocks keep them in order in one decomposition; Rayleigh quotients undo them.
    height = 3 * jnp.max(jnp.sum(jnp.abs(matrix), axis=1), initial=0.0)
    number = jnp.argmax(same, axis=1).astype(matrix.dtype)
    vectors = jnp.linalg.eigh(matrix + jnp.diag(height * number))[1]
    return jnp.sum(vectors * (matrix @ vectors), axis=0)
