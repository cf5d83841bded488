"""What is wrong, or may be, with a target's rows: findings that stand side by side, each with its place and a fix.

Nothing here changes a row. ``error`` findings stop a run, others are told and kept in its quality.json.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

SHOWN = 20
"""Rows that a finding names; it says how many there are."""


@dataclass(frozen=True)
class Issue:
    """One finding.

    Attributes:
        kind: what was looked for: ``duplicates``, ``label_errors``.
        severity: ``error`` (a run is refused), ``warning`` (look at it), ``note`` (know it).
        message: what was found, with the count.
        fix: what to do about it, an action.
        part: ``labelled``, ``test``, ``both`` or ``source``.
        rows: names of the rows, all of them, the worst first.
        figures: what the finding rests on (JSON).
        left_out: numbers of the labelled rows that ``--clean`` leaves out of training.
    """

    kind: str
    severity: Literal["error", "warning", "note"]
    message: str
    fix: str
    part: Literal["labelled", "test", "both", "source"] = "labelled"
    rows: Sequence[str] = ()
    figures: dict[str, Any] = field(default_factory=dict)
    left_out: Sequence[int] = ()

    def to_json(self, least: int = 1) -> dict[str, Any]:
        """The finding. Where ``least`` hides counts of fewer rows, no row is named and no such count told."""
        shown = list(self.rows[:SHOWN]) if least <= 1 else []
        few = 0 < len(self.rows) < least
        return {
            "kind": self.kind,
            "severity": self.severity,
            "part": self.part,
            "message": f"{self.kind.replace('_', ' ')}: fewer than {least} rows" if few else self.message,
            "count": f"< {least}" if few else len(self.rows),
            "rows": shown,
            "more": max(0, len(self.rows) - SHOWN) if shown else 0,
            "figures": self.figures if least <= 1 else {},
            "fix": self.fix,
        }
