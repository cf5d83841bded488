"""The kit's suite for domains, over a folder of made-up photographs and a source in a folder: no network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tlplat_vision.cnn import SmallCnn
from tlplat_vision.domain import VisionDomain
from tlplat_vision.preprocess import Preprocess

from tlplat.domain import DataOptions
from tlplat.model import SourceModel
from tlplat.modelio import save_source
from tlplat.plan import Ref
from tlplat.tasks.classification import Classification
from tlplat.testing import DomainSuite

LABELS = ["blue", "red"]
TINTS = ((0, 0, 90), (90, 0, 0))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """shots/blue and shots/red of 80 images each, and a source model in source/."""
    folder = tmp_path_factory.mktemp("vision")
    rng = np.random.default_rng(0)
    for label, tint in zip(LABELS, TINTS, strict=True):
        (folder / "shots" / label).mkdir(parents=True)
        for i in range(80):
            coarse = Image.fromarray(rng.integers(0, 160, (5, 5, 3), dtype=np.uint8)).resize((20, 20), 2)
            pixels = (np.asarray(coarse, dtype=np.int64) + tint).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "shots" / label / f"{i:03}.png")
    torch.manual_seed(0)
    backbone, task = SmallCnn(inputs=3, channels=(8, 12), bins=2, width=16), Classification(labels=LABELS)
    head = torch.nn.Linear(backbone.feature_dim, 2).state_dict()
    base, provenance = Ref(SmallCnn.name, backbone.config()), {"license": "CC0-1.0", "citation": "synthetic"}
    preprocess = Preprocess(size=16, channels=3).to_json()
    save_source(
        folder / "source",
        SourceModel("kept", base, backbone.state_dict(), head, task.info(), preprocess, provenance),
    )
    return folder


class VisionFixtures:
    @pytest.fixture
    def domain(self) -> VisionDomain:
        return VisionDomain()

    @pytest.fixture
    def data(self, made) -> DataOptions:
        return DataOptions(path=made / "shots")

    @pytest.fixture
    def source_name(self, made) -> str:
        return str(made / "source")

    @pytest.fixture
    def sample(self, made) -> Path:
        return made / "shots" / "red"

    @pytest.fixture
    def cache(self, tlplat_kit_cache) -> Path:
        return tlplat_kit_cache


class TestVision(VisionFixtures, DomainSuite):
    """Classification of the folder's images."""
