"""The sources that are pretrained here, and those of the user's own patients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch

from tlplat.data.columns import TableEncoder
from tlplat.data.examples import Examples
from tlplat.domain import DataOptions, DomainContext, SourceInfo
from tlplat.model import SourceModel
from tlplat.plan import Ref
from tlplat.pretrain import pretrain
from tlplat.tabular import TableInputs, TabularNet
from tlplat.tasks.base import Task
from tlplat.tasks.classification import Classification
from tlplat.tasks.survival import Survival
from tlplat.tasks.treatment import Treatment
from tlplat_medicine import nuclei, userdata
from tlplat_medicine.cohorts import CITATIONS, LICENSE, TREATMENT, Cohort, rotterdam
from tlplat_medicine.options import MedicineOptions
from tlplat_medicine.outcomes import task_of
from tlplat_medicine.privacy import private_encoder
from tlplat_medicine.restricted import restricted_means

ROTTERDAM, NUCLEI = "rotterdam", "nuclei"
TASK_SOURCES = {"prognosis": ROTTERDAM, "treatment": ROTTERDAM, "diagnosis": NUCLEI}
"""Which source a demo starts from."""
YEAR = 365.25
TIMES = tuple(float(round(YEAR * half / 2)) for half in range(1, 13))
"""Days at which survival is predicted: each half year, up to six years."""
HORIZON = TIMES[9]
"""Five years."""
MONTH = YEAR / 12
ARMS = ("none", "hormone therapy")
STEPS, BATCH, RATE, DECAY = 400, 512, 3e-3, 0.1
EPOCHS, LEAST_STEPS = 60, 200
VALIDATE_EVERY = 5
VALIDATION_SHARE = 0.2
WINDOW_SEED = 0
"""A source's rows do not depend on the run's seeds, so that one pretraining serves all draws of labels."""


class MedicineNet(TabularNet):
    """A perceptron over an encoded table of patients."""

    name: ClassVar[str] = "medicine-net"


def infos() -> list[SourceInfo]:
    """What is at hand."""
    return [
        SourceInfo(
            ROTTERDAM,
            "network pretrained here on Rotterdam's tumour bank: Cox, or outcomes by treatment (seconds, then cached)",
            LICENSE,
            CITATIONS["rotterdam"],
            {"task": "prognosis|treatment"},
        ),
        SourceInfo(
            NUCLEI,
            "network pretrained here on half of the images of breast tissue (seconds, then cached)",
            nuclei.LICENSE,
            nuclei.CITATION,
            {"task": "diagnosis"},
        ),
    ]


def demo_task(task: str) -> Task:
    """What a demo predicts."""
    if task == "prognosis":
        return Survival(times=TIMES, unit="days", horizon=HORIZON)
    if task == "diagnosis":
        return Classification(nuclei.LABELS, decisions=True)
    return Treatment(ARMS, outcome="time without recurrence within five years", unit="months")


def demo_source(task: str) -> Cohort:
    """The patients that a demo's source learns from."""
    return nuclei.half(upper=False) if task == "diagnosis" else rotterdam()


def demo_examples(task: str, cohort: Cohort, encoder: TableEncoder) -> Examples:
    """Patients as rows with the demo's targets; each is a unit of its own."""
    if task != "treatment":
        return Examples(TableInputs.of(encoder, cohort.table), cohort.targets, cohort.ids)
    table = features(task, cohort)
    time, event = cohort.targets[:, 0].double().numpy(), cohort.targets[:, 1].numpy() > 0.5
    arm = torch.from_numpy((cohort.table[TREATMENT] == "1").astype(np.int64))
    months = torch.from_numpy(restricted_means(time, event, HORIZON) / MONTH)
    covariates = TableEncoder.fit(table).encode(table)
    targets = Treatment.targets(covariates, arm, months, len(ARMS)).float()
    return Examples(TableInputs.of(encoder, table), targets, cohort.ids)


def features(task: str, cohort: Cohort) -> dict[str, np.ndarray]:
    """The columns that a model may look at: for treatment all but the treatment itself."""
    hidden = {TREATMENT} if task == "treatment" else set()
    return {name: values for name, values in cohort.table.items() if name not in hidden}


def pretrained(task: str, context: DomainContext) -> SourceModel:
    """Train the demo's network on four fifths of its source, the rest choosing the step, or take it from the cache."""
    cohort = demo_source(task)
    validating = np.arange(len(cohort)) % VALIDATE_EVERY == 0
    train, validation = (cohort.select(np.flatnonzero(side)) for side in (~validating, validating))
    encoder = private_encoder(features(task, train))
    about = {
        "prognosis": f"{len(cohort)} node-positive patients of the Rotterdam tumour bank, recurrence-free survival",
        "treatment": f"{len(cohort)} node-positive patients of the Rotterdam tumour bank, hormone therapy not by lot",
        "diagnosis": f"{len(cohort)} images of breast tissue whose {nuclei.PROPERTY} is not above the median",
    }
    origin = (nuclei.LICENSE, nuclei.CITATION) if task == "diagnosis" else (LICENSE, CITATIONS["rotterdam"])
    return pretrain(
        f"{TASK_SOURCES[task]}-{task}",
        _net(encoder),
        demo_examples(task, train, encoder),
        demo_examples(task, validation, encoder),
        demo_task(task),
        {"columns": encoder.to_json(), "task": task},
        {"data": about[task], "license": origin[0], "citation": origin[1]},
        context,
        steps=STEPS,
        batch_size=BATCH,
        learning_rate=RATE,
        weight_decay=DECAY,
    )


def pretrained_on_rows(options: MedicineOptions, data: DataOptions, context: DomainContext) -> SourceModel:
    """Train a network on the user's patients; a fifth of them, whole patients, chooses the step.

    Categories of fewer than 11 patients, and columns that name a person, are not kept.
    """
    rows = userdata.read_rows(options, data, context.warn)
    split = userdata.split_rows(rows, WINDOW_SEED, context.warn, VALIDATION_SHARE)
    encoder = private_encoder(rows.table(np.flatnonzero(~split.test)))
    train, validation = (
        userdata.as_examples(rows, side, split, options, encoder) for side in (~split.test, split.test)
    )
    task = task_of(options, rows.outcome, data)
    userdata.warn_of_lots(options, context.warn)
    batch = min(BATCH, max(32, len(train) // 4), len(train))
    card = userdata.data_card(rows, split, encoder.fit_report(rows.columns))
    provenance: Mapping[str, Any] = {"data": rows.path.name, "license": "", "citation": "", "split": card["split"]}
    return pretrain(
        rows.path.name.partition(".")[0],
        _net(encoder),
        train,
        validation,
        task,
        {"columns": encoder.to_json(), "task": options.task},
        provenance,
        context,
        steps=min(STEPS, max(LEAST_STEPS, EPOCHS * len(train) // batch)),
        batch_size=batch,
        learning_rate=RATE,
        weight_decay=DECAY,
    )


def lent(source: SourceModel) -> Examples | None:
    """The source's own patients, encoded as its network takes them, where it is one of the demos'."""
    task = source.preprocess.get("task", "")
    if source.name != f"{TASK_SOURCES.get(task)}-{task}":
        return None
    return demo_examples(task, demo_source(task), TableEncoder.from_json(source.preprocess["columns"]))


def _net(encoder: TableEncoder) -> Ref:
    return Ref(MedicineNet.name, {"inputs": encoder.width, "widths": [32, 16], "dropout": 0.2})
