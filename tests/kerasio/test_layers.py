"""Each layer computes what Keras computes, from both formats, and goes back to Keras as it came."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from tlplat.errors import ModelError
from tlplat.exporting import export
from tlplat.exporting.plain import ready
from tlplat.kerasio.backbone import KerasBackbone
from tlplat.kerasio.layers import KINDS
from tlplat.kerasio.source import load_source
from tlplat.model import SourceModel, TransferModel
from tlplat.modelio import LoadedModel
from tlplat.tasks.classification import Classification
from tlplat.tasks.regression import Regression

pytest.importorskip("h5py")
pytestmark = pytest.mark.slow


def images(k, layers):
    layer = k.layers
    return layers.Input((9, 8, 3)), [
        layer.Rescaling([1 / 16, 1 / 8, 1.0], [0.1, 0.0, -0.2]),
        layer.ZeroPadding2D(((1, 0), (2, 1))),
        layer.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
        layer.BatchNormalization(momentum=0.9, epsilon=1e-4),
        layer.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="swish"),
        layer.MaxPooling2D(2, strides=1, padding="same"),
        layer.SpatialDropout2D(0.1),
        layer.SeparableConv2D(6, (2, 3), depth_multiplier=2, padding="same", use_bias=False),
        layer.LeakyReLU(negative_slope=0.1),
        layer.AveragePooling2D((3, 2), strides=2, padding="same"),
        layer.Activation("gelu"),
        layer.Flatten(),
        layer.Dropout(0.3),
        layer.Dense(8, activation="tanh"),
        layer.Dense(5, activation="softmax"),
    ]


def sequences(k, layers):
    layer = k.layers
    return layers.Input((11,)), [
        layer.Embedding(20, 6),
        layer.SpatialDropout1D(0.1),
        layer.Conv1D(8, 3, padding="causal", dilation_rate=2, activation="elu"),
        layer.ZeroPadding1D((1, 2)),
        layer.MaxPooling1D(2),
        layer.LayerNormalization(),
        layer.Dense(6, activation="silu"),
        layer.AveragePooling1D(2, padding="same"),
        layer.Conv1D(6, 2, strides=2, padding="same", groups=2),
        layer.ELU(0.5),
        layer.GlobalMaxPooling1D(),
        layer.Dense(1, activation="sigmoid"),
    ]


def numbers(k, layers):
    layer = k.layers
    return layers.Input((12,)), [
        layer.BatchNormalization(scale=False),
        layer.Dense(24, use_bias=False),
        layer.LayerNormalization(center=False),
        layer.ReLU(max_value=2.0, negative_slope=0.1, threshold=0.2),
        layer.Reshape((4, 6)),
        layer.Softmax(),
        layer.GlobalAveragePooling1D(),
        layer.Dense(4),
        layer.Activation("softmax"),
    ]


def graph(k, layers):
    layer = k.layers
    rows = layers.Input((8, 8, 2))
    a = layer.Conv2D(4, 3, padding="same", activation="relu")(rows)
    b = layer.BatchNormalization()(layer.Conv2D(4, 1)(a))
    c = layer.Add()([a, b])
    d = layer.Concatenate()([c, a, layer.Multiply()([a, b])])
    e = layer.Subtract()([layer.Maximum()([a, b]), layer.Minimum()([a, b])])
    f = layer.Conv2D(6, 2)(layer.Concatenate(axis=1)([d, layer.Concatenate(axis=-1)([e, e, c])]))
    g = layer.Average()([layer.GlobalAveragePooling2D()(f), layer.GlobalMaxPooling2D()(f)])
    return rows, layer.Dense(3, activation="softmax")(g)


def inside(k, layers):
    """Models inside a model, as Keras users take a pretrained base; layers inside have the names of those outside."""
    layer = k.layers
    rows = layers.Input((8, 8, 2))
    a = layer.BatchNormalization(name="norm")(layer.Conv2D(4, 3, name="conv")(rows))
    b = layer.Add(name="sum")([a, layer.BatchNormalization(name="norm2")(layer.Conv2D(4, 1, name="conv2")(a))])
    base = layers.Model(rows, b, name="base")
    base.get_layer("norm").trainable = False
    top = layers.Sequential([layers.Input((4,)), layer.Dense(6, activation="relu", name="one")], name="top")
    outer = layers.Input((8, 8, 2))
    pooled = layer.GlobalAveragePooling2D()(layer.Conv2D(4, 2, name="conv")(base(outer, training=False)))
    return outer, layer.Dense(3, activation="softmax")(top(pooled))


def base_first(k, layers):
    layer = k.layers
    base = layers.Sequential([layers.Input((12,)), layer.Dense(9, activation="relu"), layer.BatchNormalization()])
    return layers.Input((12,)), [base, layer.Dense(4, activation="tanh"), layer.Dense(3, activation="softmax")]


def features(k, layers):
    """No output layer: maps of any size."""
    layer = k.layers
    rows = layers.Input((None, None, 3))
    return rows, layer.Conv2D(5, 3, activation="relu")(layer.Conv2D(4, 3, activation="relu")(rows))


def recurrent(k, layers):
    """Each kind, giving all times or the last, with and without a bias; one of them in a model inside."""
    layer = k.layers
    inner = [layers.Input((9, 6)), layer.GRU(7, return_sequences=True), layer.SimpleRNN(6, return_sequences=True)]
    return layers.Input((9, 5)), [
        layer.LSTM(6, return_sequences=True, dropout=0.2),
        layers.Sequential(inner, name="middle"),
        layer.SimpleRNN(5, activation="relu", use_bias=False, return_sequences=True),
        layer.GRU(6, use_bias=False, return_sequences=True),
        layer.LSTM(4),
        layer.Dense(3, activation="softmax"),
    ]


def both_ways(k, layers):
    layer = k.layers
    return layers.Input((9,)), [
        layer.Embedding(12, 4),
        layer.Bidirectional(layer.LSTM(5, return_sequences=True)),
        layer.Bidirectional(layer.SimpleRNN(3, return_sequences=True, use_bias=False)),
        layer.Bidirectional(layer.GRU(4)),
        layer.Dense(3, activation="softmax"),
    ]


def transposed(k, layers):
    """Kernels wider and narrower than their strides; an odd number of places that are cut is not read."""
    layer = k.layers
    return layers.Input((5, 4, 3)), [
        layer.Conv2DTranspose(4, 4, strides=2, padding="same", activation="relu"),
        layer.Conv2DTranspose(3, (3, 2), strides=(1, 3), padding="same", use_bias=False),
        layer.Conv2DTranspose(2, (2, 3), strides=(3, 2)),
        layer.Reshape((-1, 6)),
        layer.Conv1DTranspose(5, 5, strides=1, padding="same", activation="tanh"),
        layer.Conv1DTranspose(4, 2, strides=2),
        layer.GlobalAveragePooling1D(),
        layer.Dense(3, activation="softmax"),
    ]


def volumes(k, layers):
    layer = k.layers
    return layers.Input((8, 7, 9, 2)), [
        layer.ZeroPadding3D(((1, 0), (0, 2), (1, 1))),
        layer.Conv3D(4, (3, 2, 3), strides=(1, 2, 1), padding="same", activation="relu"),
        layer.BatchNormalization(),
        layer.SpatialDropout3D(0.1),
        layer.MaxPooling3D(2, strides=(1, 2, 2), padding="same"),
        layer.AveragePooling3D((2, 1, 2), padding="same"),
        layer.Conv3D(6, 2, groups=2),
        layer.MaxPooling3D((2, 1, 1)),
        layer.GlobalMaxPooling3D(keepdims=True),
        layer.GlobalAveragePooling3D(),
        layer.Dense(3, activation="softmax"),
    ]


def maps_of_volumes(k, layers):
    """No output layer: the written model pools maps of three dimensions itself."""
    layer = k.layers
    rows = layers.Input((None, 5, 6, 1))
    return rows, layer.Conv3D(4, 2, activation="relu")(rows)


NETS = {
    f.__name__: f
    for f in (
        *(images, sequences, numbers, graph, inside, base_first, features),
        *(recurrent, both_ways, transposed, volumes, maps_of_volumes),
    )
}


def rows_of(name: str, n: int = 7) -> np.ndarray:
    rng = np.random.default_rng(3)
    shape = {"images": (9, 8, 3), "graph": (8, 8, 2), "inside": (8, 8, 2), "features": (10, 7, 3)}
    shape |= {"recurrent": (9, 5), "transposed": (5, 4, 3), "volumes": (8, 7, 9, 2), "maps_of_volumes": (4, 5, 6, 1)}
    if name in ("sequences", "both_ways"):
        return rng.integers(0, 12, (n, 11 if name == "sequences" else 9)).astype(np.float32)
    return rng.normal(size=(n, *shape.get(name, (12,)))).astype(np.float32)


def made(keras, name: str):
    """The network with random weights everywhere, normalisation statistics included."""
    keras.utils.set_random_seed(1)
    rows, rest = NETS[name](keras, keras)
    model = keras.Sequential([rows, *rest]) if isinstance(rest, list) else keras.Model(rows, rest)
    rng = np.random.default_rng(5)
    model.set_weights([w + rng.uniform(0.05, 0.4, w.shape).astype(np.float32) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def saved(keras, tmp_path_factory):
    """The networks in both formats, with what Keras says of the rows."""
    folder = tmp_path_factory.mktemp("keras")
    found = {}
    for name in NETS:
        model = made(keras, name)
        for ending in ("h5", "keras"):
            model.save(folder / f"{name}.{ending}")
        found[name] = model.predict(rows_of(name), verbose=0)
    return folder, found


def rebuilt(source: SourceModel) -> KerasBackbone:
    """The backbone from JSON and tensors, as a reload makes it."""
    backbone = KerasBackbone(**json.loads(json.dumps(dict(source.base.args))))
    backbone.load_state_dict(dict(source.state))
    return backbone.eval()


def test_the_networks_use_every_layer(saved):
    used = {layer[1] for name in NETS for layer in load_source(saved[0] / f"{name}.keras").base.args["layers"]}
    assert used == KINDS.keys()


@pytest.mark.parametrize("ending", ["h5", "keras"])
@pytest.mark.parametrize("name", NETS)
def test_outputs_are_those_of_keras(name, ending, saved):
    folder, wanted = saved
    source = load_source(folder / f"{name}.{ending}")
    backbone, x = rebuilt(source), torch.from_numpy(rows_of(name))
    with torch.no_grad():
        z = backbone(x)
        if name in ("features", "maps_of_volumes"):
            found = z.numpy()
            assert source.head is None
            expected = wanted[name].reshape(len(x), -1, z.shape[1]).mean(axis=1)
        else:
            assert source.task is not None
            logits = nn.functional.linear(z, source.head["weight"], source.head["bias"])
            found = torch.softmax(logits, 1).numpy()
            expected = wanted[name] if name != "sequences" else np.hstack([1 - wanted[name], wanted[name]])
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-5
    assert backbone.block_dims == tuple(d.shape[1] for d in backbone.depth_features(x))
    assert backbone.feature_dim == z.shape[1]


def test_blocks_begin_where_one_tensor_goes_on(saved):
    names = {n: list(rebuilt(load_source(saved[0] / f"{n}.keras")).blocks) for n in ("numbers", "graph")}
    assert len(names["graph"]) == 3, "the branches between two convolutions are one block"
    assert len(names["numbers"]) == 1
    many = list(rebuilt(load_source(saved[0] / "images.keras")).blocks)
    assert [n.rstrip("_0123456789") for n in many] == ["conv2d", "depthwise_conv2d", "separable_conv2d", "dense"]


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


def test_models_of_before_keras_3(saved, tmp_path):
    """The same file as Keras 2 wrote it: other names for shapes, nodes as lists, ``:0`` behind weights' names."""
    import shutil

    import h5py

    path = tmp_path / "old.h5"
    shutil.copy(saved[0] / "graph.h5", path)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        config["class_name"] = "Model"
        inner = config["config"]
        inner["input_layers"], inner["output_layers"] = [inner["input_layers"]], [inner["output_layers"]]
        for layer in inner["layers"]:
            own = layer["config"]
            own["dtype"] = "float32"
            if "batch_shape" in own:
                own["batch_input_shape"] = own.pop("batch_shape")
            nodes = []
            for node in layer["inbound_nodes"]:
                given = node["args"][0] if isinstance(node["args"][0], list) else node["args"]
                nodes.append([[*t["config"]["keras_history"], {}] for t in given])
            layer["inbound_nodes"] = nodes
            if layer["class_name"] == "BatchNormalization":
                own["axis"] = [3]
        file.attrs["model_config"] = json.dumps(config)
        for group in file["model_weights"].values():
            names = [n.decode() if isinstance(n, bytes) else n for n in group.attrs["weight_names"]]
            for name in names:
                group.move(name, f"{name}:0")
            group.attrs["weight_names"] = [f"{n}:0".encode() for n in names]
    old, new = load_source(path), load_source(saved[0] / "graph.h5")
    x = torch.from_numpy(rows_of("graph"))
    assert torch.equal(rebuilt(old)(x), rebuilt(new)(x))
    assert torch.equal(old.head["weight"], new.head["weight"])


