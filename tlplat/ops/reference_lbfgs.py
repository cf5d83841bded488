"""L-BFGS for K convex problems at once: every evaluation serves one trial point of every head that is still at work."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from tlplat.ops.curvature import Curvature, floored, shares
from tlplat.ops.problem import HeadProblem

Objective: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Data term (k,) and gradient of the parameters (k, C, d + 1) of the heads with index (k,)."""

MEMORY = 10
MAX_TRIALS = 20
ARMIJO, CURVATURE = 1e-4, 0.9


def minimise(p: HeadProblem, objective: Objective, targets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Minimise ``objective + 0.5 * weight_decay * ||W||^2`` of each head from (p.weight, p.bias).

    Line search: bisection to the weak Wolfe conditions (Lewis and Overton 2013), with Hager and Zhang's approximate
    decrease where the loss is at the precision's floor. The memory is one ring of ``MEMORY`` evaluations for all
    heads; a head whose trial was refused leaves its slot empty. It starts from the curvature of
    :class:`tlplat.ops.curvature.Curvature`, in its coordinates, times Shanno and Phua's factor (1978) of the last step.

    Args:
        targets: (K, C) mean targets, so that the bias' gradient tells the mean probabilities.

    Returns:
        Parameters (K, C, d + 1), losses (K,), converged (K,), iterations (K,).
    """
    x = torch.cat([p.weight, p.bias[..., None]], dim=2)
    k, shape = p.heads, x.shape[1:]
    size = shape.numel()
    start = Curvature(p)
    decay = p.weight_decay.to(x)
    done = _Done(x, k)
    heads = torch.arange(k, device=x.device)

    def evaluate(at: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Loss, gradient in the coordinates, its norm outside, and shares of classes."""
        w = start.leave(at.view(-1, *shape))
        loss, gradient = objective(w, heads)
        q = shares(gradient[..., -1] + targets[heads])
        gradient[..., :-1] += decay[heads, None, None] * w[..., :-1]
        loss = loss + 0.5 * decay[heads] * w[..., :-1].square().sum(dim=(1, 2))
        return loss, start.gradient(gradient).view(len(at), size), gradient.flatten(1).norm(dim=1), q

    def solve(at: Tensor) -> Tensor:
        return start.solve(at.view(-1, *shape), floored(q), kappa, decay[heads]).reshape(len(at), size)

    def scaled(at: Tensor) -> Tensor:
        return gamma[:, None] * solve(at)

    x = start.enter(x).reshape(k, size)
    f, g, norm, q = evaluate(x)
    s, y = x.new_zeros(MEMORY, k, size), x.new_zeros(MEMORY, k, size)
    rho, gamma, kappa = x.new_zeros(MEMORY, k), x.new_ones(k), targets.sum(dim=1)
    d = -solve(g)
    t, low, high = x.new_ones(k), x.new_zeros(k), x.new_full((k,), torch.inf)
    trials, count = torch.zeros_like(heads), torch.zeros_like(heads)
    slack = 8 * torch.finfo(x.dtype).eps
    slot, halted = 0, False
    while True:
        stalled = trials >= MAX_TRIALS
        small = (norm <= p.tol) | (stalled & ((g * d).sum(dim=1).abs() <= 2 * slack * f.abs()))
        stop = small | stalled | (count >= p.max_iter) | halted | ~torch.isfinite(f)
        if bool(stop.any()):
            done.put(heads[stop], start.leave(x[stop].view(-1, *shape)).flatten(1), f[stop], small[stop], count[stop])
            keep = ~stop
            heads, x, f, g, d, t, low, high, trials, count, gamma, kappa, norm, q = (
                v[keep] for v in (heads, x, f, g, d, t, low, high, trials, count, gamma, kappa, norm, q)
            )
            s, y, rho = s[:, keep], y[:, keep], rho[:, keep]
            if not len(heads):
                return done.x.view(k, *shape), done.loss, done.converged, done.count
        slope = (g * d).sum(dim=1)
        trial = x + t[:, None] * d
        f_new, g_new, norm_new, q_new = evaluate(trial)
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
        q = torch.where(useful[:, None], q_new, q)
        data = curvature - decay[heads] * step.view(-1, *shape)[..., :-1].square().sum(dim=(1, 2))
        known = start.quadratic(step.view(-1, *shape), q)
        told = useful & (data > 0.01 * curvature) & (known > 0)  # decay is not nearly all of it
        kappa = torch.where(told, (data / known).clamp_min(1e-6), kappa)
        known = (change * solve(change)).sum(dim=1)
        gamma = torch.where(useful, torch.where(known > 0, curvature / known, 1.0), gamma)
        slot = (slot + 1) % MEMORY

        x, g = torch.where(taken[:, None], trial, x), torch.where(taken[:, None], g_new, g)
        f, count, norm = torch.where(taken, f_new, f), count + taken, torch.where(taken, norm_new, norm)
        if p.on_epoch is not None and p.on_epoch(int(count.max()), done.with_current(heads, f)):
            halted = True
        if bool(taken.any()):
            d = torch.where(taken[:, None], -_two_loop(g, s, y, rho, scaled, slot), d)
        high = torch.where(taken, torch.inf, torch.where(decreased, high, t))
        low = torch.where(taken, 0.0, torch.where(decreased, t, low))
        t = torch.where(taken, 1.0, torch.where(torch.isinf(high), 2 * t, (low + high) / 2))
        trials = torch.where(taken, 0, trials + 1)


def _two_loop(g: Tensor, s: Tensor, y: Tensor, rho: Tensor, first: Callable[[Tensor], Tensor], oldest: int) -> Tensor:
    """The L-BFGS product H g (k, size); slots run from ``oldest`` around the ring, empty ones have rho 0."""
    order = [(oldest + i) % MEMORY for i in range(MEMORY)]
    q, alpha = g.clone(), {}
    for i in reversed(order):
        alpha[i] = rho[i] * (s[i] * q).sum(dim=1)
        q.addcmul_(alpha[i][:, None], y[i], value=-1)
    q = first(q)
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
