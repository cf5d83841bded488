"""N-LEEP: LEEP with the clusters of the features in place of the source's classes."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from tlplat.transferability import checks
from tlplat.transferability.labels import leep

ENERGY = 0.8
"""Share of the variance that the principal components keep."""
PER_CLASS = 5
"""Clusters a class (Li et al. 2021), where there are rows for so many."""
ROWS_PER_CLUSTER = 10


def n_leep(z: Tensor, y: Tensor, *, clusters: int | None = None, seed: int = 0) -> float:
    """LEEP on a Gaussian mixture of the features (Li et al. 2021, "Ranking Neural Checkpoints").

    The features' principal components are clustered, and P(cluster | x) takes the place of theta(x): no head needed.

    Args:
        z: (n, d) features. y: (n,) class indices. seed: of the mixture's start.
        clusters: default 5 a class, but at most a tenth of the rows (never fewer than the classes).

    Returns:
        Nats a row, between -log(classes) and 0; higher is better; minus the labels' entropy for constant features.
        Unchanged by renaming classes; rotating the features changes it by the mixture's rounding only. Trust: the
        least steady of the scores: another seed may change it, and with fewer than about 100 rows clusters memorise.
    """
    found = checks.features(z)
    labels, count = checks.classes(y, len(found))
    wanted = clusters or max(count, min(PER_CLASS * count, len(found) // ROWS_PER_CLUSTER))
    posterior = mixture_posterior(principal_components(found), wanted, seed)
    return leep(source_probabilities=posterior, target_labels=labels)


def principal_components(z: Tensor, energy: float = ENERGY) -> Tensor:
    """Scores (n, k) of the fewest components with ``energy`` of the variance, largest first; k = 0 for constant z.

    A component's sign is chosen so that its largest score is positive.
    """
    x = checks.centred(checks.features(z))
    if not bool((x != 0).any()):
        return x[:, :0]
    u, s, _ = checks.thin_svd(x)
    share = (s**2).cumsum(dim=0) / (s**2).sum()
    kept = int((share < energy - 1e-12).sum()) + 1
    scores = (u * s)[:, :kept]
    largest = scores.gather(0, scores.abs().argmax(dim=0, keepdim=True))
    return scores * torch.sign(largest)


def mixture_posterior(x: Tensor, clusters: int, seed: int = 0) -> Tensor:
    """P(cluster | row) (n, clusters) under a mixture of Gaussians with diagonal covariances, fitted by EM to x (n, k).

    One cluster where x has no column.
    """
    if x.shape[1] == 0:
        return torch.ones(len(x), 1, dtype=torch.float64)
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    rows = x.numpy()
    scale = float(np.mean(rows.var(axis=0)))
    mixture = GaussianMixture(
        min(clusters, len(np.unique(rows, axis=0))),
        covariance_type="diag",
        reg_covar=1e-3 * scale,
        random_state=seed,
        max_iter=200,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return torch.from_numpy(mixture.fit(rows).predict_proba(rows))
