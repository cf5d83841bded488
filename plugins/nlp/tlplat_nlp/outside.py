"""Texts for a network from outside of tlplat (ONNX): tokens of the tokeniser beside it, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from tokenizers import Tokenizer

from tlplat.domain import Intake, NetworkInput
from tlplat.errors import ModelError
from tlplat.intake import Feed
from tlplat_nlp.folder import FAMILY, pooling_of, read_json, tokenizer_text
from tlplat_nlp.preprocess import TextPreprocess, read_tokenizer

FEEDS: Mapping[str, Feed] = {
    "input_ids": "rows",
    "attention_mask": "mask",
    "input_mask": "mask",
    "token_type_ids": "zeros",
    "segment_ids": "zeros",
}
"""What inputs of transformers' and of BERT's own names receive."""
TOKENIZER = "tokenizer.json"
PADS = ("[PAD]", "<pad>")
LATE = ("mpnet", *(kind for kind, kin in FAMILY.items() if kin.after_pad))
"""Kinds of models whose first position is behind that of filling."""
INNER = "onnx"
"""A folder inside the model's, where exporters put the graph alone."""


def intake(network: NetworkInput, most: int, warn: Callable[[str], None]) -> Intake:
    """How texts reach the network.

    Args:
        most: tokens of a text.

    Raises:
        ModelError: TL-MODEL-INPUT, it takes no tokens, or more than they tell. TL-MODEL-INCOMPLETE: no tokeniser lies
            beside it. TL-MODEL-TOKENIZER: it cannot be read, belongs to another model, or fills no rows up.
    """
    feeds = _feeds(network)
    if network.told is not None:
        preprocess, config, first = _told(network, most), dict[str, Any](), False
    else:
        folder = _folder(network)
        config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
        content = tokenizer_text(folder / TOKENIZER)
        preprocess, first = TextPreprocess(content, _pad(content, config, folder), most), pooling_of(folder) == "cls"
    longest = _longest(network, config, preprocess.pad)
    if longest is not None and longest < preprocess.width:
        warn(f"{network.file} reads {longest} tokens at most; --max-tokens {preprocess.width} is cut to that")
        preprocess = TextPreprocess(preprocess.tokenizer, preprocess.pad, longest)
    return Intake(
        (preprocess.width,), preprocess.to_json(), labels=_labels(config), feeds=feeds, pad=preprocess.pad, first=first
    )


def _feeds(network: NetworkInput) -> tuple[Feed, ...]:
    names = [i.name.removesuffix(":0") for i in network.inputs]
    alone = len(names) == 1 and names[0] not in FEEDS
    feeds: tuple[Feed | None, ...] = ("rows",) if alone else tuple(FEEDS.get(name) for name in names)
    known = tuple(feed for feed in feeds if feed is not None)
    tokens = all(len(i.shape) == 1 for i in network.inputs) and network.inputs[0].integers
    lengths = {i.shape for i in network.inputs} - {(None,)}
    if known != feeds or len(set(known)) < len(known) or "rows" not in known or not tokens or len(lengths) > 1:
        given = "tokens as whole numbers (rows, tokens): input_ids, with attention_mask and token_type_ids if it likes"
        raise network.misfit("nlp", given, "export the encoder with these inputs and no others")
    return known


def _told(network: NetworkInput, most: int) -> TextPreprocess:
    """As the file says, which tlplat exported."""
    try:
        found = TypeAdapter(TextPreprocess).validate_python(
            {name: (network.told or {}).get(name) for name in TextPreprocess.__dataclass_fields__}
        )
    except ValidationError as error:
        raise ModelError(
            "TL-MODEL-CORRUPT",
            f"{network.file} is damaged: its metadata do not say how texts become tokens",
            where=network.file,
            fix="export it again with tlplat export",
        ) from error
    read_tokenizer(found.tokenizer)
    return TextPreprocess(found.tokenizer, found.pad, max(1, min(found.width, most)))


def _folder(network: NetworkInput) -> Path:
    """Where the tokeniser lies: beside the graph, or above it."""
    folder = (network.folder or Path()).resolve()
    for place in (folder, *([folder.parent] if folder.name == INNER else [])):
        if (place / TOKENIZER).is_file():
            return place
    raise ModelError(
        "TL-MODEL-INCOMPLETE",
        f"no {TOKENIZER} lies beside {network.file}, and a text becomes tokens by its model's own tokeniser",
        where=str((network.folder or Path()) / TOKENIZER),
        fix=f"save the fast tokeniser there with save_pretrained(FOLDER): {TOKENIZER}, and config.json if you have it",
    )


def _pad(content: str, config: Mapping[str, Any], folder: Path) -> int:
    """The token that fills rows up; the tokeniser must have no token beyond the model's vocabulary."""
    tokenizer: Tokenizer = read_tokenizer(content)
    largest, size = max(tokenizer.get_vocab().values(), default=0), config.get("vocab_size")
    if isinstance(size, int) and largest >= size:
        raise ModelError(
            "TL-MODEL-TOKENIZER",
            f"{TOKENIZER} belongs to another model: it has tokens that this one does not know",
            where=str(folder / TOKENIZER),
            found=f"token {largest}",
            expected=f"0 to {size - 1}",
            fix="use tokenizer.json and config.json that were saved with the model",
        )
    named = [tokenizer.token_to_id(token) for token in PADS]
    known = [config.get("pad_token_id"), (tokenizer.padding or {}).get("pad_id"), *named]
    found = next((i for i in known if isinstance(i, int) and i >= 0), None)
    if found is None:
        raise ModelError(
            "TL-MODEL-TOKENIZER",
            f"neither config.json nor {TOKENIZER} says which token fills rows up",
            where=str(folder / TOKENIZER),
            expected=f"pad_token_id in config.json, or a token {' or '.join(PADS)}",
            fix="set pad_token_id in config.json to the token that the model was trained with",
        )
    return found


def _longest(network: NetworkInput, config: Mapping[str, Any], pad: int) -> int | None:
    """Tokens that the graph or its positions bear."""
    positions = config.get("max_position_embeddings")
    late = pad + 1 if config.get("model_type") in LATE else 0
    known = [*(i.shape[0] for i in network.inputs), positions - late if isinstance(positions, int) else None]
    return min((n for n in known if n is not None and n > 0), default=None)


def _labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of a classifier's outputs, in order, where somebody named them."""
    kinds, names = config.get("architectures"), config.get("id2label")
    if not (isinstance(kinds, list) and isinstance(names, dict)):
        return ()
    classifies = any(str(kind).endswith("ForSequenceClassification") for kind in kinds)
    found = [names.get(str(i)) for i in range(len(names))]
    named = all(isinstance(name, str) and not name.startswith("LABEL_") for name in found)
    return tuple(str(name) for name in found) if classifies and named and len(set(found)) == len(found) else ()
