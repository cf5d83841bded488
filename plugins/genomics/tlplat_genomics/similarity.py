"""Near-copies among sequences: shared k-mers propose pairs, a banded alignment decides. Both strands count.

Seed and extend as in BLAST (Altschul et al. 1990), exact on the proposed diagonals, in numpy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlplat_genomics.alignment import band_identity
from tlplat_genomics.sequence import OTHER, Tokens, reverse_complement

NEAR_COPY = 0.8
"""Identity over the overlap from which two sequences are near-copies."""
MIN_SHARE = 0.5
"""The overlap must cover this part of the shorter sequence."""
WORTH_ALIGNING = 0.5
"""Ungapped identity from which gaps are tried: one gap in the middle of a copy leaves about 0.6."""
NEIGHBOURS = 64
"""In a k-mer that occurs more often, each occurrence is paired with so many next ones; clusters join the rest."""

CHUNK = 1 << 24
"""Bases compared at once."""

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """Pairs of sequences that share a seed, and how alike they are.

    Attributes:
        first, second: (m,) row numbers, first < second. identity: (m,) in [0, 1], over the overlap.
        seed_length: bases of the shared k-mer.
    """

    first: Ints
    second: Ints
    identity: NDArray[np.float64]
    seed_length: int

    def near_copies(self) -> Pairs:
        kept = self.identity >= NEAR_COPY
        return Pairs(self.first[kept], self.second[kept], self.identity[kept], self.seed_length)

    def crossing(self, side: NDArray[np.bool_]) -> Pairs:
        """Pairs whose sequences lie on different sides."""
        kept = side[self.first] != side[self.second]
        return Pairs(self.first[kept], self.second[kept], self.identity[kept], self.seed_length)


def similar_pairs(sequences: Sequence[Tokens] | Tokens) -> Pairs:
    """All pairs that share a seed of about 10 bases on either strand, with their identity.

    The seed grows with the amount of sequence, so that chance hits stay few. Sequences shorter than the seed are
    compared for equality alone.
    """
    lengths = np.array([len(s) for s in sequences], dtype=np.int64)
    k = _seed_length(int(lengths.sum()))
    rows, columns, strands, codes = _seeds(sequences, k)
    hits = _hits(rows, columns, strands, codes, len(sequences), int(lengths.max(initial=0)))
    identity = _identity(sequences, lengths, hits)
    equal = _equal_short(sequences, lengths, k)
    first = np.concatenate([hits[:, 0], equal[:, 0]])
    second = np.concatenate([hits[:, 1], equal[:, 1]])
    return _best(first, second, np.concatenate([identity, np.ones(len(equal))]), len(sequences), k)


def connected(count: int, *links: tuple[Ints, Ints]) -> Ints:
    """(count,) component numbers, from 0 in order of first appearance, of the graph whose edges are ``links``."""
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    for first, second in links:
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            low, high = sorted((root(a), root(b)))
            parent[high] = low
    roots = np.array([root(i) for i in range(count)], dtype=np.int64)
    return np.asarray(np.unique(roots, return_inverse=True)[1], dtype=np.int64)


def equal_links(values: Ints) -> tuple[Ints, Ints]:
    """Edges that join the rows of each value."""
    order = np.argsort(values, kind="stable")
    same = values[order][1:] == values[order][:-1]
    return order[:-1][same], order[1:][same]


def _seed_length(bases: int) -> int:
    return max(10, min(15, math.ceil(math.log(max(1.0, bases**2 / 2e6), 4))))


def _seeds(sequences: Sequence[Tokens] | Tokens, k: int) -> tuple[Ints, Ints, Ints, Ints]:
    """Row, position, strand and code of every k-mer of unambiguous bases, sorted by code."""
    found: list[tuple[Ints, Ints, Ints, Ints]] = []
    for strand in (0, 1):
        oriented = [s if strand == 0 else reverse_complement(s) for s in sequences]
        joined = np.concatenate([part for s in oriented for part in (s, _GAP)]) if oriented else _GAP
        lengths = np.array([len(s) + 1 for s in oriented], dtype=np.int64)
        row = np.repeat(np.arange(len(oriented)), lengths)
        column = np.arange(len(joined)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        count = max(0, len(joined) - k + 1)
        code = np.zeros(count, dtype=np.int64)
        good = np.ones(count, dtype=bool)
        for i in range(k):
            part = joined[i : i + count]
            code = 4 * code + part
            good &= part < OTHER
        found.append((row[:count][good], column[:count][good], np.full(int(good.sum()), strand), code[good]))
    rows, columns, strands, codes = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(codes, kind="stable")
    return rows[order], columns[order], strands[order], codes[order]


_GAP = np.array([OTHER], dtype=np.uint8)


def _hits(rows: Ints, columns: Ints, strands: Ints, codes: Ints, count: int, longest: int) -> Ints:
    """(m, 4) distinct (first, second, strand of the second, diagonal); the first is on its forward strand."""
    span = 2 * longest + 1
    keys: list[Ints] = []
    for step in range(1, NEIGHBOURS + 1):
        same = np.flatnonzero(codes[step:] == codes[:-step])
        if not len(same):
            break
        a, b = same, same + step
        swap = rows[a] > rows[b]
        a, b = np.where(swap, b, a), np.where(swap, a, b)
        kept = (rows[a] < rows[b]) & (strands[a] == 0)
        a, b = a[kept], b[kept]
        diagonal = columns[a] - columns[b] + longest
        keys.append(((rows[a] * count + rows[b]) * 2 + strands[b]) * span + diagonal)
    key = np.unique(np.concatenate(keys)) if keys else np.zeros(0, dtype=np.int64)
    key, diagonal = np.divmod(key, span)
    key, strand = np.divmod(key, 2)
    first, second = np.divmod(key, max(1, count))
    return np.stack([first, second, strand, diagonal - longest], axis=1)


def _identity(sequences: Sequence[Tokens] | Tokens, lengths: Ints, hits: Ints) -> NDArray[np.float64]:
    """(m,) identity on each diagonal, with gaps where that may lift it; 0 where the overlap is too short."""
    width = int(lengths.max(initial=0))
    left, right = _windows(sequences, width)
    first, second, strand, diagonal = hits.T
    begin = np.maximum(0, diagonal)
    overlap = np.minimum(lengths[first], lengths[second] + diagonal) - begin
    enough = overlap >= MIN_SHARE * np.minimum(lengths[first], lengths[second])
    out = np.zeros(len(hits))
    for chunk in np.array_split(np.flatnonzero(enough), max(1, len(hits) * max(1, width) // CHUNK)):
        a = left[first[chunk], begin[chunk]]
        b = right[strand[chunk], second[chunk], begin[chunk] - diagonal[chunk]]
        value = np.count_nonzero(a == b, axis=1) / np.maximum(1, overlap[chunk])
        gapped = (value >= WORTH_ALIGNING) & (value < NEAR_COPY)
        value[gapped] = np.maximum(value[gapped], band_identity(a[gapped], b[gapped], overlap[chunk][gapped]))
        out[chunk] = value
    return out


def _windows(sequences: Sequence[Tokens] | Tokens, width: int) -> tuple[Tokens, Tokens]:
    """Views [row, begin] and [strand, row, begin] of ``width`` bases; what is no base never equals the other side's."""
    left = np.full((len(sequences), 2 * width), OTHER, dtype=np.uint8)
    right = np.full((2, len(sequences), 2 * width), OTHER + 1, dtype=np.uint8)
    for i, s in enumerate(sequences):
        left[i, : len(s)] = s
        right[0, i, : len(s)] = np.where(s < OTHER, s, OTHER + 1)
        right[1, i, : len(s)] = right[0, i, : len(s)][::-1]
    bases = right[1] < OTHER
    right[1][bases] = 3 - right[1][bases]
    view = np.lib.stride_tricks.sliding_window_view
    return view(left, max(1, width), axis=1), view(right, max(1, width), axis=2)


def _equal_short(sequences: Sequence[Tokens] | Tokens, lengths: Ints, k: int) -> Ints:
    """(m, 2) pairs of equal sequences among those too short for a seed."""
    seen: dict[bytes, int] = {}
    pairs = []
    for i in np.flatnonzero(lengths < k).tolist():
        other = seen.setdefault(bytes(sequences[i]), i)
        if other != i:
            pairs.append((other, i))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _best(first: Ints, second: Ints, identity: NDArray[np.float64], count: int, k: int) -> Pairs:
    key = first * max(1, count) + second
    order = np.lexsort((-identity, key))
    _, at = np.unique(key[order], return_index=True)
    kept = order[at]
    return Pairs(first[kept], second[kept], identity[kept], k)
