"""Was a network trained, and for what?"""

import argparse
import time
from pathlib import Path

from jaxphys._checks import InputError
from jaxphys.cli.common import Commands, add_meaning, output, say


def add(commands: Commands) -> None:
    """Let the command line know it."""
    inspect = commands.add_parser(
        "inspect",
        help="was this network trained, and for what?",
        description="Compare a network that someone else trained or measured with untrained networks made "
        "from it. Writes findings.json, findings.nc, figures/ and report.html into the output folder. FILE "
        "holds a network or measured responses (.csv, .tsv, .json, .graphml, .npz, .npy, run.nc; see "
        "docs/files.md) or a protein (.pdb, .cif).",
        epilog="example: jaxphys inspect network.csv --kind flow --out findings --draws 1000",
    )
    inspect.add_argument("file", metavar="FILE", type=Path, help="what to look at")
    inspect.add_argument("--out", metavar="DIR", type=output, help="output folder")
    add_meaning(inspect)
    inspect.add_argument(
        "--matrix",
        metavar="MEANING",
        help="of a square of numbers: responses, adjacency, laplacian or hessian",
    )
    inspect.add_argument(
        "--realization", metavar="N", type=int, help="which network of a run (default: typical)"
    )
    inspect.add_argument(
        "--cutoff",
        metavar="LENGTH",
        type=float,
        help="longest spring of a protein, in angstroms (default: 15)",
    )
    inspect.add_argument(
        "--graph", metavar="FILE", type=Path, help="edges of the flow network whose responses were measured"
    )
    inspect.add_argument(
        "--draws", metavar="N", type=int, default=200, help="of every null model (default: 200)"
    )
    inspect.add_argument(
        "--significance",
        metavar="P",
        type=float,
        default=0.05,
        help="called trained up to it (default: 0.05)",
    )
    inspect.add_argument("--seed", metavar="N", type=int, default=0, help="of the draws (default: 0)")
    inspect.add_argument("--force", action="store_true", help="replace earlier findings in the output folder")
    inspect.add_argument(
        "--json", action="store_true", help="print the findings as JSON; --out may be left out"
    )
    inspect.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    import jax

    jax.config.update("jax_enable_x64", True)
    from jaxphys.reports.findings_page import (
        check_findings_folder,
        findings_json,
        inspect_file,
        write_findings,
    )

    begin = time.perf_counter()
    if not 19 <= parsed.draws <= 100_000:
        raise InputError(f"--draws {parsed.draws}: must lie between 19 and 100000")
    if parsed.seed < 0:
        raise InputError(f"--seed {parsed.seed}: must be at least 0")
    if parsed.out is None and not parsed.json:
        raise InputError("--out: must name a folder for the findings, unless --json prints them")
    if parsed.out is not None:
        check_findings_folder(parsed.out, force=parsed.force)
    findings = inspect_file(
        parsed.file,
        kind=parsed.kind,
        realization=parsed.realization,
        cutoff=parsed.cutoff,
        graph=parsed.graph,
        values=parsed.values,
        unweighted=parsed.unweighted,
        matrix=parsed.matrix,
        num_null=parsed.draws,
        significance=parsed.significance,
        seed=parsed.seed,
        progress=True,
    )
    source = parsed.file.name
    if parsed.out is not None:
        write_findings(findings, parsed.out, source=source)
    if parsed.json:
        print(findings_json(findings, source=source), end="")
        return 0
    first, second = (findings.labels[node] for node in findings.terminals)
    say(f"{findings.verdict} (p = {findings.p_value:.3g}): {' '.join(findings.reasons)}")
    if first != second:
        trace = "suspected" if findings.verdict == "trained" else "strongest trace, for what it is worth"
        print(f"{trace}: {first} and {second}")
    print(f"{time.perf_counter() - begin:.1f} s")
    print(f"open {parsed.out / 'report.html'}")
    return 0
