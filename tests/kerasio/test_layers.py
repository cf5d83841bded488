"""Each layer computes what Keras computes, from both formats."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from kerasio.networks import NETS, made, rebuilt, rows_of
from torch import nn

from tlplat.kerasio.backbone import KerasBackbone
from tlplat.kerasio.layers import KINDS
from tlplat.kerasio.source import load_source

pytest.importorskip("h5py")
pytestmark = pytest.mark.slow


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
