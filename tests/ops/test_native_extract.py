"""The native block against the reference, and against torch's own rules for ops."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

from tlplat.ops import FrozenBlock, LayerNorm, extract_features, frozen_softmax_head_loss, native_extract

SHAPES = [
    (0, (1, 1, 1, 1)), (3, (13, 7, 5, 3)), (0, (100, 513, 37, 2)), (9, (50, 64, 200, 7)), (0, (120, 1700, 48, 5)),
    (0, (70, 33, 20, 90)), (70, (20, 19, 65, 4)),
]  # fmt: skip
"""Tokens, 0 for none, and n, k, d, C."""


@pytest.fixture(autouse=True)
def _native_only(implementation: str) -> None:
    if implementation != "native":
        pytest.skip("compares the two itself")


def _made(n: int, k: int, d: int, c: int, dtype: torch.dtype, tokens: int = 0, **block: Any) -> tuple[Any, ...]:
    g = torch.Generator().manual_seed(n + 7 * k + 31 * d + 101 * c)
    compute = torch.float64 if dtype == torch.float64 else torch.float32
    x = torch.randn(n, *([tokens] if tokens else []), k, generator=g).to(dtype)
    weight = (torch.randn(d, k, generator=g) / k**0.5).to(compute)
    norm = LayerNorm(torch.rand(d, generator=g).to(compute), torch.rand(d, generator=g).to(compute))
    made = FrozenBlock(
        weight, torch.randn(d, generator=g).to(compute), norm=norm, pool="mean" if tokens else "none", **block
    )
    w = (torch.randn(c, d, generator=g) / d**0.5).to(compute).requires_grad_()
    b = torch.randn(c, generator=g).to(compute).requires_grad_()
    y = torch.randint(0, c, (n,), generator=g)
    y[: n // 5] = -100
    return x, y, made, w, b


@pytest.mark.parametrize(("tokens", "shape"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("precision", ["full", "bf16", "int8"])
@pytest.mark.parametrize("isa", ["default", "avx2", "avx512"])
def test_equals_the_reference(
    shape: tuple[int, int, int, int],
    dtype: torch.dtype,
    precision: Any,
    isa: str,
    tokens: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if dtype == torch.float64 and precision != "full":
        pytest.skip("rounded factors compute in float32")
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", isa)
    activation = ("identity", "relu", "gelu", "gelu_tanh", "silu", "tanh")[sum(shape) % 6]
    x, y, block, w, b = _made(*shape, dtype, tokens, activation=activation)
    g = torch.Generator().manual_seed(0)
    mask = torch.rand(shape[0], tokens, generator=g) < 0.7 if tokens else None
    options: dict[str, Any] = {
        "sample_weight": torch.rand(shape[0], generator=g),
        "class_weight": 0.5 + torch.rand(shape[3], generator=g),
        "label_smoothing": 0.2,
    }
    near = {"rtol": 1e-9, "atol": 1e-9} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-4}
    for reduction in ("mean", "none"):
        found = []
        for impl in ("native", "reference"):
            z = extract_features(x, block, mask=mask, precision=precision, impl=impl)  # type: ignore[arg-type]
            loss = frozen_softmax_head_loss(
                x, y, block, w, b, mask=mask, precision=precision, impl=impl, reduction=reduction, **options
            )
            weights = torch.linspace(0.5, 2, loss.numel(), dtype=loss.dtype).view_as(loss)
            found.append((z, loss, *torch.autograd.grad((loss * weights).sum(), (w, b))))
        for ours, theirs in zip(*found, strict=True):
            torch.testing.assert_close(ours, theirs, **near)


def test_rounding_is_the_references() -> None:
    """Without activation and norm the two give the same number to float's rounding, and not that of full precision."""
    x, _, block, _, _ = _made(50, 400, 64, 2, torch.float32)
    block = FrozenBlock(block.weight)
    for precision in ("bf16", "int8"):
        ours, theirs = (extract_features(x, block, precision=precision, impl=i) for i in ("native", "reference"))
        exact = extract_features(x, block)
        assert (ours - theirs).abs().max() < 2e-6 < (ours - exact).abs().max()


