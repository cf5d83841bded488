"""Training sees altered images, the same ones for the same seed; everything else sees them as they are."""

from __future__ import annotations

import pytest
import torch
from tlplat_vision.augment import KINDS, augmented
from tlplat_vision.inputs import ImageInputs


def bars(rows: int, channels: int = 1) -> torch.Tensor:
    images = torch.zeros(rows, channels, 28, 28, dtype=torch.uint8)
    images[:, :, 6:22, 12:16] = 255
    return images


def seen(kind: str, seed: int, channels: int = 1) -> torch.Tensor:
    torch.manual_seed(seed)
    found = ImageInputs(bars(16, channels), kind).varied(torch.arange(16))
    assert isinstance(found, torch.Tensor)
    return found


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "none"])
@pytest.mark.parametrize("channels", [1, 3])
def test_altered_at_random_and_repeatably(kind, channels):
    found = seen(kind, 0, channels)
    assert (found.dtype, found.shape) == (torch.uint8, (16, channels, 28, 28))
    assert not torch.equal(found, bars(16, channels))
    assert not torch.equal(found[0], found[1])
    assert torch.equal(found, seen(kind, 0, channels))
    assert not torch.equal(found, seen(kind, 1, channels))
    ink = found.float().mean(dim=(1, 2, 3)) / bars(1).float().mean()
    assert 0.5 < ink.min() < ink.max() < 1.6


def test_none_is_none():
    assert torch.equal(seen("none", 0), bars(16))
    assert augmented(bars(0), "affine").shape == (0, 1, 28, 28)


def test_selection_and_extraction_keep_the_images():
    inputs = ImageInputs(bars(6), "affine")
    assert torch.equal(inputs.take(torch.arange(6)), bars(6))
    assert inputs.select(torch.tensor([1, 2])).augment == "affine"


def test_what_is_trained_on_is_told_apart_by_digest():
    assert len({ImageInputs(bars(4), kind).digest() for kind in KINDS}) == len(KINDS)
