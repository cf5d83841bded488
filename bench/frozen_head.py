"""How fast are softmax heads on frozen features, beside eager torch, torch's L-BFGS and scikit-learn?

    python bench/frozen_head.py [--shapes A B ...] [--repeats 7] [--threads 1]

Peers and tlplat take turns inside every repeat, so that a busy machine slows all alike; what is compared is the CPU
time of the process (equal to wall time for one thread on an idle machine). A ratio is the median over repeats of
peer / tlplat of the same repeat, printed with its quartiles; where these are more than a factor 1.5 apart the figure
is withheld as noisy.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from tlplat.ops import build_info, fit_softmax_heads

SHAPES = {
    "A": (1797, 64, 10), "B": (50_000, 384, 10), "C": (50_000, 384, 100), "E": (100_000, 768, 20),
    "C2": (20_000, 384, 2), "C7": (20_000, 384, 7), "C37": (20_000, 384, 37),
    "D63": (20_000, 63, 10), "D100": (20_000, 100, 10), "D513": (20_000, 513, 10),
}  # fmt: skip
DECAY, BATCH = 1e-3, 256


def data(n: int, d: int, c: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    z = torch.randn(n, d, generator=g)
    return z, (z @ torch.randn(d, c, generator=g) / d**0.5 + torch.randn(n, c, generator=g)).argmax(1)


def seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def epochs_eager(z: torch.Tensor, y: torch.Tensor, c: int, epochs: int) -> None:
    """The loop that a careful user writes: sliced batches of a shuffled index, torch.optim.SGD."""
    w, b = torch.zeros(c, z.shape[1], requires_grad=True), torch.zeros(c, requires_grad=True)
    optimiser = torch.optim.SGD([{"params": [w], "weight_decay": DECAY}, {"params": [b]}], lr=0.05, momentum=0.9)
    for _ in range(epochs):
        for rows in torch.randperm(len(z)).split(BATCH):
            optimiser.zero_grad()
            F.cross_entropy(z[rows] @ w.t() + b, y[rows]).backward()
            optimiser.step()


def floor(z: torch.Tensor, y: torch.Tensor, c: int, epochs: int) -> None:
    """The two matrix products of an epoch and nothing else."""
    w, delta = torch.randn(c, z.shape[1]), torch.randn(BATCH, c)
    for _ in range(epochs):
        for part in z.split(BATCH):
            part @ w.t()
            delta[: len(part)].t() @ part


def epochs_tlplat(z: torch.Tensor, y: torch.Tensor, c: int, epochs: int) -> None:
    fit_softmax_heads(z, y, c, solver="sgd", learning_rate=0.05, weight_decay=DECAY, batch_size=BATCH, max_iter=epochs)


def objective(z: torch.Tensor, y: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> float:
    return float(F.cross_entropy(z @ w.t() + b, y) + 0.5 * DECAY * w.square().sum())


def lbfgs_torch(z: torch.Tensor, y: torch.Tensor, c: int) -> float:
    w, b = torch.zeros(c, z.shape[1], requires_grad=True), torch.zeros(c, requires_grad=True)
    solver = torch.optim.LBFGS(
        [w, b], max_iter=300, tolerance_grad=1e-4, history_size=10, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        solver.zero_grad()
        loss = F.cross_entropy(z @ w.t() + b, y) + 0.5 * DECAY * w.square().sum()
        loss.backward()
        return loss

    solver.step(closure)
    return objective(z, y, w.detach(), b.detach())


def lbfgs_sklearn(z: torch.Tensor, y: torch.Tensor, c: int) -> float:
    factor = 2 if c == 2 else 1
    m = LogisticRegression(C=factor / (len(z) * DECAY), tol=1e-4, max_iter=300).fit(z.numpy(), y.numpy())
    w, b = torch.from_numpy(m.coef_).float(), torch.from_numpy(m.intercept_).float()
    if c == 2:
        w, b = torch.cat([-w / 2, w / 2]), torch.cat([-b / 2, b / 2])
    return objective(z, y, w, b)


def lbfgs_tlplat(z: torch.Tensor, y: torch.Tensor, c: int) -> float:
    fit = fit_softmax_heads(z, y, c, weight_decay=DECAY, tol=3e-4)
    return objective(z, y, fit.weight[0], fit.bias[0])


def ratio(peer: list[float], ours: list[float]) -> dict[str, float | bool]:
    each = sorted(p / o for p, o in zip(peer, ours, strict=True))
    low, mid, high = statistics.quantiles(each, n=4)
    return {"low": low, "median": mid, "high": high, "noisy": high > 1.5 * low}


def shown(r: dict[str, float | bool]) -> str:
    return "noisy" if r["noisy"] else f"{r['median']:.2f} [{r['low']:.2f}, {r['high']:.2f}]"


def measure(name: str, repeats: int) -> dict[str, object]:
    z, y = data(*SHAPES[name])
    c = SHAPES[name][2]
    few, more = (2, 12) if len(z) < 10_000 else (1, 3)
    loops = {"tlplat": epochs_tlplat, "eager": epochs_eager, "floor": floor}
    solvers = {"tlplat": lbfgs_tlplat, "torch": lbfgs_torch, "sklearn": lbfgs_sklearn}
    epoch: dict[str, list[float]] = {k: [] for k in loops}
    solve: dict[str, list[float]] = {k: [] for k in solvers}
    for _ in range(repeats):
        for key, loop in loops.items():
            a, b = seconds(lambda f=loop: f(z, y, c, few)), seconds(lambda f=loop: f(z, y, c, more))
            epoch[key].append(max(b - a, 1e-9) / (more - few))
        for key, solver in solvers.items():
            solve[key].append(seconds(lambda f=solver: f(z, y, c)))
    losses = {key: solver(z, y, c) for key, solver in solvers.items()}
    if max(losses.values()) - min(losses.values()) > 1e-4:
        raise SystemExit(f"{name}: the solvers disagree: {losses}")
    return {
        "shape": SHAPES[name],
        "eager": ratio(epoch["eager"], epoch["tlplat"]),
        "floor": ratio(epoch["tlplat"], epoch["floor"]),
        "torch_lbfgs": ratio(solve["torch"], solve["tlplat"]),
        "sklearn_lbfgs": ratio(solve["sklearn"], solve["tlplat"]),
        "seconds": {"epoch": epoch, "solve": solve},
        "loss": losses,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "frozen_head.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    info = {key: value for key, value in build_info().items() if key != "path"}
    print(f"{info['implementation']} {info['isa']}, {platform.machine()}, {args.threads} thread(s)")
    print(
        f"{'':4} {'n, d, C':>18} {'eager / tlplat':>22} {'tlplat / floor':>20} {'torch LBFGS':>22} {'scikit-learn':>22}"
    )
    found = {}
    for name in args.shapes:
        r = found[name] = measure(name, args.repeats)
        cells = [shown(r[k]) for k in ("eager", "floor", "torch_lbfgs", "sklearn_lbfgs")]
        shape = ", ".join(map(str, SHAPES[name]))
        print(f"{name:4} {shape:>18} {cells[0]:>22} {cells[1]:>20} {cells[2]:>22} {cells[3]:>22}", flush=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(
        json.dumps({"build": info, "threads": args.threads, "shapes": found}, indent=1), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
