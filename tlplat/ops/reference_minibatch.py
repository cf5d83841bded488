"""SGD with momentum and AdamW for K heads at once, in the order that :mod:`tlplat.ops.order` gives."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tlplat.ops.order import epoch_order
from tlplat.ops.problem import HeadProblem, MinibatchOptions
from tlplat.ops.reference import Objective, held_out_loss


def minimise(p: HeadProblem, objective: Objective) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run up to ``p.max_iter`` epochs; parameters (K, C, d + 1), losses (K,), finite (K,), epochs (K,).

    With held-out rows a head keeps its best epoch and stops after ``patience`` epochs without a better one. Heads that
    share a seed share the order of rows, hence every read of z.
    """
    options = p.minibatch
    if options is None:
        raise TypeError("a minibatch solver needs MinibatchOptions")
    device = p.z.device
    x = torch.cat([p.weight, p.bias[..., None]], dim=2).clone()
    out = x.clone()
    loss, count = x.new_full((p.heads,), torch.nan), torch.zeros(p.heads, dtype=torch.int64, device=device)
    best, waited = x.new_full((p.heads,), torch.inf), torch.zeros_like(count)
    step = _Steps(p, options, x)
    active = torch.ones(p.heads, dtype=torch.bool, device=device)
    seeds = torch.tensor(options.seed, device=device)
    for epoch in range(p.max_iter):
        for seed in sorted(set(options.seed)):
            heads = torch.nonzero(active & (seeds == seed)).flatten()
            if len(heads):
                loss[heads] = _epoch(p, options, objective, step, x, heads, epoch, seed)
        count += active
        held = held_out_loss(p, x[..., :-1], x[..., -1])
        if p.validation_weight is None:
            out = torch.where(active[:, None, None], x, out)
        else:
            better = active & (held < best)
            out = torch.where(better[:, None, None], x, out)
            best, waited = torch.where(better, held, best), torch.where(better, 0, waited + active)
            active = active & (waited < options.patience)
        active = active & torch.isfinite(loss)
        stop = p.on_epoch is not None and p.on_epoch(epoch + 1, loss.clone())
        if stop or not bool(active.any()):
            break
    return out, loss, torch.isfinite(loss), count


def _epoch(
    p: HeadProblem,
    options: MinibatchOptions,
    objective: Objective,
    step: _Steps,
    x: Tensor,
    heads: Tensor,
    epoch: int,
    seed: int,
) -> Tensor:
    """One pass over the rows; changes ``x[heads]``; returns the mean over the batches of the objective, (k,)."""
    n, size = len(p.z), options.batch_size
    order = epoch_order(n, seed, epoch).to(p.z.device)
    batches = math.ceil(n / size)
    total = x.new_zeros(len(heads))
    for index in range(batches):
        now = x[heads]
        data, gradient = objective(now, heads, order[index * size : (index + 1) * size])
        total += data + 0.5 * step.decay[heads] * now[..., :-1].square().sum(dim=(1, 2))
        x[heads] = step(now, gradient, heads, epoch * batches + index, p.max_iter * batches)
    return total / batches


class _Steps:
    """The update rules, with their state for all heads; see torch.optim.SGD and torch.optim.AdamW."""

    def __init__(self, p: HeadProblem, options: MinibatchOptions, x: Tensor) -> None:
        self.solver, self.options = p.solver, options
        self.decay, self.rate = p.weight_decay.to(x), options.learning_rate.to(x)
        self.first, self.second = torch.zeros_like(x), torch.zeros_like(x)

    def __call__(self, x: Tensor, gradient: Tensor, heads: Tensor, t: int, steps: int) -> Tensor:
        """``x`` (k, C, d + 1) after step ``t`` of ``steps`` (both from 0)."""
        rate = self.rate[heads][:, None, None]
        if self.options.schedule == "cosine":
            rate = rate * (0.5 * (1 + math.cos(math.pi * t / steps)))
        decay = self.decay[heads][:, None, None].expand(-1, 1, x.shape[2]).clone()
        decay[..., -1] = 0
        if self.solver == "sgd":
            first = self.first[heads] * self.options.momentum + gradient + decay * x
            self.first[heads] = first
            return x - rate * first
        beta1, beta2 = self.options.betas
        first = torch.lerp(self.first[heads], gradient, 1 - beta1)
        second = torch.lerp(self.second[heads], gradient.square(), 1 - beta2)
        self.first[heads], self.second[heads] = first, second
        scale = (second / (1 - beta2 ** (t + 1))).sqrt() + self.options.eps
        return x * (1 - rate * decay) - rate * first / (1 - beta1 ** (t + 1)) / scale
