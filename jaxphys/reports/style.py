"""The look of all pictures: colours, fonts, axes, legends, numbers as text."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, ParamSpec

import matplotlib
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

INK = "#262626"
BLUE, ORANGE, GREY = "#034984", "#b75a26", "#8c8c8c"
PALE = "#e6e6e6"
"""Of grids and of the lines between rows."""
# Light enough to recede and dark enough to be seen on white.
STRENGTH = ListedColormap(colormaps["YlGnBu"](np.linspace(0.2, 1.0, 256)), name="strength")
SIGNED = colormaps["RdBu_r"]
MODES = ListedColormap(colormaps["viridis"](np.linspace(0.0, 0.9, 256)), name="modes")
# Matplotlib's stubs name every key of a style in a type of their own.
_STYLE: Any = {
    # DejaVu ships with matplotlib and holds every glyph used here.
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "text.usetex": False,
    "text.color": INK,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.facecolor": "white",
    "axes.edgecolor": "#808080",
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 9,
}
# A logarithmic axis over fewer decades than this has numbers between the powers of ten.
_FEW_DECADES = 2.5

_RAISED = str.maketrans("−0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in this style and leave the caller's matplotlib settings as they were.

    Logarithmic axes and colour bars of what was drawn get ticks that can be read, whatever they span.
    """

    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(_STYLE):
            figure = draw(*args, **kwargs)
            for axes in figure.axes:
                for axis, scale in ((axes.xaxis, axes.get_xscale()), (axes.yaxis, axes.get_yscale())):
                    if scale == "log":
                        _label_decades(axis)
            return figure

    return styled


def _label_decades(axis: Axis) -> None:
    """Plain numbers on a logarithmic axis that spans few decades.

    Matplotlib would write 6 × 10⁻¹, and leave an axis that holds no power of ten without any label. Axes that
    have ticks of their own keep them.
    """
    low, high = sorted(axis.get_view_interval())
    is_long = low <= 0 or np.log10(high / low) > _FEW_DECADES
    if is_long or type(axis.get_major_locator()) is not LogLocator:
        return
    steps = (1, 2, 5) if high > 5 * low else (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
    if high < 1.5 * low:
        axis.set_major_locator(MaxNLocator(5))
    else:
        axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick_text(value)))
    axis.set_minor_formatter(NullFormatter())


def plain_axes(axes: Axes, *, grid: Literal["both", "x", "y"] | None = "both", size: int = 9) -> None:
    """Grey ticks with labels of `size` points, and a pale grid along the axes named.

    Not part of `styled`, since ticks may be made when the figure is drawn, outside its context.
    """
    axes.tick_params(which="both", color=GREY, labelcolor=INK, labelsize=size)
    if grid is not None:
        axes.grid(axis=grid, color=PALE, linewidth=0.7)
        axes.set_axisbelow(True)


def step_axis(axes: Axes, step: np.ndarray, *, logarithmic: bool) -> None:
    """Learning steps, `(T,)` from 0 on, along x, from the first to the last one.

    `logarithmic`: from the second record on, with 0 at the left end.
    """
    axes.set_xlabel("learning step (logarithmic)" if logarithmic else "learning step")
    axes.set_xlim(step[0], max(step[-1], step[0] + 1))
    if logarithmic:
        axes.set_xscale("symlog", linthresh=step[1], linscale=0.3)
        powers = 10.0 ** np.arange(np.ceil(np.log10(step[1])), np.log10(step[-1]) + 1e-9)
        axes.set_xticks([0, *powers], ["0", *(tick_text(power) for power in powers)])
        axes.xaxis.set_minor_locator(NullLocator())


def color_bar(
    figure: Figure,
    drawn: ScalarMappable,
    axes: Axes | np.ndarray,
    label: str,
    *,
    size: int = 9,
    **options: Any,  # Keywords of matplotlib, here and below, each of a type of its own.
) -> Colorbar:
    """The colour bar of something drawn, beside the axes that it belongs to.

    `size`: of its tick labels in points. `options`: those of `Figure.colorbar`.
    """
    bar: Colorbar = figure.colorbar(drawn, ax=axes, **{"pad": 0.02, **options})
    bar.set_label(label, fontsize=size + 1)
    bar.outline.set_visible(False)
    bar.ax.tick_params(which="both", color=GREY, labelcolor=INK, labelsize=size)
    return bar


def legend_below(figure: Figure, **options: Any) -> None:
    """Below the panels, where it covers no data; `options` of `Figure.legend`."""
    figure.legend(loc="outside lower center", **{"ncols": 2, **options})


def legend_above(axes: Axes, **options: Any) -> None:
    """Over a panel, where it covers no data; `options` of `Axes.legend`."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1.01), borderaxespad=0, **{"ncols": 2, "fontsize": 8, **options}
    )


def number_text(value: float | np.floating) -> str:
    """A number for readers: three digits, powers of ten as superscripts.

    >>> number_text(0.0123), number_text(4.56e-07)
    ('0.0123', '4.56×10⁻⁷')
    """
    digits, _, power = f"{value:.3g}".replace("-", "−").partition("e")
    if not power:
        return digits
    raised = power.lstrip("+").replace("−0", "−").lstrip("0")
    return f"{digits}×10{raised.translate(_RAISED)}"


def tick_text(value: float | np.floating) -> str:
    """A number on an axis: as `number_text`, but plain below 10 000, and powers of ten without a factor.

    >>> tick_text(0.5), tick_text(1000.0), tick_text(1e5), tick_text(1e-7)
    ('0.5', '1000', '10⁵', '10⁻⁷')
    """
    if 1 <= abs(float(value)) < 10_000:
        return f"{value:g}".replace("-", "−")
    return number_text(value).removeprefix("1×")
