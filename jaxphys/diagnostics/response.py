"""Strength and dimension of the response of a network to random forces.

Random forces are drawn in the free subspace of the boundary, of dimension m: Gaussian ones with unit variance
per direction, or the same divided by their norm ("unit").
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
    """The root mean square response to a random unit force, `sqrt(Σ_a λ_a⁻² / m)`.

    Stern et al. (2023), eq. 28, corrected: the printed formula lacks the 1/m. The mean of norms of eq. 26 is
    lower, by up to a fifth; `effective_conductance_monte_carlo` measures it. Needs no eigendecomposition.

    **Arguments**

    - `network`, `boundary`: one network and its boundary, which leaves m directions free.

    **Returns** a scalar, in units of 1/k.

    Raises `InputError` on a boundary of another network, and on more coordinates than dense algebra allows.

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
    """The mean norm of the responses to random unit forces (Stern et al. (2023), eq. 26), sampled.

    It is at most `effective_conductance`, the root mean square of the same norms.

    **Arguments**

    - `network`, `boundary`: one network and its boundary.
    - `key`: draws the forces. `num_forces`: how many; the standard error falls as `num_forces**-0.5`.

    **Returns** a scalar, in units of 1/k.

    Raises `InputError` unless `num_forces` is positive.

    >>> import jax, jaxphys as jp
    >>> bond = jp.FlowNetwork(jp.from_edges([(0, 1)]), k=2.0)
    >>> boundary = jp.Boundary(bond, ground=[0])
    >>> jp.diagnostics.effective_conductance_monte_carlo(bond, boundary, jax.random.key(0)).round(3).item()
    0.5
    """
    projections, eigenvalues = _mode_amplitudes(network, boundary, key, num_forces, "unit")
    return jnp.mean(jnp.linalg.norm(projections / eigenvalues, axis=-1))


def effective_dimension(
    network: AbstractNetwork, boundary: Boundary, *, forces: Forces = "gaussian"
) -> Float[Array, ""]:
    """`(Σ λ⁻²)² / (3 Σ λ⁻⁴)`: how many modes share the response (Stern et al. (2023), eqs 30, 31, C7).

    The formula is exact for Gaussian forces, where a single soft mode gives 1/3. For forces of unit norm it
    is multiplied by `(m + 2) / m`, so that a single soft mode gives `(m + 2) / (3 m)`.

    **Arguments**

    - `network`, `boundary`: one network and its boundary, which leaves m directions free.
    - `forces`: `"gaussian"` or `"unit"`.

    **Returns** a scalar, without units.

    Raises `InputError` on another name for `forces`.

    >>> import jaxphys as jp
    >>> bond = jp.FlowNetwork(jp.from_edges([(0, 1)]), k=2.0)
    >>> jp.diagnostics.effective_dimension(bond, jp.Boundary(bond, ground=[0])).round(3).item()
    0.333
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
    """`⟨Σ_a P_a²⟩² / ⟨Σ_a P_a⁴⟩` over random forces, as printed (Stern et al. (2023), eq. 30), sampled.

    `P_a` is the amplitude of mode a in the response. Converges to `effective_dimension` with the same kind of
    forces.

    **Arguments**

    - `network`, `boundary`: one network and its boundary.
    - `key`: draws the forces. `num_forces`: how many. `forces`: `"gaussian"` or `"unit"`.

    **Returns** a scalar, without units.

    Raises `InputError` unless `num_forces` is positive, and on another name for `forces`.
    """
    projections, eigenvalues = _mode_amplitudes(network, boundary, key, num_forces, forces)
    amplitudes = projections / eigenvalues
    return jnp.mean(jnp.sum(amplitudes**2, axis=-1)) ** 2 / jnp.mean(jnp.sum(amplitudes**4, axis=-1))


def participation_ratio(
    network: AbstractNetwork, boundary: Boundary, key: Key[Array, ""], *, num_forces: int = 500
) -> Float[Array, ""]:
    """The mean of `D_m = (Σ_a P_a²)² / Σ_a P_a⁴` over random forces (Stern et al. (2023), eq. 29), sampled.

    `P_a` is the amplitude of mode a in the response. Unlike in `effective_dimension` the ratio is taken for
    each force, before the average, so that the norm of the forces does not matter.

    **Arguments**

    - `network`, `boundary`: one network and its boundary, which leaves m directions free.
    - `key`: draws the forces. `num_forces`: how many.

    **Returns** a scalar between 1 and m, without units.

    Raises `InputError` unless `num_forces` is positive.

    >>> import jax, jaxphys as jp
    >>> bond = jp.FlowNetwork(jp.from_edges([(0, 1)]), k=2.0)
    >>> boundary = jp.Boundary(bond, ground=[0])
    >>> jp.diagnostics.participation_ratio(bond, boundary, jax.random.key(0)).round(3).item()
    1.0
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
    """Components `(f, m)` of random forces along the modes, and the eigenvalues `(m,)`."""
    check_boundary(network, boundary)
    check_key("key", key)
    require(num_forces > 0, "num_forces", "be positive", f"it is {num_forces}")
    _norm_factor(boundary, forces)
    eigenvalues, modes = spectrum(network, boundary)
    drawn = jax.random.normal(key, (num_forces, modes.shape[1]), modes.dtype)
    # The components of a Gaussian force along orthonormal modes are independent and Gaussian.
    projections = drawn @ modes.T
    if forces == "unit":
        projections = projections / jnp.linalg.norm(projections, axis=-1, keepdims=True)
    return projections, eigenvalues
