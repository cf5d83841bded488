"""Normalisation layers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tlplat.hookspecs import hookimpl
from tlplat.model import BackboneInfo, TaskInfo
from tlplat.plan import Budget, Phase, TransferPlan
from tlplat.strategies.rates import over_rates, solved_head
from tlplat.strategy import Family, Strategy

RATES = (1e-3, 3e-3, 1e-2)


@dataclass(frozen=True)
class NormTune(Strategy):
    """Train scale and shift of the normalisation layers, and the head.

    Touches: the weights of layers such as batch and layer normalisation; the running statistics of those that have
    some follow the target. All else stays bit-identical.
    Wins: when the target's inputs differ in scale and contrast, and labels are few; tiny to store.
    Costs: as full fine-tuning in time, a fraction of a percent of the weights in space. Rates are higher.
    """

    name: ClassVar[str] = "norm_tune"
    family: ClassVar[Family] = "parameter"
    paper: ClassVar[str] = "Frankle et al. 2021, Training BatchNorm and only BatchNorm"
    requires: ClassVar[frozenset[str]] = frozenset({"fit_head", "loss"})

    learning_rate: float = 3e-3

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        layers = (f"{name}.*" for name in self._norms(backbone))
        phase = Phase(trainable=(*layers, "head.*"), learning_rate=self.learning_rate)
        return TransferPlan(start=solved_head(backbone), phases=(phase,))

    def unfit(self, task: TaskInfo, backbone: BackboneInfo) -> str | None:
        if not self._norms(backbone):
            return f"the backbone {backbone.name} has no normalisation layer with weights"
        return super().unfit(task, backbone)

    def grid(self) -> Sequence[NormTune]:
        return over_rates(self, RATES)

    @staticmethod
    def _norms(backbone: BackboneInfo) -> list[str]:
        return [name for name, m in backbone.modules.items() if "norm" in m.kind.lower() and m.parameters]


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [NormTune]
