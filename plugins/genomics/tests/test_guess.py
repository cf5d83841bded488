"""Which columns of the user's table hold sequences and labels."""

from __future__ import annotations

from tlplat_genomics.domain import GenomicsDomain


def write(path, header, sequence="ACGTNACGTRAC"):
    rows = "".join(f"g{i},{sequence[i % 3 :]},{'ab'[i % 2]}\n" for i in range(20))
    path.write_text(f"{header}\n{rows}", encoding="utf-8")
    return path


def test_guess(tmp_path):
    found = {"options.sequence": "dna", "data.target": "kind"}
    assert GenomicsDomain.guess(write(tmp_path / "a.csv", "gene,dna,kind"), {}) == found
    assert GenomicsDomain.guess(write(tmp_path / "b.csv", "gene,sequence,label"), {}) == {}
    assert GenomicsDomain.guess(write(tmp_path / "c.csv", "gene,dna,kind", "ACG"), {"data.target": "kind"}) == {}
    assert GenomicsDomain.guess(write(tmp_path / "d.csv", "gene,dna,kind"), {"options.sequence": "dna"}) == {
        "data.target": "kind"
    }


def test_titles_are_no_table(tmp_path):
    path = tmp_path / "a.fasta"
    path.write_text(">a label=x\nACGTACGTACGT\n", encoding="utf-8")
    assert GenomicsDomain.guess(path, {}) == {}
