"""Softmax heads on fixed features, the decay chosen by cross-validation: from zero, or near a head that is given."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from tlplat.ops import fit_softmax_heads
from tlplat.tasks.base import HeadFit
from tlplat.tasks.linear import dealt_folds
from tlplat.tasks.pulled import fit_pulled


def softmax_fit(
    x: Tensor, y: Tensor, classes: int, decays: Sequence[float], folds: int | Tensor
) -> tuple[Tensor, Tensor, float, float]:
    """Weight (classes, d), bias (classes,), held-out loss, and the decay of least held-out loss."""
    losses = cross_validated_loss(x, y, classes, decays, folds) if len(decays) > 1 else torch.tensor([math.nan])
    best = int(losses.argmin())
    fit = fit_softmax_heads(x, y, classes, weight_decay=[decays[best]], solver="lbfgs")
    return fit.weight[0], fit.bias[0], float(losses[best]), decays[best]


def pulled_fit(
    z: Tensor,
    x: Tensor,
    y: Tensor,
    toward: tuple[Tensor, Tensor],
    mean: Tensor,
    scale: Tensor,
    decays: Sequence[float],
    folds: int | Tensor,
) -> HeadFit:
    """The head near ``toward``: the decay, on changes in standardised features ``x``, of least held-out loss."""
    weight, bias = (t.to(z) for t in toward)
    given = (z @ weight.T + bias).float()
    masks = _fold_masks(y, folds).repeat_interleave(len(decays), dim=0)
    change, shift = fit_pulled(x, y, given, list(decays) * (len(masks) // len(decays)), masks, tol=1e-3)
    logits = given + torch.einsum("kcd,nd->knc", change, x) + shift[:, None]
    losses = _held_out(logits, y, masks, len(decays))
    best = int(losses.argmin())
    change, shift = fit_pulled(x, y, given, [decays[best]], torch.ones(1, len(y)))
    moved = change[0] / scale
    return HeadFit(weight + moved, bias + shift[0] - moved @ mean, float(losses[best]), {"weight_decay": decays[best]})


def cross_validated_loss(x: Tensor, y: Tensor, classes: int, decays: Sequence[float], folds: int | Tensor) -> Tensor:
    """Held-out cross-entropy (len(decays),) of softmax heads on x (n, d): all folds and decays in one call.

    ``folds``: how many, each class dealt out over them, or the number of each row's (n,).
    """
    masks = _fold_masks(y, folds)
    rows = masks.repeat_interleave(len(decays), dim=0)
    fit = fit_softmax_heads(
        x,
        y,
        classes,
        weight_decay=list(decays) * len(masks),
        sample_weight=rows,
        validation_weight=1 - rows,
        solver="lbfgs",
        tol=1e-3,
    )
    left_out = (1 - masks).sum(dim=1)
    losses = torch.where(left_out[:, None] > 0, fit.validation_loss.view(len(masks), -1), 0)
    return left_out @ losses / len(y)


def _fold_masks(y: Tensor, folds: int | Tensor) -> Tensor:
    """(folds, n): 1 for the rows that each fold trains on."""
    fold = dealt_folds(y, folds) if isinstance(folds, int) else folds
    return torch.stack([(fold != f).float() for f in range(int(fold.max()) + 1)])


def _held_out(logits: Tensor, y: Tensor, masks: Tensor, decays: int) -> Tensor:
    """(decays,) mean loss of the rows that each fold leaves out, for logits (folds * decays, n, classes)."""
    loss = F.cross_entropy(logits.flatten(0, 1), y.repeat(len(logits)), reduction="none").view(len(logits), -1)
    return (loss * (1 - masks)).view(-1, decays, len(y)).sum(dim=(0, 2)) / len(y)


def moments(z: Tensor) -> tuple[Tensor, Tensor]:
    scale = z.std(dim=0, correction=0)
    return z.mean(dim=0), torch.where(scale > 1e-6, scale, torch.ones_like(scale))
