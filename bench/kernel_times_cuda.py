"""Where a GPU's time goes: microseconds of each kernel of a loss with gradients, a step, and an L-BFGS fit.

    python bench/kernel_times_cuda.py

Read off torch's profiler after two calls that are not counted; what the host does between kernels is not in it. The
two kernels of a step begin early and wait inside for each other: their times overlap and add up to more than a step.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from machine import machine, publish
from torch.profiler import ProfilerActivity, profile

from tlplat.ops import fit_softmax_heads, softmax_head_loss

FULL = {"B": (50_000, 384, 10), "E": (100_000, 768, 20), "C": (50_000, 384, 100), "D": (20_000, 1280, 1000)}
STEPS = {
    "A": (1797, 64, 10, 1), "B": (2560, 384, 10, 1), "E": (2560, 768, 20, 1), "C": (2560, 384, 100, 1),
    "D": (2560, 1280, 1000, 1), "B, 32 heads": (2560, 384, 10, 32),
}  # fmt: skip


def kernels(work: Callable[[], object]) -> dict[str, list[float]]:
    """Microseconds of every run of each of our kernels."""
    for _ in range(2):
        work()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        work()
        torch.cuda.synchronize()
    found: dict[str, list[float]] = defaultdict(list)
    for event in profiler.events():
        name = re.search(r"tlplat::gpu::entry<tlplat::gpu::(\w+(?:<[^(]*?>)?), ", event.name)
        if name:
            found[name[1].replace("tlplat::gpu::", "")].append(event.device_time_total)
    return found


def problem(n: int, d: int, c: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator("cuda").manual_seed(0)
    return torch.randn(n, d, device="cuda", generator=g), torch.randint(0, c, (n,), device="cuda", generator=g)


def main() -> None:
    if not torch.cuda.is_available():
        raise SystemExit("this bench needs a CUDA device, and torch sees none")
    rows: list[dict[str, str]] = []

    def add(what: str, shape: str, work: Callable[[], object], per: int = 1) -> None:
        found = kernels(work)
        total = sum(map(sum, found.values())) / per
        for name, times in sorted(found.items(), key=lambda item: -sum(item[1])):
            row = {"what": what, "shape": shape, "kernel": name, "runs": str(len(times))}
            rows.append(row | {"us": f"{sum(times) / per:.1f}", "all kernels": f"{total:.1f}"})

    for dtype in (torch.float32, torch.bfloat16):
        for name, (n, d, c) in FULL.items():
            z, y = problem(n, d, c)
            z, w = z.to(dtype), torch.zeros(c, d, device="cuda", requires_grad=True)
            kind = f"loss and gradients, {str(dtype)[6:]}"
            add(kind, f"{name}: {n}, {d}, {c}", lambda z=z, y=y, w=w: softmax_head_loss(z, y, w, impl="native"))
    for name, (n, d, c, heads) in STEPS.items():
        z, y = problem(n, d, c)
        options: dict[str, Any] = {"solver": "sgd", "weight_decay": [0.1] * heads, "max_iter": 1, "impl": "native"}
        work = lambda z=z, y=y, c=c, options=options: fit_softmax_heads(z, y, c, **options)  # noqa: E731
        add("SGD, a step of 256 rows", f"{name}: {n}, {d}, {c}", work, -(-n // 256))
    for name, (n, d, c) in {"A": (1797, 64, 10), "B": FULL["B"]}.items():
        z, y = problem(n, d, c)
        add(
            "L-BFGS",
            f"{name}: {n}, {d}, {c}",
            lambda z=z, y=y, c=c: fit_softmax_heads(z, y, c, weight_decay=0.01, max_iter=20),
        )
    about = machine() | {"gpu": torch.cuda.get_device_name(0), "cuda": torch.version.cuda}
    about["note"] = "the two kernels of a step begin early and wait inside for each other: their times overlap"
    publish(
        "kernel_times_cuda",
        "Microseconds of each kernel",
        ["what", "shape", "kernel", "runs", "us", "all kernels"],
        rows,
        about,
    )


if __name__ == "__main__":
    main()
