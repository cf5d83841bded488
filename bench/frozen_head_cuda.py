"""Softmax heads on frozen features on a GPU, beside eager torch, torch.compile, CUDA graphs, Liger and CCE.

    python bench/frozen_head_cuda.py [--shapes A B C D E] [--repeats 9] [--parts epochs full lbfgs many]

``epochs``: minibatch SGD with momentum, batch 256, all peers over the same order of rows; microseconds a step.
``full``: one loss with its gradients over all rows. ``lbfgs``: to one objective. ``many``: 32 heads at once.
Peers and tlplat take turns inside every repeat; a figure is the median over repeats with its quartiles, by CUDA events
(wall time for whole fits). A turn of ``full`` is the mean of ten calls after one that is not timed, as in a training
loop. A peer whose result differs from ours is marked, not quoted.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from machine import machine, publish
from torch import Tensor
from torch.nn import functional as F

from tlplat.ops import build_info, fit_softmax_heads, softmax_head_loss
from tlplat.ops.order import epoch_order

SHAPES = {
    "A": (1797, 64, 10), "B": (50_000, 384, 10), "C": (50_000, 384, 100), "D": (20_000, 1280, 1000),
    "E": (100_000, 768, 20),
}  # fmt: skip
EPOCHS = {"A": 24, "B": 2, "C": 2, "D": 3, "E": 1}
DECAY, BATCH, RATE = 1e-3, 256, 0.02
Work = Callable[[], Tensor]


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
    groups = [{"params": [w], "weight_decay": DECAY}, {"params": [b]}]
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


def elapsed(work: Work) -> float:
    """Milliseconds on the device."""
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    begin.record()
    work()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


def in_a_row(work: Work) -> float:
    """Milliseconds on the device of a call among its like."""
    work()

    def ten() -> Tensor:
        for _ in range(9):
            work()
        return work()

    return elapsed(ten) / 10


def wall(work: Work) -> float:
    """Milliseconds by the clock."""
    torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - began)


def quartiles(x: list[float]) -> dict[str, float]:
    low, mid, high = statistics.quantiles(x, n=4)
    return {"low": low, "median": mid, "high": high}


def compare(
    works: dict[str, Work], repeats: int, timer: Callable[[Work], float], per: float = 1.0, tolerance: float = 1e-3
) -> dict[str, Any]:
    """Times of all, in turn, and how far each result is from the first's; the first is tlplat."""
    first = next(iter(works))
    found: dict[str, Any] = {}
    for name in list(works):
        try:
            found[name] = works[name]().detach().double()
            works[name]()
        except Exception as error:  # a peer that cannot run here is reported, and the others go on
            found[name] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
            del works[name]
    spent: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            spent[name].append(timer(work) / per)
    result: dict[str, Any] = {}
    for name, value in found.items():
        if isinstance(value, str):
            result[name] = {"error": value}
            continue
        ratio = quartiles([p / o for p, o in zip(spent[name], spent[first], strict=True)])
        off = float((value - found[first]).norm() / found[first].norm().clamp_min(1e-12))
        result[name] = {"ms": quartiles(spent[name]), "ratio": ratio, "off": off, "same": off < tolerance}
    return result


def copy_rate() -> float:
    """GB/s of a large copy on the device, bytes read and written."""
    a = torch.randn(1 << 28, device="cuda")
    b = torch.empty_like(a)
    times = [elapsed(lambda: b.copy_(a)) for _ in range(10)]
    return 2 * a.numel() * 4 / statistics.median(times) / 1e6


