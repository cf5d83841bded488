"""tiara's features against its own definition, and its real weights on its own test sequences."""

from __future__ import annotations

from collections import defaultdict
from itertools import product

import numpy as np
import pytest
import torch
from tlplat_genomics.sequence import tokenize
from tlplat_genomics.tiara import LABELS, TiaraNet, kmer_counts, load_tiara

from tlplat.model import TransferModel


def oligofreq(sequence: str, k: int) -> np.ndarray:
    """tiara.src.bow.oligofreq, as published."""
    vector: dict[str, int] = defaultdict(int)
    for pos in range(len(sequence) - k + 1):
        vector[sequence[pos : pos + k]] += 1
    return np.array([vector["".join(kmer)] for kmer in product("ACGT", repeat=k)], dtype=np.float32)


@pytest.mark.parametrize("k", [2, 3, 6])
def test_counts_in_tiaras_order(dna, k):
    letters = [dna(200), dna(100) + "N" + dna(99)]
    batch = torch.from_numpy(np.stack([tokenize(s.encode()) for s in letters]))
    assert np.array_equal(kmer_counts(batch, k).numpy(), np.stack([oligofreq(s, k) for s in letters]))


def test_embedding_is_tiaras_tfidf(dna, rng):
    net = TiaraNet(k=3, hidden=4, width=4)
    idf = rng.random(64).astype(np.float32) + 1
    net.idf.copy_(torch.from_numpy(idf))
    letters = [dna(150) for _ in range(3)]
    weighted = np.stack([oligofreq(s, 3) for s in letters]) * idf
    wanted = weighted / np.linalg.norm(weighted, axis=1, keepdims=True)
    batch = torch.from_numpy(np.stack([tokenize(s.encode()) for s in letters]))
    assert np.allclose(net.embed(batch).numpy(), wanted, atol=1e-6)


@pytest.mark.network
@pytest.mark.slow
def test_real_weights_know_bacteria(real_context, registry):
    from tlplat_genomics.demo import demo_genome

    source = load_tiara(real_context)
    assert source.task is not None
    assert source.task.labels == LABELS
    backbone = source.build(registry)
    head = torch.nn.Linear(backbone.feature_dim, len(LABELS))
    assert source.head is not None
    head.load_state_dict(dict(source.head))
    model = TransferModel(backbone, head).eval()
    chromosome = next(iter(demo_genome("e-coli", real_context).replicons.values()))
    rows = torch.from_numpy(chromosome[: 40 * 5000].reshape(40, 5000))
    with torch.no_grad():
        chosen = model(rows).argmax(dim=1)
    assert (chosen == LABELS.index("bacteria")).float().mean() > 0.95
