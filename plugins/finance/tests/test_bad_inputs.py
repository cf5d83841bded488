"""The cases of bad input to finance: what is refused, by which code, what is named; nothing on disk changes."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest
from commandline import tlplat
from tlplat_finance.domain import FinanceDomain, FinanceOptions
from tlplat_finance.loans import read_loans

from tlplat.domain import DataOptions
from tlplat.errors import DataError, TlplatError, UsageError

VOLATILITY = ("run", "--domain", "finance", "--task", "volatility", "--offline", "--json")
LOANS = ("run", "--domain", "finance", "--target", "outcome", "--offline", "--json")


def snapshot(folder: Path) -> dict[str, str]:
    """SHA-256 of every file, the cache's locks apart."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def put(rows, at, column, value):
    rows[at][column] = value
    return rows


def random_split(prices, loans):
    return prices(300), (*VOLATILITY, "--split-by", "random")


def no_embargo(prices, loans):
    return prices(300), (*VOLATILITY, "--horizon", "5", "--embargo", "0")


def price_of_zero(prices, loans):
    return put(prices(300), 6, "close", "0"), VOLATILITY


def two_formats_of_dates(prices, loans):
    rows = prices(300)
    for row in rows:
        year, month, day = row["date"].split("-")
        row["date"] = f"{day}/{month}/{year}"
    return rows, VOLATILITY


def decimal_comma(prices, loans):
    return put(prices(300), 6, "close", "1.234,56"), VOLATILITY


def hole_of_three_years(prices, loans):
    from datetime import date

    return prices(60) + prices(60, 1, date(2013, 6, 3)), VOLATILITY


def future_dates(prices, loans):
    return put(loans(60), 59, "date", "2999-01-01"), (*LOANS, "--time", "date")


CASES = {
    "fin-random-split": (random_split, 2, "TL-CONFIG-SPLIT", ("time", "chronological")),
    "fin-horizon-overlap": (no_embargo, 3, "TL-LEAK-TIME", ("5", "embargo")),
    "fin-nan-inf-price": (price_of_zero, 3, "TL-DATA-NONFINITE", ("row 7", "close")),
    "fin-ambiguous-date": (two_formats_of_dates, 3, "TL-DATA-DATE", ("format", "row 1")),
    "fin-decimal-comma": (decimal_comma, 3, "TL-DATA-NUMBER", ("row 7", "decimal")),
    "fin-gap": (hole_of_three_years, 3, "TL-DATA-SHORT", ("window", "rows")),
    "fin-future-date": (future_dates, 3, "TL-DATA-FUTURE", ("row 60",)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_case_through_the_command_line(case, prices, loans, write, tmp_path):
    make, code, error, named = CASES[case]
    rows, command = make(prices, loans)
    path = write("data.csv", rows)
    before = snapshot(tmp_path)
    outcome = tlplat(*command, "--data", path.name, cwd=tmp_path, cache=tmp_path / "cache")
    assert outcome.code == code, outcome.err
    assert outcome.document["error"]["code"] == error
    for words in named:
        assert words in outcome.err
    assert snapshot(tmp_path) == before


def refused(options, data, context) -> TlplatError:
    with pytest.raises(TlplatError) as caught:
        FinanceDomain().check(FinanceOptions(**options), data, context)
    return caught.value


@pytest.mark.parametrize("value", ["NaN", "inf", "-inf", "0", "-3.5", ""])
def test_a_price_that_has_no_logarithm(value, prices, write, context):
    path = write("p.csv", put(prices(300), 6, "close", value))
    error = refused({"task": "volatility"}, DataOptions(path=path), context)
    assert (error.code, error.exit_code) == ("TL-DATA-NONFINITE", 3)
    assert "row 7, column close" in error.render()


@pytest.mark.parametrize("value", ["1.234,56", "12,5", "twelve", "1_000", "0x1f"])
def test_a_number_that_is_none(value, loans, write, context):
    """In a table too: a column of numbers does not turn into categories because of one value."""
    path = write("l.csv", put(loans(60), 6, "income", value))
    error = refused({}, DataOptions(path=path, target="outcome"), context)
    assert error.code == "TL-DATA-NUMBER"
    assert "row 7, column income" in error.render()


@pytest.mark.parametrize("embargo", [0, 1, 4])
def test_an_embargo_shorter_than_the_horizon(embargo, prices, write, context):
    path = write("p.csv", prices(300))
    error = refused({"task": "volatility", "embargo": embargo}, DataOptions(path=path), context)
    assert isinstance(error, DataError)
    assert error.code == "TL-LEAK-TIME"
    FinanceDomain().check(FinanceOptions(task="volatility", embargo=5), DataOptions(path=path), context)


@pytest.mark.parametrize("options", [{"task": "volatility"}, {"time": "date"}])
def test_a_random_split_of_rows_with_a_time(options, context):
    """Refused before anything is read or trained, with and without data."""
    with pytest.raises(UsageError, match="TL-CONFIG-SPLIT"):
        FinanceDomain().source("salaried", FinanceOptions(split_by="random", **options), context)
    assert not context.cache.exists()


def test_dates_in_a_named_format(prices, write, context):
    rows = prices(300)
    for row in rows:
        year, month, day = row["date"].split("-")
        row["date"] = f"{day}/{month}/{year}"
    path = write("p.csv", rows)
    FinanceDomain().check(FinanceOptions(task="volatility", date_format="%d/%m/%Y"), DataOptions(path=path), context)
    error = refused({"task": "volatility", "date_format": "%m/%d/%Y"}, DataOptions(path=path), context)
    assert error.code == "TL-DATA-DATE"


@pytest.mark.parametrize("task", ["credit", "volatility"])
def test_future_dates_may_be_warned_of(task, prices, loans, write, context):
    rows = put(loans(60) if task == "credit" else prices(300), -1, "date", "2999-01-01")
    data = DataOptions(path=write("x.csv", rows), target="outcome" if task == "credit" else "close")
    options = {"task": task, "time": "date"}
    assert refused(options, data, context).code == "TL-DATA-FUTURE"
    FinanceDomain().check(FinanceOptions(**options, future="warn"), data, context)
    assert any("future" in sentence for sentence in context.warnings)


@pytest.mark.parametrize("days", [40, 71, 90])
def test_a_series_that_is_too_short(days, prices, write, context):
    error = refused({"task": "volatility"}, DataOptions(path=write("p.csv", prices(days))), context)
    assert error.code == "TL-DATA-SHORT"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"outcome": ""}, "TL-DATA-LABEL-MISSING"),
        ({"id": "b1"}, "TL-DATA-COLUMN"),
        ({"date": ""}, "TL-DATA-DATE"),
        ({"income": "inf"}, "TL-DATA-NONFINITE"),
    ],
)
def test_one_bad_value_is_placed(change, code, loans, write, context):
    rows = loans(60)
    rows[6] |= change
    error = refused({"time": "date"}, DataOptions(path=write("l.csv", rows), target="outcome"), context)
    assert error.code == code
    assert "row 7" in error.render()


