"""CSV and TSV files as dictionaries, read strictly: every row has every column, no quote swallows the file."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

from tlplat.errors import DataError, did_you_mean


def read_table(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, row by column); the header is required.

    Raises:
        DataError TL-DATA-CSV: no row, repeated or empty column names, a row of another width, a broken quote, a line
            break inside a field. TL-DATA-ENCODING: not UTF-8. TL-DATA-READ: unreadable.
    """
    rows, reader = 0, None
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.reader(handle, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
            header = [name.strip() for name in next(reader, [])]
            if not header or "" in header or len(set(header)) != len(header):
                _refuse(
                    "the header has empty or repeated column names", f"{path}, line 1", ", ".join(header) or "nothing"
                )
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                if not row:
                    continue
                if len(row) != len(header):
                    _refuse("a row of another width", where, f"{len(row)} fields", f"{len(header)} fields")
                if any("\n" in field or "\r" in field for field in row):
                    _refuse("a line break inside a field (an unclosed quote?)", where)
                rows += 1
                yield reader.line_num, dict(zip(header, (field.strip() for field in row), strict=True))
    except csv.Error as error:
        _refuse(f"broken CSV: {error}", f"{path}, line {reader.line_num if reader else 1}")
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
    if not rows:
        _refuse("0 rows: the table is empty", str(path))


def need_column(row: Mapping[str, object], column: str, path: Path) -> None:
    """Raise DataError TL-DATA-COLUMN where the table has no such column."""
    if column not in row:
        raise DataError(
            "TL-DATA-COLUMN",
            f"no column {column!r}{did_you_mean(column, list(row))}",
            where=str(path),
            found=", ".join(row),
            expected=column,
            fix="name the column that is there (--image for images, --target for labels, --group for groups)",
        )


def _refuse(message: str, where: str, found: str | None = None, expected: str | None = None) -> NoReturn:
    raise DataError("TL-DATA-CSV", message, where=where, found=found, expected=expected, fix="mend the table")
