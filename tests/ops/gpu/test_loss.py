"""Loss, gradients and prediction on a GPU, against plain torch in float64 and against torch's own rules for ops."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tlplat.ops import extension, softmax_head_loss, softmax_head_predict

pytestmark = pytest.mark.cuda

SHAPES = [
    (1, 1, 1), (5, 3, 2), (64, 48, 3), (333, 63, 7), (100, 513, 37), (40, 17, 130), (2000, 100, 2), (3000, 384, 10),
    (4000, 768, 20), (500, 1280, 1000), (777, 384, 100), (70, 1000, 12), (70, 1001, 32),
]  # fmt: skip
STORAGE = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def problem(n: int, d: int, c: int, dtype: torch.dtype, device: str = "cuda") -> tuple[torch.Tensor, ...]:
    """z, y, weight, bias, sample weights, class weights."""
    g = torch.Generator().manual_seed(n + 7 * d + 31 * c)
    z = torch.randn(n, d, generator=g).to(dtype)
    compute = torch.float64 if dtype == torch.float64 else torch.float32
    w = (torch.randn(c, d, generator=g) / d**0.5).to(compute)
    b = torch.randn(c, generator=g).to(compute)
    y = torch.randint(0, c, (n,), generator=g)
    y[: n // 5] = -100
    rows, classes = torch.rand(n, generator=g).to(compute), (0.5 + torch.rand(c, generator=g)).to(compute)
    made = [t.to(device) for t in (z, y, w, b, rows, classes)]
    made[2].requires_grad_()
    made[3].requires_grad_()
    return tuple(made)


def far(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Distance relative to the size of what is wanted; NaN where either is not finite."""
    assert found.shape == wanted.shape
    a, b = found.detach().double().cpu(), wanted.detach().double().cpu()
    return float((a - b).norm() / b.norm().clamp_min(0.05))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", STORAGE)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("options", [False, True])
