"""The native library against the reference, and against torch's own rules for ops."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest
import torch

from tlplat.ops import extension, fit_softmax_heads, softmax_head_loss, softmax_head_predict

SHAPES = [(1, 1, 1), (5, 3, 2), (64, 48, 3), (333, 63, 7), (100, 513, 37), (40, 17, 130), (2000, 100, 2)]


@pytest.fixture(autouse=True)
def _native_only(implementation: str) -> None:
    if implementation != "native":
        pytest.skip("compares the two itself")


def _problem(n: int, d: int, c: int, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(n + 7 * d + 31 * c)
    z = torch.randn(n, d, generator=g).to(dtype)
    compute = torch.float64 if dtype == torch.float64 else torch.float32
    w = (torch.randn(c, d, generator=g) / d**0.5).to(compute).requires_grad_()
    b = torch.randn(c, generator=g).to(compute).requires_grad_()
    y = torch.randint(0, c, (n,), generator=g)
    y[: n // 5] = -100
    return z, y, w, b, torch.rand(n, generator=g).to(compute), (0.5 + torch.rand(c, generator=g)).to(compute)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("options", [False, True])
@pytest.mark.parametrize("isa", ["default", "avx2", "avx512"])
def test_loss_and_gradients_equal_the_reference(
    shape: tuple[int, int, int],
    dtype: torch.dtype,
    reduction: str,
    options: bool,
    isa: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", isa)
    z, y, w, b, rows, classes = _problem(*shape, dtype)
    extra = {"sample_weight": rows, "class_weight": classes, "label_smoothing": 0.2} if options else {}
    found = []
    for impl in ("native", "reference"):
        loss = softmax_head_loss(z, y, w, b, reduction=reduction, impl=impl, **extra)
        weights = torch.linspace(0.5, 2, loss.numel(), dtype=loss.dtype).view_as(loss)
        found.append((loss, *torch.autograd.grad((loss * weights).sum(), (w, b))))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-5 if w.dtype == torch.float32 else 1e-9, atol=2e-5)
    torch.testing.assert_close(
        softmax_head_predict(z, w, b, impl="native"),
        softmax_head_predict(z, w, b, impl="reference"),
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.parametrize("shape", [(64, 48, 3), (333, 63, 7), (200, 100, 2)])
@pytest.mark.parametrize("solver", ["lbfgs", "sgd", "adamw"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("options", [False, True])
def test_fits_equal_the_reference(shape: tuple[int, int, int], solver: str, dtype: torch.dtype, options: bool) -> None:
    z, y, _, _, _, classes = _problem(*shape, dtype)
    rows = torch.rand(6, len(z), generator=torch.Generator().manual_seed(1))
    extra = {"class_weight": classes, "label_smoothing": 0.1} if options else {}
    if solver != "lbfgs":
        extra |= {"max_iter": 5, "batch_size": 50, "seed": [1, 2, 1, 2, 3, 3], "schedule": "cosine"}
    found = [
        fit_softmax_heads(
            z, y, shape[2], weight_decay=[0.01, 0.1, 1] * 2, sample_weight=rows, validation_weight=1 - rows,
            solver=solver, impl=impl, **extra,
        )
        for impl in ("native", "reference")
    ]  # fmt: skip
    rounded = dtype == torch.bfloat16 and solver != "lbfgs"  # where the processor multiplies bf16, steps do so
    rtol, atol = (2e-2, 5e-3) if rounded else (1e-3, 5e-4)
    for name in ("weight", "bias", "loss", "validation_loss"):
        torch.testing.assert_close(getattr(found[0], name), getattr(found[1], name), rtol=rtol, atol=atol)
    assert found[0].converged.all()


@pytest.mark.parametrize("shape", [(100, 33, 7, 12), (300, 50, 20, 3), (700, 16, 50, 1), (77, 100, 3, 40)])
@pytest.mark.parametrize("solver", ["lbfgs", "sgd", "adamw"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("isa", ["default", "avx2", "avx512"])
def test_many_columns_equal_the_reference(
    shape: tuple[int, int, int, int], solver: str, dtype: torch.dtype, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heads times classes beyond the blocks of few: rows in panels, and heads shared between threads."""
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", isa)
    n, d, c, heads = shape
    z, y, *_ = _problem(n, d, c, dtype)
    rows = (torch.rand(heads, n, generator=torch.Generator().manual_seed(1)) < 0.8).float()
    options = {"max_iter": 4, "batch_size": 70, "seed": [k % 2 for k in range(heads)], "eps": 1e-3}
    options = {} if solver == "lbfgs" else options
    threads = torch.get_num_threads()
    found = []
    try:
        for impl, count in (("native", 1), ("native", 2), ("native", 2), ("reference", 1)):
            torch.set_num_threads(count)
            fit = fit_softmax_heads(
                z, y, c, weight_decay=[0.1 * (k + 1) for k in range(heads)], sample_weight=rows,
                validation_weight=1 - rows, solver=solver, impl=impl, **options,
            )  # fmt: skip
            found.append(fit)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[1].weight, found[2].weight)
    rounded = dtype == torch.bfloat16 and solver != "lbfgs"
    rtol, atol = (2e-2, 5e-3) if rounded else (1e-3, 5e-4)
    for fit in found[:3]:
        for name in ("weight", "bias", "loss", "validation_loss"):
            torch.testing.assert_close(getattr(fit, name), getattr(found[3], name), rtol=rtol, atol=atol)


