"""How texts fall into tokens, for explanations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from tlplat.data.examples import Batch
from tlplat.model import Backbone
from tlplat.pieces import Explainer, Gradients, Occlusion, Way, each_element
from tlplat_nlp.bert import BertEncoder
from tlplat_nlp.preprocess import TextPreprocess

MASKS = ("[MASK]", "<mask>", "[UNK]", "<unk>")
"""What says that a token is not known, the likeliest first."""


class TokensOfText(Explainer):
    """Tokens, which make up words; the special ones that stand around every text say nothing, and are not shown.

    Args:
        preprocess: of the model.
    """

    unit: ClassVar[str] = "word"
    by: ClassVar[Literal["place", "text"]] = "text"
    look: ClassVar[Literal["letters", "words", "bars", "image"]] = "words"
    sample: ClassVar[int] = 64

    def __init__(self, preprocess: TextPreprocess) -> None:
        self.preprocess = preprocess
        self.special, self.mask = preprocess.special(MASKS)
        self._called = preprocess.text_of(self.mask).strip()

    def way(self, backbone: Backbone) -> Way:
        """Gradients over a BERT's embeddings (layer integrated gradients); of any other, what each token is worth."""
        if type(backbone) is not BertEncoder:
            return Occlusion(self._neutral, each_element, f"{self._called} in its place", self._used)
        embeddings = backbone.blocks["embeddings"]

        def baseline(given: Tensor, tokens: Batch) -> Tensor:
            assert isinstance(tokens, Tensor)
            found: Tensor = embeddings(self._neutral(tokens)[:, : given.shape[1]].long())
            return found

        return Gradients(baseline, _by_token, f"the same text with {self._called} for every token", at="embeddings")

    def texts(self, batch: Batch) -> Sequence[Sequence[str]]:
        assert isinstance(batch, Tensor)
        hidden = {*self.special, self.preprocess.pad}
        return [["" if i in hidden else self.preprocess.text_of(i) for i in row] for row in batch.tolist()]

    def _neutral(self, tokens: Tensor) -> Tensor:
        kept = torch.isin(tokens, torch.tensor([*self.special, self.preprocess.pad], device=tokens.device))
        return torch.where(kept, tokens, self.mask)

    def _used(self, tokens: Tensor) -> Tensor:
        """Each column a region, those beyond the longest text together."""
        used = (tokens != self.preprocess.pad).any(dim=0).nonzero()
        last = int(used[-1]) if len(used) else 0
        return torch.arange(tokens.shape[1], device=tokens.device).clamp(max=last).expand_as(tokens)


def _by_token(values: Tensor, tokens: Batch) -> Tensor:
    """(rows, longest, hidden + 1) to (rows, width): filling adds nothing."""
    assert isinstance(tokens, Tensor)
    each = values.sum(dim=-1)
    return F.pad(each, (0, tokens.shape[1] - each.shape[1]))
