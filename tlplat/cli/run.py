"""``tlplat run``."""

from __future__ import annotations

from typing import Any

import click

from tlplat.cli.domaincommand import DomainCommand, Resolved, resolved
from tlplat.cli.group import COMMANDS
from tlplat.cli.output import emit_json, json_option, write_table
from tlplat.cli.progress import TerminalReporter
from tlplat.cli.rank import write_ranking
from tlplat.cli.result import show
from tlplat.isolate import stdout_to_stderr

EPILOG = """\b
Examples:
  tlplat run --domain genomics
  tlplat run --domain genomics --strategy linear_probe,full_ft --seeds 3 --labels 200
  tlplat run --domain genomics --data train.fasta --labels-from labels.csv --out my-run
  tlplat run --domain genomics --data train.fasta --labels-from labels.csv --unlabeled more.fasta
  tlplat run -c run.toml --set train.epochs=5 --dry-run
  tlplat run --domain genomics --source auto
  tlplat run --domain genomics --data reads.fasta --balance --metric balanced_accuracy
  tlplat run --domain genomics --require 'auroc>=0.9' --require no-negative-transfer

Values are taken from flags, --set, the file, the environment (TLPLAT_SEEDS, TLPLAT_TRAIN__EPOCHS),
the domain's defaults, in this order. Train options: `tlplat config init` prints them.
"""


@click.command("run", cls=DomainCommand, short_help=COMMANDS["run"], epilog=EPILOG)
@click.option("--dry-run", is_flag=True, help="Show the resolved configuration and the plans; train nothing.")
@click.option("--quiet", is_flag=True, help="No progress; warnings remain.")
@json_option
@click.pass_context
def command(ctx: click.Context, /, dry_run: bool, quiet: bool, as_json: bool, **given: Any) -> None:
    """Find out whether transfer helps, which strategy wins, and keep the adapted model with a report."""
    found = resolved(ctx, given)
    from tlplat import runner
    from tlplat.stage import load_registry

    report = TerminalReporter(quiet)
    with stdout_to_stderr():
        registry = load_registry(found.config)
        if not dry_run:
            result = runner.run(found.config, registry, report, found.origins)
        else:
            plan = runner.plan_only(found.config, registry, report)
    if dry_run:
        show_plan(found, plan, as_json)
    else:
        show(result.folder, result.report, found.config.require, as_json)


def show_plan(found: Resolved, plan: dict[str, Any], as_json: bool) -> None:
    """The configuration with origins, then what would be tried."""
    config = found.config.model_dump(mode="json")
    if as_json:
        emit_json({"config": config, "origins": dict(found.origins), **plan})
        return
    write_table(("key", "value", "from"), config_rows(found))
    click.echo(f"\n{plan['task']}; source {plan['source']}; labels {plan['labels']}; {plan['steps']} steps a fit\n")
    if "ranking" in plan:
        write_ranking(plan["ranking"])
        click.echo(f"carried into the search: {', '.join(plan['ranking']['carried'])}\n")
    write_table(("name", "family", "settings", "plan"), [_candidate(c) for c in plan["candidates"]])
    for skipped in plan["skipped"]:
        click.echo(f"skipped {skipped['strategy']}: {skipped['reason']}")


def config_rows(found: Resolved) -> list[dict[str, Any]]:
    """Every key with its value and origin."""
    config = found.config.model_dump(mode="json")
    rows = []
    for key, origin in found.origins.items():
        table, _, leaf = key.partition(".")
        value = config[table][leaf] if leaf else config[table]
        shown = ",".join(map(str, value)) if isinstance(value, list) else value
        rows.append({"key": key, "value": "" if shown is None else shown, "from": origin})
    return rows


def _candidate(candidate: dict[str, Any]) -> dict[str, Any]:
    plan = candidate.get("plan") or {}
    edits = [edit["name"] for edit in plan.get("edits", ())]
    said = [f"{len(plan['phases'])} phase(s)"] if plan.get("phases") else []
    said += [f"edits {', '.join(edits)}"] if edits else []
    members, combine = plan.get("members", ()), plan.get("combine", "none")
    said += [f"{len(members)} member(s), {combine}"] if len(members) > 1 or combine != "none" else []
    return {**candidate, "plan": "; ".join(said)}
