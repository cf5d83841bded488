"""``tlplat plugins list | check | new``."""

from __future__ import annotations

from pathlib import Path

import click

from tlplat.cli.faults import ToldError
from tlplat.cli.group import COMMANDS, SuggestingGroup
from tlplat.cli.listing import rows, warn_of_faults
from tlplat.cli.output import emit, emit_json, json_option, write_table
from tlplat.errors import Finding, PluginError
from tlplat.installed import PluginEntry

EPILOG = """\b
Examples:
  tlplat plugins list
  tlplat plugins check
  tlplat plugins new strategy freeze_out
  TLPLAT_PLUGINS=tlplat-genomics tlplat run --domain genomics
"""


@click.group("plugins", cls=SuggestingGroup, short_help=COMMANDS["plugins"], epilog=EPILOG)
def command() -> None:
    """Installed plugins. They are trusted code: a fault is isolated and named, but nothing is sandboxed."""


@command.command("list", epilog="\b\nExamples:\n  tlplat plugins list --json")
@json_option
def list_plugins(as_json: bool) -> None:
    """List the plugins of every kind, from metadata; none is imported."""
    found = rows()
    emit({"plugins": found}, as_json, ("name", "kind", "distribution", "version", "module"), found)
    warn_of_faults(found)


@command.command("check", epilog="\b\nExamples:\n  tlplat plugins check genomics --timeout 30")
@click.argument("name", required=False)
@click.option("--timeout", type=click.FloatRange(min=1), default=60.0, show_default=True, help="Seconds for each load.")
@click.option("--kit/--no-kit", default=True, help="With NAME: run the conformance kit over it too.  [default: kit]")
@click.option(
    "--kit-timeout", type=click.FloatRange(min=1), default=600.0, show_default=True, help="Seconds for the kit."
)
@json_option
def check_plugins(name: str | None, timeout: float, kit: bool, kit_timeout: float, as_json: bool) -> None:
    """Load each plugin in a process of its own, where a crash or a hang harms nobody; exit 5 where one fails.

    NAME is a plugin, or a distribution: what loads is then put through the conformance kit, of strategies, domains
    and tasks. A domain's checks run on its demo.
    """
    from tlplat.probe import probe_all

    lines, faults = [], []
    for entry, fault in probe_all(name, timeout):
        said = "ok"
        if fault is None and name is not None and kit:
            fault, said = _conformance(entry, kit_timeout)
        if fault is not None:
            faults.append(fault)
            said = f"[{fault.code}] {fault.message}"
        lines.append(
            {
                "name": entry.name,
                "kind": entry.group,
                "distribution": entry.distribution,
                "version": entry.version,
                "result": said,
            }
        )
    error = _joined(faults) if faults else None
    if as_json:
        emit_json({"plugins": lines, **({"error": error.to_json()["error"]} if error else {})})
    else:
        write_table(("name", "kind", "distribution", "version", "result"), lines)
    if error:
        raise ToldError(error) if as_json else error


@command.command(
    "new",
    epilog="\b\nExamples:\n  tlplat plugins new strategy freeze_out\n  tlplat plugins new domain spectra --into src",
)
@click.argument("kind", type=click.Choice(["strategy", "domain", "task"]))
@click.argument("name")
@click.option(
    "--into", type=click.Path(path_type=Path), default=Path(), show_default="here", help="Where its folder goes."
)
def new_plugin(kind: str, name: str, into: Path) -> None:
    """Write a complete pip package for a strategy, a domain or a task: a working example to change.

    It installs, passes its tests and shows in the listings as it is. Needs the extra tlplat[new].
    """
    from tlplat.scaffold import KINDS
    from tlplat.scaffold import new_plugin as write

    folder = write(kind, name, into)
    click.echo(f"{folder}\n\n  pip install -e '{folder}[test]'\n  pytest {folder}\n  tlplat {KINDS[kind]} {name}")


def _conformance(entry: PluginEntry, timeout: float) -> tuple[PluginError | None, str]:
    """The kit's fault, and what to say where there is none."""
    from tlplat.conformance import check_conformance, nonconforming, why_no_kit

    reason = why_no_kit(entry)
    if reason is not None:
        return None, f"ok; the kit was not run: {reason}"
    try:
        found = check_conformance(entry, timeout)
    except PluginError as error:
        return error, ""
    return nonconforming(entry, found), f"ok; {found.passed} checks passed, {found.skipped} do not apply"


def _joined(faults: list[PluginError]) -> PluginError:
    distinct = list({fault.message: fault for fault in faults}.values())
    if len(distinct) == 1:
        return distinct[0]
    findings = [Finding(f"[{fault.code}] {fault.message}") for fault in distinct]
    return PluginError(distinct[0].code, f"{len(distinct)} plugins are broken", findings=findings, fix=distinct[0].fix)
