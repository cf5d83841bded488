"""What is said of a class of layers that is read: its options, the torch module, and its weights there and back."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn

from tlplat.kerasio import options as opt
from tlplat.kerasio.options import Check, Options, WrongOptionError

Build = Callable[[Options, Sequence[Tensor]], nn.Module]
Move = Callable[..., Any]


@dataclass(frozen=True)
class Weight:
    """A weight of a layer: its tensor below the layer's module, and the way from Keras's array and back.

    Attributes:
        load: Keras's array -> the tensor's. save: back. more: further tensors that the array makes; ``load`` then gives
            a tuple, and ``save`` takes as many arguments.
    """

    tensor: str
    load: Move = np.asarray
    save: Move = np.asarray
    more: tuple[str, ...] = ()

    @property
    def tensors(self) -> tuple[str, ...]:
        """All of them, below the layer's module."""
        return (self.tensor, *self.more)

    def loaded(self, array: np.ndarray) -> dict[str, np.ndarray]:
        """The tensors' values."""
        found = self.load(array)
        return dict(zip(self.tensors, found if self.more else (found,), strict=True))


@dataclass(frozen=True)
class Kind:
    """A class of layers.

    Attributes:
        options: each with its check and its default. build: from options and inputs (on the device ``meta``).
        weights: in Keras's order. exported: options of the layer that is written, where they differ.
        folders: where a ``.keras`` file keeps the weights below the layer's place, one after another.
    """

    options: Mapping[str, tuple[Check, Any]]
    build: Build
    weights: Callable[[Options], list[Weight]] = lambda options: []
    exported: Callable[[Options], Options] = dict
    merges: bool = field(default=False)
    folders: tuple[str, ...] = ("vars",)


LAST: Mapping[str, tuple[Check, Any]] = {"data_format": (opt.maybe(opt.one_of("channels_last")), "channels_last")}
ENDS: Mapping[str, tuple[Check, Any]] = {
    **LAST,
    "activation": (opt.activation, "linear"),
    "use_bias": (opt.flag, True),
}
"""Options that most layers with kernels have."""


def chain(*parts: tuple[str, nn.Module | None]) -> nn.Module:
    """The parts that are there, by name, one after another."""
    return nn.Sequential(OrderedDict((name, part) for name, part in parts if part is not None))


def need_rank(x: Tensor, rank: int) -> None:
    """WrongOptionError unless x is (rows, channels) and ``rank`` dimensions more."""
    if x.ndim != rank + 2:
        raise WrongOptionError("input")


def turned(tensor: str, there: Sequence[int], back: Sequence[int]) -> Weight:
    """A weight whose dimensions stand in another order."""
    return Weight(tensor, lambda a: a.transpose(there), lambda a: a.transpose(back))


def bias(tensor: str, o: Options) -> list[Weight]:
    """Of a layer that may have none."""
    return [Weight(tensor)] if o["use_bias"] else []
