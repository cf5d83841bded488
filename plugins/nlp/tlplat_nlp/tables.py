"""CSV, TSV, JSONL and Parquet files as records, read strictly: every byte ends in a record or in an error."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

from tlplat.errors import DataError, did_you_mean
from tlplat_nlp.opening import BOTH_ENDS, MAGIC, opened

LONGEST_FIELD = 12 << 20
"""Characters of a field: a quote that is never closed ends here, and not with the file."""
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


def need_column(found: Mapping[str, Any] | Sequence[str], column: str, where: Path | str) -> None:
    """Raise DataError TL-DATA-COLUMN where there is no such column."""
    if column not in found:
        raise DataError(
            "TL-DATA-COLUMN",
            f"no column {column!r}{did_you_mean(column, list(found))}; columns found: {', '.join(map(str, found))}",
            where=str(where),
            expected=column,
            fix="name the column that is there (--text for texts, --target for labels, --group for groups)",
        )


def _sniffed(file: IO[bytes]) -> str:
    head = file.read(64).lstrip()
    file.seek(0)
    return "parquet" if head.startswith(MAGIC) else "jsonl" if head.startswith(b"{") else "csv"


def _lines(file: IO[bytes], path: Path, code: str) -> Iterator[tuple[int, str]]:
    """(number, line) of UTF-8 text with its line end; no NUL, no line beyond the limit."""
    number = 0
    while raw := file.readline(4 * LONGEST_FIELD):
        number += 1
        where = f"{path}, line {number}"
        if number == 1:
            if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
                _encoding("is UTF-16 text", where, f"bytes {raw[:2].hex(' ')}")
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if b"\0" in raw:
            _refuse(code, f"a NUL byte in row {number}", where, f"byte {raw.index(0) + 1} of the line")
        if len(raw) >= 4 * LONGEST_FIELD and not raw.endswith(b"\n"):
            _refuse(code, f"a line of more than {4 * LONGEST_FIELD >> 20} MB (row {number})", where)
        try:
            yield number, raw.decode("utf-8")
        except UnicodeDecodeError as error:
            _encoding("is not UTF-8 text", where, f"byte 0x{raw[error.start]:02x} at {error.start + 1}")


def _csv(file: IO[bytes], path: Path, wanted: Sequence[str]) -> Iterator[Record]:
    previous = csv.field_size_limit(LONGEST_FIELD)
    begin = 1
    try:
        lines = (line for _, line in _lines(file, path, "TL-DATA-CSV"))
        reader = csv.reader(lines, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
        header = [name.strip() for name in next(reader, [])]
        if not header or "" in header or len(set(header)) != len(header):
            _refuse(
                "TL-DATA-CSV",
                "the header (row 1) has empty or repeated column names",
                f"{path}, line 1",
                ", ".join(header) or "nothing",
            )
        begin = reader.line_num + 1
        for row in reader:
            if row and len(row) != len(header):
                _refuse(
                    "TL-DATA-CSV",
                    f"the row at line {begin} has another width",
                    f"{path}, line {begin}",
                    f"{len(row)} fields",
                    f"{len(header)} fields",
                )
            begin = reader.line_num + 1
            if row:
                yield dict(zip(header, row, strict=True))
    except csv.Error as error:
        text = str(error)
        if "field larger" in text or "unexpected end" in text:
            text = f"a quote that is never closed, or a field of more than {LONGEST_FIELD >> 20} MB ({text})"
        _refuse("TL-DATA-CSV", f"the row at line {begin} is broken: {text}", f"{path}, line {begin}")
    finally:
        csv.field_size_limit(previous)


def _jsonl(file: IO[bytes], path: Path, wanted: Sequence[str]) -> Iterator[Record]:
    for number, line in _lines(file, path, "TL-DATA-JSONL"):
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
                _no_surrogate(value, where, column)
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
        names = [n for n in wanted if n in table.schema_arrow.names]
        for name in wanted[: len(wanted)]:
            if name not in names and name != "id":
                need_column(table.schema_arrow.names, name, path)
        for batch in table.iter_batches(batch_size=4096, columns=names):
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        _refuse("TL-DATA-PARQUET", f"the Parquet file (PAR1) is damaged: {str(error)[:200]}", str(path))


def _no_surrogate(value: str, where: str, column: str) -> None:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        found = f"\\u{ord(value[error.start]):04x} at character {error.start + 1}"
        _encoding(f"has a lone surrogate in {column!r}", where, found)


def _encoding(what: str, where: str, found: str) -> NoReturn:
    raise DataError(
        "TL-DATA-ENCODING",
        f"{where.rpartition(', ')[0] or where} {what}",
        where=where,
        found=found,
        fix="save the file as UTF-8 (`iconv -f FROM -t UTF-8 FILE`)",
    )


def _refuse(code: str, message: str, where: str, found: str | None = None, expected: str | None = None) -> NoReturn:
    raise DataError(code, message, where=where, found=found, expected=expected, fix="mend the file, or write it again")
