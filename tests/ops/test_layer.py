"""A frozen transformer layer: against torch's own, the native kernel against the reference, what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tlplat.ops import FrozenBlock, FrozenLayer, LayerNorm, frozen_encoder_layer, native_layer

LENGTHS = [3, 1, 0, 17, 65, 7, 130]


def _layer(
    hidden: int, inner: int, heads: int, activation: Any = "gelu", dtype: torch.dtype = torch.float32
) -> FrozenLayer:
    g = torch.Generator().manual_seed(hidden + inner)

    def block(d: int, k: int, *what: Any) -> FrozenBlock:
        weight, bias = torch.randn(d, k, generator=g) / k**0.5, torch.randn(d, generator=g)
        return FrozenBlock(weight.to(dtype), bias.to(dtype), *what)

    def norm() -> LayerNorm:
        scale, shift = torch.rand(2, hidden, generator=g).to(dtype).unbind()
        return LayerNorm(scale, shift, 1e-12)

    return FrozenLayer(
        qkv=block(3 * hidden, hidden),
        mix=block(hidden, hidden),
        norm1=norm(),
        up=block(inner, hidden, activation),
        down=block(hidden, inner),
        norm2=norm(),
        heads=heads,
    )


def _given(hidden: int, lengths: list[int], dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    x = torch.randn(sum(lengths), hidden, generator=torch.Generator().manual_seed(1))
    return x.to(dtype), torch.tensor(lengths)


@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_torchs_encoder_layer(activation: Any, dtype: torch.dtype) -> None:
    """Text by text through nn.TransformerEncoderLayer: no text sees another."""
    layer, (x, lengths) = _layer(24, 50, 3, activation, dtype), _given(24, LENGTHS, dtype)
    theirs = nn.TransformerEncoderLayer(24, 3, 50, 0.0, activation, layer_norm_eps=1e-12, batch_first=True, dtype=dtype)
    names = {"self_attn.in_proj_": "qkv", "self_attn.out_proj.": "mix", "linear1.": "up", "linear2.": "down"}
    ours = layer.tensors()
    state = {f"{to}{part}": ours[f"layer.{name}.{part}"] for to, name in names.items() for part in ("weight", "bias")}
    state |= {
        f"{name}.{part}": ours[f"layer.{name}.{part}"] for name in ("norm1", "norm2") for part in ("weight", "bias")
    }
    theirs.load_state_dict(state)
    with torch.no_grad():
        wanted = torch.cat([theirs(text[None])[0] for text in x.split(LENGTHS) if len(text)])
    near = 1e-5 if dtype == torch.float32 else 1e-10
    torch.testing.assert_close(frozen_encoder_layer(x, lengths, layer), wanted, rtol=near, atol=near)


@pytest.mark.parametrize("shape", [(24, 50, 3), (30, 17, 1), (64, 200, 1), (160, 900, 2), (384, 1536, 12)])
@pytest.mark.parametrize("precision", ["full", "bf16", "int8"])
@pytest.mark.parametrize("isa", ["default", "avx2", "avx512"])
def test_native_equals_the_reference(
    shape: tuple[int, int, int], precision: Any, isa: str, implementation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if implementation != "native":
        pytest.skip("compares the two itself")
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", isa)
    activation = ("gelu", "gelu_tanh", "relu", "silu", "identity")[shape[0] % 5]
    layer, (x, lengths) = _layer(*shape, activation), _given(shape[0], LENGTHS)
    ours, theirs, exact = (
        frozen_encoder_layer(x, lengths, layer, precision=how, impl=impl)
        for how, impl in ((precision, "native"), (precision, "reference"), ("full", "reference"))
    )
    if precision == "full":
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-5)
        return
    # A sum in another order now and then rounds to a neighbour, which later products carry on.
    assert (ours - theirs).abs().max() < (0.05 if precision == "bf16" else 0.2)
    assert (ours - theirs).abs().mean() < 0.2 * (theirs - exact).abs().mean()


@pytest.mark.parametrize("precision", ["full", "bf16"])
def test_extreme_scores_stay_finite(precision: Any) -> None:
    """Scores of thousands either way: the softmax is one of a single key, or of equals."""
    layer, (x, lengths) = _layer(24, 50, 3), _given(24, LENGTHS)
    for scale in (-3000.0, 3000.0, 0.0):
        wide = replace(layer, qkv=replace(layer.qkv, weight=layer.qkv.weight * scale))
        ours, wanted = (
            frozen_encoder_layer(x, lengths, wide, precision=precision, impl=i) for i in ("auto", "reference")
        )
        assert torch.isfinite(ours).all()
        near = 1e-3 if precision == "full" else 0.05
        assert ((ours - wanted).abs() < near).float().mean() > 0.99


def test_what_is_not_finite_stays_in_its_text() -> None:
    layer, (x, lengths) = _layer(24, 50, 3), _given(24, [5, 4, 90])
    clean = frozen_encoder_layer(x, lengths, layer)
    x[6] = torch.nan
    found = frozen_encoder_layer(x, lengths, layer)
    assert found[5:9].isnan().all()
    torch.testing.assert_close(found[:5], clean[:5])
    torch.testing.assert_close(found[9:], clean[9:])


def test_optional_parts_may_be_missing() -> None:
    layer, (x, lengths) = _layer(24, 50, 3), _given(24, LENGTHS)
    zero, one = torch.zeros(24), torch.ones(24)
    bare = replace(
        layer,
        **{name: replace(block, bias=None) for name, block in layer.blocks.items()},
        norm1=LayerNorm(),
        norm2=LayerNorm(),
    )
    full = replace(
        layer,
        **{name: replace(block, bias=torch.zeros(block.dim)) for name, block in layer.blocks.items()},
        norm1=LayerNorm(one, zero),
        norm2=LayerNorm(one, zero),
    )
    torch.testing.assert_close(frozen_encoder_layer(x, lengths, bare), frozen_encoder_layer(x, lengths, full))


def test_any_number_of_threads_gives_the_same() -> None:
    layer, (x, lengths) = _layer(64, 200, 4), _given(64, LENGTHS * 20)
    before = torch.get_num_threads()
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            found.append(frozen_encoder_layer(x, lengths.int(), layer, precision="bf16"))
        finally:
            torch.set_num_threads(before)
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-5)


def test_no_tokens() -> None:
    layer = _layer(24, 50, 3)
    for lengths in ([], [0, 0]):
        assert frozen_encoder_layer(torch.zeros(0, 24), torch.tensor(lengths, dtype=torch.int64), layer).shape == (
            0,
            24,
        )


def test_opcheck(implementation: str) -> None:
    if implementation != "native":
        pytest.skip("there is no op to check")
    layer, (x, lengths) = _layer(24, 50, 3), _given(24, LENGTHS)
    frozen_encoder_layer(x, lengths, layer, impl="native")
    torch.library.opcheck(
        torch.ops.tlplat.frozen_encoder_layer.default, native_layer.arguments(x, lengths, layer, "bf16")
    )


def test_what_is_refused() -> None:
    layer, (x, lengths) = _layer(24, 50, 3), _given(24, [4, 5])
    normed = replace(layer, mix=replace(layer.mix, norm=LayerNorm()))
    for error, named, call in (
        (ValueError, "add up to 9", lambda: frozen_encoder_layer(x, lengths + 1, layer)),
        (ValueError, "at least 0", lambda: frozen_encoder_layer(x, torch.tensor([10, -1]), layer)),
        (ValueError, "integers", lambda: frozen_encoder_layer(x, lengths.float(), layer)),
        (ValueError, "5 heads", lambda: frozen_encoder_layer(x, lengths, replace(layer, heads=5))),
        (ValueError, "layer.mix has a norm", lambda: frozen_encoder_layer(x, lengths, normed)),
        (
            ValueError,
            "layer.down has activation",
            lambda: frozen_encoder_layer(x, lengths, replace(layer, down=replace(layer.down, activation="relu"))),
        ),
        (ValueError, "layer.qkv.weight", lambda: frozen_encoder_layer(x, lengths, replace(layer, qkv=layer.mix))),
        (ValueError, "precision", lambda: frozen_encoder_layer(x, lengths, layer, precision="fp4")),  # type: ignore[arg-type]
        (ValueError, "requires grad", lambda: frozen_encoder_layer(x.requires_grad_(), lengths, layer)),
        (TypeError, "float32", lambda: frozen_encoder_layer(x.detach().half(), lengths, layer)),
        (TypeError, "layer.qkv.weight", lambda: frozen_encoder_layer(x.detach().double(), lengths, layer)),
    ):
        with pytest.raises(error, match=named):
            call()
