"""Square matrices of numbers: what a caller can say of them, and edges told from them."""

import numpy as np

MEANINGS = ("responses", "adjacency", "laplacian", "hessian")
"""What a caller can say of a square of numbers."""


def holds_edges(rows: np.ndarray) -> bool:
    """Whether lines of two to four numbers are rather the edges of a graph than responses.

    Perhaps a number that counts lines, two numbers of nodes, never twice the same, and perhaps a value;
    unless it is a square that responses can fill: symmetric, without negative eigenvalue.

    >>> holds_edges(np.array([[0, 1, 2.0], [1, 2, 3.0], [2, 0, 1.0]]))
    True
    >>> holds_edges(np.array([[3.0, 1.0], [1.0, 2.0]]))
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
