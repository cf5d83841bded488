"""Fixtures that the tests of all plugins share; a plugin's own conftest gives ``registry``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commandline import REAL_CACHE

from tlplat.domain import DomainContext
from tlplat.registry import Registry


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def write(tmp_path) -> Callable[[str, str | bytes], Path]:
    """Write a file below tmp_path."""

    def make(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


@pytest.fixture
def context(registry: Registry, tmp_path) -> DomainContext:
    """A context over an empty cache."""
    return DomainContext(registry=registry, cache=tmp_path / "cache", threads=1)


@pytest.fixture
def real_context(registry: Registry) -> DomainContext:
    """A context over the user's own cache; for tests that need real assets."""
    return DomainContext(registry=registry, cache=Path(os.environ.get("TLPLAT_CACHE_DIR", REAL_CACHE)), threads=1)
