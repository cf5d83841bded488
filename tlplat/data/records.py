"""CSV, TSV, JSONL and Parquet as records, read strictly: every byte ends in a record or in an error.

A path may be one file, a folder of files or a pattern (:mod:`tlplat.data.files`), compressed or not
(:mod:`tlplat.data.opening`); several files are one table and must have the same columns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

from tlplat.data import tables
from tlplat.data.files import files_of
from tlplat.data.labelsets import named_columns
from tlplat.data.lines import not_utf8, text_lines
from tlplat.data.opening import DEFAULT_LIMITS, Limits, opened, plain_suffix
from tlplat.errors import DataError, did_you_mean

MAGIC = b"PAR1"
LONGEST_LINE = 4 * tables.LONGEST_IN_FILE
"""Bytes."""
KINDS = {
    **dict.fromkeys((".csv", ".tsv"), "csv"),
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "jsonl"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
}
Record = Mapping[str, Any]


class Row(NamedTuple):
    """A record and where it stands: the file, and its number there from 1 on."""

    file: Path
    number: int
    values: Record

    @property
    def where(self) -> str:
        """For an error."""
        return f"{self.file}, row {self.number}"


@dataclass(frozen=True)
class Wanted:
    """What a reader asks of tables.

    Attributes:
        columns: must be there. optional: read where they are there; with neither, every column is read.
        flags: says in an error which flags name columns.
        line_breaks: quoted fields of a CSV may hold line breaks (texts).
        private: no error shows what a row holds.
        warn: told of files that are left out.
        told: told of a file, and of the separator that it has where that is not the usual one.
        target: must be there too, or what it names (:func:`tlplat.data.labelsets.named_columns`).
    """

    columns: Sequence[str] = ()
    optional: Sequence[str] = ()
    limits: Limits = DEFAULT_LIMITS
    flags: str = "--target for labels, --group for groups"
    line_breaks: bool = False
    private: bool = False
    warn: Callable[[str], None] = lambda sentence: None
    told: Callable[[Path, str], None] | None = None
    target: str | None = None

    def needed(self, known: Collection[str]) -> Sequence[str]:
        """Columns that must be there, in a table with the columns ``known``."""
        return self.columns if self.target is None else [*self.columns, *named_columns(self.target, known)]

    def tell(self, file: Path, separator: str) -> None:
        """Of a separator that was assumed."""
        if self.told is not None:
            self.told(file, separator)
        else:
            self.warn(f"{file.name}: the separator was taken to be {tables.SEPARATORS.get(separator, repr(separator))}")


def read_records(path: Path, wanted: Wanted) -> Iterator[Row]:
    """The records of all files of ``path``, in order; the format is told by the ending, else by the first bytes.

    Raises:
        DataError TL-DATA-CSV, -JSONL, -PARQUET, -ENCODING, -COLUMN (missing, or another than in the first file), -READ,
        -PATH, -TOO-BIG, -EMPTY.
    """
    files = files_of(path, KINDS, wanted.warn)
    first: list[str] | None = None
    count = 0
    for file in files:
        number = 0
        for record, columns in _of_file(file, wanted):
            if number == 0 and columns is not None and len(files) > 1:
                first = first or list(columns)
                need_same(first, columns, files[0], file)
            number += 1
            yield Row(file, number, record)
        count += number
    if not count:
        raise DataError("TL-DATA-EMPTY", f"{path} has 0 rows", where=str(path), fix="give a file with rows")


def _of_file(path: Path, wanted: Wanted) -> Iterator[tuple[Record, Collection[str] | None]]:
    """Records, and the columns of the file where it has one set of them."""
    with opened(path, wanted.limits) as file:
        kind = KINDS.get(plain_suffix(path)) or _sniffed(file)
        read = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}[kind]
        for record, columns in read(file, path, wanted):
            for column in wanted.needed(record) if kind != "parquet" else ():
                tables.need_column(record, column, path, wanted.flags)
            yield record, columns


def need_same(first: Sequence[str], columns: Collection[str], file: Path, other: Path) -> None:
    """Raise DataError TL-DATA-COLUMN where ``other`` has not the columns of ``file``, the ``first`` one."""
    for column in first:
        if column not in columns:
            raise _another(
                f"{other.name} has no column {column!r}{did_you_mean(column, list(columns))}", file, other, first
            )
    for column in columns:
        if column not in first:
            raise _another(f"{other.name} has a column {column!r} that {file.name} lacks", file, other, first)


def _another(what: str, file: Path, other: Path, expected: Sequence[str]) -> DataError:
    return DataError(
        "TL-DATA-COLUMN",
        f"files of one table have different columns: {what}",
        where=str(other),
        expected=f"as in {file.name}: {', '.join(expected)}",
        fix="give all files the same columns, or name the files that belong together",
    )


def _sniffed(file: IO[bytes]) -> str:
    head = (file.peek(64)[:64] if hasattr(file, "peek") else b"").lstrip()
    return "parquet" if head.startswith(MAGIC) else "jsonl" if head.startswith(b"{") else "csv"


def _csv(file: IO[bytes], path: Path, wanted: Wanted) -> Iterator[tuple[Record, Collection[str] | None]]:
    lines = (line for _, line in text_lines(file, path, "TL-DATA-CSV", LONGEST_LINE))
    longest = tables.LONGEST_IN_FILE

    def told(separator: str) -> None:
        wanted.tell(path, separator)

    for _, row in tables.table_rows(lines, path, line_breaks=wanted.line_breaks, longest=longest, told=told):
        yield row, row


def _jsonl(file: IO[bytes], path: Path, wanted: Wanted) -> Iterator[tuple[Record, Collection[str] | None]]:
    for number, line in text_lines(file, path, "TL-DATA-JSONL", LONGEST_LINE):
        if not line.strip():
            continue
        where, shown = f"{path}, line {number}", None if wanted.private else line.strip()[:60]
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            _refuse("TL-DATA-JSONL", f"line {number} is no JSON: {error}", where, shown)
        if not isinstance(record, dict):
            _refuse("TL-DATA-JSONL", f"line {number} is no JSON object", where, shown, '{"text": ...}')
        for column in (*wanted.needed(record), *wanted.optional) or record:
            if isinstance(value := record.get(column), str):
                _no_surrogate(value, path, where, column)
        yield record, None


def _parquet(file: IO[bytes], path: Path, wanted: Wanted) -> Iterator[tuple[Record, Collection[str] | None]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not file.seekable():
        why, fix = "a Parquet file is compressed in itself, and is not read inside another compression", "unpack it"
        raise DataError("TL-DATA-READ", f"cannot read {path}: {why}", where=str(path), fix=fix)
    head = file.read(len(MAGIC))
    file.seek(-min(2 * len(MAGIC), path.stat().st_size), 2)
    tail = file.read()[-len(MAGIC) :]
    if head != MAGIC or tail != MAGIC:
        _refuse(
            "TL-DATA-PARQUET",
            "no Parquet file: it does not begin and end with PAR1",
            str(path),
            None if wanted.private else f"begins {head!r}, ends {tail!r}",
            "PAR1",
        )
    try:
        table = pq.ParquetFile(file)
        columns = dict.fromkeys(table.schema_arrow.names)
        needed = wanted.needed(columns)
        for name in needed:
            tables.need_column(columns, name, path, wanted.flags)
        asked = [*needed, *wanted.optional]
        names = [n for n in asked if n in columns] if asked else list(columns)
        for batch in table.iter_batches(batch_size=4096, columns=names):
            for record in batch.to_pylist():
                yield record, columns
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        said = "" if wanted.private else f": {str(error)[:200]}"
        _refuse("TL-DATA-PARQUET", f"the Parquet file (PAR1) is damaged{said}", str(path))


def _no_surrogate(value: str, path: Path, where: str, column: str) -> None:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        found = f"\\u{ord(value[error.start]):04x} at character {error.start + 1}"
        raise not_utf8(path, f"a lone surrogate in {column!r}", where, found) from error


def _refuse(code: str, message: str, where: str, found: str | None = None, expected: str | None = None) -> NoReturn:
    raise DataError(code, message, where=where, found=found, expected=expected, fix="mend the file, or write it again")
