"""CSV, TSV, JSONL and Parquet files as records, read strictly: every byte ends in a record or in an error."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

from tlplat.data import tables
from tlplat.data.lines import not_utf8, text_lines
from tlplat.errors import DataError
from tlplat_nlp.opening import BOTH_ENDS, MAGIC, opened

LONGEST_FIELD = 12 << 20
"""Characters of a field: a quote that is never closed ends here, and not with the file."""
LONGEST_LINE = 4 * LONGEST_FIELD
"""Bytes."""
SUFFIXES = {
    **dict.fromkeys((".csv", ".tsv"), "csv"),
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "jsonl"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
}
Record = Mapping[str, Any]


def read_table(path: Path, columns: Sequence[str], optional: Sequence[str], most_bytes: int) -> Iterator[Record]:
    """The records of a file, in order, with at least ``columns``; ``optional`` ones where they are there.

    The format is told by the suffix, else by the first bytes.

    Raises:
        DataError TL-DATA-CSV, -JSONL, -PARQUET, -ENCODING, -COLUMN, -READ, -TOO-BIG, -EMPTY.
    """
    count = 0
    with opened(path, most_bytes) as file:
        kind = SUFFIXES.get(path.suffix.lower()) or _sniffed(file)
        read = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}[kind]
        for record in read(file, path, [*columns, *optional]):
            for column in columns if kind != "parquet" else ():
                need_column(record, column, path)
            count += 1
            yield record
    if not count:
        raise DataError("TL-DATA-EMPTY", f"{path} has 0 rows", where=str(path), fix="give a file with rows")


def need_column(found: Mapping[str, Any], column: str, where: Path) -> None:
    """Raise DataError TL-DATA-COLUMN where there is no such column."""
    tables.need_column(found, column, where, "--text for texts, --target for labels, --group for groups")


def _sniffed(file: IO[bytes]) -> str:
    head = file.read(64).lstrip()
    file.seek(0)
    return "parquet" if head.startswith(MAGIC) else "jsonl" if head.startswith(b"{") else "csv"


def _csv(file: IO[bytes], path: Path, wanted: Sequence[str]) -> Iterator[Record]:
    lines = (line for _, line in text_lines(file, path, "TL-DATA-CSV", LONGEST_LINE))
    for _, row in tables.table_rows(lines, path, line_breaks=True, longest=LONGEST_FIELD):
        yield row


def _jsonl(file: IO[bytes], path: Path, wanted: Sequence[str]) -> Iterator[Record]:
    for number, line in text_lines(file, path, "TL-DATA-JSONL", LONGEST_LINE):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            _refuse("TL-DATA-JSONL", f"line {number} is no JSON: {error}", where, line.strip()[:60])
        if not isinstance(record, dict):
            _refuse("TL-DATA-JSONL", f"line {number} is no JSON object", where, line.strip()[:60], '{"text": ...}')
        for column in wanted:
            if isinstance(value := record.get(column), str):
                _no_surrogate(value, path, where, column)
        yield record


def _parquet(file: IO[bytes], path: Path, wanted: Sequence[str]) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    head = file.read(len(MAGIC))
    file.seek(-min(BOTH_ENDS, path.stat().st_size), 2)
    tail = file.read()[-len(MAGIC) :]
    if head != MAGIC or tail != MAGIC:
        _refuse(
            "TL-DATA-PARQUET",
            "no Parquet file: it does not begin and end with PAR1",
            str(path),
            f"begins {head!r}, ends {tail!r}",
            "PAR1",
        )
    try:
        table = pq.ParquetFile(file)
        columns = dict.fromkeys(table.schema_arrow.names)
        for name in wanted:
            if name != "id":
                need_column(columns, name, path)
        names = [n for n in wanted if n in columns]
        for batch in table.iter_batches(batch_size=4096, columns=names):
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        _refuse("TL-DATA-PARQUET", f"the Parquet file (PAR1) is damaged: {str(error)[:200]}", str(path))


def _no_surrogate(value: str, path: Path, where: str, column: str) -> None:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        found = f"\\u{ord(value[error.start]):04x} at character {error.start + 1}"
        raise not_utf8(path, f"a lone surrogate in {column!r}", where, found) from error


def _refuse(code: str, message: str, where: str, found: str | None = None, expected: str | None = None) -> NoReturn:
    raise DataError(code, message, where=where, found=found, expected=expected, fix="mend the file, or write it again")
