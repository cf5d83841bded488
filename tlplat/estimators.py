"""scikit-learn estimators that adapt a pretrained module: they sit in a Pipeline and in cross_val_score."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from tlplat.api import ARRAYS, Model, load_model, transfer
from tlplat.arrays.backbone import Factory, refilled
from tlplat.arrays.sets import are_sets


class _Transfer(BaseEstimator):  # type: ignore[misc]
    """What both have in common: a run on the rows of ``fit``, and its model.

    Args:
        source: a pretrained module: rows (n, ...) -> features (n, d), or outputs of a head that ``head`` names.
        factory, head: as :func:`tlplat.transfer` takes them.
        strategy: a strategy's name, several with commas, or ``auto`` for the search of a run.
        seeds: repetitions of each trial; the verdict's intervals need several.
        test_share: share of the rows of ``fit`` set apart for ``report_``; the model does not learn from them.
        random_state: decides rows set apart, folds, order and initialisation.
        settings: further settings of :func:`tlplat.transfer`, such as ``{"budget": "2m"}``.

    Attributes:
        report_: the run's report. verdict_: whether transfer helped, with interval. n_features_in_: of flat rows.
    """

    def __init__(
        self,
        source: nn.Module | None = None,
        *,
        factory: Factory | None = None,
        head: str | None = None,
        strategy: str = "auto",
        seeds: int = 1,
        test_share: float = 0.25,
        random_state: int = 0,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.source = source
        self.factory = factory
        self.head = head
        self.strategy = strategy
        self.seeds = seeds
        self.test_share = test_share
        self.random_state = random_state
        self.settings = settings

    def _fit(self, x: Any, y: Any, groups: Any, task: str) -> Self:
        if self.source is None:
            raise ValueError("source must be a pretrained torch.nn.Module")
        x = np.asarray(x)
        folder = Path(tempfile.mkdtemp(prefix="tlplat-"))
        try:
            found = transfer(
                ARRAYS,
                (x, y) if groups is None else (x, y, groups),
                source=self.source,
                factory=self.factory,
                head=self.head,
                strategy=self.strategy,
                seeds=self.seeds,
                seed=self.random_state,
                data_seed=self.random_state,
                task=task,
                test_share=self.test_share,
                out=folder / "run",
                **(self.settings or {}),
            )
            self.report_ = found.report
            self.verdict_ = found.verdict
            self._model: Model = load_model(found.folder, self.factory or refilled(self.source))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self.n_features_in_ = int(np.prod(x.shape[1:]))
        return self

    def _decode(self, x: Any) -> np.ndarray:
        check_is_fitted(self, "n_features_in_")
        return self._model.decode(np.asarray(x))


class TransferClassifier(ClassifierMixin, _Transfer):  # type: ignore[misc]
    __doc__ = f"""A classifier adapted from a pretrained module on few labelled rows.

    {(_Transfer.__doc__ or "").partition(chr(10))[2].strip()}
        classes_: the labels, in the order of predict_proba's columns; their numbers where y has a column for each.
    """

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:  # noqa: N803
        """Adapt the source on rows (n, ...) and labels (n,), or (n, c) in {0, 1} for any number of labels a row.

        Rows of one group stay together.
        """
        labels = np.asarray(y)
        self._several = are_sets(labels)
        if self._several:
            self.classes_ = np.arange(labels.shape[1])
            return self._fit(X, y, groups, "classification")
        self.classes_, codes = np.unique(labels, return_inverse=True)
        return self._fit(X, codes.reshape(len(labels)), groups, "classification")

    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """(n, classes) probabilities; of each label by itself where rows have any number."""
        return self._decode(X)

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """(n,) labels, or (n, c) in {0, 1}."""
        if self._several:
            return (self.predict_proba(X) >= 0.5).astype(np.int64)
        return np.asarray(self.classes_[self.predict_proba(X).argmax(axis=1)])


class TransferRegressor(RegressorMixin, _Transfer):  # type: ignore[misc]
    __doc__ = f"""A regressor adapted from a pretrained module on few labelled rows.

    {(_Transfer.__doc__ or "").partition(chr(10))[2].strip()}
    """

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:  # noqa: N803
        """Adapt the source on rows (n, ...) and numbers (n,); rows of one group stay together."""
        return self._fit(X, np.asarray(y, dtype=np.float64), groups, "regression")

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """(n,) numbers, in the unit of y."""
        return self._decode(X)


__all__ = ["TransferClassifier", "TransferRegressor"]
