"""Intrinsic dimension of a cloud of responses, by estimators that know nothing of modes (paper A, fig. 8).

They look at distances between neighbours, not at eigenvalues, and so check what `effective_dimension` says
from another side. The estimators are those of scikit-dimension, an optional dependency imported when asked.
"""

import warnings
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Array, Float, Key

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
    """States `x = G F` under `num_forces` random Gaussian forces of unit variance per coordinate.

    Everything held is held at zero. Units of 1/k. Raises `InputError` unless `num_forces` is positive.

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


def intrinsic_dimension(points: Any, estimator: Estimator) -> np.ndarray:
    """Dimension of the manifold near which `points` `(…, P, n)` lie; one number per cloud of P points.

    Does not depend on the units of the points. Runs on the host, in float64, with the defaults of
    scikit-dimension (the extra `dimension`).

    **Arguments**

    - `estimator`: `"manifold_adaptive"` (MADA: growth of the number of neighbours from half the distance),
      `"correlation"` (CorrInt: slope of the correlation integral between the 10th and the 20th neighbour),
      `"maximum_likelihood"` (MLE of Levina and Bickel) or `"two_nn"` (ratio of the distances of the second
      and first neighbour). With a few hundred points all of them read high dimensions low.

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
            # Of the library's own making (deprecated calls); what can be wrong with the points was checked.
            warnings.simplefilter("ignore")
            # Distances near the smallest numbers would lose digits.
            found.append(float(method().fit(cloud / np.abs(cloud).max()).dimension_))
    return np.array(found).reshape(clouds.shape[:-2])


def _skdim() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import skdim
    except ImportError:
        raise InputError(
            "`intrinsic_dimension` needs scikit-dimension: pip install 'jaxphys[dimension]'"
        ) from None
    return skdim
