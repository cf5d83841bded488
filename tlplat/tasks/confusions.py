"""A closer look at predicted classes: confusions, ROC curves, reliability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tlplat.metrics import told_and_right

ROC_POINTS = 101
BINS = 10


def confusion(targets: np.ndarray, predictions: np.ndarray, classes: int, least: int = 1) -> list[list[int | str]]:
    """Rows of each class (n,) by the most probable one of predictions (n, classes); counts below ``least`` as text.

    Where one count of a class is text, so is its next smallest, which the class's size would else give away.
    """
    counts = np.zeros((classes, classes), dtype=int)
    np.add.at(counts, (targets, predictions.argmax(axis=1)), 1)
    return [suppressed(row, least) for row in counts.tolist()]


def suppressed(counts: Sequence[int], least: int) -> list[int | str]:
    """Parts of one whole: those from 1 to below ``least`` as text, and where there is one alone the next smallest."""
    found: list[int | str] = [f"< {least}" if 0 < n < least else n for n in counts]
    large = [i for i, n in enumerate(counts) if n >= least]
    if sum(isinstance(n, str) for n in found) == 1 and large:
        found[min(large, key=lambda i: counts[i])] = f"{least} or more"
    return found


def roc(positive: np.ndarray, scores: np.ndarray, label: str, least: int = 1) -> dict[str, Any]:
    """ROC curve of one label against the rest, at 101 points at most; none where fewer than ``least`` are of a kind.

    Its steps would tell how many they are.
    """
    from sklearn.metrics import roc_auc_score, roc_curve

    if min(positive.sum(), (~positive).sum()) < least:
        return {"label": label, "points": [], "auroc": None}
    rates, hits, _ = roc_curve(positive, scores)
    keep = np.unique(np.linspace(0, len(rates) - 1, ROC_POINTS).astype(int))
    points = [[float(rates[i]), float(hits[i])] for i in keep]
    return {"label": label, "points": points, "auroc": float(roc_auc_score(positive, scores))}


def roc_curves(
    targets: np.ndarray, predictions: np.ndarray, labels: Sequence[str], least: int = 1
) -> list[dict[str, Any]]:
    """One curve of the second of two classes, else one a label; targets (n,) classes or (n, c) sets of labels."""
    if targets.ndim == 2:
        return [roc(targets[:, c] > 0, predictions[:, c], label, least) for c, label in enumerate(labels)]
    shown = [1] if len(labels) == 2 else range(len(labels))
    return [roc(targets == c, predictions[:, c], labels[c], least) for c in shown]


def reliability(targets: np.ndarray, predictions: np.ndarray, least: int = 1) -> list[dict[str, Any]]:
    """Confidence and share that was right in bins of equal width; bins of fewer rows than ``least`` are left out.

    Of the most probable class (n,); of all labels (n, c), one beside the other, where rows have any number of them.
    """
    confidence, right = told_and_right(targets, predictions)
    number = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
    return [
        {
            "predicted": float(confidence[number == b].mean()),
            "observed": float(right[number == b].mean()),
            "count": int((number == b).sum()),
        }
        for b in range(BINS)
        if (number == b).sum() >= least
    ]
