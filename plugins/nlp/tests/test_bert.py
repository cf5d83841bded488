"""The encoder against transformers' own, its mask, its folders."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from tlplat_nlp.bert import BertEncoder
from tlplat_nlp.folder import read_folder
from tlplat_nlp.preprocess import TextPreprocess

from tlplat.errors import ModelError
from tlplat.storage import write_tensors

TEXTS = ["superb film", "the plot is a dull story the ending is hollow", "music"]


def loaded(folder):
    found = read_folder(folder)
    backbone = BertEncoder(**found.base.args)
    backbone.load_state_dict(dict(found.state))
    return backbone.eval(), found


def mean_of_transformers(model, tokenizer, texts, pad):
    rows = [tokenizer.encode(text).ids for text in texts]
    width = max(map(len, rows))
    ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    with torch.no_grad():
        hidden = model.eval()(input_ids=ids, attention_mask=mask).last_hidden_state
    return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
def test_extraction_gives_the_modules_features(pooling, activation, encoder_folder):
    """Texts of many lengths in one batch, with filling, none of it computed; an empty row is zeros."""
    _, found = loaded(encoder_folder)
    encoder = BertEncoder(**{**found.base.args, "pooling": pooling, "activation": activation})
    encoder.load_state_dict(dict(found.state))
    encoder.eval()
    lengths = torch.tensor([5, 1, 9, 5, 0, 17, 9])
    tokens = torch.randint(1, 29, (7, 20), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    tokens[torch.arange(20) >= lengths[:, None]] = 0
    with torch.no_grad():
        wanted, full = encoder(tokens), encoder.extractor("full")(tokens)
        rounded = encoder.extractor("bf16")(tokens)
    filled = lengths > 0
    torch.testing.assert_close(full[filled], wanted[filled], atol=2e-5, rtol=1e-5)
    assert (full[~filled] == 0).all()
    torch.testing.assert_close(rounded[filled], wanted[filled], atol=0.05, rtol=0.05)
    assert not torch.equal(rounded, full)


def test_an_exported_encoder_reads_rows_of_any_width(encoder_folder):
    """Exported, it computes the filling as well, which changes nothing, and no width is fixed."""
    encoder, _ = loaded(encoder_folder)
    encoder.requires_grad_(False)
    tokens = torch.randint(1, 29, (5, 20), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    tokens[torch.arange(20) >= torch.tensor([20, 1, 9, 5, 12])[:, None]] = 0
    auto = torch.export.Dim.AUTO
    program = torch.export.export(encoder, (tokens,), dynamic_shapes=({0: auto, 1: auto},)).module()
    torch.testing.assert_close(program(tokens), encoder(tokens), atol=1e-5, rtol=1e-5)
    short = tokens[1:4, :9]
    torch.testing.assert_close(program(short), encoder(short), atol=1e-5, rtol=1e-5)


def test_an_edited_encoder_runs_its_modules(encoder_folder):
    encoder, _ = loaded(encoder_folder)
    encoder.blocks["layer2"].up = torch.nn.Sequential(encoder.blocks["layer2"].up)
    assert encoder.extractor("full") is None
    encoder, _ = loaded(encoder_folder)
    assert encoder.to(torch.float64).extractor("full") is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
def test_features_are_those_of_transformers(kind, encoder_folder, tmp_path):
    transformers = pytest.importorskip("transformers")
    pad = 1 if kind == "roberta" else 0
    sizes = {"vocab_size": 29, "max_position_embeddings": 40, "pad_token_id": pad}
    if kind == "distilbert":
        config = transformers.DistilBertConfig(**sizes, dim=32, n_layers=2, n_heads=4, hidden_dim=64)
        model = transformers.DistilBertModel(config)
    else:
        classes = {
            "bert": (transformers.BertConfig, transformers.BertModel),
            "roberta": (transformers.RobertaConfig, transformers.RobertaModel),
        }
        config = classes[kind][0](
            **sizes, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
        )
        model = classes[kind][1](config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(tmp_path)
    shutil.copy(encoder_folder / "tokenizer.json", tmp_path)
    backbone, found = loaded(tmp_path)
    preprocess = TextPreprocess(found.tokenizer, found.pad, 32)
    inputs, _ = preprocess.encode(TEXTS)
    with torch.no_grad():
        ours = backbone(inputs.take(torch.arange(3)))
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    torch.testing.assert_close(ours, mean_of_transformers(model, tokenizer, TEXTS, pad), atol=2e-5, rtol=1e-4)


def test_neighbours_and_filling_do_not_matter(encoder_folder):
    backbone, found = loaded(encoder_folder)
    inputs, _ = TextPreprocess(found.tokenizer, found.pad, 32).encode(TEXTS)
    with torch.no_grad():
        together = backbone(inputs.take(torch.arange(3)))
        alone = torch.cat([backbone(inputs.take(torch.tensor([i]))) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_blocks_are_named_and_pool_at_every_depth(encoder_folder):
    backbone, found = loaded(encoder_folder)
    inputs, _ = TextPreprocess(found.tokenizer, found.pad, 32).encode(TEXTS)
    assert list(backbone.blocks) == ["embeddings", "layer1", "layer2"]
    batch = inputs.take(torch.arange(3))
    depths = backbone.depth_features(batch)
    assert [tuple(z.shape) for z in depths] == [(3, n) for n in backbone.block_dims]
    torch.testing.assert_close(depths[-1], backbone(batch))
    assert BertEncoder(**backbone.config()).state_dict().keys() == backbone.state_dict().keys()


def test_cls_pooling_of_a_sentence_transformers_folder(encoder_folder, tmp_path):
    folder = tmp_path / "cls"
    shutil.copytree(encoder_folder, folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}', encoding="utf-8")
    backbone, found = loaded(folder)
    inputs, _ = TextPreprocess(found.tokenizer, found.pad, 32).encode(TEXTS)
    batch = inputs.take(torch.arange(3))
    hidden = backbone.embed(batch)
    for block in backbone.blocks.values():
        hidden = block(hidden)
    torch.testing.assert_close(backbone(batch), hidden[:, 0, :-1])


@pytest.mark.parametrize(
    ("change", "code", "named"),
    [
        ({"model_type": "t5"}, "TL-MODEL-UNSUPPORTED", "t5"),
        ({"model_type": "evil", "auto_map": {"AutoModel": "x.Y"}}, "TL-MODEL-UNSUPPORTED", "never run"),
        ({"position_embedding_type": "relative_key"}, "TL-MODEL-UNSUPPORTED", "relative"),
        ({"hidden_act": "swish"}, "TL-MODEL-CONFIG", "swish"),
        ({"hidden_size": 48}, "TL-MODEL-SHAPE", "config.json"),
        ({"num_hidden_layers": 3}, "TL-MODEL-KEYS", "encoder.layer.2"),
        ({"num_hidden_layers": 1}, "TL-MODEL-KEYS", "encoder.layer.1"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused(encoder_folder, tmp_path, change, code, named):
    folder = tmp_path / "broken"
    shutil.copytree(encoder_folder, folder)
    document = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**document, **change}), encoding="utf-8")
    with pytest.raises(ModelError) as caught:
        read_folder(folder)
    assert caught.value.code == code
    assert named in f"{caught.value} {caught.value.found}"


def test_other_weights_are_not_opened(encoder_folder, tmp_path):
    folder = tmp_path / "pickled"
    shutil.copytree(encoder_folder, folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="not opened") as caught:
        read_folder(folder)
    assert caught.value.code == "TL-MODEL-FORMAT"
    assert "pytorch_model.bin" in str(caught.value.found)


def test_a_flipped_bit_in_our_own_file_is_noticed(encoder_folder, tmp_path):
    folder = tmp_path / "flipped"
    shutil.copytree(encoder_folder, folder)
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-3] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(data))
    with pytest.raises(ModelError) as caught:
        read_folder(folder)
    assert caught.value.code == "TL-MODEL-CORRUPT"


def test_a_head_beside_the_encoder_is_left_out(encoder_folder, tmp_path):
    from tlplat.storage import read_tensors

    folder = tmp_path / "headed"
    shutil.copytree(encoder_folder, folder)
    tensors, _ = read_tensors(folder / "model.safetensors")
    named = {f"bert.{k}": v for k, v in tensors.items()}
    write_tensors(folder / "model.safetensors", {**named, "classifier.weight": torch.zeros(2, 32)})
    assert read_folder(folder).state.keys() == read_folder(encoder_folder).state.keys()


def test_a_broken_tokeniser_is_refused():
    with pytest.raises(ModelError, match="tokeniser") as caught:
        TextPreprocess('{"model": 3}', 0, 32).encode(["a film"])
    assert caught.value.code == "TL-MODEL-TOKENIZER"
