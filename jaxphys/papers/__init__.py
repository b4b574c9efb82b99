"""The two papers, figure by figure: what they claim, what we measured, and whether it holds.

`reproduce` runs experiments by name and writes pictures, datasets, `claims.json` and a report; each entry
of `EXPERIMENTS` can also be run by itself, `EXPERIMENTS["physical-effects.fig2"].run(QUICK)`.
"""

from jaxphys.papers._reproduce import reproduce, write_summary
from jaxphys.papers.claims import Claim, load_claims, save_claims
from jaxphys.papers.frame import (
    QUICK,
    Experiment,
    Result,
    Settings,
    ensemble_dataset,
    part,
    stored_claims,
)
from jaxphys.papers.registry import EXPERIMENTS, resolve

__all__ = [
    "EXPERIMENTS",
    "QUICK",
    "Claim",
    "Experiment",
    "Result",
    "Settings",
    "ensemble_dataset",
    "load_claims",
    "part",
    "reproduce",
    "resolve",
    "save_claims",
    "stored_claims",
    "write_summary",
]
