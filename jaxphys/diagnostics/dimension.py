"""Intrinsic dimension of a cloud of responses, estimated without modes (Stern et al. (2023), fig. 8).

The estimators use distances between neighbouring points, not eigenvalues, and are thus an independent check
of `effective_dimension`. They are those of scikit-dimension, an optional dependency that is imported when
needed.
"""

import warnings
from types import ModuleType
from typing import Literal

import jax
import numpy as np
from jaxtyping import Array, Float, Key
from numpy.typing import ArrayLike

from jaxphys._checks import InputError, check_count, check_key, require
from jaxphys.equilibrium import Boundary, greens_function
from jaxphys.networks.physics import AbstractNetwork

Estimator = Literal["manifold_adaptive", "correlation", "maximum_likelihood", "two_nn"]

ESTIMATORS: dict[str, str] = {
    "manifold_adaptive": "MADA",
    "correlation": "CorrInt",
    "maximum_likelihood": "MLE",
    "two_nn": "TwoNN",
}


def response_cloud(
    network: AbstractNetwork, boundary: Boundary, key: Key[Array, ""], *, num_forces: int = 500
) -> Float[Array, "f n"]:
    """States `x = G F` under random Gaussian forces of unit variance per coordinate.

    Stern et al. (2023), fig. 8. Held values are zero.

    **Arguments**

    - `network`, `boundary`: one network of n coordinates and its boundary.
    - `key`: draws the forces. `num_forces`: how many, f.

    **Returns** `(f, n)`, one state in each row, in units of 1/k.

    Raises `InputError` unless `num_forces` is positive.

    >>> import jax, jaxphys as jp
    >>> network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]))
    >>> boundary = jp.Boundary(network, ground=[2])
    >>> jp.diagnostics.response_cloud(network, boundary, jax.random.key(0), num_forces=7).shape
    (7, 3)
    """
    check_key("key", key)
    check_count("num_forces", num_forces)
    green = greens_function(network, boundary)
    return jax.random.normal(key, (num_forces, len(green)), green.dtype) @ green


def intrinsic_dimension(points: ArrayLike, estimator: Estimator) -> np.ndarray:
    """The dimension of the manifold near which the points of a cloud lie; one number per cloud.

    Stern et al. (2023), fig. 8. It does not depend on the units of the points. Runs on the host, in float64,
    with the defaults of scikit-dimension (the extra `dimension`).

    **Arguments**

    - `points`: `(…, P, n)`, clouds of P points each, at least 30.
    - `estimator`: `"manifold_adaptive"` (MADA: growth of the number of neighbours from half the distance),
      `"correlation"` (CorrInt: slope of the correlation integral between the 10th and the 20th neighbour),
      `"maximum_likelihood"` (MLE of Levina and Bickel) or `"two_nn"` (ratio of the distances of the second
      and first neighbour). With a few hundred points all of them underestimate high dimensions.

    **Returns** `(…)`, one number for each cloud.

    Raises `InputError` on an unknown estimator, fewer than 30 points, points that are not finite or coincide,
    and where scikit-dimension is not installed.
    """
    require(estimator in ESTIMATORS, "estimator", f"be one of {list(ESTIMATORS)}", f"it is {estimator!r}")
    clouds = np.asarray(points, dtype=float)
    require(
        clouds.ndim >= 2 and clouds.shape[-2] >= 30,
        "points",
        "have shape (…, P, n) with at least 30 points",
        f"its shape is {clouds.shape}",
    )
    require(np.isfinite(clouds).all(), "points", "be finite", "it holds NaN or infinity")
    flat = clouds.reshape(-1, *clouds.shape[-2:])
    for cloud in flat:
        repeated = len(cloud) - len(np.unique(cloud, axis=0))
        require(repeated == 0, "points", "differ from one another", f"{repeated} of them repeat another")
    method = getattr(_skdim().id, ESTIMATORS[estimator])
    found = []
    for cloud in flat:
        with warnings.catch_warnings():
            # The library warns of its own deprecated calls; the points were checked above.
            warnings.simplefilter("ignore")
            # Scaled, since distances near the smallest numbers would lose digits.
            found.append(float(method().fit(cloud / np.abs(cloud).max()).dimension_))
    return np.array(found).reshape(clouds.shape[:-2])


def _skdim() -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import skdim
    except ImportError:
        raise InputError(
            "`intrinsic_dimension` needs scikit-dimension: pip install 'jaxphys[dimension]'"
        ) from None
    return skdim
