"""Keras itself, where it is installed, and small networks that use every layer that is read."""

from __future__ import annotations

from importlib.util import find_spec

import pytest


@pytest.fixture(scope="session")
def keras():
    """The package, on torch; its warnings about its own calls of numpy are not ours."""
    pytest.importorskip("h5py")
    if find_spec("keras") is None:
        pytest.skip("needs tlplat[keras]")
    from tlplat.kerasio.export import library

    return library()
