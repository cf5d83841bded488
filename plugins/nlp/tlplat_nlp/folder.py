"""A transformers folder (config.json, tokenizer.json, safetensors) as an encoder of the BERT family; no code runs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tlplat.errors import ModelError
from tlplat.plan import Ref
from tlplat.storage import read_tensors
from tlplat.weights import need_one_file, read_weights
from tlplat_nlp.bert import ACTIVATIONS, BertEncoder

BERT_LAYER = {
    "attention.self.query": "q",
    "attention.self.key": "k",
    "attention.self.value": "v",
    "attention.output.dense": "out",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "up",
    "output.dense": "down",
    "output.LayerNorm": "norm2",
}
DISTIL_LAYER = {
    "attention.q_lin": "q",
    "attention.k_lin": "k",
    "attention.v_lin": "v",
    "attention.out_lin": "out",
    "sa_layer_norm": "norm1",
    "ffn.lin1": "up",
    "ffn.lin2": "down",
    "output_layer_norm": "norm2",
}
SIZES = {"hidden": "hidden_size", "layers": "num_hidden_layers", "heads": "num_attention_heads"}
MORE_SIZES = {"inner": "intermediate_size", "activation": "hidden_act", "dropout": "hidden_dropout_prob"}
BERT_SIZES = SIZES | MORE_SIZES
DISTIL_SIZES = {
    "hidden": "dim",
    "layers": "n_layers",
    "heads": "n_heads",
    "inner": "hidden_dim",
    "activation": "activation",
    "dropout": "dropout",
}


@dataclass(frozen=True)
class Kin:
    """How a member of the family names things: tensors' prefix, layers, sizes; and where positions start."""

    prefix: str
    layers: str
    names: Mapping[str, str]
    sizes: Mapping[str, str]
    after_pad: bool = False


_BERT = Kin("bert.", "encoder.layer", BERT_LAYER, BERT_SIZES)
_ROBERTA = Kin("roberta.", "encoder.layer", BERT_LAYER, BERT_SIZES, after_pad=True)
FAMILY = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "distilbert": Kin("distilbert.", "transformer.layer", DISTIL_LAYER, DISTIL_SIZES),
}


@dataclass(frozen=True)
class FolderModel:
    """An encoder read from files: its structure, its weights, its tokeniser, the longest input it takes."""

    base: Ref
    state: Mapping[str, Tensor]
    tokenizer: str
    pad: int
    longest: int
    kind: str


def read_model(config: Path, weights: Path, tokenizer: Path, pooling: str = "mean") -> FolderModel:
    """The encoder of these three files.

    Raises:
        ModelError TL-MODEL-UNSUPPORTED: another architecture. TL-MODEL-CONFIG, TL-MODEL-KEYS, TL-MODEL-CORRUPT.
    """
    document = read_json(config)
    kin = _kin(document, config)
    args = _arguments(document, kin, pooling, config)
    tensors, _ = read_tensors(weights)
    state = encoder_state(tensors, kin, args["layers"], str(weights))
    with torch.device("meta"):  # names and shapes alone
        wanted = {name: tuple(t.shape) for name, t in BertEncoder(**args).state_dict().items()}
    found = {name: tuple(t.shape) for name, t in state.items()}
    if wanted != found:
        wrong = sorted(name for name in wanted | found if wanted.get(name) != found.get(name))
        raise ModelError(
            "TL-MODEL-SHAPE",
            f"{len(wrong)} tensors do not fit config.json",
            where=str(weights),
            found=f"{wrong[0]}: {found.get(wrong[0])}",
            expected=str(wanted.get(wrong[0])),
            fix="use the config.json that belongs to these weights",
        )
    return FolderModel(
        base=Ref(BertEncoder.name, args),
        state=state,
        tokenizer=tokenizer_text(tokenizer),
        pad=args["pad"],
        longest=args["positions"],
        kind=str(document["model_type"]),
    )


def folder_of(weights: Path) -> Path:
    """The folder of a weights file that is named alone, if the rest of the encoder lies beside it.

    Raises:
        ModelError TL-MODEL-INCOMPLETE: it does not. What :func:`tlplat.weights.read_weights` raises for a bad file.
    """
    folder = weights.parent
    if weights.name == "model.safetensors" and (folder / "config.json").is_file():
        return folder
    read_weights(weights)
    raise ModelError(
        "TL-MODEL-INCOMPLETE",
        f"{weights.name} holds weights alone, and an encoder needs its config.json and tokenizer.json too",
        where=str(weights),
        expected="a folder with config.json, tokenizer.json and model.safetensors",
        fix="save model and fast tokeniser with save_pretrained(FOLDER), and give that folder",
    )


def read_folder(folder: Path) -> FolderModel:
    """The encoder in a folder as ``save_pretrained`` leaves it; sentence-transformers' pooling is obeyed.

    Raises:
        ModelError TL-MODEL-PATH: no config.json. TL-MODEL-INCOMPLETE: no tokeniser. TL-MODEL-FORMAT: weights, but none
            in safetensors.
    """
    for name, code in (("config.json", "TL-MODEL-PATH"), ("tokenizer.json", "TL-MODEL-INCOMPLETE")):
        if not (folder / name).is_file():
            raise ModelError(
                code,
                f"{folder} holds no {name}",
                where=str(folder / name),
                fix="save model and fast tokeniser with save_pretrained(FOLDER), and give that folder",
            )
    weights = need_one_file(folder)
    return read_model(folder / "config.json", weights, folder / "tokenizer.json", pooling_of(folder))


