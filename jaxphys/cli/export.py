"""Networks and circuits for other programs."""

import argparse
import math
from pathlib import Path

from jaxphys._checks import InputError
from jaxphys.cli.common import Commands, add_meaning, output


def add(commands: Commands) -> None:
    """Let the command line know it."""
    export = commands.add_parser(
        "export",
        help="write a network for another program",
        description="Write the network of a FILE (a run.nc or any network that inspect reads) as a SPICE "
        "netlist, GraphML, an edge list, JSON or NumPy arrays. A netlist needs sources: a run brings those "
        "of its task, for others say what is held and driven.",
        epilog="examples: jaxphys export runs/a/run.nc --to spice --out a.cir --sample 2; jaxphys export "
        "edges.csv --to spice --hold pump=5 --ground drain --current valve=-0.1",
    )
    export.add_argument("file", metavar="FILE", type=Path, help="what to write anew")
    export.add_argument("--to", metavar="FORMAT", choices=tuple(_SUFFIXES), required=True, help=_FORMATS)
    export.add_argument("--out", metavar="FILE", type=output, help="where to (default: beside FILE)")
    add_meaning(export)
    export.add_argument(
        "--realization", metavar="N", type=int, help="which network of a run (default: typical)"
    )
    export.add_argument(
        "--sample", metavar="N", type=int, default=0, help="of a run's task, whose sources drive a netlist"
    )
    for name, metavar, text in (
        ("--hold", "NODE=VOLTS", "nodes that a netlist's voltage sources hold"),
        ("--current", "NODE=AMPERES", "currents into nodes"),
        ("--ground", "NODE", "nodes held at zero"),
    ):
        export.add_argument(name, metavar=metavar, nargs="+", action="extend", default=[], help=text)
    export.add_argument("--force", action="store_true", help="replace a file that is there")
    export.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    import jax

    jax.config.update("jax_enable_x64", True)
    from jaxphys.io import export_file

    out = parsed.out or parsed.file.with_suffix(_SUFFIXES[parsed.to])
    if out.exists() and not parsed.force:
        raise InputError(f"--out {out}: is there already; give --force or another name")
    if out.suffix.lower() != _SUFFIXES[parsed.to] and parsed.to != "spice":
        raise InputError(f"--out {out}: must end in {_SUFFIXES[parsed.to]}")
    export_file(
        parsed.file,
        out,
        as_netlist=parsed.to == "spice",
        kind=parsed.kind,
        realization=parsed.realization,
        sample=parsed.sample,
        held=_numbers(parsed.hold, "--hold"),
        currents=_numbers(parsed.current, "--current"),
        ground=parsed.ground,
        values=parsed.values,
        unweighted=parsed.unweighted,
    )
    print(f"wrote {out}")
    return 0


_SUFFIXES = {"spice": ".cir", "graphml": ".graphml", "csv": ".csv", "json": ".json", "npz": ".npz"}


_FORMATS = "spice, graphml, csv, json or npz"


def _numbers(items: list[str], option: str) -> dict[str, float]:
    """`NODE=NUMBER` items as a dictionary."""
    found = {}
    for item in items:
        node, _, text = item.rpartition("=")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not node or not math.isfinite(value):
            raise InputError(f"{option} {item}: must be NODE=NUMBER, as in {option} pump=5")
        found[node] = value
    return found
