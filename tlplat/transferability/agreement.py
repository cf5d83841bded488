"""Whether scores order the sources alike."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np


def kendall_tau(a: Sequence[float | None], b: Sequence[float | None]) -> float:
    """Kendall's tau-b (Kendall 1945) of two scores over the same sources, in [-1, 1].

    Sources that one of them lacks (None) are left out. NaN below two sources, or where one score ties all.
    """
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    if len(pairs) < 2:
        return math.nan
    x, y = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    i, j = np.triu_indices(len(x), 1)
    dx, dy = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
    norm = math.sqrt(float((dx != 0).sum()) * float((dy != 0).sum()))
    return float((dx * dy).sum()) / norm if norm else math.nan


def agreement(scores: Mapping[str, Sequence[float | None]]) -> dict[tuple[str, str], float]:
    """tau-b of each pair of scores, over sources in the same order."""
    return {(a, b): kendall_tau(scores[a], scores[b]) for a, b in itertools.combinations(scores, 2)}
