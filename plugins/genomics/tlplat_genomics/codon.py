"""A frame-aware backbone: codon usage of the six reading frames, for windows of unknown frame and strand."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tlplat.data.examples import Batch
from tlplat.model import Backbone
from tlplat_genomics.backbone import complement
from tlplat_genomics.sequence import OTHER

FRAMES = 6
CODONS = 64


class CodonFrames(Backbone):
    """The same layers for each of six reading frames, then maximum and mean over frames.

    A protein-coding window has one frame without stop codons and with the codon usage of genes; which of the six it
    is does not matter, so pooling over frames makes the features blind to frame and strand. Codon usage in this
    sense follows Fickett & Tung 1992 (Assessment of protein coding measures); stop codons carry over between
    genomes of any GC content, which k-mer frequencies without a frame do not.

    Args:
        hidden: width of the first layer. width: of the second; there are 2 * width features.
        scale: factor on codon frequencies, which are near 1/64.
    """

    name: ClassVar[str] = "genomics-codon-frames"

    def __init__(self, hidden: int = 64, width: int = 64, scale: float = 10.0) -> None:
        super().__init__()
        self.hidden, self.width, self.scale = hidden, width, scale
        self.blocks = nn.ModuleDict({"usage": FrameLayer(CODONS, hidden), "context": FrameLayer(hidden, width)})

    def config(self) -> dict[str, Any]:
        return {"hidden": self.hidden, "width": self.width, "scale": self.scale}

    def embed(self, batch: Batch) -> Tensor:
        """Scaled codon frequencies by frame, (rows, 6, 64), of uint8 tokens (rows, length >= 5)."""
        assert isinstance(batch, Tensor)
        return self.scale * codon_frequencies(batch)

    def pool(self, hidden: Tensor) -> Tensor:
        return torch.cat([hidden.amax(dim=1), hidden.mean(dim=1)], dim=1)

    @property
    def block_dims(self) -> tuple[int, ...]:
        return 2 * self.hidden, 2 * self.width


class FrameLayer(nn.Module):
    """A dense layer with ReLU on each frame."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, hidden: Tensor) -> Tensor:
        return F.relu(self.linear(hidden))


def codon_frequencies(tokens: Tensor) -> Tensor:
    """Share of each codon among the whole, unambiguous codons of each frame: (rows, 6, 64) float32.

    Frames 0 to 2 are on the given strand, 3 to 5 on its reverse complement; a frame without a codon is all zero.
    """
    forward = tokens.long()
    strands = torch.stack([forward, complement(forward).flip(1)], dim=1)
    code = 16 * strands[..., :-2] + 4 * strands[..., 1:-1] + strands[..., 2:]
    whole = (strands < OTHER).long()
    valid = whole[..., :-2] * whole[..., 1:-1] * whole[..., 2:]
    frame = torch.arange(code.shape[2], device=tokens.device) % 3 + 3 * torch.arange(2, device=tokens.device)[:, None]
    place = (frame * CODONS + code.clamp(max=CODONS - 1)).flatten(1)
    counts = torch.zeros(len(tokens), FRAMES * CODONS, device=tokens.device)
    counts = counts.scatter_add_(1, place, valid.flatten(1).float()).view(-1, FRAMES, CODONS)
    return counts / counts.sum(dim=2, keepdim=True).clamp(min=1)
