"""``tlplat pretrain``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tlplat.cli.domaincommand import DomainCommand, resolved
from tlplat.cli.flags import OF_A_SEARCH
from tlplat.cli.group import COMMANDS
from tlplat.cli.listing import write_fields
from tlplat.cli.output import emit_json, json_option
from tlplat.cli.progress import TerminalReporter
from tlplat.isolate import stdout_to_stderr

EPILOG = """\b
Examples:
  tlplat pretrain --domain genomics --data source.fasta --labels-from header -o my-source
  tlplat sources my-source
  tlplat run --domain genomics --source my-source --data target.fasta --labels-from header
"""
NOT_OF_PRETRAINING = (*OF_A_SEARCH, "source", "labels", "data_seed", "device", "metric", "balance")
"""Keys of a run that mean nothing here."""


@click.command(
    "pretrain", cls=DomainCommand, without=NOT_OF_PRETRAINING, short_help=COMMANDS["pretrain"], epilog=EPILOG
)
@click.option(
    "-o", "--output", required=True, metavar="SOURCE", type=click.Path(path_type=Path), help="The folder to write."
)
@click.option("--quiet", is_flag=True, help="No progress; warnings remain.")
@json_option
@click.pass_context
def command(ctx: click.Context, /, output: Path, quiet: bool, as_json: bool, **given: Any) -> None:
    """Train a source model on labelled data of yours, and write it to the folder SOURCE.

    The folder holds the weights (safetensors) and what they are (JSON): give it on, name it with `tlplat run --source`.
    `tlplat sources` lists it. A run never takes its test rows from the file that its source was trained on.
    """
    found = resolved(ctx, given)
    from tlplat.stage import pretrain_source

    with stdout_to_stderr():
        from tlplat import plugins

        registry = plugins.load("tlplat.tasks", None, plugins.load("tlplat.domains", [found.config.domain]))
        document = pretrain_source(found.config, registry, TerminalReporter(quiet), output)
    if as_json:
        emit_json({"source": document})
    else:
        write_fields(document, f"Use it: tlplat run --domain {found.config.domain} --source {output}")
