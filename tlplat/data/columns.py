"""Mixed tables as numbers: numeric, categorical and missing values, by statistics of the training rows alone.

A table is a mapping from column names to arrays of n values: float64 with NaN where missing, or objects, strings with
None where missing. :meth:`TableEncoder.fit` looks at the rows it is given and at no other; what it found is JSON, kept
with the model, and encodes every later table: a category that it never saw, or a column that is not there, is missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from tlplat.errors import DataError, did_you_mean

Table = Mapping[str, np.ndarray]
SKEWED = 2.0
"""Skewness above which a column without negative values is encoded by the logarithm of 1 + value."""
FARTHEST = 6.0
"""Standard deviations; what lies farther from the mean is drawn in to here."""
MOST_CATEGORIES = 64
"""Of one column, the most frequent first; a value beyond them counts as unseen."""


@dataclass(frozen=True)
class Column:
    """How one column becomes numbers.

    Attributes:
        kind: ``numeric`` takes one number, ``categorical`` one for each of ``categories`` (1 for the row's own);
            ``plain`` the number as it is, for a network from outside that was trained on such: none may be missing.
        missing: whether the fitted rows had missing values; then one more number says so.
        log: whether the logarithm of 1 + value is standardised instead of the value. mean, std: of what is; of a
            plain column, which is not standardised, the mean that explanations are against.
    """

    name: str
    kind: Literal["numeric", "categorical", "plain"]
    missing: bool = False
    log: bool = False
    mean: float = 0.0
    std: float = 1.0
    categories: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Numbers a row."""
        return (len(self.categories) if self.kind == "categorical" else 1) + self.missing

    @classmethod
    def fit(cls, name: str, values: np.ndarray) -> Column:
        """From the values (n,) of the rows that a model is trained on."""
        if values.dtype == object:
            counts = Counter(str(v) for v in values if v is not None)
            frequent = sorted(counts, key=lambda v: (-counts[v], v))[:MOST_CATEGORIES]
            return cls(name, "categorical", counts.total() < len(values), categories=tuple(frequent))
        numbers = values[np.isfinite(values)]
        missing = len(numbers) < len(values)
        if not len(numbers):
            return cls(name, "numeric", missing)
        log = bool(numbers.min() >= 0) and _skewness(numbers) > SKEWED
        numbers = np.log1p(numbers) if log else numbers
        return cls(name, "numeric", missing, log, float(numbers.mean()), float(numbers.std()) or 1.0)

    def encode(self, values: np.ndarray | None, n: int) -> np.ndarray:
        """(n, width) float64; ``values`` None where the table has no such column."""
        if self.kind == "plain":
            return self._complete(values, n)[:, None]
        if self.kind == "numeric":
            numbers = np.full(n, np.nan) if values is None else self._numbers(values)
            absent = np.isnan(numbers)
            with np.errstate(invalid="ignore"):
                scaled = (np.log1p(np.maximum(numbers, 0)) if self.log else numbers) - self.mean
            columns = [np.where(absent, 0.0, np.clip(scaled / self.std, -FARTHEST, FARTHEST))]
        else:
            texts = np.full(n, None, dtype=object) if values is None else _texts(values)
            absent = np.array([v is None for v in texts], dtype=bool)
            columns = [(texts == category).astype(np.float64) for category in self.categories]
        columns += [absent.astype(np.float64)] if self.missing else []
        return np.stack(columns, axis=1) if columns else np.zeros((n, 0))

    def _complete(self, values: np.ndarray | None, n: int) -> np.ndarray:
        """(n,) numbers as they are.

        Raises:
            DataError TL-DATA-MISSING: one is not there.
        """
        numbers = np.full(n, np.nan) if values is None else self._numbers(values)
        absent = np.flatnonzero(np.isnan(numbers))
        if len(absent):
            raise DataError(
                "TL-DATA-MISSING",
                f"{len(absent)} of {n} rows have no {self.name}, and the source takes numbers as they are",
                where=f"row {absent[0] + 1}, column {self.name}",
                expected="a number in every row",
                fix="fill the missing values in, as the model's training rows had them, or leave these rows out",
            )
        return numbers

    def _numbers(self, values: np.ndarray) -> np.ndarray:
        if values.dtype == object:
            raise DataError(
                "TL-DATA-TYPE",
                f"column {self.name} holds words where the model was trained on numbers",
                where=f"column {self.name}",
                expected="numbers",
                fix="mend the column, or name it differently, so that it counts as one the model does not know",
            )
        return values.astype(np.float64)


@dataclass(frozen=True)
class TableEncoder:
    """A table's columns as numbers, in order."""

    columns: tuple[Column, ...]

    @classmethod
    def fit(cls, table: Table, names: Sequence[str] | None = None) -> Self:
        """From training rows; ``names`` chooses columns and their order, all by default.

        Raises:
            DataError: TL-DATA-COLUMN, no such column.
        """
        for name in names or ():
            if name not in table:
                raise DataError(
                    "TL-DATA-COLUMN",
                    f"no column {name!r}{did_you_mean(name, list(table))}",
                    found=", ".join(table),
                    expected=name,
                    fix="name columns that the table has",
                )
        return cls(tuple(Column.fit(name, table[name]) for name in (names or table)))

    @property
    def width(self) -> int:
        """Numbers a row."""
        return sum(column.width for column in self.columns)

    @property
    def names(self) -> list[str]:
        """What each number is: a column, ``column = category``, or ``column is missing``."""
        found = []
        for c in self.columns:
            found += [f"{c.name} = {category}" for category in c.categories] if c.kind == "categorical" else [c.name]
            found += [f"{c.name} is missing"] if c.missing else []
        return found

    def encode(self, table: Table) -> Tensor:
        """(n, width) float32.

        Raises:
            DataError: TL-DATA-TYPE, words in a column of numbers.
        """
        n = rows_of(table)
        parts = [column.encode(table.get(column.name), n) for column in self.columns]
        return torch.from_numpy(np.concatenate(parts, axis=1) if parts else np.zeros((n, 0))).float()

    def fit_report(self, table: Table) -> dict[str, Any]:
        """What of ``table`` the encoder does not know (JSON): names of columns, and counts of unseen categories."""
        known = {c.name for c in self.columns}
        unseen: dict[str, int] = {}
        for column in self.columns:
            if column.kind == "categorical" and column.name in table:
                seen = {*column.categories, None}
                count = sum(v not in seen for v in _texts(table[column.name]))
                unseen |= {column.name: count} if count else {}
        return {
            "shared": [c.name for c in self.columns if c.name in table],
            "absent": [c.name for c in self.columns if c.name not in table],
            "extra": [name for name in table if name not in known],
            "unseen_categories": unseen,
        }

    def to_json(self) -> list[dict[str, Any]]:
        """JSON values."""
        return [{**asdict(column), "categories": list(column.categories)} for column in self.columns]

    @classmethod
    def from_json(cls, values: Sequence[Mapping[str, Any]]) -> Self:
        """What :meth:`to_json` gave."""
        return cls(tuple(Column(**{**value, "categories": tuple(value["categories"])}) for value in values))


def rows_of(table: Table) -> int:
    """How many rows; every column must have as many."""
    lengths = {name: len(values) for name, values in table.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"a table needs columns of one length, not {lengths}")
    return next(iter(lengths.values()))


def typed(texts: Mapping[str, Sequence[str | None]], kinds: Mapping[str, str] | None = None) -> dict[str, np.ndarray]:
    """Columns of texts as numbers where every value that is there is a number, else as words.

    Args:
        texts: None or an empty string is missing.
        kinds: ``numeric`` or ``categorical`` where it must not be guessed.

    Raises:
        DataError: TL-DATA-TYPE, a word in a column that must be numeric; its place, never its value.
    """
    found: dict[str, np.ndarray] = {}
    for name, values in texts.items():
        kind = (kinds or {}).get(name)
        words = np.array([None if v is None or not v.strip() else v.strip() for v in values], dtype=object)
        numbers = [np.nan if v is None else _number(v) for v in words]
        wrong = [i for i, v in enumerate(numbers) if v is None]
        if kind == "numeric" and wrong:
            raise DataError(
                "TL-DATA-TYPE",
                f"{len(wrong)} of {len(words)} values of the column are no numbers",
                where=f"row {wrong[0] + 1}, column {name}",
                expected="numbers",
                fix=f"mend the column {name}, or leave such values empty",
            )
        found[name] = words if kind == "categorical" or wrong else np.array(numbers, dtype=np.float64)
    return found


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _texts(values: np.ndarray) -> np.ndarray:
    """Numbers as the words they were: a category 3 read as 3.0 is still 3."""
    if values.dtype == object:
        return values
    return np.array([None if np.isnan(v) else f"{v:g}" for v in values.astype(np.float64)], dtype=object)


def _skewness(x: np.ndarray) -> float:
    deviation = x.std()
    return float((((x - x.mean()) / deviation) ** 3).mean()) if deviation > 0 else 0.0
