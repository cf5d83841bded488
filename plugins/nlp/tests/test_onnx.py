"""An ONNX text model as the source: exported from transformers, with several inputs and its tokeniser beside it."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from commandline import tlplat
from onnxfiles import perceptron
from tlplat_nlp.domain import NlpDomain, NlpOptions
from tlplat_nlp.preprocess import TextPreprocess

from tlplat.domain import DataOptions
from tlplat.errors import ModelError
from tlplat.features import frozen_features
from tlplat.onnxio.source import is_onnx, load_source
from tlplat.onnxio.tokens import OnnxTokens

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
QUICK = ("--strategy", "linear_probe,full_ft", "--seeds", "1", "--jobs", "1", "--threads", "1", "--offline", "--json")
GOOD = ("superb", "wonderful", "delightful", "brilliant", "charming", "moving")
BAD = ("dull", "awful", "tedious", "clumsy", "hollow", "annoying")
TEXTS = ["superb film", "the plot is a dull story the ending is hollow", "music", "a moving a camera a scene"]
NAMES = ("input_ids", "attention_mask", "token_type_ids")


def export(
    model: torch.nn.Module, path: Path, outputs: list[str], names=NAMES, shape=(2, 7), free: bool = True
) -> None:
    """As torch does: all inputs of whole numbers, rows and tokens free or as they are."""
    examples = {name: torch.full(shape, int(name != NAMES[2])) for name in names}  # one tensor for two inputs is one
    any_size = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")  # of torch and transformers, at their own code
        patch.setattr(logging.getLogger("torch.onnx"), "level", logging.ERROR)
        program = torch.onnx.export(
            model,
            kwargs=examples,
            dynamo=True,
            dynamic_shapes=dict.fromkeys(names, any_size) if free else None,
            output_names=outputs,
            verbose=False,
        )
    program.save(str(path))


@pytest.fixture(scope="module")
def bert():
    """transformers' BertModel with two layers and weights that tell texts apart."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    model = transformers.BertModel(transformers.BertConfig(vocab_size=29, max_position_embeddings=40, **sizes)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.fixture(scope="module")
def made(bert, encoder_folder, tmp_path_factory) -> Path:
    """model.onnx with last_hidden_state and pooler_output, config.json, tokenizer.json."""
    folder = tmp_path_factory.mktemp("onnx") / "tiny-bert"
    bert.config.save_pretrained(folder)
    shutil.copy(encoder_folder / "tokenizer.json", folder)
    export(bert, folder / "model.onnx", ["last_hidden_state", "pooler_output"])
    return folder


@pytest.fixture
def copied(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "encoder"))


@pytest.fixture
def load(context) -> Callable:
    """``load(source)``: the source, its backbone, and the texts encoded for it."""

    def read(name: Path | str, **options):
        chosen = NlpOptions(**options)
        source = load_source(str(name), "nlp", lambda n: NlpDomain().intake(n, chosen, DataOptions(), context))
        net = OnnxTokens(**json.loads(json.dumps(dict(source.base.args))))
        net.load_state_dict(dict(source.state))
        inputs, _ = TextPreprocess.from_json(source.preprocess).encode(TEXTS)
        return source, net.eval(), inputs

    return read


