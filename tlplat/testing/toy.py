"""A small domain with a real source, pretrained in a second: two-class vectors whose target is a shifted source.

It is a plugin like any other, but no entry point of tlplat names it: the kit registers its classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from tlplat import hookimpl
from tlplat.data.examples import Batch, Examples, Inputs, TensorInputs
from tlplat.domain import Baseline, Domain, DomainContext, DomainOptions, SourceInfo, TargetTask
from tlplat.errors import DataError, ModelError, UsageError
from tlplat.model import Backbone, SourceModel
from tlplat.pieces import Columns, Explainer
from tlplat.plan import Ref
from tlplat.pretext import Pretext
from tlplat.pretrain import pretrain
from tlplat.tasks.base import Task
from tlplat.tasks.classification import Classification

DIM = 12


class ToyNet(Backbone):
    """Three dense blocks, with batch norm and dropout so that freezing has something to freeze."""

    name: ClassVar[str] = "toy_net"

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.width = width
        sizes = [(DIM, width), (width, width), (width, width)]
        self.blocks = nn.ModuleDict(
            {
                f"dense{i}": nn.Sequential(nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU(), nn.Dropout(0.1))
                for i, (a, b) in enumerate(sizes)
            }
        )

    def config(self) -> dict[str, Any]:
        return {"width": self.width}

    def embed(self, batch: Batch) -> Tensor:
        assert isinstance(batch, Tensor)
        return batch.float()

    def pool(self, hidden: Tensor) -> Tensor:
        return hidden

    def pretext(self) -> Pretext:
        return HiddenNumbers(self)

    @property
    def block_dims(self) -> tuple[int, ...]:
        return (self.width,) * len(self.blocks)


class HiddenNumbers(Pretext):
    """Tell all numbers of a row of which some were set to zero."""

    summary: ClassVar[str] = "numbers, some of them hidden"

    def __init__(self, backbone: ToyNet) -> None:
        super().__init__()
        self.linear = nn.Linear(backbone.width, DIM)

    def loss(self, backbone: Backbone, batch: Any, generator: torch.Generator) -> Tensor:
        shown = torch.rand(batch.shape, generator=generator) > 0.1
        told = self.linear(backbone(batch.float() * shown))
        error: Tensor = (told - batch).square().mean()
        return error


class ToyTokens(Backbone):
    """The same vectors as four tokens, through two transformer blocks: layer norms, and attention instead of layers."""

    name: ClassVar[str] = "toy_tokens"
    channel_dim: ClassVar[int] = -1

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.width = width
        self.project = nn.Linear(DIM // 4, width)
        self.place = nn.Parameter(0.5 * torch.randn(4, width))
        self.blocks = nn.ModuleDict(
            {
                name: nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.1, batch_first=True)
                for name in ("one", "two")
            }
        )

    def config(self) -> dict[str, Any]:
        return {"width": self.width}

    def embed(self, batch: Batch) -> Tensor:
        assert isinstance(batch, Tensor)
        tokens: Tensor = self.project(batch.float().view(len(batch), 4, -1)) + self.place
        return tokens

    def pool(self, hidden: Tensor) -> Tensor:
        return hidden.mean(dim=1)

    @property
    def block_dims(self) -> tuple[int, ...]:
        return (self.width,) * len(self.blocks)


class Nearest(Baseline):
    name: ClassVar[str] = "nearest_mean"
    summary: ClassVar[str] = "distance to the class means"

    def fit_predict(self, train: Examples, others: Sequence[Inputs], task: Task, seed: int) -> list[np.ndarray]:
        x = _vectors(train.inputs)
        if train.targets.ndim == 2:  # several labels a row
            has = train.targets > 0
            ends = [torch.stack([x[side[:, c]].mean(dim=0) for c in range(has.shape[1])]) for side in (has, ~has)]
            return [
                torch.sigmoid(torch.cdist(z, ends[1]) - torch.cdist(z, ends[0])).numpy() for z in map(_vectors, others)
            ]
        means = torch.stack([x[train.targets == c].mean(dim=0) for c in range(task.info().outputs)])
        return [torch.softmax(-torch.cdist(_vectors(o), means), dim=1).numpy() for o in others]


def _vectors(inputs: Inputs) -> Tensor:
    assert isinstance(inputs, TensorInputs)
    return inputs.tensor.double()


LABELS = {"rings": ["in", "out"], "quadrants": ["a", "b", "c"], "tags": ["in", "up"]}
"""Labels of each task on the toy rows: two classes, three, and two that may come together."""


def problem(kind: str) -> Task:
    """The task ``kind`` of :data:`LABELS`."""
    return Classification(LABELS[kind], multi_label=kind == "tags")


def _targets(kind: str, inside: np.ndarray, up: np.ndarray) -> np.ndarray:
    if kind == "rings":
        return inside.astype(np.int64)
    if kind == "tags":
        return np.stack([inside, up], axis=1).astype(np.float32)
    return np.where(inside, 0, 1 + up.astype(np.int64))


def rows(
    count: int,
    seed: int,
    shift: float = 0.0,
    flip: bool = False,
    prefix: str = "row",
    scale: float = 1.0,
    kind: str = "rings",
) -> Examples:
    """Two noisy rings in the first dimensions; ``shift`` moves the target away from the source."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, DIM))
    inside = np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + 0.5 * x[:, 3] + rng.normal(size=count) * 0.4 > 0
    y = _targets(kind, inside, x[:, 3] + x[:, 4] > 0)
    x = x + shift * np.linspace(-1, 1, DIM)
    y = 1 - y if flip else y
    ids = [f"{prefix}-{seed}-{i}" for i in range(count)]
    return Examples(TensorInputs(torch.from_numpy((scale * x).astype(np.float32))), torch.from_numpy(y), ids)


