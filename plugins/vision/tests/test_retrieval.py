"""Object recognition by retrieval: own images, new kinds, pixels as the baseline, and the demo on real digits."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from commandline import tlplat
from tlplat_vision.domain import RETRIEVAL, VisionDomain, VisionOptions
from tlplat_vision.inputs import ImageInputs
from tlplat_vision.pixelspace import PixelCosine, PixelWhitening

from tlplat.data.examples import Examples
from tlplat.data.splits import folds
from tlplat.domain import DataOptions
from tlplat.errors import DataError
from tlplat.tasks.ranks import MeanAveragePrecision

QUICK = ("--strategy", "linear_probe,full_ft", "--seeds", "2", "--jobs", "1", "--threads", "1")


def test_own_images_are_found_by_their_kind(folder, kept_source, tmp_path):
    folder(30)
    outcome = tlplat(
        *("run", "--domain", "vision", "--task", "retrieval", "--data", "shots", "--source", str(kept_source)),
        *(*QUICK, "--set", "train.steps=4", "--offline", "--out", "run", "--json"),
        cache=tmp_path / "cache",
        cwd=tmp_path,
    )
    assert outcome.code == 0, outcome.err
    report = outcome.document
    assert report["metric"]["name"] == "mean_average_precision"
    found = {c["strategy"]: c for c in report["candidates"]}
    assert {"linear_probe", "full_ft", "scratch", "pixel_cosine", "pixel_whitening", "chance"} <= found.keys()
    assert 0.3 < found["chance"]["mean"] < 0.65
    assert found["linear_probe"]["mean"] > 0.7
    assert {"recall_at_1", "recall_at_5"} <= found["linear_probe"]["metrics"].keys()
    predicted = tlplat("predict", "run", "shots/red", "--json", cache=tmp_path / "cache", cwd=tmp_path)
    assert predicted.code == 0, predicted.err


@pytest.fixture
def target(context, kept_source):
    def make(path, test_data=None, task="retrieval"):
        domain, chosen = VisionDomain(), VisionOptions.model_validate({"task": task})
        data = DataOptions(path=path, test_data=test_data)
        domain.check(chosen, data, context)
        return domain.target(chosen, data, domain.source(str(kept_source), chosen, context), context)

    return make


def test_kinds_may_be_new_and_may_be_of_one_image(folder, target, context):
    """As in use: a new object is photographed and found, without a label for it before."""
    train, held = folder(6, "train"), folder(6, "held")
    for label in ("red", "blue"):
        (held / label).rename(held / f"new-{label}")
    found = target(train, test_data=held)
    assert set(found.pool.targets.tolist()).isdisjoint(found.test.targets.tolist())
    assert any("2 labelled kinds are too few to hold some out" in sentence for sentence in context.warnings)
    for path in sorted((train / "red").iterdir())[1:]:
        path.unlink()
    alone = target(train)
    assert len(alone.pool) + len(alone.test) == 7
    with pytest.raises(DataError, match="CLASS-SMALL"):
        target(train, task="classification")


def test_folds_hold_out_kinds_where_test_kinds_are_new(folder, target, photo, tmp_path):
    """Validation then asks what the test asks: to tell apart what no label named."""
    for name in "abcdefgh":
        (tmp_path / "train" / name).mkdir(parents=True)
        for i in range(4):
            photo(24).save(tmp_path / "train" / name / f"{i}.png")
    found = target(tmp_path / "train", test_data=folder(4, "held"))
    assert not set(found.pool.groups.tolist()) & set(found.test.groups.tolist())
    for fold in folds(found.pool, 0, found.task):
        kinds = [set(found.pool.targets[side].tolist()) for side in (fold.train, fold.validation)]
        assert not kinds[0] & kinds[1]
        assert len(kinds[1]) >= 2


def rows(seed: int, count: int = 60) -> Examples:
    """Three kinds of a weak pattern each, under strong stripes that all share."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 3
    patterns = np.random.default_rng(9).normal(size=(3, 12, 12)) * 14
    stripes = rng.normal(size=(count, 1, 12)) * 40
    images = 128 + patterns[y] + stripes + rng.normal(size=(count, 12, 12)) * 3
    tensor = torch.from_numpy(images.clip(0, 255).astype(np.uint8))[:, None]
    return Examples(ImageInputs(tensor), torch.from_numpy(y), [f"{seed}-{i}" for i in range(count)])


def test_pixels_compared_plainly_and_whitened():
    """Whitening leaves the stripes out, which the plain cosine is ruled by."""
    train, test = rows(1), rows(2)
    score = {}
    for baseline in (PixelCosine(), PixelWhitening()):
        found, itself = baseline.fit_predict(train, [test.inputs, test.inputs], RETRIEVAL, 0)
        np.testing.assert_array_equal(found, itself)
        np.testing.assert_allclose(np.linalg.norm(found[:, 1:], axis=1), 1)
        assert len(np.unique(found[:, 0])) == 1
        assert baseline.parameters() > 0
        assert baseline.inference_cost() > 0
        score[baseline.name] = float(MeanAveragePrecision("map")(test.targets.numpy(), found)[0])
    assert score["pixel_whitening"] > 0.9
    assert score["pixel_cosine"] < 0.8


def test_two_fits_give_two_spaces():
    test = rows(3)
    spaces = {PixelCosine().fit_predict(rows(seed), [test.inputs], RETRIEVAL, 0)[0][0, 0] for seed in (1, 2)}
    assert len(spaces) == 2


@pytest.mark.network
@pytest.mark.slow
def test_the_mnist_source_embeds(real_context):
    """Its head maps features to the task's dimension, and comes from the cache the second time."""
    domain, options = VisionDomain(), VisionOptions(task="retrieval")
    source = domain.source("mnist", options, real_context)
    assert source.head is not None
    assert source.head["weight"].shape == (RETRIEVAL.dimension, 128)
    assert RETRIEVAL.takes_head(source.task)
    offline = dataclasses.replace(real_context, offline=True)
    again = domain.source("mnist", options, offline)
    assert torch.equal(again.head["weight"], source.head["weight"])


@pytest.mark.network
@pytest.mark.slow
def test_digits_are_found(tmp_path):
    """The demo, 50 labels: MNIST's embedding helps, and beats pixels."""
    outcome = tlplat(
        *("run", "--domain", "vision", "--task", "retrieval", *QUICK, "--out", "run", "--json"), cwd=tmp_path
    )
    assert outcome.code == 0, outcome.err
    report = outcome.document
    scores = {c["strategy"]: c["mean"] for c in report["candidates"]}
    assert scores["zero_shot"] > scores["pixel_cosine"] > scores["chance"]
    assert report["verdict"]["outcome"] == "helps"
