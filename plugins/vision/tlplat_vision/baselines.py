"""What can be done on pixels without transfer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

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
    """Support vectors with a Gaussian kernel on pixels, its penalty chosen by 3-fold cross-validation.

    Where rows have any number of labels, each label has a machine of its own.
    """

    name: ClassVar[str] = "pixel_svm"
    summary: ClassVar[str] = "support vector machine on pixels"

    def __init__(self) -> None:
        self._width = 0
        self._size: list[tuple[int, int]] = []

    def fit_predict(self, train: Examples, others: Sequence[Inputs], task: Task, seed: int) -> list[np.ndarray]:
        x, rows = pixels(train.inputs), [pixels(o) for o in others]
        models = [_machine(x, y, seed) for y in columns(train)]
        self._size = [(len(m.support_), len(m.classes_) - 1) for m in models if m is not None]
        self._width = x.shape[1]
        if train.targets.ndim == 1:
            (model,) = models
            return [_probabilities(model.decision_function(z), model.classes_, task) for z in rows]

        def said(z: Matrix) -> Matrix:
            each = zip(models, columns(train), strict=True)
            return np.stack([_always(y, z) if m is None else _of_two(m.decision_function(z)) for m, y in each], axis=1)

        return [said(z) for z in rows]

    def inference_cost(self) -> float:
        return float(sum(vectors * (self._width + several) for vectors, several in self._size))

    def parameters(self) -> int:
        return sum(vectors * several for vectors, several in self._size)


class NearestNeighbour(Baseline):
    """The label of the nearest labelled image by distance of pixels; nearness to other classes ranks the rest.

    Where rows have any number of labels, those of the nearest image.
    """

    name: ClassVar[str] = "nearest_neighbour"
    summary: ClassVar[str] = "1-nearest neighbour on pixels"

    def __init__(self) -> None:
        self._rows = self._width = 0

    def fit_predict(self, train: Examples, others: Sequence[Inputs], task: Task, seed: int) -> list[np.ndarray]:
        from sklearn.metrics import pairwise_distances

        x, single = pixels(train.inputs), train.targets.ndim == 1
        self._rows, self._width = x.shape
        found = []
        for inputs in others:
            squared = pairwise_distances(pixels(inputs), x, metric="sqeuclidean")
            scale = np.median(squared.min(axis=1)) or 1.0
            known = [(np.unique(y), y) for y in columns(train)]
            each = [(u, [squared[:, y == c].min(axis=1) / scale for c in u]) for u, y in known]
            if single:
                ((classes, near),) = each
                found.append(_probabilities(-np.stack(near, axis=1), classes, task))
            else:
                said = [_of_two((near[0] - near[1]) / 2) if len(near) > 1 else _always(y, squared) for y, near in each]
                found.append(np.stack(said, axis=1))
        return found

    def inference_cost(self) -> float:
        return float(self._rows * self._width)

    def parameters(self) -> int:
        return 0


def columns(rows: Examples) -> list[NDArray[np.int64]]:
    """Classes (n,) of the rows; of any number of labels, for each whether a row has it."""
    targets = rows.targets.numpy().astype(np.int64)
    return [targets] if targets.ndim == 1 else list(targets.T)


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


def _machine(x: Matrix, y: NDArray[np.int64], seed: int) -> Any:
    """The machine fitted on y (n,); None where all rows are alike."""
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.svm import SVC

    counts = np.unique(y, return_counts=True)[1]
    if len(counts) < 2:
        return None
    mean = x.mean(axis=0)
    spread = float(((x - mean) ** 2).sum(axis=1).mean()) or 1.0
    model = SVC(C=PENALTIES[1], gamma=1 / spread, random_state=seed)
    if counts.min() < FEWEST_OF_A_CLASS:
        return model.fit(x, y)
    folds = StratifiedKFold(3, shuffle=True, random_state=seed)
    return GridSearchCV(model, {"C": PENALTIES}, cv=folds).fit(x, y).best_estimator_


def _of_two(score: Matrix) -> Matrix:
    """(n,) the probability of the second of two classes, as :func:`_probabilities` has it of one number."""
    return np.asarray(np.exp(-np.logaddexp(0, -2 * score)))


def _always(y: NDArray[np.int64], rows: Matrix) -> Matrix:
    """(n,) the one value that ``y`` holds."""
    return np.full(len(rows), float(y[0]))


def _probabilities(scores: Matrix, classes: NDArray[np.int64], task: Task) -> Matrix:
    """(n, task classes) softmax of scores, of one number for two classes or one each; unseen classes get nothing."""
    if scores.ndim == 1:
        scores = np.stack([-scores, scores], axis=1)
    out = np.full((len(scores), len(task.info().labels)), -np.inf)
    out[:, classes] = scores
    out = np.exp(out - out.max(axis=1, keepdims=True))
    return np.asarray(out / out.sum(axis=1, keepdims=True))
