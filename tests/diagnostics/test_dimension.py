"""Intrinsic dimensions of clouds whose dimension is known."""

import inspect
import sys

import jax
import numpy as np
import pytest
from helpers import assert_close, assert_refused, ulps

import jaxphys as jp
from jaxphys import diagnostics
from jaxphys.diagnostics.dimension import ESTIMATORS

pytestmark = pytest.mark.float64


def gaussian(dimension, random, space=20, points=500):
    """A flat Gaussian cloud of so many dimensions, in a random direction of space."""
    frame = np.linalg.qr(random.standard_normal((space, dimension)))[0]
    return random.standard_normal((points, dimension)) @ frame.T


@pytest.mark.parametrize("dimension", [1, 2, 5])
@pytest.mark.parametrize("estimator", list(ESTIMATORS))
def test_flat_clouds(estimator, dimension, random):
    found = diagnostics.intrinsic_dimension(gaussian(dimension, random), estimator)
    assert found.shape == ()
    # Few neighbours of many points: within a seventh, whatever the estimator.
    assert abs(found / dimension - 1) < 0.15


@pytest.mark.parametrize("estimator", list(ESTIMATORS))
def test_a_curved_surface_has_the_dimension_of_its_tangents(estimator, random):
    sphere = random.standard_normal((600, 3))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    found = diagnostics.intrinsic_dimension(np.concatenate([sphere, sphere**2], axis=1), estimator)
    assert 1.7 < found < 2.3


def test_two_nn_by_hand(random):
    """Its ratios of distances are Pareto distributed with the dimension as exponent (maximum likelihood)."""
    points = gaussian(3, random, points=800)
    distances = np.linalg.norm(points[:, None] - points, axis=-1)
    first, second = np.sort(distances, axis=1)[:, 1:3].T
    by_hand = len(points) / np.log(second / first).sum()
    assert_close(diagnostics.intrinsic_dimension(points, "two_nn"), by_hand, relative=0.1)


def test_ensembles_and_units(random):
    clouds = np.stack([gaussian(d, random, points=200) for d in (1, 2, 3, 4)]).reshape(2, 2, 200, 20)
    found = diagnostics.intrinsic_dimension(clouds, "correlation")
    assert found.shape == (2, 2)
    assert (np.diff(found.ravel()) > 0.4).all()
    assert_close(diagnostics.intrinsic_dimension(1e-200 * clouds, "correlation"), found, relative=1e-6)


def test_a_soft_network_answers_in_few_dimensions():
    """Two modes a thousand times softer than the rest."""
    network = jp.NodeNetwork.from_matrix(np.diag([1e-3, 1e-3, *np.ones(8)]))
    cloud = diagnostics.response_cloud(network, jp.Boundary(network), jax.random.key(0))
    assert cloud.shape == (500, 10)
    assert abs(diagnostics.intrinsic_dimension(cloud, "maximum_likelihood") - 2) < 0.3


def test_responses_are_what_equilibrium_says():
    network = jp.FlowNetwork(jp.from_edges([(0, 1), (1, 2)]), k=[1.0, 3.0])
    boundary = jp.Boundary(network, ground=[2])
    key = jax.random.key(3)
    cloud = diagnostics.response_cloud(network, boundary, key, num_forces=5)
    forces = jax.random.normal(key, (5, 3), network.k.dtype)
    assert_close(cloud, jp.equilibrate(network, boundary, forces).x, relative=ulps(100))
    assert_refused("num_forces", diagnostics.response_cloud, network, boundary, key, num_forces=0)


@pytest.mark.parametrize(
    "points",
    [np.zeros((40, 3)), np.ones(40), np.eye(29), np.full((40, 2), np.nan)],
    ids=["equal", "flat", "few", "nan"],
)
def test_clouds_that_are_none(points):
    assert_refused("points", diagnostics.intrinsic_dimension, points, "two_nn")


def test_unknown_estimators():
    unwrapped = inspect.unwrap(diagnostics.intrinsic_dimension)
    assert_refused("estimator", unwrapped, np.eye(40), "box_counting", saying="manifold_adaptive")


def test_a_missing_extra_says_what_to_install(monkeypatch, random):
    monkeypatch.setitem(sys.modules, "skdim", None)
    message = r"^`intrinsic_dimension` needs scikit-dimension: pip install 'jaxphys\[dimension\]'$"
    with pytest.raises(jp.InputError, match=message):
        diagnostics.intrinsic_dimension(gaussian(2, random), "two_nn")