@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
def test_folds_of_many_heads_in_one_call(solver: str) -> None:
    """Small fits side by side: the same whatever the threads and the slices of time, and those of a call a head."""
    z, y, *_ = _problem(150, 24, 6, torch.float32)
    folds = torch.stack([torch.arange(150) % 5 != f for f in range(5)]).repeat_interleave(8, dim=0)
    decays = [10.0**e for e in range(-4, 4)] * 5
    options = {"solver": solver, "impl": "native", "learning_rate": 0.01, "batch_size": 150}
    options |= {"max_iter": 500, "tol": 1e-6} if solver == "lbfgs" else {"max_iter": 40}
    threads, counted, found = torch.get_num_threads(), [], []
    try:
        for count, watch in ((1, None), (2, None), (2, lambda i, losses: counted.append((i, len(losses))))):
            torch.set_num_threads(count)
            fit = fit_softmax_heads(
                z, y, 6, weight_decay=decays, sample_weight=folds, validation_weight=~folds, patience=40,
                on_epoch=watch, **options,
            )  # fmt: skip
            found.append(fit)
    finally:
        torch.set_num_threads(threads)
    for fit in found[1:]:
        assert torch.equal(fit.weight, found[0].weight)
        assert torch.equal(fit.validation_loss, found[0].validation_loss)
        assert fit.iterations.tolist() == found[0].iterations.tolist()
    numbers = [i for i, _ in counted]
    assert numbers == sorted(numbers)
    assert numbers[-1] == int(found[0].iterations.max())
    assert {length for _, length in counted} == {40}
    for k in (0, 11, 22, 33, 39):
        rows = folds[k]
        one = fit_softmax_heads(z[rows], y[rows], 6, weight_decay=decays[k], **options)
        torch.testing.assert_close(found[0].loss[k], one.loss[0], rtol=1e-4, atol=1e-5)
        if solver == "lbfgs":
            torch.testing.assert_close(found[0].weight[k], one.weight[0], rtol=1e-3, atol=5e-4)


def test_bf16_storage_keeps_the_accuracy() -> None:
    g = torch.Generator().manual_seed(3)
    z = torch.randn(6000, 101, generator=g)
    y = (z @ torch.randn(101, 7, generator=g) / 4 + torch.randn(6000, 7, generator=g)).argmax(1)
    train, rest = slice(0, 3001), slice(3001, None)
    accuracy = []
    for storage in (torch.float32, torch.bfloat16):
        fit = fit_softmax_heads(
            z[train].to(storage), y[train], 7, solver="sgd", max_iter=6, batch_size=63, impl="native"
        )
        p = softmax_head_predict(z[rest], fit.weight[0], fit.bias[0])
        accuracy.append(float((p.argmax(1) == y[rest]).float().mean()))
    assert accuracy[0] > 0.6
    assert abs(accuracy[0] - accuracy[1]) < 0.005


def test_early_stopping_equals_the_reference() -> None:
    z, y, *_ = _problem(120, 64, 3, torch.float64)
    held = torch.arange(120) % 4 == 0
    found = [
        fit_softmax_heads(
            z, y, 3, solver="sgd", learning_rate=[1.0, 0.3, 1e-4, 1e30], seed=[0, 0, 0, 1], weight_decay=1e-3,
            batch_size=16, sample_weight=~held, validation_weight=held, max_iter=40, patience=3, impl=impl,
        )
        for impl in ("native", "reference")
    ]  # fmt: skip
    assert torch.equal(found[0].iterations, found[1].iterations)
    assert found[0].converged.tolist() == found[1].converged.tolist() == [True, True, True, False]
    torch.testing.assert_close(found[0].weight[:3], found[1].weight[:3])
    torch.testing.assert_close(found[0].validation_loss[:3], found[1].validation_loss[:3])


def test_results_are_bitwise_repeatable() -> None:
    z, y, *_ = _problem(3000, 100, 10, torch.float32)
    for solver in ("lbfgs", "sgd"):
        fits = [fit_softmax_heads(z, y, 10, weight_decay=[0.1, 1], solver=solver, max_iter=5) for _ in range(3)]
        assert all(torch.equal(f.weight, fits[0].weight) for f in fits)


