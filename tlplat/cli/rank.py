"""``tlplat rank``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from tlplat.cli.domaincommand import DomainCommand, resolved
from tlplat.cli.flags import OF_A_SEARCH
from tlplat.cli.group import COMMANDS
from tlplat.cli.output import emit_json, json_option, write_table
from tlplat.cli.progress import TerminalReporter
from tlplat.isolate import stdout_to_stderr

EPILOG = """\b
Examples:
  tlplat rank --domain genomics
  tlplat rank --domain genomics --labels 200 --source e-coli,tiara
  tlplat rank --domain genomics --data train.fasta --labels-from header --json

Probe and own head are held out and in the task's metric; the order goes by the better of the two. In the
other scores higher is better: they compare sources on the same rows, and say little on their own. ORDER AGREES
is Kendall's tau-b of each score with the order of the sources.
"""
HEADS: Mapping[str, str] = {
    "probe": "probe",
    "zero_shot": "own head",
    "log_me": "logme",
    "shrunk_h_score": "h shrunk",
    "h_score": "h-score",
    "leep": "leep",
    "nce": "nce",
    "n_leep": "n-leep",
    "transrate": "transrate",
}


@click.command("rank", cls=DomainCommand, without=OF_A_SEARCH, short_help=COMMANDS["rank"], epilog=EPILOG)
@click.option("--quiet", is_flag=True, help="No progress; warnings remain.")
@json_option
@click.pass_context
def command(ctx: click.Context, /, quiet: bool, as_json: bool, **given: Any) -> None:
    """Rank the source models at hand by how well they suit the labelled rows, and say how far to trust it.

    Without --source every source of the domain is ranked; nothing is fine-tuned. A source that the domain pretrains is
    pretrained first and kept, as are the features: a later run finds both.
    """
    found = resolved(ctx, given)
    from tlplat.stage import rank

    with stdout_to_stderr():
        from tlplat import plugins

        registry = plugins.load("tlplat.tasks", None, plugins.load("tlplat.domains", [found.config.domain]))
        document = rank(found.config, registry, TerminalReporter(quiet))
    if as_json:
        emit_json(document)
    else:
        predicted = ", ".join(document["task"]["labels"]) or document["task"]["kind"]
        click.echo(f"{document['target']}: {predicted}; {document['labels']} labelled rows\n")
        write_ranking(document)


def write_ranking(document: Mapping[str, Any]) -> None:
    """The table of sources and scores, who was passed over, and how far to trust it."""
    shown = [name for name in HEADS if any(s["scores"][name] is not None for s in document["sources"])]
    columns = ["source", *(HEADS[name] for name in shown)]
    rows = [{"source": s["name"], **{HEADS[n]: _cell(s, n) for n in shown}} for s in document["sources"]]
    if len(rows) > 1:
        taus = document["agreement"]
        agreeing = {HEADS[n]: "" if taus[n] is None else f"{taus[n]:+.2f}" for n in shown}
        rows.append({"source": "order agrees", **agreeing})
    write_table(columns, rows)
    for skipped in document["skipped"]:
        click.echo(f"not ranked {skipped['name']}: {skipped['reason']}")
    click.echo(f"\n{document['trust']}")


def _cell(source: Mapping[str, Any], name: str) -> str:
    """``0.912 [0.87, 0.95]``; empty where the score is undefined."""
    value, interval = source["scores"][name], source["intervals"].get(name)
    if value is None:
        return ""
    return f"{value:.3f}" + (f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else "")
