"""The source that is pretrained here: a small CNN on MNIST."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from tlplat.data.examples import Examples
from tlplat.domain import DomainContext
from tlplat.features import FeatureStore
from tlplat.model import SourceModel
from tlplat.plan import Ref, json_hash
from tlplat.pretrain import pretrain
from tlplat.tasks.classification import Classification
from tlplat.tasks.retrieval import Retrieval
from tlplat_vision.assets import MNIST_5K
from tlplat_vision.cnn import SmallCnn
from tlplat_vision.digits import LABELS, mnist_examples
from tlplat_vision.inputs import ImageInputs
from tlplat_vision.preprocess import Preprocess

NAME = "mnist-small-cnn"
PREPROCESS = Preprocess(size=28, channels=1)
AUGMENT = "affine"
STEPS, BATCH, RATE = 1200, 64, 3e-3
VALIDATE_EVERY = 10
"""Each tenth row of MNIST validates; labels are in blocks, so each digit has its share."""
HEAD_VERSION = 1
"""Raise it when the rows or the fit of the embedding change."""
MOST_LENT = 2000
"""So many rows of the source are lent to strategies that align source and target."""


def pretrained_on_mnist(context: DomainContext) -> SourceModel:
    """Train the CNN on 4500 of MNIST's images, altered anew in each step, or take it from the cache."""
    rows = mnist_examples(context, PREPROCESS)
    validating = torch.arange(len(rows)) % VALIDATE_EVERY == 0
    train, validation = (rows.select(torch.nonzero(side).flatten()) for side in (~validating, validating))
    assert isinstance(train.inputs, ImageInputs)
    varied = dataclasses.replace(train, inputs=ImageInputs(train.inputs.tensor, AUGMENT))
    return pretrain(
        NAME,
        Ref(SmallCnn.name),
        varied,
        validation,
        Classification(labels=LABELS),
        PREPROCESS.to_json(),
        {
            "data": "MNIST: 5000 handwritten digits of 28 x 28 pixels, 500 of each, altered anew in each step",
            "augmentation": AUGMENT,
            "license": MNIST_5K.license,
            "citation": MNIST_5K.citation,
            "files": {MNIST_5K.name: MNIST_5K.sha256},
        },
        context,
        steps=STEPS,
        batch_size=BATCH,
        learning_rate=RATE,
    )


def embedding(source: SourceModel, context: DomainContext) -> SourceModel:
    """The network with a head that embeds digits for retrieval in the place of its classes, solved on MNIST."""
    if source.stand_in:
        return dataclasses.replace(source, head=None, task=None)
    task, rows = Retrieval(), mnist_lent(context, PREPROCESS)
    weights = source.provenance["weights_sha256"]
    key = json_hash({"weights": weights, "rows": rows.inputs.digest(), "version": HEAD_VERSION}, length=64)

    def solve() -> dict[str, torch.Tensor]:
        z = FeatureStore(context.tensors, context.registry).features(source, rows.inputs)
        fit = task.fit_head(z, rows.targets, {})
        return {"weight": fit.weight, "bias": fit.bias}

    head = dict(context.tensors.get_or_compute("heads", key, solve))
    about = {**source.provenance, "head": f"an embedding solved on {len(rows)} of MNIST's digits"}
    return dataclasses.replace(source, head=head, task=task.info(), provenance=about)


def mnist_lent(context: DomainContext, preprocess: Preprocess) -> Examples:
    """Evenly spaced rows of MNIST."""
    return mnist_examples(context, preprocess, np.linspace(0, 4999, MOST_LENT).astype(np.int64))
