"""The table of a run for a terminal: every candidate, the winner marked, the verdict below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tlplat.report import findings, words
from tlplat.report.document import CandidatePart, Report, ranked
from tlplat.report.plain import printable
from tlplat.report.searched import dropped

WIDE, MIDDLE, NARROW, NARROWEST = 84, 62, 44, 36
"""Columns from which cost and family, then trained weights, then time are shown; then from which no score is folded."""
SUBSTITUTES = str.maketrans(
    {"\u2192": "->", "\u2013": "-", "\u2014": "-", "\u2026": "...", "\u2212": "-", "\u00a0": " "}
)
STYLES = {"helps": "bold blue", "ties": "bold", "hurts": "bold yellow"}


def print_table(document: Report | Mapping[str, Any], console: Console) -> None:
    """Print the candidates, best test score first, and the verdict with what to use.

    Columns go, least needed first, as the terminal narrows. Where the console is no terminal there are no rules
    and no colours; where its encoding lacks a character, a substitute is printed.
    """
    report = Report.of(document)
    console.print(_line(report.task.title, console, "bold"))
    console.print(_table(report, console))
    if report.verdict:
        console.print(_line("* chosen with transfer   o best without, both by validation", console, "dim"))
    style = STYLES[report.verdict.outcome] if report.verdict else "bold"
    console.print(_line(findings.verdict_sentence(report), console, style))
    for sentence in (findings.advice(report), *findings.remarks(report)):
        if sentence:
            console.print(_line(sentence, console))
    if sentence := findings.ahead(report):
        console.print(_line(sentence, console, "dim"))
    cut = dropped(report.search, report.metric.higher_is_better)
    if cut:
        console.print(_line(f"dropped on the way, by validation: {', '.join(cut)}", console, "dim"))
    for skipped in report.skipped:
        console.print(_line(f"not run: {skipped.strategy}: {skipped.reason}", console, "dim"))


def _table(report: Report, console: Console) -> Table:
    width, wide = console.width, console.is_terminal
    title = words.metric_words(report.metric).title
    table = Table(box=box.SIMPLE_HEAD if wide else None, pad_edge=False, header_style="" if wide else "none")
    score = f"{title} [{words.percent(report.level)}]"
    shown = {
        "candidate": True,
        "family": width >= WIDE,
        score: True,
        "trained": width >= MIDDLE,
        "cost a row": width >= WIDE,
        "time": width >= NARROW,
    }
    for name, visible in shown.items():
        right = name in ("trained", "cost a row", "time")
        if visible:
            table.add_column(
                _text(name, console),
                justify="right" if right else "left",
                no_wrap=name != "candidate" and (name != score or width >= NARROWEST),
                overflow="fold",
            )
    for candidate in ranked(report.candidates, report.metric.higher_is_better):
        cells = zip(_cells(candidate, report), shown.values(), strict=True)
        style = "bold" if report.verdict and candidate.key == report.verdict.winner else ""
        table.add_row(*(_text(cell, console) for cell, visible in cells if visible), style=style)
    return table


def _cells(candidate: CandidatePart, report: Report) -> list[str]:
    marks = ""
    if report.verdict:
        marks = (
            "* "
            if candidate.key == report.verdict.winner
            else "o "
            if candidate.key == report.verdict.reference
            else ""
        )
    figure = words.score(candidate.mean)
    if candidate.mean is not None:
        figure += f" {words.interval(candidate.interval)}"
    note = f" ({candidate.note})" if candidate.note else ""
    return [
        f"{marks or '  '}{words.called(candidate)}{note}",
        words.family(candidate),
        figure,
        words.compact(candidate.trained_parameters),
        words.compact(candidate.inference_cost),
        words.duration(candidate.seconds),
    ]


def _line(content: str, console: Console, style: str = "") -> Text:
    return Text(_text(content, console).plain, style=style)


def _text(content: str, console: Console) -> Text:
    """Text without markup, control characters made visible, in characters that the console's encoding has."""
    content = printable(content)
    encoding = console.encoding or "utf-8"
    try:
        content.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        content = content.translate(SUBSTITUTES).encode("ascii", "replace").decode("ascii")
    return Text(content)
