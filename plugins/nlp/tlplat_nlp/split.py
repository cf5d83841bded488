"""Which rows are test rows: whole clusters of near-copies, for each class alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlplat.data.labelsets import read_apart
from tlplat.data.setsplits import held_out_sets
from tlplat.errors import DataError, Finding
from tlplat_nlp.duplicates import NEAR_COPY, Ints, Pairs, clusters, equal_links, near_copies
from tlplat_nlp.inputs import TextInputs
from tlplat_nlp.rows import Rows


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


def split_rows(
    rows: Rows, inputs: TextInputs, strata: Ints, share: float, seed: int, names: Sequence[str] = ()
) -> Split:
    """About ``share`` of the rows of each stratum (n,), or label (n, c), as test rows, by whole clusters.

    A cluster joins near-copies, rows of one given group, and rows that are equal once cut to the source's tokens; it
    counts to its first row's stratum. ``names``: of the labels (n, c).

    Raises:
        DataError TL-DATA-CLASS-SMALL: a class in a single cluster. TL-DATA-COLUMN: groups for some rows only.
    """
    pairs = near_copies(rows.texts)
    groups = clusters(
        len(rows), (pairs.first, pairs.second), equal_links(_given(rows)), equal_links(_token_rows(inputs))
    )
    if strata.ndim == 2:
        test = held_out_sets(strata, groups, share, seed, names)
        about = "clusters of near-copies and of given groups, for each label alike"
        return Split(test, groups, {"by": about, "clusters": int(groups.max() + 1), **_report(pairs, test)})
    first = np.unique(groups, return_index=True)[1]
    stratum = strata[first][groups]
    test = np.zeros(len(rows), dtype=bool)
    for value in np.unique(strata).tolist():
        inside = np.flatnonzero(stratum == value)
        local = np.unique(groups[inside], return_inverse=True)[1]
        if not len(inside) or local.max() == 0:
            name = rows.labels[int(np.argmax(strata == value))]
            raise DataError(
                "TL-DATA-CLASS-SMALL",
                f"class {name!r} has its {int((strata == value).sum())} rows in one cluster of near-copies or "
                "one group; a split into training and test needs at least 2 clusters of each class",
                found=f"{len(first)} clusters among {len(rows)} rows",
                fix=read_apart([str(label) for label in rows.labels])
                or "add rows of that class that are not near-copies of each other",
            )
        test[inside] = _drawn(local, share, seed)
    about = "clusters of near-copies and of given groups, for each class alike"
    return Split(test, groups, {"by": about, "clusters": len(first), **_report(pairs, test)})


def check_split(rows: Rows, inputs: TextInputs, test: NDArray[np.bool_], by: str = "the files given") -> Split:
    """A split that the user made (``by`` says how), refused where a near-copy or a group crosses it.

    Raises:
        DataError TL-LEAK-DUP: equal or nearly equal texts on both sides.
    """
    pairs = near_copies(rows.texts)
    same = equal_links(_token_rows(inputs))
    groups = clusters(len(rows), (pairs.first, pairs.second), equal_links(_given(rows)), same)
    crossing = test[pairs.first] != test[pairs.second]
    if crossing.any():
        leaks = Pairs(pairs.first[crossing], pairs.second[crossing], pairs.similarity[crossing])
        raise _leak(leaks, test, rows.ids)
    return Split(test, groups, {"by": by, "clusters": int(groups.max() + 1), **_report(pairs, test)})


def _report(pairs: Pairs, test: NDArray[np.bool_]) -> dict[str, Any]:
    return {
        "near_copy_similarity": NEAR_COPY,
        "near_copies_kept_together": len(pairs.first),
        "near_copies_across_the_split": int((test[pairs.first] != test[pairs.second]).sum()),
    }


def _leak(leaks: Pairs, test: NDArray[np.bool_], ids: Sequence[str]) -> DataError:
    findings = []
    for i in np.argsort(-leaks.similarity, kind="stable").tolist():
        a, b = int(leaks.first[i]), int(leaks.second[i])
        train, held = (b, a) if test[a] else (a, b)
        findings.append(
            Finding(f"shares {leaks.similarity[i]:.0%} with training row {ids[train]}", f"test row {ids[held]}")
        )
    equal = int((leaks.similarity == 1).sum())
    return DataError(
        "TL-LEAK-DUP",
        f"duplicate texts in training and test rows: {equal} equal, {len(findings) - equal} near-copies (count "
        f"{len(findings)}; limit {NEAR_COPY:.0%} of pieces)",
        findings=findings,
        fix="remove the duplicates from one side, or give one file and let tlplat split it",
    )


def _given(rows: Rows) -> Sequence[str | None]:
    missing = [i for i, group in enumerate(rows.groups) if not group]
    if 0 < len(missing) < len(rows):
        raise DataError(
            "TL-DATA-COLUMN",
            f"{len(missing)} of {len(rows)} rows have no group",
            where=rows.ids[missing[0]],
            fix="give every row a group, or leave --group out",
        )
    return rows.groups


def _token_rows(inputs: TextInputs) -> list[bytes]:
    ends = inputs.lengths.cumsum(0).tolist()
    flat = inputs.tokens.numpy()
    return [flat[end - length : end].tobytes() for end, length in zip(ends, inputs.lengths.tolist(), strict=True)]


def _drawn(group: Ints, share: float, seed: int) -> NDArray[np.bool_]:
    """(n,) True for the rows of groups drawn in random order until they hold ``share`` of all rows, at least one."""
    rng = np.random.default_rng([seed, 0x5B117])
    size = np.bincount(group)
    order = rng.permutation(len(size))
    before = np.cumsum(size[order]) - size[order]
    wanted = share * len(group)
    chosen = np.zeros(len(size), dtype=bool)
    chosen[order[np.abs(before + size[order] - wanted) <= np.abs(before - wanted)]] = True
    chosen[order[0]] = True
    chosen[order[-1]] = False
    return np.asarray(chosen[group])
