"""Targets (n, c) of rows with any number of labels: what is wrong with them, and how each label fares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tlplat.errors import DataError, Finding
from tlplat.tasks.base import Task


def labels_card(task: Task, targets: Tensor) -> dict[str, Any]:
    """What a data card says of several labels a row: rows with each, and how many rows have so many; else nothing."""
    if not task.info().options.get("multi_label"):
        return {}
    facts = task.facts(targets)
    return {"rows_by_label": facts["classes"], "rows_by_labels_a_row": facts["labels_a_row"]}


def set_facts(targets: Tensor, labels: Sequence[str]) -> dict[str, Any]:
    """``classes``: rows with each label. ``labels_a_row``: rows with so many."""
    sizes, rows = torch.unique(targets.sum(dim=1).long(), return_counts=True)
    return {
        "classes": dict(zip(labels, targets.sum(dim=0).long().tolist(), strict=True)),
        "labels_a_row": {str(size): n for size, n in zip(sizes.tolist(), rows.tolist(), strict=True)},
    }


def check_sets(targets: Tensor, ids: Sequence[str], labels: int) -> None:
    """Refuse (TL-DATA-LABEL-RANGE) what is not (n, ``labels``) zeros and ones."""
    if targets.ndim != 2 or targets.shape[1] != labels:
        raise DataError(
            "TL-DATA-LABEL-RANGE",
            f"targets of {labels} labels have shape {tuple(targets.shape)}",
            expected=f"(rows, {labels})",
            fix="give one column of zeros and ones a label",
        )
    wrong = torch.nonzero(((targets != 0) & (targets != 1)).any(dim=1)).flatten().tolist()
    if wrong:
        raise DataError(
            "TL-DATA-LABEL-RANGE",
            f"{len(wrong)} of {len(targets)} rows hold something else than zeros and ones",
            findings=[Finding("neither 0 nor 1", f"row {i} ({ids[i]})") for i in wrong],
            fix="write 1 where a row has the label and 0 where it has not",
        )


def check_counts(targets: Tensor, labels: Sequence[str]) -> None:
    """Refuse (TL-DATA-CLASS-SMALL) labels without two rows that have them and two that have not."""
    n = len(targets)
    few = [(name, int(c)) for name, c in zip(labels, targets.sum(dim=0), strict=True) if min(c, n - c) < 2]
    if few:
        raise DataError(
            "TL-DATA-CLASS-SMALL",
            f"{len(few)} of {len(labels)} labels stand at fewer than 2 rows, or at all but 1 or 0, of {n} labelled "
            "rows; each must be learnt from 2 rows with it and 2 without",
            findings=[Finding(f"at {c} of {n} rows", f"label {name!r}") for name, c in few],
            fix="label more rows, raise --labels, or leave these labels out of the data",
        )


def label_table(targets: np.ndarray, predictions: np.ndarray, labels: Sequence[str], least: int = 1) -> dict[str, Any]:
    """Each label alone, the rarest last, and their mean: a table for the report.

    A label of fewer than ``least`` test rows, or of which all but so few are, has no figures; one that is never
    predicted has no precision, and then neither has the mean.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    hard, rows, n = predictions >= 0.5, [], len(targets)
    for c in np.argsort(-targets.sum(axis=0), kind="stable").tolist():
        y, said = targets[:, c] > 0, hard[:, c]
        count = int(y.sum())
        if min(count, n - count) < least:
            few = f"< {least}" if 0 < count < least else f"more than {n - least}" if 0 < n - count < least else count
            rows.append([labels[c], few, *[None] * 5])
            continue
        hits = int((y & said).sum())
        precision = hits / int(said.sum()) if said.any() else None
        scores = [float(score(y, predictions[:, c])) for score in (roc_auc_score, average_precision_score)]
        f1 = 2 * hits / (count + int(said.sum()))
        rows.append([labels[c], count, *scores, precision, hits / count, f1])
    scored = [row[2:] for row in rows if row[2] is not None]
    mean = [None if None in column else float(np.mean(column)) for column in zip(*scored, strict=True)]
    right = float((hard == (targets > 0)).all(axis=1).mean())
    return {
        "title": "Labels",
        "columns": ["label", "test rows with it", "AUROC", "average precision", "precision", "recall", "F1"],
        "rows": [*rows, ["mean of the labels", "", *(mean or [None] * 5)]],
        "caption": "Precision, recall and F1 are of the labels predicted, those of a probability of 0.5 and above. "
        f"The predicted labels are exactly the row's own in {100 * right:.0f} % of {n} test rows.",
    }
