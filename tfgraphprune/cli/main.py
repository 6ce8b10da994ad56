"""The console script `tfgraphprune`: hands its arguments to the program that is named first."""

from __future__ import annotations

import difflib
import sys
from importlib import import_module

import tfgraphprune
from tfgraphprune.cli.common import run_program

COMMANDS = ("compress", "inspect", "policy", "export", "check_on_device", "report")


def run() -> None:
    """Run `tfgraphprune COMMAND [flags]` and exit."""
    name, *rest = sys.argv[1:] or ["help"]
    if name in ("help", "--help", "-h"):
        print(_overview())
        sys.exit(0 if sys.argv[1:] else 1)
    if name == "--version":
        print(f"tfgraphprune {tfgraphprune.__version__}")
        sys.exit(0)
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, 1)
        meant = f"; did you mean {close[0]}?" if close else "."
        print(
            f"tfgraphprune: there is no command {name!r}, only {', '.join(COMMANDS)}{meant}",
            file=sys.stderr,
        )
        sys.exit(1)
    sys.argv = [f"tfgraphprune {name}", *rest]
    module = import_module(f"tfgraphprune.cli.{name}")
    run_program(module.PROGRAM, module.main)


def _overview() -> str:
    lines = [
        "tfgraphprune COMMAND [flags]; tfgraphprune COMMAND --help lists a command's flags",
        "",
    ]
    for name in COMMANDS:
        summary = import_module(f"tfgraphprune.cli.{name}").PROGRAM.summary.strip()
        lines.append(f"  {name:<15} {summary}")
    return "\n".join(lines)


if __name__ == "__main__":
    run()
