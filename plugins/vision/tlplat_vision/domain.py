"""The vision domain: sources, the demo's digits, baselines."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from tlplat.assets import Asset
from tlplat.data.examples import Examples, Inputs
from tlplat.data.guess import input_and_target
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
    title_of,
)
from tlplat.errors import UsageError
from tlplat.model import SourceModel
from tlplat.tasks.classification import Classification
from tlplat.tasks.retrieval import Retrieval
from tlplat_vision import digits, imagenet, outside, sources, userdata
from tlplat_vision.assets import ALL, EFFICIENTNET_LITE0, MNIST_5K
from tlplat_vision.baselines import NearestNeighbour, PixelSvm
from tlplat_vision.checkpoint import load_checkpoint
from tlplat_vision.folder import WEIGHTS, load_folder
from tlplat_vision.images import Limits
from tlplat_vision.inputs import ImageInputs
from tlplat_vision.pieces import Patches
from tlplat_vision.pixelspace import PixelCosine, PixelWhitening
from tlplat_vision.preprocess import Preprocess
from tlplat_vision.table import Columns, column_of_images
from tlplat_vision.timmsource import PREFIX, load_timm

MNIST, IMAGENET = "mnist", "imagenet"
RETRIEVAL = Retrieval(metric="mean_average_precision")
DEMO_SIDE = 96
"""The digits are shown to ImageNet's network at so many pixels, or at the source's size where that is smaller."""


class VisionOptions(DomainOptions):
    """Options of ``tlplat run --domain vision``."""

    task: Literal["classification", "retrieval"] = Field(
        "classification", description="name an image's class, or find other images of its kind, also of new kinds"
    )
    augment: Literal["none", "affine", "natural"] = Field(
        "none", description="what training does to images: affine for digits and characters, natural for photographs"
    )
    image_size: int | None = Field(
        None, ge=8, le=1024, description="pixels of a side that the network sees; default: the source's"
    )
    fit: Literal["source", "stretch", "crop", "pad"] = Field(
        "source",
        description="how images become square: ignore proportions, keep the middle, add black; default: the source's",
    )
    image: str = Field("image", description="column of paths (CSV) or of the images' bytes (Parquet)")
    image_root: Path | None = Field(None, description="folder that a table's paths start from; default: the table's")
    pixels: Literal["imagenet", "unit", "symmetric", "bytes"] = Field(
        "imagenet",
        description="numbers that an ONNX source takes: ImageNet's mean and spread, 0 to 1, -1 to 1, or 0 to 255",
    )
    checkpoint: Path | None = Field(None, description="weights file for a source timm:NAME")
    min_size: int = Field(1, ge=1, description="fewest pixels of a side of an image")
    max_megapixels: int = Field(80, ge=1, le=1000, description="most pixels of an image, in millions")


class VisionDomain(Domain):
    """Images."""

    name: ClassVar[str] = "vision"
    summary: ClassVar[str] = "images: from MNIST and ImageNet to other digits, or to your own folder of images"
    Options: ClassVar[type[DomainOptions]] = VisionOptions
    takes_split: ClassVar[bool] = True
    takes_sets: ClassVar[bool] = True
    default_labels: ClassVar[int | None] = 50
    tasks: ClassVar[Mapping[str, str]] = {
        "classification": "which digit: UCI's handwritten digits of 8 x 8 pixels (default)",
        "retrieval": "find other images of the same digit",
    }

    @classmethod
    def guess(cls, path: Path, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Columns of images and labels, where a table calls them otherwise."""
        return {} if path.is_dir() else input_and_target(path, given, "options.image", "image", column_of_images)

    def sources(self) -> Sequence[SourceInfo]:
        trained = "small CNN pretrained here on 5000 digits of MNIST (a minute at most, then cached)"
        lite = "EfficientNet-Lite0 pretrained on ImageNet (19 MB)"
        return [
            SourceInfo(MNIST, trained, MNIST_5K.license, MNIST_5K.citation),
            SourceInfo(IMAGENET, lite, EFFICIENTNET_LITE0.license, EFFICIENTNET_LITE0.citation),
        ]

    def source(self, name: str, options: Any, context: DomainContext) -> SourceModel:
        """A named source, ``timm:NAME``, or a folder or weights file that holds one.

        Raises:
            ModelError TL-MODEL-UNKNOWN: none of these. UsageError: a checkpoint without a timm model.
        """
        if name.startswith(PREFIX):
            return load_timm(name.removeprefix(PREFIX), options.checkpoint, context)
        if options.checkpoint is not None:
            raise UsageError(
                "TL-USAGE",
                "--checkpoint gives the weights of a timm model, and the source is none",
                found=name,
                fix="add --source timm:NAME, or give the file itself with --source FILE",
            )
        if name == MNIST:
            found = sources.pretrained_on_mnist(context)
            return sources.embedding(found, context) if options.task == "retrieval" else found
        if name == IMAGENET:
            return imagenet.load_imagenet(context)
        if Path(name).is_dir():
            return load_folder(Path(name))
        if Path(name).is_file():
            whole = Path(name).name == WEIGHTS and (Path(name).parent / "config.json").is_file()
            return load_folder(Path(name).parent) if whole else load_checkpoint(Path(name))
        raise self.unknown_source(name, "timm:NAME, a weights file, a folder of transformers or of tlplat")

    def intake(self, network: NetworkInput, options: Any, data: DataOptions, context: DomainContext) -> Intake:
        """Square images of the network's size and channels, their pixels as ``--pixels`` says."""
        return outside.intake(network, options.image_size, options.pixels)

    def target(self, options: Any, data: DataOptions, source: SourceModel, context: DomainContext) -> TargetTask:
        preprocess = _settled(Preprocess.from_json(source.preprocess), options)
        if data.path is None:
            return self._demo(options, preprocess, source, context)
        limits = _limits(options)
        rows = _user_rows(options, data, context)
        classes, targets = _labelled(rows, options, context, source.task.labels if source.task else ())
        task = RETRIEVAL if options.task == "retrieval" else classes
        plain = userdata.inputs_of(rows, preprocess, limits, context)
        pictures = userdata.thumbnails_of(rows, limits, context)
        equal = userdata.equal_rows(plain)
        every, names = task is classes, classes.labels
        split = userdata.split_rows(rows, pictures, equal, targets, context.data_seed, every=every, names=names)
        inputs = ImageInputs(plain.tensor, options.augment)
        pool, test = userdata.as_examples(inputs, targets, rows.ids, split, rows.sides)
        if task is RETRIEVAL:
            pool = userdata.by_kind(pool, test, context)
        saved = {
            **preprocess.to_json(),
            "image_column": options.image,
            "min_size": options.min_size,
            "max_megapixels": options.max_megapixels,
        }
        title = title_of(data.path, classes)
        card = userdata.data_card(data.path, rows, split, classes, targets)
        return TargetTask(title, task, pool, test, saved, card, "image cluster", unlabeled=pool.inputs)

    def check(self, options: Any, data: DataOptions, context: DomainContext) -> None:
        """Decode the user's images, look at labels and split, before a source is loaded or pretrained."""
        if data.path is None:
            return
        rows = _user_rows(options, data, context)
        classes, targets = _labelled(rows, options, context)
        pictures = userdata.thumbnails_of(rows, _limits(options), context)
        every, alone = options.task == "classification", np.arange(len(targets))
        userdata.split_rows(rows, pictures, alone, targets, context.data_seed, every=every, names=classes.labels)

    def _demo(self, options: Any, preprocess: Preprocess, source: SourceModel, context: DomainContext) -> TargetTask:
        images, labels = digits.uci_digits()
        split = digits.digits_split(images, labels, context.data_seed)
        size = preprocess.size if options.image_size is not None else min(preprocess.size, DEMO_SIDE)
        fixed = {} if outside.FIXED in source.preprocess else {"size": size, "channels": 1}
        shown = dataclasses.replace(preprocess, **fixed, fit="stretch", margin=digits.MARGIN)
        inputs = ImageInputs(shown.encode(images).tensor, options.augment)
        ids = [f"digit-{i}" for i in range(len(images))]
        pool, test = userdata.as_examples(inputs, torch.from_numpy(labels), ids, split)
        retrieval = options.task == "retrieval"
        return TargetTask(
            title=f"{'find digits' if retrieval else 'digits'}: {source.name} -> UCI digits",
            task=RETRIEVAL if retrieval else Classification(labels=digits.LABELS),
            pool=pool,
            test=test,
            preprocess={**shown.to_json(), "task": "digits"},
            data_card=digits.data_card(labels, split),
            unit="image cluster",
            unlabeled=pool.inputs,
        )

    def source_rows(
        self, source: SourceModel, options: Any, target: TargetTask, context: DomainContext
    ) -> Examples | None:
        """MNIST's digits for the network that was pretrained on them, at the size that the target has."""
        if source.name != sources.NAME:
            return None
        size = int(target.preprocess["size"])
        return sources.mnist_lent(context, dataclasses.replace(sources.PREPROCESS, size=size))

    def baselines(self, target: TargetTask) -> Sequence[Baseline]:
        """On pixels: a support vector machine and the nearest neighbour; for retrieval two ways to compare them."""
        if target.task.name == Retrieval.name:
            return [PixelCosine(), PixelWhitening()]
        return [PixelSvm(), NearestNeighbour()]

    def encode(self, path: Path, preprocess: Mapping[str, Any], context: DomainContext) -> tuple[Sequence[str], Inputs]:
        columns = Columns(image=preprocess.get("image_column", "image"), labelled=False)
        limits = Limits(preprocess.get("max_megapixels", 80), preprocess.get("min_size", 1))
        rows = userdata.read_rows([path], columns, context, labelled=False)
        return rows.ids, userdata.inputs_of(rows, Preprocess.from_json(preprocess), limits, context)

    def inputs_text(self, preprocess: Mapping[str, Any]) -> str:
        return Preprocess.from_json(preprocess).text()

    def explainer(self, preprocess: Mapping[str, Any], backbone: Backbone) -> Explainer | None:
        return Patches(int(preprocess["size"]), int(preprocess["channels"]))

    def assets(self) -> Sequence[Asset]:
        return ALL


