"""Let the shell complete commands."""

import argparse

from jaxphys._checks import InputError
from jaxphys.cli.common import Commands


def add(commands: Commands) -> None:
    """Let the command line know it."""
    completion = commands.add_parser(
        "completion",
        help="let the shell complete commands",
        description="Print what makes a shell complete jaxphys commands. Needs shtab (pip install "
        "'jaxphys[completion]').",
        epilog='example: eval "$(jaxphys completion bash)"',
    )
    completion.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="which shell")
    completion.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from jaxphys.cli import parser

    try:
        import shtab
    except ImportError:
        raise InputError("completion needs shtab: pip install 'jaxphys[completion]'") from None
    print(shtab.complete(parser(), parsed.shell))
    return 0
