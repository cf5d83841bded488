"""``tlplat predict RUN DATA``."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import click

from tlplat.cli.group import COMMANDS
from tlplat.cli.output import emit_json, json_option, reserved_stdout

SHORT = {"probabilities": "p"}
"""How a map of a row is called in its columns."""
EPILOG = """\b
Examples:
  tlplat predict runs/genomics-... new.fasta > predictions.csv
  tlplat predict my-run/model new.fasta --format jsonl
"""


@click.command("predict", short_help=COMMANDS["predict"], epilog=EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(["csv", "jsonl"]), default="csv", help="Form of the rows.")
@click.option("--quiet", is_flag=True, help="No progress; warnings remain.")
@json_option
def command(run: Path, data: Path, form: str, quiet: bool, as_json: bool) -> None:
    """Predict each record of DATA with the model of RUN, in the file's order, on stdout.

    RUN is a run directory, or a model/ folder on its own. Columns: id, prediction, and what the task adds: for
    classification p(LABEL) and calibrated(LABEL) for each label, as the model says it and at the temperature that
    validation rows asked for; for numbers low and high, the ends of a prediction interval.
    """
    from tlplat.cli.progress import TerminalReporter
    from tlplat.prediction import predict

    rows = predict(run, data, TerminalReporter(quiet))
    with reserved_stdout() as stream:
        if as_json:
            found = list(rows)
        elif form == "jsonl":
            for row in rows:
                stream.write(json.dumps(row) + "\n")
        else:
            write_csv(rows, stream)
    if as_json:
        emit_json({"run": str(run), "data": str(data), "rows": found})


def write_csv(rows: Iterator[Mapping[str, Any]], stream: TextIO) -> None:
    """RFC 4180, one line a record; a map's entries are columns ``name(key)``, a list's are joined by ``;``.

    Text that a spreadsheet would run as a formula gets an apostrophe before it.
    """
    writer = csv.writer(stream)
    header: list[str] = []
    for row in rows:
        cells = dict(_cells(row))
        if not header:
            header = list(cells)
            writer.writerow(map(inert, header))
        writer.writerow([inert(cells[name]) for name in header])


def inert(value: Any) -> Any:
    """Text that begins like a formula (= + - @, a tab, a line break) with an apostrophe before it; numbers stay."""
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def _cells(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from ((f"{SHORT.get(key, key)}({name})", inner) for name, inner in value.items())
        else:
            yield key, ";".join(map(str, value)) if isinstance(value, list | tuple) else value
