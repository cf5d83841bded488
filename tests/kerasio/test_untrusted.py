"""Keras files that are hostile, damaged or of another kind: refused before anything is built, by code and place.

Nothing here needs Keras: the files are made by hand, as an attacker would make them.
"""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlplat.cli.entry import main
from tlplat.errors import ModelError, PluginError, ResourceError
from tlplat.kerasio.opening import is_keras
from tlplat.kerasio.source import load_source

h5py = pytest.importorskip("h5py")


def layer(kind: str, name: str, module: str | None = "keras.layers", **config: Any) -> dict[str, Any]:
    made = {"class_name": kind, "config": {"name": name, **config}}
    return made if module is None else {"module": module, "registered_name": None, **made}


def model(*layers: dict[str, Any]) -> dict[str, Any]:
    rows = layer("InputLayer", "rows", batch_shape=[None, 3])
    ends = [*layers, layer("Dense", "out", units=2, activation="softmax")]
    return {"module": "keras", "class_name": "Sequential", "config": {"name": "m", "layers": [rows, *ends]}}


def weights(file: Any, legacy: bool, width: int = 3) -> None:
    kernel, bias = np.ones((width, 2), np.float32), np.zeros(2, np.float32)
    if legacy:
        group = file.create_group("model_weights/out")
        group.attrs["weight_names"] = ["out/kernel", "out/bias"]
        group["out/kernel"], group["out/bias"] = kernel, bias
    else:
        file["layers/dense/vars/0"], file["layers/dense/vars/1"] = kernel, bias


def h5(path: Path, config: Any = None, more: Callable[[Any], None] = lambda file: None) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(model() if config is None else config)
        weights(file, legacy=True)
        more(file)
    return path


def archive(
    path: Path,
    config: Any = None,
    more: Callable[[Any], None] = lambda file: None,
    extra: dict[str, bytes] | None = None,
) -> Path:
    inner = io.BytesIO()
    with h5py.File(inner, "w") as file:
        weights(file, legacy=False)
        more(file)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        text = config if isinstance(config, bytes) else json.dumps(model() if config is None else config).encode()
        bundle.writestr("config.json", text)
        bundle.writestr("metadata.json", "{}")
        bundle.writestr("model.weights.h5", inner.getvalue(), zipfile.ZIP_STORED)
        for name, content in (extra or {}).items():
            bundle.writestr(name, content)
    return path


