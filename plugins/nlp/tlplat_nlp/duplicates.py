"""Near-copies among texts, found by MinHash and checked: rows that must stay on one side of a split."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Ints: TypeAlias = NDArray[np.int64]

NEAR_COPY = 0.8
"""Texts that share at least this part of their pieces (Jaccard) are near-copies."""
PIECE = 5
"""Characters of a piece, over the text in lower case without accents, marks and repeated spaces."""
BANDS, ROWS = 16, 4
"""A pair is compared where ROWS equal minima stand in one of BANDS: 99.98 % of pairs at .8, 63 % at .5."""
MOST_IN_BUCKET = 50
"""A bucket of more texts links each to the first of them alone: they are near-copies of one another by then."""
_PRIME = (1 << 31) - 1
_APART = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class Pairs:
    """Pairs of near-copies: positions first < second, and the Jaccard similarity of each."""

    first: Ints
    second: Ints
    similarity: NDArray[np.float64]


def normalised(text: str) -> str:
    """Lower case, without accents; everything but letters and digits is one space. Other scripts stay as they are."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    return _APART.sub(" ", plain).strip() or " ".join(plain.split())


def near_copies(texts: Sequence[str]) -> Pairs:
    """All pairs of equal normalised texts, and nearly all that share 80 % of their pieces (Broder 1997)."""
    plain = [normalised(text) for text in texts]
    pieces = [_pieces(text) for text in plain]
    candidates = _links(_numbered(plain))
    minima = _minima(pieces)
    mixer = np.random.default_rng(0x3A6).integers(1, 1 << 63, ROWS, dtype=np.uint64) | np.uint64(1)
    for band in range(BANDS):
        mixed = (minima[:, band * ROWS : (band + 1) * ROWS].astype(np.uint64) * mixer).sum(axis=1)  # wraps round
        candidates = np.concatenate([candidates, _links(mixed)])
    candidates = np.unique(np.sort(candidates, axis=1), axis=0)
    similarity = np.array([_jaccard(pieces[a], pieces[b]) for a, b in candidates.tolist()])
    near = similarity >= NEAR_COPY
    return Pairs(candidates[near, 0], candidates[near, 1], similarity[near])


def clusters(count: int, *links: tuple[Ints, Ints]) -> Ints:
    """(count,) numbers: what any of the links joins, directly or not, has one number."""
    first = np.concatenate([a for a, _ in links]) if links else np.zeros(0, dtype=np.int64)
    second = np.concatenate([b for _, b in links]) if links else np.zeros(0, dtype=np.int64)
    graph = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(count, count))
    _, number = connected_components(graph, directed=False)
    return np.asarray(number, dtype=np.int64)


def equal_links(values: Iterable[Hashable]) -> tuple[Ints, Ints]:
    """Links between neighbours of equal value; None links nothing."""
    numbers = _numbered(values)
    order = np.argsort(numbers, kind="stable")
    same = (numbers[order][1:] == numbers[order][:-1]) & (numbers[order][1:] >= 0)
    return order[:-1][same], order[1:][same]


def _numbered(values: Iterable[Hashable]) -> Ints:
    names: dict[Hashable, int] = {}
    return np.array([-1 if v is None else names.setdefault(v, len(names)) for v in values], dtype=np.int64)


def _pieces(text: str) -> NDArray[np.int64]:
    """Hashes of the text's different pieces; a short text is one piece."""
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32).astype(np.int64)
    if len(codes) < PIECE:
        codes = np.pad(codes, (0, PIECE - len(codes)))
    windows = np.lib.stride_tricks.sliding_window_view(codes, PIECE)
    value = np.zeros(len(windows), dtype=np.int64)
    for column in range(PIECE):
        value = (value * 1_000_003 + windows[:, column]) % _PRIME
    return np.unique(value)


def _minima(pieces: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """(n, BANDS * ROWS) least hash of each text's pieces under random permutations, the same in every run."""
    rng = np.random.default_rng(0x3A5)
    factor = rng.integers(1, _PRIME, BANDS * ROWS)
    shift = rng.integers(0, _PRIME, BANDS * ROWS)
    flat = np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.int64)
    starts = np.cumsum([0, *map(len, pieces)])[:-1]
    out = np.empty((len(pieces), BANDS * ROWS), dtype=np.int64)
    for column in range(BANDS * ROWS):
        value = flat * factor[column] + shift[column]
        value = (value & _PRIME) + (value >> 31)  # modulo 2^31 - 1, but for values of the prime itself and more
        value -= _PRIME * (value >= _PRIME)
        out[:, column] = np.minimum.reduceat(value, starts)
    return out


def _links(bucket: NDArray[Any]) -> NDArray[np.int64]:
    """(m, 2) pairs within each bucket: all of a small one, a star of a large one."""
    order = np.argsort(bucket, kind="stable")
    again = bucket[order][1:] == bucket[order][:-1]
    order = order[np.r_[again, False] | np.r_[False, again]] if len(order) else order
    edges = np.flatnonzero(bucket[order][1:] != bucket[order][:-1]) + 1
    found: list[tuple[int, int]] = []
    for members in np.split(order, edges):
        if len(members) < 2:
            continue
        rows = members.tolist()
        if len(rows) > MOST_IN_BUCKET:
            found += [(rows[0], other) for other in rows[1:]]
        else:
            found += [(a, b) for i, a in enumerate(rows) for b in rows[i + 1 :]]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _jaccard(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared)
