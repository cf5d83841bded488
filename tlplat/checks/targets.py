"""Targets against rows: classes that are too small, labels that look wrong, inputs that give the target away."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tlplat.calibration import apply_temperature, fit_temperature
from tlplat.checks import Issue
from tlplat.data.examples import Examples
from tlplat.data.splits import FOLDS, partition
from tlplat.tabular import TableInputs
from tlplat.tasks.base import Task

FEW = 10
"""Labelled rows below which a class is told to be small; more where counts of so few must not be told apart."""
GIVEN_AWAY = 0.999
"""AUROC, or absolute correlation, at which one input is taken for the target."""
DOUBTED = 0.25
"""Probability of a row's own class up to which its label is said to look wrong."""
BY_CHANCE = 0.5
"""Share of the labels that are left out which may be right, and only rare where classes overlap."""
LEAST = 30
SKEWED = 10
"""How many times as many rows one class has as another where they are said to be out of balance."""


def small_classes(labelled: Examples, task: Task) -> Iterator[Issue]:
    """Classes with few labelled rows; labels that few rows have, or lack, where rows have any number."""
    info, rows = task.info(), _rows_of_each(labelled, task)
    several = bool(info.options.get("multi_label"))
    few = max(FEW, info.options.get("least", 1))
    counts = {name: min(n, len(labelled) - n) if several else n for name, n in rows.items()}
    small = {name: count for name, count in counts.items() if count < few}
    what = "labels have, or lack," if several else "classes have"
    if small:
        yield Issue(
            "small_classes",
            "warning",
            f"{len(small)} of {len(info.labels)} {what} fewer than {few} labelled rows: {', '.join(small)}",
            "label more rows of these classes (of a demo: --labels), or join classes; their scores rest on few rows",
            figures={"rows": small},
        )


def imbalance(labelled: Examples, task: Task) -> Iterator[Issue]:
    """A class of which there are many times as many rows as of another; labels that hardly a row has."""
    options, counts = task.info().options, _rows_of_each(labelled, task)
    if not counts or "balance" in options:
        return
    several = bool(options.get("multi_label"))
    most = max(counts, key=counts.__getitem__)
    whole = len(labelled) if several else counts[most]
    rare = [name for name, count in counts.items() if count * SKEWED <= whole]
    if not rare:
        return
    tens = 10 * counts[most] // len(labelled)
    told = f"; to say {most} always is right for {tens}0 % of the rows and more" if tens >= 5 else ""
    if several:
        told = "; a label is predicted from a probability of 0.5 on, which these hardly reach"
    yield Issue(
        "imbalance",
        "note",
        f"{len(rare)} of {len(counts)} {'labels stand at' if several else 'classes have'} "
        f"{f'one row in {SKEWED}' if several else f'a tenth of the rows of {most}'}, or fewer: "
        f"{', '.join(rare)}{told}",
        "where rare ones matter as much: --balance predicts as if all were equally frequent, and "
        f"--metric {'macro_f1' if several else 'balanced_accuracy'} measures that",
        figures={"rows": counts},
    )


def _rows_of_each(labelled: Examples, task: Task) -> dict[str, int]:
    """Labelled rows of each class, or with each label; empty where the task has neither."""
    info, targets = task.info(), labelled.targets
    several = bool(info.options.get("multi_label"))
    if not info.labels or (not several and (targets.ndim != 1 or targets.is_floating_point())):
        return {}
    counts = targets.sum(dim=0).long() if several else torch.bincount(targets, minlength=len(info.labels))
    return dict(zip(info.labels, counts.tolist(), strict=True))


