"""Progress of long work. The base class is silent; the CLI's shows bars on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Reporter:
    """Receives progress. Nothing here writes to stdout."""

    def say(self, text: str) -> None:
        """A line for the user (a notice, a warning)."""

    @contextmanager
    def task(self, description: str, total: float | None = None) -> Iterator[Callable[[float], None]]:
        """A stretch of work of ``total`` units; yields ``advance(units)``."""
        yield lambda units: None
