"""Strict CSV, and which reader a file gets."""

from __future__ import annotations

import gzip

import pytest
from tlplat_genomics.readers import format_of, read_records
from tlplat_genomics.table import read_table

from tlplat.errors import DataError


def test_reads(write):
    assert list(read_table(write("a.csv", 'x,y\n1,"a,b"\n\n2,c\n'))) == [
        (2, {"x": "1", "y": "a,b"}),
        (4, {"x": "2", "y": "c"}),
    ]
    assert list(read_table(write("a.tsv", "x\ty\r1\t2\r"))) == [(2, {"x": "1", "y": "2"})]


def test_long_field(write):
    assert len(next(read_table(write("a.csv", "s\n" + "A" * 500_000 + "\n")))[1]["s"]) == 500_000


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('x,y\n1,"abc\n2,d\n3,e\n', "line"),
        ('x,y\n1,"abc\n2,d\n3,"e\n', "line"),
        ("x,y\n1\n", "line 2"),
        ("x,y\n1,2,3\n", "line 2"),
        ("x,x\n1,2\n", "repeated"),
        ("x,\n1,2\n", "empty"),
        ("x,y\n", "0 rows"),
        ("", "nothing"),
    ],
)
def test_refusals(write, text, names):
    with pytest.raises(DataError) as caught:
        list(read_table(write("a.csv", text)))
    assert caught.value.code == "TL-DATA-CSV"
    assert names in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("a.fna", "", "fasta"),
        ("a.fq.gz", "", "fastq"),
        ("a.GBK", "", "genbank"),
        ("a.csv", "", "table"),
        ("a.txt", "\n>a\nACGT\n", "fasta"),
        ("a", "@r\nA\n+\nI\n", "fastq"),
        ("b", "LOCUS x", "genbank"),
    ],
)
def test_format(write, name, text, kind):
    assert format_of(write(name, text)) == kind


def test_unknown_format(write):
    with pytest.raises(DataError, match="cannot tell the format"):
        format_of(write("a.dat", "hello"))
    assert [r.id for r in read_records(write("x.gz", gzip.compress(b">a\nACGT\n")))] == ["a"]
