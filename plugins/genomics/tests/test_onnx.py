"""An ONNX network as the source for sequences: bases as whole numbers in windows of its length."""

from __future__ import annotations

import pytest
from commandline import tlplat
from onnxfiles import perceptron
from tlplat_genomics.domain import GenomicsDomain

from tlplat.errors import ModelError
from tlplat.intake import NetworkInput

pytest.importorskip("onnxruntime")
QUICK = ("--strategy", "linear_probe", "--seeds", "1", "--jobs", "1", "--threads", "1", "--offline", "--json")


def test_a_run_and_predictions(dna, write, tmp_path):
    perceptron(tmp_path / "net.onnx", 40, kind="INT64")
    tails = {"yes": "GCGCGCGCGC", "no": "ATATATATAT"}
    records = [f">r{i} {name}\n{dna(30)}{tails[name]}\n" for i in range(60) for name in [("yes", "no")[i % 2]]]
    write("rows.fasta", "".join(records))
    place = {"cwd": tmp_path, "cache": tmp_path / "cache"}
    flags = ("--domain", "genomics", "--data", "rows.fasta", "--labels-from", "header", "--source", "net.onnx")
    done = tlplat("run", *flags, *QUICK, "--out", "run", **place)
    assert done.code == 0, done.err
    assert {"linear_probe", "kmer_logistic"} <= {c["strategy"] for c in done.document["candidates"]}
    said = tlplat("predict", "run", "rows.fasta", **place)
    assert said.code == 0, said.err
    assert len(said.out.splitlines()) == 61


@pytest.mark.parametrize(("shape", "dtype"), [((4, 100), "float32"), ((100,), "float32"), ((None,), "int64")])
def test_other_encodings_say_what_is_given(shape, dtype):
    with pytest.raises(ModelError) as caught:
        GenomicsDomain().intake(NetworkInput("m.onnx", "x", shape, dtype), None, None, None)
    said = caught.value.render()
    assert caught.value.code == "TL-MODEL-INPUT"
    assert "A, C, G, T = 0..3" in said
    assert dtype in said
