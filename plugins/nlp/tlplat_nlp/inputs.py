"""Texts as model inputs: their tokens packed one after another, and batches of texts of like length."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from tlplat.data.examples import Inputs, tensor_digest

BATCH_TOKENS = 4096
"""So many tokens, filling included, are computed at once, however many texts that are."""


class TextInputs(Inputs):
    """Tokenised texts.

    Args:
        texts: n texts as they were read, for models that count words.
        tokens: (all,) int32 token ids, text after text. lengths: (n,) int64.
        width: tokens that a text may have. pad: the id that fills rows up.
    """

    def __init__(self, texts: Sequence[str], tokens: Tensor, lengths: Tensor, width: int, pad: int) -> None:
        self.texts, self.tokens, self.lengths, self.width, self.pad = list(texts), tokens, lengths, width, pad
        self._starts = lengths.cumsum(0) - lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, index: Tensor) -> Tensor:
        """(len(index), width) int32 token ids; the width is that of all inputs, so that equal texts are equal rows."""
        position, inside = self._places(index)
        rows = torch.full((len(index), self.width), self.pad, dtype=torch.int32)
        rows[inside] = self.tokens[position]
        return rows

    def select(self, index: Tensor) -> TextInputs:
        position, _ = self._places(index)
        texts = [self.texts[i] for i in index.tolist()]
        return TextInputs(texts, self.tokens[position], self.lengths[index], self.width, self.pad)

    def digest(self) -> str:
        parts = [tensor_digest(self.tokens), tensor_digest(self.lengths), str(self.pad)]
        return hashlib.sha256("".join(parts).encode()).hexdigest()

    def batches(self, size: int) -> list[Tensor]:
        """Texts by length, each batch within ``size`` texts and 4096 tokens, filling included."""
        order = torch.argsort(self.lengths, stable=True)
        made, begin = [], 0
        for end, longest in enumerate(self.lengths[order].tolist()):
            if end > begin and (end - begin >= size or (end - begin + 1) * longest > BATCH_TOKENS):
                made.append(order[begin:end])
                begin = end
        return [*made, order[begin:]]

    def _places(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Positions of the rows' tokens, in the order of ``index``, and (len(index), width) True where these go."""
        lengths = self.lengths[index]
        inside = torch.arange(self.width) < lengths[:, None]
        position = (self._starts[index][:, None] + torch.arange(self.width))[inside]
        return position, inside