def test_loss_and_gradients_equal_float64(
    shape: tuple[int, int, int], dtype: torch.dtype, reduction: str, options: bool
) -> None:
    z, y, w, b, rows, classes = problem(*shape, dtype)
    found = []
    for exact in (False, True):
        a = [t.detach().double().cpu() if exact else t.detach() for t in (z, w, b, rows, classes)]
        labels = y.cpu() if exact else y
        weight, bias = a[1].requires_grad_(), a[2].requires_grad_()
        extra = {"sample_weight": a[3], "class_weight": a[4], "label_smoothing": 0.2} if options else {}
        impl = "reference" if exact else "native"
        loss = softmax_head_loss(a[0], labels, weight, bias, reduction=reduction, impl=impl, **extra)
        share = torch.linspace(0.5, 2, loss.numel(), dtype=loss.dtype, device=loss.device).view_as(loss)
        found.append((loss, *torch.autograd.grad((loss * share).sum(), (weight, bias))))
    limit = 1e-10 if w.dtype == torch.float64 else 2e-6 * max(1, (shape[0] / 100) ** 0.5)
    for ours, exact_value in zip(*found, strict=True):
        assert far(ours, exact_value) < limit


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", STORAGE)
def test_prediction_equals_float64(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    z, _, w, b, *_ = problem(*shape, dtype)
    exact = [t.detach().double().cpu() for t in (z, w, b)]
    found = softmax_head_predict(z, w, b, impl="native")
    assert far(found, softmax_head_predict(*exact, impl="reference")) < (1e-10 if w.dtype == torch.float64 else 1e-5)


def test_auto_takes_the_kernels() -> None:
    z, y, w, b, *_ = problem(300, 48, 5, torch.float32)
    assert extension.load_cuda().library is not None
    assert torch.equal(softmax_head_loss(z, y, w, b), softmax_head_loss(z, y, w, b, impl="native"))


@pytest.mark.parametrize("classes", [4, 40])
@pytest.mark.parametrize("reduction", [0, 1, 2])
@pytest.mark.parametrize("need_grad", [False, True])
def test_opcheck(classes: int, reduction: int, need_grad: bool) -> None:
    z, y, w, b, rows, class_weight = problem(50, 9, classes, torch.float32)
    softmax_head_loss(z, y, w, b)
    args = (z, y, w, b, class_weight, rows, 0.1, -100, reduction, need_grad)
    torch.library.opcheck(torch.ops.tlplat.softmax_head_loss.default, args)
    torch.library.opcheck(torch.ops.tlplat.softmax_head_predict.default, (z, w.detach(), b.detach()))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("classes", [4, 40])
def test_gradcheck(reduction: str, classes: int) -> None:
    z, y, w, b, rows, class_weight = problem(20, 6, classes, torch.float64)

    def loss(weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        options = {"sample_weight": rows, "class_weight": class_weight, "label_smoothing": 0.1}
        return softmax_head_loss(z, y, weight, bias, reduction=reduction, impl="native", **options)

    assert torch.autograd.gradcheck(loss, (w, b))


@pytest.mark.parametrize("shape", [(3000, 384, 10), (4000, 768, 20), (777, 384, 100)])
def test_results_repeat_bit_by_bit(shape: tuple[int, int, int]) -> None:
    z, y, w, b, *_ = problem(*shape, torch.float32)

    def once() -> tuple[torch.Tensor, ...]:
        loss = softmax_head_loss(z, y, w, b, impl="native")
        return (loss, *torch.autograd.grad(loss, (w, b)))

    first = once()
    for _ in range(20):
        assert all(torch.equal(a, b) for a, b in zip(first, once(), strict=True))


@pytest.mark.parametrize("shape", [(3000, 384, 10), (777, 384, 100)])
def test_a_stream_that_is_not_the_default(shape: tuple[int, int, int]) -> None:
    """Features that are written on the stream just before must be seen, and no other stream must be waited for."""
    z, y, w, b, *_ = problem(*shape, torch.float32)
    expected = softmax_head_loss(z * 2, y, w, b, impl="native")
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    big = torch.randn(4096, 4096, device="cuda")
    with torch.cuda.stream(stream):
        for _ in range(5):
            big = big @ big / 64  # keeps the stream busy, so that work on another one would come too early
        doubled = z * 2
        found = softmax_head_loss(doubled, y, w, b, impl="native")
    stream.synchronize()
    assert torch.equal(found, expected)


@pytest.mark.parametrize("shape", [(400, 40, 10), (400, 40, 100)])
def test_inside_a_captured_graph(shape: tuple[int, int, int]) -> None:
    z, y, w, b, *_ = problem(*shape, torch.float32)
    arguments = (z, y, w.detach(), b.detach(), None, None, 0.0, -100, 1, True)
    op = torch.ops.tlplat.softmax_head_loss
    softmax_head_loss(z, y, w, b)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        op(*arguments)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss, grad_w, _ = op(*arguments)
    z.mul_(0.5)
    graph.replay()
    wanted, wanted_w, _ = op(*arguments)
    assert torch.equal(loss, wanted)
    assert torch.equal(grad_w, wanted_w)


@pytest.mark.parametrize("layout", ["transposed", "strided", "expanded", "offset"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("classes", [3, 50])
def test_views_equal_contiguous(layout: str, dtype: torch.dtype, classes: int) -> None:
    z, y, w, b, *_ = problem(64, 20, classes, dtype)
    big = torch.full((2 * 64, 25), torch.nan, device="cuda", dtype=dtype)
    big[::2, 5:] = z
    view = {"transposed": z.t().contiguous().t(), "strided": big[::2, 5:], "expanded": z[:1].expand(64, 20)}
    view["offset"] = big.flatten()[5:].as_strided((64, 20), (50, 1))
    expected = softmax_head_loss(view[layout].contiguous(), y, w, b, impl="native")
    assert torch.equal(softmax_head_loss(view[layout], y, w, b, impl="native"), expected)
    assert torch.isfinite(expected)


@pytest.mark.parametrize("classes", [3, 50])
@pytest.mark.parametrize("scale", [1e4, 1e30])
def test_extreme_logits(classes: int, scale: float) -> None:
    z, y, w, b, *_ = problem(40, 12, classes, torch.float32)
    exact = [t.detach().double().cpu() for t in (z * scale, w, b)]
    wanted = softmax_head_loss(exact[0], y.cpu(), *exact[1:], impl="reference")
    torch.testing.assert_close(softmax_head_loss(z * scale, y, w, b).double().cpu(), wanted, rtol=1e-4, atol=0)


@pytest.mark.parametrize("label", [3, -1, 1 << 40])
def test_a_label_out_of_range_is_told_with_its_position(label: int) -> None:
    z, y, w, b, *_ = problem(40, 12, 3, torch.float32)
    softmax_head_loss(z, y, w, b)  # these labels are right, and are then changed in place
    y[7] = label
    for _ in range(2):
        with pytest.raises(IndexError, match=rf"label {label} at position 7 is out of range \[0, 3\)"):
            softmax_head_loss(z, y, w, b)
    assert torch.isnan(torch.ops.tlplat.softmax_head_loss(z, y, w, b, None, None, 0.0, -100, 1, False)[0])
    y[7] = 1
    assert torch.isfinite(softmax_head_loss(z, y, w, b))


def test_bad_input_is_told_as_on_the_cpu() -> None:
    z, y, w, b, rows, _ = problem(40, 12, 3, torch.float32)
    with pytest.raises(RuntimeError, match="weight on cpu"):
        softmax_head_loss(z, y, w.detach().cpu(), b)
    with pytest.raises(ValueError, match="a mean over no rows"):
        softmax_head_loss(z, torch.full_like(y, -100), w, b)
    rows[3] = -1
    with pytest.raises(ValueError, match="sample_weight must be finite and not negative"):
        softmax_head_loss(z, y, w, b, sample_weight=rows)
    assert float(softmax_head_loss(z[:0], y[:0], w.detach(), b.detach(), reduction="sum")) == 0
    assert softmax_head_predict(z[:0], w, b).shape == (0, 3)


@pytest.mark.slow
def test_compiles_into_one_graph() -> None:
    z, y, w, b, *_ = problem(50, 9, 4, torch.float32)

    def step(weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return softmax_head_loss(z, y, weight, bias) * 2

    compiled: Any = torch.compile(step, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(w, b), step(w, b))
    torch.testing.assert_close(torch.autograd.grad(compiled(w, b), w), torch.autograd.grad(step(w, b), w))


def test_a_second_gpu_is_served_there() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("there is one GPU")
    z, y, w, b, *_ = problem(300, 48, 5, torch.float32, "cuda:1")
    found = softmax_head_loss(z, y, w, b, impl="native")
    assert found.device == torch.device("cuda:1")
    assert torch.cuda.current_device() == 0
    torch.testing.assert_close(found, softmax_head_loss(z, y, w, b, impl="reference"))
