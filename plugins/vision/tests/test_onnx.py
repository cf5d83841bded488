"""An ONNX network as the source for images: its size and layout, the numbers that its pixels become, predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from commandline import tlplat
from onnxfiles import blind, convnet, written
from tlplat_vision.domain import VisionDomain
from tlplat_vision.inputs import ImageInputs
from tlplat_vision.outside import intake

from tlplat.attribution import attribute
from tlplat.errors import ModelError
from tlplat.intake import NetworkInput
from tlplat.model import TransferModel
from tlplat.onnxio.backbone import OnnxBackbone
from tlplat.onnxio.source import load_source
from tlplat.tasks.classification import Classification

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
    pytest.importorskip("captum")
    told = tlplat("explain", "run", str(shots / "red"), "--rows", "2", "--json", **place).document["explanation"]
    assert (told["method"], told["unit"], len(told["shown"])) == ("occlusion", "patch", 2)
    assert all(row["picture"].startswith("data:image/png") for row in told["shown"])


@pytest.mark.parametrize("last", [False, True])
def test_patches_that_the_graph_reads_are_found(last, tmp_path):
    """A graph that reads the pixels at y 16 to 19, x 4 to 7, channels first or last, and no others."""
    pytest.importorskip("captum")
    pixels = torch.zeros(28, 28, dtype=torch.bool)
    pixels[16:20, 4:8] = True
    each = pixels.expand(3, 28, 28).movedim(0, -1) if last else pixels.expand(3, 28, 28)
    nodes = [
        ("Flatten", ["x"], ["f"], {}),
        ("Gemm", ["f", "w", "b"], ["h"], {}),
        ("Relu", ["h"], ["z"], {}),
        ("Gemm", ["z", "v", "c"], ["y"], {}),
    ]
    shapes = {"w": (28 * 28 * 3, 8), "b": (8,), "v": (8, 2), "c": (2,)}
    unseen = (~each).flatten().nonzero()[:, 0].tolist()
    path = written(tmp_path / "m.onnx", nodes, shapes, ["rows", *each.shape], ["rows", 2], change=blind("w", unseen))
    source = load_source(str(path), "vision", lambda network: intake(network, None, "unit"))
    torch.manual_seed(0)
    net = OnnxBackbone(**source.base.args)
    net.load_state_dict(dict(source.state))
    model = TransferModel(net, torch.nn.Linear(8, 2)).eval()
    images = torch.randint(0, 256, (6, 3, 28, 28), dtype=torch.uint8)
    explainer = VisionDomain().explainer(dict(source.preprocess), model.backbone)
    found = attribute(model, Classification(["a", "b"]), explainer, ImageInputs(images))
    heat = found.values.abs().mean(dim=0).view(explainer.side, explainer.side)
    assert found.method == "occlusion"
    assert heat[8:10, 2:4].min() > 0
    heat[7:11, 1:5] = 0  # squares of four pixels, two apart
    assert float(heat.max()) == 0


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
