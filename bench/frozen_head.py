"""How fast are softmax heads on frozen features, beside torch (eager, compiled, L-BFGS), CCE and scikit-learn?

    python bench/frozen_head.py [--shape A B ...] [--peer eager ...] [--repeats 7] [--launcher "nice -n -5"]
    python bench/frozen_head.py --show

Every peer runs in a process of its own, at one thread and at as many as there are cores; its better one counts. Wall
time, the median of the repeats with quartiles: of one epoch for the loops (longer less shorter run), of a whole fit for
the solvers. A ratio whose quartiles leave a factor 1.5 is marked ``~``: the machine was busy. ``extra MB`` is what the
process' peak grew by beyond its data. Results are merged into results/frozen_head.json: it can be run in pieces.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import shlex
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from head_peers import DECAY, EPOCHS, HEADS, MANY, SOLVERS
from machine import RESULTS, at_best_threads, machine, publish, use_threads
from torch.nn import functional as F

SHAPES = {
    "A": (1797, 64, 10), "B": (50_000, 384, 10), "C": (50_000, 384, 100), "D": (20_000, 1280, 1000),
    "E": (100_000, 768, 20),
    "C2": (20_000, 384, 2), "C3": (20_000, 384, 3), "C4": (20_000, 384, 4), "C7": (20_000, 384, 7),
    "C8": (20_000, 384, 8), "C36": (20_000, 384, 36), "C37": (20_000, 384, 37),
    "D63": (20_000, 63, 10), "D64": (20_000, 64, 10), "D96": (20_000, 96, 10), "D100": (20_000, 100, 10),
    "D512": (20_000, 512, 10), "D513": (20_000, 513, 10), "D1000": (20_000, 1000, 10), "D1024": (20_000, 1024, 10),
    "N10k": (10_000, 64, 10), "N100k": (100_000, 64, 10), "N1M": (1_000_000, 64, 10),
}  # fmt: skip
PEERS = [*EPOCHS, *SOLVERS, *MANY]
FILE = RESULTS / "frozen_head.json"
BUDGET = 20.0  # seconds of repeats


def data(n: int, d: int, c: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    z = torch.randn(n, d, generator=g)
    y = torch.cat([x @ torch.randn(d, c, generator=torch.Generator().manual_seed(1)) for x in z.split(65536)])
    return z, (y / d**0.5 + torch.randn(n, c, generator=g)).argmax(1)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def child(shape: str, peer: str, threads: int, repeats: int) -> dict[str, Any]:
    """Runs in the peer's own process."""
    use_threads(threads, peer)
    z, y = data(*SHAPES[shape])
    n, d, c = SHAPES[shape]
    x = z.bfloat16() if peer == "tlplat bf16" else z
    few, more = (2, 12) if n * d * c < 500_000_000 else (1, 3)

    def run(epochs: int) -> Any:
        return EPOCHS[peer](x, y, c, epochs) if peer in EPOCHS else (SOLVERS | MANY)[peer](x, y, c)

    before = peak_mb()
    w, b = run(more)
    extra, spent, began = peak_mb() - before, [], time.perf_counter()
    while len(spent) < repeats and (len(spent) < 3 or time.perf_counter() - began < BUDGET):
        at = time.perf_counter()
        run(more)
        took = time.perf_counter() - at
        if peer in EPOCHS:
            at = time.perf_counter()
            run(few)
            took = (took - (time.perf_counter() - at)) / (more - few)
        spent.append(took)
    loss, right = judged(z, y, w, b)
    found = {"seconds": spent, "threads": threads, "extra_mb": extra, "accuracy": right}
    return found if peer == "floor" else found | {"loss": loss + 0.5 * DECAY * float(w.square().sum())}


