"""Structures of Keras files that are hostile, unknown or without sense: refused before anything is built."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from kerasio.forged import UNSAFE, archive, h5, layer, model, refused

from tlplat.kerasio.source import load_source


def test_plain_files_are_read(tmp_path):
    """What the hostile files differ from."""
    for path in (h5(tmp_path / "m.h5"), archive(tmp_path / "m.keras")):
        source = load_source(path)
        assert source.task is not None
        assert source.task.labels == ("0", "1")
        assert source.head is not None
        assert tuple(source.head["weight"].shape) == (2, 3)


@pytest.mark.parametrize("make", [h5, archive], ids=["h5", "keras"])
@pytest.mark.parametrize("name", UNSAFE)
def test_what_would_run_or_read_is_refused(name, make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bad, word = UNSAFE[name]
    path = make(tmp_path / ("m.h5" if make is h5 else "m.keras"), model(bad))
    place = "model_config" if make is h5 else "config.json"
    refused(path, "TL-MODEL-UNSAFE", path.name, place, "not in the allow-list", word)
    assert not (tmp_path / "PWNED").exists()


def test_how_it_was_compiled_is_never_read(tmp_path):
    config = {**model(), "compile_config": {"loss": {"module": "os", "class_name": "system", "config": "touch PWNED"}}}
    assert load_source(archive(tmp_path / "m.keras", config)).task is not None


NOT_READ = {
    "activation": "relu",
    "recurrent_activation": "hard_sigmoid",
    "recurrent_dropout": 0.2,
    "dropout": 1.0,
    "go_backwards": True,
    "stateful": True,
    "return_state": True,
    "time_major": True,
}


@pytest.mark.parametrize("make", [h5, archive], ids=["h5", "keras"])
@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (layer("ConvLSTM2D", "memory", filters=4), ("layer 'memory'", "class ConvLSTM2D", "supported layers", "LSTM")),
        (layer("Masking", "m", mask_value=0.0), ("layer 'm'", "class Masking")),
        *((layer("LSTM", "memory", units=4, **{k: v}), (f"{k}={v}",)) for k, v in NOT_READ.items()),
        (layer("GRU", "g", units=4, reset_after=False), ("reset_after=False",)),
        (layer("GRU", "g", units=4), ("'g'", "reset_after")),
        (layer("Bidirectional", "b", layer=layer("LSTM", "l", units=2), merge_mode="sum"), ("merge_mode=sum",)),
        (layer("Bidirectional", "b", layer=layer("Dense", "l", units=2)), ("'b'", "layer=")),
        (
            layer("Bidirectional", "b", layer=layer("LSTM", "l", units=2, recurrent_dropout=0.1)),
            ("layer.config.recurrent_dropout=0.1",),
        ),
        (
            layer("Bidirectional", "b", layer=layer("LSTM", "l", units=2), backward_layer=layer("LSTM", "l", units=2)),
            ("backward_layer.config.go_backwards=None",),
        ),
        (layer("Conv2DTranspose", "t", filters=2, kernel_size=3, output_padding=1), ("output_padding=1",)),
        (layer("Conv2DTranspose", "t", filters=2, kernel_size=3, dilation_rate=2), ("dilation_rate=2",)),
        (layer("Dense", "plus", module="keras.src.ops.numpy"), ("layer 'plus'", "class Dense")),
        (layer("Dense", "d", units=2, lora_rank=4), ("lora_rank=4",)),
        (layer("Dense", "d", units="many"), ("units=many",)),
        (layer("Dense", "d", units=10**30), ("units=1000",)),
        (layer("Dense", "d", units=True), ("units=True",)),
        (layer("Dense", "d", units=2, activation="my_own"), ("activation=my_own",)),
        (layer("Dense", "d", units=2, dtype="float16"), ("float16",)),
        (layer("Embedding", "e", input_dim=4, output_dim=2, mask_zero=True), ("mask_zero=True",)),
        (layer("Conv2D", "c", filters=2, kernel_size=[3, 3]), ("layer 'c'", "does not take its inputs")),
        (layer("BatchNormalization", "b", axis=0), ("'b'", "axis")),
        (layer("Rescaling", "r", scale=float("nan")), ("scale=nan",)),
    ],
    ids=lambda v: v["class_name"] + "-" + v["config"]["name"] if isinstance(v, dict) else "",
)
def test_layers_and_options_that_are_not_read(bad, words, make, tmp_path):
    refused(make(tmp_path / ("m.h5" if make is h5 else "m.keras"), model(bad)), "TL-MODEL-UNSUPPORTED", *words)


def shaped(shape: list[Any], *layers: dict[str, Any]) -> dict[str, Any]:
    config = model(*layers)
    config["config"]["layers"][0]["config"]["batch_shape"] = shape
    return config


def test_what_a_layer_cannot_take(tmp_path):
    """Rows of another rank; a transposed convolution of which libraries cut an odd place at different ends."""
    refused(archive(tmp_path / "a.keras", model(layer("LSTM", "l", units=4))), "TL-MODEL-UNSUPPORTED", "'l'", "inputs")
    odd = layer("Conv1DTranspose", "t", filters=2, kernel_size=4, padding="same")
    refused(archive(tmp_path / "b.keras", shaped([None, 5, 3], odd)), "TL-MODEL-UNSUPPORTED", "'t'", "padding")


def test_a_sequence_without_end_is_not_walked(tmp_path):
    """A file may declare millions of times: shapes are worked out without them, and weights are looked for at once."""
    begun = time.monotonic()
    long = shaped([None, 1 << 24, 3], layer("LSTM", "l", units=1))
    refused(archive(tmp_path / "m.keras", long), "TL-MODEL-KEYS", "'l'", "0 weights")
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize(
    "config",
    [[], {}, 3, None, {"class_name": "Sequential", "config": {"layers": [3]}}, {"class_name": "Sequential"}],
    ids=str,
)
def test_a_configuration_of_another_form(config, tmp_path):
    refused(archive(tmp_path / "m.keras", json.dumps(config).encode()), "TL-MODEL-CORRUPT", "m.keras")


@pytest.mark.parametrize("text", [b"{", b"\xff\xfe", b"[" * 100_000, b""], ids=["cut", "bytes", "deep", "empty"])
def test_a_configuration_that_is_no_json(text, tmp_path):
    refused(archive(tmp_path / "m.keras", text), "TL-MODEL-CORRUPT", "config.json")


def functional(reads: dict[str, list[str]], output: str = "out") -> dict[str, Any]:
    layers = [layer("InputLayer", "rows", batch_shape=[None, 3]) | {"name": "rows", "inbound_nodes": []}]
    for name, sources in reads.items():
        refs = [{"class_name": "__keras_tensor__", "config": {"keras_history": [s, 0, 0]}} for s in sources]
        kind = layer("Dense", name, units=2) if len(sources) == 1 else layer("Add", name)
        layers.append(kind | {"name": name, "inbound_nodes": [{"args": [refs], "kwargs": {}}]})
    ends = {"input_layers": ["rows", 0, 0], "output_layers": [output, 0, 0]}
    return {"module": "keras", "class_name": "Functional", "config": {"layers": layers, **ends}}


def test_graphs_that_are_none(tmp_path):
    circle = functional({"a": ["b"], "b": ["a"], "out": ["a"]})
    refused(archive(tmp_path / "m.keras", circle), "TL-MODEL-UNSUPPORTED", "circle")
    refused(archive(tmp_path / "n.keras", functional({"out": ["nobody"]})), "TL-MODEL-CORRUPT", "nobody")
    twice = functional({"out": ["rows"]})
    twice["config"]["layers"][1]["inbound_nodes"] *= 2
    refused(archive(tmp_path / "o.keras", twice), "TL-MODEL-UNSUPPORTED", "used 2 times")
    two = functional({"a": ["rows"], "out": ["rows"]})
    two["config"]["output_layers"] = [["a", 0, 0], ["out", 0, 0]]
    refused(archive(tmp_path / "p.keras", two), "TL-MODEL-UNSUPPORTED", "2 inputs or outputs")


def test_models_inside_models_have_an_end(tmp_path):
    deep = layer("Dense", "d", units=2)
    for i in range(12):
        deep = layer("Sequential", f"m{i}", module="keras", layers=[deep])
    refused(archive(tmp_path / "m.keras", model(deep)), "TL-MODEL-UNSUPPORTED", "models inside models")
    hidden = layer("Sequential", "base", module="keras", layers=[UNSAFE["lambda"][0]])
    refused(archive(tmp_path / "n.keras", model(hidden)), "TL-MODEL-UNSAFE", "Lambda")
