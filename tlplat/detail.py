"""A closer look at one finalist on the test rows: confusions, ROC, calibration, and the score of each group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tlplat.calibration import BINS, Calibration
from tlplat.data.examples import Examples
from tlplat.evaluate import ALPHA, Resamples, Scores
from tlplat.tasks.base import Task
from tlplat.trials import Final, Validated

ROC_POINTS = 101
GROUP_ROWS = 20
"""A group of fewer test rows has no score of its own."""
MOST_GROUPS = 20


def detail(
    finals: Sequence[Final], task: Task, labelled: Examples, test: Examples, names: Sequence[str] = ()
) -> dict[str, Any]:
    """What report.json says under ``details``; of the first seed, whose fit is the one that is kept.

    ``names``: of the groups, where the domain knows them.
    """
    found: dict[str, Any] = {"note": f"seed {finals[0].validated.seed}"}
    found |= groups(finals, task, test, names)
    if "probabilities" not in task.info().offers:
        return found
    targets, predictions = test.targets.numpy(), finals[0].predictions
    scaled = calibration([f.validated for f in finals], labelled, targets, predictions)
    found["scaling"] = scaled.to_json()
    if targets.ndim != 1:
        return found
    labels = task.info().labels
    confusion = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(confusion, (targets, predictions.argmax(axis=1)), 1)
    curves = [1] if len(labels) == 2 else range(len(labels))
    return {
        **found,
        "confusion": confusion.tolist(),
        "roc": [_roc(targets == c, predictions[:, c], labels[c]) for c in curves],
        "calibration": _bins(targets, predictions),
        "ece": scaled.ece and scaled.ece[0],
    }


def calibration(
    validated: Sequence[Validated], labelled: Examples, targets: np.ndarray, predictions: np.ndarray
) -> Calibration:
    """Temperature scaling fitted on the out-of-fold predictions of all seeds, measured on test predictions."""
    parts = [v.out_of_fold for v in validated]
    seen = np.concatenate([labelled.targets[rows].numpy() for rows, _ in parts])
    said = np.concatenate([p for _, p in parts])
    return Calibration.of((seen, said), (targets, predictions), len(parts[0][0]))


def groups(finals: Sequence[Final], task: Task, test: Examples, names: Sequence[str] = ()) -> dict[str, Any]:
    """The primary metric of each group of test rows, worst first, averaged over seeds.

    Intervals are simultaneous over the groups (Bonferroni), since the worst of many looks bad by chance. Groups of
    fewer than 20 rows, or where the metric is undefined, are counted and not scored.
    """
    if test.groups is None:
        return {}
    numbers = test.groups.numpy()
    found, sizes = np.unique(numbers, return_counts=True)
    large = [int(g) for g, n in zip(found, sizes, strict=True) if n >= GROUP_ROWS]
    if len(large) < 2:
        return {}
    metric, targets = task.metrics[0], test.targets.numpy()
    units = np.arange(len(test)) if test.units is None else test.units.numpy()
    rows: list[dict[str, Any]] = []
    for group in large:
        here = numbers == group
        inside = units[here] if len(np.unique(units[here])) > 1 else np.arange(int(here.sum()))
        draws = Resamples.draw(inside, len(finals))
        scores = Scores.of(metric, targets[here], [f.predictions[here] for f in finals], draws)
        estimate = scores.estimate(1 - ALPHA / len(large))
        if np.isfinite(estimate.mean):
            name = names[group] if group < len(names) else f"group {group}"
            interval = [estimate.low, estimate.high]
            rows.append({"group": name, "rows": int(here.sum()), "mean": estimate.mean, "interval": interval})
    rows.sort(key=lambda row: row["mean"] if metric.higher_is_better else -row["mean"])
    return {"groups": rows[:MOST_GROUPS], "groups_unscored": len(found) - len(rows)} if rows else {}


def _roc(positive: np.ndarray, scores: np.ndarray, label: str) -> dict[str, Any]:
    from sklearn.metrics import roc_auc_score, roc_curve

    if positive.all() or not positive.any():
        return {"label": label, "points": [], "auroc": None}
    rates, hits, _ = roc_curve(positive, scores)
    keep = np.unique(np.linspace(0, len(rates) - 1, ROC_POINTS).astype(int))
    points = [[float(rates[i]), float(hits[i])] for i in keep]
    return {"label": label, "points": points, "auroc": float(roc_auc_score(positive, scores))}


def _bins(targets: np.ndarray, predictions: np.ndarray) -> list[dict[str, Any]]:
    confidence, right = predictions.max(axis=1), predictions.argmax(axis=1) == targets
    number = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
    return [
        {
            "predicted": float(confidence[number == b].mean()),
            "observed": float(right[number == b].mean()),
            "count": int((number == b).sum()),
        }
        for b in range(BINS)
        if (number == b).any()
    ]
