"""How source and target differ: in the rows (covariate), in how frequent labels are, or in what they mean."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor

from tlplat.checks import Issue
from tlplat.data.examples import Examples
from tlplat.model import SourceModel
from tlplat.tasks.base import Task

APART = 0.65
"""AUROC of telling source and target rows apart from which the rows are said to differ."""
SHIFTED = 0.1
"""Total variation distance of label frequencies from which they are said to differ (and by a test at 0.001)."""
LOST = 0.15
"""Accuracy lost beyond what the rows explain from which labels are said to mean something else."""
MOST = 1000
LEAST = 30


def drift(
    source_rows: Examples, source: Tensor, target_rows: Examples, target: Tensor, model: SourceModel, task: Task
) -> Iterator[Issue]:
    """Notes on each shift that is found.

    Args:
        source, target: frozen features (n, d) of the rows. target_rows: the labelled rows.
    """
    if min(len(source), len(target)) < LEAST:
        return
    few_source, few_target = _few(len(source), 0), _few(len(target), 1)
    z, t = source[few_source].double().numpy(), target[few_target].double().numpy()
    area, weights = _told_apart(z, t)
    if area >= APART:
        yield _note(
            "covariate_shift",
            f"source and target rows differ (covariate shift): told apart with AUROC {area:.2f}",
            "strategies that align the two (deep_coral, dann, adabn) may help; unlabelled rows of the target do too",
            {"auroc": round(area, 3)},
        )
    info = task.info()
    same = model.task is not None and model.task.labels == info.labels and bool(info.labels)
    if not same or source_rows.targets.ndim != 1 or target_rows.targets.ndim != 1:
        return
    ours, theirs = target_rows.targets.numpy(), source_rows.targets.numpy()
    yield from _label_shift(theirs, ours, info.labels)
    if model.head is not None:
        weight, bias = (model.head[k].double().numpy() for k in ("weight", "bias"))
        right = [(x @ weight.T + bias).argmax(axis=1) == y for x, y in ((z, theirs[few_source]), (t, ours[few_target]))]
        yield from _concept_shift(right[0], weights, right[1])


def _few(count: int, seed: int) -> np.ndarray:
    """At most :data:`MOST` row numbers, in order."""
    chosen = np.random.default_rng(seed).choice(count, min(count, MOST), replace=False)
    return np.sort(chosen)


def _told_apart(source: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
    """Cross-validated AUROC of a logistic regression that tells target from source, and its weights of the source rows.

    A source row weighs p(target | row) / p(source | row), so that the source looks like the target (Shimodaira 2000;
    Bickel et al. 2009).
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = np.concatenate([source, target]), np.r_[np.zeros(len(source)), np.ones(len(target))]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300, class_weight="balanced"))
    said = cross_val_predict(model, x, y, cv=5, method="predict_proba")[:, 1]
    odds = np.clip(said / np.maximum(1 - said, 1e-6), 0, 20)[: len(source)]
    return float(roc_auc_score(y, said)), odds


def _label_shift(source: np.ndarray, target: np.ndarray, labels: tuple[str, ...]) -> Iterator[Issue]:
    from scipy.stats import chi2_contingency

    counts = np.stack([np.bincount(part, minlength=len(labels)) for part in (source, target)])
    kept = counts[:, counts.sum(axis=0) > 0]
    if kept.shape[1] < 2:
        return
    shares = counts / counts.sum(axis=1, keepdims=True)
    distance = float(np.abs(shares[0] - shares[1]).sum() / 2)
    if distance >= SHIFTED and chi2_contingency(kept).pvalue < 0.001:
        figures = {name: [round(float(a), 3), round(float(b), 3)] for name, a, b in zip(labels, *shares, strict=True)}
        yield _note(
            "label_shift",
            f"labels are not as frequent in the target as in the source (label shift, {100 * distance:.0f} %)",
            "read zero_shot with care: the source's own head expects the source's frequencies",
            {"source_target": figures},
        )


def _concept_shift(source: np.ndarray, weights: np.ndarray, target: np.ndarray) -> Iterator[Issue]:
    """Where the source's head is right less often than on source rows that are weighted to look like the target's."""
    expected = float((weights * source).sum() / weights.sum())
    seen = float(target.mean())
    size = weights.sum() ** 2 / (weights**2).sum()
    error = float(np.sqrt(expected * (1 - expected) / size + seen * (1 - seen) / len(target)))
    if expected - seen > max(LOST, 3 * error):
        yield _note(
            "concept_shift",
            f"the source's own head is right on {100 * seen:.0f} % of the labelled rows, and on {100 * expected:.0f} % "
            "of source rows that are like them: labels may mean something else here (concept shift)",
            "check that labels mean the same on both sides, and their order; zero_shot and pulled_probe will not help",
            {"expected": round(expected, 3), "seen": round(seen, 3)},
        )


def _note(kind: str, message: str, fix: str, figures: dict[str, Any]) -> Issue:
    return Issue(kind, "note", message, fix, "source", figures=figures)


__all__ = ["drift"]
