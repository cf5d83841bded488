"""How much does transfer bring at so many labels? Test scores of each strategy at one setting, no selection.

    python bench/labels_table.py --domain genomics --option task=start-site --labels 16 32 64 256 --draws 5
    python bench/labels_table.py --domain vision --option augment=none --labels 20 50 100 200 --draws 4

Prints a table (mean of the task's metric over draws of the labels) and writes JSON with every draw.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tlplat import plugins
from tlplat.cache import TensorCache, cache_root
from tlplat.config import TrainOptions
from tlplat.data.splits import draw_labels
from tlplat.domain import DataOptions, DomainContext
from tlplat.features import FeatureStore
from tlplat.stage import steps_of, takes_head
from tlplat.train import FitSettings
from tlplat.trial import BaselineCandidate, Bench, Candidate, Rows, StrategyCandidate

STRATEGIES = ("zero_shot", "full_ft", "linear_probe", "l2sp", "scratch")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Scores by labels and candidate: {labels: {candidate: [score of each draw]}}, and seconds of one fit."""
    registry = plugins.load("tlplat.domains", [arguments.domain])
    plugins.load("tlplat.strategies", arguments.strategies, registry)
    plugins.load("tlplat.tasks", None, registry)
    domain = plugins.domain(arguments.domain, registry)
    options = domain.Options(**dict(pair.split("=", 1) for pair in arguments.option))
    name = arguments.source or domain.sources()[0].name
    scores: dict[int, dict[str, list[float]]] = {n: {} for n in arguments.labels}
    seconds: dict[str, float] = {}
    for draw in range(arguments.draws):
        context = DomainContext(registry, cache_root(), data_seed=draw, threads=torch.get_num_threads())
        source = domain.source(name, options, context)
        target = domain.target(options, DataOptions(), source, context)
        bench = Bench(
            task=target.task,
            registry=registry,
            store=FeatureStore(TensorCache(context.cache, context.warn), registry),
            fit_settings=FitSettings(checkpoint_seconds=None),
            steps=steps_of(TrainOptions()),
        )
        same = takes_head(target.task, source)
        found: list[Candidate] = [
            StrategyCandidate(registry.get("strategies", strategy)(), source, same)
            for strategy in arguments.strategies
            if same or strategy != "zero_shot"
        ]
        found += [BaselineCandidate(b) for b in domain.baselines(target)]
        for n in arguments.labels:
            labelled = draw_labels(target.pool, n, draw, target.task)
            for candidate in found:
                begin = time.perf_counter()
                outcome = candidate.run(bench, Rows.all(labelled), [Rows.all(target.test)], draw)
                seconds[f"{candidate.name}@{n}"] = time.perf_counter() - begin
                score = target.task.metrics[0](target.test.targets.numpy(), outcome.predictions[0])[0]
                scores[n].setdefault(candidate.name, []).append(float(score))
    return {
        "title": target.title,
        "metric": target.task.metrics[0].name,
        "test_rows": len(target.test),
        "scores": scores,
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--domain", default="genomics")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="of the domain")
    parser.add_argument("--source", help="default: the domain's first")
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES))
    parser.add_argument("--labels", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    result = measure(arguments)
    names = list(next(iter(result["scores"].values())))
    print(f"{result['title']}: {result['metric']}, {result['test_rows']} test rows")
    print(f"{'labels':>6} " + " ".join(f"{n:>15}" for n in names))
    for labels, row in result["scores"].items():
        print(f"{labels:>6} " + " ".join(f"{np.mean(row[n]):>15.3f}" for n in names))
    if arguments.out:
        text = json.dumps({**{k: str(v) for k, v in vars(arguments).items()}, **result}, indent=1)
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
