"""Side-tuning: a small network beside the frozen source, blended into its features."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tlplat.data.examples import Batch
from tlplat.edits import Edit
from tlplat.hookspecs import hookimpl
from tlplat.model import Backbone, BackboneInfo, TaskInfo, TransferModel
from tlplat.plan import Budget, ParamGroup, Phase, Ref, TransferPlan
from tlplat.strategies.rates import over_rates, reused_head
from tlplat.strategy import Family, Strategy


class SideTuned(Backbone):
    """``alpha * base(x) + (1 - alpha) * side(x)``; the side network is the base's first blocks and a linear map."""

    name: ClassVar[str] = "side_tuned"

    def __init__(self, base: Backbone, depth: int) -> None:
        super().__init__()
        self.base = base
        self.side = nn.ModuleDict({name: copy.deepcopy(base.blocks[name]) for name in list(base.blocks)[:depth]})
        self.map = nn.Linear(base.block_dims[depth - 1], base.feature_dim)
        self.alpha = nn.Parameter(torch.ones(()))

    @property
    def blocks(self) -> nn.ModuleDict:  # type: ignore[override]
        return self.base.blocks

    @property
    def block_dims(self) -> tuple[int, ...]:
        return self.base.block_dims

    def config(self) -> dict[str, Any]:
        return self.base.config()

    def embed(self, batch: Batch) -> Tensor:
        return self.base.embed(batch)

    def pool(self, hidden: Tensor) -> Tensor:
        return self.base.pool(hidden)

    def forward(self, batch: Batch) -> Tensor:
        """Blended features (rows, feature_dim)."""
        hidden = self.embed(batch)
        beside = hidden
        for block in self.blocks.values():
            hidden = block(hidden)
        for block in self.side.values():
            beside = block(beside)
        added: Tensor = self.map(self.pool(beside))
        return self.alpha * self.pool(hidden) + (1 - self.alpha) * added


class AddSide(Edit):
    """Put a side network of the first ``depth`` blocks beside the backbone, with the blocks' present weights."""

    name: ClassVar[str] = "side"

    @staticmethod
    def build(model: TransferModel, args: Mapping[str, Any]) -> None:
        model.backbone = SideTuned(model.backbone, args["depth"])

    @staticmethod
    def init(model: TransferModel, args: Mapping[str, Any], generator: torch.Generator) -> None:
        """alpha = 1: the start equals the base. The map is as ``nn.Linear`` makes it."""
        linear = model.backbone.get_submodule("map")
        bound = linear.get_parameter("weight").shape[1] ** -0.5
        for p in linear.parameters():
            nn.init.uniform_(p, -bound, bound, generator=generator)


@dataclass(frozen=True)
class SideTune(Strategy):
    """Train a copy of the first block beside the frozen source, how much of it is blended in, and the head.

    Touches: adds connections from the input past the source to its features; all of the source stays bit-identical.
    Wins: when the source must not be forgotten, and the target's signal lies near the input. Costs: the side network
    at inference.
    """

    name: ClassVar[str] = "side_tune"
    family: ClassVar[Family] = "structural"
    paper: ClassVar[str] = (
        "Zhang et al. 2020, Side-tuning: a baseline for network adaptation via additive side networks"
    )
    requires: ClassVar[frozenset[str]] = frozenset({"loss"})

    learning_rate: float = 3e-3
    depth: int = 1
    alpha_rate: float = 10.0

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        phase = Phase(
            trainable=("backbone.side.*", "backbone.map.*", "backbone.alpha", "head.*"),
            learning_rate=self.learning_rate,
            groups=(ParamGroup("backbone.alpha", rate_scale=self.alpha_rate),),
        )
        side = Ref(AddSide.name, {"depth": self.depth})
        return TransferPlan(start=reused_head(backbone), edits=(side,), phases=(phase,))

    def unfit(self, task: TaskInfo, backbone: BackboneInfo) -> str | None:
        if len(backbone.blocks) <= self.depth:
            return (
                f"the backbone {backbone.name} has {len(backbone.blocks)} block, so no smaller network can stand beside"
            )
        return super().unfit(task, backbone)

    def grid(self) -> Sequence[SideTune]:
        return over_rates(self, (1e-3, 3e-3, 1e-2))


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [SideTune]


@hookimpl
def tlplat_register_edits() -> list[type[Edit]]:
    return [AddSide]
