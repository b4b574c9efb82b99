"""What the pictures of experiments share: colours of network kinds, panels with letters."""

import numpy as np
from matplotlib.figure import Figure

from jaxphys.reports.pictures import Line
from jaxphys.reports.style import plain_axes

# Okabe and Ito's colours, and a line style for those who print in grey.
KINDS: dict[str, tuple[str, str, Line]] = {
    "node": ("fully connected nodes", "#0072B2", "-"),
    "flow": ("flow network", "#D55E00", "--"),
    "spring": ("springs in 2-D", "#009E73", (0, (1, 1))),
}
ACCENTS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def panels(rows: int, columns: int, *, width: float = 4.0, height: float = 3.2) -> tuple[Figure, np.ndarray]:
    """A figure and its panels, an array `(rows, columns)` of axes, lettered a, b, c … from left to right.

    `width` and `height` of one panel in inches.
    """
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for number, axes in enumerate(grid.ravel()):
        plain_axes(axes)
        axes.annotate(
            chr(ord("a") + number),
            (0, 1),
            xycoords="axes fraction",
            xytext=(-6, 8),
            textcoords="offset points",
            ha="right",
            weight="bold",
            annotation_clip=False,
        )
    return figure, grid
