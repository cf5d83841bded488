"""Temperature scaling: one number, fitted on validation rows, that makes probabilities mean what they say.

Guo et al. 2017, On calibration of modern neural networks, section 4.2. Logits are divided by the temperature T > 0, so
the order of a row's labels never changes. It works on probabilities alone: softmax(z / T) is softmax(log p / T).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tlplat.metrics import EPSILON, expected_calibration_error, log_loss_rows

BINS = 10
RANGE = (0.05, 20.0)
GOLDEN, HALVINGS = (5**0.5 - 1) / 2, 30


def apply_temperature(predictions: np.ndarray, temperature: float, multi_label: bool = False) -> np.ndarray:
    """Probabilities (n, c) at the temperature: rows of a softmax, or each of them a sigmoid for ``multi_label``."""
    p = np.clip(predictions, EPSILON, 1 - EPSILON)
    if multi_label:
        return np.asarray(1 / (1 + np.exp(-(np.log(p) - np.log1p(-p)) / temperature)))
    z = np.log(p) / temperature
    z = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(z / z.sum(axis=1, keepdims=True))


def fit_temperature(targets: np.ndarray, predictions: np.ndarray) -> float:
    """The temperature of least negative log-likelihood, within [0.05, 20]; 1 where there is nothing to fit.

    The likelihood is convex in 1 / T, so the search over an interval finds its one minimum.

    Args:
        targets: (n,) class indices, or (n, c) in {0, 1}. predictions: (n, c) probabilities.
    """
    if not len(targets) or np.ptp(predictions) < EPSILON:
        return 1.0
    many = targets.ndim == 2

    def loss(inverse: float) -> float:
        return float(log_loss_rows(targets, apply_temperature(predictions, 1 / inverse, many)).mean())

    low, high = 1 / RANGE[1], 1 / RANGE[0]
    for _ in range(HALVINGS):  # golden section search (Kiefer 1953)
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    middle = (low + high) / 2
    return 1.0 if loss(1.0) <= loss(middle) else 1 / middle


@dataclass(frozen=True)
class Calibration:
    """Before and after scaling on rows that the temperature did not see.

    Attributes:
        temperature: above 1 the model was too sure of itself. rows: validation rows it was fitted on.
        ece: expected calibration error of the most probable label, or of all labels' probabilities for multi-label,
            over ten bins of equal width (Guo et al. 2017, eq. 3), before and after. nll: mean negative log-likelihood
            a row in nats, a row and label for multi-label.
    """

    temperature: float
    rows: int
    ece: tuple[float, float]
    nll: tuple[float, float]

    @classmethod
    def of(
        cls, validation: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], labels: int
    ) -> Calibration:
        """Fit on (targets, predictions) of validation, measure on those of test; ``labels`` is the rows fitted on."""
        temperature = fit_temperature(*validation)
        targets, before = test
        after = apply_temperature(before, temperature, targets.ndim == 2)
        both = (before, after)
        ece = [expected_calibration_error(targets, p, BINS) for p in both]
        nll = [float(log_loss_rows(targets, p).mean()) for p in both]
        return cls(temperature, labels, (ece[0], ece[1]), (nll[0], nll[1]))

    def to_json(self) -> dict[str, Any]:
        """``{"temperature", "rows", "bins", "ece": [before, after], "nll": [before, after]}``."""
        return {
            "temperature": self.temperature,
            "rows": self.rows,
            "bins": BINS,
            "ece": list(self.ece),
            "nll": list(self.nll),
        }
