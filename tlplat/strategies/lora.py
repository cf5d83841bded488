"""LoRA: low-rank matrices beside frozen layers, through Hugging Face peft."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from tlplat.edits import Edit
from tlplat.hookspecs import hookimpl
from tlplat.model import BackboneInfo, TaskInfo
from tlplat.plan import Budget, Phase, Ref, TransferPlan
from tlplat.strategies.injection import MERGEABLE, MISSING, InjectPeft, MergePeft, installed, targets
from tlplat.strategies.rates import over_rates, reused_head
from tlplat.strategy import Family, Strategy

RATES = (1e-3, 3e-3, 1e-2)


@dataclass(frozen=True)
class Lora(Strategy):
    """Train low-rank matrices beside frozen linear and ungrouped convolution layers, and the head.

    Touches: adds 2 small matrices a layer, of rank ``r`` and scale ``alpha / r``; normalisation statistics stay.
    ``merge`` adds their product to the weights after training, so the result has the source's structure.
    Wins: when the model is large and labels are few. Costs: nothing at inference once merged.
    """

    name: ClassVar[str] = "lora"
    family: ClassVar[Family] = "structural"
    paper: ClassVar[str] = "Hu et al. 2022, LoRA: low-rank adaptation of large language models"
    requires: ClassVar[frozenset[str]] = frozenset({"loss"})
    trained: ClassVar[tuple[str, ...]] = ("*.lora_A.*", "*.lora_B.*", "head.*")
    settings: ClassVar[Mapping[str, Any]] = {"lora_dropout": 0.0}

    learning_rate: float = 3e-3
    r: int = 4
    alpha: int = 8
    merge: bool = True

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        settings = {"r": self.r, "lora_alpha": self.alpha, **self.settings}
        layers = {"method": "lora", "targets": targets(backbone, MERGEABLE), "settings": settings}
        return TransferPlan(
            start=reused_head(backbone),
            edits=(Ref(InjectPeft.name, layers),),
            phases=(Phase(trainable=self.trained, learning_rate=self.learning_rate),),
            finish=(Ref(MergePeft.name),) if self.merge else (),
        )

    def unfit(self, task: TaskInfo, backbone: BackboneInfo) -> str | None:
        if not installed():
            return MISSING
        if not targets(backbone, MERGEABLE):
            return f"the backbone {backbone.name} has no linear or ungrouped 1-D or 2-D convolution layer to adapt"
        return super().unfit(task, backbone)

    def grid(self) -> Sequence[Self]:
        return over_rates(self, RATES)


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [Lora]


@hookimpl
def tlplat_register_edits() -> list[type[Edit]]:
    return [InjectPeft, MergePeft]
