"""Baselines made of scikit-learn's estimators, on rows that are plain tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np

from tlplat.data.examples import Examples, Inputs, TensorInputs
from tlplat.domain import Baseline
from tlplat.tasks.base import Task


class EstimatorBaseline(Baseline):
    """An estimator on the rows of :class:`tlplat.data.examples.TensorInputs`, flattened; numbers or labels as they are.

    A classifier's probabilities get a column for every label of the task, also for one that no training row has; where
    rows have any number of labels, each label gets an estimator of its own.

    Args:
        make: a fresh estimator of a seed, such as ``lambda seed: RandomForestClassifier(random_state=seed)``.
    """

    def __init__(self, name: str, summary: str, make: Callable[[int], Any]) -> None:
        self.name, self.summary, self.make = name, summary, make  # type: ignore[misc]

    def fit_predict(self, train: Examples, others: Sequence[Inputs], task: Task, seed: int) -> list[np.ndarray]:
        several = bool(task.info().options.get("multi_label"))
        model = OneEach(lambda column: self.make(seed)) if several else self.make(seed)
        model.fit(_rows(train.inputs), train.targets.numpy())
        return [predicted(model, _rows(inputs), task) for inputs in others]


class OneEach:
    """A classifier a label, fitted on targets (n, c) of {0, 1}: what scikit-learn's forests do by themselves.

    Args:
        make: an estimator for one label, from its targets (n,).

    Attributes:
        models: c fitted estimators, None where all rows are alike. classes_: of each.
    """

    def __init__(self, make: Callable[[np.ndarray], Any]) -> None:
        self.make = make
        self.models: list[Any] = []
        self.classes_: list[np.ndarray] = []

    def fit(self, x: Any, y: np.ndarray) -> Self:
        columns = list(y.astype(np.int64).T)
        self.classes_ = [np.unique(column) for column in columns]
        self.models = [
            self.make(c).fit(x, c) if len(u) > 1 else None for c, u in zip(columns, self.classes_, strict=True)
        ]
        return self

    def predict_proba(self, x: Any) -> list[np.ndarray]:
        """For each label (n, classes)."""
        return [np.ones((x.shape[0], 1)) if model is None else model.predict_proba(x) for model in self.models]


def predicted(model: Any, x: Any, task: Task) -> np.ndarray:
    """Predictions of a fitted estimator for rows x (n, d), as ``task.decode`` gives them, float64.

    (n, classes) for one with ``predict_proba``: a label that no training row has gets 0. Where it gives a list, one
    array a label, as :class:`OneEach` does, that of the rows with the label is taken.
    """
    if not hasattr(model, "predict_proba"):
        return np.asarray(model.predict(x), dtype=np.float64)
    whole, found = np.zeros((x.shape[0], task.info().outputs)), model.predict_proba(x)
    if isinstance(found, list):
        for c, (p, classes) in enumerate(zip(found, model.classes_, strict=True)):
            whole[:, c] = p[:, classes == 1].sum(axis=1)
    else:
        whole[:, model.classes_] = found
    return whole


def _rows(inputs: Inputs) -> np.ndarray:
    if not isinstance(inputs, TensorInputs):
        raise TypeError(f"rows of one tensor are needed, not {type(inputs).__name__}")
    return inputs.tensor.flatten(1).numpy()
