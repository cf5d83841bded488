"""Images with any number of labels: a table in two forms and Parquet, split, run, predicted, exported; and bad ones."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from commandline import tlplat
from PIL import Image
from tlplat_vision.baselines import NearestNeighbour, PixelSvm
from tlplat_vision.domain import VisionDomain
from tlplat_vision.preprocess import Preprocess

from tlplat.domain import DataOptions
from tlplat.errors import DataError, TlplatError

NAMES = ("blue", "green", "red")
"""Of which green, at one image in twelve, is rare."""
COLOURS = {"red": 0, "green": 1, "blue": 2}


def made(count, seed=0):
    """(image, labels): smooth noise, with more of each colour that it has as a label."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        has = sorted([name for name in ("red", "blue") if rng.random() < 0.5] + ["green"] * (i % 12 == 3))
        coarse = Image.fromarray(rng.integers(0, 130, (6, 6, 3), dtype=np.uint8)).resize((24, 24), 2)
        tint = [90 * (name in has) for name in sorted(COLOURS, key=COLOURS.get)]
        rows.append((Image.fromarray((np.asarray(coarse, dtype=np.int64) + tint).clip(0, 255).astype(np.uint8)), has))
    return rows


def write_table(folder: Path, rows, separator=";", name="shots.csv") -> Path:
    """Images in a folder, and a table with labels as names and as columns."""
    (folder / "images").mkdir(exist_ok=True)
    lines = [",".join(["image", "tags", *NAMES])]
    for i, (image, has) in enumerate(rows):
        image.save(folder / "images" / f"{i:03}.png")
        lines.append(
            ",".join([f"images/{i:03}.png", separator.join(has), *("yes" if n in has else "no" for n in NAMES)])
        )
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / name


def write_parquet(folder: Path, rows) -> Path:
    content = []
    for image, _ in rows:
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        content.append(buffer.getvalue())
    table = pa.table({"image": content, "tags": [has for _, has in rows], "id": [f"{i:03}" for i in range(len(rows))]})
    pq.write_table(table, folder / "shots.parquet")
    return folder / "shots.parquet"


def target_of(context, source, path, **data):
    domain, options = VisionDomain(), VisionDomain.Options()
    given = DataOptions(path, **data)
    domain.check(options, given, context)
    return domain.target(options, given, domain.source(str(source), options, context), context)


def test_every_form_says_the_same(context, kept_source, tmp_path):
    rows = made(72)
    table, parquet = write_table(tmp_path, rows), write_parquet(tmp_path, rows)
    forms = [
        (table, {"target": "tags", "label_separator": ";"}),
        (table, {"target": "blue,green,red"}),
        (parquet, {"target": "tags"}),
    ]
    for path, data in forms:
        found = target_of(context, kept_source, path, **data)
        assert found.task.info().options["multi_label"]
        assert found.task.labels == NAMES
        assert found.title == f"{path.name}: any of blue, green, red"
        each = [
            (i, t.tolist()) for part in (found.pool, found.test) for i, t in zip(part.ids, part.targets, strict=True)
        ]
        got = {Path(name).stem: labels for name, labels in each}
        assert got == {f"{i:03}": [float(n in has) for n in NAMES] for i, (_, has) in enumerate(rows)}
        assert found.data_card["rows_by_label"]["green"] == 6
        assert sum(found.data_card["rows_by_labels_a_row"].values()) == 72
        assert int(found.test.targets[:, 1].sum()) == 3
        assert abs(len(found.test) - 36) < 4
    assert any("have none of the labels in 'tags', and stay" in w for w in context.warnings)
    assert target_of(context, kept_source, table, target="red,green").task.labels == ("red", "green")
    of_source = target_of(context, kept_source, table, target="red,blue")  # whose head is for one of blue and red
    assert of_source.task.labels == ("blue", "red")


def test_near_copies_stay_together_and_a_label_of_copies_is_refused(context, kept_source, tmp_path):
    rows = made(40)
    rows += [(image, has) for image, has in rows[:12]]
    found = target_of(context, kept_source, write_table(tmp_path, rows), target="tags", label_separator=";")
    assert not set(found.pool.groups.tolist()) & set(found.test.groups.tolist())
    lonely = [*rows[:40], *[(rows[0][0], ["lonely"])] * 3]
    with pytest.raises(DataError, match=r"(?s)1 of 4 labels.*'lonely': 3 rows, 1 clusters") as caught:
        target_of(context, kept_source, write_table(tmp_path, lonely), target="tags", label_separator=";")
    assert caught.value.code == "TL-DATA-CLASS-SMALL"


@pytest.mark.parametrize("cls", [PixelSvm, NearestNeighbour])
def test_baselines_say_each_label_alone(cls, context, kept_source, tmp_path):
    found = target_of(context, kept_source, write_parquet(tmp_path, made(120)), target="tags")
    found.pool.targets[:, 1] = 0
    baseline = cls()
    (p,) = baseline.fit_predict(found.pool, [found.test.inputs], found.task, 0)
    assert p.shape == (len(found.test), 3)
    assert (p[:, 1] == 0).all()
    assert ((p >= 0) & (p <= 1)).all()
    right = (p >= 0.5) == (found.test.targets.numpy() > 0)
    assert right[:, [0, 2]].mean() > 0.75
    assert baseline.inference_cost() > 0


