"""rank, and run with --source auto, through the command line on the toy domain."""

from __future__ import annotations

import pytest

FAST = ["--strategy", "linear_probe", "--seeds", "1", "--set", "train.steps=5", "--threads", "1", "--jobs", "1"]
pytestmark = pytest.mark.usefixtures("toy")


def test_rank_prints_every_source_and_how_far_to_trust_it(tlplat):
    outcome = tlplat("rank", "--domain", "toy", "--labels", "40", "--threads", "1")
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0] == "shifted: in, out; 40 labelled rows"
    assert lines[2].split()[:5] == ["SOURCE", "PROBE", "OWN", "HEAD", "LOGME"]
    assert lines[3].startswith("rings")
    assert {line.split()[0] for line in lines[3:6]} == {"rings", "flipped", "headless"}
    assert lines[6].startswith("order agrees")
    assert "With 40 labels every score is noisy" in outcome.out


def test_json_is_one_document_with_every_score(tlplat):
    document = tlplat("rank", "--domain", "toy", "--threads", "1", "--source", "rings,headless", "--json").document
    assert {s["name"] for s in document["sources"]} == {"rings", "headless"}
    assert document["labels"] == 40
    assert sum(document["rows"]["classes"].values()) == document["rows"]["rows"] == 40
    for source in document["sources"]:
        assert len(source["scores"]) == 9
        undefined = [name for name, value in source["scores"].items() if value is None]
        assert undefined == list(source["missing"])
    assert set(document["agreement"]) == set(document["sources"][0]["scores"])
    assert document["trust"]


def test_flags_that_change_no_score_are_not_there(tlplat):
    outcome = tlplat("rank", "--domain", "toy", "--help")
    assert "--labels" in outcome.out
    assert "--shift" in outcome.out
    assert "Examples:" in outcome.out
    assert not [flag for flag in ("--strategy", "--seeds", "--jobs", "--require", "--budget") if flag in outcome.out]
    assert tlplat("rank", "--domain", "toy", "--seeds", "3").code == 2


def test_refusals_keep_their_codes(tlplat):
    outcome = tlplat("rank", "--domain", "toy", "--source", "narrow,rings", "--json")
    assert (outcome.code, outcome.document["error"]["code"]) == (2, "TL-USAGE")
    outcome = tlplat("rank", "--domain", "toy", "--labels", "99999", "--json")
    assert (outcome.code, outcome.document["error"]["code"]) == (2, "TL-LABELS-TOO-MANY")
    assert tlplat("rank").code == 2


def test_a_dry_run_with_auto_shows_the_ranking_and_what_is_carried(tlplat):
    outcome = tlplat("run", "--domain", "toy", *FAST, "--source", "auto", "--dry-run")
    assert outcome.code == 0, outcome.err
    assert "PROBE" in outcome.out
    carried = next(line for line in outcome.out.splitlines() if line.startswith("carried into the search: "))
    first, second = carried.partition(": ")[2].split(", ")
    assert first == "rings"
    assert f"linear_probe@{second}" in outcome.out
    assert "ranked 3 of 3" in outcome.out


def test_a_run_with_auto_compares_the_best_two(tlplat):
    outcome = tlplat("run", "--domain", "toy", *FAST, "--source", "auto", "--out", "out", "--json")
    assert outcome.code == 0, outcome.err
    carried = outcome.document["sources"]["carried"]
    assert {c["source"] for c in outcome.document["candidates"] if c["transfers"]} == set(carried)
    assert tlplat("resume", "out", "--json").document == outcome.document
    assert "linear_probe@rings" in tlplat("report", "out").out
