"""Windows of prices: what the past days say, and the volatility of the next ones.

Volatility is the root of the mean squared daily log return, as the logarithm of per cent a day. The features are those
of heterogeneous autoregression (HAR; Corsi 2009), volatility over a day, a week, a month and a quarter, with the sign
of recent returns (the leverage effect) and the largest of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tlplat.errors import DataError
from tlplat_finance.prices import Series

WINDOW = 66
"""Returns that a row's features are made of: a quarter."""
LEAST = 0.02
"""Per cent a day: the least volatility that is told apart, since a price may stand still."""
SPANS = {"vol_1": 1, "vol_5": 5, "vol_22": 22, "vol_66": 66}
FEATURES = (*SPANS, "return_1", "return_5", "return_22", "largest_5", "largest_22")
LEVELS = (-1.2, 0.4)
"""Logarithms of the least and the largest factor of :func:`at_other_levels`."""
SERIES, MOMENT, NEXT = "series", "moment", "next_return"
"""Further columns of a row: its series, its moment, and the log return of the next day."""


@dataclass(frozen=True)
class Windows:
    """Rows, one a series and day with a whole window behind it.

    Attributes:
        table: features, series, moments and next returns by column; ``next_return`` is NaN on a series' last day.
        targets: (n,) float64 log volatility of the next days; NaN where they are not known yet.
        ids: series and day. spans: (n, 2) int64 moments, from the first of the window to the last of the target.
    """

    table: dict[str, np.ndarray]
    targets: np.ndarray
    ids: list[str]
    spans: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, rows: np.ndarray) -> Windows:
        """The rows numbered ``rows``."""
        table = {name: values[rows] for name, values in self.table.items()}
        return Windows(table, self.targets[rows], [self.ids[i] for i in rows.tolist()], self.spans[rows])


def at_other_levels(rows: Windows, copies: int, seed: int) -> Windows:
    """The rows, and copies of them whose volatility is higher or lower throughout, each by a factor of its own.

    What a network learns of them is how volatility goes on, and not how volatile the source's market is: single stocks
    are twice as volatile as an index. Only the ratio of past to coming volatility is kept.
    """
    rng = np.random.default_rng(seed)
    parts = [rows]
    for copy in range(copies):
        factor = rng.uniform(*LEVELS, len(rows))
        table = {name: values + factor if name in SPANS else values for name, values in rows.table.items()}
        parts.append(Windows(table, rows.targets + factor, [f"{i}, level {copy}" for i in rows.ids], rows.spans))
    return _joined(parts)


def standardised(rows: Windows) -> np.ndarray:
    """Next days' returns (m,) in units of a volatility that least squares on these rows' past (HAR) forecasts."""
    design = np.column_stack([np.ones(len(rows)), *(rows.table[name] for name in SPANS)])
    weights = np.linalg.lstsq(design, rows.targets, rcond=None)[0]
    found = rows.table[NEXT] / (np.exp(design @ weights) / 100)
    return np.asarray(found[np.isfinite(found)])


def log_volatility(squares: np.ndarray) -> np.ndarray:
    """Log of per cent a day, from mean squared log returns."""
    return np.asarray(np.log(np.maximum(100 * np.sqrt(squares), LEAST)))


def features_text() -> str:
    """How a row's columns are made of prices, for :meth:`tlplat.domain.Domain.inputs_text`."""
    return (
        f"columns of a day, from its price and the {WINDOW} before, with r the daily log returns up to it: vol_k is "
        f"log(max(100 * sqrt(mean of the last k r squared), {LEAST:g})); with s = exp(vol_66) / 100, return_k is the "
        "sum of the last k r, divided by s * sqrt(k), and largest_k the largest |r| of the last k, divided by s"
    )


def windows(series: Sequence[Series], horizon: int, *, known: bool = True) -> Windows:
    """Every day of every series that has a whole window behind it and, where ``known``, the target before it.

    Raises:
        DataError TL-DATA-SHORT: there is none.
    """
    parts = [_of_run(one, np.flatnonzero(one.runs == run), horizon) for one in series for run in np.unique(one.runs)]
    made = _joined(parts)
    if known:
        made = made.select(np.flatnonzero(np.isfinite(made.targets)))
    if not len(made):
        longest = max((int(np.bincount(one.runs).max()) for one in series if len(one.runs)), default=0)
        wanted = WINDOW + 1 + (horizon if known else 0)
        raise DataError(
            "TL-DATA-SHORT",
            f"no series has {wanted} rows in a run: a window of {WINDOW} returns"
            + (f" and a horizon of {horizon}" if known else ""),
            found=f"{longest} rows in the longest run of {len(series)} series",
            expected=f"at least {wanted} rows without a hole",
            fix="give longer series, or fill the hole",
        )
    return made


def _of_run(series: Series, rows: np.ndarray, horizon: int) -> Windows:
    """The windows of one run without a hole."""
    prices, moments = series.prices[rows], series.moments[rows]
    n = len(prices)
    ends = np.arange(WINDOW, n)
    returns = np.r_[np.nan, np.diff(np.log(prices))]
    total = np.r_[0.0, np.cumsum(np.nan_to_num(returns) ** 2)]  # total[i]: squares of the first i returns
    level = np.r_[0.0, np.cumsum(np.nan_to_num(returns))]
    table = {name: log_volatility((total[ends + 1] - total[ends + 1 - k]) / k) for name, k in SPANS.items()}
    scale = np.exp(table["vol_66"]) / 100
    for k in (1, 5, 22):
        table[f"return_{k}"] = (level[ends + 1] - level[ends + 1 - k]) / (scale * np.sqrt(k))
    sizes = np.abs(np.nan_to_num(returns))
    for k in (5, 22):
        lagged = np.stack([sizes[ends - i] for i in range(k)]) if len(ends) else np.zeros((k, 0))
        table[f"largest_{k}"] = lagged.max(axis=0) / scale
    ahead = np.minimum(ends + 1 + horizon, n)
    targets = np.where(ends + horizon < n, log_volatility((total[ahead] - total[ends + 1]) / horizon), np.nan)
    table[SERIES] = np.full(len(ends), series.name, dtype=object)
    table[MOMENT] = moments[ends].astype(np.float64)
    table[NEXT] = np.r_[returns[ends[:-1] + 1], np.nan] if len(ends) else np.zeros(0)
    spans = np.stack([moments[ends - WINDOW], moments[np.minimum(ends + horizon, n - 1)]], axis=1)
    ids = [f"{series.name} {series.said[rows[i]]}" for i in ends.tolist()]
    return Windows(table, targets, ids, spans)


def _joined(parts: Sequence[Windows]) -> Windows:
    names = parts[0].table if parts else {}
    return Windows(
        {name: np.concatenate([p.table[name] for p in parts]) for name in names},
        np.concatenate([p.targets for p in parts]) if parts else np.zeros(0),
        [i for p in parts for i in p.ids],
        np.concatenate([p.spans for p in parts]) if parts else np.zeros((0, 2), dtype=np.int64),
    )
