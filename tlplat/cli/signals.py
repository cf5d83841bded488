"""SIGINT and SIGTERM: the first unwinds the program, which keeps its checkpoints; a watchdog ends it within 5 s."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

GRACE = 4.0
"""Seconds between the signal and the end by force."""


class TerminatedError(KeyboardInterrupt):
    """SIGTERM arrived. Like KeyboardInterrupt, so that only the outermost handler takes it."""


@contextmanager
def interruptible() -> Iterator[None]:
    """The first SIGINT raises KeyboardInterrupt, the first SIGTERM TerminatedError; later ones are ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stopped = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        threading.Thread(target=_watch, args=(number, stopped), daemon=True).start()
        raise TerminatedError if number == signal.SIGTERM else KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        stopped.set()
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(number: int, stopped: threading.Event) -> None:
    """End the process by force where unwinding outlasts :data:`GRACE`; files are written atomically, so none tears."""
    if stopped.wait(GRACE):
        return
    code = "TL-TERMINATED" if number == signal.SIGTERM else "TL-INTERRUPTED"
    text = f"tlplat: error [{code}]: interrupted\nfix: `tlplat resume RUN` goes on with an interrupted run\n"
    os.write(2, text.encode())
    os._exit(128 + number)
