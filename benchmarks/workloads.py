"""The fixed workloads beside their baselines: `jaxphys bench` with its report and a plot kept in a folder."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from jaxphys import cli
from jaxphys.checks.baselines import CONTENDERS
from jaxphys.io import write_atomically


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options.add_argument("--quick", action="store_true")
    options.add_argument("--cores", type=int, default=1)
    options.add_argument("--workload", nargs="+", default=["W1", "W2", "W3"])
    parsed = options.parse_args()
    parsed.out.mkdir(parents=True, exist_ok=True)
    path = parsed.out / "workloads.json"
    command = ["bench", "--json", str(path), "--cores", str(parsed.cores), "--workload", *parsed.workload]
    status = cli.main([*command, *(["--quick"] if parsed.quick else [])])
    if status == 0:
        report = json.loads(path.read_text())
        picture = path.with_suffix(".png")
        write_atomically(picture, lambda to: plot(report).savefig(to, format="png", dpi=150))
    return status


def plot(report: dict) -> Figure:
    """Bars of the time of a step, one group for each workload and precision, on a logarithmic axis."""
    groups = [
        (name, entry) for name, double in report["workloads"].items() for entry in (double, double["float32"])
    ]
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(CONTENDERS)
    for i, contender in enumerate(CONTENDERS):
        key = "us_per_step" if contender == "jaxphys" else f"us_per_step_{contender}"
        heights = [entry[key] for _, entry in groups]
        quartiles = np.array([entry["quartiles_us"][contender] for _, entry in groups]).T
        places = np.arange(len(groups)) + (i - (len(CONTENDERS) - 1) / 2) * width
        axes.bar(places, heights, width, yerr=abs(quartiles - heights), label=contender, error_kw={"lw": 0.8})
    names = [f"{name}\n{entry['dtype']}\n{entry['solver']}" for name, entry in groups]
    axes.set_xticks(range(len(groups)), names)
    axes.set(yscale="log", ylabel="time of one step of all realizations (µs)")
    axes.legend(frameon=False, ncols=len(CONTENDERS), loc="upper left", fontsize=8)
    axes.margins(y=0.15)
    machine = report["machine"]
    axes.set_title(
        f"{machine['processor']}, {machine['cores_used']} core(s), {report['date'][:10]}", fontsize=9
    )
    return figure


if __name__ == "__main__":
    sys.exit(main())