def encoder_state(tensors: Mapping[str, Tensor], kin: Kin, layers: int, where: str) -> dict[str, Tensor]:
    """The tensors under :class:`BertEncoder`'s names, float32; heads and poolers beside the encoder are left out."""
    found = {re.sub("gamma$", "weight", re.sub("beta$", "bias", _bare(k, kin))): v.float() for k, v in tensors.items()}
    used: set[str] = set()

    def take(name: str) -> Tensor:
        if name not in found:
            raise _keys(where, f"no tensor {name!r}", ", ".join(sorted(found)[:5]) + ", ...")
        used.add(name)
        return found[name]

    state = {f"blocks.embeddings.norm.{p}": take(f"embeddings.LayerNorm.{p}") for p in ("weight", "bias")}
    state["blocks.embeddings.tokens.weight"] = take("embeddings.word_embeddings.weight")
    positions = take("embeddings.position_embeddings.weight")
    if "embeddings.token_type_embeddings.weight" in found:
        positions = positions + take("embeddings.token_type_embeddings.weight")[0]
    state["blocks.embeddings.positions.weight"] = positions
    for number in range(layers):
        for part in ("weight", "bias"):
            here = {new: take(f"{kin.layers}.{number}.{old}.{part}") for old, new in kin.names.items()}
            here["qkv"] = torch.cat([here.pop("q"), here.pop("k"), here.pop("v")])
            state |= {f"blocks.layer{number + 1}.{name}.{part}": tensor for name, tensor in here.items()}
    rest = [k for k in found if k.startswith(("embeddings.", "encoder.", "transformer.")) and k not in used]
    left = [k for k in rest if not k.endswith("position_ids")]
    if left:
        raise _keys(where, f"{len(left)} tensors of the encoder that its family does not have", ", ".join(left[:5]))
    return state


def _bare(name: str, kin: Kin) -> str:
    return name.removeprefix(kin.prefix)


def _kin(document: Mapping[str, Any], config: Path) -> Kin:
    kind = document.get("model_type")
    relative = document.get("position_embedding_type", "absolute") != "absolute"
    if kind in FAMILY and not relative and not document.get("is_decoder"):
        return FAMILY[kind]
    remote = " that brings code of its own, which is never run" if "auto_map" in document else ""
    raise ModelError(
        "TL-MODEL-UNSUPPORTED",
        f"{config.parent.name} is a {kind!r} model{remote}; encoders of the BERT family are read",
        where=str(config),
        found=f"model_type {kind!r}" + (", relative positions" if relative else ""),
        expected=", ".join(FAMILY),
        fix="choose an encoder of that family: most sentence encoders are",
    )


def _arguments(document: Mapping[str, Any], kin: Kin, pooling: str, config: Path) -> dict[str, Any]:
    try:
        args = {ours: document[theirs] for ours, theirs in kin.sizes.items()}
        pad = int(document.get("pad_token_id", 0))
        first = pad + 1 if kin.after_pad else 0
        args |= {
            "vocab": int(document["vocab_size"]),
            "positions": int(document["max_position_embeddings"]) - first,
            "pad": pad,
            "first_position": first,
            "epsilon": float(document.get("layer_norm_eps", 1e-12)),
            "pooling": pooling,
        }
        if args["activation"] not in ACTIVATIONS:
            raise ValueError(f"activation {args['activation']!r} is none of {', '.join(ACTIVATIONS)}")
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            "TL-MODEL-CONFIG",
            f"config.json does not describe an encoder: {error}",
            where=str(config),
            fix="use the config.json that save_pretrained wrote beside the weights",
        ) from error
    return args


def pooling_of(folder: Path) -> str:
    """``mean`` or ``cls``, as a sentence-transformers folder says."""
    path = folder / "1_Pooling" / "config.json"
    return "cls" if path.is_file() and read_json(path).get("pooling_mode_cls_token") else "mean"


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; ModelError TL-MODEL-CONFIG where it holds no JSON."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            "TL-MODEL-CONFIG", f"{path} is no JSON: {error}", where=str(path), fix="restore the file from a copy"
        ) from error
    return document if isinstance(document, dict) else {}


def tokenizer_text(path: Path) -> str:
    """The content of a tokenizer.json; ModelError TL-MODEL-TOKENIZER where it is no text."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ModelError(
            "TL-MODEL-TOKENIZER",
            f"the tokeniser cannot be read: {error}",
            where=str(path),
            fix="give a tokenizer.json as the tokenizers library writes it",
        ) from error


def _keys(where: str, message: str, found: str) -> ModelError:
    return ModelError(
        "TL-MODEL-KEYS",
        f"the weights do not fit: {message}",
        where=where,
        found=found,
        fix="use the weights that belong to this config.json; an encoder is never loaded in part",
    )
