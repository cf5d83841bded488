"""A user's run: 160 heads on few labels in one call, beside one fit a head; and the price of many heads in heads.

    python bench/head_sweep.py [--shape U64 ...] [--peer eager ...] [--repeats 5] [--launcher "nice -n -5"]
    python bench/head_sweep.py --show

The loops are minibatch SGD over 5 folds x 4 rates x 4 decays x 2 seeds, 20 epochs of batches of 256 rows of the fold
(320 rows of all, of which a fold leaves out a fifth, where one call serves all folds). The solvers minimise one convex
objective over 5 folds x 8 decays x 4 shuffles. Every peer runs in a process of its own, at one thread and at as many as
there are cores; its better one counts. Peers that fit one head at a time are timed on 16 of the 160, spread over the
grid, times 10. Medians of wall time with quartiles; a ratio whose quartiles leave a factor 1.5 is marked ``~``.
``loss`` is the mean objective of those 16 heads on their folds' rows: peers stop where the largest element of the
gradient is 1e-4, ours where its norm is 3e-4, and end nearer the optimum than they do. ``linear_probe`` is its whole
fit on the features: 8 decays by 5 folds, and the chosen head. Results are merged into results/head_sweep.json: it can
be run in pieces.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shlex
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from frozen_head import data, quartiles
from head_peers import Head
from machine import RESULTS, at_best_threads, machine, publish, use_threads
from torch import Tensor
from torch.nn import functional as F

from tlplat.ops import fit_softmax_heads
from tlplat.ops.order import epoch_order
from tlplat.tasks.classification import Classification

SHAPES = {"U64": (64, 384, 2), "U500": (500, 384, 5), "U2000": (2000, 384, 20), "U5000": (5000, 384, 20)}
FOLDS, HEADS, SAMPLE, BATCH, EPOCHS = 5, 160, 16, 256, 20
DECAYS = [10.0**e for e in (-3, -2.5, -2, -1.5, -1, -0.5, 0, 1)]
TOL = 3e-4
FILE = RESULTS / "head_sweep.json"


def masks(n: int, shuffles: int) -> Tensor:
    """(shuffles * 5, n): the rows that each fold trains on."""
    g = torch.Generator().manual_seed(1)
    orders = [torch.randperm(n, generator=g) for _ in range(shuffles)]
    return torch.stack([(order % FOLDS != f).float() for order in orders for f in range(FOLDS)])


def loops(n: int) -> list[tuple[Tensor, float, float, int]]:
    """Rows, decay, rate and seed of every head."""
    return list(itertools.product(masks(n, 1), (1e-4, 1e-3, 1e-2, 1e-1), (0.003, 0.01, 0.03, 0.1), (0, 1)))


def solved(n: int) -> list[tuple[Tensor, float]]:
    """Rows and decay of every head."""
    return list(itertools.product(masks(n, 4), DECAYS))


def tlplat_sgd(z: Tensor, y: Tensor, c: int, heads: list[Any]) -> list[Head]:
    rows, decays, rates, seeds = zip(*heads, strict=True)
    fit = fit_softmax_heads(
        z, y, c, solver="sgd", weight_decay=decays, learning_rate=rates, seed=seeds, sample_weight=torch.stack(rows),
        batch_size=BATCH * FOLDS // (FOLDS - 1), max_iter=EPOCHS,
    )  # fmt: skip
    return list(zip(fit.weight, fit.bias, strict=True))


def eager(z: Tensor, y: Tensor, c: int, heads: list[Any]) -> list[Head]:
    found = []
    for mask, decay, rate, seed in heads:
        x, t = z[mask > 0], y[mask > 0]
        w, b = torch.zeros(c, z.shape[1], requires_grad=True), torch.zeros(c, requires_grad=True)
        optimiser = torch.optim.SGD([{"params": [w], "weight_decay": decay}, {"params": [b]}], lr=rate, momentum=0.9)
        for epoch in range(EPOCHS):
            for rows in epoch_order(len(x), seed, epoch).split(BATCH):
                optimiser.zero_grad()
                F.cross_entropy(x[rows] @ w.t() + b, t[rows]).backward()
                optimiser.step()
        found.append((w.detach(), b.detach()))
    return found


def compiled(z: Tensor, y: Tensor, c: int, heads: list[Any]) -> list[Head]:
    found = []
    for mask, decay, rate, seed in heads:
        x, t = z[mask > 0], y[mask > 0]
        state = [torch.zeros(s) for s in ((c, z.shape[1]), (c,), (c, z.shape[1]), (c,))]
        options = torch.tensor(decay), torch.tensor(rate)
        for epoch in range(EPOCHS):
            for rows in epoch_order(len(x), seed, epoch).split(BATCH):
                _compiled_step(x[rows], t[rows], *state, *options)  # type: ignore[call-arg]  # of lists
        found.append((state[0], state[1]))
    return found


def _step(x: Tensor, t: Tensor, w: Tensor, b: Tensor, vw: Tensor, vb: Tensor, decay: Tensor, rate: Tensor) -> None:
    delta = ((x @ w.t() + b).softmax(1) - F.one_hot(t, len(b)).to(x.dtype)) / len(x)
    vw.mul_(0.9).add_(delta.t() @ x + decay * w)
    vb.mul_(0.9).add_(delta.sum(0))
    w.sub_(rate * vw)
    b.sub_(rate * vb)


_compiled_step = torch.compile(_step, dynamic=False)


def tlplat_lbfgs(z: Tensor, y: Tensor, c: int, heads: list[Any]) -> list[Head]:
    rows, decays = zip(*heads, strict=True)
    fit = fit_softmax_heads(z, y, c, weight_decay=decays, sample_weight=torch.stack(rows), tol=TOL)
    return list(zip(fit.weight, fit.bias, strict=True))


def singly(z: Tensor, y: Tensor, c: int, heads: list[Any]) -> list[Head]:
    fits = [fit_softmax_heads(z[m > 0], y[m > 0], c, weight_decay=decay, tol=TOL) for m, decay in heads]
    return [(fit.weight[0], fit.bias[0]) for fit in fits]


def torch_lbfgs(z: Tensor, y: Tensor, c: int, heads: list[Any]) -> list[Head]:
    found = []
    for mask, decay in heads:
        w, b = torch.zeros(c, z.shape[1], requires_grad=True), torch.zeros(c, requires_grad=True)
        solver = torch.optim.LBFGS([w, b], max_iter=300, tolerance_grad=1e-4, line_search_fn="strong_wolfe")

        def closure(solver=solver, w=w, b=b, x=z[mask > 0], t=y[mask > 0], decay=decay) -> Tensor:
            solver.zero_grad()
            loss: Tensor = F.cross_entropy(x @ w.t() + b, t) + 0.5 * decay * w.square().sum()
            loss.backward()
            return loss

        solver.step(closure)
        found.append((w.detach(), b.detach()))
    return found


def sklearn(z: Tensor, y: Tensor, c: int, heads: list[Any]) -> list[Head]:
    from sklearn.linear_model import LogisticRegression

    found = []
    for mask, decay in heads:
        strength = (2 if c == 2 else 1) / (float(mask.sum()) * decay)
        fit = LogisticRegression(C=strength, tol=1e-4, max_iter=300).fit(z[mask > 0].numpy(), y[mask > 0].numpy())
        w, b = torch.from_numpy(fit.coef_).float(), torch.from_numpy(fit.intercept_).float()
        found.append((torch.cat([-w / 2, w / 2]), torch.cat([-b / 2, b / 2])) if c == 2 else (w, b))
    return found


def probe(z: Tensor, y: Tensor, c: int, heads: list[Any]) -> list[Head]:
    fit = Classification([str(i) for i in range(c)]).fit_head(z, y, {"weight_decays": [decay for _, decay in heads]})
    return [(fit.weight, fit.bias)]


LOOPS = {"tlplat sgd": tlplat_sgd, "eager": eager, "torch.compile": compiled}
SOLVERS = {
    "tlplat lbfgs": tlplat_lbfgs,
    "tlplat lbfgs, one call a head": singly,
    "torch LBFGS": torch_lbfgs,
    "scikit-learn": sklearn,
}
ONE = {"tlplat sgd, one head": tlplat_sgd, "tlplat lbfgs, one head": tlplat_lbfgs}
PROBES = {"linear_probe": probe, "linear_probe, one decay": probe}
PEERS: dict[str, Callable[..., list[Head]]] = LOOPS | SOLVERS | ONE | PROBES
WHOLE = ("tlplat sgd", "tlplat lbfgs", *ONE, *PROBES)
"""Timed as they are; the others on a sample of heads."""


def rival(peer: str) -> str:
    """Ours that a peer is held against; for one head, the call of many."""
    if peer in PROBES:
        return "linear_probe"
    return "tlplat sgd" if peer in LOOPS or "sgd" in peer else "tlplat lbfgs"


def child(shape: str, peer: str, threads: int, repeats: int) -> dict[str, Any]:
    """Runs in the peer's own process."""
    use_threads(threads, peer)
    z, y = data(*SHAPES[shape])
    n, _, c = SHAPES[shape]
    grid = loops(n) if rival(peer) == "tlplat sgd" else solved(n)
    # A stride that meets every decay, rate and fold; for one head, a middle one.
    sample = [k * 11 % HEADS for k in range(SAMPLE)]
    given = grid if peer in WHOLE else [grid[k] for k in sample]
    if peer in ONE or peer.endswith("one decay"):
        given = [grid[2]]
    elif peer == "linear_probe":
        given = grid[: len(DECAYS)]
    found, spent = PEERS[peer](z, y, c, given), []
    for _ in range(repeats):
        at = time.perf_counter()
        PEERS[peer](z, y, c, given)
        spent.append((time.perf_counter() - at) * (1 if peer in WHOLE else HEADS / SAMPLE))
    result: dict[str, Any] = {"seconds": spent, "threads": threads}
    if peer in ONE or peer in PROBES:
        return result
    judged = [(found[k], grid[k]) for k in sample] if peer in WHOLE else list(zip(found, given, strict=True))
    return result | {"loss": statistics.mean(objective(z, y, w, b, *head[:2]) for (w, b), head in judged)}


