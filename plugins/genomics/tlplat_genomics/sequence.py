"""Sequences as bytes and as tokens: A, C, G, T = 0..3, everything else = 4."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Tokens: TypeAlias = NDArray[np.uint8]
"""uint8 array of tokens, (length,) or (rows, length)."""

OTHER = 4
"""Ambiguous bases (N, R, ...) and padding."""

_TOKEN_OF = np.full(256, OTHER, dtype=np.uint8)
for _token, _letters in enumerate((b"Aa", b"Cc", b"Gg", b"TtUu")):
    _TOKEN_OF[list(_letters)] = _token
_COMPLEMENT = np.array([3, 2, 1, 0, OTHER], dtype=np.uint8)


@dataclass(frozen=True)
class Record:
    """One sequence of a file: its id (first word of the title), the rest of the title, and its letters."""

    id: str
    description: str
    letters: bytes

    def tokens(self) -> Tokens:
        return tokenize(self.letters)


def tokenize(letters: bytes) -> Tokens:
    """(length,) tokens; U reads as T, lower case (soft masking) as upper."""
    return _TOKEN_OF[np.frombuffer(letters, dtype=np.uint8)]


def reverse_complement(tokens: Tokens) -> Tokens:
    """The other strand, read in its own direction; the last axis is the sequence."""
    return _COMPLEMENT[tokens[..., ::-1]]


def fit_length(tokens: Tokens, length: int) -> Tokens:
    """(length,) tokens: cropped to the middle, or padded with OTHER on both sides, so that centres coincide."""
    surplus = len(tokens) - length
    if surplus >= 0:
        start = surplus // 2
        return tokens[start : start + length]
    left = -surplus // 2
    return np.pad(tokens, (left, -surplus - left), constant_values=OTHER)
