"""Which rows are test rows: later ones, or whole groups; never a random part of a series."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tlplat.data.examples import Inputs
from tlplat.data.quality import row_digests
from tlplat.data.setsplits import held_out_sets
from tlplat.data.splits import stratified
from tlplat.errors import DataError, UsageError

BLOCKS = 20
"""A table with dates is resampled by so many blocks of time."""


@dataclass(frozen=True)
class Split:
    """Rows of both sides, sorted; a row may be on neither: it lies within the embargo.

    Attributes:
        pool, test: row numbers, int64. report: for the data card (JSON).
    """

    pool: np.ndarray
    test: np.ndarray
    report: dict[str, Any]


def refuse_random(split: str, series: bool) -> None:
    """UsageError TL-CONFIG-SPLIT where rows with a time would be dealt out at random."""
    if split == "random" and series:
        raise UsageError(
            "TL-CONFIG-SPLIT",
            "a random split of rows with a time would test a model on days that it was trained around",
            where="options.split_by",
            found="random",
            expected="a chronological split: labelled rows first in time, test rows after them",
            fix="leave out --split-by, so that rows are split by time",
        )


def need_embargo(embargo: int, horizon: int, unit: str = "rows") -> None:
    """DataError TL-LEAK-TIME where labels of the last training rows would reach into the test rows' time."""
    if embargo < horizon:
        raise DataError(
            "TL-LEAK-TIME",
            f"labels look {horizon} {unit} ahead, and the embargo between training and test rows is {embargo}: "
            f"labels of the last {horizon - embargo} training {unit} are made of the test rows' time",
            where="options.embargo",
            found=str(embargo),
            expected=f"at least {horizon}",
            fix=f"leave out --embargo, or set --embargo {horizon} or more",
        )


def grouped(inputs: Inputs, given: Sequence[Hashable] | None) -> np.ndarray:
    """(n,) numbers: rows of one given group, or of equal content, share one."""
    parent = list(range(len(inputs)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    first: dict[tuple[str, Hashable], int] = {}
    for i, digest in enumerate(row_digests(inputs)):
        keys: list[tuple[str, Hashable]] = [("row", digest)] + ([] if given is None else [("group", given[i])])
        for key in keys:
            parent[root(i)] = root(first.setdefault(key, i))
    return np.unique([root(i) for i in range(len(inputs))], return_inverse=True)[1].astype(np.int64)


def by_group(strata: torch.Tensor, labels: Sequence[str], groups: np.ndarray, share: float, data_seed: int) -> Split:
    """About ``share`` of the rows as test rows, groups whole, classes (n,) or labels (n, c) alike; ``labels``: names.

    Raises:
        DataError TL-DATA-CLASS-SMALL: rows of a class in one group only.
    """
    y = strata.numpy()
    if y.ndim == 2:
        test = held_out_sets(y, groups, share, data_seed, labels)
        report = {"by": "groups of equal or related rows, labels alike", "groups": int(groups.max()) + 1}
        return Split(np.flatnonzero(~test), np.flatnonzero(test), report)
    for label in np.unique(y).tolist():
        rows = np.flatnonzero(y == label)
        if len(np.unique(groups[rows])) < 2:
            raise DataError(
                "TL-DATA-CLASS-SMALL",
                f"class {labels[label]!r} has all its rows ({len(rows)}) in one group (of --group, or of equal "
                "rows); a split needs 2",
                fix="give more rows of that class, or leave it out",
            )
    fold = stratified(y, groups, max(2, round(1 / share)), data_seed)[0]
    report = {"by": "groups of equal or related rows, classes alike", "groups": int(groups.max()) + 1}
    return Split(fold.train.numpy(), fold.validation.numpy(), report)


def by_time(when: np.ndarray, share: float, embargo: int) -> Split:
    """The last ``share`` of the rows as test rows, and ``embargo`` days before them left out.

    Raises:
        DataError TL-DATA-SHORT: no row is left on one side.
    """
    cut = int(np.sort(when)[int(len(when) * (1 - share))])
    pool, test = np.flatnonzero(when < cut - embargo), np.flatnonzero(when >= cut)
    if not len(pool):
        raise DataError(
            "TL-DATA-SHORT",
            f"no rows are left before the test rows and the embargo of {embargo} days",
            found=f"{len(np.unique(when))} different days in {len(when)} rows",
            fix="give rows over a longer time, or lower --embargo or --test-share",
        )
    report = {
        "by": "time: test rows are the latest",
        "test_from": str(np.datetime64(cut, "D")),
        "embargo_days": embargo,
        "rows_left_out": len(when) - len(pool) - len(test),
    }
    return Split(pool, test, report)


def time_units(when: np.ndarray) -> np.ndarray:
    """(n,) numbers of blocks of time, some twenty of as many different days each."""
    _, day = np.unique(when, return_inverse=True)
    return np.asarray(day * min(BLOCKS, day.max() + 1) // (day.max() + 1), dtype=np.int64)
