"""Linear heads on fixed features, solved and not stepped: standardised features, folds, ridge, any convex loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tlplat.tasks.base import HeadFit

DECAYS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Weight decays that are tried where the options name none: half of it times |W|^2 beside the mean loss a row."""
FOLDS = 5
ROUGH = 1e-3
"""Gradient at which L-BFGS ends in the fits that folds compare: their losses differ by more."""
Loss = Callable[[Tensor, Tensor], Tensor]
"""Mean loss of outputs (n, c) against targets (n, ...)."""


@dataclass(frozen=True)
class Standard:
    """Features with mean 0 and deviation 1 in each column, and the way back for a head's weights.

    Where there are more columns than rows, ``x`` (n, rank) are coordinates in the rows' span: the solution of a problem
    whose penalty is |W|^2 lies there (the representer theorem), and everything is as small as the rows are few.

    Attributes:
        mean, scale: (d,) of the columns. basis: (rank, d), orthonormal, or None.
        variance: mean square of a standardised column.
    """

    x: Tensor
    mean: Tensor
    scale: Tensor
    variance: float
    basis: Tensor | None = None

    @classmethod
    def of(cls, z: Tensor, wanted: bool = True) -> Standard:
        """z (n, d) in float64; constant columns keep their scale. ``wanted`` False neither centres nor scales."""
        z = z.detach().cpu().double()
        mean, scale = z.new_zeros(z.shape[1]), z.new_ones(z.shape[1])
        if wanted and z.numel():
            mean, spread = z.mean(dim=0), z.std(dim=0, correction=0)
            scale = torch.where(spread > 1e-6, spread, torch.ones_like(spread))
        x = (z - mean) / scale
        variance = float(x.square().mean()) if x.numel() else 1.0
        if x.shape[1] <= x.shape[0]:
            return cls(x, mean, scale, variance)
        _, sizes, rows = torch.linalg.svd(x, full_matrices=False)
        basis = rows[sizes > 1e-9 * sizes[0]]
        return cls(x @ basis.T, mean, scale, variance, basis)

    def of_new(self, z: Tensor) -> Tensor:
        """Other rows z (m, d) as ``x`` is."""
        x = (z.detach().cpu().double() - self.mean) / self.scale
        return x if self.basis is None else x @ self.basis.T

    def head(self, weight: Tensor, bias: Tensor, loss: float, chosen: Mapping[str, Any]) -> HeadFit:
        """The head on the features as they were, from weight (c, rank or d) and bias (c,) on ``x``."""
        weight = (weight if self.basis is None else weight @ self.basis) / self.scale
        return HeadFit(weight.float(), (bias - weight @ self.mean).float(), loss, dict(chosen))


def decays_of(options: Mapping[str, Any]) -> list[float]:
    """The weight decays to try."""
    return [float(d) for d in options.get("weight_decays", DECAYS)]


def dealt_folds(strata: Tensor, folds: int = FOLDS) -> Tensor:
    """(n,) fold numbers, each stratum (n,) or set (n, c) dealt out in row order; as many folds as rows at most."""
    if strata.ndim == 2:
        strata = torch.unique(strata, dim=0, return_inverse=True)[1]
    order = torch.argsort(strata, stable=True)
    fold = torch.empty(len(strata), dtype=torch.int64)
    fold[order] = torch.arange(len(strata)) % max(2, min(folds, len(strata)))
    return fold


def folds_of(options: Mapping[str, Any], strata: Tensor) -> Tensor:
    """(n,) fold numbers of the inner cross-validation: ``fold`` of the options, else dealt out over ``strata``."""
    given: Tensor | None = options.get("fold")
    return dealt_folds(strata, int(options.get("folds", FOLDS))) if given is None else given


def ridge(x: Tensor, y: Tensor, decay: float) -> tuple[Tensor, Tensor]:
    """Weight (c, d) and bias (c,) of least mean of |y - Wx - b|^2 / 2 plus decay / 2 * |W|^2 (Hoerl & Kennard 1970).

    x: (n, d), y: (n, c), float64.
    """
    centre, offset, n = x.mean(dim=0), y.mean(dim=0), len(x)
    a, b = x - centre, y - offset
    if n < a.shape[1]:
        kernel = a @ a.T + decay * n * torch.eye(n, dtype=x.dtype)
        weight = torch.linalg.solve(kernel, b).T @ a
    else:
        gram = a.T @ a + decay * n * torch.eye(a.shape[1], dtype=x.dtype)
        weight = torch.linalg.solve(gram, a.T @ b).T
    return weight, offset - weight @ centre


