"""The user's own images through the domain: folders, tables, Parquet; what is refused, and what is kept."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from tlplat_vision.cnn import SmallCnn
from tlplat_vision.domain import VisionDomain, VisionOptions
from tlplat_vision.preprocess import Preprocess

from tlplat.data.quality import problems
from tlplat.domain import DataOptions, TargetTask
from tlplat.errors import DataError, TlplatError, UsageError
from tlplat.model import SourceModel
from tlplat.plan import Ref


@pytest.fixture
def source() -> SourceModel:
    backbone = SmallCnn(inputs=3)
    return SourceModel(
        "s", Ref(SmallCnn.name, backbone.config()), backbone.state_dict(), None, None, Preprocess(16).to_json(), {}
    )


@pytest.fixture
def target(context, source):
    """Check and encode ``path`` as a run does."""

    def make(path: Path, data: DataOptions | None = None, **options: object) -> TargetTask:
        domain, chosen = VisionDomain(), VisionOptions.model_validate(options)
        asked = dataclasses.replace(data or DataOptions(), path=path)
        domain.check(chosen, asked, context)
        return domain.target(chosen, asked, source, context)

    return make


def table(path: Path, folder: Path, extra: str = "") -> Path:
    files = sorted(folder.rglob("*.png"))
    lines = [f"{p.relative_to(path.parent)},{p.parent.name},g{i // 4}\n" for i, p in enumerate(files)]
    path.write_text("image,label,site\n" + "".join(lines) + extra, encoding="utf-8")
    return path


def test_a_folder_gives_a_class_a_sub_folder(folder, target):
    found = target(folder())
    assert found.task.info().labels == ("blue", "red")
    assert len(found.pool) + len(found.test) == 16
    assert found.pool.inputs.tensor.shape[1:] == (3, 16, 16)
    for part in (found.pool, found.test):
        for name, y in zip(part.ids, part.targets.tolist(), strict=True):
            assert name.startswith(("blue", "red")[y])
    assert found.unit == "image cluster"
    assert found.data_card["split"]["near_copies_across_the_split"] == 0


def test_table_parquet_and_folder_say_the_same(folder, target, tmp_path):
    shots = folder()
    files = sorted(shots.rglob("*.png"))
    plain = [p.read_bytes() for p in files]
    labels = [p.parent.name for p in files]
    pq.write_table(pa.table({"image": plain, "label": labels}), tmp_path / "a.parquet")
    nested = [{"bytes": b, "path": None} for b in plain]
    pq.write_table(pa.table({"picture": nested, "kind": labels}), tmp_path / "b.parquet")
    found = [
        target(shots),
        target(table(tmp_path / "t.csv", shots)),
        target(tmp_path / "a.parquet"),
        target(tmp_path / "b.parquet", DataOptions(target="kind"), image="picture"),
    ]
    for other in found[1:]:
        assert torch.equal(found[0].pool.inputs.tensor, other.pool.inputs.tensor)
        assert torch.equal(found[0].test.targets, other.test.targets)


def test_groups_stay_together(folder, target, tmp_path):
    found = target(table(tmp_path / "t.csv", folder(16)), DataOptions(group="site"))
    number = {name: i for i, name in enumerate(sorted(found.pool.ids + found.test.ids))}
    sites = [{number[name] // 4 for name in part.ids} for part in (found.pool, found.test)]
    assert not sites[0] & sites[1]


def test_copies_stay_together(folder, target):
    shots = folder(10)
    for i in range(10):
        Image.open(shots / "red" / f"{i:03}.png").resize((40, 40)).save(shots / "red" / f"{i:03}-small.jpg")
    found = target(shots)
    for part in (found.pool, found.test):
        names = {name.split("/")[1][:3] for name in part.ids if name.startswith("red")}
        assert len([n for n in part.ids if n.startswith("red")]) == 2 * len(names)


def test_given_test_images(folder, target, context):
    train, held = folder(6, "train"), folder(6, "held")
    found = target(train, DataOptions(test_data=held))
    assert (len(found.pool), len(found.test)) == (12, 12)
    Image.open(train / "red" / "000.png").save(held / "red" / "copy.png")
    with pytest.raises(DataError) as caught:
        target(train, DataOptions(test_data=held))
    assert caught.value.code == "TL-LEAK-DUP"
    assert "copy.png" in str(caught.value.findings[0].where)


def test_junk_is_passed_over_and_other_files_are_named(folder, target, context):
    shots = folder()
    (shots / ".DS_Store").write_bytes(b"x")
    (shots / "red" / "Thumbs.db").write_bytes(b"x")
    (shots / "red" / ".hidden").mkdir()
    (shots / "red" / ".hidden" / "a.png").write_bytes(b"x")
    (shots / "red" / "deeper").mkdir()
    (shots / "red" / "000.png").rename(shots / "red" / "deeper" / "000.png")
    (shots / "red" / "notes.txt").write_text("hello", encoding="utf-8")
    found = target(shots)
    assert "red/deeper/000.png" in [*found.pool.ids, *found.test.ids]
    assert [w for w in context.warnings if "notes.txt" in w]
    assert not [w for w in context.warnings if "DS_Store" in w or "Thumbs" in w]


def refused(make, code: str, *words: str) -> TlplatError:
    with pytest.raises(TlplatError) as caught:
        make()
    assert caught.value.code == code, caught.value
    for word in words:
        assert word in str(caught.value)
    return caught.value


def test_refusals_of_folders(folder, target, tmp_path):
    shots = folder()
    (shots / "green").mkdir()
    (shots / "green" / ".DS_Store").write_bytes(b"x")
    refused(lambda: target(shots), "TL-DATA-EMPTY", "empty class folder", "green")
    (shots / "green" / ".DS_Store").unlink()
    (shots / "green").rmdir()
    half = (shots / "red" / "003.png").read_bytes()
    (shots / "red" / "003.png").write_bytes(half[: len(half) // 2])
    refused(lambda: target(shots), "TL-DATA-IMAGE", "truncated", "003.png")
    (shots / "red" / "003.png").unlink()
    os.symlink("loop.png", shots / "red" / "loop.png")
    refused(lambda: target(shots), "TL-DATA-PATH", "loop")
    (shots / "red" / "loop.png").unlink()
    Image.new("L", (9, 9)).save(shots / "stray.png")
    refused(lambda: target(shots), "TL-DATA-LABEL-MISSING", "stray.png")
    (tmp_path / "none").mkdir()
    refused(lambda: target(tmp_path / "none"), "TL-DATA-EMPTY")
    refused(lambda: target(tmp_path / "nowhere"), "TL-DATA-READ", "nowhere")
    refused(lambda: target(shots, DataOptions(target="x")), "TL-USAGE")
    refused(lambda: target(shots / "blue"), "TL-DATA-LABEL-MISSING")


def test_sides_of_a_split_are_no_classes(folder, target, tmp_path):
    folder(name="both/train")
    folder(name="both/test")
    error = refused(lambda: target(tmp_path / "both"), "TL-USAGE", "not classes")
    assert isinstance(error, UsageError)
    assert "--test-data" in error.fix


def test_one_class_and_a_class_of_one(folder, target):
    shots = folder()
    for path in sorted((shots / "red").iterdir())[1:]:
        path.unlink()
    refused(lambda: target(shots), "TL-DATA-CLASS-SMALL", "red", "1 image ")
    (shots / "red" / "000.png").unlink()
    (shots / "red").rmdir()
    refused(lambda: target(shots), "TL-DATA-ONE-CLASS")


@pytest.mark.parametrize(
    ("extra", "code", "word"),
    [
        ("../../etc/passwd,red,g\n", "TL-DATA-PATH", "leads out"),
        ("/etc/passwd,red,g\n", "TL-DATA-PATH", "leads out"),
        (",red,g\n", "TL-DATA-PATH", "no image"),
        ("gone.png,red,g\n", "TL-DATA-READ", "gone.png"),
        ("shots/red/000.png,,g\n", "TL-DATA-LABEL-MISSING", "1 of 17"),
        ("shots/red/000.png,red\n", "TL-DATA-CSV", "width"),
        ('"shots/red/000.png,red,g\n', "TL-DATA-CSV", ""),
    ],
)
def test_refusals_of_tables(extra, code, word, folder, target, tmp_path):
    refused(lambda: target(table(tmp_path / "t.csv", folder(), extra)), code, word)


def test_more_refusals_of_tables(folder, target, tmp_path):
    path = table(tmp_path / "t.csv", folder())
    refused(lambda: target(path, DataOptions(target="labels")), "TL-DATA-COLUMN", "did you mean 'label'")
    refused(lambda: target(path, image="file"), "TL-DATA-COLUMN", "file")
    path.write_bytes("image,label\nä.png,a\n".encode("latin-1"))
    refused(lambda: target(path), "TL-DATA-ENCODING")
    path.write_text("image,label\n", encoding="utf-8")
    refused(lambda: target(path), "TL-DATA-CSV", "0 rows")
    (tmp_path / "x.json").write_text("{}", encoding="utf-8")
    refused(lambda: target(tmp_path / "x.json"), "TL-DATA-READ", "format")


def test_refusals_of_parquet(folder, target, tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": ["a.png", "b.png"], "label": ["a", "b"]}), path)
    refused(lambda: target(path), "TL-DATA-IMAGE", "row 0", "no bytes")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    refused(lambda: target(path), "TL-DATA-READ")
    pq.write_table(pa.table({"image": [b"garbage", b"x"], "label": ["a", "b"]}), path)
    refused(lambda: target(path), "TL-DATA-IMAGE", "row 0")


def test_decoded_once_then_read_from_the_cache(folder, target, context, monkeypatch):
    """Warnings of decoding come again with the kept images; a changed byte is decoded anew."""
    shots = folder()
    first = Image.open(shots / "red" / "000.png").convert("RGB")
    first.save(shots / "red" / "000.gif", save_all=True, append_images=[Image.new("RGB", first.size)])
    (shots / "red" / "000.png").unlink()
    found = target(shots)
    assert any("2 frames" in w for w in context.warnings)
    context.warnings.clear()

    def never(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr("tlplat_vision.userdata.decode_silenced", never)
    again = target(shots)
    assert torch.equal(found.test.inputs.tensor, again.test.inputs.tensor)
    assert any("2 frames" in w for w in context.warnings)
    (shots / "red" / "001.png").write_bytes((shots / "red" / "002.png").read_bytes())
    with pytest.raises(AssertionError, match="decoded again"):
        target(shots)


def test_options_change_what_the_network_sees(folder, target, context):
    shots = folder(side=40)
    found = target(shots, image_size=24, fit="pad", augment="natural")
    assert found.pool.inputs.tensor.shape[1:] == (3, 24, 24)
    assert found.pool.inputs.augment == "natural"
    assert found.preprocess["size"] == 24
    ids, inputs = VisionDomain().encode(shots / "red", found.preprocess, context)
    assert len(ids) == len(inputs) == 8
    everything = {**dict(zip(found.pool.ids, found.pool.inputs.tensor, strict=True))}
    for name, row in zip(ids, inputs.tensor, strict=True):
        if f"red/{name}" in everything:
            assert torch.equal(row, everything[f"red/{name}"])


def test_one_image_is_data_for_predict(folder, target, context):
    shots = folder()
    ids, inputs = VisionDomain().encode(shots / "red" / "000.png", Preprocess(16).to_json(), context)
    assert (ids, len(inputs)) == (["000.png"], 1)


def test_a_split_in_a_column_and_a_group_across_it(folder, target, tmp_path):
    shots = folder(6)
    files = sorted(shots.rglob("*.png"))
    sides = ["train", "val", "test"] * 4
    lines = [f"{p.relative_to(tmp_path)},{p.parent.name},{s}" for p, s in zip(files, sides, strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(["image,label,fold", *lines]), encoding="utf-8")
    found = target(tmp_path / "t.csv", DataOptions(split="fold"))
    assert (len(found.pool), len(found.test), int(found.pool.validation.sum())) == (8, 4, 4)
    grouped = [f"{line},{'g' if i < 3 else i}" for i, line in enumerate(lines)]
    (tmp_path / "t.csv").write_text("\n".join(["image,label,fold,who", *grouped]), encoding="utf-8")
    found = target(tmp_path / "t.csv", DataOptions(split="fold", group="who"))
    codes = [error.code for error in problems(found.pool, found.test, found.task)]
    assert codes == ["TL-LEAK-GROUP", "TL-LEAK-GROUP"]


def test_labels_in_the_sources_order(folder, context, source):
    from tlplat.tasks.classification import Classification

    known = dataclasses.replace(source, task=Classification(labels=["red", "blue"]).info())
    found = VisionDomain().target(VisionOptions(), DataOptions(path=folder()), known, context)
    assert found.task.info().labels == ("red", "blue")
    assert np.isin(found.pool.targets.numpy(), [0, 1]).all()
