"""Text and JSON on stdout; progress on stderr."""

from __future__ import annotations

import json
import os
import sys

import pyarrow.parquet as pq
import pytest

from tlplat.cli.output import emit_json, reserved_stdout, write_table
from tlplat.cli.predict import parquet_chunks, text_chunks
from tlplat.cli.progress import TerminalReporter


def test_json_is_ascii_and_has_no_nan(capsys):
    emit_json({"name": "\xe9\udcff", "score": float("nan"), "list": (1, float("inf"))})
    text = capsys.readouterr().out
    assert text.isascii()
    assert json.loads(text) == {"schema_version": 1, "name": "\xe9\udcff", "score": None, "list": [1, None]}


def test_tables_are_aligned_and_need_no_padding(capsys):
    write_table(("name", "long_name"), [{"name": "abcdef", "long_name": None}, {"name": "a", "long_name": 3}])
    assert capsys.readouterr().out == "NAME    LONG NAME\nabcdef\na       3\n"


def test_a_reserved_stdout_takes_nothing_else(capfd):
    with reserved_stdout() as stream:
        print("noise")
        os.write(1, b"raw noise")
        stream.write("row\n")
    out, err = capfd.readouterr()
    assert out == "row\n"
    assert "noise" in err
    assert "raw noise" in err


def test_csv_quotes_and_joins():
    rows = [{"id": 'a,"b"', "prediction": ["x", "y"], "probabilities": {"x": 0.9, "y": 0.8}}]
    assert "".join(text_chunks(iter(rows), "csv")) == 'id,prediction,p(x),p(y)\r\n"a,""b""",x;y,0.9,0.8\r\n'


def test_many_rows_come_in_pieces_and_in_order(tmp_path):
    def rows():
        yield from ({"id": f"row {i}", "prediction": "a", "probabilities": {"a": i / 2000}} for i in range(2000))

    for form in ("csv", "jsonl"):
        pieces = list(text_chunks(rows(), form))
        assert len(pieces) == 4
        assert len("".join(pieces).splitlines()) == 2000 + (form == "csv")
    (tmp_path / "x.parquet").write_bytes(b"".join(parquet_chunks(rows())))
    table = pq.read_table(tmp_path / "x.parquet")
    assert table.column_names == ["id", "prediction", "p(a)"]
    assert table["p(a)"].to_pylist() == [i / 2000 for i in range(2000)]


def test_progress_is_quiet_where_stderr_is_no_terminal(capsys):
    report = TerminalReporter()
    with report.task("work", total=3) as advance:
        advance(1)
        report.say("a notice")
    TerminalReporter(quiet=True).say("a notice")
    TerminalReporter(quiet=True).say("warning: low disk")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "a notice\nwarning: low disk\n")


@pytest.mark.parametrize("quiet", [False, True])
def test_progress_shows_nested_bars_on_a_terminal(monkeypatch, capsys, quiet):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    report = TerminalReporter(quiet)
    with report.task("outer [work]", total=2) as outer, report.task("inner") as inner:
        outer(1)
        inner(5)
        report.say("said in between")
    assert report.bars is None
    out, err = capsys.readouterr()
    assert out == ""
    assert ("outer [work]" in err) is not quiet
    assert ("said in between" in err) is not quiet


def test_text_that_a_spreadsheet_would_run_is_made_inert():
    rows = [{"id": "=cmd|'/c calc'!A0", "prediction": "-5", "low": -1.5, "note": "@x"}]
    assert "".join(text_chunks(iter(rows), "csv")) == ("id,prediction,low,note\r\n'=cmd|'/c calc'!A0,-5,-1.5,'@x\r\n")
