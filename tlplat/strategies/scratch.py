"""The baseline that every verdict needs: the same architecture without the source's weights."""

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
class Scratch(Strategy):
    """The same architecture from random weights, with the same budget: what transfer must beat.

    Touches: all parameters. Wins: when the source misleads, or labels are many.
    Costs: as full fine-tuning.
    """

    name: ClassVar[str] = "scratch"
    family: ClassVar[Family] = "baseline"
    paper: ClassVar[str] = "He et al. 2019, Rethinking ImageNet pre-training"
    requires: ClassVar[frozenset[str]] = frozenset({"loss"})
    transfers: ClassVar[bool] = False

    learning_rate: float = 1e-3
    weight_decay: float = 0.01

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        phase = Phase(trainable=("*",), learning_rate=self.learning_rate, weight_decay=self.weight_decay)
        return TransferPlan(weights="random", start="fresh", phases=(phase,))

    def grid(self) -> Sequence[Scratch]:
        return over_rates(self)


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [Scratch]
