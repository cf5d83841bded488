"""LogME: the maximum evidence of a Bayesian linear model on the features."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tlplat.errors import DataError
from tlplat.transferability import checks

SPAN = 27.6
"""log t is sought within log(largest eigenvalue) +- 27.6, a factor of 1e12: beyond, evidence is flat or unbounded."""
GRID = 221
GOLDEN = (math.sqrt(5) - 1) / 2


def log_me(z: Tensor, y: Tensor) -> float:
    """Log maximum evidence a row (You et al. 2021, "LogME: Practical Assessment of Pre-trained Models", section 4).

    Each column of targets is modelled as y ~ N(Fw, 1/beta), w ~ N(0, 1/alpha); the evidence p(y | F, alpha, beta) is
    maximised over alpha and beta, its logarithm divided by n, and averaged over the columns (one a class).
    With t = alpha / beta the best beta is known, and evidence depends on t alone, through the eigenvalues l_i of F F^T:
    L(t) = -n/2 (log(2 pi v) + 1) - 1/2 sum_i log(1 + l_i / t),  v = (|rest|^2 + sum_i (u_i . y)^2 t / (t + l_i)) / n.
    The paper iterates alpha and beta to a fixed point, which is a stationary point of the same function; here its
    maximum is searched on a grid of t and refined, so the result is the global one, and n < d needs no special care.

    Args:
        z: (n, d) features, used as they are: neither centred nor scaled.
        y: (n,) class indices, or (n,) or (n, k) float targets of a regression.

    Returns:
        Nats a row, unbounded; higher is better. Unchanged by rotating or scaling all features and by renaming classes.
        Trust: the steadiest of the closed-form scores; it penalises what it does not need, so n < d is defined, but
        with tens of rows sources within 0.05 of each other are not told apart.
    """
    f = checks.features(z)
    t = _columns(y, len(f))
    n = len(f)
    u, s, _ = checks.thin_svd(f) if bool((f != 0).any()) else (f[:, :0], f[0, :0], None)
    explained = (u.T @ t) ** 2
    rest = ((t - u @ (u.T @ t)) ** 2).sum(dim=0) if len(s) < n else torch.zeros(t.shape[1], dtype=t.dtype)
    if not len(s):
        return float((-0.5 * (torch.log(2 * math.pi * rest / n) + 1)).mean())
    return float(_maximum(s**2, explained, rest, n).mean() / n)


def _columns(y: Tensor, rows: int) -> Tensor:
    """Targets (n, k) float64: one column a class, or the columns of a regression."""
    if not y.is_floating_point() and y.ndim == 1:
        return checks.one_hot(*checks.classes(y, rows))
    found = checks.finite(y, "targets").reshape(len(y), -1)
    if len(found) != rows or bool((found == found[0]).all(dim=0).any()):
        raise DataError(
            "TL-SCORE-INPUT",
            "a column of targets is constant, or the targets are not as many as the rows",
            found=str(tuple(y.shape)),
            expected=f"{rows} rows that vary",
            fix="leave out targets that do not vary",
        )
    return found


def _maximum(eigenvalues: Tensor, explained: Tensor, rest: Tensor, n: int) -> Tensor:
    """max_t L(t) for each column: grid, then golden-section search around its best point."""

    def evidence(log_t: Tensor) -> Tensor:
        """L at log_t (g, k) for each column k."""
        ratio = eigenvalues[:, None, None] / log_t.exp()
        v = (rest + (explained[:, None] / (1 + ratio)).sum(dim=0)) / n
        return -n / 2 * (torch.log(2 * math.pi * v) + 1) - 0.5 * torch.log1p(ratio).sum(dim=0)

    centre = float(eigenvalues.max().log())
    grid = torch.linspace(centre - SPAN, centre + SPAN, GRID, dtype=torch.float64)
    best = grid[evidence(grid[:, None].expand(-1, explained.shape[1])).argmax(dim=0)]
    step = 2 * SPAN / (GRID - 1)
    low, high = (best - step).clamp(min=centre - SPAN), (best + step).clamp(max=centre + SPAN)
    for _ in range(60):
        a, b = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        left = evidence(a[None])[0] > evidence(b[None])[0]
        low, high = torch.where(left, low, a), torch.where(left, b, high)
    return evidence(torch.stack([best, low, high])).amax(dim=0)
