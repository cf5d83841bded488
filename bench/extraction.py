"""What does the last frozen block cost, fused with a head's loss and gradients, beside torch?

    python bench/extraction.py [--shapes block tokens] [--repeats 7] [--launcher "taskset -c 0,1"]

Each peer runs in a process of its own, at whichever of 1 ... cores threads is fastest for it: features of all rows, a
head's loss, and the head's gradients. A process on a busy machine is started again. Extra memory is the process's peak
above what it held with its inputs made. dW error is ||dW - dW64|| / ||dW64|| against float64. Times are medians with
quartiles; a time is withheld as noisy where these are more than a factor 1.5 apart or others used the machine.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from machine import RESULTS, machine, publish
from torch import Tensor
from torch.nn import functional as F

from tlplat.ops import FrozenBlock, LayerNorm, build_info, frozen_softmax_head_loss

SHAPES = {
    "block": {"n": 100_000, "tokens": 0, "k": 768, "d": 768, "c": 20},
    "tokens": {"n": 2_000, "tokens": 50, "k": 384, "d": 384, "c": 20},
    "odd": {"n": 50_000, "tokens": 0, "k": 500, "d": 513, "c": 7},
    "10k": {"n": 10_000, "tokens": 0, "k": 768, "d": 768, "c": 20},
    "1M": {"n": 1_000_000, "tokens": 0, "k": 768, "d": 768, "c": 20},
}
"""A linear block, and the same on other numbers of rows; sizes that are not round; pooled tokens with norm."""

PEERS = ("eager", "eager in chunks", "torch.compile", "eager bf16", "tlplat", "tlplat bf16", "tlplat int8")
FEW = ("tlplat", "tlplat bf16", "tlplat int8")
TITLE = "A frozen block, a head's loss and its gradients"
CHUNK = 1024
CHECKED = 20_000
"""Rows on which the gradient is compared."""
QUIET, TRIES = 0.15, 4
"""Cores that others may use meanwhile, twice that at most, and processes started for a peer until it is so."""


def inputs(n: int, tokens: int, k: int, d: int, c: int) -> tuple[Tensor, Tensor, FrozenBlock, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    x = torch.empty(n, *([tokens] if tokens else []), k)
    for part in x.split(10_000):
        part.normal_(generator=g)
    weight, bias = torch.randn(d, k, generator=g) / k**0.5, 0.1 * torch.randn(d, generator=g)
    block = FrozenBlock(weight, bias, "gelu", LayerNorm() if tokens else None, "mean" if tokens else "none")
    w = (torch.randn(c, d, generator=g) / d**0.5).requires_grad_()
    return x, torch.randint(0, c, (n,), generator=g), block, w, torch.zeros(c, requires_grad=True)


def features(x: Tensor, block: FrozenBlock) -> Tensor:
    h = F.gelu(F.linear(x, block.weight, block.bias))
    return h if block.norm is None else F.layer_norm(h, h.shape[-1:]).mean(dim=1)


def eager(x: Tensor, y: Tensor, block: FrozenBlock, w: Tensor, b: Tensor) -> Tensor:
    with torch.no_grad():
        z = features(x, block)
    return torch.autograd.grad(F.cross_entropy(F.linear(z, w, b), y), (w, b))[0]


def eager_in_chunks(x: Tensor, y: Tensor, block: FrozenBlock, w: Tensor, b: Tensor) -> Tensor:
    """What a careful user writes to spare memory."""
    total = torch.zeros_like(w)
    for part, labels in zip(x.split(CHUNK), y.split(CHUNK), strict=True):
        with torch.no_grad():
            z = features(part, block)
        total += torch.autograd.grad(F.cross_entropy(F.linear(z, w, b), labels, reduction="sum"), (w, b))[0]
    return total / len(x)


def compiled() -> Callable[..., Tensor]:
    loss = torch.compile(lambda x, y, block, w, b: F.cross_entropy(F.linear(features(x, block).detach(), w, b), y))
    return lambda x, y, block, w, b: torch.autograd.grad(loss(x, y, block, w, b), (w, b))[0]


def eager_bf16(x: Tensor, y: Tensor, block: FrozenBlock, w: Tensor, b: Tensor) -> Tensor:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        z = features(x, block).float()
    return torch.autograd.grad(F.cross_entropy(F.linear(z, w, b), y), (w, b))[0]


def fused(precision: Any) -> Callable[..., Tensor]:
    def run(x: Tensor, y: Tensor, block: FrozenBlock, w: Tensor, b: Tensor) -> Tensor:
        return torch.autograd.grad(frozen_softmax_head_loss(x, y, block, w, b, precision=precision), (w, b))[0]

    return run


def work(peer: str) -> Callable[..., Tensor]:
    made = {"eager": eager, "eager in chunks": eager_in_chunks, "eager bf16": eager_bf16}
    if peer in made:
        return made[peer]
    if peer == "torch.compile":
        return compiled()
    return fused({"tlplat": "full", "tlplat bf16": "bf16", "tlplat int8": "int8"}[peer])


def exact(x: Tensor, y: Tensor, block: FrozenBlock, w: Tensor, b: Tensor) -> Tensor:
    wide = FrozenBlock(
        block.weight.double(),
        None if block.bias is None else block.bias.double(),
        block.activation,
        block.norm,
        block.pool,
    )
    w, b = (t.detach().double().requires_grad_() for t in (w, b))
    total = torch.zeros_like(w)
    for part, labels in zip(x.split(CHUNK), y.split(CHUNK), strict=True):
        with torch.no_grad():
            z = features(part.double(), wide)
        total += torch.autograd.grad(F.cross_entropy(F.linear(z, w, b), labels, reduction="sum"), w)[0]
    return total / len(x)


def held() -> dict[str, float]:
    """MiB resident now and at the peak."""
    with open("/proc/self/status", encoding="utf-8") as file:
        lines = dict(line.split(":", 1) for line in file if line.startswith("Vm"))
    return {name: int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM")}


def cores_busy() -> float:
    """Seconds that all cores together have spent at work, for anyone, since the machine started."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _, _, irq, softirq, steal = map(int, file.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def measure(peer: str, shape: str, repeats: int) -> dict[str, Any]:
    """What a child process reports."""
    given, run = inputs(**SHAPES[shape]), work(peer)
    few = (given[0][:4096], given[1][:4096], *given[2:])
    large = len(given[0]) > 200_000
    trial = few if large else given
    run(*trial)
    ctypes.CDLL(None).malloc_trim(0)  # what the trials left
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")  # the peak starts again from here
    before = held()["VmRSS"]
    times: dict[int, list[float]] = {}
    began, busy, own = time.perf_counter(), cores_busy(), time.process_time()
    for threads in range(1, (os.cpu_count() or 1) + 1):
        torch.set_num_threads(threads)
        times[threads] = [seconds(lambda: run(*given)) for _ in range(2 if large else repeats)]
    others = (cores_busy() - busy - (time.process_time() - own)) / (time.perf_counter() - began)
    extra = held()["VmHWM"] - before
    threads = min(times, key=lambda t: statistics.median(times[t]))
    torch.set_num_threads(threads)
    part = (given[0][:CHECKED], given[1][:CHECKED], *given[2:])
    right = exact(*part)
    error = float((run(*part).double() - right).norm() / right.norm())
    return {"threads": threads, "seconds": times[threads], "extra_mib": extra, "error": error, "others": others}


