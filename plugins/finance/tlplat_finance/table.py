"""Tables of the user's as columns of texts; numbers and dates read strictly.

An error names row and column. Rows are numbered from 1, the header apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import numpy as np

from tlplat.data.records import need_same
from tlplat.data.sheets import read_sheet
from tlplat.errors import DataError, Finding, did_you_mean

Texts = Mapping[str, Sequence[str | None]]
"""Columns of texts; None where a value is missing."""
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})
NUMBER = re.compile(r"[-+]?((\d+\.?\d*|\.\d+)(e[-+]?\d+)?|inf(inity)?)", re.IGNORECASE | re.ASCII)
DECIMAL_COMMA = re.compile(r"[-+]?(\d{1,3}(\.\d{3})+|\d+),\d+")
ISO = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?")


@dataclass(frozen=True)
class At:
    """Where values stand: the path that the user named, and what its rows are called (``row 7``), by number from 0.

    ``sizes``: rows of each path.
    """

    path: Path
    row: Callable[[int], str]
    sizes: tuple[int, ...]


def read_texts(
    path: Path, warn: Callable[[str], None] = lambda sentence: None, more: Sequence[Path] = ()
) -> tuple[dict[str, list[str | None]], At]:
    """The columns of a table (:func:`tlplat.data.sheets.read_sheet`), in the file's order, and where rows stand.

    ``more``: paths of further rows, of the same columns.

    Raises:
        DataError: what that raises; TL-DATA-COLUMN: paths with different columns.
    """
    sheet = read_sheet(path, MISSING, warn)
    sizes = [len(sheet)]
    for other in (read_sheet(next_path, MISSING, warn) for next_path in more):
        need_same(list(sheet.columns), list(other.columns), path, other.path)
        sheet = sheet.stacked(other)
        sizes.append(len(other))
    columns = {name: [v or None for v in values] for name, values in sheet.columns.items()}
    return columns, At(path, sheet.row, tuple(sizes))


def need(columns: Texts, name: str, at: At, flag: str) -> Sequence[str | None]:
    """The column, or DataError TL-DATA-COLUMN that says which flag named it."""
    if name not in columns:
        raise DataError(
            "TL-DATA-COLUMN",
            f"no column {name!r}{did_you_mean(name, list(columns))}",
            where=str(at.path),
            found=", ".join(columns),
            expected=name,
            fix=f"name the column that is there with {flag}",
        )
    return columns[name]


def as_number(text: str | None) -> float | None:
    """The number, NaN where it is missing, None where it is none."""
    if text is None:
        return float("nan")
    return float(text) if NUMBER.fullmatch(text) else None


def numbers(name: str, values: Sequence[str | None], at: At) -> np.ndarray:
    """A column (n,) float64 that must be numeric; NaN where a value is missing.

    Raises:
        DataError TL-DATA-NUMBER: a word, or a decimal comma. TL-DATA-NONFINITE: infinity.
    """
    found = [as_number(v) for v in values]
    wrong = [i for i, v in enumerate(found) if v is None]
    if wrong:
        comma = any(DECIMAL_COMMA.fullmatch(values[i] or "") for i in wrong)
        raise DataError(
            "TL-DATA-NUMBER",
            f"{len(wrong)} of {len(values)} values of {name} are no numbers"
            + (": they have a decimal comma" if comma else ""),
            where=str(at.path),
            findings=[Finding("not a number", f"{at.row(i)}, column {name}", str(values[i])[:40]) for i in wrong],
            fix="write numbers with a decimal point and no separator of thousands (1234.56); leave unknown ones empty",
        )
    column = np.array(found, dtype=np.float64)
    infinite = np.flatnonzero(np.isinf(column))
    if len(infinite):
        raise nonfinite(name, at, infinite, values, "leave unknown values empty")
    return column


def nonfinite(name: str, at: At, rows: np.ndarray, values: Sequence[str | None], fix: str) -> DataError:
    """TL-DATA-NONFINITE with the rows' places and what stands there."""
    return DataError(
        "TL-DATA-NONFINITE",
        f"{len(rows)} of {len(values)} values of {name} cannot be used",
        where=str(at.path),
        findings=[
            Finding(
                "no usable number", f"{at.row(i)}, column {name}", "nothing" if values[i] is None else str(values[i])
            )
            for i in rows.tolist()
        ],
        fix=fix,
    )


def columns_of(texts: Texts, kinds: Mapping[str, str], at: At) -> dict[str, np.ndarray]:
    """Columns as :mod:`tlplat.data.columns` takes them: float64, or objects for words.

    Args:
        kinds: ``numeric`` or ``categorical`` where it must not be guessed. A column where at least half of the values
            are numbers is one of numbers, and a word in it is an error.

    Raises:
        DataError: what :func:`numbers` raises.
    """
    found = {}
    for name, values in texts.items():
        there = [v for v in values if v is not None]
        numeric = sum(as_number(v) is not None or DECIMAL_COMMA.fullmatch(v) is not None for v in there)
        kind = kinds.get(name) or ("categorical" if 2 * numeric < len(there) else "numeric")
        found[name] = np.array(values, dtype=object) if kind == "categorical" else numbers(name, values, at)
    return found


def days(
    name: str, values: Sequence[str | None], at: At, form: str | None, today: date | None = None
) -> tuple[np.ndarray, list[int]]:
    """A column of dates as days since 1970 (n,) int64, and the numbers of the rows after ``today``.

    Args:
        form: as strptime takes it; None reads ISO dates (2024-02-13), 20240213 and years.

    Raises:
        DataError TL-DATA-DATE: missing, or in another format.
    """
    read = _reader(values, form)
    found = [None if v is None else read(v) for v in values]
    wrong = [i for i, day in enumerate(found) if day is None]
    if wrong:
        like = form or "YYYY-MM-DD"
        raise DataError(
            "TL-DATA-DATE",
            f"{len(wrong)} of {len(values)} dates in {name} are missing or not in the format {like}",
            where=str(at.path),
            findings=[
                Finding("no date of that format", f"{at.row(i)}, column {name}", str(values[i])[:40]) for i in wrong
            ],
            fix="name the one format of all dates, such as --date-format %d/%m/%Y, or write them as YYYY-MM-DD",
        )
    known = [day for day in found if day is not None]
    late = [i for i, day in enumerate(known) if day > (today or date.today())]
    return np.array([day.toordinal() for day in known], dtype=np.int64) - date(1970, 1, 1).toordinal(), late


def _reader(values: Sequence[str | None], form: str | None) -> Callable[[str], date | None]:
    there = [v for v in values if v is not None]
    if form is None:
        if there and all(re.fullmatch(r"\d{4}", v) for v in there):
            form = "%Y"
        elif there and all(re.fullmatch(r"\d{8}", v) for v in there):
            form = "%Y%m%d"

    def read(text: str) -> date | None:
        try:
            if form is not None:
                return datetime.strptime(text, form).date()
            return date.fromisoformat(text[:10]) if ISO.fullmatch(text) else None
        except ValueError:
            return None

    return read
