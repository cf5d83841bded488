"""``tlplat domains``."""

from __future__ import annotations

from typing import Any

import click

from tlplat.cli.group import COMMANDS
from tlplat.cli.listing import described, list_group, text_of, write_fields
from tlplat.cli.output import emit_json, json_option

EPILOG = """\b
Examples:
  tlplat domains
  tlplat domains genomics
"""


@click.command("domains", short_help=COMMANDS["domains"], epilog=EPILOG)
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the installed domains; with NAME, load it and show its demo tasks, options and sources."""
    if name is None:
        list_group("domains", as_json)
        return
    from tlplat.isolate import blame, stdout_to_stderr

    cls: Any
    cls, registry = described("domains", name)
    owner = registry.owner("domains", name)
    with stdout_to_stderr(), blame(owner, f"sources of the domain {name!r}"):
        sources = {source.name: source.summary for source in cls().sources()}
    fields = {
        "name": name,
        "brought by": owner,
        "summary": cls.summary,
        "labels": cls.default_labels,
        "tasks": dict(cls.tasks),
        "sources": sources,
        "options": {f"--{k.replace('_', '-')}": i.description or "" for k, i in cls.Options.model_fields.items()},
    }
    if as_json:
        emit_json({"domain": {**fields, "options": cls.Options.model_json_schema()}})
    else:
        write_fields(fields, text_of(cls))
