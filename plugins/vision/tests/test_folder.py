"""Folders of transformers: the same outputs as the library's own model, and strict refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tlplat_vision.domain import VisionDomain, VisionOptions
from tlplat_vision.folder import load_folder
from tlplat_vision.preprocess import Preprocess

from tlplat.errors import ModelError, TlplatError
from tlplat.model import BackboneInfo
from tlplat.modelio import load_source, save_source

transformers = pytest.importorskip("transformers")

LABELS = {"id2label": {0: "cat", 1: "dog"}, "label2id": {"cat": 0, "dog": 1}}
SIZES = {
    "vit": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "image_size": 32,
        "patch_size": 8,
    },
    "convnext": {"hidden_sizes": [8, 12], "depths": [1, 2], "num_stages": 2, "image_size": 32},
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 2], "layer_type": "basic"},
}
PREFIX = {"vit": "ViT", "convnext": "ConvNext", "resnet": "ResNet"}


def model_of(kind: str, headed: bool = True):
    torch.manual_seed(0)
    config = getattr(transformers, f"{PREFIX[kind]}Config")(**SIZES[kind], **LABELS)
    model = getattr(transformers, PREFIX[kind] + ("ForImageClassification" if headed else "Model"))(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer.add_(0.3 * torch.rand_like(buffer))
    return model


@pytest.fixture(scope="module", params=SIZES)
def saved(request, tmp_path_factory):
    """A model with a head, and its folder."""
    folder = tmp_path_factory.mktemp("models") / request.param
    model = model_of(request.param)
    model.save_pretrained(folder)
    document = {"size": {"height": 32, "width": 32}, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.25, 0.3]}
    (folder / "preprocessor_config.json").write_text(json.dumps(document), encoding="utf-8")
    return model, folder


def images(side: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (4, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_outputs_are_those_of_the_library(saved, registry):
    model, folder = saved
    source = load_folder(folder)
    backbone = source.build(registry).eval()
    batch = images()
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3])
    with torch.no_grad():
        outputs = backbone(batch) @ source.head["weight"].T + source.head["bias"]
        wanted = model((batch.float() / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)).logits
    torch.testing.assert_close(outputs, wanted, atol=1e-5, rtol=1e-5)
    assert source.task.labels == ("cat", "dog")
    assert Preprocess.from_json(source.preprocess).size == 32


def test_contract_and_reload(saved, registry, tmp_path):
    source = load_folder(saved[1])
    backbone = source.build(registry).eval()
    json.dumps(backbone.config())
    depths = backbone.depth_features(images())
    assert tuple(d.shape[1] for d in depths) == backbone.block_dims == BackboneInfo.of(backbone).block_dims
    save_source(tmp_path / "kept", source)
    again = load_source(tmp_path / "kept").build(registry).eval()
    assert torch.equal(backbone(images()), again(images()))
    fresh = source.build(registry, random=True).eval()
    assert not torch.allclose(backbone(images()), fresh(images()), atol=1e-3)
    backbone.train()(images()).sum().backward()
    assert all(p.grad is not None for p in backbone.parameters())


def test_other_sizes_and_grey(saved, registry):
    backbone = load_folder(saved[1]).build(registry).eval()
    assert torch.isfinite(backbone(images(48))).all()
    assert torch.equal(backbone(images()[:, :1]), backbone(images()[:, :1].expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("kind", SIZES)
def test_a_model_without_a_head(kind, registry, tmp_path):
    model_of(kind, headed=False).save_pretrained(tmp_path / "plain")
    source = load_folder(tmp_path / "plain")
    assert source.head is None
    assert source.task is None
    assert torch.isfinite(source.build(registry).eval()(images())).all()


def test_preprocessing_says_crop_and_filter(saved, tmp_path):
    folder = tmp_path / "m"
    saved[0].save_pretrained(folder)
    write = (folder / "preprocessor_config.json").write_text
    write(json.dumps({"size": {"shortest_edge": 32}, "crop_pct": 0.875, "resample": 3}), encoding="utf-8")
    found = Preprocess.from_json(load_folder(folder).preprocess)
    assert (found.size, found.fit, found.crop, found.resample) == (32, "crop", 0.875, "bicubic")
    write(json.dumps({"size": 64, "crop_size": 32, "do_center_crop": True, "resample": 0}), encoding="utf-8")
    found = Preprocess.from_json(load_folder(folder).preprocess)
    assert (found.size, found.fit, found.crop, found.resample) == (32, "crop", 0.5, "nearest")


def refused(path: Path, code: str, *words: str) -> TlplatError:
    with pytest.raises(ModelError) as caught:
        load_folder(path)
    assert caught.value.code == code
    for word in words:
        assert word in str(caught.value)
    return caught.value


def test_refusals(saved, tmp_path):
    folder = tmp_path / "m"
    refused(tmp_path, "TL-MODEL-PATH", "config.json")
    saved[0].save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    refused(folder, "TL-MODEL-CORRUPT")
    (folder / "model.safetensors").write_bytes(whole)
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 24, "hidden_sizes": [8, 20]}))
    with pytest.raises(ModelError):
        load_folder(folder)
    other = {"model_type": "swin", "auto_map": {"AutoModel": "evil.Model"}}
    (folder / "config.json").write_text(json.dumps(other), encoding="utf-8")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'PWNED')!r}, 'w')", encoding="utf-8")
    refused(folder, "TL-MODEL-UNSUPPORTED", "swin", "never run")
    assert not (tmp_path / "PWNED").exists()
    (folder / "config.json").write_text("{", encoding="utf-8")
    refused(folder, "TL-MODEL-CONFIG")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused(folder, "TL-MODEL-FORMAT", "pytorch_model.bin", "safe_serialization")


def test_the_domain_takes_a_folder_and_names_what_it_knows(saved, context):
    assert VisionDomain().source(str(saved[1]), VisionOptions(), context).name == saved[1].name
    with pytest.raises(ModelError, match="did you mean 'mnist'"):
        VisionDomain().source("mnits", VisionOptions(), context)


def test_pixels_reach_the_model_as_its_own_processor_gives_them(saved, registry):
    """A grey ramp, resized by us and normalised in the backbone."""
    source = load_folder(saved[1])
    ramp = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))).convert("RGB")
    encoded = Preprocess.from_json(source.preprocess).encode([ramp]).tensor
    hidden = source.build(registry).embed(encoded)
    assert hidden.shape == (1, 3, 32, 32)
    assert abs(float(hidden[0, 0].mean()) - (127 / 255 - 0.4) / 0.2) < 0.05