def wanted(bert, inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states and mask, from transformers."""
    ids = inputs.take(torch.arange(len(inputs))).long()
    with torch.no_grad():
        return bert(input_ids=ids, attention_mask=(ids != 0).long()), (ids != 0)[..., None]


def test_features_are_the_mean_of_transformers_tokens(bert, made, load):
    source, net, inputs = load(made)
    hidden, mask = wanted(bert, inputs)
    mean = (hidden.last_hidden_state * mask).sum(1) / mask.sum(1)
    torch.testing.assert_close(net(inputs.take(torch.arange(4))), mean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(frozen_features(net, inputs), mean, atol=1e-4, rtol=1e-4)
    assert (source.name, source.provenance["features"]) == ("tiny-bert", "last_hidden_state, their mean")
    assert source.head is None
    pooled, net, _ = load(f"{made / 'model.onnx'}#pooler_output")
    torch.testing.assert_close(net(inputs.take(torch.arange(4))), hidden.pooler_output, atol=1e-4, rtol=1e-4)
    assert pooled.provenance["features"] == "pooler_output"


def test_the_first_token_where_the_folder_says_so(bert, copied, load):
    (copied / "1_Pooling").mkdir()
    (copied / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}', encoding="utf-8")
    source, net, inputs = load(copied)
    hidden, _ = wanted(bert, inputs)
    first = hidden.last_hidden_state[:, 0]
    torch.testing.assert_close(net(inputs.take(torch.arange(4))), first, atol=1e-4, rtol=1e-4)
    assert source.provenance["features"] == "last_hidden_state, that of the first token"


def test_a_run_and_predictions_in_another_process(copied, module_reviews, tmp_path):
    """The folder is named; the model folder holds the graph and the tokeniser, and needs neither."""
    rows = [json.dumps({"text": text, "label": label}) for text, label in module_reviews[:120]]
    (tmp_path / "a.jsonl").write_text("\n".join(rows), encoding="utf-8")
    place = {"cwd": tmp_path, "cache": tmp_path / "cache"}
    done = tlplat("run", "--domain", "nlp", "--data", "a.jsonl", "--source", "encoder", *QUICK, "--out", "run", **place)
    assert done.code == 0, done.err
    means = {c["strategy"]: c["mean"] for c in done.document["candidates"]}
    assert means["linear_probe"] > 0.7
    assert any("full_ft moves" in s["reason"] for s in done.document["skipped"])
    shutil.rmtree(copied)
    said = tlplat("predict", "run/model", "a.jsonl", **place)
    assert said.code == 0, said.err
    found = [line.split(",")[1] for line in said.out.splitlines()[1:]]
    assert np.mean([a == label for a, (_, label) in zip(found, module_reviews[:120], strict=True)]) > 0.8
    pytest.importorskip("captum")
    told = tlplat("explain", "run/model", "a.jsonl", "--rows", "1", "--json", **place).document["explanation"]
    assert (told["method"], told["unit"]) == ("occlusion", "word")
    sizes = {piece["name"]: piece["value"] for piece in told["importance"]}
    opinions = {word for word in sizes if word in GOOD + BAD}
    assert len(opinions) > 5
    assert np.mean([sizes[w] for w in opinions]) > 1.2 * np.mean([v for w, v in sizes.items() if w not in opinions])


def test_a_classifier_brings_its_head_and_the_names_of_its_classes(bert, copied, load):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(1)
    whole = transformers.BertForSequenceClassification(bert.config).eval()
    whole.bert.load_state_dict(bert.state_dict())
    whole.config.architectures, whole.config.id2label = [type(whole).__name__], {0: "neg", 1: "pos"}
    whole.config.save_pretrained(copied)
    export(whole, copied / "model.onnx", ["logits"])
    source, net, inputs = load(copied)
    ids = inputs.take(torch.arange(4))
    with torch.no_grad():
        logits = whole(input_ids=ids.long(), attention_mask=(ids != 0).long()).logits
    assert source.task.labels == ("neg", "pos")
    found = net(ids) @ source.head["weight"].T + source.head["bias"]
    torch.testing.assert_close(found, logits, atol=1e-4, rtol=1e-4)


def test_a_graph_of_one_size_and_fewer_inputs(bert, copied, load):
    """One row of 16 tokens at a time, without token types: rows are filled up, and the run says what is cut."""
    export(bert, copied / "model.onnx", ["last_hidden_state", "pooler_output"], NAMES[:2], (1, 16), free=False)
    source, net, inputs = load(copied)
    assert source.preprocess["width"] == 16
    hidden, mask = wanted(bert, inputs)
    mean = (hidden.last_hidden_state * mask).sum(1) / mask.sum(1)
    torch.testing.assert_close(net(inputs.take(torch.arange(4))), mean, atol=1e-4, rtol=1e-4)
    _, _, inputs = load(copied, max_tokens=8)
    assert inputs.width == 8
    torch.testing.assert_close(net(inputs.take(torch.tensor([0, 2]))), mean[[0, 2]], atol=1e-4, rtol=1e-4)


def test_features_of_quantised_graphs_do_not_hang_on_neighbours(copied, load):
    """Dynamic quantisation rounds by the largest number of a batch: such graphs get one text at a time, unfilled."""
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(copied / "model.onnx", copied / "small.onnx")
    source, net, inputs = load(copied / "small.onnx")
    assert source.base.args["rows"] == 1
    together = net(inputs.take(torch.arange(4)))
    alone = torch.cat([net(inputs.take(torch.tensor([i]))) for i in range(4)])
    assert torch.equal(together, alone)
    assert torch.equal(frozen_features(net, inputs), together)


def test_pooled_outputs_of_sentence_encoders_and_folders_of_the_hub(bert, copied, load):
    """sentence_embedding beside token_embeddings; the graph in a folder of its own below the tokeniser's."""

    class Sentences(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = bert

        def forward(self, input_ids, attention_mask):
            hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            mask = attention_mask[..., None].float()
            return hidden, torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1))

    (copied / "model.onnx").unlink()
    (copied / "onnx").mkdir()
    export(Sentences(), copied / "onnx" / "model.onnx", ["token_embeddings", "sentence_embedding"], NAMES[:2])
    source, net, inputs = load(copied)
    hidden, mask = wanted(bert, inputs)
    mean = (hidden.last_hidden_state * mask).sum(1) / mask.sum(1)
    found = net(inputs.take(torch.arange(4)))
    torch.testing.assert_close(found, torch.nn.functional.normalize(mean), atol=1e-4, rtol=1e-4)
    assert (source.name, source.provenance["features"]) == ("encoder", "sentence_embedding")


