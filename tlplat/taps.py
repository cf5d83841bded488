"""Forward hooks that keep what layers put out, for penalties on features."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from torch import Tensor, nn


class Taps:
    """The latest output of each of some modules, from their next forward on until :meth:`close`.

    Attributes:
        outputs: by position, with their graph; empty before the first forward.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self.outputs: dict[int, Tensor] = {}
        self._handles = [m.register_forward_hook(partial(self._keep, i)) for i, m in enumerate(modules)]

    def _keep(self, position: int, module: nn.Module, given: tuple[Any, ...], output: Tensor) -> None:
        self.outputs[position] = output

    def close(self) -> None:
        """Take the hooks off and let the outputs go."""
        for handle in self._handles:
            handle.remove()
        self.outputs.clear()
