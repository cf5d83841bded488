"""The kit's suite for domains, over a FASTA file and a source in a folder: no network, no minute of pretraining."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tlplat_genomics.backbone import StrandedCnn
from tlplat_genomics.domain import GenomicsDomain
from tlplat_genomics.preprocess import Preprocess

from tlplat.domain import DataOptions
from tlplat.model import SourceModel
from tlplat.modelio import save_source
from tlplat.plan import Ref
from tlplat.tasks.classification import Classification
from tlplat.testing import DomainSuite

LABELS = ["at", "gc"]


def fasta(count: int, seed: int) -> str:
    """Sequences of 60 bases, rich in A and T or in G and C, with their label in the title."""
    rng = np.random.default_rng(seed)
    text = ""
    for i in range(count):
        shares = [0.15, 0.35, 0.35, 0.15] if i % 2 else [0.35, 0.15, 0.15, 0.35]
        text += f">s{i} label={LABELS[i % 2]}\n{''.join(rng.choice(list('ACGT'), 60, p=shares))}\n"
    return text


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """train.fasta, and a source model in source/."""
    made = tmp_path_factory.mktemp("genomics")
    (made / "train.fasta").write_text(fasta(160, 1), encoding="utf-8")
    torch.manual_seed(0)
    backbone, task = StrandedCnn(channels=8, bins=5, width=12), Classification(labels=LABELS)
    head = torch.nn.Linear(backbone.feature_dim, 2).state_dict()
    base, provenance = Ref(StrandedCnn.name, backbone.config()), {"license": "CC0-1.0", "citation": "synthetic"}
    source = SourceModel("kept", base, backbone.state_dict(), head, task.info(), Preprocess(60).to_json(), provenance)
    save_source(made / "source", source)
    return made


class TestGenomics(DomainSuite):
    @pytest.fixture
    def domain(self) -> GenomicsDomain:
        return GenomicsDomain()

    @pytest.fixture
    def data(self, folder) -> DataOptions:
        return DataOptions(path=folder / "train.fasta", labels_from="header")

    @pytest.fixture
    def source_name(self, folder) -> str:
        return str(folder / "source")

    @pytest.fixture
    def sample(self, folder) -> Path:
        return folder / "train.fasta"

    @pytest.fixture
    def cache(self, tlplat_kit_cache) -> Path:
        return tlplat_kit_cache
