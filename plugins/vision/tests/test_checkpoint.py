"""Weights files as sources: architectures told by their tensors, other programs' names, and refusals."""

from __future__ import annotations

import pytest
import torch
from commandline import tlplat
from tlplat_vision.checkpoint import load_checkpoint
from tlplat_vision.cnn import SmallCnn
from tlplat_vision.domain import VisionDomain, VisionOptions
from tlplat_vision.efficientnet import EfficientNetLite
from tlplat_vision.litenames import SCHEMES, own

from tlplat.errors import ModelError, UsageError
from tlplat.storage import write_tensors


def varied(net: torch.nn.Module) -> torch.nn.Module:
    """With running statistics that are not those of a fresh network."""
    generator = torch.Generator().manual_seed(1)
    for name, buffer in net.named_buffers():
        if "running" in name:
            buffer.add_(0.3 * torch.rand(buffer.shape, generator=generator))
    return net.eval()


def images(channels: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (3, channels, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("args", [{}, {"inputs": 3, "channels": [4, 8], "bins": 2, "width": 6}])
@pytest.mark.parametrize("kind", ["pt", "safetensors"])
@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_a_small_cnn_is_told_by_its_tensors(args, kind, prefix, tmp_path, registry):
    net = varied(SmallCnn(**args))
    state = {f"{prefix}{k}": v for k, v in net.state_dict().items()}
    if prefix:
        state |= {"head.weight": torch.randn(4, net.width), "head.bias": torch.randn(4)}
    path = tmp_path / f"own.{kind}"
    torch.save(state, path) if kind == "pt" else write_tensors(path, state)
    source = load_checkpoint(path)
    assert source.name == "own"
    assert source.base.args["channels"] == list(net.channels)
    again = source.build(registry).eval()
    assert torch.equal(again(images(net.inputs)), net(images(net.inputs)))
    assert (source.head is None) == (not prefix)
    assert source.task is None or source.task.labels == ("class-0", "class-1", "class-2", "class-3")
    assert source.preprocess["channels"] == net.inputs


@pytest.mark.parametrize("scheme", ["own", *SCHEMES])
@pytest.mark.parametrize("kind", ["pt", "safetensors"])
def test_lite0_under_the_names_of_others(scheme, kind, tmp_path, registry):
    """Whatever the order of the tensors: safetensors are read by alphabet."""
    torch.manual_seed(0)
    net = varied(EfficientNetLite())
    state = dict(net.state_dict())
    if scheme != "own":
        names = {
            mine: theirs
            for ours, others in zip(own(net), SCHEMES[scheme].layers(), strict=True)
            for mine, theirs in zip(ours, others, strict=True)
        }
        state = {f"{names[k.rpartition('.')[0]]}.{k.rpartition('.')[2]}": v for k, v in state.items()}
        head = SCHEMES[scheme].head
        state |= {f"{head}.weight": torch.randn(7, 1280), f"{head}.bias": torch.randn(7)}
    path = tmp_path / f"lite.{kind}"
    torch.save(state, path) if kind == "pt" else write_tensors(path, state)
    source = VisionDomain().source(str(path), VisionOptions(), None)
    assert torch.equal(source.build(registry).eval()(images()), net(images()))
    assert source.preprocess["size"] == 224
    assert (source.head is None) == (scheme == "own")


def test_refusals(tmp_path):
    def code(state) -> str:
        torch.save(state, tmp_path / "m.pt")
        with pytest.raises(ModelError) as caught:
            load_checkpoint(tmp_path / "m.pt")
        return caught.value.code

    net = SmallCnn().state_dict()
    assert code({"fc.weight": torch.ones(2, 2)}) == "TL-MODEL-UNSUPPORTED"
    assert code({k: v for k, v in net.items() if "conv2" not in k}) == "TL-MODEL-KEYS"
    assert code({**net, "blocks.conv2.1.weight": torch.ones(3)}) == "TL-MODEL-SHAPE"
    assert code({**net, "head.weight": torch.ones(3, 5), "head.bias": torch.ones(3)}) == "TL-MODEL-SHAPE"
    assert code(torch.nn.Linear(2, 2)) == "TL-MODEL-UNSAFE"


def test_a_checkpoint_needs_a_timm_model():
    with pytest.raises(UsageError, match="--source timm:NAME"):
        VisionDomain().source("mnist", VisionOptions(checkpoint="x.pt"), None)


def test_a_run_from_a_file(folder, tmp_path):
    folder(12)
    torch.manual_seed(0)
    torch.save({"state_dict": SmallCnn(inputs=3).state_dict(), "epoch": 7}, tmp_path / "own.pth")
    outcome = tlplat(
        *("run", "--domain", "vision", "--data", "shots", "--source", "own.pth", "--image-size", "24", "--offline"),
        *("--strategy", "linear_probe", "--seeds", "1", "--set", "train.steps=1", "--jobs", "1", "--threads", "1"),
        *("--out", "run", "--json"),
        cache=tmp_path / "cache",
        cwd=tmp_path,
    )
    assert outcome.code == 0, outcome.err
    assert outcome.document["candidates"][0]["source"] == "own" or "own" in outcome.document["task"]["source"]
