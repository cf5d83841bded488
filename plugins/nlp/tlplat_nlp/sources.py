"""Source models: the sentence encoder MiniLM with a head fitted on one kind of rated text, or alone; a folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tlplat.assets import fetch_all
from tlplat.data.examples import Examples, state_digest
from tlplat.domain import DomainContext
from tlplat.features import FeatureStore
from tlplat.model import SourceModel
from tlplat.modelio import load_source
from tlplat.plan import json_hash
from tlplat.tasks.classification import Classification
from tlplat_nlp.assets import KINDS, MINILM_CITATION, MINILM_CONFIG, MINILM_TOKENIZER, MINILM_WEIGHTS
from tlplat_nlp.demo import LABELS, rated_rows
from tlplat_nlp.folder import FolderModel, read_folder, read_model
from tlplat_nlp.preprocess import TextPreprocess

PLAIN = "minilm"
HEADS_VERSION = 1
"""Raise it when the rows or the fit of the sources' heads change."""


def source_name(kind: str) -> str:
    """What users type for MiniLM with a head fitted on a kind of text."""
    return f"{PLAIN}-{kind}"


def kind_of(name: str) -> str | None:
    """The kind of text that a source's head was fitted on, or None."""
    return next((kind for kind in KINDS if source_name(kind) == name), None)


def minilm(context: DomainContext, max_tokens: int) -> SourceModel:
    """all-MiniLM-L6-v2 without a head."""
    config, weights, tokenizer = fetch_all(
        [MINILM_CONFIG, MINILM_WEIGHTS, MINILM_TOKENIZER],
        context.cache,
        offline=context.offline,
        report=context.report,
    )
    provenance = {
        "data": "1.1 billion pairs of sentences (Reddit, citations, questions and answers, ...)",
        "license": MINILM_WEIGHTS.license,
        "citation": MINILM_CITATION,
        "weights_sha256": MINILM_WEIGHTS.sha256,
    }
    return _model(PLAIN, read_model(config, weights, tokenizer), max_tokens, provenance, context)


def with_head(kind: str, context: DomainContext, max_tokens: int) -> SourceModel:
    """MiniLM with a linear head for negative / positive, solved on all rated texts of a kind and then cached."""
    source = minilm(context, max_tokens)
    task = Classification(labels=LABELS)
    asset = KINDS[kind].asset
    key = json_hash(
        {
            "weights": MINILM_WEIGHTS.sha256,
            "texts": asset.sha256,
            "version": [HEADS_VERSION, context.registry.get("backbones", source.base.name).code_version],
            "preprocess": dict(source.preprocess),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        },
        length=64,
    )
    name = source_name(kind)
    if context.dry and not (context.cache / "heads" / key[:2] / f"{key}.safetensors").exists():
        context.warn(f"the source {name} is not in the cache: a run fits its head on {KINDS[kind].title} first")
        return dataclasses.replace(source, name=name, task=task.info(), stand_in=True)

    def solve() -> dict[str, Tensor]:
        rows = labelled_texts(kind, source, context)
        with context.report.task(f"reading {KINDS[kind].title} with {PLAIN}", total=1.0) as advance:
            z = FeatureStore(context.tensors, context.registry).features(source, rows.inputs)
            advance(1.0)
        fit = task.fit_head(z, rows.targets, {})
        facts = torch.tensor([len(rows), fit.validation_loss, fit.chosen["weight_decay"]], dtype=torch.float64)
        return {"weight": fit.weight, "bias": fit.bias, "facts": facts}

    found = context.tensors.get_or_compute("heads", key, solve)
    count, loss, decay = found["facts"].tolist()
    head = {"weight": found["weight"], "bias": found["bias"]}
    return dataclasses.replace(
        source,
        name=name,
        head=head,
        task=task.info(),
        provenance={
            **source.provenance,
            "head": f"softmax regression on {int(count)} {KINDS[kind].title}, rated beyond .5 on either side",
            "head_citation": asset.citation,
            "head_license": asset.license,
            "head_sha256": state_digest(head),
            "files": {asset.name: asset.sha256},
            "rows": int(count),
            "validation": {"log_loss": loss},
            "weight_decay": decay,
        },
    )


def labelled_texts(kind: str, source: SourceModel, context: DomainContext) -> Examples:
    """All rated texts of a kind, encoded for the source."""
    rows, _ = rated_rows(kind, context)
    inputs, _ = TextPreprocess.from_json(source.preprocess).encode(rows.texts)
    return Examples(inputs, torch.tensor([LABELS.index(label) for label in rows.labelled()]), list(rows.ids))


def folder_source(folder: Path, max_tokens: int, context: DomainContext) -> SourceModel:
    """An encoder in a folder: what tlplat saved as a source, or what transformers saved."""
    if (folder / "source.json").is_file():
        return load_source(folder)
    found = read_folder(folder)
    provenance = {
        "data": "not known: a folder of the user's",
        "license": "see the folder",
        "citation": "see the folder",
        "weights_sha256": state_digest(found.state),
    }
    return _model(folder.name, found, max_tokens, provenance, context)


def _model(
    name: str, found: FolderModel, max_tokens: int, provenance: Mapping[str, Any], context: DomainContext
) -> SourceModel:
    width = min(max_tokens, found.longest)
    if width < max_tokens:
        context.warn(f"{name} reads {width} tokens at most; --max-tokens {max_tokens} is cut to that")
    preprocess = TextPreprocess(found.tokenizer, found.pad, width)
    return SourceModel(name, found.base, found.state, None, None, preprocess.to_json(), provenance)
