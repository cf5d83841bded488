"""Plain torch: the definition of every op, and what runs where no extension could be built."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from tlplat.ops.problem import HeadProblem, RowLoss

CHUNK_ELEMENTS = 1 << 22
"""Logits held at once; bounds the memory of every function here, whatever n is."""


def softmax_head_loss(
    z: Tensor,
    y: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    row_loss: RowLoss,
    sample_weight: Tensor | None,
    reduction: str,
) -> Tensor:
    """Cross-entropy of ``softmax(z @ weight.T + bias)``; gradients flow to weight and bias, never to z.

    Args:
        z: (n, d). y: (n,). weight: (C, d). bias: (C,) or None. sample_weight: (n,) or None.
        reduction: ``mean``, ``sum``, or ``none`` for (n,).
    """
    dtype = weight.dtype
    logits = z.detach().to(dtype) @ weight.t()
    if bias is not None:
        logits = logits + bias
    label, a, b, mass = row_loss.targets(y, weight.shape[0], dtype)
    log_p = torch.log_softmax(logits, dim=1)
    rows = -a * log_p.gather(1, label[:, None]).squeeze(1)
    if row_loss.label_smoothing:
        rows = rows - (y != row_loss.ignore_index) * (log_p @ b)
    if sample_weight is not None:
        scale = sample_weight.to(dtype)
        rows, mass = rows * scale, mass * scale
    if reduction == "none":
        return rows
    return rows.sum() if reduction == "sum" else rows.sum() / mass.sum()


def softmax_head_predict(z: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(n, C) probabilities in weight's dtype."""
    with torch.no_grad():
        parts = []
        for part in torch.split(z, rows_a_chunk(weight.shape[0])):
            logits = part.to(weight.dtype) @ weight.t()
            parts.append(torch.softmax(logits if bias is None else logits + bias, dim=1))
        return torch.cat(parts) if parts else weight.new_empty((0, weight.shape[0]))


class Objective:
    """Data term and gradient of K heads at once, in chunks of rows.

    A head's data term is ``sum_i w_i loss_i / sum_i w_i mass_i`` over the rows of z (:class:`RowLoss`).
    Parameters are ``(k, C, d + 1)``: weight, then bias in the last column.
    """

    def __init__(self, p: HeadProblem) -> None:
        self.z, self.classes, self.dtype = p.z, p.num_classes, p.compute
        self.label, self.a, self.b, mass = p.row_loss.targets(p.y, p.num_classes, p.compute)
        self.b = self.b * (p.row_loss.label_smoothing > 0)
        self.kept = (p.y != p.row_loss.ignore_index).to(p.compute)
        self.scale = (self.kept if p.sample_weight is None else p.sample_weight.to(p.compute)).view(-1, len(p.z))
        self.mass = self.scale * mass

    def mean_targets(self) -> Tensor:
        """(K, C): with the bias' gradient, what the mean probabilities are."""
        rows = self.scale @ (torch.nn.functional.one_hot(self.label, self.classes).to(self.dtype) * self.a[:, None])
        rows = rows + (self.scale @ self.kept)[:, None] * self.b
        return rows / self.mass.sum(dim=1, keepdim=True)

    def __call__(self, x: Tensor, heads: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Loss (k,) and gradient like ``x`` of the heads with index ``heads`` (k,), over all rows or ``rows`` (m,).

        Over a subset of rows the mean is over that subset; a head without weight there has loss and gradient 0.
        """
        k, width = x.shape[0], x.shape[2]
        w, bias = x[..., :-1].reshape(-1, width - 1), x[..., -1].reshape(-1)
        loss, total, gradient = x.new_zeros(k), x.new_zeros(k), torch.zeros_like(x)
        scales, masses = (v if len(v) == 1 else v[heads] for v in (self.scale, self.mass))
        n = len(self.z) if rows is None else len(rows)
        chunk = rows_a_chunk(k * self.classes)
        for start in range(0, n, chunk):
            part = slice(start, start + chunk) if rows is None else rows[start : start + chunk]
            z, a, kept = self.z[part].to(self.dtype), self.a[part, None], self.kept[part, None]
            index = self.label[part, None, None].expand(-1, k, 1)
            log_p = torch.log_softmax(torch.addmm(bias, z, w.t()).view(-1, k, self.classes), dim=2)
            losses = -a * log_p.gather(2, index).squeeze(2) - kept * (log_p @ self.b)
            delta = log_p.exp_().mul_((a + kept * self.b.sum())[..., None])
            delta.scatter_add_(2, index, -a[..., None].expand(-1, k, 1)).sub_((kept * self.b)[:, None, :])
            scale = scales[:, part].t()
            delta.mul_(scale[..., None])
            loss += (losses * scale).sum(dim=0)
            total += masses[:, part].sum(dim=1)
            flat = delta.view(len(z), -1)
            gradient[..., :-1] += (flat.t() @ z).view(k, self.classes, -1)
            gradient[..., -1] += flat.sum(dim=0).view(k, self.classes)
        total = torch.where(total > 0, total, 1.0)
        return loss / total, gradient / total[:, None, None]


def held_out_loss(p: HeadProblem, weight: Tensor, bias: Tensor) -> Tensor:
    """(K,) mean cross-entropy in nats over the rows that are held out; no class weights, no smoothing."""
    if p.validation_weight is None:
        return torch.full((p.heads,), torch.nan, dtype=p.compute, device=p.z.device)
    plain = RowLoss(ignore_index=p.row_loss.ignore_index)
    held = Objective(dataclasses.replace(p, row_loss=plain, sample_weight=p.validation_weight))
    return held(torch.cat([weight, bias[..., None]], dim=2), torch.arange(p.heads, device=p.z.device))[0]


def rows_a_chunk(columns: int) -> int:
    return max(1, CHUNK_ELEMENTS // max(1, columns))
