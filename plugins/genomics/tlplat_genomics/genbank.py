"""GenBank flat files as sequences, through Biopython, made strict: whole records only, of the length they announce."""

from __future__ import annotations

import io
import itertools
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from Bio import BiopythonParserWarning, SeqIO
from Bio.Seq import UndefinedSequenceError

from tlplat.errors import DataError
from tlplat_genomics.alphabet import check_dna
from tlplat_genomics.sequence import Record
from tlplat_genomics.strict import DEFAULT_LIMITS, Limits, open_text

CODE = "TL-DATA-GENBANK"


def read_genbank(path: Path, limits: Limits = DEFAULT_LIMITS) -> Iterator[Record]:
    """The sequences of a GenBank file, one by one.

    Raises:
        DataError TL-DATA-GENBANK: text outside a record, no record, no ``//`` at the end, fewer bases than LOCUS
            says, anything that Biopython warns about.
    """
    found = 0
    with open_text(path, limits) as handle:
        for lines in _record_lines(handle, path):
            found += 1
            yield _parse(lines, f"{path}, record {found}")
    if not found:
        raise DataError(CODE, "0 records: the file is empty", where=str(path), fix="check that the file is GenBank")


def _record_lines(handle: Iterable[str], path: Path) -> Iterator[list[str]]:
    lines: list[str] = []
    records = 0
    for number, line in enumerate(handle, start=1):
        if not lines and not line.strip():
            continue
        if not lines and not line.startswith("LOCUS"):
            raise DataError(
                CODE,
                f"text outside a record: {records} record{'' if records == 1 else 's'} read so far",
                where=f"{path}, line {number}",
                found=line.strip()[:40],
                expected="a LOCUS line",
                fix="check that the file is GenBank and complete",
            )
        lines.append(line)
        if line.rstrip() == "//":
            records += 1
            yield lines
            lines = []
    if lines:
        announced, bases = _announced(lines[0]), _bases(lines)
        raise DataError(
            CODE,
            f"the last record has no closing //: LOCUS says {announced} bases, {bases} are there",
            where=f"{path}, record {records + 1}",
            found=f"{bases} bases",
            expected=f"{announced} bases",
            fix="copy or download the file again: it is cut off",
        )


def _announced(locus: str) -> str:
    words = locus.split()
    numbers = [a for a, b in itertools.pairwise(words) if b in ("bp", "aa", "rc") and a.isdigit()]
    return numbers[0] if numbers else "an unreadable number of"


def _bases(lines: Iterable[str]) -> int:
    count, inside = 0, False
    for line in lines:
        if inside and line.rstrip() != "//":
            count += sum(c.isalpha() for c in line)
        inside = inside or line.startswith("ORIGIN")
    return count


def _parse(lines: list[str], where: str) -> Record:
    announced, bases = _announced(lines[0]), _bases(lines)
    if announced != str(bases):
        raise DataError(
            CODE,
            f"LOCUS says {announced} bases, {bases} are there",
            where=where,
            found=f"{bases} bases",
            expected=f"{announced} bases",
            fix="give a record with its whole sequence (an ORIGIN block)",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error", BiopythonParserWarning)
        try:
            record = SeqIO.read(io.StringIO("".join(lines)), "genbank")  # type: ignore[no-untyped-call]
            letters = bytes(record.seq)
        except (ValueError, UndefinedSequenceError, BiopythonParserWarning) as error:
            raise DataError(
                CODE, f"Biopython cannot read the record: {error}", where=where, fix="mend the record or fetch it again"
            ) from error
    where = f"{where} ({record.id})"
    check_dna(letters, where, CODE)
    return Record(str(record.id), str(record.description), letters)
