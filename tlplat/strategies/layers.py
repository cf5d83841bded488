"""The last layer of each block, and layers like a given one: what adapters and deepening share."""

from __future__ import annotations

from torch import nn

from tlplat.model import BackboneInfo

KINDS = ("Linear", "Conv1d", "Conv2d", "Conv3d")


def last_layers(backbone: BackboneInfo) -> list[str]:
    """The last linear or convolution layer of each block that has one, by names below the backbone."""
    inside = [name for name, m in backbone.modules.items() if ".blocks." in name and m.kind in KINDS]
    found = {name.split(".")[2]: name for name in inside}
    return [found[block].removeprefix("backbone.") for block in backbone.blocks if block in found]


def width_of(layer: nn.Module) -> int:
    """Output features of a linear layer, output channels of a convolution."""
    assert isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def layer_like(layer: nn.Module, inputs: int, outputs: int, kernel: int = 1) -> nn.Module:
    """A linear layer or a convolution, as ``layer`` is, that keeps the positions; ``kernel`` is odd."""
    if isinstance(layer, nn.Linear):
        return nn.Linear(inputs, outputs)
    kind = next(k for k in (nn.Conv1d, nn.Conv2d, nn.Conv3d) if isinstance(layer, k))
    return kind(inputs, outputs, kernel_size=kernel, padding=kernel // 2)
