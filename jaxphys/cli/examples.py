"""Configs to start from."""

import argparse
from pathlib import Path

from jaxphys._checks import InputError
from jaxphys.cli.common import Commands, output


def add(commands: Commands) -> None:
    """Let the command line know it."""
    examples = commands.add_parser(
        "examples",
        help="configs to start from",
        description="List the example configs that come with jaxphys, or copy one to work on.",
        epilog="example: jaxphys examples copy iris",
    )
    examples.add_argument("action", choices=("list", "copy"), nargs="?", default="list", help="default: list")
    examples.add_argument("name", metavar="NAME", nargs="?", help="which one to copy")
    examples.add_argument("--out", metavar="FILE", type=output, help="where to (default: NAME.toml here)")
    examples.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from importlib.resources import files

    # Beside the package in a checkout, within it once installed.
    inside = Path(str(files("jaxphys"))) / "examples"
    folder = inside if inside.is_dir() else inside.parents[1] / "examples"
    known = {path.stem: path for path in sorted(folder.glob("*.toml"))}
    if parsed.action == "list":
        if parsed.name is not None:
            raise InputError(f"examples list takes no name; to copy it: jaxphys examples copy {parsed.name}")
        for name, path in known.items():
            comment = [line[2:] for line in path.read_text("utf-8").splitlines() if line.startswith("# ")]
            print(f"{name}\n    {' '.join(comment)}")
        return 0
    if parsed.name not in known:
        raise InputError(f"examples copy {parsed.name or 'NAME'}: must name one of {', '.join(known)}")
    out = parsed.out or Path(f"{parsed.name}.toml")
    if out.exists():
        raise InputError(f"--out {out}: is there already; remove it or give another name")
    from jaxphys.io import write_atomically

    content = known[parsed.name].read_bytes()
    write_atomically(out, lambda to: to.write_bytes(content))
    print(f"wrote {out}; now: jaxphys train {out} --out runs/{parsed.name}")
    return 0
