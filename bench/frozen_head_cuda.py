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
import time
from collections.abc import Callable
from typing import Any

import torch
from cuda_timing import Work, compare, copy_rate, in_a_row, quartiles, wall
from head_peers_cuda import (
    BATCH,
    DECAY,
    EPOCHS,
    RATE,
    SHAPES,
    Captured,
    batches,
    compiled,
    data,
    eager,
    native_epochs,
    step,
)
from machine import machine, publish
from torch import Tensor
from torch.nn import functional as F

from tlplat.ops import build_info, fit_softmax_heads, softmax_head_loss


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
    options: dict[str, Any] = {
        "solver": "sgd",
        "learning_rate": RATE,
        "batch_size": BATCH,
        "max_iter": 1,
        "impl": "native",
    }
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
