"""Greedy soup: the mean of several fine-tunings' weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tlplat.hookspecs import hookimpl
from tlplat.model import BackboneInfo, TaskInfo
from tlplat.plan import Budget, Member, Phase, TransferPlan
from tlplat.strategies.rates import over_rates, solved_head
from tlplat.strategy import Family, Strategy


@dataclass(frozen=True)
class GreedySoup(Strategy):
    """Fine-tune several times from one start, and average the weights of those that help on validation.

    Touches: all parameters. Members differ in learning rate (``rate_scales``), order of rows and dropout; they share
    the steps of one trial, where the paper averages what a sweep has trained anyhow.
    Wins: where fine-tunings from one start lie in one basin, and their errors differ.
    Costs: a fine-tuning cut into shorter ones, and a pass over the validation rows for each subset; at inference
    nothing. Statistics of batch normalisation are averaged with the weights, not computed anew.
    """

    name: ClassVar[str] = "greedy_soup"
    family: ClassVar[Family] = "parameter"
    paper: ClassVar[str] = "Wortsman et al. 2022, Model soups: averaging weights of multiple fine-tuned models"
    requires: ClassVar[frozenset[str]] = frozenset({"fit_head", "loss"})

    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    rate_scales: tuple[float, ...] = (0.5, 1.0, 2.0)

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        phase = Phase(trainable=("*",), learning_rate=self.learning_rate, weight_decay=self.weight_decay)
        share = 1 / len(self.rate_scales)
        members = tuple(Member(scale, seed_offset=i, share=share) for i, scale in enumerate(self.rate_scales))
        return TransferPlan(start=solved_head(backbone), phases=(phase,), members=members, combine="greedy_average")

    def grid(self) -> Sequence[GreedySoup]:
        return over_rates(self)


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [GreedySoup]
