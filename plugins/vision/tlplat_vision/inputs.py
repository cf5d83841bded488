"""Rows of images in memory, as bytes."""

from __future__ import annotations

from torch import Tensor

from tlplat.data.examples import Batch, TensorInputs, tensor_digest
from tlplat_vision.augment import augmented

BATCH_PIXELS = 500_000
"""Of the images that are computed at once."""


class ImageInputs(TensorInputs):
    """Images (n, channels, height, width) uint8; ``augment`` names what training does to them (see augment)."""

    def __init__(self, tensor: Tensor, augment: str = "none") -> None:
        super().__init__(tensor)
        self.augment = augment

    def select(self, index: Tensor) -> ImageInputs:
        return ImageInputs(self.tensor[index], self.augment)

    def varied(self, index: Tensor) -> Batch:
        return augmented(self.tensor[index], self.augment)

    def batches(self, size: int) -> list[Tensor]:
        """In order, at most ``size`` images and half a million pixels each: hidden maps then stay in the caches."""
        pixels = max(1, self.tensor.shape[2] * self.tensor.shape[3])
        return super().batches(max(1, min(size, BATCH_PIXELS // pixels)))

    def digest(self) -> str:
        """Of the content, and of the augmentation where there is one: what is trained on it is another model."""
        plain = tensor_digest(self.tensor)
        return plain if self.augment == "none" else f"{plain}-{self.augment}"
