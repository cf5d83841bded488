"""Explanations as calls: of a run, of a model read back, of rows in memory."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

import tlplat
from tlplat.errors import ModelError

QUICK = {"seeds": 1, "threads": 1, "jobs": 1, "train": {"steps": 60}}
LONGER = {**QUICK, "train": {"steps": 300}}


def test_rows_in_memory_of_a_module_of_ones_own(tmp_path, monkeypatch):
    """The labels hang on the second of four columns; a run of a module that only Python knows is explained by rows."""
    monkeypatch.setenv("TLPLAT_CACHE_DIR", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(160, 4)).astype(np.float32)
    y = np.where(x[:, 1] > 0, "yes", "no")

    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))

    torch.manual_seed(0)
    found = tlplat.transfer(
        "arrays", (x, y), source=build(), head="2", strategy="full_ft", out=tmp_path / "run", **LONGER
    )
    model = tlplat.load_model(tmp_path / "run", factory=build)
    told = model.explain(x[:40], rows=3)
    sizes = {p["name"]: p["value"] for p in told["importance"]}
    assert max(sizes, key=sizes.get) == "column 1"
    assert sizes["column 1"] > 1.5 * max(v for k, v in sizes.items() if k != "column 1")
    assert [row["id"] for row in told["shown"]]
    with pytest.raises(ModelError, match="TL-MODEL-FACTORY"):  # no file holds the module's code
        found.explain()


def test_a_run_explains_itself_and_its_report_tells(toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = tlplat.transfer("toy", strategy="full_ft", out="run", **QUICK)
    told = found.explain(rows=1)
    kept = json.loads((tmp_path / "run" / "report" / "report.json").read_text(encoding="utf-8"))["explanation"]
    assert [row["id"] for row in told["shown"]] == [row["id"] for row in kept["shown"]]
    (tmp_path / "new.csv").write_text(",".join(["0.5"] * toy.DIM), encoding="utf-8")
    (row,) = found.explain("new.csv")["shown"]
    assert row["target"] is None
    assert row["prediction"] in ("in", "out")
    assert tlplat.load_model("run").explain("new.csv")["shown"] == [row]