def fresh(command: list[str]) -> dict[str, Any]:
    """What a child process measures; started again while others use the machine."""
    for _ in range(TRIES):
        with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
            subprocess.run(command, stdout=file, check=True)
            file.seek(0)
            found: dict[str, Any] = json.loads(file.read().splitlines()[-1])
        if found["others"] < QUIET:
            break
    return found


def table(measured: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for shape, size in SHAPES.items():
        for peer in PEERS:
            found = measured.get(f"{shape}: {peer}")
            if found is None:
                continue
            low, middle, high = statistics.quantiles(found["seconds"], n=4)
            rival = measured.get(f"{shape}: eager")
            noisy = high > 1.5 * low or found["others"] > 2 * QUIET
            rows.append(
                {
                    "shape": " x ".join(str(size[k]) for k in ("n", "tokens", "k", "d", "c") if size[k]),
                    "peer": peer,
                    "threads": found["threads"],
                    "ms [quartiles]": "noisy" if noisy else f"{1e3 * middle:.0f} [{1e3 * low:.0f}, {1e3 * high:.0f}]",
                    "eager / peer": ""
                    if noisy or rival is None
                    else f"{statistics.median(rival['seconds']) / middle:.2f}",
                    "extra MiB": f"{found['extra_mib']:.1f}",
                    "dW error": f"{found['error']:.1e}",
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--launcher", default="", help="a command put before each peer's process")
    parser.add_argument("--keep", action="store_true", help="keep what was measured before, but for these")
    parser.add_argument("--child", nargs=2, metavar=("PEER", "SHAPE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(args.child[0], args.child[1], args.repeats)))
        return
    path = RESULTS / "extraction.json"
    kept = json.loads(path.read_text(encoding="utf-8"))["about"]["measured"] if args.keep else {}
    measured: dict[str, dict[str, Any]] = dict(kept)
    library = build_info()
    for shape in args.shapes:
        for peer in args.peers:
            if peer not in FEW and SHAPES[shape]["n"] in (10_000, 1_000_000):
                continue
            child = [sys.executable, __file__, "--repeats", str(args.repeats), "--child", peer, shape]
            measured[f"{shape}: {peer}"] = fresh([*shlex.split(args.launcher), *child])
            about = {
                **machine(),
                "threads": "each peer's best",
                "kernels": f"{library['implementation']} {library['isa']}",
            }
            columns = ["shape", "peer", "threads", "ms [quartiles]", "eager / peer", "extra MiB", "dW error"]
            publish("extraction", TITLE, columns, table(measured), about)
            document = json.loads(path.read_text(encoding="utf-8"))
            document["about"]["measured"] = measured
            path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
