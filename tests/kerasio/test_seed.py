"""The walk of a Keras user: load pretrained_model.h5, fine-tune on a new task, save fine_tuned_model.h5."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import numpy as np
import pytest

import tlplat
from tlplat.cli.entry import main
from tlplat.errors import DataError

pytest.importorskip("h5py")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return x.reshape(-1, 8, 8, 1).astype(np.float32), y


@pytest.fixture(scope="module")
def folder(keras, digits, tmp_path_factory):
    """A folder with a small network that knows the digits 0 to 4, and rows of the digits 5 to 9."""
    x, y = digits
    made = tmp_path_factory.mktemp("seed")
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Rescaling(1 / 16),
            layers.Conv2D(12, 3, padding="same", activation="relu", name="conv"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.1),
            layers.Dense(32, activation="relu", name="hidden"),
            layers.Dense(5, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x[y < 5], y[y < 5], epochs=4, verbose=0)
    model.save(made / "pretrained_model.h5")
    pixels = x[y >= 5].astype(np.uint8)  # as they come: a Keras model takes integers too
    np.savez(made / "rows.npz", x=pixels, y=y[y >= 5])
    return made


@pytest.fixture(scope="module")
def finished(folder):
    """The run, by the command."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TLPLAT_CACHE_DIR", str(folder / "cache"))
        flags = ["--source", "pretrained_model.h5", "--data", "rows.npz", "--strategy", "full_ft", "--out", "my-run"]
        few = ["--labels", "60", "--seeds", "1", "--threads", "1", "--set", "train.steps=60", "--quiet"]
        assert main(["run", "--domain", "arrays", *flags, *few]) == 0
        yield folder / "my-run"


def test_the_fine_tuned_file_predicts_in_plain_keras_what_tlplat_predicts(finished, folder, keras, digits, capfd):
    x, y = digits
    for name in ("fine_tuned_model.h5", "fine_tuned_model.keras"):
        capfd.readouterr()
        assert main(["export", "my-run", "--format", "keras", "-o", name]) == 0
        assert "equal to the model on 16 rows" in capfd.readouterr().out
        tuned = keras.models.load_model(folder / name)
        probabilities = tuned.predict(x[y >= 5], verbose=0)
        assert main(["predict", "my-run", "rows.npz", "--quiet"]) == 0
        rows = list(csv.DictReader(io.StringIO(capfd.readouterr().out)))
        said = np.array([[float(row[f"p({label})"]) for label in "56789"] for row in rows])
        assert np.abs(probabilities - said).max() < 1e-4
        assert (probabilities.argmax(1) + 5 == y[y >= 5]).mean() > 0.8, "it has learnt the new digits"
        old = keras.models.load_model(folder / "pretrained_model.h5")
        assert [layer.name for layer in tuned.layers] == [layer.name for layer in old.layers]


def test_the_model_needs_no_keras(finished, digits):
    """A reload builds the layers from JSON: neither Keras nor h5py is imported, nor the source's file read."""
    code = (
        "import json, sys\n"
        "sys.modules['keras'] = sys.modules['h5py'] = None\n"
        "import numpy as np, tlplat\n"
        "found = tlplat.load_model(sys.argv[1]).decode(np.load(sys.argv[2])['x'][:9])\n"
        "print(json.dumps(found.tolist()))"
    )
    alone = [str(finished / "model"), str(finished.parent / "rows.npz")]
    done = subprocess.run([sys.executable, "-c", code, *alone], capture_output=True, text=True, check=True)
    x, y = digits
    here = tlplat.load_model(finished).decode(x[y >= 5][:9])
    assert np.allclose(np.array(json.loads(done.stdout)), here, atol=1e-6)


def test_a_complete_run_resumes_and_predicts_from_rows_in_memory(finished, digits):
    model = tlplat.load_model(finished)
    assert model.labels == tuple("56789")
    assert list(model.module.backbone.blocks) == ["conv", "hidden"]
    assert main(["resume", str(finished), "--quiet"]) == 0
    with pytest.raises(DataError, match="shape"):
        model.predict(digits[0][:2, :7])


def test_named_outputs_are_a_start(folder, digits, monkeypatch):
    """The source's own classes again: its head serves as it is, once the file's outputs are named."""
    x, y = digits
    monkeypatch.setenv("TLPLAT_CACHE_DIR", str(folder / "cache"))
    names = np.array(["zero", "one", "two", "three", "four"])
    found = tlplat.transfer(
        "arrays",
        (x[y < 5], names[y[y < 5]]),
        source=folder / "pretrained_model.h5",
        source_labels=names.tolist(),
        strategy="zero_shot",
        labels=40,
        seeds=1,
        threads=1,
        train={"steps": 5},
        out=folder / "same",
    )
    zero_shot = next(c for c in found.report["candidates"] if c["key"] == "zero_shot")
    assert zero_shot["mean"] > 0.9
