"""Metrics of retrieval: each row asks all others for rows of its own kind, by the cosine of embeddings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

BLOCK = 512


def similarities(embeddings: np.ndarray) -> np.ndarray:
    """(n, d) embeddings of length 1; a row of zeros stays one."""
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.asarray(embeddings / np.where(length > 0, length, 1.0))


def hits(targets: np.ndarray, predictions: np.ndarray, depth: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Whether the rows nearest to each are of its kind, nearest first (n, depth), and how many such there are (n,).

    Args:
        targets: (n,) kinds. predictions: (n, 1 + d) the space that an embedding belongs to, then the embedding. Only
            rows of one space are compared. Equals are in an order of chance that is always the same.
        depth: how many neighbours; None for all.
    """
    n = len(targets)
    depth = n - 1 if depth is None else min(depth, n - 1)
    space, unit = predictions[:, 0], similarities(predictions[:, 1:])
    chance = np.random.default_rng(0).permutation(n)
    found = np.zeros((n, max(depth, 0)), dtype=bool)
    total = np.zeros(n, dtype=int)
    for start in range(0, n, BLOCK):
        rows = np.arange(start, min(start + BLOCK, n))
        near = (unit[rows] @ unit.T).round(9)
        away = space[rows][:, None] != space
        away[np.arange(len(rows)), rows] = True
        near[away] = -np.inf
        same = (targets[rows][:, None] == targets) & ~away
        total[rows] = same.sum(axis=1)
        order = np.lexsort((np.broadcast_to(chance, near.shape), -near), axis=1)[:, :depth]
        found[rows] = np.take_along_axis(same, order, axis=1)
    return found, total


@dataclass(frozen=True)
class OverQueries(ABC):
    """Mean over the rows that have another of their kind to find; the bootstrap draws queries, not what is searched."""

    name: str
    higher_is_better: bool = True

    @abstractmethod
    def rows(self, targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        """(n,) score of each query; NaN where there is nothing to find."""

    def __call__(self, targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        scores = self.rows(targets, predictions)
        known = ~np.isnan(scores)
        if weights is None:
            return np.array([scores[known].mean() if known.any() else np.nan])
        mass = weights[:, known].sum(axis=1)
        return np.where(mass > 0, weights[:, known] @ scores[known] / np.where(mass > 0, mass, 1.0), np.nan)


@dataclass(frozen=True)
class RecallAt(OverQueries):
    """Share of queries with one of their kind among the ``k`` nearest."""

    k: int = 1

    def rows(self, targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        found, total = hits(targets, predictions, self.k)
        return np.where(total > 0, found.any(axis=1), np.nan)


@dataclass(frozen=True)
class MeanAveragePrecision(OverQueries):
    """Mean over queries of the precision at each row of their kind, all rows ranked (mAP)."""

    def rows(self, targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        found, total = hits(targets, predictions)
        precision = np.cumsum(found, axis=1) / np.arange(1, found.shape[1] + 1)
        return np.where(total > 0, (precision * found).sum(axis=1) / np.maximum(total, 1), np.nan)
