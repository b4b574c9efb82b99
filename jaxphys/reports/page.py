"""Pages of HTML from the templates beside them; values are always shown as text, never run as markup."""

import base64
import hashlib
import io
import json
from functools import cache
from importlib.resources import files

import matplotlib
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

DPI = 150
"""Of pictures as PNG."""


def render(template: str, *, interactive: bool = False, **values: object) -> str:
    """The HTML text of a template (`run`, `sweep`, `findings` or `papers`) with these values filled in.

    The page loads nothing, and runs the scripts that it is written with and no other; among them, if it is
    `interactive`, the library that draws pictures which can be turned over.
    """
    return _environment().get_template(f"{template}.html.jinja").render(**_frame(interactive), **values)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FunctionLoader(_text),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _text(name: str) -> str:
    return files("jaxphys.reports").joinpath("templates", name).read_text("utf-8")


def _frame(interactive: bool) -> dict[str, object]:
    """What all reports have: `style`, `scripts` and the `policy` that lets a browser run these and no other.

    Scripts sort tables, choose light or dark, and draw pictures that can be turned over if there are any.
    """
    scripts = [Markup(each) for each in ([library()] if interactive else []) + [script()]]
    digests = (base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return {
        "style": Markup(_text("report.css")),
        "scripts": scripts,
        "policy": f"default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src {allowed}",
    }


@cache
def library() -> str:
    """plotly.js, as the Python package ships it."""
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


def script() -> str:
    """What draws `interactive.page_data` and sorts tables, as JavaScript."""
    return _text("report.js")


def as_json(data: object) -> str:
    """JSON that may stand within a script element of HTML."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def png(figure: Figure) -> bytes:
    """A picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    # Without the line that matplotlib signs with, equal runs give equal files whatever its version.
    figure.savefig(buffer, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def svg(figure: Figure) -> bytes:
    """A picture as an SVG file, for papers; equal runs give equal files."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "jaxphys"}):
        figure.savefig(buffer, format="svg", facecolor="white", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def as_uri(png: bytes) -> str:
    """A picture as part of a page."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
