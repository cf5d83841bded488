"""Squares of bytes: proportions, margin, channels, JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tlplat_vision.preprocess import Preprocess

WIDE = Image.fromarray(
    np.r_["1", np.zeros((10, 10), np.uint8), np.full((10, 20), 200, np.uint8), np.zeros((10, 10), np.uint8)]
)


def test_stretch_keeps_everything_crop_the_middle_pad_the_proportions():
    stretched, cropped, padded = (Preprocess(20, 1, fit).pixels(WIDE)[0] for fit in ("stretch", "crop", "pad"))
    assert stretched[10, 1] == 0 == stretched[10, -2]
    assert stretched[10, 10] == 200
    assert cropped.min() == 200
    assert padded[:7].max() == 0 == padded[-7:].max()
    assert padded[10, 10] == 200


def test_crop_takes_its_share():
    image = Image.fromarray(np.pad(np.full((14, 14), 90, np.uint8), 1))
    assert Preprocess(14, 1, "crop", crop=14 / 16, resample="nearest").pixels(image).min() == 90


def test_margin_is_black_and_even():
    pixels = Preprocess(28, 1, margin=1 / 7).pixels(Image.new("L", (8, 8), 255))[0]
    assert pixels[:4].max() == 0 == pixels[:, -4:].max()
    assert pixels[4:24, 4:24].min() == 255


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_channels(mode, channels):
    image = Image.new(mode, (5, 9), 100 if mode == "L" else (100, 100, 100))
    encoded = Preprocess(8, channels).encode([image, image]).tensor
    assert encoded.shape == (2, channels, 8, 8)
    assert encoded.dtype == torch.uint8
    assert (encoded == 100).all()


def test_json_both_ways():
    made = Preprocess(96, 3, "crop", 0.875, 0.1, "bicubic")
    document = {**json.loads(json.dumps(made.to_json())), "other": 1}
    assert Preprocess.from_json(document) == made


def test_no_image_is_an_empty_tensor():
    assert Preprocess(8, 3).encode([]).tensor.shape == (0, 3, 8, 8)
