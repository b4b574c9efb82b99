"""Second derivatives of the learning cost with respect to the learning degrees of freedom."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from jaxphys._checks import check_key, check_numbers, require
from jaxphys.equilibrium import greens_function
from jaxphys.learning import Task, check_pair, respond, task_cost
from jaxphys.learning.rules import ExactGradient
from jaxphys.networks.physics import AbstractNetwork
from jaxphys.solvers import AbstractSolver


class CurvatureModes(NamedTuple):
    """The p directions in `k` along which a cost has the largest curvature.

    - `eigenvalues`: `(p,)`, descending, in units of cost over k squared.
    - `modes`: `(p, M)`, orthonormal: mode a is the unit vector `modes[a]`.
    - `residuals`: `(p,)`, `|H v - λ v|` in the units of `eigenvalues`: an exact eigenvalue lies within this
      distance of λ.
    """

    eigenvalues: Float[Array, " p"]
    modes: Float[Array, "p M"]
    residuals: Float[Array, " p"]


def cost_hessian(
    network: AbstractNetwork,
    task: Task,
    *,
    kind: Literal["exact", "gauss_newton"] = "exact",
    solver: AbstractSolver | None = None,
) -> Float[Array, "M M"]:
    """The second derivatives `∂²C/∂kᵢ∂kⱼ` of the learning cost in closed form, for any cost and boundary.

    Stern et al. (2023), eqs B6 and B7; Guzman et al. (2024), eq. 7. With the Jacobian
    `J_oi = ∂y_o/∂kᵢ = -zₒᵀ Qᵢ x` of the outputs (z: the response to a unit force on the output), the matrix
    `Σ_r Jᵀ C'' J` is the Gauss-Newton part, exact where `C' = 0`; the exact Hessian adds
    `T + Tᵀ`, `T_ij = Σ_ro C'_ro zₒᵀ Qᵢ G Qⱼ x_r`. Derivatives are with respect to the independent entries of
    `k`. One factorisation; samples enter through second moments where that is cheaper.

    **Arguments**

    - `network`, `task`: one network and its task; M entries of `k`.
    - `kind`: `"exact"`, or `"gauss_newton"` for the first part alone.
    - `solver`: finds the states; chosen by default.

    **Returns** `(M, M)`, symmetric, in units of cost over k squared and in the precision of the network.
    Where M² numbers are too many see `stiff_modes` and `cost_hessian_modes`.

    Raises `InputError` on an unknown `kind`, and on a network and task that do not fit.

    >>> import jax, jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]))
    >>> task = jp.allostery(network, jp.Boundary(network, ground=[2]), [0], [1], response=1.0)
    >>> jp.diagnostics.cost_hessian(network, task).round(3).tolist()
    [[0.0, 0.0], [0.0, 1.0]]
    """
    check_pair(network, task, solver=solver)
    require(kind in ("exact", "gauss_newton"), "kind", 'be "exact" or "gauss_newton"', f"it is {kind!r}")
    if kind == "gauss_newton":
        response = respond(network, task, solver=solver)
        jacobians, curvatures = _jacobian_blocks(network, task, response.drive, response.adjoint)
        return task.sample_weight * _gauss_newton(jacobians, curvatures)
    # G holds every column that `respond` would solve for, so that one factorisation is enough.
    green = greens_function(network, task.boundary, solver=solver)
    held = task.values @ task.boundary.constraints.lift[:, : task.boundary.num_held].T
    drive = held + (task.force - held @ network.hessian()) @ green
    adjoint = task.readout @ green
    gradients = task.cost_gradients(task.inputs @ (drive @ task.readout.T))
    chained = network.hessian_coupling(adjoint, drive, gradients.T @ task.inputs, green)
    curved = _gauss_newton(*_jacobian_blocks(network, task, drive, adjoint))
    return task.sample_weight * (curved + chained + chained.T)


def cost_hessian_autodiff(
    network: AbstractNetwork, task: Task, *, solver: AbstractSolver | None = None
) -> Float[Array, "M M"]:
    """The exact cost Hessian by `jax.hessian` through the implicit solve, as an oracle for `cost_hessian`.

    **Arguments**

    - `network`, `task`: one network and its task; M entries of `k`.
    - `solver`: finds the states, and must be differentiable twice; chosen by default.

    **Returns** `(M, M)`, equal to `cost_hessian` to rounding, at the price of M solves.

    Raises `InputError` on a network and task that do not fit.

    >>> import jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]))
    >>> task = jp.allostery(network, jp.Boundary(network, ground=[2]), [0], [1], response=1.0)
    >>> jp.diagnostics.cost_hessian_autodiff(network, task).round(3).tolist()
    [[0.0, 0.0], [0.0, 1.0]]
    """
    check_pair(network, task, solver=solver)
    return jax.hessian(lambda k: task_cost(network.with_k(k), task, solver=solver))(network.k)


def gauss_newton_factor(
    network: AbstractNetwork, task: Task, *, solver: AbstractSolver | None = None
) -> Float[Array, "q M"]:
    """A matrix Ψ with `Ψᵀ Ψ = Σ_r Jᵀ C'' J`, the Gauss-Newton matrix (Guzman et al. (2024), eq. 12).

    Ψ has one row for every pair of terminal and output, `q = s o`, or one for every output of every sample,
    `q = R o`, whichever costs less. Hence the number of samples does not matter once it is large.

    **Arguments**

    - `network`, `task`: one network and its task, of s terminals, o outputs and R samples.
    - `solver`: finds the states; chosen by default.

    **Returns** `(q, M)`, in units of the square root of the cost over k; NaN where the curvature `C''` of the
    cost is not positive semidefinite.

    Raises `InputError` on a network and task that do not fit.

    >>> import jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]), k=[1.0, 0.5])
    >>> task = jp.allostery(network, jp.Boundary(network, ground=[2]), [0], [1], response=1.0)
    >>> abs(jp.diagnostics.gauss_newton_factor(network, task)).round(3).tolist()
    [[0.0, 4.0]]
    """
    response = respond(network, task, solver=solver)
    jacobians, curvatures = _jacobian_blocks(network, task, response.drive, response.adjoint)
    # A symmetric root, since Cholesky fails on the singular second moments of few samples.
    values, vectors = jnp.linalg.eigh(curvatures)
    largest = jnp.max(jnp.abs(values), axis=-1, keepdims=True)
    rounding = 10 * values.shape[-1] * jnp.finfo(values.dtype).eps * largest
    roots = jnp.where(jnp.any(values < -rounding), jnp.nan, jnp.sqrt(jnp.maximum(values, 0)))
    factor = roots[..., None] * (jnp.swapaxes(vectors, -1, -2) @ jacobians)
    return task.sample_weight**0.5 * factor.reshape(-1, factor.shape[-1])


def stiff_modes(
    network: AbstractNetwork, task: Task, num_modes: int, *, solver: AbstractSolver | None = None
) -> CurvatureModes:
    """The largest eigenvalues of the Gauss-Newton matrix and their modes (Guzman et al. (2024), eq. 12).

    They are computed from the `(q, q)` Gram matrix `Ψ Ψᵀ` of `gauss_newton_factor`; no `(M, M)` matrix is
    made. Eigenvalues are accurate to rounding of the largest one; beyond the rank of Ψ they are zero, and
    their modes arbitrary.

    **Arguments**

    - `network`, `task`: one network and its task. `num_modes`: how many modes, p.
    - `solver`: finds the states; chosen by default.

    Raises `InputError` unless `num_modes` is between 1 and the smaller of q and M.

    >>> import jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]), k=[1.0, 0.5])
    >>> task = jp.allostery(network, jp.Boundary(network, ground=[2]), [0], [1], response=1.0)
    >>> jp.diagnostics.stiff_modes(network, task, 1).eigenvalues.round(3).tolist()
    [16.0]
    """
    factor = gauss_newton_factor(network, task, solver=solver)
    _check_count("num_modes", num_modes, min(factor.shape))
    eigenvalues, vectors = jnp.linalg.eigh(factor @ factor.T)
    eigenvalues = jnp.maximum(eigenvalues[::-1][:num_modes], 0)
    # Images of small eigenvalues are orthogonal only to rounding of the largest one: QR makes them so.
    modes = jnp.linalg.qr(factor.T @ vectors[:, ::-1][:, :num_modes])[0].T
    gaps = (modes @ factor.T) @ factor - eigenvalues[:, None] * modes
    return CurvatureModes(eigenvalues, modes, jnp.linalg.norm(gaps, axis=-1))


def cost_hessian_product(
    network: AbstractNetwork, task: Task, vector: Float[Array, " M"], *, solver: AbstractSolver | None = None
) -> Float[Array, " M"]:
    """The exact cost Hessian times `vector`, without the matrix: `s + o` solves with the factors of one.

    It is the derivative of the closed-form gradient along `vector`, through the implicit solve; `vmap` over
    `vector` shares the factorisation.

    **Arguments**

    - `network`, `task`: one network and its task. `vector`: `(M,)`, a direction in `k`.
    - `solver`: finds the states; chosen by default.

    **Returns** `(M,)`, in units of cost over k squared, times those of `vector`.

    Raises `InputError` on a vector of another shape, and on a network and task that do not fit.

    >>> import jax.numpy as jnp, jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]))
    >>> task = jp.allostery(network, jp.Boundary(network, ground=[2]), [0], [1], response=1.0)
    >>> jp.diagnostics.cost_hessian_product(network, task, jnp.array([1.0, 2.0])).round(3).tolist()
    [0.0, 2.0]
    """
    check_pair(network, task, solver=solver)
    vector = check_numbers("vector", vector, network.k.shape, network.k.dtype)
    return jax.jvp(_gradient(network, task, solver), (network.k,), (vector,))[1]


def cost_hessian_modes(
    network: AbstractNetwork,
    task: Task,
    num_modes: int,
    key: Key[Array, ""],
    *,
    num_iterations: int | None = None,
    solver: AbstractSolver | None = None,
) -> CurvatureModes:
    """The largest eigenvalues of the exact cost Hessian and their modes, by Lanczos iteration.

    The iteration starts from a random direction and orthogonalises every new one against all earlier ones, so
    that no simple eigenvalue is found twice. The number of iterations is fixed; `residuals` tell which
    eigenvalues have converged. It takes one factorisation, then one `cost_hessian_product` and two rows of M
    numbers per iteration.

    **Arguments**

    - `network`, `task`: one network and its task. `num_modes`: how many modes, p.
    - `key`: draws the first direction, and a new one wherever the Krylov space is exhausted.
    - `num_iterations`: at least `num_modes` and at most M, where the result is exact; by default
      `2 num_modes + 30`, or M if that is less.
    - `solver`: finds the states; chosen by default.

    Raises `InputError` on numbers out of these bounds.

    >>> import jax, jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]))
    >>> task = jp.allostery(network, jp.Boundary(network, ground=[2]), [0], [1], response=1.0)
    >>> jp.diagnostics.cost_hessian_modes(network, task, 1, jax.random.key(0)).eigenvalues.round(3).tolist()
    [1.0]
    """
    check_pair(network, task, solver=solver)
    check_key("key", key)
    size = network.num_edges
    _check_count("num_modes", num_modes, size)
    count = min(2 * num_modes + 30, size) if num_iterations is None else num_iterations
    _check_count("num_iterations", count, size, num_modes)
    _, product = jax.linearize(_gradient(network, task, solver), network.k)
    basis, images = _lanczos(product, jax.random.normal(key, (count, size), network.k.dtype))
    # The whole projected Hessian is kept, since restarts break the three-term recurrence.
    eigenvalues, vectors = jnp.linalg.eigh(basis @ images.T)
    eigenvalues, vectors = eigenvalues[::-1][:num_modes], vectors[:, ::-1][:, :num_modes]
    modes = vectors.T @ basis
    gaps = vectors.T @ images - eigenvalues[:, None] * modes
    return CurvatureModes(eigenvalues, modes, jnp.linalg.norm(gaps, axis=-1))


def _gradient(
    network: AbstractNetwork, task: Task, solver: AbstractSolver | None
) -> Callable[[Float[Array, " M"]], Float[Array, " M"]]:
    return lambda k: ExactGradient()(network.with_k(k), task, solver=solver).gradient


def _check_count(name: str, count: int, most: int, least: int = 1) -> None:
    require(least <= count <= most, name, f"be between {least} and {most}", f"it is {count}")


def _lanczos(
    product: Callable[[Array], Array], draws: Float[Array, "p M"]
) -> tuple[Float[Array, "p M"], Float[Array, "p M"]]:
    """Orthonormal rows of a Krylov basis, and `product` of each; row i of `draws` restarts iteration i."""

    def orthogonal(vector: Array, basis: Array) -> Array:
        # Two passes suffice (Parlett, The Symmetric Eigenvalue Problem, section 6.9).
        vector = vector - (basis @ vector) @ basis
        return vector - (basis @ vector) @ basis

    def iterate(i: Int[Array, ""], carry: tuple[Array, Array]) -> tuple[Array, Array]:
        basis, images = carry
        # At i = 0 all rows are zero, so that the iteration starts from a random direction.
        rest = orthogonal(images[i - 1], basis)
        length = jnp.linalg.norm(rest)
        scale = jnp.max(jnp.linalg.norm(images, axis=-1))
        exhausted = length <= 1e3 * jnp.finfo(length.dtype).eps * scale
        fresh = orthogonal(draws[i], basis)
        direction = jnp.where(exhausted, fresh, rest)
        direction = direction / jnp.linalg.norm(direction)
        return basis.at[i].set(direction), images.at[i].set(product(direction))

    nothing = jnp.zeros_like(draws)
    return jax.lax.fori_loop(0, len(draws), iterate, (nothing, nothing))


def _gauss_newton(jacobians: Float[Array, "b p M"], curvatures: Float[Array, "b p p"]) -> Float[Array, "M M"]:
    """`Σ_b J_bᵀ C_b J_b`."""
    weighted = curvatures @ jacobians
    size = weighted.shape[-1]
    return jacobians.reshape(-1, size).T @ weighted.reshape(-1, size)


def _jacobian_blocks(
    network: AbstractNetwork, task: Task, drive: Float[Array, "s n"], adjoint: Float[Array, "o n"]
) -> tuple[Float[Array, "b p M"], Float[Array, "b p p"]]:
    """Matrices J and C of the Gauss-Newton matrix `Σ_b J_bᵀ C_b J_b`, without the weight of a sample.

    Either one block of all pairs of terminal and output, whose `(s o)²` matrix C holds second moments of the
    samples, or one block of the o outputs for every sample, whichever takes fewer operations.
    """
    outputs = task.inputs @ (drive @ task.readout.T)
    curvatures = task.cost_curvatures(outputs)
    # Signs do not matter: J enters twice.
    slopes = network.edge_form(drive[:, None], adjoint[None])
    (samples, terminals), (_, count, edges) = task.inputs.shape, slopes.shape
    pairs = terminals * count
    by_moments = (samples + edges) * pairs**2 + edges**2 * pairs
    by_samples = samples * count * edges * (terminals + count + edges)
    if by_moments <= by_samples:
        # Outer products of the inputs first, so that the sum over samples is one matrix product.
        squares = (task.inputs[:, :, None] * task.inputs[:, None]).reshape(samples, -1)
        moments = squares.T @ curvatures.reshape(samples, -1)
        moments = moments.reshape(terminals, terminals, count, count).transpose(0, 2, 1, 3)
        return slopes.reshape(1, pairs, edges), moments.reshape(1, pairs, pairs)
    return jnp.einsum("rs,som->rom", task.inputs, slopes), curvatures
