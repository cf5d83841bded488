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
  tlplat config init --domain genomics > run.toml
  tlplat config show -c run.toml --set train.epochs=5
"""


SAID = ("flag", "--set", "file", "environment")
"""What the origin of a value that the user gave begins with."""
INIT_EPILOG = """\b
Examples:
  tlplat config init -o run.toml
  tlplat config init --domain genomics --data train.fasta --labels 64 --balance -o run.toml
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


@command.command("init", cls=DomainCommand, epilog=INIT_EPILOG)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write there, not to stdout.")
@click.pass_context
def init(ctx: click.Context, /, output: Path | None, **given: Any) -> None:
    """Print a configuration file with every key, explained: what flags say is set, the rest is commented out.

    Takes the flags of `tlplat run`; without any, a file to fill in.
    """
    from tlplat.cli.template import template

    if any(value not in (None, ()) for value in given.values()):
        found = resolved(ctx, given)
        text = template(found.config, [key for key, origin in found.origins.items() if origin.startswith(SAID)])
    else:
        text = template()
    if output is None:
        click.echo(text, nl=False)
        return
    if output.exists():
        raise UsageError("TL-OUT-EXISTS", f"{output} exists already", fix="name another file after -o, or remove it")
    from tlplat.storage import write_text

    write_text(output, text)
