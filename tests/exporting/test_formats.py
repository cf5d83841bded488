"""Exports: each format says what the model says, also of other batches, and nothing else is ever written."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tlplat import plugins
from tlplat.config import RunConfig
from tlplat.domain import Domain
from tlplat.errors import ModelError, UsageError
from tlplat.exporting import FORMATS, export
from tlplat.exporting import formats as formats_module
from tlplat.exporting.plain import Plain, Ready, ready
from tlplat.exporting.told import told
from tlplat.prediction import load_run_model
from tlplat.progress import Reporter
from tlplat.runner import run
from tlplat.stage import load_registry

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


class Reader(nn.Module):
    """Means of embedded tokens, where a mask says which count."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(9, 6), nn.Linear(6, 3)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        mask = batch["mask"].unsqueeze(-1).to(torch.float32)
        out: Tensor = self.head((self.table(batch["ids"]) * mask).sum(1) / mask.sum(1).clamp_min(1))
        return out


def tokens(n: int, length: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(n + length)
    return torch.randint(0, 9, (n, length), generator=g), torch.randint(0, 2, (n, length), generator=g)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folders of small runs whose model is merged, cut short, and has layers besides."""
    made = {}

    def of(strategy: str, registry, config_out) -> object:
        if strategy not in made:
            config = RunConfig.model_validate(
                {"domain": "toy", "out": str(config_out), "strategies": [strategy], "seeds": 1, "threads": 1, "jobs": 1,
                 "labels": 40, "train": {"steps": 30}}
            )  # fmt: skip
            run(config, load_registry(config), Reporter())
            made[strategy] = config_out
        return made[strategy]

    return of


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["full_ft", "lora", "truncate", "side_tune"])
@pytest.mark.parametrize("form", [f for f in FORMATS if f != "keras"])
def test_each_format_equals_the_model(toy, trained, registry, tmp_path, tmp_path_factory, strategy, form) -> None:
    folder = trained(strategy, registry, tmp_path_factory.mktemp("runs") / strategy)
    loaded, _ = load_run_model(folder)
    x = toy.rows(9, 5).inputs.tensor
    path = tmp_path / f"model{FORMATS[form].suffixes[0]}"
    done = export(ready(loaded, x), form, path)
    assert path.exists()
    assert done.difference < 1e-4
    assert [p.name for p in tmp_path.iterdir()] == [path.name], "no temporary is left"


def test_the_format_keras_takes_keras_models_alone(trained, toy, registry, tmp_path, tmp_path_factory) -> None:
    """What it writes of those is tested in tests/kerasio."""
    loaded, _ = load_run_model(trained("full_ft", registry, tmp_path_factory.mktemp("runs") / "full_ft"))
    with pytest.raises(ModelError, match="not a file of Keras's") as caught:
        export(ready(loaded, toy.rows(9, 5).inputs.tensor), "keras", tmp_path / "m.keras")
    assert caught.value.code == "TL-MODEL-UNSUPPORTED"
    assert not list(tmp_path.iterdir())


def test_onnx_runs_alone_with_its_labels(toy, trained, registry, tmp_path, tmp_path_factory) -> None:
    loaded, _ = load_run_model(trained("full_ft", registry, tmp_path_factory.mktemp("runs") / "full_ft"))
    export(ready(loaded, toy.rows(4, 5).inputs.tensor), "onnx", tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    x = toy.rows(200, 6).inputs.tensor
    logits = session.run(None, {"inputs": x.numpy()})[0]
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    with torch.no_grad():
        np.testing.assert_allclose(shares, loaded.task.decode(loaded.model(x)), atol=1e-5)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["labels"]) == ["in", "out"]


@pytest.mark.parametrize("form", ["onnx", "torch-export"])
def test_named_inputs_and_other_lengths(form, tmp_path) -> None:
    torch.manual_seed(0)
    names, rows = ("ids", "mask"), tokens(5, 7)
    module = Plain(Reader(), names).eval().requires_grad_(False)
    made = Ready(module, names, rows, module(*rows), {"labels": ["a", "b", "c"]}, None)  # type: ignore[arg-type]
    path = tmp_path / f"m{FORMATS[form].suffixes[0]}"
    export(made, form, path)
    other = tokens(3, 11)
    if form == "onnx":
        session = onnxruntime.InferenceSession(path)
        found = session.run(None, {n: t.numpy() for n, t in zip(names, other, strict=True)})[0]
    else:
        found = torch.export.load(path).module()(*other).numpy()
    np.testing.assert_allclose(found, module(*other).numpy(), atol=1e-5)


def test_metadata_say_in_words_what_goes_in_and_comes_out(toy, trained, registry, tmp_path, tmp_path_factory) -> None:
    folder = trained("full_ft", registry, tmp_path_factory.mktemp("runs") / "full_ft")
    loaded, found = load_run_model(folder)
    assert told(folder, loaded, found)["calibration"]["temperature"] > 0
    export(ready(loaded, toy.rows(4, 5).inputs.tensor, {"inputs_text": "as is"}), "torch-export", tmp_path / "m.pt2")
    about = {"inputs_text": "", "outputs_text": ""}
    torch.export.load(tmp_path / "m.pt2", extra_files=about)
    assert about["inputs_text"] == "as is"
    assert about["outputs_text"].startswith("logits (rows, labels): softmax(outputs)")


def test_every_task_says_how_its_outputs_are_read(registry) -> None:
    """What it names is among its options."""
    for task in (registry.get("tasks", name).example() for name in registry.names("tasks")):
        text = task.outputs_text()
        assert text, task.name
        assert set(re.findall(r"options\.(\w+)", text)) <= task.info().options.keys(), task.name


def test_every_domain_says_how_its_inputs_are_made() -> None:
    """Whoever has an exported file has no other way to know; walks show that the words suffice."""
    names = [e.name for e in plugins.discover() if e.group == "domains" and e.distribution.startswith("tlplat")]
    found = plugins.load("domains", [name for name in names if name != "toy"])
    for name in found.names("domains"):
        assert found.get("domains", name).inputs_text is not Domain.inputs_text, name


def test_what_says_something_else_is_not_written(tmp_path, monkeypatch) -> None:
    rows = tokens(5, 7)
    module = Plain(Reader(), ("ids", "mask")).eval()
    made = Ready(module, ("ids", "mask"), rows, module(*rows).detach(), {}, None)  # type: ignore[arg-type]

    def wrong(_, path):
        path.write_bytes(b"weights")
        return lambda given: module(*given).detach() + 1e-3

    monkeypatch.setitem(formats_module.FORMATS, "onnx", dataclasses.replace(FORMATS["onnx"], write=wrong))
    with pytest.raises(ModelError, match="something else") as caught:
        export(made, "onnx", tmp_path / "m.onnx")
    assert caught.value.code == "TL-EXPORT-DIFFERS"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", ["onnx", "torch-export"])
def test_what_cannot_be_traced_is_refused_without_its_graph(form, tmp_path, capfd, monkeypatch) -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2 if x.sum().item() > 0 else x

    x = torch.randn(4, 3)
    made = Ready(Plain(Branching(), ("inputs",)).eval(), ("inputs",), (x,), x, {}, None)  # type: ignore[arg-type]

    def refused() -> str:
        with pytest.raises(ModelError, match=f"cannot be written as {form}") as caught:
            export(made, form, tmp_path / f"m{FORMATS[form].suffixes[0]}")
        assert caught.value.code == "TL-EXPORT-FAILED"
        assert not list(tmp_path.iterdir())
        return "".join(capfd.readouterr())

    assert refused() == ""
    monkeypatch.setenv("TLPLAT_DEBUG", "1")
    assert "def forward" in refused()


def test_places_that_are_refused(tmp_path) -> None:
    x = torch.randn(4, 3)
    made = Ready(Plain(nn.Identity(), ("inputs",)), ("inputs",), (x,), x, {}, None)  # type: ignore[arg-type]
    (tmp_path / "m.onnx").write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists already"):
        export(made, "onnx", tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == b"mine"
    with pytest.raises(UsageError, match="does not end in"):
        export(made, "onnx", tmp_path / "m.pt")


def test_a_missing_library_names_the_extra(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    x = torch.randn(4, 3)
    made = Ready(Plain(nn.Identity(), ("inputs",)), ("inputs",), (x,), x, {}, None)  # type: ignore[arg-type]
    with pytest.raises(Exception, match=r"tlplat\[onnx\]"):
        export(made, "onnx", tmp_path / "m.onnx")


def test_the_command(toy, trained, registry, tmp_path, tmp_path_factory) -> None:
    folder = trained("full_ft", registry, tmp_path_factory.mktemp("runs") / "full_ft")

    def call(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tlplat", "export", *more]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = call(str(folder), "--format", "torch-export", "-o", str(tmp_path / "m.pt2"), "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["checked_rows"] == 16
    assert said["largest_difference"] < 1e-4
    done = call(str(folder / "model"), "--format", "torch-export", "-o", str(tmp_path / "n.pt2"))
    assert done.returncode == 2
    assert "TL-EXPORT-ROWS" in done.stderr
    assert "--data" in done.stderr
    (tmp_path / "new.csv").write_text("\n".join([",".join(["0.5"] * 12)] * 3) + "\n")
    done = call(
        str(folder / "model"), "--format", "safetensors", "-o", str(tmp_path / "n.safetensors"), "--data",
        str(tmp_path / "new.csv"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "equal to the model on 3 rows" in done.stdout
