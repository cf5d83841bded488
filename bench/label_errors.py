"""Of labels turned round on purpose, how many does check-data name, and how many of those that it names were turned?

    python bench/label_errors.py [--domains finance ...] [--labels 600] [--draws 3]

Labelled rows of the five demos as their first source sees them. Some of their own labels are wrong or rare as well, so
that precision is a lower bound. ``named`` are those that check-data shows, ``--clean`` those that it leaves out; beside
them cleanlab's filter alone on the same probabilities (Northcutt et al. 2021).
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from machine import machine, publish

from tlplat.checks.targets import doubts_of, out_of_fold
from tlplat.config import RunConfig
from tlplat.data.examples import Examples
from tlplat.progress import Reporter
from tlplat.stage import load_registry, opened
from tlplat.tasks.base import Task

DEMOS: Mapping[str, Mapping[str, Any]] = {
    "finance": {}, "genomics": {}, "medicine": {"task": "diagnosis"}, "nlp": {}, "vision": {},
}  # fmt: skip
SHARES = (0.0, 0.03, 0.1)
Rule = Callable[[np.ndarray, np.ndarray], set[int]]


def cleanlab(y: np.ndarray, said: np.ndarray) -> set[int]:
    from cleanlab.filter import find_label_issues

    return set(np.flatnonzero(find_label_issues(y, said, filter_by="both", n_jobs=1)).tolist())


RULES: dict[str, Rule] = {
    "cleanlab": cleanlab,
    "named": lambda y, said: {i for i, _ in doubts_of(y, said).named},
    "--clean": lambda y, said: set(doubts_of(y, said).sure),
}


def demo(domain: str, labels: int) -> tuple[Examples, torch.Tensor, Task]:
    """Labelled rows, at most so many, their features, and the task."""
    for wanted in (labels, "all"):
        options = {"options": dict(DEMOS[domain])} if DEMOS[domain] else {}
        config = RunConfig.model_validate({"domain": domain, "labels": wanted, "threads": 1, **options})
        sourcing, store = opened(config, load_registry(config), Reporter(), dry=False)
        try:
            (view, *_), _ = sourcing.views(sourcing.names()[:1])
        except Exception as error:
            if "TL-LABELS-TOO-MANY" not in str(error):
                raise
            continue
        return view.labelled, store.features(view.source, view.labelled.inputs).float(), view.target.task
    raise RuntimeError(f"{domain} has no rows")


def turned(rows: Examples, share: float, classes: int, draw: int) -> tuple[Examples, set[int]]:
    """The rows with that share of their labels turned to another class, and which these are."""
    rng = np.random.default_rng(draw)
    y = rows.targets.clone()
    chosen = rng.choice(len(y), round(share * len(y)), replace=False)
    for i in chosen.tolist():
        y[i] = (y[i] + 1 + int(rng.integers(classes - 1))) % classes
    return dataclasses.replace(rows, targets=y), set(chosen.tolist())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domains", nargs="+", choices=DEMOS, default=list(DEMOS))
    parser.add_argument("--labels", type=int, default=600)
    parser.add_argument("--draws", type=int, default=3)
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for domain in given.domains:
        labelled, features, task = demo(domain, given.labels)
        classes = len(task.info().labels)
        for share in SHARES:
            found: dict[str, list[tuple[int, int]]] = {name: [] for name in RULES}
            planted = 0
            for draw in range(given.draws if share else 1):
                changed, wrong = turned(labelled, share, classes, draw)
                planted += len(wrong)
                y, said = changed.targets.numpy(), out_of_fold(changed, features, task)
                for name, rows_ in ((name, rule(y, said)) for name, rule in RULES.items()):
                    found[name].append((len(rows_), len(rows_ & wrong)))
            for name, counts in found.items():
                count, hits = (sum(column) for column in zip(*counts, strict=True))
                row: dict[str, Any] = {"demo": domain, "rows": len(labelled), "turned": f"{share:.0%}", "rule": name}
                row["named"] = round(count / len(counts), 1)
                row["precision"] = f"{hits / count:.2f}" if share and count else ""
                row["recall"] = f"{hits / planted:.2f}" if share else ""
                rows.append(row)
                print(row, flush=True)
    publish("label_errors", "Labels turned round, and what check-data names", list(rows[0]), rows, machine())


if __name__ == "__main__":
    main()
