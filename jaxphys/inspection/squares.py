"""Recognising square matrices that are not responses, by properties that responses cannot have."""

import numpy as np

# Share of the sum of squares that noise may make up; size beside the diagonal from which an entry counts.
_NOISE, _SEEN = 0.01, 0.05
# Fewer blocks than this pass the test by chance.
_MOST_BY_CHANCE = 4


def strange_responses(matrix: np.ndarray) -> str | None:
    """Why a square matrix is unlikely to hold responses, and what it looks like; None where it may hold them.

    A node moves along a force on it (`G_ii > 0`), and forces on others move it no further (`G_ij² ≤ G_ii
    G_jj`); a force on one node of a flow network moves the others in the same direction, unless the network
    floats. In a Hessian `H` the block of two joined nodes is minus a stiffness along the bond (`-k n nᵀ`, in
    a flow network -k), which responses have no reason to be. Noise may violate each of these for some
    entries, so that only properties of the whole matrix count.

    **Arguments**

    - `matrix`: `(n, n)`, in any units.

    >>> strange_responses(np.array([[0.0, 2.0], [2.0, 0.0]]))
    'its diagonal is zero, as that of a weighted adjacency matrix, or of distances'
    """
    diagonal = matrix.diagonal()
    others = matrix - np.diag(diagonal)
    if not others.any():
        return None
    largest = np.abs(others).max(axis=1)
    rows = (largest > 0) | (diagonal != 0)
    if not diagonal.any():
        return "its diagonal is zero, as that of a weighted adjacency matrix, or of distances"
    bonds = _of_bonds(matrix, others, diagonal)
    if bonds is not None:
        return bonds
    if np.mean(diagonal[rows] <= 0) > 0.5:
        return "most entries of its diagonal are not positive, as in no matrix of responses"
    if np.abs(diagonal - 1).max() <= 1e-9 and largest.max() <= 1:
        return "its diagonal holds ones and all else is smaller, as in a matrix of correlations"
    partners = diagonal[np.abs(others).argmax(axis=1)]
    bound = np.sqrt(np.maximum(diagonal, 0) * np.maximum(partners, 0))
    if np.mean((largest > 2 * np.maximum(bound, diagonal))[rows]) > 0.5:
        return "in most rows the diagonal is far from the largest entry, as in no matrix of responses"
    return None


def _of_bonds(matrix: np.ndarray, others: np.ndarray, diagonal: np.ndarray) -> str | None:
    """Why a matrix looks like a sum over bonds: a Laplacian, one without signs, or a Hessian."""
    size = np.abs(matrix).max()
    coupled = np.mean(np.abs(others).max(axis=1) > _SEEN * np.abs(diagonal)) > 0.5
    if ((others <= 0).all() and (diagonal >= 0).all()) or (coupled and _is_of_bonds(matrix, 1)):
        # The Laplacian of a directed graph sums to zero along rows or along columns.
        sums = min(np.abs(matrix.sum(axis=axis)).max() for axis in (0, 1))
        if sums <= _NOISE * size:
            return "no entry beside its diagonal is positive and rows sum to zero, as those of a Laplacian"
        return "no entry beside the diagonal is positive, as in a Hessian (a Laplacian with grounded nodes)"
    alone = np.abs(diagonal - others.sum(axis=1)).max() <= _NOISE * size
    # The inverse of a Hessian with a bond for each pair of nodes must not pass for a signless Laplacian.
    if alone and coupled and len(matrix) >= _MOST_BY_CHANCE and others.min() >= -_NOISE * size:
        return "each entry of its diagonal is the sum of its row, as in a Laplacian without signs"
    if coupled and any(_is_of_bonds(matrix, dimension) for dimension in (2, 3)):
        return "its blocks are those of bonds between nodes in space, as in a Hessian"
    return None


def _is_of_bonds(matrix: np.ndarray, dimension: int) -> bool:
    """Whether blocks beside the diagonal are negative and symmetric but for noise, and those on it positive.

    Coordinates may be listed node by node, or axis by axis.
    """
    nodes, rest = divmod(len(matrix), dimension)
    if rest or nodes < _MOST_BY_CHANCE:
        return False
    by_node = matrix.reshape(nodes, dimension, nodes, dimension).transpose(0, 2, 1, 3)
    by_axis = matrix.reshape(dimension, nodes, dimension, nodes).transpose(1, 3, 0, 2)
    return any(_are_negative(blocks) for blocks in (by_node, by_axis))


def _are_negative(blocks: np.ndarray) -> bool:
    own = np.arange(len(blocks))
    on_diagonal = 0.5 * (blocks[own, own] + blocks[own, own].swapaxes(-1, -2))
    size = np.abs(blocks).max()
    if np.linalg.eigvalsh(on_diagonal).min() < -_NOISE * size:
        return False
    beside = blocks[own[:, None] != own[None, :]]
    # The nearest symmetric negative blocks leave the positive eigenvalues and the antisymmetric part.
    values = np.linalg.eigvalsh(0.5 * (beside + beside.swapaxes(-1, -2)))
    left = (np.maximum(values, 0) ** 2).sum() + (0.25 * (beside - beside.swapaxes(-1, -2)) ** 2).sum()
    return bool(left <= _NOISE * (beside**2).sum())
