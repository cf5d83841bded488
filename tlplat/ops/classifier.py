"""A scikit-learn classifier over frozen features: softmax regression by the ops of tlplat."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from tlplat.ops import fit_softmax_heads, softmax_head_predict


class SoftmaxHeadClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Softmax regression: mean cross-entropy plus ``0.5 * weight_decay * ||W||^2``, the bias not penalised.

    The objective of scikit-learn's LogisticRegression at ``C = 1 / (n * weight_decay)`` (with two classes, where that
    keeps one logit, at ``2 / (n * weight_decay)``).

    Args:
        weight_decay: penalty. solver: ``lbfgs``, ``sgd`` or ``adamw`` (:func:`tlplat.ops.fit_softmax_heads`).
        max_iter: L-BFGS iterations, or epochs. tol: bound on the gradient's norm.
        learning_rate: of sgd and adamw, and of :meth:`partial_fit`; None for the solver's default.
        batch_size: rows a step. random_state: decides the order of rows.

    Attributes:
        classes_: (C,) labels. coef_: (C, d). intercept_: (C,). n_iter_: iterations or epochs. loss_: the objective.
    """

    def __init__(
        self,
        weight_decay: float = 1e-3,
        solver: Literal["lbfgs", "sgd", "adamw"] = "lbfgs",
        max_iter: int = 500,
        tol: float = 1e-5,
        learning_rate: float | None = None,
        batch_size: int = 256,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.weight_decay = weight_decay
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # noqa: N803
        """Fit to X (n, d) and labels y (n,); ``sample_weight`` (n,) not negative."""
        X, y = validate_data(self, X, y, dtype=(np.float64, np.float32))  # noqa: N806
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        if len(self.classes_) < 2:
            raise ValueError("Classifier can't train when only one class is present.")
        return self._solve(X, y, sample_weight, self.solver, self.max_iter, None)

    def partial_fit(self, X: Any, y: Any, classes: Sequence[Any] | None = None, sample_weight: Any = None) -> Self:  # noqa: N803
        """One more epoch of minibatches (sgd, or adamw where that is the solver); ``classes`` at the first call."""
        first = not hasattr(self, "classes_")
        X, y = validate_data(self, X, y, dtype=(np.float64, np.float32), reset=first)  # noqa: N806
        check_classification_targets(y)
        if first:
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            self.classes_ = np.unique(classes)
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(f"classes {classes!r} differ from those of earlier calls, {self.classes_!r}")
        solver = "adamw" if self.solver == "adamw" else "sgd"
        start = None if first else (self.coef_, self.intercept_)
        return self._solve(X, y, sample_weight, solver, 1, start)

    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """(n, C) probabilities, columns as in ``classes_``."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)  # noqa: N806
        z = torch.from_numpy(np.ascontiguousarray(X, dtype=self.coef_.dtype))
        return softmax_head_predict(z, torch.from_numpy(self.coef_), torch.from_numpy(self.intercept_)).numpy()

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """(n,) labels."""
        check_is_fitted(self)
        chosen: np.ndarray = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return chosen

    def _solve(
        self,
        X: np.ndarray,  # noqa: N803
        y: np.ndarray,
        sample_weight: Any,
        solver: Any,
        epochs: int,
        start: Any,
    ) -> Self:
        label = np.searchsorted(self.classes_, y)
        if (self.classes_[np.minimum(label, len(self.classes_) - 1)] != y).any():
            raise ValueError(f"y has labels that are not among the classes {self.classes_!r}")
        weights = None
        if sample_weight is not None:
            weights = torch.from_numpy(_check_sample_weight(sample_weight, X, dtype=np.float64, **_NON_NEGATIVE))
        seed = self.random_state
        if isinstance(seed, np.random.RandomState) or seed is None:
            seed = int((seed or np.random.default_rng()).choice(1 << 31))
        dtype = X.dtype if start is None else start[0].dtype
        found = fit_softmax_heads(
            torch.from_numpy(np.ascontiguousarray(X, dtype=dtype)),
            torch.from_numpy(label.astype(np.int64)),
            len(self.classes_),
            weight_decay=self.weight_decay,
            solver=solver,
            sample_weight=weights,
            max_iter=epochs,
            tol=self.tol,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            seed=seed,
            start=None if start is None else (torch.from_numpy(start[0])[None], torch.from_numpy(start[1])[None]),
        )
        self.coef_, self.intercept_ = found.weight[0].numpy(), found.bias[0].numpy()
        self.n_iter_, self.loss_ = int(found.iterations[0]), float(found.loss[0])
        return self


_NON_NEGATIVE: dict[str, Any] = (
    {"ensure_non_negative": True}
    if "ensure_non_negative" in inspect.signature(_check_sample_weight).parameters
    else {"only_non_negative": True}
)
