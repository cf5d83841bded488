"""Which rows are labelled, and which of those validate: stratified, grouped, a function of the seed alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tlplat.data.examples import Examples
from tlplat.data.setsplits import dealt_sets
from tlplat.errors import DataError, UsageError
from tlplat.tasks.base import Task

HOLDOUT_FROM = 200
"""From this many labelled rows on, selection uses a hold-out instead of k folds."""
HOLDOUT_SHARE = 0.2
FOLDS = 4
MANY_GROUPS = 10_000
"""From this many groups on, parts are dealt out at once (:func:`_dealt_at_once`): a search takes minutes."""


@dataclass(frozen=True)
class Fold:
    """Row numbers (int64) to train on and to validate on."""

    train: Tensor
    validation: Tensor


def draw_labels(pool: Examples, count: int | None, data_seed: int, task: Task) -> Examples:
    """``count`` rows of the pool, stratified, spread over groups before a group is used twice; None takes all.

    Raises:
        UsageError TL-LABELS-TOO-MANY: the pool holds fewer rows.
        what ``task.check_labelled`` raises: a class has fewer than two labelled rows.
    """
    if count is not None and count > len(pool):
        raise UsageError(
            "TL-LABELS-TOO-MANY",
            f"--labels {count} asks for more rows than the {len(pool)} that are there",
            fix=f"ask for at most {len(pool)} labels",
        )
    if count is None or count == len(pool):
        drawn = pool
    else:
        rng, strata = np.random.default_rng([data_seed, 0x1ABE1]), task.strata(pool.targets).numpy()
        draw = _stratified_draw if strata.ndim == 1 else _drawn_sets
        drawn = pool.select(torch.from_numpy(draw(pool, count, rng, strata)))
    task.check_labelled(drawn.targets)
    return drawn


def _stratified_draw(pool: Examples, count: int, rng: np.random.Generator, strata: np.ndarray) -> np.ndarray:
    order = rng.permutation(len(pool))
    if pool.groups is not None:
        order = order[np.argsort(_occurrence(pool.groups.numpy()[order]), kind="stable")]
    names, inverse, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    quota = np.floor(sizes * count / len(pool)).astype(int)
    short = rng.permutation(len(names))
    short = short[np.argsort(-(sizes * count / len(pool) - quota)[short], kind="stable")]
    quota[short[: count - quota.sum()]] += 1
    rank = np.empty(len(order), dtype=int)
    rank[order] = _occurrence(inverse[order])
    taken = order[rank[order] < quota[inverse[order]]]
    return np.asarray(taken, dtype=np.int64)


def _drawn_sets(pool: Examples, count: int, rng: np.random.Generator, sets: np.ndarray) -> np.ndarray:
    """As :func:`_stratified_draw`, for rows of several strata (n, c); no group is used oftener than needed."""
    rows = rng.permutation(len(pool))
    if pool.groups is not None:
        times = _occurrence(pool.groups.numpy()[rows])
        rows = rows[times <= np.sort(times)[count - 1]]
    part = dealt_sets(sets[rows], None, [count, len(rows) - count], int(rng.integers(2**31)))
    return np.asarray(rows[part == 0], dtype=np.int64)


def _occurrence(values: np.ndarray) -> np.ndarray:
    """How many equal values stand before each position."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    first = np.r_[True, ordered[1:] != ordered[:-1]] if len(values) else np.zeros(0, dtype=bool)
    start = np.maximum.accumulate(np.where(first, np.arange(len(values)), 0))
    out = np.empty(len(values), dtype=int)
    out[order] = np.arange(len(values)) - start
    return out


