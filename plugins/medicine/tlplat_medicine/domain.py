"""The medicine domain: prognosis, diagnosis and treatment for the patients of one place with the model of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

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
    Intake,
    NetworkInput,
    SourceInfo,
    TargetTask,
)
from tlplat.errors import DataError
from tlplat.model import SourceModel
from tlplat.tablesource import load_weights
from tlplat.tabular import TableInputs, columns_of, encoder_for, table_text
from tlplat_medicine import demos, sources, userdata
from tlplat_medicine.baselines import CoxRegression, Forest, LinearLearner, LogisticRegression
from tlplat_medicine.limits import check_possible, limits_of
from tlplat_medicine.options import MedicineOptions, guess
from tlplat_medicine.privacy import FEWEST
from tlplat_medicine.table import read_sheet, typed_columns


class MedicineDomain(Domain):
    """Patients."""

    name: ClassVar[str] = "medicine"
    summary: ClassVar[str] = "patients: prognosis, diagnosis and treatment from registry to registry, or your CSV"
    Options: ClassVar[type[DomainOptions]] = MedicineOptions
    default_labels: ClassVar[int | None] = 60
    tasks: ClassVar[Mapping[str, str]] = {
        "prognosis": "recurrence-free survival after breast cancer: Rotterdam's registry to a German trial (default)",
        "diagnosis": "benign or malignant, from measured nuclei: images of low texture to images of high texture",
        "treatment": "hormone therapy for whom: the Rotterdam tumour bank to a German trial",
    }
    keeps_rows: ClassVar[bool] = False
    least_count: ClassVar[int] = FEWEST
    pretrains: ClassVar[bool] = True
    takes_split: ClassVar[bool] = True
    takes_sets: ClassVar[bool] = True

    @classmethod
    def labels_by_default(cls, options: Mapping[str, Any]) -> int | None:
        return {"diagnosis": 20, "treatment": 120}.get(str(options.get("task")), cls.default_labels)

    @classmethod
    def guess(cls, path: Path, given: Mapping[str, Any]) -> Mapping[str, Any]:
        return guess(path, given)

    def default_source(self, options: Any) -> str:
        return sources.TASK_SOURCES[options.task]

    def sources(self) -> Sequence[SourceInfo]:
        return sources.infos()

    def source(self, name: str, options: Any, context: DomainContext) -> SourceModel:
        """The named source: Rotterdam's for prognosis or treatment, whichever is asked for, else the images'.

        Raises:
            ModelError TL-MODEL-UNKNOWN: there is none of that name.
        """
        self.need_source(name)
        fitting = options.task if sources.TASK_SOURCES[options.task] == name else "prognosis"
        return sources.pretrained("diagnosis" if name == sources.NUCLEI else fitting, context)

    def intake(self, network: NetworkInput, options: Any, data: DataOptions, context: DomainContext) -> Intake:
        """Columns of numbers as they are, or encoded as a file of ``tlplat export`` says."""
        if data.path is None:
            userdata.need_data(options)
            table, where = demos.table(options.task), "the demo"
        else:
            table, where = userdata.read_rows(options, data, context.warn).columns, data.path.name
        encoder = encoder_for(network, self.name, table, where)
        return Intake((encoder.width,), {"columns": encoder.to_json(), "task": options.task})

    def source_file(self, path: Path, options: Any, data: DataOptions, context: DomainContext) -> SourceModel:
        """A weights file of this domain's network."""
        feed = partial(self.intake, options=options, data=data, context=context)
        return load_weights(path, sources.MedicineNet, self.name, feed)

    def check(self, options: Any, data: DataOptions, context: DomainContext) -> None:
        """Read and check the user's patients before a source is loaded or pretrained."""
        if data.path is not None:
            rows = userdata.read_rows(options, data, context.warn)
            userdata.split_rows(rows, context.data_seed, context.warn)

    def target(self, options: Any, data: DataOptions, source: SourceModel, context: DomainContext) -> TargetTask:
        if data.path is not None:
            return userdata.target(options, data, source, context)
        userdata.need_data(options)
        return demos.target(options.task, source, context)

    def pretrain(self, options: Any, data: DataOptions, context: DomainContext) -> SourceModel:
        """A network trained on the user's patients; without data, the one that the demo starts from."""
        if data.path is None:
            userdata.need_data(options)
            return sources.pretrained(options.task, context)
        return sources.pretrained_on_rows(options, data, context)

    def source_rows(
        self, source: SourceModel, options: Any, target: TargetTask, context: DomainContext
    ) -> Examples | None:
        """The patients that a demo's source was trained on."""
        return sources.lent(source)

    def baselines(self, target: TargetTask) -> Sequence[Baseline]:
        """Cox regression; logistic regression and a forest; a linear model of each arm."""
        kind = target.task.info().kind
        if kind == "survival":
            return [CoxRegression()]
        return [LogisticRegression(), Forest()] if kind == "classification" else [LinearLearner()]

    def parts(self, preprocess: Mapping[str, Any]) -> frozenset[str]:
        """Patients stand alone."""
        return frozenset({"csv", "tsv"})

    def encode(self, path: Path, preprocess: Mapping[str, Any], context: DomainContext) -> tuple[Sequence[str], Inputs]:
        """The patients of a file: ids from the column that the run named, else ``id``, else the rows' numbers."""
        encoder = TableEncoder.from_json(preprocess["columns"])
        sheet = read_sheet(path, context.warn)
        needed = preprocess.get("given", [column.name for column in encoder.columns])
        absent = [name for name in needed if name not in sheet.columns]
        if absent:
            raise DataError(
                "TL-DATA-COLUMN",
                f"{path.name} has no column {', '.join(absent)}",
                where=str(path),
                found=", ".join(sheet.columns),
                expected=", ".join(needed),
                fix="add the columns, empty where a value is unknown, written as in the data of the run",
            )
        words = [column.name for column in encoder.columns if column.kind == "categorical"]
        numbers = [column.name for column in encoder.columns if column.kind != "categorical"]
        columns = typed_columns(sheet, needed, words, numbers)
        check_possible(sheet, columns, limits_of(preprocess.get("limits", ())))
        unseen = encoder.fit_report(columns)["unseen_categories"]
        for column, count in unseen.items():
            said = count if count >= FEWEST else f"fewer than {FEWEST}"
            context.warn(f"{said} rows have a value of {column} that the model does not know: read as none of its own")
        return sheet.ids(preprocess.get("id", "id")), TableInputs.of(encoder, columns)

    def inputs_text(self, preprocess: Mapping[str, Any]) -> str:
        return table_text()

    def explainer(self, preprocess: Mapping[str, Any], backbone: Backbone) -> Explainer | None:
        return columns_of(TableEncoder.from_json(preprocess["columns"]))
