"""Identity of many pairs of sequences at once, within a band around the diagonal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tlplat_genomics.sequence import OTHER, Tokens

BAND = 8
"""Gaps, in bases, that a pair may accumulate to either side."""
LONGEST = 1000
"""A banded alignment looks at so many bases of the overlap."""


def band_identity(left: Tokens, right: Tokens, lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """(m,) 1 - edit distance / length, over the first ``lengths`` bases of each pair, within ``BAND`` of the diagonal.

    The unit-cost distance of Levenshtein by dynamic programming, one row of the band for all pairs at a time.
    """
    lengths = np.minimum(lengths, LONGEST)
    pairs, reach = len(left), int(lengths.max(initial=0))
    if not pairs:
        return np.zeros(0)
    width = 2 * BAND + 1
    far = 4 * LONGEST
    shift = np.arange(width)
    padded = np.full((pairs, reach + 2 * BAND + 1), OTHER + 1, dtype=np.uint8)
    padded[:, BAND : BAND + min(reach, right.shape[1])] = right[:, :reach]
    row = np.where(shift >= BAND, shift - BAND, far)[None].repeat(pairs, axis=0)
    distance = np.zeros(pairs, dtype=np.int64)
    for i in range(1, reach + 1):
        window = padded[:, i - 1 : i - 1 + width]
        base = left[:, i - 1 : i]
        change = row + ((window != base) | (base >= OTHER))
        delete = np.concatenate([row[:, 1:], np.full((pairs, 1), far)], axis=1) + 1
        best = np.minimum(change, delete)
        best[:, shift + i - BAND < 0] = far
        row = np.minimum.accumulate(best - shift, axis=1) + shift
        ended = lengths == i
        distance[ended] = row[ended, BAND]
    return np.asarray(1 - distance / np.maximum(1, lengths), dtype=np.float64)
