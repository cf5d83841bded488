"""The kit's suite for domains, over a folder of made-up photographs and a source in a folder: no network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tlplat_vision.domain import VisionDomain

from tlplat.domain import DataOptions
from tlplat.testing import DomainSuite


@pytest.fixture(scope="module")
def shots(tmp_path_factory) -> Path:
    """80 images of 20 x 20 pixels in each of blue/ and red/."""
    folder = tmp_path_factory.mktemp("vision") / "shots"
    rng = np.random.default_rng(0)
    for label, tint in (("blue", (0, 0, 90)), ("red", (90, 0, 0))):
        (folder / label).mkdir(parents=True)
        for i in range(80):
            coarse = Image.fromarray(rng.integers(0, 160, (5, 5, 3), dtype=np.uint8)).resize((20, 20), 2)
            pixels = (np.asarray(coarse, dtype=np.int64) + tint).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{i:03}.png")
    return folder


class TestVision(DomainSuite):
    @pytest.fixture
    def domain(self) -> VisionDomain:
        return VisionDomain()

    @pytest.fixture
    def data(self, shots) -> DataOptions:
        return DataOptions(path=shots)

    @pytest.fixture
    def source_name(self, kept_source) -> str:
        return str(kept_source)

    @pytest.fixture
    def sample(self, shots) -> Path:
        return shots / "red"

    @pytest.fixture
    def cache(self, tlplat_kit_cache) -> Path:
        return tlplat_kit_cache
