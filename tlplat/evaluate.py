"""Intervals and the verdict: paired bootstrap over resampling units, crossed with seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

import numpy as np

from tlplat.tasks.base import Metric

REPLICATES = 2000
ALPHA = 0.05


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval; NaN bounds where the metric is undefined."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Resamples:
    """Bootstrap weights shared by all candidates, so that every comparison is paired.

    Attributes:
        rows: (b, n) float32 weights of the test rows; rows of one unit are drawn together.
        seeds: (b, s) weights of the seeds, each row summing to 1.
    """

    rows: np.ndarray
    seeds: np.ndarray

    @classmethod
    def draw(cls, units: np.ndarray, seeds: int, replicates: int = REPLICATES, seed: int = 0) -> Resamples:
        """Draw units with replacement (Efron 1979), and seeds independently (crossed).

        Args:
            units: (n,) unit of each row.
            seeds: how many seeds each candidate was run with.
        """
        rng = np.random.default_rng([seed, 0xB007])
        names, inverse = np.unique(units, return_inverse=True)
        counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=replicates)
        of_seed = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=replicates) / seeds
        return cls(counts.astype(np.float32)[:, inverse], of_seed)


@dataclass(frozen=True)
class Scores:
    """One candidate's metric: the point of each seed (s,), and its bootstrap replicates (b,)."""

    seeds: np.ndarray
    replicates: np.ndarray

    @classmethod
    def of(cls, metric: Metric, targets: np.ndarray, predictions: Sequence[np.ndarray], draws: Resamples) -> Scores:
        """``predictions`` holds one array a seed; equal arrays (a deterministic baseline) are scored once."""
        points: list[float] = []
        resampled: list[np.ndarray] = []
        known: dict[bytes, int] = {}
        for prediction in predictions:
            key = prediction.tobytes()
            if key not in known:
                known[key] = len(points)
                points.append(float(metric(targets, prediction)[0]))
                resampled.append(metric(targets, prediction, draws.rows))
            else:
                points.append(points[known[key]])
                resampled.append(resampled[known[key]])
        return cls(np.array(points), (np.stack(resampled, axis=1) * draws.seeds).sum(axis=1))

    def estimate(self, level: float = 1 - ALPHA) -> Estimate:
        return Estimate(float(self.seeds.mean()), *_bounds(self.replicates, level))

    def minus(self, other: Scores, level: float, spread: float = 0.0) -> Estimate:
        """The paired difference of two candidates under the same draws.

        Args:
            spread: standard error from which rows were labelled, added to the replicates as independent noise.
        """
        noise = np.random.default_rng(0x5EED).normal(size=self.replicates.shape) * spread
        gaps = self.replicates - other.replicates + noise
        return Estimate(float(self.seeds.mean() - other.seeds.mean()), *_bounds(gaps, level))


def _bounds(replicates: np.ndarray, level: float) -> tuple[float, float]:
    known = replicates[np.isfinite(replicates)]
    if not len(known):
        return float("nan"), float("nan")
    tail = (1 - level) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)


@dataclass(frozen=True)
class Standing:
    """A candidate as the verdict sees it.

    Attributes:
        key: identifies the candidate. transfers: it uses the source. scratch: it is the scratch baseline.
        validation: its validation score, which alone decides winner and reference.
        scores: on test rows. inference_cost: multiply-adds a row. trained: parameters trained.
        jackknife: (seeds, parts) test scores of fits without each part of the labelled rows; None where the
            candidate learns nothing from them (zero-shot) or was not asked.
        source: whose architecture or weights it has, where there are several.
    """

    key: str
    transfers: bool
    scratch: bool
    zero_shot: bool
    validation: float
    scores: Scores
    inference_cost: float
    trained: int
    jackknife: np.ndarray | None = None
    source: str | None = None


