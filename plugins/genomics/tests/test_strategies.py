"""Structural and parameter strategies on every backbone of the domain: trained, saved, loaded, the same predictions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tlplat_genomics.backbone import StrandedCnn
from tlplat_genomics.codon import CodonFrames
from tlplat_genomics.preprocess import Preprocess
from tlplat_genomics.tiara import TiaraNet

from tlplat import plugins
from tlplat.cache import TensorCache
from tlplat.data.examples import Examples, TensorInputs
from tlplat.features import FeatureStore
from tlplat.model import BackboneInfo, SourceModel
from tlplat.modelio import load_model, save_model
from tlplat.plan import Ref
from tlplat.tasks.classification import Classification
from tlplat.train import FitSettings
from tlplat.trial import Bench, Rows, StrategyCandidate

STRUCTURAL = [
    "adapter",
    "dora",
    "ia3",
    "lora",
    "movement_prune",
    "net2deeper",
    "net2wider",
    "prune_ft",
    "side_tune",
    "truncate",
]
PARAMETER = ["bitfit", "bss", "delta", "discriminative", "greedy_soup", "surgical", "wise_ft"]
BACKBONES = {
    "cnn": (StrandedCnn, {"channels": 8, "bins": 5, "width": 12}),
    "cnn-both-strands": (StrandedCnn, {"channels": 8, "bins": 1, "width": 12, "rc": True}),
    "codon": (CodonFrames, {"hidden": 12, "width": 8}),
    "tiara": (TiaraNet, {"k": 3, "hidden": 16, "width": 8}),
}
TASK = Classification(labels=["at", "gc"])


def rows(count: int, seed: int) -> Examples:
    """Windows of 60 bases, rich in A and T or in G and C, a few ambiguous."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, count)
    rich = rng.random((count, 60)) < 0.65
    tokens = np.where(rich == (y == 1)[:, None], rng.integers(1, 3, (count, 60)), 3 * rng.integers(0, 2, (count, 60)))
    tokens[:, :3] = 4
    ids = [f"{seed}-{i}" for i in range(count)]
    return Examples(TensorInputs(torch.from_numpy(tokens.astype(np.uint8))), torch.from_numpy(y.astype(np.int64)), ids)


@pytest.fixture
def bench(registry, tmp_path) -> Bench:
    plugins.load("strategies", [*STRUCTURAL, *PARAMETER, "full_ft", "norm_tune"], registry)
    store = FeatureStore(TensorCache(tmp_path / "cache", lambda sentence: None), registry)
    return Bench(TASK, registry, store, FitSettings(checkpoint_seconds=None), lambda n: 40)


@pytest.fixture(params=BACKBONES)
def source(request, bench) -> SourceModel:
    """The backbone, trained on other rows of the same kind."""
    factory, args = BACKBONES[request.param]
    torch.manual_seed(0)
    backbone, base = factory(**args), Ref(factory.name, args)
    fresh = SourceModel(request.param, base, backbone.state_dict(), None, None, Preprocess(60).to_json(), {})
    candidate = StrategyCandidate(bench.registry.get("strategies", "full_ft")(learning_rate=1e-2), fresh, False)
    model = candidate.run(bench, Rows.all(rows(200, 3)), [], 0).model
    state, head = model.backbone.state_dict(), model.head.state_dict()
    return SourceModel(request.param, base, state, head, TASK.info(), fresh.preprocess, {})


@pytest.mark.parametrize("name", STRUCTURAL + PARAMETER)
def test_trains_and_reloads(bench, source, name, tmp_path):
    labelled, test = rows(48, 1), rows(100, 2)
    strategy = bench.registry.get("strategies", name)()
    backbone = bench.store.backbone(source)
    assert strategy.unfit(TASK.info(), BackboneInfo.of(backbone, True, Rows.all(labelled).example())) is None
    candidate = StrategyCandidate(strategy, source, True)
    outcome = candidate.run(bench, Rows.all(labelled), [Rows.all(test)], 0)
    assert TASK.metrics[0](test.targets.numpy(), outcome.predictions[0])[0] > 0.8
    save_model(tmp_path / "model", outcome.model, TASK.info(), source.preprocess, bench.registry, {})
    again = load_model(tmp_path / "model", bench.registry)
    with torch.no_grad():
        decoded = again.task.decode(again.model(test.inputs.take(torch.arange(100))))
    np.testing.assert_allclose(decoded, outcome.predictions[0], atol=1e-6)


def test_norm_tune_says_that_these_backbones_have_no_normalisation(bench, source):
    strategy = bench.registry.get("strategies", "norm_tune")()
    reason = strategy.unfit(TASK.info(), BackboneInfo.of(bench.store.backbone(source), True))
    assert "no normalisation layer" in reason
