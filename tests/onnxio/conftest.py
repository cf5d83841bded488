"""ONNX files made by hand, and rows for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnxfiles import perceptron

FEATURES = 4


@pytest.fixture(scope="session")
def onnx():
    """The package."""
    pytest.importorskip("onnxruntime")
    return pytest.importorskip("onnx")


@pytest.fixture
def made(onnx) -> Callable[..., Path]:
    """``made(path, change)``: a perceptron of four numbers; ``change`` sees the model before it is written."""

    def write(path: Path, change: Callable[[Any], None] = lambda model: None) -> Path:
        return perceptron(path, FEATURES, change=change)

    return write


@pytest.fixture
def rows(tmp_path) -> Path:
    """60 labelled rows of four numbers, as a file."""
    g = np.random.default_rng(1)
    x = g.normal(size=(60, FEATURES)).astype("f")
    np.savez(tmp_path / "rows.npz", x=x, y=(x[:, 0] + x[:, 1] > 0).astype(int))
    return tmp_path / "rows.npz"