def folds(labelled: Examples, seed: int, task: Task) -> list[Fold]:
    """Selection's folds: stratified (grouped) k-fold below 200 rows, one 20 % hold-out from there on.

    Rows of time series are parted in time: k blocks, or the last 20 % held out. Validation rows that the user set apart
    are the one fold.

    Raises:
        DataError TL-DATA-SPLIT: no validation row, or nothing but such rows, is among the labelled ones.
        what ``task.check_labelled`` raises: too few training rows of a class.
    """
    if labelled.validation is not None:
        train, validation = (torch.nonzero(side).flatten() for side in (~labelled.validation, labelled.validation))
        if not len(train) or not len(validation):
            raise DataError(
                "TL-DATA-SPLIT",
                f"of {len(labelled)} labelled rows {len(validation)} are for validation",
                fix="label more rows (--labels all), or leave the choice of validation rows to tlplat",
            )
        task.check_labelled(labelled.targets[train])
        return [Fold(train, validation)]
    if len(labelled) >= HOLDOUT_FROM:
        return partition(labelled, seed, task, round(1 / HOLDOUT_SHARE))[:1]
    return partition(labelled, seed, task, FOLDS)


def partition(labelled: Examples, seed: int, task: Task, wanted: int) -> list[Fold]:
    """``wanted`` stratified parts that keep groups whole, each once as validation; fewer where a class is smaller.

    Rows with spans: blocks of time, the last one first, whatever the seed; training rows leave out those that overlap
    with the block (purging, Lopez de Prado 2018, section 7.4).

    Raises:
        DataError TL-DATA-SPANS: all other rows overlap with a block.
    """
    if labelled.spans is not None:
        return time_blocks(labelled.spans, max(2, min(wanted, len(labelled) // 2)))
    strata = task.strata(labelled.targets).numpy()
    smallest = least_rows(strata) if strata.ndim == 1 else len(strata)
    groups = None if labelled.groups is None else labelled.groups.numpy()
    limit = smallest if groups is None else min(smallest, len(np.unique(groups)))
    return stratified(strata, groups, max(2, min(wanted, limit)), seed)


def least_rows(strata: np.ndarray) -> int:
    """Of the smallest stratum (n,), or the rarer side of any label (n, c)."""
    if strata.ndim == 1:
        return int(np.unique(strata, return_counts=True)[1].min())
    with_it = strata.sum(axis=0)
    return int(np.minimum(with_it, len(strata) - with_it).min())


def stratified(strata: np.ndarray, groups: np.ndarray | None, k: int, seed: int) -> list[Fold]:
    """``k`` parts of rows that keep groups (n,) whole and strata alike, each part once as validation.

    ``strata``: (n,), or (n, c) of {0, 1} where a row is of several.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    n = len(strata)
    found = n if groups is None else len(np.unique(groups))
    if strata.ndim == 2:
        part = dealt_sets(strata, groups, [n // k + (i < n % k) for i in range(k)], seed)
        splitter = ((np.flatnonzero(part != i), np.flatnonzero(part == i)) for i in range(k))
    elif groups is None or found == n:
        splitter = StratifiedKFold(k, shuffle=True, random_state=seed).split(np.zeros(n), strata)
    elif found < MANY_GROUPS:
        splitter = StratifiedGroupKFold(k, shuffle=True, random_state=seed).split(np.zeros(n), strata, groups)
    else:
        part = _dealt_at_once(strata, groups, k, seed)
        splitter = ((np.flatnonzero(part != i), np.flatnonzero(part == i)) for i in range(k))
    return [Fold(torch.from_numpy(np.sort(a)), torch.from_numpy(np.sort(b))) for a, b in splitter]


def _dealt_at_once(strata: np.ndarray, groups: np.ndarray, k: int, seed: int) -> np.ndarray:
    """(n,) part numbers: groups of several rows one by one, then single rows where their stratum lacks most."""
    rng = np.random.default_rng([seed, 0x57A7])
    _, stratum = np.unique(strata, return_inverse=True)
    _, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    part = np.full(len(strata), -1, dtype=np.int64)
    shared = np.flatnonzero(sizes[member] > 1)
    shared = shared[np.argsort(member[shared], kind="stable")]
    several = np.split(shared, np.flatnonzero(np.diff(member[shared])) + 1) if len(shared) else []
    wanted = np.bincount(stratum) / k
    held = np.zeros((k, len(wanted)))
    for i in sorted(rng.permutation(len(several)).tolist(), key=lambda i: -len(several[i])):
        own = np.bincount(stratum[several[i]], minlength=len(wanted))
        best = int(np.lexsort((held.sum(axis=1), held @ (own / wanted)))[0])
        held[best] += own
        part[several[i]] = best
    for kind in range(len(wanted)):
        single = rng.permutation(np.flatnonzero((part < 0) & (stratum == kind)))
        lacking = np.maximum(wanted[kind] - held[:, kind], 0)
        ends = np.round(np.cumsum(lacking) * len(single) / max(lacking.sum(), 1e-9)).astype(int)
        part[single] = np.searchsorted(ends, np.arange(len(single)), side="right").clip(0, k - 1)
    return part


def inner_folds(train: Examples, task: Task, count: int = 5) -> dict[str, Tensor]:
    """Options of a task's ``fit_head`` that its rows ask for: ``fold`` (n,) where rows must not be dealt out singly.

    Rows with spans come in blocks of time, rows of one group stay together: neighbours in time, or several rows of one
    patient, share most of what they are made of, and dealt out over folds they would choose the least penalty.
    """
    number = fold_numbers(train, task, count)
    return {} if number is None else {"fold": number}


def fold_numbers(train: Examples, task: Task, count: int) -> Tensor | None:
    """(n,) fold numbers that keep blocks of time or groups whole; None where each row may be dealt out by itself."""
    if train.spans is not None:
        number = torch.empty(len(train), dtype=torch.int64)
        order = torch.argsort(train.spans[:, 1], stable=True)
        for i, block in enumerate(torch.tensor_split(order, max(2, min(count, len(train))))):
            number[block] = i
        return number
    if train.groups is None:
        return None
    _, member, sizes = torch.unique(train.groups, return_inverse=True, return_counts=True)
    if len(sizes) == len(train) or len(sizes) < 2:
        return None
    return _dealt_groups(member, sizes, task.strata(train.targets), min(count, len(sizes)))[member]


def _dealt_groups(member: Tensor, sizes: Tensor, strata: Tensor, count: int) -> Tensor:
    """(groups,) fold numbers: the largest first, each to the fold that has the fewest rows of the group's strata."""
    if strata.ndim == 1:
        strata = F.one_hot(torch.unique(strata, return_inverse=True)[1])
    rows = torch.zeros(len(sizes), strata.shape[1], dtype=torch.int64).index_add_(0, member, strata)
    held = np.zeros((count, rows.shape[1]))
    fold = torch.empty(len(sizes), dtype=torch.int64)
    for group in torch.argsort(-sizes, stable=True).tolist():
        own = rows[group].numpy()
        best = int(np.lexsort((held.sum(axis=1), held @ own))[0])
        held[best] += own
        fold[group] = best
    return fold


def time_blocks(spans: Tensor, count: int) -> list[Fold]:
    """Rows with spans (n, 2) as ``count`` blocks of time, the last first, each validating what does not touch it."""
    found = []
    for block in reversed(torch.tensor_split(torch.argsort(spans[:, 1], stable=True), count)):
        begin, end = int(spans[block, 0].min()), int(spans[block, 1].max())
        apart = (spans[:, 1] < begin) | (spans[:, 0] > end)
        if not bool(apart.any()):
            raise DataError(
                "TL-DATA-SPANS",
                f"every other row overlaps in time with a block of {len(block)} rows, so that none is left to train on",
                found=f"block from {begin} to {end}",
                fix="give rows over a longer time, shorten the windows, or lower the embargo",
            )
        found.append(Fold(torch.nonzero(apart).flatten(), block.sort().values))
    return found
