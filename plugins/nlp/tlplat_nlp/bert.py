"""The BERT family of encoders: embeddings, transformer layers with the norm after each part, pooling over tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tlplat.data.examples import Batch
from tlplat.model import Backbone
from tlplat.ops.block import Precision

ACTIVATIONS = {
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
}
POOLINGS = ("mean", "cls")


class BertEncoder(Backbone):
    """BERT (Devlin et al. 2019) and its relatives that differ in names alone: MiniLM, DistilBERT, RoBERTa.

    A batch is (rows, width) token ids, filled up with ``pad``. Hidden states are (rows, longest, hidden + 1): the last
    channel tells tokens (1) from filling (0), which attention and pooling leave out.

    Args:
        vocab, hidden, layers, heads, inner: sizes. positions: longest input, in tokens.
        pad: id that fills rows up. first_position: number of the first token's position (RoBERTa: pad + 1).
        activation: of the inner layer: gelu, gelu_new or relu. epsilon: of layer norms. dropout: in training.
        pooling: features are the mean over tokens, or the first token (``cls``).
    """

    name: ClassVar[str] = "nlp-bert"
    code_version: ClassVar[int] = 2

    def __init__(
        self,
        vocab: int,
        hidden: int,
        layers: int,
        heads: int,
        inner: int,
        positions: int = 512,
        pad: int = 0,
        first_position: int = 0,
        activation: str = "gelu",
        epsilon: float = 1e-12,
        dropout: float = 0.1,
        pooling: str = "mean",
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS or pooling not in POOLINGS or hidden % heads:
            raise ValueError(f"no encoder of activation {activation!r}, pooling {pooling!r}, {heads} heads of {hidden}")
        self.depth = layers
        self._config: dict[str, Any] = {
            "vocab": vocab,
            "hidden": hidden,
            "layers": layers,
            "heads": heads,
            "inner": inner,
            "positions": positions,
            "pad": pad,
            "first_position": first_position,
            "activation": activation,
            "epsilon": epsilon,
            "dropout": dropout,
            "pooling": pooling,
        }
        self.pad, self.pooling, self.hidden = pad, pooling, hidden
        blocks: dict[str, nn.Module] = {
            "embeddings": Embeddings(vocab, hidden, positions + first_position, pad, first_position, epsilon, dropout)
        }
        for number in range(1, layers + 1):
            blocks[f"layer{number}"] = Layer(hidden, heads, inner, activation, epsilon, dropout)
        self.blocks = nn.ModuleDict(blocks)
        self.apply(_initialise)

    def config(self) -> dict[str, Any]:
        return dict(self._config)

    def embed(self, batch: Batch) -> Tensor:
        """The token ids up to the longest row of the batch: (rows, longest) int64."""
        assert isinstance(batch, Tensor)
        if torch.compiler.is_exporting():
            return batch.long()
        used = (batch != self.pad).any(dim=0).nonzero()
        longest = int(used[-1]) + 1 if len(used) else 1
        return batch[:, :longest].long()

    def pool(self, hidden: Tensor) -> Tensor:
        if self.pooling == "cls":
            return hidden[:, 0, :-1]
        mask = hidden[..., -1:]
        return (hidden[..., :-1] * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)

    def extractor(self, precision: Precision) -> Callable[[Batch], Tensor] | None:
        """Without filling, dense layers in the fused op."""
        from tlplat_nlp.frozen import extractor

        return extractor(self, precision)

    @property
    def block_dims(self) -> tuple[int, ...]:
        return (self.hidden,) * (1 + self.depth)


class Embeddings(nn.Module):
    """Token ids (rows, length) to (rows, length, hidden + 1): token and position, normalised, and the mask."""

    def __init__(
        self, vocab: int, hidden: int, positions: int, pad: int, first: int, epsilon: float, dropout: float
    ) -> None:
        super().__init__()
        self.pad, self.first = pad, first
        self.tokens = nn.Embedding(vocab, hidden)
        self.positions = nn.Embedding(positions, hidden)
        self.norm = nn.LayerNorm(hidden, eps=epsilon)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        at = torch.arange(self.first, self.first + tokens.shape[1], device=tokens.device)
        x = self.dropout(self.norm(self.tokens(tokens) + self.positions(at)))
        return torch.cat([x, (tokens != self.pad)[..., None].to(x.dtype)], dim=-1)


class Layer(nn.Module):
    """Self-attention, then two dense layers, each added to its input and normalised after that."""

    def __init__(self, hidden: int, heads: int, inner: int, activation: str, epsilon: float, dropout: float) -> None:
        super().__init__()
        self.heads, self.activation = heads, ACTIVATIONS[activation]
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.out = nn.Linear(hidden, hidden)
        self.norm1 = nn.LayerNorm(hidden, eps=epsilon)
        self.up = nn.Linear(hidden, inner)
        self.down = nn.Linear(inner, hidden)
        self.norm2 = nn.LayerNorm(hidden, eps=epsilon)
        self.dropout = nn.Dropout(dropout)

    def forward(self, given: Tensor) -> Tensor:
        """Dense layers see tokens alone, without the filling; attention sees rows, and its mask.

        An exported program has no shapes that hang on its inputs, so that there dense layers see the filling as well.
        Nothing else does.
        """
        rows, length, hidden = *given.shape[:2], given.shape[2] - 1
        mask = given[..., -1:]
        seen = mask[..., 0] > 0
        dense = torch.compiler.is_exporting()
        x = given[..., :-1] if dense else given[..., :-1][seen]
        qkv = self.qkv(x)
        spread = qkv if dense else qkv.new_zeros(rows, length, 3 * hidden).masked_scatter(seen[..., None], qkv)
        q, k, v = spread.view(rows, length, 3, self.heads, hidden // self.heads).permute(2, 0, 3, 1, 4).unbind()
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None, None]).transpose(1, 2).flatten(2)
        x = self.norm1(x + self.dropout(self.out(attended if dense else attended[seen])))
        x = self.norm2(x + self.dropout(self.down(self.activation(self.up(x)))))
        states = x * mask if dense else x.new_zeros(rows, length, hidden).masked_scatter(seen[..., None], x)
        return torch.cat([states, mask.to(x.dtype)], dim=-1)


def _initialise(module: nn.Module) -> None:
    """As BERT was: normal weights of deviation .02, zero biases."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
