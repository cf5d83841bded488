"""An ONNX network as the source for patients: columns of numbers as they are, and no value in an error."""

from __future__ import annotations

import pytest
from onnxfiles import perceptron

pytest.importorskip("onnxruntime")
QUICK = ("--strategy", "linear_probe,lora", "--seeds", "1", "--jobs", "1", "--threads", "1", "--json", "--out", "run")
FLAGS = ("--domain", "medicine", "--task", "diagnosis", "--target", "ill", "--group", "patient", "--data", "p.csv")
DROPPED = tuple(part for name in ("drug", "score", "days", "died", "hospital") for part in ("--drop", name))


def test_a_run_on_columns_of_numbers(command, table, people, tmp_path):
    table(people(200, 1), "p.csv")
    perceptron(tmp_path / "net.onnx", 2)
    done = command("run", *FLAGS, *DROPPED, "--source", "net.onnx", *QUICK)
    assert done.code == 0, done.err
    report = done.document
    assert report["data_card"]["columns"]["shared"] == ["age", "sysBP"]
    assert {"linear_probe", "logistic"} <= {c["strategy"] for c in report["candidates"]}
    assert any("lora changes" in s["reason"] for s in report["skipped"])
    said = command("predict", "run", "p.csv")
    assert said.code == 0, said.err
    assert len(said.out.splitlines()) == 201


def test_the_demo(command, tmp_path):
    """The images of breast tissue have thirty columns of numbers."""
    perceptron(tmp_path / "net.onnx", 30)
    flags = ("--domain", "medicine", "--task", "diagnosis", "--source", "net.onnx")
    done = command("run", *flags, *QUICK)
    assert done.code == 0, done.err
    perceptron(tmp_path / "net.onnx", 7)
    other = command("run", *flags, *QUICK[:-1], "other")
    assert (other.code, other.error) == (4, "TL-MODEL-INPUT")
    assert "x (rows, 7) float32" in other.err


def test_a_missing_number_is_named_without_a_value(command, table, people, tmp_path):
    rows = people(200, 1)
    rows[7]["age"] = ""
    table(rows, "p.csv")
    perceptron(tmp_path / "net.onnx", 2)
    done = command("run", *FLAGS, *DROPPED, "--source", "net.onnx", *QUICK)
    assert (done.code, done.error) == (3, "TL-DATA-MISSING")
    assert "column age" in done.err
    assert rows[7]["sysBP"] not in done.err
