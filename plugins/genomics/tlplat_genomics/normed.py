"""The small CNN with batch normalisation, whose statistics can be adapted to another genome's composition."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tlplat_genomics.backbone import StrandedCnn


class NormedCnn(StrandedCnn):
    """:class:`StrandedCnn` with batch normalisation of channels after each block; same arguments and features."""

    name: ClassVar[str] = "genomics-normed-cnn"

    def __init__(self, **args: Any) -> None:
        super().__init__(**args)
        widths = {"conv1": self.channels, "conv2": self.channels, "dense": self.width}
        for name, width in widths.items():
            block = self.blocks[name]
            self.blocks[name] = nn.Sequential(block, FeatureNorm(width) if name == "dense" else SequenceNorm(width))


class SequenceNorm(nn.Module):
    """Batch norm of (rows, strands, positions, channels + 1) where the last channel says sequence."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, hidden: Tensor) -> Tensor:
        mask = hidden[..., -1] > 0
        if not mask.any():
            return hidden
        out = torch.zeros_like(hidden)
        out[..., -1] = hidden[..., -1]
        out[..., :-1] = out[..., :-1].masked_scatter(mask[..., None], self.norm(hidden[..., :-1][mask]))
        return out


class FeatureNorm(nn.Module):
    """Batch norm of (rows, strands, width), strands counted as rows."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)

    def forward(self, hidden: Tensor) -> Tensor:
        normed: Tensor = self.norm(hidden.flatten(0, 1))
        return normed.view_as(hidden)
