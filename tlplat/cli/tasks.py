"""``tlplat tasks``."""

from __future__ import annotations

from typing import Any

import click

from tlplat.cli.group import COMMANDS
from tlplat.cli.listing import described, list_group, text_of, write_fields
from tlplat.cli.output import emit_json, json_option

EPILOG = """\b
Examples:
  tlplat tasks
  tlplat tasks survival
"""


@click.command("tasks", short_help=COMMANDS["tasks"], epilog=EPILOG)
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the installed kinds of task; with NAME, describe it."""
    if name is None:
        list_group("tasks", as_json)
        return
    from tlplat.isolate import blame, stdout_to_stderr

    cls: Any
    cls, registry = described("tasks", name)
    with stdout_to_stderr(), blame(registry.owner("tasks", name), f"the example of the task {name!r}"):
        task = cls.example()
    fields = {
        "name": name,
        "brought by": registry.owner("tasks", name),
        "summary": cls.summary,
        "metrics": [m.name for m in task.metrics],
        "baseline": task.trivial_name,
        "offers": sorted(task.info().offers),
        "loss unit": task.loss_unit,
    }
    if as_json:
        emit_json({"task": {**fields, "text": text_of(cls)}})
    else:
        write_fields(fields, text_of(cls))
