"""How much does transfer bring on the digits? Test scores by labels, one setting a strategy, no selection.

    python bench/vision_table.py --source mnist --labels 20 50 100 200 --draws 4

Prints a table (mean accuracy over draws of the labels) and writes JSON with every draw.
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
from tlplat.stage import heads_match, steps_of
from tlplat.train import FitSettings
from tlplat.trial import BaselineCandidate, Bench, Candidate, Rows, StrategyCandidate

STRATEGIES = ("zero_shot", "full_ft", "linear_probe", "l2sp", "scratch")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Scores by labels and candidate: {labels: {candidate: [score of each draw]}}, and seconds of one fit."""
    registry = plugins.load("tlplat.domains", ["vision"])
    plugins.load("tlplat.strategies", arguments.strategies, registry)
    plugins.load("tlplat.tasks", None, registry)
    domain = plugins.domain("vision", registry)
    options = domain.Options(augment=arguments.augment, image_size=arguments.image_size)
    scores: dict[int, dict[str, list[float]]] = {n: {} for n in arguments.labels}
    seconds: dict[str, float] = {}
    for draw in range(arguments.draws):
        context = DomainContext(registry, cache_root(), data_seed=draw, threads=torch.get_num_threads())
        source = domain.source(arguments.source, options, context)
        target = domain.target(options, DataOptions(), source, context)
        bench = Bench(
            task=target.task,
            registry=registry,
            store=FeatureStore(TensorCache(context.cache, context.warn), registry),
            fit_settings=FitSettings(checkpoint_seconds=None),
            steps=steps_of(TrainOptions()),
        )
        same = heads_match(source.task, target.task.info())
        found: list[Candidate] = [
            StrategyCandidate(registry.get("strategies", name)(), source, same)
            for name in arguments.strategies
            if same or name != "zero_shot"
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
    return {"source": source.name, "test_rows": len(target.test), "scores": scores, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", default="mnist")
    parser.add_argument("--augment", default="none", choices=["none", "affine", "natural"])
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES))
    parser.add_argument("--labels", type=int, nargs="+", default=[20, 50, 100, 200])
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    result = measure(arguments)
    print(f"{result['source']} -> UCI digits, {result['test_rows']} test rows, augmentation {arguments.augment}")
    names = list(next(iter(result["scores"].values())))
    print(f"{'labels':>6} " + " ".join(f"{n:>15}" for n in names))
    for labels, row in result["scores"].items():
        print(f"{labels:>6} " + " ".join(f"{np.mean(row[n]):>15.3f}" for n in names))
    if arguments.out:
        text = json.dumps({**{k: str(v) for k, v in vars(arguments).items()}, **result}, indent=1)
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
