"""The cross-validated probe: held-out predictions of a linear head on frozen features."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tlplat.data.examples import Examples, TensorInputs
from tlplat.data.splits import FOLDS, Fold, inner_folds, partition
from tlplat.tasks.base import Task
from tlplat.transferability import checks


def probe_predictions(z: Tensor, labelled: Examples, task: Task, seeds: Sequence[int]) -> list[np.ndarray]:
    """Decoded out-of-fold predictions (n, ...) of all rows, one array for each seed's folds.

    The head is ``task.fit_head``, its penalty chosen inside each training part; groups stay whole, classes are
    stratified. Score them with the task's own metric: the probe's direction and range are the metric's. Nearly
    unchanged by rotations (the features are standardised column by column). Trust: the only score here that is held
    out, and the one that estimates what is asked (how well a frozen transfer does); its noise is that of n rows, and
    it says nothing of how much fine-tuning would add.

    Args:
        z: (n, d) features of the rows of ``labelled``. task: must offer ``fit_head``.
    """
    found = checks.features(z).float()
    rows = dataclasses.replace(labelled, inputs=TensorInputs(found))
    made = []
    for seed in seeds:
        predictions: np.ndarray | None = None
        for fold in partition(rows, seed, task, FOLDS):
            decoded = _held_out(found, labelled, fold, task, seed)
            if predictions is None:
                predictions = np.full((len(rows), *decoded.shape[1:]), np.nan)
            predictions[fold.validation.numpy()] = decoded
        assert predictions is not None
        made.append(predictions)
    return made


def _held_out(z: Tensor, labelled: Examples, fold: Fold, task: Task, seed: int) -> np.ndarray:
    """Decoded predictions of the fold's validation rows by a head solved on its training rows."""
    x, y = z[fold.train], labelled.targets[fold.train]
    settled = task.settled(y)
    if settled.prepares:
        y = settled.prepare((x, y), (), seed)[0]
    head = settled.fit_head(x, y, inner_folds(labelled.select(fold.train), task))
    if settled.concludes:
        settled = settled.concluded(torch.nn.functional.linear(x, head.weight, head.bias), y)
    return settled.decode(torch.nn.functional.linear(z[fold.validation], head.weight, head.bias))
