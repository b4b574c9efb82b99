"""How the modes of the physical Hessian line up with what a network was trained on."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxphys.diagnostics.spectrum import free_subspace, spectrum
from jaxphys.networks import AbstractNetwork
from jaxphys.tasks import Task, respond


def force_alignment(network: AbstractNetwork, task: Task) -> Float[Array, "m R"]:
    """`|v_a · F_r| / |F_r|` for every mode a (softest first) and sample r (paper A, fig. 3b).

    Forces are taken where the boundary leaves them free, so the squares over modes add up to 1.
    NaN for inputs that are held values, which apply no force.
    """
    basis = free_subspace(task.boundary)
    return _overlaps(network, task, (task.inputs @ task.force) @ basis @ basis.T)


def response_alignment(network: AbstractNetwork, task: Task) -> Float[Array, "m R"]:
    """`|v_a · x_r| / |x_r|` for every mode a (softest first) and the free state of sample r.

    For inputs that are held values, of the part of the state that is free to move.
    """
    basis = free_subspace(task.boundary)
    return _overlaps(network, task, (task.inputs @ respond(network, task).drive) @ basis @ basis.T)


def _overlaps(network: AbstractNetwork, task: Task, vectors: Float[Array, "R n"]) -> Float[Array, "m R"]:
    modes = spectrum(network, task.boundary).modes
    return jnp.abs(modes @ (vectors / jnp.linalg.norm(vectors, axis=-1, keepdims=True)).T)
