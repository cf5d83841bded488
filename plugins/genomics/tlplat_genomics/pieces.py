"""How sequences fall into bases, for explanations."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from tlplat.data.examples import Batch
from tlplat.model import Backbone
from tlplat.pieces import Explainer, Gradients, Occlusion, Way, each_element, evenly
from tlplat_genomics.backbone import StrandedCnn
from tlplat_genomics.sequence import OTHER

LETTERS = "ACGTN"
LONGEST = 400
"""Bases of a window that is explained base by base; a longer one in stretches."""
STRETCHES = 50


class Bases(Explainer):
    """Each base of a window of one length, numbered from its middle: 0 is the first base of the second half."""

    unit: ClassVar[str] = "base"
    look: ClassVar[Literal["letters", "words", "bars", "image"]] = "letters"

    def way(self, backbone: Backbone) -> Way:
        """Gradients of the convolutional networks, which see each base; the others count words of several bases."""
        if isinstance(backbone, StrandedCnn):
            return Gradients(_even_bases, _by_base, "every base equally likely")
        return Occlusion(_unknown, each_element, "an unknown base (N) in its place")

    def texts(self, batch: Batch) -> Sequence[Sequence[str]]:
        assert isinstance(batch, Tensor)
        return [[LETTERS[token] for token in row] for row in batch.tolist()]

    def places(self, count: int) -> Sequence[str]:
        return [str(i - count // 2) for i in range(count)]


class Stretches(Explainer):
    """Stretches of long sequences: each the fiftieth part of the longest."""

    unit: ClassVar[str] = "stretch"
    look: ClassVar[Literal["letters", "words", "bars", "image"]] = "bars"
    sample: ClassVar[int] = 64

    def way(self, backbone: Backbone) -> Way:
        return Occlusion(_unknown, _stretched, "unknown bases (N) in its place", lambda b: evenly(b, STRETCHES))

    def texts(self, batch: Batch) -> Sequence[Sequence[str]]:
        """The bases' numbers, from 1; nothing where a row has only filling."""
        assert isinstance(batch, Tensor)
        edges = _edges(batch.shape[1])
        known = (batch != OTHER).numpy()
        return [[f"{a + 1} to {b}" if row[a:b].any() else "" for a, b in pairwise(edges)] for row in known]

    def places(self, count: int) -> Sequence[str]:
        return [f"part {i + 1} of {count}" for i in range(count)]


def _unknown(tokens: Tensor) -> Tensor:
    return torch.full_like(tokens, OTHER)


def _even_bases(given: Tensor, tokens: Batch) -> Tensor:
    """One-hot bases and mask (rows, strands, length, 5): a quarter of each base wherever there is one."""
    quarter = given[..., 4:].expand(*given.shape[:-1], 4) / 4
    return torch.cat([quarter, given[..., 4:]], dim=-1)


def _by_base(values: Tensor, tokens: Batch) -> Tensor:
    """Both strands' share of each base, in the order of the first."""
    each = values.sum(dim=-1)
    return each[:, 0] + each[:, 1].flip(1) if each.shape[1] == 2 else each[:, 0]


def _edges(length: int) -> list[int]:
    """Where stretches begin, as :func:`tlplat.pieces.evenly` parts them, and the end."""
    count = min(STRETCHES, length)
    number = np.arange(length) * count // length
    return [*np.flatnonzero(np.r_[True, number[1:] != number[:-1]]).tolist(), length]


def _stretched(values: Tensor, tokens: Tensor) -> Tensor:
    """Bases of a stretch were replaced together, and have one value."""
    return values[:, _edges(tokens.shape[1])[:-1]]
