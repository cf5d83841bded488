"""CSV and TSV files as dictionaries, read strictly: every row has every column, no quote swallows the file."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

from tlplat.errors import DataError, did_you_mean
from tlplat_genomics.strict import DEFAULT_LIMITS, Limits, open_text

CODE = "TL-DATA-CSV"
LONGEST_FIELD = 1 << 27


def read_table(path: Path, limits: Limits = DEFAULT_LIMITS) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, row by column) of a CSV file, or of a TSV file where the name says so; the header is required.

    Raises:
        DataError TL-DATA-CSV: no row, repeated or empty column names, a row of another width, a broken quote, a line
            break inside a field.
    """
    tabs = ".tsv" in [suffix.lower() for suffix in path.suffixes]
    previous = csv.field_size_limit(LONGEST_FIELD)
    rows = 0
    try:
        with open_text(path, limits) as handle:
            reader = csv.reader(handle, delimiter="\t" if tabs else ",", strict=True)
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
                if any("\n" in field for field in row):
                    _refuse("a line break inside a field (an unclosed quote?)", where)
                rows += 1
                yield reader.line_num, dict(zip(header, (field.strip() for field in row), strict=True))
    except csv.Error as error:
        _refuse(f"broken CSV: {error}", f"{path}, line {reader.line_num}")
    finally:
        csv.field_size_limit(previous)
    if not rows:
        _refuse("0 rows: the table is empty", str(path))


def need_column(row: Mapping[str, str], column: str, path: Path) -> None:
    """Raise DataError TL-DATA-COLUMN where the table has no such column."""
    if column not in row:
        raise DataError(
            "TL-DATA-COLUMN",
            f"no column {column!r}{did_you_mean(column, list(row))}",
            where=str(path),
            found=", ".join(row),
            expected=column,
            fix="name the column that is there (--target for labels, --sequence for sequences, --group for groups)",
        )


def _refuse(message: str, where: str, found: str | None = None, expected: str | None = None) -> NoReturn:
    raise DataError(CODE, message, where=where, found=found, expected=expected, fix="mend the table")
