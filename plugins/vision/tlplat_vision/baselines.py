"""What can be done on pixels without transfer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from tlplat.data.examples import Examples, Inputs
from tlplat.domain import Baseline
from tlplat.tasks.base import Task

SIDE = 32
"""Larger images are averaged down to so many pixels a side."""
PENALTIES = (1.0, 10.0, 100.0)
FEWEST_OF_A_CLASS = 4
"""Below, the penalty is not chosen by cross-validation but fixed."""

Matrix = NDArray[np.float64]


class PixelSvm(Baseline):
    """Support vectors with a Gaussian kernel on pixels, its penalty chosen by 3-fold cross-validation."""

    name: ClassVar[str] = "pixel_svm"
    summary: ClassVar[str] = "support vector machine on pixels"

    def __init__(self) -> None:
        self._vectors = self._width = self._classes = 0

    def fit_predict(self, train: Examples, others: Sequence[Inputs], task: Task, seed: int) -> list[np.ndarray]:
        from sklearn.model_selection import GridSearchCV, StratifiedKFold
        from sklearn.svm import SVC

        x, y = pixels(train.inputs), train.targets.numpy()
        mean = x.mean(axis=0)
        spread = float(((x - mean) ** 2).sum(axis=1).mean()) or 1.0
        model = SVC(C=PENALTIES[1], gamma=1 / spread, random_state=seed)
        if np.unique(y, return_counts=True)[1].min() >= FEWEST_OF_A_CLASS:
            folds = StratifiedKFold(3, shuffle=True, random_state=seed)
            model = GridSearchCV(model, {"C": PENALTIES}, cv=folds).fit(x, y).best_estimator_
        else:
            model.fit(x, y)
        self._vectors, self._width = len(model.support_), x.shape[1]
        self._classes = len(model.classes_)
        return [_probabilities(model.decision_function(pixels(o)), model.classes_, task) for o in others]

    def inference_cost(self) -> float:
        return float(self._vectors * (self._width + self._classes - 1))

    def parameters(self) -> int:
        return self._vectors * (self._classes - 1)


class NearestNeighbour(Baseline):
    """The label of the nearest labelled image by distance of pixels; nearness to other classes ranks the rest."""

    name: ClassVar[str] = "nearest_neighbour"
    summary: ClassVar[str] = "1-nearest neighbour on pixels"

    def __init__(self) -> None:
        self._rows = self._width = 0

    def fit_predict(self, train: Examples, others: Sequence[Inputs], task: Task, seed: int) -> list[np.ndarray]:
        from sklearn.metrics import pairwise_distances

        x, y = pixels(train.inputs), train.targets.numpy()
        self._rows, self._width = x.shape
        classes = np.unique(y)
        found = []
        for inputs in others:
            squared = pairwise_distances(pixels(inputs), x, metric="sqeuclidean")
            nearest = np.stack([squared[:, y == c].min(axis=1) for c in classes], axis=1)
            scale = np.median(nearest.min(axis=1)) or 1.0
            found.append(_probabilities(-nearest / scale, classes, task))
        return found

    def inference_cost(self) -> float:
        return float(self._rows * self._width)

    def parameters(self) -> int:
        return 0


def pixels(inputs: Inputs, side: int = SIDE) -> Matrix:
    """(n, d) pixels scaled to 0..1, images larger than ``side`` averaged down."""
    parts = []
    for index in torch.split(torch.arange(len(inputs)), 512):
        batch = inputs.take(index)
        assert isinstance(batch, torch.Tensor)
        images = batch.float() / 255
        if max(images.shape[2:]) > side:
            images = F.adaptive_avg_pool2d(images, side)
        parts.append(images.flatten(1).double().numpy())
    return np.concatenate(parts)


def _probabilities(scores: Matrix, classes: NDArray[np.int64], task: Task) -> Matrix:
    """(n, task classes) softmax of scores, of one number for two classes or one each; unseen classes get nothing."""
    if scores.ndim == 1:
        scores = np.stack([-scores, scores], axis=1)
    out = np.full((len(scores), len(task.info().labels)), -np.inf)
    out[:, classes] = scores
    out = np.exp(out - out.max(axis=1, keepdims=True))
    return np.asarray(out / out.sum(axis=1, keepdims=True))
