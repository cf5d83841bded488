"""The command line. Importing it loads neither click nor torch nor a plugin."""

from __future__ import annotations


def main() -> None:
    """The console script ``tlplat``: exits with the code that design.md lists."""
    import sys

    try:
        from tlplat.cli.entry import main as run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # before the handlers of tlplat.cli.signals were there
        print("tlplat: error [TL-INTERRUPTED]: interrupted\nfix: run the command again", file=sys.stderr)
        code = 130
    sys.exit(code)
