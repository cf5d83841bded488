"""Groups that must stay together, and a split by genome region that respects them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlplat.data.setsplits import held_out_sets
from tlplat.errors import DataError, Finding
from tlplat_genomics.sequence import Tokens
from tlplat_genomics.similarity import NEAR_COPY, Ints, Pairs, connected, equal_links, similar_pairs
from tlplat_genomics.windows import Windows

BLOCK = 50_000
"""Bases of one region; neighbouring windows go to the same side of the split."""
LEAST_BLOCKS = 40
"""Small genomes get smaller regions, so that there are so many."""


@dataclass(frozen=True)
class Split:
    """Which rows are test rows.

    Attributes:
        test: (n,) True for test rows. groups: (n,) rows of one number stay together.
        report: what was checked, for the data card (JSON).
    """

    test: NDArray[np.bool_]
    groups: Ints
    report: dict[str, Any]


def split_windows(windows: Windows, share: float, seed: int) -> Split:
    """About ``share`` of the windows as test rows: whole regions, with every group on the side of most of its rows.

    A group joins windows that overlap, that belong to one gene, or that are near-copies (at any distance).
    """
    n, length = windows.tokens.shape
    pairs = similar_pairs(windows.tokens)
    copies = pairs.near_copies()
    near = np.flatnonzero((windows.seqid[1:] == windows.seqid[:-1]) & (windows.begin[1:] - windows.begin[:-1] < length))
    in_gene = np.flatnonzero(windows.gene >= 0)
    first, second = equal_links(windows.gene[in_gene])
    groups = connected(n, (copies.first, copies.second), (near, near + 1), (in_gene[first], in_gene[second]))
    size = _block_size(windows)
    _, block = np.unique(np.stack([windows.seqid, windows.begin // size]), axis=1, return_inverse=True)
    test = _by_majority(groups, _drawn(block.ravel(), share, seed))
    report = {
        "by": f"regions of {size} bases; groups of overlapping, same-gene and near-copy windows stay together",
        "groups": int(groups.max(initial=-1) + 1),
        **leak_report(pairs, test),
    }
    return Split(test, groups, report)


def split_sequences(
    sequences: Sequence[Tokens], given: Ints, strata: Ints, share: float, seed: int, names: Sequence[str] = ()
) -> Split:
    """About ``share`` of loose sequences as test rows, of each stratum (n,) or label (n, c) alike.

    Near-copies and rows of one ``given`` (n,) number stay together; a group counts to its first row's stratum.
    ``names``: of the labels (n, c).

    Raises:
        DataError TL-DATA-CLASS-SMALL: one of the labels (n, c) has all its rows in one group.
    """
    pairs = similar_pairs(sequences)
    copies = pairs.near_copies()
    groups = connected(len(sequences), (copies.first, copies.second), equal_links(given))
    if strata.ndim == 2:
        test = held_out_sets(strata, groups, share, seed, names)
    else:
        first = np.unique(groups, return_index=True)[1]
        stratum = strata[first][groups]
        test = np.zeros(len(sequences), dtype=bool)
        for value in np.unique(stratum):
            inside = np.flatnonzero(stratum == value)
            test[inside] = _drawn(np.unique(groups[inside], return_inverse=True)[1], share, seed)
    each = "label" if strata.ndim == 2 else "class"
    report = {"by": f"clusters of near-copies and of given groups, for each {each} alike", **leak_report(pairs, test)}
    return Split(test, groups, {**report, "groups": int(groups.max(initial=-1) + 1)})


def check_split(
    sequences: Sequence[Tokens], test: NDArray[np.bool_], ids: Sequence[str], by: str = "the files given"
) -> Split:
    """A split that the user made (``by`` says how), refused where a near-copy crosses it.

    Raises:
        DataError TL-LEAK-DUP: equal sequences on both sides. TL-LEAK-HOMOLOG: near-copies on both sides.
    """
    pairs = similar_pairs(sequences)
    copies = pairs.near_copies()
    groups = connected(len(sequences), (copies.first, copies.second))
    leaks = copies.crossing(test)
    if len(leaks.first):
        raise _leak(leaks, test, groups, ids)
    return Split(test, groups, {"by": by, "groups": int(groups.max() + 1), **leak_report(pairs, test)})


def leak_report(pairs: Pairs, test: NDArray[np.bool_]) -> dict[str, Any]:
    """Figures of the check that no near-copy crosses."""
    crossing = pairs.crossing(test)
    return {
        "near_copy_identity": NEAR_COPY,
        "seed_length": pairs.seed_length,
        "pairs_checked": len(pairs.first),
        "pairs_across_the_split": len(crossing.first),
        "near_copies_across_the_split": len(crossing.near_copies().first),
        "highest_identity_across_the_split": round(float(crossing.identity.max(initial=0.0)), 4),
        "near_copies_kept_together": len(pairs.near_copies().first),
    }


def _leak(leaks: Pairs, test: NDArray[np.bool_], groups: Ints, ids: Sequence[str]) -> DataError:
    order = np.argsort(-leaks.identity, kind="stable")
    findings = []
    for i in order.tolist():
        a, b = int(leaks.first[i]), int(leaks.second[i])
        train, held = (b, a) if test[a] else (a, b)
        findings.append(
            Finding(
                f"{leaks.identity[i]:.1%} identity with training sequence {ids[train]} (cluster {groups[a]})",
                f"test sequence {ids[held]}",
            )
        )
    equal = int((leaks.identity == 1).sum())
    if equal:
        return DataError(
            "TL-LEAK-DUP",
            f"duplicate sequences in train and test (count {equal}), {len(findings)} near-copies in all",
            findings=findings,
            fix="remove the duplicates from one side, or give one file and let tlplat split it",
        )
    return DataError(
        "TL-LEAK-HOMOLOG",
        f"{len(findings)} test sequences are near-copies of training sequences: "
        f"up to {leaks.identity.max():.1%} identity, limit {NEAR_COPY:.0%}",
        findings=findings,
        fix="put each cluster of similar sequences on one side, or give one file and let tlplat split it",
    )


def _drawn(group: Ints, share: float, seed: int) -> NDArray[np.bool_]:
    """(n,) True for the rows of groups drawn in random order until they hold ``share`` of all rows."""
    rng = np.random.default_rng([seed, 0x5B117])
    size = np.bincount(group)
    order = rng.permutation(len(size))
    filled = np.cumsum(size[order])
    wanted = share * len(group)
    before = filled - size[order]
    chosen = np.zeros(len(size), dtype=bool)
    chosen[order[(before < wanted) & (np.abs(filled - wanted) <= np.abs(before - wanted))]] = True
    return np.asarray(chosen[group])


def _block_size(windows: Windows) -> int:
    ends = np.zeros(int(windows.seqid.max(initial=0)) + 1, dtype=np.int64)
    np.maximum.at(ends, windows.seqid, windows.begin)
    return int(min(BLOCK, max(windows.tokens.shape[1], ends.sum() // LEAST_BLOCKS)))


def _by_majority(groups: Ints, test: NDArray[np.bool_]) -> NDArray[np.bool_]:
    size = np.bincount(groups)
    inside = np.bincount(groups, weights=test)
    return np.asarray((inside > size / 2)[groups])
