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


def set_facts(targets: Tensor, labels: Sequence[str], least: int = 1) -> dict[str, Any]:
    """``classes``: rows with each label. ``labels_a_row``: rows with so many.

    Above 1, no count of fewer than ``least`` rows can be told from them: ``labels_a_row`` is left out, since beside the
    labels' own counts it gives away how many rows share some.
    """
    counts = targets.sum(dim=0).long().tolist()
    facts = {"classes": {name: told(n, len(targets), least) for name, n in zip(labels, counts, strict=True)}}
    if least > 1:
        return facts
    sizes, rows = torch.unique(targets.sum(dim=1).long(), return_counts=True)
    return {**facts, "labels_a_row": {str(size): n for size, n in zip(sizes.tolist(), rows.tolist(), strict=True)}}


def told(count: int, rows: int, least: int) -> int | str:
    """``count`` of ``rows``; as text where it, or what is left of the rows, is from 1 to below ``least``."""
    if 0 < count < least:
        return f"< {least}"
    return f"more than {rows - least}" if 0 < rows - count < least else count


def common(targets: np.ndarray, least: int) -> list[int]:
    """Which of the labels (n, c) ``least`` rows or more have, and as many have not."""
    counts = (targets > 0).sum(axis=0)
    found: list[int] = np.flatnonzero(np.minimum(counts, len(targets) - counts) >= least).tolist()
    return found


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


def check_counts(targets: Tensor, labels: Sequence[str], least: int = 1) -> None:
    """Refuse (TL-DATA-CLASS-SMALL) labels without two rows that have them and two that have not.

    ``least``: no count of fewer rows is told.
    """
    n = len(targets)
    few = [(name, int(c)) for name, c in zip(labels, targets.sum(dim=0), strict=True) if min(c, n - c) < 2]
    if few:
        raise DataError(
            "TL-DATA-CLASS-SMALL",
            f"{len(few)} of {len(labels)} labels stand at fewer than 2 rows, or at all but 1 or 0, of {n} labelled "
            "rows; each must be learnt from 2 rows with it and 2 without",
            findings=[Finding(f"at {told(c, n, least)} of {n} rows", f"label {name!r}") for name, c in few],
            fix="label more rows, raise --labels, or leave these labels out of the data",
        )


def label_table(targets: np.ndarray, predictions: np.ndarray, labels: Sequence[str], least: int = 1) -> dict[str, Any]:
    """Each label alone, the rarest last, and their mean: a table for the report.

    A label of fewer than ``least`` test rows, or of which all but so few are, has no figures, and one of which so few
    are predicted rightly, or wrongly, has no precision, recall and F1. One that is never predicted has no precision. A
    figure that a label lacks, the mean lacks too.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    hard, rows, n = predictions >= 0.5, [], len(targets)
    shown = common(targets, least)
    for c in np.argsort(-targets.sum(axis=0), kind="stable").tolist():
        y, said = targets[:, c] > 0, hard[:, c]
        count = int(y.sum())
        if c not in shown:
            rows.append([labels[c], told(count, n, least), *[None] * 5])
            continue
        hits, guessed = int((y & said).sum()), int(said.sum())
        scores = [float(score(y, predictions[:, c])) for score in (roc_auc_score, average_precision_score)]
        cells = (hits, count - hits, guessed - hits, n - count - guessed + hits)
        at_half: list[float | None] = [None] * 3
        if not any(0 < cell < least for cell in cells):
            at_half = [hits / guessed if guessed else None, hits / count, 2 * hits / (count + guessed)]
        rows.append([labels[c], count, *scores, *at_half])
    scored = [row[2:] for row in rows if row[2] is not None]
    mean = [None if None in column else float(np.mean(column)) for column in zip(*scored, strict=True)]
    exact = int((hard == (targets > 0)).all(axis=1).sum())
    sentences = ["Precision, recall and F1 are of the labels predicted, those of a probability of 0.5 and above."]
    if not 0 < min(exact, n - exact) < least:
        sentences.append(f"The predicted labels are exactly the row's own in {100 * exact / n:.0f} % of {n} test rows.")
    if least > 1:
        sentences.append(
            f"Figures that would tell of fewer than {least} rows, rightly or wrongly predicted, are left out; the mean "
            "is of the labels with figures."
        )
    return {
        "title": "Labels",
        "columns": ["label", "test rows with it", "AUROC", "average precision", "precision", "recall", "F1"],
        "rows": [*rows, ["mean of the labels", "", *(mean or [None] * 5)]],
        "caption": " ".join(sentences),
    }
