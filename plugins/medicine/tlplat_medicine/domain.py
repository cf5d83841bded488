"""The medicine domain: prognosis for the patients of one registry with the model of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from tlplat.data.columns import TableEncoder
from tlplat.data.examples import Examples, Inputs
from tlplat.domain import (
    Backbone,
    Baseline,
    DataOptions,
    Domain,
    DomainContext,
    DomainOptions,
    Explainer,
    SourceInfo,
    TargetTask,
)
from tlplat.errors import DataError, ModelError, UsageError, did_you_mean
from tlplat.model import SourceModel
from tlplat.tabular import TableInputs, columns_of
from tlplat_medicine import sources
from tlplat_medicine.baselines import CoxRegression
from tlplat_medicine.cohorts import CITATIONS, COLUMNS, gbsg
from tlplat_medicine.table import read_patients

ROTTERDAM = "rotterdam"
TEST_SHARE = 0.5
FEWEST = 11
"""Counts of fewer patients are not shown."""


class MedicineOptions(DomainOptions):
    """Options of ``tlplat run --domain medicine``."""


class MedicineDomain(Domain):
    """Patients."""

    name: ClassVar[str] = "medicine"
    summary: ClassVar[str] = "patients: prognosis from the Rotterdam tumour bank to a German trial"
    Options: ClassVar[type[DomainOptions]] = MedicineOptions
    default_labels: ClassVar[int | None] = 60
    tasks: ClassVar[Mapping[str, str]] = {"prognosis": "recurrence-free survival after breast cancer (default)"}
    keeps_rows: ClassVar[bool] = False
    least_count: ClassVar[int] = FEWEST

    def sources(self) -> Sequence[SourceInfo]:
        summary = "Cox network pretrained here on the Rotterdam tumour bank (seconds, then cached)"
        return [SourceInfo(ROTTERDAM, summary, sources.LICENSE, CITATIONS["rotterdam"])]

    def source(self, name: str, options: Any, context: DomainContext) -> SourceModel:
        """The named source.

        Raises:
            ModelError TL-MODEL-UNKNOWN: there is none of that name.
        """
        if name != ROTTERDAM:
            raise ModelError(
                "TL-MODEL-UNKNOWN",
                f"the medicine domain has no source model {name!r}{did_you_mean(name, [ROTTERDAM])}",
                found=name,
                expected=ROTTERDAM,
                fix="choose one with --source (`tlplat sources` lists them)",
            )
        return sources.pretrained_on_rotterdam(context)

    def check(self, options: Any, data: DataOptions, context: DomainContext) -> None:
        if data.path is not None:
            raise UsageError(
                "TL-USAGE",
                "the medicine domain runs on its demo only so far; it reads no --data",
                fix="leave out --data",
            )

    def target(self, options: Any, data: DataOptions, source: SourceModel, context: DomainContext) -> TargetTask:
        self.check(options, data, context)
        cohort = gbsg()
        rng = np.random.default_rng([context.data_seed, 0x3ED1])
        event = cohort.targets[:, 1].numpy() > 0.5
        test = np.zeros(len(cohort), dtype=bool)
        for stratum in (event, ~event):
            rows = rng.permutation(np.flatnonzero(stratum))
            test[rows[: round(TEST_SHARE * len(rows))]] = True
        encoder = TableEncoder.from_json(source.preprocess["columns"])
        rows = sources.examples(cohort, encoder)
        pool, held = (rows.select(torch.from_numpy(np.flatnonzero(side))) for side in (~test, test))
        return TargetTask(
            title=f"prognosis: {source.name} -> GBSG",
            task=sources.prognosis(),
            pool=pool,
            test=held,
            preprocess=dict(source.preprocess),
            data_card={
                "about": "node-positive breast cancer patients of a German trial: recurrence-free survival",
                "license": sources.LICENSE,
                "citation": CITATIONS["gbsg"],
                "patients": len(cohort),
                "events": int(event.sum()),
                "pool_rows": int((~test).sum()),
                "test_rows": int(test.sum()),
                "split": {"by": "patients, each one row; with and without an event alike"},
                "columns": encoder.fit_report(cohort.table),
                "note": "a prognosis describes groups; it is no advice on treatment for one patient",
            },
            unit="patient",
            unlabeled=pool.inputs,
        )

    def source_rows(
        self, source: SourceModel, options: Any, target: TargetTask, context: DomainContext
    ) -> Examples | None:
        """The Rotterdam patients."""
        return sources.lent(source) if source.name == sources.NAME else None

    def baselines(self, target: TargetTask) -> Sequence[Baseline]:
        """Cox regression."""
        return [CoxRegression()]

    def encode(self, path: Path, preprocess: Mapping[str, Any], context: DomainContext) -> tuple[Sequence[str], Inputs]:
        encoder = TableEncoder.from_json(preprocess["columns"])
        table = read_patients(path)
        told = encoder.fit_report(table.columns)
        if told["absent"]:
            raise DataError(
                "TL-DATA-COLUMN",
                f"{path.name} has no column {', '.join(told['absent'])}",
                where=str(path),
                found=", ".join(table.columns),
                expected=", ".join(COLUMNS),
                fix="add the columns (empty where unknown); sizes are <=20, 20-50 or >50 mm",
            )
        for column, count in told["unseen_categories"].items():
            context.warn(
                f"{count} rows have a value of {column} that the model never saw: read as none of those it knows"
            )
        return table.ids, TableInputs.of(encoder, table.columns)

    def explainer(self, preprocess: Mapping[str, Any], backbone: Backbone) -> Explainer | None:
        return columns_of(TableEncoder.from_json(preprocess["columns"]))
