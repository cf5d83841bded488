"""``--require``: a condition on the finished run, such as ``auroc>=0.9`` or ``no-negative-transfer``."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
        where = f"{self.metric}{self.comparison}" + (f"{self.bound:g}" if self.comparison else "")
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
