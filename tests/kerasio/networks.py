"""Small networks of Keras that use every layer that is read, rows for them, and what is rebuilt of them."""

from __future__ import annotations

import json

import numpy as np

from tlplat.kerasio.backbone import KerasBackbone
from tlplat.model import SourceModel


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


def rebuilt(source: SourceModel) -> KerasBackbone:
    """The backbone from JSON and tensors, as a reload makes it."""
    backbone = KerasBackbone(**json.loads(json.dumps(dict(source.base.args))))
    backbone.load_state_dict(dict(source.state))
    return backbone.eval()
