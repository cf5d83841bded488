"""Times on a GPU: of one piece of work, and of peers in turn with what their results differ by."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Work = Callable[[], Tensor]


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
