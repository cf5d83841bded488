"""The nlp domain: sentiment from one kind of text to another, the user's own texts, sources, baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from tlplat.assets import Asset
from tlplat.data.examples import Examples, Inputs
from tlplat.data.guess import input_and_target, of_texts
from tlplat.domain import (
    Backbone,
    Baseline,
    DataOptions,
    Domain,
    DomainContext,
    DomainOptions,
    Explainer,
    Intake,
    NetworkInput,
    SourceInfo,
    TargetTask,
)
from tlplat.errors import UsageError
from tlplat.model import SourceModel
from tlplat.tasks.classification import Classification
from tlplat_nlp import outside, userdata
from tlplat_nlp.assets import ALL, KINDS, MINILM_CITATION, TEXTS_CITATION
from tlplat_nlp.baselines import TfidfLogistic
from tlplat_nlp.demo import sentiment, topic
from tlplat_nlp.folder import folder_of
from tlplat_nlp.labels import encode_rows
from tlplat_nlp.pieces import TokensOfText
from tlplat_nlp.preprocess import TextPreprocess
from tlplat_nlp.sources import PLAIN, folder_source, kind_of, labelled_texts, minilm, source_name, with_head
from tlplat_nlp.split import split_rows

DEMO_TEST_ROWS = 600
TEST_SHARE = 0.3
"""Of the user's rows, where no split is given."""
MOST_LENT = 1024
"""So many texts of the source are lent to strategies that align source and target."""
TEXTS = ("text", "texts", "sentence", "review", "body", "content", "message", "document", "comment")
"""Usual names of a column of texts."""
ORDER = ("tweets", "amazon", "nyt", "movies")


class NlpOptions(DomainOptions):
    """Options of ``tlplat run --domain nlp``."""

    task: Literal["sentiment", "topic"] = Field(
        "sentiment", description="the demo: negative or positive, or which of four topics a text is about"
    )
    texts: Literal["movies", "amazon", "nyt", "tweets"] = Field(
        "movies", description="kind of text that the demo transfers to: film, product, editorial sentences, or tweets"
    )
    text: str = Field("text", description="column of texts in your data")
    max_tokens: int = Field(128, ge=8, le=8192, description="tokens of a text that are read; the rest is cut off")
    empty_text: Literal["error", "drop"] = Field("error", description="what to do with rows of empty text")
    max_data_mb: int = Field(1024, ge=1, description="largest file, after decompression, that is read")


