"""Which edges the response of a network hangs on, read off its physics alone."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxphys._checks import require
from jaxphys.equilibrium import Boundary, greens_function
from jaxphys.networks import AbstractDifferenceNetwork, AbstractNetwork


def susceptibility_vectors(network: AbstractNetwork, boundary: Boundary) -> Float[Array, "M n"]:
    """`s_i = B_i G`: the strain of edge i per unit force at each coordinate (paper B, eqs 14-17).

    `∂G/∂kᵢ = -sᵢ sᵢᵀ`. Ours is twice paper B's, whose Hessian is that of the power, `2 H`.
    With every held node in the boundary these are strains with the sources held; with the
    ground alone they are strains under currents. For networks whose edges feel one number
    (flow, central-force springs).

    Raises `InputError` for node networks and the "vector" spring law.
    """
    require(
        isinstance(network, AbstractDifferenceNetwork),
        "network",
        "be a flow or spring network, whose edges feel one strain",
        f"it is a {type(network).__name__}",
    )
    assert isinstance(network, AbstractDifferenceNetwork)
    strains = network.strains(greens_function(network, boundary))
    require(strains.shape[-1] == 1, "network", "have one strain per edge", f"it has {strains.shape[-1]}")
    return strains[..., 0].T


def susceptibility(network: AbstractNetwork, boundary: Boundary) -> Float[Array, " M"]:
    """`|s_i|²` of every edge, `(M,)` (paper B, eq. 18), four times paper B's.

    Sums squared strains over unit forces at all coordinates, held ones included (which give none).
    Raises `InputError` as `susceptibility_vectors` does.
    """
    return jnp.sum(susceptibility_vectors(network, boundary) ** 2, axis=-1)
