"""The peers of bench/frozen_head.py: one softmax head on frozen features, each as its users would write it.

``EPOCHS``: minibatch SGD with momentum, batch 256, all over the same order of rows; functions of (z, y, classes,
epochs) that give the head. ``SOLVERS``: the convex problem to one objective. ``MANY``: 32 decays, one epoch each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tlplat.ops import fit_softmax_heads
from tlplat.ops.order import epoch_order

DECAY, BATCH, RATE, HEADS = 1e-3, 256, 0.02, 32
Head = tuple[Tensor, Tensor]
Step = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def tlplat(z: Tensor, y: Tensor, c: int, epochs: int) -> Head:
    fit = fit_softmax_heads(
        z, y, c, solver="sgd", learning_rate=RATE, weight_decay=DECAY, batch_size=BATCH, max_iter=epochs
    )
    return fit.weight[0], fit.bias[0]


def tlplat_bf16(z: Tensor, y: Tensor, c: int, epochs: int) -> Head:
    return tlplat(z, y, c, epochs)  # the runner hands z over in bfloat16


def _loss(z: Tensor, y: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return F.cross_entropy(z @ w.t() + b, y)


def _loop(
    z: Tensor, c: int, batches: Callable[[int], Iterable[tuple[Tensor, Tensor]]], step: Step, epochs: int
) -> Head:
    w, b = torch.zeros(c, z.shape[1], requires_grad=True), torch.zeros(c, requires_grad=True)
    groups: list[dict[str, Any]] = [{"params": [w], "weight_decay": DECAY}, {"params": [b]}]
    optimiser = torch.optim.SGD(groups, lr=RATE, momentum=0.9)
    for epoch in range(epochs):
        for x, t in batches(epoch):
            optimiser.zero_grad()
            step(x, t, w, b).backward()
            optimiser.step()
    return w.detach(), b.detach()


def _sliced(z: Tensor, y: Tensor) -> Callable[[int], Iterable[tuple[Tensor, Tensor]]]:
    return lambda epoch: ((z[rows], y[rows]) for rows in epoch_order(len(z), 0, epoch).long().split(BATCH))


def eager(z: Tensor, y: Tensor, c: int, epochs: int) -> Head:
    """The loop that a careful user writes: sliced batches of a shuffled index."""
    return _loop(z, c, _sliced(z, y), _loss, epochs)


def loader(z: Tensor, y: Tensor, c: int, epochs: int) -> Head:
    """A DataLoader over a TensorDataset."""
    from torch.utils.data import DataLoader, TensorDataset

    rows = TensorDataset(z, y)
    return _loop(z, c, lambda e: DataLoader(rows, BATCH, sampler=epoch_order(len(z), 0, e).tolist()), _loss, epochs)


def compiled(z: Tensor, y: Tensor, c: int, epochs: int) -> Head:
    """The whole step compiled, optimiser included."""
    w, b, vw, vb = (torch.zeros(s) for s in ((c, z.shape[1]), (c,), (c, z.shape[1]), (c,)))
    for epoch in range(epochs):
        for rows in epoch_order(len(z), 0, epoch).long().split(BATCH):
            _compiled_step(z, y, rows, w, b, vw, vb)
    return w, b


def _step(z: Tensor, y: Tensor, rows: Tensor, w: Tensor, b: Tensor, vw: Tensor, vb: Tensor) -> None:
    x, t = z[rows], y[rows]
    delta = (x @ w.t() + b).softmax(1) - F.one_hot(t, len(b)).to(x.dtype)
    delta = delta / len(rows)
    vw.mul_(0.9).add_(delta.t() @ x + DECAY * w)
    vb.mul_(0.9).add_(delta.sum(0))
    w.sub_(RATE * vw)
    b.sub_(RATE * vb)


_compiled_step = torch.compile(_step, dynamic=False)


def cce(z: Tensor, y: Tensor, c: int, epochs: int) -> Head:
    """Cut cross-entropy's implementation for machines without its kernels."""
    from cut_cross_entropy import linear_cross_entropy

    def loss(x: Tensor, t: Tensor, w: Tensor, b: Tensor) -> Tensor:
        with_bias = torch.cat([w, b[:, None]], 1)  # it knows no bias
        found: Tensor = linear_cross_entropy(
            torch.cat([x, x.new_ones(len(x), 1)], 1), with_bias, t, impl="torch_compile"
        )
        return found

    return _loop(z, c, _sliced(z, y), loss, epochs)


def floor(z: Tensor, y: Tensor, c: int, epochs: int) -> Head:
    """The two matrix products of an epoch over rows in place, and nothing else: no head comes out."""
    w, delta = torch.randn(c, z.shape[1]), torch.randn(BATCH, c)
    for _ in range(epochs):
        for part in z.split(BATCH):
            part @ w.t()
            delta[: len(part)].t() @ part
    return w, w[:, 0]


def tlplat_lbfgs(z: Tensor, y: Tensor, c: int) -> Head:
    # The peers stop where the largest element of the gradient is 1e-4; this root mean square ends nearer the optimum.
    tol = max(3e-4, 2.5e-6 * (c * z.shape[1]) ** 0.5)
    fit = fit_softmax_heads(z, y, c, weight_decay=DECAY, tol=tol)
    return fit.weight[0], fit.bias[0]


def torch_lbfgs(z: Tensor, y: Tensor, c: int) -> Head:
    w, b = torch.zeros(c, z.shape[1], requires_grad=True), torch.zeros(c, requires_grad=True)
    solver = torch.optim.LBFGS(
        [w, b], max_iter=300, tolerance_grad=1e-4, history_size=10, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        solver.zero_grad()
        loss = _loss(z, y, w, b) + 0.5 * DECAY * w.square().sum()
        loss.backward()
        return loss

    solver.step(closure)
    return w.detach(), b.detach()


def sklearn(z: Tensor, y: Tensor, c: int) -> Head:
    from sklearn.linear_model import LogisticRegression

    factor = 2 if c == 2 else 1
    m = LogisticRegression(C=factor / (len(z) * DECAY), tol=1e-4, max_iter=300).fit(z.numpy(), y.numpy())
    w, b = torch.from_numpy(m.coef_).float(), torch.from_numpy(m.intercept_).float()
    return (torch.cat([-w / 2, w / 2]), torch.cat([-b / 2, b / 2])) if c == 2 else (w, b)


def _decays() -> list[float]:
    return torch.logspace(-5, 0, HEADS).tolist()


def many(z: Tensor, y: Tensor, c: int) -> Head:
    """32 heads in one call."""
    fit = fit_softmax_heads(
        z, y, c, solver="sgd", learning_rate=RATE, weight_decay=_decays(), batch_size=BATCH, max_iter=1
    )
    return fit.weight[0], fit.bias[0]


def many_singly(z: Tensor, y: Tensor, c: int) -> Head:
    """32 calls of one head."""
    fits = [
        fit_softmax_heads(z, y, c, solver="sgd", learning_rate=RATE, weight_decay=d, batch_size=BATCH, max_iter=1)
        for d in _decays()
    ]
    return fits[0].weight[0], fits[0].bias[0]


EPOCHS = {
    "tlplat": tlplat, "tlplat bf16": tlplat_bf16, "eager": eager, "DataLoader": loader, "torch.compile": compiled,
    "CCE": cce, "floor": floor,
}  # fmt: skip
SOLVERS = {"tlplat lbfgs": tlplat_lbfgs, "torch LBFGS": torch_lbfgs, "scikit-learn": sklearn}
MANY = {"tlplat, 32 heads": many, "tlplat, 32 calls": many_singly}
