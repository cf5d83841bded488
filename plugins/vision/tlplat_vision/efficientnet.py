"""EfficientNet-Lite (Tan & Le 2019): the variant without squeeze-and-excitation, with ReLU6."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from tlplat.data.examples import Batch
from tlplat.model import Backbone
from tlplat.ops.block import Precision
from tlplat_vision.cnn import as_channels

Stage = Sequence[int]
"""repeats, kernel, stride of the first repeat, expansion, output channels."""

LITE0: tuple[Stage, ...] = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
MEAN, STD = 127.0, 128.0
"""Of bytes, as the ImageNet weights were trained: (x - 127) / 128."""


class EfficientNetLite(Backbone):
    """Blocks ``stem``, ``stage1`` to ``stage7`` and ``top``; features are the mean of the last map.

    Running statistics move as torch's default has it (the weights were trained with a tenth of that): a fit of a few
    dozen steps from random weights, scratch, would else be scored with statistics of its start.

    Args:
        stages: see :data:`Stage`. stem: channels of the first convolution. width: of the last one, and so the
            number of features. The defaults are Lite0: 3.37 M weights without its head.
    """

    name: ClassVar[str] = "vision-efficientnet-lite"
    code_version: ClassVar[int] = 2
    channel_dim: ClassVar[int] = 1

    def __init__(self, stages: Sequence[Stage] = LITE0, stem: int = 32, width: int = 1280) -> None:
        super().__init__()
        self.stages, self.stem, self.width = [list(s) for s in stages], stem, width
        blocks: dict[str, nn.Module] = {"stem": nn.Sequential(*_convolution(3, stem, 3, 2))}
        into = stem
        for number, (repeats, kernel, stride, expand, out) in enumerate(self.stages, start=1):
            made = []
            for i in range(repeats):
                made.append(InvertedBottleneck(into, out, kernel, stride if i == 0 else 1, expand))
                into = out
            blocks[f"stage{number}"] = nn.Sequential(*made)
        self.blocks = nn.ModuleDict({**blocks, "top": nn.Sequential(*_convolution(into, width, 1))})

    def config(self) -> dict[str, Any]:
        return {"stages": self.stages, "stem": self.stem, "width": self.width}

    def embed(self, batch: Batch) -> Tensor:
        """uint8 (rows, 1 or 3, height, width) as floats (rows, 3, height, width)."""
        assert isinstance(batch, Tensor)
        return as_channels((batch.float() - MEAN) / STD, 3)

    def pool(self, hidden: Tensor) -> Tensor:
        return hidden.mean(dim=(2, 3))

    def extractor(self, precision: Precision) -> Callable[[Batch], Tensor] | None:
        """Norms folded, channels last, pointwise convolutions in the fused op."""
        from tlplat_vision.frozen import extractor

        return extractor(self, precision)

    @property
    def block_dims(self) -> tuple[int, ...]:
        return self.stem, *(stage[4] for stage in self.stages), self.width


class InvertedBottleneck(nn.Module):
    """Widen by 1 x 1, filter each channel, narrow by 1 x 1; added to the input where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        middle = inputs * expand
        self.adds = stride == 1 and inputs == outputs
        self.widen = nn.Sequential(*(_convolution(inputs, middle, 1) if expand != 1 else ()))
        self.filter = nn.Sequential(*_convolution(middle, middle, kernel, stride, groups=middle))
        self.narrow = nn.Sequential(*_convolution(middle, outputs, 1, activated=False))

    def forward(self, hidden: Tensor) -> Tensor:
        out: Tensor = self.narrow(self.filter(self.widen(hidden)))
        return out + hidden if self.adds else out


class SamePad(nn.Module):
    """Zeros around a map, so that a stride of s gives ceil(side / s); the odd one goes right and below (TensorFlow)."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, hidden: Tensor) -> Tensor:
        height, width = (max(0, (-(-n // self.stride) - 1) * self.stride + self.kernel - n) for n in hidden.shape[2:])
        return F.pad(hidden, (width // 2, width - width // 2, height // 2, height - height // 2))


def _convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, activated: bool = True
) -> list[nn.Module]:
    padding = kernel // 2 if stride == 1 else 0
    return [
        *([SamePad(kernel, stride)] if stride > 1 else []),
        nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3),
        *([nn.ReLU6()] if activated else []),
    ]
