"""``tlplat explain RUN [DATA]``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from tlplat.cli.group import COMMANDS
from tlplat.cli.output import emit_json, json_option, write_table

EPILOG = """\b
Examples:
  tlplat explain runs/genomics-20260101T120000-1a2b3c4d
  tlplat explain my-run --rows 8
  tlplat explain my-run new.fasta --json > explained.json

Needs the extra `explain`: pip install 'tlplat[explain]'.
"""
MOST = 10
"""Places and pieces that are printed; all stand in the JSON and the report."""


@click.command("explain", short_help=COMMANDS["explain"], epilog=EPILOG)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path), required=False)
@click.option("--rows", type=click.IntRange(min=0), help="Rows to show one by one; default 4.")
@click.option("--quiet", is_flag=True, help="No progress; warnings remain.")
@json_option
def command(run: Path, data: Path | None, rows: int | None, quiet: bool, as_json: bool) -> None:
    """Show which parts of its rows the model of RUN goes by, and how much of it the source's features told already.

    Without DATA test rows of the run are explained, each block of the model is probed, and the report of the run gets
    the section. With DATA the records of that file are explained and nothing is written; RUN may then be a model/
    folder on its own. Where a domain shows no single row (medicine), only figures over all rows are given.
    """
    from tlplat.cli.progress import TerminalReporter
    from tlplat.explanation import explain_rows, explain_run, publish
    from tlplat.isolate import stdout_to_stderr

    with stdout_to_stderr():
        if data is None:
            found = explain_run(run, rows, TerminalReporter(quiet))
            publish(run, found)
        else:
            found = explain_rows(run, data, rows, TerminalReporter(quiet))
    if as_json:
        emit_json({"run": str(run), "data": None if data is None else str(data), "explanation": found})
        return
    write_explanation(found)
    if data is None:
        click.echo(f"report: {run / 'report' / 'report.html'}")


def write_explanation(found: Mapping[str, Any]) -> None:
    """Tables of what matters, rows with their weightiest pieces, and the blocks."""
    for sentence in found["warnings"]:
        click.echo(f"note: {sentence}")
    if found.get("method"):
        click.echo(f"{found['method']} of {found['decision']}, over {found['rows']} rows, against {found['against']}\n")
        ordered = sorted(found["importance"], key=lambda p: -p["value"])[:MOST]
        write_table([found["unit"], "mean_size"], [{found["unit"]: p["name"], "mean_size": _said(p)} for p in ordered])
    if found.get("permutation"):
        lost = sorted(found["permutation"], key=lambda p: -p["value"])[:MOST]
        click.echo("\nlost where shuffled among the rows")
        write_table([found["unit"], "lost"], [{found["unit"]: p["name"], "lost": f"{p['value']:+.4f}"} for p in lost])
    for row in found.get("shown", ()):
        weighty = sorted(row["pieces"], key=lambda p: -abs(p["value"]))[:MOST]
        lettered = found["look"] == "letters"
        said = ", ".join(
            f"{p['text'].strip()}{' at ' + p['place'] if lettered else ''} {p['value']:+.3f}" for p in weighty
        )
        predicted = row["prediction"]
        named = f"{predicted:.4g}" if isinstance(predicted, float) else predicted
        if row["of"]:
            named = f"{', '.join(predicted) or 'none'} (on {row['of']})"
        click.echo(f"\n{row['id']}: {named}\n  {said}")
    if found.get("depths"):
        click.echo("\na linear head on each block")
        columns = ["block", "source", "adapted", "untrained", "moved"]
        write_table(columns, [_block(b) for b in found["depths"]["blocks"]])
        if found["depths"]["kept"] is not None:
            chance = found["depths"]["by_chance"]
            beside = "" if chance is None else f" (by random weights: {100 * chance:.0f} %)"
            click.echo(f"told by the source's last block already: {100 * found['depths']['kept']:.0f} %{beside}")


def _said(place: Mapping[str, Any]) -> str:
    return f"{place['value']:.4f}"


def _block(block: Mapping[str, Any]) -> dict[str, Any]:
    told = {k: None if block[k] is None else f"{block[k]:.3f}" for k in ("source", "adapted", "untrained")}
    return {
        "block": block["name"],
        **told,
        "moved": None if block["moved"] is None else f"{100 * block['moved']:.1f} %",
    }
