"""Days that the user parted: by files of later days or by a column; what would leak time is refused."""

from __future__ import annotations

import dataclasses

import pytest
from tlplat_finance.domain import FinanceDomain, FinanceOptions
from tlplat_finance.market import encode

from tlplat.domain import DataOptions
from tlplat.errors import DataError
from tlplat.tabular import table_of

OPTIONS = FinanceOptions(task="volatility")


@pytest.fixture
def source(prices, write, context):
    return FinanceDomain().pretrain(OPTIONS, DataOptions(path=write("s.csv", prices(400, 7))), context)


def marked(rows, train, validation):
    sides = ["train"] * train + ["val"] * validation + ["test"] * (len(rows) - train - validation)
    return [{**row, "fold": side} for row, side in zip(rows, sides, strict=True)]


def test_files_and_a_column_part_days_alike(prices, write, context, source):
    rows = prices(600)
    files = [write(f"{i}.csv", part) for i, part in enumerate((rows[:250], rows[250:400], rows[400:]))]
    by_files = DataOptions(path=files[0], val_data=files[1], test_data=files[2])
    by_column = DataOptions(path=write("all.csv", marked(rows, 250, 150)), split="fold")
    made = [FinanceDomain().target(OPTIONS, data, source, context) for data in (by_files, by_column)]
    for found in made:
        held = found.pool.validation.numpy()
        begin, end = found.pool.spans.numpy().T
        assert end[~held].max() == 249
        assert (begin[held].min(), end[held].max()) == (250, 399)
        assert int(found.test.spans[:, 0].min()) == 400
    assert made[0].pool.ids == made[1].pool.ids
    assert made[0].pool.inputs.digest() == made[1].pool.inputs.digest()
    assert made[0].test.inputs.digest() == made[1].test.inputs.digest()
    assert "days as said by the column fold" in made[1].data_card["split"]["by"]


def test_an_embargo_parts_training_from_validation_days_too(prices, write, context, source):
    data = DataOptions(path=write("all.csv", marked(prices(600), 250, 150)), split="fold")
    found = FinanceDomain().target(OPTIONS.model_copy(update={"embargo": 30}), data, source, context)
    held, moments = found.pool.validation.numpy(), table_of(found.pool.inputs)["moment"]
    assert (moments[~held].max(), moments[held].max()) == (249 - 30, 399 - 30)


def test_without_validation_days(prices, write, context, source):
    rows = prices(600)
    data = DataOptions(path=write("a.csv", rows[:400]), test_data=write("b.csv", rows[400:]))
    found = FinanceDomain().target(OPTIONS, data, source, context)
    assert found.pool.validation is None
    assert int(found.test.spans[:, 0].min()) == 400


def test_what_would_leak_time_is_refused(prices, write, context):
    rows, other = prices(600), prices(600, 1)
    mixed = marked(rows, 250, 150)
    mixed[100]["fold"] = "test"
    late = [{**row, "name": name} for name, part in (("A", rows), ("B", other)) for row in part]
    for row in late:
        row["fold"] = "test" if row["name"] == "B" else "train"
    cases = [
        DataOptions(path=write("mixed.csv", mixed), split="fold"),
        DataOptions(path=write("series.csv", late), group="name", split="fold"),
        DataOptions(path=write("a.csv", rows[:401]), test_data=write("b.csv", rows[400:])),
        DataOptions(path=write("c.csv", rows[400:]), test_data=write("d.csv", rows[:400])),
    ]
    for data in cases:
        with pytest.raises(DataError, match="would know what came later") as caught:
            FinanceDomain().check(OPTIONS, data, context)
        assert caught.value.code == "TL-LEAK-TIME"
        assert caught.value.findings
        assert "same days" in caught.value.fix


@pytest.mark.parametrize(
    ("sizes", "side"), [((60, 200), "train on"), ((250, 60), "validate on"), ((300, 250), "test on")]
)
def test_sides_without_a_window_are_named(sizes, side, prices, write, context):
    data = DataOptions(path=write("x.csv", marked(prices(600), *sizes)), split="fold")
    with pytest.raises(DataError, match=f"no rows are left to {side}") as caught:
        FinanceDomain().check(OPTIONS, data, context)
    assert caught.value.code == "TL-DATA-SHORT"
    assert "another split" in caught.value.fix


def test_a_column_of_sides_is_no_series(prices, write, context, source):
    """Of a wide file, neither now nor when its model predicts."""
    rows = [{"date": row["date"], "DAX": row["close"], "fold": row["fold"]} for row in marked(prices(600), 250, 150)]
    data = DataOptions(path=write("wide.csv", rows), split="fold")
    found = FinanceDomain().target(OPTIONS, data, source, context)
    assert found.data_card["series"] == ["DAX"]
    ids, _ = encode(data.path, found.preprocess, context)
    assert all(name.startswith("DAX ") for name in ids)


def test_a_source_learns_nothing_of_test_days(prices, write, context):
    made = []
    for scale in (1.0, 9.0):
        rows = marked(prices(500), 300, 0)
        rows = [*rows[:300], *({**row, "close": str(scale * float(row["close"]))} for row in rows[300:])]
        data = DataOptions(path=write(f"{scale}.csv", rows), split="fold")
        made.append(FinanceDomain().pretrain(OPTIONS, data, context).preprocess)
    assert made[0] == made[1]
    whole = dataclasses.replace(
        data, split=None, path=write("w.csv", [{k: r[k] for k in ("date", "close")} for r in rows])
    )
    assert FinanceDomain().pretrain(OPTIONS, whole, context).preprocess != made[0]