def label_errors(labelled: Examples, features: Tensor, task: Task) -> Iterator[Issue]:
    """Labels that a head on frozen features, fitted without the row, is confident against (Northcutt et al. 2021).

    Where rows have any number of labels, each label is a question of its own. ``left_out`` are those alone that chance
    does not explain (:class:`Doubts`). Where cleanlab is not installed a note says so.
    """
    info, targets = task.info(), labelled.targets.numpy()
    several = bool(info.options.get("multi_label"))
    if not {"fit_head", "probabilities"} <= info.offers or targets.ndim != 1 + several or len(labelled) < LEAST:
        return
    if importlib.util.find_spec("cleanlab") is None:
        yield Issue(
            "label_errors",
            "note",
            "labels were not checked: cleanlab is not installed",
            "pip install 'tlplat[check]' and check again",
        )
        return
    said = out_of_fold(labelled, features, task.unbalanced())
    doubts = doubts_of_sets(targets, said) if several else doubts_of(targets, said)
    if doubts.named:
        named = [f"{'not ' if several and targets[i, c] else ''}{info.labels[c]}" for i, c in doubts.named]
        rows = list(dict.fromkeys(i for i, _ in doubts.named))
        many = f"{len(doubts.named)} labels of {len(rows)}" if several else len(rows)
        yield Issue(
            "label_errors",
            "warning",
            f"{many} of {len(labelled)} {'rows' if several else 'labels'} are doubtful: the other rows speak for "
            f"{'the contrary' if several else 'another class'}; where classes overlap, chance alone explains "
            f"{min(doubts.expected, len(doubts.named)):.0f} of them",
            "look at these rows, the most doubtful first: some are wrong, some merely rare where classes overlap; "
            f"--clean leaves {len(doubts.sure)} rows that chance does not explain out of training",
            rows=[f"{labelled.ids[i]}: rather {what}" for (i, _), what in zip(doubts.named, named, strict=True)],
            figures={"expected_by_chance": round(doubts.expected, 2)},
            left_out=doubts.sure,
        )


@dataclass(frozen=True)
class Doubts:
    """Labels that look wrong.

    Attributes:
        named: (row, the class that others speak for, or the label that is wrongly there or not), the most doubtful
            first: cleanlab's, of which the label has at most :data:`DOUBTED`.
        sure: rows among them below the line up to which :data:`BY_CHANCE` of all labels, at most, are what would be
            there if each label were drawn by its row's probabilities: a false discovery rate (Benjamini & Hochberg
            1995; with the exact distribution of each row, Heyse 2011).
        expected: how many labels up to the last one named there would be by chance.
    """

    named: list[tuple[int, int]]
    sure: list[int]
    expected: float


def doubts_of(y: np.ndarray, said: np.ndarray) -> Doubts:
    """Of classes y (n,), by probabilities (n, classes) of heads that did not see the row.

    What chance explains is told by probabilities at the temperature of least loss, so that they mean what they say (Guo
    et al. 2017).
    """
    from cleanlab.filter import find_label_issues

    found = find_label_issues(y, said, return_indices_ranked_by="self_confidence", filter_by="both", n_jobs=1)
    named = [int(i) for i in found if said[i, y[i]] <= DOUBTED]
    honest = apply_temperature(said, fit_temperature(y, said))
    own, every = honest[np.arange(len(y)), y], np.sort(honest.ravel())
    by_chance = np.r_[0.0, np.cumsum(every)][np.searchsorted(every, own, side="right")]
    below = np.searchsorted(np.sort(own), own, side="right")
    passed = own[by_chance <= BY_CHANCE * below]
    line = passed.max() if len(passed) else -1.0
    sure = [i for i in named if own[i] <= line]
    return Doubts([(i, int(said[i].argmax())) for i in named], sure, float(by_chance[named].max()) if named else 0.0)


def doubts_of_sets(targets: np.ndarray, said: np.ndarray) -> Doubts:
    """Of sets (n, c), by probabilities (n, c)."""
    found: list[tuple[float, int, int]] = []
    sure: set[int] = set()
    expected = 0.0
    for c in range(targets.shape[1]):
        y, both = targets[:, c].astype(np.int64), np.stack([1 - said[:, c], said[:, c]], axis=1)
        if len(np.unique(y)) < 2:
            continue
        doubts = doubts_of(y, both)
        found += [(float(both[i, y[i]]), i, c) for i, _ in doubts.named]
        sure.update(doubts.sure)
        expected += doubts.expected
    named = [(i, c) for _, i, c in sorted(found)]
    return Doubts(named, [i for i in dict.fromkeys(i for i, _ in named) if i in sure], expected)


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
    several = bool(task.info().options.get("multi_label"))
    if columns is None or y is None or y.ndim != 1 + several or len(pool) < LEAST:
        return
    classes = several or not y.is_floating_point()
    asked = dict(zip(task.info().labels, y.numpy().T, strict=True)) if several else {"": y.numpy()}
    told = {}
    for name, values in columns.items():
        known = np.isfinite(values)
        if known.sum() < LEAST or np.ptp(values[known]) == 0:
            continue
        for label, each in asked.items():
            score = (_separates if classes else _correlates)(values[known], each[known])
            if score >= GIVEN_AWAY:
                told[f"{name} ({label})" if several else name] = round(score, 5)
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