def epochs(name: str, repeats: int, compile_: Callable[..., Any]) -> dict[str, Any]:
    n, d, c = SHAPES[name]
    z, y = data(n, d, c)
    rows = batches(n, EPOCHS[name])
    whole = Captured(step, z, y, c)
    quick = Captured(compile_(step), z, y, c)
    native_epochs(z, y, c, 1)
    few, many = EPOCHS[name], 5 * EPOCHS[name]

    works = {
        "tlplat": lambda: native_epochs(z, y, c, few),
        "eager": lambda: eager(z, y, c, rows),
        "compile": lambda: compiled(compile_(step))(z, y, c, rows),
        "graphed eager": lambda: whole(z, y, c, rows),
        "graphed compile": lambda: quick(z, y, c, rows),
    }
    found = compare(works, repeats, wall, len(rows), 1e-3)
    # A step alone, without what a call costs once: the difference of a long and a short fit.
    steps = (many - few) * -(-n // BATCH)
    alone = [
        (wall(lambda: native_epochs(z, y, c, many)) - wall(lambda: native_epochs(z, y, c, few))) / steps
        for _ in range(repeats)
    ]
    found["tlplat"]["step_ms"] = quartiles(alone)
    return found


def full(name: str, repeats: int, compile_: Callable[..., Any], dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    n, d, c = SHAPES[name]
    z, y = data(n, d, c)
    z = z.to(dtype)
    w = (torch.randn(c, d, generator=torch.Generator().manual_seed(1)) / d**0.5).cuda().requires_grad_()
    b = torch.zeros(c, device="cuda", requires_grad=True)

    def by(loss: Callable[[], Tensor]) -> Work:
        def work() -> Tensor:
            w.grad = b.grad = None
            loss().backward()
            assert w.grad is not None
            return w.grad

        return work

    def plain(z_: Tensor, y_: Tensor, w_: Tensor, b_: Tensor) -> Tensor:
        return F.cross_entropy(z_.float() @ w_.t() + b_, y_)

    quick = compile_(plain)
    op = torch.ops.tlplat.softmax_head_loss
    works: dict[str, Work] = {
        "tlplat": by(lambda: softmax_head_loss(z, y, w, b, impl="native")),
        "tlplat op": lambda: op(z, y, w.detach(), b.detach(), None, None, 0.0, -100, 1, True)[1],
        "eager": by(lambda: plain(z, y, w, b)),
        "compile": by(lambda: quick(z, y, w, b)),
    }
    try:
        from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction as Liger

        leaf = z.detach().requires_grad_()  # Liger gives no gradient of the weights otherwise
        works["Liger"] = by(lambda: Liger.apply(leaf, w.to(dtype), y, b.to(dtype))[0])
    except ImportError:
        pass
    try:
        from cut_cross_entropy import linear_cross_entropy

        works["CCE"] = by(lambda: linear_cross_entropy(z, w.to(dtype), y))
    except ImportError:
        pass
    found = compare(works, repeats, in_a_row, tolerance=1e-3 if dtype == torch.float32 else 2e-2)
    found["tlplat"]["gb_per_s"] = z.numel() * z.element_size() / found["tlplat op"]["ms"]["median"] / 1e6
    return found


def lbfgs(name: str, repeats: int) -> dict[str, Any]:
    n, d, c = SHAPES[name]
    z, y = data(n, d, c)

    def objective(w: Tensor, b: Tensor) -> Tensor:
        return F.cross_entropy(z @ w.t() + b, y) + 0.5 * DECAY * w.square().sum()

    def peer() -> Tensor:
        w, b = torch.zeros(c, d, device="cuda", requires_grad=True), torch.zeros(c, device="cuda", requires_grad=True)
        solver = torch.optim.LBFGS(
            [w, b], max_iter=300, tolerance_grad=1e-4, history_size=10, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            solver.zero_grad()
            loss = objective(w, b)
            loss.backward()
            return loss

        solver.step(closure)
        return objective(w, b)

    def ours() -> Tensor:
        fit = fit_softmax_heads(z, y, c, weight_decay=DECAY, tol=3e-4, impl="native")
        return objective(fit.weight[0], fit.bias[0])

    return compare({"tlplat": ours, "torch LBFGS": peer}, max(repeats // 2, 3), wall, tolerance=1e-4)


def many(name: str, repeats: int) -> dict[str, Any]:
    n, d, c = SHAPES[name]
    z, y = data(n, d, c)
    options = {"solver": "sgd", "learning_rate": RATE, "batch_size": BATCH, "max_iter": 1, "impl": "native"}
    decays = [10.0 ** (-k / 8) for k in range(32)]
    rows = batches(n, 1)

    def singly() -> Tensor:
        return torch.cat([fit_softmax_heads(z, y, c, weight_decay=w, **options).weight for w in decays])

    works = {
        "tlplat": lambda: fit_softmax_heads(z, y, c, weight_decay=decays, **options).weight,
        "tlplat, one call a head": singly,
    }
    found = compare(works, max(repeats // 2, 3), wall)
    once = [wall(lambda: eager(z, y, c, rows)) for _ in range(3)]
    found["eager, 32 times one head"] = {"ms": quartiles([32 * t for t in once])}
    return found


def lines(kind: str, name: str, found: dict[str, Any]) -> list[dict[str, str]]:
    shape = ", ".join(map(str, SHAPES[name.split()[0]]))
    made = []
    for peer, r in found.items():
        row = {"what": kind, "shape": f"{name}: {shape}", "who": peer}
        if "error" in r:
            row["ms"] = r["error"]
        else:
            row["ms"] = f"{r['ms']['median']:.4f} [{r['ms']['low']:.4f}, {r['ms']['high']:.4f}]"
        if "step_ms" in r:
            q = r["step_ms"]
            row["a further step"] = f"{q['median']:.4f} [{q['low']:.4f}, {q['high']:.4f}]"
        if "ratio" in r:
            q = r["ratio"]
            row["time / tlplat's"] = (
                f"{q['median']:.2f} [{q['low']:.2f}, {q['high']:.2f}]" if r["same"] else "another result"
            )
            row["off by"] = f"{r['off']:.1e}"
        made.append(row)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--parts", nargs="+", default=["epochs", "full", "lbfgs", "many"])
    parser.add_argument("--name", default="frozen_head_cuda")
    args = parser.parse_args()
    gpu = torch.cuda.get_device_name(0)
    rows: list[dict[str, str]] = []
    about = machine() | {"gpu": gpu, "cuda": torch.version.cuda, "build": build_info()["cuda"]["built_against"]}
    about["copy_gb_per_s"] = round(copy_rate())
    cached = torch.compile
    steps: dict[str, Any] = {}

    def compile_(f: Callable[..., Any]) -> Any:
        if f.__name__ not in steps:
            steps[f.__name__] = cached(f, dynamic=False)
        return steps[f.__name__]

    jobs: list[tuple[str, str, Callable[[], dict[str, Any]]]] = []
    for name in args.shapes:
        jobs.append(("full", name, lambda n=name: full(n, args.repeats, compile_)))
        if name in "BCDE":
            jobs.append(("full", f"{name} bf16", lambda n=name: full(n, args.repeats, compile_, torch.bfloat16)))
        jobs.append(("epochs", name, lambda n=name: epochs(n, args.repeats, compile_)))
        if name in "ABE":
            jobs.append(("lbfgs", name, lambda n=name: lbfgs(n, args.repeats)))
        if name == "B":
            jobs.append(("many", name, lambda n=name: many(n, args.repeats)))
    kinds = {"full": "loss and gradients", "epochs": "SGD, a step", "lbfgs": "L-BFGS", "many": "32 heads, an epoch"}
    for part, name, job in jobs:
        if part not in args.parts:
            continue
        began = time.perf_counter()
        torch._dynamo.reset()
        steps.clear()
        try:
            result = job()
        except Exception as error:  # one job's fault is shown, and the others go on
            print(f"{part} {name}: {type(error).__name__}: {error}", flush=True)
            continue
        rows += lines(kinds[part], name, result)
        brief = {k: (round(r["ms"]["median"], 4) if "ms" in r else r["error"]) for k, r in result.items()}
        print(f"{part} {name} ({time.perf_counter() - began:.1f} s): {brief}", flush=True)
    columns = ["what", "shape", "who", "ms", "time / tlplat's", "off by", "a further step"]
    publish(args.name, f"Frozen features and softmax heads on {gpu}", columns, rows, about | {"repeats": args.repeats})


if __name__ == "__main__":
    main()
