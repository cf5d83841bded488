"""How members' weights become one model: what may be chosen, the choice on validation losses, means of weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from tlplat.plan import TransferPlan

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Option:
    """One way to make a model: the mean of ``members``, then ``coefficient`` of the way from the start to there."""

    members: tuple[int, ...]
    coefficient: float = 1.0


def options(plan: TransferPlan) -> list[Option]:
    """All that validation may choose among."""
    numbers = range(len(plan.members))
    everyone = tuple(numbers)
    if plan.combine == "none":
        return [Option((n,)) for n in numbers]
    if plan.combine == "interpolate":
        return [Option(everyone, c) for c in plan.coefficients]
    if plan.combine == "average":
        return [Option(everyone)]
    return [Option(chosen) for size in range(1, len(numbers) + 1) for chosen in combinations(numbers, size)]


def untuned(plan: TransferPlan) -> Option:
    """The option where there are no validation rows to choose on."""
    if plan.combine == "interpolate":
        return Option(tuple(range(len(plan.members))), plan.coefficients[len(plan.coefficients) // 2])
    return Option((0,)) if plan.combine == "none" else Option(tuple(range(len(plan.members))))


def choose(combine: str, losses: Mapping[Option, float]) -> Option:
    """The option of least validation loss; for ``greedy_average`` the one that greedy steps end at.

    Greedy soup (Wortsman et al. 2022, algorithm 1) with the loss in place of the accuracy: members in order of their
    own loss, each added where the mean with it is not worse than without.
    """
    known = {option: loss if math.isfinite(loss) else math.inf for option, loss in losses.items()}
    if combine != "greedy_average":
        return min(known, key=known.__getitem__)
    singles = sorted((o for o in known if len(o.members) == 1), key=known.__getitem__)
    soup = singles[0]
    for single in singles[1:]:
        larger = Option(tuple(sorted((*soup.members, *single.members))))
        if known[larger] <= known[soup]:
            soup = larger
    return soup


def pooled(folds: Iterable[tuple[int, Mapping[Option, float]]]) -> dict[Option, float]:
    """Loss of each option over the rows of several folds, given as (rows, mean loss a row of each option)."""
    found: dict[Option, float] = {}
    for rows, losses in folds:
        for option, loss in losses.items():
            found[option] = found.get(option, 0.0) + rows * loss
    return found


def mixed(start: State, members: Mapping[int, State], option: Option) -> State:
    """The weights of an option, buffers included; coefficients 0 and 1 are exact."""
    mean = average([members[n] for n in option.members])
    return mean if option.coefficient == 1 else interpolate(start, mean, option.coefficient)


def average(states: Sequence[State]) -> dict[str, Tensor]:
    """The mean of each tensor, rounded once; equal tensors and a single state stay bit-identical.

    Normalisation statistics are averaged too; counters are the first state's.
    """
    first = states[0]
    if len(states) == 1:
        return dict(first)
    return {
        name: torch.stack([s[name].double() for s in states]).mean(dim=0).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in first.items()
    }


def interpolate(start: State, end: State, coefficient: float) -> dict[str, Tensor]:
    """(1 - c) start + c end for each tensor (Wortsman et al. 2022, WiSE-FT, section 3); counters of the nearer end."""
    nearer = end if coefficient >= 0.5 else start
    return {
        name: torch.lerp(tensor, end[name], coefficient) if tensor.is_floating_point() else nearer[name]
        for name, tensor in start.items()
    }
