"""Conductances of a known graph from measured responses."""

import warnings
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxphys._checks import require
from jaxphys.equilibrium import Boundary, greens_function
from jaxphys.inspection.reconstruction import NOTHING, spread_of, uniform_motion_is_free, variances
from jaxphys.learning import Task
from jaxphys.networks.physics import FlowNetwork
from jaxphys.networks.topology import Topology
from jaxphys.training._train import train
from jaxphys.training.arguments import Record
from jaxphys.training.levenberg_marquardt import LevenbergMarquardt

# Attempted steps of Levenberg-Marquardt.
_STEPS = 60
# The smallest conductance, relative to the typical one.
_LEAST = 1e-6
# A graph is wrong if its best responses deviate by more than so many errors plus this share of their size.
_FAR, _MISFIT = 3.0, 1e-3


class Fit(NamedTuple):
    """A fit to measured responses.

    - `network`: the one whose responses fit best. `errors`: `(M,)`, standard errors of its k.
    """

    network: FlowNetwork
    errors: Float[np.ndarray, " M"]


def fit_conductances(
    topology: Topology,
    responses: Float[np.ndarray, "n n"],
    errors: Float[np.ndarray, "n n"] | None = None,
) -> Fit:
    """Fit the conductances of a graph to measured responses, by weighted least squares.

    Minimises `Σ_ij (G_ij(k) - X_ij)² / Var_ij` over the symmetrised readings, by Levenberg-Marquardt steps on
    k > 0: each unit force is an input, each node an output of one task. Errors of k are those of the linear
    fit, `(Jᵀ J)^(-1/2)` with `∂G/∂kᵢ = -sᵢ sᵢᵀ`. The network floats if all rows of the readings sum to zero;
    nodes that never respond are its grounds.

    **Arguments**

    - `topology`: the graph, n nodes and M edges.
    - `responses`: `(n, n)`, row i read at node i under a unit current at each node, in units of 1/k.
    - `errors`: `(n, n)` standard deviations; estimated from the asymmetry of the readings if None.

    **Returns** a `Fit`.

    Raises `InputError` if the graph has other nodes than the readings or does not explain them, or if nothing
    holds the network.
    """
    size = topology.num_nodes
    require(
        responses.shape == (size, size),
        "responses",
        f"have a row and a column for each of the {size} nodes of the graph",
        f"their shape is {responses.shape}",
    )
    symmetric = 0.5 * (responses + responses.T)
    variance = variances(spread_of(responses) if errors is None else errors)
    # Errors in proportion to the readings would give those near zero too much weight.
    usual = np.median(variance[variance > 0]) if (variance > 0).any() else 1.0
    weights = 1 / np.maximum(variance, 1e-2 * usual)
    boundary, held = _boundary(FlowNetwork(topology, 1.0), symmetric, variance)
    network = _best(topology, boundary, held, symmetric, weights)
    response = np.asarray(greens_function(network, boundary))
    _check_explained(response, symmetric, variance)
    has_errors = bool((variance > 0).any())
    return Fit(network, _errors_of_k(network, response, weights) if has_errors else np.zeros(len(network.k)))


def _boundary(
    unit: FlowNetwork, symmetric: Float[np.ndarray, "n n"], variance: Float[np.ndarray, "n n"]
) -> tuple[Boundary, list[int]]:
    """The boundary under which the network was measured, and its grounds: nodes that never respond."""
    size = unit.num_nodes
    largest = np.abs(symmetric).max(axis=1)
    held = np.flatnonzero(largest <= NOTHING * largest.max()).tolist()
    free = uniform_motion_is_free(symmetric, variance)
    require(
        bool(held) or free,
        "responses",
        "be those of a network that floats or has a ground among its nodes",
        "the rows do not sum to zero and every node answers; name the ground too, with a row of zeros",
    )
    require(
        len(held) < size - 1 and float(np.trace(symmetric)) > 0,
        "responses",
        "be those of a passive network, whose nodes move with the forces on them",
        f"{len(held)} of {size} answer nothing, and the diagonal sums to {np.trace(symmetric):.3g}",
    )
    return Boundary(unit, ground=held, free_modes="forbid" if held else "project"), held


def _best(
    topology: Topology,
    boundary: Boundary,
    held: list[int],
    symmetric: Float[np.ndarray, "n n"],
    weights: Float[np.ndarray, "n n"],
) -> FlowNetwork:
    """The network on this graph whose responses minimise the weighted squares."""
    size, unit = topology.num_nodes, FlowNetwork(topology, 1.0)
    scale = float(np.trace(np.asarray(greens_function(unit, boundary))) / np.trace(symmetric))
    moving = np.setdiff1d(np.arange(size), held)
    inner = np.ix_(moving, moving)
    task = Task(
        boundary,
        force=np.eye(size)[moving],
        inputs=np.eye(len(moving)),
        readout=np.eye(size)[moving],
        targets=symmetric[inner],
        weights=weights[inner] / weights[inner].mean(),
    )
    with warnings.catch_warnings():
        # `train` warns that readings with errors contradict one another; `_check_explained` says by how much.
        warnings.simplefilter("ignore")
        run = train(
            unit.with_k(scale * unit.k),
            task,
            steps=_STEPS,
            optimizer=LevenbergMarquardt(),
            bounds=(_LEAST * scale, None),
            record=Record(steps=[]),
        )
    return FlowNetwork(topology, run.network.k[0])


def _check_explained(
    response: Float[np.ndarray, "n n"],
    symmetric: Float[np.ndarray, "n n"],
    variance: Float[np.ndarray, "n n"],
) -> None:
    """Refuse a graph whose best responses miss the readings by much more than their errors."""
    gap, usual = (float(np.sqrt(np.mean(values**2))) for values in (response - symmetric, symmetric))
    error = float(np.sqrt(np.mean(variance)))
    require(
        gap <= _FAR * error + _MISFIT * usual,
        "topology",
        "explain the responses",
        f"the best conductances miss them by {gap:.2g} on average, while errors are {error:.2g}; is an edge "
        "or a name wrong?",
    )


def _errors_of_k(
    network: FlowNetwork, response: Float[np.ndarray, "n n"], weights: Float[np.ndarray, "n n"]
) -> Float[np.ndarray, " M"]:
    """Standard errors of k in the linear fit of the readings."""
    strains = np.asarray(network.strains(jnp.asarray(response)))[..., 0].T
    # `Jᵀ J`, a column of readings at a time; both halves of symmetric readings are the same measurement.
    gram = np.zeros((len(strains), len(strains)))
    for column, weight in zip(strains.T, weights, strict=True):
        rows = strains * column[:, None] * np.sqrt(weight)
        gram += 0.5 * rows @ rows.T
    covariance = np.linalg.pinv(gram, hermitian=True)
    return np.sqrt(np.maximum(np.diagonal(covariance), 0))
