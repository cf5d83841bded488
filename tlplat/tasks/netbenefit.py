"""Decision curves: what acting on predictions gains, by threshold (Vickers & Elkin 2006), as data for the report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tlplat.tasks.durations import kaplan_meier

THRESHOLDS = np.arange(1, 100) / 100
LOWEST = -0.05
"""Net benefit below which lines are cut off: acting on all falls without end."""

Rate = Callable[[np.ndarray], float]
"""Share of the rows of a mask (n,) that have the event."""


def net_benefit(acted: np.ndarray, rate: Rate, threshold: float) -> float:
    """True positives less false positives times the odds of ``threshold``, a row; ``acted``: (n,) who is acted on.

    Under censoring ``rate`` is the Kaplan-Meier estimate among those acted on (Vickers et al. 2008).
    """
    if not acted.any():
        return 0.0
    hit = rate(acted)
    return float(acted.mean() * (hit - (1 - hit) * threshold / (1 - threshold)))


def decision_curve(probability: np.ndarray, rate: Rate, title: str, least: int = 1) -> dict[str, Any]:
    """A chart (JSON): net benefit of acting on rows of ``probability`` (n,) above each threshold, on all, on none.

    Thresholds above which fewer rows than ``least`` lie are left out.
    """
    everyone = np.ones(len(probability), dtype=bool)
    model, all_rows = [], []
    for threshold in THRESHOLDS.tolist():
        acted = probability >= threshold
        if acted.sum() >= max(least, 1):
            model.append([threshold, net_benefit(acted, rate, threshold)])
        all_rows.append([threshold, net_benefit(everyone, rate, threshold)])
    shown = [[p for p in line if p[1] >= LOWEST] for line in (model, all_rows)]
    last = max((line[-1][0] for line in shown if line), default=0.99)
    series = [
        {"name": "by the model", "points": shown[0]},
        {"name": "act on all", "points": shown[1]},
        {"name": "act on none", "points": [[0.01, 0.0], [last, 0.0]]},
    ]
    return {
        "kind": "lines",
        "title": title,
        "x": "threshold probability",
        "y": "net benefit a test row",
        "series": [s for s in series if s["points"]],
        "caption": "Acting on rows above the threshold gains the true positives, less the false positives at its odds. "
        "The highest line is the best policy for whoever acts at that threshold.",
    }


def observed(event: np.ndarray) -> Rate:
    """The share with the event, of events (n,) that are known for all rows."""
    return lambda mask: float(event[mask].mean())


def by_time(time: np.ndarray, event: np.ndarray, horizon: float) -> Rate:
    """The share with the event by ``horizon``, of times and events (n,) under censoring: Kaplan-Meier."""
    return lambda mask: float(1 - kaplan_meier(time[mask], event[mask], np.array([horizon]))[0])
