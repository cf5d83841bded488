"""How images become model inputs: a square of bytes. JSON both ways."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from tlplat_vision.inputs import ImageInputs

Fit = Literal["stretch", "crop", "pad"]
RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Preprocess:
    """Images as uint8 (channels, size, size).

    Attributes:
        size: pixels of a side. channels: 1 (luma of ITU-R 601) or 3 (RGB).
        fit: ``stretch`` ignores the proportions, ``crop`` keeps the middle of the shorter side, ``pad`` adds black.
        crop: share of the shorter side that ``crop`` keeps (ImageNet models: 0.875).
        margin: black border on each side, as a share of ``size``; MNIST's digits have 1/7.
        resample: the filter; all but nearest widen it when an image shrinks, so that nothing aliases.
    """

    size: int
    channels: int = 3
    fit: Fit = "stretch"
    crop: float = 1.0
    margin: float = 0.0
    resample: str = "bilinear"

    def to_json(self) -> dict[str, Any]:
        return {"kind": "image", **asdict(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Preprocess:
        return cls(**{name: document[name] for name in cls.__dataclass_fields__})

    @property
    def inner(self) -> int:
        """Pixels of a side inside the margin."""
        return max(1, round(self.size * (1 - 2 * self.margin)))

    def pixels(self, image: Image.Image) -> np.ndarray:
        """(channels, size, size) uint8 of an image in mode L or RGB."""
        wanted = image.convert("L" if self.channels == 1 else "RGB")
        inner = self._fitted(wanted)
        if inner.size != (self.size, self.size):
            canvas = Image.new(inner.mode, (self.size, self.size))
            canvas.paste(inner, ((self.size - inner.width) // 2, (self.size - inner.height) // 2))
            inner = canvas
        array = np.asarray(inner, dtype=np.uint8)
        return array[None] if self.channels == 1 else array.transpose(2, 0, 1)

    def text(self) -> str:
        """In words, for users of an exported model."""
        mode, side = "L" if self.channels == 1 else "RGB", self.inner
        fitted = {
            "stretch": "",
            "crop": f", its middle square of {self.crop:g} times the shorter side",
            "pad": ", in proportion, so that the longer side fits",
        }[self.fit]
        border = (
            f", in the middle of {self.size} x {self.size} black pixels"
            if side < self.size or self.fit == "pad"
            else ""
        )
        return (
            f"uint8 (rows, {self.channels}, {self.size}, {self.size}), 0 to 255: the first frame, upright as EXIF "
            f"says, transparent pixels on white, 16-bit greys divided by 257, converted to {mode} and resized by Pillow"
            f"{fitted} to {side} x {side} pixels (resample {self.resample}){border}; the model scales it itself"
        )

    def encode(self, images: Iterable[Image.Image]) -> ImageInputs:
        """Inputs (n, channels, size, size), one image at a time in memory."""
        rows = [self.pixels(image) for image in images]
        empty = np.zeros((0, self.channels, self.size, self.size), dtype=np.uint8)
        return ImageInputs(torch.from_numpy(np.stack(rows) if rows else empty))

    def _fitted(self, image: Image.Image) -> Image.Image:
        side, (width, height) = self.inner, image.size
        box: tuple[float, float, float, float] = (0, 0, width, height)
        size = (side, side)
        if self.fit == "crop":
            kept = min(width, height) * self.crop
            left, top = (width - kept) / 2, (height - kept) / 2
            box = (left, top, left + kept, top + kept)
        elif self.fit == "pad":
            scale = side / max(width, height)
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
        return image.resize(size, RESAMPLING[self.resample], box=box)
