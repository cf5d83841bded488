"""Metrics of predicted numbers, and what a report draws of them; all vectorised over bootstrap weights.

Every metric is a callable ``(targets, predictions, weights) -> (b,)``; see :class:`tlplat.tasks.base.Metric`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tlplat.metrics import CHUNK, RowMean

SHOWN = 400
"""Rows that a cloud shows, evenly spaced in order of the prediction."""
BINS = 10


def _mean(values: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Mean of (n,) for each row of weights (b, n); one for None."""
    if weights is None:
        return np.array([values.mean() if len(values) else np.nan])
    with np.errstate(invalid="ignore"):
        return np.asarray(weights @ values / weights.sum(axis=1))


@dataclass(frozen=True)
class Rmse:
    """Root of the mean squared error, in the target's unit."""

    name: str = "rmse"
    higher_is_better: bool = False

    def __call__(self, targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        return np.asarray(np.sqrt(_mean((targets - predictions) ** 2, weights)))


@dataclass(frozen=True)
class R2:
    """1 minus squared error over variance of the targets; below 0 is worse than their mean; NaN where none varies."""

    name: str = "r2"
    higher_is_better: bool = True

    def __call__(self, targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        centred = targets - targets.mean()  # for accuracy: the variance is of differences
        variance = _mean(centred**2, weights) - _mean(centred, weights) ** 2
        error = _mean((targets - predictions) ** 2, weights)
        known = variance > 1e-12 * max(1.0, float(np.abs(targets).max(initial=0.0)) ** 2)
        return np.where(known, 1 - error / np.where(known, variance, 1.0), np.nan)


@dataclass(frozen=True)
class Spearman:
    """Correlation of ranks, ties at their mean rank (Spearman 1904); NaN where either side does not vary."""

    name: str = "spearman"
    higher_is_better: bool = True

    def __call__(self, targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        rows = np.ones((1, len(targets))) if weights is None else weights
        parts = [rows[i : i + CHUNK].astype(np.float64) for i in range(0, len(rows), CHUNK)]
        return np.concatenate([_correlation(_ranks(targets, w), _ranks(predictions, w), w) for w in parts])


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(b, n) mid-ranks of values (n,) where each row counts ``weights`` (b, n) times."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(values[order]) != 0])
    mass = np.add.reduceat(weights[:, order], starts, axis=1)
    middle = np.cumsum(mass, axis=1) - mass / 2
    found = np.empty_like(weights)
    found[:, order] = np.repeat(middle, np.diff(np.r_[starts, len(values)]), axis=1)
    return found


def _correlation(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    total = weights.sum(axis=1, keepdims=True)
    a, b = (v - (weights * v).sum(axis=1, keepdims=True) / total for v in (a, b))
    spread = np.sqrt((weights * a * a).sum(axis=1) * (weights * b * b).sum(axis=1))
    known = spread > 1e-12
    return np.where(known, (weights * a * b).sum(axis=1) / np.where(known, spread, 1.0), np.nan)


MAE = RowMean("mae", False, lambda targets, predictions: np.abs(targets - predictions))


def conformal_radius(residuals: np.ndarray, level: float, rows: int) -> float | None:
    """Half-width that a share ``level`` of new rows keeps to: a quantile of held-out |residuals|.

    Split conformal (Lei et al. 2018, section 2.2) with residuals of cross-validation folds in place of one split's, so
    that coverage is near ``level`` and not guaranteed. None where ``rows`` are too few for the level.
    """
    wanted = np.ceil((rows + 1) * level) / rows if rows else np.inf
    return None if wanted > 1 else float(np.quantile(np.abs(residuals), wanted, method="higher"))


def cloud(predictions: np.ndarray, values: np.ndarray, least: int) -> tuple[str, list[list[float]]]:
    """(kind, points) of values over predictions: rows, or where no row may be shown means of groups of equal size."""
    order = np.argsort(predictions, kind="stable")
    if least <= 1:
        shown = order[np.unique(np.linspace(0, len(order) - 1, min(SHOWN, len(order))).astype(int))]
        return "scatter", [[float(predictions[i]), float(values[i])] for i in shown]
    parts = [p for p in np.array_split(order, max(1, min(BINS, len(order) // least))) if len(p) >= least]
    return "lines", [[float(predictions[p].mean()), float(values[p].mean())] for p in parts]


def number_charts(targets: np.ndarray, predictions: np.ndarray, axis: str, least: int) -> list[dict[str, Any]]:
    """Observed against predicted, and residual against predicted, as :class:`tlplat.report.parts.ChartPart`."""
    said = "Each mark is a test row." if least <= 1 else f"Means of groups of at least {least} test rows."
    kind, observed = cloud(predictions, targets, least)
    _, residual = cloud(predictions, targets - predictions, least)
    common = {"kind": kind, "x": f"predicted {axis}"}
    return [
        {
            **common,
            "title": "Observed against predicted",
            "y": f"observed {axis}",
            "series": [{"points": observed}],
            "diagonal": True,
            "caption": f"{said} On the dashed line, what was predicted came.",
        },
        {
            **common,
            "title": "Residuals",
            "y": "observed minus predicted",
            "series": [{"points": residual}],
            "caption": f"{said} A slope or a funnel is structure that the model has missed.",
        },
    ]
