"""Structured pruning, then fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from tlplat.edits import Edit
from tlplat.errors import PluginError
from tlplat.hookspecs import hookimpl
from tlplat.model import BackboneInfo, TaskInfo, TransferModel, parameter_count
from tlplat.plan import Budget, Phase, Ref, TransferPlan
from tlplat.strategies.dependency import MISSING, installed, prunable_groups
from tlplat.strategies.rates import over_rates, reused_head
from tlplat.strategies.selecting import SelectUnits, joined, no_units
from tlplat.strategy import Family, Strategy
from tlplat.units import importance, without


class PruneUnits(SelectUnits):
    """Remove the share ``ratio`` of each group's units, those of least norm; what is left is kept as index lists."""

    name: ClassVar[str] = "prune_units"

    @staticmethod
    def resolve(model: TransferModel, args: Mapping[str, Any]) -> dict[str, Any]:
        if not installed():
            raise PluginError(
                "TL-PLUGIN-EXTRA", "choosing what to prune needs torch-pruning", fix="pip install 'tlplat[prune]'"
            )
        groups = prunable_groups(model)
        scores = [importance(model.backbone, units) for units in groups]
        order = [torch.argsort(score, stable=True).tolist() for score in scores]
        removed = [o[: min(u.width - 1, round(args["ratio"] * u.width))] for o, u in zip(order, groups, strict=True)]
        return {**args, "selections": joined([without(groups, removed)])}

    @staticmethod
    def build(model: TransferModel, args: Mapping[str, Any]) -> None:
        before = parameter_count(model)
        SelectUnits.build(model, args)
        if parameter_count(model) >= before:
            raise PluginError(
                "TL-PLUGIN-CONTRACT",
                f"pruning {args['ratio']:.0%} of the units left all {before} parameters in place",
                fix="raise the strategy's `ratio`, or choose a source with wider layers",
            )


@dataclass(frozen=True)
class PruneThenFineTune(Strategy):
    """Remove the weakest hidden units of each layer, with all that depends on them, then fine-tune what is left.

    Touches: the structure (``ratio`` of the units go: a smaller and faster model), then all remaining parameters.
    Wins: when the source is larger than the target needs, or inference must be cheap. Costs: what the removed units
    knew, which little fine-tuning may not bring back.
    """

    name: ClassVar[str] = "prune_ft"
    family: ClassVar[Family] = "structural"
    paper: ClassVar[str] = "Fang et al. 2023, DepGraph: towards any structural pruning"
    requires: ClassVar[frozenset[str]] = frozenset({"loss"})

    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    ratio: float = 0.3

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        phase = Phase(trainable=("*",), learning_rate=self.learning_rate, weight_decay=self.weight_decay)
        cut = Ref(PruneUnits.name, {"ratio": self.ratio})
        return TransferPlan(start=reused_head(backbone), edits=(cut,), phases=(phase,))

    def unfit(self, task: TaskInfo, backbone: BackboneInfo) -> str | None:
        if not installed():
            return MISSING
        return no_units(backbone) or super().unfit(task, backbone)

    def grid(self) -> Sequence[PruneThenFineTune]:
        return over_rates(self)


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [PruneThenFineTune]


@hookimpl
def tlplat_register_edits() -> list[type[Edit]]:
    return [PruneUnits]
