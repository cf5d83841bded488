"""How a figure reads: one place decides it, for page, terminal and card alike."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tlplat.report.document import CandidatePart, MetricPart

NONE = "n/a"


@dataclass(frozen=True)
class MetricWords:
    """How a metric is spoken of. ``points``: differences are given in hundredths, called points. ``measure``: unit."""

    title: str
    meaning: str
    points: bool
    measure: str = ""

    @property
    def unit(self) -> str:
        """What a difference counts: ``points of AUROC``, ``cm of RMSE``, or the metric's name."""
        if self.measure and not self.points:
            return f"{self.measure} of {self.title}"
        return f"points of {self.title}" if self.points else f"in {self.title}"


KNOWN = {
    "auroc": MetricWords("AUROC", "how often a positive row is ranked above a negative one (0.5 is guessing)", True),
    "accuracy": MetricWords("accuracy", "the share of rows classified right", True),
    "balanced_accuracy": MetricWords("balanced accuracy", "the mean of the classes' shares classified right", True),
    "average_precision": MetricWords("average precision", "the area under precision against recall", True),
    "macro_f1": MetricWords("macro F1", "the mean over labels of precision and recall's harmonic mean", True),
    "concordance": MetricWords("concordance", "how often the earlier of two events is ranked first", True),
    "brier": MetricWords("Brier score", "the squared error of the predicted probabilities", False),
    "log_loss": MetricWords("log loss", "the surprise, in nats, at the true label", False),
    "r2": MetricWords("R\u00b2", "the share of variance explained", False),
    "rmse": MetricWords("RMSE", "the root of the mean squared error", False),
    "mae": MetricWords("MAE", "the mean absolute error", False),
    "spearman": MetricWords("rank correlation", "how far predictions are in the order of what came", True),
    "crps": MetricWords("CRPS", "the distance of the predicted distribution from what came", False),
    "pinball": MetricWords("pinball loss", "the error of the quantiles, each side by its share", False),
    "coverage_error": MetricWords("coverage error", "how far the interval's coverage is from what it says", True),
    "uno_concordance": MetricWords("Uno's concordance", "concordance that does not hang on the censoring", True),
    "integrated_brier": MetricWords("integrated Brier score", "the squared error of survival over the times", False),
    "policy_value": MetricWords("policy value", "the mean outcome if everyone got what is recommended", False),
    "effect_error": MetricWords("effect error", "the squared error of effects, noise of the truth included", False),
    "outcome_mae": MetricWords("MAE of the outcome", "the mean absolute error under the arm that was given", False),
    "recall_at_1": MetricWords("recall@1", "the share of rows whose nearest neighbour is of their kind", True),
    "recall_at_5": MetricWords("recall@5", "the share of rows with one of their kind among the nearest five", True),
    "mean_average_precision": MetricWords("mAP", "the mean precision at each row of a kind, all ranked", True),
}


def metric_words(metric: MetricPart) -> MetricWords:
    """What the document says of its metric, else what is known of that name."""
    known = KNOWN.get(metric.name, MetricWords(metric.name.replace("_", " "), "", False))
    return MetricWords(
        metric.title or known.title,
        metric.meaning or known.meaning,
        known.points if metric.points is None else metric.points,
        metric.unit,
    )


def minus(text: str) -> str:
    """A figure's hyphens as minus signs, for typeset pages; JSON, terminal and card keep the hyphen."""
    return re.sub(r"(?<![^\s(\[+])-(?=\d)", "\u2212", text)


def title_of(metric_name: str) -> str:
    """The reader's name of a metric."""
    known = KNOWN.get(metric_name)
    return known.title if known else metric_name.replace("_", " ")


def score(value: float | None) -> str:
    """Three decimals below 10, three digits above; ``n/a`` where undefined."""
    if value is None:
        return NONE
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.4g}" if abs(value) < 1e4 else f"{value:.3g}"


def interval(bounds: Sequence[float | None] | None) -> str:
    """``[0.912, 0.941]``; ``n/a`` where there is none."""
    if bounds is None or all(b is None for b in bounds):
        return NONE
    return f"[{', '.join(score(b) for b in bounds)}]"


def points(value: float | None, words: MetricWords, *, signed: bool = False) -> str:
    """A difference: in points with one decimal, or as a score."""
    if value is None:
        return NONE
    text = f"{100 * value:.1f}" if words.points else score(value)
    if not text.strip("-0."):
        return text.lstrip("-")
    return f"+{text}" if signed and value > 0 else text


def points_interval(bounds: Sequence[float | None], words: MetricWords, sign: int = 1) -> str:
    """``[5.1, 9.6]``, turned round where ``sign`` is -1."""
    turned = [None if b is None else sign * b for b in bounds][::sign]
    return f"[{', '.join(points(b, words) for b in turned)}]"


def count(value: float | None) -> str:
    """``4,812``; ``n/a`` where unknown."""
    if value is None:
        return NONE
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def compact(value: float | None) -> str:
    """``0``, ``980``, ``138 k``, ``4.65 M``: three digits at most."""
    if value is None:
        return NONE
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.3g}"


def duration(seconds: float | None) -> str:
    """``<0.1 s``, ``0.4 s``, ``12 s``, ``1 min 20 s``, ``2 h 5 min``."""
    if seconds is None:
        return NONE
    if seconds < 9.95:
        return f"{seconds:.1f} s" if seconds >= 0.05 else "<0.1 s" if seconds > 0 else "0 s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if minutes else f"{hours:,} h"


def percent(level: float) -> str:
    """``95 %``, ``99.2 %``, with a space that does not break."""
    return f"{100 * level:.1f}".removesuffix(".0") + "\u00a0%"


def general(value: object) -> str:
    """Any JSON scalar, for cards and settings."""
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}" if abs(value) >= 10_000 else str(value)
        case float():
            return f"{value:.6g}" if math.isfinite(value) else NONE
        case list():
            return ", ".join(map(general, value)) or "none"
    return str(value)


def family(candidate: CandidatePart) -> str:
    """The family as a reader sees it: a source used untouched is no baseline of the kind made without transfer."""
    if candidate.transfers and candidate.family == "baseline":
        return "source as is"
    return candidate.family


def called(candidate: CandidatePart) -> str:
    """The name that a reader sees: the title where there is one, else the key."""
    return candidate.title or candidate.key
