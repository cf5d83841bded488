"""From a report to its charts: which series each shows, in which role, with which words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tlplat.report import bars as strips
from tlplat.report import charts, marks
from tlplat.report.charts import Axes, Dot, Series
from tlplat.report.document import CandidatePart, Report, by_key
from tlplat.report.marks import Role
from tlplat.report.words import called, count, duration, metric_words, minus, points, points_interval, score

FASTEST = 0.01
"""Seconds; a logarithmic axis has no zero."""
CROWDED = 0.5
"""A worst candidate that alone takes more than this share of a scale is put beyond it."""


@dataclass(frozen=True)
class Figure:
    """A chart with its heading, its legend (swatch, words) and a sentence of explanation."""

    title: str
    svg: Markup
    legend: tuple[tuple[Markup, str], ...] = ()
    caption: str = ""


def role(candidate: CandidatePart) -> Role:
    return "transfer" if candidate.transfers else "baseline"


def bars(report: Report) -> tuple[Markup, dict[str, Markup]]:
    """The axis, and one interval bar for each candidate's key."""
    values = _values(_in_scale(report))
    if not values:
        return Markup(""), {c.key: Markup("") for c in report.candidates}
    scale = strips.interval_scale(values)
    reference = by_key(report)[report.verdict.reference].mean if report.verdict else None
    rows = {c.key: strips.interval_row(c.mean, c.interval, scale, role(c), reference) for c in report.candidates}
    return Markup(strips.interval_axis(scale)), {k: Markup(svg) for k, svg in rows.items()}


def lead(report: Report) -> Markup | None:
    """The winner's lead over the reference, against zero."""
    verdict, words = report.verdict, metric_words(report.metric)
    if verdict is None or verdict.difference is None:
        return None
    label = (
        f"Winner minus reference: {points(verdict.difference, words, signed=True)} {words.unit}, "
        f"interval {points_interval(verdict.interval, words)}"
    )
    return Markup(
        strips.difference_strip(
            verdict.difference, verdict.interval, lambda v: minus(points(v, words, signed=True)), label
        )
    )


def score_against_time(report: Report) -> Figure | None:
    """Test score over wall time, logarithmic."""
    words = metric_words(report.metric)
    dots = [
        Dot(called(c), role(c), max(c.seconds, FASTEST), c.mean, c.interval, _highlighted(report, c))
        for c in report.candidates
        if c.seconds is not None and c.mean is not None
    ]
    if len(dots) < 2:
        return None
    inside = strips.interval_scale(_values(_in_scale(report)))
    axes = Axes(
        "time, all seeds and settings (log scale)",
        words.title,
        x_log=True,
        x_text=_tick_time,
        y_range=(inside.low, inside.high),
    )
    said = "; ".join(f"{d.name}: {score(d.y)} in {duration(d.x)}" for d in dots)
    svg = charts.scatter_chart(dots, axes, f"{words.title} against time. {said}")
    caption = ""
    if len(_in_scale(report)) < len(dots):
        caption = "An arrowhead marks a score beyond the scale."
    return Figure(
        "Score against time", Markup(svg), _legend(("transfer", "transfer"), ("baseline", "baseline")), caption
    )


def score_against_labels(report: Report) -> Figure | None:
    """Test score over the number of labels, where several were tried."""
    names, words = by_key(report), metric_words(report.metric)
    sizes = {p.labels for p in report.label_curve}
    if len(sizes) < 2:
        return None
    series: list[Series] = []
    for c in loudest_last(report, [c for k, c in names.items() if any(p.candidate == k for p in report.label_curve)]):
        line = sorted((p.labels, p.mean) for p in report.label_curve if p.candidate == c.key and p.mean is not None)
        loud = loudness(report, c)
        again = loud != "other" and any(s.role == loud for s in series)
        series.append(Series(called(c), loud, (tuple((float(n), m) for n, m in line),), second=again))
    axes = Axes("labelled rows (log scale)", words.title, x_log=True, x_text=count)
    svg = charts.line_chart(series, axes, f"{words.title} against the number of labelled rows", dots=True)
    return Figure("Score against labels", Markup(svg), line_legend(series))


