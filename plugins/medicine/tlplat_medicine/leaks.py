"""Columns that give the outcome away."""

from __future__ import annotations

import numpy as np

from tlplat.data.columns import Table
from tlplat.errors import DataError
from tlplat_medicine.outcomes import Outcome
from tlplat_medicine.table import Warn

KNOWN_SHARE = 0.9
ALMOST = 0.9999
ENOUGH = 50
"""So many rows, and a column that parts two classes without a mistake is told."""


def check_leaks(columns: Table, outcome: Outcome, warn: Warn) -> None:
    """Refuse columns that are the outcome itself, coded otherwise; tell of one that parts the classes perfectly.

    Of several labels (n, c) each is an outcome, and so are the set of them and any weighted sum of them, as a score of
    comorbidities is.

    Raises:
        DataError: TL-LEAK-TARGET; TL-DATA-OVERLAP: one parts two arms perfectly.
    """
    if outcome.several:
        kinds = [*outcome.strata.T, np.unique(outcome.strata, axis=0, return_inverse=True)[1].ravel()]
        parted = {f"patients with {name}": has for name, has in zip(outcome.names, outcome.strata.T, strict=True)}
    else:
        kinds = [outcome.strata, *([] if outcome.event is None else [outcome.event.astype(np.int64)])]
        parted = {" from ".join(outcome.names): outcome.strata} if len(outcome.names) == 2 else {}
    for name, values in columns.items():
        amounts = [outcome.time, outcome.value, *([_sum_of(values, outcome.strata)] if outcome.several else [])]
        if any(_is_class(values, kind) for kind in kinds) or any(_is_amount(values, amount) for amount in amounts):
            raise DataError(
                "TL-LEAK-TARGET",
                f"the column {name} is the outcome itself, or another way to write it",
                where=f"column {name}",
                fix=f"leave it out with --drop {name}",
            )
        told = [what for what, has in parted.items() if len(has) >= ENOUGH and _parts(values, has)]
        if not told:
            continue
        if outcome.arm is not None:
            raise DataError(
                "TL-DATA-OVERLAP",
                f"the column {name} alone tells who got which treatment, so that no patient has a counterpart",
                where=f"column {name}",
                fix="restrict the rows to patients for whom both were an option, or --drop what was written afterwards",
            )
        warn(
            f"the column {name} alone parts {', '.join(told)} without a mistake: make sure "
            f"that it is known before the outcome, else leave it out with --drop {name}"
        )


def _is_class(values: np.ndarray, strata: np.ndarray) -> bool:
    """Whether each value stands for one class and each class for one value."""
    known = _known(values)
    if known.mean() < KNOWN_SHARE:
        return False
    whole = len(np.unique(strata))
    if len(set(values[known].tolist())) != whole:
        return False
    pairs: dict[object, set[int]] = {}
    for value, kind in zip(values[known].tolist(), strata[known].tolist(), strict=True):
        pairs.setdefault(value, set()).add(kind)
    kinds = [next(iter(found)) for found in pairs.values() if len(found) == 1]
    return len(pairs) == len(kinds) == whole == len(set(kinds)) > 1


def _is_amount(values: np.ndarray, outcome: np.ndarray | None) -> bool:
    """Whether the column is the number to predict, moved or scaled."""
    if outcome is None or values.dtype == object:
        return False
    known = np.isfinite(values)
    if known.mean() < KNOWN_SHARE or min(np.ptp(values[known]), np.ptp(outcome[known])) == 0:
        return False
    return bool(abs(np.corrcoef(values[known], outcome[known])[0, 1]) > ALMOST)


def _sum_of(values: np.ndarray, labels: np.ndarray) -> np.ndarray | None:
    """The weighted sum of labels (n, c) that comes nearest to the column; None where any could, or it is of words."""
    known = _known(values)
    if values.dtype == object or known.sum() < ENOUGH + labels.shape[1]:
        return None
    design = np.c_[labels, np.ones(len(labels))]
    return np.asarray(design @ np.linalg.lstsq(design[known], values[known], rcond=None)[0])


def _parts(values: np.ndarray, strata: np.ndarray) -> bool:
    if values.dtype == object:
        return False
    first, second = (values[(strata == kind) & np.isfinite(values)] for kind in (0, 1))
    return bool(len(first) and len(second) and (first.max() < second.min() or second.max() < first.min()))


def _known(values: np.ndarray) -> np.ndarray:
    if values.dtype == object:
        return np.array([v is not None for v in values], dtype=bool)
    return np.isfinite(values)