def refused(path: Path, code: str, *words: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_source(path)
    said = caught.value.render()
    assert caught.value.code == code, said
    assert [word for word in words if word not in said] == [], said


def test_plain_files_are_read(tmp_path):
    """What the hostile files differ from."""
    for path in (h5(tmp_path / "m.h5"), archive(tmp_path / "m.keras")):
        source = load_source(path)
        assert source.task is not None
        assert source.task.labels == ("0", "1")
        assert source.head is not None
        assert tuple(source.head["weight"].shape) == (2, 3)


MARK = "import os; os.system('touch PWNED')"
UNSAFE = {
    "module-os": (layer("system", "x", module="os", command="touch PWNED"), "'os'"),
    "module-own": (layer("Dense", "x", module="mine.layers", units=2), "'mine.layers'"),
    "module-near": (layer("Dense", "x", module="keras.layers2", units=2), "keras.layers2"),
    "module-utils": (layer("get_file", "x", module="keras.utils", origin="http://127.0.0.1/x"), "keras.utils"),
    "lambda": (layer("Lambda", "x", function={"class_name": "__lambda__", "config": {"code": MARK}}), "Lambda"),
    "lambda-inside": (
        layer("Dense", "x", units=2, kernel_initializer={"class_name": "__lambda__", "config": {"code": MARK}}),
        "__lambda__",
    ),
    "function-inside": (
        layer("Dense", "x", units=2, activation={"module": "builtins", "class_name": "function", "config": "exec"}),
        "builtins",
    ),
    "vocabulary": (layer("StringLookup", "x", vocabulary="/etc/passwd"), "StringLookup"),
    "saved-model": (layer("TFSMLayer", "x", filepath="http://127.0.0.1/model"), "TFSMLayer"),
    "torch": (layer("TorchModuleWrapper", "x", module={"module": "torch", "class_name": "Linear"}), "not in the"),
}


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


def bomb(file: Any) -> None:
    file.create_dataset("zeros", shape=(50_000_000, 50_000_000), dtype="f4", chunks=(1000, 1000))


@pytest.mark.parametrize("make", [h5, archive], ids=["h5", "keras"])
def test_a_data_set_that_declares_more_than_is_stored(make, tmp_path):
    path = make(tmp_path / ("m.h5" if make is h5 else "m.keras"), None, bomb)
    start = time.process_time()
    refused(path, "TL-MODEL-TOO-BIG", "declares", "stored", "10000000000000000 bytes", "zeros")
    assert time.process_time() - start < 1


def many(file: Any) -> None:
    for i in range(40):
        file.create_dataset(f"part{i}", shape=(1_000_000,), dtype="f8", chunks=(1000,))


def test_what_many_data_sets_declare_is_added_up(tmp_path):
    refused(h5(tmp_path / "m.h5", None, many), "TL-MODEL-TOO-BIG", "declares")


def test_a_layer_that_declares_more_than_any_row(tmp_path):
    wide = model(layer("Reshape", "r", target_shape=[1, 1, 3]), layer("ZeroPadding2D", "z", padding=[1 << 15, 1 << 15]))
    refused(h5(tmp_path / "m.h5", wide), "TL-MODEL-TOO-BIG", "declares", "'z'")
    refused(h5(tmp_path / "n.h5", model(layer("Dense", "d", units=1 << 24))), "TL-MODEL-KEYS", "'d'")


def test_links_and_data_outside(tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = np.ones(4, np.float32)
    (tmp_path / "raw").write_bytes(b"\0" * 16)

    def soft(file: Any) -> None:
        file["model_weights/link"] = h5py.SoftLink("/model_weights/out")

    def external_link(file: Any) -> None:
        file["model_weights/link"] = h5py.ExternalLink(str(secret), "/x")

    def external(file: Any) -> None:
        file.create_dataset("raw", (4,), "f4", external=[(str(tmp_path / "raw"), 0, 16)])

    def virtual(file: Any) -> None:
        layout = h5py.VirtualLayout((4,), "f4")
        layout[:] = h5py.VirtualSource(str(secret), "x", (4,))
        file.create_virtual_dataset("virtual", layout)

    for i, (make, word) in enumerate(
        [(soft, "SoftLink"), (external_link, "ExternalLink"), (external, "raw"), (virtual, "secret.h5")]
    ):
        for build, ending in ((h5, "h5"), (archive, "keras")):
            path = build(tmp_path / f"m{i}.{ending}", None, make)
            refused(path, "TL-MODEL-PATH", "outside", word)


def test_groups_that_hold_themselves_end(tmp_path):
    def circle(file: Any) -> None:
        file["model_weights/self"] = file["model_weights"]

    assert load_source(h5(tmp_path / "m.h5", None, circle)).task is not None


def test_filters_that_are_plug_ins(tmp_path):
    def packed(file: Any) -> None:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((4,))
        plist.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, (0,))
        space = h5py.h5s.create_simple((4,))
        h5py.h5d.create(file.id, b"packed", h5py.h5t.IEEE_F32LE, space, plist)

    refused(h5(tmp_path / "m.h5", None, packed), "TL-MODEL-UNSAFE", "32001", "packed")


def test_weights_that_do_not_fit(tmp_path):
    refused(h5(tmp_path / "a.h5", model(layer("Dense", "more", units=3))), "TL-MODEL-KEYS", "'more'", "0 weights")

    def wider(file: Any) -> None:
        del file["model_weights/out"]
        weights(file, legacy=True, width=5)

    refused(h5(tmp_path / "b.h5", None, wider), "TL-MODEL-SHAPE", "out", "(5, 2)", "(3, 2)")

    def words(file: Any) -> None:
        del file["model_weights/out/out/bias"]
        file["model_weights/out/out/bias"] = np.array([b"a", b"b"])

    refused(h5(tmp_path / "c.h5", None, words), "TL-MODEL-DTYPE", "'out'")

    def renamed(file: Any) -> None:
        file["layers/dense/vars"].attrs["name"] = "another"

    refused(archive(tmp_path / "d.keras", None, renamed), "TL-MODEL-KEYS", "another")
    with pytest.raises(ModelError) as caught:
        load_source(h5(tmp_path / "e.h5"), ["only"])
    assert caught.value.code == "TL-MODEL-LABELS"


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a\\..\\x", "C:x"])
def test_members_that_lie_outside(name, tmp_path):
    refused(archive(tmp_path / "m.keras", extra={name: b"x"}), "TL-MODEL-PATH", "member")
    assert not (tmp_path.parent / "x").exists()


def test_archives_that_are_bombs_links_or_incomplete(tmp_path):
    path = archive(tmp_path / "m.keras", extra={"assets/zeros": b"\0" * 50_000_000})
    refused(path, "TL-MODEL-TOO-BIG", "ratio")
    with zipfile.ZipFile(archive(tmp_path / "n.keras"), "a") as bundle:
        link = zipfile.ZipInfo("assets/link")
        link.external_attr = 0o120777 << 16
        bundle.writestr(link, "/etc/passwd")
    refused(tmp_path / "n.keras", "TL-MODEL-PATH", "member", "link")
    with zipfile.ZipFile(tmp_path / "o.keras", "w") as bundle:
        bundle.writestr("config.json", "{}")
    refused(tmp_path / "o.keras", "TL-MODEL-INCOMPLETE", "model.weights.h5")
    with h5py.File(tmp_path / "p.h5", "w") as file:
        weights(file, legacy=True)
    refused(tmp_path / "p.h5", "TL-MODEL-INCOMPLETE", "model_config")
    with pytest.warns(UserWarning, match="Duplicate"):
        archive(tmp_path / "q.keras", extra={"config.json": b"{}"})
    refused(tmp_path / "q.keras", "TL-MODEL-CORRUPT", "one name")


def test_damaged_files(tmp_path):
    (tmp_path / "empty.h5").write_bytes(b"")
    refused(tmp_path / "empty.h5", "TL-MODEL-CORRUPT", "empty.h5", "0 bytes")
    (tmp_path / "text.keras").write_text("a model", encoding="utf-8")
    refused(tmp_path / "text.keras", "TL-MODEL-CORRUPT", "neither")
    for path in (h5(tmp_path / "m.h5"), archive(tmp_path / "m.keras")):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        refused(path, "TL-MODEL-CORRUPT", "truncated")
    with pytest.raises(ResourceError):
        load_source(tmp_path / "none.h5")


@pytest.mark.parametrize("make", [h5, archive], ids=["h5", "keras"])
def test_any_flipped_byte_is_a_model_or_a_refusal(make, tmp_path):
    """Never another exception: 150 places, spread over the file."""
    path = make(tmp_path / "m")
    whole = path.read_bytes()
    for at in np.random.default_rng(0).choice(len(whole), 150, replace=False):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            load_source(path)
        except ModelError:
            continue


def test_kinds_are_told_by_content(tmp_path):
    assert is_keras(h5(tmp_path / "a.bin"))
    assert is_keras(archive(tmp_path / "b.zip"))
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as bundle:
        bundle.writestr("x", "y")
    assert not is_keras(tmp_path / "c.zip")
    assert not is_keras(tmp_path)


def test_without_h5py_the_extra_is_named(tmp_path, monkeypatch):
    path = archive(tmp_path / "m.keras")
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(PluginError) as caught:
        load_source(path)
    assert (caught.value.code, caught.value.fix) == ("TL-PLUGIN-EXTRA", "pip install 'tlplat[keras]'")


def state_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("bomb.h5", "TL-MODEL-TOO-BIG", ("declares", "stored")),
        ("os.keras", "TL-MODEL-UNSAFE", ("config.json", "not in the allow-list")),
        ("lookup.keras", "TL-MODEL-UNSAFE", ("config.json", "not in the allow-list")),
        ("lstm.h5", "TL-MODEL-UNSUPPORTED", ("layer", "class", "supported layers")),
        ("lambda.h5", "TL-MODEL-UNSAFE", ("Lambda", "not in the allow-list")),
    ],
)
def test_the_command_refuses_and_leaves_no_trace(name, code, words, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TLPLAT_CACHE_DIR", str(tmp_path / "cache"))
    h5(tmp_path / "bomb.h5", None, bomb)
    archive(tmp_path / "os.keras", model(UNSAFE["module-os"][0]))
    archive(tmp_path / "lookup.keras", model(UNSAFE["vocabulary"][0]))
    h5(tmp_path / "lstm.h5", model(layer("ConvLSTM2D", "memory", filters=4)))
    h5(tmp_path / "lambda.h5", model(UNSAFE["lambda"][0]))
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", x=x, y=(x[:, 0] > 0).astype(int))
    before = state_of(tmp_path)
    flags = ["--domain", "arrays", "--source", name, "--data", "rows.npz", "--out", "out", "--threads", "1"]
    assert main(["run", *flags]) == 4
    said = capfd.readouterr().err
    assert said.splitlines()[0].startswith(f"tlplat: error [{code}]: "), said
    assert [word for word in (name, "fix: ", *words) if word not in said] == [], said
    assert "Traceback" not in said
    assert state_of(tmp_path) == before
    assert main(["run", *flags, "--json"]) == 4
    assert json.loads(capfd.readouterr().out)["error"]["code"] == code
