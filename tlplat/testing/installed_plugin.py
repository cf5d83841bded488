"""The suite over the installed plugin that :mod:`tlplat.conformance` names: ``TLPLAT_KIT_PLUGIN=group:name``."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tlplat import plugins
from tlplat.testing import DomainSuite, StrategySuite

GROUP, _, NAME = os.environ.get("TLPLAT_KIT_PLUGIN", "").partition(":")


def made() -> Any:
    """An instance of what the entry point gives, at its defaults."""
    return plugins.load(GROUP, [NAME]).get(GROUP, NAME)()


if GROUP == "strategies":

    class TestStrategy(StrategySuite):
        @pytest.fixture
        def strategy(self) -> Any:
            return made()

elif GROUP == "domains":

    class TestDomain(DomainSuite):
        @pytest.fixture
        def domain(self) -> Any:
            return made()
