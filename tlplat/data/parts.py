"""A file of records in parts of its own kind, so that what reads it whole never holds more than one part.

For files whose records stand alone: CSV and TSV (the header goes before each part), JSON lines, FASTA, Parquet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

from tlplat.data.opening import plain_suffix

PART_ROWS = 20_000
LONGEST = 64 << 20
"""Bytes of a part, where its records are long: it then ends early."""

Parts = Iterator[tuple[int, bytes]]


def parts(stream: IO[bytes], ending: str, rows: int = PART_ROWS) -> Parts:
    """(number of the first record from 0, bytes of a file of at most ``rows`` records), in order; at least one.

    ``ending``: of :data:`KINDS`. Nothing is checked: a broken record is in the part that its reader refuses.
    """
    return KINDS[ending](stream, rows)


def _table(stream: IO[bytes], rows: int) -> Parts:
    """A record ends at a line break outside quotes."""
    header = b"".join(_records(stream, 1))
    first, part, size, held = 0, list[bytes](), 0, 0
    for record in _records(stream, None):
        part.append(record)
        size += len(record)
        held += bool(record.strip())
        if held == rows or size >= LONGEST:
            yield first, header + b"".join(part)
            first, part, size, held = first + held, [], 0, 0
    if part or not first:
        yield first, header + b"".join(part)


def _records(stream: IO[bytes], most: int | None) -> Iterator[bytes]:
    """Lines, those inside quotes joined; a quote that is never closed ends with the longest part."""
    made, count = b"", 0
    while most is None or count < most:
        line = stream.readline(LONGEST)
        made += line
        if line and made.count(b'"') % 2 and len(made) < LONGEST:
            continue
        if not made:
            return
        yield made
        made, count = b"", count + 1


def _lines(stream: IO[bytes], rows: int) -> Parts:
    first, part, size, held = 0, list[bytes](), 0, 0
    while line := stream.readline(LONGEST):
        part.append(line)
        size += len(line)
        held += bool(line.strip())
        if held == rows or size >= LONGEST:
            yield first, b"".join(part)
            first, part, size, held = first + held, [], 0, 0
    if part or not first:
        yield first, b"".join(part)


def _fasta(stream: IO[bytes], rows: int) -> Parts:
    first, part, size, held = 0, list[bytes](), 0, 0
    while line := stream.readline(LONGEST):
        if line.startswith(b">"):
            if held == rows or (size >= LONGEST and held):
                yield first, b"".join(part)
                first, part, size, held = first + held, [], 0, 0
            held += 1
        part.append(line)
        size += len(line)
    yield first, b"".join(part)


def _parquet(stream: IO[bytes], rows: int) -> Parts:
    import io

    import pyarrow.parquet as pq

    first = 0
    table = pq.ParquetFile(stream)
    for batch in table.iter_batches(rows):
        made = io.BytesIO()
        with pq.ParquetWriter(made, batch.schema) as writer:
            writer.write_batch(batch)
        yield first, made.getvalue()
        first += len(batch)
    if not first:
        made = io.BytesIO()
        pq.write_table(table.read(), made)
        yield 0, made.getvalue()


KINDS: Mapping[str, Callable[[IO[bytes], int], Parts]] = {
    "csv": _table, "tsv": _table, "jsonl": _lines, "fasta": _fasta, "fa": _fasta, "fna": _fasta, "parquet": _parquet,
}  # fmt: skip


def ending_of(path: Path) -> str:
    """The file's ending without its dot, in small letters; that of a compressed file is left out."""
    return plain_suffix(path).removeprefix(".")
