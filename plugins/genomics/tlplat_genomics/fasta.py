"""FASTA and FASTQ through Biopython's parsers, made strict: every line belongs to a record or raises."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from Bio.SeqIO.FastaIO import SimpleFastaParser
from Bio.SeqIO.QualityIO import FastqGeneralIterator

from tlplat.errors import DataError
from tlplat_genomics.alphabet import check_dna
from tlplat_genomics.sequence import Record
from tlplat_genomics.strict import DEFAULT_LIMITS, Limits, open_text

PHRED33_ONLY = ";"
"""Qualities below this character occur with offset 33 alone."""
PHRED33_USUAL = "J"
"""Above this character (Phred 41 with offset 33) short-read files use offset 64."""


def read_fasta(path: Path, limits: Limits = DEFAULT_LIMITS) -> Iterator[Record]:
    """The records of a FASTA file of DNA, one by one.

    Raises:
        DataError TL-DATA-FASTA: text before the first record, a record without name or sequence, a repeated name,
            a letter outside the IUPAC code, no record at all.
        DataError TL-DATA-ALPHABET: proteins. Also what :func:`open_text` raises.
    """
    seen: set[str] = set()
    with open_text(path, limits) as handle:
        parsed = SimpleFastaParser(_fasta_lines(handle, path))  # type: ignore[no-untyped-call]
        for number, (title, letters) in enumerate(parsed, start=1):
            record = _record(title, letters, number, path, seen, "TL-DATA-FASTA")
            check_dna(record.letters, f"{path}, record {number} ({record.id})")
            yield record
    if not seen:
        _refuse("TL-DATA-FASTA", "0 records: the file is empty", str(path))


def _fasta_lines(handle: Iterable[str], path: Path) -> Iterator[str]:
    started = False
    for number, line in enumerate(handle, start=1):
        started = started or line.startswith(">")
        if not started and line.strip():
            _refuse("TL-DATA-FASTA", "text before the first '>' line", f"{path}, line {number}", line.strip()[:40])
        if started:
            yield line


def read_fastq(path: Path, limits: Limits = DEFAULT_LIMITS) -> Iterator[Record]:
    """The records of a FASTQ file of DNA, one by one; qualities are checked, then dropped.

    Raises:
        DataError TL-DATA-FASTQ: quality and sequence differ in length, the file ends within a record, qualities
            outside offset 33, a bad letter, a repeated name, no record at all.
    """
    seen: set[str] = set()
    low, high, first_high = "~", "!", ""
    with open_text(path, limits) as handle:
        records = FastqGeneralIterator(handle)
        while True:
            where = f"{path}, record {len(seen) + 1}"
            try:
                title, letters, quality = next(records)
            except StopIteration:
                break
            except ValueError as error:
                _refuse("TL-DATA-FASTQ", f"broken record, sequence or quality incomplete: {error}", where)
            record = _record(title, letters, len(seen) + 1, path, seen, "TL-DATA-FASTQ")
            where = f"{where} ({record.id})"
            check_dna(record.letters, where, "TL-DATA-FASTQ")
            if not "!" <= min(quality) <= max(quality) <= "~":
                _refuse("TL-DATA-FASTQ", "quality characters outside '!' to '~'", where)
            low, high = min(low, min(quality)), max(high, max(quality))
            first_high = first_high or (where if high > PHRED33_USUAL else "")
            yield record
    if not seen:
        _refuse("TL-DATA-FASTQ", "0 records: the file is empty", str(path))
    if high > PHRED33_USUAL and low >= PHRED33_ONLY:
        raise DataError(
            "TL-DATA-FASTQ",
            f"qualities from {low!r} to {high!r} are those of Phred+64; Phred+33 is needed",
            where=first_high,
            fix='convert the file: python -c "from Bio import SeqIO; '
            "SeqIO.convert('old.fq', 'fastq-illumina', 'new.fq', 'fastq')\"",
        )


def _record(title: str, letters: str, number: int, path: Path, seen: set[str], code: str) -> Record:
    identifier, _, description = title.strip().partition(" ")
    if not identifier:
        _refuse(code, "a record has no name", f"{path}, record {number}")
    if identifier in seen:
        _refuse(code, f"the name {identifier!r} occurs twice", f"{path}, record {number}")
    seen.add(identifier)
    try:
        return Record(identifier, description.strip(), letters.encode("ascii"))
    except UnicodeEncodeError as error:
        _refuse(
            code,
            "a letter is no ASCII character",
            f"{path}, record {number} ({identifier}), position {error.start + 1}",
        )


def _refuse(code: str, message: str, where: str, found: str | None = None) -> NoReturn:
    name = "FASTQ" if code == "TL-DATA-FASTQ" else "FASTA"
    raise DataError(
        code, message, where=where, found=found, fix=f"mend the record, or check that the file is {name} and complete"
    )
