"""Prices become windows: what a row is made of, holes, several series, and the baselines' forecasts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tlplat_finance import garch
from tlplat_finance.baselines import GARCH, Garch, Har, last_week, spread
from tlplat_finance.prices import read_prices
from tlplat_finance.sources import FEATURES, volatility_examples, volatility_task
from tlplat_finance.volatility import SPANS, WINDOW, at_other_levels, standardised, windows

from tlplat.data.columns import TableEncoder


@pytest.fixture
def series(prices, write, context):
    return read_prices(write("p.csv", prices(600)), context=context).series


def test_a_row_is_made_of_its_past_and_its_target_of_its_future(series):
    rows = windows(series, 5)
    returns = np.r_[np.nan, np.diff(np.log(series[0].prices))]
    at = 100 - WINDOW  # the row of day 100
    assert rows.ids[at] == f"close {series[0].said[100]}"
    np.testing.assert_allclose(rows.targets[at], np.log(100 * np.sqrt(np.mean(returns[101:106] ** 2))))
    np.testing.assert_allclose(rows.table["vol_22"][at], np.log(100 * np.sqrt(np.mean(returns[79:101] ** 2))))
    np.testing.assert_allclose(rows.table["next_return"][at], returns[101])
    assert rows.spans[at].tolist() == [100 - WINDOW, 105]
    assert len(rows) == 600 - WINDOW - 5
    changed = series[0].prices.copy()
    changed[101:] *= np.linspace(1, 3, 499)
    other = windows([type(series[0])("close", series[0].moments, changed, series[0].said, series[0].runs)], 5)
    for name in FEATURES:
        np.testing.assert_array_equal(other.table[name][: at + 1], rows.table[name][: at + 1])


def test_predicting_takes_the_last_day_too(series):
    assert len(windows(series, 5, known=False)) == 600 - WINDOW


def test_no_window_reaches_across_a_hole(prices, write, context):
    rows = prices(200) + [{**row, "date": row["date"].replace("2010", "2014")} for row in prices(200)]
    found = windows(read_prices(write("p.csv", rows), context=context).series, 5)
    assert len(found) == 2 * (200 - WINDOW - 5)
    assert any("1 holes" in sentence for sentence in context.warnings)


def test_long_and_wide_files_say_the_same(prices, write, context):
    a, b = prices(120, 1), prices(120, 2)
    wide = [{"Date": x["date"], "A": x["close"], "B": y["close"]} for x, y in zip(a, b, strict=True)]
    long = [
        {"day": row["date"], "px": row["close"], "name": name} for name, rows in (("A", a), ("B", b)) for row in rows
    ]
    found = windows(read_prices(write("wide.csv", wide), context=context).series, 5)
    same = windows(
        read_prices(write("long.csv", long[::-1]), price="px", time="day", group="name", context=context).series, 5
    )
    order = [same.ids.index(name) for name in found.ids]
    assert len(found) == len(same) == 2 * (120 - WINDOW - 5)
    np.testing.assert_allclose(found.targets, same.targets[order])


def test_parquet_is_read_as_csv_is(prices, write, context, tmp_path):
    import datetime

    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = prices(120)
    table = pa.table(
        {
            "date": [datetime.date.fromisoformat(r["date"]) for r in rows],
            "close": [float(r["close"]) for r in rows],
        }
    )
    pq.write_table(table, tmp_path / "p.parquet")
    found = windows(read_prices(tmp_path / "p.parquet", context=context).series, 5)
    np.testing.assert_allclose(
        found.targets, windows(read_prices(write("p.csv", rows), context=context).series, 5).targets
    )


def test_a_date_twice_is_refused(prices, write, context):
    from tlplat.errors import DataError

    rows = prices(120)
    with pytest.raises(DataError, match=r"TL-DATA-DATE[\s\S]*row 121") as caught:
        read_prices(write("p.csv", [*rows, rows[60]]), context=context)
    assert "--group" in caught.value.fix


def test_garch_forecasts_are_those_of_the_arch_package(series):
    """One day and five days ahead, with parameters of the days before the cut."""
    from arch import arch_model

    rows = windows(series, 5)
    said = garch.forecasts(series, rows, 5, 400)
    returns = 100 * np.diff(np.log(series[0].prices))
    own = arch_model(returns[:399], mean="Constant", vol="GARCH", p=1, q=1, rescale=False).fit(disp="off")
    again = arch_model(returns, mean="Constant", vol="GARCH", p=1, q=1, rescale=False).fix(own.params)
    ahead = again.forecast(horizon=5, start=0, reindex=False).variance.to_numpy().mean(axis=1)
    theirs = 0.5 * np.log(ahead)
    late = np.arange(300, len(rows))  # after the first days, where the starting variance no longer matters
    np.testing.assert_allclose(said[late], theirs[late + WINDOW - 1], rtol=1e-3, atol=1e-3)


def test_har_and_garch_forecast_what_comes_and_go_into_quantiles(series):
    rows = windows(series, 5)
    rows.table[GARCH] = garch.forecasts(series, rows, 5, 400)
    examples = volatility_examples(rows, TableEncoder.fit(rows.table, FEATURES))
    train, test = examples.select(torch.arange(300)), examples.select(torch.arange(340, len(examples)))
    task = volatility_task(5).settled(train.targets)
    crps, y = task.metrics[0], test.targets.numpy()
    trivial = np.broadcast_to(task.trivial(train.targets), (len(test), 1, len(task.quantiles)))
    for baseline in (Har(), Garch()):
        (said,) = baseline.fit_predict(train, [test.inputs], task, 0)
        assert said.shape == (len(test), 1, len(task.quantiles))
        assert crps(y, said)[0] < crps(y, trivial)[0]
    errors = train.targets.numpy()[:, 0] - last_week(train.inputs)
    (said,) = spread(errors, [last_week(test.inputs)], task)
    assert float((said[:, 0, 3] - last_week(test.inputs)).mean()) == pytest.approx(np.median(errors))


def test_errors_of_har_are_those_of_rows_left_out(series):
    """Its quantiles come from what least squares without the row would have missed by."""
    rows = windows(series, 5).select(np.arange(0, 500, 20))
    train = volatility_examples(rows, TableEncoder.fit(rows.table, FEATURES))
    task = volatility_task(5).settled(train.targets)
    y, x = rows.targets, np.column_stack([np.ones(25), *(rows.table[n] for n in ("vol_1", "vol_5", "vol_22"))])
    errors = []
    for i in range(25):
        others = np.arange(25) != i
        errors.append(y[i] - x[i] @ np.linalg.lstsq(x[others], y[others], rcond=None)[0])
    (said,) = Har().fit_predict(train, [train.inputs], task, 0)
    middle = x @ np.linalg.lstsq(x, y, rcond=None)[0]
    wanted = middle[:, None] + np.quantile(errors, task.quantiles)[None]
    np.testing.assert_allclose(said[:, 0], wanted, atol=1e-5)


def test_copies_at_other_levels_keep_the_ratio_of_past_to_future(series):
    rows = windows(series, 5)
    more = at_other_levels(rows, 2, 0)
    assert len(more) == len(set(more.ids)) == 3 * len(rows)
    for name in SPANS:
        np.testing.assert_allclose(more.targets - more.table[name], np.tile(rows.targets - rows.table[name], 3))
    assert more.targets.std() > rows.targets.std()
    np.testing.assert_array_equal(more.table["return_5"], np.tile(rows.table["return_5"], 3))


def test_returns_in_units_of_their_volatility_have_deviation_one(series):
    assert standardised(windows(series, 5)).std() == pytest.approx(1.0, abs=0.15)
