"""Strict FASTA and FASTQ."""

from __future__ import annotations

import pytest
from tlplat_genomics.fasta import read_fasta, read_fastq

from tlplat.errors import DataError


def refused(reader, path) -> DataError:
    with pytest.raises(DataError) as caught:
        list(reader(path))
    return caught.value


def test_records_lower_case_and_blank_lines(write):
    path = write("a.fa", "\n>a first one\nACGT\nac gt\n\n>b\nNNRY\n")
    records = list(read_fasta(path))
    assert [(r.id, r.description, r.letters) for r in records] == [("a", "first one", b"ACGTacgt"), ("b", "", b"NNRY")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(write, end):
    path = write("a.fa", end.join([">a", "ACGT", "AC", ">b", "GG", ""]))
    assert [(r.id, r.letters) for r in read_fasta(path)] == [("a", b"ACGTAC"), ("b", b"GG")]


def test_bad_letters_name_record_and_position(write):
    error = refused(read_fasta, write("a.fa", ">a\nAC!@#9Z"))
    text = str(error)
    assert error.code == "TL-DATA-FASTA"
    assert error.exit_code == 3
    assert "(a)" in text
    assert "position 3" in text
    assert "position 7" in text
    assert "IUPAC" in text


@pytest.mark.parametrize("letters", ["MKVLAAGIVGLLLAQ", "MKVDSWHHKKRRSSWW"])
def test_protein(write, letters):
    error = refused(read_fasta, write("p.fa", f">p\n{letters}\n"))
    assert error.code == "TL-DATA-ALPHABET"
    assert "protein" in str(error)


def test_one_wrong_letter_in_dna_is_no_protein(write):
    error = refused(read_fasta, write("a.fa", ">a\n" + "ACGT" * 20 + "E\n"))
    assert error.code == "TL-DATA-FASTA"
    assert "position 81" in str(error)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("ACGT\n>a\nACGT\n", "line 1"),
        ("; comment\n>a\nACGT\n", "line 1"),
        (">a\n>b\nACGT\n", "record 1 (a)"),
        (">\nACGT\n", "record 1"),
        (">a\nAC\n>a\nGT\n", "twice"),
        (">a\nAC-GT\n", "position 3"),
        ("", "0 records"),
        ("\n\n", "0 records"),
    ],
)
def test_every_byte_is_accounted_for(write, text, names):
    error = refused(read_fasta, write("a.fa", text))
    assert error.code == "TL-DATA-FASTA"
    assert names in str(error)


def test_fastq(write):
    records = list(read_fastq(write("a.fq", "@r1 x\nACGT\n+\n!!5J\n@r2\nAC\n+r2\nII\n")))
    assert [(r.id, r.letters) for r in records] == [("r1", b"ACGT"), ("r2", b"AC")]


@pytest.mark.parametrize("text", ["@r1\nACGT\n+\nIII\n", "@r1\nACGT\n", "@r1\nACGT\n+\n", "@r1\nACGT\n+\nIIIII\n"])
def test_fastq_truncated(write, text):
    error = refused(read_fastq, write("a.fq", "@r0\nAC\n+\nII\n" + text))
    assert error.code == "TL-DATA-FASTQ"
    assert "record 2" in str(error)
    assert "quality" in str(error)


def test_fastq_phred64(write):
    error = refused(read_fastq, write("a.fq", "@r1\nACGT\n+\nefgh\n"))
    assert error.code == "TL-DATA-FASTQ"
    assert "Phred+64" in str(error)


def test_fastq_high_phred33_passes(write):
    assert len(list(read_fastq(write("hifi.fq", "@r1\nACGT\n+\n+~~~\n")))) == 1


@pytest.mark.parametrize("text", ["@r1\nAC.T\n+\nIIII\n", "@r1\nACGT\n+\nII\x7fI\n", "r1\nACGT\n+\nIIII\n", ""])
def test_fastq_refusals(write, text):
    assert refused(read_fastq, write("a.fq", text)).code == "TL-DATA-FASTQ"
