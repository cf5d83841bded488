"""``tlplat strategies``."""

from __future__ import annotations

from typing import Any

import click

from tlplat.cli.group import COMMANDS
from tlplat.cli.listing import described, list_group, text_of, write_fields
from tlplat.cli.output import emit_json, json_option

EPILOG = """\b
Examples:
  tlplat strategies
  tlplat strategies l2sp
"""


@click.command("strategies", short_help=COMMANDS["strategies"], epilog=EPILOG)
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the installed strategies; with NAME, show its family, paper and hyper-parameters."""
    if name is None:
        list_group("strategies", as_json)
        return
    cls: Any
    cls, registry = described("strategies", name)
    fields = {
        "name": name,
        "brought by": registry.owner("strategies", name),
        "family": cls.family,
        "paper": cls.paper,
        "needs": sorted(cls.requires),
        "extra": getattr(cls, "extra", None),
        "hyperparameters": cls().hyperparameters(),
    }
    if as_json:
        emit_json({"strategy": {**fields, "text": text_of(cls)}})
    else:
        write_fields(fields, text_of(cls))
