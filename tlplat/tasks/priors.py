"""Classes counted alike: what outputs say once the training rows' class frequencies are taken out of them.

A model of least cross-entropy tells p(class | row), in which a rare class is rare. Less the log of the class's
frequency its logits are those of a target in which all classes are equally frequent (Saerens et al. 2002, eq. 4), and
the likeliest class there is the choice of most balanced accuracy (Menon et al. 2021, Long-tail learning via logit
adjustment, eq. 9).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tlplat.metrics import EPSILON

LEAST_ROWS = 0.5
"""Rows that a class without any is taken to have: its frequency has a logarithm."""


def frequencies(targets: np.ndarray | Tensor, labels: int, least: int = 1) -> list[float]:
    """Share of the rows of each class (n,), or with each label (n, ``labels``) in {0, 1}; never 0 or 1.

    Where ``least`` hides counts of fewer rows, no share is that of fewer, and what it adds to a logit is rounded to
    tenths, so that the others do not tell it.
    """
    y = np.asarray(targets)
    several, rows = y.ndim == 2, max(len(y), 1)
    counts = y.sum(axis=0, dtype=np.float64) if several else np.bincount(y, minlength=labels).astype(np.float64)
    smallest = min(max(LEAST_ROWS, least if least > 1 else 0), rows / 2)
    shares = np.clip(counts, smallest, rows - smallest) / rows
    if least > 1:
        added = np.round(Prior(shares, several).logits, 1)
        shares = 1 / (1 + np.exp(-added)) if several else np.exp(np.minimum(added, -0.1))
    found: list[float] = shares.tolist()
    return found


@dataclass(frozen=True)
class Prior:
    """What the frequencies of classes add to logits: their log, or their log odds where labels stand alone.

    Attributes:
        shares: the frequencies; None adds nothing.
    """

    shares: Sequence[float] | np.ndarray | None
    multi_label: bool

    @property
    def logits(self) -> np.ndarray:
        """(labels,)"""
        p = np.asarray(self.shares, dtype=np.float64)
        return np.asarray(np.log(p) - np.log1p(-p) if self.multi_label else np.log(p))

    def added(self, outputs: Tensor) -> Tensor:
        """Logits (..., labels) of classes as they occur."""
        return outputs if self.shares is None else outputs + torch.from_numpy(self.logits).to(outputs)

    def removed(self, outputs: Tensor) -> Tensor:
        """Logits (..., labels) of classes that count alike."""
        return outputs if self.shares is None else outputs - torch.from_numpy(self.logits).to(outputs)

    def added_to(self, predictions: np.ndarray) -> np.ndarray:
        """Probabilities (n, labels) of classes as they occur."""
        return predictions if self.shares is None else self._moved(predictions, self.logits)

    def removed_from(self, predictions: np.ndarray) -> np.ndarray:
        """Probabilities (n, labels) of classes that count alike."""
        return predictions if self.shares is None else self._moved(predictions, -self.logits)

    def _moved(self, predictions: np.ndarray, by: np.ndarray) -> np.ndarray:
        p = np.clip(predictions, EPSILON, 1 - EPSILON)
        if self.multi_label:
            return np.asarray(1 / (1 + np.exp(-(np.log(p) - np.log1p(-p) + by))))
        z = np.log(p) + by
        z = np.exp(z - z.max(axis=1, keepdims=True))
        return np.asarray(z / z.sum(axis=1, keepdims=True))
