"""A user's run: 160 heads (folds x decays x seeds' resamples) on few labels, beside one scikit-learn fit a head.

python bench/head_sweep.py [--repeats 5]; CPU time, peers in turn inside every repeat. A ratio is the median over
repeats of peer / tlplat of the same repeat, with its quartiles; where these are a factor 1.5 apart it is withheld.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from frozen_head import data
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from tlplat.ops import build_info, fit_softmax_heads

SHAPES = {"U64": (64, 384, 2), "U500": (500, 384, 5), "U2000": (2000, 384, 20)}
DECAYS = [10.0**e for e in (-3, -2.5, -2, -1.5, -1, -0.5, 0, 1)]
FOLDS, REPEATS = 5, 4


def seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def ratio(peer: list[float], ours: list[float]) -> dict[str, float | bool]:
    each = sorted(p / o for p, o in zip(peer, ours, strict=True))
    low, mid, high = statistics.quantiles(each, n=4)
    return {"low": low, "median": mid, "high": high, "noisy": high > 1.5 * low}


def shown(r: dict[str, float | bool]) -> str:
    return "noisy" if r["noisy"] else f"{r['median']:.2f} [{r['low']:.2f}, {r['high']:.2f}]"


def masks(n: int) -> torch.Tensor:
    """(160, n): 4 shuffles x 5 folds x 8 decays."""
    g = torch.Generator().manual_seed(1)
    folds = [torch.randperm(n, generator=g) % FOLDS != f for _ in range(REPEATS) for f in range(FOLDS)]
    return torch.stack(folds).repeat_interleave(len(DECAYS), dim=0)


def tlplat(z: torch.Tensor, y: torch.Tensor, c: int, rows: torch.Tensor) -> None:
    fit_softmax_heads(z, y, c, weight_decay=DECAYS * (FOLDS * REPEATS), sample_weight=rows, tol=1e-4)


def singly(z: torch.Tensor, y: torch.Tensor, c: int, rows: torch.Tensor) -> None:
    for k, mask in enumerate(rows):
        fit_softmax_heads(z[mask], y[mask], c, weight_decay=DECAYS[k % len(DECAYS)], tol=1e-4)


def sklearn(z: torch.Tensor, y: torch.Tensor, c: int, rows: torch.Tensor) -> None:
    for k, mask in enumerate(rows):
        strength = (2 if c == 2 else 1) / (int(mask.sum()) * DECAYS[k % len(DECAYS)])
        LogisticRegression(C=strength, tol=1e-4, max_iter=300).fit(z[mask].numpy(), y[mask].numpy())


def torch_lbfgs(z: torch.Tensor, y: torch.Tensor, c: int, rows: torch.Tensor) -> None:
    for k, mask in enumerate(rows):
        w, b = torch.zeros(c, z.shape[1], requires_grad=True), torch.zeros(c, requires_grad=True)
        solver = torch.optim.LBFGS([w, b], max_iter=300, tolerance_grad=1e-4, line_search_fn="strong_wolfe")
        x, t, decay = z[mask], y[mask], DECAYS[k % len(DECAYS)]

        def closure(solver=solver, w=w, b=b, x=x, t=t, decay=decay) -> torch.Tensor:
            solver.zero_grad()
            loss = F.cross_entropy(x @ w.t() + b, t) + 0.5 * decay * w.square().sum()
            loss.backward()
            return loss

        solver.step(closure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    peers = {"tlplat": tlplat, "one call a head": singly, "scikit-learn": sklearn, "torch LBFGS": torch_lbfgs}
    found = {}
    for name in args.shapes:
        z, y = data(*SHAPES[name])
        rows, c = masks(len(z)), SHAPES[name][2]
        tlplat(z, y, c, rows)
        spent: dict[str, list[float]] = {key: [] for key in peers}
        for _ in range(args.repeats):
            for key, peer in peers.items():
                spent[key].append(seconds(lambda f=peer, a=(z, y, c, rows): f(*a)))
        ratios = {key: ratio(spent[key], spent["tlplat"]) for key in peers if key != "tlplat"}
        found[name] = {"ratios": ratios, "seconds": spent}
        print(name, SHAPES[name], "160 heads;", "; ".join(f"{k}: {shown(r)} x" for k, r in ratios.items()), flush=True)
    info = {key: value for key, value in build_info().items() if key != "path"}
    out = Path(__file__).parent / "results" / "head_sweep.json"
    out.write_text(json.dumps({"build": info, "shapes": found}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
