"""The source model as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tlplat.hookspecs import hookimpl
from tlplat.model import BackboneInfo, TaskInfo
from tlplat.plan import Budget, TransferPlan
from tlplat.strategy import Family, Strategy


@dataclass(frozen=True)
class ZeroShot(Strategy):
    """The source's own head, untouched, on the target's rows. Counts as transfer: it uses the source.

    Touches: nothing. Wins: when source and target are the same problem and labels are a handful.
    Costs: nothing. Needs a source whose head predicts the target's labels.
    """

    name: ClassVar[str] = "zero_shot"
    family: ClassVar[Family] = "baseline"
    paper: ClassVar[str] = "none: the source model itself"

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        return TransferPlan(start="source_head")

    def unfit(self, task: TaskInfo, backbone: BackboneInfo) -> str | None:
        if not backbone.has_source_head:
            return "the source has no head that predicts the target's labels"
        return super().unfit(task, backbone)


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [ZeroShot]
