"""Which verdict does a run give where transfer is known to help, to tie and to hurt? One run a row and draw of labels.

python bench/verdicts.py [--draws 3] [--seeds 3] [--only s-aureus/start-site/16/auto]

With --only one row is made anew and put beside those of results/verdicts.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from machine import RESULTS, machine, publish

from tlplat.config import RunConfig
from tlplat.progress import Reporter
from tlplat.runner import run
from tlplat.stage import load_registry

CELLS = [
    ("s-aureus", "start-site", 16, "auto"),
    ("s-aureus", "start-site", 64, "auto"),
    ("b-theta", "start-site", 32, "auto"),
    ("s-aureus", "coding", 32, "auto"),
    ("s-aureus", "coding", 256, "auto"),
    ("b-theta", "coding", 32, "auto"),
    ("s-aureus", "coding", 256, "cnn"),
]
COLUMNS = [
    "target",
    "task",
    "labels",
    "backbone",
    "zero-shot",
    "probe",
    "fine-tuned",
    "scratch",
    "classical",
    "difference",
    "verdicts",
]


def one(organism: str, task: str, labels: int, backbone: str, draw: int, seeds: int, folder: Path) -> dict[str, Any]:
    """report.json of one run."""
    config = RunConfig.model_validate(
        {
            "domain": "genomics",
            "labels": labels,
            "data_seed": draw,
            "seeds": seeds,
            "threads": 1,
            "jobs": 1,
            "out": folder,
            "options": {"target_organism": organism, "task": task, "backbone": backbone},
        }
    )
    return run(config, load_registry(config), Reporter()).report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only")
    options = parser.parse_args()
    about = {**machine(), "draws": options.draws, "seeds": options.seeds}
    kept = RESULTS / "verdicts.json"
    earlier = json.loads(kept.read_text(encoding="utf-8"))["rows"] if options.only and kept.exists() else []
    rows = {key(r): r for r in earlier}
    for cell in CELLS:
        if options.only and options.only != "/".join(map(str, cell)):
            continue
        reports = []
        for draw in range(options.draws):
            with tempfile.TemporaryDirectory() as folder:
                reports.append(one(*cell, draw, options.seeds, Path(folder) / "run"))
            said = reports[-1]["verdict"]
            print(*cell, draw, said["outcome"], said["winner"], said["difference"], said["interval"])
        found = row(*cell, reports)
        rows[key(found)] = found
    publish("verdicts", "Verdicts on real genomes (AUROC, mean over draws)", COLUMNS, list(rows.values()), about)


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    """What tells rows apart."""
    return row["target"], row["task"], row["labels"], row["backbone"]


def row(organism: str, task: str, labels: int, backbone: str, reports: list[dict[str, Any]]) -> dict[str, Any]:
    def mean(*names: str) -> str:
        found = [[c["mean"] for c in r["candidates"] if c["strategy"] in names] for r in reports]
        best = [max(means) for means in found if means]
        return f"{np.mean(best):.3f}" if best else "dropped"

    winners = Counter(r["verdict"]["winner"] for r in reports)
    outcomes = Counter(r["verdict"]["outcome"] for r in reports)
    gaps = [r["verdict"]["difference"] for r in reports]
    lows = [r["verdict"]["interval"][0] for r in reports]
    highs = [r["verdict"]["interval"][1] for r in reports]
    return {
        "target": organism,
        "task": task,
        "labels": labels,
        "backbone": backbone,
        "zero-shot": mean("zero_shot"),
        "probe": mean("linear_probe"),
        "fine-tuned": mean("full_ft", "lp_ft", "l2sp"),
        "scratch": mean("scratch"),
        "classical": mean("kmer_logistic", "onehot_logistic"),
        "difference": f"{np.mean(gaps):+.3f} [{np.mean(lows):+.3f}, {np.mean(highs):+.3f}]",
        "verdicts": ", ".join(f"{n} {k}" for k, n in outcomes.items()),
        "winners": dict(winners),
    }


if __name__ == "__main__":
    main()
