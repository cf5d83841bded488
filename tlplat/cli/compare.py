"""``tlplat compare RUN...``."""

from __future__ import annotations

from pathlib import Path

import click

from tlplat.cli.group import COMMANDS
from tlplat.cli.output import emit_json, json_option, write_table

EPILOG = """\b
Examples:
  tlplat compare first-run second-run
  tlplat compare runs/genomics-* --json > runs.json
"""
COLUMNS = ("run", "labels", "source", "metric", "winner", "without", "verdict")


@click.command("compare", short_help=COMMANDS["compare"], epilog=EPILOG)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@json_option
def command(runs: tuple[Path, ...], as_json: bool) -> None:
    """Show what several RUNs found side by side, and which of them were scored on the same test rows."""
    from tlplat.report.compare import compare_runs, sentences, table_rows

    compared = compare_runs(runs)
    if as_json:
        emit_json(compared)
        return
    write_table(COLUMNS, table_rows(compared))
    for sentence in sentences(compared):
        click.echo(f"\n{sentence}")
