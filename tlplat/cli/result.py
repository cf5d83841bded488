"""The end of a run: its table, its verdict, its requirements."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlplat.cli.faults import ToldError
from tlplat.cli.output import emit_json
from tlplat.errors import RequirementError
from tlplat.requirement import enforce


def show(folder: Path, report: dict[str, Any], require: Sequence[str], as_json: bool) -> None:
    """Print the report, then enforce the requirements; in JSON an unmet one stands in the one document as ``error``."""
    unmet: RequirementError | None = None
    try:
        enforce(require, report)
    except RequirementError as error:
        unmet = error
    if as_json:
        emit_json({**report, **({"error": unmet.to_json()["error"]} if unmet else {})})
    else:
        write_report(folder, report)
    if unmet:
        raise ToldError(unmet) if as_json else unmet


def write_report(folder: Path, report: dict[str, Any]) -> None:
    """The table of candidates, the verdict's sentence, and where things lie."""
    from rich.console import Console

    from tlplat.report import print_table

    class Pipe(Console):
        """Leaves a reader that goes away to :mod:`tlplat.cli.entry`; rich would exit with 1."""

        def on_broken_pipe(self) -> None:
            raise

    console = Pipe(file=sys.stdout)
    print_table(report, console)
    console.print(f"model:  {folder / 'model'}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"report: {folder / 'report' / 'report.html'}", markup=False, highlight=False, soft_wrap=True)
