"""Softmax regression that is pulled towards given outputs, instead of towards zero weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from tlplat.ops import reference_lbfgs
from tlplat.ops.problem import HeadProblem, RowLoss

ITERATIONS = 300


def fit_pulled(
    x: Tensor, y: Tensor, given: Tensor, decays: Sequence[float], rows: Tensor, tol: float = 1e-5
) -> tuple[Tensor, Tensor]:
    """K changes (K, C, d) and (K, C) of a head: least cross-entropy of ``given + x W' + b`` + decay/2 ||W||^2.

    With ``given = x W0' + b0`` this is the head W0 + W of least loss with a penalty on its distance from W0 (Yang et
    al. 2007, Cross-domain video concept detection using adaptive SVMs; here with the cross-entropy). The bias is free.

    Args:
        x: (n, d) float. y: (n,) class indices. given: (n, C) logits.
        decays: K of them. rows: (K, n) in {0, 1}, the rows that each fit sees.
    """
    count, classes = len(decays), given.shape[1]
    mass = rows.sum(dim=1)

    def objective(at: Tensor, heads: Tensor) -> tuple[Tensor, Tensor]:
        logits = given + torch.einsum("nd,kcd->knc", x, at[..., :-1]) + at[:, None, :, -1]
        share = rows[heads] / mass[heads, None]
        loss = F.cross_entropy(logits.flatten(0, 1), y.repeat(len(at)), reduction="none").view(len(at), -1)
        slope = (torch.softmax(logits, dim=2) - F.one_hot(y, classes)) * share[..., None]
        gradient = torch.cat([torch.einsum("knc,nd->kcd", slope, x), slope.sum(dim=1)[..., None]], dim=2)
        return (loss * share).sum(dim=1), gradient

    problem = HeadProblem(
        z=x,
        y=y,
        num_classes=classes,
        heads=count,
        compute=x.dtype,
        row_loss=RowLoss(),
        sample_weight=rows,
        validation_weight=None,
        weight_decay=torch.tensor(list(decays), dtype=torch.float64),
        weight=x.new_zeros(count, classes, x.shape[1]),
        bias=x.new_zeros(count, classes),
        solver="lbfgs",
        max_iter=ITERATIONS,
        tol=tol,
    )
    targets = rows @ F.one_hot(y, classes).to(x.dtype) / mass[:, None]
    found = reference_lbfgs.minimise(problem, objective, targets)[0]
    return found[..., :-1], found[..., -1]
