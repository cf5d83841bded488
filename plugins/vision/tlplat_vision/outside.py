"""Images for a network from outside of tlplat (ONNX): of its size and channels, their pixels in its numbers."""

from __future__ import annotations

from typing import Literal

from pydantic import TypeAdapter, ValidationError

from tlplat.domain import Intake, NetworkInput
from tlplat_vision.preprocess import Preprocess

Pixels = Literal["imagenet", "unit", "symmetric", "bytes"]
FIXED = "fixed"
"""Key of the preprocessing of a network that takes images of one size and number of channels."""
SIZE = 224
"""Pixels of a side for a network that takes any."""
MEANS = {1: (0.449,), 3: (0.485, 0.456, 0.406)}
SPREADS = {1: (0.226,), 3: (0.229, 0.224, 0.225)}
"""Of ImageNet's pixels, 0 to 1; for one channel the mean over the three."""


def intake(network: NetworkInput, size: int | None, pixels: Pixels) -> Intake:
    """How images reach the network: channels first or last, as its input has them.

    Args:
        size: pixels of a side, where the user says so.

    Raises:
        ModelError TL-MODEL-INPUT: it takes no square images of one or three channels, or none of this size.
    """
    told = _told(network)
    shape = network.shape
    last = len(shape) == 3 and shape[0] not in (1, 3)
    channels = shape[-1 if last else 0] if len(shape) == 3 else None
    side = size or (told.size if told else None) or next((n for n in shape[-3 + (not last) :][:2] if n), SIZE)
    images = (channels or 3, side, side)
    fits = channels in (1, 3) and network.takes((*images[1:], images[0]) if last else images)
    if not fits:
        given = f"square images: (rows, 1 or 3, {side}, {side}), or channels last"
        raise network.misfit("vision", given, "choose --image-size as the network has it, or export it for such images")
    plain = told or Preprocess(side, images[0], "crop")
    scale, shift = ((), ()) if network.integers or told else _scaled(images[0], pixels)
    return Intake(images, {**plain.to_json(), "size": side, "channels": images[0], FIXED: True}, scale, shift, last)


def _told(network: NetworkInput) -> Preprocess | None:
    """The preprocessing that the file brings, where it is one."""
    try:
        fields = {name: (network.told or {})[name] for name in Preprocess.__dataclass_fields__}
        return TypeAdapter(Preprocess).validate_python(fields)
    except (KeyError, ValidationError):
        return None


def _scaled(channels: int, pixels: Pixels) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Scale and shift of bytes."""
    if pixels == "imagenet":
        each = list(zip(MEANS[channels], SPREADS[channels], strict=True))
        return tuple(1 / (255 * s) for _, s in each), tuple(-m / s for m, s in each)
    scale, shift = {"unit": (1 / 255, 0.0), "symmetric": (2 / 255, -1.0), "bytes": (1.0, 0.0)}[pixels]
    return (scale,) * channels, (shift,) * channels
