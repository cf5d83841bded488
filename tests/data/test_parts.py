"""Files in parts: every record once, in order, whole, under the header; whatever stands inside quotes."""

from __future__ import annotations

import csv
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlplat.data.parts import parts

CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=6)


@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=20), st.integers(1, 7))
def test_records_of_a_table_stay_whole(rows, size) -> None:
    made = io.StringIO()
    csv.writer(made, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([("a", "b"), *rows])
    found = []
    for first, part in parts(io.BytesIO(made.getvalue().encode()), "csv", size):
        assert first == len(found)
        header, *own = csv.reader(io.StringIO(part.decode(), newline=""), strict=True)
        assert header == ["a", "b"]
        assert len(own) <= size
        found += map(tuple, own)
    assert found == rows


def test_blank_lines_count_nothing() -> None:
    got = list(parts(io.BytesIO(b"a\n1\n\n2\n\n\n3\n4"), "csv", 2))
    assert got == [(0, b"a\n1\n\n2\n"), (2, b"a\n\n\n3\n4")]


def test_an_empty_file_and_a_header_alone_are_one_part() -> None:
    assert list(parts(io.BytesIO(b""), "csv", 2)) == [(0, b"")]
    assert list(parts(io.BytesIO(b"a,b\n"), "csv", 2)) == [(0, b"a,b\n")]
    assert list(parts(io.BytesIO(b""), "jsonl", 2)) == [(0, b"")]
    assert list(parts(io.BytesIO(b""), "fasta", 2)) == [(0, b"")]


def test_an_open_quote_ends_with_the_file() -> None:
    assert list(parts(io.BytesIO(b'a\n"1\n2\n3\n'), "csv", 1)) == [(0, b'a\n"1\n2\n3\n')]


def test_lines_and_sequences() -> None:
    assert list(parts(io.BytesIO(b'{"a":1}\n{"a":2}\n{"a":3}'), "jsonl", 2)) == [
        (0, b'{"a":1}\n{"a":2}\n'),
        (2, b'{"a":3}'),
    ]
    fasta = b">a\nAC\nGT\n>b\nTT\n>c\nA\n"
    assert list(parts(io.BytesIO(fasta), "fasta", 2)) == [(0, b">a\nAC\nGT\n>b\nTT\n"), (2, b">c\nA\n")]


@pytest.mark.parametrize("count", [0, 1, 5])
def test_parquet(count) -> None:
    whole = io.BytesIO()
    pq.write_table(pa.table({"x": pa.array(range(count), pa.int64())}), whole)
    whole.seek(0)
    found = []
    for first, part in parts(whole, "parquet", 2):
        assert first == len(found)
        found += pq.read_table(io.BytesIO(part))["x"].to_pylist()
    assert found == list(range(count))
