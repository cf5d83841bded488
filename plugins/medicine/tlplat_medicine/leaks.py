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

    Raises:
        DataError: TL-LEAK-TARGET; TL-DATA-OVERLAP: one parts two arms perfectly.
    """
    for name, values in columns.items():
        kinds = [outcome.strata, *([] if outcome.event is None else [outcome.event.astype(np.int64)])]
        amounts = (outcome.time, outcome.value)
        if any(_is_class(values, kind) for kind in kinds) or any(_is_amount(values, amount) for amount in amounts):
            raise DataError(
                "TL-LEAK-TARGET",
                f"the column {name} is the outcome itself, or another way to write it",
                where=f"column {name}",
                fix=f"leave it out with --drop {name}",
            )
        if len(outcome.names) != 2 or len(outcome.strata) < ENOUGH or not _parts(values, outcome.strata):
            continue
        if outcome.arm is not None:
            raise DataError(
                "TL-DATA-OVERLAP",
                f"the column {name} alone tells who got which treatment, so that no patient has a counterpart",
                where=f"column {name}",
                fix="restrict the rows to patients for whom both were an option, or --drop what was written afterwards",
            )
        warn(
            f"the column {name} alone parts {outcome.names[0]} from {outcome.names[1]} without a mistake: make sure "
            f"that it is known before the outcome, else leave it out with --drop {name}"
        )


def _is_class(values: np.ndarray, strata: np.ndarray) -> bool:
    """Whether each value stands for one class and each class for one value."""
    known = _known(values)
    if known.mean() < KNOWN_SHARE:
        return False
    pairs: dict[object, set[int]] = {}
    for value, kind in zip(values[known].tolist(), strata[known].tolist(), strict=True):
        pairs.setdefault(value, set()).add(kind)
    kinds = [next(iter(found)) for found in pairs.values() if len(found) == 1]
    whole = len(np.unique(strata))
    return len(pairs) == len(kinds) == whole == len(set(kinds)) > 1


def _is_amount(values: np.ndarray, outcome: np.ndarray | None) -> bool:
    """Whether the column is the number to predict, moved or scaled."""
    if outcome is None or values.dtype == object:
        return False
    known = np.isfinite(values)
    if known.mean() < KNOWN_SHARE or min(np.ptp(values[known]), np.ptp(outcome[known])) == 0:
        return False
    return bool(abs(np.corrcoef(values[known], outcome[known])[0, 1]) > ALMOST)


def _parts(values: np.ndarray, strata: np.ndarray) -> bool:
    if values.dtype == object:
        return False
    first, second = (values[(strata == kind) & np.isfinite(values)] for kind in (0, 1))
    return bool(len(first) and len(second) and (first.max() < second.min() or second.max() < first.min()))


def _known(values: np.ndarray) -> np.ndarray:
    if values.dtype == object:
        return np.array([v is not None for v in values], dtype=bool)
    return np.isfinite(values)