def roc(report: Report) -> Figure | None:
    """ROC curves of winner and reference; of the winner alone, one a label, beyond two labels."""
    names = by_key(report)
    drawn = {k: [r for r in d.roc if len(r.points) > 1] for k, d in report.details.items()}
    several = any(len(curves) > 1 for curves in drawn.values())
    series: list[Series] = []
    for key in _spoken(report):
        curves = drawn.get(key, [])
        if curves and not (several and series):
            series.append(Series(called(names[key]), role(names[key]), tuple(r.points for r in curves)))
    if not series:
        return None
    areas = "; ".join(f"{called(names[k])}: {score(r.auroc)}" for k in _spoken(report) for r in drawn.get(k, []))
    axes = Axes(
        "false positives, share of negatives",
        "true positives, share of positives",
        x_range=(0.0, 1.0),
        y_range=(0.0, 1.0),
    )
    svg = charts.line_chart(series, axes, f"ROC curves. Area under each: {areas}", diagonal=True)
    caption = "One curve a label, against the rest." if several else "The further to the upper left, the better."
    return Figure("ROC curve", Markup(svg), line_legend(series), caption)


def calibration(report: Report) -> Figure | None:
    """Reliability of the predicted probabilities of winner and reference."""
    names = by_key(report)
    bins = {
        called(names[k]): (
            role(names[k]),
            [
                (b.predicted, b.observed, b.count)
                for b in report.details[k].calibration
                if b.predicted is not None and b.observed is not None
            ],
        )
        for k in _spoken(report)
        if k in report.details and report.details[k].calibration
    }
    if not bins:
        return None
    shares = [v for _, each in bins.values() for p, o, _ in each for v in (p, o)]
    span = (math.floor(10 * min(shares, default=0.0)) / 10, 1.0)
    seen = "share of rows with the label" if report.task.several else "share that was right"
    axes = Axes("predicted probability", seen, x_range=span, y_range=span)
    svg = charts.calibration_chart(bins, axes, f"Calibration: {seen} against predicted probability")
    caption = "On the dashed line, a prediction of 80 % is right 80 % of the time. Larger marks hold more rows."
    return Figure("Calibration", Markup(svg), _legend(*((r, name) for name, (r, _) in bins.items())), caption)


def key_of(candidate: CandidatePart) -> Markup:
    """The candidate's mark, as in every chart."""
    return Markup(marks.key(role(candidate)))


def _in_scale(report: Report) -> list[CandidatePart]:
    """Candidates that a shared scale holds: a far worse one (the trivial baseline) would flatten all others."""
    sign = 1 if report.metric.higher_is_better else -1
    known = sorted((c for c in report.candidates if c.mean is not None), key=lambda c: sign * (c.mean or 0.0))
    while len(known) > 2 and not _highlighted(report, known[0]) and _reach(known[1:]) < CROWDED * _reach(known):
        known = known[1:]
    return known


def _values(candidates: Sequence[CandidatePart]) -> list[float]:
    return [v for c in candidates for v in (c.mean, *(c.interval or ())) if v is not None]


def _reach(candidates: Sequence[CandidatePart]) -> float:
    values = _values(candidates)
    return max(values) - min(values)


def _spoken(report: Report) -> list[str]:
    return list(dict.fromkeys([report.verdict.winner, report.verdict.reference])) if report.verdict else []


def _highlighted(report: Report, candidate: CandidatePart) -> bool:
    return candidate.key in _spoken(report)


def loudness(report: Report, candidate: CandidatePart) -> Role:
    """Winner and reference speak, and scratch where the reference has no curve of its own."""
    loud = _highlighted(report, candidate)
    if candidate.strategy == "scratch" and not loud and report.verdict is not None:
        loud = not by_key(report)[report.verdict.reference].curves
    return role(candidate) if loud else "other"


def loudest_last(report: Report, candidates: Sequence[CandidatePart]) -> list[CandidatePart]:
    return sorted(candidates, key=lambda c: loudness(report, c) != "other")


def line_legend(series: Sequence[Series]) -> tuple[tuple[Markup, str], ...]:
    legend = [(Markup(marks.key(s.role, line=True, second=s.second)), s.name) for s in series if s.role != "other"]
    if any(s.role == "other" for s in series):
        legend.append((Markup(marks.key("other", line=True)), "other candidates"))
    return tuple(legend)


def _legend(*entries: tuple[Role, str]) -> tuple[tuple[Markup, str], ...]:
    return tuple((Markup(marks.key(r)), name) for r, name in entries)


def _tick_time(seconds: float) -> str:
    """Ticks are powers of ten, so seconds read best."""
    return f"{seconds:,.10g} s"
