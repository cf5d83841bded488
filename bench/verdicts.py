"""Which verdict does a run give where transfer is known to help, to tie and to hurt? One run a row and draw of labels.

python bench/verdicts.py [--draws 3] [--seeds 3] [--only s-aureus/start-site/16]
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine, publish

from tlplat.config import RunConfig
from tlplat.progress import Reporter
from tlplat.runner import run
from tlplat.stage import load_registry

CELLS = [
    ("s-aureus", "start-site", 16),
    ("s-aureus", "start-site", 64),
    ("b-theta", "start-site", 32),
    ("s-aureus", "coding", 32),
    ("s-aureus", "coding", 256),
    ("b-theta", "coding", 32),
]
COLUMNS = [
    "target",
    "task",
    "labels",
    "zero-shot",
    "probe",
    "fine-tuned",
    "scratch",
    "classical",
    "difference",
    "verdicts",
]


def one(organism: str, task: str, labels: int, draw: int, seeds: int, folder: Path) -> dict[str, Any]:
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
            "options": {"target_organism": organism, "task": task},
        }
    )
    return run(config, load_registry(config), Reporter()).report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only")
    options = parser.parse_args()
    rows = []
    about = {**machine(), "draws": options.draws, "seeds": options.seeds}
    for organism, task, labels in CELLS:
        if options.only and options.only != f"{organism}/{task}/{labels}":
            continue
        reports = []
        for draw in range(options.draws):
            with tempfile.TemporaryDirectory() as folder:
                reports.append(one(organism, task, labels, draw, options.seeds, Path(folder) / "run"))
            said = reports[-1]["verdict"]
            print(organism, task, labels, draw, said["outcome"], said["winner"], said["difference"], said["interval"])
        rows.append(row(organism, task, labels, reports))
    name = "verdicts" if not options.only else "verdicts-part"
    publish(name, "Verdicts on real genomes (AUROC, mean over draws)", COLUMNS, rows, about)


def row(organism: str, task: str, labels: int, reports: list[dict[str, Any]]) -> dict[str, Any]:
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
