"""The demo's rows: windows of a real genome as examples, with a data card."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tlplat.assets import fetch_all
from tlplat.data.examples import Examples, TensorInputs
from tlplat.domain import DomainContext
from tlplat_genomics.assets import ORGANISMS
from tlplat_genomics.genome import Genome, load_genome
from tlplat_genomics.sequence import OTHER
from tlplat_genomics.split import Split
from tlplat_genomics.windows import LONGEST_GAP, WINDOWS, Windows

ABOUT = {
    "start-site": "windows of 100 bases on the coding strand with an ATG in the middle: annotated starts against "
    "other ATGs of the same replicon and strand, as many of each; GTG and TTG starts left out",
    "coding": "windows of 200 bases, strand at random: inside a coding sequence (any frame) against outside every "
    f"gene, as many of each; gaps between genes longer than {LONGEST_GAP} bases left out (perhaps unannotated genes)",
}


def demo_genome(name: str, context: DomainContext) -> Genome:
    """Sequence and annotation of an organism, fetched where needed, checked."""
    organism = ORGANISMS[name]
    fasta, gff = fetch_all(
        [organism.fasta, organism.gff],
        context.cache,
        offline=context.offline,
        report=context.report,
    )
    return load_genome(name, fasta, gff)


def examples(windows: Windows, split: Split, rows: np.ndarray) -> Examples:
    """The windows ``rows`` (bool or int64) as examples; groups are also what the bootstrap resamples."""
    index = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
    groups = torch.from_numpy(split.groups[index])
    return Examples(
        inputs=TensorInputs(torch.from_numpy(windows.tokens[index])),
        targets=torch.from_numpy(windows.labels[index]),
        ids=[windows.ids[i] for i in index.tolist()],
        groups=groups,
        units=groups,
    )


def data_card(genome: Genome, task: str, windows: Windows, split: Split) -> dict[str, Any]:
    """Where the rows come from, how many, how split, what was checked."""
    organism, annotation = ORGANISMS[genome.name], genome.annotation
    labels = WINDOWS[task][1]
    return {
        "organism": organism.title,
        "about": ABOUT[task],
        "license": organism.fasta.license,
        "citation": organism.fasta.citation,
        "files": {a.name: {"sha256": a.sha256, "origin": str(a.origin)} for a in (organism.fasta, organism.gff)},
        "genome": {
            "bases": genome.length,
            "replicons": len(genome.replicons),
            "gc": round(gc_content(*genome.replicons.values()), 4),
            "coding_sequences": len(annotation.cds),
            "pseudo_left_out": annotation.pseudo,
            "origin_spanning_left_out": annotation.origin,
        },
        "rows": {label: int((windows.labels == i).sum()) for i, label in enumerate(labels)},
        "pool_rows": int((~split.test).sum()),
        "test_rows": int(split.test.sum()),
        "split": split.report,
    }


def gc_content(*sequences: np.ndarray) -> float:
    """Share of G and C among the unambiguous bases."""
    strong = sum(int(((s == 1) | (s == 2)).sum()) for s in sequences)
    return strong / max(1, sum(int((s < OTHER).sum()) for s in sequences))
