"""Charts and tables that a task asks the report for, as data: what they show, not how they look."""

from __future__ import annotations

from typing import Literal

from tlplat.report.fields import Interval, Number, Part


class SeriesPart(Part):
    """Points [x, y] of one line, cloud or set of bars (x is then the bar's number). ``intervals``: of the bars' y."""

    name: str = ""
    points: tuple[tuple[Number, Number], ...]
    intervals: tuple[Interval, ...] = ()


class ChartPart(Part):
    """A chart that a task asks for, as data: of both candidates together where each has one series of one title.

    Attributes:
        kind: ``lines``, ``scatter`` (a cloud of rows) or ``bars``. x, y: what the axes say.
        bars: names of the bars. diagonal: draw y = x. steps: lines keep their height up to the next point.
    """

    kind: Literal["lines", "scatter", "bars"]
    title: str
    series: tuple[SeriesPart, ...]
    x: str = ""
    y: str = ""
    bars: tuple[str, ...] = ()
    diagonal: bool = False
    steps: bool = False
    caption: str = ""


class TablePart(Part):
    """A table that a task asks for; a number is written as a score, text as it is."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[float | int | str | None, ...], ...]
    caption: str = ""
