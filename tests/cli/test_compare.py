"""compare: runs side by side, through the command line on the toy domain."""

from __future__ import annotations

import shutil

import pytest

FAST = ["--strategy", "linear_probe", "--seeds", "1", "--set", "train.steps=5", "--threads", "1", "--jobs", "1"]
pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture
def runs(tlplat):
    for name, more in {"few": ["40"], "more": ["80"], "other": ["40", "--data-seed", "1"]}.items():
        outcome = tlplat("run", "--domain", "toy", *FAST, "--out", name, "--labels", *more)
        assert outcome.code == 0, outcome.err
    return "few", "more", "other"


def test_runs_on_the_same_test_rows_are_told_from_others(tlplat, runs):
    document = tlplat("compare", *runs, "few", "--json").document
    assert [run["run"] for run in document["runs"]] == list(runs)
    assert [run["labels"] for run in document["runs"]] == [40, 80, 40]
    (group,) = document["groups"]
    assert sorted(group["runs"]) == [0, 1]
    scores = [document["runs"][i]["winner"]["mean"] for i in group["runs"]]
    assert scores == sorted(scores, reverse=True)
    for run in document["runs"]:
        assert run["interval"][0] <= run["difference"] <= run["interval"][1]
        report = tlplat("report", run["run"], "--json").document
        told = report["verdict"]
        means = {c["key"]: c["mean"] for c in report["candidates"]}
        assert (run["outcome"], run["sentence"]) == (told["outcome"], told["sentence"])
        for part in ("winner", "reference"):
            assert (run[part]["name"], run[part]["mean"]) == (told[part], means[told[part]])


def test_the_table_says_what_may_be_compared(tlplat, runs):
    outcome = tlplat("compare", *runs)
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["RUN", "LABELS", "SOURCE", "METRIC", "WINNER", "WITHOUT", "VERDICT"]
    assert [line.split()[0] for line in lines[1:4]] == list(runs)
    assert "the same test rows" in outcome.out
    assert "flattered" in outcome.out
    assert "other: other test rows, or another metric; scores do not compare, verdicts do." in outcome.out


def test_without_their_table_of_rows_runs_are_not_held_together(tlplat, runs, tmp_path):
    shutil.rmtree(tmp_path / "work" / "few" / "data")
    assert tlplat("compare", *runs, "--json").document["groups"] == []


def test_a_folder_without_a_report_is_named(tlplat, runs):
    outcome = tlplat("compare", "few", "nothing")
    assert (outcome.code, outcome.error) == (2, "TL-REPORT-MISSING")
    assert "nothing" in outcome.err
