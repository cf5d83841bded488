"""explain through the command line on the toy domain."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tlplat.pieces import Columns

FAST = ["--strategy", "full_ft", "--seeds", "1", "--set", "train.steps=40", "--threads", "1", "--jobs", "1", "--json"]


@pytest.fixture
def finished(toy, tlplat):
    """A run in ``run``, and a file of new rows."""
    assert tlplat("run", "--domain", "toy", *FAST, "--out", "run").code == 0
    rows = [",".join(f"{0.1 * ((3 * i + j) % 7) - 0.3:.2f}" for j in range(toy.DIM)) for i in range(12)]
    Path("new.csv").write_text("\n".join(rows), encoding="utf-8")
    return toy


def test_a_run_is_explained_in_its_report(finished, tlplat):
    outcome = tlplat("explain", "run", "--rows", "2")
    assert outcome.code == 0, outcome.err
    assert "integrated gradients of the log-odds" in outcome.out
    assert "a linear head on each block" in outcome.out
    e = json.loads(Path("run/report/report.json").read_text(encoding="utf-8"))["explanation"]
    sizes = {p["name"]: p["value"] for p in e["importance"]}
    assert max(sizes, key=sizes.get) in {"x0", "x1", "x2", "x3"}  # of these the labels are made
    assert min(sizes[f"x{i}"] for i in range(4)) > max(sizes[f"x{i}"] for i in range(6, 12)) / 2
    lost = {p["name"]: p["value"] for p in e["permutation"]}
    assert max(lost, key=lost.get) in {"x0", "x1", "x2", "x3"}
    assert [row["target"] in ("in", "out") for row in e["shown"]] == [True, True]
    assert {row["prediction"] for row in e["shown"]} == {"in", "out"}
    page = Path("run/report/report.html").read_text(encoding="utf-8")
    assert "What the model looks at" in page
    assert e["shown"][0]["id"] in page
    again = tlplat("explain", "run", "--rows", "0", "--json").document["explanation"]
    assert again["shown"] == []
    assert {p["name"]: p["value"] for p in again["importance"]} == sizes
    assert e["shown"][0]["id"] not in Path("run/report/report.html").read_text(encoding="utf-8")


def test_rows_of_a_file_are_explained_and_nothing_is_written(finished, tlplat, monkeypatch):
    before = Path("run/report/report.json").read_bytes()
    found = tlplat("explain", "run", "new.csv", "--rows", "12", "--json").document["explanation"]
    assert [row["id"] for row in sorted(found["shown"], key=lambda r: int(r["id"]))] == [str(i) for i in range(12)]
    for row in found["shown"]:
        total = sum(p["value"] for p in row["pieces"])
        size = sum(abs(p["value"]) for p in row["pieces"])
        assert total == pytest.approx(row["decision"] - row["neutral"], abs=0.02 * size + 1e-4)
    assert "depths" not in found
    assert found["warnings"] == []
    Path("many.csv").write_text(Path("new.csv").read_text() + "\n" + Path("new.csv").read_text(), encoding="utf-8")
    with monkeypatch.context() as m:
        m.setattr(Columns, "sample", 8)
        many = tlplat("explain", "run", "many.csv", "--rows", "16", "--json").document["explanation"]
        assert (many["rows"], len(many["shown"])) == (16, 16)
        assert many["warnings"] == ["the first 16 of 24 rows are explained"]
        few = tlplat("explain", "run", "many.csv", "--json").document["explanation"]
        assert (few["rows"], len(few["shown"])) == (8, 4)
    assert Path("run/report/report.json").read_bytes() == before
    alone = tlplat("explain", "run/model", "new.csv", "--rows", "12", "--json").document["explanation"]
    assert alone == found


def test_a_domain_of_patients_shows_no_row(finished, tlplat, monkeypatch):
    """Neither an id nor a value of one row, in output, JSON and report; figures over all rows remain."""
    monkeypatch.setattr(finished.Toy, "least_count", 11)
    said = [tlplat("explain", "run", "--rows", "5"), tlplat("explain", "run", "--rows", "5", "--json")]
    assert [s.code for s in said] == [0, 0]
    pages = [s.out for s in said] + [
        Path("run/report", n).read_text(encoding="utf-8") for n in ("report.json", "report.html")
    ]
    assert all("test-4-" not in text for text in pages)
    found = said[1].document["explanation"]
    assert found["shown"] == []
    assert found["warnings"] == ["the toy domain shows no single row"]
    assert len(found["importance"]) == finished.DIM
    Path("few.csv").write_text("\n".join(Path("new.csv").read_text().splitlines()[:10]), encoding="utf-8")
    outcome = tlplat("explain", "run", "few.csv", "--json")
    assert (outcome.code, outcome.document["error"]["code"]) == (3, "TL-EXPLAIN-FEW")


def test_a_domain_without_pieces_still_has_its_blocks_probed(finished, tlplat, monkeypatch):
    monkeypatch.setattr(finished.Toy, "explainer", lambda self, preprocess, backbone: None)
    found = tlplat("explain", "run", "--json").document["explanation"]
    assert set(found) == {"warnings", "depths"}
    assert "How much comes from the source" in Path("run/report/report.html").read_text(encoding="utf-8")
    outcome = tlplat("explain", "run", "new.csv", "--json")
    assert (outcome.code, outcome.document["error"]["code"]) == (2, "TL-EXPLAIN-NONE")


def test_what_cannot_be_explained_is_said(finished, tlplat, monkeypatch):
    outcome = tlplat("explain", "nowhere", "--json")
    assert (outcome.code, outcome.document["error"]["code"]) == (2, "TL-REPORT-MISSING")
    config = Path("run/config.toml").read_text(encoding="utf-8")
    Path("run/config.toml").write_text('source = "headless"\n' + config, encoding="utf-8")
    outcome = tlplat("explain", "run", "--json")
    assert (outcome.code, outcome.document["error"]["code"]) == (2, "TL-EXPLAIN-SOURCE"), outcome.err
    monkeypatch.setitem(sys.modules, "captum", None)
    outcome = tlplat("explain", "run")
    assert (outcome.code, outcome.error) == (5, "TL-PLUGIN-EXTRA")
    assert "tlplat[explain]" in outcome.err
