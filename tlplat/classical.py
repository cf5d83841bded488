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
        if not hasattr(model, "predict_proba"):
            return [np.asarray(model.predict(_rows(inputs)), dtype=np.float64) for inputs in others]
        found = []
        for inputs in others:
            whole = np.zeros((len(inputs), task.info().outputs))
            whole[:, model.classes_] = model.predict_proba(_rows(inputs))
            found.append(whole)
        return found


def _rows(inputs: Inputs) -> np.ndarray:
    if not isinstance(inputs, TensorInputs):
        raise TypeError(f"rows of one tensor are needed, not {type(inputs).__name__}")
    return inputs.tensor.flatten(1).numpy()
