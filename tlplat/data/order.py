"""The order in which rows are seen: a function of (seed, step), so that a resumed fit sees the same rows."""

from __future__ import annotations

import torch
from torch import Tensor


class RowOrder:
    """Row numbers of any step. An epoch is a permutation cut into equal parts, so no batch is tiny."""

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self.per_epoch = max(1, round(count / batch_size))
        self._epoch = -1
        self._parts: tuple[Tensor, ...] = ()

    def index(self, step: int) -> Tensor:
        """Row numbers (int64) of the step, the same whenever asked."""
        epoch, part = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) & 0x7FFF_FFFF_FFFF_FFFF)
            order = torch.randperm(self.count, generator=generator)
            self._parts, self._epoch = torch.tensor_split(order, self.per_epoch), epoch
        return self._parts[part]
