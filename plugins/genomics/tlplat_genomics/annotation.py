"""GFF3 annotation: coding sequences and the extent of genes, checked against the sequences they lie on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NoReturn
from urllib.parse import unquote

from tlplat.errors import DataError
from tlplat_genomics.strict import DEFAULT_LIMITS, Limits, open_text

CODE = "TL-DATA-GFF"
GENIC = frozenset(
    {"gene", "pseudogene", "CDS", "exon", "mRNA", "tRNA", "rRNA", "tmRNA", "ncRNA", "SRP_RNA", "RNase_P_RNA"}
    | {"antisense_RNA", "transcript", "mobile_genetic_element", "riboswitch"}
)
"""Feature types that make a stretch genic; what none of them covers is intergenic."""


@dataclass(frozen=True)
class Cds:
    """A coding sequence: ``parts`` are half-open, 0-based intervals in ascending order on the forward strand."""

    id: str
    seqid: str
    strand: Literal["+", "-"]
    parts: tuple[tuple[int, int], ...]
    partial: bool

    @property
    def begin(self) -> int:
        return self.parts[0][0]

    @property
    def end(self) -> int:
        return self.parts[-1][1]

    @property
    def start_codon(self) -> int:
        """Forward coordinate x such that the start codon is [x, x + 3), on either strand."""
        return self.begin if self.strand == "+" else self.end - 3


@dataclass
class Annotation:
    """What a GFF3 file says: coding sequences, genic intervals by sequence, and what was left out."""

    cds: list[Cds] = field(default_factory=list)
    genic: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    pseudo: int = 0
    """Coding sequences marked as pseudo, left out."""
    origin: int = 0
    """Coding sequences that span the origin of a circular replicon, left out."""
    left_out_starts: dict[tuple[str, str], set[int]] = field(default_factory=dict)
    """Start codons of those, as in :attr:`Cds.start_codon`, by (sequence, strand): they are no decoys either."""


@dataclass(frozen=True)
class _Row:
    where: str
    seqid: str
    type: str
    begin: int
    end: int
    strand: str
    attributes: Mapping[str, str]


def read_gff(path: Path, lengths: Mapping[str, int], limits: Limits = DEFAULT_LIMITS) -> Annotation:
    """The annotation of the sequences named in ``lengths`` (id -> bases).

    Raises:
        DataError TL-DATA-GFF: a line that is not nine columns, coordinates out of range, a sequence that is not in
            the FASTA file, no coding sequence at all.
    """
    annotation = Annotation(genic={seqid: [] for seqid in lengths})
    pieces: dict[tuple[str, str, str], list[_Row]] = {}
    for row in _rows(path, limits):
        if row.seqid not in lengths:
            _refuse("the sequence is not in the FASTA file", row.where, row.seqid, ", ".join(list(lengths)[:3]))
        if row.type not in GENIC:
            continue
        length = lengths[row.seqid]
        spans_origin = row.end > length
        if spans_origin and row.begin >= length:
            _refuse("the feature lies beyond the sequence", row.where, f"{row.begin + 1}..{row.end}", f"1..{length}")
        annotation.genic[row.seqid].append((row.begin, min(row.end, length)))
        if spans_origin:
            annotation.genic[row.seqid].append((0, row.end - length))
        if row.type == "CDS":
            if row.strand not in "+-":
                _refuse("a CDS needs a strand", row.where, row.strand, "+ or -")
            key = (row.seqid, row.strand, row.attributes.get("ID") or row.where)
            pieces.setdefault(key, []).append(row)
    for (seqid, strand, identifier), rows in pieces.items():
        _add_cds(annotation, seqid, strand, identifier, rows, lengths[seqid])
    if not annotation.cds:
        _refuse("no coding sequence (CDS) in the file", str(path))
    return annotation


def _add_cds(annotation: Annotation, seqid: str, strand: str, identifier: str, rows: list[_Row], length: int) -> None:
    parts = tuple(sorted((row.begin, row.end) for row in rows))
    kept: Literal["+", "-"] = "+" if strand == "+" else "-"
    cds = Cds(identifier, seqid, kept, parts, any("partial" in row.attributes for row in rows))
    if any("pseudo" in row.attributes and row.attributes["pseudo"] != "false" for row in rows):
        annotation.pseudo += 1
    elif parts[-1][1] > length or (len(parts) > 1 and parts[0][0] == 0 and parts[-1][1] == length):
        annotation.origin += 1
    else:
        annotation.cds.append(cds)
        return
    annotation.left_out_starts.setdefault((seqid, strand), set()).add(cds.start_codon)


def _rows(path: Path, limits: Limits) -> Iterator[_Row]:
    with open_text(path, limits) as handle:
        for number, line in enumerate(handle, start=1):
            where = f"{path}, line {number}"
            if line.startswith("##FASTA"):
                return
            if not line.strip() or line.startswith("#"):
                continue
            columns = line.rstrip("\n").split("\t")
            if len(columns) != 9:
                _refuse("not a GFF3 line", where, f"{len(columns)} columns", "9 columns parted by tabs")
            seqid, _, kind, begin, end, _, strand, _, attributes = columns
            if not (begin.isdigit() and end.isdigit() and 1 <= int(begin) <= int(end)):
                _refuse("start and end are not 1-based coordinates", where, f"{begin}..{end}", "1 <= start <= end")
            yield _Row(where, unquote(seqid), kind, int(begin) - 1, int(end), strand, _attributes(attributes, where))


def _attributes(text: str, where: str) -> dict[str, str]:
    found = {}
    for item in text.strip().strip(";").split(";"):
        key, equals, value = item.strip().partition("=")
        if key and key != "." and not equals:
            _refuse("attributes are not key=value pairs", where, item[:40], "GFF3, not GTF or GFF2")
        found[key] = value
    return found


def _refuse(message: str, where: str, found: str | None = None, expected: str | None = None) -> NoReturn:
    raise DataError(
        CODE,
        message,
        where=where,
        found=found,
        expected=expected,
        fix="give the GFF3 file that belongs to this FASTA file",
    )