SEPARATOR, TYPE, SMALL = "TL-DATA-LABEL-SEPARATOR", "TL-DATA-LABEL-TYPE", "TL-DATA-CLASS-SMALL"
TAGS = {"target": "tags", "label_separator": ";"}
BROKEN = {
    "never": ("{}", {"target": "tags", "label_separator": "|"}, SEPARATOR, ["no cell", "--label-separator ';'"]),
    "word": ("{}images/001.png,,no,no,maybe\n", {"target": "blue,red"}, TYPE, ["line 26", "column red", "maybe"]),
    "missing": ("{}images/001.png,,no,no,\n", {"target": "blue,red"}, "TL-DATA-LABEL-MISSING", ["line 26"]),
    "once": ("{}images/001.png,odd,no,no,no\n", TAGS, SMALL, ["label 'odd': at 1 of 25 rows"]),
    "column": ("{}", {"target": "blue,rde"}, "TL-DATA-COLUMN", ["'rde'", "did you mean 'red'"]),
    "both": ("{}", {"target": "blue,red", "label_separator": ";"}, "TL-USAGE", ["2 columns"]),
    "nowhere": ("{}", {"label_separator": ";"}, "TL-DATA-COLUMN", ["'label'"]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_bad_labels_are_refused_before_a_source_is_loaded(case, context, tmp_path):
    form, data, code, words = BROKEN[case]
    path = write_table(tmp_path, made(24))
    path.write_text(form.format(path.read_text(encoding="utf-8")), encoding="utf-8")
    domain = VisionDomain()
    with pytest.raises(TlplatError) as caught:
        domain.check(domain.Options(), DataOptions(path, **data), context)
    said = caught.value.render()
    assert (caught.value.code, [word for word in words if word not in said]) == (code, []), said


def test_folders_of_classes_and_retrieval_have_one_label(context, folder, tmp_path):
    domain = VisionDomain()
    with pytest.raises(TlplatError, match="sub-folders") as caught:
        domain.check(domain.Options(), DataOptions(folder(2), label_separator=";"), context)
    assert "--label-separator" in caught.value.fix
    data = DataOptions(write_table(tmp_path, made(24)), **TAGS)
    with pytest.raises(TlplatError, match="any number of labels"):
        domain.check(domain.Options(task="retrieval"), data, context)


def test_labels_of_rows_to_predict_are_not_looked_at(context, tmp_path):
    """A column of another kind than labels stands in a file without labels."""
    path = write_parquet(tmp_path, made(3))
    table = pq.read_table(path).append_column("label", pa.array([[["a"]]] * 3))
    pq.write_table(table, path)
    ids, inputs = VisionDomain().encode(path, Preprocess(16, channels=3).to_json(), context)
    assert (len(ids), len(inputs)) == (3, 3)


def test_from_data_to_predictions_elsewhere(kept_source, tmp_path):
    """check-data, run, report, predict, explain, export: through the command line, and ONNX without tlplat."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    write_table(tmp_path, made(96))
    place = {"cwd": tmp_path, "cache": tmp_path / "cache"}
    flags = ("--domain", "vision", "--data", "shots.csv", "--target", "tags", "--label-separator", ";", "--json")
    checked = tlplat("check-data", *flags, "--source", str(kept_source), **place)
    assert checked.code == 0, checked.err
    done = tlplat(
        *("run", *flags, "--source", str(kept_source), "--offline", "--strategy", "linear_probe,full_ft"),
        *("--seeds", "1", "--set", "train.steps=4", "--jobs", "1", "--threads", "1", "--out", "run"),
        **place,
    )
    assert done.code == 0, done.err
    report = done.document
    scores = {c["strategy"]: c["mean"] for c in report["candidates"]}
    assert {"linear_probe", "full_ft", "scratch", "pixel_svm", "nearest_neighbour", "majority"} <= scores.keys()
    assert scores["pixel_svm"] > 0.8
    assert scores["majority"] == 0.5
    (table,) = report["details"][report["verdict"]["winner"]]["tables"]
    assert {row[0] for row in table["rows"]} == {*NAMES, "mean of the labels"}
    assert "Labels: " in (tmp_path / "run" / "report" / "report.html").read_text(encoding="utf-8")
    said = tlplat("predict", "run", "images", "--format", "jsonl", **place)
    assert said.code == 0, said.err
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert len(lines) == 96
    for line in lines:
        assert line["prediction"] == [name for name in NAMES if line["probabilities"][name] >= 0.5]
    out = tlplat("export", "run", "-o", "m.onnx", "--format", "onnx", "--data", "shots.csv", **place)
    assert out.code == 0, out.err
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    assert "sigmoid" in session.get_modelmeta().custom_metadata_map["outputs_text"]
    import tlplat as package

    model = package.load_model(tmp_path / "run")
    images = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    (logits,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    with torch.no_grad():
        ours = model.loaded.task.decode(model.module(images))
    np.testing.assert_allclose(1 / (1 + np.exp(-logits.astype(float))), ours, atol=1e-4)
