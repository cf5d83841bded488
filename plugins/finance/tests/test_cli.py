"""Own data through the command line: a source of one table, a run on another, predictions in a fresh process."""

from __future__ import annotations

import pytest
from commandline import tlplat

RUN = ("--strategy", "linear_probe,full_ft", "--seeds", "2", "--jobs", "1", "--threads", "1", "--offline", "--json")


@pytest.mark.slow
def test_own_loans_pretrain_run_predict(loans, write, tmp_path):
    write("source.csv", loans(400, 1))
    write("target.csv", loans(200, 2))
    write("new.csv", [{k: row[k] for k in ("id", "income", "home", "years")} for row in loans(5, 3)])
    place = {"cwd": tmp_path, "cache": tmp_path / "cache"}
    own = ("--domain", "finance", "--target", "outcome", "--time", "date")
    made = tlplat("pretrain", *own, "--data", "source.csv", "-o", "src", "--json", "--offline", **place)
    assert made.code == 0, made.err
    outcome = tlplat("run", *own, "--data", "target.csv", "--source", "src", *RUN, "--out", "run", **place)
    assert outcome.code == 0, outcome.err
    report = outcome.document
    means = {c["strategy"]: c["mean"] for c in report["candidates"]}
    assert {"zero_shot", "linear_probe", "full_ft", "scratch", "logistic", "forest", "boosting", "majority"} <= set(
        means
    )
    assert means["zero_shot"] > 0.7
    assert report["task"]["labels"] == ["good", "bad"] or report["task"]["labels"] == ["bad", "good"]
    for detail in report["details"].values():
        assert any(table["title"] == "Credit decisions" for table in detail["tables"])
    assert report["data_card"]["split"]["by"].startswith("time")
    predicted = tlplat("predict", "run", "new.csv", **place)
    assert predicted.code == 0, predicted.err
    assert [line.split(",")[0] for line in predicted.out.splitlines()[1:]] == [f"b{i}" for i in range(5)]
    write("lacking.csv", [{"id": "x", "home": "own", "years": "3"}])
    lacking = tlplat("predict", "run", "lacking.csv", **place)
    assert (lacking.code, lacking.error) == (3, "TL-DATA-COLUMN")
    assert "income" in lacking.err


@pytest.mark.slow
def test_own_prices_pretrain_run_predict(prices, write, tmp_path):
    write("source.csv", prices(500, 1))
    write("target.csv", prices(500, 2))
    place = {"cwd": tmp_path, "cache": tmp_path / "cache"}
    own = ("--domain", "finance", "--task", "volatility", "--target", "close", "--time", "date")
    made = tlplat("pretrain", *own, "--data", "source.csv", "-o", "src", "--json", "--offline", **place)
    assert made.code == 0, made.err
    outcome = tlplat(
        *("run", *own, "--data", "target.csv", "--source", "src", "--labels", "60"), *RUN, "--out", "run", **place
    )
    assert outcome.code == 0, outcome.err
    report = outcome.document
    means = {c["strategy"]: c["mean"] for c in report["candidates"]}
    assert {"zero_shot", "linear_probe", "last_value", "har", "garch", "climatology", "scratch"} <= set(means)
    for detail in report["details"].values():
        assert {t["title"] for t in detail["tables"]} >= {"Accuracy of the median"}
        assert any("Value at risk" in t["title"] for t in detail["tables"])
    predicted = tlplat("predict", "run", "target.csv", **place)
    assert predicted.code == 0, predicted.err
    assert len(predicted.out.splitlines()) == 1 + 500 - 66
