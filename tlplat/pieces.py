"""The pieces that an explanation speaks of: how encoded rows fall into bases, tokens, pixels or columns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from tlplat.data.examples import Batch

if TYPE_CHECKING:
    from tlplat.model import Backbone

BATCH, EMBED = "batch", "embed"
"""Where gradients may start besides a block's output: the batch itself, and what the first block receives."""


@dataclass(frozen=True)
class Gradients:
    """Integrated gradients (Sundararajan et al. 2017): a row's numbers, moved from those of a row that says nothing.

    Attributes:
        baseline: (numbers (rows, ...), batch) -> the numbers of rows that say nothing, of the same shape.
        gather: (attributions of the numbers (rows, ...), batch) -> those of the pieces (rows, pieces): their sums.
        against: the baseline in words, such as ``every base equally likely``.
        at: whose numbers: ``batch`` (a float tensor), ``embed`` (what the first block receives) or the name of a block,
            for its output. A backbone that reads its rows by another way besides is not explained whole.
    """

    baseline: Callable[[Tensor, Batch], Tensor]
    gather: Callable[[Tensor, Batch], Tensor]
    against: str
    at: str = EMBED


@dataclass(frozen=True)
class Occlusion:
    """What the score loses where a part of the batch is replaced (Zeiler & Fergus 2014); batches are one tensor.

    Attributes:
        neutral: batch -> a batch of its shape in which no piece says anything.
        gather: (attributions in the batch's shape, batch) -> those of the pieces (rows, pieces).
        against: what stands in, in words.
        regions: batch -> int64 of its shape: numbers of elements that are replaced together; None: each by itself.
        window, stride: of a part that slides over the batch's other dimensions, instead of regions.
    """

    neutral: Callable[[Tensor], Tensor]
    gather: Callable[[Tensor, Tensor], Tensor]
    against: str
    regions: Callable[[Tensor], Tensor] | None = None
    window: tuple[int, ...] | None = None
    stride: tuple[int, ...] | None = None


Way: TypeAlias = Gradients | Occlusion


class Explainer(ABC):
    """How the rows of a domain fall into pieces, and how people read them.

    A row has a fixed number of pieces, in order; where it is shorter, texts of the last ones are empty.
    """

    unit: ClassVar[str]
    """One piece in a word: ``base``."""
    by: ClassVar[Literal["place", "text"]] = "place"
    """What is the same from row to row: a piece's place (a column, a position) or its text (a token)."""
    look: ClassVar[Literal["letters", "words", "bars", "image"]] = "bars"
    """How a row is shown. ``letters`` are run together; of ``words``, a text without a space before it goes on one."""
    sample: ClassVar[int] = 256
    """Rows behind the figures over all rows: fewer where a pass through the network is dear."""

    @abstractmethod
    def way(self, backbone: Backbone) -> Way:
        """Gradients where ``backbone`` is known to take them, else occlusion, which any network bears."""

    @abstractmethod
    def texts(self, batch: Batch) -> Sequence[Sequence[str]]:
        """What the pieces of each row say; empty for one that is not there (filling)."""

    def places(self, count: int) -> Sequence[str]:
        """What the places of ``count`` pieces are called; whole numbers are drawn as an axis."""
        return [str(i + 1) for i in range(count)]

    def owners(self) -> Tensor | None:
        """(width,) int64, the piece that each number of a row (rows, width) belongs to, where rows are such numbers.

        Pieces can then be shuffled among rows, which gives their permutation importance. None: they cannot.
        """
        return None

    def picture(self, row: Tensor, values: Tensor) -> bytes | None:
        """A PNG of one row of a batch with its pieces' attributions (pieces,) laid over it; where ``look`` is image."""
        return None


class Columns(Explainer):
    """Rows of numbers: each number belongs to a named column.

    Args:
        names: of the columns. owners: (width,) int64, the column of each number.
        baseline: (width,) float32, the numbers of a row that says nothing. against: in words.
    """

    unit: ClassVar[str] = "column"

    def __init__(self, names: Sequence[str], owners: Tensor, baseline: Tensor, against: str) -> None:
        self.names, self._owners, self._baseline, self._against = list(names), owners, baseline, against

    def way(self, backbone: Backbone) -> Way:
        """Gradients, or occlusion of whole columns where none pass through the network."""
        if backbone.frozen:
            return Occlusion(
                neutral=lambda given: self._baseline.to(given).expand_as(given),
                gather=lambda values, _: self._summed(values / self._owners.bincount().to(values)[self._owners]),
                against=self._against,
                regions=lambda given: self._owners.to(given.device).expand(given.shape),
            )
        return Gradients(
            baseline=lambda given, _: self._baseline.to(given).expand_as(given),
            gather=lambda values, _: self._summed(values),
            against=self._against,
            at=BATCH,
        )

    def _summed(self, values: Tensor) -> Tensor:
        found = values.new_zeros(len(values), len(self.names))
        return found.index_add_(1, self._owners.to(values.device), values)

    def texts(self, batch: Batch) -> Sequence[Sequence[str]]:
        assert isinstance(batch, Tensor)
        return [self.names] * len(batch)

    def places(self, count: int) -> Sequence[str]:
        return self.names

    def owners(self) -> Tensor | None:
        return self._owners


def each_element(values: Tensor, batch: Tensor) -> Tensor:
    """``gather`` of an occlusion whose pieces are a batch's elements (rows, pieces)."""
    return values


def evenly(batch: Tensor, count: int) -> Tensor:
    """``regions`` of (rows, length): ``count`` stretches of like length, or each element where there are no more."""
    length = batch.shape[1]
    return (torch.arange(length, device=batch.device) * min(count, length) // length).expand(len(batch), -1)