def judged(z: torch.Tensor, y: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> tuple[float, float]:
    """Mean cross-entropy in nats, and accuracy."""
    logits = [p @ w.t() + b for p in z.split(65536)]
    parts = list(zip(logits, y.split(65536), strict=True))
    loss = sum(float(F.cross_entropy(p, t, reduction="sum")) for p, t in parts)
    return loss / len(z), sum(int((p.argmax(1) == t).sum()) for p, t in parts) / len(z)


def measure(shape: str, peer: str, repeats: int, launcher: list[str]) -> dict[str, Any]:
    """The better of one thread and all cores."""

    def command(threads: int) -> list[str]:
        return [__file__, "--child", shape, peer, str(threads), "--repeats", str(repeats)]

    return at_best_threads(command, launcher, f"{shape}, {peer}")


def quartiles(seconds: list[float]) -> tuple[float, float, float]:
    low, mid, high = statistics.quantiles(seconds, n=4)
    return low, mid, high


def rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    table = []
    for shape, peers in found.items():
        for peer, r in peers.items():
            low, mid, high = quartiles(r["seconds"])
            ours = "tlplat" if peer in EPOCHS else "tlplat lbfgs" if peer in SOLVERS else "tlplat, 32 heads"
            ratio = ""
            if ours in peers and ours != peer:
                a, _, b = quartiles(peers[ours]["seconds"])
                noisy = high > 1.5 * low or b > 1.5 * a
                ratio = f"{mid / quartiles(peers[ours]['seconds'])[1]:.2f}" + ("~" if noisy else "")
                # A solver that stops earlier than ours had less to do.
                above = r["loss"] - peers[ours]["loss"] if "loss" in r and peer not in MANY else 0.0
                if above < -2e-3 or (peer in EPOCHS and above > 2e-3):
                    ratio = "other loss"
            table.append(
                {
                    "shape": f"{shape} {SHAPES[shape]}", "peer": peer,
                    "ms": f"{mid * 1e3:.3f} [{low * 1e3:.3f}, {high * 1e3:.3f}]",
                    "time / tlplat": ratio, "threads": r["threads"], "loss": f"{r['loss']:.5f}" if "loss" in r else "",
                    "accuracy": f"{r['accuracy']:.4f}" if "loss" in r else "", "extra MB": f"{r['extra_mb']:.0f}",
                }
            )  # fmt: skip
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--peer", nargs="+", default=PEERS, choices=PEERS)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--launcher", default="", help="a command that runs every peer's process")
    parser.add_argument("--show", action="store_true", help="only print and write what was measured before")
    parser.add_argument("--child", nargs=3, metavar=("SHAPE", "PEER", "THREADS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(child(args.child[0], args.child[1], int(args.child[2]), args.repeats)))
        return
    kept: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    found: dict[str, Any] = kept.get("measured", {})
    for shape in [] if args.show else args.shape:
        for peer in args.peer:
            if peer == "CCE" and importlib.util.find_spec("cut_cross_entropy") is None:
                print(f"{shape} CCE: left out, cut_cross_entropy is not installed")
                continue
            found.setdefault(shape, {})[peer] = measure(shape, peer, args.repeats, shlex.split(args.launcher))
            print(shape, peer, f"{statistics.median(found[shape][peer]['seconds']) * 1e3:.3f} ms", flush=True)
            so_far = kept | {"measured": found}  # written at once, in case this is cut short
            FILE.write_text(json.dumps(so_far, indent=1) + "\n", encoding="utf-8")
    columns = ["shape", "peer", "ms", "time / tlplat", "threads", "loss", "accuracy", "extra MB"]
    about = {k: v for k, v in machine().items() if k not in ("threads", "load_at_start")}
    ordered = {s: {p: found[s][p] for p in PEERS if p in found[s]} for s in SHAPES if s in found}
    title = f"One softmax head on frozen features ({HEADS} where it says so)"
    publish("frozen_head", title, columns, rows(ordered), about)
    document = json.loads(FILE.read_text(encoding="utf-8")) | {"measured": ordered}
    FILE.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    Path(RESULTS).mkdir(exist_ok=True)
    main()