SOURCES = ("rings", "flipped", "headless", "doubled", "swapped", "apart", "narrow")


class ToyOptions(DomainOptions):
    shift: float = Field(0.3, description="how far the target lies from the source")
    lend_source: bool = Field(True, description="lend labelled rows of the source")
    unlabeled: bool = Field(True, description="lend the pool's rows without their labels")
    size: Literal["small", "large"] = Field("small", description="rows in the pool")
    task: Literal["rings", "quadrants", "tags"] = Field("rings", description="what is predicted of the same rows")
    backbone: Literal["dense", "tokens"] = Field("dense", description="the network that the source was trained with")


class Toy(Domain):
    """Vectors in two classes."""

    name: ClassVar[str] = "toy"
    summary: ClassVar[str] = "two-class vectors, for tests"
    Options = ToyOptions
    default_labels: ClassVar[int | None] = 40
    tasks: ClassVar[Mapping[str, str]] = {"rings": "which ring"}

    def sources(self) -> Sequence[SourceInfo]:
        return [SourceInfo(n, n, "CC0-1.0", "none") for n in SOURCES[:3]]

    def source(self, name: str, options: ToyOptions, context: DomainContext) -> SourceModel:
        """Besides those listed: ``doubled`` takes vectors twice as long, ``swapped`` has its labels in other order."""
        if name not in SOURCES:
            raise ModelError(
                "TL-MODEL-UNKNOWN",
                f"the toy domain has no source model {name!r}",
                fix=f"choose of {', '.join(SOURCES)}",
            )
        scale, swapped = (2.0 if name == "doubled" else 1.0), name == "swapped"
        made = pretrain(
            name,
            Ref("toy_net" if options.backbone == "dense" else "toy_tokens", {"width": 16}),
            rows(1500, 1, flip=name == "flipped" or swapped, scale=scale),
            rows(300, 2, flip=name == "flipped" or swapped, scale=scale),
            Classification(["out", "in"] if swapped else ["in", "out"]),
            {"dim": DIM, "scale": scale},
            {"license": "CC0-1.0", "citation": "none", "data": "synthetic"},
            context,
            steps=300,
            batch_size=64,
        )
        made = dataclasses.replace(made, name=name)
        return dataclasses.replace(made, head=None, task=None) if name == "headless" else made

    def target(self, options: ToyOptions, data: Any, source: SourceModel, context: DomainContext) -> TargetTask:
        """The rows for a source; ``apart`` gets another split, ``narrow`` none."""
        if source.name == "narrow":
            raise UsageError("TL-USAGE", "the source narrow takes other rows", fix="choose another source")
        seed, scale = context.data_seed + (source.name == "apart"), source.preprocess["scale"]
        count = 300 if options.size == "small" else 900
        labels = list(source.task.labels) if source.task else ["in", "out"]
        flip = labels == ["out", "in"]
        pool = rows(count, 3 + 10 * seed, options.shift, flip, "pool", scale, options.task)
        test = rows(400, 4 + 10 * seed, options.shift, flip, "test", scale, options.task)
        return TargetTask(
            f"{options.task}: {source.name} -> shifted",
            Classification(labels) if options.task == "rings" else problem(options.task),
            pool,
            test,
            {"dim": DIM, "scale": scale},
            {"data": "synthetic"},
            unlabeled=pool.inputs if options.unlabeled else None,
        )

    def source_rows(
        self, source: SourceModel, options: ToyOptions, target: TargetTask, context: DomainContext
    ) -> Examples | None:
        return rows(500, 1, flip=source.name == "flipped") if options.lend_source else None

    def baselines(self, target: TargetTask) -> Sequence[Baseline]:
        return [Nearest()]

    def explainer(self, preprocess: Mapping[str, Any], backbone: Backbone) -> Explainer | None:
        names = [f"x{i}" for i in range(DIM)]
        return Columns(names, torch.arange(DIM), torch.zeros(DIM), "a row of zeros")

    def encode(self, path: Path, preprocess: Mapping[str, Any], context: DomainContext) -> tuple[Sequence[str], Inputs]:
        try:
            table = np.array([line.split(",") for line in path.read_text(encoding="utf-8").splitlines()], dtype="f4")
        except (OSError, ValueError) as error:
            raise DataError("TL-DATA-READ", f"{path} cannot be read: {error}", fix="give a table of numbers") from error
        if table.ndim != 2 or table.shape[1] != DIM:
            raise DataError("TL-DATA-COLUMN", f"{path} has rows of shape {table.shape[1:]}", fix=f"give {DIM}")
        scaled = torch.from_numpy(table) * preprocess.get("scale", 1.0)
        return [str(i) for i in range(len(table))], TensorInputs(scaled)


@hookimpl
def tlplat_register_domains() -> list[type[Domain]]:
    return [Toy]


@hookimpl
def tlplat_register_backbones() -> list[type[Backbone]]:
    return [ToyNet, ToyTokens]
