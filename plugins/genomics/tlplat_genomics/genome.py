"""A genome: replicons as tokens, and their annotation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tlplat_genomics.annotation import Annotation, read_gff
from tlplat_genomics.fasta import read_fasta
from tlplat_genomics.sequence import Tokens, reverse_complement


@dataclass(frozen=True)
class Genome:
    """Replicons by id (forward strand, tokens) and the annotation on them."""

    name: str
    replicons: Mapping[str, Tokens]
    annotation: Annotation

    @cached_property
    def offsets(self) -> dict[str, int]:
        """Where each replicon begins if all are laid end to end."""
        ends = np.cumsum([0, *map(len, self.replicons.values())])
        return dict(zip(self.replicons, ends[:-1].tolist(), strict=True))

    @property
    def length(self) -> int:
        return sum(map(len, self.replicons.values()))

    def window(self, seqid: str, begin: int, length: int, strand: str) -> Tokens:
        """(length,) tokens of [begin, begin + length), read in the direction of ``strand``."""
        tokens = self.replicons[seqid][begin : begin + length]
        return tokens if strand == "+" else reverse_complement(tokens)

    def genic_mask(self, seqid: str) -> NDArray[np.bool_]:
        """(replicon,) True where any gene lies, on either strand."""
        edge = np.zeros(len(self.replicons[seqid]) + 1, dtype=np.int32)
        for begin, end in self.annotation.genic[seqid]:
            edge[begin] += 1
            edge[end] -= 1
        return np.cumsum(edge[:-1]) > 0


def load_genome(name: str, fasta: Path, gff: Path) -> Genome:
    """Read and check both files; raises DataError where they are broken or do not belong together."""
    replicons = {record.id: record.tokens() for record in read_fasta(fasta)}
    return Genome(name, replicons, read_gff(gff, {seqid: len(t) for seqid, t in replicons.items()}))
