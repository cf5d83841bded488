"""What a careful user does without transfer: regularised logistic regression on the field's features."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from tlplat.data.examples import Examples, Inputs
from tlplat.domain import Baseline
from tlplat.tasks.base import Task
from tlplat_genomics.features import frame_openness, kmer_frequencies, one_hot

WEIGHT_DECAYS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
FIXED_DECAY = 1.0
"""Below ``ENOUGH`` rows cross-validation picks at random, so the decay is fixed."""
ENOUGH = 20


class LogisticBaseline(Baseline):
    """Logistic regression on standardised features, its weight decay chosen by 5-fold cross-validation.

    With more features than rows it works in the rows' own span, which gives the same solution faster.
    """

    def __init__(self, both_strands: bool) -> None:
        self.both_strands = both_strands
        self._width = self._count = 0

    @abstractmethod
    def features(self, tokens: Tensor) -> Tensor:
        """(n, d) float32 features of tokens (n, length)."""

    def fit_predict(self, train: Examples, others: Sequence[Inputs], task: Task, seed: int) -> list[np.ndarray]:
        x = self.features(_tokens(train.inputs))
        self._width = x.shape[1]
        mean, scale = x.mean(dim=0), x.std(dim=0, correction=0)
        scale = torch.where(scale > 1e-6 * scale.max().clamp(min=1e-12), scale, torch.inf)
        z = (x - mean) / scale
        basis = _span(z)
        decays = WEIGHT_DECAYS if len(train) >= ENOUGH else (FIXED_DECAY,)
        head = task.fit_head(z @ basis, train.targets, {"weight_decays": decays, "standardise": False})
        weight = basis @ head.weight.T
        self._count = weight.numel() + head.bias.numel()
        return [
            task.decode(((self.features(_tokens(inputs)) - mean) / scale) @ weight + head.bias) for inputs in others
        ]

    def inference_cost(self) -> float:
        return float(self._width)

    def parameters(self) -> int:
        return self._count


class KmerLogistic(LogisticBaseline):
    """3-mer frequencies, of both strands where the strand is unknown."""

    name: ClassVar[str] = "kmer_logistic"
    summary: ClassVar[str] = "logistic regression on 3-mer frequencies"

    def features(self, tokens: Tensor) -> Tensor:
        return kmer_frequencies(tokens, 3, self.both_strands)


class OneHotLogistic(LogisticBaseline):
    """One column a base and position."""

    name: ClassVar[str] = "onehot_logistic"
    summary: ClassVar[str] = "logistic regression on one-hot bases"

    def features(self, tokens: Tensor) -> Tensor:
        return one_hot(tokens)


class OpenFrameLogistic(LogisticBaseline):
    """Stop codons in six frames: the oldest way of telling coding from intergenic sequence."""

    name: ClassVar[str] = "orf_logistic"
    summary: ClassVar[str] = "logistic regression on stop codons and open stretches in six frames"

    def features(self, tokens: Tensor) -> Tensor:
        return frame_openness(tokens)


def _tokens(inputs: Inputs) -> Tensor:
    batch = inputs.take(torch.arange(len(inputs)))
    assert isinstance(batch, Tensor)
    return batch


def _span(z: Tensor) -> Tensor:
    """(d, r) orthonormal basis of the rows of z (n, d); the identity where d is small already."""
    if z.shape[1] <= z.shape[0]:
        return torch.eye(z.shape[1])
    basis: Tensor = torch.linalg.svd(z, full_matrices=False).Vh.T
    return basis
