"""A frozen ONNX graph as a backbone: its bytes are a tensor of the model, which safetensors hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from tlplat.data.examples import Batch
from tlplat.errors import ModelError
from tlplat.model import Backbone
from tlplat.onnxio.running import digest_of, kept, run, session

FROZEN = "fixed inside an ONNX graph"


class Graph(nn.Module):
    """Runs the graph: rows as it takes them -> its output (rows, ...) float32.

    Args:
        digest: SHA-256 of the graph's bytes. size: how many. rows: of a batch where the graph fixes it, else None.
    """

    content: Tensor

    def __init__(self, digest: str, size: int, rows: int | None) -> None:
        super().__init__()
        self.digest, self.rows = digest, rows
        self.register_buffer("content", torch.zeros(size, dtype=torch.uint8))

    def forward(self, x: Tensor) -> Tensor:
        (name,) = (i.name for i in self.session().get_inputs())
        return self.outputs({name: np.ascontiguousarray(x.detach().cpu().numpy())}).to(x.device)

    def session(self) -> Any:
        """onnxruntime's, of this graph."""
        return kept(self.digest) or session(self.digest, self._checked())

    def outputs(self, given: Mapping[str, np.ndarray]) -> Tensor:
        """(rows, ...) float32 for the inputs by name."""
        made = self.session()
        found = run(made, given) if self.rows is None else self._in_batches(made, given, self.rows)
        return torch.from_numpy(np.asarray(found, dtype=np.float32))

    def _checked(self) -> bytes:
        content = self.content.cpu().numpy().tobytes()
        if digest_of(content) != self.digest:
            raise ModelError(
                "TL-MODEL-CORRUPT",
                "the ONNX graph in the model is not the one that its structure names",
                expected=self.digest,
                fix="restore the model's folder from a copy, or make it again",
            )
        return content

    @staticmethod
    def _in_batches(made: Any, given: Mapping[str, np.ndarray], rows: int) -> np.ndarray:
        """A graph that takes ``rows`` rows and no other number; the last batch is filled with its last row."""
        count, parts = len(next(iter(given.values()))), []
        for begin in range(0, count, rows):
            each = {name: values[begin : begin + rows] for name, values in given.items()}
            filled = {n: np.concatenate([v, np.repeat(v[-1:], rows - len(v), axis=0)]) for n, v in each.items()}
            parts.append(run(made, filled)[: count - begin])
        return np.concatenate(parts)


class OnnxBackbone(Backbone):
    """The graph's output as features: (rows, d); of (rows, tokens, d) and (rows, d, height, width) the means.

    Args:
        digest, size: of the graph's bytes. dtype: of its input as NumPy calls it. width: d.
        rows: of a batch where the graph fixes it. scale, shift, channels_last: see :class:`tlplat.intake.Intake`.
    """

    name: ClassVar[str] = "onnx"
    frozen: ClassVar[str] = FROZEN

    def __init__(
        self,
        digest: str,
        size: int,
        dtype: str,
        width: int,
        rows: int | None = None,
        scale: Sequence[float] = (),
        shift: Sequence[float] = (),
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.digest, self.size, self.dtype, self.width, self.rows = digest, size, dtype, width, rows
        self.scale, self.shift, self.channels_last = tuple(scale), tuple(shift), channels_last
        self.blocks = nn.ModuleDict({"graph": Graph(digest, size, rows)})

    def config(self) -> dict[str, Any]:
        return {
            "digest": self.digest,
            "size": self.size,
            "dtype": self.dtype,
            "width": self.width,
            "rows": self.rows,
            "scale": list(self.scale),
            "shift": list(self.shift),
            "channels_last": self.channels_last,
        }

    def embed(self, batch: Batch) -> Tensor:
        """The rows as the graph takes them."""
        assert isinstance(batch, Tensor)
        x = batch
        if self.scale:
            per_channel = (-1, *[1] * (x.ndim - 2))
            x = x.float() * x.new_tensor(self.scale, dtype=torch.float32).view(per_channel)
            x = x + x.new_tensor(self.shift).view(per_channel)
        x = x.movedim(1, -1) if self.channels_last else x
        return x.to(getattr(torch, self.dtype))

    def pool(self, hidden: Tensor) -> Tensor:
        if hidden.ndim == 3:
            return hidden.mean(dim=1)
        if hidden.ndim > 3:
            return hidden.flatten(1, -2).mean(dim=1) if self.channels_last else hidden.flatten(2).mean(dim=2)
        return hidden

    @property
    def block_dims(self) -> tuple[int, ...]:
        return (self.width,)

    def forward(self, batch: Batch) -> Tensor:
        features = super().forward(batch)
        return need_width(features, self.width)


def need_width(features: Tensor, width: int) -> Tensor:
    """The features (rows, width); ModelError TL-MODEL-SHAPE where they are of another shape."""
    if features.ndim != 2 or features.shape[1] != width:
        raise ModelError(
            "TL-MODEL-SHAPE",
            "the ONNX graph gives features of another shape for these rows",
            found=str(tuple(features.shape)),
            expected=f"(rows, {width})",
            fix="give rows of the size that the run had",
        )
    return features
