"""Bad texts as a user gives them: through the command line, with exit code, error code and the words that help."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commandline import tlplat

GOOD = {"text": "a dull film", "label": "neg"}
CSV = b"text,label\na dull film,neg\n"


def run(data: Path, encoder: Path, *more: str):
    return tlplat(
        *("run", "--domain", "nlp", "--data", data.name, "--source", str(encoder), "--offline"),
        *("--strategy", "linear_probe", "--seeds", "1", "--set", "train.steps=1", "--jobs", "1", "--threads", "1"),
        *("--out", "run", "--json", *more),
        cache=data.parent / "cache",
        cwd=data.parent,
    )


def parquet(flip: bool = False, **columns: list[object]) -> bytes:
    """A file of these columns, its last four bytes overwritten where asked."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data[:-4] + b"PAR2" if flip else data


def lines(*rows: object) -> bytes:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode()


def unclosed() -> bytes:
    """A quote that would swallow all that follows it, 30 MB."""
    return CSV + b'"never closed,neg\n' + b"words and words,neg\n" * 1_500_000


CASES = {
    "nlp-csv-nul": ("a.csv", lambda: CSV + b"a\0b,neg\n", "TL-DATA-CSV", ["NUL", "row 3"]),
    "nlp-csv-unclosed-quote": ("a.csv", unclosed, "TL-DATA-CSV", ["quote", "row", "line 3"]),
    "nlp-jsonl-bad-line": ("a.jsonl", lambda: lines(*[GOOD] * 16, '{"text":'), "TL-DATA-JSONL", ["line 17"]),
    "nlp-empty-text": (
        "a.jsonl",
        lambda: lines(GOOD, {"text": "", "label": "pos"}, {"text": " \t", "label": "pos"}),
        "TL-DATA-EMPTY-TEXT",
        ["row 2", "row 3", "empty", "2 of 3"],
    ),
    "nlp-lone-surrogate": (
        "a.jsonl",
        lambda: lines(GOOD, '{"text": "a \\ud800 b", "label": "pos"}'),
        "TL-DATA-ENCODING",
        ["surrogate", "line 2"],
    ),
    "nlp-parquet-corrupt": (
        "a.parquet",
        lambda: parquet(flip=True, text=["a"], label=["x"]),
        "TL-DATA-PARQUET",
        ["PAR1"],
    ),
    "nlp-parquet-type": ("a.parquet", lambda: parquet(text=[1.5, 2.5], label=["x", "y"]), "TL-DATA-PARQUET", ["text"]),
    "nlp-parquet-missing-col": (
        "a.parquet",
        lambda: parquet(body=["a"], label=["x"]),
        "TL-DATA-COLUMN",
        ["text", "columns found: body, label"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_refused_before_any_source(case, write, encoder_folder):
    name, content, code, words = CASES[case]
    data = write(name, content())
    before = data.stat()
    outcome = run(data, encoder_folder)
    assert (outcome.code, outcome.document["error"]["code"]) == (3, code), outcome.err
    assert [word for word in words if word not in outcome.err] == []
    assert sorted(p.name for p in data.parent.iterdir() if p.name != "cache") == [name]
    assert (data.stat().st_size, data.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_a_document_of_10_mb_is_cut_and_counted(write, encoder_folder, reviews):
    """nlp-too-long."""
    rows = reviews(60)
    rows[3] = (rows[3][0] + " story" * 1_700_000, rows[3][1])
    data = write("a.jsonl", lines(*({"text": text, "label": label} for text, label in rows)))
    outcome = run(data, encoder_folder)
    assert outcome.code == 0, outcome.err
    assert "1 of 60 texts are truncated" in outcome.err
    assert "tokens" in outcome.err
    assert outcome.document["data_card"]["tokens"]["truncated_rows"] == 1
    assert outcome.document["data_card"]["rows"] == 60


def test_empty_texts_can_be_dropped_and_are_counted(write, encoder_folder, reviews):
    """nlp-empty-text, the other policy."""
    rows = [{"text": text, "label": label} for text, label in [*reviews(60), ("", "pos"), (" ", "neg")]]
    outcome = run(write("a.jsonl", lines(*rows)), encoder_folder, "--empty-text", "drop")
    assert outcome.code == 0, outcome.err
    assert "2 of 62 rows of a.jsonl have an empty text and are dropped" in outcome.err
    assert outcome.document["data_card"]["rows"] == 60
