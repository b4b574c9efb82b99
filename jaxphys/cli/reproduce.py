"""Compute the papers' figures, and check their claims."""

import argparse
import os
import sys

from jaxphys.cli.common import Commands, output, say


def add(commands: Commands) -> None:
    """Let the command line know it."""
    again = commands.add_parser(
        "reproduce",
        help="compute the papers' figures and check their claims",
        description="Compute figures of the papers at their ensemble sizes. Writes a picture and a dataset "
        "for each, claims.json and report.html into the output folder. What is there is kept, so that an "
        "interrupted call goes on. See docs/reproduce.md.",
        epilog="example: jaxphys reproduce physical-effects.fig4 --out runs/physical-effects --quick",
    )
    again.add_argument(
        "names", metavar="NAME", nargs="*", help="a figure or a whole paper; everything if left out"
    )
    again.add_argument("--out", metavar="DIR", type=output, required=True, help="output folder")
    again.add_argument("--quick", action="store_true", help="a tenth of the realizations: a first look")
    again.add_argument("--seed", metavar="N", type=int, default=0, help="of every random draw (default: 0)")
    again.add_argument("--force", action="store_true", help="compute again what is there already")
    again.add_argument(
        "--jobs",
        metavar="N",
        type=int,
        default=min(4, os.cpu_count() or 1),
        help="figures computed side by side (default: as many as cores, at most 4)",
    )
    again.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    import jax

    jax.config.update("jax_enable_x64", True)
    from jaxphys.papers import Settings, reproduce

    settings = Settings(scale=0.1 if parsed.quick else 1.0, seed=parsed.seed)
    try:
        reproduce(
            parsed.names,
            parsed.out,
            settings,
            force=parsed.force,
            jobs=parsed.jobs,
            report=say,
            progress=True,
        )
    except KeyboardInterrupt:
        print("\nInterrupted; the same command goes on with the figures that are not done.", file=sys.stderr)
        return 130
    print(f"open {parsed.out / 'report.html'}")
    return 0
