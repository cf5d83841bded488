"""Records of a file in any of the formats, told by name or else by content."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from tlplat.errors import DataError
from tlplat_genomics.fasta import read_fasta, read_fastq
from tlplat_genomics.genbank import read_genbank
from tlplat_genomics.sequence import Record
from tlplat_genomics.strict import DEFAULT_LIMITS, Limits, open_text

READERS: dict[str, Callable[[Path, Limits], Iterator[Record]]] = {
    "fasta": read_fasta,
    "fastq": read_fastq,
    "genbank": read_genbank,
}
SUFFIXES = {
    **dict.fromkeys((".fa", ".fasta", ".fna", ".ffn", ".fas", ".faa"), "fasta"),
    **dict.fromkeys((".fq", ".fastq"), "fastq"),
    **dict.fromkeys((".gb", ".gbk", ".gbff", ".genbank"), "genbank"),
    **dict.fromkeys((".csv", ".tsv"), "table"),
}
_FIRST = {">": "fasta", "@": "fastq"}


def format_of(path: Path, limits: Limits = DEFAULT_LIMITS) -> str:
    """``fasta``, ``fastq``, ``genbank`` or ``table``: by suffix (.gz aside), else by the first characters.

    Raises:
        DataError TL-DATA-READ: neither tells.
    """
    for suffix in reversed(path.suffixes):
        if (known := SUFFIXES.get(suffix.lower())) is not None:
            return known
    with open_text(path, limits) as handle:
        head = next((line for line in handle if line.strip()), "")
    if head.startswith("LOCUS"):
        return "genbank"
    if head[:1] in _FIRST:
        return _FIRST[head[:1]]
    raise DataError(
        "TL-DATA-READ",
        f"cannot tell the format of {path}",
        where=str(path),
        found=head.strip()[:40] or "an empty file",
        fix="name the file .fasta, .fastq, .gb, .csv or .tsv (with or without .gz)",
    )


def read_records(path: Path, limits: Limits = DEFAULT_LIMITS) -> Iterator[Record]:
    """The records of a sequence file (no table), one by one, checked."""
    kind = format_of(path, limits)
    if kind not in READERS:
        raise DataError("TL-DATA-READ", f"{path} is a table, not a sequence file", fix="give FASTA, FASTQ or GenBank")
    return READERS[kind](path, limits)
