"""Discriminative fine-tuning with gradual unfreezing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from tlplat.hookspecs import hookimpl
from tlplat.model import BackboneInfo, TaskInfo
from tlplat.plan import Budget, ParamGroup, Phase, TransferPlan
from tlplat.strategies.rates import over_rates, reused_head
from tlplat.strategy import Family, Strategy


@dataclass(frozen=True)
class Discriminative(Strategy):
    """Unfreeze from the head downwards, lower blocks at lower rates.

    Touches: in the end all parameters. First the head alone trains, then block after block joins from the top, and
    after ``unfreezing`` of the steps all train; the rate falls by ``decay`` from one part to the next below. Deep
    backbones are cut into ``parts`` runs of blocks (the paper's network has three layers).
    Wins: when labels are few and early blocks are general: they move late and little.
    Costs: as full fine-tuning, with fewer gradients at first.
    """

    name: ClassVar[str] = "discriminative"
    family: ClassVar[Family] = "parameter"
    paper: ClassVar[str] = "Howard & Ruder 2018, Universal language model fine-tuning for text classification"
    requires: ClassVar[frozenset[str]] = frozenset({"loss"})

    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    decay: float = 2.6
    unfreezing: float = 0.5
    parts: int = 4

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        parts = self._parts(backbone)
        patterns = [("head.*",), *(tuple(f"backbone.blocks.{b}.*" for b in part) for part in parts)]
        groups = tuple(ParamGroup(p, self.decay**-i) for i, part in enumerate(patterns) for p in part)
        rest = ParamGroup("*", self.decay ** -len(patterns))  # what lies below the first block
        stages = [tuple(p for part in patterns[:i] for p in part) for i in range(1, len(patterns))]
        shares = [self.unfreezing / len(stages)] * len(stages)
        phases = [
            Phase(trainable, self.learning_rate, share, self.weight_decay, (*groups, rest))
            for trainable, share in zip([*stages, ("*",)], [*shares, 1 - self.unfreezing], strict=True)
        ]
        return TransferPlan(start=reused_head(backbone), phases=tuple(phases))

    def unfit(self, task: TaskInfo, backbone: BackboneInfo) -> str | None:
        if not backbone.blocks:
            return f"the backbone {backbone.name} names no blocks to unfreeze one after the other"
        return super().unfit(task, backbone)

    def grid(self) -> Sequence[Discriminative]:
        return over_rates(self)

    def _parts(self, backbone: BackboneInfo) -> list[tuple[str, ...]]:
        """Runs of blocks from the top down, of nearly equal length."""
        blocks = backbone.blocks[::-1]
        count = min(self.parts, len(blocks))
        cuts = [len(blocks) * i // count for i in range(count + 1)]
        return [blocks[a:b] for a, b in pairwise(cuts)]


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [Discriminative]
