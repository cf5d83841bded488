"""Learning curves of a report: which lines, how loud, and their means."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from tlplat.report import charts
from tlplat.report.charts import Axes, Series
from tlplat.report.document import CandidatePart, CurvePoint, Report
from tlplat.report.views import Figure, line_legend, loudest_last, loudness, role
from tlplat.report.words import called, metric_words, score


def learning_curves(report: Report) -> list[Figure]:
    """Validation score and training loss by step: winner and best baseline that was trained, the rest quietly."""
    shown = [c for c in report.candidates if c.curves]
    title = metric_words(report.metric).title
    figures = []
    for field, name in (("validation_metric", f"validation {title}"), ("train_loss", "training loss")):
        series = [s for c in loudest_last(report, shown) if (s := _curve(report, c, field)) is not None]
        if series:
            figures.append(_curve_figure(series, name))
    return figures


def single_curves(report: Report) -> list[Figure]:
    """One small chart a candidate, every seed a thin line."""
    field, name = "train_loss", "training loss"
    if any(p.validation_metric is not None for c in report.candidates for p in c.curves):
        field, name = "validation_metric", f"validation {metric_words(report.metric).title}"
    out = []
    for c in report.candidates:
        lines = _lines(c.curves, field)
        if lines:
            mean = _mean(lines) if len(lines) > 1 else ()
            chart = charts.line_chart(
                [Series(called(c), role(c), lines, mean)], Axes("step", ""), f"{called(c)}: {name}"
            )
            out.append(Figure(called(c), Markup(chart)))
    return out


def _curve(report: Report, candidate: CandidatePart, field: str) -> Series | None:
    lines = _lines(candidate.curves, field)
    if not lines:
        return None
    loud = loudness(report, candidate)
    mean = _mean(lines) if len(lines) > 1 else ()
    if loud == "other":
        return Series(called(candidate), loud, (mean,) if mean else lines)
    return Series(called(candidate), loud, lines, mean)


def _lines(curve: Sequence[CurvePoint], field: str) -> tuple[tuple[tuple[float, float], ...], ...]:
    """One line for each seed and fold, in steps."""
    lines: dict[tuple[int | None, int | None], list[tuple[float, float]]] = {}
    for p in curve:
        value = getattr(p, field)
        if value is not None:
            lines.setdefault((p.seed, p.fold), []).append((float(p.step), value))
    return tuple(tuple(sorted(line)) for line in lines.values())


def _mean(lines: Sequence[Sequence[tuple[float, float]]]) -> tuple[tuple[float, float], ...]:
    """The mean at the steps that all lines have."""
    tables = [dict(line) for line in lines]
    shared = sorted(set.intersection(*(set(t) for t in tables)))
    return tuple((step, sum(t[step] for t in tables) / len(tables)) for step in shared)


def _curve_figure(series: Sequence[Series], name: str) -> Figure:
    loud = [s for s in series if s.role != "other"]
    ends = "; ".join(f"{s.name} ends at {score((s.mean or s.lines[0])[-1][1])}" for s in loud)
    svg = charts.line_chart(series, Axes("step", ""), f"{name.capitalize()} by training step. {ends}")
    return Figure(name[0].upper() + name[1:], Markup(svg), line_legend(series))
