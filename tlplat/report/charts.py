"""Charts with two axes, as pure functions from figures to SVG text. The page's style sheet gives the colours.

All are WIDTH units wide, close to what a column of the page has in pixels, so that text keeps its size on a phone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tlplat.report.labels import CHARACTER, place_labels, shortened
from tlplat.report.marks import Bounds, Role, beyond, mark
from tlplat.report.svg import Point, Scale, element, number, path, text, tick_text, title

WIDTH, HEIGHT = 360.0, 252.0
MANY = 3
"""More lines of one series than these are drawn thinly."""
LEFT, RIGHT, TOP, BOTTOM = 46.0, 10.0, 24.0, 40.0
CLOUD, BAR = 2.2, 34.0
"""Size of a mark among many; height of a bar's row."""
AXIS_WORDS = int((WIDTH - LEFT - RIGHT) / CHARACTER)


@dataclass(frozen=True)
class Series:
    """A line, or several lines of one thing (seeds): drawn alike, named once."""

    name: str
    role: Role
    lines: tuple[tuple[Point, ...], ...]
    mean: tuple[Point, ...] = ()
    second: bool = False
    """Another of its role is drawn already: dot the line."""

    @property
    def style(self) -> str:
        return f"{self.role}{' second' if self.second else ''}"


@dataclass(frozen=True)
class Dot:
    """A candidate in a scatter chart: its place, its interval upwards, its name."""

    name: str
    role: Role
    x: float
    y: float
    interval: Bounds | None = None
    highlighted: bool = False


@dataclass(frozen=True)
class Bar:
    """A named value with its interval, drawn as mark and whisker on a row of its own."""

    name: str
    role: Role
    value: float
    interval: Bounds | None = None


@dataclass(frozen=True)
class Axes:
    """What the two axes say; ``x_text`` and ``y_text`` write a tick."""

    x: str
    y: str
    x_log: bool = False
    x_text: Callable[[float], str] | None = None
    y_range: Point | None = None
    x_range: Point | None = None


def line_chart(series: Sequence[Series], axes: Axes, label: str, *, diagonal: bool = False, dots: bool = False) -> str:
    """Lines over a common pair of axes. ``diagonal`` draws y = x; ``dots`` marks the points of the means.

    The quiet series are drawn first. A series with several lines draws them thinly and its mean boldly.
    """
    points = [p for s in series for line in (*s.lines, s.mean) for p in line]
    x, y = _scales(points, axes)
    inner = _frame(x, y, axes)
    if diagonal:
        low, high = max(x.low, y.low), min(x.high, y.high)
        inner.append(element("path", d=path([(x(low), y(low)), (x(high), y(high))]), class_="diagonal"))
    for s in sorted(series, key=lambda s: s.role != "other"):
        drawn = [
            element(
                "path",
                d=path((x(a), y(b)) for a, b in line),
                class_=f"line {s.style}{' thin' if s.mean or len(s.lines) > MANY else ''}",
            )
            for line in s.lines
            if len(line) > 1
        ]
        if len(s.mean) > 1:
            drawn.append(element("path", d=path((x(a), y(b)) for a, b in s.mean), class_=f"line {s.style}"))
        if dots:
            drawn += [mark(s.role, x(a), y(b)) for a, b in s.mean or (p for line in s.lines for p in line)]
        inner.append(element("g", title(s.name), *drawn))
    return _chart(inner, label, axes)


def scatter_chart(dots: Sequence[Dot], axes: Axes, label: str) -> str:
    """Named marks with whiskers; a name that fits nowhere is left to the pointer's title."""
    points = [(d.x, v) for d in dots for v in (d.y, *(b for b in d.interval or () if b is not None))]
    x, y = _scales(points, axes)
    box = (LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM)
    first = sorted(dots, key=lambda d: (not d.highlighted, -d.y))
    spans = {
        d: (y(high), y(low))
        for d in dots
        for low, high in [d.interval or (None, None)]
        if low is not None and high is not None
    }
    whiskers = [(x(d.x), top, x(d.x), bottom) for d, (top, bottom) in spans.items()]
    places = list(zip(first, place_labels([(d.name, x(d.x), y(d.y)) for d in first], box, whiskers), strict=True))
    inner = _frame(x, y, axes)
    for d, name in places:
        if name is not None and name.leader is not None:
            inner.append(element("path", d=path([(x(d.x), y(d.y)), name.leader]), class_="leader"))
    for d in reversed(first):
        parts = [title(d.name)]
        if d in spans:
            top, bottom = spans[d]
            parts.append(element("line", x1=x(d.x), x2=x(d.x), y1=top, y2=bottom, class_=f"whisker {d.role}"))
        turn = 180 if d.y < y.low else 0 if d.y > y.high else None
        parts.append(mark(d.role, x(d.x), y(d.y)) if turn is None else beyond(d.role, x(d.x), y(d.y), turn))
        inner.append(element("g", *parts))
    for d, name in places:
        if name is not None:
            strong = " strong" if d.highlighted else ""
            inner.append(text(name.content, name.x, name.y, f"name {d.role}{strong}", name.anchor))
    return _chart(inner, label, axes)


