"""``tlplat assets list | fetch | verify``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from tlplat.cli.faults import ToldError
from tlplat.cli.group import COMMANDS, SuggestingGroup
from tlplat.cli.listing import domains
from tlplat.cli.output import emit, json_option
from tlplat.errors import Finding, ResourceError, UsageError, did_you_mean

if TYPE_CHECKING:
    from tlplat.assets import Asset

EPILOG = """\b
Examples:
  tlplat assets list
  tlplat assets fetch --domain genomics
  tlplat assets verify
"""
COLUMNS = ("name", "state", "bytes", "license", "origin")
domain_option = click.option("--domain", help="Only this domain's.")


@click.group("assets", cls=SuggestingGroup, short_help=COMMANDS["assets"], epilog=EPILOG)
def command() -> None:
    """The real files (data, weights) that demos need: where they come from, their licence, whether they are here."""


@command.command("list", epilog="\b\nExamples:\n  tlplat assets list --json")
@domain_option
@json_option
def list_assets(domain: str | None, as_json: bool) -> None:
    """List the assets of the installed domains with licence, citation and state."""
    found = states_of(chosen((), domain))
    emit({"assets": found}, as_json, COLUMNS, found)


@command.command("fetch", epilog="\b\nExamples:\n  tlplat assets fetch --domain genomics")
@click.argument("names", nargs=-1)
@domain_option
@click.option("--offline", is_flag=True, help="No network: fail where one is not in the cache.")
@json_option
def fetch_assets(names: tuple[str, ...], domain: str | None, offline: bool, as_json: bool) -> None:
    """Fetch the assets NAMES, or all, into the cache; those that are there are verified."""
    from tlplat.assets import fetch_all
    from tlplat.cache import cache_root
    from tlplat.cli.progress import TerminalReporter

    assets = chosen(names, domain)
    fetch_all(assets, cache_root(), offline=offline, report=TerminalReporter())
    found = states_of(assets)
    emit({"assets": found}, as_json, COLUMNS, found)


@command.command("verify", epilog="\b\nExamples:\n  tlplat assets verify")
@click.argument("names", nargs=-1)
@domain_option
@json_option
def verify_assets(names: tuple[str, ...], domain: str | None, as_json: bool) -> None:
    """Hash the cached assets again; exit 6 where one is damaged. A missing one is only shown."""
    found = states_of(chosen(names, domain))
    damaged = [Finding("content differs from its SHA-256", s["path"]) for s in found if s["state"] == "damaged"]
    error = ResourceError(
        "TL-ASSET-HASH",
        f"{len(damaged)} of {len(found)} assets are damaged",
        findings=damaged,
        fix="`tlplat assets fetch` fetches them again",
    )
    document = {"assets": found, **({"error": error.to_json()["error"]} if damaged else {})}
    emit(document, as_json, COLUMNS, found)
    if damaged:
        raise ToldError(error) if as_json else error


def chosen(names: Sequence[str], domain: str | None) -> list[Asset]:
    """The assets of these names, of one domain or of all; a shared one once."""
    found = {asset.name: asset for _, made, _ in domains(domain) for asset in made.assets()}
    for name in names:
        if name not in found:
            raise UsageError(
                "TL-USAGE",
                f"no asset is named {name!r}{did_you_mean(name, list(found))}",
                fix="choose a name that `tlplat assets list` shows",
            )
    return [asset for name, asset in found.items() if not names or name in names]


def states_of(assets: Sequence[Asset]) -> list[dict[str, Any]]:
    """Each asset with its state in the cache: cached, missing or damaged."""
    from tlplat.assets import states
    from tlplat.cache import cache_root

    return [state.to_json() for state in states(assets, cache_root())]
