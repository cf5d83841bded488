"""What can be retrieved by pixels, without transfer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from tlplat.data.examples import Examples, Inputs
from tlplat.domain import Baseline
from tlplat.tasks.base import Task
from tlplat_vision.baselines import pixels

SIDE = 16
"""Larger images are averaged down to so many pixels a side: what is compared is shape, not noise."""


class PixelCosine(Baseline):
    """Cosine of pixels, less the labelled images' mean."""

    name: ClassVar[str] = "pixel_cosine"
    summary: ClassVar[str] = "cosine of pixels, less their mean"

    def __init__(self) -> None:
        self._width = 0

    def fit_predict(self, train: Examples, others: Sequence[Inputs], task: Task, seed: int) -> list[np.ndarray]:
        own = _vectors(train.inputs)
        mean = own.mean(dim=0)
        self._width = len(mean)
        settled = task.concluded(own - mean, train.targets)
        return [settled.decode(_vectors(inputs) - mean) for inputs in others]

    def inference_cost(self) -> float:
        return float(self._width)

    def parameters(self) -> int:
        return self._width


class PixelWhitening(Baseline):
    """The map that the task solves on frozen features, on pixels: whitened within kinds, then of largest spread."""

    name: ClassVar[str] = "pixel_whitening"
    summary: ClassVar[str] = "pixels whitened within kinds (linear discriminant)"

    def __init__(self) -> None:
        self._size = 0

    def fit_predict(self, train: Examples, others: Sequence[Inputs], task: Task, seed: int) -> list[np.ndarray]:
        own = _vectors(train.inputs)
        fit = task.fit_head(own, train.targets, {})
        self._size = fit.weight.numel()
        settled = task.concluded(own @ fit.weight.T + fit.bias, train.targets)
        return [settled.decode(_vectors(inputs) @ fit.weight.T + fit.bias) for inputs in others]

    def inference_cost(self) -> float:
        return float(self._size)

    def parameters(self) -> int:
        return self._size


def _vectors(inputs: Inputs) -> Tensor:
    return torch.from_numpy(pixels(inputs, SIDE)).float()
