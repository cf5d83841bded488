"""Value at risk and expected shortfall from a volatility forecast, and the tests that they must pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import xlogy
from scipy.stats import chi2

LEVELS = (0.05, 0.01)
"""Shares of days on which the loss may be larger: value at risk at 95 % and 99 %."""
POINTS = 300
"""Of a line in the report."""


@dataclass(frozen=True)
class Tail:
    """Standardised returns below a quantile: the quantile, and their mean (both negative)."""

    quantile: float
    shortfall: float


def tails_of(standardised: np.ndarray) -> dict[str, list[float]]:
    """For each level the quantile of returns (n,) in units of forecast volatility, and the mean below it (JSON).

    Filtered historical simulation (Barone-Adesi, Giannopoulos & Vosper 1999).
    """
    found = {}
    for level in LEVELS:
        quantile = float(np.quantile(standardised, level))
        found[f"{level:g}"] = [quantile, float(standardised[standardised <= quantile].mean())]
    return found


def tail(tails: Mapping[str, Sequence[float]], level: float) -> Tail:
    """What :func:`tails_of` kept for a level."""
    return Tail(*map(float, tails[f"{level:g}"]))


def kupiec(hits: np.ndarray, level: float) -> float:
    """p-value of unconditional coverage: that hits (n,) bool come with probability ``level`` (Kupiec 1995)."""
    n, x = len(hits), int(hits.sum())
    return float(chi2.sf(_ratio(n - x, x, level), 1))


def _ratio(misses: int, hits: int, level: float) -> float:
    """-2 log of the likelihood at ``level`` over that at the observed share."""
    share = hits / max(1, misses + hits)
    at_level = xlogy(misses, 1 - level) + xlogy(hits, level)
    return max(0.0, float(2 * (xlogy(misses, 1 - share) + xlogy(hits, share) - at_level)))


def christoffersen(hits: np.ndarray, level: float) -> tuple[float, float]:
    """p-values that hits (n,) bool of days in order are independent, and of conditional coverage (Christoffersen 1998).

    Against a first-order Markov chain; 1 and 2 degrees of freedom.
    """
    before, after = hits[:-1], hits[1:]
    counts = np.array(
        [
            [int((~before & ~after).sum()), int((~before & after).sum())],
            [int((before & ~after).sum()), int((before & after).sum())],
        ]
    )
    share = counts[:, 1].sum() / max(1, counts.sum())
    own = counts[:, 1] / np.maximum(1, counts.sum(axis=1))
    free = sum(float(xlogy(counts[i, 0], 1 - own[i]) + xlogy(counts[i, 1], own[i])) for i in (0, 1))
    tied = float(xlogy(counts[:, 0].sum(), 1 - share) + xlogy(counts[:, 1].sum(), share))
    independence = max(0.0, 2 * (free - tied))
    coverage = _ratio(int((~after).sum()), int(after.sum()), level)
    return float(chi2.sf(independence, 1)), float(chi2.sf(independence + coverage, 2))


def closer_look(
    series: np.ndarray,
    when: np.ndarray,
    returns: np.ndarray,
    sigma: np.ndarray,
    tails: Mapping[str, Sequence[float]],
) -> dict[str, Any]:
    """Charts and tables of the report.

    Args:
        series: (n,) names. when: (n,) moments. returns: (n,) log returns of the next day. sigma: (n,) forecast daily
            volatility, in the returns' unit.
    """
    rows: list[list[Any]] = []
    names = list(dict.fromkeys(series.tolist()))
    for level in LEVELS:
        found = tail(tails, level)
        for name in names:
            here = np.flatnonzero(series == name)
            here = here[np.argsort(when[here], kind="stable")]
            loss, limit = -returns[here], -found.quantile * sigma[here]
            hits = loss > limit
            independent, conditional = christoffersen(hits, level)
            shortfall = float((-found.shortfall * sigma[here])[hits].mean()) if hits.any() else None
            rows.append(
                [
                    f"{name}, {100 * (1 - level):g} %",
                    len(here),
                    f"{level * len(here):.1f}",
                    int(hits.sum()),
                    _p(kupiec(hits, level)),
                    _p(independent),
                    _p(conditional),
                    _share(shortfall),
                    _share(float(loss[hits].mean()) if hits.any() else None),
                ]
            )
    first = np.flatnonzero(series == names[0])
    first = first[np.argsort(when[first], kind="stable")]
    shown = first[np.unique(np.linspace(0, len(first) - 1, POINTS).astype(int))]
    line = [[float(when[i]), float(-100 * tail(tails, LEVELS[0]).quantile * sigma[i])] for i in shown]
    return {
        "charts": [
            {
                "kind": "lines",
                "title": f"Value at risk of {names[0]}, 95 %, one day",
                "x": "trading day",
                "y": "loss, % of the price",
                "series": [{"points": line}],
                "caption": "A larger loss is to be expected on one day in twenty.",
            }
        ],
        "tables": [
            {
                "title": "Value at risk and expected shortfall, one day ahead",
                "columns": [
                    "series",
                    "days",
                    "expected",
                    "exceeded",
                    "Kupiec p",
                    "independence p",
                    "conditional p",
                    "shortfall said",
                    "shortfall seen",
                ],
                "rows": rows,
                "caption": "Exceeded: test days with a loss above the value at risk. A p below 0.05 speaks against the "
                "model: a wrong share of such days (Kupiec), such days in a row (independence; Christoffersen), or "
                "either (conditional); one in twenty is that low by chance. Shortfall: mean loss on those days, % of "
                "the price. The volatility is the model's, the tail's shape that of the days before the test days.",
            }
        ],
    }


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "<0.001"


def _share(value: float | None) -> str | None:
    return None if value is None else f"{100 * value:.2f} %"
