"""Mutants: each barrier of the kernels is taken away in turn, and the random order of warps must show the damage.

Every barrier that any kernel meets has its mutant, and is caught for every seed.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import simt_shim
import torch

from tlplat.ops import cuda_fit
from tlplat.ops.problem import HeadProblem, MinibatchOptions, RowLoss, Solver

pytestmark = pytest.mark.usefixtures("shim")

SEEDS = 20


def _loss(n: int, d: int, c: int, sms: int = 1, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    z, w = torch.randn(n, d, generator=g).to(dtype), torch.randn(c, d, generator=g)
    y = torch.randint(0, c, (n,), generator=g)
    return list(simt_shim.loss(z, y, w, torch.randn(c, generator=g), sms=sms))


def _fit(solver: Solver, heads: int, n: int = 40, d: int = 40, c: int = 3) -> list[torch.Tensor]:
    """One epoch of one step, or three evaluations of L-BFGS (a mutant of which may never end by itself)."""
    g = torch.Generator().manual_seed(0)
    z, y = torch.randn(n, d, generator=g), torch.randint(0, c, (n,), generator=g)
    held = (torch.rand(1, n, generator=g) < 0.4).float()
    rounds = iter(range(1, 100))
    p = HeadProblem(
        z=z, y=y, num_classes=c, heads=heads, compute=torch.float32, row_loss=RowLoss(), sample_weight=1 - held,
        validation_weight=held, weight_decay=torch.full((heads,), 0.1).double(), weight=torch.zeros(heads, c, d),
        bias=torch.zeros(heads, c), solver=solver, max_iter=1 if solver == "sgd" else 100, tol=1e-5,
        minibatch=MinibatchOptions(torch.full((heads,), 0.1).double(), (1,) * heads, n) if solver == "sgd" else None,
        on_epoch=lambda *_: next(rounds) == 3,
    )  # fmt: skip
    m = simt_shim.module()
    m.set_fit_limits(m.Limits(sms=48))  # so many that the sum over an epoch's steps has more parts than a warp
    found = cuda_fit.fit(p, simt_shim.library())
    return [found.weight, found.bias, found.loss, found.validation_loss, found.iterations]


def _order() -> list[torch.Tensor]:
    return [torch.from_numpy(simt_shim.module().epoch_order(1500, 3, 4, 2))]


RUNS: dict[str, Callable[[], list[torch.Tensor]]] = {
    "pass": lambda: _loss(100, 40, 3),
    "narrow": lambda: _loss(100, 40, 3, dtype=torch.bfloat16),
    "parts": lambda: _loss(90, 600, 2, sms=6),
    "tiles": lambda: _loss(70, 20, 110),
    "classes": lambda: _loss(10, 20, 300),
    "order": _order,
    "sgd": lambda: _fit("sgd", 6),
    "lbfgs": lambda: _fit("lbfgs", 1),
}
CAUGHT_BY = {
    "pass_begin": "pass",
    "pass_stage": "pass",
    "pass_widened": "narrow",
    "pass_logits": "pass",
    "pass_delta": "pass",
    "pass_done": "pass",
    "product_stage": "tiles",
    "softmax_tops": "classes",
    "softmax_sums": "classes",
    "column_sums": "tiles",
    "fold": "parts",
    "order_reuse": "order",
    "order_counts": "order",
    "epoch_read": "sgd",
    "block_sum_filled": "lbfgs",
    "block_sum_reuse": "lbfgs",
}


def _outcome(run: Callable[[], list[torch.Tensor]], seed: int) -> list[torch.Tensor] | str:
    simt_shim.module().set_seed(seed)
    try:
        return run()
    except (simt_shim.module().Fault, RuntimeError) as fault:  # the fit's interface hands a Fault on as RuntimeError
        return str(fault)


def _same(a: list[torch.Tensor] | str, b: list[torch.Tensor] | str) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return False
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("barrier", CAUGHT_BY)
def test_a_missing_barrier_is_caught_for_every_seed(barrier: str) -> None:
    run = RUNS[CAUGHT_BY[barrier]]
    right = _outcome(run, 0)
    assert _same(right, _outcome(run, 1)), "without a mutant all seeds agree"
    simt_shim.module().drop_barrier(barrier)
    survived = [seed for seed in range(SEEDS) if _same(right, _outcome(run, seed))]
    assert not survived


def test_every_barrier_has_its_mutant() -> None:
    for run in RUNS.values():
        _outcome(run, 0)
    assert set(simt_shim.module().barriers_met()) == set(CAUGHT_BY)
