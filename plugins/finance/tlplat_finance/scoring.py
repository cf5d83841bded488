"""How a credit score is judged beside its AUROC: KS, Gini, Brier, and what decisions at a cut-off cost."""

from __future__ import annotations

from typing import Any

import numpy as np

CURVE_POINTS = 101


def ks(bad: np.ndarray, risk: np.ndarray) -> float:
    """Kolmogorov-Smirnov distance between the scores of bad (n,) bool and good rows; NaN where one kind is missing."""
    if bad.all() or not bad.any():
        return float("nan")
    cuts = np.unique(risk)
    below = [np.searchsorted(np.sort(risk[kind]), cuts, side="right") / kind.sum() for kind in (bad, ~bad)]
    return float(np.abs(below[0] - below[1]).max())


def expected_cost(bad: np.ndarray, risk: np.ndarray, cut: float, ratio: float) -> float:
    """Mean cost a row when rows with risk >= ``cut`` are refused.

    A good row refused costs 1, a bad one accepted ``ratio``; right decisions cost nothing (Elkan 2001).
    """
    refused = risk >= cut
    return float((ratio * (bad & ~refused) + (~bad & refused)).mean())


def bayes_cut(ratio: float) -> float:
    """The risk from which refusing is cheaper: 1 / (1 + ratio), if risks are probabilities."""
    return 1 / (1 + ratio)


def closer_look(bad: np.ndarray, risk: np.ndarray, ratio: float, label: str) -> dict[str, Any]:
    """Charts and tables of the report for binary targets ``bad`` (n,) bool and predicted risks (n,)."""
    cut = bayes_cut(ratio)
    cost = expected_cost(bad, risk, cut, ratio)
    without = min(ratio * float(bad.mean()), float((~bad).mean()))
    refused = risk >= cut
    order = np.linspace(0, 1, CURVE_POINTS)
    costs = [[float(c), expected_cost(bad, risk, float(c), ratio)] for c in order]
    shares = [[float(c), float((risk[bad] < c).mean() - (risk[~bad] < c).mean())] for c in order]
    measures = {
        "KS": ks(bad, risk),
        "Brier score": float(((risk - bad) ** 2).mean()),
        "mean risk": float(risk.mean()),
        label: float(bad.mean()),
        "refused": float(refused.mean()),
        f"{label} if accepted": float(bad[~refused].mean()) if (~refused).any() else None,
        "cost a row": cost,
        "all alike": without,
    }
    return {
        "charts": [
            {
                "kind": "lines",
                "title": "Cost by cut-off",
                "x": f"predicted risk of {label} from which a row is refused",
                "y": "expected cost a row",
                "series": [{"points": costs}],
                "caption": f"Accepting a {label} row costs {ratio:g}, refusing another one 1; "
                f"probabilities that mean what they say are cheapest at {cut:.2f}.",
            },
            {
                "kind": "lines",
                "title": "How far the two kinds of rows are apart",
                "x": f"predicted risk of {label}",
                "y": "share of others below, less that of " + label,
                "series": [{"points": [[x, -y] for x, y in shares]}],
                "caption": "The highest point is KS.",
            },
        ],
        "tables": [
            {
                "title": "Credit decisions",
                "columns": list(measures),
                "rows": [list(measures.values())],
                "caption": f"A row is refused from a predicted risk of {cut:.2f} on. Accepting a {label} row costs "
                f"{ratio:g} (--cost-ratio), refusing another one 1; all alike: accept or refuse every row, whichever "
                f"is cheaper. {label}: the share that is.",
            }
        ],
    }
