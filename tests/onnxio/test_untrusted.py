"""ONNX files that are hostile, damaged or of another kind: refused by code and place, and nothing is left behind."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from commandline import Outcome, checked

from tlplat.errors import ModelError, ResourceError
from tlplat.intake import Intake, NetworkInput
from tlplat.onnxio.source import load_source


def feed(network: NetworkInput) -> Intake:
    return Intake(tuple(n or 4 for n in network.shape), {})


def refused(path: Path | str, code: str, *words: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_source(str(path), "arrays", feed)
    said = caught.value.render()
    assert caught.value.code == code, said
    assert [word for word in words if word not in said] == [], said


@pytest.fixture
def run(tmp_path, monkeypatch, capfd, rows):
    """``run("model.onnx")`` as users do, in a folder and with a cache where nothing may change."""
    from tlplat.cli.entry import main

    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("TLPLAT_CACHE_DIR", str(tmp_path / "cache"))

    def state() -> dict[Path, int]:
        """Every path with the time of what it holds; a folder's own is that of the check that it can be written."""
        return {p: 0 if p.is_dir() else p.lstat().st_mtime_ns for p in tmp_path.rglob("*")}

    def start(source: str, *words: str, code: str) -> None:
        before = state()
        flags = ("--strategy", "linear_probe", "--seeds", "1", "--jobs", "1", "--threads", "1", "--out", "out")
        exit_code = main(("run", "--domain", "arrays", "--data", str(rows), "--source", source, *flags))
        said = checked(Outcome(exit_code, *capfd.readouterr()))
        assert (said.code, said.error) == (4, code), said.err
        assert [word for word in words if word not in said.err] == [], said.err
        assert state() == before

    return start


def outside(location: str, **more: str):
    """Puts the tensor w1 into the file ``location``."""

    def change(model) -> None:
        tensor = next(t for t in model.graph.initializer if t.name == "w1")
        tensor.ClearField("raw_data")
        tensor.data_location = tensor.EXTERNAL
        for key, value in {"location": location, **more}.items():
            tensor.external_data.add(key=key, value=value)

    return change


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a/../../secret", "..", "", "a\\..\\secret", "C:x"])
def test_external_data_stay_in_their_folder(location, made, run, tmp_path):
    """mdl-onnx-external-traversal: also for a model that is named without a folder."""
    (tmp_path / "secret").write_bytes(b"\1" * 80)
    made(tmp_path / "work" / "model.onnx", outside(location))
    run("model.onnx", "external data", "outside", "model.onnx", code="TL-MODEL-PATH")


@pytest.mark.parametrize("link", ["symlink", "hardlink", "folder", "absolute-folder"])
def test_external_data_behind_links(link, made, run, tmp_path):
    """mdl-onnx-external-traversal."""
    secret, work = tmp_path / "secret", tmp_path / "work"
    secret.mkdir()
    (secret / "data").write_bytes(b"\1" * 80)
    if link == "symlink":
        (work / "data").symlink_to("../secret/data")
    elif link == "hardlink":
        os.link(secret / "data", work / "data")
    else:
        (work / "sub").symlink_to("../secret" if link == "folder" else secret)
    made(work / "model.onnx", outside("data" if "folder" not in link else "sub/data"))
    run("./model.onnx", "external data", "outside", code="TL-MODEL-PATH")


def test_external_data_of_constants_and_inner_graphs(made, onnx, tmp_path):
    """Wherever a tensor stands in the file."""

    def constant(model) -> None:
        tensor = onnx.numpy_helper.from_array(np.ones(5, "f"), "c")
        node = onnx.helper.make_node("Constant", [], ["c"], value=tensor)
        kept = node.attribute[0].t
        kept.ClearField("raw_data")
        kept.data_location = kept.EXTERNAL
        kept.external_data.add(key="location", value="../secret")
        model.graph.node.insert(0, node)

    refused(made(tmp_path / "m.onnx", constant), "TL-MODEL-PATH", "external data", "outside")


def test_external_data_inside_the_folder_are_read(made, tmp_path):
    whole = load_source(str(made(tmp_path / "whole.onnx")), "arrays", feed)
    weights = np.random.default_rng(0).normal(size=(4, 5)).astype("f").tobytes()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "data").write_bytes(b"\0" * 16 + weights)
    at = {"offset": "16", "length": str(len(weights))}
    split = load_source(str(made(tmp_path / "split.onnx", outside("sub/data", **at))), "arrays", feed)
    assert bytes(split.state["blocks.graph.content"].numpy()) == bytes(whole.state["blocks.graph.content"].numpy())


def test_external_data_that_are_not_there_or_too_short(made, tmp_path):
    refused(made(tmp_path / "a.onnx", outside("none")), "TL-MODEL-INCOMPLETE", "none")
    (tmp_path / "short").write_bytes(b"\0" * 8)
    refused(made(tmp_path / "b.onnx", outside("short")), "TL-MODEL-CORRUPT", "b.onnx")
    refused(made(tmp_path / "c.onnx", outside("short", length="80")), "TL-MODEL-CORRUPT", "declares", "stored")
    refused(made(tmp_path / "d.onnx", outside("short", offset="-4")), "TL-MODEL-CORRUPT", "offset")
    os.mkfifo(tmp_path / "pipe")
    refused(made(tmp_path / "e.onnx", outside("pipe")), "TL-MODEL-PATH", "external data")


