"""Net2DeeperNet: more layers that leave the function as it was."""

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
from tlplat.probing import NORMS
from tlplat.strategies.layers import KINDS, last_layers, layer_like, width_of
from tlplat.strategies.rates import over_rates, reused_head
from tlplat.strategy import Family, Strategy

AFTER_RELU = (nn.ReLU, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d)
"""What may follow a block's last layer so that its output is still non-negative and of the same width."""


class Deepened(nn.Module):
    """``layer``, then two layers that together are the identity, z = relu(z) - relu(-z), whatever follows."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        width = width_of(layer)
        self.split = layer_like(layer, width, 2 * width, kernel=3)
        self.fold = layer_like(layer, 2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fold(torch.relu(self.split(self.layer(x))))
        return out


class Deepen(Edit):
    """Add a layer behind each of ``layers``: a ReLU layer at the end of its block, or a pair around the layer."""

    name: ClassVar[str] = "deepen"

    @staticmethod
    def resolve(model: TransferModel, args: Mapping[str, Any]) -> dict[str, Any]:
        """For each layer, whether its block ends in ReLU: there one layer is enough, as relu(I relu(z)) = relu(z)."""
        return {"layers": [{"name": name, "after_relu": _ends_in_relu(model, name)} for name in args["layers"]]}

    @staticmethod
    def build(model: TransferModel, args: Mapping[str, Any]) -> None:
        for item in args["layers"]:
            layer = model.backbone.get_submodule(item["name"])
            if item["after_relu"]:
                block = model.backbone.blocks[item["name"].split(".")[1]]
                assert isinstance(block, nn.Sequential)
                block.extend([layer_like(layer, width_of(layer), width_of(layer), kernel=3), nn.ReLU()])
            else:
                model.backbone.set_submodule(item["name"], Deepened(layer))
        run_as_written(model.backbone)

    @staticmethod
    def init(model: TransferModel, args: Mapping[str, Any], generator: torch.Generator) -> None:
        """Identity filters and zero biases (Chen et al. 2016, section 2.3)."""
        for item in args["layers"]:
            if item["after_relu"]:
                block = model.backbone.blocks[item["name"].split(".")[1]]
                assert isinstance(block, nn.Sequential)
                _identity(block[-2])
            else:
                deepened = model.backbone.get_submodule(item["name"])
                _identity(deepened.get_submodule("split"))
                _identity(deepened.get_submodule("fold"))


def _identity(layer: nn.Module) -> None:
    """Set the identity; where there are twice as many outputs or inputs, the identity and its negative."""
    weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
    rows, columns = weight.shape[:2]
    eye = torch.eye(min(rows, columns))
    with torch.no_grad():
        bias.zero_()
        taps = weight.zero_().flatten(2) if weight.ndim > 2 else weight[:, :, None]
        taps[:, :, taps.shape[2] // 2] = eye if rows == columns else torch.cat([eye, -eye], dim=int(rows < columns))


def _ends_in_relu(model: TransferModel, name: str) -> bool:
    block = model.backbone.blocks[name.split(".")[1]]
    layers = list(block) if isinstance(block, nn.Sequential) else []
    at = next((i for i, m in enumerate(layers) if m is model.backbone.get_submodule(name)), len(layers))
    first = next((i for i, m in enumerate(layers) if i > at and isinstance(m, nn.ReLU)), len(layers))
    between, after = layers[at + 1 : first], layers[first:]
    return bool(after) and all(isinstance(m, NORMS) for m in between) and all(isinstance(m, AFTER_RELU) for m in after)


@dataclass(frozen=True)
class Net2Deeper(Strategy):
    """Add layers that start as the identity behind the last ``blocks`` blocks, then fine-tune everything.

    Touches: the structure (a layer a block, without batch norm; a pair where no ReLU follows), then all parameters.
    Wins: when the target needs features of features that the source lacks. Costs: a deeper and slower model.
    """

    name: ClassVar[str] = "net2deeper"
    family: ClassVar[Family] = "structural"
    paper: ClassVar[str] = "Chen et al. 2016, Net2Net: accelerating learning via knowledge transfer"
    requires: ClassVar[frozenset[str]] = frozenset({"loss"})

    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    blocks: int = 1

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        phase = Phase(trainable=("*",), learning_rate=self.learning_rate, weight_decay=self.weight_decay)
        deeper = Ref(Deepen.name, {"layers": last_layers(backbone)[-self.blocks :]})
        return TransferPlan(start=reused_head(backbone), edits=(deeper,), phases=(phase,))

    def unfit(self, task: TaskInfo, backbone: BackboneInfo) -> str | None:
        if not last_layers(backbone):
            return f"no block of the backbone {backbone.name} has one of {', '.join(KINDS)} to put a layer behind"
        return super().unfit(task, backbone)

    def grid(self) -> Sequence[Net2Deeper]:
        return over_rates(self)


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [Net2Deeper]


@hookimpl
def tlplat_register_edits() -> list[type[Edit]]:
    return [Deepen]
