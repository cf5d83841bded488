"""The model as a plain module: named tensors in, head outputs out, with no tlplat type in its signature."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tlplat.data.examples import Batch
from tlplat.modelio import LoadedModel

SINGLE = "inputs"
"""The input's name where rows are one tensor."""


class Plain(nn.Module):
    """``forward(*tensors)`` in the order of ``names``; returns the head's outputs (rows, outputs)."""

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names = model, tuple(names)

    def forward(self, *tensors: Tensor) -> Tensor:
        batch: Batch = tensors[0] if self.names == (SINGLE,) else dict(zip(self.names, tensors, strict=True))
        outputs: Tensor = self.model(batch)
        return outputs


@dataclass(frozen=True)
class Ready:
    """What an exporter works on.

    Attributes:
        module: in eval mode, on the CPU, no parameter with a gradient. names: of its inputs, in order.
        rows: real rows, one tensor for each name. outputs: (n, outputs), what the original says of them.
        about: labels, task, preprocessing and versions (JSON).
    """

    module: Plain
    names: tuple[str, ...]
    rows: tuple[Tensor, ...]
    outputs: Tensor
    about: Mapping[str, Any]
    loaded: LoadedModel

    def text(self) -> dict[str, str]:
        """``about`` as strings, for formats whose metadata are strings."""
        return {k: v if isinstance(v, str) else json.dumps(v) for k, v in self.about.items()}

    def shapes(self) -> tuple[dict[int, Any], ...]:
        """Dimensions that may vary, for torch.export: the rows, and the length of token sequences."""
        auto = torch.export.Dim.AUTO
        return tuple({0: auto, 1: auto} if not t.is_floating_point() and t.ndim == 2 else {0: auto} for t in self.rows)


def ready(loaded: LoadedModel, batch: Batch, told: Mapping[str, Any] | None = None) -> Ready:
    """The model with a few real rows, and what it says of them; ``told`` (JSON) goes into its metadata besides."""
    tensors = {SINGLE: batch} if isinstance(batch, Tensor) else dict(batch)
    names = tuple(tensors)
    module = Plain(loaded.model, names).eval().requires_grad_(False)
    rows = tuple(t.cpu().contiguous() for t in tensors.values())
    with torch.no_grad():
        outputs = module(*rows)
    info = loaded.task.info()
    about = {
        "task": info.kind,
        "labels": list(info.labels),
        "options": dict(info.options),
        "preprocess": dict(loaded.preprocess),
        "inputs": list(names),
        "outputs_text": loaded.task.outputs_text(),
        "manifest": {k: v for k, v in loaded.manifest.items() if k in ("domain", "strategy", "source", "requires")},
        **(told or {}),
    }
    return Ready(module, names, rows, outputs, about, loaded)
