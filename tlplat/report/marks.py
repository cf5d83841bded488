"""How a candidate is drawn: role decides colour, by class, and shape.

``transfer`` is a disc or a solid line, ``baseline`` a diamond or a dashed line, ``other`` is drawn quietly.
"""

from __future__ import annotations

from typing import Literal

from tlplat.report.svg import element, number, path

MARK = 4.5

Role = Literal["transfer", "baseline", "other"]
Bounds = tuple[float | None, float | None]


def mark(role: Role, x: float, y: float, size: float = MARK) -> str:
    """A disc for transfer, a diamond for a baseline, a ring for others."""
    if role == "baseline":
        s = 1.25 * size
        corners = [(x, y - s), (x + s, y), (x, y + s), (x - s, y)]
        return element("path", d=path(corners) + "Z", class_="mark baseline")
    return element("circle", cx=x, cy=y, r=size, class_=f"mark {role}")


def beyond(role: Role, x: float, y: float, turn: float) -> str:
    """An arrowhead that points beyond the scale: ``turn`` degrees from upwards."""
    shape = path([(0, -MARK), (MARK, MARK), (-MARK, MARK)]) + "Z"
    return element(
        "path", d=shape, class_=f"mark {role}", transform=f"translate({number(x)} {number(y)}) rotate({number(turn)})"
    )


def key(role: Role, *, line: bool = False, second: bool = False) -> str:
    """The swatch of a legend."""
    style = f"line {role}{' second' if second else ''}"
    drawn = element("path", d="M0 7L22 7", class_=style) if line else mark(role, 11, 7)
    return element(
        "svg",
        drawn,
        viewBox="0 0 22 14",
        width=22.0,
        height=14.0,
        aria_hidden="true",
        class_="key stroke" if line else "key",
    )
