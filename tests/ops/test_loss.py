"""softmax_head_loss and softmax_head_predict against torch's own cross-entropy in float64."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tlplat.ops import heads, softmax_head_loss, softmax_head_predict, softmax_head_topk


def _problem(
    n: int, d: int, c: int, dtype: torch.dtype = torch.float64, scale: float = 1.0
) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(n * 7919 + d * 31 + c)
    z = torch.randn(n, d, generator=g, dtype=torch.float64).to(dtype)
    w = (scale * torch.randn(c, d, generator=g, dtype=torch.float64)).to(dtype).requires_grad_()
    b = torch.randn(c, generator=g, dtype=torch.float64).to(dtype).requires_grad_()
    return z, torch.randint(0, c, (n,), generator=g), w, b


@pytest.mark.parametrize("shape", [(5, 3, 2), (64, 17, 3), (33, 64, 10), (7, 5, 1), (200, 63, 37)])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_is_cross_entropy(shape: tuple[int, int, int], reduction: str, smoothing: float, weighted: bool) -> None:
    z, y, w, b = _problem(*shape)
    y[1] = -100
    class_weight = torch.linspace(0.5, 2, shape[2], dtype=torch.float64) if weighted else None
    ours = softmax_head_loss(z, y, w, b, class_weight=class_weight, label_smoothing=smoothing, reduction=reduction)
    theirs = F.cross_entropy(z @ w.t() + b, y, weight=class_weight, label_smoothing=smoothing, reduction=reduction)
    torch.testing.assert_close(ours, theirs)
    for mine, other in zip(
        torch.autograd.grad(ours.sum(), (w, b)), torch.autograd.grad(theirs.sum(), (w, b)), strict=True
    ):
        torch.testing.assert_close(mine, other)


def test_sample_weight_repeats_rows() -> None:
    z, y, w, b = _problem(20, 6, 4)
    times = torch.arange(20) % 3
    weighted = softmax_head_loss(z, y, w, b, sample_weight=times.double())
    repeated = softmax_head_loss(z.repeat_interleave(times, 0), y.repeat_interleave(times), w, b)
    torch.testing.assert_close(weighted, repeated)


def test_extreme_logits_stay_finite() -> None:
    z, y, w, b = _problem(50, 20, 5, torch.float32, scale=1e4)
    loss = softmax_head_loss(z, y, w, b)
    assert torch.isfinite(loss)
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss, (w, b)))


def test_views_equal_contiguous() -> None:
    z, y, w, b = _problem(40, 12, 3)
    big = torch.zeros(80, 13, dtype=z.dtype)
    big[::2, 1:] = z
    expected = softmax_head_loss(z, y, w, b)
    for view in (big[::2, 1:], z.t().contiguous().t()):
        assert not view.is_contiguous()
        torch.testing.assert_close(softmax_head_loss(view, y, w, b), expected)
    row = z[:1].expand(40, 12)
    torch.testing.assert_close(softmax_head_loss(row, y, w, b), softmax_head_loss(row.contiguous(), y, w, b))


def test_no_rows_have_no_losses() -> None:
    z, y, w, b = _problem(0, 4, 3)
    assert softmax_head_loss(z, y, w, b, reduction="none").shape == (0,)
    assert softmax_head_loss(z, y, w, b, reduction="sum") == 0


@pytest.mark.parametrize("label", [3, -1, -(2**63), 2**63 - 1])
def test_label_out_of_range_names_its_position(label: int) -> None:
    z, y, w, b = _problem(10, 4, 3)
    y[6] = label
    with pytest.raises(IndexError, match=r"position 6 is out of range"):
        softmax_head_loss(z, y, w, b)


@pytest.mark.parametrize("dtype", [torch.int8, torch.complex64])
def test_dtype_error_names_float32(dtype: torch.dtype) -> None:
    z, y, w, b = _problem(10, 4, 3)
    with pytest.raises(TypeError, match=r"dtype.*float32"):
        softmax_head_loss(z.real.to(dtype), y, w, b)
    with pytest.raises(TypeError, match=r"dtype.*float32"):
        softmax_head_loss(z, y.double(), w, b)


def test_devices_must_agree() -> None:
    z, y, w, b = _problem(10, 4, 3)
    with pytest.raises(RuntimeError, match="same device"):
        softmax_head_loss(z, y.to("meta"), w, b)


def test_refuses_wrong_shapes_empty_means_and_gradients_of_z() -> None:
    z, y, w, b = _problem(10, 4, 3)
    for bad in ((z[0], y, w, b), (z, y[:9], w, b), (z, y, w[:, :3], b), (z, y, w, b[:2])):
        with pytest.raises(ValueError, match="must"):
            softmax_head_loss(*bad)
    with pytest.raises(ValueError, match="no rows"):
        softmax_head_loss(z[:0], y[:0], w, b)
    with pytest.raises(ValueError, match="no rows"):
        softmax_head_loss(z, torch.full_like(y, -100), w, b)
    with pytest.raises(ValueError, match="requires grad"):
        softmax_head_loss(z.clone().requires_grad_(), y, w, b)
    assert softmax_head_loss(z[:0], y[:0], w, b, reduction="sum") == 0


def test_nan_features_give_a_nan_loss() -> None:
    z, y, w, b = _problem(10, 4, 3)
    z[3, 2] = torch.nan
    assert torch.isnan(softmax_head_loss(z, y, w, b))


@pytest.mark.parametrize("n", [0, 1, 50])
def test_predict_is_softmax(n: int) -> None:
    z, _, w, b = _problem(n, 6, 4)
    torch.testing.assert_close(softmax_head_predict(z, w, b), torch.softmax(z @ w.t() + b, 1).detach())
    torch.testing.assert_close(softmax_head_predict(z, w), torch.softmax(z @ w.t(), 1).detach())


@pytest.mark.parametrize("k", [1, 3, 7])
def test_topk_is_that_of_all_probabilities_in_chunks(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "_TOPK_CHUNK", 7 * 30)
    g = torch.Generator().manual_seed(0)
    z, w = torch.randn(100, 9, generator=g), torch.randn(7, 9, generator=g, requires_grad=True)
    values, classes = softmax_head_topk(z, w, k=k)
    expected = torch.topk(torch.softmax(z @ w.detach().t(), 1), k, dim=1)
    torch.testing.assert_close(values, expected.values)
    assert torch.equal(classes, expected.indices)
    assert [len(t) for t in softmax_head_topk(z[:0], w, k=k)] == [0, 0]


@pytest.mark.parametrize("k", [0, 8])
def test_topk_refuses_more_classes_than_there_are(k: int) -> None:
    with pytest.raises(ValueError, match="k must be in"):
        softmax_head_topk(torch.randn(3, 9), torch.randn(7, 9), k=k)
