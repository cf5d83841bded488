"""The peers of bench/frozen_head_cuda.py: minibatch SGD with momentum on a GPU, all over the same order of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tlplat.ops import fit_softmax_heads
from tlplat.ops.order import epoch_order

SHAPES = {
    "A": (1797, 64, 10), "B": (50_000, 384, 10), "C": (50_000, 384, 100), "D": (20_000, 1280, 1000),
    "E": (100_000, 768, 20),
}  # fmt: skip
EPOCHS = {"A": 24, "B": 2, "C": 2, "D": 3, "E": 1}
DECAY, BATCH, RATE = 1e-3, 256, 0.02


def data(n: int, d: int, c: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    z = torch.randn(n, d, generator=g)
    y = (z @ torch.randn(d, c, generator=g) / d**0.5 + torch.randn(n, c, generator=g)).argmax(1)
    return z.cuda(), y.cuda()


def batches(n: int, epochs: int) -> list[Tensor]:
    """The rows of every step, in the order that fit_softmax_heads takes."""
    return [rows for e in range(epochs) for rows in epoch_order(n, 0, e).cuda().split(BATCH)]


def eager(z: Tensor, y: Tensor, c: int, rows: list[Tensor]) -> Tensor:
    w, b = (
        torch.zeros(c, z.shape[1], device="cuda", requires_grad=True),
        torch.zeros(c, device="cuda", requires_grad=True),
    )
    groups: list[dict[str, Any]] = [{"params": [w], "weight_decay": DECAY}, {"params": [b]}]
    optimiser = torch.optim.SGD(groups, lr=RATE, momentum=0.9)
    for index in rows:
        optimiser.zero_grad()
        F.cross_entropy(z[index] @ w.t() + b, y[index]).backward()
        optimiser.step()
    return w.detach()


def step(z: Tensor, y: Tensor, index: Tensor, w: Tensor, b: Tensor, mw: Tensor, mb: Tensor) -> None:
    """The same step by hand and in place, for torch.compile and for capture."""
    x = z[index]
    logits = x @ w.t() + b
    delta = torch.softmax(logits, 1)
    delta = (delta - F.one_hot(y[index], w.shape[0])) / len(index)
    mw.mul_(0.9).add_(delta.t() @ x + DECAY * w)
    mb.mul_(0.9).add_(delta.sum(0))
    w.sub_(RATE * mw)
    b.sub_(RATE * mb)


def head(c: int, d: int) -> list[Tensor]:
    return [torch.zeros(s, device="cuda") for s in ((c, d), (c,), (c, d), (c,))]


def compiled(step_: Callable[..., None]) -> Callable[[Tensor, Tensor, int, list[Tensor]], Tensor]:
    def loop(z: Tensor, y: Tensor, c: int, rows: list[Tensor]) -> Tensor:
        state = head(c, z.shape[1])
        for index in rows:
            step_(z, y, index, *state)
        return state[0]

    return loop


class Captured:
    """An epoch's step as a CUDA graph over a fixed index buffer; the last, shorter batch runs plainly."""

    def __init__(self, step_: Callable[..., None], z: Tensor, y: Tensor, c: int) -> None:
        self.step, self.z, self.y = step_, z, y
        self.state = head(c, z.shape[1])
        self.index = torch.arange(BATCH, device="cuda")
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step_(z, y, self.index, *self.state)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            step_(z, y, self.index, *self.state)

    def __call__(self, z: Tensor, y: Tensor, c: int, rows: list[Tensor]) -> Tensor:
        for t in self.state:
            t.zero_()
        for index in rows:
            if len(index) == BATCH:
                self.index.copy_(index)
                self.graph.replay()
            else:
                self.step(z, y, index, *self.state)
        return self.state[0]


def native_epochs(z: Tensor, y: Tensor, c: int, epochs: int) -> Tensor:
    return fit_softmax_heads(
        z, y, c, solver="sgd", learning_rate=RATE, weight_decay=DECAY, batch_size=BATCH, max_iter=epochs, impl="native"
    ).weight[0]
