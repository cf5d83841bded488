"""Fixtures: small made-up images, folders of them, and a context with an empty cache."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tlplat_vision import tlplat_register_backbones
from tlplat_vision.cnn import SmallCnn
from tlplat_vision.preprocess import Preprocess

from tlplat.model import Backbone, SourceModel
from tlplat.modelio import save_source
from tlplat.plan import Ref
from tlplat.registry import Registry
from tlplat.tasks.classification import Classification
from tlplat.testing.kit import kit_registry


@pytest.fixture
def registry() -> Registry:
    return kit_registry("domains", "vision")


@pytest.fixture
def backbones() -> dict[str, type[Backbone]]:
    return {b.name: b for b in tlplat_register_backbones()}


def photograph(rng: np.random.Generator, side: int = 48, tint: tuple[int, int, int] = (0, 0, 0)) -> Image.Image:
    """Smooth noise in colour, which no other call repeats; ``tint`` is added."""
    coarse = Image.fromarray(rng.integers(0, 200, (6, 6, 3), dtype=np.uint8)).resize((side, side), 2)
    return Image.fromarray((np.asarray(coarse, dtype=np.int64) + tint).clip(0, 255).astype(np.uint8))


@pytest.fixture
def photo(rng) -> Callable[..., Image.Image]:
    """A made-up photograph of a side and tint."""
    return lambda side=48, tint=(0, 0, 0): photograph(rng, side, tint)


@pytest.fixture
def encoded() -> Callable[..., bytes]:
    """An image as a file's content: ``encoded(image, "JPEG", quality=50)``."""

    def make(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    return make


@pytest.fixture
def folder(rng, tmp_path) -> Callable[..., Path]:
    """A folder of ``count`` images in each of two classes, red and blue."""

    def make(count: int = 8, name: str = "shots", side: int = 48) -> Path:
        for label, tint in (("red", (90, 0, 0)), ("blue", (0, 0, 90))):
            (tmp_path / name / label).mkdir(parents=True)
            for i in range(count):
                photograph(rng, side, tint).save(tmp_path / name / label / f"{i:03}.png")
        return tmp_path / name

    return make


@pytest.fixture(scope="session")
def kept_source(tmp_path_factory) -> Path:
    """A folder with a small network of random weights and a head for blue and red."""
    folder = tmp_path_factory.mktemp("kept") / "source"
    torch.manual_seed(0)
    backbone, task = SmallCnn(inputs=3, channels=(8, 12), bins=2, width=16), Classification(labels=["blue", "red"])
    head = torch.nn.Linear(backbone.feature_dim, 2).state_dict()
    base, provenance = Ref(SmallCnn.name, backbone.config()), {"license": "CC0-1.0", "citation": "synthetic"}
    preprocess = Preprocess(size=16, channels=3).to_json()
    save_source(folder, SourceModel("kept", base, backbone.state_dict(), head, task.info(), preprocess, provenance))
    return folder
