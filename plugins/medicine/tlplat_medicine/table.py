"""A CSV of patients, read strictly; an error names row and column and never shows a value."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlplat.data.columns import typed
from tlplat.data.tables import SEPARATORS, read_table
from tlplat.errors import DataError, did_you_mean

MISSING = {"", "na", "n/a", "nan", "null", "."}
"""Ways to write that a value is not known, in lower case."""
MOSTLY = 0.8
"""A column of which so large a share are numbers is one of numbers: its words are mistakes."""
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
WITH_COMMA = re.compile(r"[+-]?\d+(,\d+)?([eE][+-]?\d+)?")

Warn = Callable[[str], None]


@dataclass(frozen=True)
class Sheet:
    """A file's columns as text, "" where a value is missing; every column has one text a row.

    ``second``: another file, whose rows follow from the one numbered ``begins`` on.
    """

    path: Path
    columns: dict[str, list[str]]
    second: Path | None = None
    begins: int = 0

    def place(self, row: int, column: str) -> str:
        """Where a user finds the row numbered ``row``: file, row from 1 on, column."""
        inside = self.second is not None and row >= self.begins
        file, number = (self.second, row - self.begins) if inside else (self.path, row)
        assert file is not None
        return f"{file.name}, row {number + 1}, column {column}"

    def stacked(self, other: Sheet) -> Sheet:
        """The rows of both; columns that one of them lacks are missing there."""
        names = [*self.columns, *(n for n in other.columns if n not in self.columns)]
        blank = [[""] * len(sheet) for sheet in (self, other)]
        columns = {n: self.columns.get(n, blank[0]) + other.columns.get(n, blank[1]) for n in names}
        return Sheet(self.path, columns, other.path, len(self))

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

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


def read_sheet(path: Path, warn: Warn) -> Sheet:
    """A CSV or TSV file with a header; what Excel writes (semicolons, decimal commas) is read, and ``warn`` told.

    Raises:
        DataError: what :func:`tlplat.data.tables.read_table` raises; TL-DATA-CSV: the first row is no header.
    """
    told: list[str] = []
    rows = [row for _, row in read_table(path, told=told.append)]
    if any(NUMBER.fullmatch(name) or re.fullmatch(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}", name) for name in rows[0]):
        raise DataError(
            "TL-DATA-CSV",
            f"the first row of {path.name} holds numbers or dates: it is a patient, not the names of columns",
            where=f"{path}, line 1",
            fix="put a header with the names of the columns above the rows",
        )
    columns = {name: [_known(row[name]) for row in rows] for name in rows[0]}
    for separator in told:
        commas = [name for name, values in columns.items() if separator != "," and _decimal(values)]
        for name in commas:
            columns[name] = [value.replace(",", ".") for value in columns[name]]
        also = f", and decimal commas in {', '.join(commas)}" if commas else ""
        named = SEPARATORS.get(separator, repr(separator))
        warn(f"{path.name}: the separator was taken to be {named}{also}")
    return Sheet(path, columns)


def typed_columns(
    sheet: Sheet, names: Collection[str], categorical: Collection[str] = (), numeric: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """These columns as numbers (float64, NaN) or words (objects, None); unsaid, most values decide.

    Raises:
        DataError TL-DATA-TYPE: a word in a column of numbers.
    """
    texts = sheet.select(names)
    kinds = dict.fromkeys(texts, "numeric")
    for name, values in texts.items():
        wrong = [i for i, v in enumerate(values) if v and not NUMBER.fullmatch(v)]
        mostly_words = len(wrong) > (1 - MOSTLY) * sum(bool(v) for v in values)
        if name in categorical or (mostly_words and name not in numeric):
            kinds[name] = "categorical"
        elif wrong:
            raise DataError(
                "TL-DATA-TYPE",
                f"{len(wrong)} of {len(values)} values of the column {name} are no numbers",
                where=sheet.place(wrong[0], name),
                expected="numbers",
                fix=f"mend the column {name}, leave such values empty, or, if it holds codes: --categorical {name}",
            )
    return typed(texts, kinds)


def _known(text: str) -> str:
    return "" if text.lower() in MISSING else text


def _decimal(values: Sequence[str]) -> bool:
    known = [v for v in values if v]
    return any("," in v for v in known) and all(WITH_COMMA.fullmatch(v) for v in known)
