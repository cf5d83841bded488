"""Forecasts of a GARCH(1,1): parameters from returns before a moment, then one forecast a day with them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tlplat_finance.prices import Series
from tlplat_finance.volatility import MOMENT, SERIES, Windows, log_volatility

LEAST_RETURNS = 100


def forecasts(series: Sequence[Series], rows: Windows, horizon: int, cut: int) -> np.ndarray:
    """(n,) log volatility of the next ``horizon`` days for each of the rows.

    The parameters of each series come from its returns before the moment ``cut`` alone; the variance of a later day is
    filtered forward with them. A series with fewer than 100 returns before ``cut`` gets the parameters of all others'.
    """
    found = np.full(len(rows), np.nan)
    returns = {one.name: _returns(one) for one in series}
    early = {one.name: 100 * returns[one.name][1 : int(np.searchsorted(one.moments, cut))] for one in series}
    pooled = _fit(np.concatenate(list(early.values())))
    for one in series:
        here = np.flatnonzero(rows.table[SERIES] == one.name)
        own = _fit(early[one.name]) if len(early[one.name]) >= LEAST_RETURNS else pooled
        at = np.searchsorted(one.moments, rows.table[MOMENT][here].astype(np.int64))
        found[here] = log_volatility(_ahead(100 * returns[one.name], own, horizon)[at] / 1e4)
    return found


def _returns(series: Series) -> np.ndarray:
    """(n,) log returns; 0 on the first day of a run."""
    found = np.r_[0.0, np.diff(np.log(series.prices))]
    found[np.r_[True, np.diff(series.runs) != 0]] = 0.0
    return found


@dataclass(frozen=True)
class Fit:
    """Mean, omega, alpha, beta of daily returns in per cent, and their variance: what a forecast far ahead comes to."""

    mean: float
    omega: float
    alpha: float
    beta: float
    variance: float


def _fit(returns: np.ndarray) -> Fit:
    from arch import arch_model

    if len(returns) < LEAST_RETURNS or returns.std() == 0:
        spread = float(returns.var()) if len(returns) else 1.0
        return Fit(float(returns.mean()) if len(returns) else 0.0, spread, 0.0, 0.0, spread)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fit that has not converged is still the field's baseline
        found = arch_model(returns, mean="Constant", vol="GARCH", p=1, q=1, rescale=False).fit(disp="off").params
    mean, omega, alpha, beta = (float(v) for v in found)
    total = alpha + beta
    return Fit(mean, omega, alpha, beta, omega / (1 - total) if total < 0.999 else float(returns.var()))


def _ahead(returns: np.ndarray, fit: Fit, horizon: int) -> np.ndarray:
    """(n,) mean variance of the days after each, in squared per cent."""
    variance, found = fit.variance, np.empty(len(returns))
    for i, square in enumerate((returns - fit.mean) ** 2):
        variance = fit.omega + fit.alpha * square + fit.beta * variance  # of the next day
        found[i] = variance
    total = fit.alpha + fit.beta
    share = sum(total**k for k in range(horizon)) / horizon
    return np.asarray(fit.variance + (found - fit.variance) * share)
