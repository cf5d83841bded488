"""Altered copies of images for training, by kornia: small moves, mirror images, other light."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

KINDS = {
    "none": "images as they are",
    "affine": "turned up to 12 degrees, scaled and moved by up to 15 %: for digits and characters, which have a side",
    "natural": "mirrored, cropped and other light: for photographs",
}


def augmented(images: Tensor, kind: str) -> Tensor:
    """uint8 images (n, c, h, w), each altered at random; random numbers come from torch's default generator."""
    if kind == "none" or not len(images):
        return images
    grey = images.shape[1] == 1  # the colours of a photograph's pipeline need three channels
    varied: Tensor = _pipeline(kind)(images.float().expand(-1, 3 if grey else -1, -1, -1) / 255)
    varied = varied[:, :1] if grey else varied
    return (varied.clamp(0, 1) * 255).round().to(torch.uint8)


@cache
def _pipeline(kind: str) -> Any:
    """The module of kornia's; imported here because most runs need none."""
    import kornia.augmentation as K

    if kind == "affine":
        return K.RandomAffine(degrees=12, translate=(0.1, 0.1), scale=(0.85, 1.15), shear=8, p=1.0)
    return K.AugmentationSequential(
        K.RandomHorizontalFlip(p=0.5),
        K.RandomAffine(degrees=8, translate=(0.08, 0.08), scale=(0.85, 1.2), p=1.0),
        K.ColorJitter(0.2, 0.2, 0.2, 0.02, p=0.8),
        data_keys=["input"],
    )
