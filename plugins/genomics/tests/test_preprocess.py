"""Lengths, padding, tokens, altered copies."""

from __future__ import annotations

import numpy as np
from tlplat_genomics.augment import composition_copies
from tlplat_genomics.demo import gc_content
from tlplat_genomics.preprocess import Preprocess
from tlplat_genomics.sequence import fit_length, reverse_complement, tokenize


def test_tokens_and_strands():
    assert tokenize(b"ACGTUacgtuNR").tolist() == [0, 1, 2, 3, 3, 0, 1, 2, 3, 3, 4, 4]
    assert reverse_complement(tokenize(b"AACGN")).tolist() == tokenize(b"NCGTT").tolist()


def test_fit_length_keeps_the_middle():
    assert fit_length(tokenize(b"AACGT"), 3).tolist() == tokenize(b"ACG").tolist()
    assert fit_length(tokenize(b"ACG"), 5).tolist() == tokenize(b"NACGN").tolist()
    for length in range(1, 12):
        row = np.zeros(length, dtype=np.uint8)
        row[length // 2] = 2
        for window in range(1, 12):
            out = fit_length(row, window)
            assert len(out) == window
            assert out[window // 2] == 2 or (length + window) % 2


def test_json_round_trip_and_counts():
    made = Preprocess(10)
    assert Preprocess.from_json(made.to_json()) == made
    sequences = [tokenize(b"ACGT"), tokenize(b"A" * 12)]
    assert made.encode(sequences).tensor.shape == (2, 10)
    assert made.fitted(sequences) == {"window": 10, "shortest": 4, "longest": 12, "cropped_rows": 1, "padded_rows": 1}
    assert Preprocess(5000, pad=False).encode(sequences).tensor.shape == (2, 12)


def test_copies_change_composition_but_not_the_anchor(rng):
    tokens = rng.integers(0, 4, (400, 100)).astype(np.uint8)
    tokens[:, 50:53] = [0, 3, 2]
    out = composition_copies(tokens, 2, slice(50, 53), 0)
    assert out.shape == (1200, 100)
    assert (out[:400] == tokens).all()
    assert (out[:, 50:53] == [0, 3, 2]).all()
    changed = (out[400:800] != tokens).mean(axis=1)
    assert changed.max() < 0.5
    assert 0.05 < changed.mean() < 0.3
    spread = [np.std([gc_content(row) for row in part]) for part in (out[:400], out[400:])]
    assert spread[1] > 1.2 * spread[0]
    assert (out == composition_copies(tokens, 2, slice(50, 53), 0)).all()
