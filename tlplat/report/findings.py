"""What a run found, in sentences: the verdict, what to use, and what else a reader should not miss."""

from __future__ import annotations

from collections.abc import Sequence

from tlplat.report.document import ComparisonPart, Report, VerdictPart, by_key
from tlplat.report.words import MetricWords, called, metric_words, points, points_interval, score


def undefined(report: Report) -> bool:
    """Whether winner and reference could not be compared, as the metric is not defined on the test rows."""
    return report.verdict is not None and (report.verdict.difference is None or None in report.verdict.interval)


def verdict_sentence(report: Report) -> str:
    """The finding in one sentence, with its figure and interval; the document's own sentence where it has one."""
    verdict, words = report.verdict, metric_words(report.metric)
    if verdict is None:
        return "No verdict: there was no transferred model to compare with one made without transfer."
    if verdict.sentence:
        return verdict.sentence
    names = by_key(report)
    winner, reference = called(names[verdict.winner]), called(names[verdict.reference])
    if verdict.difference is None or None in verdict.interval:
        return f"No verdict: {words.title} is undefined here, so {winner} and {reference} cannot be told apart."
    size, span = _apart(verdict.difference, verdict.interval, words)
    better, worse = ("above", "below") if report.metric.higher_is_better else ("better than", "worse than")
    side = better if verdict.difference >= 0 else worse
    if verdict.outcome == "helps":
        return f"Transfer helps: {winner} is {size} {words.unit} {span} {side} {reference}, the best without transfer."
    if verdict.outcome == "hurts":
        return (
            f"Transfer hurts: {winner}, the best transferred model, is {size} {words.unit} {span} {side} {reference}, "
            "made without transfer."
        )
    if _above_reference(verdict):
        return (
            f"Transfer makes no clear difference: {winner} is {size} {words.unit} {span} {side} {reference}, the best "
            "without transfer by validation, but not clearly better than the same network trained from random "
            f"weights{_figure(verdict.against_scratch, words)}."
        )
    apart = f"is {size} {words.unit} {side}" if size.strip("0.") else "scores the same as"
    return (
        f"Transfer makes no clear difference: {winner} {apart} {reference}, the best without transfer, "
        f"and the interval {span} includes zero."
    )


def _above_reference(verdict: VerdictPart) -> bool:
    low = verdict.interval[0]
    return low is not None and low > 0


def advice(report: Report) -> str:
    """What to use, and what model/ holds."""
    verdict = report.verdict
    if verdict is None:
        return ""
    if undefined(report):
        return "Nothing can be recommended by this score."
    names = by_key(report)
    winner, use = called(names[verdict.winner]), called(names[verdict.recommended])
    tied = verdict.outcome == "ties" and not _above_reference(verdict)
    why = ", which is the cheaper of the two: first at inference, then in trained weights" if tied else ""
    if verdict.recommended == verdict.winner:
        return f"Use {use}{why}. It is the model in model/."
    return f"Use {use}{why}. The folder model/ still holds {winner}, the best transferred model."


def remarks(report: Report) -> list[str]:
    """Further findings that a reader should not miss: negative transfer, adaptation, a better loser on test."""
    verdict, words = report.verdict, metric_words(report.metric)
    if verdict is None:
        return []
    names = by_key(report)
    winner = called(names[verdict.winner])
    found = []
    if verdict.negative_transfer:
        figure = _figure(verdict.against_scratch, words)
        found.append(
            f"Negative transfer: the same network trained from random weights does better than {winner}{figure}."
        )
    if isinstance(verdict.adaptation, str):
        found.append(verdict.adaptation)
    elif verdict.adaptation is not None:
        found.append(verdict.adaptation.sentence or _adaptation(verdict.adaptation, winner, words))
    if _beaten_on_test(report):
        found.append(
            f"{winner} and {called(names[verdict.reference])} were chosen on validation rows, before any test row was "
            "looked at. Another candidate scores higher on test; choosing it now would flatter it."
        )
    return found


def _beaten_on_test(report: Report) -> bool:
    assert report.verdict is not None
    sign = 1 if report.metric.higher_is_better else -1
    chosen = {report.verdict.winner, report.verdict.reference}
    known = {c.key: sign * c.mean for c in report.candidates if c.mean is not None}
    ours = [known[k] for k in chosen if k in known]
    return bool(ours) and any(v > max(ours) for k, v in known.items() if k not in chosen)


def _adaptation(part: ComparisonPart, winner: str, words: MetricWords) -> str:
    low, high = part.interval
    if part.difference is None or low is None or high is None:
        return f"Whether adapting beat the source's own head, untouched (zero-shot), is undefined: {words.title} is."
    figure = _figure(part, words)
    if low > 0:
        return f"Adapting paid: {winner} beats the source's own head, untouched (zero-shot){figure}."
    if high < 0:
        return f"Adapting did harm: the source's own head, untouched (zero-shot), beats {winner}{figure}."
    return f"Adapting made no clear difference to the source's own head, untouched (zero-shot){figure}."


def _figure(part: ComparisonPart | None, words: MetricWords) -> str:
    if part is None or part.difference is None:
        return ""
    value, span = points(part.difference, words, signed=True), points_interval(part.interval, words)
    return f" ({value} {words.unit} {span})"


def _apart(difference: float, bounds: Sequence[float | None], words: MetricWords) -> tuple[str, str]:
    """A distance without sign, and its interval turned the same way."""
    sign = 1 if difference >= 0 else -1
    return points(sign * difference, words), points_interval(bounds, words, sign)


def ahead(report: Report) -> str:
    """Who was ahead of the winner on validation without taking its place, in a sentence; empty where nobody was."""
    search = report.search
    if not search.rounds or (rival := search.rounds[search.round].ahead) is None:
        return ""
    by, error = score(rival.difference), score(rival.error)
    lead = f"{rival.candidate} was ahead of {search.rounds[search.round].winner} on validation by {by}"
    return f"{lead} (standard error {error}): not clearly, so it did not win."
