"""An ONNX network as the source for sequences: bases as whole numbers in windows of its length."""

from __future__ import annotations

import pytest
import torch
from commandline import tlplat
from onnxfiles import blind, perceptron
from tlplat_genomics.domain import GenomicsDomain

from tlplat.attribution import attribute
from tlplat.data.examples import TensorInputs
from tlplat.errors import ModelError
from tlplat.intake import NetworkInput
from tlplat.model import TransferModel
from tlplat.onnxio.backbone import OnnxBackbone
from tlplat.onnxio.source import load_source
from tlplat.tasks.classification import Classification

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
    pytest.importorskip("captum")
    told = tlplat("explain", "run", "--json", **place).document["explanation"]
    assert (told["method"], told["unit"], len(told["shown"])) == ("occlusion", "base", 4)


@pytest.mark.parametrize(("length", "seen"), [(40, range(30, 40)), (500, range(300, 310))])
def test_bases_and_stretches_that_the_graph_reads_are_found(length, seen, write):
    """A graph that is blind to all bases but ten: of short windows these are found, of long ones their stretch."""
    pytest.importorskip("captum")
    path = write("net.onnx", b"")
    perceptron(path, length, hidden=9, change=blind("w1", [i for i in range(length) if i not in seen]), kind="INT64")
    source = load_source(str(path), "genomics", lambda n: GenomicsDomain().intake(n, None, None, None))
    torch.manual_seed(0)
    net = OnnxBackbone(**source.base.args)
    net.load_state_dict(dict(source.state))
    model = TransferModel(net, torch.nn.Linear(9, 2)).eval()
    rows = TensorInputs(torch.randint(0, 4, (12, length), dtype=torch.uint8))
    explainer = GenomicsDomain().explainer(dict(source.preprocess), model.backbone)
    found = attribute(model, Classification(["no", "yes"]), explainer, rows)
    assert found.method == "occlusion"
    sizes = found.values.abs().mean(dim=0)
    at = torch.zeros(len(sizes), dtype=torch.bool)
    at[[i * len(sizes) // length for i in seen]] = True
    assert sizes[at].min() > 0.01
    assert float(sizes[~at].max()) == 0


@pytest.mark.parametrize(("shape", "dtype"), [((4, 100), "float32"), ((100,), "float32"), ((None,), "int64")])
def test_other_encodings_say_what_is_given(shape, dtype):
    with pytest.raises(ModelError) as caught:
        GenomicsDomain().intake(NetworkInput("m.onnx", "x", shape, dtype), None, None, None)
    said = caught.value.render()
    assert caught.value.code == "TL-MODEL-INPUT"
    assert "A, C, G, T = 0..3" in said
    assert dtype in said
