"""Own data through the command line: a source of one table, a run on another, predictions in a fresh process."""

from __future__ import annotations

import bz2
import gzip
import lzma
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pytest
from commandline import tlplat

from tlplat import prediction
from tlplat.errors import DataError
from tlplat.prediction import predict, predict_stream
from tlplat.progress import Reporter

RUN = ("--strategy", "linear_probe,full_ft", "--seeds", "2", "--jobs", "1", "--threads", "1", "--offline", "--json")


@pytest.mark.slow
def test_own_loans_pretrain_run_predict(loans, write, tmp_path, monkeypatch):
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
    _in_parts_says_the_same(tmp_path)
    _compressed_says_the_same(tmp_path, monkeypatch)
    write("lacking.csv", [{"id": "x", "home": "own", "years": "3"}])
    lacking = tlplat("predict", "run", "lacking.csv", **place)
    assert (lacking.code, lacking.error) == (3, "TL-DATA-COLUMN")
    assert "income" in lacking.err


def _zstd(content: bytes) -> bytes:
    made = pa.BufferOutputStream()
    with pa.CompressedOutputStream(made, "zstd") as stream:
        stream.write(content)
    return made.getvalue().to_pybytes()


PACKERS = {
    "t.csv.gz": gzip.compress, "t.csv.bz2": bz2.compress, "t.csv.xz": lzma.compress, "t.csv.zst": _zstd,
    "misnamed.csv": gzip.compress,
}  # fmt: skip


def _in_parts_says_the_same(folder: Path) -> None:
    whole = list(predict(folder / "run", folder / "target.csv", Reporter()))
    with (folder / "target.csv").open("rb") as stream:
        told = list(predict_stream(folder / "run", stream, Path("target.csv"), Reporter(), rows=7))
    assert [row["id"] for row in told] == [row["id"] for row in whole]
    for a, b in zip(told, whole, strict=True):
        assert a["probabilities"] == pytest.approx(b["probabilities"], abs=1e-6)
    lines = (folder / "target.csv").read_text(encoding="utf-8").splitlines()
    nameless = "\n".join(line.partition(",")[2] for line in lines) + "\n"
    told = list(predict_stream(folder / "run", BytesIO(nameless.encode()), Path("in.csv"), Reporter(), rows=7))
    assert [row["id"] for row in told] == [f"row {i + 1}" for i in range(len(whole))]
    broken = "\n".join([*lines[:20], "x", *lines[20:]]) + "\n"
    with pytest.raises(DataError, match="another width") as caught:
        list(predict_stream(folder / "run", BytesIO(broken.encode()), Path("in.csv"), Reporter(), rows=7))
    assert "counted from record 15 of the file on" in str(caught.value)
    assert "tlplat-predict-" not in str(caught.value)


def _compressed_says_the_same(folder: Path, monkeypatch) -> None:
    """A part at a time, whatever the name says."""
    text = (folder / "target.csv").read_bytes()
    whole = list(predict(folder / "run", folder / "target.csv", Reporter()))
    monkeypatch.setattr(prediction, "PART_ROWS", 7)
    broken = b"\n".join([*text.splitlines()[:20], b"x", *text.splitlines()[20:]])
    for name, pack in PACKERS.items():
        (folder / f"{name}").write_bytes(pack(text))
        told = list(predict(folder / "run", folder / name, Reporter()))
        assert [row["id"] for row in told] == [row["id"] for row in whole]
        for a, b in zip(told, whole, strict=True):
            assert a["probabilities"] == pytest.approx(b["probabilities"], abs=1e-6)
        (folder / name).write_bytes(pack(broken))
        with pytest.raises(DataError, match="another width") as caught:
            list(predict(folder / "run", folder / name, Reporter()))
        assert "counted from record 15 of the file on" in str(caught.value)
        (folder / name).write_bytes(pack(text)[:-9])
        with pytest.raises(DataError, match=name):
            list(predict(folder / "run", folder / name, Reporter()))


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
