"""How images fall into patches, for explanations, and the overlay that shows what they are worth."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from tlplat.data.examples import Batch
from tlplat.model import Backbone
from tlplat.pieces import Explainer, Occlusion, Way

WINDOWS = 7
"""A window's side is this part of the image's; it moves by half of its side."""
LEAST_SHOWN = 224
"""Pixels of an overlay's side: small images are enlarged by a whole factor."""
FOR, AGAINST = (15, 87, 168), (200, 96, 0)
"""Colours: blue speaks for the decision, orange against it, as on the rest of the page."""
PALE, BLACK = 0.45, 16.0
"""How dark the image may be below the colours; a median of a byte below which it is a drawing on black."""


class Patches(Explainer):
    """Squares of the grid that a sliding grey window moves on, in reading order.

    Args:
        size: pixels of a side. channels: of an image.
    """

    unit: ClassVar[str] = "patch"
    look: ClassVar[Literal["letters", "words", "bars", "image"]] = "image"
    sample: ClassVar[int] = 64

    def __init__(self, size: int, channels: int) -> None:
        self.size, self.channels = size, channels
        self.window = max(2, round(size / WINDOWS))
        self.stride = max(1, self.window // 2)
        self.side = -(-size // self.stride)

    def way(self, backbone: Backbone) -> Way:
        return Occlusion(
            neutral=_means,
            gather=self._pooled,
            against=f"a square of {self.window} pixels in the image's mean colour",
            window=(self.channels, self.window, self.window),
            stride=(self.channels, self.stride, self.stride),
        )

    def _pooled(self, values: Tensor, images: Tensor) -> Tensor:
        """Pixels' values, the same in each channel, as means of the grid's squares."""
        spare = self.side * self.stride - self.size
        padded = F.pad(values[:, :1], (0, spare, 0, spare), mode="replicate") if spare else values[:, :1]
        return F.avg_pool2d(padded, self.stride).flatten(1)

    def texts(self, batch: Batch) -> Sequence[Sequence[str]]:
        return [self.places(self.side**2)] * len(batch)

    def places(self, count: int) -> Sequence[str]:
        """Where a square begins: row and column in pixels."""
        edges = range(0, self.side * self.stride, self.stride)
        return [f"y {y}, x {x}" for y in edges for x in edges]

    def picture(self, row: Tensor, values: Tensor) -> bytes | None:
        """The image in grey, blue where it speaks for the decision and orange where it speaks against it."""
        shown = self.size * max(1, -(-LEAST_SHOWN // self.size))
        grey = Image.fromarray(row.float().mean(dim=0).byte().cpu().numpy()).resize(
            (shown, shown), Image.Resampling.NEAREST
        )
        heat = values.float().cpu().view(1, 1, self.side, self.side)
        smooth = F.interpolate(heat, size=(shown, shown), mode="bilinear", align_corners=False)[0, 0].numpy()
        return _png(_overlaid(np.asarray(grey, dtype=np.float64), smooth))


def _means(images: Tensor) -> Tensor:
    """Each image's mean colour everywhere."""
    return images.float().mean(dim=(2, 3), keepdim=True).round().to(images.dtype).expand_as(images)


def _overlaid(grey: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 of grey (h, w) in 0..255 and heat (h, w), the largest of which colours fully."""
    strength = np.abs(heat) / (np.abs(heat).max() or 1.0)
    tone = np.where((heat >= 0)[..., None], np.array(FOR, dtype=np.float64), np.array(AGAINST, dtype=np.float64))
    drawing = np.median(grey) < BLACK  # on black: shown on white, like a scan
    base = np.repeat((255 - PALE * (grey if drawing else 255 - grey))[..., None], 3, axis=2)
    mixed = base * (1 - 0.8 * strength[..., None]) + tone * 0.8 * strength[..., None]
    return mixed.clip(0, 255).astype(np.uint8)


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
