"""Cox's partial likelihood: the loss over a risk set, its ridge-penalised Newton fit, and the baseline hazard."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

ITERATIONS, TOLERANCE = 40, 1e-9


@dataclass(frozen=True)
class RiskSets:
    """Rows in order of falling time, so that a risk set is the rows up to a number.

    Attributes:
        order: (n,) row numbers. events: (e,) positions in that order of the rows with an event.
        last: (e,) position of the last row that is at risk at that event's time.
        share: (e,) Efron's part of the tied events that is taken out: l / d of the l-th of d; 0 for Breslow.
        tied: (n,) group number of the row's time. group: (e,) the event's.
    """

    order: Tensor
    events: Tensor
    last: Tensor
    share: Tensor
    group: Tensor
    tied: Tensor

    @classmethod
    def of(cls, targets: Tensor, ties: str = "efron") -> RiskSets:
        """targets: (n, 2) time and event. ``ties``: ``efron`` (Efron 1977) or ``breslow`` (Breslow 1974)."""
        time, event = targets[:, 0].double(), targets[:, 1] > 0.5
        order = torch.argsort(-time, stable=True)
        ordered, happened = time[order], event[order]
        tied = torch.unique_consecutive(ordered, return_inverse=True)[1]
        last = torch.bincount(tied).cumsum(0) - 1
        events = torch.nonzero(happened).flatten()
        group = tied[events]
        count = torch.bincount(group, minlength=len(last))
        before = torch.zeros_like(count)
        before[1:] = count.cumsum(0)[:-1]
        place = torch.arange(len(events), device=group.device) - before[group]
        share = place.double() / count[group] if ties == "efron" else torch.zeros(len(events), device=group.device)
        return cls(order, events, last[group], share.double(), group, tied)


def partial_loss(scores: Tensor, targets: Tensor, ties: str = "efron") -> Tensor:
    """Minus the log partial likelihood of scores (n,), divided by the number of events (Cox 1972); 0 without events.

    targets: (n, 2) time and event. Computed in float64 in logarithms, so that large scores neither overflow nor vanish.
    """
    sets = RiskSets.of(targets, ties)
    eta = scores.double()[sets.order]
    if not len(sets.events):
        return 0.0 * scores.sum()
    at_risk = torch.logcumsumexp(eta, 0)[sets.last]
    # each tied event's part of its risk set is at most 1, so that nothing overflows
    parts = torch.exp(eta[sets.events] - at_risk)
    tied = torch.zeros(int(sets.tied[-1]) + 1, dtype=eta.dtype, device=eta.device).index_add(0, sets.group, parts)
    part = sets.share * tied[sets.group]
    found: Tensor = (at_risk + torch.log1p(-part) - eta[sets.events]).sum() / len(sets.events)
    return found.to(scores.dtype)


def newton(x: Tensor, targets: Tensor, decay: float, start: Tensor | None = None, ties: str = "efron") -> Tensor:
    """(d,) coefficients of least :func:`partial_loss` plus decay / 2 * |w|^2 on x (n, d) float64, by Newton's method.

    Steps are halved until the objective falls, so that it converges from zero.
    """
    sets, d = RiskSets.of(targets, ties), x.shape[1]
    w = x.new_zeros(d) if start is None else start.clone()
    if not len(sets.events):
        return x.new_zeros(d)
    value = _objective(x, w, targets, decay, ties)
    for _ in range(ITERATIONS):
        gradient, hessian = _derivatives(x, w, sets)
        gradient, hessian = gradient + decay * w, hessian + (decay + 1e-12) * torch.eye(d, dtype=x.dtype)
        if not bool(torch.isfinite(hessian).all() & torch.isfinite(gradient).all()):
            return w
        step: Tensor = torch.linalg.solve(hessian, gradient)
        for _ in range(30):
            tried = _objective(x, w - step, targets, decay, ties)
            if tried <= value:
                break
            step = step / 2
        else:
            return w
        w, fell, value = w - step, value - tried, tried
        if fell <= TOLERANCE * (1 + abs(value)):
            return w
    return w


def _objective(x: Tensor, w: Tensor, targets: Tensor, decay: float, ties: str) -> float:
    value = float(partial_loss(x @ w, targets, ties)) + 0.5 * decay * float(w @ w)
    return value if math.isfinite(value) else math.inf


def _derivatives(x: Tensor, w: Tensor, sets: RiskSets) -> tuple[Tensor, Tensor]:
    """Gradient (d,) and Hessian (d, d) of the loss a event: weighted means and scatter over the risk sets."""
    x = x[sets.order]
    eta = x @ w
    risk = torch.exp(eta - eta.max())
    groups, e = int(sets.tied[-1]) + 1, len(sets.events)
    tied = risk.new_zeros(groups).index_add(0, sets.group, risk[sets.events])
    weighted = risk[:, None] * x
    tied_x = x.new_zeros(groups, x.shape[1]).index_add(0, sets.group, weighted[sets.events])
    mass = risk.cumsum(0)[sets.last] - sets.share * tied[sets.group]
    means = (weighted.cumsum(0)[sets.last] - sets.share[:, None] * tied_x[sets.group]) / mass[:, None]
    inverse, taken = 1 / mass, sets.share / mass
    of_group = risk.new_zeros(groups).index_add(0, sets.group, inverse)
    reach = of_group.flip(0).cumsum(0).flip(0)[sets.tied]  # a row is at risk at every event up to its own time
    out = risk.new_zeros(groups).index_add(0, sets.group, taken)[sets.group]
    reach = reach.index_add(0, sets.events, -out)
    scatter = x.T @ (x * (risk * reach)[:, None]) - means.T @ means
    return (means.sum(0) - x[sets.events].sum(0)) / e, scatter / e


def cumulative_hazard(scores: Tensor, targets: Tensor, times: Tensor) -> Tensor:
    """(t,) Breslow's baseline cumulative hazard at ``times`` for scores (n,) (Breslow 1972); Nelson-Aalen for zeros."""
    sets = RiskSets.of(targets, "breslow")
    eta, time = scores.double().cpu()[sets.order], targets[:, 0].double().cpu()[sets.order]
    if not len(sets.events):
        return torch.zeros(len(times), dtype=torch.float64)
    mass = torch.exp(eta).cumsum(0)[sets.last]
    happened = time[sets.events]
    return ((happened[None, :] <= times.double()[:, None]) / mass).sum(dim=1)
