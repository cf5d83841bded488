"""Windows of synthetic genomes: anchors, labels, balance, determinism."""

from __future__ import annotations

import numpy as np
import pytest
from tlplat_genomics.genome import load_genome
from tlplat_genomics.sequence import reverse_complement
from tlplat_genomics.windows import coding_windows, start_site_windows

from tlplat.errors import DataError


def test_start_sites_are_anchored_balanced_and_true(genome):
    windows = start_site_windows(genome, 0)
    assert windows.tokens.shape[1] == 100
    assert (windows.tokens[:, 50:53] == [0, 3, 2]).all()
    assert windows.labels.mean() == 0.5
    assert (windows.labels == 1).sum() == 40
    starts = {(c.strand, c.start_codon) for c in genome.annotation.cds}
    for begin, reverse, label in zip(windows.begin, windows.strand, windows.labels, strict=True):
        codon = int(begin) + (47 if reverse else 50)
        assert (("-" if reverse else "+", codon) in starts) == bool(label)


def test_decoys_match_strands(genome):
    windows = start_site_windows(genome, 0)
    for label in (0, 1):
        assert windows.strand[windows.labels == label].sum() == 20


def test_no_decoy_is_a_left_out_start(write):
    """Of three ATGs on each strand, one starts a gene, one a pseudogene, and one is a decoy."""
    letters = list("AC" * 500)
    places = {"+": (200, 400, 600), "-": (300, 500, 700)}
    rows = []
    for strand, (true, pseudo, other) in places.items():
        for at in (true, pseudo, other):
            letters[at : at + 3] = "ATG" if strand == "+" else "CAT"
        for at, more in ((true, ""), (pseudo, ";pseudo=true")):
            begin, end = (at + 1, at + 30) if strand == "+" else (at - 26, at + 3)
            rows.append(f"chr\tt\tCDS\t{begin}\t{end}\t.\t{strand}\t0\tID=g{at}{more}\n")
    genome = load_genome("g", write("g.fna", ">chr\n" + "".join(letters) + "\n"), write("g.gff", "".join(rows)))
    assert genome.annotation.left_out_starts == {("chr", "+"): {400}, ("chr", "-"): {500}}
    windows = start_site_windows(genome, 0)
    codons = windows.begin + np.where(windows.strand, 47, 50)
    assert sorted(codons[windows.labels == 0].tolist()) == [600, 700]
    assert sorted(codons[windows.labels == 1].tolist()) == [200, 300]


def test_other_start_codons_are_left_out(genome_text, write):
    fasta, gff = genome_text(30)
    title, sequence = fasta.splitlines()
    changed = sequence[:300] + "GTG" + sequence[303:]
    genome = load_genome("g", write("g.fna", f"{title}\n{changed}\n"), write("g.gff", gff))
    windows = start_site_windows(genome, 0)
    assert (windows.tokens[:, 50] == 0).all()
    assert (windows.labels == 1).sum() == 29


def test_windows_read_their_strand(genome):
    windows = start_site_windows(genome, 0)
    whole = genome.replicons["chr"]
    for i in range(len(windows)):
        piece = whole[windows.begin[i] : windows.begin[i] + 100]
        assert (windows.tokens[i] == (reverse_complement(piece) if windows.strand[i] else piece)).all()
        end = windows.begin[i] + 100
        assert windows.ids[i] == f"chr:{windows.begin[i] + 1}-{end}({'-' if windows.strand[i] else '+'})"


def test_coding_windows_lie_where_they_say(genome):
    windows = coding_windows(genome, 0)
    genic = genome.genic_mask("chr")
    assert windows.labels.mean() == 0.5
    for begin, label in zip(windows.begin, windows.labels, strict=True):
        inside = genic[begin : begin + 200]
        assert inside.all() if label else not inside.any()
    assert 0.2 < windows.strand.mean() < 0.8


def test_deterministic_in_the_seed(genome):
    first, again, other = (start_site_windows(genome, s) for s in (1, 1, 2))
    assert (first.tokens == again.tokens).all()
    assert first.ids == again.ids
    assert first.ids != other.ids


def test_a_genome_without_starts(genome_text, write):
    gff = "chr\tt\tCDS\t1\t30\t.\t+\t0\tID=a\n"
    genome = load_genome("g", write("g.fna", ">chr\n" + "ACCC" * 100), write("g.gff", gff))
    with pytest.raises(DataError, match="start codon"):
        start_site_windows(genome, 0)
    assert np.sum(genome.genic_mask("chr")) == 30