def test_weights_that_can_move_come_first(copied):
    assert is_onnx(str(copied))
    shutil.copy(copied / "model.onnx", copied / "model.safetensors")
    assert not is_onnx(str(copied))
    assert is_onnx(str(copied / "model.onnx"))


def renamed(path: Path, old: str, new: str) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(path)
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
    for value in model.graph.input:
        value.name = new if value.name == old else value.name
    onnx.save(model, path)


def refused(load, name: Path, code: str, *words: str) -> None:
    with pytest.raises(ModelError) as caught:
        load(name)
    said = caught.value.render()
    assert caught.value.code == code, said
    assert [word for word in words if word not in said] == [], said


def test_inputs_that_texts_do_not_tell(copied, load, tmp_path):
    renamed(copied / "model.onnx", "token_type_ids", "bbox")
    refused(load, copied, "TL-MODEL-INPUT", "takes 3 inputs", "bbox (rows, any) int64", "input_ids")
    perceptron(copied / "model.onnx", 4)
    refused(load, copied, "TL-MODEL-INPUT", "x (rows, 4) float32", "tokens as whole numbers")


def test_no_tokeniser_or_another_models(copied, load):
    other = json.loads((copied / "config.json").read_text(encoding="utf-8"))
    (copied / "config.json").write_text(json.dumps({**other, "vocab_size": 20}), encoding="utf-8")
    refused(load, copied, "TL-MODEL-TOKENIZER", "another model", "token 28", "0 to 19")
    (copied / "config.json").write_text("[" * 100_000, encoding="utf-8")
    refused(load, copied, "TL-MODEL-CONFIG", "config.json")
    (copied / "config.json").unlink()
    assert load(copied, max_tokens=32)[0].preprocess["pad"] == 0
    content = (copied / "tokenizer.json").read_text(encoding="utf-8")
    (copied / "tokenizer.json").write_text(content.replace("[PAD]", "[NIL]"), encoding="utf-8")
    refused(load, copied, "TL-MODEL-TOKENIZER", "which token fills rows up", "pad_token_id")
    for broken in (b"\xff\xfe", b"{}"):
        (copied / "tokenizer.json").write_bytes(broken)
        refused(load, copied, "TL-MODEL-TOKENIZER", "tokenizer.json")
    (copied / "tokenizer.json").unlink()
    refused(load, copied / "model.onnx", "TL-MODEL-INCOMPLETE", "tokenizer.json", "save_pretrained")


def test_more_tokens_than_the_model_has_positions(copied, load):
    """config.json says how many; without it the graph itself fails, which is said before any run."""
    source, _, _ = load(copied, max_tokens=128)
    assert source.preprocess["width"] == 40
    (copied / "config.json").unlink()
    refused(load, copied, "TL-MODEL-UNSUPPORTED", "rows of 128 tokens", "--max-tokens")


@pytest.mark.slow
def test_an_export_of_tlplat_brings_its_tokeniser(encoder_folder, module_reviews, tmp_path):
    """A run's ONNX export as the source of another: tokeniser and classes come along in the file."""
    rows = [json.dumps({"text": text, "label": label}) for text, label in module_reviews]
    (tmp_path / "a.jsonl").write_text("\n".join(rows), encoding="utf-8")
    place = {"cwd": tmp_path, "cache": tmp_path / "cache"}
    run = ("run", "--domain", "nlp", "--data", "a.jsonl", *QUICK)
    assert tlplat(*run, "--source", str(encoder_folder), "--set", "train.steps=20", "--out", "a", **place).code == 0
    assert tlplat("export", "a", "-o", "a.onnx", "--format", "onnx", **place).code == 0
    again = tlplat(*run, "--source", "a.onnx", "--out", "b", **place)
    assert again.code == 0, again.err
    assert {c["strategy"]: c["mean"] for c in again.document["candidates"]}["zero_shot"] > 0.7
