"""``fit_softmax_heads`` by the CUDA kernels and their host loop under the SIMT shim, against the reference."""

from __future__ import annotations

from typing import Any

import pytest
import simt_shim
import torch

from tlplat.ops import cuda_fit, fit, fit_softmax_heads
from tlplat.ops.problem import HeadsFit

pytestmark = pytest.mark.usefixtures("shim")


@pytest.fixture
def by_shim(monkeypatch: pytest.MonkeyPatch) -> Any:
    """fit_softmax_heads with the checks as they are and the kernels in the place of the reference."""

    def run(*args: Any, **options: Any) -> HeadsFit:
        with monkeypatch.context() as m:
            m.setattr(fit, "_reference", lambda p: cuda_fit.fit(p, simt_shim.library()))
            return fit_softmax_heads(*args, **options, impl="reference")

    return run


def _problem(n: int, d: int, c: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(n + d + c)
    z, y = torch.randn(n, d, generator=g).to(dtype), torch.randint(0, c, (n,), generator=g)
    y[: n // 5] = -100
    return z, y, 0.5 + torch.rand(c, generator=g)


def _close(found: HeadsFit, wanted: HeadsFit, **tolerance: float) -> None:
    for name in ("weight", "bias", "loss", "validation_loss"):
        torch.testing.assert_close(getattr(found, name), getattr(wanted, name), **tolerance)
    assert torch.equal(found.converged, wanted.converged)


@pytest.mark.parametrize("shape", [(64, 20, 3), (40, 17, 36)])
@pytest.mark.parametrize("solver", ["sgd", "adamw"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_steps_equal_the_reference(by_shim: Any, shape: tuple[int, int, int], solver: str, dtype: torch.dtype) -> None:
    z, y, classes = _problem(*shape, dtype)
    rows = torch.rand(4, len(z), generator=torch.Generator().manual_seed(1))
    options = {
        "weight_decay": [0.01, 0.1, 1, 0.1], "sample_weight": rows, "validation_weight": 1 - rows, "solver": solver,
        "class_weight": classes, "label_smoothing": 0.1, "max_iter": 3, "batch_size": 20, "seed": [3, 1, 3, 2],
        "schedule": "cosine", "learning_rate": [0.1, 0.01, 0.001, 0.1],
    }  # fmt: skip
    found = by_shim(z, y, shape[2], **options)
    wanted = fit_softmax_heads(z, y, shape[2], **options, impl="reference")
    _close(found, wanted, rtol=1e-5, atol=1e-4 if dtype != torch.float64 else 1e-9)
    assert torch.equal(found.iterations, wanted.iterations)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_lbfgs_equals_the_reference(by_shim: Any, dtype: torch.dtype) -> None:
    z, y, classes = _problem(64, 20, 3, dtype)
    rows = torch.rand(3, len(z), generator=torch.Generator().manual_seed(1))
    options = {"weight_decay": [0.03, 0.1, 1], "sample_weight": rows, "validation_weight": 1 - rows, "tol": 1e-5}
    found = by_shim(z, y, 3, class_weight=classes, label_smoothing=0.1, **options)
    wanted = fit_softmax_heads(z, y, 3, class_weight=classes, label_smoothing=0.1, **options, impl="reference")
    _close(found, wanted, rtol=1e-3, atol=1e-4)
    assert found.converged.all()


def test_early_stopping_equals_the_reference(by_shim: Any) -> None:
    z, y, _ = _problem(60, 64, 3, torch.float64)
    held = torch.arange(60) % 4 == 0
    options = {
        "solver": "sgd", "learning_rate": [1.0, 0.3, 1e-4, 1e200], "seed": [0, 0, 0, 1], "weight_decay": 1e-3,
        "batch_size": 30, "sample_weight": ~held, "validation_weight": held, "max_iter": 8, "patience": 2,
    }  # fmt: skip
    found = by_shim(z, y, 3, **options)
    wanted = fit_softmax_heads(z, y, 3, **options, impl="reference")
    assert torch.equal(found.iterations, wanted.iterations)
    assert found.iterations.min() < 8
    assert found.converged.tolist() == wanted.converged.tolist() == [True, True, True, False]
    torch.testing.assert_close(found.weight[:3], wanted.weight[:3])
    torch.testing.assert_close(found.validation_loss[:3], wanted.validation_loss[:3])


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_a_fit_does_not_depend_on_the_order_of_warps(by_shim: Any, solver: str) -> None:
    z, y, _ = _problem(64, 20, 3, torch.float32)
    found = []
    for seed in range(3):
        simt_shim.module().set_seed(seed)
        found.append(by_shim(z, y, 3, weight_decay=[0.1, 1], solver=solver, max_iter=3))
    assert all(torch.equal(f.weight, found[0].weight) and torch.equal(f.loss, found[0].loss) for f in found)


def test_the_callback_sees_every_epoch_and_stops(by_shim: Any) -> None:
    z, y, _ = _problem(40, 20, 3, torch.float32)
    seen: list[tuple[int, int]] = []
    found = by_shim(
        z, y, 3, solver="sgd", weight_decay=[0.1, 1], max_iter=9, batch_size=20,
        on_epoch=lambda i, losses: seen.append((i, len(losses))) or i == 3,
    )  # fmt: skip
    assert seen == [(1, 2), (2, 2), (3, 2)]
    assert found.iterations.tolist() == [3, 3]


def test_a_start_and_a_layout_of_another_version(by_shim: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    z, y, _ = _problem(40, 20, 3, torch.float32)
    start = (torch.randn(1, 3, 20), torch.randn(1, 3))
    found = by_shim(z, y, 3, weight_decay=0.5, start=start, tol=1e-4)
    torch.testing.assert_close(found.weight, by_shim(z, y, 3, weight_decay=0.5, tol=1e-4).weight, rtol=1e-2, atol=1e-3)

    class Older(cuda_fit._Fit):
        _fields_ = (("more", cuda_fit.c_int64),)

    monkeypatch.setattr(cuda_fit, "_Fit", Older)
    with pytest.raises(cuda_fit.PluginError, match="another layout"):
        by_shim(z, y, 3, weight_decay=0.5)


def test_held_out_losses_are_plain(by_shim: Any) -> None:
    """No class weights, no smoothing in what is reported of held-out rows."""
    z, y, classes = _problem(40, 20, 3, torch.float64)
    held = torch.arange(40) % 3 == 0
    found = by_shim(
        z,
        y,
        3,
        weight_decay=1.0,
        class_weight=classes,
        label_smoothing=0.3,
        sample_weight=~held,
        validation_weight=held,
    )
    kept = held & (y >= 0)
    logits = z[kept] @ found.weight[0].t() + found.bias[0]
    torch.testing.assert_close(found.validation_loss[0], torch.nn.functional.cross_entropy(logits, y[kept]))
