"""What Keras does and torch.nn has no module for. Hidden values are (rows, channels, ...), as torch has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ToLast(nn.Module):
    """(rows, channels, ...) -> (rows, ..., channels), as Keras has it."""

    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(1, -1)


class ToFirst(nn.Module):
    """(rows, ..., channels) -> (rows, channels, ...)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(-1, 1)


class Whole(nn.Module):
    """Numbers as the indices that an embedding takes."""

    def forward(self, x: Tensor) -> Tensor:
        return x.long()


class Flatten(nn.Module):
    """(rows, channels, ...) -> (rows, features) in the order of Keras: the channels of one place stand together."""

    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(1, -1).flatten(1)


class Reshape(nn.Module):
    """Rows in another shape, counted with channels last."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(1, -1).reshape(len(x), *self.shape).movedim(-1, 1)

    def extra_repr(self) -> str:
        return str(self.shape)


class Rescale(nn.Module):
    """``scale * x + offset``, each one number or one a channel."""

    def __init__(self, scale: float | Sequence[float], offset: float | Sequence[float]) -> None:
        super().__init__()
        self.scale, self.offset = scale, offset

    def forward(self, x: Tensor) -> Tensor:
        return x * self._along(self.scale, x) + self._along(self.offset, x)

    @staticmethod
    def _along(value: float | Sequence[float], x: Tensor) -> float | Tensor:
        if isinstance(value, float | int):
            return value
        return torch.tensor(list(value), dtype=x.dtype, device=x.device).view(1, -1, *[1] * (x.ndim - 2))


class Pad(nn.Module):
    """Fixed margins: pairs (before, after), one a dimension after the channels."""

    def __init__(self, pairs: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.margins = [m for pair in reversed(pairs) for m in pair]

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, self.margins)

    def extra_repr(self) -> str:
        return str(self.margins)


class SamePad(nn.Module):
    """Padding ``same``: ceil(size / stride) places come out, and an odd margin is wider behind."""

    def __init__(
        self, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], value: float = 0.0
    ) -> None:
        super().__init__()
        self.steps, self.value = list(zip(kernel, stride, dilation, strict=True)), value

    def forward(self, x: Tensor) -> Tensor:
        margins: list[int] = []
        for size, (kernel, stride, dilation) in zip(x.shape[2:], self.steps, strict=True):
            total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
            margins = [total // 2, total - total // 2, *margins]
        return F.pad(x, margins, value=self.value) if any(margins) else x


class SameAverage(nn.Module):
    """Average pooling with padding ``same``: places beyond the edge do not count."""

    def __init__(self, kernel: Sequence[int], stride: Sequence[int]) -> None:
        super().__init__()
        self.pad = SamePad(kernel, stride, [1] * len(kernel))
        average: Any = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)[len(kernel) - 1]
        self.pool = average(tuple(kernel), tuple(stride))

    def forward(self, x: Tensor) -> Tensor:
        inside = self.pool(self.pad(torch.ones_like(x[:1, :1])))
        found: Tensor = self.pool(self.pad(x)) / inside
        return found


class GlobalPool(nn.Module):
    """Mean or maximum over all places."""

    def __init__(self, largest: bool, keepdims: bool) -> None:
        super().__init__()
        self.largest, self.keepdims = largest, keepdims

    def forward(self, x: Tensor) -> Tensor:
        places = tuple(range(2, x.ndim))
        return x.amax(places, self.keepdims) if self.largest else x.mean(places, self.keepdims)


class ReluBetween(nn.Module):
    """Keras's ReLU: a slope below the threshold, and a greatest value."""

    def __init__(self, most: float | None, slope: float, threshold: float) -> None:
        super().__init__()
        self.most, self.slope, self.threshold = most, slope, threshold

    def forward(self, x: Tensor) -> Tensor:
        above = x if self.most is None else x.clamp(max=self.most)
        return torch.where(x >= self.threshold, above, self.slope * (x - self.threshold))


class Merge(nn.Module):
    """Several inputs as one."""

    def __init__(self, how: str, dim: int = 1) -> None:
        super().__init__()
        self.how, self.dim = how, dim

    def forward(self, *inputs: Tensor) -> Tensor:
        if self.how == "Concatenate":
            return torch.cat(inputs, self.dim)
        found = inputs[0]
        for other in inputs[1:]:
            found = PAIRS[self.how](found, other)
        return found / len(inputs) if self.how == "Average" else found

    def extra_repr(self) -> str:
        return self.how


PAIRS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add,
    "Average": torch.add,
    "Maximum": torch.maximum,
    "Minimum": torch.minimum,
    "Multiply": torch.mul,
    "Subtract": torch.sub,
}


def activation(name: str) -> nn.Module | None:
    """The module of an activation of Keras's; None for ``linear``."""
    made: dict[str, Callable[[], nn.Module]] = {
        "elu": nn.ELU,
        "gelu": nn.GELU,
        "hard_silu": nn.Hardswish,
        "leaky_relu": lambda: nn.LeakyReLU(0.2),
        "mish": nn.Mish,
        "relu": nn.ReLU,
        "relu6": nn.ReLU6,
        "selu": nn.SELU,
        "sigmoid": nn.Sigmoid,
        "silu": nn.SiLU,
        "softmax": lambda: nn.Softmax(dim=1),
        "softplus": nn.Softplus,
        "softsign": nn.Softsign,
        "swish": nn.SiLU,
        "tanh": nn.Tanh,
    }
    return None if name == "linear" else made[name]()
