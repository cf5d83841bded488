"""Linear classifiers in closed form on fixed features: nearest class mean, discriminant, ridge."""

from __future__ import annotations

import torch
from torch import Tensor

from tlplat.tasks import linear


def nearest_mean(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (c, d) and bias (c,) of -|x - mean|^2 / (2 variance) + log(share of the class), up to what all share.

    x: (n, d), y: (n, c) one-hot. Means are prototypes (Snell et al. 2017); the variance is pooled within classes.
    """
    means = _means(x, y)
    variance = ((x - y @ means).square().sum() / max(1, len(x) - y.shape[1]) / x.shape[1]).clamp(min=1e-8)
    return means / variance, -0.5 * means.square().sum(dim=1) / variance + _log_shares(y)


def discriminant(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Linear discriminant (Fisher 1936) with a covariance shrunk as Ledoit & Wolf (2004) say: weight (c, d), bias."""
    from sklearn.covariance import ledoit_wolf

    means = _means(x, y)
    shrunk, _ = ledoit_wolf((x - y @ means).numpy(), assume_centered=True)
    covariance = torch.from_numpy(shrunk) + 1e-8 * torch.eye(x.shape[1], dtype=x.dtype)
    weight = torch.linalg.solve(covariance, means.T).T
    return weight, -0.5 * (weight * means).sum(dim=1) + _log_shares(y)


def _log_shares(y: Tensor) -> Tensor:
    return torch.log(y.mean(dim=0).clamp(min=0.5 / len(y)))


def _means(x: Tensor, y: Tensor) -> Tensor:
    """Class means (c, d); a class without a row lies at the origin."""
    return y.T @ x / y.sum(dim=0).clamp(min=1)[:, None]


def ridge(x: Tensor, y: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Least squares on targets in {-1, 1} with ``penalty * n * |W|^2``: weight (c, d), bias (Rifkin et al. 2003)."""
    return linear.ridge(x, 2 * y - 1, penalty)
