"""Every backbone keeps the contract, at any image size; EfficientNet pads and scales as its weights expect."""

from __future__ import annotations

import pytest
import torch
from tlplat_vision.cnn import SmallCnn
from tlplat_vision.efficientnet import LITE0, EfficientNetLite, SamePad

from tlplat.model import BackboneInfo, parameter_count

SMALL = {"stages": [[1, 3, 1, 1, 8], [2, 5, 2, 3, 12]], "stem": 8, "width": 24}
CASES = [
    (SmallCnn, {}),
    (SmallCnn, {"inputs": 3, "channels": [4, 8], "bins": 2, "width": 6}),
    (EfficientNetLite, SMALL),
]


def images(rows: int, channels: int, side: int = 28, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (rows, channels, side, side), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(("factory", "args"), CASES)
def test_contract(factory, args, backbones):
    assert backbones[factory.name] is factory
    backbone = factory(**args)
    again = factory(**backbone.config())
    again.load_state_dict(backbone.state_dict())
    batch = images(5, backbone.inputs if factory is SmallCnn else 3)
    backbone.eval()
    features = backbone(batch)
    assert features.shape == (5, backbone.feature_dim)
    assert torch.equal(features, again.eval()(batch))
    depths = backbone.depth_features(batch)
    assert tuple(d.shape[1] for d in depths) == backbone.block_dims == BackboneInfo.of(backbone).block_dims
    assert torch.equal(depths[-1], features)
    backbone.train()(batch).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in backbone.parameters())


@pytest.mark.parametrize(("factory", "args"), CASES)
@pytest.mark.parametrize("side", [8, 17, 33, 64])
def test_any_size_and_rows_apart(factory, args, side):
    backbone = factory(**args).eval()
    batch = images(4, backbone.inputs if factory is SmallCnn else 3, side)
    whole = backbone(batch)
    assert torch.isfinite(whole).all()
    assert torch.allclose(whole[2:3], backbone(batch[2:3]), atol=1e-5)


def test_channels_lie_in_the_second_dimension():
    for backbone in (SmallCnn(), EfficientNetLite(**SMALL)):
        hidden = backbone.embed(images(2, 1))
        for block, width in zip(backbone.blocks.values(), backbone.block_dims, strict=True):
            hidden = block(hidden)
            assert hidden.shape[backbone.channel_dim] == width


def test_lite0_has_its_published_size():
    """4.65 million weights with the head over 1000 classes (Liu 2020)."""
    backbone = EfficientNetLite()
    assert parameter_count(backbone) + 1000 * (backbone.feature_dim + 1) == 4_652_008
    assert len(LITE0) == 7
    assert list(backbone.blocks) == ["stem", *(f"stage{i}" for i in range(1, 8)), "top"]


def test_grey_images_are_seen_as_rgb():
    backbone = EfficientNetLite(**SMALL).eval()
    grey = images(3, 1)
    assert torch.equal(backbone(grey), backbone(grey.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "before", "after"), [(8, 3, 2, 0, 1), (7, 3, 2, 1, 1), (8, 5, 2, 1, 2)]
)
def test_padding_is_that_of_tensorflow(side, kernel, stride, before, after):
    padded = SamePad(kernel, stride)(torch.ones(1, 1, side, side))
    assert padded.shape[2] == side + before + after
    assert padded[0, 0, :before].sum() == 0 == padded[0, 0, side + before :].sum()
    assert padded.sum() == side * side


def trained(net: torch.nn.Module) -> torch.nn.Module:
    """With norms that are not those of a fresh network."""
    generator = torch.Generator().manual_seed(2)
    for name, tensor in (*net.named_buffers(), *net.named_parameters()):
        if "running" in name or tensor.ndim == 1:
            tensor.data.add_(0.4 * torch.rand(tensor.shape, generator=generator))
    return net.eval()


@pytest.mark.parametrize("side", [17, 32, 64])
def test_extraction_gives_the_modules_features(side):
    """Norms folded, channels last, pointwise convolutions as products: the same features to rounding."""
    net, batch = trained(EfficientNetLite(**SMALL)), images(5, 3, side)
    with torch.no_grad():
        wanted, full, rounded = net(batch), net.extractor("full")(batch), net.extractor("bf16")(batch)
    torch.testing.assert_close(full, wanted, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(rounded, wanted, atol=0.05 * float(wanted.abs().max()), rtol=0.05)
    assert not torch.equal(rounded, full)


def test_extraction_a_few_images_at_a_time(monkeypatch):
    net, batch = trained(EfficientNetLite(**SMALL)), images(7, 3, 32)
    sizes, embed = [], net.embed
    monkeypatch.setattr(net, "embed", lambda part: sizes.append(len(part)) or embed(part))
    monkeypatch.setattr("tlplat_vision.frozen.PIXELS", 3 * 32 * 32 + 1)
    with torch.no_grad():
        found = net.extractor("full")(batch)
        assert sizes == [3, 3, 1]
        torch.testing.assert_close(found, net(batch), atol=1e-4, rtol=1e-4)


def test_an_edited_network_runs_its_modules():
    net = EfficientNetLite(**SMALL)
    net.blocks["stage1"][0].narrow[0] = torch.nn.Sequential(net.blocks["stage1"][0].narrow[0])
    assert net.extractor("full") is None
    assert EfficientNetLite(**SMALL).double().extractor("full") is None
