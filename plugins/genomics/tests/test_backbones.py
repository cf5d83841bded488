"""Every backbone keeps the contract; the CNN and the codon network see strands and padding as they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tlplat_genomics.backbone import StrandedCnn, StridedConv, complement
from tlplat_genomics.codon import CodonFrames, codon_frequencies
from tlplat_genomics.normed import NormedCnn, SequenceNorm
from tlplat_genomics.tiara import TiaraNet
from torch import nn
from torch.nn import functional as F

from tlplat.model import BackboneInfo
from tlplat.ops import extract_features

CASES = [
    (StrandedCnn, {}),
    (StrandedCnn, {"rc": True, "bins": 1}),
    (StrandedCnn, {"channels": 8, "kernel": 7, "stride": 3, "pool": 3, "bins": 6, "width": 5}),
    (NormedCnn, {}),
    (NormedCnn, {"rc": True, "bins": 1}),
    (CodonFrames, {}),
    (CodonFrames, {"hidden": 8, "width": 4, "scale": 3.0}),
    (TiaraNet, {"k": 3, "hidden": 8, "width": 4}),
]


def tokens(rows: int, length: int, seed: int = 0, most: int = 4) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, most, (rows, length)).astype(np.uint8))


def reversed_complement(batch: torch.Tensor) -> torch.Tensor:
    return complement(batch.long()).flip(1).to(torch.uint8)


@pytest.mark.parametrize(("factory", "args"), CASES)
def test_contract(factory, args, backbones):
    assert backbones[factory.name] is factory
    backbone = factory(**args)
    again = factory(**backbone.config())
    again.load_state_dict(backbone.state_dict())
    batch = tokens(5, 100, most=5)
    features = backbone(batch)
    assert features.shape == (5, backbone.feature_dim)
    assert torch.equal(features, again(batch))
    depths = backbone.depth_features(batch)
    assert tuple(d.shape[1] for d in depths) == backbone.block_dims == BackboneInfo.of(backbone).block_dims
    assert torch.equal(depths[-1], features)
    features.sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in backbone.parameters())


@pytest.mark.parametrize(("factory", "args"), CASES)
def test_the_fused_last_block_gives_the_modules_features(factory, args):
    backbone = factory(**args).eval()
    tail = backbone.tail()
    assert (tail is None) == (factory in (NormedCnn, CodonFrames))
    if tail is None:
        return
    batch = tokens(300, 100, most=5)
    with torch.no_grad():
        x, mask = tail.body(batch)
        fused = extract_features(x, tail.block, mask=mask)
        torch.testing.assert_close(fused, backbone(batch), rtol=0, atol=1e-5)


def test_a_last_block_with_another_layer_in_its_place_is_not_fused():
    for backbone in (StrandedCnn(), TiaraNet(k=3, hidden=8, width=4)):
        name, last = list(backbone.blocks.items())[-1]
        last.linear = nn.Sequential(last.linear)
        assert backbone.tail() is None
        backbone.blocks[name] = nn.Identity()
        assert backbone.tail() is None


@pytest.mark.parametrize(("factory", "args"), CASES)
@pytest.mark.parametrize("length", [20, 37, 100, 256])
def test_any_length_and_rows_apart(factory, args, length):
    backbone = factory(**args).eval()
    batch = tokens(6, length, most=5)
    whole = backbone(batch)
    assert torch.isfinite(whole).all()
    assert torch.allclose(whole[2:3], backbone(batch[2:3]), atol=1e-6)


@pytest.mark.parametrize(("factory", "args"), CASES)
def test_all_padding_is_finite(factory, args):
    assert torch.isfinite(factory(**args)(torch.full((2, 60), 4, dtype=torch.uint8))).all()


@pytest.mark.parametrize("backbone", [StrandedCnn(rc=True, bins=1), StrandedCnn(rc=True), CodonFrames()])
def test_reverse_complement_gives_the_same_features(backbone):
    batch = tokens(8, 100, most=5)
    assert torch.allclose(backbone(batch), backbone(reversed_complement(batch)), atol=1e-5)


def test_without_rc_strands_differ():
    batch = tokens(8, 100)
    assert not torch.allclose(StrandedCnn()(batch), StrandedCnn()(reversed_complement(batch)), atol=1e-3)


def test_cnn_keeps_position():
    backbone = StrandedCnn()
    batch = tokens(8, 100)
    moved = batch.roll(20, dims=1)
    assert not torch.allclose(backbone(batch), backbone(moved), atol=1e-3)


def test_padding_does_not_dilute_pooling():
    backbone = StrandedCnn(rc=True, bins=1)
    inner = tokens(4, 120)
    pad = torch.full((4, 120), 4, dtype=torch.uint8)
    padded = torch.cat([pad[:, :60], inner, pad[:, 60:]], dim=1)
    alone, within = backbone(inner), backbone(padded)
    assert torch.nn.functional.cosine_similarity(alone, within).min() > 0.97
    assert (within.norm(dim=1) / alone.norm(dim=1)).min() > 0.85


@pytest.mark.parametrize(
    ("kernel", "stride", "pool", "length"),
    [(9, 2, 2, 100), (5, 5, 1, 50), (5, 5, 1, 33), (7, 3, 2, 40), (1, 1, 1, 9), (3, 1, 4, 10)],
)
def test_strided_convolution_is_a_convolution(kernel, stride, pool, length):
    conv = StridedConv(4, 6, kernel, stride, pool)
    hidden = torch.randn(3, 2, length, 5)
    hidden[..., -1] = (torch.rand(3, 2, length) > 0.2).float()
    left = (kernel - stride) // 2
    weight = conv.linear.weight.view(6, kernel, 5).transpose(1, 2)
    kept = -(-length // (stride * pool))
    right = max(0, (kept * pool - 1) * stride + kernel - left - length)
    padded = F.pad(hidden.flatten(0, 1).transpose(1, 2), (left, right))
    wanted = F.max_pool1d(F.conv1d(padded, weight, conv.linear.bias, stride=stride), pool)[..., :kept].relu()
    mask = F.max_pool1d(F.pad(hidden[..., -1], (0, kept * pool * stride))[..., ::stride].flatten(0, 1), pool)
    mask = mask[:, :kept].view(3, 2, kept, 1)
    out = conv(hidden)
    assert torch.allclose(out[..., :-1], wanted.transpose(1, 2).view(3, 2, kept, 6) * mask, atol=1e-5)
    assert torch.equal(out[..., -1:], mask)


def test_codons_are_counted_by_frame():
    letters = {"A": 0, "C": 1, "G": 2, "T": 3, "N": 4}
    row = torch.tensor([[letters[c] for c in "ATGTAANCC"]], dtype=torch.uint8)
    found = codon_frequencies(row)[0]
    code = {
        a + b + c: 16 * i + 4 * j + k
        for i, a in enumerate("ACGT")
        for j, b in enumerate("ACGT")
        for k, c in enumerate("ACGT")
    }
    frames = [["ATG", "TAA"], ["TGT"], ["GTA"], ["TTA", "CAT"], ["TAC"], ["ACA"]]
    for frame, codons in zip(found, frames, strict=True):
        wanted = torch.zeros(64)
        for codon in codons:
            wanted[code[codon]] += 1 / len(codons)
        assert torch.equal(frame, wanted)


def test_sequence_norm_sees_sequence_alone():
    norm = SequenceNorm(6).train()
    hidden = torch.randn(5, 2, 9, 7) * 3 + 1
    hidden[..., -1] = (torch.rand(5, 2, 9) > 0.3).float()
    mask = hidden[..., -1] > 0
    hidden[~mask] = 0
    out = norm(hidden)
    inside = hidden[..., :-1][mask]
    wanted = (inside - inside.mean(dim=0)) / (inside.var(dim=0, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(out[..., :-1][mask], wanted, atol=1e-5, rtol=1e-5)
    assert not out[~mask].any()
    torch.testing.assert_close(norm.norm.running_mean, 0.1 * inside.mean(dim=0))


@pytest.mark.parametrize(("factory", "args"), [c for c in CASES if c[0] is not NormedCnn])
def test_no_buffer_moves_in_training(factory, args):
    backbone = factory(**args).train()
    before = {k: v.clone() for k, v in backbone.named_buffers()}
    backbone(tokens(4, 60))
    assert all(torch.equal(before[k], v) for k, v in backbone.named_buffers())
