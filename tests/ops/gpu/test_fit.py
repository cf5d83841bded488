"""``fit_softmax_heads`` on a GPU, against the reference on the CPU in the same dtype."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import pytest
import torch

from tlplat.errors import NonFiniteError
from tlplat.ops import HeadsFit, fit_softmax_heads

pytestmark = pytest.mark.cuda


def problem(n: int, d: int, c: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(n + d + c)
    z, y = torch.randn(n, d, generator=g).to(dtype), torch.randint(0, c, (n,), generator=g)
    y[: n // 5] = -100
    return z, y, 0.5 + torch.rand(c, generator=g)


def both(z: torch.Tensor, y: torch.Tensor, c: int, **options: Any) -> tuple[HeadsFit, HeadsFit]:
    """On the GPU by the kernels, and on the CPU in plain torch."""
    there = {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in options.items()}
    found = fit_softmax_heads(z.cuda(), y.cuda(), c, **there, impl="native")
    assert all(t.device.type == "cuda" for t in (found.weight, found.bias, found.loss, found.converged))
    return found, fit_softmax_heads(z, y, c, **options, impl="reference")


def close(found: HeadsFit, wanted: HeadsFit, **tolerance: float) -> None:
    for name in ("weight", "bias", "loss", "validation_loss"):
        torch.testing.assert_close(getattr(found, name).cpu(), getattr(wanted, name), **tolerance)
    assert torch.equal(found.converged.cpu(), wanted.converged)


@pytest.mark.parametrize("shape", [(64, 20, 3), (400, 384, 10), (300, 100, 37), (300, 200, 2), (333, 63, 7)])
@pytest.mark.parametrize("solver", ["sgd", "adamw"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rich", [False, True])
def test_steps_equal_the_reference(shape: tuple[int, int, int], solver: str, dtype: torch.dtype, rich: bool) -> None:
    z, y, classes = problem(*shape, dtype)
    rows = torch.rand(4, len(z), generator=torch.Generator().manual_seed(1))
    options: dict[str, Any] = {
        "weight_decay": [0.01, 0.1, 1, 0.1], "solver": solver, "max_iter": 3, "batch_size": 50, "seed": [3, 1, 3, 2],
        "schedule": "cosine", "learning_rate": [0.03, 0.01, 0.001, 0.03],
    }  # fmt: skip
    if rich:
        options |= {
            "class_weight": classes,
            "label_smoothing": 0.1,
            "sample_weight": rows,
            "validation_weight": 1 - rows,
        }
    found, wanted = both(z, y, shape[2], **options)
    exact = dtype == torch.float64
    for name in ("weight", "bias", "loss"):
        torch.testing.assert_close(
            getattr(found, name).cpu(),
            getattr(wanted, name),
            rtol=1e-9 if exact else 1e-4,
            atol=1e-9 if exact else 2e-4,
        )
    assert torch.equal(found.iterations.cpu(), wanted.iterations)
    assert torch.equal(found.validation_loss.isnan().cpu(), wanted.validation_loss.isnan())


@pytest.mark.parametrize("shape", [(200, 20, 3), (500, 384, 10), (300, 100, 37)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_lbfgs_equals_the_reference(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    z, y, classes = problem(*shape, dtype)
    rows = torch.rand(3, len(z), generator=torch.Generator().manual_seed(1))
    found, wanted = both(
        z, y, shape[2], weight_decay=[0.03, 0.1, 1], sample_weight=rows, validation_weight=1 - rows, tol=1e-5,
        class_weight=classes, label_smoothing=0.1,
    )  # fmt: skip
    close(found, wanted, rtol=1e-3, atol=5e-4)
    assert found.converged.all()


def test_early_stopping_equals_the_reference() -> None:
    z, y, _ = problem(120, 64, 3, torch.float64)
    held = torch.arange(120) % 4 == 0
    found, wanted = both(
        z, y, 3, solver="sgd", learning_rate=[1.0, 0.3, 1e-4, 1e200], seed=[0, 0, 0, 1], weight_decay=1e-3,
        batch_size=16, sample_weight=~held, validation_weight=held, max_iter=40, patience=3,
    )  # fmt: skip
    assert torch.equal(found.iterations.cpu(), wanted.iterations)
    assert found.iterations.min() < 40
    assert found.converged.tolist() == wanted.converged.tolist() == [True, True, True, False]
    torch.testing.assert_close(found.weight[:3].cpu(), wanted.weight[:3])
    torch.testing.assert_close(found.validation_loss[:3].cpu(), wanted.validation_loss[:3])


def test_many_heads_equal_single_fits() -> None:
    z, y, _ = problem(600, 100, 5, torch.float32)
    z, y = z.cuda(), y.cuda()
    decays = [10.0 ** (-k / 8) for k in range(32)]
    together = fit_softmax_heads(z, y, 5, weight_decay=decays, tol=1e-5)
    for k in (0, 13, 31):
        alone = fit_softmax_heads(z, y, 5, weight_decay=decays[k], tol=1e-5)
        torch.testing.assert_close(together.weight[k], alone.weight[0], rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("solver", ["lbfgs", "sgd", "adamw"])
@pytest.mark.parametrize("classes", [10, 60])
def test_fits_repeat_bit_by_bit(solver: str, classes: int) -> None:
    z, y, _ = problem(3000, 100, classes, torch.float32)
    z, y = z.cuda(), y.cuda()
    fits = [fit_softmax_heads(z, y, classes, weight_decay=[0.1, 1], solver=solver, max_iter=5) for _ in range(5)]
    assert all(torch.equal(f.weight, fits[0].weight) and torch.equal(f.loss, fits[0].loss) for f in fits)


def test_rows_of_another_stride_and_a_stream_of_the_callers() -> None:
    z, y, _ = problem(500, 64, 5, torch.float32)
    wide = torch.full((1000, 70), torch.nan, device="cuda")
    wide[::2, 3:67] = z.cuda()
    expected = fit_softmax_heads(z.cuda(), y.cuda(), 5, weight_decay=0.1).weight
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    labels = y.cuda()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        halves = wide * 0.5
        found = fit_softmax_heads((halves * 2)[::2, 3:67], labels, 5, weight_decay=0.1).weight
        assert torch.equal(found, expected)


def test_the_callback_sees_every_epoch_and_stops() -> None:
    z, y, _ = problem(40, 20, 3, torch.float32)
    seen: list[tuple[int, int]] = []
    found = fit_softmax_heads(
        z.cuda(), y.cuda(), 3, solver="sgd", weight_decay=[0.1, 1], max_iter=9, batch_size=20,
        on_epoch=lambda i, losses: seen.append((i, len(losses))) or i == 3,
    )  # fmt: skip
    assert seen == [(1, 2), (2, 2), (3, 2)]
    assert found.iterations.tolist() == [3, 3]


def test_rows_that_are_not_finite_and_heads_without_rows() -> None:
    z, y, _ = problem(40, 20, 3, torch.float32)
    with pytest.raises(ValueError, match="no row has weight"):
        fit_softmax_heads(z.cuda(), y.cuda(), 3, sample_weight=torch.zeros(40, device="cuda"))
    z[30, 3] = torch.inf
    with pytest.raises(NonFiniteError):
        fit_softmax_heads(z.cuda(), y.cuda(), 3)


def test_eight_threads_at_once() -> None:
    z, y, _ = problem(500, 64, 5, torch.float32)
    z, y = z.cuda(), y.cuda()
    expected = fit_softmax_heads(z, y, 5, weight_decay=0.1).weight
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(3):
            if not torch.equal(fit_softmax_heads(z, y, 5, weight_decay=0.1).weight, expected):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_ctrl_c_stops_a_long_fit() -> None:
    script = (
        "import _thread, threading, torch\n"
        "from tlplat.ops import fit_softmax_heads\n"
        "z = torch.randn(4000, 64).cuda(); y = torch.randint(0, 5, (4000,)).cuda()\n"
        "fit_softmax_heads(z, y, 5, solver='sgd', max_iter=1)\n"
        "threading.Timer(1, _thread.interrupt_main).start()\n"
        "try: fit_softmax_heads(z, y, 5, solver='sgd', max_iter=10**7, impl='native')\n"
        "except KeyboardInterrupt: raise SystemExit(7)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=120).returncode == 7