@pytest.mark.parametrize("reduction", [0, 1, 2])
@pytest.mark.parametrize("need_grad", [False, True])
def test_opcheck(reduction: int, need_grad: bool) -> None:
    z, y, w, b, rows, classes = _problem(50, 9, 4, torch.float32)
    extension.load()
    softmax_head_loss(z, y, w, b)
    args = (z, y, w, b, classes, rows, 0.1, -100, reduction, need_grad)
    torch.library.opcheck(torch.ops.tlplat.softmax_head_loss.default, args)
    torch.library.opcheck(torch.ops.tlplat.softmax_head_predict.default, (z, w.detach(), b.detach()))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_gradcheck(reduction: str) -> None:
    z, y, w, b, rows, classes = _problem(20, 6, 4, torch.float64)

    def loss(weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        options = {"sample_weight": rows, "class_weight": classes, "label_smoothing": 0.1}
        return softmax_head_loss(z, y, weight, bias, reduction=reduction, impl="native", **options)

    assert torch.autograd.gradcheck(loss, (w, b))


@pytest.mark.slow
def test_compiles_into_one_graph() -> None:
    z, y, w, b, *_ = _problem(50, 9, 4, torch.float32)

    def step(weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return softmax_head_loss(z, y, weight, bias) * 2

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(w, b), step(w, b))
    torch.testing.assert_close(torch.autograd.grad(compiled(w, b), w), torch.autograd.grad(step(w, b), w))


def test_eight_threads_at_once() -> None:
    z, y, *_ = _problem(500, 64, 5, torch.float32)
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


def test_works_before_and_after_fork() -> None:
    script = (
        "import os, torch, warnings\n"
        "from tlplat.ops import fit_softmax_heads\n"
        "torch.set_num_threads(2)\n"
        "z = torch.randn(4000, 64); y = torch.randint(0, 5, (4000,))\n"
        "a = fit_softmax_heads(z, y, 5, weight_decay=0.1, impl='native').weight.sum().item()\n"
        "child = os.fork()\n"
        "b = fit_softmax_heads(z, y, 5, weight_decay=0.1, impl='native').weight.sum().item()\n"
        "if child == 0: os._exit(0 if a == b else 1)\n"
        "raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) or a != b)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_ctrl_c_stops_a_long_fit() -> None:
    script = (
        # a job in the background inherits that SIGINT is ignored
        "import _thread, signal, threading, torch\n"
        "from tlplat.ops import fit_softmax_heads\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "z = torch.randn(4000, 64); y = torch.randint(0, 5, (4000,))\n"
        "threading.Timer(1, _thread.interrupt_main).start()\n"
        "try: fit_softmax_heads(z, y, 5, solver='sgd', max_iter=10**7, impl='native')\n"
        "except KeyboardInterrupt: raise SystemExit(7)\n"
    )
    began = time.monotonic()
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=120).returncode == 7
    assert time.monotonic() - began < 100


def test_rows_beyond_int32_are_told_by_shape_alone() -> None:
    softmax_head_loss(*_problem(5, 3, 2, torch.float32)[:4])
    with torch.device("meta"):
        z, y, w = torch.empty(1 << 20, 4096), torch.empty(1 << 20, dtype=torch.int64), torch.empty(3, 4096)
    assert torch.ops.tlplat.softmax_head_loss(z, y, w, None, None, None, 0.0, -100, 1, True)[1].shape == (3, 4096)


@pytest.mark.parametrize("layout", ["transposed", "strided", "expanded", "offset"])
def test_views_equal_contiguous(layout: str) -> None:
    z, y, *_ = _problem(64, 20, 3, torch.float32)
    big = torch.zeros(2 * 64, 25)
    big[::2, 5:] = z
    view = {"transposed": z.t().contiguous().t(), "strided": big[::2, 5:], "expanded": z[:1].expand(64, 20)}
    view["offset"] = big.flatten()[5:].as_strided((64, 20), (50, 1))
    for solver in ("lbfgs", "sgd"):
        options = {"weight_decay": 0.1, "solver": solver, "max_iter": 5}
        expected = fit_softmax_heads(view[layout].contiguous(), y, 3, **options).weight
        assert torch.equal(fit_softmax_heads(view[layout], y, 3, **options).weight, expected)


def test_a_row_costs_its_label_and_its_place_in_the_order() -> None:
    script = (
        "import resource, sys, torch\n"
        "from tlplat.ops import fit_softmax_heads, softmax_head_loss\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "z, y, w = torch.empty(200, 2).normal_(), torch.randint(0, 3, (200,)), torch.zeros(3, 2)\n"
        "work = {'loss': lambda: softmax_head_loss(z, y, w, impl='native')} | {\n"
        "    s: lambda s=s: fit_softmax_heads(z, y, 3, solver=s, max_iter=2, batch_size=4096, impl='native')\n"
        "    for s in ('lbfgs', 'sgd')}\n"
        "for f in work.values(): f()\n"
        "z, y = torch.empty(6_000_000, 2).normal_(), torch.randint(0, 3, (6_000_000,))\n"
        "before = peak()\n"
        "for name, f in work.items():\n"
        "    f(); print(name, (peak() - before) / len(z))\n"
    )
    found = subprocess.run([sys.executable, "-c", script], check=True, timeout=300, capture_output=True, text=True)
    bytes_a_row = {name: float(value) for name, value in (line.split() for line in found.stdout.splitlines())}
    assert bytes_a_row["loss"] < 5  # an int32 label
    assert bytes_a_row["lbfgs"] < 7  # and which rows are ignored, for a moment
    assert bytes_a_row["sgd"] < 10  # and an int32 place in the order
