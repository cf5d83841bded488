"""CSV and TSV as dictionaries, read strictly: every row has every column, no quote swallows the file."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from tlplat.data.lines import text_lines
from tlplat.data.opening import opened
from tlplat.errors import DataError, did_you_mean

LONGEST_FIELD = 1 << 27
"""Characters of a field that :func:`table_rows` takes."""
LONGEST_IN_FILE = 12 << 20
"""The same, and bytes of a line, for :func:`read_table`: a quote that is never closed ends here, not with the file."""

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}


def table_rows(
    lines: Iterable[str],
    path: Path,
    *,
    line_breaks: bool = False,
    longest: int = LONGEST_FIELD,
    told: Callable[[str], None] | None = None,
) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, row by column) of lines whose first names the columns; tabs part fields where ``path`` is a TSV.

    No value of a row is ever shown in an error, only its place.

    Args:
        line_breaks: quoted fields may hold line breaks (texts); a row's number is that of its first line.
        longest: characters of a field.
        told: where given, a header without commas may be parted by semicolons or tabs, and a first line ``sep=;`` (both
            as Excel writes them) is heeded; it is called with that separator.

    Raises:
        DataError TL-DATA-CSV: no row, repeated or empty column names, a row of another width, a broken quote, a line
            break inside a field.
    """
    usual = "\t" if ".tsv" in [suffix.lower() for suffix in path.suffixes] else ","
    given, separator, before = _parted(iter(lines), usual) if told else (iter(lines), usual, 0)
    if told and separator != usual:
        told(separator)
    previous = csv.field_size_limit(longest)
    rows, begin = 0, 1 + before
    reader = csv.reader(given, delimiter=separator, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if not header or "" in header or len(set(header)) != len(header):
            counted = (
                f"{len(header)} names, {header.count('')} of them empty, {len(header) - len(set(header))} repeated"
            )
            raise _broken("the header has empty or repeated column names", f"{path}, line {begin}", counted)
        begin = reader.line_num + before + 1
        for row in reader:
            line, begin = begin, reader.line_num + before + 1
            where = f"{path}, line {line}"
            if not row:
                continue
            if len(row) != len(header):
                raise _broken("a row of another width", where, f"{len(row)} fields", f"{len(header)} fields")
            if not line_breaks and any("\n" in field or "\r" in field for field in row):
                raise _broken("a row has a line break inside a field (a quote that is never closed?)", where)
            rows += 1
            yield line, dict(zip(header, (field.strip() for field in row), strict=True))
    except csv.Error as error:
        raise _broken(f"the row is broken: {_reason(error, longest)}", f"{path}, line {begin}") from error
    finally:
        csv.field_size_limit(previous)
    if not rows:
        raise _broken("0 rows: the table is empty", str(path))


def _parted(lines: Iterator[str], usual: str) -> tuple[Iterator[str], str, int]:
    """The lines from the header on, the separator that it is written with, and how many lines came before."""
    first = next(lines, "")
    said = re.fullmatch(r'"?sep=(.)"?[\r\n]*', first)
    if said:
        return lines, said[1], 1
    bare = re.sub(r'"[^"]*"', "", first)
    found = usual if usual in bare else next((s for s in SEPARATORS if s in bare), usual)
    return chain([first], lines), found, 0


def read_table(
    path: Path,
    *,
    line_breaks: bool = False,
    longest: int = LONGEST_IN_FILE,
    told: Callable[[str], None] | None = None,
) -> Iterator[tuple[int, dict[str, str]]]:
    """As :func:`table_rows`, of a file, compressed or not.

    Raises:
        DataError: what that and :func:`opened` raise; TL-DATA-CSV: a NUL byte, a line that never ends.
            TL-DATA-ENCODING: not UTF-8.
    """
    with opened(path) as file:
        lines = (line for _, line in text_lines(file, path, "TL-DATA-CSV", 4 * longest))
        yield from table_rows(lines, path, line_breaks=line_breaks, longest=longest, told=told)


def read_numbers(path: Path, columns: int) -> tuple[list[str], Tensor]:
    """Names (``line 3``) and numbers, float32 (n, columns), of a plain file with ``columns`` numbers a line, no header.

    Raises:
        DataError TL-DATA-READ: unreadable, empty, or a line that is not so many finite numbers; no value is shown.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _no_numbers(path, str(path), str(error), columns) from error
    ids, rows = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = [float(field) for field in line.split(",")]
        except ValueError:
            row = []
        if len(row) != columns or not all(map(math.isfinite, row)):
            raise _no_numbers(path, f"{path}, line {number}", f"{len(line.split(','))} fields", columns)
        ids.append(f"line {number}")
        rows.append(row)
    if not rows:
        raise _no_numbers(path, str(path), "no line", columns)
    return ids, torch.tensor(rows, dtype=torch.float32)


def _no_numbers(path: Path, where: str, found: str, columns: int) -> DataError:
    return DataError(
        "TL-DATA-READ",
        f"{path} does not hold lines of {columns} finite numbers",
        where=where,
        found=found,
        expected=f"{columns} finite numbers with commas between them",
        fix="write a line of numbers for each row, without a header",
    )


def need_column(row: Mapping[str, object], column: str, path: Path, flags: str) -> None:
    """Raise DataError TL-DATA-COLUMN where the table has no such column; ``flags`` says how columns are named."""
    if column not in row:
        raise DataError(
            "TL-DATA-COLUMN",
            f"no column {column!r}{did_you_mean(column, list(row))}; columns found: {', '.join(row)}",
            where=str(path),
            expected=column,
            fix=f"name the column that is there ({flags})",
        )


def _reason(error: csv.Error, longest: int) -> str:
    text = str(error)
    if "field larger" in text or "unexpected end" in text:
        return f"a quote that is never closed, or a field of more than {longest >> 20} MB ({text})"
    return text


def _broken(message: str, where: str, found: str | None = None, expected: str | None = None) -> DataError:
    return DataError("TL-DATA-CSV", message, where=where, found=found, expected=expected, fix="mend the table")
