"""No gradient passes an ONNX graph: explanations occlude, and find the numbers that the graph reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commandline import Outcome, checked
from onnxfiles import blind, perceptron, written

import tlplat as api

pytest.importorskip("captum")
QUICK = ("--strategy", "linear_probe", "--labels", "60", "--seeds", "1", "--jobs", "1", "--threads", "1")


@pytest.fixture
def tlplat(tmp_path, monkeypatch, capfd, onnx):
    """A command in tmp_path, in this process."""
    from tlplat.cli.entry import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TLPLAT_CACHE_DIR", str(tmp_path / "cache"))

    def run(*arguments: str) -> Outcome:
        code = main(arguments)
        return checked(Outcome(code, *capfd.readouterr()))

    return run


def finished(tlplat, x: np.ndarray, rule: np.ndarray) -> None:
    np.savez("rows.npz", x=x, y=rule.astype(int))
    done = tlplat("run", "--domain", "arrays", "--data", "rows.npz", "--source", "m.onnx", *QUICK, "--out", "run")
    assert done.code == 0, done.err


@pytest.mark.parametrize("rows", ["any", "one"])
def test_columns_are_occluded_one_by_one(rows, tlplat):
    """The graph is blind to all columns but 1; a part is what the decision loses without its column."""

    def change(model) -> None:
        blind("w1", [0, 2, 3])(model)
        if rows == "one":
            model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1

    perceptron(Path("m.onnx"), 4, hidden=12, change=change)
    x = np.random.default_rng(0).normal(size=(120, 4)).astype("f")
    finished(tlplat, x, x[:, 1] > 0)
    told = tlplat("explain", "run", "--json").document["explanation"]
    sizes = {p["name"]: p["value"] for p in told["importance"]}
    assert (told["method"], told["against"], told["gap"]) == ("occlusion", "a row of zeros", None)
    assert sizes["column 1"] > 1
    assert [sizes[f"column {i}"] for i in (0, 2, 3)] == [0, 0, 0]
    lost = {p["name"]: p["value"] for p in told["permutation"]}
    assert lost["column 1"] > 0.2
    assert [b["name"] for b in told["depths"]["blocks"]] == ["graph"]
    assert "What the model looks at" in Path("run/report/report.html").read_text(encoding="utf-8")

    np.savez("new.npz", x=x[:3])
    (row, *_) = tlplat("explain", "run/model", "new.npz", "--rows", "3", "--json").document["explanation"]["shown"]
    module, index = api.load_model("run").module, int(row["id"].split()[1])
    given = torch.from_numpy(x[index : index + 1])
    with torch.no_grad():
        whole, without = (module(v).squeeze(0) for v in (given, torch.zeros_like(given)))
    odds = [float(v[1] - v[0]) * (1 if row["prediction"] == "1" else -1) for v in (whole, without)]
    assert [p["value"] for p in row["pieces"]] == pytest.approx([0, odds[0] - odds[1], 0, 0], abs=1e-4)
    assert row["decision"] == pytest.approx(odds[0], abs=1e-4)


def test_rows_that_do_not_fall_into_pieces_say_so(tlplat):
    written(Path("m.onnx"), [("Relu", ["x"], ["y"], {})], {}, ["rows", 3, 4], ["rows", 3, 4])
    x = np.random.default_rng(0).normal(size=(80, 3, 4)).astype("f")
    finished(tlplat, x, x[:, :, 1].sum(axis=1) > 0)
    done = tlplat("explain", "run")
    assert done.code == 0, done.err
    assert "note: the arrays domain does not say how rows like these fall into pieces" in done.out
    assert "a linear head on each block" in done.out
    kept = json.loads(Path("run/report/report.json").read_text(encoding="utf-8"))["explanation"]
    assert kept["depths"]
    assert not kept["method"]
    assert not kept["importance"]
    refused = tlplat("explain", "run", "rows.npz")
    assert (refused.code, refused.error) == (2, "TL-EXPLAIN-NONE")
    assert "leave out DATA" in refused.err
