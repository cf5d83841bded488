"""Explanations of texts: a planted word is found, special tokens and filling have no part."""

import pytest
import torch
from tlplat_nlp.bert import BertEncoder
from tlplat_nlp.domain import NlpDomain
from tlplat_nlp.folder import read_folder
from tlplat_nlp.pieces import TokensOfText
from tlplat_nlp.preprocess import TextPreprocess
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn

from tlplat.attribution import attribute
from tlplat.importance import by_text
from tlplat.model import TransferModel
from tlplat.strategies.side_tune import SideTuned
from tlplat.tasks.classification import Classification

TASK = Classification(["bad", "good"])
TEXTS = [
    "the film is superb",
    "a superb story",
    "superb music the actor",
    "the plot",
    "is a director",
    "the scene the end",
]


@pytest.fixture
def planted(encoder_folder):
    """The tiny encoder, to which every word but one is the unknown word; its inputs of TEXTS; its explainer."""
    found = read_folder(encoder_folder)
    preprocess = TextPreprocess(found.tokenizer, found.pad, 32)
    backbone = BertEncoder(**found.base.args)
    backbone.load_state_dict(dict(found.state))
    explainer = TokensOfText(preprocess)
    inputs, _ = preprocess.encode(TEXTS)
    superb = int(preprocess.words("superb")[0][1])
    table = backbone.blocks["embeddings"].tokens.weight
    with torch.no_grad():
        words = [i for i in range(len(table)) if i not in {superb, preprocess.pad, *explainer.special}]
        table[words] = table[explainer.mask].clone()
    torch.manual_seed(0)
    return backbone.eval(), inputs, explainer


def by_token(backbone, inputs, explainer):
    torch.manual_seed(0)
    model = TransferModel(backbone, nn.Linear(backbone.feature_dim, 2)).eval()
    found = attribute(model, TASK, explainer, inputs)
    return found, explainer.texts(inputs.take(torch.arange(len(inputs))))


def test_gradients_find_the_planted_word(planted):
    found, texts = by_token(*planted)
    assert found.method == "integrated gradients"
    assert found.gap is not None
    assert found.gap <= 0.02
    assert "[UNK] for every token" in found.against
    for row, values in zip(texts, found.values.tolist(), strict=True):
        for text, value in zip(row, values, strict=True):
            assert (abs(value) > 1e-3) == (text == " superb"), (text, value)
    told = by_text(found, texts)
    assert [p["name"] for p in told] == ["superb", "the"]
    assert told[0]["rows"] == 3


def test_a_network_beside_the_encoder_is_occluded(planted):
    backbone, inputs, explainer = planted
    found, texts = by_token(SideTuned(backbone, 1), inputs, explainer)
    assert found.method == "occlusion"
    for row, values in zip(texts, found.values.tolist(), strict=True):
        for text, value in zip(row, values, strict=True):
            if text:
                assert (abs(value) > 1e-4) == (text == " superb"), (text, value)


def test_special_tokens_and_filling_are_not_shown(planted):
    _, inputs, explainer = planted
    texts = explainer.texts(inputs.take(torch.arange(2)))
    assert texts[0][:6] == ["", " the", " film", " is", " superb", ""]
    assert set(texts[1][5:]) == {""}


def test_pieces_of_words_are_run_together_as_they_were():
    pieces = {"[PAD]": 0, "[UNK]": 1, "[MASK]": 2, "play": 3, "##ing": 4}
    word = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]"))
    word.pre_tokenizer = pre_tokenizers.Whitespace()
    preprocess = TextPreprocess(word.to_str(), pad=0, width=8)
    assert "".join(preprocess.text_of(i) for i in preprocess.words("playing play")[0]) == " playing play"
    assert preprocess.special(("[MASK]", "[UNK]")) == ([], 2)
    assert preprocess.special(("<mask>",)) == ([], 0)
    pairs = Tokenizer(models.BPE({"\u0120a": 0, "b": 1}, [], byte_fallback=False))
    said = TextPreprocess(pairs.to_str(), pad=0, width=8)
    assert [said.text_of(0), said.text_of(1)] == [" a", "b"]


def test_the_domain_explains_by_tokens(encoder_folder):
    found = read_folder(encoder_folder)
    preprocess = TextPreprocess(found.tokenizer, found.pad, 32).to_json()
    assert isinstance(NlpDomain().explainer(preprocess, BertEncoder(**found.base.args)), TokensOfText)
