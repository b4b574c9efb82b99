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
    response = respond(network, task, solver=solver)
    slopes = network.edge_form(response.drive[:, None], response.adjoint[None])
    curvatures = task.cost_curvatures(response.outputs)
    moments = jnp.einsum("rs,rop,rt->sotp", task.inputs, curvatures, task.inputs)
    size = slopes.shape[0] * slopes.shape[1]
    slopes = slopes.reshape(size, -1)
    hessian = slopes.T @ moments.reshape(size, size) @ slopes
    if kind == "exact":
        gradients = task.cost_gradients(response.outputs)
        states = response.adjoint.T @ (gradients.T @ task.inputs) @ response.drive
        green = greens_function(network, task.boundary, solver=solver)
        chained = network.hessian_coupling(states, green)
        hessian = hessian + chained + chained.T
    return task.sample_weight * hessian


def cost_hessian_autodiff(
    network: AbstractNetwork, task: Task, *, solver: AbstractSolver | None = None
) -> Float[Array, "M M"]:
    """The exact `(M, M)` cost Hessian by `jax.hessian` through the implicit solve.

    The slow oracle for `cost_hessian`, equal to it to rounding, at the price of M solves.
    """
    return jax.hessian(lambda k: task_cost(network.with_k(k), task, solver=solver))(network.k)
