"""What can be done for patients without transfer: the field's own models on the labelled patients' columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from tlplat.classical import OneEach, predicted
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
    """A random forest (Breiman 2001) with 300 trees, one a label where a patient may have several.

    Missing numbers are told by columns of their own.
    """

    name: ClassVar[str] = "forest"
    summary: ClassVar[str] = "random forest on all columns"

    def __init__(self) -> None:
        self._nodes = self._depth = 0

    def fit_predict(self, train: Examples, others: Sequence[Inputs], task: Task, seed: int) -> list[np.ndarray]:
        from sklearn.ensemble import RandomForestClassifier

        table = table_of(train.inputs)
        encoder = TableEncoder.fit(table)

        def make(column: np.ndarray | None = None) -> RandomForestClassifier:
            return RandomForestClassifier(300, min_samples_leaf=2, random_state=seed)

        y = train.targets.numpy()
        model = make() if y.ndim == 1 else OneEach(make)
        model.fit(encoder.encode(table).numpy(), y)
        forests = [m for m in model.models if m is not None] if isinstance(model, OneEach) else [model]
        trees = [tree.tree_ for forest in forests for tree in forest.estimators_]
        self._nodes = sum(tree.node_count for tree in trees)
        self._depth = sum(tree.max_depth for tree in trees)
        return [predicted(model, encoder.encode(table_of(rows)).numpy(), task) for rows in others]

    def inference_cost(self) -> float:
        return float(self._depth)

    def parameters(self) -> int:
        return self._nodes
