"""Keras itself, where it is installed, and small networks that use every layer that is read."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from kerasio import networks


@pytest.fixture(scope="session")
def keras():
    """The package, on torch; its warnings about its own calls of numpy are not ours."""
    pytest.importorskip("h5py")
    if find_spec("keras") is None:
        pytest.skip("needs tlplat[keras]")
    from tlplat.kerasio.export import library

    return library()


@pytest.fixture(scope="session")
def saved(keras, tmp_path_factory):
    """The networks in both formats, with what Keras says of the rows."""
    folder = tmp_path_factory.mktemp("keras")
    found = {}
    for name in networks.NETS:
        model = networks.made(keras, name)
        for ending in ("h5", "keras"):
            model.save(folder / f"{name}.{ending}")
        found[name] = model.predict(networks.rows_of(name), verbose=0)
    return folder, found
