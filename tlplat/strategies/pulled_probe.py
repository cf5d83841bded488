"""Frozen features, and a head that is pulled towards the source's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tlplat.hookspecs import hookimpl
from tlplat.model import BackboneInfo, TaskInfo
from tlplat.plan import Budget, TransferPlan
from tlplat.strategy import Family, Strategy


@dataclass(frozen=True)
class PulledProbe(Strategy):
    """Keep the extractor frozen and solve a linear head that is pulled towards the source's head.

    Touches: the head alone. The penalty is on the distance from the source's weights, where ``linear_probe`` has it on
    the distance from zero; how strong it is is chosen by cross-validation. A strong pull gives zero-shot with a bias
    of its own, a weak one gives the probe.
    Wins: when source and target are the same question and labels are too few to solve a head from nothing.
    Costs: as ``linear_probe``. Needs a source whose head predicts the target's labels.
    """

    name: ClassVar[str] = "pulled_probe"
    family: ClassVar[Family] = "feature"
    paper: ClassVar[str] = "Yang et al. 2007, Cross-domain video concept detection using adaptive SVMs"
    requires: ClassVar[frozenset[str]] = frozenset({"fit_head", "pulled_head"})

    weight_decays: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        options = {"weight_decays": list(self.weight_decays), "toward": "source"}
        return TransferPlan(start="fitted", fit_options=options)

    def unfit(self, task: TaskInfo, backbone: BackboneInfo) -> str | None:
        if not backbone.has_source_head:
            return "the source has no head that predicts the target's labels"
        return super().unfit(task, backbone)


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [PulledProbe]
