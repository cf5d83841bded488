"""Progress on stderr: bars on a terminal, single lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tlplat.progress import Reporter

if TYPE_CHECKING:
    from rich.progress import Progress


class TerminalReporter(Reporter):
    """Bars (rich) while work goes on, where stderr is a terminal; ``quiet`` leaves only warnings."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.bars: Progress | None = None
        self.open = 0

    def say(self, text: str) -> None:
        if self.quiet and not text.startswith("warning"):
            return
        if self.bars is not None:
            self.bars.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)

    @contextmanager
    def task(self, description: str, total: float | None = None) -> Iterator[Callable[[float], None]]:
        if self.quiet or not sys.stderr.isatty():
            yield lambda units: None
            return
        bars = self.bars = self.bars or _bars()
        if self.open == 0:
            bars.start()
        self.open += 1
        row = bars.add_task(description, total=total)
        try:
            yield lambda units: bars.advance(row, units)
        finally:
            bars.remove_task(row)
            self.open -= 1
            if self.open == 0:
                bars.stop()
                self.bars = None


def _bars() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=4)
