"""Frozen features, softmax head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tlplat.hookspecs import hookimpl
from tlplat.model import BackboneInfo, TaskInfo
from tlplat.plan import Budget, TransferPlan
from tlplat.strategy import Family, Strategy


@dataclass(frozen=True)
class LinearProbe(Strategy):
    """Keep the extractor frozen and solve a linear head on its features.

    Touches: the head alone; the weight decay is chosen by cross-validation, all fits in one call.
    Wins: when labels are few and the source's features separate the target's classes.
    Costs: one pass over the rows, cached, and a convex fit: the cheapest strategy to train.

    A classifier's head is the minimum of a convex problem, which L-BFGS finds: no learning rate and no seed is left to
    sweep. The decays, times the folds, are heads of one `fit_softmax_heads`, which read the features together.
    """

    name: ClassVar[str] = "linear_probe"
    family: ClassVar[Family] = "feature"
    paper: ClassVar[str] = "Donahue et al. 2014, DeCAF: a deep convolutional activation feature"
    requires: ClassVar[frozenset[str]] = frozenset({"fit_head"})

    weight_decays: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0, 10.0)

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        return TransferPlan(start="fitted", fit_options={"weight_decays": list(self.weight_decays)})


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [LinearProbe]
