"""IA3: one learnt scale an output of frozen layers, through Hugging Face peft."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tlplat.edits import Edit
from tlplat.hookspecs import hookimpl
from tlplat.model import BackboneInfo, TaskInfo
from tlplat.plan import Budget, Phase, Ref, TransferPlan
from tlplat.strategies.injection import MISSING, InjectPeft, MergePeft, installed, targets
from tlplat.strategies.rates import over_rates, reused_head
from tlplat.strategy import Family, Strategy

KINDS = ("Linear", "Conv2d")
"""peft's IA3 refuses 1-D convolutions and recurrent layers."""
RATES = (3e-3, 1e-2, 3e-2)


@dataclass(frozen=True)
class IA3(Strategy):
    """Train one scale for each output of frozen linear and 2-D convolution layers, and the head.

    Touches: adds one number an output, one at the start. ``merge`` multiplies it into the weights after training.
    Wins: with very few labels: it has the fewest weights of all that reach inside. Costs: nothing at inference once
    merged; it can strengthen and silence what the source knows, and add nothing.
    """

    name: ClassVar[str] = "ia3"
    family: ClassVar[Family] = "structural"
    paper: ClassVar[str] = (
        "Liu et al. 2022, Few-shot parameter-efficient fine-tuning is better and cheaper than in-context learning"
    )
    requires: ClassVar[frozenset[str]] = frozenset({"loss"})

    learning_rate: float = 1e-2
    merge: bool = True

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        layers = {"method": "ia3", "targets": targets(backbone, KINDS), "settings": {"feedforward_modules": []}}
        return TransferPlan(
            start=reused_head(backbone),
            edits=(Ref(InjectPeft.name, layers),),
            phases=(Phase(trainable=("*.ia3_l.*", "head.*"), learning_rate=self.learning_rate),),
            finish=(Ref(MergePeft.name),) if self.merge else (),
        )

    def unfit(self, task: TaskInfo, backbone: BackboneInfo) -> str | None:
        if not installed():
            return MISSING
        if not targets(backbone, KINDS):
            return f"the backbone {backbone.name} has no linear or ungrouped 2-D convolution layer to scale"
        return super().unfit(task, backbone)

    def grid(self) -> Sequence[IA3]:
        return over_rates(self, RATES)


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [IA3]


@hookimpl
def tlplat_register_edits() -> list[type[Edit]]:
    return [InjectPeft, MergePeft]
