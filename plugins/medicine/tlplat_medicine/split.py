"""Which patients are test patients: whole patients, and where a site column is given whole sites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlplat.data.setsplits import dealt_sets
from tlplat.errors import DataError
from tlplat_medicine.privacy import FEWEST

TEST_SHARE = 0.3
DRAWS = 200
FEWEST_SITES_IN_FOLDS = 4
"""So many sites in the pool, and folds keep sites whole; with fewer they keep patients whole."""


@dataclass(frozen=True)
class Split:
    """A split of n rows.

    Attributes:
        test: (n,) bool. patients: (n,) int64, numbers that say nothing. groups: (n,) int64, what folds keep whole.
        report: for the data card (JSON).
    """

    test: np.ndarray
    patients: np.ndarray
    groups: np.ndarray
    report: dict[str, Any]


def numbered(values: Sequence[str]) -> np.ndarray:
    """(n,) int64: equal texts have equal numbers, in order of appearance."""
    names: dict[str, int] = {}
    return np.array([names.setdefault(value, len(names)) for value in values], dtype=np.int64)


def linked(*numbers: np.ndarray) -> np.ndarray:
    """(n,) component numbers: rows that share a number of any kind are in one component."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(numbers[0])
    rows, columns, width = [], [], n
    for kind in numbers:
        rows.append(np.arange(n))
        columns.append(kind + width)
        width += int(kind.max()) + 1 if n else 0
    links = coo_matrix((np.ones(n * len(numbers)), (np.concatenate(rows), np.concatenate(columns))), (width, width))
    return numbered([str(c) for c in connected_components(links, directed=False)[1][:n]])


def kinds_of(strata: np.ndarray) -> np.ndarray:
    """(n, k) bool: of which kinds a row is: classes, events or arms; with each of several labels, then without each."""
    if strata.ndim == 2:
        return np.concatenate([strata > 0, strata <= 0], axis=1)
    return np.asarray(strata[:, None] == np.unique(strata))


def split_patients(patients: np.ndarray, strata: np.ndarray, data_seed: int, share: float = TEST_SHARE) -> Split:
    """Hold out ``share`` of the patients of each stratum; a patient's stratum is the rarest one of its rows.

    Of several labels (n, c) each is on both sides in its share of the rows, the rarest one first.

    Raises:
        DataError TL-DATA-CLASS-SMALL: a stratum of fewer than three patients, a label on one side only.
    """
    if strata.ndim == 2:
        wanted, kinds = share * len(strata), kinds_of(strata)
        test = dealt_sets(strata, patients, [wanted, len(strata) - wanted], data_seed) == 0
        if not all(kinds[side].any(axis=0).all() for side in (test, ~test)):
            raise _small(f"one of {strata.shape[1]} labels has too few patients to be split")
        return Split(test, patients, patients, {"by": "patients, labels in proportion", "held_out": share})
    rng = np.random.default_rng([data_seed, 0x3ED1])
    size = np.bincount(strata, minlength=int(strata.max()) + 1)
    order = np.argsort(size[strata], kind="stable")
    first = {int(p): int(strata[i]) for i, p in reversed([(i, patients[i]) for i in order.tolist()])}
    names, kinds = np.array(list(first)), np.array(list(first.values()))
    names, kinds = names[np.argsort(names)], kinds[np.argsort(names)]
    held: list[int] = []
    for kind in np.unique(strata).tolist():
        own = rng.permutation(names[kinds == kind])
        if len(own) < 3:
            raise _small(f"one of {len(size)} classes, events or arms has too few patients to be split")
        held += own[: max(1, round(share * len(own)))].tolist()
    test = np.isin(patients, held)
    return Split(test, patients, patients, {"by": "patients, classes and events in proportion", "held_out": share})


def split_sites(sites: np.ndarray, patients: np.ndarray, strata: np.ndarray, data_seed: int) -> Split:
    """Hold out whole sites with nearly 30 % of the rows; sites that a patient links stay together.

    Raises:
        DataError TL-DATA-SITE: no such split has every class, event, arm and label on both sides.
    """
    together = linked(sites, patients)
    sizes, count, kinds = np.bincount(together), int(together.max()) + 1, kinds_of(strata)
    rng = np.random.default_rng([data_seed, 0x517E])
    best: tuple[float, np.ndarray] | None = None
    for _ in range(DRAWS if count > 1 else 0):
        order = rng.permutation(count)
        filled = np.cumsum(sizes[order])
        taken = order[: max(1, int(np.argmin(np.abs(filled - TEST_SHARE * len(sites)))) + 1)]
        test = np.isin(together, taken)
        off = abs(float(test.mean()) - TEST_SHARE)
        if all(kinds[side].any(axis=0).all() for side in (test, ~test)) and (best is None or off < best[0] - 1e-9):
            best = (off, test)
    if best is None:
        raise DataError(
            "TL-DATA-SITE",
            f"{len(np.unique(sites))} sites cannot be split so that every class, event, arm and label is on both sides",
            expected="two sites or more that share no patient, with every class on both sides",
            fix="leave --site out to split by patient, or give more sites",
        )
    test = best[1]
    inside = len(np.unique(together[~test]))
    whole = inside >= FEWEST_SITES_IN_FOLDS
    report = {
        "by": "whole sites: the intervals are for more patients of these test sites, not for other sites",
        "sites": {"pool": len(np.unique(sites[~test])), "test": len(np.unique(sites[test]))},
        "folds_keep_whole": "sites" if whole else "patients",
    }
    return Split(test, patients, together if whole else patients, report)


def check_given(
    patients: np.ndarray,
    test: np.ndarray,
    strata: np.ndarray,
    places: Sequence[str],
    by: str = "the files given",
    labels: Sequence[str] = (),
) -> Split:
    """A split that the user made: ``test`` (n,) bool.

    Args:
        places: where a user finds each row. by: who said so. labels: names of several labels, for errors.

    Raises:
        DataError TL-LEAK-GROUP: patients on both sides. TL-DATA-CLASS-SMALL: a class, event, arm or label on one side.
    """
    both = np.intersect1d(patients[test], patients[~test])
    if len(both):
        rows = [int(np.flatnonzero((patients == p) & side)[0]) for p in both[:3].tolist() for side in (~test, test)]
        found = [places[r] for r in rows]
        raise DataError(
            "TL-LEAK-GROUP",
            f"patients with rows on both sides of the split: count {len(both)}",
            where="; ".join(f"{a} and {b}" for a, b in zip(found[::2], found[1::2], strict=True)),
            fix="put all rows of a patient on one side of the split",
        )
    kinds = kinds_of(strata)
    lone = np.flatnonzero(~kinds[test].any(axis=0) | (kinds[~test].sum(axis=0) < 2))
    if len(lone) and labels:
        named = dict.fromkeys(labels[i % len(labels)] for i in lone.tolist())
        raise _small(f"all patients with, or without, a label are on one side of the split: {', '.join(named)}")
    if len(lone):
        raise _small("one class, event or arm is on one side of the split only")
    return Split(test, patients, patients, {"by": by})


def _small(message: str) -> DataError:
    return DataError(
        "TL-DATA-CLASS-SMALL",
        message,
        expected="three patients or more of each, on both sides of the split",
        fix=f"give more patients of it, or leave it out (counts below {FEWEST} are not shown)",
    )
