"""A small CNN over bases that keeps positions, optionally reading both strands."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tlplat.data.examples import Batch
from tlplat.model import Backbone, Tail
from tlplat.ops import FrozenBlock
from tlplat_genomics.masked import MaskedBases
from tlplat_genomics.sequence import OTHER


class StrandedCnn(Backbone):
    """Two convolutions, coarse bins, one dense layer.

    Hidden states are (rows, strands, positions, channels + 1): channels last, the last one telling which positions
    are sequence (1) and which are padding or ambiguous bases (0), so that pooling leaves those out.

    Args:
        channels: of both convolutions. kernel: bases that a first-layer filter sees. stride: of the first one.
        pool: neighbouring positions of which the first one keeps the maximum.
        bins: stretches along the window that the dense layer tells apart; where the window is anchored (at a start
            codon) position carries the signal, where it is not, one bin does.
        width: of the dense layer, and so the number of features.
        rc: read both strands with the same weights and average, so that a sequence and its reverse complement get
            the same features; right where the strand is unknown, harmful where windows are on the coding strand.
    """

    name: ClassVar[str] = "genomics-stranded-cnn"

    def __init__(
        self,
        channels: int = 32,
        kernel: int = 9,
        stride: int = 2,
        pool: int = 2,
        bins: int = 25,
        width: int = 64,
        rc: bool = False,
    ) -> None:
        super().__init__()
        self.channels, self.kernel, self.stride, self.pooled = channels, kernel, stride, pool
        self.bins, self.width, self.rc = bins, width, rc
        self.blocks = nn.ModuleDict(
            {
                "conv1": StridedConv(4, channels, kernel, stride, pool),
                "conv2": StridedConv(channels, channels, 3),
                "dense": BinnedDense(channels, bins, width),
            }
        )
        table = torch.zeros(OTHER + 1, 5)
        table[:4, :4] = torch.eye(4)
        table[:4, 4] = 1
        self.register_buffer("table", table, persistent=False)

    table: Tensor

    def config(self) -> dict[str, Any]:
        return {
            "channels": self.channels,
            "kernel": self.kernel,
            "stride": self.stride,
            "pool": self.pooled,
            "bins": self.bins,
            "width": self.width,
            "rc": self.rc,
        }

    def embed(self, batch: Batch) -> Tensor:
        """One-hot bases and the mask, (rows, strands, length, 5), of uint8 tokens (rows, length)."""
        assert isinstance(batch, Tensor)
        tokens = batch.long()
        strands = torch.stack([tokens, complement(tokens).flip(1)], dim=1) if self.rc else tokens[:, None]
        return self.table[strands]

    def pretext(self) -> MaskedBases:
        return MaskedBases(self)

    def pool(self, hidden: Tensor) -> Tensor:
        if hidden.ndim == 4:
            hidden = binned_mean(hidden, min(self.bins, 5)).flatten(2)
        return hidden.mean(dim=1)

    def tail(self) -> Tail | None:
        """The dense layer, and the mean over strands as that over tokens; none where another module took its place."""
        last = list(self.blocks.values())[-1]
        if not isinstance(last, BinnedDense) or type(last.linear) is not nn.Linear:
            return None

        def body(batch: Batch) -> tuple[Tensor, None]:
            return binned_mean(self.before_last(batch), last.bins).flatten(2), None

        return Tail(body, FrozenBlock(last.linear.weight.detach(), last.linear.bias.detach(), "relu", pool="mean"))

    @property
    def block_dims(self) -> tuple[int, ...]:
        binned = self.channels * min(self.bins, 5)
        return binned, binned, self.width


class StridedConv(nn.Module):
    """Convolution over positions, maximum over ``pool`` neighbours, ReLU; one matrix product over overlapping views.

    (rows, strands, length, inputs + 1) -> (rows, strands, ceil(length / (stride * pool)), outputs + 1).
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, pool: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride, self.pool = kernel, stride, pool
        self.linear = nn.Linear((inputs + 1) * kernel, outputs)

    def forward(self, hidden: Tensor) -> Tensor:
        rows, strands, length, channels = hidden.shape
        left = (self.kernel - self.stride) // 2
        kept = -(-length // (self.stride * self.pool))
        count = kept * self.pool
        right = max(0, (count - 1) * self.stride + self.kernel - left - length)
        padded = F.pad(hidden, (0, 0, left, right)).contiguous()
        size = (rows * strands, count, self.kernel * channels)
        views = padded.as_strided(size, (padded.shape[2] * channels, self.stride * channels, 1))
        out = self.linear(views).view(rows, strands, kept, self.pool, -1)
        mask = padded[:, :, left : left + count * self.stride : self.stride, -1:].view(
            rows, strands, kept, self.pool, 1
        )
        if self.pool == 1:
            out, mask = out[:, :, :, 0], mask[:, :, :, 0]
        else:
            out, mask = out.amax(dim=3), mask.amax(dim=3)
        return torch.cat([F.relu(out) * mask, mask], dim=3)


class BinnedDense(nn.Module):
    """Mean of each of ``bins`` stretches, flattened, then a dense layer: (rows, strands, width)."""

    def __init__(self, channels: int, bins: int, width: int) -> None:
        super().__init__()
        self.bins = bins
        self.linear = nn.Linear(channels * bins, width)

    def forward(self, hidden: Tensor) -> Tensor:
        return F.relu(self.linear(binned_mean(hidden, self.bins).flatten(2)))


def binned_mean(hidden: Tensor, bins: int) -> Tensor:
    """Mean over the unmasked positions of each bin: (rows, strands, bins, channels), 0 where a bin has none."""
    rows, strands, length, channels = hidden.shape
    if length == bins:
        return hidden[..., :-1]
    if length % bins == 0:
        summed = hidden.view(rows, strands, bins, length // bins, channels).mean(dim=3)
    else:
        flat = hidden.flatten(0, 1).transpose(1, 2)
        summed = F.adaptive_avg_pool1d(flat, bins).transpose(1, 2).view(rows, strands, bins, channels)
    return summed[..., :-1] / summed[..., -1:].clamp(min=1e-6)


def complement(tokens: Tensor) -> Tensor:
    """A <-> T and C <-> G; other tokens stay."""
    return torch.where(tokens < OTHER, 3 - tokens, tokens)
