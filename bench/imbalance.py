"""A class of few rows among many: what counting classes alike (``--balance``) gains, beside weights in the loss.

    python bench/imbalance.py [--domains nlp ...] [--rows 200] [--ratios 10 30] [--draws 10]

Of each demo's rows as its first source sees them, all of the largest class up to ``--rows`` and, of every other one, so
many times fewer; the other rows test. A linear head on frozen features, its decay chosen by five folds: as it is;
with the classes' frequencies taken out of its logits; and fitted with each row weighted by the inverse of its class's
frequency, its folds too, as scikit-learn's ``class_weight="balanced"`` does. Balanced accuracy: the mean of recalls.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from label_errors import DEMOS, demo
from machine import machine, publish
from torch import Tensor

from tlplat.metrics import BalancedAccuracy
from tlplat.ops import fit_softmax_heads
from tlplat.tasks.classification import Classification
from tlplat.tasks.linear import DECAYS, dealt_folds

FOLDS = 5
LEAST = 3
"""Rows of a class."""


def weighted(z: Tensor, y: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Weight and bias of least loss, rows weighted by the inverse of their class's frequency."""
    scale = z.std(dim=0, correction=0)
    mean, scale = z.mean(dim=0), torch.where(scale > 1e-6, scale, torch.ones_like(scale))
    x, counts = (z - mean) / scale, torch.bincount(y, minlength=classes).float()
    weight = (len(y) / (classes * counts))[y]
    fold = dealt_folds(y, FOLDS)
    inside = torch.stack([(fold != f).float() for f in range(FOLDS)]).repeat_interleave(len(DECAYS), dim=0)
    common: dict[str, Any] = {"solver": "lbfgs", "tol": 1e-4}
    decays = [*DECAYS] * FOLDS
    seen, held = inside * weight, (1 - inside) * weight
    tried = fit_softmax_heads(x, y, classes, weight_decay=decays, sample_weight=seen, validation_weight=held, **common)
    best = DECAYS[int(tried.validation_loss.view(FOLDS, -1).mean(dim=0).argmin())]
    fit = fit_softmax_heads(x, y, classes, weight_decay=[best], sample_weight=weight, **common)
    w = fit.weight[0] / scale
    return w, fit.bias[0] - w @ mean


def draw(y: Tensor, rows: int, ratio: int, seed: int) -> tuple[Tensor, Tensor]:
    """Row numbers to learn from, and to test on."""
    rng = np.random.default_rng(seed)
    counts = torch.bincount(y)
    most, taken = int(counts.argmax()), list[int]()
    for label, count in enumerate(counts.tolist()):
        mine = torch.nonzero(y == label).flatten().numpy()
        rng.shuffle(mine)
        large = min(rows, int(counts[most]) * 2 // 3)
        wanted = large if label == most else max(LEAST, large // ratio)
        taken += mine[: min(wanted, count * 2 // 3)].tolist()
    rest = np.setdiff1d(np.arange(len(y)), taken)
    return torch.tensor(sorted(taken)), torch.from_numpy(rest)


def scores(z: Tensor, y: Tensor, names: tuple[str, ...], learnt: Tensor, test: Tensor) -> dict[str, float]:
    plain, metric, truth = Classification(names), BalancedAccuracy(), y[test].numpy()
    alike = plain.balanced().settled(y[learnt])
    head = plain.fit_head(z[learnt], y[learnt], {})
    outputs = z[test] @ head.weight.T + head.bias
    w, b = weighted(z[learnt], y[learnt], len(names))
    said = {
        "as they are": plain.decode(outputs),
        "--balance": alike.decode(outputs),
        "weighted rows": plain.decode(z[test] @ w.T + b),
    }
    return {name: float(metric(truth, p)[0]) for name, p in said.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domains", nargs="+", choices=DEMOS, default=list(DEMOS))
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--ratios", type=int, nargs="+", default=[10, 30])
    parser.add_argument("--draws", type=int, default=10)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for domain in given.domains:
        labelled, z, task = demo(domain, 2000)
        y, names = labelled.targets, task.info().labels
        for ratio in given.ratios:
            cuts = [draw(y, given.rows, ratio, k) for k in range(given.draws)]
            found = [scores(z, y, names, *cut) for cut in cuts]
            each = {name: np.array([f[name] for f in found]) for name in found[0]}
            gap = each["--balance"] - each["weighted rows"]
            rows.append(
                {
                    "demo": domain,
                    "classes": len(names),
                    "one row in": ratio,
                    "rows learnt": len(cuts[0][0]),
                    **{name: f"{100 * v.mean():.1f}" for name, v in each.items()},
                    "ahead of weights": f"{100 * gap.mean():.1f} ± {100 * gap.std(ddof=1) / len(gap) ** 0.5:.1f}",
                }
            )
            print(rows[-1], flush=True)
    title = "Balanced accuracy of rare classes, in points: mean of the draws, ± a standard error over them"
    publish("imbalance", title, list(rows[0]), rows, {**machine(), "draws": given.draws})


if __name__ == "__main__":
    main()
