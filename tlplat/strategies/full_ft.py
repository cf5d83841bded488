"""Full fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tlplat.hookspecs import hookimpl
from tlplat.model import BackboneInfo, TaskInfo
from tlplat.plan import Budget, Phase, TransferPlan
from tlplat.strategies.rates import over_rates, reused_head
from tlplat.strategy import Family, Strategy


@dataclass(frozen=True)
class FullFineTuning(Strategy):
    """Train every weight, starting from the source's.

    Touches: all parameters and the running statistics of normalisation layers.
    Wins: when labels are many (hundreds and more) or source and target differ in the early layers.
    Costs: a whole model to store; forgets the source at high rates, and can distort good features when labels are few.
    """

    name: ClassVar[str] = "full_ft"
    family: ClassVar[Family] = "parameter"
    paper: ClassVar[str] = "Yosinski et al. 2014, How transferable are features in deep neural networks?"
    requires: ClassVar[frozenset[str]] = frozenset({"loss"})

    learning_rate: float = 1e-3
    weight_decay: float = 0.01

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        phase = Phase(trainable=("*",), learning_rate=self.learning_rate, weight_decay=self.weight_decay)
        return TransferPlan(start=reused_head(backbone), phases=(phase,))

    def grid(self) -> Sequence[FullFineTuning]:
        return over_rates(self)


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [FullFineTuning]
