"""Do unlabelled target rows help? Strategies that adapt to them against full fine-tuning, on S. aureus, few labels.

    python bench/adaptation.py [--labels 16 64] [--draws 10] [--backbone cnn] [--task start-site]

Every strategy runs once a draw at its default setting (no selection), with the same steps and the same labelled rows;
unlabelled are the pool's other rows, at most 4096. Differences to full_ft are paired by draw; the interval is Student's
over draws (95 %), which hold different test rows, labelled rows and seeds.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from typing import Any

import numpy as np
import torch
from machine import machine, publish
from scipy import stats

from tlplat.config import RunConfig
from tlplat.model import BackboneInfo
from tlplat.progress import Reporter
from tlplat.stage import load_registry, prepare, takes_head
from tlplat.strategy import Strategy
from tlplat.trial import Rows, StrategyCandidate

BASELINE = "full_ft"
SETTINGS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "zero_shot": ("zero_shot", {}, {}),
    "linear_probe": ("linear_probe", {}, {}),
    "full_ft": ("full_ft", {}, {}),
    "adabn (source's head)": ("adabn", {}, {}),
    "adabn (head solved)": ("adabn", {"head": "fitted"}, {}),
    "deep_coral (source rows)": ("deep_coral", {}, {}),
    "deep_coral (source rows, weight 0)": ("deep_coral", {"weight": 0.0}, {}),
    "deep_coral (labelled rows)": ("deep_coral", {}, {"source_rows": None}),
    "dann (source rows)": ("dann", {}, {}),
    "dann (labelled rows)": ("dann", {}, {"source_rows": None}),
    "self_training": ("self_training", {}, {}),
}
"""Name -> strategy, its settings, and what the bench is told besides: ``source_rows`` None takes those away."""


def scores(arguments: argparse.Namespace, labels: int, draw: int) -> dict[str, float]:
    """Test score of each setting that fits, for one draw of test and labelled rows."""
    config = RunConfig.model_validate(
        {
            "domain": "genomics",
            "labels": labels,
            "data_seed": draw,
            "seed": 0,
            "threads": 1,
            "jobs": 1,
            "options": {"task": arguments.task, "target_organism": arguments.target, "backbone": arguments.backbone},
        }
    )
    stage = prepare(config, load_registry(config), Reporter())
    same = takes_head(stage.target.task, stage.source)
    info = BackboneInfo.of(stage.bench.store.backbone(stage.source), same)
    test, metric = stage.target.test, stage.target.task.metrics[0]
    found = {}
    for name, (kind, settings, changes) in SETTINGS.items():
        strategy: Strategy = stage.bench.registry.get("strategies", kind)(**settings)
        bench = dataclasses.replace(stage.bench, **changes)
        if strategy.unfit(bench.task_info, info) is None:
            candidate = StrategyCandidate(strategy, stage.source, same)
            outcome = candidate.run(bench, Rows.all(stage.labelled), [Rows.all(test)], draw)
            found[name] = float(metric(test.targets.numpy(), outcome.predictions[0])[0])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="start-site", choices=["start-site", "coding"])
    parser.add_argument("--target", default="s-aureus", choices=["s-aureus", "b-theta"])
    parser.add_argument("--backbone", default="cnn", choices=["cnn", "cnn-norm", "codon"])
    parser.add_argument("--labels", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--draws", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    begin, rows = time.monotonic(), []
    for labels in arguments.labels:
        draws = []
        for draw in range(arguments.draws):
            draws.append(scores(arguments, labels, draw))
            print(labels, draw, draws[-1], flush=True)
        for name in draws[0]:
            own, base = (np.array([d[k] for d in draws]) for k in (name, BASELINE))
            rows.append({"labels": labels, "strategy": name, **summary(own, base), "draws": own.round(4).tolist()})
    about = {**machine(), **vars(arguments), "seconds": round(time.monotonic() - begin)}
    columns = ["labels", "strategy", "mean AUROC", "minus full_ft, points", "95 % interval"]
    title = f"Unlabelled rows: {arguments.task}, E. coli to {arguments.target}, {arguments.backbone}"
    publish(f"adaptation_{arguments.task}_{arguments.backbone}", title, columns, rows, about)


def summary(own: np.ndarray, base: np.ndarray) -> dict[str, Any]:
    """Mean, and the paired difference in points with Student's interval over draws."""
    gap = 100 * (own - base)
    half = stats.t.ppf(0.975, len(gap) - 1) * gap.std(ddof=1) / np.sqrt(len(gap))
    return {
        "mean AUROC": f"{own.mean():.3f}",
        "minus full_ft, points": f"{gap.mean():+.2f}",
        "95 % interval": f"[{gap.mean() - half:+.2f}, {gap.mean() + half:+.2f}]",
    }


if __name__ == "__main__":
    main()
