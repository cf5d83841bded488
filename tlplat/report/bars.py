"""Interval bars: dot and whisker in per cent of their cell's width, so that they stay sharp at any width."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tlplat.report.marks import Bounds, Role, beyond, mark
from tlplat.report.svg import Scale, element, number, tick_text, title

ROW_HEIGHT, AXIS_HEIGHT = 26.0, 20.0


def interval_scale(values: Sequence[float]) -> Scale:
    """The shared scale of a table's interval bars, in per cent of the cell's width."""
    return Scale.over(values, 2.0, 98.0, pad=0.04)


def interval_axis(scale: Scale) -> str:
    """The tick labels above the bars; decorative, as the table holds the figures."""
    marks = scale.ticks(4)
    children = [
        element(
            "text", tick_text(v, marks), x=_percent(scale(v)), y=AXIS_HEIGHT - 7, class_="tick", text_anchor="middle"
        )
        for v in marks
        if 7 <= scale(v) <= 93
    ]
    return _strip(AXIS_HEIGHT, children)


def interval_row(
    mean: float | None, bounds: Bounds | None, scale: Scale, role: Role, compare: float | None = None
) -> str:
    """Dot and whisker of one candidate; an arrowhead at the edge where its mean lies beyond the scale.

    ``compare`` draws the thin upright that all rows share.
    """
    middle = ROW_HEIGHT / 2
    children = [_upright(scale(v), ROW_HEIGHT, "grid") for v in scale.ticks(4)]
    if compare is not None:
        children.append(_upright(scale(compare), ROW_HEIGHT, "compare"))
    if bounds is not None and bounds[0] is not None and bounds[1] is not None:
        low, high = _percent(scale(bounds[0])), _percent(scale(bounds[1]))
        children.append(element("line", x1=low, x2=high, y1=middle, y2=middle, class_=f"whisker {role}"))
    if mean is not None:
        turn = -90 if mean < scale.low else 90 if mean > scale.high else None
        drawn = mark(role, 0, 0) if turn is None else beyond(role, 0, 0, turn)
        children.append(element("svg", drawn, x=_percent(scale(mean)), y=middle, overflow="visible"))
    return _strip(ROW_HEIGHT, children)


def difference_strip(difference: float | None, bounds: Bounds, said: Callable[[float], str], label: str) -> str:
    """The winner's lead over the reference against zero, with a zone for each side."""
    known = [v for v in (difference, *bounds) if v is not None]
    reach = 1.3 * max((abs(v) for v in known), default=1.0) or 1.0
    scale = Scale(-reach, reach, 2.0, 98.0)
    low, high = bounds
    role: Role = "other"
    if low is not None and high is not None:
        role = "transfer" if low > 0 else "baseline" if high < 0 else "other"
    base = 30.0
    children = [title(label), element("line", x1="2%", x2="98%", y1=base, y2=base, class_="axis")]
    children.append(_upright(50.0, base + 10, "zero", top=base - 16))
    if low is not None and high is not None:
        ends = _percent(scale(low)), _percent(scale(high))
        children.append(element("line", x1=ends[0], x2=ends[1], y1=base, y2=base, class_=f"whisker thick {role}"))
        for value, anchor in ((low, "end"), (high, "start")):
            at = _percent(scale(value))
            children.append(element("text", said(value), x=at, y=base - 10, class_="tick", text_anchor=anchor))
    if difference is not None:
        dot = element("circle", cx=0.0, cy=0.0, r=6.0, class_=f"mark {role}")
        children.append(element("svg", dot, x=_percent(scale(difference)), y=base, overflow="visible"))
    for content, x, anchor in (
        ("transfer worse", 2.0, "start"),
        ("equal", 50.0, "middle"),
        ("transfer better", 98.0, "end"),
    ):
        children.append(element("text", content, x=_percent(x), y=base + 24, class_="tick", text_anchor=anchor))
    return element("svg", *children, role="img", width="100%", height=62.0, class_="strip", aria_label=label)


def _strip(height: float, children: Sequence[str]) -> str:
    return element("svg", *children, width="100%", height=height, class_="strip", aria_hidden="true")


def _upright(at: float, height: float, class_: str, top: float = 0.0) -> str:
    return element("line", x1=_percent(at), x2=_percent(at), y1=top, y2=height, class_=class_)


def _percent(value: float) -> str:
    return f"{number(value)}%"
