"""Does each transferability score put the better source first? Real genomes, against the best measured strategy.

For each target, number of labels and draw of them, three networks are scored on the labelled rows (E. coli's
convolutional and codon networks of the task, and Tiara), then each is carried over by every strategy; a source's worth
is its best test AUROC. A pair of sources whose worths are at least --gap apart counts as a hit for a score that orders
it right, and the first-ranked source's loss against the best is the regret.

python bench/ranking.py [--draws 5] [--labels 16,64,256] [--only s-aureus/start-site]
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import RESULTS, machine, publish

from tlplat.cache import TensorCache, cache_root
from tlplat.config import RunConfig, TrainOptions
from tlplat.data.splits import draw_labels
from tlplat.domain import DataOptions, DomainContext, TargetTask
from tlplat.features import FeatureStore
from tlplat.model import SourceModel
from tlplat.ranking import TITLES, draws_of, score_source
from tlplat.registry import Registry
from tlplat.stage import load_registry, steps_of, takes_head
from tlplat.train import FitSettings
from tlplat.trial import Bench, Rows, StrategyCandidate
from tlplat.view import View, aligned

CELLS = [("s-aureus", "start-site"), ("b-theta", "start-site"), ("s-aureus", "coding"), ("b-theta", "coding")]
SOURCES = ("cnn", "codon", "tiara")
STRATEGIES = ("zero_shot", "linear_probe", "full_ft")
CLOSED = ("log_me", "shrunk_h_score", "leep", "nce", "n_leep")
RATE = 1e-3


@functools.lru_cache(maxsize=1)
def seen(organism: str, task: str, draw: int) -> tuple[Registry, DomainContext, list[tuple[SourceModel, TargetTask]]]:
    """Each source with the target as it sees it."""
    config = RunConfig.model_validate({"domain": "genomics", "strategies": STRATEGIES})
    registry = load_registry(config)
    domain = registry.get("domains", "genomics")()
    context = DomainContext(registry, cache_root(), data_seed=draw)
    found: list[tuple[SourceModel, TargetTask]] = []
    for name in SOURCES:
        asked = {} if name == "tiara" else {"backbone": name}
        options = domain.Options(task=task, target_organism=organism, **asked)
        source = domain.source("tiara" if name == "tiara" else "e-coli", options, context)
        target = domain.target(options, DataOptions(), source, context)
        if found:
            target, source = aligned(found[0][1], target, source)
        found.append((source, target))
    return registry, context, found


def cell(organism: str, task: str, labels: int, draw: int) -> dict[str, Any]:
    """Scores and worth of each source on one labelled set."""
    registry, context, found = seen(organism, task, draw)
    views = [
        View(name, source, target, draw_labels(target.pool, labels, draw, target.task))
        for name, (source, target) in zip(SOURCES, found, strict=True)
    ]
    store = FeatureStore(TensorCache(context.cache, context.warn), registry)
    first = views[0].target
    bench = Bench(first.task, registry, store, FitSettings(), steps_of(TrainOptions()), warn=context.warn)
    draws = draws_of(views[0], draw)
    made: dict[str, Any] = {}
    for view in views:
        ranked = score_source(view, store, registry, draws)
        same = takes_head(first.task, view.source)
        worth = {}
        for name in STRATEGIES:
            if name == "zero_shot" and not same:
                continue
            strategy = registry.get("strategies", name)()
            candidate = StrategyCandidate(strategy, view.source, same, RATE)
            test = Rows.all(view.target.test)
            outcome = candidate.run(bench, Rows.all(view.labelled), [test], seed=draw)
            worth[name] = float(first.task.metrics[0](view.target.test.targets.numpy(), outcome.predictions[0])[0])
        made[view.called] = {"scores": dict(ranked.scores), "worth": worth}
    return made


def rules(scores: dict[str, dict[str, float | None]]) -> dict[str, dict[str, float]]:
    """Every score, and rules made of them, as a value for each source (higher is better)."""
    found = {s: {k: math.nan if v[s] is None else float(v[s] or 0.0) for k, v in scores.items()} for s in TITLES}
    ranks = {s: _ranks(found[s]) for s in TITLES}
    found["probe or own head"] = {k: np.nanmax([found["probe"][k], found["zero_shot"][k]]) for k in scores}
    found["mean rank, closed scores"] = {k: float(np.mean([ranks[s][k] for s in CLOSED])) for k in scores}
    found["mean rank, with the probe"] = {k: float(np.mean([ranks[s][k] for s in (*CLOSED, "probe")])) for k in scores}
    found["probe and LogME"] = {k: ranks["probe"][k] + ranks["log_me"][k] + 1e-3 * found["probe"][k] for k in scores}
    return found


def _ranks(values: dict[str, float]) -> dict[str, float]:
    """Share of the other sources that each beats, half for a tie; undefined is worst."""
    plain = {k: -math.inf if math.isnan(v) else v for k, v in values.items()}
    return {k: float(np.mean([(v > w) + 0.5 * (v == w) for j, w in plain.items() if j != k])) for k, v in plain.items()}


def summed_up(cells: list[dict[str, Any]], gap: float) -> list[dict[str, Any]]:
    """One row a rule: hits over pairs that are apart by number of labels, best source first, mean regret."""
    rows = []
    sizes = sorted({c["labels"] for c in cells})
    for rule in rules({k: v["scores"] for k, v in cells[0]["sources"].items()}):
        row: dict[str, Any] = {"rule": TITLES.get(rule, rule)}
        hits, pairs, firsts, regrets = 0.0, 0, 0, []
        for size in sizes:
            right, count = 0.0, 0
            for c in (c for c in cells if c["labels"] == size):
                values = rules({k: v["scores"] for k, v in c["sources"].items()})[rule]
                worth = {k: max(v["worth"].values()) for k, v in c["sources"].items()}
                plain = {k: -math.inf if math.isnan(v) else v for k, v in values.items()}
                for a, b in itertools.combinations(worth, 2):
                    if abs(worth[a] - worth[b]) >= gap:
                        count += 1
                        order = np.sign(plain[a] - plain[b]) if plain[a] != plain[b] else 0.0
                        right += 0.5 + 0.5 * float(order * np.sign(worth[a] - worth[b]))
                chosen = max(plain, key=plain.__getitem__)
                regrets.append(max(worth.values()) - worth[chosen])
                firsts += regrets[-1] < gap
            row[f"{size} labels"] = f"{right:g} of {count}"
            hits, pairs = hits + right, pairs + count
        row |= {
            "all pairs": f"{100 * hits / pairs:.0f} %",
            "best first": f"{firsts} of {len(regrets)}",
            "mean regret": f"{100 * float(np.mean(regrets)):.1f}",
            "worst regret": f"{100 * max(regrets):.1f}",
        }
        rows.append(row)
    return sorted(rows, key=lambda row: float(row["mean regret"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--labels", default="16,64,256")
    parser.add_argument("--gap", type=float, default=0.01, help="AUROC below which two sources count as equal")
    parser.add_argument("--only", help="organism/task")
    parser.add_argument(
        "--cells", type=Path, default=RESULTS / "ranking-cells.json", help="finished cells are kept here"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    about = machine()
    done: list[dict[str, Any]] = (
        json.loads(arguments.cells.read_text(encoding="utf-8")) if arguments.cells.exists() else []
    )
    sizes = [int(n) for n in arguments.labels.split(",")]
    for draw, (organism, task), labels in itertools.product(range(arguments.draws), CELLS, sizes):
        where = {"target": organism, "task": task, "labels": labels, "draw": draw}
        if arguments.only not in (None, f"{organism}/{task}") or any(where.items() <= c.items() for c in done):
            continue
        done.append({**where, "sources": cell(organism, task, labels, draw)})
        arguments.cells.parent.mkdir(exist_ok=True)
        arguments.cells.write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")
        print(where, {k: round(max(v["worth"].values()), 3) for k, v in done[-1]["sources"].items()}, flush=True)
    rows = summed_up(done, arguments.gap)
    publish(
        "ranking",
        "Does a transferability score put the better source first? (bacterial genomes, three sources)",
        list(rows[0]),
        rows,
        {**about, "cells": len(done), "gap": arguments.gap, "strategies": ", ".join(STRATEGIES), "rate": RATE},
    )


if __name__ == "__main__":
    main()
