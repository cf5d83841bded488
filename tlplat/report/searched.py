"""The search as types and as a table: what was tried at which length, what went on, and why the rest did not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field, JsonValue

from tlplat.report.fields import Count, Number, Part


class ArmPart(Part):
    """One setting of one candidate on a rung. ``score``: on validation rows; ``why`` it went on or not."""

    candidate: str
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    score: Number = None
    kept: bool
    why: str


class RungPart(Part):
    """Fits of one length. ``cut``: the least score that went on for its own sake; None where nobody was cut."""

    steps: Count
    seed: int
    cut: Number = None
    arms: tuple[ArmPart, ...]


class AheadPart(Part):
    """A candidate that was ahead of the winner on validation, not clearly. ``error``: of the difference."""

    candidate: str
    difference: Number = None
    error: Number = None


class RoundPart(Part):
    """One climb. ``steps``: of a full fit. ``unmet``: requirements that validation did not meet."""

    steps: Count
    finalists: Count
    rungs: tuple[RungPart, ...]
    winner: str
    validation: Number = None
    ahead: AheadPart | None = None
    unmet: tuple[str, ...] = ()


class SearchPart(Part):
    """All rounds; ``round`` is the position of the one whose candidates the report compares."""

    budget: dict[str, JsonValue] = Field(default_factory=dict)
    rounds: tuple[RoundPart, ...] = ()
    round: Count = 0


@dataclass(frozen=True)
class Cell:
    """A candidate on one rung: where its best arm stands in the document, how many settings were tried, whether cut."""

    pointer: str
    tried: int
    kept: bool


@dataclass(frozen=True)
class Line:
    """A candidate over the rungs of a round; ``end`` says where and why it stopped, or that it did not."""

    name: str
    cells: tuple[Cell | None, ...]
    kept: bool
    end: str


def lines(part: SearchPart, number: int, higher_is_better: bool) -> list[Line]:
    """A round's candidates, those that went on to the end first, then by how far they came."""
    rungs = part.rounds[number].rungs
    names = dict.fromkeys(arm.candidate for rung in rungs for arm in rung.arms)
    found = [_line(part, number, name, higher_is_better) for name in names]
    return sorted(found, key=lambda line: (not line.kept, -sum(c is not None for c in line.cells)))


def _line(part: SearchPart, number: int, name: str, higher_is_better: bool) -> Line:
    cells: list[Cell | None] = []
    end = ""
    kept = False
    for r, rung in enumerate(part.rounds[number].rungs):
        mine = [(i, arm) for i, arm in enumerate(rung.arms) if arm.candidate == name]
        if not mine:
            cells.append(None)
            continue
        at, best = max(mine, key=lambda pair: _order(pair[1], higher_is_better))
        kept = any(arm.kept for _, arm in mine)
        cells.append(Cell(f"/search/rounds/{number}/rungs/{r}/arms/{at}", len(mine), kept))
        end = best.why if kept else f"dropped at {rung.steps} steps: {best.why}"
    return Line(name, tuple(cells), kept, end)


def _order(arm: ArmPart, higher_is_better: bool) -> tuple[bool, bool, float]:
    score = arm.score
    return arm.kept, score is not None, (score or 0.0) * (1 if higher_is_better else -1)


def dropped(part: SearchPart, higher_is_better: bool) -> Sequence[str]:
    """Names of the candidates of the compared round that did not see all seeds."""
    if not part.rounds:
        return ()
    return [line.name for line in lines(part, part.round, higher_is_better) if not line.kept]
