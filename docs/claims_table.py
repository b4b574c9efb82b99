"""Rewrite the tables of docs/reproduce.md from results in folders: python docs/claims_table.py FOLDER …"""

import re
import sys
from pathlib import Path

import xarray as xr

from jaxphys.papers import EXPERIMENTS, stored_claims
from jaxphys.papers.pages import markdown_table

PAGE = Path(__file__).parent / "reproduce.md"
PAPERS = {"physical-effects": "Stern et al. (2023)", "microscopic-imprints": "Guzman et al. (2024)"}
BEGIN, END = "<!-- begin: claims_table.py -->", "<!-- end: claims_table.py -->"


def tables(folders: list[Path]) -> str:
    """A summary of verdicts, then a section with a table for every experiment that a folder holds."""
    sections, counts, seconds = [], dict.fromkeys(("holds", "conditional", "does not hold"), 0), 0.0
    for name, one in EXPERIMENTS.items():
        path = next((folder / f"{name}.nc" for folder in folders if (folder / f"{name}.nc").exists()), None)
        if path is None:
            continue
        with xr.open_dataset(path, engine="h5netcdf") as dataset:
            claims = stored_claims(dataset)
            seconds += float(dataset.attrs["seconds"])
            took = f"{float(dataset.attrs['seconds']):.0f} s"
        for claim in claims:
            counts[claim.verdict] += 1
        title = f"{PAPERS[name.partition('.')[0]]}, {one.title[:1].lower()}{one.title[1:]}"
        sections.append(f"### {title}\n\n`{name}`, {took}.\n\n{markdown_table(claims)}")
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    return f"{sum(counts.values())} claims: {verdicts}.\n\n" + "\n".join(sections)


def main(folders: list[str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    found = re.search(f"{re.escape(BEGIN)}.*{re.escape(END)}", text, re.DOTALL)
    if found is None:
        sys.exit(f"{PAGE} lacks the markers of the tables")
    inside = f"{BEGIN}\n{tables([Path(folder) for folder in folders])}\n{END}"
    PAGE.write_text(text[: found.start()] + inside + text[found.end() :], encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
