"""timm models as sources; skipped where timm does not load, which names the extra."""

from __future__ import annotations

import importlib.util
import sys
from types import SimpleNamespace

import pytest
import torch
from commandline import tlplat
from tlplat_vision.domain import VisionDomain, VisionOptions
from tlplat_vision.timmnet import TimmBackbone

from tlplat.errors import ModelError, PluginError, ResourceError
from tlplat.model import BackboneInfo

HERE = importlib.util.find_spec("timm") is not None
needs_timm = pytest.mark.skipif(not HERE, reason="timm is not installed")
PARTED = ["resnet10t", "efficientnet_b0", "tf_efficientnet_lite0", "convnext_atto", "vit_tiny_patch16_224"]
WHOLE = ["mobilenetv3_small_050", "swin_tiny_patch4_window7_224"]


@pytest.mark.skipif(HERE, reason="timm is installed")
def test_without_timm_the_extra_is_named(tmp_path):
    (tmp_path / "w.pt").write_bytes(b"x")
    outcome = tlplat(
        *("run", "--domain", "vision", "--source", "timm:resnet18", "--checkpoint", "w.pt", "--offline", "--json"),
        cache=tmp_path / "cache",
        cwd=tmp_path,
    )
    assert (outcome.code, outcome.error) == (5, "TL-PLUGIN-EXTRA"), outcome.err
    assert "pip install 'tlplat-vision[timm]'" in outcome.err


def test_a_timm_that_does_not_load_is_named_too(monkeypatch):
    """A torchvision of another build raises RuntimeError when it is imported."""

    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "timm":
                raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.delitem(sys.modules, "timm", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(PluginError, match="torchvision::nms") as caught:
        TimmBackbone("resnet18")
    assert caught.value.code == "TL-PLUGIN-EXTRA"


@pytest.fixture
def saved(tmp_path):
    """A model of timm's with weights that are not its start, in a file."""
    timm = pytest.importorskip("timm")

    def make(name: str, classes: int = 5):
        torch.manual_seed(0)
        net = timm.create_model(name, pretrained=False, num_classes=classes).eval()
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
            for key, buffer in net.named_buffers():
                if "running" in key:
                    buffer.add_(0.2 * torch.rand_like(buffer))
        torch.save(net.state_dict(), tmp_path / f"{name}.pt")
        return net, tmp_path / f"{name}.pt"

    return make


def images(side: int = 224) -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@needs_timm
@pytest.mark.parametrize("name", [*PARTED, *WHOLE])
def test_outputs_are_those_of_the_library(name, saved, registry):
    net, file = saved(name)
    source = VisionDomain().source(f"timm:{name}", VisionOptions(checkpoint=file), SimpleNamespace(offline=True))
    backbone = source.build(registry).eval()
    batch = images()
    with torch.no_grad():
        outputs = backbone(batch) @ source.head["weight"].T + source.head["bias"]
        wanted = net(backbone.embed(batch))
        depths = backbone.depth_features(batch)
    torch.testing.assert_close(outputs, wanted, atol=1e-4, rtol=1e-3)
    assert (len(backbone.blocks) > 3) == (name in PARTED)
    assert tuple(d.shape[1] for d in depths) == backbone.block_dims == BackboneInfo.of(backbone).block_dims
    assert source.task.outputs == 5
    assert source.preprocess["fit"] == "crop"
    again = TimmBackbone(**source.base.args)
    again.load_state_dict(dict(source.state))
    assert again.config() == dict(source.base.args)


@needs_timm
@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "vit_tiny_patch16_224"])
def test_other_image_sizes(name, saved, registry):
    source = VisionDomain().source(
        f"timm:{name}", VisionOptions(checkpoint=saved(name)[1]), SimpleNamespace(offline=True)
    )
    backbone = source.build(registry).eval()
    with torch.no_grad():
        assert torch.isfinite(backbone(images(96))).all()
    backbone.train()(images(96)).sum().backward()


@needs_timm
def test_lite0_equals_this_domains_own(saved, registry):
    """The same file, read by timm's architecture and by ours."""
    _, file = saved("tf_efficientnet_lite0", classes=1000)
    domain, given = VisionDomain(), SimpleNamespace(offline=True)
    theirs = domain.source("timm:tf_efficientnet_lite0", VisionOptions(checkpoint=file), given).build(registry).eval()
    ours = domain.source(str(file), VisionOptions(), given).build(registry).eval()
    mean, std = theirs.mean, theirs.std
    batch = images()
    with torch.no_grad():
        ours.embed = lambda b: (b.float() / 255 - mean) / std  # (x - 127) / 128 there
        torch.testing.assert_close(ours(batch), theirs(batch), atol=1e-4, rtol=1e-3)


@needs_timm
def test_refusals(saved):
    domain, given = VisionDomain(), SimpleNamespace(offline=True)
    with pytest.raises(ModelError, match="resnet18") as caught:
        domain.source("timm:resnet1888", VisionOptions(checkpoint="x.pt"), given)
    assert caught.value.code == "TL-MODEL-UNKNOWN"
    with pytest.raises(ResourceError, match="--checkpoint"):
        domain.source("timm:resnet10t", VisionOptions(), given)
    _, file = saved("resnet10t")
    with pytest.raises(ModelError) as caught:
        domain.source("timm:resnet18", VisionOptions(checkpoint=file), given)
    assert caught.value.code in ("TL-MODEL-KEYS", "TL-MODEL-SHAPE")


@needs_timm
def test_a_run(saved, folder, tmp_path):
    folder(12)
    _, file = saved("resnet10t")
    outcome = tlplat(
        *("run", "--domain", "vision", "--data", "shots", "--source", "timm:resnet10t", "--checkpoint", file.name),
        *("--strategy", "linear_probe", "--seeds", "1", "--set", "train.steps=1", "--jobs", "1", "--threads", "1"),
        *("--image-size", "64", "--offline", "--out", "run", "--json"),
        cache=tmp_path / "cache",
        cwd=tmp_path,
    )
    assert outcome.code == 0, outcome.err
    predicted = tlplat("predict", "run", "shots/red", cache=tmp_path / "cache", cwd=tmp_path)
    assert predicted.code == 0, predicted.err
