"""Metrics of classification, vectorised over bootstrap weights where the bootstrap needs them.

Every metric is a callable ``(targets, predictions, weights) -> (b,)``; see :class:`tlplat.tasks.base.Metric`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

CHUNK = 256
EPSILON = 1e-12


@dataclass(frozen=True)
class RowMean:
    """A metric that is the weighted mean of a per-row score ``row(targets, predictions) -> (n,)``."""

    name: str
    higher_is_better: bool
    row: Callable[[np.ndarray, np.ndarray], np.ndarray]

    def __call__(self, targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        scores = self.row(targets, predictions)
        if weights is None:
            return np.array([scores.mean() if len(scores) else np.nan])
        total = weights.sum(axis=1)
        with np.errstate(invalid="ignore"):
            return np.asarray(weights @ scores / total)


@dataclass(frozen=True)
class Auroc:
    """Area under the ROC curve, ties counted half (Hanley & McNeil 1982); macro one-vs-rest beyond two classes.

    Multi-label targets (n, c) are averaged over the labels that have both values.
    """

    name: str = "auroc"
    higher_is_better: bool = True

    def __call__(self, targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        return _over_labels(weighted_auroc, targets, predictions, weights)


@dataclass(frozen=True)
class AveragePrecision:
    """Average precision (scikit-learn's definition), macro over labels or classes."""

    name: str = "average_precision"
    higher_is_better: bool = True

    def __call__(self, targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        return _over_labels(_average_precision, targets, predictions, weights)


def _over_labels(
    score: Callable[[np.ndarray, np.ndarray, np.ndarray | None], np.ndarray],
    targets: np.ndarray,
    predictions: np.ndarray,
    weights: np.ndarray | None,
) -> np.ndarray:
    """``score`` of the positive class, or its mean over classes or labels; NaN labels are left out."""
    if targets.ndim == 1 and predictions.shape[1] == 2:
        return score(targets, predictions[:, 1], weights)
    hot = targets if targets.ndim == 2 else np.arange(predictions.shape[1]) == targets[:, None]
    each = np.stack([score(hot[:, c], predictions[:, c], weights) for c in range(hot.shape[1])])
    known = ~np.isnan(each)
    count = known.sum(axis=0)
    return np.where(count > 0, np.where(known, each, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)


def weighted_auroc(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """AUROC of binary targets (n,) for each weight row (b, n), shape (b,); one score where weights is None."""
    order = np.argsort(scores, kind="stable")
    positive = np.asarray(targets, dtype=bool)[order]
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])
    rows = np.ones((1, len(scores))) if weights is None else weights
    return np.concatenate(
        [_auroc_chunk(rows[i : i + CHUNK, order], positive, starts) for i in range(0, len(rows), CHUNK)]
    )


def _auroc_chunk(weights: np.ndarray, positive: np.ndarray, starts: np.ndarray) -> np.ndarray:
    up = np.add.reduceat(weights * positive, starts, axis=1)
    down = np.add.reduceat(weights * ~positive, starts, axis=1)
    below = np.cumsum(down, axis=1) - 0.5 * down
    pairs = up.sum(axis=1) * down.sum(axis=1)
    wins = (up * below).sum(axis=1)
    return np.where(pairs > 0, wins / np.where(pairs > 0, pairs, 1.0), np.nan)


def _average_precision(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """(b,) of binary targets (n,): precision at each score, weighted by the recall it adds; NaN without a positive."""
    order = np.argsort(-scores, kind="stable")
    positive = np.asarray(targets, dtype=bool)[order]
    ends = np.flatnonzero(np.r_[np.diff(scores[order]) != 0, True])
    rows = np.ones((1, len(scores))) if weights is None else weights
    return np.concatenate(
        [_precision_chunk(rows[i : i + CHUNK, order], positive, ends) for i in range(0, len(rows), CHUNK)]
    )


def _precision_chunk(weights: np.ndarray, positive: np.ndarray, ends: np.ndarray) -> np.ndarray:
    hits = np.cumsum(weights * positive, axis=1, dtype=np.float64)[:, ends]
    told = np.cumsum(weights, axis=1, dtype=np.float64)[:, ends]
    precision = hits / np.where(told > 0, told, 1.0)
    gained = np.diff(hits, axis=1, prepend=0.0)
    every = hits[:, -1]
    return np.asarray(np.where(every > 0, (precision * gained).sum(axis=1) / np.where(every > 0, every, 1.0), np.nan))


def accuracy_rows(targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """1.0 where the most probable class (or, multi-label, every label at 0.5) is right."""
    if targets.ndim == 2:
        return np.asarray(((predictions >= 0.5) == (targets >= 0.5)).mean(axis=1))
    return np.asarray(predictions.argmax(axis=1) == targets, dtype=np.float64)


def log_loss_rows(targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Negative log-likelihood in nats, probabilities clipped at 1e-12."""
    p = np.clip(predictions, EPSILON, 1 - EPSILON)
    if targets.ndim == 2:
        return np.asarray(-(targets * np.log(p) + (1 - targets) * np.log1p(-p)).mean(axis=1))
    return np.asarray(-np.log(p[np.arange(len(p)), targets]))


def brier_rows(targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Squared error of the probabilities: of the positive class for two, else summed over classes (Brier 1950)."""
    if targets.ndim == 2:
        return np.asarray(((predictions - targets) ** 2).mean(axis=1))
    if predictions.shape[1] == 2:
        return np.asarray((predictions[:, 1] - targets) ** 2)
    hot = np.arange(predictions.shape[1]) == targets[:, None]
    return np.asarray(((predictions - hot) ** 2).sum(axis=1))


@dataclass(frozen=True)
class MacroF1:
    """F1 of the most probable class (0.5 cut for multi-label), macro average (scikit-learn)."""

    name: str = "macro_f1"
    higher_is_better: bool = True

    def __call__(self, targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        there, said, rows = _told(targets, predictions, weights)
        both, either = rows @ (there & said), rows @ there + rows @ said
        met = np.asarray(either > 0)
        if targets.ndim == 2:
            met = np.ones_like(met)  # a label that nobody has or is given counts as 0, as scikit-learn has it
        return _mean_of(2 * both / np.where(either > 0, either, 1.0), met)


@dataclass(frozen=True)
class BalancedAccuracy:
    """The mean of the classes' recalls (Brodersen et al. 2010); for multi-label of those with and without each label.

    A class without a row is left out.
    """

    name: str = "balanced_accuracy"
    higher_is_better: bool = True

    def __call__(self, targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        there, said, rows = _told(targets, predictions, weights)
        count, hits = rows @ there, rows @ (there & said)
        if targets.ndim == 2:
            count, hits = (np.c_[a, rows @ b] for a, b in ((count, ~there), (hits, ~there & ~said)))
        return _mean_of(hits / np.where(count > 0, count, 1.0), count > 0)


def _told(
    targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which class or label each row has, and which it is given, (n, c) of bool; weights (b, n)."""
    rows = np.ones((1, len(targets))) if weights is None else np.asarray(weights, dtype=np.float64)
    if targets.ndim == 2:
        return targets >= 0.5, predictions >= 0.5, rows
    classes = np.arange(predictions.shape[1])
    return targets[:, None] == classes, predictions.argmax(axis=1)[:, None] == classes, rows


def _mean_of(scores: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """(b,) mean of scores (b, c) over those that count; NaN where none does."""
    many = counted.sum(axis=1)
    return np.asarray(np.where(many > 0, np.where(counted, scores, 0.0).sum(axis=1) / np.maximum(many, 1), np.nan))


ACCURACY = RowMean("accuracy", True, accuracy_rows)
LOG_LOSS = RowMean("log_loss", False, log_loss_rows)
BRIER = RowMean("brier", False, brier_rows)


def told_and_right(targets: np.ndarray, predictions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and whether what they tell was so: of each row's likeliest class, or of every label (n * c,)."""
    if targets.ndim == 2:
        return predictions.ravel(), targets.ravel() > 0
    return predictions.max(axis=1), predictions.argmax(axis=1) == targets


def expected_calibration_error(targets: np.ndarray, predictions: np.ndarray, bins: int = 10) -> float:
    """ECE of the most probable class, or of all labels (n, c), over equal-width bins (Guo et al. 2017, eq. 3)."""
    confidence, right = told_and_right(targets, predictions)
    edge = np.clip((confidence * bins).astype(int), 0, bins - 1)
    gaps = [
        (edge == b).mean() * abs(right[edge == b].mean() - confidence[edge == b].mean())
        for b in range(bins)
        if (edge == b).any()
    ]
    return float(sum(gaps))
