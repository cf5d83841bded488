"""Successive halving over strategies and their settings: many short fits, then fewer and longer ones.

Jamieson & Talwalkar 2016, Non-stochastic best arm identification. Every fit of a rung is whole: its schedule ends where
the fit ends. What is cut is cut on validation scores alone, a strategy with all its settings: which rate is best
changes with the length of a fit. Four groups are never cut early: what takes no training steps (a probe costs nothing),
the baselines, plain fine-tuning, and the best of each family.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tlplat.data.splits import FOLDS
from tlplat.selection import JACKKNIFE_SEEDS, Arm, Chosen, Job, Search
from tlplat.trials import Validated

SHORT = ((0.25, 2), (0.5, 1))
"""The short rungs: the share of a full fit's steps, and how many strategies go on for each finalist."""
PLAIN = "full_ft"
"""What everybody would do: it sees the full length and all seeds, and others must be clearly better."""

CarryOut = Callable[[Sequence[Job]], None]


@dataclass(frozen=True)
class Rung:
    """Fits of ``share`` times the full steps, after which ``keep`` strategies go on."""

    share: float
    keep: int


@dataclass(frozen=True)
class Field:
    """Who competes.

    Attributes:
        cut: arms of transferring strategies that take training steps: what halving cuts.
        aside: all other arms: baselines, what takes no steps, and plain fine-tuning.
    """

    cut: tuple[Arm, ...]
    aside: tuple[Arm, ...]

    @classmethod
    def of(cls, search: Search, arms: Sequence[Arm]) -> Field:
        cut = [a for a in arms if _is_cut(search, a)]
        return cls(tuple(cut), tuple(a for a in arms if a not in cut))

    @property
    def strategies(self) -> int:
        return len({a.candidate for a in self.cut})


def trains(search: Search, arm: Arm) -> bool:
    """Whether it is a transfer that takes training steps, so that more of them may help."""
    candidate = search.candidates[arm.candidate]
    return candidate.transfers and candidate.family != "baseline" and not candidate.free


def _is_cut(search: Search, arm: Arm) -> bool:
    return trains(search, arm) and search.candidates[arm.candidate].name != PLAIN


def rungs(strategies: int, finalists: int) -> list[Rung]:
    """The short rungs that are worth their fits: each at least halves what is left."""
    found = []
    for share, times in SHORT:
        keep = times * finalists
        if 2 * keep <= strategies:
            found.append(Rung(share, keep))
            strategies = keep
    return found


def search_cost(search: Search, field: Field, finalists: int) -> float:
    """Full-length fits that the search takes up to the choice, at most; short ones count by their share.

    Which strategies go on is not known: those with the most settings might.
    """
    folds = search.fold_count
    settings = sorted(Counter(a.candidate for a in field.cut).values(), reverse=True)
    total = 0.0
    for rung in rungs(len(settings), finalists):
        total += sum(settings) * folds * rung.share
        settings = settings[: rung.keep]
    steps = [a for a in field.aside if not search.candidates[a.candidate].free]
    going = min(finalists, field.strategies) + len({a.candidate for a in steps})
    return total + (sum(settings) + len(steps)) * folds + going * (len(search.seeds) - 1) * folds


def final_cost(search: Search, field: Field, finalists: int) -> float:
    """Full-length fits after the choice: final fits, and the jackknife of winner and scratch."""
    kept = {a.candidate for a in field.aside if not search.candidates[a.candidate].free}
    going = min(finalists, field.strategies) + len(kept)
    return going * len(search.seeds) + min(going, 2) * FOLDS * min(JACKKNIFE_SEEDS, len(search.seeds))


@dataclass(frozen=True)
class Round:
    """One climb of the ladder.

    Attributes:
        share: a full-length fit's steps over those of the configuration. finalists: strategies that all seeds see.
        chosen: what was compared at full length with all seeds. account: what was tried and cut, for search.json.
        trials: every trial that the round looked at.
    """

    share: float
    finalists: int
    chosen: tuple[Chosen, ...]
    account: tuple[dict[str, Any], ...]
    trials: tuple[Validated, ...]


