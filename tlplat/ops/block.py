"""The last block of a frozen extractor: one product, an activation, a layer norm, a mean over tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Activation = Literal["identity", "relu", "gelu", "gelu_tanh", "silu", "tanh"]
Precision = Literal["full", "bf16", "int8"]
Pool = Literal["none", "mean"]

ACTIVATIONS = ("identity", "relu", "gelu", "gelu_tanh", "silu", "tanh")
PRECISIONS = ("full", "bf16", "int8")
POOLS = ("none", "mean")


@dataclass(frozen=True)
class LayerNorm:
    """``(h - mean(h)) / sqrt(var(h) + eps) * weight + bias`` over the last dimension, as torch.nn.LayerNorm.

    Attributes:
        weight, bias: (d,) or None for ones and zeros.
    """

    weight: Tensor | None = None
    bias: Tensor | None = None
    eps: float = 1e-5


@dataclass(frozen=True)
class FrozenBlock:
    """``z = pool(norm(activation(x @ weight.T + bias)))`` with fixed weights: no gradient flows to any of them.

    A pointwise convolution is the same product for every token; its weight (d, k, 1) is given as (d, k).

    Attributes:
        weight: (d, k) float32 or float64: the dtype that is computed in. bias: (d,) or None.
        activation: ``gelu`` is that of the error function, ``gelu_tanh`` its approximation by tanh.
        norm: of what the activation gives, or None.
        pool: ``mean`` over tokens of x (n, tokens, k); ``none`` for x (n, k).
    """

    weight: Tensor
    bias: Tensor | None = None
    activation: Activation = "identity"
    norm: LayerNorm | None = None
    pool: Pool = "none"

    @property
    def dim(self) -> int:
        """d, the number of features."""
        return self.weight.shape[0]

    def tensors(self) -> dict[str, Tensor | None]:
        """Every tensor of the block by a name for messages."""
        norm = self.norm or LayerNorm()
        return {
            "block.weight": self.weight,
            "block.bias": self.bias,
            "block.norm.weight": norm.weight,
            "block.norm.bias": norm.bias,
        }
