"""A frozen ONNX graph over rows of tokens, which takes their mask and other inputs that follow from them besides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tlplat.data.examples import Batch
from tlplat.errors import ModelError
from tlplat.model import Backbone
from tlplat.onnxio.backbone import FROZEN, Graph, need_width

POOLINGS = ("mean", "first")


class TokenGraph(Graph):
    """Runs the graph: tokens (rows, length) -> its output (rows, d), or (rows, length, d + 1) with the mask last.

    Args:
        digest, size, rows: as of :class:`Graph`; where ``rows`` is 1 and any length goes, each row is run without
            filling. feeds: (name, what it receives, dtype) of each input. pad: the token that fills rows up.
        length: of a row where the graph fixes it.
    """

    def __init__(
        self, digest: str, size: int, rows: int | None, feeds: Sequence[Sequence[str]], pad: int, length: int | None
    ) -> None:
        super().__init__(digest, size, rows)
        self.feeds, self.pad, self.length = [tuple(feed) for feed in feeds], pad, length

    def forward(self, tokens: Tensor) -> Tensor:
        rows = tokens.detach().cpu()
        real = rows != self.pad
        if self.rows == 1 and self.length is None:
            found = _stacked([self._hidden(rows[i : i + 1, : _used(real[i])]) for i in range(len(rows))], rows.shape[1])
        else:
            found = self._hidden(rows)
        if found.ndim == 3:
            found = torch.cat([found, real[..., None].float()], dim=-1)
        return found.to(tokens.device)

    def _hidden(self, rows: Tensor) -> Tensor:
        made = {"rows": rows, "mask": rows != self.pad, "zeros": torch.zeros_like(rows)}
        found = self.outputs({name: made[role].numpy().astype(dtype) for name, role, dtype in self.feeds})
        if found.ndim not in (2, 3) or (found.ndim == 3 and found.shape[1] != rows.shape[1]):
            raise ModelError(
                "TL-MODEL-OUTPUT",
                "the ONNX graph gives no features of rows or of their tokens",
                found=str(tuple(found.shape)),
                expected=f"(rows, d), or (rows, {rows.shape[1]}, d) for rows of {rows.shape[1]} tokens",
                fix="name another tensor of the graph: --source FILE.onnx#TENSOR",
            )
        return found


class OnnxTokens(Backbone):
    """The graph's output as features: (rows, d); of (rows, tokens, d) the mean over tokens, or the first one's.

    Args:
        digest, size, rows, width: as of :class:`tlplat.onnxio.backbone.OnnxBackbone`.
        feeds, pad, length: as of :class:`TokenGraph`. pooling: ``mean`` or ``first``.
    """

    name: ClassVar[str] = "onnx-tokens"
    frozen: ClassVar[str] = FROZEN

    def __init__(
        self,
        digest: str,
        size: int,
        width: int,
        feeds: Sequence[Sequence[str]],
        pad: int,
        rows: int | None = None,
        length: int | None = None,
        pooling: str = "mean",
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise ValueError(f"no pooling {pooling!r}")
        self.digest, self.size, self.width, self.rows = digest, size, width, rows
        self.pad, self.length, self.pooling = pad, length, pooling
        self.feeds = [list(feed) for feed in feeds]
        self.blocks = nn.ModuleDict({"graph": TokenGraph(digest, size, rows, self.feeds, pad, length)})

    def config(self) -> dict[str, Any]:
        return {
            "digest": self.digest,
            "size": self.size,
            "width": self.width,
            "feeds": self.feeds,
            "pad": self.pad,
            "rows": self.rows,
            "length": self.length,
            "pooling": self.pooling,
        }

    def embed(self, batch: Batch) -> Tensor:
        """The tokens (rows, longest) int64, or (rows, length) where the graph fixes that."""
        assert isinstance(batch, Tensor)
        longest = _used((batch != self.pad).any(dim=0))
        tokens = batch[:, :longest].long()
        return tokens if self.length is None else F.pad(tokens, (0, self.length - longest), value=self.pad)

    def pool(self, hidden: Tensor) -> Tensor:
        if hidden.ndim == 2:
            return hidden
        if self.pooling == "first":
            return hidden[:, 0, :-1]
        mask = hidden[..., -1:]
        return (hidden[..., :-1] * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)

    @property
    def block_dims(self) -> tuple[int, ...]:
        return (self.width,)

    def forward(self, batch: Batch) -> Tensor:
        return need_width(super().forward(batch), self.width)


def _used(real: Tensor) -> int:
    """How long a row (length,) is, of which ``real`` are no filling; at least 1."""
    return int(real.nonzero().max()) + 1 if real.any() else 1


def _stacked(each: Sequence[Tensor], length: int) -> Tensor:
    """Rows of outputs, filled up with zeros to ``length`` where they have tokens."""
    return torch.cat([F.pad(part, (0, 0, 0, length - part.shape[1])) if part.ndim == 3 else part for part in each])
