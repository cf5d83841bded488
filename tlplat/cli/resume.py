"""``tlplat resume RUN``."""

from __future__ import annotations

from pathlib import Path

import click

from tlplat.cli.group import COMMANDS
from tlplat.cli.output import json_option

EPILOG = """\b
Examples:
  tlplat resume runs/genomics-20260101T120000-1a2b3c4d
"""


@click.command("resume", short_help=COMMANDS["resume"], epilog=EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--quiet", is_flag=True, help="No progress; warnings remain.")
@json_option
def command(run: Path, quiet: bool, as_json: bool) -> None:
    """Go on with an interrupted run; its result is bitwise that of one never interrupted.

    RUN is a run directory. A complete one is only shown.
    """
    from tlplat import runner
    from tlplat.cli.progress import TerminalReporter
    from tlplat.cli.result import show
    from tlplat.config import from_toml
    from tlplat.isolate import stdout_to_stderr

    with stdout_to_stderr():
        result = runner.resume(run, TerminalReporter(quiet))
    show(result.folder, result.report, from_toml(run / "config.toml").require, as_json)
