"""Bottleneck adapters after the last layer of each block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tlplat.edits import Edit, run_as_written
from tlplat.hookspecs import hookimpl
from tlplat.model import BackboneInfo, TaskInfo, TransferModel
from tlplat.plan import Budget, Phase, Ref, TransferPlan
from tlplat.strategies.layers import last_layers, layer_like, width_of
from tlplat.strategies.rates import over_rates, reused_head
from tlplat.strategy import Family, Strategy

NORMS = ("LayerNorm", "RMSNorm", "GroupNorm")
"""Trained along with adapters (Houlsby et al. 2019, section 2.1); batch norm stays: its statistics are the source's."""


class Adapted(nn.Module):
    """``h + up(relu(down(h)))`` for h = ``layer(x)``: over the last dimension, or pointwise after a convolution."""

    def __init__(self, layer: nn.Module, size: int) -> None:
        super().__init__()
        self.layer = layer
        width = width_of(layer)
        self.adapter = nn.ModuleDict({"down": layer_like(layer, width, size), "up": layer_like(layer, size, width)})

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.layer(x)
        update: Tensor = self.adapter["up"](torch.relu(self.adapter["down"](h)))
        return h + update


class AddAdapters(Edit):
    """Put an adapter of ``size`` after each of the ``layers`` (names below the backbone)."""

    name: ClassVar[str] = "adapter"

    @staticmethod
    def build(model: TransferModel, args: Mapping[str, Any]) -> None:
        for name in args["layers"]:
            model.backbone.set_submodule(name, Adapted(model.backbone.get_submodule(name), args["size"]))
        run_as_written(model.backbone)

    @staticmethod
    def init(model: TransferModel, args: Mapping[str, Any], generator: torch.Generator) -> None:
        """``down`` normal with the variance of He et al. 2015, ``up`` and biases zero: the start equals the base."""
        for name in args["layers"]:
            adapter = model.backbone.get_submodule(f"{name}.adapter")
            for part, p in adapter.named_parameters():
                if part == "down.weight":
                    nn.init.kaiming_normal_(p, nonlinearity="relu", generator=generator)
                else:
                    nn.init.zeros_(p)


@dataclass(frozen=True)
class Adapter(Strategy):
    """Train a small bottleneck after the last linear or convolution layer of each block, layer norms and the head.

    Touches: adds two small layers a block, with a residual; the source's weights and batch norm stay bit-identical.
    Wins: when one large source serves many targets, or labels are few. Costs: the bottlenecks at inference.
    """

    name: ClassVar[str] = "adapter"
    family: ClassVar[Family] = "structural"
    paper: ClassVar[str] = "Houlsby et al. 2019, Parameter-efficient transfer learning for NLP"
    requires: ClassVar[frozenset[str]] = frozenset({"loss"})

    learning_rate: float = 3e-3
    size: int = 8

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        adapters = Ref(AddAdapters.name, {"layers": last_layers(backbone), "size": self.size})
        norms = tuple(f"{name}.*" for name, m in backbone.modules.items() if m.kind in NORMS)
        phase = Phase(trainable=("*.adapter.*", "head.*", *norms), learning_rate=self.learning_rate)
        return TransferPlan(start=reused_head(backbone), edits=(adapters,), phases=(phase,))

    def unfit(self, task: TaskInfo, backbone: BackboneInfo) -> str | None:
        if not last_layers(backbone):
            return f"no block of the backbone {backbone.name} has a linear or convolution layer to put an adapter after"
        return super().unfit(task, backbone)

    def grid(self) -> Sequence[Adapter]:
        return over_rates(self, (1e-3, 3e-3, 1e-2))


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [Adapter]


@hookimpl
def tlplat_register_edits() -> list[type[Edit]]:
    return [AddAdapters]