def _settled(preprocess: Preprocess, options: VisionOptions) -> Preprocess:
    """The source's preprocessing with what the user says otherwise."""
    size = preprocess.size if options.image_size is None else options.image_size
    fit = preprocess.fit if options.fit == "source" else options.fit
    return dataclasses.replace(preprocess, size=size, fit=fit)


def _limits(options: VisionOptions) -> Limits:
    return Limits(options.max_megapixels, options.min_size)


def _labelled(
    rows: userdata.Rows, options: VisionOptions, context: DomainContext, known: Sequence[str] = ()
) -> tuple[Classification, torch.Tensor]:
    """What the rows' labels ask, and the targets; images of a retrieval have one kind each."""
    task, targets = rows.targets(context.warn, known)
    if options.task == "retrieval" and targets.ndim == 2:
        raise UsageError(
            "TL-USAGE",
            "retrieval finds images of one kind, and these have any number of labels",
            fix="leave out --task retrieval, or name one column of kinds with --target",
        )
    return task, targets


def _user_rows(options: VisionOptions, data: DataOptions, context: DomainContext) -> userdata.Rows:
    assert data.path is not None
    columns = Columns.of(data, options.image, options.image_root)
    if data.path.is_dir() and (columns.label or columns.group or columns.split or columns.separator is not None):
        raise UsageError(
            "TL-USAGE",
            "a folder of images takes labels from its sub-folders, and has no columns",
            where=str(data.path),
            fix="leave out --target, --labels-from, --label-separator, --group and --split, or give a CSV of paths, "
            "labels and groups",
        )
    return userdata.given_rows(data, columns, context)
