"""Documents of runs that are explained."""

from __future__ import annotations

import random
from typing import Any

from report.made import LABELS, sample

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
