"""Strict GenBank."""

from __future__ import annotations

import pytest
from tlplat_genomics.genbank import read_genbank

from tlplat.errors import DataError


def record(name: str = "X1", announced: int = 12, bases: str = "acgtacgtacgt", end: str = "//\n") -> str:
    return (
        f"LOCUS       {name:<16} {announced:>11} bp    DNA     linear   BCT 01-JAN-2000\n"
        f"DEFINITION  a test.\nACCESSION   {name}\nVERSION     {name}.1\nKEYWORDS    .\nSOURCE      test\n"
        f"FEATURES             Location/Qualifiers\n     source          1..{announced}\n"
        f"ORIGIN\n        1 {bases}\n{end}"
    )


def refused(path) -> DataError:
    with pytest.raises(DataError) as caught:
        list(read_genbank(path))
    assert caught.value.code == "TL-DATA-GENBANK"
    return caught.value


def test_reads_records(write):
    found = list(read_genbank(write("a.gb", record() + "\n" + record("Y2"))))
    assert [(r.id, r.letters) for r in found] == [("X1.1", b"ACGTACGTACGT"), ("Y2.1", b"ACGTACGTACGT")]


def test_garbage(write):
    assert "0 records" in str(refused(write("a.gb", "hello")))
    assert "0 records" in str(refused(write("b.gb", "")))


def test_truncated_names_locus_and_lengths(write):
    text = str(refused(write("a.gb", record(announced=10, bases="acgt", end=""))))
    assert "LOCUS" in text
    assert "10" in text
    assert "4" in text


def test_wrong_length(write):
    text = str(refused(write("a.gb", record(announced=10, bases="acgt"))))
    assert "LOCUS says 10 bases, 4 are there" in text


def test_trailing_text(write):
    assert "1 record" in str(refused(write("a.gb", record() + "leftover\n")))


def test_bad_letters(write):
    assert "position 3" in str(refused(write("a.gb", record(announced=8, bases="acEtacgt"))))


def test_without_sequence(write):
    text = record().split("ORIGIN")[0] + "CONTIG      join(A1.1:1..12)\n//\n"
    assert "0 are there" in str(refused(write("a.gb", text)))


def test_biopython_warnings_are_errors(write):
    broken = record().replace("     source          1..12\n", "     source          1..nonsense..\n")
    refused(write("a.gb", broken))
