"""Times to an event under censoring: Kaplan-Meier, concordance, Brier scores; vectorised over bootstrap weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PAIRS = 4_000_000
"""Pairs that are held at once."""
TIE = 1e-8


def kaplan_meier(time: np.ndarray, event: np.ndarray, at: np.ndarray, *, before: bool = False) -> np.ndarray:
    """(t,) share that survives beyond each of ``at`` (Kaplan & Meier 1958), or up to just before it.

    Of rows with one time, events come before censorings.
    """
    moments = np.unique(time[event])
    at_risk = len(time) - np.searchsorted(np.sort(time), moments, side="left")
    happened = np.array([np.count_nonzero(event & (time == m)) for m in moments])
    steps = np.cumprod(np.r_[1.0, 1 - happened / np.maximum(at_risk, 1)])
    return np.asarray(steps[np.searchsorted(moments, at, side="left" if before else "right")])


def censoring(time: np.ndarray, event: np.ndarray, at: np.ndarray, *, before: bool = False) -> np.ndarray:
    """(t,) share that is not censored up to each of ``at``: Kaplan-Meier of the censorings, events of a time first."""
    order = np.lexsort((~event, time))
    ordered, censored = time[order], ~event[order]
    moments = np.unique(ordered[censored])
    left = len(time) - np.searchsorted(ordered, moments, side="left")
    first = np.array([np.count_nonzero(event & (time == m)) for m in moments])
    gone = np.array([np.count_nonzero(~event & (time == m)) for m in moments])
    steps = np.cumprod(np.r_[1.0, 1 - gone / np.maximum(left - first, 1)])
    return np.asarray(steps[np.searchsorted(moments, at, side="left" if before else "right")])


@dataclass(frozen=True)
class Concordance:
    """Share of comparable pairs whose earlier event has the higher risk, ties of risk half (Harrell et al. 1982).

    Predictions' first column is the risk. A pair is comparable where the earlier time is an event; of equal times, one
    event against one censoring. ``uno``: pairs weigh 1 / G(t)^2, G the share not censored, which takes out the
    dependence on the censoring (Uno et al. 2011); G is that of the rows that are scored, held fixed in the bootstrap.
    """

    name: str = "concordance"
    higher_is_better: bool = True
    uno: bool = False

    def __call__(self, targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        time, event, risk = targets[:, 0].astype(float), targets[:, 1] > 0.5, predictions[:, 0]
        rows = np.ones((1, len(time)), dtype=np.float32) if weights is None else weights
        won, total = np.zeros(len(rows)), np.zeros(len(rows))
        events = np.flatnonzero(event)
        heavy = np.ones(len(time))
        if self.uno:
            share = censoring(time, event, time, before=True)
            heavy = np.where(share > 0, 1 / np.where(share > 0, share, 1.0) ** 2, 0.0)
        for part in np.array_split(events, max(1, len(events) * len(time) // PAIRS)):
            later = (time[part][:, None] < time) | ((time[part][:, None] == time) & ~event)
            gap = risk[part][:, None] - risk
            wins = np.where(later, np.where(np.abs(gap) <= TIE, 0.5, gap > 0), 0.0)
            ours = rows[:, part] * heavy[part]
            won += (ours * (rows @ wins.T.astype(rows.dtype))).sum(axis=1)
            total += (ours * (rows @ later.T.astype(rows.dtype))).sum(axis=1)
        return np.where(total > 0, won / np.where(total > 0, total, 1.0), np.nan)


@dataclass(frozen=True)
class IntegratedBrier:
    """Brier score of the predicted survival, integrated over ``times`` (Graf et al. 1999), lower is better.

    Predictions' columns from the second on are the survival at ``times``. Rows are weighted by the inverse of the share
    not censored, estimated on the rows that are scored and held fixed in the bootstrap. 0.25 is guessing one half.
    """

    times: tuple[float, ...]
    name: str = "integrated_brier"
    higher_is_better: bool = False

    def __call__(self, targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        scores = brier_rows(targets, predictions[:, 1:], np.array(self.times))
        span = self.times[-1] - self.times[0]
        each = np.trapezoid(scores, np.array(self.times), axis=1) / span if span > 0 else scores[:, 0]
        if weights is None:
            return np.array([each.mean()])
        with np.errstate(invalid="ignore"):
            return np.asarray(weights @ each / weights.sum(axis=1))


def brier_rows(targets: np.ndarray, survival: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(n, t) squared error of survival (n, t) at ``times``, weighted for censoring; 0 for rows censored before."""
    time, event = targets[:, 0].astype(float), targets[:, 1] > 0.5
    dead = (time[:, None] <= times) & event[:, None]
    alive = time[:, None] > times
    up_to, share = censoring(time, event, time, before=True), censoring(time, event, times)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(dead, survival**2 / up_to[:, None], 0.0) + np.where(alive, (1 - survival) ** 2 / share, 0.0)
    return np.asarray(np.where(np.isfinite(found), found, 0.0))
