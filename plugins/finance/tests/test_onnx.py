"""An ONNX network as the source for a table: its columns of numbers, missing values, and tlplat's own exports."""

from __future__ import annotations

import csv
import json

import pytest
from commandline import tlplat
from onnxfiles import blind, perceptron

pytest.importorskip("onnxruntime")
QUICK = ("--strategy", "linear_probe,full_ft", "--seeds", "1", "--jobs", "1", "--threads", "1", "--offline", "--json")
OWN = ("--domain", "finance", "--target", "outcome", "--time", "date")


@pytest.fixture
def table(loans, write):
    """Loans whose two columns of numbers, income and years, are complete; ``gaps`` leaves incomes out."""

    def make(count: int, gaps: bool = False) -> None:
        rows = loans(count, 2)
        write("loans.csv", rows if gaps else [{**row, "income": row["income"] or "100"} for row in rows])

    return make


def test_columns_of_numbers_as_they_are(table, tmp_path):
    table(160)
    perceptron(tmp_path / "net.onnx", 2)
    place = {"cwd": tmp_path, "cache": tmp_path / "cache"}
    done = tlplat("run", *OWN, "--data", "loans.csv", "--source", "net.onnx", "--out", "run", *QUICK, **place)
    assert done.code == 0, done.err
    report = done.document
    assert report["data_card"]["columns"]["shared"] == ["income", "years"]
    assert {"linear_probe", "logistic", "forest"} <= {c["strategy"] for c in report["candidates"]}
    assert any("full_ft moves" in s["reason"] for s in report["skipped"])
    said = tlplat("predict", "run", "loans.csv", **place)
    assert said.code == 0, said.err
    assert len(said.out.splitlines()) == 161


def test_columns_are_explained_against_their_means(table, tmp_path):
    """The graph reads income alone; a column of raw numbers is far from zero, so its mean stands in."""
    pytest.importorskip("captum")
    table(160)
    perceptron(tmp_path / "net.onnx", 2, hidden=9, change=blind("w1", [1]))
    place = {"cwd": tmp_path, "cache": tmp_path / "cache"}
    done = tlplat("run", *OWN, "--data", "loans.csv", "--source", "net.onnx", "--out", "run", *QUICK, **place)
    assert done.code == 0, done.err
    told = tlplat("explain", "run", "--json", **place).document["explanation"]
    assert told["method"] == "occlusion"
    assert "mean numbers" in told["against"]
    sizes = {p["name"]: p["value"] for p in told["importance"]}
    assert sizes["income"] > sizes["years"] == 0
    columns = json.loads((tmp_path / "run" / "model" / "preprocess.json").read_text(encoding="utf-8"))["columns"]
    with (tmp_path / "loans.csv").open(encoding="utf-8") as file:
        incomes = [float(row["income"]) for row in csv.DictReader(file)]
    assert columns[0]["mean"] == pytest.approx(sum(incomes) / len(incomes))


def test_missing_numbers_and_other_columns_are_refused(table, tmp_path):
    place = {"cwd": tmp_path, "cache": tmp_path / "cache"}
    run = ("run", *OWN, "--data", "loans.csv", "--source", "net.onnx", "--out", "run", *QUICK)
    perceptron(tmp_path / "net.onnx", 5)
    table(160)
    wide = tlplat(*run, **place)
    assert (wide.code, wide.error) == (4, "TL-MODEL-INPUT")
    assert "x (rows, 5) float32" in wide.err
    assert "rows of 2 numbers: income, years (loans.csv)" in wide.err
    perceptron(tmp_path / "net.onnx", 2)
    table(160, gaps=True)
    gaps = tlplat(*run, **place)
    assert (gaps.code, gaps.error) == (3, "TL-DATA-MISSING")
    assert "row 4, column income" in gaps.err
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").glob("model/*"))


@pytest.mark.slow
def test_an_export_of_tlplat_brings_its_columns(loans, write, tmp_path):
    """A run's ONNX export as the source of another: its encoder and its classes come along."""
    pytest.importorskip("onnxscript")
    place = {"cwd": tmp_path, "cache": tmp_path / "cache"}
    write("old.csv", loans(300, 1))
    write("new.csv", loans(160, 2))
    made = tlplat("pretrain", *OWN, "--data", "old.csv", "-o", "src", "--offline", **place)
    assert made.code == 0, made.err
    write("more.csv", loans(200, 3))
    tuned = ("--strategy", "full_ft", "--set", "train.steps=20", "--seeds", "1", "--jobs", "1", "--threads", "1")
    done = tlplat("run", *OWN, "--data", "more.csv", "--source", "src", *tuned, "--out", "a", "--offline", **place)
    assert done.code == 0, done.err
    assert tlplat("export", "a", "-o", "a.onnx", "--format", "onnx", **place).code == 0
    again = tlplat("run", *OWN, "--data", "new.csv", "--source", "a.onnx", *QUICK, "--out", "b", **place)
    assert again.code == 0, again.err
    means = {c["strategy"]: c["mean"] for c in again.document["candidates"]}
    assert {"zero_shot", "linear_probe"} <= set(means)
    assert means["zero_shot"] > 0.65
    assert again.document["data_card"]["columns"]["shared"] == ["income", "home", "years"]
