"""From a budget to the search that it pays for: steps, the length of a fit, and how many strategies see all seeds."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tlplat.budget import Limit
from tlplat.data.splits import Fold
from tlplat.errors import UsageError
from tlplat.halving import Field, final_cost, search_cost
from tlplat.selection import Search
from tlplat.trial import Rows, StrategyCandidate

DEFAULT_FITS = 180
"""Full-length fits that a search takes where no budget is given: about a minute on two cores for the demos."""
LEAST_FINALISTS = 2
SHARES = (1.0, 0.5, 0.25)
"""Lengths of a full fit, over the configured steps, that a small budget is tried with."""
LEAST_STEPS = 10
CALIBRATION_STEPS = 8
CALIBRATION_SHARE = 0.05
"""Part of a time budget that calibration may take."""
BUSY = 0.85
"""Part of the processes' time that fits get; the rest goes into starting, waiting for the last fit, and writing."""


@dataclass(frozen=True)
class Allowance:
    """What a search may spend.

    Attributes:
        said: the budget as the user wrote it, or None for the default. steps: optimiser steps in all.
        calibrated: how steps came from a time (JSON), or None.
    """

    said: str | None
    steps: int
    calibrated: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        calibrated = None if self.calibrated is None else dict(self.calibrated)
        return {"said": self.said, "search_steps": self.steps, "calibrated": calibrated}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Allowance:
        return cls(document["said"], document["search_steps"], document["calibrated"])


@dataclass(frozen=True)
class Scale:
    """How large a search is: finalists that see all seeds, and a full fit's steps over those of the configuration."""

    finalists: int
    share: float


def allow(search: Search, field: Field, said: str | None, jobs: int) -> Allowance:
    """The budget in training steps; a time is turned into steps by a few short fits, once."""
    per_fit = search.steps(1.0)
    if said is None:
        least = _cost(search, field, Scale(min(LEAST_FINALISTS, max(1, field.strategies)), 1.0))
        return Allowance(None, round(max(DEFAULT_FITS, least) * per_fit))
    limit = Limit.parse(said)
    if limit.unit == "trials":
        return Allowance(said, round(limit.amount * search.fold_count * per_fit))
    if limit.unit == "epochs":
        rows, batch = len(search.labelled), search.bench.fit_settings.batch_size
        return Allowance(said, round(limit.amount * max(1, round(rows / batch))))
    seconds, steps = _calibrate(search, field, CALIBRATION_SHARE * limit.amount)
    rate = steps / seconds
    found = {
        "seconds": limit.amount,
        "processes": jobs,
        "steps_per_second": float(f"{rate:.4g}"),
        "measured_on": f"{steps} steps in {seconds:.2f} s",
    }
    return Allowance(said, int(BUSY * limit.amount * jobs * rate), found)


def _calibrate(search: Search, field: Field, seconds: float) -> tuple[float, int]:
    """Seconds and steps of short fits, one a strategy, each after one that warms up; ends after ``seconds``."""
    fold: Fold = search.folds(search.seeds[0])[0]
    spent, steps, begin = 0.0, 0, time.monotonic()
    share = CALIBRATION_STEPS / search.steps(1.0)
    known = dict.fromkeys(a.candidate for a in (*field.cut, *field.aside))
    for number in known:
        candidate = search.candidates[number]
        if candidate.free or not isinstance(candidate, StrategyCandidate):
            continue
        for warm in (False, True):
            outcome = candidate.run(
                search.benched(share, costs=False),
                Rows(search.labelled, fold.train),
                [Rows(search.labelled, fold.validation)],
                search.seeds[0],
            )
            if warm:
                spent, steps = spent + outcome.seconds, steps + outcome.result.steps
        if steps and time.monotonic() - begin > seconds:
            break
    return (spent, steps) if steps else (1.0, search.steps(1.0))


def scale(search: Search, field: Field, allowance: Allowance) -> Scale:
    """The widest search that the allowance pays for, at full length where it can be.

    Raises:
        UsageError TL-BUDGET-SMALL: it does not pay for the smallest one.
    """
    full = search.steps(1.0)
    fits = allowance.steps / full
    shares = [s for s in SHARES if s == 1.0 or s * full >= LEAST_STEPS]
    for share in shares:
        for finalists in range(max(1, field.strategies), 0, -1):
            if _cost(search, field, Scale(finalists, share)) <= fits:
                return Scale(finalists, share)
    least = _cost(search, field, Scale(1, shares[-1]))
    raise UsageError(
        "TL-BUDGET-SMALL",
        f"the budget {allowance.said} pays for {allowance.steps:,} training steps; the smallest search takes "
        f"{round(least * full):,}",
        where="--budget",
        found=f"{allowance.steps:,} steps",
        expected=f"at least {round(least * full):,} steps, {_as_said(allowance, least * full, search)}",
        fix="raise --budget, or lower --seeds, or name fewer strategies with --strategy",
    )


def _cost(search: Search, field: Field, at: Scale) -> float:
    return at.share * (search_cost(search, field, at.finalists) + final_cost(search, field, at.finalists))


def _as_said(allowance: Allowance, steps: float, search: Search) -> str:
    """The least budget in the user's own unit."""
    limit = Limit.parse(allowance.said or "trials=1")
    amount = limit.amount * steps / max(1, allowance.steps)
    return f"about {amount:.0f} s" if limit.unit == "seconds" else f"{limit.unit}={amount:.0f}"
