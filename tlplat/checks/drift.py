"""How source and target differ: in the rows (covariate), in how frequent labels are, or in what they mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tlplat.checks import Issue
from tlplat.data.columns import TableEncoder
from tlplat.data.examples import Examples, Inputs
from tlplat.metrics import accuracy_rows
from tlplat.model import SourceModel
from tlplat.tabular import TableInputs
from tlplat.tasks.base import Task

APART = 0.65
"""AUROC of telling source and target rows apart from which the rows are said to differ."""
TOO_FAR = 0.85
"""AUROC from which hardly any source row is like the target's, so that nothing is said of what labels mean."""
SHIFTED = 0.1
"""Total variation distance of label frequencies from which they are said to differ (and by a test at 0.001)."""
LOST = 0.15
"""Accuracy lost beyond what the rows explain from which labels are said to mean something else."""
MOVED = 0.5
"""Deviations of the source between a column's means from which the column is said to lie elsewhere."""
MOST = 1000
LEAST = 30


def drift(
    source_rows: Examples, target_rows: Examples, features: Callable[[Inputs], Tensor], model: SourceModel, task: Task
) -> Iterator[Issue]:
    """Notes on each shift that is found.

    Args:
        target_rows: the labelled rows. features: frozen features (n, d) of rows; at most :data:`MOST` of each side.
    """
    if min(len(source_rows), len(target_rows)) < LEAST:
        return
    few_source, few_target = _few(source_rows, 0), _few(target_rows, 1)
    z, t = (features(rows.inputs).double().numpy() for rows in (few_source, few_target))
    area, weights = _told_apart(z, t)
    if area >= APART:
        yield _note(
            "covariate_shift",
            f"source and target rows differ (covariate shift): features tell them apart with AUROC {area:.2f} (0.5 is "
            "guessing)",
            "nothing needs to be mended; strategies that align the two (deep_coral, dann, adabn) may help, and so may "
            "unlabelled rows of the target (--unlabeled)",
            {"auroc": round(area, 3)},
        )
    info = task.info()
    same = model.task is not None and task.takes_head(model.task) and model.task.labels == info.labels
    sides = 1 + bool(info.options.get("multi_label"))
    if not (same and info.labels) or {source_rows.targets.ndim, target_rows.targets.ndim} != {sides}:
        return
    ours, theirs = target_rows.targets.numpy(), source_rows.targets.numpy()
    yield from _label_shift(theirs, ours, info.labels) if sides == 1 else _shift_of_sets(theirs, ours, info.labels)
    if model.head is not None and area < TOO_FAR:
        weight, bias = (model.head[k].double().numpy() for k in ("weight", "bias"))
        pairs = ((z, few_source.targets.numpy()), (t, few_target.targets.numpy()))
        right = [accuracy_rows(y, task.decode(torch.from_numpy(x @ weight.T + bias))) for x, y in pairs]
        yield from _concept_shift(right[0], weights, right[1], "labels of the" if sides > 1 else "the")


def drift_from_statistics(target_rows: Examples, model: SourceModel) -> Iterator[Issue]:
    """Columns of a table that lie elsewhere than the source's, where nothing but the source's statistics is at hand.

    Its preprocessing keeps mean and deviation of every column of numbers (:class:`TableEncoder`); of other rows, and of
    labels, nothing is known, and a note says so.
    """
    unknown = "label and concept shift need the source's labelled rows"
    if not isinstance(target_rows.inputs, TableInputs) or "columns" not in model.preprocess:
        yield _note(
            "drift_unchecked",
            f"how the target differs from the source is not known: no rows of {model.name} are at hand",
            "nothing needs to be done; a source that a domain's demo brings, lends its rows",
            {},
        )
        return
    moved: dict[str, float] = {}
    for column in TableEncoder.from_json(model.preprocess["columns"]).columns:
        values = target_rows.inputs.table.get(column.name)
        if column.kind != "numeric" or values is None or len(values) < LEAST:
            continue
        place = column.encode(values, len(values))[:, 0]
        if np.isfinite(values.astype(np.float64)).sum() >= LEAST and abs(float(place.mean())) >= MOVED:
            moved[column.name] = round(float(place.mean()), 2)
    if moved:
        yield _note(
            "covariate_shift",
            f"{len(moved)} columns lie elsewhere than in the source (covariate shift), by its means and deviations: "
            f"{', '.join(list(moved)[:10])}; {unknown}",
            "check units and coding of these columns; strategies that adapt layers may help more than a probe",
            {"deviations": moved},
        )
    else:
        yield _note(
            "drift_unchecked",
            f"no column's mean lies {MOVED} deviations from the source's; {unknown}, which are not at hand",
            "nothing needs to be done",
            {},
        )


def _few(rows: Examples, seed: int) -> Examples:
    """At most :data:`MOST` of the rows, in order."""
    if len(rows) <= MOST:
        return rows
    chosen = np.random.default_rng(seed).choice(len(rows), MOST, replace=False)
    return rows.select(torch.from_numpy(np.sort(chosen)))


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


def _shift_of_sets(source: np.ndarray, target: np.ndarray, labels: tuple[str, ...]) -> Iterator[Issue]:
    """Labels (n, c) whose share of rows differs, each by a test at 0.001 over their number."""
    from scipy.stats import chi2_contingency

    moved = {}
    for c, name in enumerate(labels):
        counts = np.array([[(part[:, c] > 0).sum(), (part[:, c] <= 0).sum()] for part in (source, target)])
        first, second = counts[:, 0] / counts.sum(axis=1)
        if abs(first - second) < SHIFTED or not counts.sum(axis=0).all():
            continue
        if chi2_contingency(counts).pvalue < 0.001 / len(labels):
            moved[name] = [round(float(first), 3), round(float(second), 3)]
    if moved:
        yield _note(
            "label_shift",
            f"{len(moved)} labels are not as frequent in the target as in the source (label shift): {', '.join(moved)}",
            "read zero_shot with care: the source's own head expects the source's frequencies",
            {"source_target": moved},
        )


def _concept_shift(source: np.ndarray, weights: np.ndarray, target: np.ndarray, of: str) -> Iterator[Issue]:
    """Where the source's head is right less often than on source rows that are weighted to look like the target's."""
    expected = float((weights * source).sum() / weights.sum())
    seen = float(target.mean())
    size = weights.sum() ** 2 / (weights**2).sum()
    error = float(np.sqrt(expected * (1 - expected) / size + seen * (1 - seen) / len(target)))
    if expected - seen > max(LOST, 3 * error):
        yield _note(
            "concept_shift",
            f"the source's own head is right on {100 * seen:.0f} % of {of} labelled rows, and on "
            f"{100 * expected:.0f} % of {of} source rows that are like them: labels may mean something else here "
            "(concept shift)",
            "check that labels mean the same on both sides, and their order; zero_shot and pulled_probe will not help",
            {"expected": round(expected, 3), "seen": round(seen, 3)},
        )


def _note(kind: str, message: str, fix: str, figures: dict[str, Any]) -> Issue:
    return Issue(kind, "note", message, fix, "source", figures=figures)
