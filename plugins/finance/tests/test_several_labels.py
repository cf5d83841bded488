"""Tables with any number of labels a row: read, split, pretrained on, run; no label is left among the columns."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from tlplat_finance.baselines import Boosting, LogisticScore, RandomForest
from tlplat_finance.domain import FinanceDomain

from tlplat.domain import DataOptions, DomainContext
from tlplat.errors import DataError, UsageError
from tlplat.testing.kit import kit_registry

NAMES = ("late", "fraud", "closed")


def table(count=200, seed=0, form="columns"):
    rng = np.random.default_rng(seed)
    out = io.StringIO()
    write = csv.writer(out)
    write.writerow(["income", "age", "home", *(NAMES if form == "columns" else ["flags"])])
    for _ in range(count):
        income, age = rng.normal(100, 30), rng.integers(20, 70)
        home = rng.choice(["own", "rent"])
        has = [income < 85, rng.random() < (0.25 if home == "rent" else 0.02), age > 50]
        said = (
            [int(h) for h in has] if form == "columns" else [";".join(n for n, h in zip(NAMES, has, strict=True) if h)]
        )
        write.writerow([f"{income:.2f}", age, home, *said])
    return out.getvalue()


@pytest.fixture
def context(tmp_path):
    return DomainContext(kit_registry("domains", "finance"), tmp_path / "cache")


@pytest.fixture
def made(tmp_path):
    """A file of a table."""

    def write(text, name="loans.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def target_of(context, path, **data):
    domain, options = FinanceDomain(), FinanceDomain.Options()
    given = DataOptions(path, **data)
    domain.check(options, given, context)
    return domain.target(options, given, domain.pretrain(options, given, context), context)


def test_a_source_and_a_target_of_one_table(context, made):
    found = target_of(context, made(table()), target="late,fraud,closed")
    assert found.task.labels == NAMES
    assert found.task.info().options["multi_label"]
    assert not set(NAMES) & set(found.pool.inputs.table)
    assert found.data_card["rows"] == 200
    counts = found.data_card["rows_by_label"]
    assert counts["fraud"] < 50 < counts["closed"]
    test = found.test.targets.sum(dim=0)
    assert abs(int(test[1]) - counts["fraud"] * len(found.test) / 200) < 2
    for baseline in (LogisticScore(), RandomForest(), Boosting()):
        (p,) = baseline.fit_predict(found.pool, [found.test.inputs], found.task, 0)
        right = (p >= 0.5) == (found.test.targets.numpy() > 0)
        assert right[:, [0, 2]].mean() > 0.85, baseline.name
        assert baseline.parameters() > 0
    other = target_of(context, made(table(form="cells"), "cells.csv"), target="flags", label_separator=";")
    assert sorted(other.task.labels) == sorted(NAMES)
    assert "flags" not in other.pool.inputs.table


def test_what_is_refused(context, made):
    domain, options = FinanceDomain(), FinanceDomain.Options()
    broken = table() + "90.0,40,own,1,maybe,0\n"
    with pytest.raises(DataError, match="row 201, column fraud"):
        domain.check(options, DataOptions(made(broken), target="late,fraud"), context)
    with pytest.raises(DataError, match="no column 'fraude'"):
        domain.check(options, DataOptions(made(table()), target="late,fraude"), context)
    with pytest.raises(UsageError, match="for classes"):
        domain.check(FinanceDomain.Options(task="volatility"), DataOptions(made(table()), label_separator=";"), context)
    given = DataOptions(made(table()), target="late,fraud")
    with pytest.raises(UsageError, match="--positive"):
        domain.check(FinanceDomain.Options(positive="late"), given, context)
