"""A small convolutional network for small images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from tlplat.data.examples import Batch
from tlplat.model import Backbone

SHAPES = ((5, 2), (3, 2), (3, 1))
"""Kernel and stride of the first, the second and all further convolutions."""


class SmallCnn(Backbone):
    """Convolutions with batch norm, the first two of stride 2, then one dense layer over coarse bins.

    Strides do the shrinking: on a CPU a maximum over neighbours costs more than all convolutions together.

    Args:
        inputs: channels of an image, 1 or 3. channels: of each convolution.
        bins: the dense layer sees bins x bins means of the last map, so any image size does.
        width: of the dense layer, and so the number of features.
        mean, std: of pixels scaled to 0..1.
    """

    name: ClassVar[str] = "vision-small-cnn"
    channel_dim: ClassVar[int] = 1

    def __init__(
        self,
        inputs: int = 1,
        channels: Sequence[int] = (16, 32, 64),
        bins: int = 3,
        width: int = 128,
        mean: float = 0.13,
        std: float = 0.31,
    ) -> None:
        super().__init__()
        self.inputs, self.channels, self.bins, self.width = inputs, tuple(channels), bins, width
        self.mean, self.std = mean, std
        into = [inputs, *self.channels]
        self.blocks = nn.ModuleDict(
            {f"conv{i + 1}": _convolution(into[i], out, *SHAPES[min(i, 2)]) for i, out in enumerate(self.channels)}
            | {"dense": _dense(self.channels[-1], bins, width)}
        )

    def config(self) -> dict[str, Any]:
        return {
            "inputs": self.inputs,
            "channels": list(self.channels),
            "bins": self.bins,
            "width": self.width,
            "mean": self.mean,
            "std": self.std,
        }

    def embed(self, batch: Batch) -> Tensor:
        """uint8 (rows, inputs, height, width) as floats of about zero mean and unit spread."""
        assert isinstance(batch, Tensor)
        return (batch.float() / 255 - self.mean) / self.std

    def pool(self, hidden: Tensor) -> Tensor:
        return hidden.mean(dim=(2, 3)) if hidden.ndim == 4 else hidden

    @property
    def block_dims(self) -> tuple[int, ...]:
        return *self.channels, self.width


def _convolution(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def _dense(inputs: int, bins: int, width: int) -> nn.Module:
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(bins),
        nn.Flatten(),
        nn.Linear(inputs * bins * bins, width, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(),
    )


def as_channels(images: Tensor, channels: int) -> Tensor:
    """Images of one channel repeated to ``channels``; others as they are."""
    return images.expand(-1, channels, -1, -1) if images.shape[1] == 1 != channels else images
