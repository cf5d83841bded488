"""Surgical fine-tuning: one block, chosen by its gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tlplat.hookspecs import hookimpl
from tlplat.model import BackboneInfo, TaskInfo
from tlplat.plan import Budget, Phase, TransferPlan
from tlplat.strategies.rates import over_rates, solved_head
from tlplat.strategy import Family, MeasureContext, Strategy


def relative_gradient_norm(norms: Sequence[tuple[float, float]]) -> float:
    """||g|| / ||w|| of several parameters taken as one vector, from (||g||, ||w||) of each; infinite at w = 0 (RGN)."""
    gradient, weight = (math.sqrt(sum(pair[i] ** 2 for pair in norms)) for i in (0, 1))
    return gradient / weight if weight else math.inf


@dataclass(frozen=True)
class Surgical(Strategy):
    """Fine-tune the one block whose gradient is largest against its weights, and the head.

    Touches: that block and the head; all other blocks and their statistics stay bit-identical. The block is that of
    the largest relative gradient norm on the training rows at the start (the paper's RGN, which it also uses as a
    rate a layer; here the largest takes all).
    Wins: when source and target differ in one respect: early blocks for inputs, late blocks for labels.
    Costs: one backward pass over the rows, then less than full fine-tuning.
    """

    name: ClassVar[str] = "surgical"
    family: ClassVar[Family] = "parameter"
    paper: ClassVar[str] = "Lee et al. 2023, Surgical fine-tuning improves adaptation to distribution shifts"
    requires: ClassVar[frozenset[str]] = frozenset({"fit_head", "loss"})

    learning_rate: float = 1e-3
    weight_decay: float = 0.01

    def measure(self, context: MeasureContext) -> dict[str, Any]:
        """Each block's relative gradient norm, and the block where it is largest."""
        norms = context.gradient_norms()
        found = {
            block: relative_gradient_norm([norms[name] for name in _names(context.backbone, block)])
            for block in _weighted(context.backbone)
        }
        return {"relative_gradient_norms": found, "block": max(found, key=found.__getitem__)}

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        phase = Phase(
            trainable=(f"backbone.blocks.{measured['block']}.*", "head.*"),
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
        )
        return TransferPlan(start=solved_head(backbone), phases=(phase,))

    def unfit(self, task: TaskInfo, backbone: BackboneInfo) -> str | None:
        count = len(_weighted(backbone))
        if count < 2:
            return f"the backbone {backbone.name} has {count} block(s) with weights, so there is none to choose"
        return super().unfit(task, backbone)

    def grid(self) -> Sequence[Surgical]:
        return over_rates(self)


def _names(backbone: BackboneInfo, block: str) -> list[str]:
    return [name for name in backbone.parameter_names if name.startswith(f"backbone.blocks.{block}.")]


def _weighted(backbone: BackboneInfo) -> list[str]:
    return [block for block in backbone.blocks if _names(backbone, block)]


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [Surgical]
