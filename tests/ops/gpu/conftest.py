"""Tests of the CUDA kernels on a GPU: `pytest -m cuda`. Without a GPU, or a library for it, they are skipped."""

from __future__ import annotations

import pytest
import torch

from tlplat.ops import extension


@pytest.fixture(autouse=True)
def implementation() -> str:
    """These compare with the reference themselves, and run once."""
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    if extension.load_cuda().library is None:
        pytest.skip(f"no CUDA library: {extension.load_cuda().reason}")
    return "gpu"
