"""Charts, tables and explanations that the report shows, as data: what they say, not how they look."""

from __future__ import annotations

from typing import Literal

from pydantic import JsonValue

from tlplat.report.fields import Count, Interval, Number, Part, Picture


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


class PlacePart(Part):
    """A place or a text and how much it matters; ``spread``: deviation over shuffles; ``rows``: how many hold it."""

    name: str
    value: Number
    spread: Number = None
    rows: Count | None = None


class PiecePart(Part):
    """One piece of a row, where it is, and what it adds to the decision."""

    text: str
    place: str = ""
    value: Number


class ExplainedRowPart(Part):
    """A row taken apart. ``decision``, ``neutral``: of the row, and of one that says nothing; ``of``: which label."""

    id: str
    prediction: JsonValue = None
    target: JsonValue = None
    of: str = ""
    decision: Number
    neutral: Number = None
    pieces: tuple[PiecePart, ...] = ()
    picture: Picture | None = None


class DepthPart(Part):
    """A block: the metric of a linear head on its features, and how far its weights moved, as a share of their size."""

    name: str
    source: Number = None
    adapted: Number = None
    untrained: Number = None
    moved: Number = None


class DepthsPart(Part):
    """All blocks.

    Attributes:
        guess: the metric of one prediction for all rows.
        kept: of what the adapted model's last block tells beyond it, the share that the source's told.
        by_chance: the share that the untrained network's tells.
    """

    blocks: tuple[DepthPart, ...]
    rows: Count
    guess: Number = None
    kept: Number = None
    by_chance: Number = None


class ExplanationPart(Part):
    """What the model looks at. Fields of attributions are missing where the domain names no pieces.

    Attributes:
        unit: one piece in a word. by: whether ``importance`` goes by place or by text. look: how rows are shown.
        method, against, decision: in words. rows: behind ``importance``.
        gap: largest error of a row's sum, as a share of the sum of sizes; None where attributions do not add up.
        picture: the mean of all rows, as a data URI.
    """

    unit: str = ""
    by: Literal["place", "text"] = "place"
    look: Literal["letters", "words", "bars", "image"] = "bars"
    method: str = ""
    against: str = ""
    decision: str = ""
    rows: Count = 0
    gap: Number = None
    importance: tuple[PlacePart, ...] = ()
    permutation: tuple[PlacePart, ...] | None = None
    picture: Picture | None = None
    shown: tuple[ExplainedRowPart, ...] = ()
    depths: DepthsPart | None = None
    warnings: tuple[str, ...] = ()
