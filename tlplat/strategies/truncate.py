"""Truncation: keep the blocks up to the depth whose features serve the target best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from tlplat.edits import Edit
from tlplat.hookspecs import hookimpl
from tlplat.model import BackboneInfo, TaskInfo, TransferModel
from tlplat.plan import Budget, Phase, Ref, TransferPlan
from tlplat.strategies.rates import over_rates
from tlplat.strategy import Family, MeasureContext, Strategy


class KeepBlocks(Edit):
    """Remove all blocks after the first ``depth``; the head is remade where the feature dimension changes."""

    name: ClassVar[str] = "keep_blocks"

    @staticmethod
    def build(model: TransferModel, args: Mapping[str, Any]) -> None:
        for name in list(model.backbone.blocks)[int(args["depth"]) :]:
            del model.backbone.blocks[name]
        if isinstance(model.head, nn.Linear) and model.head.in_features != model.backbone.feature_dim:
            model.head = nn.Linear(model.backbone.feature_dim, model.head.out_features)


@dataclass(frozen=True)
class Truncate(Strategy):
    """Remove the last blocks, up to the depth of the best probe, then fine-tune what is left.

    Touches: the structure (layers are removed: a smaller and faster model), then all remaining parameters.
    Wins: when the source's last blocks are specific to its own task. Costs: one probe a depth, then a fine-tuning.
    """

    name: ClassVar[str] = "truncate"
    family: ClassVar[Family] = "structural"
    paper: ClassVar[str] = "Yosinski et al. 2014, How transferable are features in deep neural networks?"
    requires: ClassVar[frozenset[str]] = frozenset({"fit_head", "loss"})

    learning_rate: float = 1e-3
    weight_decay: float = 0.01

    def measure(self, context: MeasureContext) -> dict[str, Any]:
        """The probe's held-out loss after every block but the last, and the best depth."""
        losses = [context.probe_score(z) for z in context.depth_features()[:-1]]
        return {"losses": losses, "depth": 1 + min(range(len(losses)), key=losses.__getitem__)}

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        phase = Phase(trainable=("*",), learning_rate=self.learning_rate, weight_decay=self.weight_decay)
        cut = Ref("keep_blocks", {"depth": measured["depth"]})
        return TransferPlan(start="fitted", edits=(cut,), phases=(phase,))

    def unfit(self, task: TaskInfo, backbone: BackboneInfo) -> str | None:
        if len(backbone.blocks) < 2:
            return f"the backbone {backbone.name} has {len(backbone.blocks)} block, so none can be removed"
        return super().unfit(task, backbone)

    def grid(self) -> Sequence[Truncate]:
        return over_rates(self)


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [Truncate]


@hookimpl
def tlplat_register_edits() -> list[type[Edit]]:
    return [KeepBlocks]
