"""A table as columns of texts, from any of the files that :mod:`tlplat.data.records` reads, one or several."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from tlplat.data.records import Row, Wanted, read_records
from tlplat.data.tables import SEPARATORS
from tlplat.errors import DataError, did_you_mean

WITH_COMMA = re.compile(r"[+-]?\d+(,\d+)?([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Sheet:
    """Columns of texts, "" where a value is missing; every column has one text a row.

    Attributes:
        path: what the user named: a file, a folder or a pattern.
        files: the files that it means, in order, with their numbers of rows; none where it is one file.
    """

    path: Path
    columns: dict[str, list[str]]
    files: tuple[tuple[Path, int], ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def row(self, number: int) -> str:
        """What the row numbered so, from 0 on, is called: ``row 7``, and the file before it where there are several."""
        file, inside = self._found(number)
        return f"row {inside}" if len(self.files) < 2 else f"{file.name}, row {inside}"

    def place(self, number: int, column: str | None = None) -> str:
        """Where a user finds a row, or a value: file, row from 1 on, column."""
        file, inside = self._found(number)
        return f"{file.name}, row {inside}" + ("" if column is None else f", column {column}")

    def _found(self, number: int) -> tuple[Path, int]:
        left = number
        for file, rows in self.files:
            if left < rows:
                return file, left + 1
            left -= rows
        return self.path, number + 1

    def stacked(self, other: Sheet) -> Sheet:
        """The rows of both; columns that one of them lacks are missing there."""
        names = [*self.columns, *(n for n in other.columns if n not in self.columns)]
        blank = [[""] * len(sheet) for sheet in (self, other)]
        columns = {n: self.columns.get(n, blank[0]) + other.columns.get(n, blank[1]) for n in names}
        files = [part for sheet in (self, other) for part in sheet.files or [(sheet.path, len(sheet))]]
        return Sheet(self.path, columns, tuple(files))

    def column(self, name: str, flag: str) -> list[str]:
        """The column; ``flag`` says how it was named.

        Raises:
            DataError TL-DATA-COLUMN: there is none.
        """
        if name not in self.columns:
            raise DataError(
                "TL-DATA-COLUMN",
                f"{self.path.name} has no column {name!r}{did_you_mean(name, list(self.columns))}",
                where=str(self.path),
                found=", ".join(self.columns),
                expected=name,
                fix=f"name a column that is there with {flag}",
            )
        return self.columns[name]

    def select(self, names: Collection[str]) -> dict[str, list[str]]:
        """These columns, in the file's order."""
        return {name: values for name, values in self.columns.items() if name in names}

    def ids(self, column: str) -> list[str]:
        """The texts of the column of ids; without one, the rows' numbers from 1 on."""
        return list(self.columns.get(column, [str(i + 1) for i in range(len(self))]))


def read_sheet(path: Path, missing: Collection[str], warn: Callable[[str], None], *, private: bool = False) -> Sheet:
    """The table in a file, a folder or the files of a pattern: CSV, TSV, JSONL or Parquet, compressed or not.

    What Excel writes (semicolons or tabs, and then decimal commas) is read, and ``warn`` told. A field that JSON lines
    lack is a missing value.

    Args:
        missing: ways to write that a value is not known, in lower case. private: no error shows a value.

    Raises:
        DataError: what :func:`read_records` raises; TL-DATA-TYPE, a list or an object as a value.
    """
    separators: dict[Path, str] = {}

    def told(file: Path, separator: str) -> None:
        separators[file] = separator

    wanted = Wanted(warn=warn, private=private, told=told)
    columns: dict[str, list[str]] = {}
    files: dict[Path, int] = {}
    for count, row in enumerate(read_records(path, wanted), 1):
        for name, value in row.values.items():
            values = columns.get(name)
            if values is None:
                values = columns[name] = [""] * (count - 1)
            text = value.strip() if isinstance(value, str) else _text(value, row, name)
            values.append("" if text.lower() in missing else text)
        if len(row.values) < len(columns):
            for values in columns.values():
                if len(values) < count:
                    values.append("")
        files[row.file] = row.number
    _tell(separators, columns, warn)
    return Sheet(path, columns, tuple(files.items()))


def _text(value: Any, row: Row, column: str) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict | bytes):
        raise DataError(
            "TL-DATA-TYPE",
            f"the column {column!r} holds values of type {type(value).__name__}, and a table holds numbers and words",
            where=row.where,
            fix="leave the column out, or give each of its parts a column",
        )
    return str(value).strip()


def _tell(separators: dict[Path, str], columns: dict[str, list[str]], warn: Callable[[str], None]) -> None:
    """Say which separators were assumed, once each; decimal commas become points where fields have other separators."""
    for separator in dict.fromkeys(separators.values()):
        files = [file.name for file, found in separators.items() if found == separator]
        commas = [name for name, values in columns.items() if separator != "," and _decimal(values)]
        for name in commas:
            columns[name] = [value.replace(",", ".") for value in columns[name]]
        also = f", and decimal commas in {', '.join(commas)}" if commas else ""
        several = f" and {len(files) - 1} more" if len(files) > 1 else ""
        named = SEPARATORS.get(separator, repr(separator))
        warn(f"{files[0]}{several}: the separator was taken to be {named}{also}")


def _decimal(values: Sequence[str]) -> bool:
    known = [v for v in values if v]
    return any("," in v for v in known) and all(WITH_COMMA.fullmatch(v) for v in known)
