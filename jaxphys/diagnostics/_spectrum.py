"""Eigenvalues and modes of the physical Hessian where the boundary leaves it free."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxphys._checks import check_kind
from jaxphys.equilibrium import Boundary, check_boundary
from jaxphys.networks.physics import AbstractNetwork


class Spectrum(NamedTuple):
    """`eigenvalues` `(m,)`, ascending, and `modes` `(m, n)`: mode a is the unit vector `modes[a]`.

    Of eigenvalues that are equal (`degenerate`) the modes are some basis of the space that they share, as
    rounding has it; only what is the same in every basis means something.
    """

    eigenvalues: Float[Array, " m"]
    modes: Float[Array, "m n"]


def free_subspace(boundary: Boundary) -> Float[Array, "n m"]:
    """Orthonormal basis of the changes of coordinates that the boundary allows, `{x : C x = 0}`; m = n - c.

    Raises `InputError` unless it is a boundary.
    """
    check_kind("boundary", boundary, Boundary, "a `Boundary`")
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
    check_boundary(network, boundary)
    hessian = network.hessian()
    if boundary.rows.shape[0] == 0:
        eigenvalues, vectors = jnp.linalg.eigh(hessian)
        return Spectrum(eigenvalues, vectors.T)
    basis = free_subspace(boundary)
    eigenvalues, vectors = jnp.linalg.eigh(basis.T @ hessian @ basis)
    return Spectrum(eigenvalues, (basis @ vectors).T)


def degenerate(eigenvalues: Float[Array, " m"], resolution: Any = 0.0) -> Bool[Array, "m m"]:
    """Which eigenvalues count as equal to which: blocks along the diagonal of ascending `eigenvalues`.

    Neighbours count as equal where their gap is at most `ε^½` of themselves or `ε^⅔` of the largest one
    (1.5e-8 and 4e-11 in float64, 3e-4 and 2e-5 in float32), or at most `resolution`, in units of k; a row of
    neighbours is one block. Rounding turns modes across wider gaps by `ε^⅓` at most.

    >>> import jax.numpy as jnp, jaxphys as jp
    >>> jp.diagnostics.degenerate(jnp.array([1.0, 2.0, 2.0])).astype(int).tolist()
    [[1, 0, 0], [0, 1, 1], [0, 1, 1]]
    """
    epsilon = float(jnp.finfo(eigenvalues.dtype).eps)
    sizes = jnp.abs(eigenvalues)
    own = epsilon**0.5 * jnp.maximum(sizes[1:], sizes[:-1])
    allowed = jnp.maximum(jnp.maximum(own, epsilon ** (2 / 3) * jnp.max(sizes)), resolution)
    number = jnp.cumsum(jnp.diff(eigenvalues) > allowed)
    number = jnp.concatenate([jnp.zeros(1, number.dtype), number])
    return number[:, None] == number


def peaked_mode(
    eigenvalues: Float[Array, " m"], modes: Float[Array, "m n"], index: int
) -> Float[Array, " n"]:
    """The mode at `index`, its largest entry positive; of equal ones the one that is most at one coordinate.

    Where coordinates tie, but for rounding, the first.
    """
    same = degenerate(eigenvalues)[index].astype(modes.dtype)
    projector = (modes.T * same) @ modes
    shares = jnp.diagonal(projector)
    largest = (1 - float(jnp.finfo(modes.dtype).eps) ** 0.5) * jnp.max(shares)
    at = jnp.argmax(shares >= largest)
    return projector[at] / jnp.sqrt(shares[at])


def eigenvalues(network: AbstractNetwork, boundary: Boundary) -> Float[Array, " m"]:
    """The eigenvalues of `spectrum` alone, `(n - c,)`, ascending, in units of `k`.

    Cheaper than with modes. A negative one means that the network is unstable.
    """
    check_boundary(network, boundary)
    if boundary.rows.shape[0] == 0:
        return jnp.linalg.eigvalsh(network.hessian())
    basis = free_subspace(boundary)
    return jnp.linalg.eigvalsh(basis.T @ network.hessian() @ basis)
