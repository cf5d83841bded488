"""Fixtures: a context with an empty cache, and patients in a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tlplat_medicine import tlplat_register_backbones, tlplat_register_domains

from tlplat.domain import DomainContext
from tlplat.registry import Registry
from tlplat.tasks.survival import Survival

HEADER = "id,age,meno,size,grade,nodes,pgr,er,hormon"


@pytest.fixture
def context(tmp_path) -> DomainContext:
    registry = Registry()
    for backbone in tlplat_register_backbones():
        registry.add("backbones", backbone, "tlplat-medicine test")
    for domain in tlplat_register_domains():
        registry.add("domains", domain, "tlplat-medicine test")
    registry.add("tasks", Survival, "tlplat test")
    return DomainContext(registry=registry, cache=tmp_path / "cache", threads=1)


@pytest.fixture
def patients(tmp_path) -> Callable[..., Path]:
    """Write a CSV with the cohorts' columns and these rows."""

    def make(*rows: str) -> Path:
        path = tmp_path / "patients.csv"
        path.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
        return path

    return make
