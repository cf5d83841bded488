"""What a model of patients goes by: columns over all patients, and never one patient."""

from __future__ import annotations

import pytest
from commandline import tlplat
from tlplat_medicine.cohorts import COLUMNS, gbsg

QUICK = (
    *("--strategy", "linear_probe,full_ft", "--seeds", "2", "--labels", "60", "--jobs", "1", "--threads", "1"),
    *("--set", "train.steps=60", "--set", "train.learning_rate=1e-3"),
)


@pytest.mark.slow
def test_columns_are_explained_and_no_patient_is_shown(tmp_path):
    out = tmp_path / "run"
    done = tlplat("run", "--domain", "medicine", *QUICK, "--out", str(out), cwd=tmp_path, cache=tmp_path / "cache")
    assert done.code == 0, done.err
    explained = tlplat("explain", str(out), "--rows", "9", "--json", cwd=tmp_path, cache=tmp_path / "cache")
    assert explained.code == 0, explained.err
    found = explained.document["explanation"]
    assert {p["name"] for p in found["importance"]} == set(COLUMNS)
    lost = {p["name"]: p["value"] for p in found["permutation"]}
    assert max(lost, key=lost.get) == "nodes"  # what every model of this cancer leans on
    assert found["shown"] == []
    assert found["warnings"] == ["the medicine domain shows no single row"]
    page = (out / "report" / "report.html").read_text(encoding="utf-8")
    assert "What it cannot do without" in page
    for text in (explained.out, page, (out / "report" / "report.json").read_text(encoding="utf-8")):
        assert not [row for row in gbsg().ids if row in text]
    few = tmp_path / "few.csv"
    few.write_text(",".join(COLUMNS) + "\n" + "61,1,<=20,2,3,10,20,1\n" * 10, encoding="utf-8")
    refused = tlplat("explain", str(out), str(few), cwd=tmp_path, cache=tmp_path / "cache")
    assert (refused.code, refused.error) == (3, "TL-EXPLAIN-FEW")
