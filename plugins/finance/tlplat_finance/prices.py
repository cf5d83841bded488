"""Prices of one or several series: read, checked, and as runs of days without a hole."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np

from tlplat.assets import fetch
from tlplat.data.sides import TEST, TRAIN, VALIDATION, Sides, files_given, given_sides
from tlplat.domain import DataOptions, DomainContext
from tlplat.errors import DataError, Finding
from tlplat_finance.assets import EU_MARKETS, US_STOCKS
from tlplat_finance.loans import told_of_late
from tlplat_finance.table import At, Texts, as_number, days, need, nonfinite, numbers, read_texts

CLOSE, DATE = "close", "date"
LONGEST_HOLE = 14
"""Calendar days between two rows of a series; after a longer one a new run begins."""
MOST_STILL = 0.3
"""A US stock whose price stays the same on more of the days is left out."""
EU_START, EU_YEAR = 1991 + 129 / 260, 260
"""The indices begin on business day 130 of 260 of 1991."""


@dataclass(frozen=True)
class Series:
    """One series.

    Attributes:
        moments: (n,) int64, rising: positions on the calendar that all series of a panel share.
        prices: (n,) positive. said: (n,) the moments as texts. runs: (n,) numbers: rows of a run follow each other.
    """

    name: str
    moments: np.ndarray
    prices: np.ndarray
    said: Sequence[str]
    runs: np.ndarray

    def before(self, moment: int) -> Series:
        """The part that is earlier than ``moment``."""
        n = int(np.searchsorted(self.moments, moment))
        return Series(self.name, self.moments[:n], self.prices[:n], self.said[:n], self.runs[:n])


@dataclass(frozen=True)
class Panel:
    """Series on one calendar.

    Attributes:
        begins: the moments at which the days of a split of the user's begin: validation (None: it has none), test.
        by: who said so, for the data card.
    """

    series: list[Series]
    begins: tuple[int | None, int] | None = None
    by: str = ""


def is_series(columns: Mapping[str, Sequence[str]], apart: Collection[str | None] = ()) -> bool:
    """Whether a table, by its first rows, holds nothing but dates and numbers, dates differing; ``apart`` from some."""
    when = next((name for name in columns if name.lower() == DATE), None)
    prices = [values for name, values in columns.items() if name != when and name not in apart]
    if when is None or not prices or len(set(columns[when])) < len(columns[when]):
        return False
    return all(as_number(value or None) is not None for values in prices for value in values)


def eu_indices(context: DomainContext) -> list[Series]:
    """Daily closes of DAX, SMI, CAC and FTSE, 1991-1998. No dates are given: a row's moment is said as a year."""
    path = fetch(EU_MARKETS, context.cache, offline=context.offline, report=context.report)
    texts, at = read_texts(path)
    n = len(next(iter(texts.values())))
    moments = np.arange(n, dtype=np.int64)
    said = [f"{EU_START + i / EU_YEAR:.3f}" for i in range(n)]
    return [Series(name, moments, numbers(name, v, at), said, np.zeros(n, dtype=np.int64)) for name, v in texts.items()]


def us_stocks(context: DomainContext, until: str) -> list[Series]:
    """Daily prices of US stocks from 1990 on, adjusted, up to the day before ``until`` (YYYY-MM-DD).

    One of the 20 is left out: its price stood still on 61 % of the days, and fell by two thirds on one.
    """
    path = fetch(US_STOCKS, context.cache, offline=context.offline, report=context.report)
    with gzip.open(path, "rt", encoding="utf-8", newline="") as handle:
        header, *rows = csv.reader(handle)
    rows = [row for row in rows if row[0] < until]
    moments, said = np.arange(len(rows), dtype=np.int64), [row[0] for row in rows]
    whole = np.zeros(len(rows), dtype=np.int64)
    prices = {name: np.array([float(row[column]) for row in rows]) for column, name in enumerate(header) if column}
    moving = {name: values for name, values in prices.items() if (np.diff(values) == 0).mean() < MOST_STILL}
    return [Series(name, moments, values, said, whole) for name, values in moving.items()]


