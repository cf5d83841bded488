"""A frozen transformer layer over texts that lie one after another, without filling."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tlplat.ops import checks, native_layer, reference_layer
from tlplat.ops.block import ACTIVATIONS, PRECISIONS, FrozenBlock, LayerNorm, Precision
from tlplat.ops.heads import Impl, choose


@dataclass(frozen=True)
class FrozenLayer:
    """``h = norm1(x + mix(attention(qkv(x))))``, then ``norm2(h + down(up(h)))``: BERT's layer (Devlin et al. 2019).

    Attributes:
        qkv: hidden -> queries, keys and values of all heads, 3 * hidden. mix: hidden -> hidden.
        up: hidden -> inner, with its activation. down: inner -> hidden. None of the four has a norm or pools.
        heads: of the scaled dot-product attention; they divide hidden.
    """

    qkv: FrozenBlock
    mix: FrozenBlock
    norm1: LayerNorm
    up: FrozenBlock
    down: FrozenBlock
    norm2: LayerNorm
    heads: int

    @property
    def blocks(self) -> dict[str, FrozenBlock]:
        """The dense parts by name, in order."""
        return {"qkv": self.qkv, "mix": self.mix, "up": self.up, "down": self.down}

    def tensors(self) -> dict[str, Tensor | None]:
        """Every tensor of the layer by a name for messages."""
        named: dict[str, Tensor | None] = {}
        for name, block in self.blocks.items():
            named |= {f"layer.{name}.weight": block.weight, f"layer.{name}.bias": block.bias}
        for name, norm in (("norm1", self.norm1), ("norm2", self.norm2)):
            named |= {f"layer.{name}.weight": norm.weight, f"layer.{name}.bias": norm.bias}
        return named


def frozen_encoder_layer(
    x: Tensor, lengths: Tensor, layer: FrozenLayer, *, precision: Precision = "full", impl: Impl = "auto"
) -> Tensor:
    """The layer's outputs for every token; a token attends to the tokens of its own text. No gradient flows.

    The native kernel walks over chunks of whole texts: between x and what is returned nothing leaves the caches.

    Args:
        x: (tokens, hidden) float32 or float64, text after text. lengths: (texts,) integer number of tokens of each.
        layer: the weights, of x's dtype.
        precision: of the factors of dense products, as in :func:`extract_features`; attention, norms and sums are
            always in x's dtype.
        impl: ``native`` or ``reference``; ``auto`` takes the native one where it can serve: for float32 on CPUs.

    Returns:
        (tokens, hidden), of x's dtype.

    Raises:
        TypeError: a dtype. ValueError: a shape, an option, or a tensor that requires grad.
        RuntimeError: tensors not on the same device.
    """
    _check(x, lengths, layer, precision)
    lengths = lengths.to(torch.int64)
    if (impl == "native" or x.dtype == torch.float32) and choose(impl, x, ("cpu",)):
        if x.dtype != torch.float32:
            raise RuntimeError("the native implementation computes in float32; use impl='auto' or 'reference'")
        native_layer.register()
        return native_layer.outputs(x, lengths, layer, precision)
    return reference_layer.outputs(x, lengths, layer, precision)


def _check(x: Tensor, lengths: Tensor, layer: FrozenLayer, precision: Precision) -> None:
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
    checks.floating("x", x, checks.COMPUTE)
    if precision != "full" and x.dtype != torch.float32:
        raise TypeError(f"{precision} factors are computed with in float32, but x has dtype {x.dtype}")
    if x.ndim != 2:
        raise ValueError(f"x must be (tokens, hidden), not {tuple(x.shape)}")
    hidden, inner = x.shape[1], layer.up.weight.shape[0]
    if layer.heads < 1 or hidden % layer.heads:
        raise ValueError(f"{layer.heads} heads do not divide {hidden} channels")
    if lengths.ndim != 1 or lengths.dtype.is_floating_point or lengths.dtype == torch.bool:
        raise ValueError(f"lengths must be (texts,) integers, not {tuple(lengths.shape)} {lengths.dtype}")
    if not torch.compiler.is_compiling() and (bool((lengths < 0).any()) or int(lengths.sum()) != len(x)):
        raise ValueError(
            f"lengths must be at least 0 and add up to {len(x)}, the tokens of x, not {int(lengths.sum())}"
        )
    shapes = {"qkv": (3 * hidden, hidden), "mix": (hidden, hidden), "up": (inner, hidden), "down": (hidden, inner)}
    for name, block in layer.blocks.items():
        checks.shape(f"layer.{name}.weight", block.weight, shapes[name])
        if block.activation not in (ACTIVATIONS if name == "up" else ("identity",)):
            raise ValueError(f"layer.{name} has activation {block.activation!r}; up alone has one, of {ACTIVATIONS}")
        if block.norm is not None or block.pool != "none":
            raise ValueError(f"layer.{name} has a norm or pools; the layer's parts are dense alone")
    tensors = {"x": x, **layer.tensors()}
    checks.same_device(lengths=lengths, **tensors)
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        if tensor.requires_grad:
            raise ValueError(
                f"{name} requires grad, but x and the layer are frozen here and get no gradient; detach it"
            )
        if tensor.dtype != x.dtype:
            raise TypeError(f"{name} has dtype {tensor.dtype}, x {x.dtype}; use float32 for both")
        if tensor.ndim == 1:
            checks.shape(name, tensor, (layer.blocks[name.split(".")[1]].dim if "norm" not in name else hidden,))
