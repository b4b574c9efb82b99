"""The command line; thin.

Exit status: 0 done, 1 a check failed or every network that was trained, 2 the input was wrong, 75 stopped by
SIGTERM with all saved, 130 interrupted.
"""

import argparse
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from typing import NoReturn

from jaxphys._checks import InputError
from jaxphys._version import __version__
from jaxphys.cli import bench, completion, examples, export, inspect, reproduce, train, verify


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    parsed = parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            shown: set[str] = set()
            warnings.showwarning = partial(_show_warning, shown)
            return parsed.run(parsed)
    except InputError as error:
        print(f"jaxphys: {error}", file=sys.stderr)
        return 2
    except (OSError, MemoryError, OverflowError, RecursionError) as error:
        print(f"jaxphys: {type(error).__name__}: {error}".splitlines()[0], file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("jaxphys: interrupted", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """Of all commands."""
    whole = _Parser(
        prog="jaxphys",
        description="Simulate physical networks that learn, and read what they learned.",
        epilog="example: jaxphys examples copy iris, then jaxphys train iris.toml --out runs/iris. "
        "Exit status: 0 done, 1 a check failed or every network that was trained, 2 the input was "
        "wrong, 75 stopped by SIGTERM with all saved, 130 interrupted.",
    )
    whole.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    for command in (train, reproduce, inspect, export, examples, completion, verify, bench):
        command.add(commands)
    return whole


class _Parser(argparse.ArgumentParser):
    """Reports wrong usage as any wrong input: one line, exit status 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _show_warning(shown: set[str], message: Warning | str, *_: object, **__: object) -> None:
    """One line, once, without the place in the code, which is ours."""
    if str(message) in shown:
        return
    shown.add(str(message))
    print(f"jaxphys: warning: {message}", file=sys.stderr)
