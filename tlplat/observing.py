"""A run's line to its observers: events of all its processes, handed over one by one in the run's own thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from tlplat import plugins
from tlplat.errors import TlplatError
from tlplat.events import SCHEMA_VERSION, Event, RunFailed, RunInterrupted, describe


class Observers:
    """Tells every observer of one run.

    Observers are called in the thread that made this object: what other threads relay waits until that thread tells
    something itself, or calls :meth:`hand_over`. So an observer is never called twice at once, nor beside a fit.

    Args:
        folder: the run directory. warn: is told of an observer that fails, once.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None]) -> None:
        self.head = {"schema_version": SCHEMA_VERSION, "run_dir": os.path.abspath(folder)}
        self.warn = warn
        self.thread = threading.get_ident()
        self.waiting: SimpleQueue[Mapping[str, Any]] = SimpleQueue()

    def tell(self, event: Event) -> None:
        """An event of this process."""
        self.relay(describe(event))

    def relay(self, event: Mapping[str, Any]) -> None:
        """An event as :func:`tlplat.events.describe` gave it here or in another process."""
        self.waiting.put(event)
        if threading.get_ident() == self.thread:
            self.hand_over()

    def hand_over(self) -> None:
        """Tell what waits, in order."""
        while True:
            try:
                event = self.waiting.get_nowait()
            except Empty:
                return
            plugins.notify({"event": event["event"], **self.head, **event}, self.warn)

    def ended(self, error: BaseException) -> None:
        """Tell how the error ended the run."""
        if isinstance(error, KeyboardInterrupt | SystemExit):
            self.tell(RunInterrupted())
        elif isinstance(error, TlplatError):
            self.tell(RunFailed(error.code, error.message))
        else:
            self.tell(RunFailed(type(error).__name__, str(error)))
