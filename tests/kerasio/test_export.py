"""Fine-tuned models go back to Keras as they came."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from kerasio.networks import NETS, rebuilt, rows_of
from torch import nn

from tlplat.errors import ModelError
from tlplat.exporting import export
from tlplat.exporting.plain import ready
from tlplat.kerasio.source import load_source
from tlplat.model import SourceModel, TransferModel
from tlplat.modelio import LoadedModel
from tlplat.tasks.classification import Classification
from tlplat.tasks.regression import Regression

pytest.importorskip("h5py")
pytestmark = pytest.mark.slow


def loaded(source: SourceModel, outputs: int, task=None) -> LoadedModel:
    """A model as a run leaves it, with a new head."""
    torch.manual_seed(0)
    backbone = rebuilt(source)
    model = TransferModel(backbone, nn.Linear(backbone.feature_dim, outputs)).eval()
    for p in model.parameters():
        p.data += 0.03 * torch.randn_like(p)
    return LoadedModel(model, task or Classification([f"c{i}" for i in range(outputs)]), source.preprocess, {})


@pytest.mark.parametrize("ending", ["h5", "keras"])
@pytest.mark.parametrize("name", NETS)
def test_what_keras_loads_again_predicts_the_same(name, ending, saved, keras, tmp_path):
    model = loaded(load_source(saved[0] / f"{name}.{ending}"), 3)
    x = torch.from_numpy(rows_of(name, 24))
    path = tmp_path / f"fine_tuned.{ending}"
    done = export(ready(model, x[:16]), "keras", path)
    assert done.difference < 1e-4
    found = keras.models.load_model(path, compile=False).predict(x.numpy(), verbose=0)
    with torch.no_grad():
        assert np.abs(found - model.task.decode(model.model(x))).max() < 1e-4
    again = load_source(path, ["a", "b", "c"])  # and it is a source once more
    assert again.task.labels == ("a", "b", "c")
    assert len(rebuilt(again).blocks) >= len(model.model.backbone.blocks) or name in ("features", "maps_of_volumes")


def test_numbers_are_written_in_their_own_unit(saved, keras, tmp_path):
    model = loaded(load_source(saved[0] / "numbers.h5"), 1, Regression(scale=(50.0, 7.0)))
    x = torch.from_numpy(rows_of("numbers"))
    export(ready(model, x), "keras", tmp_path / "m.keras")
    found = keras.models.load_model(tmp_path / "m.keras", compile=False).predict(x.numpy(), verbose=0)
    with torch.no_grad():
        assert np.allclose(found[:, 0], model.task.decode(model.model(x)), rtol=1e-5)
    source = load_source(tmp_path / "m.keras")
    assert (source.task.kind, source.task.outputs) == ("regression", 1)


def test_other_structures_are_refused_with_the_reason(saved, keras, tmp_path):
    model = loaded(load_source(saved[0] / "images.keras"), 3)
    del model.model.backbone.blocks[list(model.model.backbone.blocks)[-1]]
    model.model.head = nn.Linear(model.model.backbone.feature_dim, 3)
    with pytest.raises(ModelError) as caught:
        export(ready(model, torch.from_numpy(rows_of("images"))), "keras", tmp_path / "m.keras")
    assert caught.value.code == "TL-MODEL-UNSUPPORTED"
    assert "dense" in caught.value.message
    model = loaded(load_source(saved[0] / "images.keras"), 3)
    model.model.head = nn.Sequential(model.model.head)
    with pytest.raises(ModelError, match="its head is"):
        export(ready(model, torch.from_numpy(rows_of("images"))), "keras", tmp_path / "m.keras")
    assert not list(tmp_path.iterdir())


def test_low_rank_layers_once_they_are_merged(saved, keras, tmp_path):
    pytest.importorskip("peft")
    from tlplat.strategies.injection import InjectPeft, MergePeft

    model = loaded(load_source(saved[0] / "images.keras"), 3)
    backbone = model.model.backbone
    linear = [name for name, part in backbone.named_modules() if isinstance(part, nn.Linear)]
    args = {"method": "lora", "targets": linear, "settings": {"r": 2, "lora_alpha": 4}}
    InjectPeft.build(model.model, args)
    for name, p in backbone.named_parameters():
        if ".lora_" in name:
            p.data += 0.1
    model.model.eval()
    rows = torch.from_numpy(rows_of("images"))
    with pytest.raises(ModelError) as caught:
        export(ready(model, rows), "keras", tmp_path / "m.keras")
    assert caught.value.code == "TL-MODEL-UNSUPPORTED"
    assert "base_layer" in caught.value.message
    MergePeft.build(model.model, {})
    export(ready(model, rows), "keras", tmp_path / "m.keras")
    found = keras.models.load_model(tmp_path / "m.keras", compile=False).predict(rows.numpy(), verbose=0)
    with torch.no_grad():
        assert np.abs(found - model.task.decode(model.model(rows))).max() < 1e-4


def test_a_different_prediction_writes_nothing(saved, keras, tmp_path, monkeypatch):
    from tlplat.kerasio import export as module

    plain = module._output
    monkeypatch.setattr(module, "_output", lambda *a: (plain(*a)[0] * 1.5, *plain(*a)[1:]))
    model = loaded(load_source(saved[0] / "numbers.h5"), 3)
    with pytest.raises(ModelError) as caught:
        export(ready(model, torch.from_numpy(rows_of("numbers"))), "keras", tmp_path / "m.h5")
    assert caught.value.code == "TL-EXPORT-DIFFERS"
    assert not list(tmp_path.iterdir())
