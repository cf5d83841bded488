"""Which treatment for whom: doubly robust scores, cross-fitted nuisances, the value of a policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tlplat.metrics import RowMean
from tlplat.tasks.linear import Standard, dealt_folds, ridge

LEAST_PROPENSITY = 0.05
"""Propensities are not taken to be smaller: one row must not decide a value."""
NUISANCE_FOLDS, NUISANCE_DECAY = 5, 0.1


@dataclass(frozen=True)
class Nuisances:
    """For rows and arms: propensity (n, k), and outcome (n, k) expected under each arm."""

    propensity: Tensor
    outcome: Tensor


def cross_fitted(x: Tensor, arm: Tensor, outcome: Tensor, arms: int, seed: int) -> Nuisances:
    """Each row's nuisances by models of the other folds' rows: logistic and, for each arm, ridge regression.

    x: (n, d), arm: (n,) int64, outcome: (n,). With d = 0 they are the arms' frequencies and mean outcomes.
    """
    order = torch.randperm(len(arm), generator=torch.Generator().manual_seed(seed))
    fold = torch.empty_like(arm)
    fold[order] = dealt_folds(arm[order], NUISANCE_FOLDS)
    made = Nuisances(torch.zeros(len(arm), arms, dtype=torch.float64), torch.zeros(len(arm), arms, dtype=torch.float64))
    for number in range(int(fold.max()) + 1):
        out = fold == number
        fit = fitted(x[~out], arm[~out], outcome[~out], arms)
        held = fit(x[out])
        made.propensity[out], made.outcome[out] = held.propensity, held.outcome
    return made


def fitted(x: Tensor, arm: Tensor, outcome: Tensor, arms: int) -> Callable[[Tensor], Nuisances]:
    """Nuisances of new rows by models of these."""
    from sklearn.linear_model import LogisticRegression

    y, overall = outcome.double(), outcome.double().mean()
    standard = Standard.of(x)
    share = (torch.bincount(arm, minlength=arms).double() + 1) / (len(arm) + arms)
    logistic = None
    if x.shape[1] and bool((torch.bincount(arm, minlength=arms) > 0).all()):
        logistic = LogisticRegression(C=1 / (NUISANCE_DECAY * len(arm)), max_iter=500)
        logistic.fit(standard.x.numpy(), arm.numpy())
    heads = []
    for a in range(arms):
        mine = arm == a
        if int(mine.sum()) < 2 or not x.shape[1]:
            mean = y[mine].mean() if bool(mine.any()) else overall
            heads.append((torch.zeros(1, standard.x.shape[1], dtype=torch.float64), mean[None]))
        else:
            heads.append(ridge(standard.x[mine], y[mine][:, None], NUISANCE_DECAY))

    def nuisances(z: Tensor) -> Nuisances:
        z = standard.of_new(z)
        known = share.repeat(len(z), 1) if logistic is None else torch.from_numpy(logistic.predict_proba(z.numpy()))
        return Nuisances(known, torch.cat([z @ w.T + b for w, b in heads], dim=1))

    return nuisances


def robust_scores(arm: Tensor, outcome: Tensor, nuisances: Nuisances) -> Tensor:
    """(n, k) augmented inverse-propensity scores, whose mean is the outcome under each arm (Robins et al. 1994).

    Right in the mean where either the propensities or the outcome models are.
    """
    propensity = nuisances.propensity.clamp(min=LEAST_PROPENSITY)
    hit = torch.nn.functional.one_hot(arm, propensity.shape[1]).double()
    return nuisances.outcome + hit / propensity * (outcome.double()[:, None] - nuisances.outcome)


def scores_of(targets: np.ndarray, arms: int) -> np.ndarray:
    """(n, k) robust scores from targets (n, 2 + 2k): arm, outcome, propensities, expected outcomes."""
    t = torch.from_numpy(np.ascontiguousarray(targets)).double()
    made = Nuisances(t[:, 2 : 2 + arms], t[:, 2 + arms : 2 + 2 * arms])
    return np.asarray(robust_scores(t[:, 0].long(), t[:, 1], made).numpy())


def recommended(predictions: np.ndarray, maximise: bool) -> np.ndarray:
    """(n,) arm of the best expected outcome (n, k); of equals the first."""
    return np.asarray((predictions if maximise else -predictions).argmax(axis=1))


def policy_value(arms: int, maximise: bool) -> RowMean:
    """Mean outcome if every row got the arm that is predicted to be best for it, by robust scores."""

    def rows(targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        return np.asarray(scores_of(targets, arms)[np.arange(len(targets)), recommended(predictions, maximise)])

    return RowMean("policy_value", maximise, rows)


def effect_error(arms: int) -> RowMean:
    """Squared error of effects against the first arm, with robust scores for the truth: noise and all (DR loss)."""

    def rows(targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        scores = scores_of(targets, arms)
        gap = (scores[:, 1:] - scores[:, :1]) - (predictions[:, 1:] - predictions[:, :1])
        return np.asarray((gap**2).mean(axis=1))

    return RowMean("effect_error", False, rows)


def outcome_error(targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """(n,) absolute error of the outcome under the arm that was given."""
    return np.asarray(np.abs(targets[:, 1] - predictions[np.arange(len(targets)), targets[:, 0].astype(int)]))
