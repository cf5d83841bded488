"""``tlplat check-data``."""

from __future__ import annotations

from typing import Any

import click

from tlplat.cli.domaincommand import DomainCommand, resolved
from tlplat.cli.faults import ToldError
from tlplat.cli.flags import OF_A_SEARCH
from tlplat.cli.group import COMMANDS
from tlplat.cli.output import emit_json, json_option
from tlplat.cli.progress import TerminalReporter
from tlplat.errors import TlplatError
from tlplat.isolate import stdout_to_stderr

EPILOG = """\b
Examples:
  tlplat check-data --domain genomics --data train.fasta --labels-from header
  tlplat check-data --domain nlp --data reviews.csv --text body --target label --json
  tlplat check-data --domain vision                    the demo's own rows

A run looks at its labelled rows in the same way first, and keeps what it finds in data/quality.json and the
report. Nothing is changed; with `--clean` a run leaves copies and doubtful labels out of training.
"""
NOT_OF_A_CHECK = (*OF_A_SEARCH, "seed", "metric", "balance")


@click.command(
    "check-data", cls=DomainCommand, without=NOT_OF_A_CHECK, short_help=COMMANDS["check-data"], epilog=EPILOG
)
@click.option("--quiet", is_flag=True, help="No progress; warnings remain.")
@json_option
@click.pass_context
def command(ctx: click.Context, /, quiet: bool, as_json: bool, **given: Any) -> None:
    """Look through data before any training: every finding at once, each with its place and a fix.

    Missing values, copies and near-copies, doubtful labels, outliers, leaks between training and test rows, inputs
    that give the target away, small classes, and how the target differs from the source. Ends with 3 where a run
    would be refused.
    """
    found = resolved(ctx, given)
    from tlplat import plugins
    from tlplat.datacheck import check_data

    with stdout_to_stderr():
        registry = plugins.load("tlplat.tasks", None, plugins.load("tlplat.domains", [found.config.domain]))
        document, error = check_data(found.config, registry, TerminalReporter(quiet))
    if as_json:
        emit_json({**document, **({"error": error.to_json()["error"]} if error else {})})
    else:
        write_findings(document, error)
    if error:
        raise ToldError(error) if as_json else error


def write_findings(document: dict[str, Any], error: TlplatError | None) -> None:
    """What was looked at, and each finding in a few lines: how grave, what, which rows, what to do.

    Without the ``error``, which is told last.
    """
    if counts := document["rows"]:
        labelled, test = (counts[part]["rows"] for part in ("labelled", "test"))
        title, source = document["title"], document["source"]
        click.echo(f"{title} ({labelled} labelled and {test} test rows, features of {source})")
    if not document["findings"]:
        click.echo("nothing was found that you should look at")
    kinds = [finding["kind"] for finding in document["findings"]]
    last = kinds.index(error.code) if error else None
    for finding in (finding for i, finding in enumerate(document["findings"]) if i != last):
        click.echo(f"{finding['severity']}: {finding['message']}")
        for row in finding["rows"]:
            click.echo(f"  {row}")
        if finding["more"]:
            click.echo(f"  and {finding['more']} more")
        click.echo(f"  fix: {finding['fix']}")
