"""Keras files whose stored data, archives or bytes are hostile or damaged: refused by code and place."""

from __future__ import annotations

import json
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kerasio.forged import UNSAFE, archive, h5, layer, model, refused, weights

from tlplat.cli.entry import main
from tlplat.errors import ModelError, PluginError, ResourceError
from tlplat.kerasio.opening import is_keras
from tlplat.kerasio.source import load_source

h5py = pytest.importorskip("h5py")


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