def test_low_rank_layers_pass_over_dilated_convolutions(saved):
    """peft's own convolutions know no dilation, so that their outputs would be of another length."""
    from tlplat.model import BackboneInfo
    from tlplat.strategies.injection import MERGEABLE, targets

    backbone = rebuilt(load_source(saved[0] / "sequences.keras"))
    found = {type(backbone.get_submodule(name)): name for name in targets(BackboneInfo.of(backbone), MERGEABLE)}
    assert set(found) == {nn.Linear}, "the one plain convolution is in groups, the other dilated"
    assert any(m.dilation == (2,) for m in backbone.modules() if isinstance(m, nn.Conv1d))


def test_statistics_move_as_in_keras(saved, keras):
    """One training batch: Keras keeps 90 % of the mean, and so does torch with its momentum of 10 %."""
    x = rows_of("images", 32)
    model = made(keras, "images")
    norm = next(layer for layer in model.layers if type(layer).__name__ == "BatchNormalization")
    backbone = rebuilt(load_source(saved[0] / "images.keras"))
    ours = next(m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d))
    before = ours.running_mean.clone()
    model(x, training=True)
    backbone.train()(torch.from_numpy(x))
    assert np.abs(ours.running_mean.numpy() - norm.get_weights()[2]).max() < 1e-5
    assert (ours.running_mean - before).abs().max() > 1e-3
    assert ours.eps == 1e-4


def test_fresh_weights_are_drawn_as_keras_draws_them(saved):
    torch.manual_seed(2)
    source = load_source(saved[0] / "images.keras")
    backbone = KerasBackbone(**source.base.args)
    called = list(backbone.blocks)[-1]
    kernel = backbone.get_parameter(f"blocks.{called}.parts.{called}.linear.weight")
    limit = (6 / sum(kernel.shape)) ** 0.5
    assert 0.9 * limit < float(kernel.detach().abs().max()) <= limit
    assert not any(bool(t.is_meta) for t in backbone.state_dict().values())
    assert backbone(torch.from_numpy(rows_of("images"))).isfinite().all()
