"""Eigenvalues and modes of the physical Hessian where the boundary leaves it free."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxphys._checks import check_kind
from jaxphys.equilibrium import Boundary, check_boundary
from jaxphys.networks.physics import AbstractNetwork


class Spectrum(NamedTuple):
    """Eigenvalues and modes of the Hessian, the softest first.

    - `eigenvalues`: `(m,)`, ascending, in units of k.
    - `modes`: `(m, n)`, orthonormal: mode a is the unit vector `modes[a]`.

    The modes of equal eigenvalues (`degenerate`) are an arbitrary basis of their common eigenspace, chosen by
    rounding; only quantities that are the same in every basis have a meaning.
    """

    eigenvalues: Float[Array, " m"]
    modes: Float[Array, "m n"]


def free_subspace(boundary: Boundary) -> Float[Array, "n m"]:
    """An orthonormal basis of `{x : C x = 0}`, the changes of the coordinates that a boundary allows.

    **Returns** `(n, m)`, one column for each of the `m = n - c` free directions, where c is the number of
    rows of the boundary.

    Raises `InputError` on anything but a `Boundary`.

    >>> import jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]))
    >>> jp.diagnostics.free_subspace(jp.Boundary(network, ground=[2])).shape
    (3, 2)
    """
    check_kind("boundary", boundary, Boundary, "a `Boundary`")
    return boundary.constraints.basis


def spectrum(network: AbstractNetwork, boundary: Boundary) -> Spectrum:
    """Eigenvalues λ and modes v of the Hessian on `{x : C x = 0}` (Stern et al. (2023), eq. 27).

    Held coordinates do not move and projected free modes are left out, so that a rigid network that is
    grounded or projected has positive eigenvalues only.

    **Arguments**

    - `network`: one network of n coordinates. `boundary`: its boundary of c rows.

    **Returns** a `Spectrum` of `m = n - c` eigenvalues, in units of k, and modes.

    Raises `InputError` on a boundary of another network, and on more coordinates than dense algebra allows.

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


def degenerate(
    eigenvalues: Float[Array, " m"], resolution: Float[Array, ""] | float = 0.0
) -> Bool[Array, "m m"]:
    """Which eigenvalues count as equal, as blocks of True along the diagonal.

    Neighbours count as equal where their gap is at most `ε^½` of their own size or `ε^⅔` of the largest
    eigenvalue (1.5e-8 and 4e-11 in float64, 3e-4 and 2e-5 in float32), or at most `resolution`; a chain of
    such neighbours is one block. Across wider gaps rounding rotates modes by `ε^⅓` at most.

    **Arguments**

    - `eigenvalues`: `(m,)`, ascending.
    - `resolution`: gaps up to this size count as equality as well, in the units of `eigenvalues`.

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
    """The mode at `index`, with its largest entry positive.

    In a block of equal eigenvalues (`degenerate`) it is the combination of modes that is most concentrated on
    one coordinate, the first of several that tie to within rounding.

    **Arguments**

    - `eigenvalues`: `(m,)`, ascending. `modes`: `(m, n)`, orthonormal, as in `Spectrum`.
    - `index`: which mode, from 0 for the softest; -1 for the stiffest.

    **Returns** a unit vector `(n,)`.
    """
    same = degenerate(eigenvalues)[index].astype(modes.dtype)
    projector = (modes.T * same) @ modes
    shares = jnp.diagonal(projector)
    largest = (1 - float(jnp.finfo(modes.dtype).eps) ** 0.5) * jnp.max(shares)
    at = jnp.argmax(shares >= largest)
    return projector[at] / jnp.sqrt(shares[at])


def eigenvalues(network: AbstractNetwork, boundary: Boundary) -> Float[Array, " m"]:
    """The eigenvalues of `spectrum` without the modes, which is cheaper (Stern et al. (2023), eq. 27).

    **Arguments**

    - `network`: one network of n coordinates. `boundary`: its boundary of c rows.

    **Returns** `(n - c,)`, ascending, in units of k. A negative one means that the network is unstable.

    Raises `InputError` on a boundary of another network, and on more coordinates than dense algebra allows.

    >>> import jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]))
    >>> boundary = jp.Boundary(network, free_modes="project")
    >>> jp.diagnostics.eigenvalues(network, boundary).round(3).tolist()
    [1.0, 3.0]
    """
    check_boundary(network, boundary)
    if boundary.rows.shape[0] == 0:
        return jnp.linalg.eigvalsh(network.hessian())
    basis = free_subspace(boundary)
    return jnp.linalg.eigvalsh(basis.T @ network.hessian() @ basis)
