"""The report on experiments: one HTML page, every picture beside its claims, nothing from elsewhere."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxphys.papers.claims import Claim, Number
from jaxphys.reports.page import as_uri, render
from jaxphys.reports.style import number_text

_VERDICTS = ("holds", "conditional", "does not hold")


class Entry(NamedTuple):
    """An experiment in the report: `picture` is its PNG file, `facts` the attributes of its dataset.

    Among these `settings` is a dictionary and `seconds` a number.
    """

    name: str
    title: str
    caption: str
    picture: Path
    claims: Sequence[Claim]
    facts: dict[str, Any]  # Attributes of netCDF: numbers and texts, and the settings.


def page(entries: Sequence[Entry]) -> str:
    """HTML text of the report; everything in it is shown as text, whatever it holds."""
    claims = [claim for entry in entries for claim in entry.claims]
    return render(
        "papers",
        counts=[(verdict, sum(c.verdict == verdict for c in claims)) for verdict in _VERDICTS],
        total=len(claims),
        sections=[_section(entry) for entry in entries],
    )


def table_rows(claims: Sequence[Claim]) -> list[dict[str, str]]:
    """Claims as text for a table."""
    return [
        {
            "id": claim.id,
            "source": claim.source,
            "statement": claim.statement,
            "paper": value_text(claim.paper_value),
            "value": value_text(claim.value),
            "spread": "" if claim.spread is None else " to ".join(number_text(x) for x in claim.spread),
            "realizations": str(claim.realizations) if claim.realizations else "",
            "verdict": claim.verdict,
            "condition": claim.condition,
        }
        for claim in claims
    ]


def markdown_table(claims: Sequence[Claim]) -> str:
    """Claims as a table in Markdown."""
    lines = [
        "| where | what the paper says | paper | ours (10–90 %) | n | verdict |",
        "|---|---|---|---|---|---|",
    ]
    for row in table_rows(claims):
        value = row["value"] + (f" ({row['spread']})" if row["spread"] else "")
        verdict = row["verdict"] + (f": {row['condition']}" if row["condition"] else "")
        cells = (row["source"], row["statement"], row["paper"], value, row["realizations"], verdict)
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def value_text(value: Number) -> str:
    """A number or words for readers; a dash for nothing."""
    return "–" if value is None else value if isinstance(value, str) else number_text(float(value))


def _section(entry: Entry) -> dict[str, object]:
    facts = [f"{key} {value}" for key, value in entry.facts.get("settings", {}).items()]
    if "seconds" in entry.facts:
        facts.append(f"{float(entry.facts['seconds']):.0f} s")
    return {
        "name": entry.name,
        "title": entry.title,
        "caption": entry.caption,
        "uri": as_uri(entry.picture.read_bytes()),
        "alt": f"{entry.title}. {entry.caption}",
        "rows": table_rows(entry.claims),
        "facts": ", ".join(facts),
        "versions": entry.facts.get("versions", ""),
    }
