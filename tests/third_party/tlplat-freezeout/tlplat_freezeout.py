"""FreezeOut (Brock et al. 2017): train all blocks, and freeze them one after the other, the first first."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tlplat import hookimpl
from tlplat.edits import Behaviour
from tlplat.model import BackboneInfo, TaskInfo, TransferModel
from tlplat.plan import Budget, Phase, Ref, TransferPlan
from tlplat.strategy import Family, Strategy


class FreezeOut(Behaviour):
    """Before each step, freeze the blocks whose time has come: ``stops`` says when, as shares of the phase."""

    name: ClassVar[str] = "freezeout"

    def __init__(self, stops: Mapping[str, float]) -> None:
        self.stops = stops

    def begin_step(self, model: TransferModel, step: int, progress: float) -> None:
        for name, stop in self.stops.items():
            if progress >= stop:
                block = model.backbone.blocks[name]
                block.requires_grad_(False)
                block.eval()

    def close(self, model: TransferModel) -> None:
        model.backbone.blocks.requires_grad_(True)


@dataclass(frozen=True)
class FreezeOutStrategy(Strategy):
    """Fine-tune, and freeze the blocks one after the other, the first first.

    Touches: all weights, early blocks for a short time. Wins: in time, since a frozen block has no backward pass.
    Costs: less than full fine-tuning. The paper also lets each block's rate fall to zero at its stop; here all share
    the phase's schedule.
    """

    name: ClassVar[str] = "freezeout"
    family: ClassVar[Family] = "parameter"
    paper: ClassVar[str] = "Brock et al. 2017, FreezeOut: accelerate training by progressively freezing layers"
    requires: ClassVar[frozenset[str]] = frozenset({"loss"})

    learning_rate: float = 1e-3
    first_stop: float = 0.5

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        blocks = len(backbone.blocks)
        shares = [self.first_stop + (1 - self.first_stop) * (i / blocks) for i in range(blocks)]
        stops = {name: share**3 for name, share in zip(backbone.blocks, shares, strict=True)}  # the paper's cubic times
        phase = Phase(("*",), self.learning_rate, behaviours=(Ref("freezeout", {"stops": stops}),))
        return TransferPlan(start="source_head" if backbone.has_source_head else "fresh", phases=(phase,))

    def grid(self) -> Sequence[FreezeOutStrategy]:
        return [dataclasses.replace(self, learning_rate=rate) for rate in (3e-4, 1e-3, 3e-3)]


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [FreezeOutStrategy]


@hookimpl
def tlplat_register_behaviours() -> list[type[Behaviour]]:
    return [FreezeOut]
