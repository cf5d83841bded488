"""Credit risk: the demo's target, and tables of the user's with a class to predict."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tlplat.data.columns import TableEncoder
from tlplat.data.examples import Examples
from tlplat.data.guess import could_be, first_rows
from tlplat.domain import DataOptions, DomainContext, Intake, NetworkInput, TargetTask, title_of
from tlplat.errors import DataError, UsageError
from tlplat.model import SourceModel
from tlplat.tabular import TableInputs, encoder_for
from tlplat.tasks.classification import Classification
from tlplat.tasks.sets import labels_card
from tlplat_finance import sources, split
from tlplat_finance.assets import CREDIT
from tlplat_finance.loans import GOOD_BAD, SELF_EMPLOYED, Loans, consumer_credit, read_loans


def target(options: Any, data: DataOptions, source: SourceModel, context: DomainContext) -> TargetTask:
    """The demo's loans to self-employed people, or the user's rows, encoded as the source's were, and split."""
    encoder = TableEncoder.from_json(source.preprocess["columns"])
    if data.path is None:
        loans = consumer_credit(SELF_EMPLOYED, context)
    else:
        loans = _read(options, data, context, {c.name: c.kind for c in encoder.columns})
    told = _compared(encoder, loans, data.path, context)
    known = source.task.labels if source.task is not None else GOOD_BAD
    task, targets = sources.credit_task(loans, known, options.positive, context.warn)
    everything = sources.credit_examples(loans, encoder, targets)
    if loans.sides is not None:
        everything = dataclasses.replace(everything, validation=loans.sides.validation)
    parts = _split(options, loans, everything, task, context.data_seed)
    pool, test = (everything.select(torch.from_numpy(rows)) for rows in (parts.pool, parts.test))
    card: dict[str, Any] = {
        "rows": len(loans) if task.multi_label else task.facts(targets)["classes"],
        **labels_card(task, targets),
        "pool_rows": len(pool),
        "test_rows": len(test),
        "split": parts.report,
        "columns": told,
    }
    if data.path is None:
        about = "consumer loans to self-employed people, good or bad"
        card = {"about": about, "license": CREDIT.license, "citation": CREDIT.citation, **card}
        title = f"credit: {source.name} -> self-employed"
    else:
        card = {"file": data.path.name, **card}
        title = title_of(data.path, task)
    saved = {
        "kind": "credit",
        "columns": source.preprocess["columns"],
        "expects": told["shared"],
        "cost_ratio": options.cost_ratio,
    }
    unit = "block of time" if loans.days is not None else "row" if loans.groups is None else "group"
    return TargetTask(title, task, pool, test, saved, card, unit, unlabeled=pool.inputs)


def intake(network: NetworkInput, options: Any, data: DataOptions, context: DomainContext) -> Intake:
    """The table's columns of numbers, or those that the network's file names."""
    loans = consumer_credit(SELF_EMPLOYED, context) if data.path is None else _read(options, data, context, {})
    where = "the demo" if data.path is None else data.path.name
    encoder = encoder_for(network, "finance", loans.table, where)
    kind = "credit" if network.told is None else str(network.told.get("kind"))
    return Intake((encoder.width,), {"kind": kind, "columns": encoder.to_json()})


def check(options: Any, data: DataOptions, context: DomainContext) -> None:
    """Read the user's rows, look at labels and split."""
    loans = _read(options, data, context, {})
    task, targets = sources.credit_task(loans, (), options.positive, context.warn)
    rows = sources.credit_examples(loans, TableEncoder.fit(loans.table), targets)
    _split(options, loans, rows, task, context.data_seed)


def pretrained(options: Any, data: DataOptions, context: DomainContext) -> SourceModel:
    """A network trained on the user's rows."""
    assert data.path is not None
    loans = _read(options, data, context, {})
    task, targets = sources.credit_task(loans, (), options.positive, context.warn)
    about = {"data": data.path.name, "license": "", "citation": ""}
    return sources.credit_source(
        data.path.name.partition(".")[0], loans, task, targets, about, context, options.embargo or 0
    )


