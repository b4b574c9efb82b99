"""Reconstruction of the Hessian from measured responses, as far as the errors of the readings allow."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxphys._checks import require

# An entry of the Hessian counts as a bond if it is this many standard errors away from zero.
_CERTAIN = 4.0
# Readings below this share of the largest one are rounding: such a node is held.
NOTHING = 1e-12


class Reconstruction(NamedTuple):
    """The Hessian of m driven coordinates.

    - `hessian`, `errors`: `(m, m)` and standard errors to first order in those of the readings,
      `Var H ≈ (H∘H) Var(G) (H∘H)`.
    - `response`: `(m, m)` the readings made symmetric, a free mode projected out.
    - `noise`: root mean square error of a reading; `floor`: the largest eigenvalue of a matrix of errors
      alone.
    - `resolved`: how many eigenvalues of the response are above the floor. The others are set to it: these
      modes are too stiff for the readings to tell how stiff.
    - `free`: 1 if the uniform motion is free (all rows sum to zero), else 0.
    """

    hessian: Float[np.ndarray, "m m"]
    errors: Float[np.ndarray, "m m"]
    response: Float[np.ndarray, "m m"]
    noise: float
    floor: float
    resolved: int
    free: int


def reconstruct(
    responses: Float[np.ndarray, "m m"], errors: Float[np.ndarray, "m m"] | None = None
) -> Reconstruction:
    """Reconstruct the Hessian from responses of every coordinate (row) to a unit force on each (column).

    In a passive network `G` is symmetric, so that `(G - Gᵀ)/2` is error and estimates its size where no
    errors are given: equal for all readings, or in proportion to each, whichever is more likely. `(G + Gᵀ)/2`
    is inverted on its eigenvectors; eigenvalues below the floor `2 sqrt(max_i Σ_j Var_ij)`, the edge of the
    spectrum of the errors alone, are raised to it.

    **Arguments**

    - `responses`: `(m, m)`, in units of 1/k. `errors`: `(m, m)` standard deviations; estimated if None.

    **Returns** a `Reconstruction`, the Hessian in units of k.

    Raises `InputError` if no eigenvalue is above the floor.
    """
    symmetric = 0.5 * (responses + responses.T)
    size = len(symmetric)
    spread = spread_of(responses) if errors is None else errors
    variance = variances(spread)
    free = uniform_motion_is_free(symmetric, variance)
    uniform = np.full((size, 1), size**-0.5)
    if free:
        across = np.eye(size) - uniform @ uniform.T
        symmetric = across @ symmetric @ across
    values, modes = np.linalg.eigh(symmetric)
    if free:
        at = int(np.argmax(np.abs(modes.T @ uniform[:, 0])))
        values, modes = np.delete(values, at), np.delete(modes, at, axis=1)
    rounding = size * np.finfo(float).eps * float(np.abs(values).max())
    floor = max(2 * float(np.sqrt(variance.sum(axis=1).max())), rounding)
    resolved = int(np.sum(values > floor))
    require(
        resolved > 0,
        "responses",
        "rise above their errors",
        f"the largest eigenvalue is {values.max():.3g} and the errors reach {floor:.3g}",
    )
    hessian = (modes / np.maximum(values, floor)) @ modes.T
    squares = hessian**2
    return Reconstruction(
        hessian,
        np.sqrt(squares @ variance @ squares),
        symmetric,
        float(np.sqrt(np.mean(spread**2))),
        floor,
        resolved,
        int(free),
    )


def bonds(found: Reconstruction) -> tuple[Int[np.ndarray, "M 2"], Float[np.ndarray, " M"]] | None:
    """Edges and conductances of the flow network behind a Hessian, if the readings resolve one; else None.

    A flow network has no positive entries off the diagonal. Every eigenvalue must be resolved, and some pairs
    must be unbound (otherwise any matrix would pass). The sum of a row is the conductance to a ground, which
    becomes node m.

    **Arguments**

    - `found`: a reconstruction of m coordinates.

    **Returns** edges `(M, 2)` and conductances `(M,)`, in units of k.
    """
    size = len(found.hessian)
    if found.resolved + found.free < size:
        return None
    rows, columns = np.triu_indices(size, 1)
    values, errors = found.hessian[rows, columns], found.errors[rows, columns]
    least = np.maximum(_CERTAIN * errors, 1e-9 * np.abs(values).max())
    bound = np.abs(values) > least
    if (values[bound] > 0).any() or not bound.any() or (bound.mean() > 0.5 and size > 4):
        return None
    edges, k = np.stack([rows[bound], columns[bound]], axis=1), -values[bound]
    sums = found.hessian.sum(axis=1)
    unsure = np.maximum(_CERTAIN * np.sqrt((found.errors**2).sum(axis=1)), 1e-9 * np.abs(values).max())
    leaks = np.flatnonzero(np.abs(sums) > unsure)
    if (sums[leaks] < 0).any():
        return None
    to_ground = np.stack([leaks, np.full(len(leaks), size)], axis=1)
    return np.concatenate([edges, to_ground]), np.concatenate([k, sums[leaks]])


def variances(spread: Float[np.ndarray, "m m"]) -> Float[np.ndarray, "m m"]:
    """Variances of symmetrised readings: of the mean of two, on the diagonal of the single reading."""
    variance = (spread**2 + spread.T**2) / 4
    np.fill_diagonal(variance, np.diagonal(spread) ** 2)
    return variance


def spread_of(responses: Float[np.ndarray, "m m"]) -> Float[np.ndarray, "m m"]:
    """Standard errors of readings, estimated from the asymmetry of their matrix."""
    rows, columns = np.triu_indices(len(responses), 1)
    there, back = responses[rows, columns], responses[columns, rows]
    squared = (there - back) ** 2
    sizes = there**2 + back**2
    same = float(np.mean(squared) / 2)
    seen = sizes > 0
    if same == 0 or not seen.any():
        return np.full(responses.shape, np.sqrt(same))
    ratio = float(np.mean(squared[seen] / sizes[seen]))
    likelier = np.mean(np.log(2 * same)) - np.mean(np.log(ratio * sizes[seen]))
    if ratio > 0 and seen.all() and likelier > 0:
        return np.sqrt(ratio) * np.abs(responses)
    return np.full(responses.shape, np.sqrt(same))


def uniform_motion_is_free(symmetric: Float[np.ndarray, "m m"], variance: Float[np.ndarray, "m m"]) -> bool:
    """Whether all rows sum to zero within errors, as where the uniform motion is projected out.

    **Arguments**

    - `symmetric`: `(m, m)` symmetrised readings. `variance`: `(m, m)` their variances.
    """
    size = len(symmetric)
    sums = symmetric.sum(axis=1)
    chance = variance.sum()
    rounding = (1e-9 * size * np.abs(symmetric).max()) ** 2
    # The second bound is far below the sums of rows of unrelated entries.
    return bool(
        (sums**2).sum() <= 4 * chance + size * rounding and (sums**2).sum() < 0.1 * (symmetric**2).sum()
    )
