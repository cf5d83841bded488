"""ONNX files as sources: features are the network's own, feature strategies run, and the model works elsewhere."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from commandline import tlplat
from onnxfiles import written
from torch import nn

import tlplat as api
from tlplat.arrays.domain import Arrays
from tlplat.data.examples import TensorInputs
from tlplat.errors import ModelError
from tlplat.features import frozen_features
from tlplat.intake import Intake, NetworkInput
from tlplat.onnxio.backbone import OnnxBackbone
from tlplat.onnxio.running import digest_of
from tlplat.onnxio.source import load_source

STRATEGIES = "linear_probe,prototype,pulled_probe,full_ft,lora"
QUICK = ("--seeds", "1", "--jobs", "1", "--threads", "1", "--labels", "40")


def feed(network: NetworkInput) -> Intake:
    return Intake(tuple(n or 4 for n in network.shape), {"shape": list(network.shape)})


def numbers() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(240, 6)).astype("f")


def backbone(source) -> OnnxBackbone:
    made = OnnxBackbone(**json.loads(json.dumps(dict(source.base.args))))
    made.load_state_dict(dict(source.state))
    return made.eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A torch network, exported as torch does by default: with its weights in a file beside it."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 2)).eval()
    with torch.no_grad():  # both classes are as frequent
        said = net(torch.from_numpy(numbers()))
        net[4].bias[1] += (said[:, 0] - said[:, 1]).median()
    path = tmp_path_factory.mktemp("exported") / "net.onnx"
    rows = {0: torch.export.Dim.AUTO}
    log = logging.getLogger("torch.onnx")
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore", FutureWarning)  # of torch, at its own code
        patch.setattr(log, "level", logging.ERROR)
        program = torch.onnx.export(net, (torch.zeros(2, 6),), dynamo=True, dynamic_shapes=(rows,), verbose=False)
    program.save(str(path), external_data=True)
    assert (path.parent / "net.onnx.data").stat().st_size > 0
    return net, path


@pytest.fixture(scope="module")
def finished(exported, tmp_path_factory):
    """A run from Python on the exported network, in a cache of its own."""
    net, path = exported
    x = numbers()
    with torch.no_grad():
        y = net(torch.from_numpy(x)).argmax(1).numpy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLPLAT_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        out = tmp_path_factory.mktemp("runs") / "run"
        run = api.transfer(
            "arrays", (x, y), source=path, strategy=STRATEGIES, labels=40, seeds=1, threads=1, jobs=1, out=out
        )
    return run, x, y


def test_features_are_those_of_the_torch_model(exported, finished):
    net, _ = exported
    run, x, _ = finished
    model = api.load_model(run.folder)
    with torch.no_grad():
        wanted, found = net[:4](torch.from_numpy(x)), model.module.backbone(torch.from_numpy(x))
    assert found.shape == (240, 8)
    assert float((wanted - found).abs().max()) < 1e-4


def test_its_own_head_is_the_torch_model(exported, finished):
    """The last linear layer was cut off and is the source's head: its classes are the target's, so zero-shot is it."""
    net, path = exported
    run, *_ = finished
    source = load_source(str(path), "arrays", feed)
    assert source.task.labels == ("0", "1")
    with torch.no_grad():
        assert torch.allclose(source.head["weight"], net[4].weight)
        assert torch.allclose(source.head["bias"], net[4].bias)
    means = {c["strategy"]: c["mean"] for c in run.report["candidates"]}
    assert means["zero_shot"] == 1.0
    assert means["linear_probe"] > 0.9


def test_only_feature_strategies_run_and_the_others_say_why(finished):
    run, *_ = finished
    families = {c["strategy"]: c["family"] for c in run.report["candidates"]}
    assert {"linear_probe", "prototype", "pulled_probe", "zero_shot", "majority"} <= set(families)
    assert set(families.values()) <= {"feature", "baseline"}
    reasons = {s["strategy"]: s["reason"] for s in run.report["skipped"]}
    for name, word in {"full_ft": "moves the source's weights", "lora": "changes", "scratch": "anew"}.items():
        assert word in reasons[name]
        assert "fixed inside an ONNX graph" in reasons[name]


def test_the_plan_says_why(exported, rows, tmp_path, monkeypatch, capfd):
    from tlplat.cli.entry import main

    monkeypatch.setenv("TLPLAT_CACHE_DIR", str(tmp_path / "cache"))
    g = np.random.default_rng(1)
    np.savez(tmp_path / "six.npz", x=g.normal(size=(60, 6)).astype("f"), y=np.arange(60) % 3)
    flags = ("run", "--domain", "arrays", "--data", str(tmp_path / "six.npz"), "--source", str(exported[1]))
    assert main((*flags, "--dry-run", *QUICK)) == 0
    said = capfd.readouterr().out
    assert "linear_probe" in said
    assert "full_ft moves the source's weights, which are fixed inside an ONNX graph" in said
    assert main((*flags, "--strategy", "full_ft", *QUICK, "--out", str(tmp_path / "run"))) == 2
    assert "fixed inside an ONNX graph" in capfd.readouterr().err


def test_the_model_folder_alone_predicts_in_another_process(finished, tmp_path):
    """The graph is in the folder, as a tensor; neither the file nor a pickle is needed."""
    run, x, y = finished
    shutil.copytree(Path(run.folder) / "model", tmp_path / "model")
    assert {p.suffix for p in (tmp_path / "model").iterdir()} <= {".json", ".safetensors", ".md"}
    np.savez(tmp_path / "new.npz", x=x[:20])
    done = tlplat("predict", "model", "new.npz", cwd=tmp_path, cache=tmp_path / "cache")
    assert done.code == 0, done.err
    said = [line.split(",")[1] for line in done.out.splitlines()[1:]]
    again = [row["prediction"] for row in api.load_model(run.folder).predict(x[:20])]
    assert said == again
    assert np.mean([a == str(b) for a, b in zip(said, y[:20], strict=True)]) > 0.8


def test_another_graph_than_the_structure_names(finished, tmp_path):
    run, x, _ = finished
    made = api.load_model(run.folder).module.backbone
    other = OnnxBackbone(**made.config())
    assert other.digest == digest_of(made.blocks["graph"].content.numpy().tobytes())
    other.digest = other.blocks["graph"].digest = "0" * 64
    with pytest.raises(ModelError, match="not the one"):
        other(torch.from_numpy(x[:2]))


def test_the_tensor_that_features_are_can_be_named(made, tmp_path):
    path = made(tmp_path / "m.onnx")
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    widths = {}
    for name in ("", "#z", "#h", "#output", "#y"):
        source = load_source(f"{path}{name}", "arrays", feed)
        widths[name] = (backbone(source)(x).shape[1], source.head is not None)
    assert widths == {"": (5, True), "#z": (5, False), "#h": (5, False), "#output": (2, False), "#y": (2, False)}
    graphs = [load_source(f"{path}{name}", "arrays", feed) for name in ("#h", "#z")]
    h, z = (backbone(source)(x) for source in graphs)
    assert torch.equal(z, h.relu())
    assert graphs[0].base.args["size"] < graphs[1].base.args["size"]  # what is not needed is cut off


@pytest.mark.parametrize(
    ("ending", "says", "outputs"),
    [
        ([("Softmax", ["l"], ["y"], {"axis": 1})], "softmax", 3),
        ([("Sigmoid", ["l"], ["y"], {})], "sigmoid", 1),
        ([("Sigmoid", ["l"], ["y"], {})], "multi-label", 3),
        ([("Identity", ["l"], ["y"], {})], "none", 3),
    ],
)
def test_endings(ending, says, outputs, onnx, tmp_path):
    """MatMul and Add as the head; softmax and sigmoid say what it predicts; what is none of these is left in."""
    shapes = {"w1": (4, 5), "w2": (5, outputs), "b2": (outputs,)}
    body = [("MatMul", ["x", "w1"], ["h"], {}), ("Relu", ["h"], ["z"], {})]
    head = [("MatMul", ["z", "w2"], ["m"], {}), ("Add", ["b2", "m"], ["l"], {})]
    path = written(tmp_path / "m.onnx", [*body, *head, *ending], shapes, ["rows", 4], ["rows", outputs])
    source = load_source(str(path), "arrays", feed)
    x = np.random.default_rng(1).normal(size=(6, 4)).astype("f")
    import onnxruntime

    wanted = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    features = backbone(source)(torch.from_numpy(x))
    if says == "none":
        assert source.head is None
        assert np.allclose(features, wanted, atol=1e-5)
        return
    logits = features @ source.head["weight"].T + source.head["bias"]
    from tlplat.tasks.classification import Classification

    task = Classification(**source.task.options)
    assert task.multi_label == (says == "multi-label")
    said = task.decode(logits)
    assert np.allclose(said[:, 1:] if outputs == 1 else said, wanted, atol=1e-5)


def test_a_graph_for_one_number_of_rows(onnx, tmp_path):
    """Many exporters fix the rows of a batch: it is then run in batches of that size, the last one filled up."""
    nodes = [("Relu", ["x"], ["r"], {}), ("Reshape", ["r", "s"], ["y"], {})]

    def shape(model) -> None:
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([3, 4], np.int64), "s"))

    path = written(tmp_path / "m.onnx", nodes, {}, [3, 4], [3, 4], shape)
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(backbone(load_source(str(path), "arrays", feed))(x), x.relu())


def test_maps_and_tokens_are_averaged(onnx, tmp_path):
    relu = [("Relu", ["x"], ["y"], {})]
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    maps = written(tmp_path / "maps.onnx", relu, {}, ["rows", 3, 4, 4], ["rows", 3, 4, 4])
    found = backbone(load_source(str(maps), "arrays", feed))(x)
    assert torch.allclose(found, x.relu().mean(dim=(2, 3)))
    tokens = written(tmp_path / "tokens.onnx", relu, {}, ["rows", 4, 4], ["rows", 4, 4])
    found = backbone(load_source(str(tokens), "arrays", feed))(x[:, 0])
    assert torch.allclose(found, x[:, 0].relu().mean(dim=1))


def test_batches_do_not_matter(made, tmp_path):
    net = backbone(load_source(str(made(tmp_path / "m.onnx")), "arrays", feed))
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(frozen_features(net, TensorInputs(x)), net(x), atol=1e-6)


def test_rows_of_another_shape_say_both(made, run_arrays, tmp_path):
    made(tmp_path / "m.onnx")
    np.savez(tmp_path / "rows.npz", x=np.zeros((40, 7), "f"), y=np.arange(40) % 2)
    said = run_arrays("m.onnx", "rows.npz")
    assert (said.code, said.error) == (4, "TL-MODEL-INPUT")
    assert "x (rows, 4) float32" in said.err
    assert "(7,)" in said.err


def test_a_domain_that_feeds_no_such_network(toy):
    network = NetworkInput("m.onnx", "x", (4, None), "float32")
    with pytest.raises(ModelError) as caught:
        toy.Toy().intake(network, None, None, None)
    assert "x (rows, 4, any) float32" in caught.value.render()
    assert Arrays.intake is not None


@pytest.fixture
def run_arrays(tmp_path, monkeypatch, capfd):
    from commandline import Outcome, checked

    from tlplat.cli.entry import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TLPLAT_CACHE_DIR", str(tmp_path / "cache"))

    def run(source: str, data: str):
        code = main(("run", "--domain", "arrays", "--data", data, "--source", source, *QUICK, "--out", "run"))
        return checked(Outcome(code, *capfd.readouterr()))

    return run
