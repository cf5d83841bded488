"""GFF3: coordinates, strands, pseudogenes, the origin, other sequences."""

from __future__ import annotations

import pytest
from tlplat_genomics.annotation import read_gff

from tlplat.errors import DataError


def row(begin, end, strand="+", kind="CDS", seqid="chr", attributes="ID=x") -> str:
    return f"{seqid}\tt\t{kind}\t{begin}\t{end}\t.\t{strand}\t0\t{attributes}\n"


def test_strands_and_start_codons(write):
    found = read_gff(write("a.gff", row(11, 40, attributes="ID=a") + row(51, 80, "-", attributes="ID=b")), {"chr": 100})
    assert [(c.id, c.begin, c.end, c.start_codon) for c in found.cds] == [("a", 10, 40, 10), ("b", 50, 80, 77)]
    assert found.genic["chr"] == [(10, 40), (50, 80)]


def test_parts_of_one_id_are_one_gene(write):
    found = read_gff(write("a.gff", row(61, 90) + row(11, 40)), {"chr": 100})
    assert [c.parts for c in found.cds] == [((10, 40), (60, 90))]


def test_pseudo_partial_and_origin(write):
    text = (
        row(1, 30, attributes="ID=ok;partial=true")
        + row(31, 60, attributes="ID=p;pseudo=true")
        + row(91, 120, attributes="ID=o")
        + row(71, 100, "-", attributes="ID=two")
        + row(1, 10, "-", attributes="ID=two")
    )
    found = read_gff(write("a.gff", text), {"chr": 100})
    assert [(c.id, c.partial) for c in found.cds] == [("ok", True)]
    assert (found.pseudo, found.origin) == (1, 2)
    assert found.left_out_starts[("chr", "+")] == {30, 90}
    assert (0, 20) in found.genic["chr"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (row(1, 30, seqid="plasmid"), "plasmid"),
        (row(1, 30) + "chr\tt\tCDS\t1\t30\n", "line 2"),
        (row(0, 30), "line 1"),
        (row(30, 10), "30..10"),
        (row("a", 10), "a..10"),
        (row(131, 160), "beyond"),
        (row(1, 30, "."), "strand"),
        (row(1, 30, attributes='gene_id "x"'), "GTF"),
        (row(1, 30, kind="gene"), "no coding sequence"),
        ("", "no coding sequence"),
    ],
)
def test_refusals(write, text, names):
    with pytest.raises(DataError) as caught:
        read_gff(write("a.gff", text), {"chr": 100})
    assert caught.value.code == "TL-DATA-GFF"
    assert names in str(caught.value)
