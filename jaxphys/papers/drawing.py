"""What the pictures of experiments share: colours of network kinds, bands, panels with letters."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxphys.reports.run_plots import GREY, INK, quantiles

# Okabe and Ito's colours, and a line style for those who print in grey.
KINDS: dict[str, tuple[str, str, Any]] = {
    "node": ("fully connected nodes", "#0072B2", "-"),
    "flow": ("flow network", "#D55E00", "--"),
    "spring": ("springs in 2-D", "#009E73", (0, (1, 1))),
}
ACCENTS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def panels(rows: int, columns: int, *, width: float = 4.0, height: float = 3.2) -> tuple[Figure, np.ndarray]:
    """A figure and its panels, `(rows, columns)`, lettered a, b, c … from left to right."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for number, axes in enumerate(grid.ravel()):
        axes.tick_params(which="both", color=GREY, labelcolor=INK, labelsize=9)
        axes.grid(color="#e6e6e6", linewidth=0.7)
        axes.set_axisbelow(True)
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


def step_axis(axes: Axes, step: np.ndarray) -> None:
    """Learning steps, logarithmic from the first record after the start on."""
    axes.set_xlabel("learning step")
    if len(step) > 2 and step[-1] > 20 * step[1]:
        axes.set_xscale("symlog", linthresh=step[1], linscale=0.3)
        decades = 10.0 ** np.arange(np.ceil(np.log10(step[1])), np.log10(step[-1]) + 1e-9)
        axes.set_xticks([0, *decades], ["0", *(power_text(decade) for decade in decades)])
        axes.minorticks_off()
    axes.set_xlim(step[0], step[-1])


def power_text(value: float) -> str:
    """A power of ten for an axis: 1, 10, 100, then 10³."""
    exponent = round(np.log10(value))
    if 0 <= exponent <= 2:
        return f"{value:.0f}"
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def band(
    axes: Axes, x: np.ndarray, values: np.ndarray, color: Any, label: str | None = None, **line: Any
) -> None:
    """Median over realizations, `(R, …)`, and the band between the 10 % and 90 % quantiles."""
    low, median, high = quantiles(np.asarray(values, dtype=float))
    axes.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)
    axes.plot(x, median, color=color, label=label, **{"linewidth": 1.8, **line})


def legend_above(axes: Axes, **options: Any) -> None:
    """Over the panel, where it covers no data."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1.01), borderaxespad=0, **{"ncols": 2, "fontsize": 8, **options}
    )
