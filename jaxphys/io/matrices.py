"""Square matrices of numbers: what each may be, told from what responses cannot be."""

import numpy as np

MEANINGS = ("responses", "adjacency", "laplacian", "hessian")
"""What a caller can say of a square of numbers."""


def strange_responses(matrix: np.ndarray) -> str | None:
    """Why a square matrix is hardly one of responses and what it looks like; None where it may be.

    A node gives way to its own push (`G_ii > 0`), and no more to that of others than to its own
    (`G_ij² ≤ G_ii G_jj`); pushes on one node of a flow network move others the same way, unless it floats.
    Noise may break each of these in places, so that only what holds all over the matrix counts.

    >>> strange_responses(np.array([[0.0, 2.0], [2.0, 0.0]]))
    'its diagonal is zero, as that of a weighted adjacency matrix, or of distances'
    """
    diagonal = matrix.diagonal()
    others = matrix - np.diag(diagonal)
    if not others.any():
        return None
    size = np.abs(matrix).max()
    largest = np.abs(others).max(axis=1)
    rows = (largest > 0) | (diagonal != 0)
    if not diagonal.any():
        return "its diagonal is zero, as that of a weighted adjacency matrix, or of distances"
    if (others <= 0).all() and (diagonal >= 0).all():
        if np.abs(matrix.sum(axis=1)).max() <= 1e-6 * size:
            return "no entry beside its diagonal is positive and rows sum to zero, as those of a Laplacian"
        return "no entry beside the diagonal is positive, as in a Hessian (a Laplacian with grounded nodes)"
    if np.mean(diagonal[rows] <= 0) > 0.5:
        return "most entries of its diagonal are not positive, as in no matrix of responses"
    if np.abs(diagonal - 1).max() <= 1e-9 and largest.max() <= 1:
        return "its diagonal holds ones and all else is smaller, as in a matrix of correlations"
    if np.mean((largest > 2 * diagonal)[rows]) > 0.5:
        return "in most rows the diagonal is far from the largest entry, as in no matrix of responses"
    return None


def is_edge_list(rows: np.ndarray) -> bool:
    """Whether lines of two to four numbers are rather the edges of a graph than responses.

    Perhaps a number that counts lines, two numbers of nodes, never twice the same, and perhaps a value;
    unless it is a square that responses can fill: symmetric, without negative eigenvalue.

    >>> is_edge_list(np.array([[0, 1, 2.0], [1, 2, 3.0], [2, 0, 1.0]]))
    True
    >>> is_edge_list(np.array([[3.0, 1.0], [1.0, 2.0]]))
    False
    """
    height, width = rows.shape
    is_counted = bool((np.diff(rows[:, 0]) == 1).all() and rows[0, 0] in (0, 1))
    joins = width in (2, 3) and _are_pairs(rows[:, :2])
    if not joins and not (width in (3, 4) and is_counted and _are_pairs(rows[:, 1:3])):
        return False
    if height != width or (rows != rows.T).any():
        return True
    # Nobody counts symmetrically.
    return width < 4 and bool(np.linalg.eigvalsh(rows)[0] < -1e-12 * np.abs(rows).max())


def _are_pairs(ends: np.ndarray) -> bool:
    """Whether each line holds the numbers of two nodes."""
    return bool((ends == np.round(ends)).all() and (ends >= 0).all() and (ends[:, 0] != ends[:, 1]).all())
