"""Places for names beside the marks of a chart, so that none covers another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CHARACTER, LINE, GAP = 5.9, 12.0, 8.0
LONGEST = 24
SIDES = ((1, "start"), (-1, "end"))

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Placed:
    """A name and where its baseline starts (or, by ``anchor``, ends or is centred)."""

    content: str
    x: float
    y: float
    anchor: str
    leader: tuple[float, float] | None = None
    """Where a line from the mark ends, for a name that stands away from it."""


def place_labels(
    points: Sequence[tuple[str, float, float]], inside: Box, obstacles: Sequence[Box] = ()
) -> list[Placed | None]:
    """A place for each (name, x, y), earlier ones first; None where no place is free.

    Args:
        inside: left, top, right, bottom that names must keep to.
        obstacles: boxes that names must not cover; the marks themselves are added.
    """
    marks = [(x - 5, y - 5, x + 5, y + 5) for _, x, y in points]
    taken: list[Box] = list(obstacles)
    out: list[Placed | None] = []
    for i, (name, x, y) in enumerate(points):
        content = shortened(name, LONGEST)
        others = taken + marks[:i] + marks[i + 1 :]
        free = next(
            (p for p in _candidates(content, x, y) if _within(_box(p), inside) and not _hits(_box(p), others)), None
        )
        if free is not None:
            taken.append(_box(free))
        out.append(free)
    return out


def shortened(text: str, longest: int) -> str:
    """The text, or its beginning with an ellipsis."""
    return text if len(text) <= longest else text[: longest - 1] + "\u2026"


def _candidates(content: str, x: float, y: float) -> list[Placed]:
    """Right, left, above, below; then further and further away, with a leader."""
    near = [(x + GAP, y + 4, "start"), (x - GAP, y + 4, "end"), (x, y - 11, "middle"), (x, y + 18, "middle")]
    slant = [(x + side * GAP, y + 4 + step, anchor) for step in (-10, 10) for side, anchor in SIDES]
    far = [
        (x + side * away, y + 4 + step, anchor)
        for away in (14.0, 30.0, 50.0)
        for step in (22, -22, 36, -36, 50, -50, 64, 78, 92)
        for side, anchor in SIDES
    ]
    close = [Placed(content, *place) for place in (*near, *slant)]
    return close + [Placed(content, *place, leader=(place[0], place[1] - 4)) for place in far]


def _box(placed: Placed) -> Box:
    width = CHARACTER * len(placed.content)
    left = {"start": placed.x, "end": placed.x - width, "middle": placed.x - width / 2}[placed.anchor]
    return left, placed.y - LINE + 3, left + width, placed.y + 3


def _within(box: Box, outer: Box) -> bool:
    return box[0] >= outer[0] and box[1] >= outer[1] and box[2] <= outer[2] and box[3] <= outer[3]


def _hits(box: Box, others: Sequence[Box]) -> bool:
    return any(box[0] < o[2] and o[0] < box[2] and box[1] < o[3] and o[1] < box[3] for o in others)
