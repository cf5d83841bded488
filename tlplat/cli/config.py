"""``tlplat config show | init``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tlplat.cli.domaincommand import DomainCommand, resolved
from tlplat.cli.group import COMMANDS, SuggestingGroup
from tlplat.cli.output import emit, json_option
from tlplat.errors import UsageError

EPILOG = """\b
Examples:
  tlplat config init > run.toml
  tlplat config show -c run.toml --set train.epochs=5
"""


@click.group("config", cls=SuggestingGroup, short_help=COMMANDS["config"], epilog=EPILOG)
def command() -> None:
    """Configuration files: flags > --set > file > environment > the domain's defaults."""


@command.command("show", cls=DomainCommand, epilog="\b\nExamples:\n  tlplat config show -c run.toml --json")
@json_option
@click.pass_context
def show(ctx: click.Context, /, as_json: bool, **given: Any) -> None:
    """Show the resolved value of every key, and where it came from; takes the flags of `tlplat run`."""
    from tlplat.cli.run import config_rows

    found = resolved(ctx, given)
    document = {"config": found.config.model_dump(mode="json"), "origins": dict(found.origins)}
    emit(document, as_json, ("key", "value", "from"), config_rows(found))


@command.command("init", epilog="\b\nExamples:\n  tlplat config init --domain genomics -o run.toml")
@click.option("--domain", help="Add the options of this domain.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write there, not to stdout.")
def init(domain: str | None, output: Path | None) -> None:
    """Print a configuration file with every key, explained and commented out."""
    from tlplat.cli.template import template

    text = template(domain)
    if output is None:
        click.echo(text, nl=False)
        return
    if output.exists():
        raise UsageError("TL-OUT-EXISTS", f"{output} exists already", fix="name another file after -o, or remove it")
    from tlplat.storage import write_text

    write_text(output, text)
