"""The conformance kit for strategies, domains and tasks: it ships in the wheel, and tlplat's own run it too.

A test module subclasses :class:`StrategySuite`, :class:`DomainSuite` or :class:`TaskSuite` with one fixture; pytest
runs the checks. Nothing is imported until a suite is asked for, since every pytest process loads the plugin beside it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tlplat.testing.domains import DomainSuite
    from tlplat.testing.strategies import StrategySuite
    from tlplat.testing.tasks import TaskSuite

__all__ = ["DomainSuite", "StrategySuite", "TaskSuite"]

_HOMES = {"DomainSuite": "domains", "StrategySuite": "strategies", "TaskSuite": "tasks"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
