"""How sequences become model inputs: a length, and what happens to longer and shorter ones. JSON both ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from tlplat.data.examples import TensorInputs
from tlplat_genomics.sequence import OTHER, Tokens, fit_length

TOKENS = "A,C,G,T = 0..3; other = 4"
CODES = "A, C, G, T are 0, 1, 2, 3, in either case, U is T, and every other letter is 4"


@dataclass(frozen=True)
class Preprocess:
    """Tokens of one length.

    Attributes:
        length: bases of a window. Longer sequences are cropped to their middle.
        pad: True pads shorter ones on both sides to ``length``, so that middles coincide; False pads to the longest
            of the rows at hand only (for models that do not care about position).
    """

    length: int
    pad: bool = True

    def to_json(self) -> dict[str, Any]:
        return {"kind": "dna-tokens", "tokens": TOKENS, "anchor": "middle", **asdict(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Preprocess:
        return cls(int(document["length"]), bool(document["pad"]))

    def text(self) -> str:
        """In words, for users of an exported model."""
        cropped = f"a longer sequence loses (n - {self.length}) // 2 bases at its beginning and the rest at its end"
        if not self.pad:
            return f"uint8 (rows, length): {CODES}; {cropped}; shorter ones of a batch get 4s on both sides"
        return (
            f"uint8 (rows, {self.length}): {CODES}; {cropped}; a shorter one gets ({self.length} - n) // 2 4s before "
            "it and the rest behind"
        )

    def encode(self, sequences: Sequence[Tokens]) -> TensorInputs:
        """Inputs (n, length) uint8 of token arrays of any length."""
        longest = max(map(len, sequences), default=0)
        length = self.length if self.pad else max(1, min(self.length, longest))
        rows = np.full((len(sequences), length), OTHER, dtype=np.uint8)
        for row, tokens in zip(rows, sequences, strict=True):
            row[:] = fit_length(tokens, length)
        return TensorInputs(torch.from_numpy(rows))

    def fitted(self, sequences: Sequence[Tokens]) -> dict[str, Any]:
        """How many rows are cropped and padded, for the data card."""
        lengths = [len(s) for s in sequences]
        return {
            "window": self.length,
            "shortest": min(lengths, default=0),
            "longest": max(lengths, default=0),
            "cropped_rows": sum(n > self.length for n in lengths),
            "padded_rows": sum(n < self.length for n in lengths) if self.pad else 0,
        }
