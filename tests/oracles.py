"""Slow, plain NumPy versions of what the library computes, written from the formulas alone."""

import numpy as np

import jaxphys as jp


def explicit_hessian(network):
    """`Σᵢ kᵢ bᵢ bᵢᵀ` edge by edge, for flow networks and central-force springs without a box."""
    n, d = network.num_coordinates, network.dimension
    hessian = np.zeros((n, n))
    for i, (a, b) in enumerate(np.asarray(network.topology.edges).tolist()):
        row = np.zeros((n // d, d))
        row[a] = explicit_direction(network, a, b)
        row[b] = -row[a]
        hessian += float(network.k[i]) * np.outer(row, row)
    return hessian


def explicit_direction(network, a, b):
    """Unit vector from node b to node a; 1 for scalar networks."""
    if network.dimension == 1:
        return np.ones(1)
    bond = np.asarray(network.topology.positions[a] - network.topology.positions[b], dtype=float)
    return bond / np.linalg.norm(bond)


def bordered_matrix(hessian, rows):
    """`[[H, Cᵀ], [C, 0]]`."""
    hessian, rows = np.asarray(hessian, dtype=float), np.asarray(rows, dtype=float)
    return np.block([[hessian, rows.T], [rows, np.zeros((len(rows), len(rows)))]])


def solve_bordered(hessian, rows, force, values):
    """States and reactions, `(..., n)` and `(..., c)`; rows without a value are held at zero."""
    n, c = len(hessian), len(rows)
    force, values = np.broadcast_to(force, (*np.shape(values)[:-1], n)), np.asarray(values)
    zeros = np.zeros((*values.shape[:-1], c - values.shape[-1]))
    right = np.concatenate([force, values, zeros], axis=-1)
    solution = np.linalg.solve(bordered_matrix(hessian, rows), right[..., None])[..., 0]
    return solution[..., :n], solution[..., n:]


def cost_by_hand(cost, outputs, targets, weights):
    """Cost of one sample and its gradient by the outputs."""
    if isinstance(cost, jp.SquaredError):
        error = outputs - targets
        return 0.5 * np.sum(weights * error**2), weights * error
    if isinstance(cost, jp.CrossEntropy):
        beta = cost.inverse_temperature
        weighted = weights * targets
        powers = np.exp(beta * (outputs - outputs.max()))
        share = powers / powers.sum()
        return -np.sum(weighted * np.log(share)), beta * (weighted.sum() * share - weighted)
    # 1 - cos, whose gradient is -(1 - ŷ ŷᵀ) t̂ / |y| in the metric of the weights.
    length, wanted = (np.sqrt(np.sum(weights * a**2)) for a in (outputs, targets))
    y, t = outputs / length, targets / wanted
    cosine = np.sum(weights * y * t)
    return 1 - cosine, -weights * (t - cosine * y) / length
