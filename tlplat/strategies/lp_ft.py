"""Linear probe, then full fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tlplat.hookspecs import hookimpl
from tlplat.model import BackboneInfo, TaskInfo
from tlplat.plan import Budget, Phase, TransferPlan
from tlplat.strategies.rates import over_rates
from tlplat.strategy import Family, Strategy


@dataclass(frozen=True)
class ProbeThenFineTune(Strategy):
    """Solve the head on frozen features first, then fine-tune everything from there.

    Touches: all parameters, but starts where the gradient into the extractor is small.
    Wins: under distribution shift, where full fine-tuning from a random head distorts pretrained features.
    Costs: the probe and a fine-tuning.
    """

    name: ClassVar[str] = "lp_ft"
    family: ClassVar[Family] = "parameter"
    paper: ClassVar[str] = "Kumar et al. 2022, Fine-tuning can distort pretrained features"
    requires: ClassVar[frozenset[str]] = frozenset({"fit_head", "loss"})

    learning_rate: float = 1e-3
    weight_decay: float = 0.01

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        phase = Phase(trainable=("*",), learning_rate=self.learning_rate, weight_decay=self.weight_decay)
        return TransferPlan(start="fitted", phases=(phase,))

    def grid(self) -> Sequence[ProbeThenFineTune]:
        return over_rates(self)


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [ProbeThenFineTune]
