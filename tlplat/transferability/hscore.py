"""H-score: how much of the features' variance the classes explain, plain and shrunk."""

from __future__ import annotations

from torch import Tensor

from tlplat.transferability import checks


def h_score(z: Tensor, y: Tensor) -> float:
    """tr(cov(f)^-1 cov(E[f | y])) (Bao et al. 2019, "An Information-Theoretic Approach to Transferability in Task
    Transfer Learning", definition of the H-score).

    Args:
        z: (n, d) features. y: (n,) class indices.

    Returns:
        Between 0 and min(d, classes - 1), without a unit; higher is better; 0 for constant features. Unchanged by any
        invertible linear map of the features (the pseudo-inverse drops directions without variance) and by renaming
        classes. Trust: only where n is many times d. From d >= n - 1 on it reaches its upper end for *every* source
        of full rank and says nothing; :func:`shrunk_h_score` is meant for that.
    """
    x = checks.centred(checks.features(z))
    inverse, count = checks.classes(y, len(x))
    if not bool((x != 0).any()):
        return 0.0
    u, _, _ = checks.thin_svd(x)
    return float(_between(u, inverse, count).sum())


def shrunk_h_score(z: Tensor, y: Tensor) -> float:
    """The H-score with a shrunk covariance (Ibrahim et al. 2022, "Newer is not always better: Rethinking
    Transferability Metrics", the shrinkage-based H-score).

    tr(S_a^-1 (1 - a) cov(E[f | y])) with S_a = (1 - a) S + a (tr S / d) I, and a from Ledoit & Wolf (2004).

    Args:
        z: (n, d) features. y: (n,) class indices.

    Returns:
        Between 0 and min(d, classes - 1); higher is better; 0 for constant features. Unchanged by rotating or scaling
        all features together and by renaming classes, not by scaling single ones. Trust: usable below n = d; it
        counts how far class means lie apart, and misses classes that only a bent border separates.
    """
    x = checks.centred(checks.features(z))
    inverse, count = checks.classes(y, len(x))
    if not bool((x != 0).any()):
        return 0.0
    shrinkage = ledoit_wolf(x)
    u, s, _ = checks.thin_svd(x)
    variance = s**2 / len(x)
    level = float(variance.sum()) / x.shape[1]
    weight = (1 - shrinkage) * variance / ((1 - shrinkage) * variance + shrinkage * level)
    return float((weight * _between(u, inverse, count)).sum())


def ledoit_wolf(x: Tensor) -> float:
    """The share of the scaled identity, in [0, 1], in the covariance of x (n, d), whose columns have mean zero.

    Ledoit & Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices", section 3.2:
    min(b^2, d^2) / d^2 with d^2 = |S - m I|^2, m = tr S / p, and b^2 the mean of |x_k x_k^T - S|^2 over n.
    """
    n, p = x.shape
    gram = x @ x.T
    squares = float((gram**2).sum()) / n**2  # |S|^2, Frobenius
    trace = float(gram.trace()) / n
    spread = squares - trace**2 / p
    noise = (float((gram.diagonal() ** 2).sum()) / n - squares) / n
    return min(max(noise, 0.0), spread) / spread if spread > 0 else 1.0


def _between(u: Tensor, y: Tensor, count: int) -> Tensor:
    """Share (r,) of each of the orthonormal columns u (n, r) that lies in the space of class means."""
    means = checks.one_hot(y, count)
    sizes = means.sum(dim=0)
    return ((means.T @ u) ** 2 / sizes[:, None]).sum(dim=0)
