"""--require: its two forms, and what a report must say."""

from __future__ import annotations

import pytest

from tlplat.errors import RequirementError
from tlplat.requirement import Requirement, enforce


def report(score: float | None = 0.91, negative: bool = False) -> dict:
    return {
        "metric": {"name": "auroc", "higher_is_better": True},
        "verdict": {"winner": "l2sp", "negative_transfer": negative, "sentence": "Transfer hurts."},
        "candidates": [{"key": "scratch", "mean": 0.99}, {"key": "l2sp", "mean": score}],
    }


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("auroc>=0.9", True),
        ("auroc >= 0.91", True),
        ("auroc>0.91", False),
        ("auroc<=0.91", True),
        ("auroc<0.91", False),
        ("auroc>=9.2e-1", False),
        ("accuracy>=0.1", False),
        ("no-negative-transfer", True),
    ],
)
def test_met_or_not(text, met):
    assert (Requirement.parse(text).unmet(report()) is None) is met


def test_negative_transfer_is_refused():
    with pytest.raises(RequirementError) as caught:
        enforce(["auroc>=0.9", "no-negative-transfer"], report(negative=True))
    assert caught.value.exit_code == 8
    assert [f.where for f in caught.value.findings] == ["no-negative-transfer"]


def test_a_run_without_a_verdict_meets_nothing():
    for text in ("auroc>=0.1", "no-negative-transfer"):
        assert Requirement.parse(text).unmet({**report(), "verdict": None}) is not None


def test_a_missing_score_is_unmet():
    assert Requirement.parse("auroc>=0.1").unmet(report(None)) is not None


@pytest.mark.parametrize(
    "text", ["", "auroc", "auroc=0.9", "auroc=>0.9", "auroc>=nan", "auroc>=inf", ">=1", "a>=1e", "x"]
)
def test_other_forms_are_refused(text):
    with pytest.raises(ValueError, match="METRIC>=NUMBER"):
        Requirement.parse(text)
