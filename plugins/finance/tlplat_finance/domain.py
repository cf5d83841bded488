"""The finance domain: credit risk from borrowers to others, volatility from market to market, the user's own data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from tlplat.assets import Asset
from tlplat.data.columns import TableEncoder
from tlplat.data.examples import Examples, Inputs
from tlplat.data.guess import TARGETS, first_rows, named
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
from tlplat.errors import ModelError, UsageError
from tlplat.model import SourceModel
from tlplat.modelio import load_source
from tlplat.tablesource import load_weights
from tlplat.tabular import columns_of, table_of, table_text
from tlplat.tasks.base import Evidence
from tlplat.tasks.forecasting import LastValue
from tlplat_finance import assets, credit, market, risk, scoring, sources, split
from tlplat_finance.baselines import Boosting, Garch, Har, LogisticScore, RandomForest, last_week
from tlplat_finance.prices import is_series
from tlplat_finance.volatility import MOMENT, NEXT, SERIES, features_text

SALARIED, US_STOCKS = "salaried", "us-stocks"
DEFAULTED = ("default", "defaulted", "is_default", "bad", "fraud")
"""Usual names of what is warned of, beside those of any target."""
TASK_OF = {SALARIED: "credit", US_STOCKS: "volatility"}


class FinanceOptions(DomainOptions):
    """Options of ``tlplat run --domain finance``."""

    task: Literal["credit", "volatility"] = Field(
        "credit", description="a class of each row of a table, or the volatility of prices in the next days"
    )
    time: str | None = Field(None, description="column of dates in your data; rows are then split by time")
    date_format: str | None = Field(None, description="of the dates, such as %d/%m/%Y; default: YYYY-MM-DD")
    future: Literal["error", "warn"] = Field("error", description="what to do with rows dated after today")
    split_by: Literal["auto", "time", "random"] = Field(
        "auto", description="how test rows are chosen: by time where rows have one, else at random by group"
    )
    test_share: float = Field(0.5, gt=0.05, lt=0.95, description="of the rows or days that are test rows")
    horizon: int = Field(5, ge=1, le=66, description="days ahead whose volatility is predicted")
    embargo: int | None = Field(
        None, ge=0, description="days left out before the test rows; default: the horizon for volatility, else 0"
    )
    positive: str | None = Field(None, description="the label that is warned of; default: the rarer of two")
    cost_ratio: float = Field(5.0, gt=0, description="cost of accepting a bad row, where refusing a good one costs 1")
    categorical: tuple[str, ...] = Field((), description="column of numbers that are names of categories; repeat it")


class FinanceDomain(Domain):
    """Loans and prices."""

    name: ClassVar[str] = "finance"
    summary: ClassVar[str] = (
        "credit risk and volatility: to other borrowers, another market, or your own table or prices"
    )
    Options: ClassVar[type[DomainOptions]] = FinanceOptions
    default_labels: ClassVar[int | None] = 40
    pretrains: ClassVar[bool] = True
    takes_split: ClassVar[bool] = True
    takes_sets: ClassVar[bool] = True
    defaults: ClassVar[Mapping[str, Any]] = {
        "strategies": ("linear_probe", "pulled_probe", "prototype", "full_ft", "lp_ft", "l2sp", "adapter")
    }
    """Heads of seven quantiles are solved by many small steps: strategies that solve hundreds of them take minutes."""
    tasks: ClassVar[Mapping[str, str]] = {
        "credit": "which loans to self-employed people go bad, from loans to salaried ones (default)",
        "volatility": "5-day volatility of European indices, from US stocks; value at risk in the report",
    }

    def sources(self) -> Sequence[SourceInfo]:
        loans = "network pretrained here on loans to 2805 salaried people (seconds, then cached)"
        stocks = "network pretrained here on 19 US stocks, 1990 to 1994 (seconds, then cached)"
        return [
            SourceInfo(SALARIED, loans, assets.CREDIT.license, assets.CREDIT.citation, {"task": "credit"}),
            SourceInfo(US_STOCKS, stocks, assets.US_STOCKS.license, assets.US_STOCKS.citation, {"task": "volatility"}),
        ]

    @classmethod
    def guess(cls, path: Path, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Days and prices alone are a series; else the column to predict, where it has a usual name."""
        if {"data.target", "data.labels_from"} & given.keys() or given.get("options.task") == "volatility":
            return {}
        columns = first_rows(path)
        if "options.task" not in given and is_series(columns, (given.get("data.split"),)):
            return {"options.task": "volatility"}
        target = named(columns, (*TARGETS, *DEFAULTED))
        return {} if target is None else {"data.target": target}

    def default_source(self, options: Any) -> str:
        """The source of the chosen task."""
        return next(name for name, task in TASK_OF.items() if task == options.task)

    def source(self, name: str, options: Any, context: DomainContext) -> SourceModel:
        """A named source, or a folder that holds one.

        Raises:
            ModelError TL-MODEL-UNKNOWN: neither. What :func:`_need_sound` raises.
        """
        _need_sound(options)
        if name == SALARIED:
            return sources.salaried_credit(context)
        if name == US_STOCKS:
            return sources.us_volatility(options.horizon, context)
        if (Path(name) / "source.json").is_file():
            return load_source(Path(name))
        raise self.unknown_source(name)

    def intake(self, network: NetworkInput, options: Any, data: DataOptions, context: DomainContext) -> Intake:
        """Columns of numbers as they are, or encoded as a file of ``tlplat export`` says."""
        _need_sound(options)
        return (credit if options.task == "credit" else market).intake(network, options, data, context)

    def source_file(self, path: Path, options: Any, data: DataOptions, context: DomainContext) -> SourceModel:
        """A weights file of this domain's network."""
        feed = partial(self.intake, options=options, data=data, context=context)
        return load_weights(path, sources.FinanceNet, self.name, feed)

    def check(self, options: Any, data: DataOptions, context: DomainContext) -> None:
        """Read and check the user's data and split, before a source is loaded or pretrained."""
        _need_sound(options)
        if options.task == "volatility" and data.label_separator is not None:
            raise UsageError("TL-USAGE", "--label-separator is for classes", fix="leave it out, or add --task credit")
        if data.path is not None:
            (credit if options.task == "credit" else market).check(options, data, context)

    def target(self, options: Any, data: DataOptions, source: SourceModel, context: DomainContext) -> TargetTask:
        _need_sound(options)
        _need_kind(source, options.task)
        return (credit if options.task == "credit" else market).target(options, data, source, context)

    def pretrain(self, options: Any, data: DataOptions, context: DomainContext) -> SourceModel:
        """A network trained on the user's rows; without data, the source of the demo."""
        _need_sound(options)
        if data.path is None:
            return self.source(self.default_source(options), options, context)
        return (credit if options.task == "credit" else market).pretrained(options, data, context)

    def source_rows(
        self, source: SourceModel, options: Any, target: TargetTask, context: DomainContext
    ) -> Examples | None:
        """Rows that a demo's source was trained on."""
        return sources.lent(source, options.horizon, context)

    def baselines(self, target: TargetTask) -> Sequence[Baseline]:
        """Logistic regression, forest and boosting; for volatility the last week's, HAR and GARCH(1,1)."""
        if target.preprocess["kind"] == "credit":
            return [LogisticScore(), RandomForest(), Boosting()]
        return [LastValue(last_week), Har(), Garch()]

    def parts(self, preprocess: Mapping[str, Any]) -> frozenset[str]:
        """Loans stand alone; a price needs those before it."""
        return frozenset({"csv", "tsv", "parquet"}) if preprocess["kind"] == "credit" else frozenset()

    def encode(self, path: Path, preprocess: Mapping[str, Any], context: DomainContext) -> tuple[Sequence[str], Inputs]:
        return (credit if preprocess["kind"] == "credit" else market).encode(path, preprocess, context)

    def inputs_text(self, preprocess: Mapping[str, Any]) -> str:
        return table_text() if preprocess["kind"] == "credit" else f"{features_text()}; {table_text()}"

    def detail(self, target: TargetTask, evidence: Evidence) -> Mapping[str, Any]:
        """KS, Brier and costs at a cut-off for two classes; value at risk and expected shortfall for volatility."""
        if target.preprocess["kind"] == "credit":
            labels = target.task.info().labels
            if len(labels) != 2 or evidence.targets.ndim != 1:
                return {}
            bad = evidence.targets == 1
            said = target.task.as_they_occur(evidence)
            return scoring.closer_look(bad, said[:, 1], target.preprocess["cost_ratio"], labels[1])
        table = table_of(target.test.inputs)
        middle = target.task.info().options["quantiles"].index(0.5)
        median = evidence.predictions[:, 0, middle]
        found = risk.closer_look(
            table[SERIES], table[MOMENT], table[NEXT], np.exp(median) / 100, target.preprocess["tails"]
        )
        return {**found, "tables": [market.accuracy(evidence, median), *found["tables"]]}

    def explainer(self, preprocess: Mapping[str, Any], backbone: Backbone) -> Explainer | None:
        return columns_of(TableEncoder.from_json(preprocess["columns"]))

    def assets(self) -> Sequence[Asset]:
        return assets.ALL


def _need_sound(options: FinanceOptions) -> None:
    """UsageError TL-CONFIG-SPLIT or DataError TL-LEAK-TIME for options that would leak."""
    series = options.task == "volatility"
    split.refuse_random(options.split_by, series or options.time is not None)
    if series and options.embargo is not None:
        split.need_embargo(options.embargo, options.horizon)


def _need_kind(source: SourceModel, task: str) -> None:
    """ModelError TL-MODEL-TASK where the source was pretrained for the other task."""
    if source.preprocess.get("kind") != task:
        raise ModelError(
            "TL-MODEL-TASK",
            f"the source {source.name} was made for {source.preprocess.get('kind')}, not for {task}",
            found=str(source.preprocess.get("kind")),
            expected=task,
            fix=f"choose another --source, or --task {source.preprocess.get('kind')}",
        )
