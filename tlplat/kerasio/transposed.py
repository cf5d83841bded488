"""Transposed convolutions of Keras, where torch.nn puts their margins at the same places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from tlplat.kerasio import modules as m
from tlplat.kerasio import options as opt
from tlplat.kerasio.kinds import ENDS, Build, Kind, bias, chain, need_rank, turned
from tlplat.kerasio.options import REQUIRED, Options, WrongOptionError


def _built(rank: int) -> Build:
    cls: Any = (nn.ConvTranspose1d, nn.ConvTranspose2d)[rank - 1]

    def build(o: Options, inputs: Sequence[Tensor]) -> nn.Module:
        need_rank(inputs[0], rank)
        size, stride = tuple(o["kernel_size"]), tuple(o["strides"])
        cut = [max(k - s, 0) if o["padding"] == "same" else 0 for k, s in zip(size, stride, strict=True)]
        if any(n % 2 for n in cut):  # of an odd number libraries cut more before, or more behind
            raise WrongOptionError("padding")
        margin = tuple(n // 2 for n in cut)
        more = tuple(max(s - k, 0) for k, s in zip(size, stride, strict=True))
        conv = cls(inputs[0].shape[1], o["filters"], size, stride, margin, more, bias=o["use_bias"])
        return chain(("conv", conv), ("activation", m.activation(o["activation"])))

    return build


def _kind(rank: int) -> Kind:
    order = (2, 1, 0) if rank == 1 else (3, 2, 0, 1)
    back = (2, 1, 0) if rank == 1 else (2, 3, 1, 0)
    ones = [1] * rank
    return Kind(
        {
            "filters": (opt.count, REQUIRED),
            "kernel_size": (opt.sizes(rank), REQUIRED),
            "strides": (opt.sizes(rank), ones),
            "padding": (opt.one_of("valid", "same"), "valid"),
            "dilation_rate": (opt.alone(opt.sizes(rank), ones), ones),
            "output_padding": (opt.one_of(None), None),
            **ENDS,
        },
        _built(rank),
        lambda o: [turned("conv.weight", order, back), *bias("conv.bias", o)],
    )


TRANSPOSED = {"Conv1DTranspose": _kind(1), "Conv2DTranspose": _kind(2)}
