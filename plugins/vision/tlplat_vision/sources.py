"""The source that is pretrained here: a small CNN on MNIST."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from tlplat.data.examples import Examples
from tlplat.domain import DomainContext
from tlplat.model import SourceModel
from tlplat.plan import Ref
from tlplat.pretrain import pretrain
from tlplat.tasks.classification import Classification
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


def mnist_lent(context: DomainContext, preprocess: Preprocess) -> Examples:
    """Evenly spaced rows of MNIST."""
    return mnist_examples(context, preprocess, np.linspace(0, 4999, MOST_LENT).astype(np.int64))