def labelling_error(a: Standing, b: Standing) -> float:
    """Standard error of ``a - b`` from which rows were labelled (delete-group jackknife, Shao & Wu 1989, eq. 1.2).

    The mean over seeds of (g - 1) / g * sum of squared deviations of the g leave-one-part-out differences.
    """
    known = [x.jackknife for x in (a, b) if x.jackknife is not None]
    if not known:
        return 0.0
    gap = sum((s * x.jackknife for s, x in ((1, a), (-1, b)) if x.jackknife is not None), np.zeros_like(known[0]))
    parts = gap.shape[1]
    variance = (parts - 1) / parts * ((gap - gap.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    return float(np.sqrt(np.nanmean(variance))) if np.isfinite(variance).any() else 0.0


@dataclass(frozen=True)
class Verdict:
    """Does transfer pay? Differences are signed so that positive means that the winner is better.

    It *helps* where the winner is clearly better than the reference and than scratch of its own architecture: a
    reference that validation chose badly is beaten by random weights too, and then the source was of no use. Both must
    hold, so neither test needs a correction (intersection-union, Berger 1982).

    Attributes:
        winner: best transfer by validation. reference: best of what can be done without.
        difference: winner minus reference on test rows, interval at ``level``.
        against_scratch: winner minus scratch of its own architecture, where that ran. Where scratch is not the
            reference, its interval counts the labelled rows' luck of the winner alone.
        adaptation: winner minus zero-shot of its own source, where that ran and is not the winner.
        recommended: what to use; where winner and reference are tied the cheaper at inference, then in trained
            parameters.
    """

    outcome: Literal["helps", "ties", "hurts"]
    negative_transfer: bool
    winner: str
    reference: str
    difference: Estimate
    level: float
    against_scratch: Estimate | None
    adaptation: Estimate | None
    recommended: str


class Ranked(Protocol):
    """What the choice on validation looks at."""

    @property
    def validation(self) -> float: ...
    @property
    def inference_cost(self) -> float: ...
    @property
    def trained(self) -> int: ...


R = TypeVar("R", bound=Ranked)


def best(ranked: Iterable[R], higher_is_better: bool) -> R:
    """The best by validation (NaN is worst); among equals the cheaper at inference, then in trained weights."""
    sign = 1 if higher_is_better else -1

    def order(r: R) -> tuple[float, float, int]:
        score = sign * r.validation if math.isfinite(r.validation) else -math.inf
        return (score, -r.inference_cost, -r.trained)

    return max(ranked, key=order)


def judge(standings: Sequence[Standing], higher_is_better: bool, chosen: str | None = None) -> Verdict:
    """Choose winner and reference on validation, then compare them on test rows.

    ``chosen``: the transfer that was chosen on validation already; None takes the best.

    The level needs no correction for the number of candidates: the test rows had no part in the choice (Cox 1975), and
    the luck of the labelled rows, which had, is counted by the jackknife. A simulation tests both.
    """
    transfers = [s for s in standings if s.transfers]
    others = [s for s in standings if not s.transfers]
    reference = best(others, higher_is_better)
    winner = next((s for s in transfers if s.key == chosen), None) or best(transfers, higher_is_better)
    level = 1 - ALPHA
    difference = _gain(winner, reference, level, higher_is_better)
    scratch = next((s for s in others if s.scratch and s.source == winner.source), None)
    zero_shot = next((s for s in transfers if s.zero_shot and s is not winner and s.source == winner.source), None)
    against_scratch = _gain(winner, scratch, level, higher_is_better) if scratch else None
    adaptation = _gain(winner, zero_shot, level, higher_is_better) if zero_shot else None
    scratch_is_as_good = against_scratch is not None and against_scratch.low <= 0
    outcome: Literal["helps", "ties", "hurts"] = "ties"
    recommended = min((winner, reference), key=lambda s: (s.inference_cost, s.trained))
    if difference.low > 0:
        outcome, recommended = ("ties" if scratch_is_as_good else "helps"), winner
    elif difference.high < 0:
        outcome, recommended = "hurts", reference
    return Verdict(
        outcome=outcome,
        negative_transfer=against_scratch is not None and against_scratch.high < 0,
        winner=winner.key,
        reference=reference.key,
        difference=difference,
        level=level,
        against_scratch=against_scratch,
        adaptation=adaptation,
        recommended=recommended.key,
    )


def _gain(a: Standing, b: Standing, level: float, higher_is_better: bool) -> Estimate:
    better, worse = (a, b) if higher_is_better else (b, a)
    return better.scores.minus(worse.scores, level, labelling_error(a, b))
