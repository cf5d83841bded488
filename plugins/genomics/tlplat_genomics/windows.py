"""Windows of a genome with labels: start codons against decoys, coding against intergenic. Deterministic in a seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlplat.errors import DataError
from tlplat_genomics.genome import Genome
from tlplat_genomics.sequence import Tokens

START_LENGTH = 100
START_LABELS = ("decoy", "start")
CODING_LENGTH = 200
CODING_LABELS = ("intergenic", "coding")
CODING_SPACING = 1000
"""One coding window for so many bases of coding sequence, before classes are balanced."""
LONGEST_GAP = 600
"""Longer stretches without a gene mostly hold genes that the annotation lacks, so no window comes from them."""

_ATG, _CAT = (0, 3, 2), (1, 0, 3)


@dataclass(frozen=True)
class Windows:
    """n labelled windows of one genome, in order of position.

    Attributes:
        tokens: (n, length). labels: (n,) int64, class index. seqid: (n,) replicon number in file order.
        begin: (n,) forward coordinate of the first base. strand: (n,) True for the reverse strand.
        gene: (n,) number of the coding sequence that the window belongs to, or -1.
        ids: ``replicon:begin-end(strand)``, 1-based inclusive.
    """

    tokens: Tokens
    labels: NDArray[np.int64]
    seqid: NDArray[np.int64]
    begin: NDArray[np.int64]
    strand: NDArray[np.bool_]
    gene: NDArray[np.int64]
    ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class _Place:
    label: int
    seqid: str
    begin: int
    strand: str
    gene: int


def start_site_windows(genome: Genome, seed: int) -> Windows:
    """100 bp around annotated ATG starts (label 1) and around other ATGs of the same replicon and strand (label 0).

    The window is on the coding strand and holds the ATG at 50..52. GTG and TTG starts are left out: against ATG
    decoys they would give the label away. Decoys are drawn without replacement, as many as starts for each replicon
    and strand, from all ATGs that no coding sequence, pseudo or partial ones included, starts with.
    """
    rng = np.random.default_rng([seed, 0x57A27])
    half = START_LENGTH // 2
    places: list[_Place] = []
    for seqid, tokens in genome.replicons.items():
        inside = _gene_of(genome, seqid)
        for strand, codon, shift in (("+", _ATG, half), ("-", _CAT, half - 3)):
            hits = _find(tokens, codon)
            hits = hits[(hits >= shift) & (hits - shift + START_LENGTH <= len(tokens))]
            starts = {
                c.start_codon: i for i, c in enumerate(genome.annotation.cds) if (c.seqid, c.strand) == (seqid, strand)
            }
            whole = {x for x, i in starts.items() if not genome.annotation.cds[i].partial}
            annotated = starts.keys() | genome.annotation.left_out_starts.get((seqid, strand), set())
            true = [int(x) for x in hits if int(x) in whole]
            other = np.array([x for x in hits if int(x) not in annotated], dtype=np.int64)
            count = min(len(true), len(other))
            decoys = rng.choice(other, count, replace=False) if count else other[:0]
            places += [_Place(1, seqid, x - shift, strand, starts[x]) for x in true]
            places += [_Place(0, seqid, int(x) - shift, strand, int(inside[x])) for x in decoys]
    return _cut(genome, _balanced(places, rng, "start codon"), START_LENGTH)


def coding_windows(genome: Genome, seed: int) -> Windows:
    """200 bp inside a coding sequence (label 1, any frame) or outside every gene (label 0); strand at random."""
    rng = np.random.default_rng([seed, 0xC0D1])
    places: list[_Place] = []
    for gene, cds in enumerate(genome.annotation.cds):
        begin, end = max(cds.parts, key=lambda part: part[1] - part[0])
        room = end - begin - CODING_LENGTH
        for _ in range(max(1, round((end - begin) / CODING_SPACING)) if room >= 0 else 0):
            places.append(_Place(1, cds.seqid, begin + int(rng.integers(room + 1)), _strand(rng), gene))
    for seqid in genome.replicons:
        mask = np.concatenate(([True], genome.genic_mask(seqid), [True]))
        edges = np.flatnonzero(mask[1:] != mask[:-1])
        for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            fits = (end - begin) // CODING_LENGTH if end - begin <= LONGEST_GAP else 0
            slack = (end - begin) - fits * CODING_LENGTH
            shift = int(rng.integers(slack + 1)) if fits else 0
            places += [_Place(0, seqid, begin + shift + i * CODING_LENGTH, _strand(rng), -1) for i in range(fits)]
    return _cut(genome, _balanced(places, rng, "coding or intergenic window"), CODING_LENGTH)


WINDOWS: dict[str, tuple[Callable[[Genome, int], Windows], tuple[str, ...], int]] = {
    "start-site": (start_site_windows, START_LABELS, START_LENGTH),
    "coding": (coding_windows, CODING_LABELS, CODING_LENGTH),
}
"""Task -> (how windows are made, labels in index order, length)."""


def _strand(rng: np.random.Generator) -> str:
    return "+-"[int(rng.integers(2))]


def _find(tokens: Tokens, codon: Sequence[int]) -> NDArray[np.int64]:
    hit = np.ones(max(0, len(tokens) - 2), dtype=bool)
    for offset, base in enumerate(codon):
        hit &= tokens[offset : len(tokens) - 2 + offset] == base
    return np.flatnonzero(hit)


def _gene_of(genome: Genome, seqid: str) -> NDArray[np.int64]:
    gene = np.full(len(genome.replicons[seqid]), -1, dtype=np.int64)
    for number, cds in enumerate(genome.annotation.cds):
        if cds.seqid == seqid:
            gene[cds.begin : cds.end] = number
    return gene


def _balanced(places: list[_Place], rng: np.random.Generator, what: str) -> list[_Place]:
    groups = [[p for p in places if p.label == label] for label in (0, 1)]
    count = min(map(len, groups))
    if not count:
        raise DataError(
            "TL-DATA-EMPTY", f"the genome has no {what} of both classes", fix="give a longer or better annotated genome"
        )
    kept = [group[i] for group in groups for i in sorted(rng.choice(len(group), count, replace=False).tolist())]
    return kept


def _cut(genome: Genome, places: list[_Place], length: int) -> Windows:
    number = {seqid: i for i, seqid in enumerate(genome.replicons)}
    places = sorted(places, key=lambda p: (number[p.seqid], p.begin, p.strand))
    return Windows(
        tokens=np.stack([genome.window(p.seqid, p.begin, length, p.strand) for p in places]),
        labels=np.array([p.label for p in places], dtype=np.int64),
        seqid=np.array([number[p.seqid] for p in places], dtype=np.int64),
        begin=np.array([p.begin for p in places], dtype=np.int64),
        strand=np.array([p.strand == "-" for p in places]),
        gene=np.array([p.gene for p in places], dtype=np.int64),
        ids=tuple(f"{p.seqid}:{p.begin + 1}-{p.begin + length}({p.strand})" for p in places),
    )
