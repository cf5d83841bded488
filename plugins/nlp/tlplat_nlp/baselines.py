"""What a careful user does without transfer: regularised logistic regression on weighted word counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from tlplat.classical import OneEach, predicted
from tlplat.data.examples import Examples, Inputs
from tlplat.domain import Baseline
from tlplat.tasks.base import Task
from tlplat_nlp.inputs import TextInputs

STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)
"""Inverse penalties (C) that cross-validation chooses among; tf-idf rows have length 1, so that large ones matter."""
FIXED = 10.0
"""Where a class has too few rows to choose by."""
FOLDS = 5
TOKEN = r"(?u)\w+|[^\w\s]"
"""Words, and marks such as ! or an emoji one by one: no text is without."""


class TfidfLogistic(Baseline):
    """Words and word pairs weighted by tf-idf, logistic regression, its penalty chosen by 5-fold cross-validation.

    Where rows have any number of labels, one regression a label.
    """

    name: ClassVar[str] = "tfidf_logistic"
    summary: ClassVar[str] = "logistic regression on tf-idf of words and word pairs"

    def __init__(self) -> None:
        self._used, self._count = 0.0, 0

    def fit_predict(self, train: Examples, others: Sequence[Inputs], task: Task, seed: int) -> list[np.ndarray]:
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=TOKEN)
        y = train.targets.numpy()
        x = words.fit_transform(_texts(train.inputs))
        several = OneEach(lambda column: _model(_strength(x, column, seed))) if y.ndim == 2 else None
        model = (several or _model(_strength(x, y, seed))).fit(x, y)
        fitted = [m for m in several.models if m is not None] if several else [model]
        self._count = sum(m.coef_.size + m.intercept_.size for m in fitted)
        self._used = float(x.getnnz() / x.shape[0]) * sum(len(m.coef_) for m in fitted)
        return [predicted(model, words.transform(_texts(i)), task) for i in others]

    def inference_cost(self) -> float:
        return self._used

    def parameters(self) -> int:
        return self._count


def _texts(inputs: Inputs) -> list[str]:
    assert isinstance(inputs, TextInputs)
    return inputs.texts


def _model(strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=2000)


def _strength(x: csr_matrix, y: NDArray[np.int64], seed: int) -> float:
    """The inverse penalty of least held-out loss."""
    folds = min(FOLDS, int(np.unique(y, return_counts=True)[1].min()))
    if folds < 2:
        return FIXED
    losses = dict.fromkeys(STRENGTHS, 0.0)
    for inside, outside in StratifiedKFold(folds, shuffle=True, random_state=seed).split(x, y):
        for strength in STRENGTHS:
            fitted = _model(strength).fit(x[inside], y[inside])
            place = np.searchsorted(fitted.classes_, y[outside])
            p = fitted.predict_proba(x[outside])[np.arange(len(outside)), place]
            losses[strength] -= float(np.log(np.clip(p, 1e-12, 1)).sum())
    best = min(losses, key=losses.__getitem__)
    return best if math.isfinite(losses[best]) else FIXED
