"""Near-copies among images: every pair is compared, by small grey pictures.

Hashes of 64 bits find copies faster, but miss most of them among smooth or tiny images: half of their bits hang on
noise there (on the UCI digits they proposed 37 of 198 pairs).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

NEAR_COPY = 0.99
"""Correlation of two thumbnails from which images are near-copies: copies of other size, quality or brightness."""
NOTED = 0.95
"""Pairs from here on are counted in the report."""
THUMBNAIL = 16
BLOCK = 1024
BLANK = 0.5
"""An image whose grey differs from its mean by less (root mean square, of 255) is blank."""

Ints = NDArray[np.int64]
Thumbnails = NDArray[np.float32]
"""(n, 256) grey pictures of zero mean and unit length; all zero for a blank image."""


@dataclass(frozen=True)
class Pairs:
    """m pairs of rows, first < second, with the correlation of their thumbnails (two blank images: 1)."""

    first: Ints
    second: Ints
    correlation: NDArray[np.float64]

    def select(self, which: NDArray[np.bool_]) -> Pairs:
        return Pairs(self.first[which], self.second[which], self.correlation[which])

    def near_copies(self) -> Pairs:
        return self.select(self.correlation >= NEAR_COPY)

    def crossing(self, test: NDArray[np.bool_]) -> Pairs:
        return self.select(test[self.first] != test[self.second])


def thumbnail(image: Image.Image) -> Thumbnails:
    """(256,) what is kept of an image in mode L or RGB to compare it."""
    grey = image.convert("L").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR)
    picture = np.asarray(grey, dtype=np.float32).ravel()
    picture -= picture.mean()
    length = float(np.linalg.norm(picture))
    return picture / length if length >= BLANK * THUMBNAIL else np.zeros_like(picture)


def thumbnails(images: Iterable[Image.Image]) -> Thumbnails:
    """(n, 256) of all images."""
    rows = [thumbnail(image) for image in images]
    return np.stack(rows) if rows else np.zeros((0, THUMBNAIL**2), dtype=np.float32)


def similar_pairs(rows: Thumbnails) -> Pairs:
    """Every pair of thumbnails (n, 256) that correlates at ``NOTED`` or above; n^2 / 2 products, a block at a time."""
    firsts, seconds, values = [], [], []
    blank: NDArray[np.bool_] = np.logical_not(rows.any(axis=1))
    for start in range(0, len(rows), BLOCK):
        left = slice(start, min(start + BLOCK, len(rows)))
        found: Thumbnails = rows[left] @ rows[start:].T
        found[np.outer(blank[left], blank[start:])] = 1
        i, j = np.nonzero(found >= NOTED)
        ahead = i < j
        firsts.append(i[ahead] + start)
        seconds.append(j[ahead] + start)
        values.append(found[i[ahead], j[ahead]].astype(np.float64))
    none = np.zeros(0, dtype=np.int64)
    first, second = (np.concatenate([none, *parts]) for parts in (firsts, seconds))
    return Pairs(first, second, np.concatenate([none.astype(np.float64), *values]))


def connected(n: int, first: Ints, second: Ints) -> Ints:
    """(n,) numbers 0, 1, ...: rows that the links join, directly or in a chain, share one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(n, n))
    return np.asarray(connected_components(links, directed=False)[1], dtype=np.int64)
