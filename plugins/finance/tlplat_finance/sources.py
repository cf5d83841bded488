"""Sources that are pretrained here: a network for loans, and one for volatility; the demos' and the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from tlplat.data.columns import TableEncoder
from tlplat.data.examples import Examples
from tlplat.domain import DomainContext
from tlplat.errors import DataError, UsageError
from tlplat.model import SourceModel
from tlplat.plan import Ref
from tlplat.pretrain import pretrain
from tlplat.tabular import TableInputs, TabularNet
from tlplat.tasks.classification import Classification
from tlplat.tasks.forecasting import Forecasting
from tlplat_finance import split
from tlplat_finance.assets import CREDIT, US_STOCKS
from tlplat_finance.loans import GOOD_BAD, SALARIED, Loans, consumer_credit
from tlplat_finance.prices import Series, us_stocks
from tlplat_finance.volatility import FEATURES, MOMENT, Windows, at_other_levels, windows

CREDIT_NAME, VOLATILITY_NAME = "salaried-credit", "us-stocks-volatility"
US_UNTIL = "1995-01-01"
"""The demo's test days begin later: what happened then must not have trained the source."""
VALIDATION = 0.2
COPIES = 2
"""Of the rows that volatility is learnt from, at other levels of it."""
MOST_LENT = 2000
LEAST_STEPS, EPOCHS = 60, 30


class FinanceNet(TabularNet):
    """A perceptron over an encoded table."""

    name: ClassVar[str] = "finance-net"


def credit_examples(loans: Loans, encoder: TableEncoder, targets: torch.Tensor) -> Examples:
    """Loans as rows; equal ones, and those of one given group, belong together."""
    inputs = TableInputs.of(encoder, loans.table)
    groups = torch.from_numpy(split.grouped(inputs, loans.groups))
    units, spans = groups, None
    if loans.days is not None:
        units = torch.from_numpy(split.time_units(loans.days))
        spans = torch.from_numpy(np.stack([loans.days, loans.days], axis=1))
    return Examples(inputs, targets, loans.ids, groups, units, spans)


def credit_task(
    loans: Loans, known: Sequence[str], positive: str | None, warn: Callable[[str], None] = lambda sentence: None
) -> tuple[Classification, torch.Tensor]:
    """The task and the labels' numbers (n,), or (n, c) zeros and ones where rows have any number of labels.

    Of two classes the second is the one that is warned of.

    Args:
        known: the source's labels, whose order is kept where they are the same. positive: named by the user.

    Raises:
        DataError TL-DATA-ONE-CLASS; TL-DATA-LABEL-MISSING: no row of the class ``positive``; what
        :meth:`Classification.of_sets` raises. UsageError TL-USAGE: ``positive`` beside several labels.
    """
    several = Classification.of_sets(loans.labels, loans.ids, loans.reader, warn, known)
    if several is not None:
        if positive is not None:
            fix = "leave out --positive: each label is warned of by itself"
            raise UsageError("TL-USAGE", "--positive is for one class a row", where="options.positive", fix=fix)
        return several
    labels = [label for label in loans.labels if isinstance(label, str)]
    found = sorted(set(labels))
    if set(found) == set(known):
        found = list(known)
    elif len(found) == 2:
        counts = [sum(label == name for label in labels) for name in found]
        found = found if counts[1] <= counts[0] else found[::-1]
    if positive is not None:
        if positive not in found:
            raise DataError(
                "TL-DATA-LABEL-MISSING",
                f"no row is labelled {positive!r}",
                where="options.positive",
                found=", ".join(found),
                fix="name one of the labels with --positive",
            )
        found = [label for label in found if label != positive] + [positive]
    task = Classification(labels=found)
    number = {label: i for i, label in enumerate(found)}
    return task, torch.tensor([number[label] for label in labels], dtype=torch.int64)


def salaried_credit(context: DomainContext) -> SourceModel:
    """The network of the demo's source: loans to 2805 salaried people, four fifths of them for training."""
    loans = consumer_credit(SALARIED, context)
    about = {
        "data": f"{len(loans)} consumer loans to salaried people, good or bad",
        "license": CREDIT.license,
        "citation": CREDIT.citation,
        "files": {CREDIT.name: CREDIT.sha256},
    }
    task, targets = credit_task(loans, GOOD_BAD, None)
    return credit_source(CREDIT_NAME, loans, task, targets, about, context)


