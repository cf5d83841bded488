"""L-BFGS for K convex problems at once: every evaluation serves one trial point of every head that is still at work."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from tlplat.ops.problem import HeadProblem

Objective: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Data term (k,) and gradient of the parameters (k, C, d + 1) of the heads with index (k,)."""

MEMORY = 10
MAX_TRIALS = 20
ARMIJO, CURVATURE = 1e-4, 0.9


def minimise(p: HeadProblem, objective: Objective) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Minimise ``objective + 0.5 * weight_decay * ||W||^2`` of each head from (p.weight, p.bias).

    Line search: bisection to the weak Wolfe conditions (Lewis and Overton 2013), with Hager and Zhang's approximate
    decrease where the loss is at the precision's floor. The memory is one ring of ``MEMORY`` evaluations for all
    heads; a head whose trial was refused leaves its slot empty.

    Returns:
        Parameters (K, C, d + 1), losses (K,), converged (K,), iterations (K,).
    """
    x = torch.cat([p.weight, p.bias[..., None]], dim=2)
    k, shape = p.heads, x.shape[1:]
    size = shape.numel()
    decay = p.weight_decay.to(x)[:, None, None].expand(k, 1, shape[1]).clone()
    decay[..., -1] = 0
    done = _Done(x, k)
    heads = torch.arange(k, device=x.device)

    def evaluate(at: Tensor) -> tuple[Tensor, Tensor]:
        loss, gradient = objective(at.view(-1, *shape), heads)
        w = at.view(-1, *shape)
        pull = decay[heads] * w
        return loss + 0.5 * (pull * w).sum(dim=(1, 2)), (gradient + pull).view(len(at), size)

    x = x.reshape(k, size)
    f, g = evaluate(x)
    s, y = x.new_zeros(MEMORY, k, size), x.new_zeros(MEMORY, k, size)
    rho, gamma = x.new_zeros(MEMORY, k), 1 / g.norm(dim=1).clamp_min(1e-30)
    d = -g * gamma[:, None]
    t, low, high = x.new_ones(k), x.new_zeros(k), x.new_full((k,), torch.inf)
    trials, count = torch.zeros_like(heads), torch.zeros_like(heads)
    slack = 8 * torch.finfo(x.dtype).eps
    slot, halted = 0, False
    while True:
        stalled = trials >= MAX_TRIALS
        small = (g.norm(dim=1) <= p.tol) | (stalled & ((g * d).sum(dim=1).abs() <= 2 * slack * f.abs()))
        stop = small | stalled | (count >= p.max_iter) | halted | ~torch.isfinite(f)
        if bool(stop.any()):
            done.put(heads[stop], x[stop], f[stop], small[stop], count[stop])
            keep = ~stop
            heads, x, f, g, d, t, low, high, trials, count, gamma = (
                v[keep] for v in (heads, x, f, g, d, t, low, high, trials, count, gamma)
            )
            s, y, rho = s[:, keep], y[:, keep], rho[:, keep]
            if not len(heads):
                return done.x.view(k, *shape), done.loss, done.converged, done.count
        slope = (g * d).sum(dim=1)
        trial = x + t[:, None] * d
        f_new, g_new = evaluate(trial)
        slope_new = (g_new * d).sum(dim=1)
        decreased = f_new <= f + ARMIJO * t * slope
        decreased |= (slope_new <= (2 * ARMIJO - 1) * slope) & (f_new <= f + slack * f.abs())
        flat = slope_new >= CURVATURE * slope
        taken = decreased & flat

        step, change = t[:, None] * d, g_new - g
        curvature = (step * change).sum(dim=1)
        useful = taken & (curvature > 1e-10 * (change * change).sum(dim=1))
        s[slot], y[slot] = step * useful[:, None], change * useful[:, None]
        rho[slot] = torch.where(useful, 1 / curvature, 0.0)
        gamma = torch.where(useful, curvature / (change * change).sum(dim=1), gamma)
        slot = (slot + 1) % MEMORY

        x, g = torch.where(taken[:, None], trial, x), torch.where(taken[:, None], g_new, g)
        f, count = torch.where(taken, f_new, f), count + taken
        if p.on_epoch is not None and p.on_epoch(int(count.max()), done.with_current(heads, f)):
            halted = True
        if bool(taken.any()):
            d = torch.where(taken[:, None], -_two_loop(g, s, y, rho, gamma, slot), d)
        high = torch.where(taken, torch.inf, torch.where(decreased, high, t))
        low = torch.where(taken, 0.0, torch.where(decreased, t, low))
        t = torch.where(taken, 1.0, torch.where(torch.isinf(high), 2 * t, (low + high) / 2))
        trials = torch.where(taken, 0, trials + 1)


def _two_loop(g: Tensor, s: Tensor, y: Tensor, rho: Tensor, gamma: Tensor, oldest: int) -> Tensor:
    """The L-BFGS product H g (k, size); slots run from ``oldest`` around the ring, empty ones have rho 0."""
    order = [(oldest + i) % MEMORY for i in range(MEMORY)]
    q, alpha = g.clone(), {}
    for i in reversed(order):
        alpha[i] = rho[i] * (s[i] * q).sum(dim=1)
        q.addcmul_(alpha[i][:, None], y[i], value=-1)
    q *= gamma[:, None]
    for i in order:
        beta = rho[i] * (y[i] * q).sum(dim=1)
        q.addcmul_((alpha[i] - beta)[:, None], s[i])
    return q


class _Done:
    """Results by head, filled as heads finish."""

    def __init__(self, x: Tensor, k: int) -> None:
        self.x = x.reshape(k, -1).clone()
        self.loss = x.new_full((k,), torch.nan)
        self.converged = torch.zeros(k, dtype=torch.bool, device=x.device)
        self.count = torch.zeros(k, dtype=torch.int64, device=x.device)

    def put(self, heads: Tensor, x: Tensor, loss: Tensor, converged: Tensor, count: Tensor) -> None:
        self.x[heads], self.loss[heads], self.converged[heads], self.count[heads] = x, loss, converged, count

    def with_current(self, heads: Tensor, loss: Tensor) -> Tensor:
        current = self.loss.clone()
        current[heads] = loss
        return current
