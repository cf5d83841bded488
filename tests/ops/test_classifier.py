"""SoftmaxHeadClassifier: scikit-learn's own checks, and the same probabilities as LogisticRegression."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from tlplat import SoftmaxHeadClassifier


@parametrize_with_checks([SoftmaxHeadClassifier(), SoftmaxHeadClassifier(solver="sgd", max_iter=100)])
def test_estimator(
    estimator: BaseEstimator, check: Callable[[BaseEstimator], None], recwarn: pytest.WarningsRecorder
) -> None:
    check(estimator)


@pytest.mark.parametrize("decay", [1e-3, 0.1])
def test_probabilities_are_those_of_logistic_regression(decay: float) -> None:
    x, y = load_iris(return_X_y=True)
    x = (x - x.mean(0)) / x.std(0)
    ours = SoftmaxHeadClassifier(weight_decay=decay, tol=1e-8).fit(x, y)
    peer = LogisticRegression(C=1 / (len(x) * decay), tol=1e-10, max_iter=10000).fit(x, y)
    assert np.abs(ours.predict_proba(x) - peer.predict_proba(x)).max() < 1e-4


def test_partial_fit_goes_on_and_learns() -> None:
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    model = SoftmaxHeadClassifier(learning_rate=0.5, batch_size=64)
    scores = [model.partial_fit(x, y, classes=range(10)).score(x, y) for _ in range(5)]
    assert scores[-1] > 0.93
    assert scores[-1] > scores[0]
    with pytest.raises(ValueError, match="not among the classes"):
        model.partial_fit(x[:2], [3, 11])
