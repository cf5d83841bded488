"""How sure a difference of two validation scores is: both candidates on the same rows, rows and seeds resampled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tlplat.evaluate import Resamples
from tlplat.tasks.base import Metric

REPLICATES = 500

OutOfFold = tuple[np.ndarray, np.ndarray]
"""Numbers (m,) of the rows that validated with one seed, and their predictions (m, outputs)."""


def paired_error(
    metric: Metric, targets: np.ndarray, units: np.ndarray, first: Sequence[OutOfFold], second: Sequence[OutOfFold]
) -> float:
    """Standard error of the difference of two mean validation scores, by a paired bootstrap over units and seeds.

    It does not know that the first may be the best of many: see :data:`tlplat.rounds.CLEAR`.

    Args:
        targets: (n,) of all labelled rows. units: (n,) what is resampled together.
        first, second: one pair a seed, the seeds in the same order. NaN where no resample is defined.
    """
    draws = Resamples.draw(units, len(first), REPLICATES)

    def replicates(parts: Sequence[OutOfFold]) -> np.ndarray:
        scores = [metric(targets[rows], predictions, draws.rows[:, rows]) for rows, predictions in parts]
        mean: np.ndarray = (np.stack(scores, axis=1) * draws.seeds).sum(axis=1)
        return mean

    gaps = replicates(first) - replicates(second)
    known = gaps[np.isfinite(gaps)]
    return float(known.std()) if len(known) else float("nan")
