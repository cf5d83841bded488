"""``--require``: a condition on the finished run, such as ``auroc>=0.9`` or ``no-negative-transfer``."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tlplat.errors import Finding, RequirementError

NO_NEGATIVE_TRANSFER = "no-negative-transfer"
_FORM = re.compile(r"\s*([A-Za-z][\w.-]*)\s*(>=|<=|>|<)\s*([-+.\deE]+)\s*")
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


@dataclass(frozen=True)
class Requirement:
    """``metric`` of the winner against ``bound``; or, with no comparison, that transfer is not negative."""

    metric: str
    comparison: str = ""
    bound: float = math.nan

    @classmethod
    def parse(cls, text: str) -> Requirement:
        """Raises ValueError with a sentence where the text is of neither form."""
        if text.strip() == NO_NEGATIVE_TRANSFER:
            return cls(NO_NEGATIVE_TRANSFER)
        found = _FORM.fullmatch(text)
        try:
            metric, comparison, bound = found.groups() if found else ("", "", "")
            number = float(bound)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(f"{text!r} is neither METRIC>=NUMBER (also <=, >, <) nor {NO_NEGATIVE_TRANSFER}")
        return cls(metric, comparison, number)

    def unmet(self, report: Mapping[str, Any]) -> Finding | None:
        """What the report says against it, or None where it is met. An unknown metric or a missing score is unmet."""
        verdict, metric = report["verdict"], report["metric"]["name"]
        where = self.text
        if verdict is None:
            return Finding("the run has no verdict", where)
        if not self.comparison:
            bad = verdict["negative_transfer"]
            return Finding("transfer is negative", where, verdict["sentence"]) if bad else None
        if self.metric != metric:
            return Finding("the run has no such metric", where, metric, self.metric)
        score = next((c["mean"] for c in report["candidates"] if c["key"] == verdict["winner"]), None)
        if score is not None and _COMPARE[self.comparison](score, self.bound):
            return None
        return Finding(
            f"the winner {verdict['winner']} does not reach it", where, "no score" if score is None else f"{score:.4f}"
        )

    def unmet_by(self, metric: str, higher: bool, winner: float, scratch: float | None) -> bool:
        """Whether validation scores speak against it; a metric that the run does not have is left to the end."""
        if not self.comparison:
            return scratch is not None and (scratch > winner if higher else scratch < winner)
        return self.metric == metric and not _COMPARE[self.comparison](winner, self.bound)

    @property
    def text(self) -> str:
        return self.metric + (f"{self.comparison}{self.bound:g}" if self.comparison else "")


class Scored(Protocol):
    """A candidate with its validation score, as :class:`tlplat.selection.Chosen`."""

    @property
    def validation(self) -> float: ...
    @property
    def candidate(self) -> Any: ...


def unmet_on_validation(
    requirements: Sequence[str], name: str, higher_is_better: bool, chosen: Sequence[Scored]
) -> list[str]:
    """The requirements that the best transfer does not meet on validation rows."""
    sign = 1 if higher_is_better else -1
    scores = [sign * c.validation for c in chosen if c.candidate.transfers and math.isfinite(c.validation)]
    scratch = next((c.validation for c in chosen if c.candidate.name == "scratch"), None)
    winner = sign * max(scores, default=-math.inf)
    wanted = [Requirement.parse(text) for text in requirements]
    return [r.text for r in wanted if r.unmet_by(name, higher_is_better, winner, scratch)]


def enforce(requirements: Sequence[str], report: Mapping[str, Any]) -> None:
    """RequirementError TL-REQUIRE (exit 8) that lists every requirement that the report does not meet."""
    findings = [f for text in requirements if (f := Requirement.parse(text).unmet(report))]
    if findings:
        raise RequirementError(
            "TL-REQUIRE",
            f"{len(findings)} of {len(requirements)} requirements are not met",
            findings=findings,
            fix="raise --labels, try other strategies or sources, or lower the requirement; the run itself is complete",
        )
