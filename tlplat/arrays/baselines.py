"""What can be done with rows of numbers without transfer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from tlplat.classical import OneEach, predicted
from tlplat.data.examples import Examples, Inputs, TensorInputs
from tlplat.domain import Baseline
from tlplat.tasks.base import Task


class _Sklearn(Baseline):
    """A scikit-learn estimator on the flattened rows."""

    def __init__(self) -> None:
        self._features = 0

    @abstractmethod
    def estimator(self, classify: bool, y: np.ndarray, seed: int) -> Any:
        """An estimator that is not fitted yet."""

    def learnt(self, made: Any) -> None:
        """Note what the last fit learnt."""

    def fit_predict(self, train: Examples, others: Sequence[Inputs], task: Task, seed: int) -> list[np.ndarray]:
        classify = bool(task.info().labels)
        y = train.targets.numpy()
        y = y.astype(np.int64) if classify else y
        x = _flat(train.inputs)
        made = self.estimator(classify, y, seed).fit(x, y)
        self._features = x.shape[1] * (task.info().outputs if classify else 1)
        self.learnt(made)
        return [predicted(made, _flat(o), task) for o in others]

    def inference_cost(self) -> float:
        return float(self._features)

    def parameters(self) -> int:
        return self._features


class Linear(_Sklearn):
    """Logistic or ridge regression, the penalty cross-validated."""

    name: ClassVar[str] = "linear"
    summary: ClassVar[str] = "logistic or ridge regression on the numbers themselves"

    def estimator(self, classify: bool, y: np.ndarray, seed: int) -> Any:
        from sklearn.linear_model import LogisticRegression, RidgeCV
        from sklearn.model_selection import GridSearchCV, StratifiedKFold
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        if not classify:
            return make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))
        if y.ndim == 2:
            return OneEach(lambda column: self.estimator(True, column, seed))
        whole = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
        smallest = int(np.unique(y, return_counts=True)[1].min())
        if smallest < 2:
            return whole
        folds = StratifiedKFold(min(5, smallest), shuffle=True, random_state=seed)
        grid = {"logisticregression__C": list(np.logspace(-3, 2, 6))}
        return GridSearchCV(whole, grid, cv=folds, scoring="neg_log_loss")


class Forest(_Sklearn):
    """A random forest."""

    name: ClassVar[str] = "forest"
    summary: ClassVar[str] = "random forest on the numbers themselves"

    def __init__(self) -> None:
        super().__init__()
        self._nodes, self._depth = 0, 0.0

    def estimator(self, classify: bool, y: np.ndarray, seed: int) -> Any:
        from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

        cls = RandomForestClassifier if classify else RandomForestRegressor
        return cls(200, random_state=seed, n_jobs=1)

    def learnt(self, made: Any) -> None:
        trees = [e.tree_ for e in made.estimators_]
        self._nodes, self._depth = sum(t.node_count for t in trees), float(sum(t.max_depth for t in trees))

    def inference_cost(self) -> float:
        return self._depth

    def parameters(self) -> int:
        return self._nodes


def baselines_for(task: Task) -> Sequence[Baseline]:
    """Those that can serve the task."""
    return [Linear(), Forest()] if task.info().kind in ("classification", "regression") else []


def _flat(inputs: Inputs) -> np.ndarray:
    assert isinstance(inputs, TensorInputs)
    return inputs.tensor.flatten(1).double().numpy()
