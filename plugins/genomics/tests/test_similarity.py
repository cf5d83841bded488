"""Near-copies are found, on both strands, with gaps, at other offsets; chance likeness is not."""

from __future__ import annotations

import numpy as np
import pytest
from tlplat_genomics.alignment import band_identity
from tlplat_genomics.sequence import reverse_complement, tokenize
from tlplat_genomics.similarity import NEAR_COPY, connected, similar_pairs


def mutated(rng, rows, rate):
    out = rows.copy()
    change = rng.random(rows.shape) < rate
    out[change] = (out[change] + rng.integers(1, 4, int(change.sum()))) % 4
    return out


def found(pairs, n) -> float:
    near = pairs.near_copies()
    return float(((near.second - near.first) == n).sum() / n)


def edit_distance(a, b) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        new = [i]
        for j, y in enumerate(b, 1):
            new.append(min(row[j] + 1, new[-1] + 1, row[j - 1] + (x != y)))
        row = new
    return row[-1]


@pytest.mark.parametrize(("rate", "least"), [(0.0, 1.0), (0.05, 1.0), (0.1, 0.98)])
def test_copies_are_found(rng, rate, least):
    rows = rng.integers(0, 4, (200, 100)).astype(np.uint8)
    assert found(similar_pairs(np.concatenate([rows, mutated(rng, rows, rate)])), 200) >= least


def test_reverse_strand(rng):
    rows = rng.integers(0, 4, (100, 100)).astype(np.uint8)
    assert found(similar_pairs(np.concatenate([rows, reverse_complement(mutated(rng, rows, 0.05))])), 100) == 1


def test_gap_in_the_middle(rng):
    rows = rng.integers(0, 4, (100, 100)).astype(np.uint8)
    gapped = np.stack([np.insert(np.delete(r, 30), 70, 0) for r in mutated(rng, rows, 0.05)]).astype(np.uint8)
    assert found(similar_pairs(np.concatenate([rows, gapped])), 100) >= 0.98


def test_shifted_windows_and_lengths(rng):
    long = rng.integers(0, 4, 400).astype(np.uint8)
    pairs = similar_pairs([long[:200], long[60:300], long[350:]])
    assert [(int(a), int(b)) for a, b in zip(pairs.first, pairs.second, strict=True) if a == 0] == [(0, 1)]
    assert pairs.identity[0] == 1


def test_chance_likeness_stays_below(rng):
    pairs = similar_pairs(rng.integers(0, 4, (1000, 100)).astype(np.uint8))
    assert len(pairs.first) > 1000
    assert pairs.identity.max() < NEAR_COPY


def test_ambiguous_bases_and_short_sequences_match_nothing_or_exactly():
    pairs = similar_pairs(
        [tokenize(b"N" * 50), tokenize(b"N" * 50), tokenize(b"ACG"), tokenize(b"ACG"), tokenize(b"ACT")]
    )
    assert [(int(a), int(b)) for a, b in zip(pairs.first, pairs.second, strict=True)] == [(2, 3)]


def test_identity_is_edit_distance(rng):
    left = rng.integers(0, 4, (20, 60)).astype(np.uint8)
    right = mutated(rng, left, 0.1)
    right[::2] = np.stack([np.insert(np.delete(r, 10), 40, 1) for r in right[::2]])
    expected = [1 - edit_distance(a.tolist(), b.tolist()) / 60 for a, b in zip(left, right, strict=True)]
    assert band_identity(left, right, np.full(20, 60)) == pytest.approx(expected)
    short = [1 - edit_distance(a[:40].tolist(), b[:40].tolist()) / 40 for a, b in zip(left, right, strict=True)]
    assert band_identity(left, right, np.full(20, 40)) == pytest.approx(short)


def test_repeats_beyond_the_neighbours_join_one_cluster(rng):
    rows = np.repeat(rng.integers(0, 4, (1, 100)), 300, axis=0).astype(np.uint8)
    pairs = similar_pairs(rows)
    assert connected(300, (pairs.first, pairs.second)).max() == 0


def test_components_are_numbered_by_appearance():
    a, b = np.array([3, 4]), np.array([1, 3])
    assert connected(6, (a, b)).tolist() == [0, 1, 2, 1, 1, 3]
