"""The source that is pretrained here: a Cox network on the Rotterdam cohort."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from tlplat.data.columns import TableEncoder
from tlplat.data.examples import Examples
from tlplat.domain import DomainContext
from tlplat.model import SourceModel
from tlplat.plan import Ref
from tlplat.pretrain import pretrain
from tlplat.tabular import TableInputs, TabularNet
from tlplat.tasks.survival import Survival
from tlplat_medicine.cohorts import CITATIONS, Cohort, rotterdam

NAME = "rotterdam-prognosis"
LICENSE = "facts without names, as the R package survival (LGPL-2 or later) distributes them"
TIMES = tuple(365.25 * half / 2 for half in range(1, 13))
"""Days at which survival is predicted: each half year, up to six years."""
STEPS, BATCH, RATE, DECAY = 400, 512, 3e-3, 0.1
VALIDATE_EVERY = 5


class MedicineNet(TabularNet):
    """A perceptron over an encoded table of patients."""

    name: ClassVar[str] = "medicine-net"


def prognosis() -> Survival:
    """Recurrence-free survival, days."""
    return Survival(times=TIMES, unit="days")


def examples(cohort: Cohort, encoder: TableEncoder) -> Examples:
    """Patients as rows; each is a unit of its own."""
    return Examples(TableInputs.of(encoder, cohort.table), cohort.targets, cohort.ids)


def pretrained_on_rotterdam(context: DomainContext) -> SourceModel:
    """Train the network on four fifths of the cohort, the rest choosing the step, or take it from the cache."""
    cohort = rotterdam()
    validating = np.arange(len(cohort)) % VALIDATE_EVERY == 0
    train, validation = (cohort.select(np.flatnonzero(side)) for side in (~validating, validating))
    encoder = TableEncoder.fit(train.table)
    return pretrain(
        NAME,
        Ref(MedicineNet.name, {"inputs": encoder.width, "widths": [32, 16], "dropout": 0.2}),
        examples(train, encoder),
        examples(validation, encoder),
        prognosis(),
        {"columns": encoder.to_json(), "task": "prognosis"},
        {
            "data": "1546 node-positive patients of the Rotterdam tumour bank, recurrence-free survival",
            "license": LICENSE,
            "citation": CITATIONS["rotterdam"],
        },
        context,
        steps=STEPS,
        batch_size=BATCH,
        learning_rate=RATE,
        weight_decay=DECAY,
    )


def lent(source: SourceModel) -> Examples:
    """The source's own patients, encoded as its network takes them."""
    encoder = TableEncoder.from_json(source.preprocess["columns"])
    return examples(rotterdam(), encoder)
