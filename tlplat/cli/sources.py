"""``tlplat sources``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from tlplat.cli.group import COMMANDS
from tlplat.cli.listing import write_fields
from tlplat.cli.output import emit, emit_json, json_option
from tlplat.errors import UsageError, did_you_mean

EPILOG = """\b
Examples:
  tlplat sources
  tlplat sources tiara --domain genomics
  tlplat sources ./my-source
"""


@click.command("sources", short_help=COMMANDS["sources"], epilog=EPILOG)
@click.argument("name", required=False)
@click.option("--domain", help="Only this domain's.")
@json_option
def command(name: str | None, domain: str | None, as_json: bool) -> None:
    """List the source models that the installed domains offer and those pretrained here; with NAME, describe one.

    NAME may be a folder that `tlplat pretrain` wrote. The domains are loaded for it; their models are not.
    """
    from tlplat.kept import describe, is_source

    if name is not None and is_source(Path(name)):
        _show([describe(Path(name)).to_json()], as_json)
        return
    found = [*sources(domain), *pretrained(domain)]
    if name is None:
        emit({"sources": found}, as_json, ("name", "domain", "license", "summary"), found)
        return
    chosen = [source for source in found if source["name"] == name]
    if not chosen:
        known = [source["name"] for source in found]
        raise UsageError(
            "TL-USAGE",
            f"no source is named {name!r}{did_you_mean(name, known)}",
            found=", ".join(known) or "none",
            fix="choose a name that `tlplat sources` lists, or give a path to `tlplat run --source`",
        )
    _show(chosen, as_json)


def _show(chosen: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        emit_json({"sources": chosen})
        return
    for source in chosen:
        write_fields(source, "")


def pretrained(domain: str | None) -> Iterator[dict[str, Any]]:
    """The sources that were pretrained on this machine and are still where they were written."""
    from tlplat.cache import cache_root
    from tlplat.kept import kept

    yield from (source.to_json() for source in kept(cache_root()) if domain in (None, source.domain))


def sources(domain: str | None) -> Iterator[dict[str, Any]]:
    """The sources of one domain, or of all that load; a broken one is passed over with a warning."""
    from tlplat.cli.listing import domains
    from tlplat.isolate import blame, stdout_to_stderr

    for name, made, owner in domains(domain):
        with stdout_to_stderr(), blame(owner, f"sources of the domain {name!r}"):
            offered = [dataclasses.asdict(source) for source in made.sources()]
        yield from ({"domain": name, **source} for source in offered)
