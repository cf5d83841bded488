"""An ONNX network as the source for images: its size and layout, the numbers that its pixels become, predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from commandline import tlplat
from onnxfiles import convnet
from tlplat_vision.outside import intake

from tlplat.errors import ModelError
from tlplat.intake import NetworkInput
from tlplat.onnxio.backbone import OnnxBackbone
from tlplat.onnxio.source import load_source

ort = pytest.importorskip("onnxruntime")
QUICK = ("--strategy", "linear_probe,full_ft", "--seeds", "1", "--jobs", "1", "--threads", "1", "--offline", "--json")


def test_a_run_and_predictions(folder, tmp_path):
    """Images of a folder through a convolutional network of 24 x 24 pixels; the model predicts in another process."""
    convnet(tmp_path / "net.onnx", ["rows", 3, 24, 24])
    shots, place = folder(30), {"cwd": tmp_path, "cache": tmp_path / "cache"}
    flags = ("--domain", "vision", "--data", str(shots), "--source", "net.onnx", "--out", "run")
    done = tlplat("run", *flags, *QUICK, **place)
    assert done.code == 0, done.err
    report = done.document
    assert {c["strategy"] for c in report["candidates"]} >= {"linear_probe", "majority"}
    assert any("full_ft moves" in s["reason"] for s in report["skipped"])
    (tmp_path / "net.onnx").unlink()
    said = tlplat("predict", "run", str(shots / "red"), **place)
    assert said.code == 0, said.err
    assert len(said.out.splitlines()) == 31


def test_pixels_reach_the_graph_as_asked(tmp_path):
    """Bytes of an image, scaled as ImageNet's networks take them, through onnxruntime itself."""
    path = convnet(tmp_path / "net.onnx", ["rows", 3, 8, 8])
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    wanted = {
        "imagenet": (images / 255 - mean[:, None, None]) / std[:, None, None],
        "unit": images / 255,
        "symmetric": images / 127.5 - 1,
        "bytes": images.float(),
    }
    session = ort.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    for pixels, numbers in wanted.items():
        source = load_source(str(path), "vision", lambda network, pixels=pixels: intake(network, None, pixels))
        net = OnnxBackbone(**source.base.args)
        net.load_state_dict(dict(source.state))
        logits = net(images) @ source.head["weight"].T + source.head["bias"]
        found = session.run(None, {"x": numbers.numpy()})[0]
        assert np.allclose(logits, found, rtol=1e-4, atol=1e-3), pixels


@pytest.mark.parametrize(
    ("shape", "size", "image", "last"),
    [
        ((3, 32, 32), None, (3, 32, 32), False),
        ((32, 32, 3), None, (3, 32, 32), True),
        ((1, 28, 28), None, (1, 28, 28), False),
        ((3, None, None), None, (3, 224, 224), False),
        ((None, None, 3), 64, (3, 64, 64), True),
    ],
)
def test_layouts(shape, size, image, last):
    found = intake(NetworkInput("m.onnx", "x", shape, "float32"), size, "unit")
    assert (found.shape, found.channels_last) == (image, last)
    assert (found.preprocess["size"], found.preprocess["channels"]) == (image[1], image[0])
    assert found.scale == pytest.approx((1 / 255,) * image[0])


@pytest.mark.parametrize(
    ("shape", "size"), [((12,), None), ((4, 32, 32), None), ((3, 32, 48), None), ((3, 32, 32), 64), ((32, 32), None)]
)
def test_no_square_images(shape, size):
    with pytest.raises(ModelError) as caught:
        intake(NetworkInput("m.onnx", "x", shape, "float32"), size, "imagenet")
    said = caught.value.render()
    assert caught.value.code == "TL-MODEL-INPUT"
    assert f"x (rows, {', '.join(map(str, shape))}) float32" in said
    assert "square images" in said


def test_another_shape_through_the_command(folder, tmp_path):
    convnet(tmp_path / "net.onnx", ["rows", 4, 24, 24])
    shots = folder(4)
    before = sorted(tmp_path.rglob("*"))
    done = tlplat(
        *("run", "--domain", "vision", "--data", str(shots), "--source", "net.onnx", "--out", "run", *QUICK),
        cwd=tmp_path,
        cache=Path(tmp_path / "cache"),
    )
    assert (done.code, done.error) == (4, "TL-MODEL-INPUT")
    assert "x (rows, 4, 24, 24) float32" in done.err
    assert [p for p in sorted(tmp_path.rglob("*")) if "cache" not in p.parts] == before
