"""The classical baselines: right features, right solution, deterministic, strong where they should be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from tlplat_genomics.baselines import KmerLogistic, OneHotLogistic, OpenFrameLogistic
from tlplat_genomics.features import frame_openness, kmer_frequencies, one_hot
from tlplat_genomics.sequence import reverse_complement, tokenize
from tlplat_genomics.windows import coding_windows, start_site_windows

from tlplat.data.examples import Examples, TensorInputs
from tlplat.tasks.classification import Classification

TASK = Classification(labels=("a", "b"))


def rows(tokens: np.ndarray, labels: np.ndarray) -> Examples:
    ids = [str(i) for i in range(len(labels))]
    return Examples(TensorInputs(torch.from_numpy(tokens)), torch.from_numpy(labels), ids)


def test_features(rng):
    tokens = rng.integers(0, 4, (5, 60)).astype(np.uint8)
    both = kmer_frequencies(torch.from_numpy(tokens), 3, True)
    assert torch.allclose(both, kmer_frequencies(torch.from_numpy(reverse_complement(tokens)), 3, True))
    assert torch.allclose(both.sum(dim=1), torch.ones(5))
    hot = one_hot(torch.from_numpy(np.where(tokens == 3, 4, tokens).astype(np.uint8)))
    assert hot.shape == (5, 240)
    assert hot.sum() == (tokens < 3).sum()


def test_frame_openness():
    letters = b"ATGAAATAGAAACCCAAACCCAAACCC"
    found = frame_openness(torch.from_numpy(tokenize(letters)[None]))[0]
    assert found[0] == 0
    assert found[2] >= 8
    closed = frame_openness(torch.from_numpy(tokenize(b"TAATAATAATTAATTAATTAGCTAGCTAG" * 3)[None]))[0]
    assert closed[0] > 0


@pytest.mark.parametrize("baseline", [KmerLogistic(False), OneHotLogistic(False)])
def test_same_solution_as_scikit_learn(baseline, rng, monkeypatch):
    tokens = rng.integers(0, 4, (80, 50)).astype(np.uint8)
    labels = (tokens[:, 10] > 1).astype(np.int64)
    monkeypatch.setattr("tlplat_genomics.baselines.WEIGHT_DECAYS", (0.1,))
    train, test = rows(tokens[:50], labels[:50]), rows(tokens[50:], labels[50:])
    found = baseline.fit_predict(train, [test.inputs], TASK, 0)[0][:, 1]
    x, z = (baseline.features(r.inputs.tensor).double().numpy() for r in (train, test))
    mean, scale = x.mean(axis=0), np.where(x.std(axis=0) > 1e-9, x.std(axis=0), np.inf)
    # Two softmax columns under one penalty are one column under half of it.
    model = LogisticRegression(C=2 / (50 * 0.1), tol=1e-8, max_iter=10_000).fit((x - mean) / scale, labels[:50])
    assert np.allclose(found, model.predict_proba((z - mean) / scale)[:, 1], atol=2e-3)


def test_deterministic_and_seedless(genome):
    windows = start_site_windows(genome, 0)
    train = rows(windows.tokens, windows.labels)
    for baseline in (KmerLogistic(False), OneHotLogistic(False), OpenFrameLogistic(True)):
        a, b = (baseline.fit_predict(train, [train.inputs], TASK, seed)[0] for seed in (0, 1))
        assert np.array_equal(a, b)
        assert np.allclose(a.sum(axis=1), 1)
        assert baseline.inference_cost() > 0


def test_open_frames_find_genes(genome_text, write):
    from tlplat_genomics.genome import load_genome

    fasta, gff = genome_text(200)
    windows = coding_windows(load_genome("g", write("g.fna", fasta), write("g.gff", gff)), 0)
    train, test = rows(windows.tokens[::2], windows.labels[::2]), rows(windows.tokens[1::2], windows.labels[1::2])
    scores = {
        b.name: roc_auc_score(test.targets, b.fit_predict(train, [test.inputs], TASK, 0)[0][:, 1])
        for b in (KmerLogistic(True), OpenFrameLogistic(True))
    }
    assert scores["orf_logistic"] > 0.8
    assert scores["orf_logistic"] > scores["kmer_logistic"] + 0.1


@pytest.mark.parametrize("count", [4, 12])
def test_few_rows(rng, count):
    tokens = rng.integers(0, 4, (count, 50)).astype(np.uint8)
    train = rows(tokens, np.arange(count) % 2)
    for baseline in (KmerLogistic(True), OneHotLogistic(True)):
        assert np.isfinite(baseline.fit_predict(train, [train.inputs], TASK, 0)[0]).all()


def test_three_classes(rng):
    tokens = rng.integers(0, 4, (60, 50)).astype(np.uint8)
    train = rows(tokens, np.minimum(tokens[:, 5], 2).astype(np.int64))
    task = Classification(labels=("x", "y", "z"))
    found = OneHotLogistic(False).fit_predict(train, [train.inputs], task, 0)[0]
    assert found.shape == (60, 3)
    assert (found.argmax(axis=1) == train.targets.numpy()).mean() > 0.9
