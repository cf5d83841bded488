"""Intervals that hold for all candidates of a table at once: the max-t bootstrap.

Westfall & Young 1993, Resampling-based multiple testing; Hothorn, Bretz & Westfall 2008, section 4 (many to one). The
verdict's own pair needs no such correction: winner and reference are chosen on validation rows, and compared on rows
that had no part in the choice (Cox 1975, A note on data-dependent significance levels).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tlplat.evaluate import ALPHA, Estimate, Scores


def against(
    reference: Scores, others: Sequence[Scores], higher_is_better: bool, level: float = 1 - ALPHA
) -> list[Estimate]:
    """Each candidate minus the reference, positive where it is better; all intervals hold together at ``level``.

    The widths count test rows and seeds. A difference without spread (the reference itself) has an interval of none.
    """
    sign = 1 if higher_is_better else -1
    if not others:
        return []
    points = np.array([sign * (o.seeds.mean() - reference.seeds.mean()) for o in others])
    gaps = np.stack([sign * (o.replicates - reference.replicates) for o in others])
    gaps = gaps[:, np.isfinite(gaps).all(axis=0)]
    if gaps.shape[1] < 2:
        return [Estimate(float(p), float("nan"), float("nan")) for p in points]
    spread = gaps.std(axis=1)
    moving = spread > 0
    if not moving.any():
        return [Estimate(float(p), float(p), float(p)) for p in points]
    centred = np.abs(gaps[moving] - gaps[moving].mean(axis=1, keepdims=True)) / spread[moving, None]
    reach = float(np.quantile(centred.max(axis=0), level)) * spread
    return [Estimate(float(p), float(p - r), float(p + r)) for p, r in zip(points, reach, strict=True)]