def _arguments(reduction: int, need_grad: bool, tokens: int = 4, dtype: torch.dtype = torch.float32) -> tuple[Any, ...]:
    x, y, block, w, b = _made(30, 6, 5, 4, dtype, tokens, activation="silu")
    mask = torch.rand(30, tokens) < 0.7 if tokens else None
    rows, classes = torch.rand(30).to(w.dtype), torch.rand(4).to(w.dtype)
    return (
        *native_extract._block_arguments(x, block, mask, "full"),
        *(y, w, b, classes, rows, 0.1, -100, reduction, need_grad),
    )


@pytest.mark.parametrize("reduction", [0, 1, 2])
@pytest.mark.parametrize("need_grad", [False, True])
@pytest.mark.parametrize("tokens", [0, 4])
def test_opcheck(reduction: int, need_grad: bool, tokens: int) -> None:
    extract_features(torch.ones(1, 1), FrozenBlock(torch.ones(1, 1)), impl="native")
    arguments = _arguments(reduction, need_grad, tokens)
    torch.library.opcheck(torch.ops.tlplat.frozen_softmax_head_loss.default, arguments)
    for dtype in range(4):
        torch.library.opcheck(torch.ops.tlplat.extract_features.default, (*arguments[:9], dtype))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_gradcheck(reduction: Any) -> None:
    x, y, block, w, b = _made(20, 6, 5, 4, torch.float64, activation="gelu")
    rows, classes = torch.rand(20, dtype=torch.float64), torch.rand(4, dtype=torch.float64)

    def loss(weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        options: dict[str, Any] = {"sample_weight": rows, "class_weight": classes, "label_smoothing": 0.1}
        return frozen_softmax_head_loss(x, y, block, weight, bias, reduction=reduction, impl="native", **options)

    assert torch.autograd.gradcheck(loss, (w, b))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["full", "int8"])
def test_compiles_into_one_graph(precision: Any) -> None:
    x, y, block, w, b = _made(50, 9, 8, 4, torch.float32, 3, activation="relu")
    mask = torch.rand(50, 3) < 0.7

    def step(weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        z = extract_features(x, block, mask=mask, precision=precision)
        loss = frozen_softmax_head_loss(x, y, block, weight, bias, mask=mask, precision=precision)
        return loss * 2 + z.mean()

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(w, b), step(w, b))
    torch.testing.assert_close(torch.autograd.grad(compiled(w, b), w), torch.autograd.grad(step(w, b), w))


def test_results_are_bitwise_repeatable_and_a_row_is_its_own() -> None:
    x, y, block, w, b = _made(1000, 100, 70, 5, torch.float32, activation="gelu")
    for precision in ("full", "bf16", "int8"):
        z = extract_features(x, block, precision=precision)  # type: ignore[arg-type]
        assert torch.equal(z, extract_features(x, block, precision=precision))  # type: ignore[arg-type]
        assert torch.equal(z[313:320], extract_features(x[313:320], block, precision=precision))  # type: ignore[arg-type]
        grads = [
            torch.autograd.grad(frozen_softmax_head_loss(x, y, block, w, b, precision=precision), w)[0]  # type: ignore[arg-type]
            for _ in range(2)
        ]
        assert torch.equal(*grads)


def test_eight_threads_at_once() -> None:
    x, y, block, w, b = _made(500, 64, 50, 5, torch.float32, activation="relu")

    def gradient() -> torch.Tensor:
        return torch.autograd.grad(frozen_softmax_head_loss(x, y, block, w, b), w)[0]

    expected, wrong = gradient(), []

    def work(i: int) -> None:
        if not all(torch.equal(gradient(), expected) for _ in range(3)):
            wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_sizes_beyond_int32_are_told_by_shape_alone() -> None:
    extract_features(torch.ones(1, 1), FrozenBlock(torch.ones(1, 1)), impl="native")
    with torch.device("meta"):
        x, y = torch.empty(1 << 20, 4096), torch.empty(1 << 20, dtype=torch.int64)
        p, w = torch.empty(64, 4096), torch.empty(3, 64)
    block = (x, None, p, None, None, None, 1e-5, 1, 0)
    assert torch.ops.tlplat.extract_features(*block, 0).shape == (1 << 20, 64)
    found = torch.ops.tlplat.frozen_softmax_head_loss(*block, y, w, None, None, None, 0.0, -100, 1, True)
    assert [t.shape for t in found] == [(), (3, 64), (3,)]