def cloud_chart(series: Sequence[Series], axes: Axes, label: str, *, diagonal: bool = False) -> str:
    """A small mark for each point; ``diagonal`` draws y = x."""
    points = [p for s in series for line in s.lines for p in line]
    x, y = _scales(points, axes)
    inner = _frame(x, y, axes)
    if diagonal:
        low, high = max(x.low, y.low), min(x.high, y.high)
        if low < high:
            inner.append(element("path", d=path([(x(low), y(low)), (x(high), y(high))]), class_="diagonal"))
    for s in sorted(series, key=lambda s: s.role != "baseline"):
        drawn = [mark(s.role, x(a), y(b), CLOUD) for line in s.lines for a, b in line]
        inner.append(element("g", title(s.name), *drawn, class_="cloud"))
    return _chart(inner, label, axes)


def bar_chart(bars: Sequence[Bar], axes: Axes, label: str) -> str:
    """One row a bar: its name above, mark and whisker below, over a common axis from the left."""
    height = TOP + len(bars) * BAR + BOTTOM
    known = [v for b in bars for v in (b.value, *(b.interval or ())) if v is not None]
    x = Scale.over(known, LEFT, WIDTH - RIGHT, pad=0.08)
    bottom, ticks = height - BOTTOM, x.ticks(4)
    inner = [element("line", x1=x(v), x2=x(v), y1=TOP, y2=bottom, class_="grid") for v in ticks]
    for i, b in enumerate(bars):
        at = TOP + (i + 0.7) * BAR
        if b.interval is not None and b.interval[0] is not None and b.interval[1] is not None:
            ends = x(b.interval[0]), x(b.interval[1])
            inner.append(element("line", x1=ends[0], x2=ends[1], y1=at, y2=at, class_=f"whisker {b.role}"))
        inner += [mark(b.role, x(b.value), at), text(shortened(b.name, AXIS_WORDS), LEFT, at - 9, "label")]
    inner += [text(tick_text(v, ticks), x(v), bottom + 16, "tick", "middle") for v in ticks]
    inner.append(
        text(shortened(axes.y or axes.x, AXIS_WORDS), (LEFT + WIDTH - RIGHT) / 2, height - 5, "label", "middle")
    )
    view = f"0 {number(TOP - 6)} {number(WIDTH)} {number(height - TOP + 6)}"
    return element("svg", title(label), *inner, viewBox=view, role="img", aria_label=label, class_="chart")


def calibration_chart(
    bins: Mapping[str, tuple[Role, Sequence[tuple[float, float, float]]]], axes: Axes, label: str
) -> str:
    """Observed share over predicted probability; a mark's area is its share of the rows.

    Args:
        bins: by candidate: role, and (predicted, observed, rows) of each bin.
    """
    x, y = _scales([(0.0, 0.0), (1.0, 1.0)], axes)
    corners = [(x(v), y(v)) for v in (max(x.low, y.low), min(x.high, y.high))]
    inner = [*_frame(x, y, axes), element("path", d=path(corners), class_="diagonal")]
    for name, (role, each) in bins.items():
        largest = max((rows for _, _, rows in each), default=0.0) or 1.0
        marks = [element("path", d=path((x(p), y(o)) for p, o, _ in each), class_=f"line {role} thin")] if each else []
        marks += [mark(role, x(p), y(o), 2 + 5 * (rows / largest) ** 0.5) for p, o, rows in each]
        inner.append(element("g", title(name), *marks))
    return _chart(inner, label, axes)


def _scales(points: Sequence[Point], axes: Axes) -> tuple[Scale, Scale]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    if axes.x_range:
        x = Scale(*axes.x_range, LEFT, right)
    else:
        x = Scale.over([p[0] for p in points], LEFT, right, log=axes.x_log, pad=0.08 if axes.x_log else 0.02)
    if axes.y_range:
        return x, Scale(*axes.y_range, bottom, TOP)
    return x, Scale.over([p[1] for p in points], bottom, TOP)


def _frame(x: Scale, y: Scale, axes: Axes) -> list[str]:
    """Grid, ticks and what the axes say; the y axis is named above it, so that no text stands on its side."""
    bottom = HEIGHT - BOTTOM
    x_ticks, y_ticks = x.ticks(4), y.ticks(4)
    x_text = axes.x_text or (lambda v: tick_text(v, x_ticks))
    out = []
    for v in y_ticks:
        out.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(v), y2=y(v), class_="grid"))
        out.append(text(tick_text(v, y_ticks), LEFT - 7, y(v) + 4, "tick", "end"))
    for v in x_ticks:
        out.append(element("line", x1=x(v), x2=x(v), y1=bottom, y2=bottom + 4, class_="axis"))
        out.append(text(x_text(v), x(v), bottom + 16, "tick", "middle"))
    out.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=bottom, y2=bottom, class_="axis"))
    out.append(text(shortened(axes.x, AXIS_WORDS), (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 5, "label", "middle"))
    if axes.y:
        out.append(text(shortened(axes.y, AXIS_WORDS), 0, 11, "label"))
    return out


def _chart(inner: Sequence[str], label: str, axes: Axes) -> str:
    top = 0.0 if axes.y else TOP - 10
    return element(
        "svg",
        title(label),
        *inner,
        viewBox=f"0 {number(top)} {number(WIDTH)} {number(HEIGHT - top)}",
        role="img",
        aria_label=label,
        class_="chart",
    )
