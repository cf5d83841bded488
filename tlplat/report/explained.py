"""What the page draws of an explanation: places on an axis, bars, rows with their pieces, blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tlplat.report import charts, marks
from tlplat.report.charts import Axes, Series
from tlplat.report.document import Report
from tlplat.report.parts import DepthPart, ExplainedRowPart, ExplanationPart, PiecePart, PlacePart
from tlplat.report.views import Figure
from tlplat.report.words import metric_words, minus

MOST_BARS = 20
FEWEST_ON_AXIS = 13
"""Places with whole numbers for names are an axis from so many on; fewer are bars."""
FEWEST_BLOCKS = 4
"""Blocks are drawn, beside their table, from so many on."""


@dataclass(frozen=True)
class BarRow:
    """A bar: ``width`` in per cent of the widest; ``side`` is ``for`` or ``against``; ``at`` points to its value."""

    name: str
    at: str
    width: float
    side: str = "for"


@dataclass(frozen=True)
class Shade:
    """A piece of text, coloured by ``strength`` in 0..1; ``says``: for the pointer; ``apart``: a space first."""

    text: str
    side: str
    strength: float
    says: str
    apart: bool


@dataclass(frozen=True)
class RowView:
    """A row taken apart: as running text, as bars, or as a picture."""

    at: str
    row: ExplainedRowPart
    shades: tuple[Shade, ...] = ()
    bars: tuple[BarRow, ...] = ()


def pictures(report: Report) -> bool:
    """Whether the page holds one: only then may it show images, and only its own."""
    e = report.explanation
    return e is not None and (e.picture is not None or any(row.picture for row in e.shown))


def positions(report: Report) -> Figure | None:
    """Mean size of the attributions along the places, where these are an axis."""
    e = report.explanation
    if e is None or not _on_axis(e):
        return None
    line = tuple((float(p.name), p.value) for p in e.importance if p.value is not None)
    axes = Axes(f"{e.unit}, by its place", "mean size of attributions", y_range=(0.0, 1.05 * max(y for _, y in line)))
    svg = charts.line_chart([Series("", "transfer", (line,))], axes, f"Importance of each {e.unit} by its place")
    return Figure("Where it looks", Markup(svg))


def important(report: Report) -> tuple[BarRow, ...]:
    """The most important places or texts, where these are no axis and no picture."""
    e = report.explanation
    if e is None or _on_axis(e) or e.look == "image":
        return ()
    return _bars(e.importance, "/explanation/importance")


def permuted(report: Report) -> tuple[BarRow, ...]:
    """What the metric loses where a piece is shuffled."""
    e = report.explanation
    if e is None:
        return ()
    bars = _bars(e.permutation or (), "/explanation/permutation")
    return tuple(sorted(bars, key=lambda bar: -bar.width if bar.side == "for" else bar.width))


def depths(report: Report) -> Figure | None:
    """The metric of a linear head after each block, where there are several blocks."""
    e = report.explanation
    if e is None or e.depths is None or len(e.depths.blocks) < FEWEST_BLOCKS:
        return None
    blocks = e.depths.blocks
    lines = {
        "adapted": Series("adapted", "transfer", (_line(blocks, "adapted"),)),
        "source": Series("source", "transfer", (_line(blocks, "source"),), second=True),
        "untrained": Series("untrained", "other", (_line(blocks, "untrained"),)),
    }
    axes = Axes(
        "block, from input to output",
        metric_words(report.metric).title,
        x_text=lambda x: _name(blocks, x),
        x_range=(-0.3, len(blocks) - 0.7),
    )
    svg = charts.line_chart(list(lines.values()), axes, "What a linear head reads after each block")
    legend = tuple((Markup(marks.key(s.role, line=True, second=s.second)), name) for name, s in lines.items())
    return Figure("What each block knows", Markup(svg), legend)


def rows(report: Report) -> tuple[RowView, ...]:
    """The rows that are shown one by one."""
    e = report.explanation
    if e is None:
        return ()
    made = []
    for i, row in enumerate(e.shown):
        at = f"/explanation/shown/{i}"
        running = e.look in ("letters", "words")
        shades = _shades(row.pieces) if running else ()
        bars = _bars([PlacePart(name=p.text, value=p.value) for p in row.pieces], f"{at}/pieces")
        made.append(RowView(at, row, shades, bars if e.look == "bars" else ()))
    return tuple(made)


def _on_axis(e: ExplanationPart) -> bool:
    names = [p.name.removeprefix("-") for p in e.importance]
    return e.by == "place" and len(names) >= FEWEST_ON_AXIS and all(n.isdecimal() for n in names)


def _bars(places: Sequence[PlacePart], at: str) -> tuple[BarRow, ...]:
    """The longest first."""
    known = [(i, p.name, p.value) for i, p in enumerate(places) if p.value is not None]
    known.sort(key=lambda k: -abs(k[2]))
    longest = max((abs(v) for _, _, v in known), default=0.0) or 1.0
    return tuple(
        BarRow(name, f"{at}/{i}/value", 100 * abs(v) / longest, "for" if v >= 0 else "against")
        for i, name, v in known[:MOST_BARS]
    )


def _shades(pieces: Sequence[PiecePart]) -> tuple[Shade, ...]:
    longest = max((abs(p.value or 0.0) for p in pieces), default=0.0) or 1.0
    return tuple(
        Shade(
            text=p.text.strip() or p.text,
            side="for" if (p.value or 0.0) >= 0 else "against",
            strength=abs(p.value or 0.0) / longest,
            says=minus(f"{p.place}: {p.value or 0.0:+.3f}"),
            apart=p.text[:1].isspace(),
        )
        for p in pieces
    )


def _line(blocks: Sequence[DepthPart], which: str) -> tuple[tuple[float, float], ...]:
    values = [(float(i), getattr(b, which)) for i, b in enumerate(blocks)]
    return tuple((i, v) for i, v in values if v is not None)


def _name(blocks: Sequence[DepthPart], x: float) -> str:
    return blocks[int(x)].name if x == int(x) and 0 <= x < len(blocks) else ""
