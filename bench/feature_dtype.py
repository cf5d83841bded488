"""What do features kept in bfloat16 cost? Test scores and scores of ranking beside those of float32, cell by cell.

    python bench/feature_dtype.py [--draws 5] [--labels 64 1000]

Every cell is fitted twice on the same labelled rows, once from each cache. The difference is bfloat16 - float32.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import torch
from machine import machine, publish

from tlplat import plugins
from tlplat.cache import TensorCache, cache_root
from tlplat.config import TrainOptions
from tlplat.data.splits import draw_labels
from tlplat.domain import DataOptions, DomainContext
from tlplat.features import FeatureStore
from tlplat.stage import steps_of, takes_head
from tlplat.train import FitSettings
from tlplat.transferability import log_me
from tlplat.trial import Bench, Rows, StrategyCandidate

CELLS = (("start-site", "s-aureus"), ("coding", "b-theta"))
STRATEGIES = ("linear_probe", "prototype", "head2toe")
DTYPES = (torch.float32, torch.bfloat16)


def cell(task: str, organism: str, labels: int, draw: int) -> list[dict[str, Any]]:
    """One entry a strategy, and one for LogME on the labelled rows: values from float32 and bfloat16."""
    registry = plugins.load("tlplat.domains", ["genomics"])
    plugins.load("tlplat.strategies", list(STRATEGIES), registry)
    plugins.load("tlplat.tasks", None, registry)
    domain = plugins.domain("genomics", registry)
    options = domain.Options.model_validate({"task": task, "target_organism": organism})
    context = DomainContext(registry, cache_root(), data_seed=draw, threads=torch.get_num_threads())
    source = domain.source("e-coli", options, context)
    target = domain.target(options, DataOptions(), source, context)
    labelled = draw_labels(target.pool, labels, draw, target.task)
    values: dict[str, list[float]] = {}
    for dtype in DTYPES:
        store = FeatureStore(TensorCache(context.cache, context.warn), registry, dtype=dtype)
        bench = Bench(target.task, registry, store, FitSettings(checkpoint_seconds=None), steps_of(TrainOptions()))
        for name in STRATEGIES:
            candidate = StrategyCandidate(registry.get("strategies", name)(), source, takes_head(target.task, source))
            outcome = candidate.run(bench, Rows.all(labelled), [Rows.all(target.test)], draw)
            score = target.task.metrics[0](target.test.targets.numpy(), outcome.predictions[0])[0]
            values.setdefault(name, []).append(float(score))
        values.setdefault("LogME", []).append(float(log_me(store.features(source, labelled.inputs), labelled.targets)))
    return [{"cell": f"{task}, {organism}", "labels": labels, "what": k, "values": v} for k, v in values.items()]


def summed_up(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for key in dict.fromkeys((f["cell"], f["labels"], f["what"]) for f in found):
        pairs = [f["values"] for f in found if (f["cell"], f["labels"], f["what"]) == key]
        differences = [half - full for full, half in pairs]
        rows.append(
            {
                "cell": key[0],
                "labels": key[1],
                "what": key[2],
                "float32": f"{statistics.mean(full for full, _ in pairs):.4f}",
                "difference, mean": f"{statistics.mean(differences):+.5f}",
                "largest": f"{max(map(abs, differences)):.5f}",
                "draws": len(pairs),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--labels", type=int, nargs="+", default=[64, 500])
    args = parser.parse_args()
    torch.set_num_threads(1)
    found: list[dict[str, Any]] = []
    for task, organism in CELLS:
        for labels in args.labels:
            for draw in range(args.draws):
                found += cell(task, organism, labels, draw)
                print(task, organism, labels, draw, found[-len(STRATEGIES) - 1 :], flush=True)
    columns = ["cell", "labels", "what", "float32", "difference, mean", "largest", "draws"]
    about = {**machine(), "score": "area under the ROC curve of the test rows; LogME: of the labelled rows"}
    publish("feature_dtype", "Features kept in bfloat16 beside float32", columns, summed_up(found), about)


if __name__ == "__main__":
    main()
