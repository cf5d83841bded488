"""Baselines made of scikit-learn's estimators, on rows that are plain tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tlplat.data.examples import Examples, Inputs, TensorInputs
from tlplat.domain import Baseline
from tlplat.tasks.base import Task


class EstimatorBaseline(Baseline):
    """An estimator on the rows of :class:`tlplat.data.examples.TensorInputs`, flattened; numbers or labels as they are.

    A classifier's probabilities get a column for every label of the task, also for one that no training row has.

    Args:
        make: a fresh estimator of a seed, such as ``lambda seed: RandomForestClassifier(random_state=seed)``.
    """

    def __init__(self, name: str, summary: str, make: Callable[[int], Any]) -> None:
        self.name, self.summary, self.make = name, summary, make  # type: ignore[misc]

    def fit_predict(self, train: Examples, others: Sequence[Inputs], task: Task, seed: int) -> list[np.ndarray]:
        model = self.make(seed).fit(_rows(train.inputs), train.targets.numpy())
        return [predicted(model, _rows(inputs), task) for inputs in others]


def predicted(model: Any, x: np.ndarray, task: Task) -> np.ndarray:
    """Predictions of a fitted estimator for rows x (n, d), as ``task.decode`` gives them, float64.

    (n, classes) for one with ``predict_proba``: a label that no training row has gets 0.
    """
    if not hasattr(model, "predict_proba"):
        return np.asarray(model.predict(x), dtype=np.float64)
    whole = np.zeros((len(x), task.info().outputs))
    whole[:, model.classes_] = model.predict_proba(x)
    return whole


def _rows(inputs: Inputs) -> np.ndarray:
    if not isinstance(inputs, TensorInputs):
        raise TypeError(f"rows of one tensor are needed, not {type(inputs).__name__}")
    return inputs.tensor.flatten(1).numpy()
