"""``tlplat report RUN``."""

from __future__ import annotations

from pathlib import Path

import click

from tlplat.cli.group import COMMANDS
from tlplat.cli.output import emit_json, json_option

EPILOG = """\b
Examples:
  tlplat report runs/genomics-20260101T120000-1a2b3c4d
  tlplat report my-run --json > report.json
"""


@click.command("report", short_help=COMMANDS["report"], epilog=EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@json_option
def command(run: Path, as_json: bool) -> None:
    """Show the table and the verdict of RUN, a run directory, and where its report.html lies."""
    from tlplat.cli.result import write_report
    from tlplat.report import load_report

    document = load_report(run)
    if as_json:
        emit_json(document)
    else:
        write_report(run, document)
