"""Slow, plain versions of what the library computes, written from the formulas alone."""

import mpmath
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
        logarithms = beta * (outputs - outputs.max())
        logarithms = logarithms - np.log(np.exp(logarithms).sum())
        share = np.exp(logarithms)
        return -np.sum(weighted * logarithms), beta * (weighted.sum() * share - weighted)
    # 1 - cos, whose gradient is -(1 - ŷ ŷᵀ) t̂ / |y| in the metric of the weights.
    length, wanted = (np.sqrt(np.sum(weights * a**2)) for a in (outputs, targets))
    y, t = outputs / length, targets / wanted
    cosine = np.sum(weights * y * t)
    return 1 - cosine, -weights * (t - cosine * y) / length


def exact_hessian(network):
    """The Hessian of the very numbers that a network holds, as rows of mpmath numbers."""
    n, d = network.num_coordinates, network.dimension
    hessian = [[mpmath.mpf(0)] * n for _ in range(n)]
    k = [mpmath.mpf(each) for each in np.asarray(network.k, dtype=float).tolist()]
    if isinstance(network, jp.NodeNetwork):
        for (a, b), value in zip(np.transpose(np.triu_indices(n)).tolist(), k, strict=True):
            hessian[a][b] = hessian[b][a] = value
        return hessian
    if isinstance(network, jp.SpringNetwork):
        directions = np.asarray(network.directions, dtype=float).tolist()
    else:
        directions = [[1.0]] * len(k)
    for (a, b), value, along in zip(np.asarray(network.topology.edges).tolist(), k, directions, strict=True):
        for i, j in np.ndindex(d, d) if a != b else ():
            block = value * mpmath.mpf(along[i]) * mpmath.mpf(along[j])
            for first, second, sign in ((a, a, 1), (b, b, 1), (a, b, -1), (b, a, -1)):
                hessian[d * first + i][d * second + j] += sign * block
    return hessian


def solve_exactly(network, rows, force, values):
    """States and reactions as `solve_bordered` gives them, from 50 digits more than k spreads over.

    None where the bordered system is singular.
    """
    found = _digits(network, rows, force, values)
    return found and tuple(np.array(each, dtype=float) for each in found)


def gradient_exactly(network, task):
    """`∂C/∂k` of a summed squared error without weights, `-Σ_ro (y - t)_ro x_rᵀ Qᵢ z_o`; None as above."""
    force = np.concatenate([task.inputs @ task.force, task.readout]).astype(float)
    values = np.zeros((len(force), task.boundary.num_held))
    values[: len(task.inputs)] = task.inputs @ task.values
    found = _digits(network, task.boundary.rows, force, values)
    if found is None:
        return None
    states, adjoints = found[0][: len(task.inputs)], found[0][len(task.inputs) :]
    with mpmath.workdps(100):
        gradient = [mpmath.mpf(0)] * network.num_edges
        readout, targets = (np.asarray(each, dtype=float).tolist() for each in (task.readout, task.targets))
        for x, wanted in zip(states, targets, strict=True):
            felt = _felt(network, x)
            for z, row, target in zip(adjoints, readout, wanted, strict=True):
                error = sum(a * b for a, b in zip(row, x, strict=True)) - target
                for i, (own, other) in enumerate(zip(felt, _felt(network, z, swapped=True), strict=True)):
                    gradient[i] -= error * sum(a * b for a, b in zip(own, other, strict=True))
    return np.array(gradient, dtype=float)


def _felt(network, x, swapped=False):
    """What edges feel of a state, whose products with another's make `xᵀ Qᵢ z`."""
    if isinstance(network, jp.NodeNetwork):
        pairs = np.transpose(np.triu_indices(len(x))).tolist()
        pairs = [pair[::-1] if swapped else pair for pair in pairs]
        return [[x[a]] if a == b else [x[a], x[b]] for a, b in pairs]
    d = network.dimension
    central = isinstance(network, jp.SpringNetwork)
    directions = np.asarray(network.directions, float).tolist() if central else [[1.0]] * network.num_edges
    edges = np.asarray(network.topology.edges).tolist()
    return [
        [sum(mpmath.mpf(n) * (x[d * a + c] - x[d * b + c]) for c, n in enumerate(along))]
        for (a, b), along in zip(edges, directions, strict=True)
    ]


def _digits(network, rows, force, values):
    """`solve_exactly` in mpmath's numbers, as lists of columns."""
    k = np.abs(np.asarray(network.k, dtype=float))
    k = k[np.isfinite(k) & (k > 0)]
    spread = np.log10(k.max()) - np.log10(k.min()) if k.size else 0
    rows, values = np.asarray(rows, dtype=float), np.atleast_2d(values)
    force = np.broadcast_to(force, (len(values), network.num_coordinates))
    with mpmath.workdps(int(50 + 2 * spread)):
        hessian = exact_hessian(network)
        # Rows on the scale of H, so that pivots compare.
        scale = max((abs(each) for row in hessian for each in row), default=0) or mpmath.mpf(1)
        held = [[scale * mpmath.mpf(each) for each in row] for row in rows.tolist()]
        known = np.zeros((len(values), len(rows)))
        known[:, : values.shape[1]] = values
        table = [
            [*row, *(each[i] for each in held), *map(mpmath.mpf, force[:, i].tolist())]
            for i, row in enumerate(hessian)
        ]
        table += [
            [*row, *[mpmath.mpf(0)] * len(rows), *(scale * mpmath.mpf(each) for each in known[:, i].tolist())]
            for i, row in enumerate(held)
        ]
        if not _eliminated(table, scale * mpmath.mpf(10) ** (-25 - 2 * int(spread))):
            return None
        n, right = len(hessian), [row[len(table) :] for row in table]
        states = [list(column) for column in zip(*right[:n], strict=True)]
        reactions = [[scale * each for each in column] for column in zip(*right[n:], strict=True)]
    return states, reactions or [[] for _ in states]


def _eliminated(table, smallest):
    """Gauss-Jordan with partial pivoting in place; False where a pivot is not above `smallest`."""
    size = len(table)
    for column in range(size):
        pivot = max(range(column, size), key=lambda row: abs(table[row][column]))
        if not abs(table[pivot][column]) > smallest:
            return False
        table[column], table[pivot] = table[pivot], table[column]
        first = table[column]
        inverse = 1 / first[column]
        first[column:] = [inverse * each for each in first[column:]]
        for row in table:
            if row is not first and row[column]:
                factor = row[column]
                row[column:] = [a - factor * b for a, b in zip(row[column:], first[column:], strict=True)]
    return True
