"""Every statistic is of training rows: what test rows hold changes nothing that is learnt or saved."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tlplat_finance.baselines import GARCH
from tlplat_finance.domain import FinanceDomain, FinanceOptions

from tlplat.domain import DataOptions
from tlplat.tabular import table_of


def late_rows_changed(rows, column, share=0.4):
    """The last rows with other numbers and an unseen category."""
    changed = [dict(row) for row in rows]
    for row in changed[int(len(rows) * (1 - share)) :]:
        row[column] = str(37 * float(row[column] or 1) + 5)
        if "home" in row:
            row["home"] = "castle"
    return changed


@pytest.mark.parametrize("task", ["credit", "volatility"])
def test_a_pretrained_source_learns_its_statistics_from_training_rows(task, loans, prices, write, context, tmp_path):
    """Validation rows are the last fifth: with others there, encoder and tails are the same."""
    rows, column = (loans(300), "income") if task == "credit" else (prices(500), "close")
    options = FinanceOptions(task=task, time="date")
    target = "outcome" if task == "credit" else "close"
    found = []
    for number, table in enumerate((rows, late_rows_changed(rows, column, 0.15))):
        data = DataOptions(path=write(f"{number}.csv", table), target=target)
        found.append(FinanceDomain().pretrain(options, data, context))
    assert found[0].preprocess == found[1].preprocess
    early = late_rows_changed(rows[::-1], column, 0.15)[::-1]
    data = DataOptions(path=write("early.csv", early), target=target)
    assert FinanceDomain().pretrain(options, data, context).preprocess != found[0].preprocess


@pytest.mark.parametrize("task", ["credit", "volatility"])
def test_test_rows_change_nothing_that_a_model_is_made_of(task, loans, prices, write, context):
    """Pool inputs, their targets, the saved preprocessing, and what each baseline says of pool rows."""
    rows, column = (loans(300), "income") if task == "credit" else (prices(600), "close")
    options = FinanceOptions(task=task, time="date")
    target = "outcome" if task == "credit" else "close"
    source_data = DataOptions(path=write("s.csv", loans(200, 7) if task == "credit" else prices(400, 7)), target=target)
    source = FinanceDomain().pretrain(options, source_data, context)
    made = []
    for number, table in enumerate((rows, late_rows_changed(rows, column))):
        data = DataOptions(path=write(f"{number}.csv", table), target=target)
        made.append(FinanceDomain().target(options, data, source, context))
    first, second = made
    assert first.test.inputs.digest() != second.test.inputs.digest()
    assert first.pool.ids == second.pool.ids
    assert torch.equal(first.pool.targets, second.pool.targets)
    assert first.pool.inputs.digest() == second.pool.inputs.digest()
    assert first.preprocess == second.preprocess
    if task == "volatility":
        np.testing.assert_array_equal(table_of(first.pool.inputs)[GARCH], table_of(second.pool.inputs)[GARCH])
    for baseline in FinanceDomain().baselines(first):
        said = [
            baseline.fit_predict(t.pool, [t.pool.inputs], t.task.settled(t.pool.targets), 0)[0] for t in (first, second)
        ]
        np.testing.assert_array_equal(said[0], said[1])


def test_test_rows_come_after_training_rows_in_time(prices, loans, write, context):
    source = FinanceDomain().pretrain(
        FinanceOptions(task="volatility"), DataOptions(path=write("s.csv", prices(400, 7))), context
    )
    data = DataOptions(path=write("p.csv", prices(600)))
    for embargo in (5, 30):
        options = FinanceOptions(task="volatility", embargo=embargo)
        made = FinanceDomain().target(options, data, source, context)
        assert made.pool.spans is not None
        assert made.test.spans is not None
        assert int(made.pool.spans[:, 1].max()) < int(made.test.spans[:, 0].min())
        last_day = max(table_of(made.pool.inputs)["moment"])
        assert int(made.test.spans[:, 0].min()) - last_day > embargo
        assert made.unit == "block of 44 days"


def test_a_borrower_of_the_test_rows_is_not_in_the_pool(loans, write, context):
    rows = loans(300)
    for i, row in enumerate(rows):
        row["branch"] = str(i % 40 if i < 100 else 40 + i % 40)
    data = DataOptions(path=write("l.csv", rows), target="outcome", group="branch")
    options = FinanceOptions(time="date")
    source = FinanceDomain().pretrain(options, data, context)
    made = FinanceDomain().target(options, data, source, context)
    assert not set(made.pool.groups.tolist()) & set(made.test.groups.tolist())
    assert 50 <= made.data_card["split"]["rows_left_out_since_their_group_is_tested"] < 60  # equal rows belong together
    by_group = FinanceDomain().target(FinanceOptions(), data, source, context)
    assert not set(by_group.pool.groups.tolist()) & set(by_group.test.groups.tolist())
    assert len(by_group.pool) + len(by_group.test) == 300
