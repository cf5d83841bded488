"""The layers of Keras that are read: their options, the torch modules that compute the same, and their weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from tlplat.kerasio import modules as m
from tlplat.kerasio import options as opt
from tlplat.kerasio.kinds import ENDS, LAST, Build, Kind, Weight, bias, chain, need_rank, turned
from tlplat.kerasio.options import REQUIRED, Check, Options, WrongOptionError
from tlplat.kerasio.recurrent import RECURRENT
from tlplat.kerasio.transposed import TRANSPOSED


def _dense(o: Options, inputs: Sequence[Tensor]) -> nn.Module:
    linear = nn.Linear(inputs[0].shape[1], o["units"], bias=o["use_bias"])
    if inputs[0].ndim == 2:
        return chain(("linear", linear), ("activation", m.activation(o["activation"])))
    return chain(
        ("last", m.ToLast()),
        ("linear", linear),
        ("first", m.ToFirst()),
        ("activation", m.activation(o["activation"])),
    )


def _padding(padding: str, o: Options, rank: int) -> nn.Module | None:
    if padding == "causal":
        return m.Pad([[o["dilation_rate"][0] * (o["kernel_size"][0] - 1), 0]])
    return m.SamePad(o["kernel_size"], o["strides"], o["dilation_rate"]) if padding == "same" else None


def _conv(rank: int) -> Build:
    cls: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]

    def build(o: Options, inputs: Sequence[Tensor]) -> nn.Module:
        need_rank(inputs[0], rank)
        size, stride, step = (tuple(o[k]) for k in ("kernel_size", "strides", "dilation_rate"))
        wide = inputs[0].shape[1]
        if wide % o["groups"] or o["filters"] % o["groups"]:
            raise WrongOptionError("groups")
        conv = cls(wide, o["filters"], size, stride, dilation=step, groups=o["groups"], bias=o["use_bias"])
        pad = _padding(o["padding"], o, rank)
        return chain(("pad", pad), ("conv", conv), ("activation", m.activation(o["activation"])))

    return build


def _depthwise(o: Options, inputs: Sequence[Tensor]) -> nn.Module:
    need_rank(inputs[0], 2)
    wide = inputs[0].shape[1]
    size, stride, step = (tuple(o[k]) for k in ("kernel_size", "strides", "dilation_rate"))
    out = wide * o["depth_multiplier"]
    depth = nn.Conv2d(wide, out, size, stride, dilation=step, groups=wide, bias=o.get("use_bias", False))
    pad = _padding(o["padding"], o, 2)
    return chain(("pad", pad), ("depthwise", depth), ("activation", m.activation(o["activation"])))


def _separable(o: Options, inputs: Sequence[Tensor]) -> nn.Module:
    parts: Any = _depthwise({**o, "use_bias": False, "activation": "linear"}, inputs)
    point = nn.Conv2d(inputs[0].shape[1] * o["depth_multiplier"], o["filters"], 1, bias=o["use_bias"])
    return chain(*parts.named_children(), ("pointwise", point), ("activation", m.activation(o["activation"])))


def _batch_norm(o: Options, inputs: Sequence[Tensor]) -> nn.Module:
    x = inputs[0]
    _channels(o["axis"], x)
    cls = {4: nn.BatchNorm2d, 5: nn.BatchNorm3d}.get(x.ndim, nn.BatchNorm1d)
    return chain(("norm", cls(x.shape[1], o["epsilon"], 1 - o["momentum"], affine=o["center"] or o["scale"])))


def _layer_norm(o: Options, inputs: Sequence[Tensor]) -> nn.Module:
    x = inputs[0]
    _channels(o["axis"], x)
    norm = nn.LayerNorm(x.shape[1], o["epsilon"], elementwise_affine=o["center"] or o["scale"])
    return chain(("last", m.ToLast()), ("norm", norm), ("first", m.ToFirst()))


def _embedding(o: Options, inputs: Sequence[Tensor]) -> nn.Module:
    table = nn.Embedding(o["input_dim"], o["output_dim"])
    return chain(("index", m.Whole()), ("embedding", table), ("first", m.ToFirst()))


def _pool(rank: int, largest: bool) -> Build:
    def build(o: Options, inputs: Sequence[Tensor]) -> nn.Module:
        need_rank(inputs[0], rank)
        size, stride = tuple(o["pool_size"]), tuple(o["strides"] or o["pool_size"])
        same = o["padding"] == "same"
        if not largest:
            plain: Any = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)[rank - 1]
            return m.SameAverage(size, stride) if same else chain(("pool", plain(size, stride)))
        cls: Any = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[rank - 1]
        pad = m.SamePad(size, stride, [1] * rank, -float("inf")) if same else None
        return chain(("pad", pad), ("pool", cls(size, stride)))

    return build


def _global(rank: int, largest: bool) -> Build:
    def build(o: Options, inputs: Sequence[Tensor]) -> nn.Module:
        need_rank(inputs[0], rank)
        return m.GlobalPool(largest, o["keepdims"])

    return build


def _pad(rank: int) -> Build:
    def build(o: Options, inputs: Sequence[Tensor]) -> nn.Module:
        need_rank(inputs[0], rank)
        return m.Pad(o["padding"])

    return build


def _merge(how: str) -> Build:
    def build(o: Options, inputs: Sequence[Tensor]) -> nn.Module:
        rank = inputs[0].ndim
        along = o.get("axis", -1) % rank
        if any(x.ndim != rank for x in inputs) or along == 0 or (how == "Subtract" and len(inputs) != 2):
            raise WrongOptionError("axis")
        return m.Merge(how, 1 if along == rank - 1 else along + 1)

    return build


def _softmax(o: Options, inputs: Sequence[Tensor]) -> nn.Module:
    _channels(o["axis"], inputs[0])
    return nn.Softmax(dim=1)


def _relu(o: Options, inputs: Sequence[Tensor]) -> nn.Module:
    if (o["max_value"], o["negative_slope"], o["threshold"]) == (None, 0.0, 0.0):
        return nn.ReLU()
    return m.ReluBetween(o["max_value"], o["negative_slope"], o["threshold"])


def _channels(axis: int, x: Tensor) -> None:
    if axis not in (-1, x.ndim - 1):
        raise WrongOptionError("axis")


def _plain(make: Callable[[Options], nn.Module]) -> Build:
    return lambda options, inputs: make(options)


def _depth_kernel(tensor: str, o: Options) -> Weight:
    """(height, width, channels, multiplier) <-> (channels * multiplier, 1, height, width)."""
    many, (high, wide) = o["depth_multiplier"], o["kernel_size"]
    return Weight(
        tensor,
        lambda a: a.transpose(2, 3, 0, 1).reshape(-1, 1, high, wide),
        lambda a: a.reshape(-1, many, high, wide).transpose(2, 3, 0, 1),
    )


def _norm_weights(o: Options) -> list[Weight]:
    return [Weight(f"norm.{t}") for t, there in (("weight", o["scale"]), ("bias", o["center"])) if there]


def _both(o: Options) -> Options:
    """Scale and shift are one switch in torch, so that a layer with one of them is written with both."""
    either = o["scale"] or o["center"]
    return {**o, "scale": either, "center": either}


def _conv_kind(rank: int) -> Kind:
    places = tuple(range(rank))  # of (places, inputs, outputs), which torch has the other way about
    orders = (rank + 1, rank, *places), (*(p + 2 for p in places), 1, 0)
    return Kind(
        {
            "filters": (opt.count, REQUIRED),
            **_window(rank),
            "padding": (opt.one_of("valid", "same", *(["causal"] if rank == 1 else [])), "valid"),
            "groups": (opt.count, 1),
            **ENDS,
        },
        _conv(rank),
        lambda o: [turned("conv.weight", *orders), *bias("conv.bias", o)],
    )


def _window(rank: int) -> dict[str, tuple[Check, Any]]:
    ones = [1] * rank
    return {
        "kernel_size": (opt.sizes(rank), REQUIRED),
        "strides": (opt.sizes(rank), ones),
        "dilation_rate": (opt.sizes(rank), ones),
    }


def _pool_kind(rank: int, largest: bool) -> Kind:
    known = {
        "pool_size": (opt.sizes(rank), [2] * rank),
        "strides": (opt.maybe(opt.sizes(rank)), None),
        "padding": (opt.one_of("valid", "same"), "valid"),
        **LAST,
    }
    return Kind(known, _pool(rank, largest))


_NORM = {"axis": (opt.axis, -1), "epsilon": (opt.number, 1e-3), "center": (opt.flag, True), "scale": (opt.flag, True)}
_DEPTH = {
    **_window(2),
    "padding": (opt.one_of("valid", "same"), "valid"),
    "depth_multiplier": (opt.count, 1),
    **ENDS,
}
_GLOBAL = {**LAST, "keepdims": (opt.flag, False)}
_SLOPES = {
    "max_value": (opt.maybe(opt.number), None),
    "negative_slope": (opt.number, 0.0),
    "threshold": (opt.number, 0.0),
}

KINDS: dict[str, Kind] = {
    "Activation": Kind(
        {"activation": (opt.activation, REQUIRED)},
        _plain(lambda o: m.activation(o["activation"]) or nn.Identity()),
    ),
    "Add": Kind({}, _merge("Add"), merges=True),
    "Average": Kind({}, _merge("Average"), merges=True),
    "AveragePooling1D": _pool_kind(1, False),
    "AveragePooling2D": _pool_kind(2, False),
    "AveragePooling3D": _pool_kind(3, False),
    "BatchNormalization": Kind(
        {**_NORM, "momentum": (opt.number, 0.99)},
        _batch_norm,
        lambda o: [*_norm_weights(o), Weight("norm.running_mean"), Weight("norm.running_var")],
        _both,
    ),
    "Concatenate": Kind({"axis": (opt.axis, -1)}, _merge("Concatenate"), merges=True),
    "Conv1D": _conv_kind(1),
    "Conv2D": _conv_kind(2),
    "Conv3D": _conv_kind(3),
    "Dense": Kind(
        {"units": (opt.count, REQUIRED), "activation": (opt.activation, "linear"), "use_bias": (opt.flag, True)},
        _dense,
        lambda o: [turned("linear.weight", (1, 0), (1, 0)), *bias("linear.bias", o)],
    ),
    "DepthwiseConv2D": Kind(
        _DEPTH, _depthwise, lambda o: [_depth_kernel("depthwise.weight", o), *bias("depthwise.bias", o)]
    ),
    "Dropout": Kind({"rate": (opt.number, REQUIRED)}, _plain(lambda o: nn.Dropout(o["rate"]))),
    "ELU": Kind({"alpha": (opt.number, 1.0)}, _plain(lambda o: nn.ELU(o["alpha"]))),
    "Embedding": Kind(
        {"input_dim": (opt.count, REQUIRED), "output_dim": (opt.count, REQUIRED)},
        _embedding,
        lambda o: [Weight("embedding.weight")],
    ),
    "Flatten": Kind({**LAST}, _plain(lambda o: m.Flatten())),
    "GlobalAveragePooling1D": Kind(_GLOBAL, _global(1, False)),
    "GlobalAveragePooling2D": Kind(_GLOBAL, _global(2, False)),
    "GlobalAveragePooling3D": Kind(_GLOBAL, _global(3, False)),
    "GlobalMaxPooling1D": Kind(_GLOBAL, _global(1, True)),
    "GlobalMaxPooling2D": Kind(_GLOBAL, _global(2, True)),
    "GlobalMaxPooling3D": Kind(_GLOBAL, _global(3, True)),
    "LayerNormalization": Kind(_NORM, _layer_norm, _norm_weights, _both),
    "LeakyReLU": Kind(
        {"negative_slope": (opt.number, 0.3), "alpha": (opt.maybe(opt.number), None)},
        _plain(lambda o: nn.LeakyReLU(o["negative_slope"] if o["alpha"] is None else o["alpha"])),
        exported=lambda o: {"negative_slope": o["negative_slope"] if o["alpha"] is None else o["alpha"]},
    ),
    "MaxPooling1D": _pool_kind(1, True),
    "MaxPooling2D": _pool_kind(2, True),
    "MaxPooling3D": _pool_kind(3, True),
    "Maximum": Kind({}, _merge("Maximum"), merges=True),
    "Minimum": Kind({}, _merge("Minimum"), merges=True),
    "Multiply": Kind({}, _merge("Multiply"), merges=True),
    "ReLU": Kind(_SLOPES, _relu),
    "Rescaling": Kind(
        {"scale": (opt.numbers, REQUIRED), "offset": (opt.numbers, 0.0)},
        _plain(lambda o: m.Rescale(o["scale"], o["offset"])),
    ),
    "Reshape": Kind({"target_shape": (opt.shape, REQUIRED)}, _plain(lambda o: m.Reshape(o["target_shape"]))),
    "SeparableConv2D": Kind(
        {"filters": (opt.count, REQUIRED), **_DEPTH},
        _separable,
        lambda o: [
            _depth_kernel("depthwise.weight", o),
            turned("pointwise.weight", (3, 2, 0, 1), (2, 3, 1, 0)),
            *bias("pointwise.bias", o),
        ],
    ),
    "Softmax": Kind({"axis": (opt.axis, -1)}, _softmax),
    "SpatialDropout1D": Kind({"rate": (opt.number, REQUIRED)}, _plain(lambda o: nn.Dropout1d(o["rate"]))),
    "SpatialDropout2D": Kind({"rate": (opt.number, REQUIRED), **LAST}, _plain(lambda o: nn.Dropout2d(o["rate"]))),
    "SpatialDropout3D": Kind({"rate": (opt.number, REQUIRED), **LAST}, _plain(lambda o: nn.Dropout3d(o["rate"]))),
    "Subtract": Kind({}, _merge("Subtract"), merges=True),
    "ZeroPadding1D": Kind(
        {"padding": (opt.margins(1), [[1, 1]]), **LAST}, _pad(1), exported=lambda o: {**o, "padding": o["padding"][0]}
    ),
    "ZeroPadding2D": Kind({"padding": (opt.margins(2), [[1, 1]] * 2), **LAST}, _pad(2)),
    "ZeroPadding3D": Kind({"padding": (opt.margins(3), [[1, 1]] * 3), **LAST}, _pad(3)),
    **RECURRENT,
    **TRANSPOSED,
}
"""The allow-list."""
