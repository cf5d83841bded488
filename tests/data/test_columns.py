"""Mixed tables as numbers: what is fitted, what survives, and what is told."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tlplat.data.columns import FARTHEST, MOST_CATEGORIES, TableEncoder, typed
from tlplat.errors import DataError

TRAIN = {
    "age": np.array([20.0, 40.0, np.nan, 60.0]),
    "income": np.array([1.0, 1.0, 1.0, 1.0]),
    "home": np.array(["rent", "own", None, "rent"], dtype=object),
}


@pytest.fixture
def encoder() -> TableEncoder:
    return TableEncoder.fit(TRAIN)


def test_numbers_are_standardised_and_missing_ones_are_the_mean_with_a_flag(encoder):
    rows = dict(zip(encoder.names, encoder.encode(TRAIN).T, strict=True))
    spread = np.std([20, 40, 60])
    assert torch.allclose(rows["age"], torch.tensor([-20 / spread, 0, 0, 20 / spread]).float())
    assert rows["age is missing"].tolist() == [0, 0, 1, 0]
    assert rows["income"].tolist() == [0, 0, 0, 0]
    assert rows["home = rent"].tolist() == [1, 0, 0, 1]
    assert rows["home = own"].tolist() == [0, 1, 0, 0]
    assert rows["home is missing"].tolist() == [0, 0, 1, 0]
    assert "income is missing" not in rows


def test_statistics_come_from_the_fitted_rows_alone(encoder):
    other = {name: values[:2] for name, values in TRAIN.items()} | {"age": np.array([1e9, 40.0])}
    encoded = encoder.encode(other)
    assert encoded[1].tolist() == encoder.encode(TRAIN)[1].tolist()
    assert encoded[0, 0] == FARTHEST


def test_unseen_categories_and_other_columns_are_told_and_harmless(encoder):
    other = {"age": np.array([40.0, 40.0]), "home": np.array(["boat", "own"], dtype=object), "pets": np.ones(2)}
    rows = dict(zip(encoder.names, encoder.encode(other).T, strict=True))
    assert rows["home = rent"].tolist() == [0, 0]
    assert rows["home = own"].tolist() == [0, 1]
    assert rows["home is missing"].tolist() == [0, 0]
    assert encoder.fit_report(other) == {
        "shared": ["age", "home"],
        "absent": ["income"],
        "extra": ["pets"],
        "unseen_categories": {"home": 1},
    }


def test_an_absent_column_is_missing(encoder):
    rows = dict(zip(encoder.names, encoder.encode({"income": np.ones(2)}).T, strict=True))
    assert rows["age is missing"].tolist() == [1, 1]
    assert rows["home is missing"].tolist() == [1, 1]
    assert rows["age"].tolist() == [0, 0]


def test_it_goes_through_json(encoder):
    again = TableEncoder.from_json(json.loads(json.dumps(encoder.to_json())))
    assert again == encoder
    assert torch.equal(again.encode(TRAIN), encoder.encode(TRAIN))


def test_a_skewed_column_is_taken_by_its_logarithm():
    values = np.concatenate([np.arange(50.0), [5000.0]])
    encoder = TableEncoder.fit({"count": values})
    logs = np.log1p(values)
    assert np.allclose(encoder.encode({"count": values})[:, 0], (logs - logs.mean()) / logs.std(), atol=1e-6)
    assert not TableEncoder.fit({"count": values - 1}).columns[0].log  # has a negative value


def test_a_column_of_many_words_keeps_the_frequent_ones():
    words = np.array([f"w{i}" for i in range(200)] + ["w150"] * 3, dtype=object)
    column = TableEncoder.fit({"word": words}).columns[0]
    assert len(column.categories) == MOST_CATEGORIES
    assert column.categories[0] == "w150"


def test_words_where_numbers_were_are_refused(encoder):
    with pytest.raises(DataError, match=r"TL-DATA-TYPE[\s\S]*age"):
        encoder.encode(TRAIN | {"age": np.array(["a", "b", "c", "d"], dtype=object)})


def test_a_category_that_was_read_as_a_number_is_found_again():
    encoder = TableEncoder.fit({"grade": np.array(["1", "2", "3"], dtype=object)})
    assert torch.equal(encoder.encode({"grade": np.array([3.0])}), torch.tensor([[0.0, 0, 1]]))


def test_a_column_that_is_not_there_cannot_be_chosen():
    with pytest.raises(DataError, match=r"TL-DATA-COLUMN[\s\S]*did you mean"):
        TableEncoder.fit(TRAIN, ["agee"])


class TestTyped:
    def test_kinds_are_guessed_and_can_be_said(self):
        found = typed({"a": ["1", "2.5", ""], "b": ["x", None, "3"], "c": ["1", "2", "1"]}, {"c": "categorical"})
        assert found["a"].tolist()[:2] == [1.0, 2.5]
        assert np.isnan(found["a"][2])
        assert found["b"].tolist() == ["x", None, "3"]
        assert found["c"].tolist() == ["1", "2", "1"]

    def test_a_word_among_numbers_is_named_by_its_place_and_not_shown(self):
        with pytest.raises(DataError, match=r"TL-DATA-TYPE[\s\S]*row 2, column age") as error:
            typed({"age": ["30", "Jane Canary"]}, {"age": "numeric"})
        assert "Canary" not in error.value.render()

    def test_infinity_is_no_number(self):
        assert typed({"a": ["1", "inf"]})["a"].dtype == object
