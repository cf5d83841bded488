"""Targets against rows: classes that are too small, labels that look wrong, inputs that give the target away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
"""Labelled rows below which a class is told to be small."""
GIVEN_AWAY = 0.999
"""AUROC, or absolute correlation, at which one input is taken for the target."""
BY_CHANCE = 0.5
"""Share of the labels that look wrong which may be right, and only rare where classes overlap."""
LEAST, MANY = 30, 200


def small_classes(labelled: Examples, task: Task) -> Iterator[Issue]:
    """Classes with few labelled rows; labels that few rows have, or lack, where rows have any number."""
    info, targets = task.info(), labelled.targets
    several = bool(info.options.get("multi_label"))
    if not info.labels or (not several and (targets.ndim != 1 or targets.is_floating_point())):
        return
    with_it = targets.sum(dim=0).long() if several else torch.bincount(targets, minlength=len(info.labels))
    counts = torch.minimum(with_it, len(targets) - with_it) if several else with_it
    small = {name: count for name, count in zip(info.labels, counts.tolist(), strict=True) if count < FEW}
    what = "labels have, or lack," if several else "classes have"
    if small:
        yield Issue(
            "small_classes",
            "warning",
            f"{len(small)} of {len(info.labels)} {what} fewer than {FEW} labelled rows: {', '.join(small)}",
            "label more rows of these classes (of a demo: --labels), or join classes; their scores rest on few rows",
            figures={"rows": small},
        )


def label_errors(labelled: Examples, features: Tensor, task: Task) -> Iterator[Issue]:
    """Labels that are less likely than overlapping classes explain, as a head on frozen features sees it.

    Where rows have any number of labels, each label is a question of its own.
    """
    info, targets = task.info(), labelled.targets.numpy()
    several = bool(info.options.get("multi_label"))
    if not {"fit_head", "probabilities"} <= info.offers or targets.ndim != 1 + several or len(labelled) < LEAST:
        return
    wrong, expected = doubtful(labelled, features, task)
    if wrong:
        rather = [f"{'not ' if several and targets[i, c] else ''}{info.labels[c]}" for i, c in wrong]
        rows = list(dict.fromkeys(i for i, _ in wrong))
        many = f"{len(wrong)} labels of {len(rows)}" if several else str(len(wrong))
        yield Issue(
            "label_errors",
            "warning",
            f"{many} of {len(labelled)} {'rows' if several else 'labels'} are doubtful: other rows speak clearly for "
            f"{'the contrary' if several else 'another class'}; chance explains {expected:.1f} of them, where classes "
            "overlap",
            "look at these rows, the most doubtful first, and mend the labels that are wrong; --clean leaves all of "
            "them out of training",
            rows=[f"{labelled.ids[i]}: rather {what}" for (i, _), what in zip(wrong, rather, strict=True)],
            figures={"expected_by_chance": round(expected, 2)},
            left_out=rows,
        )


def doubtful(labelled: Examples, features: Tensor, task: Task) -> tuple[list[tuple[int, int]], float]:
    """What :func:`improbable` names, by heads that see neither the row nor, where rows are many, what it named first.

    Wrong labels make a head unsure of the right ones; without the worst of them it finds the others. One more look is
    enough, and from :data:`MANY` rows on: else it ends in a head that is sure of itself, and names what is merely rare.

    Returns:
        (row, the class that others speak for, or the label that is wrongly there or not), the most doubtful first, and
        how many of them chance explains.
    """
    found: list[tuple[int, int]] = []
    expected = 0.0
    for _ in range(2 if len(labelled) >= MANY else 1):
        named = sorted({i for i, _ in found})
        said = out_of_fold(labelled, features, task, named)
        found, expected = _named(labelled.targets.numpy(), said, np.setdiff1d(np.arange(len(labelled)), named))
    return found, expected


def _named(targets: np.ndarray, said: np.ndarray, sound: np.ndarray) -> tuple[list[tuple[int, int]], float]:
    if targets.ndim == 1:
        wrong, expected = improbable(targets, said, sound)
        return [(i, int(said[i].argmax())) for i in wrong], expected
    found: list[tuple[float, int, int]] = []
    expected = 0.0
    for c in range(targets.shape[1]):
        y, both = targets[:, c].astype(np.int64), np.stack([1 - said[:, c], said[:, c]], axis=1)
        wrong, by_chance = improbable(y, both, sound)
        found += [(float(both[i, y[i]]), i, c) for i in wrong]
        expected += by_chance
    return [(i, c) for _, i, c in sorted(found)], expected


def improbable(y: np.ndarray, said: np.ndarray, sound: np.ndarray | None = None) -> tuple[list[int], float]:
    """Rows whose label has so small a probability as to be wrong rather than rare, the least probable first.

    The line is the largest probability up to which :data:`BY_CHANCE` of the labels, or fewer, are what would be there
    if each label were drawn by its row's probabilities: a false discovery rate (Benjamini & Hochberg 1995; with the
    exact distribution of each row, Heyse 2011). So where classes overlap, and improbable labels are to be expected, few
    are named; where they do not, all that contradict.

    Args:
        y: (n,) class indices. said: (n, classes) probabilities of heads that did not see the row; they are brought to
            the temperature of least loss first, so that they mean what they say (Guo et al. 2017). sound: rows that
            this temperature is fitted on; default: all.

    Returns:
        numbers of the rows, and how many labels up to that line chance explains.
    """
    known = slice(None) if sound is None else sound
    said = apply_temperature(said, fit_temperature(y[known], said[known]))
    own = said[np.arange(len(y)), y]
    order = np.argsort(own, kind="stable")
    every = np.sort(said.ravel())
    by_chance = np.r_[0.0, np.cumsum(every)][np.searchsorted(every, own[order], side="right")]
    passed = np.flatnonzero(by_chance <= BY_CHANCE * np.arange(1, len(y) + 1))
    if not len(passed):
        return [], 0.0
    last = int(passed[-1])
    wrong = [int(i) for i in order[: last + 1] if said[i].argmax() != y[i]]
    return wrong, float(by_chance[last])


def out_of_fold(labelled: Examples, features: Tensor, task: Task, without: Sequence[int] = ()) -> np.ndarray:
    """Probabilities (n, classes) of each labelled row by a head that was fitted without its fold.

    ``without``: rows that no head is fitted on, where each class has others.
    """
    found = np.zeros((len(labelled), task.info().outputs))
    kept = torch.ones(len(labelled), dtype=torch.bool)
    kept[list(without)] = False
    for fold in partition(labelled, 0, task, FOLDS):
        rows = fold.train[kept[fold.train]]
        if _values(labelled.targets[rows]) < _values(labelled.targets[fold.train]):
            rows = fold.train
        settled = task.settled(labelled.targets[rows])
        head = settled.fit_head(features[rows], labelled.targets[rows], {})
        found[fold.validation] = settled.decode(features[fold.validation] @ head.weight.T + head.bias)
    return found


def _values(targets: Tensor) -> int:
    """Different targets: classes, or over all labels whether some rows have and lack it."""
    return sum(len(torch.unique(column)) for column in targets.reshape(len(targets), -1).T)


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
