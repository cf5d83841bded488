"""Rounds of a search: one climb of the ladder, then longer ones around its best for as long as something is required.

What is required is looked up on validation scores: the test rows are looked at once, after the last round.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tlplat.allowance import Allowance, scale
from tlplat.evaluate import best
from tlplat.halving import PLAIN, CarryOut, Field, Round, climb, final_cost, search_cost, trains
from tlplat.selection import Arm, Chosen, Search

NEIGHBOURS = (1 / 3, 3.0)
"""Factors on the learning rate that a further round tries too, where the rate is searched at all."""
LONGER = 2
"""Each further round has this many times the steps of the one before, and so many finalists."""

CLEAR = 2.0
"""Standard errors by which a strategy must be ahead of plain fine-tuning to take its place.

Those that are ahead at all are the best of many on the same few rows, so that one error would be luck too often.
"""

Unmet = Callable[[Sequence[Chosen]], list[str]]
"""What of the requirements the validation scores of a round do not meet, in words."""


@dataclass(frozen=True)
class Sought:
    """All rounds, with what each left unmet, and which one the run goes on with: the one of the best winner.

    ``spent``: full-length fits of the configuration's length that the rounds took.
    """

    rounds: tuple[Round, ...]
    unmet: tuple[tuple[str, ...], ...]
    taken: int
    spent: float

    @property
    def final(self) -> Round:
        return self.rounds[self.taken]


def seek(
    search: Search,
    carry_out: CarryOut,
    allowance: Allowance,
    unmet: Unmet,
    told: Callable[[Sought], None] = lambda sought: None,
) -> Sought:
    """Search until nothing is unmet on validation, or the budget does not pay for another round.

    Args:
        told: called with what there is after each round.

    Raises:
        UsageError TL-BUDGET-SMALL: the budget does not pay for the smallest search.
    """
    field = everyone(search)
    size = scale(search, field, allowance)
    fits, spent = allowance.steps / search.steps(1.0), size.share * search_cost(search, field, size.finalists)
    rounds = [climb(search, carry_out, field, size.finalists, size.share)]
    while True:
        sought = _account(search, rounds, unmet, spent)
        told(sought)
        if not sought.unmet[-1]:
            return sought
        field, share = _further(search, rounds[-1]), LONGER * rounds[-1].share
        cost, closing = search_cost(search, field, LONGER), final_cost(search, field, LONGER)
        if not any(trains(search, a) for a in (*field.cut, *field.aside)) or spent + share * (cost + closing) > fits:
            return sought
        spent += share * cost
        rounds.append(climb(search, carry_out, field, LONGER, share))


def cost(search: Search, allowance: Allowance) -> float:
    """Full-length fits of a search without further rounds, final fits included."""
    field = everyone(search)
    size = scale(search, field, allowance)
    return size.share * (search_cost(search, field, size.finalists) + final_cost(search, field, size.finalists))


def everyone(search: Search) -> Field:
    """All candidates at all settings."""
    return Field.of(search, [a for i in range(len(search.candidates)) for a in search.arms(i)])


@dataclass(frozen=True)
class Choice:
    """The transfer that a run goes on with.

    Attributes:
        winner: plain fine-tuning, or who is clearly better on validation; the best on validation where it did not run.
        rival: who is ahead of the winner, if anybody. ahead: by how much, in the metric. error: its standard error.
    """

    winner: Chosen
    rival: Chosen | None = None
    ahead: float = 0.0
    error: float = 0.0


def choice(search: Search, chosen: Sequence[Chosen]) -> Choice:
    """Among those better than plain fine-tuning by more than :data:`CLEAR` standard errors the best, else that."""
    higher = search.bench.task.metrics[0].higher_is_better
    transfers = [c for c in chosen if c.candidate.transfers]
    top, plain = best(transfers, higher), [c for c in transfers if c.candidate.name == PLAIN]
    if not plain or top in plain:
        return Choice(top)
    usual = best(plain, higher)
    sign = 1 if higher else -1
    gaps = {c.key: sign * (c.validation - usual.validation) for c in transfers}
    if not math.isfinite(usual.validation) or gaps[top.key] == 0:  # equal to the last digit: the cheaper one
        return Choice(top)
    errors = {c.key: search.error(c.validated, usual.validated) for c in transfers if gaps[c.key] > 0}
    clear = [c for c in transfers if c.key in errors and not gaps[c.key] <= CLEAR * errors[c.key]]
    winner = best(clear, higher) if clear else usual
    return Choice(winner) if winner is top else Choice(winner, top, gaps[top.key], errors[top.key])


def leader(search: Search, chosen: Sequence[Chosen]) -> Chosen:
    """The transfer that a run goes on with: :func:`choice`'s winner."""
    return choice(search, chosen).winner


def _account(search: Search, rounds: Sequence[Round], unmet: Unmet, spent: float) -> Sought:
    sign = 1 if search.bench.task.metrics[0].higher_is_better else -1
    scores = [sign * leader(search, r.chosen).validation for r in rounds]
    order = [s if math.isfinite(s) else -math.inf for s in scores]
    taken = max(range(len(rounds)), key=lambda i: (order[i], -i))
    return Sought(tuple(rounds), tuple(tuple(unmet(r.chosen)) for r in rounds), taken, spent)


def _rated(chosen: Chosen) -> bool:
    return not chosen.candidate.free and "learning_rate" in chosen.candidate.hyperparameters


def _further(search: Search, last: Round) -> Field:
    """The best strategies of a round and all that is never cut, each also at rates around its chosen one."""
    sign = 1 if search.bench.task.metrics[0].higher_is_better else -1
    field = Field.of(search, [c.arm for c in last.chosen])
    halved = sorted((c for c in last.chosen if c.arm in field.cut), key=lambda c: -sign * c.validation)
    going = [*halved[:LONGER], *(c for c in last.chosen if c.arm in field.aside)]
    arms = [
        Arm(c.arm.candidate, c.arm.setting, c.arm.scale * factor)
        for c in going
        for factor in (1.0, *(NEIGHBOURS if len(search.arms(c.arm.candidate)) > 1 and _rated(c) else ()))
    ]
    return Field.of(search, arms)