def read_prices(
    path: Path,
    *,
    price: str | None = None,
    time: str | None = None,
    group: str | None = None,
    form: str | None = None,
    late: str = "error",
    split: str | None = None,
    data: DataOptions | None = None,
    context: DomainContext,
    today: date | None = None,
) -> Panel:
    """The series of a file: one row a day, or one a day and series where ``group`` names their column.

    Args:
        split: a column that is no series. data: says how the user split the days, and names the files of other sides.
        price: the column of prices; default ``close``; without either, every other column is a series of its own.
        time: the column of dates; default ``date``, in any case of letters. form: of the dates.
        late: ``warn`` lets rows dated after ``today`` pass with a warning.

    Raises:
        DataError TL-DATA-NONFINITE: a price that is missing, infinite, zero or negative. TL-DATA-DATE: a date twice in
            a series, and what :func:`days` raises. TL-DATA-FUTURE, TL-DATA-COLUMN, TL-DATA-NUMBER. TL-DATA-SPLIT, and
            TL-LEAK-TIME: days of a side that are not later than all days of the side before.
    """
    texts, at = read_texts(path, context.warn, [] if data is None else files_given(data)[1:])
    time = time or next((name for name in texts if name.lower() == DATE), DATE)
    when, after = days(time, need(texts, time, at, "--time"), at, form, today)
    told_of_late(after, time, at, late, context)
    if price is None and (CLOSE in texts or group is not None):
        price = CLOSE
    calendar = np.unique(when)
    sides = begins = None
    if data is not None:
        names = [] if data.split is None else need(texts, data.split, at, "--split")
        sides = given_sides(data, at.sizes, names, at.row)
        begins = None if sides is None else _begins(sides, when, calendar, at)
    parts = _long(texts, at, price, group) if price is not None else _wide(texts, at, (time, split))
    made = []
    for name, column, rows, values in parts:
        usable = np.isfinite(values) & (values > 0)
        wrong = rows[~usable]
        if len(wrong):
            fix = "mend the prices, which must be positive numbers, or leave these rows out"
            raise nonfinite(column, at, wrong, texts[column], fix)
        made.append(_series(name, when[rows], values, calendar, at, rows, time))
    for series in made:
        holes = int(series.runs[-1])
        if holes:
            context.warn(
                f"{series.name} has {holes} holes of more than {LONGEST_HOLE} days; no window reaches across one"
            )
    return Panel(made) if sides is None else Panel(made, begins, sides.by)


def _begins(sides: Sides, when: np.ndarray, calendar: np.ndarray, at: At) -> tuple[int | None, int]:
    """The moments at which validation and test days begin."""
    names = {TRAIN: "training", VALIDATION: "validation", TEST: "test"}
    there = [side for side in names if (sides.side == side).any()]
    for early, late in pairwise(there):
        begin = int(when[sides.side == late].min())
        wrong = np.flatnonzero((sides.side == early) & (when >= begin))
        if len(wrong):
            day = np.datetime64(begin, "D")
            raise DataError(
                "TL-LEAK-TIME",
                f"{len(wrong)} rows of {names[early]} days are not before {day}, when {names[late]} days begin: a "
                "model would know what came later, of this series or of others that move with it",
                where=str(at.path),
                findings=[Finding(f"one of the {names[early]} days", at.row(i)) for i in wrong.tolist()],
                fix="part all series at the same days: training days first, then validation days, then test days",
            )
    first = {side: int(np.searchsorted(calendar, when[sides.side == side].min())) for side in there}
    return first.get(VALIDATION), first[TEST]


def _long(texts: Texts, at: At, price: str, group: str | None) -> list[tuple[str, str, np.ndarray, np.ndarray]]:
    values = numbers(price, need(texts, price, at, "--target"), at)
    if group is None:
        return [(price, price, np.arange(len(values)), values)]
    names = [n or "" for n in need(texts, group, at, "--group")]
    rows: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        rows.setdefault(name, []).append(i)
    return [(name, price, np.array(index), values[index]) for name, index in rows.items()]


def _wide(texts: Texts, at: At, apart: Sequence[str | None]) -> list[tuple[str, str, np.ndarray, np.ndarray]]:
    found = {name: numbers(name, values, at) for name, values in texts.items() if name not in apart}
    if not found:
        raise DataError(
            "TL-DATA-COLUMN",
            f"{at.path.name} has no column of prices",
            where=str(at.path),
            found=", ".join(texts),
            expected=CLOSE,
            fix="name the column of prices with --target",
        )
    made = []
    for name, values in found.items():
        known = np.flatnonzero(~np.isnan(values))
        if not len(known):
            raise nonfinite(name, at, np.arange(len(values)), texts[name], "leave the column out")
        rows = np.arange(known[0], known[-1] + 1)  # a series may begin later and end earlier than the others
        made.append((name, name, rows, values[rows]))
    return made


def _series(
    name: str, when: np.ndarray, prices: np.ndarray, calendar: np.ndarray, at: At, rows: np.ndarray, time: str
) -> Series:
    order = np.argsort(when, kind="stable")
    when, prices, rows = when[order], prices[order], rows[order]
    twice = np.flatnonzero(np.diff(when) == 0)
    if len(twice):
        raise DataError(
            "TL-DATA-DATE",
            f"{name} has {len(twice)} dates twice",
            where=f"{at.path}, {at.row(int(rows[twice[0] + 1]))}, column {time}",
            fix="give one row a day and series; name the column that tells series apart with --group",
        )
    runs = np.cumsum(np.r_[0, np.diff(when) > LONGEST_HOLE]).astype(np.int64)
    said = [str(day) for day in when.astype("datetime64[D]")]
    return Series(name, np.searchsorted(calendar, when).astype(np.int64), prices, said, runs)
