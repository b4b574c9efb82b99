"""How strongly, and in how many directions, a network answers random forces.

Forces are drawn in the subspace of dimension m that the boundary leaves free: Gaussian ones
with unit variance per direction, or the same divided by their norm ("unit").
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxphys._checks import check_key, require
from jaxphys.diagnostics._spectrum import spectrum
from jaxphys.equilibrium import Boundary, check_boundary, greens_function
from jaxphys.networks.physics import AbstractNetwork

Forces = Literal["gaussian", "unit"]


def effective_conductance(network: AbstractNetwork, boundary: Boundary) -> Float[Array, ""]:
    """Root-mean-square response to a unit force, `sqrt(Σ_a λ_a⁻² / m)` (paper A, eq. 28, corrected).

    The printed formula lacks the 1/m. Eq. 26's mean of norms is lower, by up to a fifth;
    `effective_conductance_monte_carlo` measures it. Units of 1/k. Needs no eigendecomposition.

    >>> import jaxphys as jp
    >>> bond = jp.FlowNetwork(jp.from_edges([(0, 1)]), k=2.0)
    >>> jp.diagnostics.effective_conductance(bond, jp.Boundary(bond, ground=[0])).round(3).item()
    0.5
    """
    green = greens_function(network, boundary)
    return jnp.sqrt(jnp.sum(green**2) / _free_dimension(boundary))


def effective_conductance_monte_carlo(
    network: AbstractNetwork, boundary: Boundary, key: Key[Array, ""], *, num_forces: int = 500
) -> Float[Array, ""]:
    """Mean of the responses' norms to random unit forces (paper A, eq. 26), from `num_forces` draws.

    At most `effective_conductance`, the root mean square of the same norms. Units of 1/k; the standard
    error falls as `num_forces**-0.5`. Raises `InputError` unless `num_forces` is positive.
    """
    projections, eigenvalues = _mode_amplitudes(network, boundary, key, num_forces, "unit")
    return jnp.mean(jnp.linalg.norm(projections / eigenvalues, axis=-1))


def effective_dimension(
    network: AbstractNetwork, boundary: Boundary, *, forces: Forces = "gaussian"
) -> Float[Array, ""]:
    """`(Σ λ⁻²)² / (3 Σ λ⁻⁴)`: how many modes share the response (paper A, eqs 30, 31, C7).

    Exact for Gaussian forces, where one soft mode alone gives 1/3. Forces of unit norm
    multiply it by `(m + 2) / m`, so that the limit is `(m + 2) / (3 m)`.
    """
    green = greens_function(network, boundary)
    second = jnp.sum(green**2)
    fourth = jnp.sum((green @ green) ** 2)
    return second**2 / (3 * fourth) * _norm_factor(boundary, forces)


def effective_dimension_monte_carlo(
    network: AbstractNetwork,
    boundary: Boundary,
    key: Key[Array, ""],
    *,
    num_forces: int = 500,
    forces: Forces = "gaussian",
) -> Float[Array, ""]:
    """Eq. 30 as it stands, `⟨Σ_a P_a²⟩² / ⟨Σ_a P_a⁴⟩` over `num_forces` draws of random forces.

    `P_a` is the amplitude of mode a in the response. Converges to `effective_dimension` with the same
    kind of forces. Raises `InputError` unless `num_forces` is positive.
    """
    projections, eigenvalues = _mode_amplitudes(network, boundary, key, num_forces, forces)
    amplitudes = projections / eigenvalues
    return jnp.mean(jnp.sum(amplitudes**2, axis=-1)) ** 2 / jnp.mean(jnp.sum(amplitudes**4, axis=-1))


def participation_ratio(
    network: AbstractNetwork, boundary: Boundary, key: Key[Array, ""], *, num_forces: int = 500
) -> Float[Array, ""]:
    """Mean of `D_m = (Σ_a P_a²)² / Σ_a P_a⁴` over random forces (paper A, eq. 29); between 1 and m.

    Unlike `effective_dimension` the ratio is taken before the average, force by force, so that the norm of
    the forces does not matter. Raises `InputError` unless `num_forces` is positive.
    """
    projections, eigenvalues = _mode_amplitudes(network, boundary, key, num_forces, "unit")
    amplitudes = projections / eigenvalues
    return jnp.mean(jnp.sum(amplitudes**2, axis=-1) ** 2 / jnp.sum(amplitudes**4, axis=-1))


def _free_dimension(boundary: Boundary) -> int:
    return boundary.rows.shape[1] - boundary.rows.shape[0]


def _norm_factor(boundary: Boundary, forces: Forces) -> float:
    require(forces in ("gaussian", "unit"), "forces", 'be "gaussian" or "unit"', f"it is {forces!r}")
    m = _free_dimension(boundary)
    return (m + 2) / m if forces == "unit" else 1.0


def _mode_amplitudes(
    network: AbstractNetwork, boundary: Boundary, key: Key[Array, ""], num_forces: int, forces: Forces
) -> tuple[Float[Array, "f m"], Float[Array, " m"]]:
    """Components of random forces along the modes, and the eigenvalues."""
    check_boundary(network, boundary)
    check_key("key", key)
    require(num_forces > 0, "num_forces", "be positive", f"it is {num_forces}")
    _norm_factor(boundary, forces)
    eigenvalues, modes = spectrum(network, boundary)
    drawn = jax.random.normal(key, (num_forces, modes.shape[1]), modes.dtype)
    # Orthonormal modes see of a Gaussian force m independent components, whatever else is held.
    projections = drawn @ modes.T
    if forces == "unit":
        projections = projections / jnp.linalg.norm(projections, axis=-1, keepdims=True)
    return projections, eigenvalues
