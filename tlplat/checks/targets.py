"""Targets against rows: classes that are too small, labels that look wrong, inputs that give the target away."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from tlplat.checks import Issue
from tlplat.data.examples import Examples
from tlplat.data.splits import FOLDS, partition
from tlplat.tabular import TableInputs
from tlplat.tasks.base import Task

FEW = 10
"""Labelled rows below which a class is told to be small."""
GIVEN_AWAY = 0.999
"""AUROC, or absolute correlation, at which one input is taken for the target."""
DOUBTED = 0.25
"""Probability of a row's own class up to which its label is said to look wrong."""
LEAST = 30


def small_classes(labelled: Examples, task: Task) -> Iterator[Issue]:
    """Classes with few labelled rows."""
    labels = task.info().labels
    if not labels or labelled.targets.ndim != 1 or labelled.targets.is_floating_point():
        return
    counts = torch.bincount(labelled.targets, minlength=len(labels)).tolist()
    small = {name: count for name, count in zip(labels, counts, strict=True) if count < FEW}
    if small:
        yield Issue(
            "small_classes",
            "warning",
            f"{len(small)} of {len(labels)} classes have fewer than {FEW} labelled rows: {', '.join(small)}",
            "label more rows of these classes, or join classes; scores of a class rest on its rows alone",
            figures={"rows": small},
        )


def label_errors(labelled: Examples, features: Tensor, task: Task) -> Iterator[Issue]:
    """Labels that a head on frozen features, fitted without the row, is confident against (Northcutt et al. 2021).

    cleanlab's filter on out-of-fold probabilities, and of its rows those whose own class has at most :data:`DOUBTED`:
    where classes overlap, others are in doubt by nature. Where cleanlab is not installed a note says so.
    """
    info = task.info()
    if not {"fit_head", "probabilities"} <= info.offers or labelled.targets.ndim != 1 or len(labelled) < LEAST:
        return
    if importlib.util.find_spec("cleanlab") is None:
        yield Issue(
            "label_errors",
            "note",
            "labels were not checked: cleanlab is not installed",
            "pip install 'tlplat[check]' and check again",
        )
        return
    from cleanlab.filter import find_label_issues

    said = out_of_fold(labelled, features, task)
    y = labelled.targets.numpy()
    wrong = find_label_issues(y, said, return_indices_ranked_by="self_confidence", filter_by="both", n_jobs=1)
    wrong = [int(i) for i in wrong if said[i, y[i]] <= DOUBTED]
    if wrong:
        yield Issue(
            "label_errors",
            "warning",
            f"{len(wrong)} of {len(labelled)} labels are doubtful: the other rows speak for another class",
            "look at these rows, the most doubtful first: some are wrong, some merely rare where classes overlap; "
            "--clean leaves them out of training",
            rows=[f"{labelled.ids[i]}: rather {info.labels[int(said[i].argmax())]}" for i in wrong],
            left_out=wrong,
        )


def out_of_fold(labelled: Examples, features: Tensor, task: Task) -> np.ndarray:
    """Probabilities (n, classes) of each labelled row by a head that was fitted without its fold."""
    found = np.zeros((len(labelled), task.info().outputs))
    for fold in partition(labelled, 0, task, FOLDS):
        settled = task.settled(labelled.targets[fold.train])
        head = settled.fit_head(features[fold.train], labelled.targets[fold.train], {})
        found[fold.validation] = settled.decode(features[fold.validation] @ head.weight.T + head.bias)
    return found


def given_away(pool: Examples, task: Task) -> Iterator[Issue]:
    """Inputs that tell the target all by themselves: a copy of it, or what was measured later."""
    columns = _columns(pool)
    y = task.regressands(pool.targets)
    if columns is None or y is None or y.ndim != 1 or len(pool) < LEAST:
        return
    classes = not y.is_floating_point()
    told = {}
    for name, values in columns.items():
        known = np.isfinite(values)
        if known.sum() < LEAST or np.ptp(values[known]) == 0:
            continue
        score = _separates(values[known], y.numpy()[known]) if classes else _correlates(values[known], y.numpy()[known])
        if score >= GIVEN_AWAY:
            told[name] = round(score, 5)
    if told:
        yield Issue(
            "target_in_inputs",
            "warning",
            f"{len(told)} inputs tell the target all by themselves: {', '.join(list(told)[:10])}",
            "leave them out if they are not known when a prediction is wanted (copies, later measurements)",
            "both",
            figures={"auroc" if classes else "correlation": told},
        )


def _columns(pool: Examples) -> dict[str, np.ndarray] | None:
    """Numbers of each input by its name, where rows are tables."""
    if isinstance(pool.inputs, TableInputs):
        table = pool.inputs.table
        return {name: v.astype(np.float64) for name, v in table.items() if v.dtype.kind in "fiub"}
    taken = pool.inputs.take(torch.arange(len(pool)))
    if isinstance(taken, Tensor) and taken.ndim == 2 and taken.is_floating_point():
        return {f"input {i + 1}": column for i, column in enumerate(taken.double().numpy().T)}
    return None


def _separates(values: np.ndarray, targets: np.ndarray) -> float:
    """The least AUROC, in either direction, of the values for any class against the others."""
    from scipy.stats import rankdata

    ranks, least = rankdata(values), 1.0
    names = np.unique(targets)
    for name in names[:1] if len(names) == 2 else names:
        inside = targets == name
        n, m = int(inside.sum()), int((~inside).sum())
        if min(n, m) < 5:
            return 0.0
        area = (ranks[inside].sum() - n * (n + 1) / 2) / (n * m)
        least = min(least, max(area, 1 - area))
    return float(least) if len(names) > 1 else 0.0


def _correlates(values: np.ndarray, targets: np.ndarray) -> float:
    return float(abs(np.corrcoef(values, targets)[0, 1])) if np.ptp(targets) > 0 else 0.0
