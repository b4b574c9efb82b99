"""Eigenvalues and modes of the physical Hessian where the boundary leaves it free."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxphys.equilibrium import Boundary
from jaxphys.networks import AbstractNetwork


class Spectrum(NamedTuple):
    """`eigenvalues` `(m,)`, ascending, and `modes` `(m, n)`: mode a is the unit vector `modes[a]`."""

    eigenvalues: Float[Array, " m"]
    modes: Float[Array, "m n"]


def free_subspace(boundary: Boundary) -> Float[Array, "n m"]:
    """Orthonormal basis of the coordinates changes that the boundary allows, `{x : C x = 0}`; m = n - c."""
    return boundary.constraints.basis


def spectrum(network: AbstractNetwork, boundary: Boundary) -> Spectrum:
    """Eigenvalues λ and modes v of H on `{x : C x = 0}` (paper A, eq. 27).

    Held coordinates do not move and projected free modes do not count, so a grounded or
    projected network that is rigid has only positive eigenvalues. Units of `k`.

    >>> import jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]))
    >>> boundary = jp.Boundary(network, free_modes="project")
    >>> jp.diagnostics.spectrum(network, boundary).eigenvalues.round(3).tolist()
    [1.0, 3.0]
    """
    hessian = network.hessian()
    if boundary.rows.shape[0] == 0:
        eigenvalues, vectors = jnp.linalg.eigh(hessian)
        return Spectrum(eigenvalues, vectors.T)
    basis = free_subspace(boundary)
    eigenvalues, vectors = jnp.linalg.eigh(basis.T @ hessian @ basis)
    return Spectrum(eigenvalues, (basis @ vectors).T)


def eigenvalues(network: AbstractNetwork, boundary: Boundary) -> Float[Array, " m"]:
    """The eigenvalues of `spectrum` alone, `(n - c,)`, ascending, in units of `k`.

    Cheaper than with modes. A negative one means that the network is unstable.
    """
    if boundary.rows.shape[0] == 0:
        return jnp.linalg.eigvalsh(network.hessian())
    basis = free_subspace(boundary)
    return jnp.linalg.eigvalsh(basis.T @ network.hessian() @ basis)
