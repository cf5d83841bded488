"""Fixtures: a tiny encoder with a real tokeniser in a transformers folder, rows of text, files, contexts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from tlplat.registry import Registry
from tlplat.storage import write_tensors
from tlplat.testing.kit import kit_registry


@pytest.fixture
def registry() -> Registry:
    return kit_registry("domains", "nlp")


GOOD = ("superb", "wonderful", "delightful", "brilliant", "charming", "moving")
BAD = ("dull", "awful", "tedious", "clumsy", "hollow", "annoying")
PLAIN = ("film", "actor", "scene", "story", "music", "camera", "plot", "ending", "script", "director", "the", "a", "is")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
CONFIG = {
    "model_type": "bert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "max_position_embeddings": 64,
    "type_vocab_size": 2,
    "pad_token_id": 0,
    "layer_norm_eps": 1e-12,
}


def word_tokenizer() -> Tokenizer:
    """Words of the fixtures' vocabulary, as BERT wraps them."""
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *GOOD, *BAD, *PLAIN])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return made


def bert_tensors(vocab: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights under the names that transformers' BertModel has."""
    generator = torch.Generator().manual_seed(seed)
    hidden, inner = CONFIG["hidden_size"], CONFIG["intermediate_size"]

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * 0.3

    tensors = {
        "embeddings.word_embeddings.weight": draw(vocab, hidden),
        "embeddings.position_embeddings.weight": draw(64, hidden) * 0.1,
        "embeddings.token_type_embeddings.weight": draw(2, hidden),
        "embeddings.LayerNorm.weight": 1 + draw(hidden),
        "embeddings.LayerNorm.bias": draw(hidden),
    }
    for layer in range(2):
        at = f"encoder.layer.{layer}"
        for name, shape in {
            "attention.self.query": (hidden, hidden),
            "attention.self.key": (hidden, hidden),
            "attention.self.value": (hidden, hidden),
            "attention.output.dense": (hidden, hidden),
            "intermediate.dense": (inner, hidden),
            "output.dense": (hidden, inner),
        }.items():
            tensors[f"{at}.{name}.weight"] = draw(*shape)
            tensors[f"{at}.{name}.bias"] = draw(shape[0])
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            tensors[f"{at}.{name}.weight"] = 1 + draw(hidden)
            tensors[f"{at}.{name}.bias"] = draw(hidden)
    return tensors


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory) -> Path:
    """A transformers folder: config.json, tokenizer.json, model.safetensors of a random two-layer BERT."""
    folder = tmp_path_factory.mktemp("encoder") / "tiny"
    folder.mkdir()
    tokenizer = word_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    vocab = tokenizer.get_vocab_size()
    (folder / "config.json").write_text(json.dumps({**CONFIG, "vocab_size": vocab}), encoding="utf-8")
    write_tensors(folder / "model.safetensors", bert_tensors(vocab))
    return folder


def made_reviews(rng: np.random.Generator, count: int) -> list[tuple[str, str]]:
    """(text, label) rows whose adjective gives the label away."""
    rows = []
    for i in range(count):
        label, words = (("pos", GOOD), ("neg", BAD))[i % 2]
        filler = " ".join(rng.choice(PLAIN, 9))
        rows.append((f"{filler} {rng.choice(words)} {' '.join(rng.choice(PLAIN, 5))} {rng.choice(words)}", label))
    return rows


@pytest.fixture
def reviews(rng) -> Callable[[int], list[tuple[str, str]]]:
    """Make so many reviews."""
    return lambda count: made_reviews(rng, count)


@pytest.fixture(scope="module")
def module_reviews() -> list[tuple[str, str]]:
    """160 reviews, made once."""
    return made_reviews(np.random.default_rng(1), 160)
