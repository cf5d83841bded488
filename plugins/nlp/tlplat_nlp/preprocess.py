"""How texts become tokens: the source's own tokeniser, and a limit. JSON both ways, so that a model carries it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from tokenizers import Tokenizer

from tlplat.errors import ModelError
from tlplat_nlp.inputs import TextInputs

LONGEST_TEXT = 20_000
"""Characters of a text that the tokeniser sees: far more than any limit in tokens lets through."""
CHUNK = 1024


@dataclass(frozen=True)
class TextPreprocess:
    """Tokens of a text.

    Attributes:
        tokenizer: content of a tokenizer.json. pad: id that fills rows up.
        width: most tokens of a text, special ones included; what is longer is cut at its end.
    """

    tokenizer: str
    pad: int
    width: int

    def to_json(self) -> dict[str, Any]:
        return {"kind": "text-tokens", "tokenizer": self.tokenizer, "pad": self.pad, "width": self.width}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> TextPreprocess:
        return cls(document["tokenizer"], int(document["pad"]), int(document["width"]))

    def encode(self, texts: Sequence[str]) -> tuple[TextInputs, int]:
        """Inputs, and how many texts were cut."""
        tokenizer = _tokenizer(self.tokenizer, self.width)
        ids: list[list[int]] = []
        cut = 0
        for begin in range(0, len(texts), CHUNK):
            part = [text[:LONGEST_TEXT] for text in texts[begin : begin + CHUNK]]
            for text, found in zip(texts[begin:], tokenizer.encode_batch(part), strict=False):
                ids.append(found.ids)
                cut += bool(found.overflowing) or len(text) > LONGEST_TEXT
        lengths = torch.tensor([len(i) for i in ids], dtype=torch.int64)
        flat = torch.tensor([i for row in ids for i in row], dtype=torch.int32)
        return TextInputs(texts, flat, lengths, self.width, self.pad), cut

    def words(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids of one text, and the characters (begin, end) that each stands for; (0, 0) for special ones."""
        found = _tokenizer(self.tokenizer, self.width).encode(text[:LONGEST_TEXT])
        return found.ids, found.offsets


@lru_cache(maxsize=4)
def _tokenizer(content: str, width: int) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_str(content)
    except Exception as error:  # the library raises plain Exception
        raise ModelError(
            "TL-MODEL-TOKENIZER",
            f"the tokeniser cannot be read: {error}",
            fix="give a tokenizer.json as the tokenizers library writes it",
        ) from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(width)
    return tokenizer
