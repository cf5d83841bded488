"""What the listings of plugins share: rows from metadata, and classes where one is described."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import click

from tlplat import plugins
from tlplat.cli.output import emit_json, write_table
from tlplat.installed import metadata_fault, nothing_installed
from tlplat.registry import Registry, singular


def rows(group: str | None = None) -> list[dict[str, Any]]:
    """Installed plugins, of one group or of all, from metadata alone; ``fault`` where metadata show one."""
    entries = plugins.discover()
    found = []
    for entry in entries:
        if group in (None, entry.group):
            fault = metadata_fault(entry, entries)
            found.append(
                {
                    "name": entry.name,
                    "kind": singular(entry.group),
                    "distribution": entry.distribution,
                    "version": entry.version,
                    "module": entry.module,
                    "fault": f"[{fault.code}] {fault.message}" if fault else None,
                }
            )
    return found


def list_group(group: str, as_json: bool) -> None:
    """Print the plugins of a group; faults go to stderr, and say what to install where there is none."""
    found = rows(group)
    if as_json:
        emit_json({group: found})
    elif found:
        write_table(("name", "distribution", "version"), found)
    warn_of_faults(found)
    if not found or (group == "domains" and all(row["distribution"] == "tlplat" for row in found)):
        click.echo(nothing_installed(group), err=True)


def warn_of_faults(found: list[dict[str, Any]]) -> None:
    """One line on stderr for each fault."""
    for fault in dict.fromkeys(row["fault"] for row in found if row["fault"]):
        click.echo(f"tlplat: warning {fault}; disabled", err=True)


def described(group: str, name: str) -> tuple[type, Registry]:
    """The class that ``name`` registered, loaded."""
    registry = plugins.load(group, [name], Registry())
    found: type = registry.get(group, name)
    return found, registry


def text_of(cls: type) -> str:
    """The class's docstring, or its summary."""
    return inspect.cleandoc(cls.__doc__ or getattr(cls, "summary", "") or "")


def write_fields(fields: dict[str, Any], text: str) -> None:
    """Facts, one a line, then the text."""
    for line in _lines(fields):
        click.echo(line)
    if text:
        click.echo(f"\n{text}")


def _lines(fields: dict[str, Any]) -> Iterator[str]:
    width = max(len(name) for name in fields)
    for name, value in fields.items():
        if isinstance(value, dict):
            yield f"{name}:"
            inner = max((len(k) for k in value), default=0)
            yield from (f"  {k.ljust(inner)}  {v}" for k, v in value.items())
        elif value not in (None, "", []):
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            yield f"{name.ljust(width)}  {shown}"


def domains(name: str | None) -> Iterator[tuple[str, Any, str]]:
    """Name, instance and owner of the domain ``name``, or of all that load; a broken one is a warning."""
    registry = plugins.load("domains", None if name is None else [name])
    if all(registry.owner("domains", found).startswith("tlplat ") for found in registry.names("domains")):
        click.echo(nothing_installed("domains"), err=True)
    for found in registry.names("domains"):
        yield found, registry.get("domains", found)(), registry.owner("domains", found)