def credit_source(
    name: str,
    loans: Loans,
    task: Classification,
    targets: torch.Tensor,
    about: Mapping[str, Any],
    context: DomainContext,
    embargo: int = 0,
) -> SourceModel:
    """A network trained on loans; a fifth, the latest or whole groups, chooses its step. Statistics are of the rest."""
    everything = TableEncoder.fit(loans.table)
    groups = split.grouped(TableInputs.of(everything, loans.table), loans.groups)
    if loans.sides is not None:
        parts = split.Split(np.flatnonzero(~loans.sides.test), np.flatnonzero(loans.sides.test), {"by": loans.sides.by})
    elif loans.days is None:
        parts = split.by_group(task.strata(targets), task.labels, groups, VALIDATION, 0)
    else:
        parts = split.by_time(loans.days, VALIDATION, embargo)
    encoder = TableEncoder.fit(loans.select(parts.pool).table)
    train, validation = (
        credit_examples(loans.select(rows), encoder, targets[torch.from_numpy(rows)])
        for rows in (parts.pool, parts.test)
    )
    batch = min(256, len(train))
    return pretrain(
        name,
        Ref(FinanceNet.name, {"inputs": encoder.width, "widths": [32, 16], "dropout": 0.3}),
        train,
        validation,
        task,
        {"kind": "credit", "columns": encoder.to_json()},
        {**about, "split": parts.report},
        context,
        steps=max(LEAST_STEPS, min(400, EPOCHS * len(train) // batch)),
        batch_size=batch,
        learning_rate=3e-3,
        weight_decay=0.1,
    )


def volatility_task(horizon: int) -> Forecasting:
    """Quantiles of the log volatility of the next days; 0.01 of a logarithm is one per cent of the volatility."""
    return Forecasting(target=f"log volatility, next {horizon} days")


def volatility_examples(
    rows: Windows, encoder: TableEncoder, units: np.ndarray | None = None, embargo: int = 0
) -> Examples:
    """Windows as rows; ``embargo`` moments are added to what a row is made of."""
    spans = torch.from_numpy(rows.spans + np.array([0, embargo]))
    block = None if units is None else torch.from_numpy(units)
    targets = torch.from_numpy(rows.targets).float()[:, None]
    return Examples(TableInputs.of(encoder, rows.table), targets, rows.ids, None, block, spans)


def us_volatility(horizon: int, context: DomainContext) -> SourceModel:
    """The network of the demo's source: US stocks, 1990 to 1994."""
    series = us_stocks(context, US_UNTIL)
    about = {
        "data": f"daily prices of {len(series)} US stocks, 1990 to 1994",
        "license": US_STOCKS.license,
        "citation": US_STOCKS.citation,
        "files": {US_STOCKS.name: US_STOCKS.sha256},
    }
    return volatility_source(VOLATILITY_NAME, series, horizon, about, context)


def volatility_source(
    name: str,
    series: Sequence[Series],
    horizon: int,
    about: Mapping[str, Any],
    context: DomainContext,
    cut: int | None = None,
) -> SourceModel:
    """A network trained on prices; the days from ``cut`` on choose its step. Statistics are of the days before.

    ``cut``: a moment; default: the last fifth's first.

    Raises:
        DataError TL-DATA-SHORT: too few days.
    """
    rows = windows(series, horizon)
    end = rows.spans[:, 1]
    cut = int(np.quantile(end, 1 - VALIDATION)) if cut is None else cut
    train, held = rows.select(np.flatnonzero(end < cut)), rows.select(np.flatnonzero(rows.table[MOMENT] >= cut))
    if not (len(train) and len(held)):
        raise DataError(
            "TL-DATA-SHORT",
            f"the series are too short for a source: {len(rows)} rows of a window of {len(np.unique(end))} days",
            found=f"{len(train)} rows to train on, {len(held)} to validate",
            fix="give longer series, some hundred days after the first window",
        )
    train = at_other_levels(train, COPIES, 0)
    encoder = TableEncoder.fit(train.table, FEATURES)
    batch = min(512, len(train))
    return pretrain(
        name,
        Ref(FinanceNet.name, {"inputs": encoder.width, "widths": [32, 16], "dropout": 0.1}),
        volatility_examples(train, encoder),
        volatility_examples(held, encoder),
        volatility_task(horizon),
        {"kind": "volatility", "columns": encoder.to_json(), "horizon": horizon},
        {**about, "split": {"by": "time, the last days validate", "train_rows": len(train), "held_rows": len(held)}},
        context,
        steps=max(LEAST_STEPS, min(600, EPOCHS * len(train) // batch)),
        batch_size=batch,
        learning_rate=3e-3,
        weight_decay=0.05,
    )


def lent(source: SourceModel, horizon: int, context: DomainContext) -> Examples | None:
    """Labelled rows of a demo's source, evenly spaced, encoded as its network takes them; None for other sources."""
    encoder = TableEncoder.from_json(source.preprocess["columns"])
    if source.name == CREDIT_NAME:
        loans = consumer_credit(SALARIED, context)
        _, targets = credit_task(loans, GOOD_BAD, None)
        found = Examples(TableInputs.of(encoder, loans.table), targets, loans.ids)
    elif source.name == VOLATILITY_NAME:
        found = volatility_examples(windows(us_stocks(context, US_UNTIL), horizon), encoder)
    else:
        return None
    return found.select(torch.linspace(0, len(found) - 1, min(MOST_LENT, len(found))).long())
