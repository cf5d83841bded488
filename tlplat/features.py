"""Frozen extraction: features are computed once for a source and a set of rows, and kept by content."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tlplat.cache import TensorCache
from tlplat.data.examples import Batch, Examples, Inputs, state_digest, to_device
from tlplat.errors import NonFiniteError
from tlplat.memory import no_memory, out_of_memory
from tlplat.model import Backbone, SourceModel, model_device
from tlplat.ops import extract_features
from tlplat.ops.block import Precision
from tlplat.plan import json_hash
from tlplat.registry import Registry
from tlplat.tasks.base import Task

EXTRACTION_BATCH = 256


@torch.no_grad()
def apply_in_batches(
    function: Callable[[Batch], Tensor], module: nn.Module, inputs: Inputs, batch_size: int = EXTRACTION_BATCH
) -> Tensor:
    """``function`` over all rows with ``module`` in eval mode: (n, ...) float32 on the CPU.

    Batches are those of ``inputs.batches``; a row's result does not depend on its neighbours' content.
    Where memory runs out, all rows are computed again in batches of half the size.

    Raises:
        ResourceError TL-OOM: a single row does not fit.
    """
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        while True:
            try:
                return _in_batches(function, model_device(module), inputs, batch_size)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if batch_size == 1:
                    raise no_memory(1, "row") from error
            batch_size //= 2
    finally:
        for m, training in modes:
            m.training = training


def finite(features: Tensor) -> Tensor:
    """``features`` (n, d) as they are, none NaN or infinite: what is fitted on such features would say nothing.

    Raises:
        NonFiniteError TL-NUM-NONFINITE: names the rows that hold one.
    """
    wrong = torch.nonzero(~torch.isfinite(features).flatten(1).all(dim=1)).flatten().tolist()
    if wrong:
        raise NonFiniteError(
            "TL-NUM-NONFINITE",
            f"the network's features of {len(wrong)} of {len(features)} rows are not finite",
            where=f"rows {', '.join(map(str, wrong[:5]))}{', ...' if len(wrong) > 5 else ''} (counted from 0)",
            fix="look for missing or extreme values in these rows of the data",
        )
    return features


def _in_batches(function: Callable[[Batch], Tensor], device: torch.device, inputs: Inputs, batch_size: int) -> Tensor:
    rows = inputs.batches(batch_size)
    parts = [function(to_device(inputs.take(r), device)).float().cpu() for r in rows]
    return torch.cat(parts)[torch.argsort(torch.cat(rows))]


def conclude(task: Task, model: nn.Module, train: Examples) -> Task:
    """The task with what its ``decode`` takes from the fitted model's outputs on the training rows."""
    if not task.concludes:
        return task
    return task.concluded(apply_in_batches(model, model, train.inputs), train.targets)


def frozen_features(backbone: Backbone, inputs: Inputs, precision: Precision = "full") -> Tensor:
    """(n, feature_dim) float32 features in eval mode on the CPU, by the backbone's fastest way.

    Args:
        precision: of the factors of products; ``bf16`` rounds them to three digits.

    Raises:
        NonFiniteError TL-NUM-NONFINITE: a row's features are NaN or infinite.
    """
    whole = backbone.extractor(precision)
    if whole is not None:
        return finite(apply_in_batches(whole, backbone, inputs))
    tail = backbone.tail()
    rounded = precision == "bf16"

    def fused(batch: Batch) -> Tensor:
        with torch.autocast(model_device(backbone).type, dtype=torch.bfloat16, enabled=rounded):
            if tail is None:
                out: Tensor = backbone(batch)
                return out
            x, mask = tail.body(batch)
        return extract_features(x, tail.block, mask=mask, precision=precision)

    return finite(apply_in_batches(fused, backbone, inputs))


@dataclass
class FeatureStore:
    """Features of frozen sources, in memory for this run and on disk by content.

    The key covers the weights, the backbone's code version, preprocessing, layer and pooling, dtype and the rows'
    content, so a changed input is a miss and never a stale hit.

    Attributes:
        dtype: features are kept in: float32, or bfloat16 for half the memory and disk and three digits.
        precision: that they are computed in, see :func:`frozen_features`.
    """

    cache: TensorCache
    registry: Registry
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    precision: Precision = "full"
    _memory: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    _digests: dict[int, tuple[object, str]] = field(default_factory=dict)
    _models: dict[str, Backbone] = field(default_factory=dict)

    def features(self, source: SourceModel, inputs: Inputs) -> Tensor:
        """(n, feature_dim) float32 features of the source's frozen backbone."""
        return self._get(source, inputs, "last", lambda b: {"z": frozen_features(b, inputs, self.precision)})["z"]

    def depths(self, source: SourceModel, inputs: Inputs) -> list[Tensor]:
        """Pooled features after every block, (n, block_dims[i]) float32 each."""
        found = self._get(source, inputs, "depths", lambda b: _depths(b, inputs))
        return [found[str(i)] for i in range(len(found))]

    def shallow(self, source: SourceModel, inputs: Inputs) -> Tensor:
        """Pooled features after the first block, (n, block_dims[0]) float32: a fraction of the price of all blocks."""
        return self._get(source, inputs, "first", lambda b: {"z": _first(b, inputs)})["z"]

    def backbone(self, source: SourceModel) -> Backbone:
        """The frozen backbone in eval mode; shared, so callers must not change it."""
        key = self._weights(source)
        if key not in self._models:
            self._models[key] = source.build(self.registry).eval().requires_grad_(False).to(self.device)
        return self._models[key]

    def _get(
        self,
        source: SourceModel,
        inputs: Inputs,
        layer: str,
        compute: Callable[[Backbone], Mapping[str, Tensor]],
    ) -> dict[str, Tensor]:
        backbone = self.backbone(source)
        key = json_hash(
            {
                "weights": self._weights(source),
                "backbone": [source.base.name, dict(source.base.args), backbone.code_version],
                "preprocess": dict(source.preprocess),
                "layer": layer,
                "dtype": str(self.dtype).removeprefix("torch."),
                **({} if self.precision == "full" or layer != "last" else {"precision": self.precision}),
                "threads": torch.get_num_threads(),
                "rows": self._digest(inputs, inputs.digest),
            },
            length=64,
        )
        if key not in self._memory:
            self._memory[key] = self.cache.get_or_compute(
                "features", key, lambda: {name: z.to(self.dtype) for name, z in compute(backbone).items()}
            )
        return {name: z.float() for name, z in self._memory[key].items()}

    def _weights(self, source: SourceModel) -> str:
        return self._digest(source, lambda: state_digest(source.state))

    def _digest(self, owner: object, compute: Callable[[], str]) -> str:
        """Digest once an object; the object is kept, so that its id is not given to another."""
        known = self._digests.get(id(owner))
        if known is None:
            known = self._digests[id(owner)] = (owner, compute())
        return known[1]


def _first(backbone: Backbone, inputs: Inputs) -> Tensor:
    block = next(iter(backbone.blocks.values()))
    return finite(apply_in_batches(lambda batch: backbone.pool(block(backbone.embed(batch))), backbone, inputs))


def _depths(backbone: Backbone, inputs: Inputs) -> dict[str, Tensor]:
    sizes = backbone.block_dims
    every = apply_in_batches(lambda batch: torch.cat(backbone.depth_features(batch), dim=1), backbone, inputs)
    joined = finite(every)
    return {str(i): part.contiguous() for i, part in enumerate(torch.split(joined, list(sizes), dim=1))}
