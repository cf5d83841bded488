"""The curvature that L-BFGS starts from: that of a softmax head whose probabilities are the same on every row.

With features centred and turned onto the axes of their second moments s (d,), and mean probabilities q (C,), the loss
curves like ``kappa * (diag q - q q^T) * s_j + weight_decay`` between the classes along axis j, and like
``kappa * (diag q - q q^T)`` between the biases (Boehning 1992, with class probabilities in place of 1 / C). kappa is 1
where all rows have the probabilities q and falls as they sharpen; each step tells it anew.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from tlplat.ops.problem import HeadProblem, Moments

_SAMPLE, _PROBE = 1024, 128
"""Rows that tell the moments of features as they are, and whether features are correlated."""
_LEAST_SHARE = 0.01
"""Of 1 / C."""
_WORTH_COPY = 16
"""Up to this many rows a feature, turned features are kept; beyond, points and gradients are turned instead."""


def onto_axes(p: HeadProblem) -> tuple[HeadProblem, Tensor | None]:
    """The problem with the moments along their own axes where finding these pays.

    Where z is short against the memory that the axes take, z itself is turned, and the second value (d, d) takes the
    weights back; objective and steps stay the same.
    """
    n, d = p.z.shape
    evaluation, setup = 4.0 * n * d * p.num_classes * p.heads, 60.0 * d**3  # floating-point operations
    # Correlated features spare a head 25 iterations and more, others one.
    if d < 2 or evaluation < max(5e7, setup / 5) or not _correlated(p):
        return p, None
    x, share = _sample(p, _WORTH_COPY * d)
    centre = (share * x).sum(dim=0)
    x = x - centre
    moments = x.t() @ (share * x)
    if not bool(torch.isfinite(moments).all()):
        return p, None
    spectrum, basis = torch.linalg.eigh(moments)
    spectrum = spectrum.double().clamp_min(max(1e-6 * float(spectrum[-1]), 1e-30))
    found = Moments((centre @ basis).double(), spectrum)
    if n > _WORTH_COPY * d or not p.from_zero:
        return dataclasses.replace(p, moments=dataclasses.replace(found, axes=basis.t().contiguous())), None
    return dataclasses.replace(p, z=p.z.to(p.compute) @ basis, moments=found), basis


def _rows(p: HeadProblem) -> tuple[Tensor, int]:
    """What every row weighs (n,), for all heads together, and how many weigh anything."""
    weight = (p.y != p.row_loss.ignore_index).to(p.compute)
    if p.sample_weight is not None:
        weight = weight * p.sample_weight.to(p.compute).sum(dim=0)
    return weight, int((weight != 0).sum())


def _sample(p: HeadProblem, most: int) -> tuple[Tensor, Tensor]:
    """Features (m, d), evenly spread over the rows that count for some head, and their shares (m, 1) of all weight."""
    weight, count = _rows(p)
    used = min(count, most)
    if used == len(p.z):
        return p.z.to(p.compute), weight[:, None] / weight.sum()
    at = torch.arange(used, device=p.z.device) * count // used
    rows = weight.nonzero().flatten()[at]
    share = weight[rows, None]
    return p.z[rows].to(p.compute), share / share.sum()


def _correlated(p: HeadProblem) -> bool:
    """Whether the mean squared eigenvalue of the correlation matrix is beyond 1.5, by products of rows."""
    x, _ = _sample(p, _PROBE)
    x = x - x.mean(dim=0)
    x = x / x.square().mean(dim=0).sqrt().clamp_min(1e-30)
    square = (x @ x.t()).fill_diagonal_(0).square_().sum()
    return bool(square > 1.5 * x.shape[1] * len(x) * (len(x) - 1))


def column_moments(p: HeadProblem) -> Moments:
    """Of the features as they are; one that the sample does not move counts like the mean of the others.

    James and Stein's: what a sample this small would find where features are alike is taken off.
    """
    x, share = _sample(p, _SAMPLE)
    x, share = x.double(), share.double()
    centre = (share * x).sum(dim=0)
    square = (share * (x - centre).square()).sum(dim=0)
    mean = float(square.mean()) if len(square) else 1.0
    mean = mean if 0 < mean < float("inf") else 1.0
    still = ~(square > 1e-12 * centre * centre) | ~torch.isfinite(square)
    centre, square = torch.nan_to_num(centre, 0.0, 0.0, 0.0), torch.where(still, mean, square)
    if len(x) < _rows(p)[1]:
        noise = mean * len(centre) / len(x)
        trust = (1 - noise / centre.square().sum()).clamp_min(0)
        tell = (1 - 2 * mean * noise / (square - mean).square().sum()).clamp_min(0)
        centre, square = centre * trust, mean + tell * (square - mean)
    return Moments(centre, square)


class Curvature:
    """Points and gradients (k, C, d + 1), weights and then the bias, in those coordinates, and the curvature there."""

    def __init__(self, p: HeadProblem) -> None:
        found = p.moments if p.moments is not None else column_moments(p)
        self.centre, self.spectrum = (t.to(p.z.device, p.compute) for t in (found.centre, found.spectrum))
        self.axes = found.axes

    def enter(self, x: Tensor) -> Tensor:
        w = x[..., :-1] if self.axes is None else x[..., :-1] @ self.axes.t()
        return torch.cat([w, (x[..., -1] + w @ self.centre)[..., None]], dim=-1)

    def leave(self, x: Tensor) -> Tensor:
        w, bias = x[..., :-1], x[..., -1] - x[..., :-1] @ self.centre
        return torch.cat([w if self.axes is None else w @ self.axes, bias[..., None]], dim=-1)

    def gradient(self, g: Tensor) -> Tensor:
        w = g[..., :-1] if self.axes is None else g[..., :-1] @ self.axes.t()
        return torch.cat([w - g[..., -1:] * self.centre, g[..., -1:]], dim=-1)

    def quadratic(self, s: Tensor, q: Tensor) -> Tensor:
        """``s^T H s / kappa`` (k,) without the decay."""
        weighted = q[..., None] * s
        square = (weighted * s).sum(dim=1) - weighted.sum(dim=1).square()
        return (square[:, :-1] * self.spectrum).sum(dim=1) + square[:, -1].clamp_min(0)

    def solve(self, x: Tensor, q: Tensor, kappa: Tensor, decay: Tensor) -> Tensor:
        """``H^-1 x``, by Sherman and Morrison. A shift of all classes has no curvature but decay, and is bounded.

        Args:
            x: (k, C, d + 1). q: (k, C). kappa, decay: (k,).
        """
        q, kappa, decay = q[..., None], kappa[:, None, None], decay[:, None, None]
        mean = x.mean(dim=1, keepdim=True)
        s = kappa * self.spectrum
        inverse, centred = 1 / (q * s + decay), (x - mean)[..., :-1]
        pull = (q * inverse * centred).sum(dim=1, keepdim=True)
        pull = pull * s / (decay * (q * inverse).sum(dim=1, keepdim=True)).clamp_min(1e-6)
        w = (centred + q * pull) * inverse
        w = w - w.mean(dim=1, keepdim=True) + mean[..., :-1] / torch.maximum(decay, 1e-3 * s / x.shape[1])
        bias = (x - mean)[..., -1:] / (kappa * q)
        return torch.cat([w, bias - bias.mean(dim=1, keepdim=True)], dim=-1)


def shares(mean: Tensor) -> Tensor:
    """Mean probabilities (k, C) as shares that sum to 1."""
    mean = mean.clamp_min(0)
    return mean / mean.sum(dim=1, keepdim=True)


def floored(q: Tensor) -> Tensor:
    """Shares (k, C) of which none is near zero: how far a step may go towards a class that is not there."""
    q = q.clamp_min(_LEAST_SHARE / q.shape[1])
    return q / q.sum(dim=1, keepdim=True)
