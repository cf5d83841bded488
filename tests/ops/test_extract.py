"""The last frozen block, fused with a head's loss, against its parts in torch; both implementations."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from tlplat.ops import FrozenBlock, LayerNorm, extract_features, frozen_softmax_head_loss

ACTIVATIONS: dict[str, Any] = {
    "identity": lambda h: h,
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": lambda h: F.gelu(h, approximate="tanh"),
    "silu": F.silu,
    "tanh": torch.tanh,
}
SHAPES = [(1, 1, 1, 1), (7, 5, 3, 2), (64, 63, 100, 7), (33, 130, 17, 70), (200, 37, 129, 3)]
"""n, k, d, C."""


def _made(
    n: int, k: int, d: int, c: int, dtype: torch.dtype = torch.float64, tokens: int | None = None, **block: Any
) -> tuple[torch.Tensor, torch.Tensor, FrozenBlock, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(n * 7919 + k * 131 + d * 31 + c)
    x = torch.randn(n, *([tokens] if tokens is not None else []), k, generator=g, dtype=torch.float64).to(dtype)
    weight = torch.randn(d, k, generator=g, dtype=torch.float64).to(dtype) / k**0.5
    bias = torch.randn(d, generator=g, dtype=torch.float64).to(dtype)
    w = torch.randn(c, d, generator=g, dtype=torch.float64).to(dtype).div_(d**0.5).requires_grad_()
    b = torch.randn(c, generator=g, dtype=torch.float64).to(dtype).requires_grad_()
    y = torch.randint(0, c, (n,), generator=g)
    return x, y, FrozenBlock(weight, bias, pool="none" if tokens is None else "mean", **block), w, b


def _features(x: torch.Tensor, block: FrozenBlock, mask: torch.Tensor | None = None) -> torch.Tensor:
    h = ACTIVATIONS[block.activation](F.linear(x, block.weight, block.bias))
    if block.norm is not None:
        h = F.layer_norm(h, h.shape[-1:], block.norm.weight, block.norm.bias, block.norm.eps)
    if block.pool == "none":
        return h
    if mask is None:
        return h.mean(dim=1)
    return torch.stack([row[keep].mean(dim=0) if keep.any() else 0 * row[0] for row, keep in zip(h, mask, strict=True)])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("norm", [False, True])
def test_features_and_loss_are_those_of_the_parts(
    shape: tuple[int, int, int, int], activation: str, dtype: torch.dtype, norm: bool
) -> None:
    x, y, block, w, b = _made(*shape, dtype, activation=activation)
    if norm:
        scale = torch.linspace(0.5, 2, shape[2], dtype=dtype)
        block = FrozenBlock(block.weight, block.bias, block.activation, LayerNorm(scale, -scale, 1e-3))
    z = _features(x.double(), _double(block))
    near = {"rtol": 1e-11, "atol": 1e-11} if dtype == torch.float64 else {"rtol": 3e-5, "atol": 3e-5}
    torch.testing.assert_close(extract_features(x, block).double(), z, **near)
    loss = frozen_softmax_head_loss(x, y, block, w, b)
    wide = [t.detach().double().requires_grad_() for t in (w, b)]
    expected = F.cross_entropy(F.linear(z, *wide), y)
    torch.testing.assert_close(loss.double(), expected, **near)
    ours, theirs = torch.autograd.grad(loss, (w, b)), torch.autograd.grad(expected, wide)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.double(), other, **near)


def _double(block: FrozenBlock) -> FrozenBlock:
    norm = block.norm and LayerNorm(block.norm.weight.double(), block.norm.bias.double(), block.norm.eps)
    return FrozenBlock(block.weight.double(), block.bias.double(), block.activation, norm, block.pool)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_every_option_is_that_of_cross_entropy(reduction: str, smoothing: float, weighted: bool) -> None:
    x, y, block, w, b = _made(60, 9, 20, 5, activation="silu")
    y[3] = -1
    class_weight = torch.linspace(0.5, 2, 5, dtype=torch.float64) if weighted else None
    rows = torch.rand(60, dtype=torch.float64) if weighted else None
    options: dict[str, Any] = {"label_smoothing": smoothing, "ignore_index": -1}
    ours = frozen_softmax_head_loss(
        x, y, block, w, b, class_weight=class_weight, sample_weight=rows, reduction=reduction, **options
    )
    each = F.cross_entropy(F.linear(_features(x, block), w, b), y, weight=class_weight, reduction="none", **options)
    kept = (y >= 0).double()
    mass = (kept if class_weight is None else class_weight[y.clamp(min=0)] * kept) * (1 if rows is None else rows)
    each = each if rows is None else each * rows
    theirs = {"none": each, "sum": each.sum(), "mean": each.sum() / mass.sum()}[reduction]
    torch.testing.assert_close(ours, theirs)
    up = torch.linspace(1, 2, ours.numel(), dtype=torch.float64).view_as(ours)
    for mine, other in zip(
        torch.autograd.grad((ours * up).sum(), (w, b)), torch.autograd.grad((theirs * up).sum(), (w, b)), strict=True
    ):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("tokens", [1, 3, 70, 500])
@pytest.mark.parametrize("masked", [False, True])
def test_a_mean_over_tokens_leaves_out_what_the_mask_does(tokens: int, masked: bool) -> None:
    x, y, block, w, b = _made(70, 11, 18, 3, tokens=tokens, activation="gelu", norm=LayerNorm())
    mask = torch.rand(70, tokens, generator=torch.Generator().manual_seed(0)) < 0.6 if masked else None
    if mask is not None:
        mask[0] = False
        z = _features(x, block, mask)
        x = torch.where(mask[..., None], x, torch.nan)  # what is left out may be anything
    else:
        z = _features(x, block)
    torch.testing.assert_close(extract_features(x, block, mask=mask), z)
    loss = frozen_softmax_head_loss(x, y, block, w, b, mask=mask)
    torch.testing.assert_close(loss, F.cross_entropy(F.linear(z, w, b), y))


@pytest.mark.parametrize("layout", ["channels first", "strided", "expanded", "offset", "every other channel"])
def test_views_equal_contiguous(layout: str) -> None:
    x, y, block, w, b = _made(40, 12, 8, 3, tokens=5, activation="relu")
    big = torch.zeros(80, 5, 25, dtype=x.dtype)
    big[::2, :, 1:13] = x
    view = {
        "channels first": x.transpose(1, 2).contiguous().transpose(1, 2),
        "strided": big[::2, :, 1:13],
        "expanded": x[:1, :1].expand(40, 5, 12),
        "offset": big.flatten()[25:].as_strided((39, 5, 12), (250, 25, 1)),
        "every other channel": big[:40, :, ::2][..., :12],
    }[layout]
    y, same = y[: len(view)], view.clone(memory_format=torch.contiguous_format)
    torch.testing.assert_close(extract_features(view, block), extract_features(same, block))
    loss = frozen_softmax_head_loss(view, y, block, w, b)
    torch.testing.assert_close(loss, frozen_softmax_head_loss(same, y, block, w, b))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("out", [torch.float32, torch.bfloat16, torch.float16])
def test_storage_types_of_x_and_z(dtype: torch.dtype, out: torch.dtype) -> None:
    x, _, block, _, _ = _made(30, 21, 19, 3, torch.float32, activation="tanh")
    z = extract_features(x.to(dtype), block, dtype=out)
    assert z.dtype == out
    torch.testing.assert_close(z, _features(x.to(dtype).float(), block).to(out), rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize(("precision", "bound"), [("bf16", 4e-3), ("int8", 1e-2)])
def test_rounded_factors_cost_little(precision: str, bound: float) -> None:
    """Within 1 % of the full gradient (kernel goal), and not the full computation under another name."""
    x, y, block, w, b = _made(600, 256, 128, 10, torch.float32, activation="gelu")
    full, rounded = (
        torch.autograd.grad(frozen_softmax_head_loss(x, y, block, w, b, precision=p), w)[0] for p in ("full", precision)
    )
    assert 1e-5 < float((full - rounded).norm() / full.norm()) < bound


@pytest.mark.parametrize("precision", ["full", "bf16", "int8"])
def test_extreme_rows_stay_finite_and_nan_stays_nan(precision: str) -> None:
    x, y, block, w, b = _made(50, 20, 16, 5, torch.float32, activation="gelu")
    x = x * torch.logspace(-35, 30, 50)[:, None]
    x[3] = 0
    for activation in ACTIVATIONS:
        block = FrozenBlock(block.weight, block.bias, activation)
        z = extract_features(x, block, precision=precision)
        assert torch.isfinite(z).all(), activation
        wrong = x.clone()
        wrong[7, 2], wrong[9, 0] = torch.nan, torch.inf
        other = extract_features(wrong, block, precision=precision)
        assert torch.isnan(other[7]).all(), activation
        keep = [i for i in range(50) if i not in (7, 9)]
        assert torch.equal(other[keep], z[keep]), activation
    scaled = (1e4 * w).detach().requires_grad_()
    loss = frozen_softmax_head_loss(x.clamp(-100, 100), y, block, scaled, b, precision=precision)
    assert torch.isfinite(loss)
    assert torch.isfinite(torch.autograd.grad(loss, scaled)[0]).all()


def test_no_rows() -> None:
    x, y, block, w, b = _made(0, 4, 3, 2)
    assert extract_features(x, block).shape == (0, 3)
    assert frozen_softmax_head_loss(x, y, block, w, b, reduction="none").shape == (0,)
    total = frozen_softmax_head_loss(x, y, block, w, b, reduction="sum")
    assert total == 0
    assert torch.equal(torch.autograd.grad(total, w)[0], torch.zeros_like(w))
    with pytest.raises(ValueError, match="a mean over no rows"):
        frozen_softmax_head_loss(x, y, block, w, b)
    x, y, block, w, b = _made(5, 4, 3, 2, tokens=0)
    assert torch.equal(extract_features(x, block), torch.zeros(5, 3, dtype=x.dtype))


def test_one_class_has_no_loss_and_no_gradient() -> None:
    x, y, block, w, b = _made(20, 4, 3, 1, activation="relu")
    loss = frozen_softmax_head_loss(x, y, block, w, b)
    assert loss == 0
    assert not torch.autograd.grad(loss, w)[0].any()


@pytest.mark.parametrize("name", ["x", "block.weight", "block.bias", "block.norm.weight"])
def test_what_is_frozen_gets_no_gradient(name: str) -> None:
    x, y, block, w, b = _made(10, 4, 3, 2, norm=LayerNorm(torch.ones(3, dtype=torch.float64)))
    {"x": x, **block.tensors()}[name].requires_grad_()
    with pytest.raises(ValueError, match=rf"{name} requires grad, but x and the block are frozen"):
        frozen_softmax_head_loss(x, y, block, w, b)
    with pytest.raises(ValueError, match="frozen"):
        extract_features(x, block)


@pytest.mark.parametrize("label", [2, -1, -(2**63), 2**63 - 1])
def test_label_out_of_range_names_its_position(label: int) -> None:
    x, y, block, w, b = _made(10, 4, 3, 2)
    y[6] = label
    with pytest.raises(IndexError, match="position 6 is out of range"):
        frozen_softmax_head_loss(x, y, block, w, b)


def test_wrong_input_is_said() -> None:
    x, y, block, w, b = _made(10, 4, 3, 2)
    pooled = FrozenBlock(block.weight, block.bias, pool="mean")

    def refused(error: type[Exception], match: str, **changed: Any) -> None:
        given = {"x": x, "y": y, "block": block, "weight": w, "bias": b} | changed
        with pytest.raises(error, match=match):
            frozen_softmax_head_loss(**given)

    for dtype in (torch.int8, torch.complex64):
        refused(TypeError, r"dtype.*float32", x=x.to(dtype))
    refused(TypeError, r"dtype.*float32", weight=w.float())
    refused(TypeError, r"float32.*dtype", precision="int8")
    refused(TypeError, "use bool", block=pooled, x=x[:, None], mask=torch.ones(10, 1))
    refused(ValueError, r"x must be \(n, k\) with k = 4", x=x[:, :3])
    refused(ValueError, r"x must be \(n, k\)", x=x[:, None])
    refused(ValueError, r"x must be \(n, tokens, k\)", block=pooled)
    refused(ValueError, "block.weight must be", block=FrozenBlock(block.weight[0]))
    refused(ValueError, "block.bias must have shape", block=FrozenBlock(block.weight, block.bias[:2]))
    refused(ValueError, r"weight must have shape \(2, 3\)", weight=w[:, :2])
    refused(ValueError, "y must have shape", y=y[:5])
    refused(ValueError, "mask goes with", mask=torch.ones(10, 1, dtype=torch.bool))
    refused(ValueError, "activation must be one of", block=FrozenBlock(block.weight, activation="elu"))  # type: ignore[arg-type]
    refused(ValueError, "precision must be one of", precision="fp8")
    refused(ValueError, "label_smoothing", label_smoothing=1.0)
    refused(ValueError, "sample_weight must be finite", sample_weight=-torch.ones(10))
    refused(RuntimeError, "same device", y=y.to("meta"))
    refused(RuntimeError, "same device", x=x.to("meta"))


MEMORY = """
import resource, sys, torch
from tlplat.ops import FrozenBlock, extract_features, frozen_softmax_head_loss
torch.set_num_threads(1)
block = FrozenBlock(torch.randn(512, 16), activation="relu")
w, y = torch.zeros(2, 512, requires_grad=True), torch.zeros(1, dtype=torch.int64)
def run(n):
    x = torch.randn(1, 16).expand(n, 16)
    frozen_softmax_head_loss(x, y.expand(n), block, w, impl=sys.argv[1]).backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
run(20000)
print(run(20000), run(300000))
"""


def test_memory_does_not_grow_with_rows(implementation: str) -> None:
    """z of the 300 000 rows would take 586 MiB; their labels and what they count take some 24 bytes each."""
    env = {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "1000000"}  # what is freed goes back at once
    found = subprocess.run(
        [sys.executable, "-c", MEMORY, implementation],
        env=os.environ | env, capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    few, many = map(float, found.stdout.split())
    assert many - few < 30
