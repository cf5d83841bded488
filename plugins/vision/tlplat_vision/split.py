"""A split into pool and test rows that no near-copy crosses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlplat.data.setsplits import held_out_sets
from tlplat.errors import DataError, Finding
from tlplat_vision.similarity import NEAR_COPY, NOTED, Ints, Pairs, Thumbnails, connected, similar_pairs


@dataclass(frozen=True)
class Split:
    """Which rows are test rows.

    Attributes:
        test: (n,) True for test rows. groups: (n,) rows of one number stay together, and are resampled together.
        report: what was checked, for the data card (JSON).
    """

    test: NDArray[np.bool_]
    groups: Ints
    report: dict[str, Any]


def split_thumbnails(
    rows: Thumbnails, given: Sequence[Ints], strata: Ints, share: float, seed: int, names: Sequence[str] = ()
) -> Split:
    """About ``share`` of the images as test rows, of each stratum (n,) or label (n, c) alike.

    Near-copies stay together, and so do rows that share a number in one of ``given`` (each (n,)); a group counts to
    its first row's stratum. ``names``: of the labels (n, c).

    Raises:
        DataError TL-DATA-CLASS-SMALL: one of the labels (n, c) has all its rows in one group.
    """
    pairs = similar_pairs(rows)
    copies, n = pairs.near_copies(), len(rows)
    links = [(copies.first, copies.second), *(_equal_links(values) for values in given)]
    groups = connected(n, np.concatenate([a for a, _ in links]), np.concatenate([b for _, b in links]))
    if strata.ndim == 2:
        test = held_out_sets(strata, groups, share, seed, names)
    else:
        stratum = strata[np.unique(groups, return_index=True)[1]][groups]
        test = np.zeros(n, dtype=bool)
        for value in np.unique(stratum):
            inside = np.flatnonzero(stratum == value)
            test[inside] = _drawn(np.unique(groups[inside], return_inverse=True)[1], share, seed)
    each = "label" if strata.ndim == 2 else "class"
    report = {"by": f"clusters of near-copies and of given groups, for each {each} alike", **leak_report(pairs, test)}
    return Split(test, groups, {**report, "groups": int(groups.max(initial=-1) + 1)})


def check_split(
    rows: Thumbnails,
    test: NDArray[np.bool_],
    ids: Sequence[str],
    by: str = "the files given",
    given: Ints | None = None,
) -> Split:
    """A split that the user made (``by`` says how), refused where a near-copy crosses it.

    ``given``: (n,) numbers of the user's groups, whose rows stay together; one across the split is found later.

    Raises:
        DataError TL-LEAK-DUP: near-copies on both sides, with the pairs.
    """
    pairs = similar_pairs(rows)
    copies = pairs.near_copies()
    leaks = copies.crossing(test)
    if len(leaks.first):
        findings = []
        for i in np.argsort(-leaks.correlation, kind="stable").tolist():
            a, b = int(leaks.first[i]), int(leaks.second[i])
            train, held = (b, a) if test[a] else (a, b)
            findings.append(Finding(f"a near-copy of training image {ids[train]}", f"test image {ids[held]}"))
        raise DataError(
            "TL-LEAK-DUP",
            f"duplicate images in train and test (count {len(findings)} pairs, near-copies included)",
            findings=findings,
            fix="remove the copies from one side, or give one set of images and let tlplat split it",
        )
    first, second = _equal_links(np.arange(len(test)) if given is None else given)
    groups = connected(len(test), np.concatenate([copies.first, first]), np.concatenate([copies.second, second]))
    return Split(test, groups, {"by": by, "groups": int(groups.max() + 1), **leak_report(pairs, test)})


def leak_report(pairs: Pairs, test: NDArray[np.bool_]) -> dict[str, Any]:
    """Figures of the check that no near-copy crosses."""
    crossing = pairs.crossing(test)
    return {
        "near_copy_correlation": NEAR_COPY,
        f"pairs_above_{NOTED}": len(pairs.first),
        f"pairs_above_{NOTED}_across_the_split": len(crossing.first),
        "near_copies_across_the_split": len(crossing.near_copies().first),
        "highest_correlation_across_the_split": round(float(crossing.correlation.max(initial=0.0)), 4),
        "near_copies_kept_together": len(pairs.near_copies().first),
    }


def _equal_links(values: Ints) -> tuple[Ints, Ints]:
    """Links that join rows of equal value in a chain."""
    order = np.argsort(values, kind="stable")
    same = values[order][1:] == values[order][:-1]
    return order[:-1][same], order[1:][same]


def _drawn(group: Ints, share: float, seed: int) -> NDArray[np.bool_]:
    """(n,) True for the rows of groups drawn in random order until they hold ``share`` of all rows."""
    rng = np.random.default_rng([seed, 0x1A6E5])
    size = np.bincount(group)
    order = rng.permutation(len(size))
    filled = np.cumsum(size[order])
    wanted = share * len(group)
    before = filled - size[order]
    chosen = np.zeros(len(size), dtype=bool)
    chosen[order[(before < wanted) & (np.abs(filled - wanted) <= np.abs(before - wanted))]] = True
    return np.asarray(chosen[group])