def encode(path: Path, preprocess: Mapping[str, Any], context: DomainContext) -> tuple[Sequence[str], TableInputs]:
    """Rows of a file without labels, in its order.

    Raises:
        DataError TL-DATA-COLUMN: a column that the model learnt from is not there.
    """
    encoder = TableEncoder.from_json(preprocess["columns"])
    kinds = {c.name: c.kind for c in encoder.columns}
    rows = read_loans(path, target=None, kinds=kinds, only=kinds, context=context)
    expected = preprocess.get("expects", list(kinds))
    absent = [name for name in expected if name not in rows.table]
    if absent:
        raise DataError(
            "TL-DATA-COLUMN",
            f"{path.name} has no column {', '.join(absent)}",
            where=str(path),
            found=", ".join(rows.table),
            expected=", ".join(expected),
            fix="add the columns, empty where a value is unknown",
        )
    _tell_unseen(encoder.fit_report(rows.table), context)
    return rows.ids, TableInputs.of(encoder, rows.table)


def _read(options: Any, data: DataOptions, context: DomainContext, kinds: Mapping[str, str]) -> Loans:
    """The user's rows.

    Raises:
        UsageError TL-USAGE: no ``--target``. What :func:`read_loans` raises.
    """
    assert data.path is not None
    column = data.target or data.labels_from
    if column is None:
        raise UsageError(
            "TL-USAGE",
            "a table needs the name of the column to predict",
            where="data.target",
            fix=f"add --target COLUMN{could_be(first_rows(data.path))}, or --task volatility for prices",
        )
    return read_loans(
        data.path,
        target=column,
        time=options.time,
        group=data.group,
        form=options.date_format,
        late=options.future,
        kinds={**kinds, **dict.fromkeys(options.categorical, "categorical")},
        context=context,
        data=data,
    )


def _split(options: Any, loans: Loans, everything: Examples, task: Classification, data_seed: int) -> split.Split:
    """By time where rows have one, and then without pool rows of a group that has test rows; else by group."""
    assert everything.groups is not None
    groups = everything.groups.numpy()
    if options.split_by == "time" and loans.days is None:
        raise UsageError(
            "TL-USAGE", "a split by time needs the column of dates", where="options.split_by", fix="add --time COLUMN"
        )
    if loans.sides is not None:
        test = loans.sides.test
        return split.Split(np.flatnonzero(~test), np.flatnonzero(test), {"by": loans.sides.by})
    if loans.days is None:
        return split.by_group(task.strata(everything.targets), task.labels, groups, options.test_share, data_seed)
    found = split.by_time(loans.days, options.test_share, options.embargo or 0)
    apart = ~np.isin(groups[found.pool], groups[found.test])
    if not apart.any():
        raise DataError(
            "TL-DATA-SHORT",
            "every group of the rows before the test rows has test rows too: no rows are left",
            fix="leave --group out, or give rows of more groups",
        )
    report = {**found.report, "rows_left_out_since_their_group_is_tested": int((~apart).sum())}
    return split.Split(found.pool[apart], found.test, report)


def _compared(encoder: TableEncoder, loans: Loans, path: Path | None, context: DomainContext) -> dict[str, Any]:
    """Which columns the source knows, for the data card.

    Raises:
        DataError TL-DATA-COLUMN: none of them.
    """
    told = encoder.fit_report(loans.table)
    if not told["shared"]:
        raise DataError(
            "TL-DATA-COLUMN",
            "the table and the source share no column",
            where=str(path),
            found=", ".join(loans.table),
            expected=", ".join(c.name for c in encoder.columns),
            fix="rename the columns as the source has them, or make a source of like data with `tlplat pretrain`",
        )
    if told["absent"]:
        context.warn(f"the data lack {len(told['absent'])} columns of the source: {', '.join(told['absent'])}")
    if told["extra"]:
        context.warn(
            f"only baselines use {len(told['extra'])} columns that the source does not know: {', '.join(told['extra'])}"
        )
    _tell_unseen(told, context)
    return told


def _tell_unseen(told: Mapping[str, Any], context: DomainContext) -> None:
    for column, count in told["unseen_categories"].items():
        context.warn(f"{count} rows have a value of {column} that the model never saw: read as none of those it knows")