def test_a_class_of_one_row_is_named(loans, write, context):
    path = write("l.csv", put(loans(60), 6, "outcome", "restructured"))
    error = refused({}, DataOptions(path=path, target="outcome"), context)
    assert error.code == "TL-DATA-CLASS-SMALL"
    assert "class 'restructured' has all its rows (1)" in error.message


def test_columns_that_are_not_there(loans, write, context):
    path = write("l.csv", loans(60))
    assert refused({}, DataOptions(path=path, target="outcom"), context).code == "TL-DATA-COLUMN"
    several = refused({}, DataOptions(path=path, target="outcome,hoem"), context)
    assert "'hoem'; did you mean 'home'" in several.message
    assert refused({}, DataOptions(path=path), context).code == "TL-USAGE"
    assert refused({"split_by": "time"}, DataOptions(path=path, target="outcome"), context).code == "TL-USAGE"
    error = refused({"positive": "ruined"}, DataOptions(path=path, target="outcome"), context)
    assert error.code == "TL-DATA-LABEL-MISSING"
    assert refused({}, DataOptions(path=path, target="income"), context).code in (
        "TL-DATA-LABEL-MISSING",
        "TL-DATA-LABEL-TYPE",
    )


def test_what_excel_writes_in_one_or_several_compressed_files(loans, write, context):
    """Semicolons with decimal commas, tabs, a folder of parts, gzip: the same rows as of one plain file."""
    rows = loans(60)
    plain = read_loans(write("l.csv", rows), target="outcome", context=context)
    header, *lines = write("l.csv", rows).read_text(encoding="utf-8").splitlines()
    commas = [line.replace(".", "\0").replace(",", ";").replace("\0", ",") for line in lines]
    folder = write("l.csv", rows).parent / "parts"
    folder.mkdir()
    (folder / "1.csv.gz").write_bytes(gzip.compress("\n".join([header.replace(",", ";"), *commas[:20]]).encode()))
    (folder / "2.csv").write_text("\n".join([header.replace(",", ";"), *commas[20:]]), encoding="utf-8")
    found = read_loans(folder, target="outcome", context=context)
    assert found.ids == plain.ids
    assert found.labels == plain.labels
    assert str({k: v.tolist() for k, v in found.table.items()}) == str({k: v.tolist() for k, v in plain.table.items()})
    assert any("semicolons" in said and "decimal commas in income" in said for said in context.warnings)
    (folder / "3.csv").write_text(f"{header}\n{lines[0]}\n", encoding="utf-8")  # an id that 1.csv.gz has
    error = refused({}, DataOptions(path=folder, target="outcome"), context)
    assert "3.csv, row 1, column id" in error.render()
