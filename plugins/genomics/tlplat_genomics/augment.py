"""Copies of windows with another base composition, so that a source model leans less on its genome's GC content."""

from __future__ import annotations

import numpy as np

from tlplat_genomics.sequence import Tokens

MOST_CHANGED = 0.4
"""Largest share of a window's bases that a copy changes; each copy draws its own share."""
GC_RANGE = (0.15, 0.85)


def composition_copies(tokens: Tokens, copies: int, keep: slice, seed: int) -> Tokens:
    """(rows * (1 + copies), length): the windows, then ``copies`` altered versions of all.

    Each version draws a share of positions and a GC content, and replaces those positions by bases of that content;
    positions in ``keep`` (an anchor that the task needs) stay.
    """
    rng = np.random.default_rng([seed, 0xA09])
    parts = [tokens]
    for _ in range(copies):
        rows, length = tokens.shape
        share = rng.uniform(0, MOST_CHANGED, (rows, 1))
        gc = rng.uniform(*GC_RANGE, (rows, 1))
        strong = rng.random((rows, length)) < gc
        second = rng.integers(0, 2, (rows, length), dtype=np.uint8)
        base = np.where(strong, 1 + second, 3 * second).astype(np.uint8)
        change = rng.random((rows, length)) < share
        change[:, keep] = False
        parts.append(np.where(change, base, tokens))
    return np.concatenate(parts)
