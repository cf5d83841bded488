"""CSV and TSV as dictionaries, read strictly: every row has every column, no quote swallows the file."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

from tlplat.errors import DataError, did_you_mean

LONGEST_FIELD = 1 << 27


def table_rows(handle: TextIO, path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, row by column) of text whose first row names the columns; tabs part fields where ``path`` is a TSV.

    No value of a row is ever shown in an error, only its place.

    Raises:
        DataError TL-DATA-CSV: no row, repeated or empty column names, a row of another width, a broken quote, a line
            break inside a field.
    """
    tabs = ".tsv" in [suffix.lower() for suffix in path.suffixes]
    previous = csv.field_size_limit(LONGEST_FIELD)
    rows = 0
    reader = csv.reader(handle, delimiter="\t" if tabs else ",", strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if not header or "" in header or len(set(header)) != len(header):
            named = ", ".join(header) or "nothing"
            raise _broken("the header has empty or repeated column names", f"{path}, line 1", named)
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if not row:
                continue
            if len(row) != len(header):
                raise _broken("a row of another width", where, f"{len(row)} fields", f"{len(header)} fields")
            if any("\n" in field or "\r" in field for field in row):
                raise _broken("a line break inside a field (an unclosed quote?)", where)
            rows += 1
            yield reader.line_num, dict(zip(header, (field.strip() for field in row), strict=True))
    except csv.Error as error:
        raise _broken(f"broken CSV: {error}", f"{path}, line {reader.line_num}") from error
    finally:
        csv.field_size_limit(previous)
    if not rows:
        raise _broken("0 rows: the table is empty", str(path))


def read_table(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """As :func:`table_rows`, of a plain file.

    Raises:
        DataError: what that raises; TL-DATA-ENCODING: not UTF-8. TL-DATA-READ: unreadable.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            yield from table_rows(handle, path)
    except UnicodeDecodeError as error:
        raise DataError(
            "TL-DATA-ENCODING",
            f"{path} is not UTF-8 text",
            where=str(path),
            found=f"byte 0x{error.object[error.start]:02x}",
            fix="save the table as CSV in UTF-8",
        ) from error
    except OSError as error:
        raise DataError(
            "TL-DATA-READ",
            f"cannot read {path}: {error.strerror or error}",
            where=str(path),
            fix="check path and rights",
        ) from error


def need_column(row: Mapping[str, object], column: str, path: Path, flags: str) -> None:
    """Raise DataError TL-DATA-COLUMN where the table has no such column; ``flags`` says how columns are named."""
    if column not in row:
        raise DataError(
            "TL-DATA-COLUMN",
            f"no column {column!r}{did_you_mean(column, list(row))}",
            where=str(path),
            found=", ".join(row),
            expected=column,
            fix=f"name the column that is there ({flags})",
        )


def _broken(message: str, where: str, found: str | None = None, expected: str | None = None) -> DataError:
    return DataError("TL-DATA-CSV", message, where=where, found=found, expected=expected, fix="mend the table")
