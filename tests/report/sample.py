"""Documents to try the report on. Every number is made up, by a seeded generator; none comes from a run."""

from __future__ import annotations

import math
import random
from typing import Any

from report.made import sample
from report.sample_explained import explained, explained_columns, explained_pictures


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


def _poisoned(value: Any, key: str = "") -> Any:
    """Every text and every free key with the attack before it, save those that must be known words or keys."""
    if isinstance(value, dict):
        return {f"{HOSTILE}{k}" if key in FREE else k: _poisoned(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [_poisoned(v, key) for v in value]
    return HOSTILE + value if isinstance(value, str) and key not in KNOWN_WORDS else value


KNOWN_WORDS = {"family", "outcome", "winner", "reference", "recommended", "key", "candidate", "trial"}
FREE = {"data_card", "source_card", "environment", "hyperparameters", "config", "window", "rows", "balance", "versions"}
