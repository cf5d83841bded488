"""What can be done for patients without transfer: the field's own models on the labelled patients' columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from tlplat.data.columns import TableEncoder
from tlplat.data.examples import Examples, Inputs
from tlplat.data.splits import inner_folds
from tlplat.domain import Baseline
from tlplat.tabular import table_of
from tlplat.tasks.base import Task


class LinearModel(Baseline):
    """The task's linear model on all columns, the ridge penalty cross-validated with patients kept whole."""

    def __init__(self) -> None:
        self._width = self._count = 0

    def fit_predict(self, train: Examples, others: Sequence[Inputs], task: Task, seed: int) -> list[np.ndarray]:
        table = table_of(train.inputs)
        encoder = TableEncoder.fit(table)
        z, targets = encoder.encode(table).double(), train.targets
        if task.prepares:
            (targets,) = task.prepare((z, targets), (), seed)
        fit = task.fit_head(z, targets, inner_folds(train, task))
        weight, bias = fit.weight.double(), fit.bias.double()
        self._width, self._count = encoder.width, weight.numel()

        def outputs(rows: torch.Tensor) -> torch.Tensor:
            return rows @ weight.T + bias

        done = task.concluded(outputs(z), train.targets) if task.concludes else task
        return [done.decode(outputs(encoder.encode(table_of(rows)).double())) for rows in others]

    def inference_cost(self) -> float:
        return float(self._width)

    def parameters(self) -> int:
        return self._count


class CoxRegression(LinearModel):
    """Cox's proportional hazards."""

    name: ClassVar[str] = "cox"
    summary: ClassVar[str] = "Cox regression with a ridge penalty on all columns"


class LogisticRegression(LinearModel):
    """Logistic regression."""

    name: ClassVar[str] = "logistic"
    summary: ClassVar[str] = "logistic regression with a ridge penalty on all columns"


class LinearLearner(LinearModel):
    """A linear model of the doubly robust scores, made of the same columns."""

    name: ClassVar[str] = "linear_learner"
    summary: ClassVar[str] = "ridge regression of each arm's doubly robust scores on all columns"


class Forest(Baseline):
    """A random forest (Breiman 2001) with 300 trees; missing numbers are told by columns of their own."""

    name: ClassVar[str] = "forest"
    summary: ClassVar[str] = "random forest on all columns"

    def __init__(self) -> None:
        self._nodes = self._depth = 0

    def fit_predict(self, train: Examples, others: Sequence[Inputs], task: Task, seed: int) -> list[np.ndarray]:
        from sklearn.ensemble import RandomForestClassifier

        table = table_of(train.inputs)
        encoder = TableEncoder.fit(table)
        model = RandomForestClassifier(300, min_samples_leaf=2, random_state=seed)
        model.fit(encoder.encode(table).numpy(), train.targets.numpy())
        self._nodes = sum(tree.tree_.node_count for tree in model.estimators_)
        self._depth = sum(tree.tree_.max_depth for tree in model.estimators_)
        found = []
        for rows in others:
            said = np.zeros((len(rows), task.info().outputs))
            said[:, model.classes_] = model.predict_proba(encoder.encode(table_of(rows)).numpy())
            found.append(said)
        return found

    def inference_cost(self) -> float:
        return float(self._depth)

    def parameters(self) -> int:
        return self._nodes
