"""What can be done without transfer: logistic regression and trees for loans; last value, HAR, GARCH for volatility."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from tlplat.classical import OneEach, predicted
from tlplat.data.columns import TableEncoder
from tlplat.data.examples import Examples, Inputs
from tlplat.data.splits import inner_folds
from tlplat.domain import Baseline
from tlplat.tabular import table_of
from tlplat.tasks.base import Task
from tlplat.tasks.forecasting import Forecasting
from tlplat_finance.volatility import SERIES

HAR_COLUMNS = ("vol_1", "vol_5", "vol_22")
GARCH = "garch"
"""The column with the forecast of a GARCH(1,1), see :mod:`tlplat_finance.garch`."""


class LogisticScore(Baseline):
    """Logistic regression on the labelled rows' own columns, its penalty chosen by cross-validation."""

    name: ClassVar[str] = "logistic"
    summary: ClassVar[str] = "logistic regression on all columns, its penalty cross-validated"

    def __init__(self) -> None:
        self._size = (0, 0)

    def fit_predict(self, train: Examples, others: Sequence[Inputs], task: Task, seed: int) -> list[np.ndarray]:
        encoder = TableEncoder.fit(table_of(train.inputs))
        fit = task.fit_head(encoder.encode(table_of(train.inputs)), train.targets, inner_folds(train, task))
        self._size = (fit.weight.numel(), len(fit.bias))
        return [task.decode(encoder.encode(table_of(rows)) @ fit.weight.T + fit.bias) for rows in others]

    def inference_cost(self) -> float:
        return float(self._size[0])

    def parameters(self) -> int:
        return sum(self._size)


class _Trees(Baseline):
    """A classifier of scikit-learn on the labelled rows' own columns."""

    def __init__(self) -> None:
        self._nodes, self._steps = 0, 0.0

    @abstractmethod
    def make(self, seed: int, rows: int) -> Any:
        """An estimator that is not fitted yet."""

    def fit_predict(self, train: Examples, others: Sequence[Inputs], task: Task, seed: int) -> list[np.ndarray]:
        encoder = TableEncoder.fit(table_of(train.inputs))
        x, y = encoder.encode(table_of(train.inputs)).numpy(), train.targets.numpy()
        model = self.make(seed, len(y)) if y.ndim == 1 else OneEach(lambda column: self.make(seed, len(y)))
        model.fit(x, y)
        fitted = [m for m in model.models if m is not None] if isinstance(model, OneEach) else [model]
        trees = [tree.tree_ for m in fitted for tree in np.ravel(m.estimators_)]
        self._nodes = sum(tree.node_count for tree in trees)
        self._steps = float(sum(tree.max_depth for tree in trees))
        return [predicted(model, encoder.encode(table_of(rows)).numpy(), task) for rows in others]

    def inference_cost(self) -> float:
        return self._steps

    def parameters(self) -> int:
        return self._nodes


class RandomForest(_Trees):
    """A random forest (Breiman 2001)."""

    name: ClassVar[str] = "forest"
    summary: ClassVar[str] = "random forest of 200 trees on all columns"

    def make(self, seed: int, rows: int) -> Any:
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(200, min_samples_leaf=3, random_state=seed, n_jobs=1)


class Boosting(_Trees):
    """Gradient boosting of shallow trees (Friedman 2001)."""

    name: ClassVar[str] = "boosting"
    summary: ClassVar[str] = "gradient boosting of 100 shallow trees on all columns"

    def make(self, seed: int, rows: int) -> Any:
        from sklearn.ensemble import GradientBoostingClassifier

        return GradientBoostingClassifier(max_depth=2, subsample=0.8, random_state=seed)


class Har(Baseline):
    """Least squares on the volatility of the last day, week and month (Corsi 2009)."""

    name: ClassVar[str] = "har"
    summary: ClassVar[str] = "least squares on the volatility of the last day, week and month (HAR)"

    def fit_predict(self, train: Examples, others: Sequence[Inputs], task: Task, seed: int) -> list[np.ndarray]:
        def design(rows: Inputs) -> np.ndarray:
            table = table_of(rows)
            return np.column_stack([np.ones(len(rows)), *(table[name] for name in HAR_COLUMNS)])

        x, y = design(train.inputs), train.targets.double().numpy()[:, 0]
        inverse = np.linalg.pinv(x)
        weights, leverage = inverse @ y, np.einsum("ij,ji->i", x, inverse)
        errors = (y - x @ weights) / np.maximum(1 - leverage, 0.1)  # as if each row had been left out
        return spread(errors, [design(rows) @ weights for rows in others], task)

    def parameters(self) -> int:
        return 1 + len(HAR_COLUMNS)

    def inference_cost(self) -> float:
        return float(len(HAR_COLUMNS))


class Garch(Baseline):
    """GARCH(1,1) on the returns of each series before the test rows (Bollerslev 1986)."""

    name: ClassVar[str] = "garch"
    summary: ClassVar[str] = "GARCH(1,1) on each series' own returns before the test rows"

    def __init__(self) -> None:
        self._series = 0

    def fit_predict(self, train: Examples, others: Sequence[Inputs], task: Task, seed: int) -> list[np.ndarray]:
        self._series = len(np.unique(table_of(train.inputs)[SERIES].astype(str)))
        errors = train.targets.double().numpy()[:, 0] - table_of(train.inputs)[GARCH]
        return spread(errors, [table_of(rows)[GARCH] for rows in others], task)

    def parameters(self) -> int:
        return 4 * self._series


def spread(errors: np.ndarray, points: Sequence[np.ndarray], task: Task) -> list[np.ndarray]:
    """Quantiles (n, 1, q) around each of the forecasts (n,): those of the errors (m,) on training rows."""
    if not isinstance(task, Forecasting):
        raise TypeError(f"a forecast of volatility serves no {task.name}")
    quantiles = np.quantile(errors, task.quantiles)
    return [point[:, None, None] + quantiles[None, None] for point in points]


def last_week(inputs: Inputs) -> np.ndarray:
    """The volatility of the last five days (n,)."""
    return np.asarray(table_of(inputs)["vol_5"])
