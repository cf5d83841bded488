"""No near-copy, gene or overlap crosses a split."""

from __future__ import annotations

import numpy as np
import pytest
from tlplat_genomics.genome import load_genome
from tlplat_genomics.sequence import tokenize
from tlplat_genomics.similarity import similar_pairs
from tlplat_genomics.split import check_split, split_sequences, split_windows
from tlplat_genomics.windows import start_site_windows

from tlplat.errors import DataError


@pytest.fixture
def repeated(genome_text, write):
    """A genome of 600 kb whose second half is a copy of its first."""
    fasta, gff = genome_text(330)
    title, sequence = fasta.splitlines()
    half = len(sequence)
    rows = [line.split("\t") for line in gff.splitlines()[1:]]
    copies = [[*r[:3], str(int(r[3]) + half), str(int(r[4]) + half), *r[5:8], r[8].replace("-", "-2", 1)] for r in rows]
    text = "\n".join("\t".join(r) for r in rows + copies)
    return load_genome("g", write("r.fna", f"{title}\n{sequence * 2}\n"), write("r.gff", text + "\n"))


def test_nothing_crosses(repeated):
    windows = start_site_windows(repeated, 0)
    split = split_windows(windows, 0.5, 0)
    assert 0.3 < split.test.mean() < 0.7
    near = similar_pairs(windows.tokens).near_copies()
    assert len(near.first) > 100
    assert (split.test[near.first] == split.test[near.second]).all()
    for groups in (windows.gene, split.groups):
        for g in np.unique(groups[groups >= 0]):
            assert len(np.unique(split.test[groups == g])) == 1
    close = (np.diff(windows.begin) < 100) & (np.diff(windows.seqid) == 0)
    assert (split.test[1:][close] == split.test[:-1][close]).all()
    assert split.report["near_copies_across_the_split"] == 0
    assert split.report["highest_identity_across_the_split"] < 0.8
    assert split.report["pairs_checked"] > 0


def test_a_split_blind_to_copies_would_leak(repeated):
    windows = start_site_windows(repeated, 0)
    near = similar_pairs(windows.tokens).near_copies()
    by_half = windows.begin >= len(repeated.replicons["chr"]) // 2
    assert (by_half[near.first] != by_half[near.second]).any()


def test_regions_and_seed(genome):
    windows = start_site_windows(genome, 0)
    a, b = split_windows(windows, 0.5, 0), split_windows(windows, 0.5, 0)
    assert (a.test == b.test).all()


def test_loose_sequences_keep_clusters_and_classes(rng):
    base = rng.integers(0, 4, (30, 80)).astype(np.uint8)
    rows = list(np.repeat(base, 3, axis=0))
    strata = np.arange(90) // 3 % 2
    split = split_sequences(rows, np.arange(90), strata, 0.5, 0)
    assert all(len(set(split.test[i : i + 3])) == 1 for i in range(0, 90, 3))
    for label in (0, 1):
        assert 0.3 < split.test[strata == label].mean() < 0.7


def test_given_groups_stay_together(rng):
    rows = list(rng.integers(0, 4, (40, 80)).astype(np.uint8))
    given = np.arange(40) // 10
    split = split_sequences(rows, given, np.zeros(40, dtype=np.int64), 0.5, 0)
    assert all(len(set(split.test[given == g])) == 1 for g in range(4))


def test_homolog_across_a_given_split(rng, dna):
    letters = [dna(100) for _ in range(20)]
    copy = list(letters[3])
    for i in (5, 25, 45, 65, 85):
        copy[i] = "A" if copy[i] != "A" else "C"
    rows = [tokenize(s.encode()) for s in [*letters, "".join(copy)]]
    test = np.arange(21) >= 15
    with pytest.raises(DataError) as caught:
        check_split(rows, test, [f"s{i}" for i in range(21)])
    text = str(caught.value)
    assert caught.value.code == "TL-LEAK-HOMOLOG"
    assert "95.0% identity" in text
    assert "cluster" in text
    assert "s20" in text
    assert "s3" in text


def test_duplicate_across_a_given_split(dna):
    letters = [dna(100) for _ in range(6)]
    rows = [tokenize(s.encode()) for s in [*letters, letters[0]]]
    with pytest.raises(DataError) as caught:
        check_split(rows, np.arange(7) >= 4, [f"s{i}" for i in range(7)])
    assert caught.value.code == "TL-LEAK-DUP"
    assert all(word in str(caught.value) for word in ("duplicate", "train", "test", "count"))


def test_clean_given_split_passes(dna):
    rows = [tokenize(dna(100).encode()) for _ in range(20)]
    assert check_split(rows, np.arange(20) >= 10, [str(i) for i in range(20)]).report["pairs_checked"] >= 0
