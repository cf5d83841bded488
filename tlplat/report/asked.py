"""The charts that a task asks for, drawn: lines, clouds of rows, bars with intervals."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from markupsafe import Markup

from tlplat.report import charts, marks
from tlplat.report.charts import Axes, Bar, Series
from tlplat.report.document import CandidatePart, Report, by_key
from tlplat.report.marks import Role
from tlplat.report.parts import ChartPart, SeriesPart
from tlplat.report.views import Figure, line_legend, role
from tlplat.report.words import called, score

STYLES: tuple[tuple[Role, bool], ...] = (("transfer", False), ("baseline", False), ("transfer", True), ("other", False))
"""Of the series of one candidate's chart, in order; further ones are quiet."""


def asked(report: Report) -> list[Figure]:
    """Every chart under ``details``: of one title and one series each, those of both candidates share one figure."""
    found: dict[str, list[tuple[CandidatePart, ChartPart]]] = {}
    names = by_key(report)
    for key, detail in report.details.items():
        for chart in detail.charts:
            found.setdefault(chart.title, []).append((names[key], chart))
    figures: list[Figure] = []
    for title, drawn in found.items():
        if all(len(chart.series) == 1 for _, chart in drawn):
            named = [(called(c), role(c), False, chart.series[0]) for c, chart in drawn]
            figures.append(_figure(title, drawn[0][1], named))
        else:
            figures += [_figure(f"{title}: {called(c)}", chart, _styled(chart)) for c, chart in drawn]
    return figures


def _styled(chart: ChartPart) -> list[tuple[str, Role, bool, SeriesPart]]:
    return [(s.name, *STYLES[min(i, len(STYLES) - 1)], s) for i, s in enumerate(chart.series)]


def _figure(title: str, chart: ChartPart, named: Sequence[tuple[str, Role, bool, SeriesPart]]) -> Figure:
    axes = Axes(chart.x, chart.y)
    if chart.kind == "bars":
        bars = _told_apart([(name, _bars(r, chart, s)) for name, r, _, s in named])
        return Figure(title, Markup(charts.bar_chart(bars, axes, _said(title, bars))), (), chart.caption)
    series = [
        Series(name, r, (_points(s, chart.steps),), second=second) for name, r, second, s in named if _points(s, False)
    ]
    if chart.kind == "lines":
        svg = charts.line_chart(series, axes, f"{title}: {', '.join(s.name for s in series)}", diagonal=chart.diagonal)
        return Figure(title, Markup(svg), _legend(series), chart.caption)
    svg = charts.cloud_chart(series, axes, f"{title}: {', '.join(s.name for s in series)}", diagonal=chart.diagonal)
    legend = tuple((Markup(marks.key(s.role)), s.name) for s in series)
    return Figure(title, Markup(svg), legend if len(legend) > 1 or legend[0][1] else (), chart.caption)


def _legend(series: Sequence[Series]) -> tuple[tuple[Markup, str], ...]:
    """Every series by name, also quiet ones: here they are no crowd."""
    if not any(s.role == "other" for s in series):
        return line_legend(series)
    return tuple((Markup(marks.key(s.role, line=True, second=s.second)), s.name) for s in series)


def _points(series: SeriesPart, steps: bool) -> tuple[tuple[float, float], ...]:
    known = [(x, y) for x, y in series.points if x is not None and y is not None]
    if not steps:
        return tuple(known)
    out = known[:1]
    for (_, before), (x, y) in itertools.pairwise(known):
        out += [(x, before), (x, y)]
    return tuple(out)


def _told_apart(drawn: Sequence[tuple[str, list[Bar]]]) -> list[Bar]:
    """All bars, with the candidate's name where there are several; a bar that all of them share once."""
    if len(drawn) == 1:
        return drawn[0][1]
    same = [b for b in drawn[0][1] if all(any(_alike(b, other) for other in bars) for _, bars in drawn[1:])]
    same = same if len(same) < len(drawn[0][1]) else []
    own = [
        replace(b, name=f"{b.name} ({name})")
        for name, bars in drawn
        for b in bars
        if not any(_alike(b, s) for s in same)
    ]
    return [*own, *(replace(b, role="other") for b in same)]


def _alike(a: Bar, b: Bar) -> bool:
    return (a.name, a.value, a.interval) == (b.name, b.value, b.interval)


def _bars(r: Role, chart: ChartPart, series: SeriesPart) -> list[Bar]:
    spans = [*series.intervals, *[None] * len(series.points)]
    return [
        Bar(chart.bars[int(x)], r, y, span)
        for (x, y), span in zip(series.points, spans, strict=False)
        if x is not None and y is not None
    ]


def _said(title: str, bars: Sequence[Bar]) -> str:
    return f"{title}. {'; '.join(f'{b.name}: {score(b.value)}' for b in bars)}"
