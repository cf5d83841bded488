"""Tests of the CUDA kernels, run on the CPU by the SIMT shim."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import simt_shim


@pytest.fixture(autouse=True)
def implementation() -> str:
    """Unlike the other tests of the ops these run once: they compare with the reference themselves."""
    return "cuda"


@pytest.fixture
def shim() -> Iterator[None]:
    """The SIMT shim, with all barriers in place before and after; skipped where there is no compiler."""
    if simt_shim.missing():
        pytest.skip(simt_shim.missing())
    m = simt_shim.module()
    m.set_seed(0)
    m.drop_barrier("")
    m.set_fit_limits(m.Limits())
    yield
    m.drop_barrier("")
