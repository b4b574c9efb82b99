"""What commands share."""

import argparse
import os
import re
import sys
from pathlib import Path
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What a command adds its parser to."""

# Exit status after SIGTERM: all is saved, and the same command with --resume goes on ("try again later" of
# sysexits.h).
PREEMPTED = 75


def output(text: str) -> Path:
    """Where a command is told to write."""
    # What a script says with an unset variable; as a path it is the folder in which the command runs.
    if not text.strip():
        raise argparse.ArgumentTypeError("must name where to write, but it is empty")
    return Path(text)


# Words of a verdict, and what a terminal shows them in: green, yellow, red.
_PAINT = (
    (r"\bok$|\b\d+ hold\b|^trained\b", 32),
    (r"\b\d+ conditional\b|^unusual\b", 33),
    (r"\bFAILED$|^failed\b|\b\d+ do not hold\b", 31),
)


def say(text: str) -> None:
    """Print, with the words of verdicts in colour where a person looks at a terminal."""
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb":
        for words, color in _PAINT:
            text = re.sub(words, rf"\033[{color}m\g<0>\033[0m", text, flags=re.MULTILINE)
    print(text, flush=True)


def add_meaning(command: argparse.ArgumentParser) -> None:
    """What a user says of a network file that does not say it."""
    command.add_argument("--kind", metavar="KIND", help="flow, spring or node, where the file does not say")
    strengths = command.add_mutually_exclusive_group()
    strengths.add_argument(
        "--values",
        metavar="NAME=MEANING",
        help="which values of edges are their strengths, as in weight=conductance or 'x=resistance (kOhm)'",
    )
    strengths.add_argument("--unweighted", action="store_true", help="take every k for 1")
