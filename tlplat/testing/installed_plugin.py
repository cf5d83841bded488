"""The suite over the installed plugin that :mod:`tlplat.conformance` names: ``TLPLAT_KIT_PLUGIN=group:name``."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tlplat import plugins
from tlplat.testing import DomainSuite, StrategySuite, TaskSuite

GROUP, _, NAME = os.environ.get("TLPLAT_KIT_PLUGIN", "").partition(":")


def made() -> Any:
    """An instance of what the entry point gives, at its defaults."""
    found = plugins.load(GROUP, [NAME]).get(GROUP, NAME)
    return found.example() if GROUP == "tasks" else found()


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

elif GROUP == "tasks":

    class TestTask(TaskSuite):
        @pytest.fixture
        def task(self) -> Any:
            return made()