def test_custom_operators(made, run, tmp_path):
    """mdl-onnx-custom-op."""

    def foreign(model) -> None:
        model.graph.node[1].domain = "evil.custom"
        model.opset_import.add(domain="evil.custom", version=1)

    made(tmp_path / "work" / "model.onnx", foreign)
    run("model.onnx", "custom operator", "evil.custom::Relu", code="TL-MODEL-UNSUPPORTED")


def test_custom_operators_in_inner_graphs(made, onnx, tmp_path):
    def hidden(model) -> None:
        node, value, kind = onnx.helper.make_node, onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
        inner = onnx.helper.make_graph([node("Act", ["h"], ["i"], domain="evil")], "g", [], [value("i", kind, None)])
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "yes"))
        model.graph.node.insert(1, node("If", ["yes"], ["branch"], then_branch=inner, else_branch=inner))

    refused(made(tmp_path / "m.onnx", hidden), "TL-MODEL-UNSUPPORTED", "custom operator", "evil::Act")


@pytest.mark.parametrize("operator", ["Loop", "RandomNormalLike", "EPContext"])
def test_operators_that_an_extractor_must_not_have(operator, made, tmp_path):
    def change(model) -> None:
        model.graph.node[1].op_type = operator
        model.graph.node[1].domain = "com.microsoft" if operator == "EPContext" else ""

    refused(made(tmp_path / "m.onnx", change), "TL-MODEL-UNSUPPORTED", operator, "relu")


@pytest.mark.parametrize(
    "content",
    [np.random.default_rng(0).bytes(1024), b"PK\x03\x04" + b"\0" * 60, b"\x80\x02]q\0.", b"a model", b"", b"\x08\x09"],
    ids=["random", "zip", "pickle", "text", "empty", "header"],
)
def test_garbage(content, run, tmp_path):
    """mdl-onnx-garbage."""
    (tmp_path / "work" / "model.onnx").write_bytes(content)
    run("model.onnx", "model.onnx", "protobuf", code="TL-MODEL-CORRUPT")


def test_a_file_that_is_cut(made, tmp_path):
    path = made(tmp_path / "m.onnx")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "TL-MODEL-CORRUPT", "m.onnx")
    with pytest.raises(ResourceError):
        load_source(str(tmp_path / "none.onnx"), "arrays", feed)


def test_weights_of_another_size_than_they_say(made, tmp_path):
    def short(model) -> None:
        model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:8]

    refused(made(tmp_path / "m.onnx", short), "TL-MODEL-CORRUPT", "no valid model")

    def other(model) -> None:
        model.graph.initializer[0].dims[:] = [5, 4]

    refused(made(tmp_path / "n.onnx", other), "TL-MODEL-UNSUPPORTED", "onnxruntime cannot run")


def test_a_tensor_that_declares_more_than_any_row(made, onnx, tmp_path):
    def wide(model) -> None:
        shape = onnx.numpy_helper.from_array(np.array([1 << 20, 1 << 20], np.int64), "shape")
        model.graph.initializer.append(shape)
        model.graph.node.insert(2, onnx.helper.make_node("ConstantOfShape", ["shape"], ["big"]))

    refused(made(tmp_path / "m.onnx", wide), "TL-MODEL-TOO-BIG", "declares", "big")


def test_a_newer_format(made, onnx, tmp_path):
    def newer(model) -> None:
        model.ir_version = onnx.IR_VERSION + 1

    refused(made(tmp_path / "m.onnx", newer), "TL-MODEL-VERSION", "upgrade")


def test_inputs_and_outputs_that_are_no_rows(made, onnx, tmp_path):
    def two(model) -> None:
        model.graph.input.append(onnx.helper.make_tensor_value_info("mask", onnx.TensorProto.FLOAT, ["rows", 4]))

    refused(made(tmp_path / "a.onnx", two), "TL-MODEL-INPUT", "takes 2 inputs", "mask (rows, 4) float32")

    def parted(model) -> None:
        two(model)
        for value, rows in zip(model.graph.input, (2, 3), strict=True):
            value.type.tensor_type.shape.dim[0].dim_value = rows

    refused(made(tmp_path / "p.onnx", parted), "TL-MODEL-INPUT", "different numbers of rows", "x: 2 rows, mask: 3 rows")

    def words(model) -> None:
        model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.STRING

    refused(made(tmp_path / "b.onnx", words), "TL-MODEL-INPUT", "numbers")

    def whole(model) -> None:
        model.graph.node.append(onnx.helper.make_node("ArgMax", ["y"], ["best"], axis=1))
        model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("best", onnx.TensorProto.INT64, ["rows", 1]))

    refused(made(tmp_path / "c.onnx", whole), "TL-MODEL-OUTPUT", "best", "#TENSOR")
    found = load_source(f"{tmp_path / 'c.onnx'}#z", "arrays", feed)
    assert found.base.args["width"] == 5
    refused(f"{made(tmp_path / 'd.onnx')}#zz", "TL-MODEL-OUTPUT", "did you mean 'z'")
