"""Second derivatives of the learning cost with respect to the learning degrees of freedom."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxphys._checks import require
from jaxphys.equilibrium import greens_function
from jaxphys.networks import AbstractNetwork
from jaxphys.solvers import AbstractSolver
from jaxphys.tasks import Task, respond, task_cost


def cost_hessian(
    network: AbstractNetwork,
    task: Task,
    *,
    kind: Literal["exact", "gauss_newton"] = "exact",
    solver: AbstractSolver | None = None,
) -> Float[Array, "M M"]:
    """`∂²C/∂k∂k` in closed form, for any cost and boundary (paper A, eqs B6 and B7; paper B, eq. 7).

    With the Jacobian `∂y_o/∂kᵢ = -zₒᵀ Qᵢ x` of the outputs (z: response to a unit force on the output),
    `Σ_r Jᵀ C'' J` is the Gauss-Newton part, exact once `C' = 0`; the exact Hessian adds
    `T + Tᵀ`, `T_ij = Σ_ro C'_ro zₒᵀ Qᵢ G Qⱼ x_r`. Both need only second moments of the samples.
    Derivatives are with respect to the independent entries of `k`.

    Raises `InputError` on an unknown `kind`.

    >>> import jax, jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]))
    >>> task = jp.allostery(network, jp.Boundary(network, ground=[2]), [0], [1], response=1.0)
    >>> jp.diagnostics.cost_hessian(network, task).round(3).tolist()
    [[0.0, 0.0], [0.0, 1.0]]
    """
    require(kind in ("exact", "gauss_newton"), "kind", 'be "exact" or "gauss_newton"', f"it is {kind!r}")
    if kind == "gauss_newton":
        response = respond(network, task, solver=solver)
        jacobians, curvatures = _jacobian_blocks(network, task, response.drive, response.adjoint)
        return task.sample_weight * _gauss_newton(jacobians, curvatures)
    # G has all that `respond` would solve for, so that one factorisation is enough.
    green = greens_function(network, task.boundary, solver=solver)
    held = task.values @ task.boundary.constraints.lift[:, : task.boundary.num_held].T
    drive = held + (task.force - held @ network.hessian()) @ green
    adjoint = task.readout @ green
    gradients = task.cost_gradients(task.inputs @ (drive @ task.readout.T))
    chained = network.hessian_coupling(adjoint, drive, gradients.T @ task.inputs, green)
    curved = _gauss_newton(*_jacobian_blocks(network, task, drive, adjoint))
    return task.sample_weight * (curved + chained + chained.T)


def _gauss_newton(jacobians: Float[Array, "b p M"], curvatures: Float[Array, "b p p"]) -> Float[Array, "M M"]:
    """`Σ_b J_bᵀ C_b J_b`."""
    weighted = curvatures @ jacobians
    size = weighted.shape[-1]
    return jacobians.reshape(-1, size).T @ weighted.reshape(-1, size)


def _jacobian_blocks(
    network: AbstractNetwork, task: Task, drive: Float[Array, "s n"], adjoint: Float[Array, "o n"]
) -> tuple[Float[Array, "b p M"], Float[Array, "b p p"]]:
    """`(J, C)` with the Gauss-Newton matrix `Σ_b J_bᵀ C_b J_b`, before the weight of a sample.

    Either one block of all pairs of terminal and output, whose `(s o)²` matrix C holds second moments of the
    samples; or one block of the o outputs for every sample. What takes fewer operations.
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


def cost_hessian_autodiff(
    network: AbstractNetwork, task: Task, *, solver: AbstractSolver | None = None
) -> Float[Array, "M M"]:
    """The exact `(M, M)` cost Hessian by `jax.hessian` through the implicit solve.

    The slow oracle for `cost_hessian`, equal to it to rounding, at the price of M solves.
    """
    return jax.hessian(lambda k: task_cost(network.with_k(k), task, solver=solver))(network.k)