class NlpDomain(Domain):
    """Texts to classify."""

    name: ClassVar[str] = "nlp"
    summary: ClassVar[str] = "texts: sentiment from tweets to film reviews, or your CSV, JSONL or Parquet"
    Options: ClassVar[type[DomainOptions]] = NlpOptions
    default_labels: ClassVar[int | None] = 64
    takes_split: ClassVar[bool] = True
    takes_sets: ClassVar[bool] = True
    defaults: ClassVar[Mapping[str, Any]] = {
        "strategies": ("pulled_probe", "linear_probe", "prototype", "full_ft"),
        "seeds": 2,
        "train.epochs": 2,
        "train.batch_size": 16,
        "train.learning_rate": 1e-4,
    }
    """An encoder takes half a second a step on a core: few steps at a low rate, as is usual for it."""
    tasks: ClassVar[Mapping[str, str]] = {
        "sentiment": "negative or positive: a kind of text rated by people, from another kind (default)",
        "topic": "film, product, public affairs or everyday life: four kinds of text, from the encoder alone",
    }

    @classmethod
    def guess(cls, path: Path, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Columns of texts and labels that are not called so."""
        return input_and_target(path, given, "options.text", "text", lambda columns: of_texts(columns, TEXTS))

    def sources(self) -> Sequence[SourceInfo]:
        found = [
            SourceInfo(
                source_name(kind),
                f"all-MiniLM-L6-v2 with a head for sentiment, fitted here on {KINDS[kind].title} (20 s, then cached)",
                "Apache-2.0 (model), MIT (texts)",
                f"{MINILM_CITATION}; {TEXTS_CITATION}",
            )
            for kind in ORDER
        ]
        alone = SourceInfo(
            PLAIN,
            "all-MiniLM-L6-v2, a sentence encoder of 22.7 M weights, without a head",
            "Apache-2.0",
            MINILM_CITATION,
        )
        return [*found, alone]

    def source(self, name: str, options: Any, context: DomainContext) -> SourceModel:
        """A named source, or a folder that holds one.

        Raises:
            ModelError TL-MODEL-UNKNOWN: neither.
        """
        kind = kind_of(name)
        if kind is not None and options.task == "sentiment":
            return with_head(kind, context, options.max_tokens)
        if name == PLAIN or kind is not None:
            return minilm(context, options.max_tokens)
        if Path(name).is_file():
            name = str(folder_of(Path(name)))
        if Path(name).is_dir():
            return folder_source(Path(name), options.max_tokens, context)
        raise self.unknown_source(name, "a folder with config.json, tokenizer.json and model.safetensors")

    def intake(self, network: NetworkInput, options: Any, data: DataOptions, context: DomainContext) -> Intake:
        """Tokens of the tokeniser that lies beside the file, and their mask."""
        return outside.intake(network, options.max_tokens, context.warn)

    def target(self, options: Any, data: DataOptions, source: SourceModel, context: DomainContext) -> TargetTask:
        if data.path is None:
            return self._demo(options, source, context)
        return userdata.target(options, data, source, context, TEST_SHARE)

    def check(self, options: Any, data: DataOptions, context: DomainContext) -> None:
        """Read and check the user's data and labels before a source is loaded."""
        if data.path is None:
            return
        if options.task == "topic":
            raise UsageError(
                "TL-USAGE",
                "--task chooses a demo; in data of your own the labels say what is classified",
                fix="leave out --task",
            )
        rows, _ = userdata.read(options, data, context)
        encode_rows(rows, (), context.warn)

    def _demo(self, options: Any, source: SourceModel, context: DomainContext) -> TargetTask:
        if options.task == "sentiment":
            _refuse_same(source.name, options.texts)
        demo = topic(context) if options.task == "topic" else sentiment(options.texts, context)
        rows, labels = demo.rows, demo.labels
        inputs, cut = TextPreprocess.from_json(source.preprocess).encode(rows.texts)
        targets = torch.tensor([labels.index(label) for label in rows.labelled()])
        split = split_rows(rows, inputs, targets.numpy(), DEMO_TEST_ROWS / len(rows), context.data_seed)
        groups = torch.from_numpy(split.groups)
        everything = Examples(inputs, targets, list(rows.ids), groups, groups)
        held = torch.from_numpy(split.test)
        pool = everything.select((~held).nonzero().flatten())
        return TargetTask(
            title=f"{options.task}: {source.name} {demo.title}",
            task=Classification(labels=labels),
            pool=pool,
            test=everything.select(held.nonzero().flatten()),
            preprocess={**source.preprocess, "text_column": "text", "max_data_mb": options.max_data_mb},
            data_card={
                **demo.card,
                "rows": {label: int((targets == i).sum()) for i, label in enumerate(labels)},
                "pool_rows": int((~held).sum()),
                "test_rows": int(held.sum()),
                "tokens": userdata.token_facts(inputs, cut),
                "split": split.report,
            },
            unit="cluster of near-copies",
            unlabeled=pool.inputs,
        )

    def source_rows(
        self, source: SourceModel, options: Any, target: TargetTask, context: DomainContext
    ) -> Examples | None:
        """Texts that the source's head was fitted on, evenly spaced, for a source that has such a head."""
        kind = kind_of(source.name)
        if kind is None:
            return None
        rows = labelled_texts(kind, source, context)
        return rows.select(torch.linspace(0, len(rows) - 1, min(MOST_LENT, len(rows))).long())

    def baselines(self, target: TargetTask) -> Sequence[Baseline]:
        return [TfidfLogistic()]

    def parts(self, preprocess: Mapping[str, Any]) -> frozenset[str]:
        """Texts stand alone."""
        return frozenset({"csv", "tsv", "jsonl", "parquet"})

    def encode(self, path: Path, preprocess: Mapping[str, Any], context: DomainContext) -> tuple[Sequence[str], Inputs]:
        return userdata.encode(path, preprocess, context)

    def inputs_text(self, preprocess: Mapping[str, Any]) -> str:
        return TextPreprocess.from_json(preprocess).text()

    def explainer(self, preprocess: Mapping[str, Any], backbone: Backbone) -> Explainer | None:
        return TokensOfText(TextPreprocess.from_json(preprocess))

    def assets(self) -> Sequence[Asset]:
        return ALL


def _refuse_same(source: str, texts: str) -> None:
    """Raise where a source's head was fitted on the target's own rows."""
    if kind_of(source) == texts:
        raise UsageError(
            "TL-USAGE",
            f"the head of {source} was fitted on the {KINDS[texts].title} that --texts asks to transfer to",
            fix="choose another source: " + ", ".join([PLAIN, *(source_name(k) for k in ORDER if k != texts)]),
        )
