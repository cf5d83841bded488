"""Strategies on every kind of backbone of the domain: trained, saved, loaded, the same predictions."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from tlplat_vision.cnn import SmallCnn
from tlplat_vision.efficientnet import EfficientNetLite
from tlplat_vision.inputs import ImageInputs
from tlplat_vision.preprocess import Preprocess
from tlplat_vision.transformer import TransformersMaps, TransformersTokens

from tlplat import plugins
from tlplat.cache import TensorCache
from tlplat.data.examples import Examples
from tlplat.features import FeatureStore
from tlplat.model import BackboneInfo, SourceModel
from tlplat.modelio import load_model, save_model
from tlplat.plan import Ref
from tlplat.tasks.classification import Classification
from tlplat.train import FitSettings
from tlplat.trial import Bench, Rows, StrategyCandidate

STRATEGIES = ["full_ft", "lora", "adapter", "side_tune", "truncate", "movement_prune"]
VIT = {
    "model_type": "vit",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 16,
    "patch_size": 4,
}
CONVNEXT = {"model_type": "convnext", "hidden_sizes": [8, 12], "depths": [1, 1], "num_stages": 2, "patch_size": 2}
BACKBONES = {
    "cnn": (SmallCnn, {"inputs": 3, "channels": [8, 12], "bins": 2, "width": 12}),
    "lite": (EfficientNetLite, {"stages": [[1, 3, 1, 1, 8], [2, 3, 2, 3, 12]], "stem": 8, "width": 16}),
    "vit": (TransformersTokens, {"config": VIT}),
    "convnext": (TransformersMaps, {"config": CONVNEXT}),
}
TASK = Classification(labels=["red", "blue"])


def rows(count: int, seed: int) -> Examples:
    """Noise, reddish or bluish."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, count)
    x = rng.integers(0, 130, (count, 3, 16, 16))
    x[np.arange(count), 2 * y] += 80
    return Examples(
        ImageInputs(torch.from_numpy(x.astype(np.uint8))), torch.from_numpy(y), [f"{seed}-{i}" for i in range(count)]
    )


@pytest.fixture(params=BACKBONES)
def made(request, registry, tmp_path) -> tuple[Bench, SourceModel]:
    """A backbone of that kind with the weights it starts with, and what trials share."""
    factory, args = BACKBONES[request.param]
    if "config" in args:
        pytest.importorskip("transformers")
    plugins.load("strategies", STRATEGIES, registry)
    store = FeatureStore(TensorCache(tmp_path / "cache", lambda sentence: None), registry)
    bench = Bench(TASK, registry, store, FitSettings(checkpoint_seconds=None), lambda n: 50)
    torch.manual_seed(0)
    base = Ref(factory.name, factory(**args).config())
    state = factory(**args).state_dict()
    return bench, SourceModel(request.param, base, state, None, None, Preprocess(16).to_json(), {})


@pytest.mark.parametrize("name", STRATEGIES)
def test_trains_and_reloads(made, name, tmp_path):
    bench, source = made
    labelled, test = rows(48, 1), rows(60, 2)
    strategy = bench.registry.get("strategies", name)()
    backbone = bench.store.backbone(source)
    if name == "lora" and importlib.util.find_spec("peft") is None:
        pytest.skip("needs peft")
    assert strategy.unfit(TASK.info(), BackboneInfo.of(backbone, False, Rows.all(labelled).example())) is None
    outcome = StrategyCandidate(strategy, source, False).run(bench, Rows.all(labelled), [Rows.all(test)], 0)
    assert TASK.metrics[0](test.targets.numpy(), outcome.predictions[0])[0] > 0.6
    save_model(tmp_path / "model", outcome.model, TASK.info(), source.preprocess, bench.registry, {})
    again = load_model(tmp_path / "model", bench.registry)
    with torch.no_grad():
        decoded = again.task.decode(again.model(test.inputs.take(torch.arange(60))))
    np.testing.assert_allclose(decoded, outcome.predictions[0], atol=1e-5)
