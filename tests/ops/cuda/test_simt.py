"""The CUDA kernels' bodies, run on the CPU by the SIMT shim, against the float64 reference."""

from __future__ import annotations

import pytest
import simt_shim
import torch
from torch import Tensor

from tlplat.ops import reference
from tlplat.ops.order import epoch_order
from tlplat.ops.problem import RowLoss

pytestmark = pytest.mark.usefixtures("shim")

SMALL = [(1, 1, 1), (40, 16, 2), (70, 63, 7), (45, 129, 12), (30, 300, 3), (20, 513, 13), (33, 130, 32)]
"""Shapes of the one-pass kernel: both widths of a team's slice, every variant's columns, odd features."""
LARGE = [
    (60, 17, 40), (100, 64, 33), (40, 400, 20), (20, 1000, 12), (33, 500, 60), (30, 384, 100), (70, 100, 130),
    (50, 300, 110), (40, 1100, 5), (9, 40, 300),
]  # fmt: skip
"""Shapes of the tiled products."""
REDUCTIONS = {0: "none", 1: "mean", 2: "sum"}


def problem(n: int, d: int, c: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    g = torch.Generator().manual_seed(n + 7 * d + 31 * c)
    z = torch.randn(n, d, generator=g).to(dtype)
    compute = torch.float64 if dtype == torch.float64 else torch.float32
    w, b = (torch.randn(c, d, generator=g) / d**0.5).to(compute), torch.randn(c, generator=g).to(compute)
    y = torch.randint(0, c, (n,), generator=g)
    y[: n // 5] = -100
    return z, y, w, b, (0.5 + torch.rand(c, generator=g)).to(compute), torch.rand(n, generator=g).to(compute)


def expected(
    z: Tensor, y: Tensor, w: Tensor, b: Tensor | None, classes: Tensor | None, rows: Tensor | None, smoothing: float,
    reduction: int,
) -> list[Tensor]:  # fmt: skip
    """Loss and gradients in float64 by the reference."""
    weight = w.double().clone().requires_grad_()
    bias = torch.zeros(len(w), dtype=torch.float64) if b is None else b.double().clone()
    bias.requires_grad_()
    options = RowLoss(None if classes is None else classes.double(), smoothing)
    loss = reference.softmax_head_loss(
        z.double(), y, weight, bias, options, None if rows is None else rows.double(), REDUCTIONS[reduction]
    )
    return [loss.detach(), *torch.autograd.grad(loss.sum(), (weight, bias))]


def close(found: Tensor, wanted: Tensor) -> None:
    exact = found.dtype == torch.float64
    torch.testing.assert_close(found.double(), wanted, rtol=1e-10 if exact else 2e-5, atol=1e-10 if exact else 2e-5)


@pytest.mark.parametrize("shape", SMALL + LARGE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_loss_gradients_and_probabilities(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    z, y, w, b, classes, rows = problem(*shape, dtype)
    for found, wanted in zip(
        simt_shim.loss(z, y, w, b, classes, rows, 0.2), expected(z, y, w, b, classes, rows, 0.2, 1), strict=True
    ):
        close(found, wanted)
    close(simt_shim.predict(z, w, b), torch.softmax(z.double() @ w.double().t() + b.double(), dim=1))


@pytest.mark.parametrize("shape", [(70, 63, 7), (60, 17, 40)])
@pytest.mark.parametrize("reduction", [0, 1, 2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_options(shape: tuple[int, int, int], reduction: int, weighted: bool, smoothing: float) -> None:
    z, y, w, _, classes, rows = problem(*shape, torch.float32)
    extra = (classes, rows) if weighted else (None, None)
    found = simt_shim.loss(z, y, w, None, *extra, smoothing, reduction=reduction)
    for ours, theirs in zip(found, expected(z, y, w, None, *extra, smoothing, reduction), strict=True):
        close(ours, theirs)
    without = simt_shim.loss(z, y, w, None, *extra, smoothing, reduction=reduction, need_grad=False)
    assert torch.equal(without[0], found[0])
    assert without[1].shape == (0, shape[1])


@pytest.mark.parametrize("shape", [(70, 63, 7), (60, 17, 40)])
def test_results_do_not_depend_on_the_order_of_warps(shape: tuple[int, int, int]) -> None:
    z, y, w, b, classes, rows = problem(*shape, torch.float32)
    found = []
    for seed in range(20):
        simt_shim.module().set_seed(seed)
        found.append(simt_shim.loss(z, y, w, b, classes, rows, 0.1))
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("shape", [(200, 20, 110), (200, 150, 140)])
@pytest.mark.parametrize("scalar", [False, True])
def test_chunks_of_logits_and_both_tiles(shape: tuple[int, int, int], scalar: bool) -> None:
    z, y, w, b, classes, rows = problem(*shape, torch.float32)
    wanted = expected(z, y, w, b, classes, rows, 0.1, 1)
    for found, exact in zip(
        simt_shim.loss(z, y, w, b, classes, rows, 0.1, scalar=scalar, chunk_elements=5000), wanted, strict=True
    ):
        close(found, exact)


@pytest.mark.parametrize("classes", [7, 40, 130])
def test_views_of_rows(classes: int) -> None:
    z, y, w, b, *_ = problem(50, 20, classes, torch.float32)
    big = torch.full((100, 27), torch.nan)
    big[::2, 5:25] = z
    for view in (big[::2, 5:25], big.flatten()[5:].as_strided((50, 20), (54, 1))):
        assert all(
            torch.equal(x, v) for x, v in zip(simt_shim.loss(view, y, w, b), simt_shim.loss(z, y, w, b), strict=True)
        )


@pytest.mark.parametrize("classes", [3, 40, 130])
@pytest.mark.parametrize("scale", [1e4, 1e30])
def test_extreme_logits(classes: int, scale: float) -> None:
    z, y, w, b, *_ = problem(40, 12, classes, torch.float32)
    found, wanted = simt_shim.loss(z * scale, y, w, b), expected(z * scale, y, w, b, None, None, 0.0, 1)
    torch.testing.assert_close(found[0].double(), wanted[0], rtol=1e-4, atol=0)
    torch.testing.assert_close(found[1].double(), wanted[1], rtol=1e-4, atol=1e-3 * float(wanted[1].abs().max()))


@pytest.mark.parametrize("classes", [3, 40, 130])
def test_a_nan_row_and_a_label_out_of_range_are_nan_not_a_crash(classes: int) -> None:
    z, y, w, b, *_ = problem(40, 12, classes, torch.float32)
    y[:] = 1
    for label in (classes, -1, 1 << 40):
        wrong = y.clone()
        wrong[7] = label
        rows = simt_shim.loss(z, wrong, w, b, reduction=0)[0]
        assert torch.isnan(rows).tolist() == [i == 7 for i in range(40)]
    z[3, 2] = torch.nan
    assert torch.isnan(simt_shim.loss(z, y, w, b, reduction=0)[0]).tolist() == [i == 3 for i in range(40)]
    assert not torch.isfinite(simt_shim.loss(z, y, w, b)[0])


@pytest.mark.parametrize("classes", [3, 40, 130])
def test_no_rows(classes: int) -> None:
    w, b = torch.randn(classes, 5), torch.randn(classes)
    z, y = torch.empty(0, 5), torch.empty(0, dtype=torch.int64)
    loss, grad_w, grad_b = simt_shim.loss(z, y, w, b, reduction=2)
    assert float(loss) == 0
    assert not grad_w.any()
    assert not grad_b.any()
    assert torch.isnan(simt_shim.loss(z, y, w, b)[0])
    assert simt_shim.predict(z, w, b).shape == (0, classes)


@pytest.mark.parametrize("n", [1, 2, 31, 300, 1025])
@pytest.mark.parametrize("segments", [1, 3])
def test_the_order_of_an_epoch(n: int, segments: int) -> None:
    found = torch.from_numpy(simt_shim.module().epoch_order(n, -5, 7, segments))
    assert torch.equal(found.long(), epoch_order(n, -5, 7))
