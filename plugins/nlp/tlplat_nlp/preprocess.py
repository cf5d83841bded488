"""How texts become tokens: the source's own tokeniser, and a limit. JSON both ways, so that a model carries it."""

from __future__ import annotations

import json
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

    def text(self) -> str:
        """In words, for users of an exported model."""
        return (
            "int32 (rows, width): ids of the text's tokens, special ones included, by preprocess.tokenizer, which is "
            "the text of a tokenizer.json (tokenizers.Tokenizer.from_str), with its own padding switched off and "
            f"truncation at {self.width} tokens; rows are filled up with {self.pad} behind the text, to the longest "
            "row of the batch or farther"
        )

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

    def special(self, masks: Sequence[str]) -> tuple[list[int], int]:
        """Ids of special tokens that stand around a text, and of the first of ``masks`` that the vocabulary has.

        ``pad`` where it has none of them. A mask is not counted among those that stand around.
        """
        tokenizer = _tokenizer(self.tokenizer, self.width)
        around = tokenizer.encode("").ids
        known = [i for i in map(tokenizer.token_to_id, masks) if i is not None]
        return around, known[0] if known else self.pad

    def text_of(self, token: int) -> str:
        """What one token says, with a space before it where it begins a word."""
        said = _tokenizer(self.tokenizer, self.width).id_to_token(token) or ""
        if said.startswith("##"):
            return said[2:]
        if said[:1] in ("\u0120", "\u2581"):  # byte pairs and sentence pieces write the space so
            return f" {said[1:]}"
        return f" {said}" if _marks_continuations(self.tokenizer) else said


@lru_cache(maxsize=4)
def _marks_continuations(content: str) -> bool:
    """Whether a token without a mark begins a word: of word pieces and whole words, not of byte pairs."""
    return json.loads(content)["model"].get("type") not in ("BPE", "Unigram")


def read_tokenizer(content: str) -> Tokenizer:
    """The tokeniser of a tokenizer.json; ModelError TL-MODEL-TOKENIZER where it is none."""
    try:
        return Tokenizer.from_str(content)
    except Exception as error:  # the library raises plain Exception
        raise ModelError(
            "TL-MODEL-TOKENIZER",
            f"the tokeniser cannot be read: {error}",
            fix="give a tokenizer.json as the tokenizers library writes it",
        ) from error


@lru_cache(maxsize=4)
def _tokenizer(content: str, width: int) -> Tokenizer:
    tokenizer = read_tokenizer(content)
    tokenizer.no_padding()
    tokenizer.enable_truncation(width)
    return tokenizer
