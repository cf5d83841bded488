"""Baselines on pixels against what they are by definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tlplat_vision.baselines import NearestNeighbour, PixelSvm, pixels
from tlplat_vision.inputs import ImageInputs

from tlplat.data.examples import Examples
from tlplat.tasks.classification import Classification

TASK = Classification(labels=["a", "b", "c"])


def rows(count: int, seed: int, classes: int = 3, side: int = 8) -> Examples:
    """Images with a bright row of pixels, one for each class."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % classes
    x = rng.integers(0, 120, (count, 1, side, side))
    x[np.arange(count), 0, 2 * y] += 100
    return Examples(
        ImageInputs(torch.from_numpy(x.astype(np.uint8))), torch.from_numpy(y), [f"{seed}-{i}" for i in range(count)]
    )


@pytest.mark.parametrize("baseline", [PixelSvm, NearestNeighbour])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("count", [6, 30])
def test_learns_and_gives_probabilities(baseline, classes, count):
    task = TASK if classes == 3 else Classification(labels=["a", "b"])
    made, test = baseline(), rows(60, 1, classes)
    found = made.fit_predict(rows(count, 0, classes), [test.inputs, test.inputs], task, seed=0)
    assert found[0].shape == (60, classes)
    np.testing.assert_allclose(found[0].sum(axis=1), 1)
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0].argmax(axis=1) == test.targets.numpy()).mean() > (0.9 if count == 30 else 0.6)
    assert made.inference_cost() > 0


def test_nearest_neighbour_is_the_nearest():
    train, test = rows(20, 0), rows(50, 1)
    found = NearestNeighbour().fit_predict(train, [test.inputs], TASK, seed=0)[0].argmax(axis=1)
    x, z = pixels(train.inputs), pixels(test.inputs)
    nearest = [int(train.targets[np.argmin(((x - row) ** 2).sum(axis=1))]) for row in z]
    assert found.tolist() == nearest


def test_a_class_that_no_label_shows_gets_nothing():
    few = rows(20, 0, classes=2)
    for baseline in (PixelSvm(), NearestNeighbour()):
        assert baseline.fit_predict(few, [few.inputs], TASK, seed=0)[0][:, 2].max() == 0


def test_large_images_are_averaged_down():
    image = torch.arange(64, dtype=torch.uint8).repeat_interleave(1)[None, None, None].expand(1, 1, 64, 64)
    found = pixels(ImageInputs(image)).reshape(32, 32)
    np.testing.assert_allclose(found[0], (np.arange(32) * 2 + 0.5) / 255, atol=1e-7)