def climb(search: Search, carry_out: CarryOut, field: Field, finalists: int, share: float) -> Round:
    """Short rungs, then full length with the first seed, then the finalists with all seeds.

    Args:
        carry_out: computes jobs that are not done yet. finalists: how many strategies see all seeds.
    """
    seed, left, account = search.seeds[0], list(field.cut), []
    tried: dict[int, list[Validated]] = {}
    for rung in rungs(field.strategies, finalists):
        length = share * rung.share
        carry_out(search.jobs("validate", left, [seed], length))
        going = survivors(search, left, rung.keep, length)
        account.append(_account(search, left, left, going, length))
        _note(search, tried, left, length)
        left = going
    everyone = [*left, *field.aside]
    carry_out(search.jobs("validate", everyone, [seed], share))
    _note(search, tried, everyone, share)
    of = {c: [a for a in everyone if a.candidate == c] for c in sorted({a.candidate for a in everyone})}
    best = {c: search.best(arms, share) for c, arms in of.items()}
    halved = [arm for arm in best.values() if arm in left]
    going = survivors(search, halved, finalists, share)
    final = [a for a in best.values() if a in going or a in field.aside]
    account.append(_account(search, everyone, halved, final, share))
    carry_out(search.jobs("validate", final, search.seeds[1:], share))
    chosen = tuple(
        Chosen(
            search.key(a.candidate),
            a,
            search.at(a),
            tuple(search.trial(a, s, share) for s in search.seeds),
            tuple(tried[a.candidate]),
        )
        for a in final
    )
    return Round(share, finalists, chosen, tuple(account), tuple(v for found in tried.values() for v in found))


def survivors(search: Search, arms: Sequence[Arm], keep: int, share: float) -> list[Arm]:
    """The arms of the best strategy of each family, then of the best of the rest up to ``keep``; in the order given.

    A strategy is as good as its best arm.
    """
    ordered = dict.fromkeys(a.candidate for a in sorted(arms, key=lambda arm: -search.merit(arm, share)))
    first: dict[str, int] = {}
    for candidate in ordered:
        first.setdefault(search.candidates[candidate].family, candidate)
    wanted = [*first.values(), *(c for c in ordered if c not in first.values())][: max(keep, len(first))]
    return [arm for arm in arms if arm.candidate in wanted]


def _note(search: Search, tried: dict[int, list[Validated]], arms: Sequence[Arm], share: float) -> None:
    for arm in arms:
        tried.setdefault(arm.candidate, []).append(search.trial(arm, search.seeds[0], share))


def _account(
    search: Search, arms: Sequence[Arm], rivals: Sequence[Arm], going: Sequence[Arm], share: float
) -> dict[str, Any]:
    """A rung as search.json tells it: every score, who went on, and why not. ``rivals``: the arms that were cut among.

    The cut is the worst score that went on for its own sake; none where nobody was cut.
    """
    merits = {arm: search.merit(arm, share) for arm in arms}
    sign = 1 if search.bench.task.metrics[0].higher_is_better else -1
    worst = max((merits[a] for a in rivals if a not in going), default=math.nan)
    cut = min((merits[a] for a in rivals if a in going and merits[a] >= worst), default=math.nan)
    return {
        "steps": search.steps(share),
        "seed": search.seeds[0],
        "cut": sign * cut if math.isfinite(cut) else None,
        "arms": [
            {
                "candidate": search.key(arm.candidate),
                "settings": dict(search.at(arm).hyperparameters),
                "score": sign * merits[arm] if math.isfinite(merits[arm]) else None,
                "kept": arm in going,
                "why": _why(search, arm, arms, going, merits, cut),
            }
            for arm in arms
        ],
    }


def _why(
    search: Search, arm: Arm, arms: Sequence[Arm], going: Sequence[Arm], merits: dict[Arm, float], cut: float
) -> str:
    candidate = search.candidates[arm.candidate]
    if arm in going:
        if candidate.family == "baseline" or candidate.name == PLAIN:
            return f"{'a baseline' if candidate.family == 'baseline' else 'plain fine-tuning'}: always kept"
        if not _is_cut(search, arm):
            return "takes no training steps: kept"
        if math.isnan(cut):
            return "nobody was cut"
        if merits[arm] >= cut:
            return "above the cut"
        above = any(a.candidate == arm.candidate and merits[a] >= cut for a in arms)
        return "another setting of it is above the cut" if above else f"the best of the {candidate.family} family"
    other = next((a for a in going if a.candidate == arm.candidate), None)
    if other is not None:
        better = merits[other] >= merits[arm]
        return "another setting of it is better" if better else "not clearly better than its usual setting"
    return "undefined score" if not math.isfinite(merits[arm]) else "below the cut"