def objective(z: Tensor, y: Tensor, w: Tensor, b: Tensor, mask: Tensor, decay: float) -> float:
    z, w, b, mask = (t.double() for t in (z, w, b, mask))
    loss = F.cross_entropy(z @ w.t() + b, y, reduction="none") @ mask / mask.sum()
    return float(loss + 0.5 * decay * w.square().sum())


def rows(measured: dict[str, Any]) -> list[dict[str, Any]]:
    table = []
    for shape, peers in measured.items():
        for peer, r in peers.items():
            low, mid, high = quartiles(r["seconds"])
            line = {
                "shape": f"{shape} {SHAPES[shape]}", "peer": peer, "threads": r["threads"],
                "ms": f"{mid * 1e3:.2f} [{low * 1e3:.2f}, {high * 1e3:.2f}]",
                "loss": f"{r['loss']:.6f}" if "loss" in r else "",
            }  # fmt: skip
            ours = peers.get(rival(peer))
            if ours and rival(peer) != peer:
                a, middle, b = quartiles(ours["seconds"])
                few = peer in ONE or peer in PROBES
                noisy = "~" if high > 1.5 * low or b > 1.5 * a else ""
                line["price of the sweep in one" if few else "time / tlplat"] = (
                    f"{middle / mid if few else mid / middle:.2f}{noisy}"
                )
                # Loops walk over other orders of rows, and may end a little apart.
                if "loss" in r and abs(r["loss"] - ours["loss"]) > (2e-3 if peer in SOLVERS else 0.05 * ours["loss"]):
                    line["time / tlplat"] = "other loss"
            table.append(line)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--peer", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--launcher", default="", help="a command that runs every peer's process")
    parser.add_argument("--show", action="store_true", help="only print and write what was measured before")
    parser.add_argument("--child", nargs=3, metavar=("SHAPE", "PEER", "THREADS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(child(args.child[0], args.child[1], int(args.child[2]), args.repeats)))
        return
    kept: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    found: dict[str, Any] = kept.get("measured", {})
    for shape, peer in [] if args.show else itertools.product(args.shape, args.peer):

        def command(threads: int, shape: str = shape, peer: str = peer) -> list[str]:
            return [__file__, "--child", shape, peer, str(threads), "--repeats", str(args.repeats)]

        found.setdefault(shape, {})[peer] = at_best_threads(command, shlex.split(args.launcher), f"{shape}, {peer}")
        print(shape, peer, f"{statistics.median(found[shape][peer]['seconds']) * 1e3:.2f} ms", flush=True)
        FILE.write_text(json.dumps(kept | {"measured": found}, indent=1) + "\n", encoding="utf-8")  # if it is cut short
    about = {k: v for k, v in machine().items() if k not in ("threads", "load_at_start")}
    ordered = {s: {p: found[s][p] for p in PEERS if p in found[s]} for s in SHAPES if s in found}
    columns = ["shape", "peer", "ms", "time / tlplat", "price of the sweep in one", "threads", "loss"]
    publish("head_sweep", f"{HEADS} softmax heads on few labels", columns, rows(ordered), about)
    document = json.loads(FILE.read_text(encoding="utf-8")) | {"measured": ordered}
    FILE.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
