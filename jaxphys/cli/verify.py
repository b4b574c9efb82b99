"""Certify gradients on this machine."""

import argparse
import json

from jaxphys.cli.common import Commands, output, say


def add(commands: Commands) -> None:
    """Let the command line know it."""
    verify = commands.add_parser(
        "verify",
        help="certify gradients on this machine",
        description="Check every rule, network, solver and boundary against automatic differentiation, the "
        "orders in the nudge, the cost Hessian and the spectral laws. Exit status 1 if any check fails.",
        epilog="example: jaxphys verify --network flow 'spring 2-D' --json checks.json",
    )
    verify.add_argument(
        "--network",
        metavar="KIND",
        nargs="+",
        help="only these: node, flow, 'spring 2-D', 'spring 3-D', 'spring vector'",
    )
    verify.add_argument("--json", metavar="FILE", type=output, help="also write the table as JSON")
    verify.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    import dataclasses

    import jax

    jax.config.update("jax_enable_x64", True)
    from jaxphys.checks.certificate import certify, checks_table
    from jaxphys.io import provenance, write_atomically

    checks = certify(networks=parsed.network, progress=True)
    say(checks_table(checks))
    if parsed.json is not None:
        content = {"provenance": provenance(), "checks": [dataclasses.asdict(check) for check in checks]}
        write_atomically(parsed.json, lambda to: to.write_text(json.dumps(content, indent=1) + "\n"))
    return 0 if all(check.passed for check in checks) else 1
