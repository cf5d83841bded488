"""Fixtures: small synthetic genomes, files, and a context with an empty cache."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from tlplat_genomics import tlplat_register_backbones

from tlplat.model import Backbone
from tlplat.registry import Registry
from tlplat.testing.kit import kit_registry


@pytest.fixture
def registry() -> Registry:
    return kit_registry("domains", "genomics")


LETTERS = np.frombuffer(b"ACGT", dtype=np.uint8)


@pytest.fixture
def dna(rng) -> Callable[[int], str]:
    """Random sequence of a length."""
    return lambda length: bytes(LETTERS[rng.integers(0, 4, length)]).decode()


@pytest.fixture
def backbones() -> dict[str, type[Backbone]]:
    return {b.name: b for b in tlplat_register_backbones()}


COMPLEMENT = str.maketrans("ACGT", "TGCA")


def build_genome(rng: np.random.Generator, genes: int, gene_bases: int = 600, gap: int = 300) -> tuple[str, str]:
    """FASTA and GFF3 of one replicon with genes on alternating strands, parted by gaps; starts are ATG."""
    sense = [a + b + c for a in "ACGT" for b in "ACGT" for c in "ACGT" if a + b + c not in ("TAA", "TAG", "TGA")]
    parts, rows, at = [], [], 0
    for number in range(genes):
        spacer = bytes(LETTERS[rng.integers(0, 4, gap)]).decode()
        body = "ATG" + "".join(rng.choice(sense, gene_bases // 3 - 2)) + "TAA"
        strand = "+-"[number % 2]
        parts += [spacer, body if strand == "+" else body.translate(COMPLEMENT)[::-1]]
        begin = at + gap
        at = begin + len(body)
        for kind in ("gene", "CDS"):
            rows.append(f"chr\ttest\t{kind}\t{begin + 1}\t{at}\t.\t{strand}\t0\tID={kind}-{number};locus_tag=g{number}")
    parts.append(bytes(LETTERS[rng.integers(0, 4, gap)]).decode())
    return f">chr synthetic\n{''.join(parts)}\n", "##gff-version 3\n" + "\n".join(rows) + "\n"


@pytest.fixture
def genome_text(rng) -> Callable[[int], tuple[str, str]]:
    """FASTA and GFF3 of a synthetic genome with so many genes; see build_genome."""
    return lambda genes: build_genome(rng, genes)


@pytest.fixture
def genome(rng, write):
    """A parsed synthetic genome of 40 genes."""
    from tlplat_genomics.genome import load_genome

    fasta, gff = build_genome(rng, 40)
    return load_genome("synthetic", write("g.fna", fasta), write("g.gff", gff))
