"""The kit's toy domain as an installed plugin, and MLflow without its own telemetry."""

from __future__ import annotations

from pathlib import Path

import pytest
from site_of import Site

TOY = "from tlplat.testing.toy import tlplat_register_backbones, tlplat_register_domains"


@pytest.fixture(scope="session")
def toy_cache(tmp_path_factory) -> Path:
    """One cache for the session, so that the toy source is pretrained once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def toy(tmp_path, toy_cache, monkeypatch) -> None:
    """The toy domain for commands in processes of their own."""
    Site(tmp_path / "site", monkeypatch).add("tlplat-toy", TOY, group="domains", name="toy", module="tlplat_toy")
    monkeypatch.setenv("TLPLAT_CACHE_DIR", str(toy_cache))
