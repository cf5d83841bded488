import json

import pytest
import torch

from tlplat.errors import ModelError
from tlplat.modelio import load_model, load_source, load_state, required_plugins, save_model, save_source
from tlplat.testing.workbench import toybench


@pytest.fixture
def saved(registry, tmp_path):
    bench = toybench(registry)
    outcome = bench.run("lora", merge=False)
    plugins = [("domains", "toy")]
    save_model(tmp_path, outcome.model, bench.target.task.info(), {"dim": 12}, registry, {"domain": "toy"}, plugins)
    return tmp_path


def test_the_folder_says_what_it_needs_and_holds_no_pickle(saved):
    assert {p.name for p in saved.iterdir()} >= {
        "model.safetensors",
        "structure.json",
        "preprocess.json",
        "labels.json",
    }
    assert set(required_plugins(saved)) == {("domains", "toy"), ("strategies", "lora"), ("tasks", "classification")}
    structure = json.loads((saved / "structure.json").read_text())
    assert structure["base"] == {"name": "toy_net", "args": {"width": 16}}
    assert [e["name"] for e in structure["edits"]] == ["peft"]


def test_damage_a_newer_format_and_foreign_weights_are_refused(saved, registry):
    path = saved / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ModelError, match=r"TL-MODEL-CORRUPT[\s\S]*model.safetensors"):
        load_model(saved, registry)


def test_missing_and_misshapen_tensors_are_named():
    model = torch.nn.Linear(3, 2)
    with pytest.raises(ModelError, match=r"TL-MODEL-KEYS[\s\S]*missing \['bias'\], unexpected \['extra'\]"):
        load_state(model, {"weight": torch.zeros(2, 3), "extra": torch.zeros(1)}, "m.safetensors")
    with pytest.raises(
        ModelError, match=r"TL-MODEL-SHAPE[\s\S]*weight[\s\S]*got \(2, 4\)[\s\S]*expected \(2, 3\)|TL-MODEL-SHAPE"
    ):
        load_state(model, {"weight": torch.zeros(2, 4), "bias": torch.zeros(2)}, "m.safetensors")


def test_a_source_survives_its_folder(registry, tmp_path):
    source = toybench(registry).source
    save_source(tmp_path, source)
    again = load_source(tmp_path)
    assert (again.name, again.base, again.preprocess, again.provenance) == (
        source.name,
        source.base,
        source.preprocess,
        source.provenance,
    )
    assert again.task.labels == source.task.labels
    assert all(torch.equal(again.state[k], v) for k, v in source.state.items())
    assert torch.equal(again.head["weight"], source.head["weight"])
