"""Explanations of images: a planted patch is found, and lies where the overlay shows it."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from tlplat_vision.cnn import SmallCnn
from tlplat_vision.domain import VisionDomain
from tlplat_vision.inputs import ImageInputs
from tlplat_vision.pieces import AGAINST, FOR, Patches
from tlplat_vision.preprocess import Preprocess
from torch import nn

from tlplat.attribution import attribute
from tlplat.model import TransferModel
from tlplat.tasks.classification import Classification

TASK = Classification(["dark", "bright"])


class CornerCnn(SmallCnn):
    """Sees the sixteen pixels from row 4 and column 8 on, and nothing else."""

    def embed(self, batch):
        seen = torch.zeros_like(batch)
        seen[..., 4:8, 8:12] = 1
        return super().embed(batch * seen)


@pytest.fixture
def images(rng):
    return torch.from_numpy(rng.integers(0, 256, (6, 1, 28, 28), dtype=np.uint8))


@pytest.fixture
def model():
    torch.manual_seed(0)
    backbone = CornerCnn(channels=(8, 8, 8), width=16)
    return TransferModel(backbone, nn.Linear(backbone.feature_dim, 2)).eval()


def test_the_planted_patch_is_found(model, images):
    explainer = Patches(28, 1)
    found = attribute(model, TASK, explainer, ImageInputs(images))
    heat = found.values.abs().mean(dim=0).view(explainer.side, explainer.side)
    assert (explainer.window, explainer.stride, explainer.side) == (4, 2, 14)
    assert found.method == "occlusion"
    y, x = divmod(int(heat.argmax()), explainer.side)
    assert (y, x) in {(2, 4), (2, 5), (3, 4), (3, 5)}
    seen = torch.zeros_like(heat, dtype=torch.bool)
    seen[1:5, 3:7] = True  # a window that overlaps with the patch covers a square beside it too
    assert float(heat[~seen].max()) == 0.0
    assert explainer.places(196)[int(heat.argmax())] == f"y {2 * y}, x {2 * x}"


@pytest.mark.parametrize(("size", "channels"), [(28, 1), (96, 3), (8, 3), (30, 1)])
def test_an_overlay_shows_for_in_blue_and_against_in_orange(size, channels):
    explainer = Patches(size, channels)
    values = torch.zeros(explainer.side**2).view(explainer.side, explainer.side)
    values[0, 0], values[-1, -1] = 2.0, -2.0
    png = explainer.picture(torch.full((channels, size, size), 200, dtype=torch.uint8), values.flatten())
    picture = Image.open(io.BytesIO(png))
    assert picture.width == picture.height >= 224 > picture.width - size
    first, middle, last = (
        np.array(picture.getpixel((at, at)), dtype=int) for at in (2, picture.width // 2, -3 + picture.width)
    )
    assert np.abs(first - FOR).sum() < 180
    assert np.abs(last - AGAINST).sum() < 180
    assert len(set(middle.tolist())) == 1
    flat = explainer.picture(torch.zeros((channels, size, size), dtype=torch.uint8), torch.zeros(explainer.side**2))
    assert Image.open(io.BytesIO(flat)).getpixel((5, 5)) == (255, 255, 255)  # a drawing's black ground is shown white


def test_the_domain_takes_size_and_channels_from_the_preprocessing():
    found = VisionDomain().explainer(Preprocess(96, channels=1).to_json(), SmallCnn())
    assert (found.size, found.channels) == (96, 1)