def minimised(
    loss: Loss, x: Tensor, y: Tensor, outputs: int, decay: float, start: Tensor | None = None, tol: float = 1e-6
) -> Tensor:
    """(outputs, d + 1) weights and, last, biases of least loss plus decay / 2 * |W|^2, by L-BFGS in float64.

    For convex losses with a gradient everywhere. ``start``: the solution of a neighbouring problem. ``tol``: largest
    entry of the gradient, and a thousandth of it largest change, to end at.
    """
    w = torch.zeros(outputs, x.shape[1] + 1, dtype=x.dtype) if start is None else start.clone()
    w.requires_grad_(True)
    solver = torch.optim.LBFGS(
        [w],
        max_iter=300,
        history_size=20,
        tolerance_grad=tol,
        tolerance_change=1e-3 * tol,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        solver.zero_grad()
        value = loss(x @ w[:, :-1].T + w[:, -1], y) + 0.5 * decay * w[:, :-1].square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    solver.step(closure)  # type: ignore[no-untyped-call]
    return w.detach()


def solve_head(
    loss: Loss,
    z: Tensor,
    y: Tensor,
    outputs: int,
    options: Mapping[str, Any],
    strata: Tensor,
    score: Loss | None = None,
) -> HeadFit:
    """The head of least penalised loss, its decay chosen by cross-validation on folds dealt out over ``strata``.

    Args:
        score: the loss that held-out rows are judged by, where it is not the one that is minimised.
    """
    score = score or loss
    standard, decays = Standard.of(z, bool(options.get("standardise", True))), sorted(decays_of(options), reverse=True)
    x = standard.x
    y = y.detach().cpu()
    held_out = torch.full((len(decays),), math.nan, dtype=torch.float64)
    if len(decays) > 1:
        fold = folds_of(options, strata)
        held_out = torch.zeros(len(decays), dtype=torch.float64)
        for number in range(int(fold.max()) + 1):
            out = fold == number
            w: Tensor | None = None
            for i, decay in enumerate(decays):
                w = minimised(loss, x[~out], y[~out], outputs, decay, w, ROUGH)
                held_out[i] += float(score(x[out] @ w[:, :-1].T + w[:, -1], y[out])) * int(out.sum()) / len(x)
    best = int(held_out.nan_to_num(math.inf).argmin())
    w = minimised(loss, x, y, outputs, decays[best])
    return standard.head(w[:, :-1], w[:, -1], float(held_out[best]), {"weight_decay": decays[best]})


def solve_ridge(z: Tensor, y: Tensor, options: Mapping[str, Any], strata: Tensor) -> HeadFit:
    """As :func:`solve_head` for half the squared error of targets y (n, c), in closed form."""
    standard, decays = Standard.of(z, bool(options.get("standardise", True))), decays_of(options)
    x, y = standard.x, y.detach().cpu().double()
    losses = [math.nan] * len(decays)
    if len(decays) > 1:
        fold = folds_of(options, strata)
        losses = [_held_out_ridge(x, y, fold, decay) for decay in decays]
    best = min(range(len(decays)), key=lambda i: losses[i]) if len(decays) > 1 else 0
    return standard.head(*ridge(x, y, decays[best]), losses[best], {"weight_decay": decays[best]})


def _held_out_ridge(x: Tensor, y: Tensor, fold: Tensor, decay: float) -> float:
    total = 0.0
    for number in range(int(fold.max()) + 1):
        out = fold == number
        weight, bias = ridge(x[~out], y[~out], decay)
        total += float((x[out] @ weight.T + bias - y[out]).square().sum()) / 2
    return total / len(x)


def ranked_strata(values: Tensor, least: int = 10, most: int = 5) -> Tensor:
    """(n,) int64 bins of equal size by rank, at most five and of ten rows or more, so that folds spread the range."""
    bins = max(1, min(most, len(values) // least))
    rank = torch.argsort(torch.argsort(values, stable=True), stable=True)
    return rank * bins // max(1, len(values))
