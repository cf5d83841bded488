"""Masked-base prediction: what the convolutional backbones can learn from sequences without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tlplat.data.examples import Batch
from tlplat.model import Backbone
from tlplat.pretext import Pretext

if TYPE_CHECKING:
    from tlplat_genomics.backbone import StrandedCnn

MASKED = 0.15
"""Share of the bases that are hidden (Devlin et al. 2019; for DNA, Ji et al. 2021)."""
LAST = "conv2"
"""The last block that still has positions."""


class MaskedBases(Pretext):
    """Tell hidden bases from those around them, read off the last convolution; mean cross-entropy in nats.

    Hidden bases keep their place in the sequence: the network sees that something stands there and not what. Both
    strands hide the same bases.
    """

    summary: ClassVar[str] = "masked bases"

    def __init__(self, backbone: StrandedCnn) -> None:
        super().__init__()
        self.span = backbone.stride * backbone.pooled
        self.linear = nn.Linear(backbone.channels, 4 * self.span)

    def loss(self, backbone: Backbone, batch: Batch, generator: torch.Generator) -> Tensor:
        assert isinstance(batch, Tensor)
        embedded = backbone.embed(batch)
        rows, strands, length, _ = embedded.shape
        drawn = (torch.rand((rows, length), generator=generator) < MASKED).to(embedded.device)
        hidden = torch.stack([drawn, drawn.flip(1)][:strands], dim=1) & (embedded[..., 4] > 0)
        if not hidden.any():
            return self.linear.weight.sum() * 0
        bases = embedded[..., :4].argmax(dim=3)
        seen = torch.cat([embedded[..., :4] * ~hidden[..., None], embedded[..., 4:]], dim=3)
        for name, block in backbone.blocks.items():
            seen = block(seen)
            if name == LAST:
                break
        told = self.linear(seen[..., :-1]).view(rows, strands, -1, 4)[:, :, :length]
        return F.cross_entropy(told[hidden], bases[hidden])
